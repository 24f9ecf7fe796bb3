//! Blocks of nibbles times one token by AVX2: multiplied as they lie, so that it is sums that are turned, not weights.

use super::ints::Ints;
use super::isa::{Avx2, Isa, add_block};
use super::load::{Legacy, Plain};
use super::matmul::Group;
use super::vector::Vector;
use crate::Tile;
use core::arch::x86_64::*;
use smidgen_quant::Q8;

/// Eight rows from column `c` of the tile on, times its only token. The format has nibbles, in the last sixteen bytes of a block, after fifth bits
/// where there are any.
///
/// # Safety
/// Needs AVX2 and F16C; the group's rows have `blocks` blocks, and so has the token.
#[inline(always)]
pub(super) unsafe fn nibbles_one<L: Legacy>(group: Group, blocks: usize, x: &Q8, out: &mut Tile, c: usize) {
    const ROWS: usize = <__m256i as Ints>::ROWS;
    let token = out.first_row();
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = _mm256_setzero_ps();
        for b in 0..blocks {
            group.prefetch_ahead(ROWS, b, L::BYTES);
            let at = b * x.tokens + token;
            let rows = Eight::new(group.plain(0, b, L::BYTES));
            let mut isum = products::<L>(rows, x.qs.as_ptr().add(32 * at));
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

/// A block of eight plain rows.
#[derive(Clone, Copy)]
pub(super) struct Eight {
    /// The first row and the fifth: from here all are reached by a row or three rows, so that few addresses are computed and kept.
    low: *const u8,
    high: *const u8,
    row_bytes: usize,
}

impl Eight {
    #[inline(always)]
    pub(super) fn new(rows: Plain) -> Eight {
        let low = rows.at(0);
        let high = Plain { block: low, ..rows }.at(4 * rows.row_bytes);
        Eight { low, high, row_bytes: rows.row_bytes }
    }

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

    /// The halves at an offset of each row, as floats. Brought together by the units for whole numbers, while those for vectors are busy with weights.
    ///
    /// # Safety
    /// Needs AVX2 and F16C; rows with such a half.
    #[inline(always)]
    pub(super) unsafe fn halves(self, offset: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = self.at(0, offset).map(|at| four_halves(at, self.row_bytes));
            _mm256_cvtph_ps(_mm_set_epi64x(high, low))
        }
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

/// Σ q x of each row.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn products<L: Legacy>(rows: Eight, x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let half = |i| _mm256_broadcastsi128_si256(_mm_loadu_si128(x.add(i).cast()));
        let x = [half(0), half(16)];
        let mut sums = [x[0]; 4];
        for (i, sums) in sums.iter_mut().enumerate() {
            *sums = two_rows::<L>(rows, i, x);
        }
        let [a, b, c, d] = sums;
        let ab = _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let cd = _mm256_add_epi16(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        // Sixteen products of 15 and 127 fit into 16 bits with sign, of 31 and 127 only eight.
        if L::MAX == 31 {
            let (ab, cd) = (ab.multiply_pairs(ones), cd.multiply_pairs(ones));
            _mm256_unpacklo_epi64(ab, cd).add(_mm256_unpackhi_epi64(ab, cd))
        } else {
            let sum = _mm256_add_epi16(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            sum.multiply_pairs(ones)
        }
    }
}

/// Sums of four products each, of rows `i` and `i + 4`.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn two_rows<L: Legacy>(rows: Eight, i: usize, x: [__m256i; 2]) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (q, mask) = (rows.sixteen(i, L::BYTES - 16), _mm256_set1_epi8(15));
        let (mut first, mut second) = (q.and(mask), q.right::<4>().and(mask));
        if L::MAX == 31 {
            let bits = rows.sixteen(i, L::BYTES - 20);
            first = fifth_bits(first, bits, 0);
            second = fifth_bits(second, bits, 2);
        }
        _mm256_add_epi16(_mm256_maddubs_epi16(first, x[0]), _mm256_maddubs_epi16(second, x[1]))
    }
}

/// Adds 16 to those of sixteen values whose bit is set, in the bytes from `byte` on.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn fifth_bits(q: __m256i, bits: __m256i, byte: i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (first, second) = (byte * 0x0101_0101, (byte + 1) * 0x0101_0101);
        let one_each = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
        bits.shuffle([first, first, second, second]).or_where(one_each, q, _mm256_set1_epi8(16))
    }
}
