//! IQ4_NL: 32 weights of 4 bits on a fixed non-linear grid, `w = d * VALUES[q]`. 18 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::legacy::{dot, nibbles};
use crate::{Input, f16_to_f32};

/// What the sixteen levels stand for.
pub const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A block as it lies in the file.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct IQ4NL {
    /// Scale, binary16, little-endian.
    pub d: [u8; 2],
    /// Weight `i` in the low nibble of byte `i`, weight `i + 16` in its high nibble.
    pub qs: [u8; 16],
}

impl IQ4NL {
    /// The scale.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes(self.d))
    }

    /// `VALUES[q]` of the 32 weights.
    #[inline(always)]
    pub fn levels(&self) -> [i8; 32] {
        nibbles(&self.qs).map(|q| VALUES[(q & 15) as usize])
    }
}

impl Block for IQ4NL {
    const LEN: usize = 32;
    const SCALES: &[usize] = &[offset_of!(IQ4NL, d)];

    fn decode(&self, out: &mut [f32]) {
        let d = self.scale();
        for (out, q) in out.iter_mut().zip(self.levels()) {
            *out = d * q as f32;
        }
    }

    /// `acc + (d * dx) * isum` with `isum = Σ VALUES[q] x`.
    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        let Input::Q8(x) = x else { return acc };
        let (xs, dx, _, _) = x.block(b, t);
        acc + (self.scale() * dx) * dot(&self.levels(), xs) as f32
    }
}
