//! GEMV of K-quants, rows in lanes: weights are multiplied as they are unpacked, and never written to memory.

use super::isa::{Float, Isa, add_superblock, four};
use super::load_kquant::{KQuant, Scales, Take};
use super::load_legacy::RowBlock;
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::Tile;
use core::marker::PhantomData;
use smidgen_quant::Q8K;
use smidgen_quant::packed::PANEL;

/// `N` vectors of rows from column `c` of the tile on, times its only token.
///
/// # Safety
/// Needs the CPU features of `I`; the group's rows have `blocks` superblocks, and so has the token.
#[inline(always)]
pub(super) unsafe fn gemv_kquant<I: Isa, L: KQuant, const N: usize, const PACKED: bool>(
    group: RowGroup,
    blocks: usize,
    x: &Q8K,
    out: &mut Tile,
    c: usize,
) {
    let (token, rows) = (out.first_row(), I::Int::ROWS);
    let mut acc = [Float::<I>::splat(0.0); N];
    let mut scales = Scales::zero();
    for b in 0..blocks {
        let ahead = group.ahead(N * rows, b, L::BYTES);
        for (n, acc) in acc.iter_mut().enumerate() {
            let ahead = Ahead { lines: ahead.wrapping_add(n * rows * L::BYTES), group };
            let isum = if PACKED {
                superblock::<I, L, true>(group.panel(n * rows, b, L::BYTES), &mut scales, x, b, token, ahead)
            } else {
                superblock::<I, L, false>(group.plain(n * rows, b, L::BYTES), &mut scales, x, b, token, ahead)
            };
            *acc = add_superblock(*acc, isum, &scales, x, b, token, L::OFFSET_SHIFT);
        }
    }
    for (n, acc) in acc.iter().enumerate() {
        acc.store(out.row(0)[c + n * rows..][..rows].as_mut_ptr());
    }
}

/// The lines that are prefetched meanwhile, one by one: a processor waits for two dozen lines at once, and what is prefetched beyond those is late.
#[derive(Clone, Copy)]
struct Ahead {
    lines: *const u8,
    group: RowGroup,
}

/// Σ scale q x of superblock `b` in as many rows as a vector has, and its scales.
///
/// # Safety
/// As for [`gemv_kquant`].
#[inline(always)]
unsafe fn superblock<I: Isa, L: KQuant, const PACKED: bool>(
    rows: impl RowBlock<I::Int>,
    scales: &mut Scales<I::Int>,
    x: &Q8K,
    b: usize,
    token: usize,
    ahead: Ahead,
) -> I::Int {
    L::scales(rows, scales);
    let zero = I::Int::splat(0);
    let mut dot = Dot::<I, L, PACKED> {
        part: [zero; 4],
        sum: [zero; 2],
        x: x.qs.as_ptr().add((8 * b * x.tokens + token) * 32),
        stride: x.tokens * 32,
        scales: &scales.subs,
        ahead,
        format: PhantomData,
    };
    L::weights(rows, &mut dot);
    dot.sum[0].add(dot.sum[1])
}

/// Σ scale q x.
struct Dot<'a, I: Isa, L, const PACKED: bool> {
    /// Sums of each group that is being unpacked, as long as they fit.
    part: [I::Int; 4],
    sum: [I::Int; 2],
    /// The token's first group; the next is `stride` further.
    x: *const i8,
    stride: usize,
    scales: &'a [I::Int; 16],
    ahead: Ahead,
    format: PhantomData<L>,
}

impl<I: Isa, L: KQuant, const PACKED: bool> Take<I::Int> for Dot<'_, I, L, PACKED> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, k: usize, q: I::Int) {
        let words = L::SUB / 4;
        let step = I::fitting(L::MAX).min(words);
        // The token has all eight groups.
        let x = I::Int::splat(four(self.x.add(g * self.stride + 4 * k)));
        let part = &mut self.part[g % L::ABREAST];
        *part = I::add_products(if k.is_multiple_of(step) { I::Int::splat(0) } else { *part }, q, x);
        if k % step == step - 1 {
            let product = I::scaled(*part, self.scales[(8 * g + k) / words]);
            self.sum[g % 2] = self.sum[g % 2].add(product);
        }
        // The lines of a vector's rows, or a few more: whether to prefetch must be known when this is compiled. As many as groups are unpacked side by
        // side are prefetched at once, since each call decides where they go.
        let lines = (I::Int::ROWS * L::BYTES).div_ceil(64 * 8);
        if k < lines && g.is_multiple_of(L::ABREAST) {
            let Ahead { lines: first, group } = self.ahead;
            let first = first.wrapping_add(64 * (lines * g + k));
            group.prefetch_lines(first, L::ABREAST, 64 * lines, !PACKED && I::Int::ROWS == PANEL);
        }
    }
}
