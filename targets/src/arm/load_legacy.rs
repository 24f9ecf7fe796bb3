//! Loads of the formats with blocks of 32: four rows, unpacked, with rows in lanes or in vectors.

#![allow(non_camel_case_types, reason = "the formats' names")]

use super::isa::Quants;
use core::arch::aarch64::*;
use core::arch::asm;

/// A block of four rows: the quants, and the rows' scales and minima.
#[derive(Clone, Copy)]
pub(super) struct Four {
    pub(super) q: Quants,
    pub(super) d: float32x4_t,
    pub(super) m: float32x4_t,
}

/// A format with blocks of 32.
///
/// # Safety
/// `load` needs NEON, and rows that have the block.
pub(super) trait Legacy {
    /// Bytes of a block.
    const BYTES: usize;
    /// Largest magnitude in `q`, and of `q + OFFSET`.
    const MAX: i32;
    /// The offset to be added to each value of `q`.
    const OFFSET: i32 = 0;
    /// Whether the format has a minimum.
    const MIN: bool = false;

    /// Levels in a byte, if a level needs nothing else: 2 in nibbles, or 1. Otherwise 0.
    const LEVELS: usize = 0;

    /// The block with rows in lanes or in vectors.
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four;

    /// Level `i` of each byte.
    #[inline(always)]
    unsafe fn level(bytes: uint8x16_t, i: usize) -> int8x16_t {
        nibble(bytes, i)
    }
}

/// The low or the high nibbles.
#[inline(always)]
unsafe fn nibble(bytes: uint8x16_t, i: usize) -> int8x16_t {
    vreinterpretq_s8_u8(if i == 0 { vandq_u8(bytes, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(bytes) })
}

/// Where a block of four rows lies. Offsets are counted inside one row's block.
///
/// # Safety
/// Everything needs NEON, and rows that have the block.
pub(super) trait RowBlock: Copy {
    /// Whether [`sixteen`](RowBlock::sixteen) has rows in lanes.
    const LANES: bool;

    /// Four rows from row `first` on, `bytes` bytes further in a row.
    fn at(self, first: usize, bytes: usize) -> Self;
    /// The f16 numbers at an offset of each row, as floats.
    unsafe fn f16s(self, offset: usize) -> float32x4_t;
    /// The f16 numbers at an offset and behind it.
    unsafe fn two_f16s(self, offset: usize) -> [float32x4_t; 2];
    /// The double words at an offset.
    unsafe fn words(self, offset: usize) -> uint8x16_t;
    /// The 16 bytes at an offset of each row.
    unsafe fn sixteen(self, offset: usize) -> [uint8x16_t; 4];

    /// The 16 bytes at an offset of each row, in the order asked for.
    #[inline(always)]
    unsafe fn ordered16(self, offset: usize, lanes: bool) -> [uint8x16_t; 4] {
        let v = self.sixteen(offset);
        if Self::LANES == lanes { v } else { transpose(v) }
    }

    /// The 32 bytes at an offset of each row, in the order asked for.
    #[inline(always)]
    unsafe fn ordered32(self, offset: usize, lanes: bool) -> [uint8x16_t; 8] {
        let [a, b, c, d] = self.ordered16(offset, lanes);
        let [e, f, g, h] = self.ordered16(offset + 16, lanes);
        [a, b, c, d, e, f, g, h]
    }
}

/// Lane `j` of vector `i` becomes lane `i` of vector `j`: from rows in vectors to rows in lanes, and back.
#[inline(always)]
pub(super) unsafe fn transpose(v: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
    let [a, b, c, d] = v.map(|v| vreinterpretq_u32_u8(v));
    let wide = |v| vreinterpretq_u64_u32(v);
    let (ac, bd) = (wide(vzip1q_u32(a, c)), wide(vzip1q_u32(b, d)));
    let (eg, fh) = (wide(vzip2q_u32(a, c)), wide(vzip2q_u32(b, d)));
    let low = |a, b| vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u64(a), vreinterpretq_u32_u64(b)));
    let high = |a, b| vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u64(a), vreinterpretq_u32_u64(b)));
    [low(ac, bd), high(ac, bd), low(eg, fh), high(eg, fh)]
}

/// Four f16 numbers as floats.
#[inline(always)]
unsafe fn widen(f16s: uint16x4_t) -> float32x4_t {
    let floats: float32x4_t;
    asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) floats, in(vreg) f16s, options(pure, nomem, nostack, preserves_flags));
    floats
}

/// The upper four of eight f16 numbers as floats.
#[inline(always)]
unsafe fn widen_high(f16s: uint16x8_t) -> float32x4_t {
    let floats: float32x4_t;
    asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) floats, in(vreg) f16s, options(pure, nomem, nostack, preserves_flags));
    floats
}

