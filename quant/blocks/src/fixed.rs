//! The second law: fixed-point arithmetic of int8 networks, bit for bit that of TensorFlow Lite Micro's reference kernels.
//!
//! Results are rounded twice: the doubled high half of a 64-bit product is rounded to the nearest, ties upwards, and what a negative
//! exponent shifts out of that is rounded to the nearest, ties away from zero. Nothing here panics or depends on the machine: what would
//! overflow wraps, as in two's complement.

/// High half of the doubled product, rounded: `a * b / 2^31`, ties upwards. Only the square of `i32::MIN` saturates.
#[inline(always)]
pub const fn multiply_high(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // The truncation is the high half: the shifted sum fits 32 bits for all other factors.
    ((a as i64 * b as i64 + (1 << 30)) >> 31) as i32
}

/// `x / 2^exponent` with `exponent` of 0 to 31, rounded to the nearest, ties away from zero.
#[inline(always)]
pub const fn divide_by_power(x: i32, exponent: u32) -> i32 {
    let mask = (1_u32.wrapping_shl(exponent)).wrapping_sub(1) as i32;
    let remainder = x & mask;
    let threshold = (mask >> 1) + (x < 0) as i32;
    x.wrapping_shr(exponent).wrapping_add((remainder > threshold) as i32)
}

/// `x * multiplier * 2^(shift - 31)`, rounded twice. `shift` is -31 to 30; positive shifts come before the product.
#[inline(always)]
pub const fn scale(x: i32, multiplier: i32, shift: i32) -> i32 {
    if shift > 0 {
        multiply_high(x.wrapping_shl(shift as u32), multiplier)
    } else {
        divide_by_power(multiply_high(x, multiplier), shift.unsigned_abs())
    }
}

/// Whether `shift` is one that [`scale`] takes.
pub const fn is_shift(shift: i32) -> bool {
    shift >= -31 && shift <= 30
}

/// Multiplier and shift for [`scale`] of a factor that is finite and not negative, if its exponent is at most 30. A factor below `2^-32`
/// becomes zero.
pub fn multiplier(factor: f64) -> Option<(i32, i32)> {
    if !factor.is_finite() || factor < 0.0 {
        return None;
    }
    let bits = factor.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    if exponent == 0 {
        return Some((0, 0));
    }
    // factor = fraction * 2^(shift - 53), fraction with its top bit at 52; rounded to 31 bits, ties upwards.
    let mut shift = exponent - 1022;
    let fraction = (bits & ((1 << 52) - 1)) | (1 << 52);
    let mut value = (fraction + (1 << 21)) >> 22;
    if value == 1 << 31 {
        value >>= 1;
        shift += 1;
    }
    if shift < -31 {
        return Some((0, 0));
    }
    if shift > 30 { None } else { Some((value as i32, shift)) }
}

/// 1 with no bits before the point.
const ONE: i32 = i32::MAX;

/// `x * 2^power`, saturating.
const fn multiply_by_power(x: i32, power: u32) -> i32 {
    let wide = (x as i64) << power;
    if wide > i32::MAX as i64 {
        i32::MAX
    } else if wide < i32::MIN as i64 {
        i32::MIN
    } else {
        wide as i32
    }
}

/// `exp(x)` for x in [-1/4, 0), without bits before the point: a polynomial of fourth degree around -1/8.
const fn exp_small(x: i32) -> i32 {
    const EXP_OF_CENTRE: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = x.wrapping_add(1 << 28);
    let square = multiply_high(x, x);
    let cube = multiply_high(square, x);
    let fourth = divide_by_power(multiply_high(square, square), 2);
    let rest = divide_by_power(multiply_high(fourth.wrapping_add(cube), THIRD).wrapping_add(square), 1);
    EXP_OF_CENTRE.wrapping_add(multiply_high(EXP_OF_CENTRE, x.wrapping_add(rest)))
}

/// `exp(x)` for x of at most zero with `integer_bits` (0 to 5) bits before the point; the result has none.
pub const fn exp(x: i32, integer_bits: u32) -> i32 {
    /// `exp(-2^i)` for i from -2.
    const POWERS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if x == 0 {
        return ONE;
    }
    let fraction_bits = 31 - integer_bits;
    let quarter = 1_i32.wrapping_shl(fraction_bits - 2);
    let small = (x & (quarter - 1)) - quarter;
    let mut result = exp_small(multiply_by_power(small, integer_bits));
    let rest = small.wrapping_sub(x);
    let mut i = 0;
    while i < integer_bits + 2 && i < POWERS.len() as u32 {
        if rest & quarter.wrapping_shl(i) != 0 {
            result = multiply_high(result, POWERS[i as usize]);
        }
        i += 1;
    }
    result
}

