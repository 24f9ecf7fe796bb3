//! AVX2 without VNNI.

use super::super::load_kquant::{KQuant, Superblock};
use super::super::load_legacy::{Legacy, RowBlock, bytes};
use super::super::vec_i32::VecI32;
use super::{Float, Isa, Weights, accumulate_k, compiled_once, four};
use core::arch::x86_64::*;
use smidgen_quant::Q8K;

/// AVX2: bytes are multiplied into 16 bits, several products of which are added before they are widened.
#[derive(Clone, Copy)]
pub(in crate::x86) struct Avx2;

impl Avx2 {
    compiled_once!("avx2");
}

impl Isa for Avx2 {
    type Int = __m256i;
    type Eight = Avx2;

    fn offset<L: Legacy, const T: usize>() -> i32 {
        if L::SIGNED && T > 1 { 128 } else { L::OFFSET }
    }

    #[inline(always)]
    unsafe fn load<L: Legacy>(rows: impl RowBlock<__m256i>) -> Weights<Self> {
        let mut weights = Weights::<Self>::new(L::load(rows));
        if L::SIGNED {
            for k in 0..8 {
                weights.nibbles[0][k] = weights.q[k].and(bytes(15));
                weights.nibbles[1][k] = weights.q[k].right::<4>().and(bytes(15)).xor(bytes(8));
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
        sums: &mut [[__m256i; N]; T],
        w: &[Weights<Self>; N],
        x: [*const i8; T],
    ) {
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
                                short[t][n][h] = Self::add_products(short[t][n][h], w[n].nibbles[h][k], x);
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

    /// Sums of two products of `max` and 127 that fit into 16 bits with sign.
    #[inline(always)]
    fn fitting(max: i32) -> usize {
        1 << (32767 / (max * 254)).ilog2()
    }

    #[inline(always)]
    unsafe fn add_products(part: __m256i, q: __m256i, x: __m256i) -> __m256i {
        _mm256_add_epi16(part, _mm256_maddubs_epi16(q, x))
    }

    #[inline(always)]
    unsafe fn in_order(sum: __m256i) -> __m256i {
        // Registers may only be named where the compiler knows that they exist.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn known(mut sum: __m256i) -> __m256i {
            // SAFETY: nothing is done.
            unsafe { core::arch::asm!("/* {} */", inout(ymm_reg) sum, options(pure, nomem, nostack, preserves_flags)) };
            sum
        }
        known(sum)
    }

    #[inline(always)]
    unsafe fn scaled(part: __m256i, scale: __m256i) -> __m256i {
        _mm256_madd_epi16(part, scale)
    }

    #[inline(always)]
    unsafe fn accumulate_k<S: KQuant, const N: usize>(
        acc: &mut [[Float<Self>; N]],
        w: &[Superblock<__m256i>; N],
        x: &Q8K,
        b: usize,
        first: usize,
    ) {
        match (S::SUB, S::MAX) {
            (16, 63) => Self::once::<16, 63, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
            (16, _) => Self::once::<16, 7, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
            (_, 15) => Self::once::<32, 15, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
            _ => Self::once::<32, 31, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
        }
    }
}
