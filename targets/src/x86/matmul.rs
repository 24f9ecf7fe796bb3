//! The loops of a product: groups of rows in lanes, blocks in order, tokens inside a block.

use super::isa::{Isa, WeightsK};
use super::load::Legacy;
use super::load_k::Super;
use crate::{Rows, Tile};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::mem::MaybeUninit;
use smidgen_quant::{Input, Q8, Q8K};

/// Tokens whose sums are kept while the weights of one block are in registers.
const TOKENS: usize = 64;

/// Asks for the lines of `bytes` bytes from `at` on. Harmless wherever it points.
#[inline(always)]
fn prefetch(at: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a prefetch never faults; the pointer is not dereferenced.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
}

/// Leaves the rows from column `whole` of the tile on, which do not fill a group, to the law.
fn left_over(w: &Rows, x: &Input, out: &mut Tile, whole: usize) {
    let (first, first_token) = (out.first_col(), out.first_row());
    for t in 0..out.rows() {
        for (c, y) in out.row(t).iter_mut().enumerate().skip(whole) {
            *y = w.format().dot(w.row(first + c), x, first_token + t);
        }
    }
}

/// A format with blocks of 32.
///
/// # Safety
/// Needs the CPU features of `I`. The arguments fit each other, as [`crate::Kernels::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn legacy<I: Isa, L: Legacy>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8(x) = input else { return };
    let (row_bytes, blocks) = (w.row_bytes(), w.cols() / 32);
    let first_token = out.first_row();
    let whole = out.cols() / I::ROWS * I::ROWS;
    left_over(w, input, out, whole);
    for c in (0..whole).step_by(I::ROWS) {
        let base = w.rows_bytes(out.first_col() + c, I::ROWS).as_ptr();
        // SAFETY: at `base` are `I::ROWS` rows of whole blocks; the arrays of `x` hold `blocks` blocks of each token.
        unsafe {
            if out.rows() == 1 {
                let mut acc = I::zero();
                for b in 0..blocks {
                    prefetch(base.wrapping_add(I::ROWS * (row_bytes + b * L::BYTES)), I::ROWS * L::BYTES);
                    let weights = I::load::<L>(base, row_bytes, b);
                    acc = one_block::<I, L>(acc, &weights, x, b, first_token);
                }
                I::store(out.row(0)[c..c + I::ROWS].as_mut_ptr(), acc);
                continue;
            }
            for t0 in (0..out.rows()).step_by(TOKENS) {
                let tokens = TOKENS.min(out.rows() - t0);
                let mut acc = [I::zero(); TOKENS];
                for b in 0..blocks {
                    let weights = I::load::<L>(base, row_bytes, b);
                    for (t, acc) in acc[..tokens].iter_mut().enumerate() {
                        *acc = one_block::<I, L>(*acc, &weights, x, b, first_token + t0 + t);
                    }
                }
                for (t, acc) in acc[..tokens].iter().enumerate() {
                    I::store(out.row(t0 + t)[c..c + I::ROWS].as_mut_ptr(), *acc);
                }
            }
        }
    }
}

/// # Safety
/// `x` has block `b` of token `t`.
#[inline(always)]
unsafe fn one_block<I: Isa, L: Legacy>(
    acc: I::Float,
    w: &super::isa::Weights<I>,
    x: &Q8,
    b: usize,
    t: usize,
) -> I::Float {
    let at = b * x.tokens + t;
    // SAFETY: the caller's promise.
    unsafe {
        I::accumulate::<L>(
            acc,
            w,
            x.qs.as_ptr().add(32 * at),
            x.scales.as_ptr().add(at),
            x.sums.as_ptr().add(at),
            x.offsets.as_ptr().add(at),
        )
    }
}

/// A format with superblocks of 256.
///
/// # Safety
/// As for [`legacy`].
#[inline(always)]
pub(super) unsafe fn k_quant<I: Isa, S: Super>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8K(x) = input else { return };
    let (row_bytes, blocks) = (w.row_bytes(), w.cols() / 256);
    let first_token = out.first_row();
    let mut weights = MaybeUninit::<WeightsK<I>>::zeroed();
    // SAFETY: all-zero bytes are valid vectors.
    let weights = unsafe { weights.assume_init_mut() };
    let whole = out.cols() / I::ROWS * I::ROWS;
    left_over(w, input, out, whole);
    for c in (0..whole).step_by(I::ROWS) {
        let base = w.rows_bytes(out.first_col() + c, I::ROWS).as_ptr();
        // SAFETY: at `base` are `I::ROWS` rows of whole superblocks; the arrays of `x` hold `blocks` superblocks of each token.
        unsafe {
            for t0 in (0..out.rows()).step_by(TOKENS) {
                let tokens = TOKENS.min(out.rows() - t0);
                let mut acc = [I::zero(); TOKENS];
                for b in 0..blocks {
                    if out.rows() == 1 {
                        prefetch(base.wrapping_add(I::ROWS * (row_bytes + b * S::BYTES)), I::ROWS * S::BYTES);
                    }
                    I::load_k::<S>(base, row_bytes, b, weights);
                    for (t, acc) in acc[..tokens].iter_mut().enumerate() {
                        *acc = one_superblock::<I, S>(*acc, weights, x, b, first_token + t0 + t);
                    }
                }
                for (t, acc) in acc[..tokens].iter().enumerate() {
                    I::store(out.row(t0 + t)[c..c + I::ROWS].as_mut_ptr(), *acc);
                }
            }
        }
    }
}

/// # Safety
/// `x` has superblock `b` of token `t`.
#[inline(always)]
unsafe fn one_superblock<I: Isa, S: Super>(acc: I::Float, w: &WeightsK<I>, x: &Q8K, b: usize, t: usize) -> I::Float {
    let group = 8 * b * x.tokens + t;
    // SAFETY: the caller's promise.
    unsafe {
        I::accumulate_k::<S>(
            acc,
            w,
            x.qs.as_ptr().add(32 * group),
            x.scales.as_ptr().add(b * x.tokens + t),
            x.sums.as_ptr().add(2 * group),
            x.tokens,
        )
    }
}
