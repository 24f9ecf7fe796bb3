//! Vectors of `i32`, of 256 or 512 bits: lanes are rows.

use super::load_kquant::{KQuant, Superblock};
use super::load_legacy::RowBlock;
use super::vec_f32::VecF32;
use core::arch::x86_64::*;

/// Eight or sixteen lanes of 32 bits.
///
/// # Safety
/// Everything needs AVX2, F16C and the CPU features of the type (for sixteen AVX-512F, BW, DQ and VL), and memory behind the pointers.
pub(super) trait VecI32: Copy {
    /// Lanes in a vector.
    const ROWS: usize;
    /// As many floats.
    type Float: VecF32;

    unsafe fn splat(x: i32) -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn sub_bytes(self, other: Self) -> Self;
    /// Products of 16-bit halves, added in pairs.
    unsafe fn multiply_pairs(self, other: Self) -> Self;
    unsafe fn to_float(self) -> Self::Float;
    /// Each lane moved to the left.
    unsafe fn left_32<const BITS: i32>(self) -> Self;
    /// Each lane moved to the right, with its sign.
    unsafe fn right_32<const BITS: i32>(self) -> Self;
    /// The 16-bit halves of lanes moved to the left.
    unsafe fn left<const BITS: i32>(self) -> Self;
    /// The 16-bit halves of lanes moved to the right, without sign.
    unsafe fn right<const BITS: i32>(self) -> Self;
    /// The 16-bit halves of lanes moved to the right, with their signs.
    unsafe fn right_signed<const BITS: i32>(self) -> Self;
    /// The low 16 bits of each lane, with the high ones of the other.
    unsafe fn blend_high_16(self, other: Self) -> Self;
    /// In each sixteen bytes, those whose numbers are in the bytes of `order`; zero where such a number is negative.
    unsafe fn shuffle(self, order: [i32; 4]) -> Self;
    /// For each byte, which is below 16, that one of sixteen bytes.
    unsafe fn look_up(self, table: *const i8) -> Self;
    /// `q`, with `added`, bits that it lacks, in the bytes in which `self` has the bit of `mask`: one in each byte.
    unsafe fn or_where(self, mask: Self, q: Self, added: Self) -> Self;
    /// The low and the high halves of lanes, which are f16 numbers, as floats.
    unsafe fn as_f16s(self) -> (Self::Float, Self::Float);

    /// The double words at an address and at every `stride` bytes from it.
    unsafe fn words(at: *const u8, stride: usize) -> Self;
    /// The binary16 numbers there, as floats.
    unsafe fn f16s(at: *const u8, stride: usize) -> Self::Float;
    /// VecF32 `k` holds double word `k` of the sixteen bytes there.
    unsafe fn transpose16(at: *const u8, stride: usize) -> [Self; 4];
    /// VecF32 `k` holds double word `k` of the 32 bytes there.
    unsafe fn transpose32(at: *const u8, stride: usize) -> [Self; 8];

    /// Unpacks a superblock. Compiled once for all loops: it is long, and its results are read from memory anyway.
    unsafe fn unpack<L: KQuant, S: RowBlock<Self>>(rows: S, to: &mut Superblock<Self>);
}

/// The operations that both lengths have under names of their own.
macro_rules! vec_i32 {
    ($type:ty, $float:ty, $rows:literal, $features:literal: $($name:ident $(<$bits:ident>)? ($($arguments:tt)*) -> $result:ty => $body:expr;)*) => {
        impl VecI32 for $type {
            const ROWS: usize = $rows;
            type Float = $float;
            $(
                #[inline(always)]
                unsafe fn $name $(<const $bits: i32>)? ($($arguments)*) -> $result {
                    $body
                }
            )*

            #[inline(never)]
            unsafe fn unpack<L: KQuant, S: RowBlock<Self>>(rows: S, to: &mut Superblock<Self>) {
                // rustc 1.95 inlines a function with target features although it is marked `inline(never)`, so the mark is on a function without them.
                #[target_feature(enable = $features)]
                unsafe fn inner<L: KQuant, S: RowBlock<$type>>(rows: S, to: &mut Superblock<$type>) {
                    L::scales(rows, &mut to.scales);
                    L::weights(rows, &mut to.q);
                }
                inner::<L, S>(rows, to)
            }
        }
    };
}

/// How far, as the instructions take it that are not told at compile time; the compiler makes those of it that are.
#[inline(always)]
fn count(bits: i32) -> __m128i {
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_cvtsi32_si128(bits) }
}

