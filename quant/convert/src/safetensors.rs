//! The reader of safetensors files: a length (u64), a JSON header of that many bytes, and the tensors' data.
//!
//! [`SafeTensors::parse`] checks the whole file once, as strictly as the format's own reference does: names are unique, every
//! tensor's bytes are those of its shape and type, and together they fill the file without gap or overlap.

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;

/// Upper bound accepted from a file for the length of its header, in bytes: the limit of the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// The header's length.
const LENGTH_BYTES: usize = 8;

macro_rules! dtypes {
    ($($name:ident = $bytes:literal;)*) => {
        /// Type of a tensor's elements; the variants carry the format's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, missing_docs, reason = "the format's own names")]
        pub enum Dtype { $($name),* }

        impl Dtype {
            fn named(name: &str) -> Option<Dtype> {
                match name {
                    $(stringify!($name) => Some(Dtype::$name),)*
                    _ => None,
                }
            }

            /// The format's name.
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$name => stringify!($name)),* }
            }

            /// Bytes of an element.
            pub const fn bytes(self) -> usize {
                match self { $(Dtype::$name => $bytes),* }
            }
        }
    };
}

dtypes! {
    BOOL = 1;
    U8 = 1;
    I8 = 1;
    F8_E5M2 = 1;
    F8_E4M3 = 1;
    F8_E8M0 = 1;
    U16 = 2;
    I16 = 2;
    F16 = 2;
    BF16 = 2;
    U32 = 4;
    I32 = 4;
    F32 = 4;
    U64 = 8;
    I64 = 8;
    F64 = 8;
}

/// The errors of a safetensors file. Offsets count bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's line explains its fields")]
pub enum Error {
    /// The file has fewer bytes than the header's length takes, or than it announces.
    Truncated { field: &'static str, needed: u64, bytes: u64 },
    /// The header's length is above the limit.
    HeaderLength { bytes: u64, most: u64 },
    /// The header is no JSON object of tensors.
    Header { offset: u64, reason: String },
    /// A name given twice.
    Duplicate { tensor: String },
    /// An element type that is not known.
    UnknownDtype { tensor: String, dtype: String },
    /// More dimensions than any tensor has.
    Dimensions { tensor: String, dimensions: usize, most: usize },
    /// The product of the shape does not fit 64 bits.
    Shape { tensor: String },
    /// The data's length is not that of the shape and type.
    Size { tensor: String, found: u64, expected: u64 },
    /// The data ends before it begins.
    Backwards { tensor: String, start: u64, end: u64 },
    /// The data passes the end of the file.
    PastEnd { tensor: String, end: u64, bytes: u64 },
    /// The data of two tensors overlap.
    Overlap { tensor: String, offset: u64 },
    /// Bytes that belong to no tensor.
    Gap { offset: u64, bytes: u64 },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated { field, needed, bytes } => {
                write!(f, "{field} at offset 0 needs {needed} bytes, but the file has {bytes}; is it complete?")
            }
            Error::HeaderLength { bytes, most } => {
                write!(f, "the header length at offset 0 is {bytes}, but at most {most} are accepted")
            }
            Error::Header { offset, reason } => write!(f, "the header at offset {offset}: {reason}"),
            Error::Duplicate { tensor } => write!(f, "tensor {tensor:?} occurs twice"),
            Error::UnknownDtype { tensor, dtype } => write!(f, "tensor {tensor:?} has the unknown dtype {dtype:?}"),
            Error::Dimensions { tensor, dimensions, most } => {
                write!(f, "tensor {tensor:?} has {dimensions} dimensions, but at most {most} are accepted")
            }
            Error::Shape { tensor } => write!(f, "the size of tensor {tensor:?} does not fit in 64 bits"),
            Error::Size { tensor, found, expected } => {
                write!(
                    f,
                    "data_offsets of tensor {tensor:?} span {found} bytes, but its shape and dtype need {expected}"
                )
            }
            Error::Backwards { tensor, start, end } => {
                write!(f, "data_offsets of tensor {tensor:?} begin at {start}, after their end at {end}")
            }
            Error::PastEnd { tensor, end, bytes } => {
                write!(f, "tensor {tensor:?} ends at offset {end}, but the file has {bytes} bytes; is it complete?")
            }
            Error::Overlap { tensor, offset } => {
                write!(f, "tensor {tensor:?} at offset {offset} overlaps the one before it")
            }
            Error::Gap { offset, bytes } => write!(f, "{bytes} bytes at offset {offset} belong to no tensor"),
        }
    }
}

