//! The reader.

use crate::cursor::Cursor;
use crate::order::{BATCH, adjacent_pairs};
use crate::{
    ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, Error, MAGIC, MAX_METADATA, MAX_TENSORS, TensorType, Value, ValueKind,
};

/// Smallest metadata record: key length, a key of one byte, type, a value of one byte.
const MIN_METADATA: usize = 8 + 1 + 4 + 1;
/// Smallest tensor record: name length, a name of one byte, number of dimensions (0), type, offset.
const MIN_TENSOR: usize = 8 + 1 + 4 + 4 + 8;

/// A checked GGUF file. Cheap to clone; borrows everything from the buffer it was parsed from.
#[derive(Clone)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    version: u32,
    alignment: u32,
    n_metadata: u64,
    n_tensors: u64,
    /// Where the metadata records begin.
    metadata: usize,
    /// Where the tensor records begin.
    tensors: usize,
    /// Where tensor data begins; past the end of a file without tensors, perhaps.
    data: u64,
    jumps: Jumps,
}

impl core::fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("alignment", &self.alignment)
            .field("n_metadata", &self.n_metadata)
            .field("n_tensors", &self.n_tensors)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl<'a> Gguf<'a> {
    /// Checks a whole file. Costs one pass over the metadata and tensor records; tensor data is not read.
    ///
    /// Bytes after the last tensor are allowed.
    ///
    /// # Errors
    /// Whatever is listed at [`Error`]: the first fault in the order of the file, then duplicate keys, duplicate names, overlaps.
    pub fn parse(bytes: &'a [u8]) -> Result<Gguf<'a>, Error> {
        let mut cursor = Cursor { bytes, pos: 0 };
        let found = cursor.array("magic")?;
        if found != MAGIC {
            return Err(Error::BadMagic { found });
        }
        let version = cursor.u32("version")?;
        if !matches!(version, 2 | 3) {
            let swapped = version.swap_bytes();
            return Err(match swapped {
                1..=0xFFFF => Error::BigEndian { version: swapped },
                _ => Error::UnsupportedVersion { version },
            });
        }
        let n_tensors = cursor.u64("n_tensors")?;
        let n_metadata = cursor.u64("n_kv")?;
        // What fits memory is divided as such: some machines have no division of 64 bits.
        let fits = |left: u64, record: usize| usize::try_from(left).map_or(0, |left| (left / record) as u64);
        let left = cursor.left();
        let most = fits(left, MIN_TENSOR).min(MAX_TENSORS);
        check_count("n_tensors", 8, n_tensors, most)?;
        let most = fits(left - n_tensors * MIN_TENSOR as u64, MIN_METADATA).min(MAX_METADATA);
        check_count("n_kv", 16, n_metadata, most)?;

        let mut file = Gguf {
            bytes,
            version,
            alignment: DEFAULT_ALIGNMENT,
            n_metadata,
            n_tensors,
            metadata: cursor.pos,
            tensors: 0,
            data: 0,
            jumps: Jumps::NONE,
        };
        for _ in 0..n_metadata {
            file.check_metadata(&mut cursor)?;
        }
        file.unique_keys()?;

        file.tensors = cursor.pos;
        for _ in 0..n_tensors {
            Record::read(&mut cursor)?;
        }
        // A power of two.
        let mask = u64::from(file.alignment) - 1;
        file.data = cursor.offset().wrapping_add(mask) & !mask;
        file.check_tensor_data()?;
        file.unique_names()?;
        Ok(file)
    }

    /// Version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data in bytes, a power of two.
    pub fn alignment(&self) -> u64 {
        self.alignment.into()
    }

    /// Where tensor data begins in the file, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.data
    }

    /// The metadata, in the order of the file.
    pub fn metadata(&self) -> Metadata<'a> {
        Metadata { records: self.records() }
    }

    /// The value of a metadata key. Costs a walk over the keys; the longest arrays of strings are jumped over.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let mut records = self.records();
        loop {
            let (found, kind, mut cursor) = records.next_key()?;
            if found == key.as_bytes() {
                return records.value(&mut cursor, kind);
            }
            records.skip(cursor, kind)?;
        }
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> Tensors<'a> {
        Tensors {
            cursor: Cursor { bytes: self.bytes, pos: self.tensors },
            left: self.n_tensors as usize,
            data: self.data,
        }
    }

    /// The tensor of a name. Costs a walk over the tensor records.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors().find(|t| t.name == name)
    }

    fn records(&self) -> Records<'a> {
        Records {
            cursor: Cursor { bytes: self.bytes, pos: self.metadata },
            left: self.n_metadata as usize,
            jumps: self.jumps,
        }
    }

    fn check_metadata(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Error> {
        let key = cursor.key()?;
        let mut typed = *cursor;
        let kind = cursor.kind("metadata value type")?;
        let value = *cursor;
        cursor.check_value(kind, 0)?;
        let long = |start: Cursor<'a>| { start }.kind("array element type").is_ok_and(|k| k.size() == 0);
        if kind == ValueKind::Array && long(value) {
            self.jumps.note(value.pos, cursor.pos);
        }
        if key == ALIGNMENT_KEY {
            self.alignment = typed.alignment()?;
        }
        Ok(())
    }

    fn unique_keys(&self) -> Result<(), Error> {
        self.unique("metadata key", || {
            let mut records = self.records();
            core::iter::from_fn(move || {
                let position = records.cursor.pos;
                let (key, kind, cursor) = records.next_key()?;
                records.skip(cursor, kind)?;
                Some((key, position))
            })
        })
    }

    fn unique_names(&self) -> Result<(), Error> {
        self.unique("tensor name", || self.briefs().map(|(brief, position)| (brief.name, position)))
    }

    /// Refuses two records that begin with the same text.
    fn unique<I: Iterator<Item = (&'a [u8], usize)>>(
        &self,
        field: &'static str,
        records: impl Fn() -> I,
    ) -> Result<(), Error> {
        let text = |pos| Cursor { bytes: self.bytes, pos }.text(field).unwrap_or_default();
        adjacent_pairs::<BATCH, _, _>(records, text, |a, b| match text(a) == text(b) {
            true => Err(Error::Duplicate { field, offset: b as u64, first: a as u64 }),
            false => Ok(()),
        })
    }

    /// Checked tensor records and their positions.
    fn briefs(&self) -> impl Iterator<Item = (Brief<'a>, usize)> {
        let mut cursor = Cursor { bytes: self.bytes, pos: self.tensors };
        (0..self.n_tensors).map_while(move |_| {
            let position = cursor.pos;
            Brief::read(&mut cursor).ok().map(|brief| (brief, position))
        })
    }

    /// Every tensor's data is aligned, inside the file, and overlaps no other's.
    fn check_tensor_data(&self) -> Result<(), Error> {
        let mut cursor = Cursor { bytes: self.bytes, pos: self.tensors };
        let mut previous_end = 0;
        let mut in_order = true;
        for _ in 0..self.n_tensors {
            let record = Record::read(&mut cursor)?;
            let offset = record.offset_at;
            // A power of two.
            if record.offset & (u64::from(self.alignment) - 1) != 0 {
                return Err(Error::Misaligned { offset, value: record.offset, alignment: self.alignment });
            }
            let field = "tensor data end";
            let end = record.end(self.data).ok_or(Error::SizeOverflow { field, offset })?;
            let len = self.bytes.len() as u64;
            if end > len {
                return Err(Error::DataPastEnd { offset, end, len });
            }
            in_order &= record.offset >= previous_end;
            previous_end = record.offset + record.size;
        }
        if in_order {
            return Ok(());
        }
        let start = |pos| Brief::read(&mut Cursor { bytes: self.bytes, pos }).map_or(0, |b| b.offset);
        let end = |pos| Record::read(&mut Cursor { bytes: self.bytes, pos }).map_or(0, |r| r.offset + r.size);
        adjacent_pairs::<BATCH, _, _>(
            || self.briefs().map(|(brief, position)| (brief.offset, position)),
            start,
            |a, b| match end(a) > start(b) {
                true => Err(Error::Overlap { offset: b as u64, other: a as u64 }),
                false => Ok(()),
            },
        )
    }
}

