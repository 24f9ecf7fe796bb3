//! The models of `tokenizer.json`: how pieces are spelled with tokens.

use super::vocabulary::Vocabulary;
use super::{TOKENIZER, kind_of};
use crate::Error;
use crate::json::Json;
use crate::plan::Planner;
use serde_json::Value;
use smidgen::tokenizer::char_of_byte;
use std::collections::HashMap;

/// A model and what it is set to.
pub(super) enum Model {
    Bpe {
        /// Pairs of tokens, in order.
        merges: Vec<(String, String)>,
        unknown: Option<u32>,
        byte_fallback: bool,
        fuse_unknown: bool,
        ignore_merges: bool,
        prefix: String,
        suffix: String,
    },
    WordPiece {
        unknown: Option<u32>,
        prefix: String,
        /// Characters of the longest piece that is spelled.
        longest: u32,
    },
    Unigram {
        unknown: Option<u32>,
        byte_fallback: bool,
    },
}

impl Model {
    /// Reads the model of `tokenizer.json`. `letters` says whether pieces are made of byte-level BPE's letters.
    pub(super) fn read(json: &Json, vocabulary: &Vocabulary, letters: bool) -> Result<Model, Error> {
        let model = json.require("model")?;
        let text = |key| Ok::<_, Error>(model.get_str(key)?.unwrap_or_default().to_owned());
        let flag = |key| Ok::<_, Error>(model.get_bool(key)?.unwrap_or(false));
        // Older files name no type.
        let kind = match kind_of(&model)? {
            "" if model.get("merges").is_some() => "BPE",
            "" if model.get("max_input_chars_per_word").is_some()
                || model.get("continuing_subword_prefix").is_some() =>
            {
                "WordPiece"
            }
            "" if model.require("vocab")?.is_list() => "Unigram",
            "" => "WordPiece",
            kind => kind,
        };
        match kind {
            "BPE" => {
                if let Some(dropout) = model.get("dropout").filter(|dropout| !matches!(dropout.f32(), Ok(0.0))) {
                    return Err(dropout.unsupported());
                }
                let byte_fallback = flag("byte_fallback")?;
                let (prefix, suffix) = (text("continuing_subword_prefix")?, text("end_of_word_suffix")?);
                // Where every byte has a token, nothing is unknown.
                let has_letters = |before: &str, after: &str| {
                    vocabulary.has_bytes(|byte| format!("{before}{}{after}", char_of_byte(byte)))
                };
                let knows_all = byte_fallback && vocabulary.has_bytes(|byte| format!("<0x{byte:02X}>"))
                    || letters
                        && ["", &prefix]
                            .iter()
                            .all(|before| ["", &suffix].iter().all(|after| has_letters(before, after)));
                let field = model.get("unk_token").filter(|token| token.peek_str() != Some(""));
                let unknown = match field {
                    None => None,
                    Some(token) if knows_all => token.peek_str().and_then(|token| vocabulary.ids.get(token).copied()),
                    Some(token) => {
                        let text = token.str()?;
                        if !vocabulary.model_has(text) {
                            let reason = format!("model: unk_token {text:.64?} is not in the vocabulary");
                            return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
                        }
                        vocabulary.ids.get(text).copied()
                    }
                };
                Ok(Model::Bpe {
                    merges: last_of_equals(merges(&model)?),
                    unknown,
                    byte_fallback,
                    fuse_unknown: unknown.is_some() && !knows_all && flag("fuse_unk")?,
                    ignore_merges: flag("ignore_merges")?,
                    prefix,
                    suffix,
                })
            }
            "WordPiece" => {
                let token = model.get_str("unk_token")?.unwrap_or("[UNK]");
                let unknown = vocabulary.ids.get(token).copied().filter(|_| vocabulary.model_has(token));
                let Some(unknown) = unknown else {
                    let reason = format!("model: unk_token {token:.64?} is not in the vocabulary");
                    return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
                };
                Ok(Model::WordPiece {
                    unknown: Some(unknown),
                    prefix: model.get_str("continuing_subword_prefix")?.unwrap_or("##").to_owned(),
                    longest: model.get_u32("max_input_chars_per_word")?.unwrap_or(100),
                })
            }
            "Unigram" => {
                let field = model.require("unk_id")?;
                let unknown = field.u32()?;
                let known = vocabulary.tokens.get(unknown as usize).is_some_and(|token| vocabulary.model_has(token));
                if !known || vocabulary.scores.is_empty() {
                    return Err(field.wrong("a token of the vocabulary"));
                }
                Ok(Model::Unigram { unknown: Some(unknown), byte_fallback: flag("byte_fallback")? })
            }
            other => Err(super::unknown(TOKENIZER, "the model", other)),
        }
    }

