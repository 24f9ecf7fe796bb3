//! Q8_0: 32 weights of 8 bits, `w = d * q`. 34 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::legacy::{dot, peak, reciprocal};
use crate::{Input, f16_to_f32, f32_to_f16_saturating};

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Q8_0 {
    /// Scale, binary16, little-endian.
    pub d: [u8; 2],
    /// The weights. Encoders stay within ±127, a file may hold -128.
    pub qs: [i8; 32],
}

impl Q8_0 {
    /// The scale.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// The largest magnitude becomes 127; halves round away from zero. A scale beyond binary16 saturates.
    pub(crate) fn encode(values: &[f32]) -> Q8_0 {
        let d = peak(values).abs() / 127.0;
        let inverse = reciprocal(d);
        let mut qs = [0; 32];
        for (q, v) in qs.iter_mut().zip(values) {
            let scaled = (v * inverse).clamp(-127.0, 127.0);
            let below = scaled as i32;
            *q = (below + (2.0 * (scaled - below as f32)) as i32) as i8;
        }
        Q8_0 { d: f32_to_f16_saturating(d).to_le_bytes(), qs }
    }
}

impl Block for Q8_0 {
    const LEN: usize = 32;
    const SCALES: &[usize] = &[offset_of!(Q8_0, d)];
    const FIELDS: &[(usize, usize)] = &[(2, 1), (4, 8)];

    fn decode(&self, out: &mut [f32]) {
        let d = self.scale();
        for (out, q) in out.iter_mut().zip(self.qs) {
            *out = d * q as f32;
        }
    }

    /// `acc + (d * dx) * isum` with `isum = Σ q x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8(x) = x else { return acc };
        let (xs, dx, _, _) = x.block(b, t);
        acc + (self.scale() * dx) * dot(&self.qs, xs) as f32
    }
}
