//! The writer: version 3, little-endian, streaming.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::string::{String, ToString};
use std::vec::{IntoIter, Vec};

use crate::cursor::Cursor;
use crate::reader::Record;
use crate::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Error, MAGIC, MAX_METADATA, MAX_TENSORS, TensorType, Value, ValueKind};

/// Why something could not be written.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's line explains its fields")]
pub enum WriteError {
    /// The output failed.
    Io(io::Error),
    /// A record that no reader would accept; the error's offset counts from the start of the record.
    Refused { name: String, error: Error },
    /// A metadata key given twice.
    DuplicateKey { key: String },
    /// A tensor name given twice.
    DuplicateTensor { name: String },
    /// More than [`MAX_METADATA`] keys or [`MAX_TENSORS`] tensors.
    TooMany { field: &'static str, limit: u64 },
    /// All tensors together pass 64 bits.
    TooLarge,
    /// Data for `name`, where the next tensor in the order of declaration is `expected`, or none, or part of one.
    WrongTensor { name: String, expected: Option<String> },
    /// Data of `found` bytes for a tensor that still needs `expected`.
    WrongSize { name: String, expected: u64, found: u64 },
    /// Data given after the last tensor was complete.
    NoTensorLeft { found: u64 },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Io(error) => write!(f, "cannot write: {error}"),
            WriteError::Refused { name, error } => write!(f, "record {name:?}: {error}"),
            WriteError::DuplicateKey { key } => write!(f, "metadata key {key:?} is given twice"),
            WriteError::DuplicateTensor { name } => write!(f, "tensor {name:?} is given twice"),
            WriteError::TooMany { field, limit } => write!(f, "more than {limit} {field}"),
            WriteError::TooLarge => write!(f, "the tensors together pass 64 bits"),
            WriteError::WrongTensor { name, expected: Some(expected) } => {
                write!(f, "data of tensor {name:?} given where {expected:?} is expected")
            }
            WriteError::WrongTensor { name, expected: None } => {
                write!(f, "data of tensor {name:?} given after the last tensor")
            }
            WriteError::WrongSize { name, expected, found } => {
                write!(f, "tensor {name:?} needs {expected} bytes, {found} given")
            }
            WriteError::NoTensorLeft { found } => write!(f, "{found} bytes given after the last tensor"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Io(error) => Some(error),
            WriteError::Refused { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::Io(error)
    }
}

macro_rules! new_values {
    ($($kind:ident, $list:ident, $type:ty;)*) => {
        /// A metadata value to write. Made with `into()` from numbers, booleans, `&str`, slices of them, and [`Value`].
        #[derive(Clone, Copy, Debug)]
        #[expect(missing_docs, reason = "the variants are the types of the GGUF specification, and arrays of them")]
        pub enum NewValue<'a> {
            $($kind($type), $list(&'a [$type]),)*
            Str(&'a str),
            Strs(&'a [&'a str]),
            /// A value of another file, of any type.
            Copy(Value<'a>),
        }

        impl NewValue<'_> {
            /// Appends the type and the value.
            fn encode(&self, out: &mut Vec<u8>) {
                match *self {
                    $(NewValue::$kind(value) => {
                        put_kind(out, ValueKind::$kind);
                        value.put(out);
                    }
                    NewValue::$list(values) => {
                        put_array(out, ValueKind::$kind, values.len() as u64);
                        for &value in values {
                            value.put(out);
                        }
                    })*
                    NewValue::Str(value) => {
                        put_kind(out, ValueKind::Str);
                        put_text(out, value.as_bytes());
                    }
                    NewValue::Strs(values) => {
                        put_array(out, ValueKind::Str, values.len() as u64);
                        for value in values {
                            put_text(out, value.as_bytes());
                        }
                    }
                    NewValue::Copy(value) => match value {
                        Value::Str(value) => NewValue::Str(value).encode(out),
                        Value::NotUtf8 { bytes, .. } => {
                            put_kind(out, ValueKind::Str);
                            put_text(out, bytes);
                        }
                        Value::Array(array) => {
                            put_array(out, array.kind(), array.len() as u64);
                            out.extend(array.bytes());
                        }
                        $(Value::$kind(value) => NewValue::$kind(value).encode(out),)*
                    },
                }
            }
        }

        $(impl From<$type> for NewValue<'_> {
            fn from(value: $type) -> Self {
                NewValue::$kind(value)
            }
        }

        impl<'a> From<&'a [$type]> for NewValue<'a> {
            fn from(values: &'a [$type]) -> Self {
                NewValue::$list(values)
            }
        })*
    };
}

new_values! {
    U8, U8s, u8;
    I8, I8s, i8;
    U16, U16s, u16;
    I16, I16s, i16;
    U32, U32s, u32;
    I32, I32s, i32;
    F32, F32s, f32;
    Bool, Bools, bool;
    U64, U64s, u64;
    I64, I64s, i64;
    F64, F64s, f64;
}

/// A plain value's bytes in the file.
trait Put {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! put {
    ($($type:ty)*) => {
        $(impl Put for $type {
            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        })*
    };
}

put! { u8 i8 u16 i16 u32 i32 f32 u64 i64 f64 }

impl Put for bool {
    fn put(self, out: &mut Vec<u8>) {
        out.push(self.into());
    }
}

impl<'a> From<&'a str> for NewValue<'a> {
    fn from(value: &'a str) -> Self {
        NewValue::Str(value)
    }
}

impl<'a> From<&'a [&'a str]> for NewValue<'a> {
    fn from(values: &'a [&'a str]) -> Self {
        NewValue::Strs(values)
    }
}

impl<'a> From<Value<'a>> for NewValue<'a> {
    fn from(value: Value<'a>) -> Self {
        NewValue::Copy(value)
    }
}