/// # Safety
/// Sixteen bytes at the address.
#[inline(always)]
unsafe fn sixteen(at: *const u8) -> __m128i {
    _mm_loadu_si128(at.cast())
}

/// Double words 0 and 4, 1 and 5, 2 and 6, 3 and 7 of the 32 bytes at an address and at every `stride` bytes from it, for rows 0 to 3, and then 4 to 7.
///
/// # Safety
/// Needs AVX-512F; eight times 32 bytes there.
#[inline(always)]
unsafe fn transpose_eight(at: *const u8, stride: usize) -> [__m512i; 4] {
    let rows = |i: usize| {
        let low = _mm512_castsi256_si512(_mm256_loadu_si256(at.add(i * stride).cast()));
        _mm512_inserti64x4(low, _mm256_loadu_si256(at.add((i + 4) * stride).cast()), 1)
    };
    transpose_four(rows(0), rows(1), rows(2), rows(3))
}

/// VecF32 `k` holds double word `k` of the sixteen-byte pieces of each of four vectors, side by side.
///
/// # Safety
/// Needs AVX-512F.
#[inline(always)]
unsafe fn transpose_four(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ef, gh),
        _mm512_unpackhi_epi64(ef, gh),
    ]
}

vec_i32! {
    __m256i, __m256, 8, "avx2,f16c":
    splat(x: i32) -> Self => _mm256_set1_epi32(x);
    load(from: *const u8) -> Self => _mm256_loadu_si256(from.cast());
    and(self, other: Self) -> Self => _mm256_and_si256(self, other);
    or(self, other: Self) -> Self => _mm256_or_si256(self, other);
    xor(self, other: Self) -> Self => _mm256_xor_si256(self, other);
    add(self, other: Self) -> Self => _mm256_add_epi32(self, other);
    sub(self, other: Self) -> Self => _mm256_sub_epi32(self, other);
    sub_bytes(self, other: Self) -> Self => _mm256_sub_epi8(self, other);
    multiply_pairs(self, other: Self) -> Self => _mm256_madd_epi16(self, other);
    to_float(self) -> __m256 => _mm256_cvtepi32_ps(self);
    left_32<BITS>(self) -> Self => _mm256_sll_epi32(self, count(BITS));
    right_32<BITS>(self) -> Self => _mm256_sra_epi32(self, count(BITS));
    left<BITS>(self) -> Self => _mm256_sll_epi16(self, count(BITS));
    right<BITS>(self) -> Self => _mm256_srl_epi16(self, count(BITS));
    right_signed<BITS>(self) -> Self => _mm256_sra_epi16(self, count(BITS));
    blend_high_16(self, other: Self) -> Self => _mm256_blend_epi16(self, other, 0b10101010);
    shuffle(self, [a, b, c, d]: [i32; 4]) -> Self => _mm256_shuffle_epi8(self, _mm256_setr_epi32(a, b, c, d, a, b, c, d));
    look_up(self, table: *const i8) -> Self
        => _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.cast())), self);
    or_where(self, mask: Self, q: Self, added: Self) -> Self
        => q.or(_mm256_cmpeq_epi8(self.and(mask), mask).and(added));
    as_f16s(self) -> (__m256, __m256) => {
        let f16s = self.shuffle([0x0504_0100, 0x0d0c_0908, 0x0706_0302, 0x0f0e_0b0a]);
        let f16s = _mm256_permute4x64_epi64(f16s, 0b11_01_10_00);
        (_mm256_cvtph_ps(_mm256_castsi256_si128(f16s)), _mm256_cvtph_ps(_mm256_extracti128_si256(f16s, 1)))
    };
    words(at: *const u8, stride: usize) -> Self => {
        let word = |i: usize| at.add(i * stride).cast::<i32>().read_unaligned();
        let four = |i: usize| {
            let v = _mm_cvtsi32_si128(word(i));
            let v = _mm_insert_epi32(v, word(i + 1), 1);
            let v = _mm_insert_epi32(v, word(i + 2), 2);
            _mm_insert_epi32(v, word(i + 3), 3)
        };
        _mm256_inserti128_si256(_mm256_castsi128_si256(four(0)), four(4), 1)
    };
    f16s(at: *const u8, stride: usize) -> __m256 => {
        let half = |i: usize| at.add(i * stride).cast::<u16>().read_unaligned() as i32;
        let four = |i: usize| {
            let v = _mm_cvtsi32_si128(half(i));
            let v = _mm_insert_epi16(v, half(i + 1), 1);
            let v = _mm_insert_epi16(v, half(i + 2), 2);
            _mm_insert_epi16(v, half(i + 3), 3)
        };
        _mm256_cvtph_ps(_mm_unpacklo_epi64(four(0), four(4)))
    };
    transpose16(at: *const u8, stride: usize) -> [Self; 4] => {
        let rows = |i: usize| {
            let low = _mm256_castsi128_si256(sixteen(at.add(i * stride)));
            _mm256_inserti128_si256(low, sixteen(at.add((i + 4) * stride)), 1)
        };
        let (a, b, c, d) = (rows(0), rows(1), rows(2), rows(3));
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ef, gh),
            _mm256_unpackhi_epi64(ef, gh),
        ]
    };
    transpose32(at: *const u8, stride: usize) -> [Self; 8] => {
        let [a, b, c, d] = Self::transpose16(at, stride);
        let [e, f, g, h] = Self::transpose16(at.add(16), stride);
        [a, b, c, d, e, f, g, h]
    };
}

