//! Eight rows of a superblock of 256, turned so that lanes are rows.

use super::load::Source;
use super::one_token;
use crate::MatMul;
use core::arch::x86_64::*;

/// A superblock of some rows: `V` has a 32-bit lane for each, `F` a float.
pub(super) struct Superblock<V, F> {
    /// Vector `8 g + k` holds inputs `32 g + 4 k ..` of each row, without sign.
    pub(super) q: [V; 64],
    pub(super) scales: Scales<V, F>,
}

/// What a superblock has beside its weights.
pub(super) struct Scales<V, F> {
    /// Scale of each sub-block, twice in the 16-bit halves of a lane.
    pub(super) subs: [V; 16],
    /// What the sums of inputs `32 g .. 32 g + 16` and `32 g + 16 .. 32 g + 32` are multiplied by, as 16-bit halves: minima, or the scales
    /// again where an offset is to be subtracted.
    pub(super) pairs: [V; 8],
    pub(super) d: F,
    pub(super) dmin: F,
}

/// The scales of eight rows.
pub(super) type EightScales = Scales<__m256i, __m256>;

/// Takes the weights of eight rows as they are unpacked.
///
/// # Safety
/// Needs AVX2.
pub(super) trait Take {
    /// Inputs `32 g + 4 k ..` of each row, without sign. Each is given once; those of a group in order.
    unsafe fn take(&mut self, g: usize, k: usize, q: __m256i);
}

impl Take for [__m256i; 64] {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, k: usize, q: __m256i) {
        self[8 * g + k] = q;
    }
}

/// A format with superblocks of 256.
///
/// # Safety
/// `scales` and `weights` need AVX2 and F16C, and rows that have the superblock.
pub(super) trait Super {
    /// Bytes of a superblock.
    const BYTES: usize;
    /// Weights that share a scale: 16 or 32.
    const SUB: usize;
    /// Largest weight, before the offset is subtracted.
    const MAX: i32;
    /// Twos exponent of what is to be subtracted from each weight; none for the formats with minima.
    const OFFSET_SHIFT: Option<i32>;
    /// Groups of 32 weights that are unpacked side by side: 2 or 4.
    const ABREAST: usize = 4;
    /// The product with one token, for machines with AVX2.
    const ONE_TOKEN: MatMul;

    unsafe fn scales(rows: impl Source) -> EightScales;
    unsafe fn weights(rows: impl Source, to: &mut impl Take);
}

/// No scales yet, with those of the superblock.
#[inline(always)]
unsafe fn with(d: __m256, dmin: __m256) -> EightScales {
    // SAFETY: the caller's promise (AVX2).
    unsafe { Scales { subs: [_mm256_setzero_si256(); 16], pairs: [_mm256_setzero_si256(); 8], d, dmin } }
}

/// The bytes `first` and `second` of each double word as the low and high 16 bits, without sign.
#[inline(always)]
unsafe fn spread(v: __m256i, first: i32, second: i32) -> __m256i {
    // SAFETY: the caller's promise (AVX2).
    unsafe {
        let lane = |i: i32| (4 * i + first) | 0x8000 | (4 * i + second) << 16 | 0x8000_0000u32 as i32;
        _mm256_shuffle_epi8(
            v,
            _mm256_setr_epi32(lane(0), lane(1), lane(2), lane(3), lane(0), lane(1), lane(2), lane(3)),
        )
    }
}

/// The same with sign.
#[inline(always)]
unsafe fn spread_signed(v: __m256i, first: i32, second: i32) -> __m256i {
    // SAFETY: the caller's promise (AVX2).
    unsafe { _mm256_srai_epi16(_mm256_slli_epi16(spread(v, first, second), 8), 8) }
}

/// The six-bit scales and minima that Q4_K and Q5_K share: twelve bytes at an offset of each row.
#[inline(always)]
unsafe fn scales_and_minima(rows: impl Source, offset: usize, out: &mut EightScales) {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b, c) = (rows.words(offset), rows.words(offset + 4), rows.words(offset + 8));
        let (six, four, two) = (_mm256_set1_epi8(63), _mm256_set1_epi8(15), _mm256_set1_epi8(48));
        let top = |v| _mm256_and_si256(_mm256_srli_epi32(v, 2), two);
        let scales = [_mm256_and_si256(a, six), _mm256_or_si256(_mm256_and_si256(c, four), top(a))];
        let high = _mm256_and_si256(_mm256_srli_epi32(c, 4), four);
        let minima = [_mm256_and_si256(b, six), _mm256_or_si256(high, top(b))];
        for g in 0..8 {
            out.subs[g] = spread(scales[g / 4], g as i32 % 4, g as i32 % 4);
            out.pairs[g] = spread(minima[g / 4], g as i32 % 4, g as i32 % 4);
        }
    }
}