/// Sixteen lanes.
pub(super) type Sixteen = [float32x4_t; 4];

/// Eight f16 numbers, as floats.
#[inline(always)]
pub(super) unsafe fn eight_f16s(from: *const u16) -> [float32x4_t; 2] {
    let f16s = vreinterpretq_u16_u8(vld1q_u8(from.cast()));
    [widen(vget_low_u16(f16s)), widen_high(f16s)]
}

/// Sixteen f16 numbers, as floats.
#[inline(always)]
pub(super) unsafe fn sixteen_f16s(from: *const u16) -> Sixteen {
    let ([a, b], [c, d]) = (eight_f16s(from), eight_f16s(from.add(8)));
    [a, b, c, d]
}

/// Rows one after another, as a GGUF file has them.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// The block in the first row.
    pub(super) block: *const u8,
    pub(super) row_bytes: usize,
}

impl RowBlock for Plain {
    const LANES: bool = false;

    #[inline(always)]
    fn at(self, first: usize, bytes: usize) -> Plain {
        Plain { block: self.block.wrapping_add(first * self.row_bytes + bytes), ..self }
    }

    #[inline(always)]
    unsafe fn f16s(self, offset: usize) -> float32x4_t {
        // Loads of one lane need no alignment.
        let at = |i: usize| self.block.add(i * self.row_bytes + offset).cast::<u16>();
        let v = vreinterpret_u16_u64(vdup_n_u64(at(0).read_unaligned() as u64));
        let v = vld1_lane_u16::<1>(at(1), v);
        let v = vld1_lane_u16::<2>(at(2), v);
        widen(vld1_lane_u16::<3>(at(3), v))
    }

    #[inline(always)]
    unsafe fn two_f16s(self, offset: usize) -> [float32x4_t; 2] {
        let words = vreinterpretq_u16_u8(self.words(offset));
        let f16s = vuzp1q_u16(words, words);
        [widen(vget_low_u16(f16s)), widen(vget_low_u16(vuzp2q_u16(words, words)))]
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> uint8x16_t {
        // Loads of one lane need no alignment.
        let at = |i: usize| self.block.add(i * self.row_bytes + offset).cast::<u32>();
        let v = vsetq_lane_u32::<0>(at(0).read_unaligned(), vdupq_n_u32(0));
        let v = vld1q_lane_u32::<1>(at(1), v);
        let v = vld1q_lane_u32::<2>(at(2), v);
        vreinterpretq_u8_u32(vld1q_lane_u32::<3>(at(3), v))
    }

    #[inline(always)]
    unsafe fn sixteen(self, offset: usize) -> [uint8x16_t; 4] {
        core::array::from_fn(|i| vld1q_u8(self.block.add(i * self.row_bytes + offset)))
    }
}

/// Four of the sixteen rows of a packed panel, in which each field of a block lies together for all rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// The block of all sixteen rows.
    pub(super) block: *const u8,
    /// A multiple of 4.
    pub(super) first_row: usize,
}

impl RowBlock for Panel {
    const LANES: bool = true;

    #[inline(always)]
    fn at(self, first: usize, bytes: usize) -> Panel {
        Panel { block: self.block.wrapping_add(16 * bytes), first_row: self.first_row + first }
    }

    #[inline(always)]
    unsafe fn f16s(self, offset: usize) -> float32x4_t {
        // The load needs no alignment.
        widen(vreinterpret_u16_u8(vld1_u8(self.block.add(16 * offset + 2 * self.first_row))))
    }

