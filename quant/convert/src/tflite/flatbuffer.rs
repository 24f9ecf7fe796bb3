//! The reader of flatbuffers: tables whose fields are found by number, vectors, strings. Every offset is checked where it is followed.

use super::Error;

/// A table in a file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the fields are, from the beginning of the table: two bytes each.
    fields: &'a [[u8; 2]],
}

/// A vector of elements of `SIZE` bytes.
#[derive(Clone, Copy)]
pub(super) struct Vector<'a, const SIZE: usize> {
    bytes: &'a [u8],
    /// Where the first element is.
    at: usize,
    pub(super) elements: &'a [[u8; SIZE]],
}

impl<const SIZE: usize> Vector<'_, SIZE> {
    /// One without elements.
    pub(super) const EMPTY: Self = Vector { bytes: &[], at: 0, elements: &[] };
}

fn array<const N: usize>(bytes: &[u8], at: usize, field: &'static str) -> Result<[u8; N], Error> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().ok_or(Error::Damaged { field, offset: at })
}

/// Follows an offset that counts from where it is.
fn follow(bytes: &[u8], at: usize, field: &'static str) -> Result<usize, Error> {
    let offset = u32::from_le_bytes(array(bytes, at, field)?);
    usize::try_from(offset).ok().and_then(|offset| at.checked_add(offset)).ok_or(Error::Damaged { field, offset: at })
}

impl<'a> Table<'a> {
    /// The root of a file with this identifier.
    pub(super) fn root(bytes: &'a [u8], identifier: &[u8; 4], field: &'static str) -> Result<Table<'a>, Error> {
        if array::<4>(bytes, 4, "identifier")? != *identifier {
            return Err(Error::NotTflite);
        }
        Table::new(bytes, follow(bytes, 0, field)?, field)
    }

    fn new(bytes: &'a [u8], at: usize, field: &'static str) -> Result<Table<'a>, Error> {
        let damaged = Error::Damaged { field, offset: at };
        let back = i32::from_le_bytes(array(bytes, at, field)?);
        let vtable = i64::try_from(at).ok().and_then(|at| usize::try_from(at - i64::from(back)).ok());
        let vtable = vtable.ok_or(damaged.clone())?;
        let len = usize::from(u16::from_le_bytes(array(bytes, vtable, field)?));
        let end = vtable.checked_add(len).ok_or(damaged.clone())?;
        let fields = bytes.get(vtable..end).and_then(|vtable| vtable.get(4..)).ok_or(damaged)?;
        Ok(Table { bytes, at, fields: fields.as_chunks().0 })
    }

    /// Where a field is; none if it has its default.
    fn field(&self, number: usize) -> Option<usize> {
        let offset = self.fields.get(number).map(|bytes| usize::from(u16::from_le_bytes(*bytes)))?;
        // Both are positions in memory, or nearly so.
        (offset != 0).then(|| self.at.saturating_add(offset))
    }

    fn scalar<const N: usize>(&self, number: usize, name: &'static str) -> Result<Option<[u8; N]>, Error> {
        self.field(number).map(|at| array(self.bytes, at, name)).transpose()
    }

    /// A number of one byte.
    pub(super) fn byte(&self, number: usize, name: &'static str) -> Result<i32, Error> {
        Ok(self.scalar(number, name)?.map_or(0, |bytes| i8::from_le_bytes(bytes).into()))
    }

    /// A number of four bytes.
    pub(super) fn int(&self, number: usize, name: &'static str, default: i32) -> Result<i32, Error> {
        Ok(self.scalar(number, name)?.map_or(default, i32::from_le_bytes))
    }

    /// A number of four bytes that cannot be negative.
    pub(super) fn index(&self, number: usize, name: &'static str) -> Result<usize, Error> {
        let value = self.scalar(number, name)?.map_or(0, u32::from_le_bytes);
        usize::try_from(value).map_err(|_| Error::Damaged { field: name, offset: self.at })
    }

    /// A float.
    pub(super) fn float(&self, number: usize, name: &'static str) -> Result<f32, Error> {
        Ok(self.scalar(number, name)?.map_or(0.0, f32::from_le_bytes))
    }

    /// A table in this one.
    pub(super) fn table(&self, number: usize, name: &'static str) -> Result<Option<Table<'a>>, Error> {
        self.field(number).map(|at| Table::new(self.bytes, follow(self.bytes, at, name)?, name)).transpose()
    }

    /// A vector; an absent one is empty.
    pub(super) fn vector<const SIZE: usize>(
        &self,
        number: usize,
        name: &'static str,
    ) -> Result<Vector<'a, SIZE>, Error> {
        let bytes = self.bytes;
        let Some(at) = self.field(number) else { return Ok(Vector::EMPTY) };
        let at = follow(bytes, at, name)?;
        let damaged = Error::Damaged { field: name, offset: at };
        let count = u32::from_le_bytes(array(bytes, at, name)?);
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(SIZE)).ok_or(damaged.clone())?;
        let at = at.saturating_add(4);
        let elements = bytes.get(at..).and_then(|bytes| bytes.get(..len)).ok_or(damaged)?;
        Ok(Vector { bytes, at, elements: elements.as_chunks().0 })
    }

    /// A text; an absent one is empty, and what is not UTF-8 is replaced.
    pub(super) fn text(&self, number: usize, name: &'static str) -> Result<String, Error> {
        let bytes = self.vector::<1>(number, name)?.elements.as_flattened();
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl<'a> Vector<'a, 4> {
    /// The tables of a vector of offsets, of which there are at most `most`.
    pub(super) fn tables(&self, name: &'static str, most: usize) -> Result<Vec<Table<'a>>, Error> {
        if self.elements.len() > most {
            return Err(Error::TooMany { field: name, found: self.elements.len(), most });
        }
        let table = |i: usize| {
            let at = self.at + i * 4;
            Table::new(self.bytes, follow(self.bytes, at, name)?, name)
        };
        (0..self.elements.len()).map(table).collect()
    }

    /// The numbers of a vector.
    pub(super) fn ints(&self) -> impl Iterator<Item = i32> + 'a {
        self.elements.iter().map(|bytes| i32::from_le_bytes(*bytes))
    }
}
