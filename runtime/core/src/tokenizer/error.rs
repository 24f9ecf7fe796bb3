//! Why a file's tokenizer was refused.

use alloc::string::String;
use core::fmt;

/// Why a file's tokenizer was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the variants' own texts name their fields")]
pub enum Error {
    /// A metadata key that this tokenizer needs is missing.
    Missing { key: &'static str },
    /// A metadata value, or the elements of an array, are of another type than `expected`.
    WrongType { key: &'static str, expected: &'static str },
    /// A text, or a token, is not UTF-8; `offset` is where it begins in the file, in bytes.
    NotUtf8 { key: &'static str, offset: u64 },
    /// `tokenizer.ggml.model` is none of `gpt2`, `gemma4`, `whitespace`, `llama`, `t5`, `bert`, `clip` and `smidgen`, or `smidgen.tokenizer.model` none of `bpe`, `wordpiece` and `unigram`.
    UnknownModel { name: String },
    /// `tokenizer.ggml.pre` names no known rules for splitting text.
    UnknownPre { name: String },
    /// `tokenizer.ggml.precompiled_charsmap` is not the length of a trie, the trie, and texts that each end in a NUL.
    Charsmap { bytes: usize },
    /// The step that the string `index` of a list of steps names cannot be taken.
    Step { key: &'static str, index: usize, reason: &'static str },
    /// More tokens than 2³¹, or none.
    VocabularySize { tokens: usize },
    /// `tokenizer.ggml.scores` or `token_type` has not one element per token.
    WrongLength { key: &'static str, found: usize, expected: usize },
    /// A special token's id, given or by default, is outside of the vocabulary.
    SpecialId { key: &'static str, id: i64, tokens: usize },
    /// The token `id` is of type byte, but its text is not like `<0x0A>`.
    ByteToken { id: u32 },
    /// The system refuses memory in proportion to the vocabulary.
    OutOfMemory { bytes: usize },
    /// The merge `index` is not two tokens separated by a space whose joined text is a token too.
    Merge { index: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing { key } => write!(f, "{key} is missing"),
            Error::WrongType { key, expected } => write!(f, "{key} is not of type {expected}"),
            Error::NotUtf8 { key, offset } => write!(f, "{key} is not UTF-8 (at byte {offset})"),
            Error::UnknownModel { name } => {
                write!(
                    f,
                    "tokenizer.ggml.model {name:?} is not supported (gpt2, gemma4, whitespace, llama, t5, bert, clip and smidgen are)"
                )
            }
            Error::UnknownPre { name } => write!(f, "tokenizer.ggml.pre {name:?} is not supported"),
            Error::Charsmap { bytes } => {
                write!(f, "tokenizer.ggml.precompiled_charsmap is not a table of normalizations ({bytes} bytes)")
            }
            Error::Step { key, index, reason } => write!(f, "{key}: step at element {index} {reason}"),
            Error::VocabularySize { tokens } => write!(f, "tokenizer.ggml.tokens has {tokens} tokens"),
            Error::WrongLength { key, found, expected } => {
                write!(f, "{key} has {found} elements for {expected} tokens")
            }
            Error::SpecialId { key, id, tokens } => write!(f, "{key} is {id}, but there are {tokens} tokens"),
            Error::ByteToken { id } => write!(f, "tokenizer.ggml.tokens: the byte token {id} is not like <0x0A>"),
            Error::OutOfMemory { bytes } => write!(f, "{bytes} bytes of memory were refused"),
            Error::Merge { index } => write!(f, "tokenizer.ggml.merges: merge {index} does not name tokens"),
        }
    }
}

impl core::error::Error for Error {}

/// What is wrong with a file's tokenizer and was passed over, since texts can do without.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the variants' own texts name their fields")]
pub enum Warning {
    /// The id of a token for padding, the unknown or the like is outside of the vocabulary, so that there is no such token.
    SpecialId { key: &'static str, id: i64, tokens: usize },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::SpecialId { key, id, tokens } => {
                write!(f, "{key} is {id}, but there are {tokens} tokens; it is ignored")
            }
        }
    }
}
