//! IQ4_NL: 32 weights of 4 bits on a fixed non-linear grid, `w = d * VALUES[q]`. 18 bytes.

use core::mem::offset_of;

use crate::format::Block;
use crate::k_encode::fit_signed;
use crate::legacy::{dot, nibbles, pack_nibbles, peak, reciprocal};
use crate::{Input, f16_to_f32, f32_to_f16_saturating};

/// The values of the sixteen levels.
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
    const FIELDS: &[(usize, usize)] = &[(2, 1), (4, 4)];

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

impl IQ4NL {
    /// Searches the scale by weighted least squares. The values are finite; a scale beyond binary16 saturates.
    pub(crate) fn encode(values: &[f32]) -> IQ4NL {
        let amax = peak(values).abs();
        let mut block: IQ4NL = bytemuck::Zeroable::zeroed();
        if amax == 0.0 {
            return block;
        }
        // Relative to the largest magnitude, so that no square overflows or vanishes.
        let group: [f32; 32] = core::array::from_fn(|i| values[i] / amax);
        let assign = |group: &[f32; 32], inverse: f32| group.map(|v| VALUES[nearest(v * inverse)] as f32);
        let scale = fit_signed(&group, VALUES[0] as f32, -14..=14, 1.0, assign);
        block.d = f32_to_f16_saturating(scale * amax).to_le_bytes();
        let inverse = reciprocal(block.scale() / amax);
        block.qs = pack_nibbles(&group.map(|v| nearest(v * inverse) as u8));
        block
    }
}

/// The number of the level nearest to `value`, the lower of two.
fn nearest(value: f32) -> usize {
    VALUES.windows(2).filter(|pair| 2.0 * value > (pair[0] as i32 + pair[1] as i32) as f32).count()
}
