//! Vectors of `f32`, of 256 or 512 bits.

use core::arch::x86_64::*;
use smidgen_quant::math::exponential::{BIAS, LARGEST, LN2, LOG2_E, MAGIC, POLYNOMIAL, SMALLEST};
use smidgen_quant::ops;

/// Eight or sixteen floats.
///
/// # Safety
/// Everything needs AVX2, F16C and the CPU features of the type (for sixteen AVX-512F and DQ), and memory behind the pointers.
pub(super) trait VecF32: Copy {
    /// Floats in a vector.
    const LEN: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// Each number of `self` that is larger than the other, and else the other.
    unsafe fn larger(self, other: Self) -> Self;
    /// Each number of `self` that is smaller than the other, and else the other.
    unsafe fn smaller(self, other: Self) -> Self;
    /// Binary16 numbers as floats.
    unsafe fn f16s(from: *const u16) -> Self;
    /// Bytes with signs as floats.
    unsafe fn bytes(from: *const i8) -> Self;
    /// The power of two whose exponent is in the low bits, less [`BIAS`].
    unsafe fn power(self) -> Self;
    /// `value`, or zero where `self` is smaller than `limit`.
    unsafe fn or_zero_below(self, limit: Self, value: Self) -> Self;
    /// The lower and the upper eight of the reference's sixteen stripes, of which these are the first and the last vector, or the only one twice.
    unsafe fn stripes(parts: [Self; 2]) -> [__m256; 2];
}

/// The operations that both lengths have under names of their own.
macro_rules! vector {
    ($type:ty, $len:literal: $($name:ident($($arguments:tt)*) $(-> $result:ty)? => $body:expr;)*) => {
        impl VecF32 for $type {
            const LEN: usize = $len;
            $(
                #[inline(always)]
                #[allow(unused_unsafe, reason = "a body may need none")]
                unsafe fn $name($($arguments)*) $(-> $result)? {
                    $body
                }
            )*
        }
    };
}

vector! {
    __m256, 8:
    splat(x: f32) -> __m256 => _mm256_set1_ps(x);
    load(from: *const f32) -> __m256 => _mm256_loadu_ps(from);
    store(self, to: *mut f32) => _mm256_storeu_ps(to, self);
    add(self, other: __m256) -> __m256 => _mm256_add_ps(self, other);
    sub(self, other: __m256) -> __m256 => _mm256_sub_ps(self, other);
    mul(self, other: __m256) -> __m256 => _mm256_mul_ps(self, other);
    div(self, other: __m256) -> __m256 => _mm256_div_ps(self, other);
    larger(self, other: __m256) -> __m256 => _mm256_max_ps(self, other);
    smaller(self, other: __m256) -> __m256 => _mm256_min_ps(self, other);
    f16s(from: *const u16) -> __m256 => _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
    bytes(from: *const i8) -> __m256 => _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())));
    power(self) -> __m256 => {
        let exponent = _mm256_add_epi32(_mm256_castps_si256(self), _mm256_set1_epi32(BIAS as i32));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    };
    or_zero_below(self, limit: __m256, value: __m256) -> __m256
        => _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(self, limit), value);
    stripes(parts: [__m256; 2]) -> [__m256; 2] => parts;
}

vector! {
    __m512, 16:
    splat(x: f32) -> __m512 => _mm512_set1_ps(x);
    load(from: *const f32) -> __m512 => _mm512_loadu_ps(from);
    store(self, to: *mut f32) => _mm512_storeu_ps(to, self);
    add(self, other: __m512) -> __m512 => _mm512_add_ps(self, other);
    sub(self, other: __m512) -> __m512 => _mm512_sub_ps(self, other);
    mul(self, other: __m512) -> __m512 => _mm512_mul_ps(self, other);
    div(self, other: __m512) -> __m512 => _mm512_div_ps(self, other);
    larger(self, other: __m512) -> __m512 => _mm512_max_ps(self, other);
    smaller(self, other: __m512) -> __m512 => _mm512_min_ps(self, other);
    f16s(from: *const u16) -> __m512 => _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()));
    bytes(from: *const i8) -> __m512 => _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())));
    power(self) -> __m512 => {
        let exponent = _mm512_add_epi32(_mm512_castps_si512(self), _mm512_set1_epi32(BIAS as i32));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
    };
    or_zero_below(self, limit: __m512, value: __m512) -> __m512
        => _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self, limit), value);
    stripes(parts: [__m512; 2]) -> [__m256; 2]
        => [_mm512_castps512_ps256(parts[0]), _mm512_extractf32x8_ps::<1>(parts[0])];
}

