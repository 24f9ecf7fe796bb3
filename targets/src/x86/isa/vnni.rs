//! VNNI: bytes are multiplied and added in one instruction, on 256 or 512 bits.

use super::super::load_kquant::{KQuant, Superblock};
use super::super::load_legacy::{Legacy, RowBlock, bytes};
use super::super::vec_i32::VecI32;
use super::{Float, Isa, Weights, accumulate_k, compiled_once, four};
use core::arch::x86_64::*;
use smidgen_quant::Q8K;

/// A machine whose instruction `dpbusd` adds four products of bytes to each lane.
macro_rules! vnni {
    ($machine:ident, $eight:ident, $int:ty, $features:literal, $dpbusd:ident, $mullo:ident) => {
        impl $machine {
            compiled_once!($features);
        }

        impl Isa for $machine {
            type Int = $int;
            type Eight = $eight;

            #[inline(always)]
            unsafe fn load<L: Legacy>(rows: impl RowBlock<$int>) -> Weights<Self> {
                let mut weights = Weights::<Self>::new(L::load(rows));
                if L::SIGNED {
                    // `dpbusd` takes bytes without sign: those with one are moved up by 128.
                    for q in &mut weights.q {
                        *q = q.xor(bytes(128));
                    }
                }
                weights
            }

            fn offset<L: Legacy, const T: usize>() -> i32 {
                if L::SIGNED { 128 } else { L::OFFSET }
            }

            #[inline(always)]
            unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
                sums: &mut [[$int; N]; T],
                w: &[Weights<Self>; N],
                x: [*const i8; T],
            ) {
                for k in 0..8 {
                    for t in 0..T {
                        let x = <$int>::splat(four(x[t].add(4 * k)));
                        for n in 0..N {
                            sums[t][n] = $dpbusd(sums[t][n], w[n].q[k], x);
                        }
                    }
                }
            }

            #[inline(always)]
            fn fitting(_: i32) -> usize {
                8
            }

            #[inline(always)]
            unsafe fn add_products(part: $int, q: $int, x: $int) -> $int {
                $dpbusd(part, q, x)
            }

            #[inline(always)]
            unsafe fn scaled(part: $int, scale: $int) -> $int {
                $mullo(part, scale.right_32::<16>())
            }

            #[inline(always)]
            unsafe fn accumulate_k<S: KQuant, const N: usize>(
                acc: &mut [[Float<Self>; N]],
                w: &[Superblock<$int>; N],
                x: &Q8K,
                b: usize,
                first: usize,
            ) {
                // How large a weight can be makes no difference here.
                match S::SUB {
                    16 => Self::once::<16, 63, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
                    _ => Self::once::<32, 63, N>(acc, w, x, b, first, S::OFFSET_SHIFT),
                }
            }
        }
    };
}

/// AVX-VNNI: 256-bit vectors.
#[derive(Clone, Copy)]
pub(in crate::x86) struct AvxVnni;
vnni!(AvxVnni, AvxVnni, __m256i, "avx2,avxvnni", _mm256_dpbusd_avx_epi32, _mm256_mullo_epi32);

/// AVX-512 with VNNI: 512-bit vectors.
#[derive(Clone, Copy)]
pub(in crate::x86) struct Avx512Vnni;
vnni!(
    Avx512Vnni,
    Avx512VnniEight,
    __m512i,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    _mm512_dpbusd_epi32,
    _mm512_mullo_epi32
);

/// The same on 256 bits.
#[derive(Clone, Copy)]
pub(in crate::x86) struct Avx512VnniEight;
vnni!(Avx512VnniEight, Avx512VnniEight, __m256i, "avx512vnni,avx512vl", _mm256_dpbusd_epi32, _mm256_mullo_epi32);
