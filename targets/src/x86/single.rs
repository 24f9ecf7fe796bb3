//! K-quants times one token: weights are multiplied as they are unpacked, and never written to memory.

use super::isa::{Avx2, Isa, fitting, four};
use super::load_k::{EightScales, Super, Take};
use super::matmul::{Group, Lines, Packed};
use crate::{Rows, Tile};
use core::arch::x86_64::*;
use core::marker::PhantomData;
use smidgen_quant::packed::PANEL;
use smidgen_quant::{Input, Q8K};

/// Rows in a vector.
const ROWS: usize = 8;

/// A format with superblocks of 256, for a tile with one token.
///
/// # Safety
/// Needs AVX2 and F16C. The arguments fit each other, as [`crate::Kernels::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn k_quant<L: Super>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8K(x) = input else { return };
    let (row_bytes, first_row) = (w.row_bytes(), out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    // SAFETY: at each `base` are the rows' whole superblocks; the arrays of `x` hold as many superblocks of each token.
    unsafe {
        for c in (0..packed).step_by(PANEL) {
            let base = w.bytes(first_row + c, PANEL).as_ptr();
            group::<L, Packed>(Packed { base }, w.cols() / 256, x, out, c);
        }
        for c in (packed..plain).step_by(PANEL) {
            let base = w.bytes(first_row + c, PANEL).as_ptr();
            group::<L, Lines>(Lines { base, row_bytes }, w.cols() / 256, x, out, c);
        }
    }
    w.by_law(input, out, plain);
}

/// The rows of a panel, from column `c` of the tile on.
///
/// # Safety
/// As for [`k_quant`]; the group's rows have `blocks` superblocks.
#[inline(always)]
unsafe fn group<L: Super, G: Group>(group: G, blocks: usize, x: &Q8K, out: &mut Tile, c: usize) {
    let token = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [Avx2::zero(); PANEL / ROWS];
        for b in 0..blocks {
            group.ask(PANEL, b, L::BYTES);
            for (n, acc) in acc.iter_mut().enumerate() {
                let rows = group.rows(n * ROWS, b, L::BYTES);
                let scales = L::scales(rows);
                let zero = _mm256_setzero_si256();
                let x_first = x.qs.as_ptr().add((8 * b * x.tokens + token) * 32);
                let mut dot = Dot::<L> {
                    short: [zero; 8],
                    sum: [zero; 2],
                    x: x_first,
                    stride: x.tokens * 32,
                    scales: &scales,
                    format: PhantomData,
                };
                L::weights(rows, &mut dot);
                let isum = _mm256_add_epi32(dot.sum[0], dot.sum[1]);
                *acc = Avx2::add_superblock::<L>(*acc, isum, &scales, x, b, token);
            }
        }
        for (n, acc) in acc.iter().enumerate() {
            Avx2::store(out.row(0)[c + n * ROWS..][..ROWS].as_mut_ptr(), *acc);
        }
    }
}

/// Σ scale q x.
struct Dot<'a, L> {
    /// Sums of each group in 16 bits, as long as they fit.
    short: [__m256i; 8],
    sum: [__m256i; 2],
    /// The token's first group; the next is `stride` further.
    x: *const i8,
    stride: usize,
    scales: &'a EightScales,
    format: PhantomData<L>,
}

impl<L: Super> Take for Dot<'_, L> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, k: usize, q: __m256i) {
        let words = L::SUB / 4;
        let step = if fitting(L::MAX) < words { fitting(L::MAX) } else { words };
        // SAFETY: the caller's promise; the token has all eight groups.
        unsafe {
            let x = _mm256_set1_epi32(four(self.x.add(g * self.stride + 4 * k)));
            let products = _mm256_maddubs_epi16(q, x);
            self.short[g] = if k.is_multiple_of(step) { products } else { _mm256_add_epi16(self.short[g], products) };
            if k % step == step - 1 {
                let scale = self.scales.subs[(8 * g + k) / words];
                self.sum[g % 2] = _mm256_add_epi32(self.sum[g % 2], _mm256_madd_epi16(self.short[g], scale));
            }
        }
    }
}