/// Sixteen scales with sign, four to a double word, as scales of sub-blocks and as factors of an offset.
#[inline(always)]
unsafe fn signed_scales(four: [__m256i; 4], out: &mut EightScales) {
    // SAFETY: the caller's promise (AVX2).
    unsafe {
        for s in 0..16 {
            out.subs[s] = spread_signed(four[s / 4], s as i32 % 4, s as i32 % 4);
        }
        for g in 0..8 {
            out.pairs[g] = spread_signed(four[g / 2], 2 * (g as i32 % 2), 2 * (g as i32 % 2) + 1);
        }
    }
}

pub(super) struct Q4K;
impl Super for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const MAX: i32 = 15;
    const OFFSET_SHIFT: Option<i32> = None;
    const ABREAST: usize = 2;
    const ONE_TOKEN: MatMul = one_token::q4_k;

    #[inline(always)]
    unsafe fn scales(rows: impl Source) -> EightScales {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = rows.two_halves(0);
            let mut out = with(d, dmin);
            scales_and_minima(rows, 4, &mut out);
            out
        }
    }

    #[inline(always)]
    unsafe fn weights(rows: impl Source, to: &mut impl Take) {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            for i in 0..4 {
                let both = rows.turn32(16 + 32 * i);
                for k in 0..8 {
                    let both = rows.pick(&both, 16 + 32 * i, k);
                    to.take(2 * i, k, _mm256_and_si256(both, mask));
                    to.take(2 * i + 1, k, _mm256_and_si256(_mm256_srli_epi16(both, 4), mask));
                }
            }
        }
    }
}

pub(super) struct Q5K;
impl Super for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const MAX: i32 = 31;
    const OFFSET_SHIFT: Option<i32> = None;
    const ABREAST: usize = 2;
    const ONE_TOKEN: MatMul = one_token::q5_k;

    #[inline(always)]
    unsafe fn scales(rows: impl Source) -> EightScales {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = rows.two_halves(0);
            let mut out = with(d, dmin);
            scales_and_minima(rows, 4, &mut out);
            out
        }
    }

    #[inline(always)]
    unsafe fn weights(rows: impl Source, to: &mut impl Take) {
        // SAFETY: the caller's promise.
        unsafe {
            let (mask, bit) = (_mm256_set1_epi8(15), _mm256_set1_epi8(1));
            let mut fifth = rows.turn32(16);
            for i in 0..4 {
                let both = rows.turn32(48 + 32 * i);
                for k in 0..8 {
                    let both = rows.pick(&both, 48 + 32 * i, k);
                    let low = _mm256_slli_epi16(_mm256_and_si256(fifth[k], bit), 4);
                    to.take(2 * i, k, _mm256_or_si256(_mm256_and_si256(both, mask), low));
                    let high = _mm256_slli_epi16(_mm256_and_si256(_mm256_srli_epi16(fifth[k], 1), bit), 4);
                    let nibble = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
                    to.take(2 * i + 1, k, _mm256_or_si256(nibble, high));
                    fifth[k] = _mm256_srli_epi16(fifth[k], 2);
                }
            }
        }
    }
}

pub(super) struct Q6K;
impl Super for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const MAX: i32 = 63;
    const OFFSET_SHIFT: Option<i32> = Some(5);
    const ONE_TOKEN: MatMul = one_token::q6_k;

    #[inline(always)]
    unsafe fn scales(rows: impl Source) -> EightScales {
        // SAFETY: the caller's promise.
        unsafe {
            let mut out = with(rows.halves(208), _mm256_setzero_ps());
            signed_scales(rows.turn16(192), &mut out);
            out
        }
    }

    #[inline(always)]
    unsafe fn weights(rows: impl Source, to: &mut impl Take) {
        // SAFETY: the caller's promise.
        unsafe {
            let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
            for half in 0..2 {
                let first = rows.turn32(64 * half);
                let second = rows.turn32(64 * half + 32);
                let top = rows.turn32(128 + 32 * half);
                for k in 0..8 {
                    let first = rows.pick(&first, 64 * half, k);
                    let second = rows.pick(&second, 64 * half + 32, k);
                    let top = rows.pick(&top, 128 + 32 * half, k);
                    let low = |v| _mm256_and_si256(v, four);
                    let high = |v| _mm256_and_si256(_mm256_srli_epi16(v, 4), four);
                    let g = 4 * half;
                    to.take(g, k, _mm256_or_si256(low(first), _mm256_and_si256(_mm256_slli_epi16(top, 4), two)));
                    let bits = _mm256_and_si256(_mm256_slli_epi16(top, 2), two);
                    to.take(g + 1, k, _mm256_or_si256(low(second), bits));
                    to.take(g + 2, k, _mm256_or_si256(high(first), _mm256_and_si256(top, two)));
                    let bits = _mm256_and_si256(_mm256_srli_epi16(top, 2), two);
                    to.take(g + 3, k, _mm256_or_si256(high(second), bits));
                }
            }
        }
    }
}

