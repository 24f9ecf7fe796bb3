//! The packed 6-bit scales of the K-quants, and what else their blocks of 256 share.

use crate::legacy::dot;
use crate::{Q8K, f16_to_f32, f32_to_f16_saturating};

/// Every byte of a word, masked.
const fn each(byte: u8) -> u32 {
    u32::from_le_bytes([byte; 4])
}

#[inline(always)]
fn words(bytes: &[u8; 12]) -> [u32; 3] {
    let [a, b, c] = [0, 4, 8].map(|i| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]));
    [a, b, c]
}

#[inline(always)]
fn join(low: u32, high: u32) -> [u8; 8] {
    (low as u64 | (high as u64) << 32).to_le_bytes()
}

/// The eight 6-bit scales and the eight 6-bit minima of Q4_K and Q5_K, each 0 to 63.
///
/// Bytes 0 to 3 hold scales 0 to 3 in their low six bits, bytes 4 to 7 the minima 0 to 3; bytes 8 to 11 hold the low nibbles of
/// scales 4 to 7 (low) and minima 4 to 7 (high), whose upper two bits are on top of bytes 0 to 7.
#[inline(always)]
pub fn scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let [a, b, c] = words(packed);
    let scales = join(a & each(63), c & each(15) | a >> 2 & each(48));
    let mins = join(b & each(63), c >> 4 & each(15) | b >> 2 & each(48));
    (scales, mins)
}

/// The inverse of [`scales_and_mins`], for values up to 63.
pub fn pack_scales_and_mins(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    core::array::from_fn(|i| match i {
        0..4 => scales[i] & 63 | scales[i + 4] >> 4 << 6,
        4..8 => mins[i - 4] & 63 | mins[i] >> 4 << 6,
        _ => scales[i - 4] & 15 | mins[i - 4] << 4,
    })
}

/// The sixteen scales of Q3_K, each -32 to 31.
///
/// Byte `i < 8` holds the low nibbles of scales `i` and `i + 8`; bits `2 j` and `2 j + 1` of byte `8 + i` are the upper two of
/// scale `4 j + i`.
#[inline(always)]
pub fn signed_scales(packed: &[u8; 12]) -> [i8; 16] {
    let [a, b, c] = words(packed);
    let low = join(a & each(15) | (c & each(3)) << 4, b & each(15) | (c >> 2 & each(3)) << 4);
    let high = join(a >> 4 & each(15) | (c >> 4 & each(3)) << 4, b >> 4 & each(15) | (c >> 6 & each(3)) << 4);
    core::array::from_fn(|i| if i < 8 { low[i] as i8 } else { high[i - 8] as i8 } - 32)
}

/// The inverse of [`signed_scales`], for values from -32 to 31.
pub fn pack_signed_scales(scales: &[i8; 16]) -> [u8; 12] {
    let codes = scales.map(|scale| (scale + 32) as u8);
    core::array::from_fn(|i| match i {
        0..8 => codes[i] & 15 | (codes[i + 8] & 15) << 4,
        _ => (0..4).fold(0, |byte, j| byte | (codes[4 * j + i - 8] >> 4 & 3) << (2 * j)),
    })
}

/// Σ over the eight groups of block `b`, token `t`: the group's scale times Σ q x.
#[inline(always)]
pub(crate) fn dot_groups(scales: &[u8; 8], levels: impl Fn(usize) -> [i8; 32], x: &Q8K, b: usize, t: usize) -> i32 {
    let mut sum = 0;
    for (g, scale) in scales.iter().enumerate() {
        sum += *scale as i32 * dot(&levels(g), x.group(8 * b + g, t));
    }
    sum
}

/// Σ over the eight groups of block `b`, token `t`: the group's minimum times Σ x.
#[inline(always)]
pub(crate) fn dot_mins(mins: &[u8; 8], x: &Q8K, b: usize, t: usize) -> i32 {
    let mut sum = 0;
    for (g, min) in mins.iter().enumerate() {
        let s = 16 * b + 2 * g;
        sum += *min as i32 * (x.sum(s, t) + x.sum(s + 1, t));
    }
    sum
}

