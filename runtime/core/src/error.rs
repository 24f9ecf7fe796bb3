//! Why a model was refused, could not run, or a state could not be saved or restored: an enum for each moment. Every text is one line.

use alloc::string::String;
use core::fmt;
use smidgen_gguf::{TensorType, ValueKind};

/// A metadata key of an architecture: `llama.block_count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The part before the first dot: the value of `general.architecture`.
    pub architecture: &'static str,
    /// The rest.
    pub name: &'static str,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.architecture, self.name)
    }
}

/// A tensor's name: `output_norm.weight`, `blk.3.attn_q.weight`, `v.blk.3.ln1.weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorName {
    /// The number of the layer that it belongs to, if it does.
    pub layer: Option<usize>,
    /// The part after the layer's prefix; the prefix of a tower (`v.`, `t.`) stands before both.
    pub part: &'static str,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tower, part) = match self.part.split_at_checked(2) {
            Some((tower @ ("v." | "t."), part)) => (tower, part),
            _ => ("", self.part),
        };
        f.write_str(tower)?;
        if let Some(layer) = self.layer {
            write!(f, "blk.{layer}.")?;
        }
        f.write_str(part)
    }
}

/// Memory was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    pub(crate) bytes: usize,
}

/// Why a model was refused when it was loaded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum LoadError {
    /// No file was given, or none with `general.architecture`.
    NoArchitecture,
    /// `general.architecture` is not one of [`crate::Model::ARCHITECTURES`].
    UnknownArchitecture { name: String },
    /// A tensor is in two parts of a split file.
    DuplicateTensor { name: String },
    /// A required metadata key is missing.
    MissingKey { key: Key },
    /// A metadata value is of another type.
    KeyType { key: Key, expected: &'static str, found: ValueKind },
    /// A text, or one of an array, that is not UTF-8; `offset` is where it begins in its file, in bytes.
    NotUtf8 { key: Key, offset: u64 },
    /// An integer outside of its range: zero heads, absurdly many layers.
    KeyRange { key: Key, value: u64, least: u64, most: u64 },
    /// A float that must be finite and positive.
    KeyNumber { key: Key, value: f32 },
    /// A size of which pairs are to turn.
    Odd { key: Key, value: u64 },
    /// A size that another must divide.
    NotDivisible { key: Key, value: u64, divisor_key: Key, divisor: u64 },
    /// An array that has not the number of elements that it should have: not one for each layer, not one for each channel.
    KeyLength { key: Key, expected: usize, found: usize },
    /// A per-layer array whose layers differ, which is not supported.
    LayersDiffer { key: Key },
    /// A value that is understood but not supported.
    Unsupported { key: Key, value: u64 },
    /// A text that is none of those that are understood.
    KeyText { key: Key, value: String },
    /// `rope.scaling.type` is none of `none`, `linear`, `llama3`, `yarn`, `longrope`.
    UnknownRopeScaling { key: Key, name: String },
    /// A rotary frequency that is not finite and positive, or too large for exact angles.
    RopeFrequency { index: usize, value: f64 },
    /// A required tensor is missing.
    MissingTensor { tensor: TensorName },
    /// A tensor's shape disagrees with the hyper-parameters.
    TensorShape { tensor: TensorName, expected: [u64; 2], found: [u64; 4] },
    /// A tensor's type cannot be used where it stands.
    TensorKind { tensor: TensorName, found: TensorType },
    /// A tensor that the architecture has no use for.
    SurplusTensor { name: String },
    /// A key that changes what is computed, which the architecture does not take.
    SurplusKey { key: Key },
    /// A packed tensor of several products whose panels hold rows of two.
    PackedParts { tensor: TensorName },
    /// A weight that must be finite is not.
    WeightNotFinite { tensor: TensorName, index: usize },
    /// Memory was refused.
    OutOfMemory { bytes: usize },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::NoArchitecture => write!(f, "general.architecture is missing, so this is no model"),
            LoadError::UnknownArchitecture { name } => {
                write!(f, "architecture {name:?} is not supported")?;
                if let Some(near) = nearest(name) {
                    write!(f, "; the nearest is {near}")?;
                }
                write!(f, "; supported are:")?;
                crate::Model::ARCHITECTURES.iter().try_for_each(|known| write!(f, " {known}"))
            }
            LoadError::DuplicateTensor { name } => write!(f, "tensor {name:?} is in two parts of the file"),
            LoadError::MissingKey { key } => write!(f, "{key} is missing"),
            LoadError::KeyType { key, expected, found } => write!(f, "{key} is of type {found}, expected {expected}"),
            LoadError::NotUtf8 { key, offset } => write!(f, "{key} is not UTF-8 (at byte {offset})"),
            LoadError::KeyRange { key, value, least, most } => {
                write!(f, "{key} is {value}, expected {least} to {most}")
            }
            LoadError::KeyNumber { key, value } => write!(f, "{key} is {value}, expected a positive finite number"),
            LoadError::Odd { key, value } => {
                write!(f, "{key} is {value}, but must be even, as pairs of dimensions turn")
            }
            LoadError::NotDivisible { key, value, divisor_key, divisor } => {
                write!(f, "{key} is {value}, not a multiple of {divisor_key}, which is {divisor}")
            }
            LoadError::KeyLength { key, expected, found } => {
                write!(f, "{key} has {found} elements, expected {expected}")
            }
            LoadError::LayersDiffer { key } => write!(f, "{key} differs from layer to layer, which is not supported"),
            LoadError::Unsupported { key, value } => write!(f, "{key} is {value}, which is not supported"),
            LoadError::KeyText { key, value } => write!(f, "{key} is {value:?}, which is not supported"),
            LoadError::UnknownRopeScaling { key, name } => {
                write!(f, "{key} is {name:?}, which is not supported (none, linear, llama3, yarn and longrope are)")
            }
            LoadError::RopeFrequency { index, value } => write!(
                f,
                "rotary frequency {index} is {value}, by rope.freq_base, rope.scaling and the factors of the file"
            ),
            LoadError::MissingTensor { tensor } => write!(f, "tensor {tensor} is missing"),
            LoadError::TensorShape { tensor, expected, found } => {
                write!(f, "tensor {tensor} has the shape {found:?}, expected {expected:?}")
            }
            LoadError::TensorKind { tensor, found } => {
                write!(f, "tensor {tensor} is of type {found}, which is not supported")
            }
            LoadError::SurplusTensor { name } => {
                write!(
                    f,
                    "tensor {name:?} is none that this architecture has in a model of so many layers, so results would be wrong without it"
                )
            }
            LoadError::SurplusKey { key } => {
                write!(f, "{key} is not supported for this architecture, so results would be wrong without it")
            }
            LoadError::PackedParts { tensor } => {
                write!(f, "tensor {tensor} is packed across its parts; use the file as it was before packing")
            }
            LoadError::WeightNotFinite { tensor, index } => write!(f, "tensor {tensor}: weight {index} is not finite"),
            LoadError::OutOfMemory { bytes } => {
                write!(f, "{bytes} bytes of memory were refused; use a smaller context")
            }
        }
    }
}

