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
            let rows = group.plain(0, b, L::BYTES);
            let mut isum = products::<L>(rows, x.qs.as_ptr().add(32 * at));
            if L::OFFSET != 0 {
                isum = isum.add(Avx2::multiple(-L::OFFSET, x.sums.as_ptr().add(at)));
            }
            let (d, m) = if L::MIN { scales_and_minima(rows) } else { (scales(rows, 0), acc) };
            acc = add_block::<__m256i, L>(acc, isum, d, m, x, at);
        }
        acc.store(out.row(0)[c..][..ROWS].as_mut_ptr());
    }
}

/// Σ q x of each row.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn products<L: Legacy>(rows: Plain, x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (at, ones) = (rows.at(L::BYTES - 16), _mm256_set1_epi16(1));
        let half = |i| _mm256_broadcastsi128_si256(_mm_loadu_si128(x.add(i).cast()));
        let x = [half(0), half(16)];
        let mut sums = [x[0]; 4];
        for (i, sums) in sums.iter_mut().enumerate() {
            *sums = two_rows::<L>(at, rows.row_bytes, i, x);
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
unsafe fn two_rows<L: Legacy>(at: *const u8, row_bytes: usize, i: usize, x: [__m256i; 2]) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (q, mask) = (pair(at, row_bytes, i), _mm256_set1_epi8(15));
        let (mut first, mut second) = (q.and(mask), q.right::<4>().and(mask));
        if L::MAX == 31 {
            let bits = pair(at.wrapping_sub(4), row_bytes, i);
            first = fifth_bits(first, bits, 0);
            second = fifth_bits(second, bits, 2);
        }
        _mm256_add_epi16(_mm256_maddubs_epi16(first, x[0]), _mm256_maddubs_epi16(second, x[1]))
    }
}

/// Sixteen bytes of row `i`, and sixteen of row `i + 4`.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn pair(at: *const u8, row_bytes: usize, i: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let sixteen = |i: usize| _mm_loadu_si128(at.wrapping_add(i * row_bytes).cast());
        _mm256_inserti128_si256(_mm256_castsi128_si256(sixteen(i)), sixteen(i + 4), 1)
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

/// The halves at an offset of each row, as floats. Brought together by the units for whole numbers, while those for vectors are busy with weights.
///
/// # Safety
/// Needs AVX2 and F16C; eight rows with such a half.
#[inline(always)]
pub(super) unsafe fn scales(rows: Plain, offset: usize) -> __m256 {
    let at = rows.at(offset);
    // SAFETY: the caller's promise.
    unsafe {
        let half = |i: usize| at.wrapping_add(i * rows.row_bytes).cast::<u16>().read_unaligned() as i64;
        let four = |i: usize| _mm_cvtsi64_si128(half(i) | half(i + 1) << 16 | half(i + 2) << 32 | half(i + 3) << 48);
        _mm256_cvtph_ps(_mm_unpacklo_epi64(four(0), four(4)))
    }
}

/// The scales of the rows and the minima behind them, in the same way.
///
/// # Safety
/// As for [`nibbles_one`].
#[inline(always)]
unsafe fn scales_and_minima(rows: Plain) -> (__m256, __m256) {
    let at = rows.at(0);
    // SAFETY: the caller's promise.
    unsafe {
        let word = |i: usize| at.wrapping_add(i * rows.row_bytes).cast::<u32>().read_unaligned() as i64;
        let two = |i: usize| _mm_cvtsi64_si128(word(i) | word(i + 2) << 32);
        let (even, odd) = (_mm_unpacklo_epi64(two(0), two(4)), _mm_unpacklo_epi64(two(1), two(5)));
        let d = _mm_blend_epi16(even, _mm_slli_epi32(odd, 16), 0b1010_1010);
        let m = _mm_blend_epi16(_mm_srli_epi32(even, 16), odd, 0b1010_1010);
        (_mm256_cvtph_ps(d), _mm256_cvtph_ps(m))
    }
}