/// `1 / (1 + x)` for x in [0, 1), both without bits before the point: three steps of Newton and Raphson.
pub const fn one_over_one_plus(x: i32) -> i32 {
    const START: i32 = 1_515_870_810;
    const SLOPE: i32 = -1_010_580_540;
    let sum = x as i64 + ONE as i64;
    let half = ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32;
    let mut y = START.wrapping_add(multiply_high(half, SLOPE));
    let mut i = 0;
    while i < 3 {
        let error = (1_i32 << 29).wrapping_sub(multiply_high(half, y));
        y = y.wrapping_add(multiply_by_power(multiply_high(y, error), 2));
        i += 1;
    }
    multiply_by_power(y, 1)
}

/// The logistic function of x with four bits before the point; the result has none.
pub const fn logistic(x: i32) -> i32 {
    if x == 0 {
        return 1 << 30;
    }
    let positive = one_over_one_plus(exp(if x > 0 { x.wrapping_neg() } else { x }, 4));
    if x > 0 { positive } else { ONE.wrapping_sub(positive) }
}

/// Bits before the point of a sum of exponentials in a softmax.
pub const SUM_BITS: u32 = 12;

/// The reciprocal of a softmax's sum, without bits before the point, and the exponent by which it is too large. Sums are positive.
pub const fn reciprocal(sum: i32) -> (i32, i32) {
    let headroom = sum.leading_zeros();
    let fraction = (sum as u32).wrapping_shl(headroom).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus(fraction), SUM_BITS as i32 - headroom as i32)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn samples() -> impl Iterator<Item = i32> + Clone {
        let edges = [0, 1, 2, 3, 1 << 15, 1 << 30, i32::MAX - 1, i32::MAX];
        let random = (1..400_u32).map(|i| (i.wrapping_mul(0x9E37_79B9) as i32) >> (i % 29));
        edges.into_iter().flat_map(|x: i32| [x, x.wrapping_neg(), !x]).chain(random)
    }

    #[test]
    fn products_and_quotients_are_rounded_to_the_nearest() {
        for a in samples() {
            for b in samples() {
                let exact = i128::from(a) * i128::from(b);
                // Ties upwards: floor(x + 1/2).
                let expected = (exact + (1 << 30)).div_euclid(1 << 31).min(i128::from(i32::MAX));
                assert_eq!(i128::from(multiply_high(a, b)), expected, "{a} {b}");
            }
            for exponent in 0..=31 {
                let (size, power) = (i64::from(a).abs(), 1_i64 << exponent);
                // Ties away from zero.
                let expected = (size + power / 2) / power * i64::from(a.signum());
                assert_eq!(i64::from(divide_by_power(a, exponent)), expected, "{a} {exponent}");
            }
        }
        assert_eq!(multiply_high(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!([scale(5, 1 << 30, 0), scale(5, 1 << 30, 1), scale(5, 1 << 30, -1)], [3, 5, 2]);
        assert_eq!([scale(-5, 1 << 30, 0), scale(-5, 1 << 30, -1)], [-2, -1]);
    }

    #[test]
    fn multipliers_are_the_factors_in_31_bits() {
        for i in 1..2_000 {
            let factor = f64::from(i) * 0.000_731_3;
            let (value, shift) = multiplier(factor).unwrap();
            assert!(value >= 1 << 30 && is_shift(shift));
            let back = f64::from(value) / 2_147_483_648.0 * f64::from(1 << 20) / f64::from(1 << (20 - shift));
            assert!((back / factor - 1.0).abs() < 1e-9, "{factor} {back}");
        }
        assert_eq!(multiplier(1.0), Some((1 << 30, 1)));
        assert_eq!(multiplier(0.5), Some((1 << 30, 0)));
        assert_eq!(multiplier(1.0 - f64::EPSILON), Some((1 << 30, 1)));
        assert_eq!(multiplier(0.0), Some((0, 0)));
        assert_eq!(multiplier(1e-12), Some((0, 0)));
        for refused in [f64::NAN, f64::INFINITY, -1.0, 4e9] {
            assert_eq!(multiplier(refused), None);
        }
    }

    #[test]
    fn functions_are_near_the_real_ones() {
        let unit = 2_147_483_648.0;
        for i in 0..4_000 {
            let real = f64::from(i) * -0.004;
            let x = (real * f64::from(1 << 27)) as i32;
            let expected = crate::math::exp(real as f32);
            assert!((f64::from(exp(x, 4)) / unit - f64::from(expected)).abs() < 1e-6, "{real}");
            let sigmoid = f64::from(expected) / (1.0 + f64::from(expected));
            assert!((f64::from(logistic(x)) / unit - sigmoid).abs() < 1e-6, "{real}");
            assert!((f64::from(logistic(-x)) / unit - (1.0 - sigmoid)).abs() < 1e-6, "{real}");
        }
        for sum in [1_i32, 2, 3, 255, 1 << 19, 123_456_789, i32::MAX] {
            let (value, exponent) = reciprocal(sum);
            let real = f64::from(1 << SUM_BITS) / unit * f64::from(sum);
            let found = f64::from(value)
                / unit
                / if exponent >= 0 { f64::from(1_u32 << exponent) } else { 1.0 / f64::from(1_u32 << -exponent) };
            assert!((found * real - 1.0).abs() < 1e-6, "{sum}: {found} {real}");
        }
    }
}
