//! Activations rounded to int8.

use core::arch::aarch64::*;
use smidgen_quant::activation::scale_of;

/// Largest magnitude of 32 values in each of four lanes.
#[inline(always)]
unsafe fn magnitudes(x: &[f32; 32]) -> float32x4_t {
    let at = |i: usize| vabsq_f32(vld1q_f32(x.as_ptr().add(4 * i)));
    let two = |i: usize| vmaxnmq_f32(at(i), at(i + 1));
    vmaxnmq_f32(vmaxnmq_f32(two(0), two(2)), vmaxnmq_f32(two(4), two(6)))
}

/// Rounds 32 values times a factor to int8, and gives the sums of the two halves.
#[inline(always)]
unsafe fn group(x: &[f32; 32], factor: f32, q: &mut [i8; 32]) -> [i32; 2] {
    // The conversion rounds to nearest, ties to even.
    let int = |i: usize| vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x.as_ptr().add(4 * i)), factor));
    let eight = |i: usize| vuzp1q_s16(vreinterpretq_s16_s32(int(i)), vreinterpretq_s16_s32(int(i + 1)));
    let half = |i: usize| vuzp1q_s8(vreinterpretq_s8_s16(eight(i)), vreinterpretq_s8_s16(eight(i + 2)));
    let (low, high) = (half(0), half(4));
    vst1q_s8(q.as_mut_ptr(), low);
    vst1q_s8(q.as_mut_ptr().add(16), high);
    [vaddlvq_s8(low) as i32, vaddlvq_s8(high) as i32]
}

/// See `smidgen_quant::activation::quantize_q8`.
#[allow(clippy::too_many_arguments, reason = "the reference's signature")]
pub(super) fn quantize_q8(
    x: &[f32],
    t: usize,
    tokens: usize,
    qs: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
    offsets: &mut [f32],
) {
    let qs = qs.as_chunks_mut::<32>().0;
    for (b, block) in x.as_chunks::<32>().0.iter().enumerate() {
        let at = b * tokens + t;
        // SAFETY: every aarch64 has NEON.
        let (scale, [low, high]) = unsafe {
            let (scale, factor) = scale_of(vmaxnmvq_f32(magnitudes(block)));
            (scale, group(block, factor, &mut qs[at]))
        };
        scales[at] = scale;
        sums[at] = low + high;
        offsets[at] = scale * (low + high) as f32;
    }
}

/// See `smidgen_quant::activation::quantize_q8k`.
pub(super) fn quantize_q8k(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    let qs = qs.as_chunks_mut::<32>().0;
    for (b, block) in x.as_chunks::<256>().0.iter().enumerate() {
        let groups = block.as_chunks::<32>().0;
        // SAFETY: every aarch64 has NEON.
        unsafe {
            let mut largest = vdupq_n_f32(0.0);
            for group in groups {
                largest = vmaxnmq_f32(largest, magnitudes(group));
            }
            let (scale, factor) = scale_of(vmaxnmvq_f32(largest));
            scales[b * tokens + t] = scale;
            for (g, values) in groups.iter().enumerate() {
                let at = (8 * b + g) * tokens + t;
                let halves = group(values, factor, &mut qs[at]);
                sums[2 * at..2 * at + 2].copy_from_slice(&halves.map(|sum| sum as i16));
            }
        }
    }
}
