//! Q4_K: 256 weights of 4 bits, a scale and a minimum of 6 bits for every 32: `w = (d * sc) * q - (dmin * m)`. 144 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_scales::{dot_groups, dot_mins, f16_away_from_zero, four_bits, pack_scales_and_mins, scales_and_mins};
use crate::legacy::{peak, range, reciprocal};
use crate::math::round_even;
use crate::{Input, f16_to_f32, ops};

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
    const SCALES: &[usize] = &[offset_of!(Q4K, d), offset_of!(Q4K, dmin)];

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
    pub(crate) fn encode(values: &[f32]) -> Q4K {
        let amax = peak(values).abs();
        let mut block: Q4K = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        // Relative to the largest magnitude, so that no square overflows or vanishes.
        let groups: [Group; 8] =
            core::array::from_fn(|g| Group::new(core::array::from_fn(|i| values[32 * g + i] / amax)));
        let fits = groups.each_ref().map(Group::fit);
        let largest = |values: [f32; 8]| values.into_iter().fold(0f32, |max, v| if v > max { v } else { max });
        let (max_scale, max_min) = (largest(fits.map(|fit| fit.0)), largest(fits.map(|fit| fit.1)));
        block.d = f16_away_from_zero(max_scale / 63.0 * amax).to_le_bytes();
        block.dmin = f16_away_from_zero(max_min / 63.0 * amax).to_le_bytes();
        let (d, dmin) = (block.scale() / amax, block.min_scale() / amax);
        let (mut scales, mut mins) = ([0; 8], [0; 8]);
        for (g, (group, fit)) in groups.iter().zip(fits).enumerate() {
            (scales[g], mins[g]) = group.codes(fit, d, dmin);
            let levels = group.levels(d * scales[g] as f32, dmin * mins[g] as f32);
            for (byte, level) in block.qs[g / 2 * 32..].iter_mut().zip(levels) {
                *byte |= (level as u8) << (4 * (g % 2));
            }
        }
        block.scales = pack_scales_and_mins(&scales, &mins);
        block
    }
}

/// 32 values and how much the error of each counts: values far from zero more, for they tend to meet larger activations.
struct Group {
    values: [f32; 32],
    weights: [f32; 32],
}

impl Group {
    fn new(values: [f32; 32]) -> Group {
        let mean = ops::sum(&values.map(f32::abs)) / 32.0;
        Group { values, weights: values.map(|v| mean + v.abs()) }
    }

    /// The nearest levels for `w = scale * q - min`.
    fn levels(&self, scale: f32, min: f32) -> [f32; 32] {
        let inverse = reciprocal(scale);
        self.values.map(|v| round_even(((v + min) * inverse).clamp(0.0, 15.0)))
    }

    /// Weighted squared error with the nearest levels.
    fn error(&self, scale: f32, min: f32) -> f32 {
        let levels = self.levels(scale, min);
        let squares: [f32; 32] = core::array::from_fn(|i| {
            let difference = scale * levels[i] - min - self.values[i];
            difference * difference
        });
        ops::dot(&self.weights, &squares)
    }

    /// Scale and minimum (neither negative): from several ranges the levels, from the levels the best line through them.
    fn fit(&self) -> (f32, f32) {
        let (low, high) = range(&self.values);
        let low = if low < 0.0 { low } else { 0.0 };
        if high <= low {
            return (0.0, -low);
        }
        let mut best = ((high - low) / 15.0, -low);
        let mut least = self.error(best.0, best.1);
        let wv: [f32; 32] = core::array::from_fn(|i| self.weights[i] * self.values[i]);
        let (sw, sv) = (ops::sum(&self.weights), ops::sum(&wv));
        for step in 0..=20 {
            let levels = self.levels((high - low) / (14.0 + 0.1 * step as f32), -low);
            let wq: [f32; 32] = core::array::from_fn(|i| self.weights[i] * levels[i]);
            let (sq, sqq, sqv) = (ops::sum(&wq), ops::dot(&wq, &levels), ops::dot(&wv, &levels));
            let determinant = sw * sqq - sq * sq;
            if determinant <= 0.0 {
                continue;
            }
            let (mut scale, mut min) = ((sw * sqv - sv * sq) / determinant, (sq * sqv - sqq * sv) / determinant);
            if min < 0.0 {
                (scale, min) = (sqv / sqq, 0.0);
            }
            let error = self.error(scale, min);
            if error < least && scale >= 0.0 {
                (best, least) = ((scale, min), error);
            }
        }
        best
    }

    /// The best codes of scale and minimum, each at most one from the nearest.
    fn codes(&self, (scale, min): (f32, f32), d: f32, dmin: f32) -> (u8, u8) {
        let around = |value: f32, unit: f32| {
            let nearest = round_even((value * reciprocal(unit)).clamp(0.0, 63.0)) as u8;
            [nearest, nearest.saturating_sub(1), (nearest + 1).min(63)]
        };
        let (scales, mins) = (around(scale, d), around(min, dmin));
        let (mut best, mut least) = ((scales[0], mins[0]), f32::INFINITY);
        for scale in scales {
            for min in mins {
                let error = self.error(d * scale as f32, dmin * min as f32);
                if error < least {
                    (best, least) = ((scale, min), error);
                }
            }
        }
        best
    }
}