/// Quarter `i` of each byte, two bits.
#[inline(always)]
unsafe fn quarter(bytes: __m256i, i: usize) -> __m256i {
    // SAFETY: the caller's promise (AVX2).
    unsafe {
        let shifted = match i {
            0 => bytes,
            1 => _mm256_srli_epi16(bytes, 2),
            2 => _mm256_srli_epi16(bytes, 4),
            _ => _mm256_srli_epi16(bytes, 6),
        };
        _mm256_and_si256(shifted, _mm256_set1_epi8(3))
    }
}

pub(super) struct Q2K;
impl Super for Q2K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const MAX: i32 = 3;
    const OFFSET_SHIFT: Option<i32> = None;
    const ONE_TOKEN: MatMul = one_token::q2_k;

    #[inline(always)]
    unsafe fn scales(rows: impl Source) -> EightScales {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = rows.two_halves(80);
            let mut out = with(d, dmin);
            let mask = _mm256_set1_epi8(15);
            let both = rows.turn16(0);
            for s in 0..16 {
                let scales = _mm256_and_si256(both[s / 4], mask);
                out.subs[s] = spread(scales, s as i32 % 4, s as i32 % 4);
            }
            for g in 0..8 {
                let minima = _mm256_and_si256(_mm256_srli_epi16(both[g / 2], 4), mask);
                out.pairs[g] = spread(minima, 2 * (g as i32 % 2), 2 * (g as i32 % 2) + 1);
            }
            out
        }
    }

    #[inline(always)]
    unsafe fn weights(rows: impl Source, to: &mut impl Take) {
        // SAFETY: the caller's promise.
        unsafe {
            for half in 0..2 {
                let bytes = rows.turn32(16 + 32 * half);
                for k in 0..8 {
                    for i in 0..4 {
                        to.take(4 * half + i, k, quarter(bytes[k], i));
                    }
                }
            }
        }
    }
}

pub(super) struct Q3K;
impl Super for Q3K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const MAX: i32 = 7;
    const OFFSET_SHIFT: Option<i32> = Some(2);
    const ONE_TOKEN: MatMul = one_token::q3_k;

    #[inline(always)]
    unsafe fn scales(rows: impl Source) -> EightScales {
        // SAFETY: the caller's promise.
        unsafe {
            let mut out = with(rows.halves(108), _mm256_setzero_ps());
            let (four, two, bias) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48), _mm256_set1_epi8(32));
            let (x, y, top) = (rows.words(96), rows.words(100), rows.words(104));
            let join = |low, high| {
                let six = _mm256_or_si256(_mm256_and_si256(low, four), _mm256_and_si256(high, two));
                _mm256_sub_epi8(six, bias)
            };
            let scales = [
                join(x, _mm256_slli_epi16(top, 4)),
                join(y, _mm256_slli_epi16(top, 2)),
                join(_mm256_srli_epi16(x, 4), top),
                join(_mm256_srli_epi16(y, 4), _mm256_srli_epi16(top, 2)),
            ];
            signed_scales(scales, &mut out);
            out
        }
    }

    #[inline(always)]
    unsafe fn weights(rows: impl Source, to: &mut impl Take) {
        // SAFETY: the caller's promise.
        unsafe {
            let (high, bit) = (rows.turn32(0), _mm256_set1_epi8(4));
            for half in 0..2 {
                let bytes = rows.turn32(32 + 32 * half);
                for k in 0..8 {
                    // Bit `g` of each byte as bit 2.
                    let high = if half == 0 { _mm256_slli_epi16(high[k], 2) } else { _mm256_srli_epi16(high[k], 2) };
                    let bits =
                        [high, _mm256_srli_epi16(high, 1), _mm256_srli_epi16(high, 2), _mm256_srli_epi16(high, 3)];
                    for i in 0..4 {
                        let set = _mm256_and_si256(bits[i], bit);
                        to.take(4 * half + i, k, _mm256_or_si256(quarter(bytes[k], i), set));
                    }
                }
            }
        }
    }
}
