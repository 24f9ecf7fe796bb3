//! The loops of a product: rows in lanes, blocks in order, tokens inside a block.

use super::isa::{Isa, ScratchK, Weights};
use super::load::{Legacy, Panel, Plain, Source};
use super::load_k::Super;
use super::single;
use crate::{Rows, Tile};
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::mem::MaybeUninit;
use smidgen_quant::packed::PANEL;
use smidgen_quant::{Input, Q8, Q8K};

/// Tokens whose sums are kept while the weights of one block are in registers.
const TOKENS: usize = 64;
/// Tokens that share each load of weights.
const TOGETHER: usize = 4;
/// How far ahead a packed panel is asked for, in bytes.
const AHEAD: usize = 4096;

/// Asks for the lines of `bytes` bytes from `at` on. Harmless wherever it points.
#[inline(always)]
fn prefetch(at: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a prefetch never faults; the pointer is not dereferenced.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
}

/// The bytes of some rows, and where eight of them have a block.
pub(super) trait Group: Copy {
    type Source: Source;

    /// Block `b`, of `block_bytes` bytes a row, of the rows from `first` on.
    fn rows(self, first: usize, b: usize, block_bytes: usize) -> Self::Source;

    /// Asks for the bytes that will be wanted some time after those of block `b` of `rows` rows.
    fn ask(self, rows: usize, b: usize, block_bytes: usize);
}

/// Rows one after another.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) base: *const u8,
    pub(super) row_bytes: usize,
}

impl Group for Lines {
    type Source = Plain;

    #[inline(always)]
    fn rows(self, first: usize, b: usize, block_bytes: usize) -> Plain {
        Plain { block: self.base.wrapping_add(first * self.row_bytes + b * block_bytes), row_bytes: self.row_bytes }
    }

    #[inline(always)]
    fn ask(self, rows: usize, b: usize, block_bytes: usize) {
        prefetch(self.base.wrapping_add(rows * (self.row_bytes + b * block_bytes)), rows * block_bytes);
    }
}

/// A packed panel.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    pub(super) base: *const u8,
}

impl Group for Packed {
    type Source = Panel;

    #[inline(always)]
    fn rows(self, first: usize, b: usize, block_bytes: usize) -> Panel {
        Panel { block: self.base.wrapping_add(PANEL * b * block_bytes), first_row: first }
    }

    #[inline(always)]
    fn ask(self, _: usize, b: usize, block_bytes: usize) {
        prefetch(self.base.wrapping_add(PANEL * b * block_bytes + AHEAD), PANEL * block_bytes);
    }
}

/// A format with blocks of 32. `HALVES` vectors make a panel.
///
/// # Safety
/// Needs the CPU features of `I`. The arguments fit each other, as [`crate::Kernels::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn legacy<I: Isa, L: Legacy, const HALVES: usize>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8(x) = input else { return };
    let (row_bytes, first_row) = (w.row_bytes(), out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    // SAFETY: at each `base` are the rows' whole blocks; the arrays of `x` hold as many blocks of each token.
    unsafe {
        for c in (0..packed).step_by(PANEL) {
            let base = w.bytes(first_row + c, PANEL).as_ptr();
            legacy_group::<I, L, Packed, HALVES>(Packed { base }, w.cols() / 32, x, out, c);
        }
        // For one token, fewer rows are read side by side.
        let group = if out.rows() == 1 { I::ROWS } else { PANEL };
        for c in (packed..plain).step_by(group) {
            let rows = Lines { base: w.bytes(first_row + c, group).as_ptr(), row_bytes };
            if group == I::ROWS {
                legacy_group::<I, L, Lines, 1>(rows, w.cols() / 32, x, out, c);
            } else {
                legacy_group::<I, L, Lines, HALVES>(rows, w.cols() / 32, x, out, c);
            }
        }
    }
    w.by_law(input, out, plain);
}

