//! Matrix products: weights of any format times the activations of some tokens, shared out to threads by output.

use crate::activations::Activations;
use crate::exec::{Exec, Precision};
use crate::probe::Operation;
use crate::{TensorName, schedule};
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::{InputFormat, ops};
use smidgen_targets::{Input, Matrix, Tile, WeightMatrix, for_column_tiles};

/// A linear layer: `y = W x + b`, with the weights as they lie in the file.
#[derive(Clone, Debug)]
pub struct Linear<'a> {
    /// The weights' tensor.
    pub name: TensorName,
    /// `[outputs × inputs]`
    pub weight: WeightMatrix<'a>,
    /// `[outputs]`, or empty.
    pub bias: Vec<f32>,
    /// The weights of the inputs that are not rounded to int8, decoded: `[inputs that are not × outputs]`, mostly none.
    pub unrounded: Vec<f32>,
}

impl Linear<'_> {
    /// The format of its input.
    fn input_format(&self, exec: &Exec) -> InputFormat {
        match exec.precision {
            Precision::Law => self.weight.format().input_format(),
            Precision::F32 => InputFormat::F32,
        }
    }

    /// `out[t] = W x[t] + b` for every token; `out` is `[tokens × outputs]`.
    #[cfg(feature = "encoders")]
    pub(crate) fn apply(&self, exec: &Exec, x: &mut Activations, out: &mut [f32]) {
        apply_all([(self, out)], exec, x);
    }

    /// As [`apply`](Self::apply), with `then` of every output, a function of each number by itself. It gets the part of a row that is in a tile.
    pub(crate) fn apply_then(
        &self,
        exec: &Exec,
        x: &mut Activations,
        out: &mut [f32],
        then: impl Fn(&mut [f32]) + Sync,
    ) {
        products([(self, out)], exec, x, |row| {
            exec.check(row);
            then(row);
        });
    }

    /// As [`apply`](Self::apply), without a look at the outputs: for those whose use shows what is not finite.
    pub(crate) fn apply_unseen(&self, exec: &Exec, x: &mut Activations, out: &mut [f32]) {
        products([(self, out)], exec, x, |_| {});
    }

    /// The weights of an input, decoded. `[outputs]`
    #[cfg(feature = "encoders")]
    pub(crate) fn column(&self, input: usize, to: &mut [f32]) {
        let format = self.weight.format();
        let (mut bytes, mut values) = ([0; K_BLOCK * size_of::<f32>()], [0f32; K_BLOCK]);
        let (bytes, values) = (&mut bytes[..format.block_bytes()], &mut values[..format.block_len()]);
        for (row, to) in to.iter_mut().enumerate() {
            let block = self.weight.blocks(row, input / format.block_len(), bytes);
            // The lengths fit: `WeightMatrix` holds whole blocks.
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
pub(crate) fn apply_all<const N: usize>(layers: [(&Linear, &mut [f32]); N], exec: &Exec, x: &mut Activations) {
    products(layers, exec, x, |row| exec.check(row));
}

/// [`Linear::apply_unseen`] of several layers to the same input.
pub(crate) fn apply_all_unseen<const N: usize>(layers: [(&Linear, &mut [f32]); N], exec: &Exec, x: &mut Activations) {
    products(layers, exec, x, |_| {});
}

fn products<const N: usize>(
    layers: [(&Linear, &mut [f32]); N],
    exec: &Exec,
    x: &mut Activations,
    then: impl Fn(&mut [f32]) + Sync,
) {
    let threads = exec.pool.threads();
    let (tokens, tile_rows) = (x.tokens, schedule::tile_rows(x.tokens, threads));
    for (layer, _) in &layers {
        if x.round(exec, layer.input_format(exec), tile_rows) {
            exec.tell(|| Operation::new("quantization"));
        }
    }
    let x = &*x;
    let outputs = layers.iter().map(|(layer, _)| layer.weight.rows()).sum();
    let tile_cols = schedule::tile_cols(outputs, tokens.div_ceil(tile_rows.max(1)), threads);
    let linear: [&Linear; N] = core::array::from_fn(|i| layers[i].0);
    let matrices = layers.map(|(layer, out)| {
        let stride = layer.weight.rows();
        Matrix { values: &mut out[..tokens * stride], stride, tile_cols }
    });
    for_column_tiles(exec.pool, matrices, tile_rows, |number, row_of_tiles, mut tile| {
        let (layer, first_token) = (linear[number], row_of_tiles * tile_rows);
        match x.input(layer.input_format(exec), first_token, tile_rows) {
            Input::F32 { values, cols } if exec.precision == Precision::F32 => {
                matmul_f32(&layer.weight, values, cols, &mut tile);
            }
            input => exec.kernels.matmul(&layer.weight, &input, &mut tile),
        }
        let (first, outputs) = (tile.first_col(), layer.weight.rows());
        for t in 0..tile.rows() {
            let row = tile.row(t);
            let unrounded = x.unrounded.of_token(first_token + t);
            for (x, weights) in unrounded.iter().zip(layer.unrounded.chunks_exact(outputs)) {
                ops::add_scaled(row, *x, &weights[first..]);
            }
            if let Some(bias) = layer.bias.get(first..first + row.len()) {
                ops::add(row, bias);
            }
            then(row);
        }
    });
    exec.tell(|| {
        let weights = linear.map(|layer| &layer.weight);
        let size: usize = weights.iter().map(|weight| weight.rows() * weight.cols()).sum();
        let work = 2 * (size * tokens) as u64;
        let is_int8 = linear.iter().any(|layer| layer.input_format(exec) != InputFormat::F32);
        Operation {
            format: weights.first().map(|weight| weight.format()),
            bytes: weights.iter().map(|weight| (weight.rows() * weight.row_bytes()) as u64).sum(),
            int8: if is_int8 { work } else { 0 },
            f32: if is_int8 { 0 } else { work },
            ..Operation::new(linear.first().map_or("", |layer| layer.name.part))
        }
    });
}

/// Decodes row `r` in parts of up to 256 weights, and gives each with the number of its first weight.
pub(crate) fn decode_parts(
    weight: &WeightMatrix,
    r: usize,
    part: &mut [f32; K_BLOCK],
    mut take: impl FnMut(usize, &[f32]),
) {
    let format = weight.format();
    let mut bytes = [0; K_BLOCK * size_of::<f32>()];
    let bytes = &mut bytes[..K_BLOCK / format.block_len() * format.block_bytes()];
    let mut first = 0;
    while first < weight.cols() {
        let bytes = weight.blocks(r, first / format.block_len(), bytes);
        let len = bytes.len() / format.block_bytes() * format.block_len();
        // The lengths fit: `WeightMatrix` holds whole blocks.
        if len == 0 || format.decode(bytes, &mut part[..len]).is_err() {
            return;
        }
        take(first, &part[..len]);
        first += len;
    }
}

/// The product with decoded weights, summed in the stripes of [`ops::dot`].
fn matmul_f32(weight: &WeightMatrix, x: &[f32], cols: usize, out: &mut Tile) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::Quantized;
    use smidgen_targets::{Format, Layout, Pool};

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

    /// How tokens are cut into tiles depends on the number of threads, which must not show.
    #[test]
    fn tiles_do_not_show() {
        const COLS: usize = 512;
        for (format, outputs) in [(Format::Q4_0, 40), (Format::Q6_K, 24)] {
            let row = format.bytes(COLS).unwrap();
            // Scales of 0x3333 are finite.
            let bytes: Vec<u8> = (0..outputs * row).map(|i| ((i * 40503) >> 7) as u8 & 0x33).collect();
            let weight = WeightMatrix::new(format, Layout::Plain, &bytes, outputs, COLS).unwrap();
            let name = TensorName { layer: None, part: "w" };
            let linear = Linear { name, weight, bias: Vec::new(), unrounded: Vec::new() };
            for tokens in [0, 1, 63, 128, 150, 257] {
                let values: Vec<f32> = (0..tokens * COLS).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
                let product = |threads| {
                    let (mut out, pool) = (alloc::vec![0f32; tokens * outputs], Threads(threads));
                    let exec = Exec::new(smidgen_targets::detect(), &pool, Precision::Law);
                    let mut quantized = Quantized::new(values.len(), true, true).unwrap();
                    linear.apply(&exec, &mut Activations::new(&values, COLS, &mut quantized), &mut out);
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
}
