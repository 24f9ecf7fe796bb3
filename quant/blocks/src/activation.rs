//! Activations rounded to int8, and the buffers that hold them.
//!
//! A vector of `cols` activations is cut into blocks of 32 ([`Q8`], for the formats whose blocks have 32 weights) or 256 ([`Q8K`],
//! for the K-quants). Each block gets one `f32` scale, `amax / 127`, and every value is `round_half_even(v * (127 / amax))`, so that
//! it stays within ±127. A block whose largest magnitude is below `2^-100` becomes all zero.
//!
//! The layout is block-major: the bytes of 32 inputs lie together for all tokens, as a kernel that keeps 32 columns of
//! weights in registers walks over the tokens.
//!
//! | array | index of value `i` of token `t` |
//! |---|---|
//! | `qs` | `(i / 32 * tokens + t) * 32 + i % 32` |
//! | `scales` | `i / block * tokens + t`, block 32 or 256 |
//! | `sums` | `Q8`: `i / 32 * tokens + t`; `Q8K`: `(i / 32 * tokens + t) * 2 + i / 16 % 2`, so that the two halves of a group are neighbours |

use crate::math::MAGIC;

/// Blocks of 32 values in each group of `qs`, whatever the length of a scale's block.
pub const GROUP: usize = 32;
/// Values that share one scale in [`Q8K`].
pub const K_BLOCK: usize = 256;

/// Below this largest magnitude a block counts as zero: its reciprocal would overflow.
const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Int8 activations with a scale for every 32. See the module for the layout.
#[derive(Clone, Copy, Debug)]
pub struct Q8<'a> {
    /// Number of vectors.
    pub tokens: usize,
    /// Length of each vector, a multiple of 32.
    pub cols: usize,
    /// `tokens * cols` values.
    pub qs: &'a [i8],
    /// `tokens * cols / 32` scales.
    pub scales: &'a [f32],
    /// Sum of each block's 32 values.
    pub sums: &'a [i32],
    /// `scale * sum as f32` of each block, for the formats with a minimum.
    pub offsets: &'a [f32],
}

/// Int8 activations with a scale for every 256. See the module for the layout.
#[derive(Clone, Copy, Debug)]
pub struct Q8K<'a> {
    /// Number of vectors.
    pub tokens: usize,
    /// Length of each vector, a multiple of 256.
    pub cols: usize,
    /// `tokens * cols` values.
    pub qs: &'a [i8],
    /// `tokens * cols / 256` scales.
    pub scales: &'a [f32],
    /// Sum of each 16 values.
    pub sums: &'a [i16],
}

/// The activations of a matrix product, in the form that the weights' format asks for ([`crate::Format::input_format`]).
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// `tokens` rows of `cols` values, one after another.
    F32 {
        /// The values, token-major.
        values: &'a [f32],
        /// Length of each vector.
        cols: usize,
    },
    /// For the formats with blocks of 32.
    Q8(Q8<'a>),
    /// For the K-quants.
    Q8K(Q8K<'a>),
}

impl Input<'_> {
    /// Number of vectors.
    pub fn tokens(&self) -> usize {
        match self {
            Input::F32 { values, cols } => values.len() / (*cols).max(1),
            Input::Q8(x) => x.tokens,
            Input::Q8K(x) => x.tokens,
        }
    }

    /// Length of each vector.
    pub fn cols(&self) -> usize {
        match self {
            Input::F32 { cols, .. } => *cols,
            Input::Q8(x) => x.cols,
            Input::Q8K(x) => x.cols,
        }
    }

    /// Whether every array holds what `tokens` vectors of `cols` values need.
    pub fn is_complete(&self) -> bool {
        let fits = |len: usize, per: usize, tokens: usize, cols: usize| {
            cols.is_multiple_of(per) && Some(len) == (cols / per).checked_mul(tokens)
        };
        match self {
            Input::F32 { values, cols } => *cols > 0 && values.len().is_multiple_of(*cols),
            Input::Q8(x) => {
                fits(x.qs.len(), 1, x.tokens, x.cols)
                    && [x.scales.len(), x.sums.len(), x.offsets.len()]
                        .iter()
                        .all(|len| fits(*len, GROUP, x.tokens, x.cols))
            }
            Input::Q8K(x) => {
                fits(x.qs.len(), 1, x.tokens, x.cols)
                    && fits(x.scales.len(), K_BLOCK, x.tokens, x.cols)
                    && fits(x.sums.len(), 16, x.tokens, x.cols)
            }
        }
    }
}

impl<'a> Q8<'a> {
    /// The 32 values, the scale, the sum and the scaled sum of block `b` of token `t`.
    #[inline(always)]
    pub fn block(&self, b: usize, t: usize) -> (&'a [i8], f32, i32, f32) {
        let at = b * self.tokens + t;
        (&self.qs[at * GROUP..at * GROUP + GROUP], self.scales[at], self.sums[at], self.offsets[at])
    }
}