    /// The name in a GGUF file.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Model::Bpe { .. } => "bpe",
            Model::WordPiece { .. } => "wordpiece",
            Model::Unigram { .. } => "unigram",
        }
    }

    pub(super) fn unknown(&self) -> Option<u32> {
        match self {
            Model::Bpe { unknown, .. } | Model::WordPiece { unknown, .. } | Model::Unigram { unknown, .. } => *unknown,
        }
    }

    pub(super) fn falls_back_to_bytes(&self) -> bool {
        match self {
            Model::Bpe { byte_fallback, .. } | Model::Unigram { byte_fallback, .. } => *byte_fallback,
            Model::WordPiece { .. } => false,
        }
    }

    /// Writes what a model is set to, where that is not the default of its reader.
    pub(super) fn write(&self, planner: &mut Planner, vocabulary: &Vocabulary) {
        let own = |key: &str| format!("smidgen.tokenizer.{key}");
        let mut set = |key: &str, is: bool| {
            if is {
                planner.metadata(own(key), true);
            }
        };
        match self {
            Model::Bpe { merges, byte_fallback, fuse_unknown, ignore_merges, prefix, suffix, .. } => {
                set("byte_fallback", *byte_fallback);
                set("fuse_unknown", *fuse_unknown);
                set("ignore_merges", *ignore_merges);
                for (key, text) in [("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)] {
                    if !text.is_empty() {
                        planner.metadata(own(key), text.as_str());
                    }
                }
                let id = |token: &String| vocabulary.ids.get(token).copied().unwrap_or(u32::MAX);
                let pairs: Vec<u32> = merges.iter().flat_map(|(left, right)| [id(left), id(right)]).collect();
                planner.metadata(own("merges"), pairs);
            }
            Model::WordPiece { prefix, longest, .. } => {
                planner.metadata(own("continuing_subword_prefix"), prefix.as_str());
                planner.metadata(own("max_word_characters"), *longest);
            }
            Model::Unigram { byte_fallback, .. } => {
                set("byte_fallback", *byte_fallback);
                let scores = &vocabulary.scores;
                if scores.iter().all(|score| f64::from(*score as f32) == *score) {
                    planner.metadata(
                        "tokenizer.ggml.scores",
                        scores.iter().map(|score| *score as f32).collect::<Vec<_>>(),
                    );
                } else {
                    planner.metadata(own("scores"), scores.clone());
                }
            }
        }
    }

    /// That every merge is of two tokens and makes a third.
    pub(super) fn check(&self, vocabulary: &Vocabulary) -> Result<(), Error> {
        let Model::Bpe { merges, prefix, .. } = self else { return Ok(()) };
        for (index, (left, right)) in merges.iter().enumerate() {
            let joined = right.strip_prefix(prefix.as_str()).map(|rest| format!("{left}{rest}"));
            if !vocabulary.model_has(left)
                || !vocabulary.model_has(right)
                || !joined.is_some_and(|joined| vocabulary.model_has(&joined))
            {
                let reason = format!(
                    "model.merges[{index}]: {left:.64?} and {right:.64?}, or what they make, are not in the vocabulary"
                );
                return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
            }
        }
        Ok(())
    }
}

/// The pairs that are merged, in order: texts of both with a space between, or in newer files a list of two.
pub(super) fn merges(model: &Json) -> Result<Vec<(String, String)>, Error> {
    let field = model.require("merges")?;
    let list = field.value().as_array().ok_or_else(|| field.wrong("a list"))?;
    let pair = |merge: &Value| {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        let pair = pair.map(|(left, right)| (left.to_owned(), right.to_owned()));
        pair.ok_or_else(|| field.wrong("a list of pairs of tokens"))
    };
    list.iter().map(pair).collect()
}

/// Of equal pairs the last counts.
fn last_of_equals(merges: Vec<(String, String)>) -> Vec<(String, String)> {
    let last: HashMap<_, _> = merges.iter().enumerate().map(|(index, pair)| (pair.clone(), index)).collect();
    if last.len() == merges.len() {
        return merges;
    }
    merges.into_iter().enumerate().filter(|(index, pair)| last.get(pair) == Some(index)).map(|(_, pair)| pair).collect()
}