fn put_kind(out: &mut Vec<u8>, kind: ValueKind) {
    out.extend(kind.id().to_le_bytes());
}

fn put_array(out: &mut Vec<u8>, kind: ValueKind, len: u64) {
    put_kind(out, ValueKind::Array);
    put_kind(out, kind);
    out.extend(len.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// A tensor in memory, for [`Writer::write`].
#[derive(Clone, Copy, Debug)]
pub struct NewTensor<'a> {
    /// Name, 1 to 63 bytes.
    pub name: &'a str,
    /// Shape, row length first, at most four dimensions.
    pub dims: &'a [u64],
    /// Type of the data.
    pub kind: TensorType,
    /// The data: rows of whole blocks.
    pub data: &'a [u8],
}

/// Writes a GGUF file: first declare all metadata and tensors, then [`start`](Writer::start) and give the tensors' data in
/// the same order. Whatever it writes, [`Gguf::parse`](crate::Gguf::parse) accepts.
#[derive(Debug)]
pub struct Writer {
    alignment: u32,
    metadata: Vec<u8>,
    keys: HashSet<String>,
    tensors: Vec<Declared>,
    names: HashSet<String>,
}

#[derive(Debug)]
struct Declared {
    name: String,
    /// The record as the file has it, but with an offset of 0.
    record: Vec<u8>,
    size: u64,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer::new()
    }
}

