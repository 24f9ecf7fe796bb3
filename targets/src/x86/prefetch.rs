//! Prefetching by hand: how far ahead of a loop over weights, and into which cache.

use super::load_legacy::{Panel, Plain};
use crate::WeightMatrix;
use core::arch::x86_64::{__cpuid_count, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, CpuidResult};
use core::sync::atomic::{AtomicU8, Ordering};
use smidgen_quant::packed::PANEL;

/// How far ahead of the weights in use bytes are prefetched.
const DISTANCE: usize = 12288;

/// Plain rows of more bytes than this, a third of an L1 of 48 KiB, are prefetched into L2: there they stay until it is their turn, and more of
/// them can be on their way.
const L1_GROUP: usize = 16 << 10;

/// How many bytes later plain rows that went to L2 are prefetched again, into L1.
const L2_TO_L1: usize = 8192;

/// Whether L1 is small: less than 48 KiB, as AMD's up to Zen 4, Intel's small cores' and its large ones' before Ice Lake. Zen 4's L1 waits for 24
/// lines at once, 14 GB/s from memory, and its L2 for more. So there everything is prefetched into L2 first, but for
/// [`RowGroup::without_distance`]. The CPU is asked once, when the first product wants to know.
fn l1_is_small() -> bool {
    const UNKNOWN: u8 = 2;
    static SMALL: AtomicU8 = AtomicU8::new(UNKNOWN);
    match SMALL.load(Ordering::Relaxed) {
        UNKNOWN => {
            let small = (1..48 << 10).contains(&l1_bytes());
            SMALL.store(small.into(), Ordering::Relaxed);
            small
        }
        known => known == 1,
    }
}

/// The size of L1 for data as `cpuid` tells it; 0 if it does not.
#[cold]
fn l1_bytes() -> u64 {
    /// Leaves that describe caches, Intel's and AMD's, L1 for data first.
    const LEAVES: [u32; 2] = [4, 0x8000_001d];
    let bytes = LEAVES.map(|leaf| {
        let CpuidResult { eax, ebx, ecx, .. } = __cpuid_count(leaf, 0);
        let (ways, parts, line) = ((ebx >> 22) + 1, (ebx >> 12 & 0x3ff) + 1, (ebx & 0xfff) + 1);
        // Saturating, as virtual machines may say anything.
        let sets = u64::from(ecx) + 1;
        if eax & 0x1f == 1 { sets.saturating_mul((ways * parts).into()).saturating_mul(line.into()) } else { 0 }
    });
    bytes[0].max(bytes[1])
}

/// Prefetches a line into L1 or L2. Harmless wherever it points.
#[inline(always)]
pub(super) fn prefetch(at: *const u8, to_l1: bool) {
    // SAFETY: a prefetch never faults; the pointer is not dereferenced.
    unsafe {
        if to_l1 {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
}

/// Some panels, or some plain rows.
#[derive(Clone, Copy)]
pub(super) struct RowGroup {
    base: *const u8,
    /// Bytes of a row.
    row_bytes: usize,
    /// How many bytes ahead is prefetched: [`DISTANCE`], and more than a group of plain rows, all of which are wanted at once.
    distance: usize,
    /// Whether what is prefetched goes into L1 at once.
    pub(super) to_l1: bool,
}

impl RowGroup {
    /// The first group of `count` rows in `first .. first + rows`, whole panels if `packed`.
    #[inline(never)]
    pub(super) fn new(w: &WeightMatrix, first: usize, rows: usize, count: usize, packed: bool) -> RowGroup {
        let (base, row_bytes) = (w.bytes(first, rows).as_ptr(), w.row_bytes());
        let group = count * row_bytes;
        let small = l1_is_small();
        let distance = match (packed, small) {
            (true, _) => DISTANCE,
            (false, false) => DISTANCE.max(group + DISTANCE / 2),
            (false, true) => (2 * L2_TO_L1).max(group + L2_TO_L1),
        };
        RowGroup { base, row_bytes, distance, to_l1: !small && (packed || group <= L1_GROUP) }
    }

    /// The group that begins `rows` rows later.
    #[inline(always)]
    pub(super) fn at(self, rows: usize) -> RowGroup {
        RowGroup { base: self.base.wrapping_add(rows * self.row_bytes), ..self }
    }

    /// A group of panels for a loop that outruns memory: if L1 is small, nothing is prefetched but what comes next, since the processor's own
    /// prefetcher follows such a loop better than it follows one that prefetches.
    #[inline(always)]
    pub(super) fn without_distance(self) -> RowGroup {
        RowGroup { distance: if self.to_l1 { self.distance } else { 64 }, ..self }
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

    /// Prefetches block `b` of as many panels behind these `rows` rows, or for as many bytes of the next rows: what is multiplied with many tokens is at
    /// hand for a long time, but the first of them waited for it.
    #[inline(always)]
    pub(super) fn prefetch_next(self, rows: usize, b: usize, block_bytes: usize) {
        let next = self.base.wrapping_add(rows * (self.row_bytes + b * block_bytes));
        for line in (0..rows * block_bytes).step_by(64) {
            prefetch(next.wrapping_add(line), false);
        }
    }

    /// Prefetches as many bytes as block `b` of `rows` rows has, for some time after it.
    #[inline(always)]
    pub(super) fn prefetch_ahead(self, rows: usize, b: usize, block_bytes: usize, to_l1: bool, twice: bool) {
        let ahead = self.ahead(rows, b, block_bytes);
        for line in (0..rows * block_bytes).step_by(64) {
            self.prefetch_line(ahead.wrapping_add(line), to_l1, twice);
        }
    }

    /// Prefetches a line of what [`ahead`](RowGroup::ahead) says, into L1 or L2; and if `twice`, what went to L2 a while ago, from there into L1.
    #[inline(always)]
    fn prefetch_line(self, line: *const u8, to_l1: bool, twice: bool) {
        prefetch(line, to_l1);
        if !to_l1 && twice {
            prefetch(line.wrapping_sub(L2_TO_L1), true);
        }
    }

    /// Prefetches some lines, `step` bytes apart. Where they go is decided once for all of them.
    #[inline(always)]
    pub(super) fn prefetch_lines(self, first: *const u8, lines: usize, step: usize, twice: bool) {
        if self.to_l1 {
            for i in 0..lines {
                self.prefetch_line(first.wrapping_add(i * step), true, twice);
            }
        } else {
            for i in 0..lines {
                self.prefetch_line(first.wrapping_add(i * step), false, twice);
            }
        }
    }

    /// Whether what is prefetched goes into L1. If `anew`, the compiler makes one loop that looks at each block and not, as it does otherwise,
    /// two: those are worth their size where a block is little work.
    #[inline(always)]
    pub(super) fn goes_to_l1(self, anew: bool) -> bool {
        let mut to_l1 = self.to_l1 as usize;
        if anew {
            // SAFETY: the instruction is empty.
            unsafe { core::arch::asm!("/* {} */", inout(reg) to_l1, options(pure, nomem, nostack, preserves_flags)) };
        }
        to_l1 != 0
    }

    /// Where what will be wanted some time after block `b` of `rows` rows begins: as many bytes as they have.
    #[inline(always)]
    pub(super) fn ahead(self, rows: usize, b: usize, block_bytes: usize) -> *const u8 {
        self.base.wrapping_add(self.distance + rows * b * block_bytes)
    }
}
