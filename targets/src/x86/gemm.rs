//! GEMM: rows in lanes, blocks in order, tokens inside a block, so that a block's weights are unpacked once for many tokens.

use super::isa::{Float, Isa, TOKENS_TOGETHER};
use super::load_kquant::{KQuant, Superblock};
use super::load_legacy::{Legacy, Panel, Plain};
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::Tile;
use core::array;
use smidgen_quant::{Q8, Q8K};

/// Tokens whose sums are kept while the weights of one block are in registers.
const TOKENS: usize = 64;
/// Tokens whose sums are stored at once. Their rows often lie a multiple of 4 KiB apart, and then they all have the same set of L1:
/// storing 64 of them one after another took 12 to 24 percent of a product in set conflicts.
const STORED_TOGETHER: usize = 16;
/// `N` vectors of rows from column `c` of the tile on, times many tokens.
///
/// # Safety
/// As for [`legacy`](super::matmul::legacy); the group's rows have `blocks` blocks.
#[inline(always)]
pub(super) unsafe fn gemm_legacy<I: Isa, L: Legacy, const N: usize>(
    group: RowGroup,
    packed: bool,
    blocks: usize,
    x: &Q8,
    out: &mut Tile,
    c: usize,
) {
    let first_token = out.first_row();
    for t0 in (0..out.rows()).step_by(TOKENS) {
        let mut acc = [[Float::<I>::splat(0.0); N]; TOKENS];
        let acc = &mut acc[..TOKENS.min(out.rows() - t0)];
        for b in 0..blocks {
            if t0 == 0 {
                group.prefetch_next(N * I::Int::ROWS, b, L::BYTES);
            }
            let weights = array::from_fn::<_, N, _>(|n| {
                if packed {
                    I::load::<L>(group.panel(n * I::Int::ROWS, b, L::BYTES))
                } else {
                    I::load::<L>(group.plain(n * I::Int::ROWS, b, L::BYTES))
                }
            });
            let (together, rest) = acc.as_chunks_mut::<TOKENS_TOGETHER>();
            // Not all together after the last block, see `STORED_TOGETHER`. A comparison, as the compiler would make two loops for two answers.
            let stored = if b + 1 == blocks { t0 } else { usize::MAX };
            let mut t = t0;
            for acc in together {
                I::accumulate::<L, TOKENS_TOGETHER, N>(acc, &weights, x, b, first_token + t);
                if t >= stored {
                    store(out, t, c, acc);
                }
                t += TOKENS_TOGETHER;
            }
            for acc in rest.as_chunks_mut::<1>().0 {
                I::accumulate::<L, 1, N>(acc, &weights, x, b, first_token + t);
                t += 1;
            }
        }
        let together = acc.len() / TOKENS_TOGETHER * TOKENS_TOGETHER;
        store(out, t0 + together, c, &acc[together..]);
    }
}

/// Writes the sums of a panel's rows to the tile's rows from `t` and columns from `c` on.
///
/// # Safety
/// The tile has them. `N` vectors make a panel.
#[inline(always)]
unsafe fn store<V: VecF32, const N: usize>(out: &mut Tile, t: usize, c: usize, sums: &[[V; N]]) {
    for (i, sums) in sums.iter().enumerate() {
        let to = out.row(t + i).as_mut_ptr().add(c);
        for n in 0..N {
            sums[n].store(to.add(n * V::LEN));
        }
    }
}

/// `N` vectors of rows from column `c` of the tile on.
///
/// # Safety
/// As for [`legacy`](super::matmul::legacy); the group's rows have `blocks` superblocks.
#[inline(always)]
pub(super) unsafe fn gemm_kquant<I: Isa, L: KQuant, const N: usize>(
    group: RowGroup,
    packed: bool,
    scratch: &mut [Superblock<I::Int>; N],
    blocks: usize,
    x: &Q8K,
    out: &mut Tile,
    c: usize,
) {
    let first_token = out.first_row();
    for t0 in (0..out.rows()).step_by(TOKENS) {
        let mut acc = [[Float::<I>::splat(0.0); N]; TOKENS];
        let acc = &mut acc[..TOKENS.min(out.rows() - t0)];
        for b in 0..blocks {
            if t0 == 0 {
                group.prefetch_next(N * I::Int::ROWS, b, L::BYTES);
            }
            for n in 0..N {
                if packed {
                    I::Int::unpack::<L, Panel>(group.panel(n * I::Int::ROWS, b, L::BYTES), &mut scratch[n]);
                } else {
                    I::Int::unpack::<L, Plain>(group.plain(n * I::Int::ROWS, b, L::BYTES), &mut scratch[n]);
                }
            }
            let (mut t, last) = (t0, b + 1 == blocks);
            for acc in acc.chunks_mut(if last { STORED_TOGETHER } else { TOKENS }) {
                I::accumulate_k::<L, N>(acc, scratch, x, b, first_token + t);
                if last {
                    store(out, t, c, acc);
                }
                t += acc.len();
            }
        }
    }
}