impl Writer {
    /// A file without metadata or tensors, aligned to [`DEFAULT_ALIGNMENT`].
    pub fn new() -> Writer {
        Writer {
            alignment: DEFAULT_ALIGNMENT,
            metadata: Vec::new(),
            keys: HashSet::new(),
            tensors: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Adds a metadata record. The key `general.alignment` also sets the alignment.
    ///
    /// # Errors
    /// [`WriteError::DuplicateKey`], [`WriteError::TooMany`], and [`WriteError::Refused`] for a key that is empty, too long
    /// or holds a NUL, and for an alignment that [`Error::BadAlignment`] or [`Error::AlignmentType`] describes.
    pub fn metadata<'a>(&mut self, key: &str, value: impl Into<NewValue<'a>>) -> Result<(), WriteError> {
        let value = value.into();
        let mut record = Vec::new();
        put_text(&mut record, key.as_bytes());
        value.encode(&mut record);
        let alignment =
            check_metadata(&record).map_err(|error| WriteError::Refused { name: key.to_string(), error })?;
        if self.keys.len() as u64 == MAX_METADATA {
            return Err(WriteError::TooMany { field: "metadata keys", limit: MAX_METADATA });
        }
        if !self.keys.insert(key.to_string()) {
            return Err(WriteError::DuplicateKey { key: key.to_string() });
        }
        self.alignment = alignment.unwrap_or(self.alignment);
        self.metadata.extend(record);
        Ok(())
    }

    /// Declares a tensor: shape with the row length first, type of the data.
    ///
    /// # Errors
    /// [`WriteError::DuplicateTensor`], [`WriteError::TooMany`], and [`WriteError::Refused`] for a name or shape that the
    /// reader would refuse.
    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: TensorType) -> Result<(), WriteError> {
        let mut record = Vec::new();
        put_text(&mut record, name.as_bytes());
        record.extend(u32::try_from(dims.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        record.extend(kind.id().to_le_bytes());
        record.extend(0u64.to_le_bytes());
        let size = Record::read(&mut Cursor { bytes: &record, pos: 0 })
            .map_err(|error| WriteError::Refused { name: name.to_string(), error })?
            .size;
        if self.names.len() as u64 == MAX_TENSORS {
            return Err(WriteError::TooMany { field: "tensors", limit: MAX_TENSORS });
        }
        if !self.names.insert(name.to_string()) {
            return Err(WriteError::DuplicateTensor { name: name.to_string() });
        }
        self.tensors.push(Declared { name: name.to_string(), record, size });
        Ok(())
    }

    /// Writes the head of the file: everything before tensor data. Writes are small; give a buffered output.
    ///
    /// # Errors
    /// [`WriteError::Io`], or [`WriteError::TooLarge`].
    pub fn start<W: Write>(self, mut out: W) -> Result<TensorWriter<W>, WriteError> {
        let alignment = u64::from(self.alignment);
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(3u32.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.keys.len() as u64).to_le_bytes());
        head.extend(self.metadata);
        let mut offset = 0u64;
        for Declared { record, size, .. } in &self.tensors {
            head.extend(record.strip_suffix(&[0; 8]).unwrap_or(record));
            head.extend(offset.to_le_bytes());
            offset = offset
                .checked_add(*size)
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .ok_or(WriteError::TooLarge)?;
        }
        (head.len() as u64)
            .checked_next_multiple_of(alignment)
            .and_then(|data| data.checked_add(offset))
            .ok_or(WriteError::TooLarge)?;
        out.write_all(&head)?;
        write_padding(&mut out, head.len() as u64, alignment)?;
        let mut tensors = self.tensors.into_iter();
        let left = tensors.as_slice().first().map_or(0, |t| t.size);
        Ok(TensorWriter { out, alignment, current: tensors.next(), left, tensors })
    }

    /// Declares tensors that are in memory, and writes the whole file. Gives the output back, flushed.
    ///
    /// # Errors
    /// Those of [`tensor`](Self::tensor) and [`start`](Self::start); [`WriteError::WrongSize`] before anything is written.
    pub fn write<W: Write>(mut self, tensors: &[NewTensor<'_>], out: W) -> Result<W, WriteError> {
        let declared = self.tensors.len();
        for tensor in tensors {
            self.tensor(tensor.name, tensor.dims, tensor.kind)?;
        }
        for (tensor, Declared { name, size, .. }) in tensors.iter().zip(&self.tensors[declared..]) {
            let found = tensor.data.len() as u64;
            if found != *size {
                return Err(WriteError::WrongSize { name: name.clone(), expected: *size, found });
            }
        }
        let mut writer = self.start(out)?;
        for tensor in tensors {
            writer.tensor(tensor.name, tensor.data)?;
        }
        writer.finish()
    }
}

/// The reader's own checks of one metadata record; gives the alignment if the record sets it.
fn check_metadata(record: &[u8]) -> Result<Option<u32>, Error> {
    let mut cursor = Cursor { bytes: record, pos: 0 };
    let key = cursor.key()?;
    let mut value = cursor;
    let kind = cursor.kind("metadata value type")?;
    cursor.check_value(kind, 0)?;
    if key == ALIGNMENT_KEY { value.alignment().map(Some) } else { Ok(None) }
}

fn write_padding(out: &mut impl Write, written: u64, alignment: u64) -> io::Result<()> {
    let padding = written.next_multiple_of(alignment) - written;
    io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(drop)
}

/// Takes the data of the declared tensors, in their order, whole or in pieces, and pads each to the alignment.
#[derive(Debug)]
pub struct TensorWriter<W: Write> {
    out: W,
    alignment: u64,
    tensors: IntoIter<Declared>,
    current: Option<Declared>,
    /// Bytes that the current tensor still needs.
    left: u64,
}

impl<W: Write> TensorWriter<W> {
    /// Name and size in bytes of the tensor whose data comes next; `None` when all are complete.
    pub fn expected(&self) -> Option<(&str, u64)> {
        self.current.as_ref().map(|t| (t.name.as_str(), t.size))
    }

    /// Writes the whole data of the next tensor, which must be `name`.
    ///
    /// # Errors
    /// [`WriteError::WrongTensor`], [`WriteError::WrongSize`], [`WriteError::Io`].
    pub fn tensor(&mut self, name: &str, data: &[u8]) -> Result<(), WriteError> {
        let found = data.len() as u64;
        match &self.current {
            Some(current) if current.name != name => {
                Err(WriteError::WrongTensor { name: name.to_string(), expected: Some(current.name.clone()) })
            }
            None => Err(WriteError::WrongTensor { name: name.to_string(), expected: None }),
            Some(current) if found != self.left || self.left != current.size => {
                Err(WriteError::WrongSize { name: name.to_string(), expected: self.left, found })
            }
            Some(_) => self.data(data),
        }
    }

    /// Writes a piece of the current tensor's data. A piece that completes it moves on to the next.
    ///
    /// # Errors
    /// [`WriteError::WrongSize`] if the piece is longer than what the tensor still needs, [`WriteError::NoTensorLeft`],
    /// [`WriteError::Io`].
    pub fn data(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        let found = piece.len() as u64;
        let Some(current) = &self.current else {
            return if found == 0 { Ok(()) } else { Err(WriteError::NoTensorLeft { found }) };
        };
        let size = current.size;
        self.left = match self.left.checked_sub(found) {
            Some(left) => left,
            None => return Err(WriteError::WrongSize { name: current.name.clone(), expected: self.left, found }),
        };
        self.out.write_all(piece)?;
        if self.left == 0 {
            write_padding(&mut self.out, size, self.alignment)?;
            self.current = self.tensors.next();
            self.left = self.current.as_ref().map_or(0, |t| t.size);
        }
        Ok(())
    }

    /// Ends the file and gives the output back, flushed.
    ///
    /// # Errors
    /// [`WriteError::WrongSize`] if a tensor lacks data, [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(current) = self.current {
            return Err(WriteError::WrongSize { name: current.name, expected: self.left, found: 0 });
        }
        self.out.flush()?;
        Ok(self.out)
    }
}
