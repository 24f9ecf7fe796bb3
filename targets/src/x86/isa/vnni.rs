//! VNNI: bytes are multiplied and added in one instruction, on 256 or 512 bits.

use super::super::load::{Eight, Legacy, Source};
use super::super::load_k::{Super, Superblock};
use super::avx2::eight_rows;
use super::{Isa, ScratchK, Weights, four, read_scales, read_weights};
use core::arch::x86_64::*;

/// Functions that the two machines with VNNI share; `dpbusd` adds four products of bytes to each lane.
macro_rules! vnni {
    ($dpbusd:ident, $xor:ident, $mullo:ident, $srai:ident) => {
        #[inline(always)]
        unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
            // SAFETY: the caller's promise.
            unsafe {
                let mut weights = Self::rows::<L, S>(rows);
                if L::SIGNED {
                    // `dpbusd` takes bytes without sign: those with one are moved up by 128.
                    for q in &mut weights.q {
                        *q = $xor(*q, Self::splat_int(0x8080_8080u32 as i32));
                    }
                }
                weights
            }
        }

        #[inline(always)]
        unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
            // SAFETY: the caller's promise.
            unsafe {
                Self::rows_k::<L, S>(rows, out);
                // The scale alone in each lane, with its sign.
                for scale in &mut out.weights.scales.subs {
                    *scale = $srai::<16>(Self::shift_left::<16>(*scale));
                }
            }
        }

        fn offset<L: Legacy, const T: usize>() -> i32 {
            if L::SIGNED { 128 } else { L::OFFSET }
        }

        #[inline(always)]
        unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
            sums: &mut [[Self::Int; N]; T],
            w: &[Weights<Self>; N],
            x: [*const i8; T],
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                for k in 0..8 {
                    for t in 0..T {
                        let x = Self::splat_int(four(x[t].add(4 * k)));
                        for n in 0..N {
                            sums[t][n] = $dpbusd(sums[t][n], w[n].q[k], x);
                        }
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
            sums: &mut [[Self::Int; N]; T],
            q: [*const Self::Int; N],
            x: [*const i8; T],
            scale: [Self::Int; N],
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut part = [[Self::splat_int(0); N]; T];
                for k in 0..Q {
                    for t in 0..T {
                        let x = Self::splat_int(four(x[t].add(4 * k)));
                        for n in 0..N {
                            part[t][n] = $dpbusd(part[t][n], *q[n].add(k), x);
                        }
                    }
                }
                for t in 0..T {
                    for n in 0..N {
                        sums[t][n] = Self::add_int(sums[t][n], $mullo(part[t][n], scale[n]));
                    }
                }
            }
        }
    };
}

/// AVX-VNNI: 256-bit vectors.
#[derive(Clone, Copy)]
pub(in crate::x86) struct AvxVnni;

impl AvxVnni {
    #[inline(always)]
    unsafe fn rows<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        let Eight { q, d, m } = unsafe { L::load(rows(0)) };
        Weights::new(q, d, m)
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            read_scales::<L, S>(rows(0), &mut out.weights.scales);
            read_weights::<L, S>(rows(0), &mut out.weights.q);
        }
    }
}

impl Isa for AvxVnni {
    eight_rows!();
    vnni!(_mm256_dpbusd_avx_epi32, _mm256_xor_si256, _mm256_mullo_epi32, _mm256_srai_epi32);
}

/// AVX-512 with VNNI: 512-bit vectors.
#[derive(Clone, Copy)]
pub(in crate::x86) struct Avx512Vnni;

/// Two vectors of eight rows as one.
#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m512i {
    // SAFETY: the caller's promise (AVX-512F).
    unsafe { _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1) }
}

/// Two vectors of eight rows as one.
#[inline(always)]
unsafe fn join_float(low: __m256, high: __m256) -> __m512 {
    // SAFETY: the caller's promise (AVX-512DQ).
    unsafe { _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1) }
}

impl Avx512Vnni {
    #[inline(always)]
    unsafe fn rows<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = (L::load(rows(0)), L::load(rows(8)));
            let mut q = [Self::splat_int(0); 8];
            for k in 0..8 {
                q[k] = join(low.q[k], high.q[k]);
            }
            Weights::new(q, join_float(low.d, high.d), join_float(low.m, high.m))
        }
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            for (half, eight) in out.eight.iter_mut().enumerate() {
                read_weights::<L, S>(rows(8 * half), &mut eight.q);
                read_scales::<L, S>(rows(8 * half), &mut eight.scales);
            }
            join_superblocks(out);
        }
    }
}

/// Two superblocks of eight rows as one; compiled once for all formats.
#[inline(never)]
unsafe fn join_superblocks(out: &mut ScratchK<Avx512Vnni>) {
    #[target_feature(enable = "avx512f,avx512dq")]
    unsafe fn inner(out: &mut ScratchK<Avx512Vnni>) {
        let ScratchK { weights: Superblock { q, scales }, eight: [low, high] } = out;
        // SAFETY: the caller's promise.
        unsafe {
            for k in 0..64 {
                q[k] = join(low.q[k], high.q[k]);
            }
            for s in 0..16 {
                scales.subs[s] = join(low.scales.subs[s], high.scales.subs[s]);
            }
            for g in 0..8 {
                scales.pairs[g] = join(low.scales.pairs[g], high.scales.pairs[g]);
            }
            scales.d = join_float(low.scales.d, high.scales.d);
            scales.dmin = join_float(low.scales.dmin, high.scales.dmin);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { inner(out) }
}

impl Isa for Avx512Vnni {
    const ROWS: usize = 16;
    type Int = __m512i;
    type Float = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise, here and below.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn add_int(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub_int(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(a: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_slli_epi32::<BITS>(a) }
    }
    #[inline(always)]
    unsafe fn multiply_pairs(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_madd_epi16(a, b) }
    }

    vnni!(_mm512_dpbusd_epi32, _mm512_xor_si512, _mm512_mullo_epi32, _mm512_srai_epi32);
}