/// `N` vectors of rows from column `c` of the tile on.
///
/// # Safety
/// As for [`legacy`]; the group's rows have `blocks` blocks.
#[inline(always)]
unsafe fn legacy_group<I: Isa, L: Legacy, G: Group, const N: usize>(
    group: G,
    blocks: usize,
    x: &Q8,
    out: &mut Tile,
    c: usize,
) {
    let first = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        if out.rows() == 1 {
            let mut acc = [[[I::zero()]]; N];
            for b in 0..blocks {
                group.ask(N * I::ROWS, b, L::BYTES);
                for n in 0..N {
                    let weights = [I::load::<L, G::Source>(|first| group.rows(n * I::ROWS + first, b, L::BYTES))];
                    I::accumulate::<L, 1, 1>(&mut acc[n], &weights, x, b, first);
                }
            }
            for n in 0..N {
                store::<I, 1>(out, 0, c + n * I::ROWS, &acc[n]);
            }
            return;
        }
        let mut weights = [Weights::<I>::zero(); N];
        for t0 in (0..out.rows()).step_by(TOKENS) {
            let mut acc = [[I::zero(); N]; TOKENS];
            let acc = &mut acc[..TOKENS.min(out.rows() - t0)];
            for b in 0..blocks {
                for n in 0..N {
                    weights[n] = I::load::<L, G::Source>(|first| group.rows(n * I::ROWS + first, b, L::BYTES));
                }
                let (together, rest) = acc.as_chunks_mut::<TOGETHER>();
                let mut t = first + t0;
                for acc in together {
                    I::accumulate::<L, TOGETHER, N>(acc, &weights, x, b, t);
                    t += TOGETHER;
                }
                for acc in rest.as_chunks_mut::<1>().0 {
                    I::accumulate::<L, 1, N>(acc, &weights, x, b, t);
                    t += 1;
                }
            }
            store::<I, N>(out, t0, c, acc);
        }
    }
}

/// Writes sums to the tile's rows from `t` and columns from `c` on.
///
/// # Safety
/// The tile has them.
#[inline(always)]
unsafe fn store<I: Isa, const N: usize>(out: &mut Tile, t: usize, c: usize, sums: &[[I::Float; N]]) {
    for (i, sums) in sums.iter().enumerate() {
        for n in 0..N {
            let to = &mut out.row(t + i)[c + n * I::ROWS..][..I::ROWS];
            // SAFETY: the caller's promise; `to` has a vector's length.
            unsafe { I::store(to.as_mut_ptr(), sums[n]) };
        }
    }
}

/// A format with superblocks of 256. `HALVES` vectors make a panel.
///
/// # Safety
/// As for [`legacy`]; every machine here has AVX2.
#[inline(always)]
pub(super) unsafe fn k_quant<I: Isa, L: Super, const HALVES: usize>(w: &Rows, input: &Input, out: &mut Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        if out.rows() == 1 {
            single::k_quant::<L>(w, input, out);
        } else {
            k_rows::<I, L, HALVES>(w, input, out);
        }
    }
}

/// # Safety
/// As for [`legacy`].
#[inline(always)]
unsafe fn k_rows<I: Isa, L: Super, const HALVES: usize>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8K(x) = input else { return };
    let (row_bytes, first_row) = (w.row_bytes(), out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    let mut scratch = MaybeUninit::<[ScratchK<I>; HALVES]>::zeroed();
    // SAFETY: all-zero bytes are valid vectors. At each `base` are the rows' whole superblocks; the arrays of `x` hold as many
    // superblocks of each token.
    unsafe {
        let scratch = scratch.assume_init_mut();
        for c in (0..packed).step_by(PANEL) {
            let base = w.bytes(first_row + c, PANEL).as_ptr();
            k_group::<I, L, Packed, HALVES>(Packed { base }, scratch, w.cols() / 256, x, out, c);
        }
        for c in (packed..plain).step_by(PANEL) {
            let base = w.bytes(first_row + c, PANEL).as_ptr();
            k_group::<I, L, Lines, HALVES>(Lines { base, row_bytes }, scratch, w.cols() / 256, x, out, c);
        }
    }
    w.by_law(input, out, plain);
}

/// `N` vectors of rows from column `c` of the tile on.
///
/// # Safety
/// As for [`legacy`]; the group's rows have `blocks` superblocks.
#[inline(always)]
unsafe fn k_group<I: Isa, L: Super, G: Group, const N: usize>(
    group: G,
    scratch: &mut [ScratchK<I>; N],
    blocks: usize,
    x: &Q8K,
    out: &mut Tile,
    c: usize,
) {
    let first = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        for t0 in (0..out.rows()).step_by(TOKENS) {
            let mut acc = [[I::zero(); N]; TOKENS];
            let acc = &mut acc[..TOKENS.min(out.rows() - t0)];
            for b in 0..blocks {
                for n in 0..N {
                    I::load_k::<L, G::Source>(|first| group.rows(n * I::ROWS + first, b, L::BYTES), &mut scratch[n]);
                }
                let (together, rest) = acc.as_chunks_mut::<TOGETHER>();
                let mut t = first + t0;
                for acc in together {
                    I::accumulate_k::<L, TOGETHER, N>(acc, scratch, x, b, t);
                    t += TOGETHER;
                }
                for acc in rest.as_chunks_mut::<1>().0 {
                    I::accumulate_k::<L, 1, N>(acc, scratch, x, b, t);
                    t += 1;
                }
            }
            store::<I, N>(out, t0, c, acc);
        }
    }
}
