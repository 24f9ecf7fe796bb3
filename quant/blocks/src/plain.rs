//! F32, F16 and BF16: weights without blocks, multiplied with activations as they are.

use crate::format::Row;
use crate::{Input, f16_to_f32, f32_to_f16_saturating, ops};

/// A weight that stands alone.
trait Plain: bytemuck::Pod {
    fn value(self) -> f32;
}

macro_rules! plain {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $value:expr, $encode:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $bytes]);

        impl Plain for $name {
            #[inline(always)]
            fn value(self) -> f32 {
                $value(self.0)
            }
        }

        impl $name {
            pub(crate) fn encode(values: &[f32]) -> $name {
                $name($encode(values.first().copied().unwrap_or(0.0)))
            }
        }

        impl Row for $name {
            const LEN: usize = 1;
            const SCALES: &[usize] = &[];
            const FIELDS: &[(usize, usize)] = &[];

            fn is_finite(&self) -> bool {
                self.value().is_finite()
            }

            fn decode(&self, out: &mut [f32]) {
                for out in out {
                    *out = self.value();
                }
            }

            #[inline(always)]
            fn dot(row: &[$name], x: &Input, t: usize) -> f32 {
                let Input::F32 { values, cols } = x else { return 0.0 };
                let x = values.chunks_exact((*cols).max(1)).nth(t).unwrap_or(&[]);
                ops::striped(row, x, |w, x| w.value() * x)
            }
        }
    };
}

plain! {
    /// An IEEE 754 binary32, little-endian.
    F32, 4, f32::from_le_bytes, f32::to_le_bytes
}

plain! {
    /// An IEEE 754 binary16, little-endian. Encoding rounds to nearest even and saturates at ±65504.
    F16, 2, |bytes| f16_to_f32(u16::from_le_bytes(bytes)), |v| f32_to_f16_saturating(v).to_le_bytes()
}

plain! {
    /// The upper half of a binary32, little-endian. Encoding rounds to nearest even; NaN stays NaN.
    BF16, 2, |[low, high]: [u8; 2]| f32::from_le_bytes([0, 0, low, high]), |v| half::bf16::from_f32_const(v).to_le_bytes()
}
