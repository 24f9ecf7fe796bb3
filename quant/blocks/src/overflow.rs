//! Weights that are too large for a format.

use crate::Format;

/// The largest binary16.
const LARGEST_F16: f32 = 65504.0;
/// The least number that the nearest binary16 is infinity for.
const BEYOND_F16: f32 = 65520.0;
/// The largest bfloat16, and the least number that the nearest one is infinity for.
const LARGEST_BF16: f32 = f32::from_bits(0x7f7f_0000);
const BEYOND_BF16: f32 = f32::from_bits(0x7f7f_8000);
/// The bits of [`LARGEST_F16`].
const LARGEST_BITS: u16 = 0x7bff;
/// A power of two, and its bits as a binary16.
const SHRINK: f32 = 256.0;
const SHRINK_BITS: u16 = 0x5c00;
/// The most weights and bytes of a block.
const MOST: usize = 256;

impl Format {
    /// A magnitude up to which every weight has a place, whatever the other weights of its block are. For F16, BF16, Q4_0, Q5_0 and Q8_0 it
    /// is the largest such; for formats whose scales are searched it is below, as their scales may come out larger than need be.
    pub const fn largest(self) -> f32 {
        match self {
            Format::F32 => f32::MAX,
            Format::F16 | Format::Q4_1 | Format::Q5_1 => LARGEST_F16,
            Format::BF16 => LARGEST_BF16,
            Format::Q4_0 => LARGEST_F16 * 8.0,
            Format::Q5_0 => LARGEST_F16 * 16.0,
            Format::Q8_0 => LARGEST_F16 * 127.0,
            Format::IQ4_NL => LARGEST_F16 * 64.0,
            Format::Q2_K => LARGEST_F16 * 8.0,
            Format::Q3_K => LARGEST_F16 * 64.0,
            Format::Q4_K | Format::Q5_K => LARGEST_F16 * 32.0,
            Format::Q6_K => LARGEST_F16 * 2048.0,
        }
    }

    /// The first block (of F32, F16 and BF16: the first weight) whose finite `values` are too large, so that [`encode`](Format::encode) has
    /// made something smaller of them in `bytes`: a scale, or a weight that stands alone, would be infinite.
    pub fn first_overflow(self, values: &[f32], bytes: &[u8]) -> Option<usize> {
        match self {
            Format::F32 => None,
            Format::F16 => values.iter().position(|value| value.abs() >= BEYOND_F16),
            Format::BF16 => values.iter().position(|value| value.abs() >= BEYOND_BF16),
            _ => {
                let blocks = bytes.chunks_exact(self.block_bytes()).zip(values.chunks_exact(self.block_len()));
                blocks.into_iter().position(|(block, values)| {
                    self.largest_scale(block) >= LARGEST_BITS && self.has_larger_scale(values)
                })
            }
        }
    }

    /// The magnitude of a block's largest scale, as the bits of a binary16, in the order of which they are.
    fn largest_scale(self, block: &[u8]) -> u16 {
        let scale =
            |at: &usize| block.get(*at..).and_then(|bytes| bytes.first_chunk()).map(|two| u16::from_le_bytes(*two));
        self.scales().iter().filter_map(scale).map(|bits| bits & 0x7fff).max().unwrap_or(0)
    }

    /// Whether a block has a scale above the largest binary16: with smaller values there is room to see.
    fn has_larger_scale(self, values: &[f32]) -> bool {
        let (mut smaller, mut block) = ([0.0; MOST], [0; MOST]);
        for (to, value) in smaller.iter_mut().zip(values) {
            *to = value / SHRINK;
        }
        let (Some(smaller), Some(block)) = (smaller.get(..values.len()), block.get_mut(..self.block_bytes())) else {
            return false;
        };
        // What would be infinity rounds to this power of two or more, as does the number next to it in the smaller block.
        self.encode(smaller, block).is_ok() && self.largest_scale(block) >= SHRINK_BITS
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Whether the values, whole blocks, are too large.
    fn overflow(format: Format, values: &[f32]) -> Option<usize> {
        let mut bytes = vec![0; format.bytes(values.len()).unwrap()];
        format.encode(values, &mut bytes).unwrap();
        format.first_overflow(values, &bytes)
    }

    fn next(value: f32) -> f32 {
        f32::from_bits(value.to_bits() + 1)
    }

    #[test]
    fn the_largest_of_each_format_is_the_largest() {
        for (format, beyond) in [
            (Format::F16, 65520.0),
            (Format::BF16, f32::from_bits(0x7f7f_8000)),
            (Format::Q4_0, 65520.0 * 8.0),
            (Format::Q5_0, 65520.0 * 16.0),
            (Format::Q8_0, 65520.0 * 127.0),
            (Format::Q4_1, 65520.0),
            (Format::Q5_1, 65520.0),
        ] {
            for sign in [1.0, -1.0] {
                let mut values = vec![sign * 0.5; 64];
                // Where the minimum has a place of its own, a weight above zero may be larger.
                let sign = if matches!(format, Format::Q4_1 | Format::Q5_1) { -1.0 } else { sign };
                let at = |value: f32, values: &mut Vec<f32>| {
                    values[40] = sign * value;
                    overflow(format, values)
                };
                assert_eq!(at(format.largest(), &mut values), None, "{}", format.name());
                assert_eq!(at(f32::from_bits(f32::to_bits(beyond) - 1), &mut values), None, "{}", format.name());
                let expected = Some(40 / format.block_len());
                assert_eq!(at(beyond, &mut values), expected, "{}", format.name());
                assert_eq!(at(f32::MAX, &mut values), expected, "{}", format.name());
            }
        }
        assert_eq!(overflow(Format::F32, &[f32::MAX, f32::MIN]), None);
        assert_eq!(overflow(Format::Q4_1, &[65504.0 * 15.0; 32]), Some(0), "the minimum is that large too");
        let mut values = [0.0; 32];
        values[3] = 65504.0 * 15.0;
        assert_eq!(overflow(Format::Q4_1, &values), None);
        values[3] = next(65520.0 * 15.0);
        assert_eq!(overflow(Format::Q4_1, &values), Some(0));
    }

    #[test]
    fn what_is_not_larger_than_the_largest_never_overflows() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for format in Format::ALL {
            for round in 0..200 {
                let values: Vec<f32> = (0..256)
                    .map(|_| {
                        let unit = (random() >> 40) as f32 / (1 << 23) as f32 - 1.0;
                        // Evenly spread, mostly small, or at the ends only.
                        let value = match round % 4 {
                            0 => unit,
                            1 => unit * unit * unit * unit * unit,
                            2 => unit.signum(),
                            _ => unit.abs(),
                        };
                        (value * format.largest()).clamp(-format.largest(), format.largest())
                    })
                    .collect();
                assert_eq!(overflow(format, &values), None, "{} {round}", format.name());
                let larger: Vec<f32> = values.iter().map(|value| value / format.largest() * 3e38).collect();
                let expected = if format == Format::F32 { None } else { Some(0) };
                let found = overflow(format, &larger);
                assert!(found.is_some() == expected.is_some() || format == Format::BF16, "{} {round}", format.name());
            }
        }
    }
}