impl std::error::Error for Error {}

/// A tensor, borrowed from its file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// The name.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents, slowest first; none for a scalar.
    pub shape: Vec<u64>,
    /// The elements, little-endian, last dimension fastest.
    pub data: &'a [u8],
}

/// The tensors of a file, in the order of their data.
#[derive(Clone, Debug)]
pub struct SafeTensors<'a> {
    /// The tensors.
    pub tensors: Vec<Tensor<'a>>,
}

impl<'a> SafeTensors<'a> {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error`], which names the tensor and the offset.
    pub fn parse(bytes: &'a [u8]) -> Result<SafeTensors<'a>, Error> {
        let len = bytes.len() as u64;
        let (head, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or(Error::Truncated {
            field: "header length",
            needed: LENGTH_BYTES as u64,
            bytes: len,
        })?;
        let header = u64::from_le_bytes(*head);
        if header > MAX_HEADER {
            return Err(Error::HeaderLength { bytes: header, most: MAX_HEADER });
        }
        let (header, data) = rest.split_at_checked(header as usize).ok_or(Error::Truncated {
            field: "header",
            needed: header + LENGTH_BYTES as u64,
            bytes: len,
        })?;
        let Header(entries) = serde_json::from_slice(header).map_err(|error| Error::Header {
            offset: LENGTH_BYTES as u64 + offset(header, error.line(), error.column()),
            reason: reason(&error),
        })?;
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for (name, entry) in entries {
            let start = entry.data_offsets[0];
            tensors.push((start, entry.tensor(&name, data, len)?));
            if !names.insert(name.clone()) {
                return Err(Error::Duplicate { tensor: name });
            }
        }
        // Empty tensors come before what begins at their place.
        tensors.sort_by_key(|(start, tensor)| (*start, tensor.data.len()));
        let base = len - data.len() as u64;
        let mut end = 0;
        for (start, tensor) in &tensors {
            if *start < end {
                return Err(Error::Overlap { tensor: tensor.name.clone(), offset: base + start });
            }
            if *start > end {
                return Err(Error::Gap { offset: base + end, bytes: start - end });
            }
            end = start + tensor.data.len() as u64;
        }
        if end < data.len() as u64 {
            return Err(Error::Gap { offset: base + end, bytes: data.len() as u64 - end });
        }
        Ok(SafeTensors { tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect() })
    }
}

/// The bytes before a place that serde_json names, both counted from 1 (and 0 for the end of a line before).
fn offset(text: &[u8], line: usize, column: usize) -> u64 {
    let before: usize = text.split_inclusive(|&byte| byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(text.len()) as u64
}

/// serde_json's words without its line and column.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).chars().take(200).collect()
}

/// A tensor's record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Entry {
    fn tensor<'a>(self, name: &str, data: &'a [u8], file_len: u64) -> Result<Tensor<'a>, Error> {
        let tensor = || name.to_owned();
        let [start, end] = self.data_offsets;
        let dtype = Dtype::named(&self.dtype)
            .ok_or_else(|| Error::UnknownDtype { tensor: tensor(), dtype: self.dtype.chars().take(32).collect() })?;
        let dimensions = self.shape.len();
        if dimensions > MAX_DIMENSIONS {
            return Err(Error::Dimensions { tensor: tensor(), dimensions, most: MAX_DIMENSIONS });
        }
        let expected = self.shape.iter().try_fold(dtype.bytes() as u64, |size, extent| size.checked_mul(*extent));
        let expected = expected.ok_or_else(|| Error::Shape { tensor: tensor() })?;
        let found = end.checked_sub(start).ok_or_else(|| Error::Backwards { tensor: tensor(), start, end })?;
        if found != expected {
            return Err(Error::Size { tensor: tensor(), found, expected });
        }
        let place = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let data = place.and_then(|(start, end)| data.get(start..end)).ok_or_else(|| Error::PastEnd {
            tensor: tensor(),
            end: end.saturating_add(file_len - data.len() as u64),
            bytes: file_len,
        })?;
        Ok(Tensor { name: tensor(), dtype, shape: self.shape, data })
    }
}

/// The records of all tensors, those of the same name too.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Records;
        impl<'de> Visitor<'de> for Records {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.is_empty() {
                        return Err(M::Error::custom("a tensor without a name"));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Records)
    }
}
