//! AVX2 without VNNI, and what every machine with 256-bit vectors has.

use super::super::load::{Eight, Legacy, Source};
use super::super::load_k::Super;
use super::{Isa, ScratchK, Weights, four, read_scales, read_weights};
use core::arch::x86_64::*;

/// Functions that the two machines with 256-bit vectors share.
macro_rules! eight_rows {
    () => {
        const ROWS: usize = 8;
        type Int = __m256i;
        type Float = __m256;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: the caller's promise, here and below.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn to_float(a: __m256i) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_cvtepi32_ps(a) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, a: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, a) }
        }
        #[inline(always)]
        unsafe fn splat_int(x: i32) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn add_int(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub_int(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_sub_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn shift_left<const BITS: u32>(a: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(BITS as i32)) }
        }
        #[inline(always)]
        unsafe fn multiply_pairs(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_madd_epi16(a, b) }
        }
    };
}
pub(super) use eight_rows;

/// AVX2: bytes are multiplied into 16 bits, several products of which are added before they are widened.
#[derive(Clone, Copy)]
pub(in crate::x86) struct Avx2;

/// How many sums of two products of `max` and 127 fit into 16 bits with sign, as a power of two.
pub(in crate::x86) const fn fitting(max: i32) -> usize {
    1 << (32767 / (max * 254)).ilog2()
}

impl Isa for Avx2 {
    eight_rows!();

    fn offset<L: Legacy, const T: usize>() -> i32 {
        if L::SIGNED && T > 1 { 128 } else { L::OFFSET }
    }

    #[inline(always)]
    unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        unsafe {
            let Eight { q, d, m } = L::load(rows(0));
            let mut weights = Weights::new(q, d, m);
            if L::SIGNED {
                let (mask, sign) = (_mm256_set1_epi8(15), _mm256_set1_epi8(8));
                for k in 0..8 {
                    weights.nibbles[0][k] = _mm256_and_si256(q[k], mask);
                    let high = _mm256_and_si256(_mm256_srli_epi16(q[k], 4), mask);
                    weights.nibbles[1][k] = _mm256_xor_si256(high, sign);
                }
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            read_scales::<L, S>(rows(0), &mut out.weights.scales);
            read_weights::<L, S>(rows(0), &mut out.weights.q);
        }
    }

    #[inline(always)]
    unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
        sums: &mut [[__m256i; N]; T],
        w: &[Weights<Self>; N],
        x: [*const i8; T],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if L::SIGNED && T == 1 {
                for k in 0..8 {
                    let x = _mm256_set1_epi32(four(x[0].add(4 * k)));
                    for n in 0..N {
                        let q = w[n].q[k];
                        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
                        sums[0][n] = _mm256_add_epi32(sums[0][n], _mm256_madd_epi16(products, ones));
                    }
                }
            } else if L::SIGNED {
                // Products of nibbles add up in 16 bits, and need no sign for each token.
                let factors = [ones, _mm256_set1_epi16(16)];
                for first in (0..T).step_by(2) {
                    let mut short = [[[_mm256_setzero_si256(); 2]; N]; 2];
                    for k in 0..8 {
                        for t in 0..2 {
                            let x = _mm256_set1_epi32(four(x[first + t].add(4 * k)));
                            for n in 0..N {
                                for h in 0..2 {
                                    let products = _mm256_maddubs_epi16(w[n].nibbles[h][k], x);
                                    short[t][n][h] = _mm256_add_epi16(short[t][n][h], products);
                                }
                            }
                        }
                    }
                    for t in 0..2 {
                        for n in 0..N {
                            for h in 0..2 {
                                let products = _mm256_madd_epi16(short[t][n][h], factors[h]);
                                sums[first + t][n] = _mm256_add_epi32(sums[first + t][n], products);
                            }
                        }
                    }
                }
            } else {
                let mut q = [w[0].q.as_ptr(); N];
                for n in 0..N {
                    q[n] = w[n].q.as_ptr();
                }
                match L::MAX {
                    15 => Self::dots_scaled::<8, 15, T, N>(sums, q, x, [ones; N]),
                    _ => Self::dots_scaled::<8, 31, T, N>(sums, q, x, [ones; N]),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
        sums: &mut [[__m256i; N]; T],
        q: [*const __m256i; N],
        x: [*const i8; T],
        scale: [__m256i; N],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            // Products are added in 16 bits as long as they fit.
            let step = const { if fitting(MAX) < Q { fitting(MAX) } else { Q } };
            for first in (0..Q).step_by(step) {
                let mut short = [[_mm256_setzero_si256(); N]; T];
                for k in first..first + step {
                    for t in 0..T {
                        let x = _mm256_set1_epi32(four(x[t].add(4 * k)));
                        for n in 0..N {
                            short[t][n] = _mm256_add_epi16(short[t][n], _mm256_maddubs_epi16(*q[n].add(k), x));
                        }
                    }
                }
                for t in 0..T {
                    for n in 0..N {
                        sums[t][n] = _mm256_add_epi32(sums[t][n], _mm256_madd_epi16(short[t][n], scale[n]));
                    }
                }
            }
        }
    }
}
