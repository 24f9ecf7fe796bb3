//! CLIP's byte-level BPE over words.

use super::model::Model;
use super::vocabulary::{Kind, Vocabulary};
use super::{Frame, Parsed, TOKENIZER, Types, unknown};
use crate::Error;
use crate::plan::Planner;

/// The tokens of a model from before `tokenizer.json`, and the merges, a pair on each line after the first.
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// The tokens before and after a text.
const FRAME: [(&str, &str); 2] = [("bos", "<|startoftext|>"), ("eos", "<|endoftext|>")];
/// How CLIP cuts texts.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Writes the tokenizer of a model with `size` tokens: from `tokenizer.json`, or `vocab.json` and `merges.txt`. Gives
/// the id of the token that ends a text.
pub(crate) fn clip(planner: &mut Planner, size: u32) -> Result<u32, Error> {
    let checkpoint = planner.checkpoint;
    let (mut vocabulary, pairs) = match (checkpoint.json(TOKENIZER), checkpoint.json(VOCAB), checkpoint.text(MERGES)?) {
        (Some(_), ..) => {
            let parsed = Parsed::read(planner, size, Types::None)?;
            if !is_known(&parsed) {
                return by_steps(parsed, planner);
            }
            let Model::Bpe { merges, .. } = parsed.model else {
                return Err(unknown(TOKENIZER, "the model", "of this kind"));
            };
            (parsed.vocabulary, merges)
        }
        (None, Some(vocab), Some(text)) => {
            let mut vocabulary = Vocabulary::new(VOCAB, size)?;
            vocabulary.fill(VOCAB, &vocab)?;
            let pair = |(line, text): (usize, &str)| {
                let pair = text.trim_end_matches('\r').split_once(' ').filter(|(_, right)| !right.contains(' '));
                let (left, right) = pair.ok_or_else(|| Error::Tokenizer {
                    file: MERGES.into(),
                    reason: format!("line {} is not a pair of words", line + 2),
                })?;
                Ok((left.to_owned(), right.to_owned()))
            };
            let lines = text.lines().skip(1).filter(|line| !line.is_empty()).enumerate();
            (vocabulary, lines.map(pair).collect::<Result<_, Error>>()?)
        }
        _ => return Err(Error::MissingFile { file: TOKENIZER.into() }),
    };
    for (_, token) in FRAME {
        let Some(&id) = vocabulary.ids.get(token) else {
            let reason = format!("there is no token {token}");
            return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
        };
        if !vocabulary.added.contains_key(&id) {
            vocabulary.set(TOKENIZER, id, token, Kind::Control)?;
        }
    }
    vocabulary.write(planner, "clip", |token, _| token.to_owned());
    let spelled = pairs.iter().map(|(left, right)| format!("{left} {right}"));
    planner.metadata("tokenizer.ggml.merges", spelled.collect::<Vec<_>>());
    let normalized = vocabulary.added_where(|flags| flags.normalized);
    if !normalized.is_empty() {
        planner.metadata("smidgen.tokenizer.normalized_ids", normalized);
    }
    let mut last = 0;
    for (role, token) in FRAME {
        if let Some(&id) = vocabulary.ids.get(token) {
            planner.metadata(format!("tokenizer.ggml.{role}_token_id"), id);
            last = id;
        }
    }
    Ok(last)
}

/// Whether a tokenizer's steps are those of CLIP.
fn is_known(parsed: &Parsed) -> bool {
    let is = |steps: &[Vec<String>], known: &[&[&str]]| {
        steps.len() == known.len() && steps.iter().zip(known).all(|(step, known)| step.iter().eq(known.iter()))
    };
    let Model::Bpe { merges, prefix, suffix, ignore_merges: false, byte_fallback: false, .. } = &parsed.model else {
        return false;
    };
    let of_clip = |frame: &Frame| {
        let text = |id: Option<u32>| id.and_then(|id| parsed.vocabulary.tokens.get(id as usize)).map(String::as_str);
        [text(frame.first), text(frame.last)] == FRAME.map(|(_, token)| Some(token))
    };
    let flags = parsed.vocabulary.added_where(|flags| flags.lstrip || flags.rstrip || flags.single_word);
    is(&parsed.normalizers, &[&["NFC"], &["Replace", "Regex", r"\s+", " "], &["Lowercase"]])
        && is(&parsed.pre_tokenizers, &[&["Split", "Regex", WORDS, "Removed", "true"], &["ByteLevel", "false", "true"]])
        && prefix.is_empty()
        && suffix == "</w>"
        && !merges.iter().any(|(left, right)| left.contains(' ') || right.contains(' '))
        && parsed.frame.as_ref().is_none_or(of_clip)
        && flags.is_empty()
}

/// Writes a tokenizer of other steps.
fn by_steps(parsed: Parsed, planner: &mut Planner) -> Result<u32, Error> {
    let Some(Frame { first: Some(first), last: Some(last) }) = parsed.frame else {
        return Err(unknown(TOKENIZER, "post_processor", "that does not put a token before and after a text"));
    };
    parsed.write_steps(planner);
    for (key, id) in [("unknown", parsed.model.unknown()), ("bos", Some(first)), ("eos", Some(last))] {
        if let Some(id) = id {
            planner.metadata(format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
    for key in ["bos", "eos"] {
        planner.metadata(format!("tokenizer.ggml.add_{key}_token"), true);
    }
    Ok(last)
}