fn check_count(field: &'static str, offset: u64, count: u64, limit: u64) -> Result<(), Error> {
    if count > limit { Err(Error::CountTooLarge { field, offset, count, limit }) } else { Ok(()) }
}

/// Where the longest arrays of strings or arrays begin and end, in the order of the file, so that a walk over the keys need
/// not walk their elements. Arrays of numbers need none: their end is a multiplication away.
#[derive(Clone, Copy)]
struct Jumps {
    len: usize,
    spans: [(usize, usize); Jumps::MOST],
}

impl Jumps {
    const MOST: usize = 24;
    const NONE: Jumps = Jumps { len: 0, spans: [(0, 0); Jumps::MOST] };

    /// Keeps a span; drops the shortest when there is no room.
    fn note(&mut self, start: usize, end: usize) {
        let length = |span: &(usize, usize)| span.1.wrapping_sub(span.0);
        if let Some(free) = self.spans.get_mut(self.len) {
            *free = (start, end);
            self.len += 1;
        } else if let Some(shortest) = self.spans.iter_mut().min_by_key(|span| length(span))
            && length(shortest) < end.wrapping_sub(start)
        {
            *shortest = (start, end);
        }
    }

    fn end(&self, start: usize) -> Option<usize> {
        self.spans.iter().take(self.len).find(|s| s.0 == start).map(|s| s.1)
    }
}

