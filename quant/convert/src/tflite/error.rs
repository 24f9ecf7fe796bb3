//! What can be wrong with a TensorFlow Lite file.

use std::fmt;

/// Why a TensorFlow Lite file cannot be converted. Offsets count bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum Error {
    /// The file has not the identifier.
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
    /// A scale or zero point that cannot be.
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
    /// The plan does not fit 31 bits.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotTflite => write!(f, "identifier at offset 4 is not TFL3, so this is no TensorFlow Lite file"),
            Error::Version { version } => write!(f, "schema version {version} is not supported, 3 is"),
            Error::Damaged { field, offset } => write!(f, "{field} at offset {offset} passes the end of the file"),
            Error::TooMany { field, found, most } => write!(f, "{found} {field}, at most {most} are taken"),
            Error::Index { field, index, count } => write!(f, "{field}: number {index} of {count}"),
            Error::Shape { tensor, field } => write!(f, "{field} of tensor {tensor:?} is impossible"),
            Error::Quantization { tensor, field } => {
                write!(f, "{field} of tensor {tensor:?} is missing or not possible for int8")
            }
            Error::NotConstant { tensor } => write!(f, "tensor {tensor:?} must be a constant of its operator's type"),
            Error::NotComputed { tensor } => write!(f, "tensor {tensor:?} is not computed before it is used"),
            Error::Kind { tensor, kind } => {
                write!(f, "tensor {tensor:?} is of type {kind}; only models of int8 are converted")
            }
            Error::Operator { index, name, reason } => write!(f, "operator {index}, {name}: {reason}"),
            Error::Ports { inputs, outputs } => {
                write!(f, "{inputs} inputs and {outputs} outputs; models with one of each are converted")
            }
            Error::TooLarge => write!(f, "the model is too large"),
        }
    }
}

impl std::error::Error for Error {}
