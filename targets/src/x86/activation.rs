//! Activations rounded to int8.

use core::arch::x86_64::*;
use smidgen_quant::activation::scale_of;

/// Largest of eight lanes.
#[inline(always)]
unsafe fn largest_lane(v: __m256) -> f32 {
    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
}

/// Largest magnitude of 32 values in each of eight lanes.
#[inline(always)]
unsafe fn magnitudes(x: *const f32) -> __m256 {
    let magnitude = |i: usize| _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_loadu_ps(x.add(8 * i)));
    _mm256_max_ps(_mm256_max_ps(magnitude(0), magnitude(1)), _mm256_max_ps(magnitude(2), magnitude(3)))
}

/// Rounds 32 values times a factor to int8, and gives the sums of the two halves.
#[inline(always)]
unsafe fn group(x: *const f32, factor: f32, q: *mut i8) -> [i32; 2] {
    // The conversion rounds to nearest, ties to even: Rust does not allow another rounding mode.
    let factor = _mm256_set1_ps(factor);
    let int = |i: usize| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x.add(8 * i)), factor));
    let low = _mm256_packs_epi32(int(0), int(1));
    let high = _mm256_packs_epi32(int(2), int(3));
    let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(q.cast(), bytes);
    let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    let sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0b01_00_11_10));
    let sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0b10_11_00_01));
    [_mm256_cvtsi256_si32(sums), _mm256_extract_epi32(sums, 4)]
}

/// See `smidgen_quant::activation::quantize_q8`.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn quantize_q8(
    x: &[f32],
    t: usize,
    tokens: usize,
    qs: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
    offsets: &mut [f32],
) {
    for (b, block) in x.as_chunks::<32>().0.iter().enumerate() {
        let at = b * tokens + t;
        // A block has 32 values, and so have the quants of one.
        let (scale, [low, high]) = {
            let (scale, factor) = scale_of(largest_lane(magnitudes(block.as_ptr())));
            (scale, group(block.as_ptr(), factor, qs[32 * at..32 * at + 32].as_mut_ptr()))
        };
        scales[at] = scale;
        sums[at] = low + high;
        offsets[at] = scale * (low + high) as f32;
    }
}

/// See `smidgen_quant::activation::quantize_q8k`.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn quantize_q8k(
    x: &[f32],
    t: usize,
    tokens: usize,
    qs: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i16],
) {
    for (b, block) in x.as_chunks::<256>().0.iter().enumerate() {
        // A block has 8 groups of 32 values, and so have the quants of one.
        let mut largest = _mm256_setzero_ps();
        for g in 0..8 {
            largest = _mm256_max_ps(largest, magnitudes(block.as_ptr().add(32 * g)));
        }
        let (scale, factor) = scale_of(largest_lane(largest));
        scales[b * tokens + t] = scale;
        for g in 0..8 {
            let at = (8 * b + g) * tokens + t;
            let f16s = group(block.as_ptr().add(32 * g), factor, qs[32 * at..32 * at + 32].as_mut_ptr());
            sums[2 * at..2 * at + 2].copy_from_slice(&f16s.map(|sum| sum as i16));
        }
    }
}