impl core::error::Error for LoadError {}

impl From<OutOfMemory> for LoadError {
    fn from(refused: OutOfMemory) -> LoadError {
        LoadError::OutOfMemory { bytes: refused.bytes }
    }
}

/// The architecture whose name shares the longest beginning with this one, of three letters at least.
fn nearest(name: &str) -> Option<&'static str> {
    let common = |known: &str| known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let best = crate::Model::ARCHITECTURES.iter().max_by_key(|known| (common(known), usize::MAX - known.len()))?;
    (common(best) >= 3).then_some(*best)
}

/// Why a model could not run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum RunError {
    /// Something that the model is not made for.
    Purpose { architecture: &'static str, purpose: &'static str },
    /// A size in bytes does not fit this machine, or is more than [`crate::MAX_CONTEXT`].
    ContextTooLarge { context: usize },
    /// An option outside of its range.
    OptionRange { option: &'static str, value: f64 },
    /// A cache of q8_0 needs heads of a multiple of 32.
    CacheHeadSize { head_size: usize },
    /// Memory was refused.
    OutOfMemory { bytes: usize },
    /// There is nothing to compute.
    NoTokens,
    /// A token id that is not in the vocabulary.
    TokenRange { token: u32, vocabulary: usize },
    /// A position that the model has no embedding for.
    PositionRange { position: u32, positions: usize },
    /// An embedding of another width than the model's.
    EmbeddingWidth { expected: usize, found: usize },
    /// More rows of results were asked for than the session has room for.
    Rows { asked: usize, rows: usize },
    /// Tokens that all see each other are more than pass at once.
    Span { tokens: usize, batch: usize },
    /// A sequence that the session does not have.
    SequenceRange { sequence: usize, sequences: usize },
    /// The tokens do not fit the context any more.
    ContextFull { context: usize, used: usize, tokens: usize },
    /// The outputs are not finite. The tensor is the first with a scale or weight that is not; none if all are, and the sum overflowed.
    NotFinite { tensor: Option<TensorName> },
    /// An image whose extents and bytes disagree, or that would become empty or absurdly large.
    ImageSize { width: usize, height: usize, bytes: usize },
    /// Means and deviations that are not one (grey) or three (red, green, blue) each.
    ImageChannels { means: usize, deviations: usize },
    /// Scores to choose a token from are empty, not finite, or not of the expected number.
    Scores { found: usize },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Purpose { architecture, purpose } => {
                write!(f, "this model of the architecture {architecture} cannot {purpose}")
            }
            RunError::ContextTooLarge { context } => {
                write!(f, "a context of {context} tokens is too large for this machine")
            }
            RunError::OptionRange { option, value } => write!(f, "{option} cannot be {value}"),
            RunError::CacheHeadSize { head_size } => {
                write!(f, "a q8_0 cache needs heads of a multiple of 32 values, not {head_size}; use f16")
            }
            RunError::OutOfMemory { bytes } => write!(f, "{bytes} bytes of memory were refused; use a smaller context"),
            RunError::NoTokens => write!(f, "there are no tokens to run"),
            RunError::TokenRange { token, vocabulary } => {
                write!(f, "token {token} is not in the vocabulary of {vocabulary} tokens")
            }
            RunError::PositionRange { position, positions } => {
                write!(f, "position {position} has no embedding, the model has {positions}; use a smaller context")
            }
            RunError::EmbeddingWidth { expected, found } => {
                write!(f, "an embedding has {found} values, but the model's have {expected}")
            }
            RunError::Rows { asked, rows } => {
                write!(f, "results of {asked} tokens were asked for at once, but the session has room for {rows}")
            }
            RunError::Span { tokens, batch } => {
                write!(f, "{tokens} tokens that see each other do not fit into a batch of {batch}")
            }
            RunError::SequenceRange { sequence, sequences } => {
                write!(f, "sequence {sequence} does not exist, there are {sequences}")
            }
            RunError::ContextFull { context, used, tokens } => {
                write!(f, "{tokens} tokens do not fit: {used} of the context's {context} are used")
            }
            RunError::NotFinite { tensor: Some(tensor) } => {
                write!(f, "tensor {tensor} holds a weight that is not finite")
            }
            RunError::NotFinite { tensor: None } => write!(f, "the model's outputs overflow"),
            RunError::ImageSize { width, height, bytes } => {
                write!(f, "an image of {width} x {height} pixels in {bytes} bytes cannot be taken")
            }
            RunError::ImageChannels { means, deviations } => {
                write!(f, "images have 1 or 3 channels, but there are {means} means and {deviations} deviations")
            }
            RunError::Scores { found } => write!(f, "{found} scores cannot be chosen from"),
        }
    }
}

impl core::error::Error for RunError {}

impl From<OutOfMemory> for RunError {
    fn from(refused: OutOfMemory) -> RunError {
        RunError::OutOfMemory { bytes: refused.bytes }
    }
}

/// Why a sequence's state could not be saved or restored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum StateError {
    /// A state of another model, or of another type of cache.
    Foreign,
    /// A state of another length.
    Length { expected: usize, found: usize },
    /// The bytes are no state, or one that has changed since it was saved.
    Damaged,
    /// The sequence does not exist, or cannot hold the tokens.
    Run(RunError),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Foreign => write!(f, "the saved state is of another model, or of another type of cache"),
            StateError::Length { expected, found } => {
                write!(f, "the saved state has {found} bytes, expected {expected}")
            }
            StateError::Damaged => write!(f, "the saved state is damaged, or none"),
            StateError::Run(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StateError {}

impl From<RunError> for StateError {
    fn from(error: RunError) -> StateError {
        StateError::Run(error)
    }
}

impl From<OutOfMemory> for StateError {
    fn from(refused: OutOfMemory) -> StateError {
        StateError::Run(refused.into())
    }
}
