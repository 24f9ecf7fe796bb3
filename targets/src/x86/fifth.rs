//! Blocks of five bits times one token by AVX2: nibbles are multiplied as they lie, and fifth bits are looked up.
//!
//! Four fifth bits of a row choose one of sixteen sums of four activations, which are computed once for all rows: what T-MAC (arXiv:2407.00088) does with
//! every bit. A look-up serves thirty-two rows' worth of four bits, where spreading them to bytes and multiplying these would take four of each.

use super::along::{Eight, ROWS, halves_of_token};
use super::ints::Ints;
use super::load::{Legacy, opaque};
use super::matmul::Group;
use super::vector::Vector;
use crate::{Rows, Tile};
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;
use smidgen_quant::Q8;

/// The longest rows for which there is room, in blocks.
pub(super) const BLOCKS: usize = 256;

/// What is added to each sum so that it has no sign: sums of four activations are within ±508.
const BIAS: i16 = 512;
/// The sixteenfold of it, as fifth bits count sixteen, in all eight sums of a block.
const BIASES: i32 = 8 * 16 * BIAS as i32;

/// The sums of a block's activations, four by four, that four bits choose: those whose bits are set, less all if the format has an offset.
///
/// The eight fours are those of the low and of the high nibbles of bytes 0 and 2 (one in each half of a vector), then of bytes 1 and 3. Of each sum first the
/// lowest five bits, then the upper five: eight of either add up in a byte.
#[repr(align(64))]
struct Tables([[[[u8; 16]; 2]; 2]; 4]);

/// The order of [`bytes_of_four`]. Loaded from an address that says nothing: knowing it, the compiler rebuilds the loads and blends before it, with more
/// instructions.
#[rustfmt::skip]
const ORDER: &[u8; 32] = &[
    0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13,
    2, 6, 10, 14, 3, 7, 11, 15, 2, 6, 10, 14, 3, 7, 11, 15,
];

/// The tile's `columns`, a multiple of sixteen that are plain, times its only token.
///
/// # Safety
/// Needs AVX2 and F16C; rows and token have `blocks` blocks, [`BLOCKS`] at most.
#[inline(always)]
pub(super) unsafe fn fives_one<L: Legacy>(w: &Rows, columns: Range<usize>, blocks: usize, x: &Q8, out: &mut Tile) {
    let mut tables = [const { MaybeUninit::<Tables>::uninit() }; BLOCKS];
    let (token, first) = (out.first_row(), out.first_col());
    // SAFETY: the caller's promise; the tables of all blocks are made before they are used.
    unsafe {
        for (b, tables) in tables.iter_mut().take(blocks).enumerate() {
            make::<L>(x.qs.as_ptr().add(32 * (b * x.tokens + token)), tables.as_mut_ptr());
        }
        for c in columns.step_by(2 * ROWS) {
            let group = Group::new(w, first + c, 2 * ROWS, false);
            let mut acc = [_mm256_setzero_ps(); 2];
            for b in 0..blocks {
                group.prefetch_ahead(2 * ROWS, b, L::BYTES);
                let at = b * x.tokens + token;
                let rows = [Eight::new(group.plain(0, b, L::BYTES)), Eight::new(group.plain(ROWS, b, L::BYTES))];
                let fifths = fifths(rows, L::BYTES - 20, tables.as_ptr().add(b).cast());
                let x_halves = halves_of_token(x, at);
                for i in 0..2 {
                    let isum = rows[i].nibbles(L::BYTES - 16, x_halves).add(fifths[i]).sub(__m256i::splat(BIASES));
                    acc[i] = rows[i].add_block::<L>(acc[i], isum, x, at);
                }
            }
            for (to, acc) in out.row(0)[c..][..2 * ROWS].chunks_exact_mut(ROWS).zip(acc) {
                acc.store(to.as_mut_ptr());
            }
        }
    }
}

