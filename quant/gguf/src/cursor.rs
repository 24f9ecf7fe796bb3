//! Bounds-checked little-endian reads, and the checks of texts and values.

use crate::{Error, MAX_ALIGNMENT, MAX_KEY, MAX_NAME, MAX_NESTING, ValueKind};

/// A position in the file. Invariant: `pos <= bytes.len()`.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pos: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn offset(&self) -> u64 {
        self.pos as u64
    }

    pub(crate) fn left(&self) -> u64 {
        (self.bytes.len() - self.pos) as u64
    }

    pub(crate) fn take(&mut self, n: u64, field: &'static str) -> Result<&'a [u8], Error> {
        let truncated = Error::Truncated { field, offset: self.offset(), needed: n, left: self.left() };
        let end = usize::try_from(n).ok().and_then(|n| self.pos.checked_add(n)).ok_or(truncated)?;
        let taken = self.bytes.get(self.pos..end).ok_or(truncated)?;
        self.pos = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let truncated = Error::Truncated { field, offset: self.offset(), needed: N as u64, left: self.left() };
        let array = *self.bytes.get(self.pos..).and_then(|b| b.first_chunk::<N>()).ok_or(truncated)?;
        self.pos += N;
        Ok(array)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A string's bytes: u64 length, then the text. Unchecked beyond bounds.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a [u8], Error> {
        let length = self.u64(field)?;
        self.take(length, field)
    }

    /// A string value, checked to be UTF-8.
    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, Error> {
        let offset = self.offset();
        core::str::from_utf8(self.text(field)?).map_err(|_| Error::NotUtf8 { field, offset })
    }

    pub(crate) fn key(&mut self) -> Result<&'a str, Error> {
        self.label("metadata key", MAX_KEY)
    }

    pub(crate) fn name(&mut self) -> Result<&'a str, Error> {
        self.label("tensor name", MAX_NAME)
    }

    fn label(&mut self, field: &'static str, limit: u64) -> Result<&'a str, Error> {
        let offset = self.offset();
        let length = self.u64(field)?;
        if length == 0 || length > limit {
            return Err(Error::BadLength { field, offset, length, limit });
        }
        let text = self.take(length, field)?;
        if text.contains(&0) {
            return Err(Error::NulByte { field, offset });
        }
        core::str::from_utf8(text).map_err(|_| Error::NotUtf8 { field, offset })
    }

    pub(crate) fn kind(&mut self, field: &'static str) -> Result<ValueKind, Error> {
        let offset = self.offset();
        let id = self.u32(field)?;
        ValueKind::from_id(id).ok_or(Error::UnknownValueType { field, offset, id })
    }

    /// The type and value of `general.alignment`.
    pub(crate) fn alignment(&mut self) -> Result<u32, Error> {
        let offset = self.offset();
        let found = self.kind("metadata value type")?;
        if found != ValueKind::U32 {
            return Err(Error::AlignmentType { offset, found });
        }
        let offset = self.offset();
        let value = self.u32("metadata value")?;
        if !value.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&value) {
            return Err(Error::BadAlignment { offset, value });
        }
        Ok(value)
    }

    /// Checks and passes over one value. `depth` counts the arrays around it.
    pub(crate) fn check_value(&mut self, kind: ValueKind, depth: u32) -> Result<(), Error> {
        match kind {
            ValueKind::Str => self.text("string value").map(drop),
            ValueKind::Array => {
                let offset = self.offset();
                if depth == MAX_NESTING {
                    return Err(Error::NestedTooDeep { offset });
                }
                let kind = self.kind("array element type")?;
                let count = self.u64("array length")?;
                self.check_elements(kind, count, depth + 1)
            }
            ValueKind::Bool => self.check_elements(kind, 1, depth),
            _ => self.take(kind.size() as u64, "metadata value").map(drop),
        }
    }

    fn check_elements(&mut self, kind: ValueKind, count: u64, depth: u32) -> Result<(), Error> {
        let offset = self.offset();
        match kind {
            ValueKind::Str => {
                for _ in 0..count {
                    self.text("array string")?;
                }
            }
            ValueKind::Array => {
                for _ in 0..count {
                    self.check_value(kind, depth)?;
                }
            }
            _ => {
                let field = if depth == 0 { "metadata value" } else { "array elements" };
                let size = count.checked_mul(kind.size() as u64).ok_or(Error::SizeOverflow { field, offset })?;
                let bytes = self.take(size, field)?;
                if kind == ValueKind::Bool
                    && let Some(i) = bytes.iter().position(|&b| b > 1)
                {
                    return Err(Error::BadBool { offset: offset + i as u64, value: bytes[i] });
                }
            }
        }
        Ok(())
    }

    /// Passes over one value that `check_value` has accepted.
    pub(crate) fn skip_value(&mut self, kind: ValueKind) -> Result<(), Error> {
        match kind {
            ValueKind::Str => self.text("string value").map(drop),
            ValueKind::Array => {
                let kind = self.kind("array element type")?;
                let count = self.u64("array length")?;
                self.skip_elements(kind, count)
            }
            _ => self.take(kind.size() as u64, "metadata value").map(drop),
        }
    }

    /// Passes over the elements of an array that `check_value` has accepted.
    pub(crate) fn skip_elements(&mut self, kind: ValueKind, count: u64) -> Result<(), Error> {
        if kind.size() == 0 {
            for _ in 0..count {
                self.skip_value(kind)?;
            }
            return Ok(());
        }
        self.take(count.saturating_mul(kind.size() as u64), "array elements").map(drop)
    }
}
