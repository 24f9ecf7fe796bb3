//! The `f32` operations between matrix products: sums, norms, activation functions, rotary positions.
//!
//! Sums over a row are taken in sixteen stripes, element `i` into stripe `i % 16`, and the stripes are then added by one fixed tree:
//! stripes `i` and `i + 8`, then `i + 4`, `i + 2`, `i + 1`. Sixteen lanes fill the widest machine and fold onto narrower ones.

use crate::math;

/// Number of stripes of a sum.
pub const STRIPES: usize = 16;

/// Adds the stripes by the law's tree.
#[inline(always)]
pub fn tree(mut lanes: [f32; STRIPES]) -> f32 {
    let mut width = STRIPES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of the values that `term` makes of two slices, element by element, in stripes. The shorter slice decides the length.
#[inline(always)]
pub fn striped<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f32) -> f32 {
    let mut lanes = [0f32; STRIPES];
    let len = if a.len() < b.len() { a.len() } else { b.len() };
    let (a, a_rest) = a[..len].as_chunks::<STRIPES>();
    let (b, b_rest) = b[..len].as_chunks::<STRIPES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..STRIPES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += term(*a, *b);
    }
    tree(lanes)
}

/// Σ a b.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    striped(a, b, |a, b| a * b)
}

/// Σ a.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    striped(a, a, |a, _| a)
}

/// Whether no number is infinite or NaN: both have all bits of the exponent.
#[inline(always)]
pub fn finite(x: &[f32]) -> bool {
    let infinity = f32::INFINITY.to_bits();
    x.iter().fold(0, |largest: u32, x| largest.max(x.to_bits() & 0x7fff_ffff)) < infinity
}

/// `x = x / sqrt(mean(x²) + eps) * weight` for every row of `weight.len()` values (Zhang and Sennrich, "Root Mean Square Layer Normalization").
#[inline(always)]
pub fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let mean = dot(x, x) / x.len() as f32;
        let factor = 1.0 / math::sqrt(mean + eps);
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = (*x * factor) * weight;
        }
    }
}

/// `x = (x - mean) / sqrt(variance + eps) * weight + bias` for every row of `weight.len()` values (Ba, Kiros and Hinton, "Layer Normalization").
#[inline(always)]
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let mean = sum(x) / x.len() as f32;
        let variance = striped(x, x, |x, _| (x - mean) * (x - mean)) / x.len() as f32;
        let factor = 1.0 / math::sqrt(variance + eps);
        for (x, (weight, bias)) in x.iter_mut().zip(weight.iter().zip(bias)) {
            *x = ((*x - mean) * factor) * weight + bias;
        }
    }
}

/// `x = gelu(x)`, see [`math::gelu`].
#[inline(always)]
pub fn gelu(x: &mut [f32]) {
    for x in x {
        *x = math::gelu(*x);
    }
}

/// `x = gelu_tanh(x)`, see [`math::gelu_tanh`].
#[inline(always)]
pub fn gelu_tanh(x: &mut [f32]) {
    for x in x {
        *x = math::gelu_tanh(*x);
    }
}

/// `x = gelu_quick(x)`, see [`math::gelu_quick`].
#[inline(always)]
pub fn gelu_quick(x: &mut [f32]) {
    for x in x {
        *x = math::gelu_quick(*x);
    }
}

/// `x = max(x, 0)`; NaN stays NaN.
#[inline(always)]
pub fn relu(x: &mut [f32]) {
    for x in x {
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

/// `x = max(x, 0)²` (So et al., "Primer"); NaN stays NaN.
#[inline(always)]
pub fn relu_squared(x: &mut [f32]) {
    relu(x);
    for x in x {
        *x *= *x;
    }
}

/// Numbers of [`xielu`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xielu {
    /// Factor of `x²` where `x` is positive.
    pub positive: f32,
    /// Factor of `e^x - 1 - x` where it is not.
    pub negative: f32,
    /// Factor of `x` everywhere.
    pub beta: f32,
    /// The largest argument of the exponential function, about 0.
    pub eps: f32,
}

/// `x = positive · x² + beta · x`, or `negative · (e^min(x, eps) - 1 - x) + beta · x` where `x` is not positive (Huang and Schlag, "Deriving Activation
/// Functions Using Integration").
#[inline(always)]
pub fn xielu(x: &mut [f32], by: &Xielu) {
    for x in x {
        let capped = if *x < by.eps { *x } else { by.eps };
        let negative = by.negative * ((math::exp(capped) - 1.0) - *x);
        let positive = by.positive * (*x * *x);
        *x = (if *x > 0.0 { positive } else { negative }) + by.beta * *x;
    }
}

/// `x = cap · tanh(x · (1 / cap))`.
#[inline(always)]
pub fn softcap(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for x in x {
        *x = math::tanh(*x * inverse) * cap;
    }
}

/// Turns scores into probabilities: `e^x / Σ e^x`. Nothing happens to an empty row.
pub fn softmax(x: &mut [f32]) {
    let largest = x.iter().fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max });
    for x in &mut *x {
        *x = math::exp(*x - largest);
    }
    let sum = sum(x);
    for x in x {
        *x /= sum;
    }
}

/// `x = silu(x)`, see [`math::silu`].
#[inline(always)]
pub fn silu(x: &mut [f32]) {
    for x in x {
        *x = math::silu(*x);
    }
}

/// `gate = silu(gate) * up`.
#[inline(always)]
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = math::silu(*gate) * up;
    }
}

/// `x *= y`.
#[inline(always)]
pub fn mul(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

/// `x *= factor`.
#[inline(always)]
pub fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// `x += factor * y`.
#[inline(always)]
pub fn add_scaled(x: &mut [f32], factor: f32, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += factor * y;
    }
}