/// Makes the tables of a block.
///
/// # Safety
/// Needs AVX2; 32 activations can be read.
#[inline(always)]
unsafe fn make<L: Legacy>(x: *const i8, tables: *mut Tables) {
    /// The lower two and the upper two bits of each lane's number, each in a byte.
    const BITS: [[u8; 32]; 2] = {
        let mut bits = [[0; 32]; 2];
        let mut i = 0;
        while i < 64 {
            bits[i / 32][i % 32] = (i % 32 / 2 >> (i / 32 * 2 + i % 2)) as u8 & 1;
            i += 1;
        }
        bits
    };
    // SAFETY: the caller's promise.
    unsafe {
        for four in 0..8 {
            let mut sums = _mm256_set1_epi16(BIAS);
            for (two, bits) in BITS.iter().enumerate() {
                let x = _mm256_set1_epi16(x.add(4 * four + 2 * two).cast::<i16>().read_unaligned());
                let bits = __m256i::load(bits.as_ptr());
                sums = if L::OFFSET != 0 {
                    _mm256_sub_epi16(sums, _mm256_maddubs_epi16(bits.xor(_mm256_set1_epi8(1)), x))
                } else {
                    _mm256_add_epi16(sums, _mm256_maddubs_epi16(bits, x))
                };
            }
            let parts = _mm256_packus_epi16(sums.and(_mm256_set1_epi16(31)), sums.right::<5>());
            let parts = _mm256_permute4x64_epi64(parts, 0b11_01_10_00);
            let to = &mut (*tables).0[four / 2 % 2 * 2 + four % 2];
            _mm_storeu_si128(to[0][four / 4].as_mut_ptr().cast(), _mm256_castsi256_si128(parts));
            _mm_storeu_si128(to[1][four / 4].as_mut_ptr().cast(), _mm256_extracti128_si256(parts, 1));
        }
    }
}

/// Sixteen times the chosen sums of each row, and [`BIASES`]. Fifth bits are at an offset.
///
/// # Safety
/// Needs AVX2; the rows have such bits.
#[inline(always)]
unsafe fn fifths(rows: [Eight; 2], offset: usize, tables: *const Tables) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        // In this order, so that the sums come out with the rows of an `Eight` in one vector.
        let [a, b] = rows;
        let (fours, order) = ([a.low, b.low, a.high, b.high], opaque(ORDER.as_ptr()));
        let mut bytes = [_mm256_setzero_si256(); 4];
        for (bytes, four) in bytes.iter_mut().zip(fours) {
            *bytes = bytes_of_four(four.wrapping_add(offset), a.row_bytes, order);
        }
        let [a, b, c, d] = bytes;
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (even, odd) = (_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        let mask = _mm256_set1_epi8(15);
        let bits = [even.and(mask), even.right::<4>().and(mask), odd.and(mask), odd.right::<4>().and(mask)];
        let mut parts = [_mm256_setzero_si256(); 2];
        for (tables, bits) in (*tables).0.iter().zip(bits) {
            for (part, table) in parts.iter_mut().zip(tables) {
                *part = _mm256_add_epi8(*part, _mm256_shuffle_epi8(__m256i::load(table.as_ptr().cast()), bits));
            }
        }
        // The upper part counts 32; the halves of a vector belong to the same rows.
        let weights = _mm256_set1_epi16(0x2001);
        let first = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(parts[0], parts[1]), weights);
        let second = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(parts[0], parts[1]), weights);
        let (low, high) = (_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31));
        let sixteen = _mm256_set1_epi16(16);
        [
            _mm256_unpacklo_epi16(low, high).multiply_pairs(sixteen),
            _mm256_unpackhi_epi16(low, high).multiply_pairs(sixteen),
        ]
    }
}

/// Four bytes of each of four rows: in the lower half of the vector the first bytes of all, the second bytes, and once more; in the upper half the others.
///
/// # Safety
/// Needs AVX2; sixteen bytes can be read from each of these, and four less for each row before it.
#[inline(always)]
unsafe fn bytes_of_four(at: *const u8, row_bytes: usize, order: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        // The row's bytes at its place in both halves, whatever is around them: so that nothing but blending is left to do.
        let mut rows = [_mm256_setzero_si256(); 4];
        for (i, row) in rows.iter_mut().enumerate() {
            let at = at.wrapping_add(i * row_bytes).wrapping_sub(4 * i);
            *row = _mm256_broadcastsi128_si256(_mm_loadu_si128(at.cast()));
        }
        let (low, high) = (_mm256_blend_epi32(rows[0], rows[1], 0x22), _mm256_blend_epi32(rows[2], rows[3], 0x88));
        _mm256_shuffle_epi8(_mm256_blend_epi32(low, high, 0xcc), __m256i::load(order))
    }
}
