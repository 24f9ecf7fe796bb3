//! The records of a plan, as `docs/gguf.md` describes them, checked when they are read: what lies in the arena and in the weights is
//! inside of them, and what is written overlaps nothing that is read.

use super::{Error, kernels};
use core::ops::Range;
use smidgen_quant::fixed;
use smidgen_quant::int8::{Bounds, CHANNEL, Taps, is_channel};

/// Numbers of the records that give a state its first value.
pub(super) const FILL: i32 = 9;
pub(super) const LOAD: i32 = 12;
/// Most words of a plan.
const MAX_WORDS: usize = 1 << 20;
/// Values that a byte has.
pub(super) const VALUES: usize = 256;

/// Walks the words of a plan.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    words: &'a [[u8; 4]],
    at: usize,
    pub(super) weights: &'a [u8],
    pub(super) arena: usize,
}

/// Rows of columns of neighbouring channels.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
}

/// Where the first channel of a row and column is: bytes from the beginning of the arena, from row to row, from column to column.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) offset: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

impl View {
    /// The bytes from the first to the last of an extent.
    fn range(&self, extent: Extent) -> Option<Range<usize>> {
        let last = |count: usize, step: usize| count.checked_sub(1)?.checked_mul(step);
        let span = last(extent.rows, self.row)?
            .checked_add(last(extent.columns, self.column)?)?
            .checked_add(extent.channels)?;
        Some(self.offset..self.offset.checked_add(span)?)
    }

    /// Where row `y`, column `x` begins, from the first byte of the view's range.
    #[inline(always)]
    pub(super) fn at(&self, y: usize, x: usize) -> usize {
        y.wrapping_mul(self.row).wrapping_add(x.wrapping_mul(self.column))
    }
}

/// A view, its extent and the bytes that they span.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) extent: Extent,
    pub(super) view: View,
    pub(super) range: Range<usize>,
}

/// A factor in fixed point.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    pub(super) multiplier: i32,
    pub(super) shift: i32,
}

/// A convolution over all channels, or one for each channel.
pub(super) struct Conv<'a> {
    pub(super) out: Place,
    /// Where the first tap of each output is, from the beginning of `input`.
    pub(super) steps: View,
    /// Taps: rows, columns, and channels of the input.
    pub(super) taps: Taps,
    /// Channels of the input.
    pub(super) inputs: usize,
    pub(super) input: Range<usize>,
    pub(super) weights: &'a [u8],
    pub(super) channels: &'a [[u8; CHANNEL]],
    pub(super) bounds: Bounds,
    /// Room for the taps of an output if they are not neighbours; empty otherwise.
    pub(super) scratch: Range<usize>,
}

/// Means or maxima of windows, cut at the edges.
pub(super) struct Pool {
    pub(super) input: Place,
    pub(super) out: Place,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) pad: [usize; 2],
    pub(super) bounds: Bounds,
}

/// Sums of two tensors.
pub(super) struct Add {
    pub(super) inputs: [(Place, i32, Factor); 2],
    pub(super) out: Place,
    pub(super) factor: Factor,
    pub(super) bounds: Bounds,
}