/// As [`dot_groups`], with a signed scale for every 16 weights.
#[inline(always)]
pub(crate) fn dot_signed(scales: &[i8; 16], levels: impl Fn(usize) -> [i8; 32], x: &Q8K, b: usize, t: usize) -> i32 {
    let mut sum = 0;
    for (g, pair) in scales.as_chunks::<2>().0.iter().enumerate() {
        let (levels, xs) = (levels(g), x.group(8 * b + g, t));
        for (half, scale) in pair.iter().enumerate() {
            let part = 16 * half..16 * half + 16;
            sum += *scale as i32 * dot(&levels[part.clone()], &xs[part]);
        }
    }
    sum
}

/// The 2-bit levels of group `g` of Q2_K and Q3_K: bits `2 (g % 4)` of 32 bytes.
#[inline(always)]
pub(crate) fn two_bits(qs: &[u8; 64], g: usize) -> [i8; 32] {
    let bytes = thirty_two(qs, g / 4);
    // Shifts by a constant vectorize.
    match g % 4 {
        0 => bytes.map(|q| (q & 3) as i8),
        1 => bytes.map(|q| (q >> 2 & 3) as i8),
        2 => bytes.map(|q| (q >> 4 & 3) as i8),
        _ => bytes.map(|q| (q >> 6) as i8),
    }
}

/// The 4-bit levels of group `g` of Q4_K and Q5_K: the low nibbles of 32 bytes, or the high ones if `g` is odd.
#[inline(always)]
pub(crate) fn four_bits(qs: &[u8; 128], g: usize) -> [i8; 32] {
    let bytes = thirty_two(qs, g / 2);
    if g.is_multiple_of(2) { bytes.map(|q| (q & 15) as i8) } else { bytes.map(|q| (q >> 4) as i8) }
}

/// `level` for every byte that has bit `g`, zero for the others.
#[inline(always)]
pub(crate) fn bit_as(level: i8, bytes: &[u8; 32], g: usize) -> [i8; 32] {
    let bit = 1 << g;
    bytes.map(|byte| if byte & bit != 0 { level } else { 0 })
}

#[inline(always)]
fn thirty_two(bytes: &[u8], i: usize) -> [u8; 32] {
    bytes.as_chunks::<32>().0[i]
}

/// The bits of the nearest finite binary16 that is not smaller in magnitude, if there is one: the largest group's code then stays in
/// range even where binary16 is coarse.
pub(crate) fn f16_away_from_zero(value: f32) -> u16 {
    let bits = f32_to_f16_saturating(value);
    let short = f16_to_f32(bits).abs() < value.abs() && bits & 0x7fff < 0x7bff;
    bits + short as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_undone_by_unpacking() {
        for seed in 0..64u8 {
            let scales: [u8; 8] = core::array::from_fn(|i| seed.wrapping_mul(17).wrapping_add(i as u8 * 13) & 63);
            let mins: [u8; 8] = core::array::from_fn(|i| seed.wrapping_mul(7).wrapping_add(i as u8 * 31) & 63);
            assert_eq!(scales_and_mins(&pack_scales_and_mins(&scales, &mins)), (scales, mins));
        }
    }

    #[test]
    fn packing_signed_scales_is_undone_by_unpacking() {
        for seed in 0..64i8 {
            let scales: [i8; 16] =
                core::array::from_fn(|i| (seed.wrapping_mul(17).wrapping_add((i as i8).wrapping_mul(13)) & 63) - 32);
            assert_eq!(signed_scales(&pack_signed_scales(&scales)), scales);
        }
    }

    #[test]
    fn each_bit_of_the_signed_scales_has_its_place() {
        assert_eq!(signed_scales(&[0; 12]), [-32; 16]);
        assert_eq!(signed_scales(&[255; 12]), [31; 16]);
        for j in 0..16 {
            let mut packed = [0u8; 12];
            packed[j % 8] = 0x5 << (4 * (j / 8));
            packed[8 + j % 4] = 2 << (2 * (j / 4));
            assert_eq!(signed_scales(&packed)[j], 0x25 - 32);
        }
    }

    #[test]
    fn away_from_zero_is_never_short_of_the_value() {
        for (value, expected) in
            [(0.0, 0), (1e-30, 1), (-1e-30, 0x8001), (1.0, 0x3c00), (1.0001, 0x3c01), (1e9, 0x7bff)]
        {
            assert_eq!(f16_away_from_zero(value), expected, "{value}");
        }
    }
}