/// `x += y`.
#[inline(always)]
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Which dimensions of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// `2i` and `2i + 1`, as in the paper.
    Neighbours,
    /// `i` and `i + n`, with `n` pairs; "NEOX" elsewhere, after GPT-NeoX.
    Halves,
}

/// Turns pairs of dimensions by the angle whose cosine and sine are `table[2i]` and `table[2i + 1]` for pair `i` (Su et al., "RoFormer"). `x` may hold
/// several heads of `head_dim` values, of which the first `table.len()` turn; the rest, and what is beyond whole heads, stays.
#[inline(always)]
pub fn rope(x: &mut [f32], head_dim: usize, table: &[f32], pairs: Pairs) {
    let turns = table.as_chunks::<2>().0;
    let turned = |a: f32, b: f32, [cos, sin]: [f32; 2]| [a * cos - b * sin, a * sin + b * cos];
    for head in x.chunks_exact_mut(head_dim) {
        match pairs {
            Pairs::Neighbours => {
                for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                    *pair = turned(pair[0], pair[1], *turn);
                }
            }
            Pairs::Halves => {
                let (first, second) = head.split_at_mut(turns.len());
                for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                    [*a, *b] = turned(*a, *b, *turn);
                }
            }
        }
    }
}

/// Every value as binary16 has it: queries, which meet keys that are.
#[inline(always)]
pub fn round(x: &mut [f32]) {
    for x in x {
        *x = crate::round_to_f16(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_and_tree_are_in_the_written_order() {
        let a: [f32; 37] = core::array::from_fn(|i| 1.0 / (i + 1) as f32);
        let mut lanes = [0f32; 16];
        for (i, a) in a.iter().enumerate() {
            lanes[i % 16] += a * a;
        }
        let l8: [f32; 8] = core::array::from_fn(|i| lanes[i] + lanes[i + 8]);
        let l4: [f32; 4] = core::array::from_fn(|i| l8[i] + l8[i + 4]);
        let expected = (l4[0] + l4[2]) + (l4[1] + l4[3]);
        assert_eq!(dot(&a, &a).to_bits(), expected.to_bits());
    }

    #[test]
    fn layer_norm_has_mean_zero_and_variance_one() {
        let x: [f32; 40] = core::array::from_fn(|i| (i * i) as f32 - 17.0);
        let (mut out, mut scaled) = (x, x);
        layer_norm(&mut out, &[1.0; 40], &[0.0; 40], 1e-12);
        assert!(sum(&out).abs() < 1e-4 && (dot(&out, &out) / 40.0 - 1.0).abs() < 1e-5);
        layer_norm(&mut scaled, &[3.0; 40], &[-2.0; 40], 1e-12);
        assert!(out.iter().zip(&scaled).all(|(a, b)| (3.0 * a - 2.0 - b).abs() < 1e-5));
    }

    #[test]
    fn softmax_gives_probabilities() {
        let mut x = [1.0, 3.0, -1e30, 2.0];
        softmax(&mut x);
        let expected = [0.090_030_57, 0.665_240_96, 0.0, 0.244_728_47];
        assert!(x.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6), "{x:?}");
        softmax(&mut []);
    }

    /// Both kinds of pairs turn the same vectors, in another order of dimensions.
    #[test]
    fn halves_are_neighbours_in_another_order() {
        let table: [f32; 6] = [0.8, 0.6, 0.0, 1.0, -0.6, 0.8];
        let neighbours: [f32; 16] = core::array::from_fn(|i| i as f32 - 5.5);
        let order = |i: usize| if i % 8 < 6 { i / 8 * 8 + i % 2 * 3 + i % 8 / 2 } else { i };
        let mut halves = [0f32; 16];
        (0..16).for_each(|i| halves[order(i)] = neighbours[i]);
        let mut turned = neighbours;
        rope(&mut turned, 8, &table, Pairs::Neighbours);
        rope(&mut halves, 8, &table, Pairs::Halves);
        assert!((0..16).all(|i| turned[i] == halves[order(i)]));
        assert_eq!(turned[..2], [-5.5 * 0.8 + 4.5 * 0.6, -5.5 * 0.6 - 4.5 * 0.8]);
        assert_eq!(turned[6..8], neighbours[6..8]);
    }

    #[test]
    fn xielu_meets_at_zero() {
        let by = Xielu { positive: 0.8, negative: 1.3, beta: 0.5, eps: -1e-6 };
        let mut x = [2.0, 0.0, -1e-3, -30.0];
        xielu(&mut x, &by);
        let expected = [0.8 * 4.0 + 1.0, 0.0, -0.5e-3, 1.3 * 29.0 - 15.0];
        assert!(x.iter().zip(expected).all(|(x, y)| (x - y).abs() < 2e-6 * y.abs().max(1.0)), "{x:?}");
    }

    #[test]
    fn relu_keeps_what_is_not_negative() {
        let mut x = [-1.0, 0.0, 2.0, f32::NAN, f32::NEG_INFINITY];
        relu(&mut x);
        assert!(x[3].is_nan());
        assert_eq!((x[0], x[1], x[2], x[4]), (0.0, 0.0, 2.0, 0.0));
    }

    #[test]
    fn rms_norm_has_unit_mean_square() {
        let x: [f32; 40] = core::array::from_fn(|i| i as f32 - 17.0);
        let mut out = x;
        rms_norm(&mut out, &[1.0; 40], 1e-5);
        assert!((dot(&out, &out) / 40.0 - 1.0).abs() < 1e-5);
    }
}
