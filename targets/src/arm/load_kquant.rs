//! Loads of K-quants, superblocks of 256: four rows, unpacked, with rows in lanes or in vectors.

#![allow(non_camel_case_types, reason = "the formats' names")]

use super::isa::Quants;
use super::load_legacy::{RowBlock, nothing, signed};
use core::arch::aarch64::*;

/// Scales and minima of a superblock of four rows. Lanes are rows.
pub(super) struct Head {
    /// Scale of each sub-block.
    pub(super) scales: [int32x4_t; 16],
    /// Minimum of each sub-block, where the format has one.
    pub(super) minima: [int32x4_t; 16],
    pub(super) d: float32x4_t,
    pub(super) dmin: float32x4_t,
}

impl Head {
    pub(super) fn new() -> Head {
        // SAFETY: every aarch64 has NEON.
        let zero = unsafe { vdupq_n_s32(0) };
        Head { scales: [zero; 16], minima: [zero; 16], d: nothing(), dmin: nothing() }
    }
}

/// A format with superblocks of 256.
///
/// # Safety
/// The functions need NEON, and rows that have the superblock.
pub(super) trait KQuant {
    /// Bytes of a superblock.
    const BYTES: usize;
    /// Weights that share a scale: 16 or 32.
    const SUB: usize;
    /// Largest value of the quants, which have no sign.
    const MAX: i32;
    /// The offset to be added to each of them. Zero if `SUB` is 32.
    const OFFSET: i32 = 0;
    /// Whether sub-blocks have minima.
    const MIN: bool = false;
    /// Groups of 32 weights, 2 or 4, that share bytes.
    const GROUPS: usize;

    unsafe fn head(rows: impl RowBlock, head: &mut Head);

    /// Group `GROUPS part + J`, with rows in lanes or in vectors.
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants;
}

/// Byte `BYTE` of each double word.
#[inline(always)]
unsafe fn bytes(v: uint8x16_t, out: &mut [int32x4_t]) {
    let (v, mask) = (vreinterpretq_u32_u8(v), vdupq_n_u32(255));
    out[0] = vreinterpretq_s32_u32(vandq_u32(v, mask));
    out[1] = vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32::<8>(v), mask));
    out[2] = vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32::<16>(v), mask));
    out[3] = vreinterpretq_s32_u32(vshrq_n_u32::<24>(v));
}

/// The bytes of each double word, which have a sign.
#[inline(always)]
unsafe fn signed_bytes(v: uint8x16_t, out: &mut [int32x4_t]) {
    let v = vreinterpretq_s32_u8(v);
    out[0] = vshrq_n_s32::<24>(vshlq_n_s32::<24>(v));
    out[1] = vshrq_n_s32::<24>(vshlq_n_s32::<16>(v));
    out[2] = vshrq_n_s32::<24>(vshlq_n_s32::<8>(v));
    out[3] = vshrq_n_s32::<24>(v);
}

/// The lower bits of each byte.
#[inline(always)]
unsafe fn masked(v: uint8x16_t, mask: u8) -> uint8x16_t {
    vandq_u8(v, vdupq_n_u8(mask))
}

/// The six-bit scales and minima that Q4_K and Q5_K share: twelve bytes at an offset of each row.
#[inline(always)]
unsafe fn scales_and_minima(rows: impl RowBlock, offset: usize, head: &mut Head) {
    let (a, b, c) = (rows.words(offset), rows.words(offset + 4), rows.words(offset + 8));
    let top = |v| masked(vshrq_n_u8::<2>(v), 48);
    bytes(masked(a, 63), &mut head.scales[..4]);
    bytes(vorrq_u8(masked(c, 15), top(a)), &mut head.scales[4..8]);
    bytes(masked(b, 63), &mut head.minima[..4]);
    bytes(vorrq_u8(vshrq_n_u8::<4>(c), top(b)), &mut head.minima[4..8]);
}

pub(super) struct Q4_K;
impl KQuant for Q4_K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const MAX: i32 = 15;
    const MIN: bool = true;
    const GROUPS: usize = 2;

    #[inline(always)]
    unsafe fn head(rows: impl RowBlock, head: &mut Head) {
        [head.d, head.dmin] = rows.two_f16s(0);
        scales_and_minima(rows, 4, head);
    }

    #[inline(always)]
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants {
        let both = rows.ordered32(16 + 32 * part, lanes);
        signed(both.map(|v| if J == 0 { masked(v, 15) } else { vshrq_n_u8::<4>(v) }))
    }
}

