//! Tokenizers that llama.cpp's keys describe exactly, so that other readers take them too.

use super::Parsed;
use super::model::Model;
use super::vocabulary::{Kind, Vocabulary};
use crate::plan::Planner;
use smidgen::tokenizer::char_of_byte;
use std::collections::HashMap;

/// The regular expressions of pre-tokenizers, and the name that llama.cpp gives the rules: for Llama 3's, whether pieces that are tokens
/// as a whole are not merged decides between two names.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A token that only Phi-3's vocabulary has, by which readers know how its special tokens are found.
const PHI_3: &str = "<|placeholder1|>";

/// What `tokenizer.ggml.model` says.
pub(super) enum Plain {
    /// Byte-level BPE with the pre-tokenizer of this name.
    Gpt2(&'static str),
    /// SentencePiece's BPE, by scores.
    Llama { space_prefix: bool },
    /// BERT's WordPiece.
    Bert { lowercase: bool, strip_accents: bool },
}

/// How llama.cpp calls a tokenizer, if it has a name for it.
pub(super) fn plain(parsed: &Parsed) -> Option<Plain> {
    let vocabulary = &parsed.vocabulary;
    let is_found_otherwise = vocabulary.added.values().any(|flags| flags.lstrip || flags.rstrip || flags.single_word);
    // Readers know tokens that end a text by their names, whatever a file says of them.
    let named = |(id, token, kind): (u32, &str, Kind)| {
        kind == Kind::Normal && !vocabulary.added.contains_key(&id) && smidgen::tokenizer::ends_by_name(token)
    };
    if is_found_otherwise || vocabulary.iter().any(named) || vocabulary.ids.contains_key(PHI_3) {
        return None;
    }
    match &parsed.model {
        Model::Bpe { byte_fallback: false, .. } => gpt2(parsed),
        Model::Bpe { .. } => llama(parsed),
        Model::WordPiece { .. } => bert(parsed),
        Model::Unigram { .. } => None,
    }
}

/// Steps as a list of lists, to be compared.
fn texts(steps: &[Vec<String>]) -> Vec<Vec<&str>> {
    steps.iter().map(|step| step.iter().map(String::as_str).collect()).collect()
}

fn gpt2(parsed: &Parsed) -> Option<Plain> {
    let Model::Bpe { merges, unknown, ignore_merges, prefix, suffix, .. } = &parsed.model else { return None };
    let vocabulary = &parsed.vocabulary;
    let is_usual = prefix.is_empty() && suffix.is_empty() && parsed.decoder == ["ByteLevel"];
    // Each byte has a token, or what has none is left out.
    let spells_all = unknown.is_none() || vocabulary.has_bytes(|byte| char_of_byte(byte).to_string());
    if !is_usual || !spells_all || merges.iter().any(|(left, right)| left.contains(' ') || right.contains(' ')) {
        return None;
    }
    let bytes = |regex| vec!["ByteLevel", "false", regex];
    let split = |expression| vec!["Split", "Regex", expression, "Isolated", "false"];
    let digits = vec!["Digits", "true"];
    let cuts = texts(&parsed.pre_tokenizers);
    let composes = match texts(&parsed.normalizers).as_slice() {
        [] if is_one_search(vocabulary) => false,
        [step] if step == &["NFC"] && vocabulary.added.values().all(|flags| !flags.normalized) => true,
        _ => return None,
    };
    let name = if cuts == [bytes("true")] {
        if composes { "olmo" } else { "gpt-2" }
    } else if cuts == [digits, bytes("true")] {
        if composes { "command-r" } else { "smollm" }
    } else if cuts == [split(LLAMA3), bytes("false")] {
        let name = if *ignore_merges { "llama-bpe" } else { "smaug-bpe" };
        return (!composes).then_some(Plain::Gpt2(name));
    } else if cuts == [split(QWEN2), bytes("false")] {
        if composes { "qwen2" } else { "deepseek-r1-qwen" }
    } else {
        return None;
    };
    (!ignore_merges).then_some(Plain::Gpt2(name))
}

/// Whether it is the same to look for all added tokens at once, and for those without `normalized` first: where no two that differ in it can
/// lie over each other.
fn is_one_search(vocabulary: &Vocabulary) -> bool {
    /// Most pairs that are looked at.
    const MOST: usize = 1 << 22;
    let text = |id: u32| vocabulary.tokens.get(id as usize).map_or("", String::as_str);
    let [first, second] =
        [false, true].map(|normalized| vocabulary.added_where(|flags| flags.normalized == normalized));
    let overlap = |a: &str, b: &str| {
        let ends = |a: &str, b: &str| a.char_indices().any(|(at, _)| a.get(at..).is_some_and(|end| b.starts_with(end)));
        a.contains(b) || b.contains(a) || ends(a, b) || ends(b, a)
    };
    first.len().saturating_mul(second.len()) <= MOST
        && !first.iter().any(|a| second.iter().any(|b| overlap(text(*a), text(*b))))
}

/// SentencePiece's BPE merges whatever two tokens make a third, in the order of the thirds. Merges of pairs say the same only where all pairs
/// are there that make a token, those of a token one after another.
fn llama(parsed: &Parsed) -> Option<Plain> {
    let Model::Bpe { merges, ignore_merges: false, prefix, suffix, .. } = &parsed.model else { return None };
    let vocabulary = &parsed.vocabulary;
    let has_bytes = vocabulary.has_bytes(|byte| format!("<0x{byte:02X}>"));
    let is_raw = vocabulary.added.values().all(|flags| !flags.normalized);
    if !prefix.is_empty() || !suffix.is_empty() || !has_bytes || !is_raw {
        return None;
    }
    let (normalizers, cuts) = (texts(&parsed.normalizers), texts(&parsed.pre_tokenizers));
    let replace = vec!["Replace", "String", " ", "\u{2581}"];
    let space_prefix = if cuts.is_empty() && normalizers == [vec!["Prepend", "\u{2581}"], replace.clone()] {
        true
    } else if cuts.is_empty() && normalizers == [replace]
        || normalizers.is_empty() && cuts == [vec!["Metaspace", "\u{2581}", "never", "false"]]
    {
        false
    } else {
        return None;
    };
    let lead = if space_prefix { "always" } else { "never" };
    if parsed.decoder != ["Metaspace", "\u{2581}", lead] {
        return None;
    }
    // The token of each pair; those of one token follow each other.
    let mut pairs: HashMap<String, Vec<&str>> = HashMap::new();
    let mut last = String::new();
    for (left, right) in merges {
        let joined = format!("{left}{right}");
        if joined != last && pairs.contains_key(&joined) {
            return None;
        }
        pairs.entry(joined.clone()).or_default().push(left);
        last = joined;
    }
    let is_piece = |text: &str| {
        let kind = vocabulary.ids.get(text).and_then(|id| vocabulary.kinds.get(*id as usize));
        matches!(kind, Some(Kind::Normal))
    };
    for (_, token, _) in vocabulary.iter().filter(|(.., kind)| *kind == Kind::Normal) {
        let known = pairs.get(token);
        for (at, _) in token.char_indices().skip(1) {
            let Some((left, right)) = token.split_at_checked(at) else { continue };
            if is_piece(left) && is_piece(right) && !known.is_some_and(|known| known.contains(&left)) {
                return None;
            }
        }
    }
    Some(Plain::Llama { space_prefix })
}

fn bert(parsed: &Parsed) -> Option<Plain> {
    let Model::WordPiece { prefix, longest: 100, .. } = &parsed.model else { return None };
    let vocabulary = &parsed.vocabulary;
    let is_usual = prefix == "##"
        && parsed.decoder == ["WordPiece", "##"]
        && texts(&parsed.pre_tokenizers) == [["BertPreTokenizer"]];
    // Tokens that continue a word are written without their mark: no other may be spelled like one.
    let is_apart = |token: &str| token.contains(|c: char| c.is_ascii_punctuation() || c.is_whitespace());
    let mut added = vocabulary.added.iter();
    let are_apart = added.all(|(id, flags)| {
        !flags.normalized && vocabulary.tokens.get(*id as usize).is_some_and(|token| is_apart(token))
    });
    let is_ambiguous = vocabulary.ids.keys().any(|token| token.starts_with("##\u{2581}"));
    if !is_usual || !are_apart || is_ambiguous {
        return None;
    }
    match texts(&parsed.normalizers).as_slice() {
        [step] => match step.as_slice() {
            ["BertNormalizer", "true", "true", strip_accents, lowercase] => {
                Some(Plain::Bert { lowercase: *lowercase == "true", strip_accents: *strip_accents == "true" })
            }
            _ => None,
        },
        _ => None,
    }
}

impl Plain {
    /// Writes a tokenizer under the name.
    pub(super) fn write(self, parsed: &mut Parsed, planner: &mut Planner) {
        let vocabulary = &mut parsed.vocabulary;
        match self {
            Plain::Gpt2(name) => {
                let Model::Bpe { merges, .. } = &parsed.model else { return };
                vocabulary.write(planner, "gpt2", |token, _| token.to_owned());
                planner.metadata("tokenizer.ggml.pre", name);
                let spelled = merges.iter().map(|(left, right)| format!("{left} {right}"));
                planner.metadata("tokenizer.ggml.merges", spelled.collect::<Vec<_>>());
            }
            Plain::Llama { space_prefix } => {
                let Model::Bpe { merges, unknown, .. } = &parsed.model else { return };
                if let Some(kind) = unknown.and_then(|id| vocabulary.kinds.get_mut(id as usize)) {
                    *kind = Kind::Unknown;
                }
                let mut ranks = HashMap::new();
                for (rank, (left, right)) in merges.iter().enumerate() {
                    ranks.entry(format!("{left}{right}")).or_insert(rank);
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
                planner.metadata("tokenizer.ggml.add_space_prefix", space_prefix);
            }
            Plain::Bert { .. } => {
                let added = &vocabulary.added;
                let ids = &vocabulary.ids;
                vocabulary.write(planner, "bert", |token, _| match token.strip_prefix("##") {
                    _ if ids.get(token).is_some_and(|id| added.contains_key(id)) => token.to_owned(),
                    Some(rest) => rest.to_owned(),
                    None => format!("\u{2581}{token}"),
                });
            }
        }
    }
}

/// Writes the flags of BERT's cleaning, which come after its tokens.
pub(super) fn write_flags(parsed: &Parsed, planner: &mut Planner) {
    if let Some(Plain::Bert { lowercase, strip_accents }) = plain(parsed) {
        planner.metadata("tokenizer.ggml.normalizer.lowercase", lowercase);
        if strip_accents != lowercase {
            planner.metadata("tokenizer.ggml.normalizer.strip_accents", strip_accents);
        }
    }
}
