//! The loops of a product: rows in lanes, blocks in order, tokens inside a block.

use super::along_k::{nibbles_k_one, q6_k_one};
use super::ints::Ints;
use super::isa::{Float, Isa, TOGETHER};
use super::load::{Legacy, Panel, Plain};
use super::load_k::{Q6K, Super, Superblock};
use super::single::k_one;
use super::vector::Vector;
use crate::{Rows, Tile};
use core::arch::x86_64::{__cpuid_count, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, CpuidResult};
use core::array;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use smidgen_quant::packed::PANEL;
use smidgen_quant::{Input, Q8, Q8K};

/// Tokens whose sums are kept while the weights of one block are in registers.
const TOKENS: usize = 64;
/// Tokens whose sums are stored at once. Their rows often lie a multiple of 4 KiB apart, and then they all have the same few places in the nearest cache:
/// 64 of them stored one after another were waited for, 12 to 24 percent of a product.
const STORED: usize = 16;
/// How far ahead is asked for, in bytes.
const AHEAD: usize = 12288;

/// Plain rows of more bytes than this, a third of a nearest cache of 48 KiB, are asked for into the next one: there they stay until it is their turn,
/// and more of them can be on their way.
const NEAREST: usize = 16 << 10;

/// How much later plain rows that went to the next cache are asked for again, into the nearest one, in bytes.
const LATER: usize = 8192;

/// Whether the nearest cache is small: less than 48 KiB, as AMD's up to Zen 4, Intel's small cores' and its large ones' before Ice Lake. Zen 4's waits for 24
/// lines at once, 14 GB/s from memory, and its next one for more. So there everything is asked for into the next one first, but for [`Group::quick`].
static SMALL: AtomicBool = AtomicBool::new(false);

/// Asks the machine whether its nearest cache is small.
#[cfg(feature = "std")]
pub(super) fn look_at_caches() {
    /// Leaves that describe caches, Intel's and AMD's, the nearest one for data first.
    const LEAVES: [u32; 2] = [4, 0x8000_001d];
    let bytes = LEAVES.map(|leaf| {
        let CpuidResult { eax, ebx, ecx, .. } = __cpuid_count(leaf, 0);
        let (ways, parts, line) = ((ebx >> 22) + 1, (ebx >> 12 & 0x3ff) + 1, (ebx & 0xfff) + 1);
        // Saturating, as virtual machines may say anything.
        let sets = u64::from(ecx) + 1;
        if eax & 0x1f == 1 { sets.saturating_mul((ways * parts).into()).saturating_mul(line.into()) } else { 0 }
    });
    SMALL.store((1..48 << 10).contains(&bytes.into_iter().max().unwrap_or(0)), Ordering::Relaxed);
}

