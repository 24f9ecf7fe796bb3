//! Where tensors lie: buffers of the arena, places in them, and the records that use them.

use super::Error;
use std::ops::Range;

/// Beginnings of buffers in the arena are multiples of this many bytes, so that words can be loaded.
const ALIGNMENT: usize = 4;

/// Rows, columns and channels of a shape: its last three extents, with all before them counted among the rows.
pub(super) fn extent(shape: &[usize]) -> [usize; 3] {
    let mut extent = [1; 3];
    for (i, dim) in shape.iter().rev().enumerate() {
        extent[2_usize.saturating_sub(i)] *= dim;
    }
    extent
}

/// Where a tensor's first element is, and how far it is from row to row and from column to column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) buffer: usize,
    pub(super) offset: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl Place {
    /// Without gaps.
    pub(super) fn dense(buffer: usize, offset: usize, [_, columns, channels]: [usize; 3]) -> Place {
        Place { buffer, offset, row: columns * channels, column: channels }
    }

    /// Whether there are no gaps.
    pub(super) fn is_dense(&self, [rows, columns, channels]: [usize; 3]) -> bool {
        (columns == 1 || self.column == channels) && (rows == 1 || self.row == columns * channels)
    }

    /// The part that begins at a row, column and channel.
    pub(super) fn part(&self, [row, column, channel]: [usize; 3]) -> Place {
        Place { offset: self.offset + row * self.row + column * self.column + channel, ..*self }
    }

    /// The bytes from the first to the last.
    pub(super) fn span(&self, [rows, columns, channels]: [usize; 3]) -> Range<usize> {
        let last = |count: usize, step: usize| count.saturating_sub(1).saturating_mul(step);
        let len = last(rows, self.row).saturating_add(last(columns, self.column)).saturating_add(channels);
        self.offset..self.offset.saturating_add(len)
    }

    /// Whether both put each element of an extent at the same byte.
    pub(super) fn same(&self, other: &Place, [rows, columns, _]: [usize; 3]) -> bool {
        (self.buffer, self.offset) == (other.buffer, other.offset)
            && (rows == 1 || self.row == other.row)
            && (columns == 1 || self.column == other.column)
    }
}

/// A word of a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    Number(i64),
    /// A byte of a buffer.
    Arena {
        buffer: usize,
        offset: usize,
    },
}

/// Words of a record, in the order of `docs/gguf.md`.
#[derive(Clone, Debug, Default)]
pub(super) struct Record(Vec<Word>);

impl Record {
    pub(super) fn new(code: i64) -> Record {
        Record(vec![Word::Number(code)])
    }

    pub(super) fn sizes(mut self, sizes: &[usize]) -> Record {
        // What passes 63 bits is refused when words are made.
        self.0.extend(sizes.iter().map(|&size| Word::Number(i64::try_from(size).unwrap_or(i64::MAX))));
        self
    }

    pub(super) fn ints(mut self, ints: &[i32]) -> Record {
        self.0.extend(ints.iter().map(|&int| Word::Number(int.into())));
        self
    }

    pub(super) fn at(mut self, buffer: usize, offset: usize) -> Record {
        self.0.push(Word::Arena { buffer, offset });
        self
    }

    pub(super) fn place(self, place: Place) -> Record {
        self.at(place.buffer, place.offset).sizes(&[place.row, place.column])
    }
}

#[derive(Debug)]
struct Buffer {
    size: usize,
    /// Whether it keeps its bytes from one step to the next.
    keep: bool,
    /// The first and the last record that use it.
    used: Option<(usize, usize)>,
    offset: usize,
}

/// The arena and the plan while they are made.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buffers: Vec<Buffer>,
    pub(super) records: Vec<Record>,
    pub(super) reset: Vec<Record>,
    pub(super) weights: Vec<u8>,
}

impl Memory {
    pub(super) fn buffer(&mut self, size: usize, keep: bool) -> usize {
        self.buffers.push(Buffer { size, keep, used: None, offset: 0 });
        self.buffers.len() - 1
    }

    pub(super) fn keeps(&self, buffer: usize) -> bool {
        self.buffers[buffer].keep
    }

    /// That a buffer is used from outside, before the first record or after the last one so far.
    pub(super) fn touch(&mut self, buffer: usize, record: usize) {
        let used = &mut self.buffers[buffer].used;
        *used = Some(used.map_or((record, record), |(first, last)| (first.min(record), last.max(record))));
    }

    pub(super) fn push(&mut self, record: Record) {
        for word in &record.0 {
            if let Word::Arena { buffer, .. } = word {
                self.touch(*buffer, self.records.len());
            }
        }
        self.records.push(record);
    }

    /// Puts bytes among the weights, and says where.
    pub(super) fn constant(&mut self, bytes: &[u8]) -> usize {
        let at = self.weights.len().next_multiple_of(16);
        self.weights.resize(at, 0);
        self.weights.extend(bytes);
        at
    }

    /// Gives all buffers their offsets, large ones first, each at the lowest that is free while it is used. Returns the arena's length.
    pub(super) fn arrange(&mut self) -> usize {
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&i| (!self.buffers[i].keep, std::cmp::Reverse(self.buffers[i].size), i));
        let end = self.records.len();
        let life = |buffer: &Buffer| if buffer.keep { (0, end) } else { buffer.used.unwrap_or((0, end)) };
        let mut placed: Vec<usize> = Vec::new();
        let mut length = 0;
        for i in order {
            let (first, last) = life(&self.buffers[i]);
            let together = |&&other: &&usize| {
                let (start, stop) = life(&self.buffers[other]);
                first <= stop && start <= last
            };
            let mut taken: Vec<_> = placed
                .iter()
                .filter(together)
                .map(|&other| (self.buffers[other].offset, self.buffers[other].offset + self.buffers[other].size))
                .collect();
            taken.sort_unstable();
            let mut offset = 0_usize;
            for (start, stop) in taken {
                if offset + self.buffers[i].size <= start {
                    break;
                }
                offset = offset.max(stop.next_multiple_of(ALIGNMENT));
            }
            self.buffers[i].offset = offset;
            length = length.max(offset + self.buffers[i].size);
            placed.push(i);
        }
        length
    }

    /// A place's offset in the arena, after [`arrange`](Self::arrange).
    pub(super) fn offset(&self, place: &Place) -> usize {
        self.buffers[place.buffer].offset + place.offset
    }

    /// The words of records, after [`arrange`](Self::arrange).
    pub(super) fn words(&self, records: &[Record]) -> Result<Vec<u8>, Error> {
        let mut words = Vec::new();
        for word in records.iter().flat_map(|record| &record.0) {
            let number = match *word {
                Word::Number(number) => number,
                Word::Arena { buffer, offset } => {
                    i64::try_from(self.buffers[buffer].offset + offset).map_err(|_| Error::TooLarge)?
                }
            };
            words.extend(i32::try_from(number).map_err(|_| Error::TooLarge)?.to_le_bytes());
        }
        Ok(words)
    }
}
