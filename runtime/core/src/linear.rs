//! Matrix products: weights of any format times the activations of some tokens, shared out to threads by output.

use crate::memory::zeroed;
use crate::{Error, TensorName};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use smidgen_quant::activation::{GROUP, K_BLOCK};
use smidgen_quant::{Activation, Q8, Q8K, ops};
use smidgen_targets::{Columns, Format, Input, Kernels, Layout, Pool, Rows, Tile, for_columns, for_each, for_tiles};

/// How products with weights are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// By the law of the weights' format, activations rounded to int8 for the quantized ones.
    #[default]
    Law,
    /// Weights decoded to `f32`, activations unrounded. Slow; a yardstick for the other.
    F32,
}

/// What the operations of a forward pass run on.
pub(crate) struct Machine<'p> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) pool: &'p dyn Pool,
    pub(crate) precision: Precision,
    /// Whether every output so far is finite. Rounding to int8 would hide a NaN, so products are looked at, or what is made of them before that.
    finite: AtomicBool,
}

/// Claims of work for each thread in one operation: more balance the threads better, fewer cost less.
const CLAIMS: usize = 4;
/// The fewest tokens of a band that is not alone.
const BAND: usize = 64;
/// Outputs in a claim are a multiple of this, so that kernels get whole panels.
const PANEL: usize = 16;

/// How many of these panels make a claim: some [`CLAIMS`] claims for each thread, or up to twice as many if the threads are done sooner then.
fn claim(panels: usize, threads: usize) -> usize {
    let most = panels.div_ceil(threads.saturating_mul(CLAIMS)).max(1);
    let end = |claim: usize| panels.div_ceil(claim).div_ceil(threads) * claim;
    (most.div_ceil(2)..=most).rev().min_by_key(|claim| end(*claim)).unwrap_or(most)
}

impl<'p> Machine<'p> {
    pub(crate) fn new(kernels: &'static Kernels, pool: &'p dyn Pool, precision: Precision) -> Machine<'p> {
        Machine { kernels, pool, precision, finite: AtomicBool::new(true) }
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.finite.load(Ordering::Relaxed)
    }

    /// Takes note if a value is infinite or NaN.
    pub(crate) fn check(&self, values: &[f32]) {
        if !(self.kernels.finite)(values) {
            self.finite.store(false, Ordering::Relaxed);
        }
    }

    /// Tokens in a pass of some of `tokens`, at most `batch` and at most [`BAND`] for each thread: what 64 tokens have in a layer of a small model stays
    /// in the cache of a core from one operation to the next, what 256 have does not (its largest products were a quarter slower on a Xeon). The
    /// passes are about equally long, since a short one reads the weights as often as a long one.
    pub(crate) fn pass_length(&self, tokens: usize, batch: usize) -> usize {
        let most = self.pool.threads().max(1).saturating_mul(BAND).min(batch).max(1);
        let passes = tokens.div_ceil(most).max(1);
        tokens.div_ceil(passes).next_multiple_of(4).clamp(1, most)
    }

    /// Tokens in a band: each thread has some of its own, if there are enough, so that it finds in its cache what it has computed before. Kernels
    /// unpack weights for [`BAND`] tokens at a time, so less would cost more.
    fn band(&self, tokens: usize) -> usize {
        let bands = (tokens / BAND).clamp(1, self.pool.threads().clamp(1, PIECES));
        tokens.div_ceil(bands).next_multiple_of(4)
    }

    /// Columns in a claim of `bands` bands with so many.
    fn column_grain(&self, cols: usize, bands: usize) -> usize {
        match self.pool.threads() {
            0 | 1 => cols,
            threads => claim(cols.div_ceil(PANEL), threads.div_ceil(bands.max(1))) * PANEL,
        }
    }

    /// Calls `job` once for each row of a matrix with its number, on several threads if there are several rows.
    pub(crate) fn rows(&self, matrix: &mut [f32], stride: usize, job: impl Fn(usize, &mut [f32]) + Sync) {
        let rows = matrix.len() / stride.max(1);
        let grain = rows.div_ceil(self.pool.threads().saturating_mul(CLAIMS).max(1));
        for_tiles(self.pool, matrix, stride, grain, stride, |mut tile| {
            for i in 0..tile.rows() {
                let row = tile.first_row() + i;
                job(row, tile.row(i));
            }
        });
    }
}

