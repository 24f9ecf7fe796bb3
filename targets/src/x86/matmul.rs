//! The matrix product of a tile: GEMM where it has several tokens, and where it has one the GEMV that [`Gemv`] names. Rows that fill no
//! panel are left to the reference.

use super::gemm::{gemm_kquant, gemm_legacy};
use super::gemv_kquant::gemv_kquant;
use super::gemv_legacy::gemv_legacy;
use super::gemv_lookup::{self, gemv_lookup};
use super::gemv_rowwise::{EightPlain, gemv_rowwise};
use super::gemv_rowwise_kquant::{gemv_rowwise_nibbles, gemv_rowwise_q6_k};
use super::isa::Isa;
use super::load_kquant::{KQuant, Superblock};
use super::load_legacy::{Legacy, Panel};
use super::prefetch::RowGroup;
use super::routines::{Gemv, Routine};
use super::vec_i32::VecI32;
use crate::{Tile, WeightMatrix};
use core::mem::MaybeUninit;
use smidgen_quant::Input;
use smidgen_quant::packed::PANEL;

/// Columns that GEMM works on as two panels at a time, so that a load of activations serves two vectors: all that make such pairs if a vector is a panel.
/// (The tile's columns are all packed or all plain.)
fn in_pairs_of_panels(vectors: usize, columns: usize) -> usize {
    if vectors == 1 { columns / (2 * PANEL) * (2 * PANEL) } else { 0 }
}

/// A format with blocks of 32. `VECTORS` vectors make a panel.
///
/// # Safety
/// Needs the CPU features of `I`. The arguments fit each other, as [`crate::KernelSet::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn legacy<I: Gemv<L>, L: Legacy, const VECTORS: usize>(
    w: &WeightMatrix,
    input: &Input,
    out: &mut Tile,
) {
    let Input::Q8(x) = input else { return };
    // The groups' rows have as many blocks as the tokens in `x`.
    let (blocks, first) = (w.cols() / 32, out.first_col());
    let (packed, whole) = w.parts(out, PANEL);
    if out.rows() > 1 {
        let (is_packed, pairs) = (packed > 0, in_pairs_of_panels(VECTORS, whole));
        let group = RowGroup::new(w, first, whole, PANEL, is_packed);
        for c in (0..pairs).step_by(2 * PANEL) {
            gemm_legacy::<I, L, 2>(group.at(c), is_packed, blocks, x, out, c);
        }
        for c in (pairs..whole).step_by(PANEL) {
            gemm_legacy::<I, L, VECTORS>(group.at(c), is_packed, blocks, x, out, c);
        }
    } else if whole > 0 {
        let quick = I::OUTRUNS_MEMORY;
        if I::ROUTINE == Routine::Lookup && blocks <= gemv_lookup::BLOCKS {
            if packed > 0 {
                gemv_lookup::<L, Panel>(w, whole, blocks, x, out);
            } else {
                gemv_lookup::<L, EightPlain>(w, whole, blocks, x, out);
            }
            return w.by_reference(input, out, whole);
        }
        let group = RowGroup::new(w, first, packed, PANEL, true);
        let group = if quick { group.without_distance() } else { group };
        for c in (0..packed).step_by(PANEL) {
            gemv_legacy::<I, L, VECTORS, true>(group.at(c), blocks, x, out, c, quick);
        }
        let eight = matches!(I::ROUTINE, Routine::TransposedEight | Routine::RowWiseNibbles | Routine::RowWiseBytes);
        let rows = if eight { <I::Eight as Isa>::Int::ROWS } else { I::Int::ROWS };
        let group = RowGroup::new(w, first, whole, rows, false);
        for c in (packed..whole).step_by(rows) {
            match I::ROUTINE {
                Routine::RowWiseNibbles | Routine::RowWiseBytes => gemv_rowwise::<L>(group.at(c), blocks, x, out, c),
                Routine::TransposedEight => gemv_legacy::<I::Eight, L, 1, false>(group.at(c), blocks, x, out, c, quick),
                _ => gemv_legacy::<I, L, 1, false>(group.at(c), blocks, x, out, c, quick),
            }
        }
    }
    w.by_reference(input, out, whole);
}

/// A format with superblocks of 256. `VECTORS` vectors make a panel.
///
/// # Safety
/// As for [`legacy`].
#[inline(always)]
pub(super) unsafe fn kquant<I: Gemv<L>, L: KQuant, const VECTORS: usize>(
    w: &WeightMatrix,
    input: &Input,
    out: &mut Tile,
) {
    let Input::Q8K(x) = input else { return };
    // The groups' rows have as many superblocks as the tokens in `x`.
    let (blocks, first) = (w.cols() / 256, out.first_col());
    let (packed, whole) = w.parts(out, PANEL);
    if out.rows() > 1 {
        let mut scratch = MaybeUninit::<[Superblock<I::Int>; 2]>::zeroed();
        // All-zero bytes are valid vectors.
        let scratch = scratch.assume_init_mut();
        let (is_packed, pairs) = (packed > 0, in_pairs_of_panels(VECTORS, whole));
        let group = RowGroup::new(w, first, whole, PANEL, is_packed);
        for c in (0..pairs).step_by(2 * PANEL) {
            gemm_kquant::<I, L, 2>(group.at(c), is_packed, scratch, blocks, x, out, c);
        }
        if let Some(scratch) = scratch.first_chunk_mut() {
            for c in (pairs..whole).step_by(PANEL) {
                gemm_kquant::<I, L, VECTORS>(group.at(c), is_packed, scratch, blocks, x, out, c);
            }
        }
    } else {
        let group = RowGroup::new(w, first, packed, PANEL, true);
        for c in (0..packed).step_by(PANEL) {
            gemv_kquant::<I, L, VECTORS, true>(group.at(c), blocks, x, out, c);
        }
        let row_wise = matches!(I::ROUTINE, Routine::RowWiseNibbles | Routine::RowWiseSixBits);
        let rows = if row_wise { <I::Eight as Isa>::Int::ROWS } else { PANEL };
        let group = RowGroup::new(w, first, whole, rows, false);
        for c in (packed..whole).step_by(rows) {
            match I::ROUTINE {
                Routine::RowWiseSixBits => gemv_rowwise_q6_k(group.at(c), blocks, x, out, c),
                Routine::RowWiseNibbles => gemv_rowwise_nibbles::<L>(group.at(c), blocks, x, out, c),
                _ => gemv_kquant::<I, L, VECTORS, false>(group.at(c), blocks, x, out, c),
            }
        }
    }
    w.by_reference(input, out, whole);
}
