//! Metadata values, borrowed from the file.

use crate::{Error, ValueKind, cursor::Cursor};

/// A metadata value. Numbers are copied out, texts and arrays are borrowed from the file.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the variants are the types of the GGUF specification")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
    /// A string that is not UTF-8: its bytes, and where it begins in the file, in bytes.
    NotUtf8 {
        bytes: &'a [u8],
        offset: u64,
    },
}

impl<'a> Value<'a> {
    /// The type this value has in the file.
    pub fn kind(&self) -> ValueKind {
        match self {
            Value::U8(_) => ValueKind::U8,
            Value::I8(_) => ValueKind::I8,
            Value::U16(_) => ValueKind::U16,
            Value::I16(_) => ValueKind::I16,
            Value::U32(_) => ValueKind::U32,
            Value::I32(_) => ValueKind::I32,
            Value::F32(_) => ValueKind::F32,
            Value::Bool(_) => ValueKind::Bool,
            Value::Str(_) | Value::NotUtf8 { .. } => ValueKind::Str,
            Value::Array(_) => ValueKind::Array,
            Value::U64(_) => ValueKind::U64,
            Value::I64(_) => ValueKind::I64,
            Value::F64(_) => ValueKind::F64,
        }
    }

    /// A non-negative integer of any integer type.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            _ => self.as_i64().and_then(|v| v.try_into().ok()),
        }
    }

    /// An integer of any integer type that fits in 64 bits with sign.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::I64(v) => Some(v),
            Value::U64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either type; `f64` is rounded to the nearest `f32`.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A text: a string that is UTF-8. One that is not has [`not_utf8`](Value::not_utf8) instead.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::Str(v) => Some(v),
            _ => None,
        }
    }

    /// Where in the file, in bytes, a string begins that is not UTF-8; the value itself, or the first such in an array of strings.
    pub fn not_utf8(&self) -> Option<u64> {
        match *self {
            Value::NotUtf8 { offset, .. } => Some(offset),
            Value::Array(array) if array.kind == ValueKind::Str => array.iter().find_map(|value| value.not_utf8()),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Reads a value that has been checked before; arrays of texts and of arrays are walked to find their end.
    pub(crate) fn read(cursor: &mut Cursor<'a>, kind: ValueKind) -> Result<Value<'a>, Error> {
        const FIELD: &str = "metadata value";
        Ok(match kind {
            ValueKind::U8 => Value::U8(u8::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::I8 => Value::I8(i8::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::U16 => Value::U16(u16::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::I16 => Value::I16(i16::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::U32 => Value::U32(u32::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::I32 => Value::I32(i32::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::F32 => Value::F32(f32::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::Bool => Value::Bool(u8::from_le_bytes(cursor.array(FIELD)?) != 0),
            ValueKind::Str => {
                let offset = cursor.offset();
                let bytes = cursor.text(FIELD)?;
                core::str::from_utf8(bytes).map_or(Value::NotUtf8 { bytes, offset }, Value::Str)
            }
            ValueKind::Array => Value::Array(Array::read(cursor, |c, kind, count| c.skip_elements(kind, count))?),
            ValueKind::U64 => Value::U64(u64::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::I64 => Value::I64(i64::from_le_bytes(cursor.array(FIELD)?)),
            ValueKind::F64 => Value::F64(f64::from_le_bytes(cursor.array(FIELD)?)),
        })
    }
}

/// A metadata array: elements of one type, borrowed from the file.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    kind: ValueKind,
    len: u64,
    /// The bytes of the file, and where in them the elements begin and end.
    file: &'a [u8],
    start: usize,
    end: usize,
}

impl core::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Array")
            .field("kind", &self.kind)
            .field("len", &self.len)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl<'a> Array<'a> {
    /// Reads a checked array at its element type; `skip` moves the cursor past the elements.
    pub(crate) fn read(
        cursor: &mut Cursor<'a>,
        skip: impl FnOnce(&mut Cursor<'a>, ValueKind, u64) -> Result<(), Error>,
    ) -> Result<Array<'a>, Error> {
        let kind = cursor.kind("array element type")?;
        let len = cursor.u64("array length")?;
        let start = cursor.pos;
        skip(cursor, kind, len)?;
        Ok(Array { kind, len, file: cursor.bytes, start, end: cursor.pos })
    }

    /// Type of the elements.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // Every element takes a byte or more of a buffer that is in memory.
        self.len as usize
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, in order.
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter { kind: self.kind, left: self.len(), cursor: Cursor { bytes: self.file, pos: self.start } }
    }

    /// The texts of a string array; `None` for other arrays, and where one is not UTF-8.
    pub fn strings(&self) -> Option<Strings<'a>> {
        let is_text = self.kind == ValueKind::Str && Value::Array(*self).not_utf8().is_none();
        is_text.then(|| Strings { left: self.len(), cursor: Cursor { bytes: self.file, pos: self.start } })
    }

    /// The elements as they lie in the file: little-endian and packed for numbers and booleans, length (u64) before text
    /// for strings. The slice may begin at any address.
    pub fn bytes(&self) -> &'a [u8] {
        self.file.get(self.start..self.end).unwrap_or_default()
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// The elements of an [`Array`].
#[derive(Clone)]
pub struct ArrayIter<'a> {
    kind: ValueKind,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        Value::read(&mut self.cursor, self.kind).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ArrayIter<'_> {}

/// The texts of a string [`Array`].
#[derive(Clone)]
pub struct Strings<'a> {
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.string("array string").ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