vec_i32! {
    __m512i, __m512, 16, "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl":
    splat(x: i32) -> Self => _mm512_set1_epi32(x);
    load(from: *const u8) -> Self => _mm512_loadu_si512(from.cast());
    and(self, other: Self) -> Self => _mm512_and_si512(self, other);
    or(self, other: Self) -> Self => _mm512_or_si512(self, other);
    xor(self, other: Self) -> Self => _mm512_xor_si512(self, other);
    add(self, other: Self) -> Self => _mm512_add_epi32(self, other);
    sub(self, other: Self) -> Self => _mm512_sub_epi32(self, other);
    sub_bytes(self, other: Self) -> Self => _mm512_sub_epi8(self, other);
    multiply_pairs(self, other: Self) -> Self => _mm512_madd_epi16(self, other);
    to_float(self) -> __m512 => _mm512_cvtepi32_ps(self);
    left_32<BITS>(self) -> Self => _mm512_sll_epi32(self, count(BITS));
    right_32<BITS>(self) -> Self => _mm512_sra_epi32(self, count(BITS));
    left<BITS>(self) -> Self => _mm512_sll_epi16(self, count(BITS));
    right<BITS>(self) -> Self => _mm512_srl_epi16(self, count(BITS));
    right_signed<BITS>(self) -> Self => _mm512_sra_epi16(self, count(BITS));
    blend_high_16(self, other: Self) -> Self => _mm512_mask_blend_epi16(0xaaaa_aaaa, self, other);
    shuffle(self, [a, b, c, d]: [i32; 4]) -> Self
        => _mm512_shuffle_epi8(self, _mm512_broadcast_i32x4(_mm_setr_epi32(a, b, c, d)));
    look_up(self, table: *const i8) -> Self
        => _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.cast())), self);
    or_where(self, mask: Self, q: Self, added: Self) -> Self
        => _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(self, mask), q, added);
    as_f16s(self) -> (__m512, __m512) => {
        let f16s = |v| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
        (f16s(self), f16s(_mm512_srli_epi32::<16>(self)))
    };
    words(at: *const u8, stride: usize) -> Self => {
        let high = __m256i::words(at.add(8 * stride), stride);
        _mm512_inserti64x4(_mm512_castsi256_si512(__m256i::words(at, stride)), high, 1)
    };
    f16s(at: *const u8, stride: usize) -> __m512 => {
        let high = __m256i::f16s(at.add(8 * stride), stride);
        _mm512_insertf32x8(_mm512_castps256_ps512(__m256i::f16s(at, stride)), high, 1)
    };
    transpose16(at: *const u8, stride: usize) -> [Self; 4] => {
        let rows = |i: usize| {
            let v = _mm512_castsi128_si512(sixteen(at.add(i * stride)));
            let v = _mm512_inserti32x4::<1>(v, sixteen(at.add((i + 4) * stride)));
            let v = _mm512_inserti32x4::<2>(v, sixteen(at.add((i + 8) * stride)));
            _mm512_inserti32x4::<3>(v, sixteen(at.add((i + 12) * stride)))
        };
        transpose_four(rows(0), rows(1), rows(2), rows(3))
    };
    transpose32(at: *const u8, stride: usize) -> [Self; 8] => {
        let ([a, b, c, d], [e, f, g, h]) = (transpose_eight(at, stride), transpose_eight(at.add(8 * stride), stride));
        let low = |x, y| _mm512_shuffle_i64x2::<0b10_00_10_00>(x, y);
        let high = |x, y| _mm512_shuffle_i64x2::<0b11_01_11_01>(x, y);
        [low(a, e), low(b, f), low(c, g), low(d, h), high(a, e), high(b, f), high(c, g), high(d, h)]
    };
}
