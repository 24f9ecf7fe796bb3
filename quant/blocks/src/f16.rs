//! Half precision. The conversions are exact or correctly rounded, so a machine's own instruction gives the same bits.

/// The value of an IEEE 754 binary16 given by its bits. Exact. Branch-free, so that loops over it vectorize.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = ((bits & 0x7fff) as u32) << 13;
    let scaled = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23); // times 2^112 moves the exponent's bias
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 }; // infinities and NaN keep an all-ones exponent
    f32::from_bits(scaled.to_bits() | special | ((bits & 0x8000) as u32) << 16)
}

/// The nearest binary16, ties to even; above 65504 infinity.
#[inline]
pub fn f32_to_f16(value: f32) -> u16 {
    half::f16::from_f32_const(value).to_bits()
}

/// The nearest binary16, ties to even; what is larger than 65504 becomes ±65504. NaN stays NaN.
///
/// The law's conversion into a key-value cache: an infinity there would turn masked keys into NaN.
#[inline(always)]
pub fn f32_to_f16_saturating(value: f32) -> u16 {
    // The reverse of `f16_to_f32`, which is exact once the value has been rounded.
    let magnitude = round_to_f16(value).abs() * f32::from_bits((127 - 112) << 23);
    (magnitude.to_bits() >> 13) as u16 & 0x7fff | (value.to_bits() >> 16) as u16 & 0x8000
}

/// The nearest value that binary16 has, as [`f32_to_f16_saturating`] would give it. Branch-free.
#[inline(always)]
pub fn round_to_f16(value: f32) -> f32 {
    let magnitude = if value.abs() > 65504.0 { 65504.0 } else { value.abs() };
    // Adding 2^(e + 13) leaves ten bits behind the leading one of a number of exponent e; below 2^-14 the last place is fixed.
    let exponent = (magnitude.to_bits() & 0x7f80_0000).max((127 - 14) << 23);
    let shift = f32::from_bits(exponent + (13 << 23));
    let rounded = (magnitude + shift) - shift;
    f32::from_bits(rounded.to_bits() | value.to_bits() & (1 << 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_a_conversion_and_back() {
        for bits in (0..u32::MAX - 1009).step_by(1009) {
            let value = f32::from_bits(bits);
            let expected = f32_to_f16(value.clamp(-65504.0, 65504.0));
            if value.is_nan() {
                assert!(f16_to_f32(f32_to_f16_saturating(value)).is_nan() && round_to_f16(value).is_nan());
                continue;
            }
            assert_eq!(f32_to_f16_saturating(value), expected, "{value:e}");
            assert_eq!(round_to_f16(value).to_bits(), f16_to_f32(expected).to_bits(), "{value:e}");
        }
    }

    #[test]
    fn every_half_decodes_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32_const();
            let got = f16_to_f32(bits);
            assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{bits:#06x}");
        }
    }

    #[test]
    fn saturation() {
        assert_eq!(f32_to_f16_saturating(1e9), 0x7bff);
        assert_eq!(f32_to_f16_saturating(f32::NEG_INFINITY), 0xfbff);
        assert_eq!(f32_to_f16_saturating(65519.0), 0x7bff);
        assert_eq!(f32_to_f16_saturating(1.0), 0x3c00);
    }
}
