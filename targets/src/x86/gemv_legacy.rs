//! GEMV of the formats with blocks of 32: rows in lanes, from panels or transposed as they are loaded.

use super::isa::{Float, Isa};
use super::load_legacy::Legacy;
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::Tile;
use smidgen_quant::Q8;
use smidgen_quant::packed::PANEL;

/// `N` vectors of rows from column `c` of the tile on, times its only token. `quick` is [`OUTRUNS_MEMORY`](super::routines::Gemv::OUTRUNS_MEMORY).
///
/// # Safety
/// As for [`legacy`](super::matmul::legacy); the group's rows have `blocks` blocks.
#[inline(always)]
pub(super) unsafe fn gemv_legacy<I: Isa, L: Legacy, const N: usize, const PACKED: bool>(
    group: RowGroup,
    blocks: usize,
    x: &Q8,
    out: &mut Tile,
    c: usize,
    quick: bool,
) {
    let (token, rows) = (out.first_row(), I::Int::ROWS);
    let mut acc = [[[Float::<I>::splat(0.0)]]; N];
    for b in 0..blocks {
        let to_l1 = PACKED && quick || group.goes_to_l1(PACKED || rows == PANEL);
        group.prefetch_ahead(N * rows, b, L::BYTES, to_l1, !PACKED && quick);
        for n in 0..N {
            let weights = if PACKED {
                I::load::<L>(group.panel(n * rows, b, L::BYTES))
            } else {
                I::load::<L>(group.plain(n * rows, b, L::BYTES))
            };
            I::accumulate::<L, 1, 1>(&mut acc[n], &[weights], x, b, token);
        }
    }
    for n in 0..N {
        acc[n][0][0].store(out.row(0)[c + n * rows..][..rows].as_mut_ptr());
    }
}
