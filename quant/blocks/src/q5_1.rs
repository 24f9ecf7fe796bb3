//! Q5_1: 32 weights of 5 bits, `w = d * q + m`. 24 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::legacy::{dot, five_bits, pack_fifth_bits, pack_nibbles, range, reciprocal};
use crate::{Input, f16_to_f32, f32_to_f16_saturating};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q5_1 {
    /// Scale, binary16, little-endian.
    pub d: [u8; 2],
    /// Smallest weight, binary16, little-endian.
    pub m: [u8; 2],
    /// The fifth bit of weight `i` is bit `i % 8` of byte `i / 8`.
    pub qh: [u8; 4],
    /// Weight `i` in the low nibble of byte `i`, weight `i + 16` in its high nibble.
    pub qs: [u8; 16],
}

impl Q5_1 {
    /// The scale.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// The smallest weight.
    #[inline(always)]
    pub fn min(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.m))
    }

    /// `q` of the 32 weights: 0 to 31.
    #[inline(always)]
    pub fn levels(&self) -> [i8; 32] {
        five_bits(&self.qs, self.qh)
    }

    /// The levels span the values' range. A scale or a minimum beyond binary16 saturates.
    pub(crate) fn encode(values: &[f32]) -> Q5_1 {
        let (min, max) = range(values);
        let d = (max - min) / 31.0;
        let inverse = reciprocal(d);
        let mut levels = [0; 32];
        for (level, v) in levels.iter_mut().zip(values) {
            *level = (((v - min) * inverse + 0.5) as i32).clamp(0, 31) as u8;
        }
        Q5_1 {
            d: f32_to_f16_saturating(d).to_le_bytes(),
            m: f32_to_f16_saturating(min).to_le_bytes(),
            qh: pack_fifth_bits(&levels),
            qs: pack_nibbles(&levels),
        }
    }
}

impl Block for Q5_1 {
    const LEN: usize = 32;
    const SCALES: &[usize] = &[offset_of!(Q5_1, d), offset_of!(Q5_1, m)];
    const FIELDS: &[(usize, usize)] = &[(2, 2), (4, 5)];

    fn decode(&self, out: &mut [f32]) {
        let (d, m) = (self.scale(), self.min());
        for (out, q) in out.iter_mut().zip(self.levels()) {
            *out = d * q as f32 + m;
        }
    }

    /// `acc + ((d * dx) * isum + m * offset)` with `isum = Σ q x` and `offset` as [`crate::Q8`] holds it.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8(x) = x else { return acc };
        let (xs, dx, _, offset) = x.block(b, t);
        acc + ((self.scale() * dx) * dot(&self.levels(), xs) as f32 + self.min() * offset)
    }
}
