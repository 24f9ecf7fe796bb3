//! Row-wise GEMV of blocks of 32 by AVX2: eight rows, each multiplied as it lies, so that sums are transposed and not weights.

use super::isa::{Avx2, Isa, add_block};
use super::load_legacy::{Legacy, Plain};
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::Tile;
use core::arch::x86_64::*;
use smidgen_quant::Q8;

const ROWS: usize = <__m256i as VecI32>::ROWS;

/// EightPlain rows from column `c` of the tile on, times its only token. A block of the format ends with sixteen bytes of nibbles, and has no more bits, or
/// with thirty-two bytes with sign.
///
/// # Safety
/// Needs AVX2 and F16C; the group's rows have `blocks` blocks, and so has the token.
#[inline(always)]
pub(super) unsafe fn gemv_rowwise<L: Legacy>(group: RowGroup, blocks: usize, x: &Q8, out: &mut Tile, c: usize) {
    let token = out.first_row();
    let mut acc = _mm256_setzero_ps();
    for b in 0..blocks {
        let is_bytes = L::SIGNED;
        group.prefetch_ahead(ROWS, b, L::BYTES, group.to_l1, is_bytes);
        let at = b * x.tokens + token;
        let (rows, qs) = (EightPlain::new(group, 0, b, L::BYTES), x.qs.as_ptr().add(32 * at));
        let mut isum = if is_bytes { rows.byte_sums(L::BYTES - 32, qs) } else { rows.nibble_sums(L::BYTES - 16, qs) };
        if L::OFFSET != 0 {
            isum = isum.add(Avx2::multiple(-L::OFFSET, x.sums.as_ptr().add(at)));
        }
        let d = rows.f16s(0);
        let m = if L::MIN { rows.f16s(2) } else { d };
        acc = add_block::<__m256i, L>(acc, isum, d, m, x, at);
    }
    acc.store(out.row(0)[c..][..ROWS].as_mut_ptr());
}

/// A block of eight rows, plain or packed. Offsets are counted inside one row's block.
///
/// # Safety
/// Everything needs AVX2 and F16C, and rows that have what is read.
pub(super) trait EightRows: Copy {
    const PACKED: bool;
    /// Block `b` of a group's rows from `first` on.
    fn new(group: RowGroup, first: usize, b: usize, block_bytes: usize) -> Self;
    /// The fields before the nibbles of sixteen rows.
    unsafe fn fields<L: Legacy>(rows: [Self; 2]) -> Fields;
    /// Σ q x of each row, of the nibbles alone, which are at an offset. For sixteen rows, which may share loads of activations.
    unsafe fn nibbles(rows: [Self; 2], offset: usize, x: *const i8) -> [__m256i; 2];
}

/// The fields before the nibbles of sixteen rows in a format with fifth bits.
pub(super) struct Fields {
    /// Fifth bits: of rows 0 … 3, 8 … 11, 4 … 7, 12 … 15 the first bytes, then the third; and the second, then the fourth.
    pub(super) bits: [__m256i; 2],
    /// Scales of the first eight rows and of the others.
    pub(super) d: [__m256; 2],
    /// Minima, or anything where the format has none.
    pub(super) m: [__m256; 2],
}

/// Two qwords in each half of a vector: the first of both halves, then the second of both.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn firsts_together(v: __m256i) -> __m256i {
    _mm256_permute4x64_epi64(v, 0b11_01_10_00)
}

/// EightPlain plain rows.
#[derive(Clone, Copy)]
pub(super) struct EightPlain {
    /// The first row and the fifth: from here all are reached by a row or three rows, so that few addresses are computed and kept.
    low: *const u8,
    high: *const u8,
    row_bytes: usize,
}