/// A linear layer: `y = W x + b`, with the weights as they lie in the file.
#[derive(Clone, Debug)]
pub struct Linear<'a> {
    /// The weights' tensor.
    pub name: TensorName,
    /// `[outputs × inputs]`
    pub weight: Rows<'a>,
    /// `[outputs]`, or empty.
    pub bias: Vec<f32>,
    /// The weights of the inputs that are not rounded to int8, decoded: `[inputs that are not × outputs]`, mostly none.
    pub unrounded: Vec<f32>,
}

impl Linear<'_> {
    /// What its input has to be.
    fn form(&self, machine: &Machine) -> Activation {
        match machine.precision {
            Precision::Law => self.weight.format().activation(),
            Precision::F32 => Activation::F32,
        }
    }

    /// `out[t] = W x[t] + b` for every token; `out` is `[tokens × outputs]`.
    pub(crate) fn apply(&self, machine: &Machine, x: &mut Activations, out: &mut [f32]) {
        apply_all([(self, out)], machine, x);
    }

    /// As [`apply`](Self::apply), with `then` of every output, a function of each number by itself. It gets pieces of rows.
    pub(crate) fn apply_then(
        &self,
        machine: &Machine,
        x: &mut Activations,
        out: &mut [f32],
        then: impl Fn(&mut [f32]) + Sync,
    ) {
        products([(self, out)], machine, x, |row| {
            machine.check(row);
            then(row);
        });
    }

    /// As [`apply`](Self::apply), without a look at the outputs: for those whose use shows what is not finite.
    pub(crate) fn apply_unseen(&self, machine: &Machine, x: &mut Activations, out: &mut [f32]) {
        products([(self, out)], machine, x, |_| {});
    }

    /// The weights of an input, decoded. `[outputs]`
    pub(crate) fn column(&self, input: usize, to: &mut [f32]) {
        let format = self.weight.format();
        let (mut bytes, mut values) = ([0; K_BLOCK * size_of::<f32>()], [0f32; K_BLOCK]);
        let (bytes, values) = (&mut bytes[..format.block_bytes()], &mut values[..format.block_len()]);
        for (row, to) in to.iter_mut().enumerate() {
            let block = self.weight.blocks(row, input / format.block_len(), bytes);
            // The lengths fit: `Rows` holds whole blocks.
            if format.decode(block, values).is_ok() {
                *to = values[input % format.block_len()];
            }
        }
    }

    /// Whether every decoded weight of every row is finite. Reads the whole tensor.
    pub(crate) fn is_finite(&self) -> bool {
        let mut part = [0f32; K_BLOCK];
        (0..self.weight.rows()).all(|r| {
            let mut finite = true;
            decode_parts(&self.weight, r, &mut part, |_, weights| finite &= weights.iter().all(|w| w.is_finite()));
            finite
        })
    }
}

/// [`Linear::apply`] of several layers to the same input, for which the threads meet once.
pub(crate) fn apply_all<const N: usize>(layers: [(&Linear, &mut [f32]); N], machine: &Machine, x: &mut Activations) {
    products(layers, machine, x, |row| machine.check(row));
}

/// [`Linear::apply_unseen`] of several layers to the same input.
pub(crate) fn apply_all_unseen<const N: usize>(
    layers: [(&Linear, &mut [f32]); N],
    machine: &Machine,
    x: &mut Activations,
) {
    products(layers, machine, x, |_| {});
}

fn products<const N: usize>(
    layers: [(&Linear, &mut [f32]); N],
    machine: &Machine,
    x: &mut Activations,
    then: impl Fn(&mut [f32]) + Sync,
) {
    let (tokens, height) = (x.tokens, machine.band(x.tokens));
    for (layer, _) in &layers {
        x.round(machine, layer.form(machine), height);
    }
    let x = &*x;
    let cols = layers.iter().map(|(layer, _)| layer.weight.rows()).sum();
    let grain = machine.column_grain(cols, tokens.div_ceil(height.max(1)));
    let linear: [&Linear; N] = core::array::from_fn(|i| layers[i].0);
    let columns = layers.map(|(layer, out)| {
        let stride = layer.weight.rows();
        Columns { matrix: &mut out[..tokens * stride], stride, grain }
    });
    for_columns(machine.pool, columns, height, |number, band, mut tile| {
        let layer = linear[number];
        match x.input(layer.form(machine), band * height, height) {
            Input::F32 { values, cols } if machine.precision == Precision::F32 => {
                matmul_f32(&layer.weight, values, cols, &mut tile);
            }
            input => machine.kernels.matmul(&layer.weight, &input, &mut tile),
        }
        let (first, outputs) = (tile.first_col(), layer.weight.rows());
        for t in 0..tile.rows() {
            let token = band * height + t;
            let row = tile.row(t);
            for (x, weights) in x.unrounded.chunk(token).iter().zip(layer.unrounded.chunks_exact(outputs)) {
                add_scaled(row, *x, &weights[first..]);
            }
            if let Some(bias) = layer.bias.get(first..first + row.len()) {
                ops::add(row, bias);
            }
            then(row);
        }
    });
}