pub(super) struct Q5_K;
impl KQuant for Q5_K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const MAX: i32 = 31;
    const MIN: bool = true;
    const GROUPS: usize = 2;

    #[inline(always)]
    unsafe fn head(rows: impl RowBlock, head: &mut Head) {
        [head.d, head.dmin] = rows.two_f16s(0);
        scales_and_minima(rows, 4, head);
    }

    #[inline(always)]
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants {
        let both = rows.ordered32(48 + 32 * part, lanes);
        let fifth = rows.ordered32(16, lanes);
        // The group's bit moves to the lowest place, from which it is shifted in above the nibble.
        let down = vdupq_n_s8(-((2 * part + J) as i8));
        let mut q = both.map(|v| if J == 0 { v } else { vshrq_n_u8::<4>(v) });
        for k in 0..8 {
            q[k] = masked(vsliq_n_u8::<4>(q[k], vshlq_u8(fifth[k], down)), 31);
        }
        signed(q)
    }
}

pub(super) struct Q6_K;
impl KQuant for Q6_K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const MAX: i32 = 63;
    const OFFSET: i32 = -32;
    const GROUPS: usize = 4;

    #[inline(always)]
    unsafe fn head(rows: impl RowBlock, head: &mut Head) {
        head.d = rows.f16s(208);
        let scales = rows.ordered16(192, true);
        for (scales, out) in scales.into_iter().zip(head.scales.as_chunks_mut::<4>().0) {
            signed_bytes(scales, out);
        }
    }

    #[inline(always)]
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants {
        let low = rows.ordered32(64 * part + J % 2 * 32, lanes);
        let top = rows.ordered32(128 + 32 * part, lanes);
        // Shifts that insert: the two upper bits above a low nibble, or a high nibble below the two upper bits.
        let mut q = low;
        for k in 0..8 {
            q[k] = match J {
                0 => masked(vsliq_n_u8::<4>(low[k], top[k]), 63),
                1 => masked(vsliq_n_u8::<4>(low[k], vshrq_n_u8::<2>(top[k])), 63),
                2 => masked(vsriq_n_u8::<4>(top[k], low[k]), 63),
                _ => vsriq_n_u8::<4>(vshrq_n_u8::<2>(top[k]), low[k]),
            };
        }
        signed(q)
    }
}

/// Two bits of each byte, the first group in the lowest.
#[inline(always)]
unsafe fn two_bits<const J: usize>(bytes: [uint8x16_t; 8]) -> [uint8x16_t; 8] {
    bytes.map(|v| match J {
        0 => masked(v, 3),
        1 => masked(vshrq_n_u8::<2>(v), 3),
        2 => masked(vshrq_n_u8::<4>(v), 3),
        _ => vshrq_n_u8::<6>(v),
    })
}

pub(super) struct Q2_K;
impl KQuant for Q2_K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const MAX: i32 = 3;
    const MIN: bool = true;
    const GROUPS: usize = 4;

    #[inline(always)]
    unsafe fn head(rows: impl RowBlock, head: &mut Head) {
        [head.d, head.dmin] = rows.two_f16s(80);
        for (i, both) in rows.ordered16(0, true).into_iter().enumerate() {
            bytes(masked(both, 15), &mut head.scales[4 * i..4 * i + 4]);
            bytes(vshrq_n_u8::<4>(both), &mut head.minima[4 * i..4 * i + 4]);
        }
    }

    #[inline(always)]
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants {
        signed(two_bits::<J>(rows.ordered32(16 + 32 * part, lanes)))
    }
}

pub(super) struct Q3_K;
impl KQuant for Q3_K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const MAX: i32 = 7;
    const OFFSET: i32 = -4;
    const GROUPS: usize = 4;

    #[inline(always)]
    unsafe fn head(rows: impl RowBlock, head: &mut Head) {
        head.d = rows.f16s(108);
        let (x, y, top) = (rows.words(96), rows.words(100), rows.words(104));
        let join = |low, high| vsubq_u8(vorrq_u8(masked(low, 15), masked(high, 48)), vdupq_n_u8(32));
        let scales = [
            join(x, vshlq_n_u8::<4>(top)),
            join(y, vshlq_n_u8::<2>(top)),
            join(vshrq_n_u8::<4>(x), top),
            join(vshrq_n_u8::<4>(y), vshrq_n_u8::<2>(top)),
        ];
        for (scales, out) in scales.into_iter().zip(head.scales.as_chunks_mut::<4>().0) {
            signed_bytes(scales, out);
        }
    }

    #[inline(always)]
    unsafe fn group<S: RowBlock, const J: usize>(rows: S, lanes: bool, part: usize) -> Quants {
        let mut q = rows.ordered32(32 + 32 * part, lanes);
        let third = rows.ordered32(0, lanes);
        let down = vdupq_n_s8(-((4 * part + J) as i8));
        for k in 0..8 {
            let two = match J {
                0 => q[k],
                1 => vshrq_n_u8::<2>(q[k]),
                2 => vshrq_n_u8::<4>(q[k]),
                _ => vshrq_n_u8::<6>(q[k]),
            };
            q[k] = masked(vsliq_n_u8::<2>(two, vshlq_u8(third[k], down)), 7);
        }
        signed(q)
    }
}