/// Asks for a line, into the nearest cache or the next one. Harmless wherever it points.
#[inline(always)]
pub(super) fn prefetch(at: *const u8, nearest: bool) {
    // SAFETY: a prefetch never faults; the pointer is not dereferenced.
    unsafe {
        if nearest {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
}

/// Some panels, or some plain rows.
#[derive(Clone, Copy)]
pub(super) struct Group {
    base: *const u8,
    /// Bytes of a row.
    row_bytes: usize,
    /// How far ahead bytes are asked for: [`AHEAD`], and more than a group of plain rows, all of which are wanted at once.
    distance: usize,
    /// Whether what is asked for ahead goes into the nearest cache at once.
    pub(super) nearest: bool,
}

impl Group {
    /// The first group of `count` rows in `first .. first + rows`, whole panels if `packed`.
    #[inline(never)]
    pub(super) fn new(w: &Rows, first: usize, rows: usize, count: usize, packed: bool) -> Group {
        let (base, row_bytes) = (w.bytes(first, rows).as_ptr(), w.row_bytes());
        let group = count * row_bytes;
        let small = SMALL.load(Ordering::Relaxed);
        let distance = match (packed, small) {
            (true, _) => AHEAD,
            (false, false) => AHEAD.max(group + AHEAD / 2),
            (false, true) => (2 * LATER).max(group + LATER),
        };
        Group { base, row_bytes, distance, nearest: !small && (packed || group <= NEAREST) }
    }

    /// The group that begins `rows` rows later.
    #[inline(always)]
    pub(super) fn at(self, rows: usize) -> Group {
        Group { base: self.base.wrapping_add(rows * self.row_bytes), ..self }
    }

    /// A group of panels for a loop that is quicker than memory: if the nearest cache is small, nothing is asked for but what comes next, since the
    /// processor's own prefetching follows such a loop better than it follows one that asks.
    fn quick(self) -> Group {
        Group { distance: if self.nearest { self.distance } else { 64 }, ..self }
    }

    /// Plain rows from `first` on, from block `b` of `block_bytes` bytes on.
    #[inline(always)]
    pub(super) fn plain(self, first: usize, b: usize, block_bytes: usize) -> Plain {
        Plain { block: self.base.wrapping_add(first * self.row_bytes + b * block_bytes), row_bytes: self.row_bytes }
    }

    /// Rows of a panel, or of a later one, from `first` on.
    #[inline(always)]
    pub(super) fn panel(self, first: usize, b: usize, block_bytes: usize) -> Panel {
        let before = first / PANEL * self.row_bytes + b * block_bytes;
        Panel { block: self.base.wrapping_add(PANEL * before), first_row: first % PANEL }
    }

    /// Asks for block `b` of as many panels behind these `rows` rows, or for as many bytes of the next rows: what is multiplied with many tokens is at
    /// hand for a long time, but the first of them waited for it.
    #[inline(always)]
    fn prefetch_next(self, rows: usize, b: usize, block_bytes: usize) {
        let next = self.base.wrapping_add(rows * (self.row_bytes + b * block_bytes));
        for line in (0..rows * block_bytes).step_by(64) {
            prefetch(next.wrapping_add(line), false);
        }
    }

    /// Asks for as many bytes as block `b` of `rows` rows has, for some time after it.
    #[inline(always)]
    pub(super) fn prefetch_ahead(self, rows: usize, b: usize, block_bytes: usize, nearest: bool, twice: bool) {
        let ahead = self.ahead(rows, b, block_bytes);
        for line in (0..rows * block_bytes).step_by(64) {
            self.ask(ahead.wrapping_add(line), nearest, twice);
        }
    }

    /// Asks for a line of what [`ahead`](Group::ahead) says, into the nearest cache or the next one; and if `twice`, for what went to the next one a
    /// while ago, from there into the nearest.
    #[inline(always)]
    fn ask(self, line: *const u8, nearest: bool, twice: bool) {
        prefetch(line, nearest);
        if !nearest && twice {
            prefetch(line.wrapping_sub(LATER), true);
        }
    }

    /// [`ask`](Group::ask)s for some lines, `step` bytes apart. It is looked at once where they go.
    #[inline(always)]
    pub(super) fn ask_for(self, first: *const u8, lines: usize, step: usize, twice: bool) {
        if self.nearest {
            for i in 0..lines {
                self.ask(first.wrapping_add(i * step), true, twice);
            }
        } else {
            for i in 0..lines {
                self.ask(first.wrapping_add(i * step), false, twice);
            }
        }
    }

    /// Whether what is asked for goes into the nearest cache. If `anew`, the compiler makes one loop that looks at each block and not, as it does otherwise,
    /// two: those are worth their size where a block is little work.
    #[inline(always)]
    pub(super) fn is_nearest(self, anew: bool) -> bool {
        let mut nearest = self.nearest as usize;
        if anew {
            // SAFETY: nothing is done.
            unsafe { core::arch::asm!("/* {} */", inout(reg) nearest, options(pure, nomem, nostack, preserves_flags)) };
        }
        nearest != 0
    }

    /// Where what will be wanted some time after block `b` of `rows` rows begins: as many bytes as they have.
    #[inline(always)]
    pub(super) fn ahead(self, rows: usize, b: usize, block_bytes: usize) -> *const u8 {
        self.base.wrapping_add(self.distance + rows * b * block_bytes)
    }
}

/// Columns that are worked on as twice sixteen at a time, so that a load of activations serves two vectors: all that make such groups if a vector is a panel.
/// (The tile's columns are all packed or all plain.)
fn twos(halves: usize, columns: usize) -> usize {
    if halves == 1 { columns / (2 * PANEL) * (2 * PANEL) } else { 0 }
}

/// Whether a block is little work for its bytes: with vectors of a whole panel, or bytes that are multiplied as they are.
const fn is_quick<I: Isa, L: Legacy>() -> bool {
    I::Int::ROWS == PANEL || L::BYTES > 32
}

/// A format with blocks of 32. `HALVES` vectors make a panel.
///
/// # Safety
/// Needs the CPU features of `I`. The arguments fit each other, as [`crate::Kernels::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn legacy<I: Isa, L: Legacy, const HALVES: usize>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8(x) = input else { return };
    let (blocks, first) = (w.cols() / 32, out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    // The groups' rows have as many blocks as the tokens in `x`.
    if out.rows() > 1 {
        let (is_packed, twos) = (packed > 0, twos(HALVES, plain));
        let group = Group::new(w, first, plain, PANEL, is_packed);
        for c in (0..twos).step_by(2 * PANEL) {
            legacy_many::<I, L, 2>(group.at(c), is_packed, blocks, x, out, c);
        }
        for c in (twos..plain).step_by(PANEL) {
            legacy_many::<I, L, HALVES>(group.at(c), is_packed, blocks, x, out, c);
        }
    } else if plain > 0 && !I::all_one::<L>(w, plain, packed > 0, blocks, x, out) {
        let group = Group::new(w, first, packed, PANEL, true);
        let group = if is_quick::<I, L>() { group.quick() } else { group };
        for c in (0..packed).step_by(PANEL) {
            legacy_one::<I, L, HALVES, true>(group.at(c), blocks, x, out, c);
        }
        if L::BYTES <= 32 {
            plain_one::<I, L>(w, packed..plain, blocks, x, out);
        } else {
            // Sixteen rows of such blocks touch more lines than a processor waits for: a quarter less speed than eight.
            plain_one::<I::Eight, L>(w, packed..plain, blocks, x, out);
        }
    }
    w.by_law(input, out, plain);
}

/// The tile's plain columns, a vector of rows at a time, times its only token.
///
/// # Safety
/// As for [`legacy`].
#[inline(always)]
unsafe fn plain_one<I: Isa, L: Legacy>(w: &Rows, columns: Range<usize>, blocks: usize, x: &Q8, out: &mut Tile) {
    let group = Group::new(w, out.first_col(), columns.end, I::Int::ROWS, false);
    for c in columns.step_by(I::Int::ROWS) {
        I::plain_one::<L>(group.at(c), blocks, x, out, c);
    }
}

/// `N` vectors of rows from column `c` of the tile on, times its only token.
///
/// # Safety
/// As for [`legacy`]; the group's rows have `blocks` blocks.
#[inline(always)]
pub(super) unsafe fn legacy_one<I: Isa, L: Legacy, const N: usize, const PACKED: bool>(
    group: Group,
    blocks: usize,
    x: &Q8,
    out: &mut Tile,
    c: usize,
) {
    let (token, rows) = (out.first_row(), I::Int::ROWS);
    let mut acc = [[[Float::<I>::splat(0.0)]]; N];
    for b in 0..blocks {
        let nearest = PACKED && is_quick::<I, L>() || group.is_nearest(PACKED || rows == PANEL);
        group.prefetch_ahead(N * rows, b, L::BYTES, nearest, !PACKED && is_quick::<I, L>());
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

/// `N` vectors of rows from column `c` of the tile on, times many tokens.
///
/// # Safety
/// As for [`legacy_one`].
#[inline(always)]
unsafe fn legacy_many<I: Isa, L: Legacy, const N: usize>(
    group: Group,
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
            let (together, rest) = acc.as_chunks_mut::<TOGETHER>();
            // Not all together after the last block, see `STORED`. A comparison, as the compiler would make two loops for two answers.
            let stored = if b + 1 == blocks { t0 } else { usize::MAX };
            let mut t = t0;
            for acc in together {
                I::accumulate::<L, TOGETHER, N>(acc, &weights, x, b, first_token + t);
                if t >= stored {
                    store(out, t, c, acc);
                }
                t += TOGETHER;
            }
            for acc in rest.as_chunks_mut::<1>().0 {
                I::accumulate::<L, 1, N>(acc, &weights, x, b, first_token + t);
                t += 1;
            }
        }
        let together = acc.len() / TOGETHER * TOGETHER;
        store(out, t0 + together, c, &acc[together..]);
    }
}

/// Writes the sums of a panel's rows to the tile's rows from `t` and columns from `c` on.
///
/// # Safety
/// The tile has them. `N` vectors make a panel.
#[inline(always)]
unsafe fn store<V: Vector, const N: usize>(out: &mut Tile, t: usize, c: usize, sums: &[[V; N]]) {
    for (i, sums) in sums.iter().enumerate() {
        let to = out.row(t + i).as_mut_ptr().add(c);
        for n in 0..N {
            sums[n].store(to.add(n * V::LEN));
        }
    }
}

/// A format with superblocks of 256. `HALVES` vectors make a panel.
///
/// # Safety
/// As for [`legacy`].
#[inline(always)]
pub(super) unsafe fn k_quant<I: Isa, L: Super, const HALVES: usize>(w: &Rows, input: &Input, out: &mut Tile) {
    let Input::Q8K(x) = input else { return };
    let (blocks, first) = (w.cols() / 256, out.first_col());
    let (packed, plain) = w.parts(out, PANEL);
    // The groups' rows have as many superblocks as the tokens in `x`.
    if out.rows() > 1 {
        let mut scratch = MaybeUninit::<[Superblock<I::Int>; 2]>::zeroed();
        // All-zero bytes are valid vectors.
        let scratch = scratch.assume_init_mut();
        let (is_packed, twos) = (packed > 0, twos(HALVES, plain));
        let group = Group::new(w, first, plain, PANEL, is_packed);
        for c in (0..twos).step_by(2 * PANEL) {
            k_many::<I, L, 2>(group.at(c), is_packed, scratch, blocks, x, out, c);
        }
        if let Some(scratch) = scratch.first_chunk_mut() {
            for c in (twos..plain).step_by(PANEL) {
                k_many::<I, L, HALVES>(group.at(c), is_packed, scratch, blocks, x, out, c);
            }
        }
    } else {
        let group = Group::new(w, first, packed, PANEL, true);
        for c in (0..packed).step_by(PANEL) {
            k_one::<I, L, HALVES, true>(group.at(c), blocks, x, out, c);
        }
        // Only Q6_K has six bits.
        let is_six = L::MAX == Q6K::MAX;
        if is_six || I::ALONG && L::SUB == 32 {
            let group = Group::new(w, first, plain, 8, false);
            for c in (packed..plain).step_by(8) {
                if is_six {
                    q6_k_one(group.at(c), blocks, x, out, c);
                } else {
                    nibbles_k_one::<L>(group.at(c), blocks, x, out, c);
                }
            }
        } else {
            let group = Group::new(w, first, plain, PANEL, false);
            for c in (packed..plain).step_by(PANEL) {
                k_one::<I, L, HALVES, false>(group.at(c), blocks, x, out, c);
            }
        }
    }
    w.by_law(input, out, plain);
}

/// `N` vectors of rows from column `c` of the tile on.
///
/// # Safety
/// As for [`legacy`]; the group's rows have `blocks` superblocks.
#[inline(always)]
unsafe fn k_many<I: Isa, L: Super, const N: usize>(
    group: Group,
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
            for acc in acc.chunks_mut(if last { STORED } else { TOKENS }) {
                I::accumulate_k::<L, N>(acc, scratch, x, b, first_token + t);
                if last {
                    store(out, t, c, acc);
                }
                t += acc.len();
            }
        }
    }
}
