//! Q4_K: 256 weights of 4 bits, a scale and a minimum of 6 bits for every 32: `w = (d * sc) * q - (dmin * m)`. 144 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_encode::{Group, largest};
use crate::k_scales::{dot_groups, dot_mins, f16_away_from_zero, four_bits, pack_scales_and_mins, scales_and_mins};
use crate::legacy::peak;
use crate::{Input, f16_to_f32};

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
    const FIELDS: &[(usize, usize)] = &[(2, 2), (4, 35)];

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
        let groups: [Group<32>; 8] =
            core::array::from_fn(|g| Group::new(core::array::from_fn(|i| values[32 * g + i] / amax), 15.0));
        let fits = groups.each_ref().map(Group::fit);
        let (max_scale, max_min) = (largest(fits.map(|fit| fit.0)), largest(fits.map(|fit| fit.1)));
        block.d = f16_away_from_zero(max_scale / 63.0 * amax).to_le_bytes();
        block.dmin = f16_away_from_zero(max_min / 63.0 * amax).to_le_bytes();
        let (d, dmin) = (block.scale() / amax, block.min_scale() / amax);
        let (mut scales, mut mins) = ([0; 8], [0; 8]);
        for (g, (group, fit)) in groups.iter().zip(fits).enumerate() {
            (scales[g], mins[g]) = group.codes(fit, d, dmin, 63);
            let levels = group.levels(d * scales[g] as f32, dmin * mins[g] as f32);
            for (byte, level) in block.qs[g / 2 * 32..].iter_mut().zip(levels) {
                *byte |= (level as u8) << (4 * (g % 2));
            }
        }
        block.scales = pack_scales_and_mins(&scales, &mins);
        block
    }
}
