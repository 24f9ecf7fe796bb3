//! Q6_K: 256 weights of 6 bits, a signed scale of 8 bits for every 16: `w = (d * sc) * (q - 32)`. 210 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_encode::fit_signed;
use crate::k_scales::{dot_signed, f16_away_from_zero};
use crate::legacy::{peak, reciprocal};
use crate::math::round_even;
use crate::{Input, f16_to_f32};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q6K {
    /// Low nibbles. Of the 64 bytes from `64 h`, the low halves belong to weights `128 h + i`, the high halves to `128 h + 64 + i`.
    pub ql: [u8; 128],
    /// The upper bits of weight `128 h + 32 s + i` are bits `2 s` and `2 s + 1` of byte `32 h + i`.
    pub qh: [u8; 64],
    /// Scales of each 16 weights.
    pub scales: [i8; 16],
    /// Scale of the scales, binary16, little-endian.
    pub d: [u8; 2],
}

impl Q6K {
    /// Scale of the scales.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// `q - 32` of weights `32 g .. 32 g + 32`: -32 to 31. `g` is below 8.
    #[inline(always)]
    pub fn levels(&self, g: usize) -> [i8; 32] {
        let (half, s) = (g / 4, g % 4);
        let (low, high) = (half * 64 + s % 2 * 32, half * 32);
        core::array::from_fn(|i| {
            let q = self.ql[low + i] >> (s / 2 * 4) & 15 | (self.qh[high + i] >> (2 * s) & 3) << 4;
            q as i8 - 32
        })
    }

    fn put_levels(&mut self, g: usize, levels: &[u8; 32]) {
        let (half, s) = (g / 4, g % 4);
        let (low, high) = (half * 64 + s % 2 * 32, half * 32);
        for (i, q) in levels.iter().enumerate() {
            self.ql[low + i] |= (q & 15) << (s / 2 * 4);
            self.qh[high + i] |= (q >> 4) << (2 * s);
        }
    }
}

impl Block for Q6K {
    const LEN: usize = 256;
    const SCALES: &[usize] = &[offset_of!(Q6K, d)];
    const FIELDS: &[(usize, usize)] = &[(4, 52), (2, 1)];

    fn decode(&self, out: &mut [f32]) {
        let d = self.scale();
        for (i, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * self.scales[i] as f32;
            for (out, q) in out.iter_mut().zip(&self.levels(i / 2)[i % 2 * 16..]) {
                *out = scale * *q as f32;
            }
        }
    }

    /// `acc + (d * dx) * isum` with `isum = Σ sc Σ (q - 32) x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8K(x) = x else { return acc };
        let isum = dot_signed(&self.scales, |g| self.levels(g), x, b, t);
        acc + (self.scale() * x.scale(b, t)) * isum as f32
    }
}

impl Q6K {
    /// Searches each group's scale by weighted least squares. The values are finite; what is beyond the format (some 2e8) saturates.
    pub(crate) fn encode(values: &[f32]) -> Q6K {
        let amax = peak(values).abs();
        let mut block: Q6K = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        // Relative to the largest magnitude, so that no square overflows or vanishes.
        let mut groups = [[0f32; 16]; 16];
        for (value, to) in values.iter().zip(groups.as_flattened_mut()) {
            *to = value / amax;
        }
        let fits = groups.map(|group| fit_signed(&group, -32.0, -9..=9, 0.1, assign));
        block.d = f16_away_from_zero(peak(&fits) / -128.0 * amax).to_le_bytes();
        let d = block.scale() / amax;
        let mut levels = [[0u8; 16]; 16];
        for (g, (group, scale)) in groups.iter().zip(fits).enumerate() {
            let code = round_even((scale * reciprocal(d)).clamp(-128.0, 127.0));
            block.scales[g] = code as i8;
            levels[g] = assign(group, reciprocal(d * code)).map(|q| (q + 32.0) as u8);
        }
        for (g, levels) in levels.as_flattened().as_chunks::<32>().0.iter().enumerate() {
            block.put_levels(g, levels);
        }
        block
    }
}

/// The nearest levels, given one over the scale.
fn assign(group: &[f32; 16], inverse: f32) -> [f32; 16] {
    group.map(|v| round_even((v * inverse).clamp(-32.0, 31.0)))
}
