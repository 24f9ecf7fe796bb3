//! GEMM of F16 weights, which the CPU widens by itself.

use super::load_legacy::{nothing, sixteen_f16s};
use crate::{Tile, WeightMatrix};
use core::arch::aarch64::*;
use smidgen_quant::ops::{STRIPES, tree};
use smidgen_quant::{Input, f16_to_f32};

/// Tokens that share each widened weight.
const TOKENS: usize = 4;

/// See `smidgen_quant::plain`: sixteen stripes, then the tree.
pub(super) fn f16(w: &WeightMatrix, input: &Input, out: &mut Tile) {
    let Input::F32 { values, cols } = input else { return };
    let (first_row, first_token) = (out.first_col(), out.first_row());
    for c in 0..out.cols() {
        let row = w.bytes(first_row + c, 1).as_chunks::<2>().0;
        let mut t = 0;
        while t < out.rows() {
            let x = &values[(first_token + t) * cols..];
            if t + TOKENS <= out.rows() {
                let sums = dots::<TOKENS>(row, &x[..TOKENS * cols]);
                for (i, sum) in sums.into_iter().enumerate() {
                    out.row(t + i)[c] = sum;
                }
                t += TOKENS;
            } else {
                let [sum] = dots::<1>(row, &x[..*cols]);
                out.row(t)[c] = sum;
                t += 1;
            }
        }
    }
}

/// A row with `T` tokens of as many values, one after another.
fn dots<const T: usize>(row: &[[u8; 2]], x: &[f32]) -> [f32; T] {
    let mut tokens = [&x[..0]; T];
    for (token, x) in tokens.iter_mut().zip(x.chunks_exact(row.len())) {
        *token = x;
    }
    let mut lanes = [[nothing(); STRIPES / 4]; T];
    let (parts, rest) = row.as_chunks::<STRIPES>();
    for (i, part) in parts.iter().enumerate() {
        // SAFETY: every aarch64 has NEON; sixteen weights lie in a part, and sixteen values of each token beside them.
        unsafe {
            let w = sixteen_f16s(part.as_ptr().cast());
            for t in 0..T {
                let x = tokens[t][STRIPES * i..STRIPES * (i + 1)].as_ptr();
                for k in 0..STRIPES / 4 {
                    lanes[t][k] = vaddq_f32(lanes[t][k], vmulq_f32(w[k], vld1q_f32(x.add(4 * k))));
                }
            }
        }
    }
    let mut sums = [0f32; T];
    for t in 0..T {
        let mut stripes = [0f32; STRIPES];
        for k in 0..STRIPES / 4 {
            // SAFETY: every aarch64 has NEON; four floats have room.
            unsafe { vst1q_f32(stripes[4 * k..4 * k + 4].as_mut_ptr(), lanes[t][k]) };
        }
        for (i, (w, x)) in rest.iter().zip(&tokens[t][row.len() - rest.len()..]).enumerate() {
            stripes[i] += f16_to_f32(u16::from_le_bytes(*w)) * x;
        }
        sums[t] = tree(stripes);
    }
    sums
}