impl EightPlain {
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
        let (low, high) = (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast()));
        _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1)
    }

    /// The first eight bytes of rows `i`, `i + 1`, `i + 4` and `i + 5`, each loaded with what is around it, to where it belongs: nothing but blending is
    /// left to do.
    ///
    /// # Safety
    /// Needs AVX2, `i` 0 or 2, and rows of at least 16 bytes: nothing is read before the first row or behind the eighth.
    #[inline(always)]
    unsafe fn firsts(self, i: usize) -> __m256i {
        let ([a, c], [b, d]) = (self.at(i, 0), self.at(i + 1, 0));
        let load = |at: *const u8, place: usize| __m256i::load(at.wrapping_sub(place));
        let rows = _mm256_blend_epi32(load(a, 0), load(b, 8), 0b1100);
        let rows = _mm256_blend_epi32(rows, load(c, 16), 0b0011_0000);
        _mm256_blend_epi32(rows, load(d, 24), 0b1100_0000)
    }

    /// Σ q x of eight rows with bytes at an offset.
    ///
    /// # Safety
    /// Needs AVX2, rows with these bytes, and 32 activations, of which none is −128.
    #[inline(always)]
    unsafe fn byte_sums(self, offset: usize, x: *const i8) -> __m256i {
        let (x, ones) = (__m256i::load(x.cast()), _mm256_set1_epi16(1));
        let mut fours = [ones; 2];
        for (half, four) in fours.iter_mut().enumerate() {
            let mut rows = [ones; 4];
            for (i, sums) in rows.iter_mut().enumerate() {
                let q = __m256i::load(self.at(i, offset)[half]);
                // Two products of 128 and 127 fit into 16 bits with sign.
                *sums = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q)).multiply_pairs(ones);
            }
            let [a, b, c, d] = rows;
            let ab = _mm256_unpacklo_epi32(a, b).add(_mm256_unpackhi_epi32(a, b));
            let cd = _mm256_unpacklo_epi32(c, d).add(_mm256_unpackhi_epi32(c, d));
            *four = _mm256_unpacklo_epi64(ab, cd).add(_mm256_unpackhi_epi64(ab, cd));
        }
        let [low, high] = fours;
        _mm256_blend_epi32(low, high, 0b1111_0000).add(_mm256_permute2x128_si256(low, high, 0x21))
    }

    /// The f16 numbers at an offset, as floats. Brought together by the integer units, while those for vectors are busy with weights.
    ///
    /// # Safety
    /// Needs AVX2 and F16C, rows with these numbers, and two bytes before them.
    #[inline(always)]
    pub(super) unsafe fn f16s(self, offset: usize) -> __m256 {
        let [low, high] = self.at(0, offset).map(|at| four_f16s(at, self.row_bytes));
        _mm256_cvtph_ps(_mm_set_epi64x(high, low))
    }

    /// Σ q x of eight rows with nibbles at an offset.
    ///
    /// # Safety
    /// Needs AVX2, rows with these nibbles, and 32 activations.
    #[inline(always)]
    unsafe fn nibble_sums(self, offset: usize, x: *const i8) -> __m256i {
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

impl EightRows for EightPlain {
    const PACKED: bool = false;

    #[inline(always)]
    fn new(group: RowGroup, first: usize, b: usize, block_bytes: usize) -> EightPlain {
        let rows = group.plain(first, b, block_bytes);
        let low = rows.at(0);
        let high = Plain { block: low, ..rows }.at(4 * rows.row_bytes);
        EightPlain { low, high, row_bytes: rows.row_bytes }
    }

    /// The compiler is kept from merging shuffles with those behind them: as their results are used twice, it makes more.
    #[inline(always)]
    unsafe fn fields<L: Legacy>(rows: [EightPlain; 2]) -> Fields {
        // Of two rows the first bytes of their bits, the third, second and fourth ones; then scales, then minima.
        let bits = (L::BYTES as i32 - 20) * 0x0101_0101;
        let order = [0x0a02_0800 + bits, 0x0b03_0901 + bits, 0x0908_0100, 0x0b0a_0302];
        let [[a, b], [c, d]] = rows.map(|rows| [0, 2].map(|i| Avx2::in_order(rows.firsts(i).shuffle(order))));
        let (ab, cd) = (_mm256_unpacklo_epi16(a, b), _mm256_unpacklo_epi16(c, d));
        let even = firsts_together(_mm256_unpacklo_epi32(ab, cd));
        let odd = firsts_together(_mm256_unpackhi_epi32(ab, cd));
        let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        let floats = |f16s| {
            let f16s = Avx2::in_order(firsts_together(f16s));
            [_mm256_castsi256_si128(f16s), _mm256_extracti128_si256(f16s, 1)].map(|f16s| _mm256_cvtph_ps(f16s))
        };
        let d = floats(_mm256_unpacklo_epi64(ab, cd));
        let m = if L::MIN { floats(_mm256_unpackhi_epi64(ab, cd)) } else { d };
        Fields { bits: [even, odd], d, m }
    }

    #[inline(always)]
    unsafe fn nibbles(rows: [EightPlain; 2], offset: usize, x: *const i8) -> [__m256i; 2] {
        [rows[0].nibble_sums(offset, x), rows[1].nibble_sums(offset, x)]
    }
}

/// The f16 numbers at the same place of four rows, one after another. The second of a pair is loaded with the two bytes before it, over which the first is
/// then loaded: half as many instructions as shifting and joining them, which no compiler finds.
///
/// # Safety
/// The numbers can be read, and two bytes before the second and the fourth.
#[inline(always)]
unsafe fn four_f16s(at: *const u8, row_bytes: usize) -> i64 {
    let four: i64;
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
    four
}
