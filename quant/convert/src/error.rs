//! The errors of conversions.

use crate::{safetensors, tflite};
use std::fmt;
use std::io;

/// Why a file cannot be converted, quantized, packed or unpacked.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's line explains its fields")]
pub enum Error {
    /// The file is not a valid GGUF file.
    Gguf(smidgen_gguf::Error),
    /// A text of a GGUF file that is not UTF-8; `offset` is where it begins, in bytes.
    NotUtf8 { key: &'static str, offset: u64 },
    /// No tensor can be packed, or unpacked, as was `wanted`.
    Nothing { wanted: &'static str },
    /// Some tensors of a file that is to be packed are packed already: to unpack the result would unpack them too.
    PartlyPacked { tensor: String },
    /// Writing failed.
    Io(io::Error),
    /// A weights file is damaged.
    SafeTensors { file: String, error: safetensors::Error },
    /// A TensorFlow Lite file is damaged, or not one that can be converted.
    Tflite(tflite::Error),
    /// A file that the conversion needs is missing.
    MissingFile { file: String },
    /// Weights are pickled: reading them would run a program.
    Pickled { file: String },
    /// Some of the weights files are missing, by their names.
    Shards { file: String, count: u32, found: usize },
    /// A text file is not UTF-8; the place in bytes.
    Encoding { file: String, offset: usize },
    /// A sidecar file is not valid JSON; line and column count from 1.
    Json { file: String, line: usize, column: usize, reason: String },
    /// A required field is missing.
    MissingField { file: String, field: String },
    /// A field is not of the type or range `expected`.
    WrongField { file: String, field: String, expected: &'static str },
    /// A field has a value that the converter does not know.
    Unsupported { file: String, field: String, value: String },
    /// A field that the conversion does not know.
    UnknownField { file: String, field: String, value: String },
    /// The index names a weights file outside of the folder.
    ShardName { file: String, name: String },
    /// A tensor that the index promises is not in the weights file it names.
    NotInShard { tensor: String, file: String },
    /// Two weights files have a tensor of the same name.
    Duplicate { tensor: String, file: String },
    /// `config.json` names no architecture that can be converted.
    UnknownArchitecture { name: String, known: String },
    /// A tensor that the architecture needs is missing.
    MissingTensor { tensor: String },
    /// A tensor whose shape disagrees with the configuration.
    WrongShape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
    /// A tensor that has no place in the architecture.
    UnusedTensor { tensor: String },
    /// A tensor of a type that holds no weights, or whose weights cannot be read.
    Dtype { tensor: String, dtype: String },
    /// A weight that is infinite or NaN.
    NotFinite { tensor: String, row: usize, column: usize, value: f32 },
    /// A finite weight that is too large for the format in which it is to be written, or that makes a scale of its block too large.
    Overflow { tensor: String, row: usize, column: usize, value: f64, format: smidgen_quant::Format },
    /// Weights of a type for which there is no encoder.
    Encode { tensor: String, error: smidgen_quant::Error },
    /// The tokenizer is of a kind that cannot be converted.
    Tokenizer { file: String, reason: String },
    /// The GGUF file cannot hold what the conversion wants to write.
    Write(smidgen_gguf::WriteError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Gguf(error) => error.fmt(f),
            Error::NotUtf8 { key, offset } => write!(f, "{key} is not UTF-8 (at byte {offset})"),
            Error::Nothing { wanted } => write!(f, "there is no tensor that can be {wanted}"),
            Error::PartlyPacked { tensor } => write!(f, "tensor {tensor:?} is packed already; unpack the file first"),
            Error::Io(error) => write!(f, "cannot write: {error}"),
            Error::SafeTensors { file, error } => write!(f, "{file}: {error}"),
            Error::Tflite(error) => error.fmt(f),
            Error::MissingFile { file } => write!(f, "{file} is missing; download it with the checkpoint"),
            Error::Pickled { file } => {
                write!(f, "{file}: the weights are pickled, which is not read; save them as safetensors first")
            }
            Error::Shards { file, count, found } => {
                write!(
                    f,
                    "{file} is one of {count} weights files, of which {found} are there; is the checkpoint complete?"
                )
            }
            Error::Encoding { file, offset } => write!(f, "{file}: the text is not UTF-8 at offset {offset}"),
            Error::Json { file, line, column, reason } => {
                write!(f, "{file}: line {line}, column {column}: {reason}")
            }
            Error::MissingField { file, field } => write!(f, "{file}: {field:?} is missing"),
            Error::WrongField { file, field, expected } => write!(f, "{file}: {field:?} is not {expected}"),
            Error::Unsupported { file, field, value } => {
                write!(f, "{file}: {field:?} is {value}, which is not supported")
            }
            Error::UnknownField { file, field, value } => write!(
                f,
                "{file}: {field:?} is {value}, a field that is not known and may change results; delete it from the file if it does not"
            ),
            Error::ShardName { file, name } => {
                write!(f, "{file}: the weights file {name:?} is not in the same folder")
            }
            Error::NotInShard { tensor, file } => write!(f, "{file}: tensor {tensor:?} is missing"),
            Error::Duplicate { tensor, file } => write!(f, "{file}: tensor {tensor:?} is in another file too"),
            Error::UnknownArchitecture { name, known } => {
                write!(f, "config.json: the architecture {name:?} is not supported; supported are {known}")
            }
            Error::MissingTensor { tensor } => write!(f, "tensor {tensor:?} is missing"),
            Error::WrongShape { tensor, found, expected } => {
                write!(f, "tensor {tensor:?} has the shape {found:?}, but config.json asks for {expected:?}")
            }
            Error::UnusedTensor { tensor } => write!(f, "tensor {tensor:?} does not belong to this architecture"),
            Error::Dtype { tensor, dtype } => {
                write!(f, "tensor {tensor:?} has the type {dtype}, which is not supported for weights")
            }
            Error::NotFinite { tensor, row, column, value } => {
                write!(f, "tensor {tensor:?} has an infinite or NaN weight in row {row}, column {column}: {value}")
            }
            Error::Overflow { tensor, row, column, value, format } => {
                write!(
                    f,
                    "tensor {tensor:?} has a weight in row {row}, column {column} that is too large for {}: ",
                    format.name()
                )?;
                // As short as the source has it.
                let short = *value as f32;
                if f64::from(short) == *value { write!(f, "{short:?}") } else { write!(f, "{value:?}") }?;
                let instead = match format {
                    smidgen_quant::Format::F32 => "",
                    smidgen_quant::Format::BF16 => "F32, or ",
                    _ => "BF16 or F32, or ",
                };
                write!(f, "; use {instead}--clamp")
            }
            Error::Encode { tensor, error } => write!(f, "tensor {tensor:?}: {error}"),
            Error::Tokenizer { file, reason } => write!(f, "{file}: {reason}"),
            Error::Write(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Gguf(error) => Some(error),
            Error::Io(error) => Some(error),
            Error::SafeTensors { error, .. } => Some(error),
            Error::Tflite(error) => Some(error),
            Error::Encode { error, .. } => Some(error),
            Error::Write(error) => Some(error),
            _ => None,
        }
    }
}

impl From<smidgen_gguf::Error> for Error {
    fn from(error: smidgen_gguf::Error) -> Error {
        Error::Gguf(error)
    }
}

impl From<tflite::Error> for Error {
    fn from(error: tflite::Error) -> Error {
        Error::Tflite(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<smidgen_gguf::WriteError> for Error {
    fn from(error: smidgen_gguf::WriteError) -> Error {
        match error {
            smidgen_gguf::WriteError::Io(error) => Error::Io(error),
            error => Error::Write(error),
        }
    }
}
