//! The errors of [`Gguf::parse`](crate::Gguf::parse).

use core::fmt;

use crate::ValueKind;

/// Why a file was refused. `offset` is where in the file the offending field begins, in bytes; `field` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's line explains its fields")]
pub enum Error {
    /// The file ends inside `field`, which needs `needed` bytes where `left` remain.
    Truncated { field: &'static str, offset: u64, needed: u64, left: u64 },
    /// The first four bytes are not `GGUF`.
    BadMagic { found: [u8; 4] },
    /// The version reads as a plausible one with its bytes swapped.
    BigEndian { version: u32 },
    /// Neither version 2 nor 3.
    UnsupportedVersion { version: u32 },
    /// `n_tensors` or `n_kv` is above what the bytes left can hold, or above this crate's limit.
    CountTooLarge { field: &'static str, offset: u64, count: u64, limit: u64 },
    /// A key or tensor name is empty or longer than `limit` bytes.
    BadLength { field: &'static str, offset: u64, length: u64, limit: u64 },
    /// Text that is not UTF-8.
    NotUtf8 { field: &'static str, offset: u64 },
    /// A NUL byte in a key or tensor name.
    NulByte { field: &'static str, offset: u64 },
    /// A second record, at `offset`, with the key or tensor name of the one at `first`.
    Duplicate { field: &'static str, offset: u64, first: u64 },
    /// A metadata value or array element of a type that GGUF does not define.
    UnknownValueType { field: &'static str, offset: u64, id: u32 },
    /// A boolean that is neither 0 nor 1.
    BadBool { offset: u64, value: u8 },
    /// Arrays nested deeper than [`MAX_NESTING`](crate::MAX_NESTING).
    NestedTooDeep { offset: u64 },
    /// An array, an element count, a tensor's size or its end does not fit in 64 bits (element counts: in 63).
    SizeOverflow { field: &'static str, offset: u64 },
    /// `general.alignment` is not a power of two from 8 to [`MAX_ALIGNMENT`](crate::MAX_ALIGNMENT).
    BadAlignment { offset: u64, value: u32 },
    /// `general.alignment` is not of type u32.
    AlignmentType { offset: u64, found: ValueKind },
    /// More than four dimensions.
    TooManyDims { offset: u64, n_dims: u32 },
    /// Dimension number `index` is zero, or 2^63 and more.
    BadDimension { offset: u64, index: u32, value: u64 },
    /// A tensor type that ggml does not know, or has removed.
    UnknownTensorType { offset: u64, id: u32 },
    /// The row length is not a multiple of the type's block length.
    PartialBlock { offset: u64, row: u64, block: u64 },
    /// A tensor's offset is not a multiple of the alignment.
    Misaligned { offset: u64, value: u64, alignment: u32 },
    /// A tensor's data ends at byte `end` of a file of `len` bytes.
    DataPastEnd { offset: u64, end: u64, len: u64 },
    /// The data of the tensor recorded at `offset` overlaps that of the tensor recorded at `other`.
    Overlap { offset: u64, other: u64 },
}

impl Error {
    /// Where in the file the offending field begins, in bytes.
    pub fn offset(&self) -> u64 {
        match *self {
            Error::BadMagic { .. } => 0,
            Error::BigEndian { .. } | Error::UnsupportedVersion { .. } => 4,
            Error::Truncated { offset, .. }
            | Error::CountTooLarge { offset, .. }
            | Error::BadLength { offset, .. }
            | Error::NotUtf8 { offset, .. }
            | Error::NulByte { offset, .. }
            | Error::Duplicate { offset, .. }
            | Error::UnknownValueType { offset, .. }
            | Error::BadBool { offset, .. }
            | Error::NestedTooDeep { offset }
            | Error::SizeOverflow { offset, .. }
            | Error::BadAlignment { offset, .. }
            | Error::AlignmentType { offset, .. }
            | Error::TooManyDims { offset, .. }
            | Error::BadDimension { offset, .. }
            | Error::UnknownTensorType { offset, .. }
            | Error::PartialBlock { offset, .. }
            | Error::Misaligned { offset, .. }
            | Error::DataPastEnd { offset, .. }
            | Error::Overlap { offset, .. } => offset,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated { field, needed, left, .. } => {
                write!(
                    f,
                    "the file ends inside {field}, which needs {needed} bytes where {left} are left; is it complete?"
                )
            }
            Error::BadMagic { found } => {
                write!(f, "this is not a GGUF file: it begins with \"{}\"", found.escape_ascii())
            }
            Error::BigEndian { version } => {
                write!(f, "the file is big-endian (version {version}); only little-endian files are supported")
            }
            Error::UnsupportedVersion { version } => {
                write!(f, "the GGUF version is {version}; versions 2 and 3 are supported")
            }
            Error::CountTooLarge { field, count, limit, .. } => {
                write!(f, "{field} is {count}, but at most {limit} are accepted here")
            }
            Error::BadLength { field, length, limit, .. } => {
                write!(f, "{field} has {length} bytes; 1 to {limit} are allowed")
            }
            Error::NotUtf8 { field, .. } => write!(f, "{field} is not UTF-8"),
            Error::NulByte { field, .. } => write!(f, "{field} contains a NUL byte"),
            Error::Duplicate { field, first, .. } => write!(f, "{field} is the same as in the record at byte {first}"),
            Error::UnknownValueType { field, id, .. } => write!(f, "{field} {id} is unknown"),
            Error::BadBool { value, .. } => write!(f, "a boolean has the value {value}, which is neither 0 nor 1"),
            Error::NestedTooDeep { .. } => write!(f, "arrays are nested deeper than {}", crate::MAX_NESTING),
            Error::SizeOverflow { field, .. } => write!(f, "{field} is too large"),
            Error::BadAlignment { value, .. } => {
                write!(f, "general.alignment is {value}, not a power of two from 8 to {}", crate::MAX_ALIGNMENT)
            }
            Error::AlignmentType { found, .. } => write!(f, "general.alignment has the type {}, not u32", found.name()),
            Error::TooManyDims { n_dims, .. } => write!(f, "a tensor has {n_dims} dimensions; at most 4 are supported"),
            Error::BadDimension { index, value, .. } => {
                write!(f, "dimension {index} of a tensor is {value}, which is not from 1 to 2^63 - 1")
            }
            Error::UnknownTensorType { id, .. } => write!(f, "tensor type {id} is unknown or was removed from ggml"),
            Error::PartialBlock { row, block, .. } => {
                write!(f, "a row has {row} elements, which is not a multiple of the block's {block}")
            }
            Error::Misaligned { value, alignment, .. } => {
                write!(f, "tensor offset {value} is not a multiple of the alignment {alignment}")
            }
            Error::DataPastEnd { end, len, .. } => {
                write!(f, "the data of a tensor ends at byte {end}, but the file has {len} bytes; is it complete?")
            }
            Error::Overlap { other, .. } => {
                write!(f, "the data of a tensor overlaps that of the record at byte {other}")
            }
        }?;
        write!(f, " (at byte {})", self.offset())
    }
}

impl core::error::Error for Error {}
