//! K-quants times one token: weights are multiplied as they are unpacked, and never written to memory.

use super::isa::{Avx2, Isa, fitting, four};
use super::load::Source;
use super::load_k::{EightScales, Super, Take};
use super::matmul::{Group, prefetch};
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
    let (blocks, first) = (w.cols() / 256, out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    // SAFETY: the groups' rows have as many superblocks as the token.
    unsafe {
        for c in (0..packed).step_by(PANEL) {
            group::<L, true>(Group::new(w, first + c, PANEL, true), blocks, x, out, c);
        }
        for c in (packed..plain).step_by(PANEL) {
            group::<L, false>(Group::new(w, first + c, PANEL, false), blocks, x, out, c);
        }
    }
    w.by_law(input, out, plain);
}

/// The rows of a panel, from column `c` of the tile on.
///
/// # Safety
/// As for [`k_quant`]; the group's rows have `blocks` superblocks.
#[inline(always)]
unsafe fn group<L: Super, const PACKED: bool>(group: Group, blocks: usize, x: &Q8K, out: &mut Tile, c: usize) {
    let token = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [Avx2::zero(); PANEL / ROWS];
        for b in 0..blocks {
            let ahead = group.ahead(PANEL, b, L::BYTES);
            for (n, acc) in acc.iter_mut().enumerate() {
                let ahead = Ahead { lines: ahead, first: n * (L::BYTES / 8), nearest: group.nearest };
                *acc = if PACKED {
                    superblock::<L>(*acc, group.panel(n * ROWS, b, L::BYTES), x, b, token, ahead)
                } else {
                    superblock::<L>(*acc, group.plain(n * ROWS, b, L::BYTES), x, b, token, ahead)
                };
            }
        }
        for (n, acc) in acc.iter().enumerate() {
            Avx2::store(out.row(0)[c + n * ROWS..][..ROWS].as_mut_ptr(), *acc);
        }
    }
}

/// What is asked for meanwhile, a line for every two vectors until it is half of a panel's. Asking for them all at once does not do: a
/// processor waits for two dozen lines, and the rest is late.
#[derive(Clone, Copy)]
struct Ahead {
    lines: *const u8,
    /// The first line for these eight rows.
    first: usize,
    nearest: bool,
}

/// Superblock `b` of eight rows.
///
/// # Safety
/// As for [`k_quant`]; the token has the superblock.
#[inline(always)]
unsafe fn superblock<L: Super>(
    acc: __m256,
    rows: impl Source,
    x: &Q8K,
    b: usize,
    token: usize,
    ahead: Ahead,
) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let (scales, zero) = (L::scales(rows), _mm256_setzero_si256());
        let mut dot = Dot::<L> {
            short: [zero; 4],
            sum: [zero; 2],
            x: x.qs.as_ptr().add((8 * b * x.tokens + token) * 32),
            stride: x.tokens * 32,
            scales: &scales,
            ahead,
            format: PhantomData,
        };
        L::weights(rows, &mut dot);
        let isum = _mm256_add_epi32(dot.sum[0], dot.sum[1]);
        Avx2::add_superblock::<L>(acc, isum, &scales, x, b, token)
    }
}

/// Σ scale q x.
struct Dot<'a, L> {
    /// Sums of each group that is being unpacked in 16 bits, as long as they fit.
    short: [__m256i; 4],
    sum: [__m256i; 2],
    /// The token's first group; the next is `stride` further.
    x: *const i8,
    stride: usize,
    scales: &'a EightScales,
    ahead: Ahead,
    format: PhantomData<L>,
}

impl<L: Super> Take for Dot<'_, L> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, k: usize, q: __m256i) {
        let words = L::SUB / 4;
        let step = if fitting(L::MAX) < words { fitting(L::MAX) } else { words };
        let slot = 4 * g + k / 2;
        if k.is_multiple_of(2) && slot <= L::BYTES / 8 {
            prefetch(self.ahead.lines.wrapping_add(64 * (self.ahead.first + slot)), self.ahead.nearest);
        }
        // SAFETY: the caller's promise; the token has all eight groups.
        unsafe {
            let x = _mm256_set1_epi32(four(self.x.add(g * self.stride + 4 * k)));
            let products = _mm256_maddubs_epi16(q, x);
            let short = &mut self.short[g % L::ABREAST];
            *short = if k.is_multiple_of(step) { products } else { _mm256_add_epi16(*short, products) };
            if k % step == step - 1 {
                let scale = self.scales.subs[(8 * g + k) / words];
                self.sum[g % 2] = _mm256_add_epi32(self.sum[g % 2], _mm256_madd_epi16(*short, scale));
            }
        }
    }
}
