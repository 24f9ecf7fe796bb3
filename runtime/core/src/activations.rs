//! Activations of some tokens, and their rounding to the formats that weights are multiplied with.

use crate::RunError;
use crate::exec::Exec;
use crate::memory::zeroed;
use crate::schedule::{self, RANGES};
use alloc::vec::Vec;
use smidgen_quant::activation::{GROUP, K_BLOCK};
use smidgen_quant::{InputFormat, Q8, Q8K};
use smidgen_targets::{Input, for_each};

/// Memory for activations in the quantized formats. Arrays of a format that the model does not use are empty.
#[derive(Debug)]
pub(crate) struct Quantized {
    qs: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    offsets: Vec<f32>,
    k_qs: Vec<i8>,
    k_scales: Vec<f32>,
    k_sums: Vec<i16>,
}

impl Quantized {
    /// Memory for `values` activations in each format that is used.
    pub(crate) fn new(values: usize, q8: bool, q8k: bool) -> Result<Quantized, RunError> {
        let (n, k) = (if q8 { values } else { 0 }, if q8k { values } else { 0 });
        Ok(Quantized {
            qs: zeroed(n)?,
            scales: zeroed(n / GROUP)?,
            sums: zeroed(n / GROUP)?,
            offsets: zeroed(n / GROUP)?,
            k_qs: zeroed(k)?,
            k_scales: zeroed(k / K_BLOCK)?,
            k_sums: zeroed(k / 16)?,
        })
    }

    /// Bytes that [`new`](Self::new) takes, for each value.
    pub(crate) fn bytes(values: usize, q8: bool, q8k: bool) -> Option<usize> {
        let q8 = if q8 { values.checked_add(values / GROUP * 12)? } else { 0 };
        let q8k = if q8k { values.checked_add(values / K_BLOCK * 4 + values / 8)? } else { 0 };
        q8.checked_add(q8k)
    }
}

/// The inputs of one or more products, rounded when the first product asks for it.
pub(crate) struct Activations<'s> {
    /// `[tokens × cols]`
    values: &'s [f32],
    pub(crate) unrounded: Unrounded<'s>,
    pub(crate) tokens: usize,
    cols: usize,
    quantized: &'s mut Quantized,
    has_q8: bool,
    has_q8k: bool,
}

/// Values of some inputs that were taken out of the others, which are rounded; these are multiplied as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unrounded<'s> {
    /// `[tokens × count]`
    pub(crate) values: &'s [f32],
    /// Of each token.
    pub(crate) count: usize,
}

impl<'s> Unrounded<'s> {
    pub(crate) fn of_token(&self, token: usize) -> &'s [f32] {
        &self.values[token * self.count..][..self.count]
    }
}