/// A walk over checked metadata records.
#[derive(Clone)]
struct Records<'a> {
    cursor: Cursor<'a>,
    left: usize,
    jumps: Jumps,
}

impl<'a> Records<'a> {
    /// The key, the value's kind, and a cursor at the value; `value` or `skip` must follow.
    fn next_key(&mut self) -> Option<(&'a [u8], ValueKind, Cursor<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let mut cursor = self.cursor;
        let key = cursor.text("metadata key").ok()?;
        let kind = cursor.kind("metadata value type").ok()?;
        Some((key, kind, cursor))
    }

    fn skip(&mut self, mut value: Cursor<'a>, kind: ValueKind) -> Option<()> {
        match self.jumps.end(value.pos) {
            Some(end) if kind == ValueKind::Array => value.pos = end,
            _ => value.skip_value(kind).ok()?,
        }
        self.cursor = value;
        Some(())
    }

    fn value(&mut self, cursor: &mut Cursor<'a>, kind: ValueKind) -> Option<Value<'a>> {
        let end = self.jumps.end(cursor.pos);
        let value = match end {
            Some(end) if kind == ValueKind::Array => {
                let to_end = |c: &mut Cursor<'a>, _, _| {
                    c.pos = end;
                    Ok(())
                };
                Value::Array(Array::read(cursor, to_end).ok()?)
            }
            _ => Value::read(cursor, kind).ok()?,
        };
        self.cursor = *cursor;
        Some(value)
    }
}

/// The metadata of a [`Gguf`], in the order of the file.
#[derive(Clone)]
pub struct Metadata<'a> {
    records: Records<'a>,
}

impl<'a> Iterator for Metadata<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<(&'a str, Value<'a>)> {
        let (key, kind, mut cursor) = self.records.next_key()?;
        Some((core::str::from_utf8(key).ok()?, self.records.value(&mut cursor, kind)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.records.left, Some(self.records.left))
    }
}

impl ExactSizeIterator for Metadata<'_> {}

/// A tensor: its record, and its data borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Name, unique in the file.
    pub name: &'a str,
    /// Shape in ggml's order: `dims[0]` is the row length, unused ones are 1.
    pub dims: [u64; 4],
    /// Number of dimensions the file gives, 0 to 4.
    pub n_dims: u32,
    /// Type of the data.
    pub kind: TensorType,
    /// Where the type's id is in the file, in bytes.
    pub kind_at: u64,
    /// Where the data begins in the file, in bytes.
    pub offset: u64,
    /// The data: rows of whole blocks, without padding.
    pub data: &'a [u8],
}