/// `out += x · weights`, each product rounded before it is added.
fn add_scaled(out: &mut [f32], x: f32, weights: &[f32]) {
    for (out, weight) in out.iter_mut().zip(weights) {
        *out += x * weight;
    }
}

/// Decodes row `r` in parts of up to 256 weights, and gives each with the number of its first weight.
pub(crate) fn decode_parts(weight: &Rows, r: usize, part: &mut [f32; K_BLOCK], mut take: impl FnMut(usize, &[f32])) {
    let format = weight.format();
    let mut bytes = [0; K_BLOCK * size_of::<f32>()];
    let bytes = &mut bytes[..K_BLOCK / format.block_len() * format.block_bytes()];
    let mut first = 0;
    while first < weight.cols() {
        let bytes = weight.blocks(r, first / format.block_len(), bytes);
        let len = bytes.len() / format.block_bytes() * format.block_len();
        // The lengths fit: `Rows` holds whole blocks.
        if len == 0 || format.decode(bytes, &mut part[..len]).is_err() {
            return;
        }
        take(first, &part[..len]);
        first += len;
    }
}

/// The product with decoded weights, summed in the stripes of [`ops::dot`].
fn matmul_f32(weight: &Rows, x: &[f32], cols: usize, out: &mut Tile) {
    const TOKENS: usize = 32;
    let mut part = [0f32; K_BLOCK];
    for r in 0..out.cols() {
        let row = out.first_col() + r;
        for first in (0..out.rows()).step_by(TOKENS) {
            let tokens = TOKENS.min(out.rows() - first);
            let x = &x[(out.first_row() + first) * cols..][..tokens * cols];
            let mut sums = [[0f32; ops::STRIPES]; TOKENS];
            decode_parts(weight, row, &mut part, |at, weights| {
                for (sum, x) in sums.iter_mut().zip(x.chunks_exact(cols)) {
                    accumulate(sum, weights, &x[at..]);
                }
            });
            for (t, lanes) in sums[..tokens].iter().enumerate() {
                out.row(first + t)[r] = ops::tree(*lanes);
            }
        }
    }
}

/// Adds products to the stripes. The first weight is in the first stripe.
fn accumulate(sum: &mut [f32; ops::STRIPES], weights: &[f32], x: &[f32]) {
    let (w_whole, w_rest) = weights.as_chunks::<{ ops::STRIPES }>();
    let (x_whole, x_rest) = x[..weights.len()].as_chunks::<{ ops::STRIPES }>();
    for (w, x) in w_whole.iter().zip(x_whole) {
        let products: [f32; ops::STRIPES] = core::array::from_fn(|i| w[i] * x[i]);
        *sum = core::array::from_fn(|i| sum[i] + products[i]);
    }
    for (sum, (w, x)) in sum.iter_mut().zip(w_rest.iter().zip(x_rest)) {
        *sum += w * x;
    }
}

/// Memory for activations in the quantized forms. Arrays of a form that the model does not use are empty.
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
    /// Room for `values` activations in each form that is used.
    pub(crate) fn new(values: usize, q8: bool, q8k: bool) -> Result<Quantized, Error> {
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
    unrounded: Unrounded<'s>,
    tokens: usize,
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
    fn chunk(&self, token: usize) -> &'s [f32] {
        &self.values[token * self.count..][..self.count]
    }
}