/// The reference's tree over sixteen stripes: `i` and `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
#[inline(always)]
pub(super) unsafe fn tree(stripes: [__m256; 2], join: impl Fn(__m256, __m256) -> __m256) -> f32 {
    let eight = join(stripes[0], stripes[1]);
    let four = join(eight, _mm256_permute2f128_ps::<1>(eight, eight));
    let two = join(four, _mm256_permute_ps::<0b01_00_11_10>(four));
    _mm256_cvtss_f32(join(two, _mm256_permute_ps::<0b10_11_00_01>(two)))
}

/// `math::exp` of each number. Step by step for all vectors: each is one long chain, and a processor that meets them one after another sees too few
/// of them at a time. (Loops, not closures: the compiler would not always make these part of a function with the machine's features.)
#[inline(always)]
pub(super) unsafe fn exp<V: VecF32, const N: usize>(x: [V; N]) -> [V; N] {
    let (smallest, magic) = (V::splat(SMALLEST), V::splat(MAGIC));
    let (mut r, mut shifted, mut p) = (x, x, [V::splat(POLYNOMIAL[0]); N]);
    for n in 0..N {
        r[n] = smallest.larger(V::splat(LARGEST).smaller(x[n]));
    }
    for n in 0..N {
        shifted[n] = r[n].mul(V::splat(LOG2_E)).add(magic);
    }
    for part in LN2 {
        for n in 0..N {
            r[n] = r[n].sub(shifted[n].sub(magic).mul(V::splat(part)));
        }
    }
    for coefficient in &POLYNOMIAL[1..] {
        for n in 0..N {
            p[n] = p[n].mul(r[n]).add(V::splat(*coefficient));
        }
    }
    for n in 0..N {
        p[n] = p[n].mul(r[n].mul(r[n])).add(r[n]).add(V::splat(1.0));
    }
    for n in 0..N {
        p[n] = x[n].or_zero_below(smallest, p[n].mul(shifted[n].power()));
    }
    p
}

/// See `smidgen_quant::ops::silu_mul`.
///
/// # Safety
/// As for [`VecF32`].
#[inline(always)]
pub(super) unsafe fn silu_mul<V: VecF32>(gate: &mut [f32], up: &[f32]) {
    const TOKENS_TOGETHER: usize = 4;
    let whole = gate.len().min(up.len()) / (TOKENS_TOGETHER * V::LEN) * (TOKENS_TOGETHER * V::LEN);
    // Both have `whole` numbers.
    for at in (0..whole).step_by(TOKENS_TOGETHER * V::LEN) {
        let gate = gate.as_mut_ptr().add(at);
        let mut minus = [V::splat(0.0); TOKENS_TOGETHER];
        for i in 0..TOKENS_TOGETHER {
            minus[i] = minus[i].sub(V::load(gate.add(i * V::LEN)));
        }
        let powers = exp(minus);
        for i in 0..TOKENS_TOGETHER {
            let silu = V::load(gate.add(i * V::LEN)).div(V::splat(1.0).add(powers[i]));
            silu.mul(V::load(up.as_ptr().add(at + i * V::LEN))).store(gate.add(i * V::LEN));
        }
    }
    ops::silu_mul(&mut gate[whole..], &up[whole..]);
}