impl<'s> Activations<'s> {
    pub(crate) fn new(values: &'s [f32], cols: usize, quantized: &'s mut Quantized) -> Activations<'s> {
        Activations {
            values,
            unrounded: Unrounded::default(),
            tokens: values.len() / cols.max(1),
            cols,
            quantized,
            has_q8: false,
            has_q8k: false,
        }
    }

    /// The same with inputs that `values` has zeros for.
    pub(crate) fn with(self, unrounded: Unrounded<'s>) -> Activations<'s> {
        Activations { unrounded, ..self }
    }

    /// The memory for other activations.
    pub(crate) fn into_memory(self) -> &'s mut Quantized {
        self.quantized
    }

    /// Rounds to a format, in rows of tiles of `tile_rows` tokens. Whether that was to be done.
    pub(crate) fn round(&mut self, exec: &Exec, format: InputFormat, tile_rows: usize) -> bool {
        match format {
            _ if self.values.is_empty() => false,
            InputFormat::Q8 if !self.has_q8 => {
                self.quantize_q8(exec, tile_rows);
                self.has_q8 = true;
                true
            }
            InputFormat::Q8K if !self.has_q8k => {
                self.quantize_q8k(exec, tile_rows);
                self.has_q8k = true;
                true
            }
            _ => false,
        }
    }

    /// The input of the row of tiles of `tile_rows` tokens from `first` on, in a format that [`round`](Self::round) has made.
    pub(crate) fn input(&self, format: InputFormat, first: usize, tile_rows: usize) -> Input<'_> {
        let (tokens, cols) = (tile_rows.min(self.tokens - first), self.cols);
        let part = |unit: usize| first * cols / unit..(first + tokens) * cols / unit;
        match format {
            InputFormat::F32 => Input::F32 { values: &self.values[part(1)], cols },
            InputFormat::Q8 => {
                let Quantized { qs, scales, sums, offsets, .. } = &*self.quantized;
                Input::Q8(Q8 {
                    tokens,
                    cols,
                    qs: &qs[part(1)],
                    scales: &scales[part(GROUP)],
                    sums: &sums[part(GROUP)],
                    offsets: &offsets[part(GROUP)],
                })
            }
            InputFormat::Q8K => {
                let Quantized { k_qs, k_scales, k_sums, .. } = &*self.quantized;
                let (qs, scales, sums) = (&k_qs[part(1)], &k_scales[part(K_BLOCK)], &k_sums[part(16)]);
                Input::Q8K(Q8K { tokens, cols, qs, scales, sums })
            }
        }
    }

    /// Blocks of `block` values in each range.
    fn range_blocks(&self, exec: &Exec, block: usize, tile_rows: usize) -> usize {
        let down = self.tokens.div_ceil(tile_rows.max(1)).max(1);
        schedule::range_blocks(self.values.len(), self.cols / block, down, exec.pool.threads())
    }

    /// The layout is block-major in each row of tiles, so a range of blocks of all its tokens is one range of every array.
    fn quantize_q8(&mut self, exec: &Exec, tile_rows: usize) {
        let (cols, len, blocks) = (self.cols, self.values.len(), self.range_blocks(exec, GROUP, tile_rows));
        let Quantized { qs, scales, sums, offsets, .. } = &mut *self.quantized;
        let values_of_row = tile_rows * cols;
        let rows_of_tiles = qs[..len]
            .chunks_mut(values_of_row)
            .zip(scales[..len / GROUP].chunks_mut(values_of_row / GROUP))
            .zip(sums[..len / GROUP].chunks_mut(values_of_row / GROUP))
            .zip(offsets[..len / GROUP].chunks_mut(values_of_row / GROUP));
        let mut arrays = self.values.chunks(values_of_row).zip(rows_of_tiles).flat_map(
            |(values, (((qs, scales), sums), offsets))| {
                let n = blocks * (values.len() / cols);
                let ranges = qs.chunks_mut(n * GROUP).zip(scales.chunks_mut(n)).zip(sums.chunks_mut(n));
                ranges.zip(offsets.chunks_mut(n)).enumerate().map(move |(i, arrays)| (values, i, arrays))
            },
        );
        let mut ranges: [_; RANGES] = core::array::from_fn(|_| arrays.next());
        let count = ranges.iter().flatten().count();
        for_each(exec.pool, &mut ranges[..count], |slot| {
            let Some((values, i, (((qs, scales), sums), offsets))) = slot else { return };
            let (from, to) = (*i * blocks * GROUP, cols.min((*i + 1) * blocks * GROUP));
            let tokens = values.len() / cols;
            for (t, values) in values.chunks_exact(cols).enumerate() {
                (exec.kernels.quantize_q8)(&values[from..to], t, tokens, qs, scales, sums, offsets);
            }
        });
    }

    fn quantize_q8k(&mut self, exec: &Exec, tile_rows: usize) {
        let (cols, len, blocks) = (self.cols, self.values.len(), self.range_blocks(exec, K_BLOCK, tile_rows));
        let Quantized { k_qs, k_scales, k_sums, .. } = &mut *self.quantized;
        let values_of_row = tile_rows * cols;
        let rows_of_tiles = k_qs[..len]
            .chunks_mut(values_of_row)
            .zip(k_scales[..len / K_BLOCK].chunks_mut(values_of_row / K_BLOCK))
            .zip(k_sums[..len / 16].chunks_mut(values_of_row / 16));
        let mut arrays =
            self.values.chunks(values_of_row).zip(rows_of_tiles).flat_map(|(values, ((qs, scales), sums))| {
                let n = blocks * (values.len() / cols);
                let ranges =
                    qs.chunks_mut(n * K_BLOCK).zip(scales.chunks_mut(n)).zip(sums.chunks_mut(n * (K_BLOCK / 16)));
                ranges.enumerate().map(move |(i, arrays)| (values, i, arrays))
            });
        let mut ranges: [_; RANGES] = core::array::from_fn(|_| arrays.next());
        let count = ranges.iter().flatten().count();
        for_each(exec.pool, &mut ranges[..count], |slot| {
            let Some((values, i, ((qs, scales), sums))) = slot else { return };
            let (from, to) = (*i * blocks * K_BLOCK, cols.min((*i + 1) * blocks * K_BLOCK));
            let tokens = values.len() / cols;
            for (t, values) in values.chunks_exact(cols).enumerate() {
                (exec.kernels.quantize_q8k)(&values[from..to], t, tokens, qs, scales, sums);
            }
        });
    }
}