impl<'a> Words<'a> {
    pub(super) fn new(plan: &'a [u8], weights: &'a [u8], arena: usize) -> Result<Words<'a>, Error> {
        let (words, rest) = plan.as_chunks();
        if !rest.is_empty() || words.len() > MAX_WORDS {
            return Err(Error::PlanLength { bytes: plan.len() });
        }
        Ok(Words { words, at: 0, weights, arena })
    }

    fn error(&self, field: &'static str) -> Error {
        Error::Plan { field, word: self.at.saturating_sub(1) }
    }

    fn word(&mut self) -> Result<i32, Error> {
        let word = self.words.get(self.at).ok_or(Error::Plan { field: "end", word: self.at })?;
        self.at += 1;
        Ok(i32::from_le_bytes(*word))
    }

    fn size(&mut self, field: &'static str) -> Result<usize, Error> {
        let word = self.word()?;
        usize::try_from(word).map_err(|_| self.error(field))
    }

    fn sizes<const N: usize>(&mut self, field: &'static str) -> Result<[usize; N], Error> {
        let mut sizes = [0; N];
        for size in &mut sizes {
            *size = self.size(field)?;
        }
        Ok(sizes)
    }

    fn extent(&mut self) -> Result<Extent, Error> {
        let [rows, columns, channels] = self.sizes("extent")?;
        Ok(Extent { rows, columns, channels })
    }

    fn view(&mut self) -> Result<View, Error> {
        let [offset, row, column] = self.sizes("view")?;
        Ok(View { offset, row, column })
    }

    fn place(&mut self, extent: Extent) -> Result<Place, Error> {
        let view = self.view()?;
        self.located(extent, view)
    }

    fn located(&self, extent: Extent, view: View) -> Result<Place, Error> {
        let range = view.range(extent).ok_or(self.error("empty or too large"))?;
        let columns = Extent { rows: 1, ..extent };
        let width = view.range(columns).map_or(0, |range| range.len());
        if (extent.columns > 1 && view.column < extent.channels) || (extent.rows > 1 && view.row < width) {
            return Err(self.error("overlap of a tensor with itself"));
        }
        self.inside(&range)?;
        Ok(Place { extent, view, range })
    }

    fn inside(&self, range: &Range<usize>) -> Result<(), Error> {
        if range.start <= range.end && range.end <= self.arena {
            Ok(())
        } else {
            Err(self.error("offset in the arena"))
        }
    }

    fn apart(&self, a: &Range<usize>, b: &Range<usize>) -> Result<(), Error> {
        if a.end <= b.start || b.end <= a.start || a.is_empty() || b.is_empty() {
            Ok(())
        } else {
            Err(self.error("overlap in the arena"))
        }
    }

    fn part(&self, offset: usize, len: usize) -> Result<&'a [u8], Error> {
        offset.checked_add(len).and_then(|end| self.weights.get(offset..end)).ok_or(self.error("offset in the weights"))
    }

    fn bounds(&mut self) -> Result<Bounds, Error> {
        let (zero, least, most) = (self.word()?, self.word()?, self.word()?);
        let ordered = -128 <= least && least <= most && most <= 127 && (-128..=127).contains(&zero);
        if ordered { Ok(Bounds { zero, least, most }) } else { Err(self.error("bounds")) }
    }

    fn byte(&mut self, field: &'static str) -> Result<i32, Error> {
        let value = self.word()?;
        if (-128..=255).contains(&value) { Ok(value) } else { Err(self.error(field)) }
    }

    fn factor(&mut self) -> Result<Factor, Error> {
        let (multiplier, shift) = (self.word()?, self.word()?);
        if fixed::is_shift(shift) { Ok(Factor { multiplier, shift }) } else { Err(self.error("shift")) }
    }

    #[inline(always)]
    fn conv(&mut self, depthwise: bool) -> Result<Conv<'a>, Error> {
        let extent = self.extent()?;
        let taps = self.extent()?;
        let (steps, [tap_row, tap_column]) = (self.view()?, self.sizes("tap")?);
        let out = self.place(extent)?;
        let [weights, channels] = self.sizes("offset in the weights")?;
        let bounds = self.bounds()?;
        let scratch = self.size("scratch")?;
        if depthwise && extent.channels != taps.channels {
            return Err(self.error("channels"));
        }
        let too_large = || self.error("too large");
        let first = Extent { channels: 1, ..extent };
        let firsts = steps.range(first).ok_or(too_large())?;
        let inner = View { offset: firsts.end.saturating_sub(1), row: tap_row, column: tap_column };
        let end = inner.range(taps).ok_or(too_large())?.end;
        let input = steps.offset..end;
        let row = taps.columns.checked_mul(taps.channels).ok_or(too_large())?;
        let patch = row.checked_mul(taps.rows).ok_or(too_large())?;
        let sums = if depthwise { 1 } else { extent.channels };
        let weights = self.part(weights, patch.checked_mul(sums).ok_or(too_large())?)?;
        let len = extent.channels.checked_mul(CHANNEL).ok_or(too_large())?;
        let channels = self.part(channels, len)?.as_chunks().0;
        let neighbours = (taps.columns == 1 || tap_column == taps.channels) && (taps.rows == 1 || tap_row == row);
        let room = if depthwise || neighbours { 0 } else { patch };
        let scratch = scratch..scratch.checked_add(room).ok_or(too_large())?;
        for range in [&input, &scratch] {
            self.inside(range)?;
            self.apart(range, &out.range)?;
        }
        self.apart(&input, &scratch)?;
        let inputs = taps.channels;
        let taps = Taps { rows: taps.rows, columns: taps.columns, row: tap_row, column: tap_column };
        Ok(Conv { out, steps, taps, inputs, input, weights, channels, bounds, scratch })
    }

    #[inline(always)]
    fn pool(&mut self) -> Result<Pool, Error> {
        let extent = self.extent()?;
        let input = self.place(extent)?;
        let [kernel_rows, kernel_columns, stride_rows, stride_columns, pad_rows, pad_columns] = self.sizes("window")?;
        let [rows, columns] = self.sizes("extent")?;
        let out = self.place(Extent { rows, columns, ..extent })?;
        let bounds = self.bounds()?;
        self.apart(&input.range, &out.range)?;
        // No window is empty, whether at the first or at the last edge.
        for (inner, outer, kernel, stride, pad) in [
            (extent.rows, rows, kernel_rows, stride_rows, pad_rows),
            (extent.columns, columns, kernel_columns, stride_columns, pad_columns),
        ] {
            let last = outer.saturating_sub(1).checked_mul(stride).ok_or(self.error("window"))?;
            if kernel == 0 || pad >= kernel || last.saturating_sub(pad) >= inner || kernel > 1 << 15 {
                return Err(self.error("window"));
            }
        }
        let (kernel, stride, pad) =
            ([kernel_rows, kernel_columns], [stride_rows, stride_columns], [pad_rows, pad_columns]);
        Ok(Pool { input, out, kernel, stride, pad, bounds })
    }

    #[inline(always)]
    fn add(&mut self) -> Result<Add, Error> {
        let extent = self.extent()?;
        let (a, b, out) = (self.place(extent)?, self.place(extent)?, self.place(extent)?);
        let a = (a, self.byte("zero point")?, self.factor()?);
        let b = (b, self.byte("zero point")?, self.factor()?);
        let (factor, bounds) = (self.factor()?, self.bounds()?);
        self.apart(&a.0.range, &out.range)?;
        self.apart(&b.0.range, &out.range)?;
        Ok(Add { inputs: [a, b], out, factor, bounds })
    }

    /// Reads the next record, and runs it if there is an arena; otherwise looks also at what need not be looked at again, the channels'
    /// factors. Returns its number; none at the end.
    pub(super) fn next(&mut self, arena: Option<&mut [u8]>) -> Result<Option<i32>, Error> {
        if self.at == self.words.len() {
            return Ok(None);
        }
        let code = self.word()?;
        match code {
            1 | 2 => {
                let conv = self.conv(code == 2)?;
                match arena {
                    Some(arena) if code == 1 => kernels::conv(&conv, arena)?,
                    Some(arena) => kernels::depthwise(&conv, arena)?,
                    None if conv.channels.iter().all(is_channel) => {}
                    None => return Err(self.error("multiplier or shift of a channel")),
                }
            }
            3 | 4 => {
                let pool = self.pool()?;
                if let Some(arena) = arena {
                    kernels::pool(&pool, code == 4, arena)?;
                }
            }
            5 => {
                let add = self.add()?;
                if let Some(arena) = arena {
                    kernels::add(&add, arena)?;
                }
            }
            6..=8 => {
                let extent = self.extent()?;
                let (input, out) = (self.place(extent)?, self.place(extent)?);
                self.apart(&input.range, &out.range)?;
                // The sum of a row of exponentials cannot pass 31 bits.
                if code == 7 && extent.channels > 1 << 11 {
                    return Err(self.error("channels"));
                }
                let table = match code {
                    6 => self.table(1)?,
                    7 => self.table(4)?,
                    _ => &[],
                };
                if let Some(arena) = arena {
                    kernels::each_run(&input, &out, arena, |from, to| match code {
                        6 => kernels::table(table, from, to),
                        7 => kernels::softmax(table.as_chunks().0, from, to),
                        _ => kernels::copy(from, to),
                    })?;
                }
            }
            FILL => {
                let extent = self.extent()?;
                let out = self.place(extent)?;
                // The byte of a value with or without sign.
                let [value, ..] = self.byte("value")?.to_le_bytes();
                if let Some(arena) = arena {
                    kernels::fill(&out, value, arena)?;
                }
            }
            10 => {
                let extent = self.extent()?;
                let input = self.place(extent)?;
                let out = self.place(Extent { rows: 1, columns: 1, channels: extent.channels })?;
                self.apart(&input.range, &out.range)?;
                let (offset, factor, zero) = (self.word()?, self.factor()?, self.byte("zero point")?);
                if let Some(arena) = arena {
                    kernels::mean(&input, &out, offset, factor, zero, arena)?;
                }
            }
            11 => {
                let [from, to, len] = self.sizes("move")?;
                let end = |start: usize| start.checked_add(len).ok_or(self.error("move"));
                let (from, target) = (from..end(from)?, to..end(to)?);
                self.inside(&from)?;
                self.inside(&target)?;
                if let Some(arena) = arena {
                    kernels::shift(&from, to, arena)?;
                }
            }
            LOAD => {
                let [from, to, len] = self.sizes("load")?;
                let to = to..to.checked_add(len).ok_or(self.error("load"))?;
                self.inside(&to)?;
                let data = self.part(from, len)?;
                if let Some(arena) = arena {
                    kernels::copy(data, arena.get_mut(to).ok_or(Error::Internal)?);
                }
            }
            _ => return Err(self.error("operator")),
        }
        Ok(Some(code))
    }

    /// A table with an entry of so many bytes for each value of a byte.
    fn table(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let at = self.size("table")?;
        self.part(at, VALUES * bytes)
    }

    /// A place outside of records: of the input or the output.
    pub(super) fn port(&self, extent: [usize; 3], view: [usize; 3]) -> Option<Place> {
        let [rows, columns, channels] = extent;
        let [offset, row, column] = view;
        self.located(Extent { rows, columns, channels }, View { offset, row, column }).ok()
    }
}