/// Pieces that the rounding of one input is cut into, at most.
const PIECES: usize = 16;
/// Blocks in a piece where there is one thread to do them all.
const PLACES: usize = 8;
/// Less than so many values are rounded, or stored in a cache, by the calling thread alone.
pub(crate) const SMALL: usize = 1 << 13;

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

    /// Makes the form for bands of so many tokens, unless it is there.
    fn round(&mut self, machine: &Machine, form: Activation, height: usize) {
        match form {
            _ if self.values.is_empty() => {}
            Activation::Q8 if !self.has_q8 => {
                self.quantize_q8(machine, height);
                self.has_q8 = true;
            }
            Activation::Q8K if !self.has_q8k => {
                self.quantize_q8k(machine, height);
                self.has_q8k = true;
            }
            _ => {}
        }
    }

    /// The input of the band of `height` tokens from `first` on, in a form that [`round`](Self::round) has made.
    fn input(&self, form: Activation, first: usize, height: usize) -> Input<'_> {
        let (tokens, cols) = (height.min(self.tokens - first), self.cols);
        let part = |unit: usize| first * cols / unit..(first + tokens) * cols / unit;
        match form {
            Activation::F32 => Input::F32 { values: &self.values[part(1)], cols },
            Activation::Q8 => {
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
            Activation::Q8K => {
                let Quantized { k_qs, k_scales, k_sums, .. } = &*self.quantized;
                let (qs, scales, sums) = (&k_qs[part(1)], &k_scales[part(K_BLOCK)], &k_sums[part(16)]);
                Input::Q8K(Q8K { tokens, cols, qs, scales, sums })
            }
        }
    }

    /// Blocks of `block` values in each piece of a band. Not all, also for one thread: a block of all tokens lies together, and whole tokens one after another
    /// would write to as many places as they have blocks, which often have the same few places in the nearest cache.
    fn piece(&self, machine: &Machine, block: usize, height: usize) -> usize {
        let (blocks, bands) = (self.cols / block, self.tokens.div_ceil(height.max(1)).max(1));
        let least = match (self.values.len() < SMALL, machine.pool.threads()) {
            (true, _) => blocks,
            (_, 1) => PLACES,
            _ => 1,
        };
        blocks.div_ceil((PIECES / bands).max(1)).max(least).min(blocks).max(1)
    }

    /// The layout is block-major in each band, so a range of blocks of all its tokens is one range of every array.
    fn quantize_q8(&mut self, machine: &Machine, height: usize) {
        let (cols, len, piece) = (self.cols, self.values.len(), self.piece(machine, GROUP, height));
        let Quantized { qs, scales, sums, offsets, .. } = &mut *self.quantized;
        let band = height * cols;
        let bands = qs[..len]
            .chunks_mut(band)
            .zip(scales[..len / GROUP].chunks_mut(band / GROUP))
            .zip(sums[..len / GROUP].chunks_mut(band / GROUP))
            .zip(offsets[..len / GROUP].chunks_mut(band / GROUP));
        let mut arrays = self.values.chunks(band).zip(bands).flat_map(|(values, (((qs, scales), sums), offsets))| {
            let n = piece * (values.len() / cols);
            let pieces = qs.chunks_mut(n * GROUP).zip(scales.chunks_mut(n)).zip(sums.chunks_mut(n));
            pieces.zip(offsets.chunks_mut(n)).enumerate().map(move |(i, arrays)| (values, i, arrays))
        });
        let mut pieces: [_; PIECES] = core::array::from_fn(|_| arrays.next());
        let count = pieces.iter().flatten().count();
        for_each(machine.pool, &mut pieces[..count], |part| {
            let Some((values, i, (((qs, scales), sums), offsets))) = part else { return };
            let (from, to) = (*i * piece * GROUP, cols.min((*i + 1) * piece * GROUP));
            let tokens = values.len() / cols;
            for (t, values) in values.chunks_exact(cols).enumerate() {
                (machine.kernels.quantize_q8)(&values[from..to], t, tokens, qs, scales, sums, offsets);
            }
        });
    }

    fn quantize_q8k(&mut self, machine: &Machine, height: usize) {
        let (cols, len, piece) = (self.cols, self.values.len(), self.piece(machine, K_BLOCK, height));
        let Quantized { k_qs, k_scales, k_sums, .. } = &mut *self.quantized;
        let band = height * cols;
        let bands = k_qs[..len]
            .chunks_mut(band)
            .zip(k_scales[..len / K_BLOCK].chunks_mut(band / K_BLOCK))
            .zip(k_sums[..len / 16].chunks_mut(band / 16));
        let mut arrays = self.values.chunks(band).zip(bands).flat_map(|(values, ((qs, scales), sums))| {
            let n = piece * (values.len() / cols);
            let pieces = qs.chunks_mut(n * K_BLOCK).zip(scales.chunks_mut(n)).zip(sums.chunks_mut(n * (K_BLOCK / 16)));
            pieces.enumerate().map(move |(i, arrays)| (values, i, arrays))
        });
        let mut pieces: [_; PIECES] = core::array::from_fn(|_| arrays.next());
        let count = pieces.iter().flatten().count();
        for_each(machine.pool, &mut pieces[..count], |part| {
            let Some((values, i, ((qs, scales), sums))) = part else { return };
            let (from, to) = (*i * piece * K_BLOCK, cols.min((*i + 1) * piece * K_BLOCK));
            let tokens = values.len() / cols;
            for (t, values) in values.chunks_exact(cols).enumerate() {
                (machine.kernels.quantize_q8k)(&values[from..to], t, tokens, qs, scales, sums);
            }
        });
    }
}

