//! Q2_K: 256 weights of 2 bits, a scale and a minimum of 4 bits for every 16: `w = (d * sc) * q - (dmin * m)`. 84 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_encode::{Group, largest};
use crate::k_scales::{dot_signed, f16_away_from_zero, two_bits};
use crate::legacy::peak;
use crate::{Input, f16_to_f32};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q2K {
    /// For each 16 weights the scale in the low nibble, the minimum in the high nibble.
    pub scales: [u8; 16],
    /// Weight `128 h + 32 s + i` is in bits `2 s` and `2 s + 1` of byte `32 h + i`.
    pub qs: [u8; 64],
    /// Scale of the scales, binary16, little-endian.
    pub d: [u8; 2],
    /// Scale of the minima, binary16, little-endian.
    pub dmin: [u8; 2],
}

impl Q2K {
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

    /// `q` of weights `32 g .. 32 g + 32`: 0 to 3. `g` is below 8.
    #[inline(always)]
    pub fn levels(&self, g: usize) -> [i8; 32] {
        two_bits(&self.qs, g)
    }
}

impl Block for Q2K {
    const LEN: usize = 256;
    const SCALES: &[usize] = &[offset_of!(Q2K, d), offset_of!(Q2K, dmin)];
    const FIELDS: &[(usize, usize)] = &[(4, 20), (2, 2)];

    fn decode(&self, out: &mut [f32]) {
        let (d, dmin) = (self.scale(), self.min_scale());
        for (i, out) in out.chunks_exact_mut(16).enumerate() {
            let (scale, min) = (d * (self.scales[i] & 15) as f32, dmin * (self.scales[i] >> 4) as f32);
            for (out, q) in out.iter_mut().zip(&self.levels(i / 2)[i % 2 * 16..]) {
                *out = scale * *q as f32 - min;
            }
        }
    }

    /// `acc + ((d * dx) * isum - (dmin * dx) * msum)` with `isum = Σ sc Σ q x` and `msum = Σ m Σ x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8K(x) = x else { return acc };
        let isum = dot_signed(&self.scales.map(|byte| (byte & 15) as i8), |g| self.levels(g), x, b, t);
        let mut msum = 0;
        for (s, byte) in self.scales.iter().enumerate() {
            msum += (byte >> 4) as i32 * x.sum(16 * b + s, t);
        }
        let dx = x.scale(b, t);
        acc + ((self.scale() * dx) * isum as f32 - (self.min_scale() * dx) * msum as f32)
    }
}

impl Q2K {
    /// As for [`Q4K`](crate::q4_k::Q4K), with groups of 16 weights, 4 levels and codes of 4 bits.
    pub(crate) fn encode(values: &[f32]) -> Q2K {
        let amax = peak(values).abs();
        let mut block: Q2K = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        let groups: [Group<16>; 16] =
            core::array::from_fn(|g| Group::new(core::array::from_fn(|i| values[16 * g + i] / amax), 3.0));
        let fits = groups.each_ref().map(Group::fit);
        let (max_scale, max_min) = (largest(fits.map(|fit| fit.0)), largest(fits.map(|fit| fit.1)));
        block.d = f16_away_from_zero(max_scale / 15.0 * amax).to_le_bytes();
        block.dmin = f16_away_from_zero(max_min / 15.0 * amax).to_le_bytes();
        let (d, dmin) = (block.scale() / amax, block.min_scale() / amax);
        for (g, (group, fit)) in groups.iter().zip(fits).enumerate() {
            let (scale, min) = group.codes(fit, d, dmin, 15);
            block.scales[g] = scale | min << 4;
            let first = g / 8 * 32 + g % 2 * 16;
            for (i, level) in group.levels(d * scale as f32, dmin * min as f32).into_iter().enumerate() {
                block.qs[first + i] |= (level as u8) << (2 * (g / 2 % 4));
            }
        }
        block
    }
}