impl Tensor<'_> {
    /// The dimensions the file gives, row length first.
    pub fn shape(&self) -> &[u64] {
        self.dims.get(..self.n_dims as usize).unwrap_or(&self.dims)
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// The tensors of a [`Gguf`], in the order of the file.
#[derive(Clone)]
pub struct Tensors<'a> {
    cursor: Cursor<'a>,
    left: usize,
    data: u64,
}

impl<'a> Iterator for Tensors<'a> {
    type Item = Tensor<'a>;

    fn next(&mut self) -> Option<Tensor<'a>> {
        self.left = self.left.checked_sub(1)?;
        let record = Record::read(&mut self.cursor).ok()?;
        let offset = record.offset.checked_add(self.data)?;
        let end = offset.checked_add(record.size)?;
        let data = self.cursor.bytes.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?;
        let Record { name, dims, n_dims, kind, kind_at, .. } = record;
        Some(Tensor { name, dims, n_dims, kind, kind_at, offset, data })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Tensors<'_> {}

/// The fields of a checked tensor record that sorting needs, read without checking them again.
struct Brief<'a> {
    name: &'a [u8],
    offset: u64,
}

impl<'a> Brief<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Brief<'a>, Error> {
        let name = cursor.text("tensor name")?;
        let n_dims = cursor.u32("tensor n_dims")?;
        cursor.take(u64::from(n_dims) * 8 + 4, "tensor dimensions")?;
        Ok(Brief { name, offset: cursor.u64("tensor offset")? })
    }
}

/// A tensor's record, with the checks that need no other record.
pub(crate) struct Record<'a> {
    name: &'a str,
    dims: [u64; 4],
    n_dims: u32,
    kind: TensorType,
    /// Where in the file the kind's id stands.
    kind_at: u64,
    /// From the start of tensor data.
    offset: u64,
    /// Bytes of data.
    pub(crate) size: u64,
    /// Where in the file `offset` stands.
    offset_at: u64,
}

impl<'a> Record<'a> {
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Record<'a>, Error> {
        let name = cursor.name()?;
        let offset = cursor.offset();
        let n_dims = cursor.u32("tensor n_dims")?;
        let dims_at = cursor.offset();
        let mut dims = [1u64; 4];
        let given = usize::try_from(n_dims).ok().and_then(|n| dims.get_mut(..n));
        let given = given.ok_or(Error::TooManyDims { offset, n_dims })?;
        let mut elements = Some(1u64);
        for (index, dim) in (0..).zip(given) {
            let offset = cursor.offset();
            let value = cursor.u64("tensor dimension")?;
            if value == 0 || value > i64::MAX as u64 {
                return Err(Error::BadDimension { offset, index, value });
            }
            elements = elements.and_then(|e| e.checked_mul(value)).filter(|&e| e <= i64::MAX as u64);
            *dim = value;
        }
        let elements = elements.ok_or(Error::SizeOverflow { field: "tensor element count", offset: dims_at })?;
        let kind_at = cursor.offset();
        let id = cursor.u32("tensor type")?;
        let kind = TensorType::from_id(id).ok_or(Error::UnknownTensorType { offset: kind_at, id })?;
        // Blocks have a power of two of elements.
        if dims[0] & (kind.block_len() - 1) != 0 {
            return Err(Error::PartialBlock { offset: dims_at, row: dims[0], block: kind.block_len() });
        }
        let size = kind.bytes(elements).ok_or(Error::SizeOverflow { field: "tensor byte size", offset: dims_at })?;
        let offset_at = cursor.offset();
        let offset = cursor.u64("tensor offset")?;
        Ok(Record { name, dims, n_dims, kind, kind_at, offset, size, offset_at })
    }

    /// Where in the file the data ends, given where all tensor data begins.
    fn end(&self, data: u64) -> Option<u64> {
        data.checked_add(self.offset)?.checked_add(self.size)
    }
}
