//! Byte-level BPE, and BPE over characters with a byte for what is none (SentencePiece's, as `tokenizer.json` has it).

use super::{Kind, TOKENIZER, TOKENIZER_CONFIG, Vocabulary, chat_template, kind_of, required, steps, unknown};
use crate::Error;
use crate::json::Json;
use crate::plan::Planner;
use serde_json::Value;
use std::collections::HashMap;

/// The regular expressions of pre-tokenizers, and the name that llama.cpp gives the rules: for Llama 3's, whether pieces that are tokens
/// as a whole are not merged decides between two names.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Writes the tokenizer of a model with `size` tokens and its chat template.
pub(crate) fn bpe(planner: &mut Planner, size: u32) -> Result<(), Error> {
    let json = required(planner.checkpoint)?;
    let model = json.require("model")?;
    if kind_of(&model) != "BPE" {
        return Err(unknown(TOKENIZER, "the model", kind_of(&model)));
    }
    let mut vocabulary = Vocabulary::read(&json, size)?;
    let merges = merges(&model)?;
    if model.get_bool("byte_fallback")?.unwrap_or(false) {
        sentencepiece(planner, &json, &mut vocabulary, &merges)?;
    } else {
        vocabulary.write(planner, "gpt2", |token, _| token.to_owned());
        planner.metadata("tokenizer.ggml.pre", pre_tokenizer(&json, &model)?);
        let spelled = merges.iter().map(|(left, right)| format!("{} {}", bytes(left), bytes(right)));
        planner.metadata("tokenizer.ggml.merges", spelled.collect::<Vec<_>>());
    }
    vocabulary.write_special(planner, "unk", "unknown", model.get_str("unk_token")?)?;
    vocabulary.write_special(planner, "pad", "padding", None)?;
    for (role, first) in [("bos", true), ("eos", false)] {
        let id = vocabulary.write_special(planner, role, role, None)?;
        let added = adds(planner, &json, role, first, &vocabulary, id)?;
        planner.metadata(format!("tokenizer.ggml.add_{role}_token"), added);
    }
    chat_template(planner)
}

/// The pairs that are merged, in order: texts of both with a space between, or in newer files a list of two.
pub(super) fn merges(model: &Json) -> Result<Vec<(String, String)>, Error> {
    let list = model.require("merges")?;
    let pair = |merge: Json| {
        let expected = "a pair of tokens";
        let pair = match merge.value() {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        pair.map(|(left, right)| (left.to_owned(), right.to_owned())).ok_or_else(|| merge.wrong(expected))
    };
    list.list()?.map(pair).collect()
}

/// A token's text without spaces, which separate the two of a merge; a byte-level token has none.
pub(super) fn bytes(token: &str) -> String {
    token.replace(' ', "\u{120}")
}

/// The name of the rules by which text is cut before merging.
fn pre_tokenizer(json: &Json, model: &Json) -> Result<&'static str, Error> {
    let steps = steps(json.get("pre_tokenizer"), "pretokenizers")?;
    let kinds: Vec<_> = steps.iter().map(kind_of).collect();
    let splits = steps.first().and_then(|step| step.get("pattern")).and_then(|pattern| pattern.get("Regex"));
    let expression = splits.as_ref().map(|expression| expression.str()).transpose()?;
    let flag = |step: &Json, key: &str| step.get(key).and_then(|flag| flag.value().as_bool()).unwrap_or(true);
    let whole = model.get_bool("ignore_merges")?.unwrap_or(false);
    match (kinds.as_slice(), steps.as_slice()) {
        (["ByteLevel"], [bytes]) if flag(bytes, "use_regex") => Ok("gpt-2"),
        (["Digits", "ByteLevel"], [digits, bytes]) if flag(digits, "individual_digits") && flag(bytes, "use_regex") => {
            Ok("smollm")
        }
        (["Split", "ByteLevel"], _) if expression == Some(LLAMA3) => Ok(if whole { "llama-bpe" } else { "smaug-bpe" }),
        (["Split", "ByteLevel"], _) if expression == Some(QWEN2) => Ok("qwen2"),
        _ => Err(unknown(TOKENIZER, "pre_tokenizer", expression.unwrap_or(&kinds.join(", ")))),
    }
}

/// Writes a vocabulary in SentencePiece's terms. What is merged earlier scores higher.
fn sentencepiece(
    planner: &mut Planner,
    json: &Json,
    vocabulary: &mut Vocabulary,
    merges: &[(String, String)],
) -> Result<(), Error> {
    let mut ranks = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let model = json.require("model")?;
    let unknown = model.get_str("unk_token")?;
    for (token, kind) in vocabulary.tokens.iter().zip(&mut vocabulary.kinds) {
        if Some(token.as_str()) == unknown {
            *kind = Kind::Unknown;
        } else if *kind == Kind::Normal && is_byte(token) {
            *kind = Kind::Byte;
        }
    }
    vocabulary.write(planner, "llama", |token, _| token.to_owned());
    planner.metadata("tokenizer.ggml.pre", "default");
    let last = -(merges.len() as f32);
    let score = |(token, kind): (&String, &Kind)| match (kind, ranks.get(token)) {
        (Kind::Normal, Some(rank)) => -(*rank as f32),
        (Kind::Normal, None) => last,
        _ => 0.0,
    };
    let scores: Vec<f32> = vocabulary.tokens.iter().zip(&vocabulary.kinds).map(score).collect();
    planner.metadata("tokenizer.ggml.scores", scores);
    let mut prefixed = false;
    for step in
        steps(json.get("normalizer"), "normalizers")?.iter().chain(&steps(json.get("pre_tokenizer"), "pretokenizers")?)
    {
        prefixed |= match kind_of(step) {
            "Prepend" => true,
            "Metaspace" => {
                step.get_bool("add_prefix_space")?.unwrap_or(true) && step.get_str("prepend_scheme")? != Some("never")
            }
            _ => false,
        };
    }
    planner.metadata("tokenizer.ggml.add_space_prefix", prefixed);
    Ok(())
}

/// Whether a token is a byte, spelled like `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Whether the token `id` of a role is put first, or last, by the template of the post-processor; without one, as
/// `tokenizer_config.json` says.
fn adds(
    planner: &Planner,
    json: &Json,
    role: &str,
    first: bool,
    vocabulary: &Vocabulary,
    id: Option<u32>,
) -> Result<bool, Error> {
    let Some(id) = id else { return Ok(false) };
    for step in steps(json.get("post_processor"), "processors")? {
        if kind_of(&step) == "TemplateProcessing" {
            let parts: Vec<_> = step.require("single")?.list()?.collect();
            let part = if first { parts.first() } else { parts.last() };
            let special = part.and_then(|part| part.get("SpecialToken"));
            let token = special.map(|special| special.require("id")?.str()).transpose()?;
            return Ok(token.is_some_and(|token| vocabulary.ids.get(token) == Some(&id)));
        }
    }
    let config = planner.checkpoint.json(TOKENIZER_CONFIG);
    let added = config.map_or(Ok(None), |config| config.get_bool(&format!("add_{role}_token")))?;
    Ok(added.unwrap_or(false))
}
