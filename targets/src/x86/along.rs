//! Blocks of nibbles times one token by AVX2: multiplied as they lie, so that it is sums that are turned, not weights.

use super::ints::Ints;
use super::isa::{Avx2, Isa, add_block};
use super::load::{Legacy, Plain};
use super::matmul::Group;
use super::vector::Vector;
use crate::Tile;
use core::arch::x86_64::*;
use smidgen_quant::Q8;

const ROWS: usize = <__m256i as Ints>::ROWS;

/// Eight rows from column `c` of the tile on, times its only token. A block of the format ends with sixteen bytes of nibbles, and has no more bits.
///
/// # Safety
/// Needs AVX2 and F16C; the group's rows have `blocks` blocks, and so has the token.
#[inline(always)]
pub(super) unsafe fn nibbles_one<L: Legacy>(group: Group, blocks: usize, x: &Q8, out: &mut Tile, c: usize) {
    let token = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = _mm256_setzero_ps();
        for b in 0..blocks {
            group.prefetch_ahead(ROWS, b, L::BYTES, group.nearest, false);
            let at = b * x.tokens + token;
            let rows = Eight::new(group, 0, b, L::BYTES);
            let mut isum = rows.sums(L::BYTES - 16, x.qs.as_ptr().add(32 * at));
            if L::OFFSET != 0 {
                isum = isum.add(Avx2::multiple(-L::OFFSET, x.sums.as_ptr().add(at)));
            }
            let d = rows.halves(0);
            let m = if L::MIN { rows.halves(2) } else { d };
            acc = add_block::<__m256i, L>(acc, isum, d, m, x, at);
        }
        acc.store(out.row(0)[c..][..ROWS].as_mut_ptr());
    }
}

/// A block of eight rows, plain or packed. Offsets are counted inside one row's block.
///
/// # Safety
/// Everything needs AVX2 and F16C, and rows that have what is read.
pub(super) trait EightRows: Copy {
    const PACKED: bool;
    /// Block `b` of a group's rows from `first` on.
    fn new(group: Group, first: usize, b: usize, block_bytes: usize) -> Self;
    /// The double words at an offset of each row.
    unsafe fn words(self, offset: usize) -> __m256i;
    /// The halves there, as floats.
    unsafe fn halves(self, offset: usize) -> __m256;
    /// Σ q x of each row, of the nibbles alone, which are there. For sixteen rows, which may share loads of activations.
    unsafe fn nibbles(rows: [Self; 2], offset: usize, x: *const i8) -> [__m256i; 2];
}

/// Eight plain rows.
#[derive(Clone, Copy)]
pub(super) struct Eight {
    /// The first row and the fifth: from here all are reached by a row or three rows, so that few addresses are computed and kept.
    low: *const u8,
    high: *const u8,
    row_bytes: usize,
}

impl Eight {
    /// The bytes at an offset of row `i`, which is less than four, and of row `i + 4`.
    #[inline(always)]
    fn at(self, i: usize, offset: usize) -> [*const u8; 2] {
        [self.low, self.high].map(|at| at.wrapping_add(i * self.row_bytes).wrapping_add(offset))
    }

    /// Sixteen bytes at an offset of row `i`, and sixteen of row `i + 4`.
    ///
    /// # Safety
    /// Needs AVX2, and rows with these bytes.
    #[inline(always)]
    unsafe fn sixteen(self, i: usize, offset: usize) -> __m256i {
        let [low, high] = self.at(i, offset);
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast()));
            _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1)
        }
    }

    /// [`nibbles`](EightRows::nibbles) of eight rows.
    ///
    /// # Safety
    /// Needs AVX2, rows with these nibbles, and 32 activations.
    #[inline(always)]
    unsafe fn sums(self, offset: usize, x: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.cast();
            let first_x = _mm256_broadcastsi128_si256(_mm_loadu_si128(x));
            let second_x = _mm256_broadcastsi128_si256(_mm_loadu_si128(x.add(1)));
            let mask = _mm256_set1_epi8(15);
            let mut sums = [mask; 4];
            for (i, sums) in sums.iter_mut().enumerate() {
                let q = self.sixteen(i, offset);
                let first = _mm256_maddubs_epi16(q.and(mask), first_x);
                *sums = _mm256_add_epi16(first, _mm256_maddubs_epi16(q.right::<4>().and(mask), second_x));
            }
            let [a, b, c, d] = sums;
            let ab = _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let cd = _mm256_add_epi16(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            // Sixteen products of 15 and 127 fit into 16 bits with sign.
            let sum = _mm256_add_epi16(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            sum.multiply_pairs(_mm256_set1_epi16(1))
        }
    }
}

impl EightRows for Eight {
    const PACKED: bool = false;

    #[inline(always)]
    fn new(group: Group, first: usize, b: usize, block_bytes: usize) -> Eight {
        let rows = group.plain(first, b, block_bytes);
        let low = rows.at(0);
        let high = Plain { block: low, ..rows }.at(4 * rows.row_bytes);
        Eight { low, high, row_bytes: rows.row_bytes }
    }

    /// Sixteen bytes are read from the offset on. A row's double word is loaded with what is around it, to where it belongs: nothing but blending is
    /// left to do.
    #[inline(always)]
    unsafe fn words(self, offset: usize) -> __m256i {
        // SAFETY: the caller's promise; what begins before the double word of a row is behind the row before it.
        unsafe {
            let mut fours = [_mm_setzero_si128(); 2];
            for (four, at) in fours.iter_mut().zip(self.at(0, offset)) {
                let mut rows = [*four; 4];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = _mm_loadu_si128(at.wrapping_add(i * self.row_bytes).wrapping_sub(4 * i).cast());
                }
                let (low, high) = (_mm_blend_epi32(rows[0], rows[1], 0b10), _mm_blend_epi32(rows[2], rows[3], 0b1000));
                *four = _mm_blend_epi32(low, high, 0b1100);
            }
            _mm256_set_m128i(fours[1], fours[0])
        }
    }

    /// Brought together by the units for whole numbers, while those for vectors are busy with weights.
    #[inline(always)]
    unsafe fn halves(self, offset: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = self.at(0, offset).map(|at| four_halves(at, self.row_bytes));
            _mm256_cvtph_ps(_mm_set_epi64x(high, low))
        }
    }

    #[inline(always)]
    unsafe fn nibbles(rows: [Eight; 2], offset: usize, x: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe { [rows[0].sums(offset, x), rows[1].sums(offset, x)] }
    }
}

/// The halves at the same place of four rows, one after another. The second of a pair is loaded with the two bytes before it, over which the first is
/// then loaded: half as many instructions as shifting and joining them, which no compiler finds.
///
/// # Safety
/// The halves can be read, and two bytes before the second and the fourth.
#[inline(always)]
unsafe fn four_halves(at: *const u8, row_bytes: usize) -> i64 {
    let four: i64;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "mov {low:e}, [{at} + {row} - 2]",
            "mov {low:x}, [{at}]",
            "mov {high:e}, [{at} + {three} - 2]",
            "mov {high:x}, [{at} + 2 * {row}]",
            "shl {high}, 32",
            "or {low}, {high}",
            low = out(reg) four,
            high = out(reg) _,
            at = in(reg) at,
            row = in(reg) row_bytes,
            three = in(reg) 3 * row_bytes,
            options(pure, readonly, nostack),
        );
    }
    four
}
