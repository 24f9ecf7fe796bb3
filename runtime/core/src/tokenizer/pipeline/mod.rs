//! Tokenizers by their steps, as Hugging Face's `tokenizers` takes them: added tokens that are found in the raw text, normalizers, added
//! tokens that are found in what these leave, pre-tokenizers, and a model that spells each piece. For what llama.cpp's keys cannot say:
//! `tokenizer.ggml.model` is `smidgen` then, and keys under `smidgen.tokenizer.` list the steps. docs/gguf.md has them.

mod added;
mod class;
mod model;
mod normalize;
mod parse;
mod pretokenize;
pub(crate) mod regex;
mod steps;
mod syntax;

use alloc::string::String;
use alloc::vec::Vec;

use super::merge::Merger;
use super::vocab::{Kind, Vocab, byte_of_char};
use added::{Finder, Flags};
use model::{Known, Model};
use normalize::{Normalized, Normalizer};
use pretokenize::{Pieces, PreTokenizer};

/// What `tokenizer.ggml.model` is.
pub(super) const NAME: &str = "smidgen";

/// Steps in order.
pub(super) struct Pipeline<'a> {
    /// Added tokens that are found in the text as it is.
    raw: Finder<'a>,
    /// Added tokens that are found in the normalized text.
    normalized: Finder<'a>,
    flags: Flags,
    /// Ascending ids of tokens that the model does not know.
    added_only: Vec<u32>,
    normalizers: Vec<Normalizer<'a>>,
    pre_tokenizers: Vec<PreTokenizer<'a>>,
    model: Model<'a>,
    pub(super) decoding: Decoding<'a>,
    /// Whether models have seen texts with two beginnings: those that read.
    pub(super) is_framed: bool,
}

/// What the texts of tokens stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoding<'a> {
    /// Byte-level BPE's letters.
    ByteLevel,
    /// A character for a space; whether a text, or each part of one after a special token, begins with one that is not its own.
    Metaspace(char, Lead),
    /// Words with a space between, but for tokens with this prefix.
    WordPiece(&'a str),
    /// Words that end in this suffix.
    Suffix(&'a str),
}

/// Where a space stands that is not the text's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    Nowhere,
    /// At the start of the text.
    Text,
    /// At the start of the text and after each special token.
    Parts,
}

impl Pipeline<'_> {
    /// Appends the ids of a text. Takes time in proportion to the text, if the expressions of its steps do.
    pub(super) fn encode(
        &self,
        text: &str,
        control: bool,
        vocab: &Vocab<'_>,
        unknown: Option<u32>,
        ids: &mut Vec<u32>,
    ) {
        let known = Known { vocab, added_only: &self.added_only, control };
        let mut merger = Merger::default();
        for (start, end, token) in self.raw.parts(text, vocab, &self.flags, control) {
            if let Some(id) = token {
                ids.push(id);
                continue;
            }
            let part = text.get(start..end).unwrap_or_default();
            let first = part.chars().next().map_or(0, char::len_utf8);
            let part = self.normalize(Normalized { text: part.into(), head: if start == 0 { first } else { 0 } });
            for (start, end, token) in self.normalized.parts(&part.text, vocab, &self.flags, control) {
                if let Some(id) = token {
                    ids.push(id);
                    continue;
                }
                let piece = part.text.get(start..end).unwrap_or_default();
                let head = part.head.saturating_sub(start).min(piece.len());
                let mut pieces = Pieces::new(Normalized { text: piece.into(), head });
                for step in &self.pre_tokenizers {
                    step.apply(&mut pieces);
                }
                for piece in pieces.iter() {
                    self.model.encode(piece, &known, unknown, &mut merger, ids);
                }
            }
        }
    }

    fn normalize(&self, text: Normalized) -> Normalized {
        normalize(&self.normalizers, text)
    }

    /// Appends what a token of text stands for.
    pub(super) fn append(&self, text: &str, bytes: &mut Vec<u8>) {
        match self.decoding {
            Decoding::ByteLevel => {
                for c in text.chars() {
                    match byte_of_char(c) {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
            Decoding::Metaspace(space, _) => {
                let spelled: String = text.chars().map(|c| if c == space { ' ' } else { c }).collect();
                bytes.extend_from_slice(spelled.as_bytes());
            }
            Decoding::WordPiece(prefix) => match text.strip_prefix(prefix).filter(|_| !prefix.is_empty()) {
                Some(rest) => bytes.extend_from_slice(rest.as_bytes()),
                None => {
                    bytes.push(b' ');
                    bytes.extend_from_slice(text.as_bytes());
                }
            },
            Decoding::Suffix(suffix) => match text.strip_suffix(suffix) {
                Some(word) => {
                    bytes.extend_from_slice(word.as_bytes());
                    bytes.push(b' ');
                }
                None => bytes.extend_from_slice(text.as_bytes()),
            },
        }
    }

    /// Whether a text begins with a space that is not its own; whether each part after a special token does.
    pub(super) fn leads(&self) -> (bool, bool) {
        match self.decoding {
            Decoding::Metaspace(_, lead) => (lead != Lead::Nowhere, lead == Lead::Parts),
            Decoding::WordPiece(_) => (true, true),
            Decoding::ByteLevel | Decoding::Suffix(_) => (false, false),
        }
    }
}

fn normalize(steps: &[Normalizer<'_>], text: Normalized) -> Normalized {
    steps.iter().fold(text, |text, step| step.apply(text))
}

/// Whether a token is looked for in texts.
fn is_added(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Control | Kind::UserDefined))
}
