//! The errors of TensorFlow Lite files.

use std::fmt;

/// Why a TensorFlow Lite file cannot be converted. Offsets count bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum Error {
    /// The file does not have the identifier.
    NotTflite,
    /// A version of the schema that is not known.
    Version { version: i32 },
    /// A field points outside of the file, or ends there.
    Damaged { field: &'static str, offset: usize },
    /// More of something than any model has.
    TooMany { field: &'static str, found: usize, most: usize },
    /// A number that refers to nothing.
    Index { field: &'static str, index: i64, count: usize },
    /// A tensor's shape, or data that are not of that shape.
    Shape { tensor: String, field: &'static str },
    /// A scale or zero point that is missing or invalid.
    Quantization { tensor: String, field: &'static str },
    /// A tensor that must have its data in the file.
    NotConstant { tensor: String },
    /// A tensor that is used before an operator has computed it, or twice computed.
    NotComputed { tensor: String },
    /// A tensor of a type that is not computed with.
    Kind { tensor: String, kind: String },
    /// An operator, by its place and name, with what about it cannot be converted.
    Operator { index: usize, name: String, reason: &'static str },
    /// The main graph has not one input and one output.
    Ports { inputs: usize, outputs: usize },
    /// The model has a manifest of a wake word, but an input or an output that is not of one.
    WakeWord { tensor: String, field: &'static str },
    /// The plan does not fit 31 bits.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotTflite => write!(f, "this is not a TensorFlow Lite file: the identifier at offset 4 is not TFL3"),
            Error::Version { version } => write!(f, "the schema version is {version}; version 3 is supported"),
            Error::Damaged { field, offset } => write!(f, "{field} at offset {offset} ends past the end of the file"),
            Error::TooMany { field, found, most } => {
                write!(f, "there are {found} {field}, but at most {most} are accepted")
            }
            Error::Index { field, index, count } => {
                write!(f, "{field}: index {index} is out of range; there are {count}")
            }
            Error::Shape { tensor, field } => write!(f, "{field} of tensor {tensor:?} is invalid"),
            Error::Quantization { tensor, field } => {
                write!(f, "{field} of tensor {tensor:?} is missing or invalid for int8")
            }
            Error::NotConstant { tensor } => write!(f, "tensor {tensor:?} must be a constant of its operator's type"),
            Error::NotComputed { tensor } => write!(f, "tensor {tensor:?} is not computed before it is used"),
            Error::Kind { tensor, kind } => {
                write!(f, "tensor {tensor:?} has the type {kind}; only int8 models are supported")
            }
            Error::Operator { index, name, reason } => write!(f, "operator {index}, {name}: {reason}"),
            Error::Ports { inputs, outputs } => {
                write!(
                    f,
                    "the model has {inputs} inputs and {outputs} outputs; only models with one of each are supported"
                )
            }
            Error::WakeWord { tensor, field } => {
                write!(f, "tensor {tensor:?}: {field}, as its manifest says that it is a wake word's model")
            }
            Error::TooLarge => write!(f, "the model is too large: its plan does not fit in 31 bits"),
        }
    }
}

impl std::error::Error for Error {}