    #[inline(always)]
    unsafe fn two_f16s(self, offset: usize) -> [float32x4_t; 2] {
        [self.f16s(offset), self.f16s(offset + 2)]
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> uint8x16_t {
        vld1q_u8(self.block.add(16 * offset + 4 * self.first_row))
    }

    #[inline(always)]
    unsafe fn sixteen(self, offset: usize) -> [uint8x16_t; 4] {
        core::array::from_fn(|k| self.words(offset + 4 * k))
    }
}

/// No scale or minimum.
#[inline(always)]
pub(super) fn nothing() -> float32x4_t {
    // SAFETY: every aarch64 has NEON.
    unsafe { vdupq_n_f32(0.0) }
}

/// Sixteen nibble bytes a row: low nibbles are inputs 0..16, high nibbles 16..32.
#[inline(always)]
unsafe fn nibbles(rows: impl RowBlock, offset: usize, lanes: bool) -> [uint8x16_t; 8] {
    let [a, b, c, d] = rows.ordered16(offset, lanes);
    let low = |v| vandq_u8(v, vdupq_n_u8(15));
    let high = |v| vshrq_n_u8::<4>(v);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

/// The same bytes with sign.
#[inline(always)]
pub(super) unsafe fn signed(q: [uint8x16_t; 8]) -> Quants {
    q.map(|q| vreinterpretq_s8_u8(q))
}

/// Levels of five bits, less 16: the nibbles, and the fifth bit of input `i` in bit `i` of the double word in front of them.
#[inline(always)]
unsafe fn five_bits(rows: impl RowBlock, offset: usize, lanes: bool) -> Quants {
    let cleared = vmvnq_u8(rows.words(offset));
    let [a, b, c, d] = rows.ordered16(offset + 4, lanes);
    let high = |v| vshrq_n_u8::<4>(v);
    let mut q = [a, b, c, d, high(a), high(b), high(c), high(d)];
    for (k, q) in q.iter_mut().enumerate() {
        // The byte with each input's bit, then a mask of ones where the bit was not set, shifted in above the nibble.
        let mask = if lanes {
            let spread = vreinterpretq_u8_u32(vdupq_n_u32((k / 2) as u32 * 0x0101_0101));
            let rows = vreinterpretq_u8_u64(vcombine_u64(
                vcreate_u64(0x0404_0404_0000_0000),
                vcreate_u64(0x0c0c_0c0c_0808_0808),
            ));
            let bits = vdupq_n_u32(if k % 2 == 0 { 0x0804_0201 } else { 0x8040_2010 });
            vtstq_u8(vqtbl1q_u8(cleared, vaddq_u8(rows, spread)), vreinterpretq_u8_u32(bits))
        } else {
            let byte = (4 * (k % 4) + k / 4 * 2) as u8;
            let spread = vcombine_u8(vdup_n_u8(byte), vdup_n_u8(byte + 1));
            let bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
            vtstq_u8(vqtbl1q_u8(cleared, spread), bits)
        };
        *q = vsliq_n_u8::<4>(*q, mask);
    }
    signed(q)
}

pub(super) struct Q4_0;
impl Legacy for Q4_0 {
    const BYTES: usize = 18;
    const MAX: i32 = 15;
    const OFFSET: i32 = -8;
    const LEVELS: usize = 2;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        Four { q: signed(nibbles(rows, 2, lanes)), d: rows.f16s(0), m: nothing() }
    }
}

pub(super) struct Q4_1;
impl Legacy for Q4_1 {
    const BYTES: usize = 20;
    const MAX: i32 = 15;
    const MIN: bool = true;
    const LEVELS: usize = 2;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        let [d, m] = rows.two_f16s(0);
        Four { q: signed(nibbles(rows, 4, lanes)), d, m }
    }
}

pub(super) struct Q5_0;
impl Legacy for Q5_0 {
    const BYTES: usize = 22;
    const MAX: i32 = 16;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        Four { q: five_bits(rows, 2, lanes), d: rows.f16s(0), m: nothing() }
    }
}

pub(super) struct Q5_1;
impl Legacy for Q5_1 {
    const BYTES: usize = 24;
    const MAX: i32 = 31;
    const OFFSET: i32 = 16;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        let [d, m] = rows.two_f16s(0);
        Four { q: five_bits(rows, 4, lanes), d, m }
    }
}

pub(super) struct Q8_0;
impl Legacy for Q8_0 {
    const BYTES: usize = 34;
    const MAX: i32 = 128;
    const LEVELS: usize = 1;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        Four { q: signed(rows.ordered32(2, lanes)), d: rows.f16s(0), m: nothing() }
    }

    #[inline(always)]
    unsafe fn level(bytes: uint8x16_t, _: usize) -> int8x16_t {
        vreinterpretq_s8_u8(bytes)
    }
}

pub(super) struct IQ4_NL;
impl Legacy for IQ4_NL {
    const BYTES: usize = 18;
    const MAX: i32 = 127;
    const LEVELS: usize = 2;

    #[inline(always)]
    unsafe fn load(rows: impl RowBlock, lanes: bool) -> Four {
        // The table has sixteen bytes.
        let values = vld1q_s8(smidgen_quant::iq4_nl::VALUES.as_ptr());
        let q = nibbles(rows, 2, lanes).map(|q| vqtbl1q_s8(values, q));
        Four { q, d: rows.f16s(0), m: nothing() }
    }

    #[inline(always)]
    unsafe fn level(bytes: uint8x16_t, i: usize) -> int8x16_t {
        // The table has sixteen bytes.
        let values = vld1q_s8(smidgen_quant::iq4_nl::VALUES.as_ptr());
        vqtbl1q_s8(values, vreinterpretq_u8_s8(nibble(bytes, i)))
    }
}
