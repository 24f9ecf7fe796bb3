//! Q4_K: 256 weights of 4 bits, a scale and a minimum of 6 bits for every 32: `w = (d * sc) * q - (dmin * m)`. 144 bytes.

use crate::format::Block;
use crate::k_scales::{dot_groups, dot_mins, four_bits, pack_scales_and_mins, scales_and_mins};
use crate::legacy::{peak, range, reciprocal};
use crate::math::round_even;
use crate::{Input, f16_to_f32, f32_to_f16_saturating};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q4K {
    /// Scale of the scales, binary16, little-endian.
    pub d: [u8; 2],
    /// Scale of the minima, binary16, little-endian.
    pub dmin: [u8; 2],
    /// Packed as [`scales_and_mins`] tells.
    pub scales: [u8; 12],
    /// Weight `64 p + i` in the low nibble of byte `32 p + i`, weight `64 p + 32 + i` in its high nibble.
    pub qs: [u8; 128],
}

impl Q4K {
    /// Scale of the scales.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// Scale of the minima.
    #[inline(always)]
    pub fn min_scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.dmin))
    }

    /// `q` of weights `32 g .. 32 g + 32`: 0 to 15. `g` is below 8.
    #[inline(always)]
    pub fn levels(&self, g: usize) -> [i8; 32] {
        four_bits(&self.qs, g)
    }
}

impl Block for Q4K {
    const LEN: usize = 256;

    fn decode(&self, out: &mut [f32]) {
        let (d, dmin) = (self.scale(), self.min_scale());
        let (scales, mins) = scales_and_mins(&self.scales);
        for (g, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = (d * scales[g] as f32, dmin * mins[g] as f32);
            for (out, q) in out.iter_mut().zip(self.levels(g)) {
                *out = scale * q as f32 - min;
            }
        }
    }

    /// `acc + ((d * dx) * isum - (dmin * dx) * msum)` with `isum = Σ sc Σ q x` and `msum = Σ m Σ x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8K(x) = x else { return acc };
        let (scales, mins) = scales_and_mins(&self.scales);
        let isum = dot_groups(&scales, |g| self.levels(g), x, b, t);
        let msum = dot_mins(&mins, x, b, t);
        let dx = x.scale(b, t);
        acc + ((self.scale() * dx) * isum as f32 - (self.min_scale() * dx) * msum as f32)
    }
}

impl Q4K {
    /// Searches each group's scale and minimum by weighted least squares, then their 6-bit codes among the neighbours of the nearest.
    /// The values are finite; what is beyond the format (some 6e7) saturates.
    pub fn encode(values: &[f32]) -> Q4K {
        let amax = peak(values).abs();
        let mut block: Q4K = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        // Relative to the largest magnitude, so that no square overflows or vanishes.
        let mut groups = [[0f32; 32]; 8];
        for (value, to) in values.iter().zip(groups.as_flattened_mut()) {
            *to = value / amax;
        }
        let fits = groups.map(|group| fit(&group));
        let (max_scale, max_min) = fits.iter().fold((0f32, 0f32), |(s, m), fit| (s.max(fit.0), m.max(fit.1)));
        block.d = f32_to_f16_saturating(max_scale / 63.0 * amax).to_le_bytes();
        block.dmin = f32_to_f16_saturating(max_min / 63.0 * amax).to_le_bytes();
        let (d, dmin) = (block.scale() / amax, block.min_scale() / amax);
        let (mut scales, mut mins) = ([0; 8], [0; 8]);
        for (g, (group, (scale, min))) in groups.iter().zip(fits).enumerate() {
            (scales[g], mins[g]) = choose_codes(group, nearest_code(scale, d), nearest_code(min, dmin), d, dmin);
            let (levels, _) = assign(group, d * scales[g] as f32, dmin * mins[g] as f32);
            for (byte, level) in block.qs[g / 2 * 32..].iter_mut().zip(levels) {
                *byte |= (level as u8) << (4 * (g % 2));
            }
        }
        block.scales = pack_scales_and_mins(&scales, &mins);
        block
    }
}

/// How much a value's error counts: values far from zero more, for they tend to meet larger activations.
fn weights(group: &[f32; 32]) -> [f32; 32] {
    let mean = group.iter().map(|v| v.abs()).sum::<f32>() / 32.0;
    group.map(|v| mean + v.abs())
}

fn nearest_code(value: f32, unit: f32) -> u8 {
    round_even((value * reciprocal(unit)).clamp(0.0, 63.0)) as u8
}

/// The nearest levels for a scale and a minimum (`w = scale * q - min`), and their weighted squared error.
fn assign(group: &[f32; 32], scale: f32, min: f32) -> ([f32; 32], f32) {
    let inverse = reciprocal(scale);
    let levels = group.map(|v| round_even(((v + min) * inverse).clamp(0.0, 15.0)));
    let mut error = 0.0;
    for ((v, q), w) in group.iter().zip(levels).zip(weights(group)) {
        let difference = scale * q - min - v;
        error += w * difference * difference;
    }
    (levels, error)
}

/// The best pair of codes, each at most one from the nearest.
fn choose_codes(group: &[f32; 32], scale: u8, min: u8, d: f32, dmin: f32) -> (u8, u8) {
    let around = |code: u8| [code, code.saturating_sub(1), (code + 1).min(63)];
    let (mut best, mut least) = ((scale, min), f32::INFINITY);
    for scale in around(scale) {
        for min in around(min) {
            let (_, error) = assign(group, d * scale as f32, dmin * min as f32);
            if error < least {
                (best, least) = ((scale, min), error);
            }
        }
    }
    best
}

/// Scale and minimum (neither negative) of one group: from several ranges the levels, from the levels the best line through them.
fn fit(group: &[f32; 32]) -> (f32, f32) {
    let (low, high) = range(group);
    let low = low.min(0.0);
    if high <= low {
        return (0.0, -low);
    }
    let mut best = ((high - low) / 15.0, -low);
    let (_, mut least) = assign(group, best.0, best.1);
    let w = weights(group);
    for step in 0..=20 {
        let scale = (high - low) / (14.0 + 0.1 * step as f32);
        let (levels, _) = assign(group, scale, -low);
        let (mut sw, mut sq, mut sqq, mut sv, mut sqv) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for ((v, q), w) in group.iter().zip(levels).zip(w) {
            sw += w;
            sq += w * q;
            sqq += w * q * q;
            sv += w * v;
            sqv += w * q * v;
        }
        let determinant = sw * sqq - sq * sq;
        if determinant <= 0.0 {
            continue;
        }
        let mut line = ((sw * sqv - sv * sq) / determinant, (sq * sqv - sqq * sv) / determinant);
        if line.1 < 0.0 {
            line = (sqv / sqq, 0.0);
        }
        let (_, error) = assign(group, line.0, line.1);
        if error < least && line.0 >= 0.0 {
            (best, least) = (line, error);
        }
    }
    best
}
