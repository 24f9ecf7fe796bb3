//! GGUF, the container of ggml models: a checked zero-copy reader over `&[u8]`, and (feature `std`) a streaming writer.
//!
//! [`Gguf::parse`] checks the whole file once: header, metadata, tensor records, and that every tensor's bytes lie inside the
//! buffer without overlapping another's. After it no accessor can fail, and none allocates. The reader follows the GGUF
//! specification, versions 2 and 3, little-endian, and is stricter where the specification leaves room for harm:
//!
//! * keys and tensor names are UTF-8, hold no NUL and are not empty; a string need not be UTF-8 where nobody reads it as a text
//!   ([`Value::NotUtf8`]);
//! * a key is at most [`MAX_KEY`] bytes, a tensor name fewer than 64, as in ggml;
//! * keys and tensor names are unique;
//! * arrays nest at most [`MAX_NESTING`] deep (no known file nests at all);
//! * at most [`MAX_METADATA`] keys and [`MAX_TENSORS`] tensors, more than ten times the largest real files. These bounds
//!   keep the checks for duplicates and overlaps, which run without memory of their own, well under a second or two on
//!   the worst file an adversary can build;
//! * the alignment is a power of two from 8 to [`MAX_ALIGNMENT`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "std")] {
//! use smidgen_gguf::{Gguf, NewTensor, TensorType, Writer};
//!
//! let mut writer = Writer::new();
//! writer.metadata("general.architecture", "llama")?;
//! let bytes = writer.write(&[NewTensor { name: "scale", dims: &[2], kind: TensorType::F32, data: &[0; 8] }], Vec::new())?;
//! let file = Gguf::parse(&bytes)?;
//! assert_eq!(file.get("general.architecture").and_then(|v| v.as_str()), Some("llama"));
//! assert_eq!(file.tensor("scale").map(|t| t.data.len()), Some(8));
//! # } Ok(()) }
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("Smidgen is little-endian only: weights are used as they lie in GGUF files");

mod cursor;
mod error;
mod order;
mod reader;
mod types;
mod value;
#[cfg(feature = "std")]
mod writer;

pub use error::Error;
pub use reader::{Gguf, Metadata, Tensor, Tensors};
pub use types::{TensorType, ValueKind};
pub use value::{Array, ArrayIter, Strings, Value};
#[cfg(feature = "std")]
pub use writer::{NewTensor, NewValue, TensorWriter, WriteError, Writer};

/// Longest metadata key, in bytes.
pub const MAX_KEY: u64 = 65_535;
/// Longest tensor name, in bytes (ggml keeps 64 with the closing NUL).
pub const MAX_NAME: u64 = 63;
/// Most metadata records in a file.
pub const MAX_METADATA: u64 = 4_096;
/// Most tensors in a file.
pub const MAX_TENSORS: u64 = 65_536;
/// Deepest nesting of metadata arrays: an array of plain values has depth 1.
pub const MAX_NESTING: u32 = 4;
/// Alignment of tensor data where `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u32 = 32;
/// Largest `general.alignment` accepted.
pub const MAX_ALIGNMENT: u32 = 1 << 20;

/// The four bytes every GGUF file begins with.
const MAGIC: [u8; 4] = *b"GGUF";
/// The metadata key that sets the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