impl<'a> Q8K<'a> {
    /// Values `32 g .. 32 g + 32` of token `t`.
    #[inline(always)]
    pub fn group(&self, g: usize, t: usize) -> &'a [i8] {
        let at = (g * self.tokens + t) * GROUP;
        &self.qs[at..at + GROUP]
    }

    /// Sum of values `16 s .. 16 s + 16` of token `t`.
    #[inline(always)]
    pub fn sum(&self, s: usize, t: usize) -> i32 {
        self.sums[(s / 2 * self.tokens + t) * 2 + s % 2] as i32
    }

    /// Scale of block `b` of token `t`.
    #[inline(always)]
    pub fn scale(&self, b: usize, t: usize) -> f32 {
        self.scales[b * self.tokens + t]
    }
}

/// Largest magnitude. The order does not matter, so the compiler may take any number of lanes.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    for part in values.chunks_exact(16) {
        for (lane, value) in lanes.iter_mut().zip(part) {
            let magnitude = value.abs();
            *lane = if magnitude > *lane { magnitude } else { *lane };
        }
    }
    let mut max = 0f32;
    for lane in lanes {
        max = if lane > max { lane } else { max };
    }
    max
}

/// The scale of a block and the factor that its values are multiplied by, from the largest magnitude.
#[inline(always)]
pub fn scale_of(amax: f32) -> (f32, f32) {
    if amax >= TINY { (amax / 127.0, 127.0 / amax) } else { (0.0, 0.0) }
}

/// Rounds to nearest, ties to even. The low byte of a float of magnitude 1.5 × 2²³ plus `v` is the integer.
#[inline(always)]
fn to_i8(v: f32) -> i8 {
    (v + MAGIC).to_bits() as i8
}

/// Quantizes one group of 32 with a given factor; returns the sums of its two halves.
#[inline(always)]
fn quantize_group(values: &[f32; GROUP], factor: f32, qs: &mut [i8; GROUP]) -> [i32; 2] {
    for (q, value) in qs.iter_mut().zip(values) {
        *q = to_i8(value * factor);
    }
    let mut sums = [0i32; 2];
    for (sum, half) in sums.iter_mut().zip(qs.as_chunks::<16>().0) {
        *sum = half.iter().map(|q| *q as i32).sum();
    }
    sums
}

/// Quantizes vector `t` of `tokens` into the arrays of a [`Q8`]. `values.len()` is a multiple of 32.
#[inline(always)]
pub fn quantize_q8(
    values: &[f32],
    t: usize,
    tokens: usize,
    qs: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
    offsets: &mut [f32],
) {
    for (b, block) in values.as_chunks::<GROUP>().0.iter().enumerate() {
        let (scale, factor) = scale_of(largest(block));
        let at = b * tokens + t;
        let [low, high] = quantize_group(block, factor, &mut qs.as_chunks_mut::<GROUP>().0[at]);
        scales[at] = scale;
        sums[at] = low + high;
        offsets[at] = scale * (low + high) as f32;
    }
}

/// Quantizes vector `t` of `tokens` into the arrays of a [`Q8K`]. `values.len()` is a multiple of 256.
#[inline(always)]
pub fn quantize_q8k(values: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    for (b, block) in values.as_chunks::<K_BLOCK>().0.iter().enumerate() {
        let (scale, factor) = scale_of(largest(block));
        scales[b * tokens + t] = scale;
        for (g, group) in block.as_chunks::<GROUP>().0.iter().enumerate() {
            let g = b * (K_BLOCK / GROUP) + g;
            let halves = quantize_group(group, factor, &mut qs.as_chunks_mut::<GROUP>().0[g * tokens + t]);
            for (half, sum) in halves.into_iter().enumerate() {
                sums[(g * tokens + t) * 2 + half] = sum as i16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_127_and_sums_add_up() {
        let values: [f32; 64] =
            core::array::from_fn(|i| ((i * 37 % 64) as f32 - 31.5) * if i < 32 { 1e-3 } else { 7.7e20 });
        let (mut qs, mut scales, mut sums, mut offsets) = ([0i8; 64], [0f32; 2], [0i32; 2], [0f32; 2]);
        quantize_q8(&values, 0, 1, &mut qs, &mut scales, &mut sums, &mut offsets);
        for (b, block) in qs.as_chunks::<32>().0.iter().enumerate() {
            assert_eq!(block.iter().map(|q| q.unsigned_abs()).max(), Some(127));
            assert_eq!(sums[b], block.iter().map(|q| *q as i32).sum::<i32>());
            assert_eq!(offsets[b], scales[b] * sums[b] as f32);
            for (q, v) in block.iter().zip(&values[b * 32..]) {
                assert!((*q as f32 * scales[b] - v).abs() <= scales[b] * 0.5001);
            }
        }
    }

    #[test]
    fn ties_go_to_even_and_tiny_blocks_are_zero() {
        let mut values = [0f32; 32];
        (values[0], values[1], values[2], values[3]) = (127.0, 0.5, 1.5, -2.5);
        let (mut qs, mut scales, mut sums, mut offsets) = ([9i8; 32], [9f32], [9i32], [9f32]);
        quantize_q8(&values, 0, 1, &mut qs, &mut scales, &mut sums, &mut offsets);
        assert_eq!(&qs[..5], &[127, 0, 2, -2, 0]);
        quantize_q8(&[1e-38; 32], 0, 1, &mut qs, &mut scales, &mut sums, &mut offsets);
        assert_eq!((qs, scales[0], sums[0]), ([0; 32], 0.0, 0));
    }
}
