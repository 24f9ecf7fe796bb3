//! Q3_K: 256 weights of 3 bits, a signed scale of 6 bits for every 16: `w = (d * sc) * (q - 4)`. 110 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_encode::fit_signed;
use crate::k_scales::{bit_as, dot_signed, f16_away_from_zero, pack_signed_scales, signed_scales, two_bits};
use crate::legacy::{peak, reciprocal};
use crate::math::round_even;
use crate::{Input, f16_to_f32};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q3K {
    /// The third bit of weight `32 g + i` is bit `g` of byte `i`.
    pub hmask: [u8; 32],
    /// The low bits of weight `128 h + 32 s + i` are bits `2 s` and `2 s + 1` of byte `32 h + i`.
    pub qs: [u8; 64],
    /// Packed as [`crate::k_scales::signed_scales`] tells.
    pub scales: [u8; 12],
    /// Scale of the scales, binary16, little-endian.
    pub d: [u8; 2],
}

impl Q3K {
    /// Scale of the scales.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// `q - 4` of weights `32 g .. 32 g + 32`: -4 to 3. `g` is below 8.
    #[inline(always)]
    pub fn levels(&self, g: usize) -> [i8; 32] {
        let (low, high) = (two_bits(&self.qs, g), bit_as(4, &self.hmask, g));
        core::array::from_fn(|i| (low[i] | high[i]) - 4)
    }
}

impl Block for Q3K {
    const LEN: usize = 256;
    const SCALES: &[usize] = &[offset_of!(Q3K, d)];
    const FIELDS: &[(usize, usize)] = &[(4, 27), (2, 1)];

    fn decode(&self, out: &mut [f32]) {
        let (d, scales) = (self.scale(), signed_scales(&self.scales));
        for (i, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * scales[i] as f32;
            for (out, q) in out.iter_mut().zip(&self.levels(i / 2)[i % 2 * 16..]) {
                *out = scale * *q as f32;
            }
        }
    }

    /// `acc + (d * dx) * isum` with `isum = Σ sc Σ (q - 4) x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8K(x) = x else { return acc };
        let isum = dot_signed(&signed_scales(&self.scales), |g| self.levels(g), x, b, t);
        acc + (self.scale() * x.scale(b, t)) * isum as f32
    }
}

impl Q3K {
    /// As for [`Q6K`](crate::q6_k::Q6K), with 8 levels and codes of 6 bits.
    pub(crate) fn encode(values: &[f32]) -> Q3K {
        let amax = peak(values).abs();
        let mut block: Q3K = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        let mut groups = [[0f32; 16]; 16];
        for (value, to) in values.iter().zip(groups.as_flattened_mut()) {
            *to = value / amax;
        }
        let fits = groups.map(|group| fit_signed(&group, -4.0, -9..=9, 0.1, assign));
        block.d = f16_away_from_zero(peak(&fits) / -32.0 * amax).to_le_bytes();
        let d = block.scale() / amax;
        let mut scales = [0i8; 16];
        for (g, (group, scale)) in groups.iter().zip(fits).enumerate() {
            let code = round_even((scale * reciprocal(d)).clamp(-32.0, 31.0));
            scales[g] = code as i8;
            let first = g % 2 * 16;
            for (i, level) in assign(group, reciprocal(d * code)).into_iter().enumerate() {
                let level = (level + 4.0) as u8;
                block.qs[g / 8 * 32 + first + i] |= (level & 3) << (2 * (g / 2 % 4));
                block.hmask[first + i] |= (level >> 2) << (g / 2);
            }
        }
        block.scales = pack_signed_scales(&scales);
        block
    }
}

/// The nearest levels, given one over the scale.
fn assign(group: &[f32; 16], inverse: f32) -> [f32; 16] {
    group.map(|v| round_even((v * inverse).clamp(-4.0, 3.0)))
}