/// How to multiply a tensor type of a file, if that can be done.
pub(crate) fn format_of(kind: smidgen_gguf::TensorType) -> Option<(Format, Layout)> {
    let layout = if kind.unpacked().is_some() { Layout::Packed } else { Layout::Plain };
    Some((Format::from_id(kind.unpacked().unwrap_or(kind).id())?, layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that it has so many threads, of which one comes.
    struct Threads(usize);
    impl Pool for Threads {
        fn threads(&self) -> usize {
            self.0
        }
        fn run(&self, job: &(dyn Fn() + Sync)) {
            job();
        }
    }

    #[test]
    fn passes_are_about_equal_and_within_bounds() {
        for (threads, tokens, batch, expected) in [
            (1, 512, 256, 64),
            (2, 512, 256, 128),
            (8, 512, 256, 256),
            (1, 65, 256, 36),
            (2, 130, 256, 68),
            (1, 0, 256, 1),
            (1, 3, 256, 4),
            (4, 100, 1, 1),
            (4, 100, 7, 7),
            (0, 64, 256, 64),
        ] {
            let pool = Threads(threads);
            let machine = Machine::new(smidgen_targets::detect(), &pool, Precision::Law);
            assert_eq!(machine.pass_length(tokens, batch), expected, "{threads} threads, {tokens} tokens, {batch}");
        }
    }

    /// Tokens are cut into bands by the number of threads, which must not show.
    #[test]
    fn bands_do_not_show() {
        const COLS: usize = 512;
        for (format, outputs) in [(Format::Q4_0, 40), (Format::Q6_K, 24)] {
            let row = format.bytes(COLS).unwrap();
            // Scales of 0x3333 are finite.
            let bytes: Vec<u8> = (0..outputs * row).map(|i| ((i * 40503) >> 7) as u8 & 0x33).collect();
            let weight = Rows::new(format, Layout::Plain, &bytes, outputs, COLS).unwrap();
            let name = TensorName { layer: None, part: "w" };
            let linear = Linear { name, weight, bias: Vec::new(), unrounded: Vec::new() };
            for tokens in [0, 1, 63, 128, 150, 257] {
                let values: Vec<f32> = (0..tokens * COLS).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
                let product = |threads| {
                    let (mut out, pool) = (alloc::vec![0f32; tokens * outputs], Threads(threads));
                    let machine = Machine::new(smidgen_targets::detect(), &pool, Precision::Law);
                    let mut quantized = Quantized::new(values.len(), true, true).unwrap();
                    linear.apply(&machine, &mut Activations::new(&values, COLS, &mut quantized), &mut out);
                    out
                };
                let expected = product(1);
                assert!(tokens == 0 || expected.iter().any(|x| *x != expected[0]));
                for threads in [2, 3, 5, 40] {
                    assert!(product(threads) == expected, "{format:?}, {tokens} tokens, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn threads_end_together() {
        // 576, 192, 1,536 and 49,152 outputs: with claims of a ninth, one of two threads would have five to do.
        for (panels, threads, expected) in [(36, 2, 3), (12, 2, 2), (96, 2, 12), (3072, 2, 384), (1, 4, 1), (0, 2, 1)] {
            assert_eq!(claim(panels, threads), expected, "{panels} panels, {threads} threads");
        }
        for panels in 1..200usize {
            for threads in 2..9usize {
                let longest = |claim: usize| panels.div_ceil(claim).div_ceil(threads) * claim;
                assert!(longest(claim(panels, threads)) <= longest(panels.div_ceil(threads * CLAIMS)));
            }
        }
    }
}
