//! The law's own elementary functions. Plain arithmetic only, so they give the same bits on every machine.
//!
//! The `f32` functions are branch-free and vectorize; their arguments come from activations, so they favour speed at an error of
//! about 2 units in the last place. The `f64` functions serve tables that are made once (rotary angles).

/// 1.5 × 2²³: adding it rounds a float of magnitude below 2²² to an integer, ties to even, held in the low bits.
pub(crate) const MAGIC: f32 = 12_582_912.0;
const MAGIC64: f64 = 6_755_399_441_055_744.0; // 1.5 × 2⁵²

/// Rounds to the nearest integer, ties to even. For magnitudes below 2²².
#[inline(always)]
pub fn round_even(x: f32) -> f32 {
    (x + MAGIC) - MAGIC
}

/// e to the power `x`. Zero below -87.3; above 88 it stays at e⁸⁸.
///
/// Range reduction by Cody and Waite, then the polynomial of Cephes' `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    use exponential::{BIAS, LARGEST, LN2, LOG2_E, MAGIC, POLYNOMIAL, SMALLEST};
    let clamped = if x > LARGEST { LARGEST } else { x };
    let clamped = if clamped < SMALLEST { SMALLEST } else { clamped };
    let shifted = clamped * LOG2_E + MAGIC;
    let k = shifted - MAGIC;
    let r = clamped - k * LN2[0] - k * LN2[1];
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * r + coefficient;
    }
    let p = p * (r * r) + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(BIAS) << 23);
    if x < SMALLEST { 0.0 } else { p * power }
}

/// The numbers of [`exp`], for kernels that write it in their own instructions.
pub mod exponential {
    /// The largest argument; larger ones are replaced by it.
    pub const LARGEST: f32 = 88.0;
    /// Below this the result is zero.
    pub const SMALLEST: f32 = -87.3;
    /// The factor of an argument: log2(e).
    pub const LOG2_E: f32 = core::f32::consts::LOG2_E;
    /// Added to a number of a moderate size, and taken away, it leaves the nearest integer.
    pub const MAGIC: f32 = super::MAGIC;
    /// The natural logarithm of two, in two parts.
    pub const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// Highest power first; what follows is `p r² + r + 1`.
    pub const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    /// Makes the bits of the integer plus `MAGIC` the exponent's, which are then shifted to their place.
    pub const BIAS: u32 = 127u32.wrapping_sub(MAGIC.to_bits());
}

/// `x / (1 + e^-x)`, also called swish.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x Φ(x)`, the Gaussian error linear unit (Hendrycks and Gimpel), with the exact distribution function, not the approximation by `tanh`.
///
/// `max(x, 0) - |x| Φ(-|x|)`, where `Φ(-a) = e^(-a²/2) R(a)` and `R` is a quotient of polynomials within 5e-9 for `a` up to 13, where the
/// second term ends. The relative error is below 1e-6 from -5 on, and below 5e-6 down to -13, where the value is 1e-37.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    const END: f32 = 13.0;
    let a = if x.abs() > END { END } else { x.abs() };
    let p = 3.994_335_4e-3;
    let p = p * a + 3.980_865_7e-2;
    let p = p * a + 1.807_836_3e-1;
    let p = p * a + 4.349_757e-1;
    let p = p * a + 5e-1;
    let q = 1.001_216_4e-2;
    let q = q * a + 9.979_316e-2;
    let q = q * a + 4.629_998e-1;
    let q = q * a + 1.192_304_1;
    let q = q * a + 1.667_836_3;
    let q = q * a + 1.0;
    let tail = a * exp(-0.5 * (a * a)) * p / q;
    let positive = if x > 0.0 { x } else { 0.0 };
    positive - tail
}

/// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the approximation of [`gelu`] that many models were trained with.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const DOUBLED: f32 = -1.595_769; // -2 √(2/π): (1 + tanh u) / 2 is 1 / (1 + e^-2u)
    x / (1.0 + exp(DOUBLED * (x + 0.044_715 * (x * x * x))))
}

/// `x / (1 + e^-1.702x)`, the approximation of [`gelu`] that CLIP was trained with.
#[inline(always)]
pub fn gelu_quick(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// Hyperbolic tangent; the error is absolute, about 1e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let t = exp(-2.0 * x.abs());
    let magnitude = (1.0 - t) / (1.0 + t);
    if x < 0.0 { -magnitude } else { magnitude }
}

/// Square root, correctly rounded, so that a machine's own instruction gives the same bits. Zero for what is not positive.
#[inline]
pub fn sqrt(x: f32) -> f32 {
    if x > 0.0 && x < f32::INFINITY {
        sqrt64(x as f64) as f32
    } else if x > 0.0 || x.is_nan() {
        x
    } else {
        0.0
    }
}

/// Newton's iteration from a guess by halving the exponent.
fn sqrt64(x: f64) -> f64 {
    let mut root = f64::from_bits((x.to_bits() >> 1) + (1023 << 51));
    for _ in 0..6 {
        root = 0.5 * (root + x / root);
    }
    root
}

/// e to the power `x` for moderate arguments (|x| < 700).
pub fn exp64(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-700.0, 700.0);
    let shifted = x * core::f64::consts::LOG2_E + MAGIC64;
    let k = shifted - MAGIC64;
    let r = x - k * LN2_HIGH - k * LN2_LOW;
    let mut sum = 1.0;
    for n in (1..=14).rev() {
        sum = 1.0 + sum * r / n as f64;
    }
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

/// Natural logarithm of a positive normal number; minus infinity for zero and below.
pub fn ln64(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > core::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for n in (0..14).rev() {
        sum = sum * square + 1.0 / (2 * n + 1) as f64;
    }
    exponent * core::f64::consts::LN_2 + 2.0 * s * sum
}

/// `base` to the power `exponent`, for a positive base.
pub fn pow64(base: f64, exponent: f64) -> f64 {
    exp64(exponent * ln64(base))
}

/// Sine and cosine, for magnitudes below 2³⁰.
pub fn sin_cos64(x: f64) -> (f64, f64) {
    // π/2 in three parts, the first two short enough that their products with a quadrant number below 2³⁰ are exact.
    const HIGH: f64 = f64::from_bits(0x3ff9_21fb_4000_0000);
    const MIDDLE: f64 = f64::from_bits(0x3e74_442d_0000_0000);
    const LOW: f64 = 5.390_302_858_158_119e-15;
    let quadrant = (x * core::f64::consts::FRAC_2_PI + MAGIC64) - MAGIC64;
    let r = ((x - quadrant * HIGH) - quadrant * MIDDLE) - quadrant * LOW;
    let square = r * r;
    let (mut sin, mut cos) = (1.0, 1.0);
    for n in (1..=9).rev() {
        let k = (2 * n) as f64;
        sin = 1.0 - sin * square / (k * (k + 1.0));
        cos = 1.0 - cos * square / (k * (k - 1.0));
    }
    let sin = sin * r;
    match quadrant as i64 & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the platform's functions are what the reference's are compared with")]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn exp_is_accurate() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3 + 0.0003;
            let exact = (x as f64).exp();
            assert!((exp(x) as f64 / exact - 1.0).abs() < 3e-7, "exp({x})");
        }
        assert_eq!((exp(0.0), exp(-0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 1.0, 0.0, 0.0));
        assert_eq!(exp(1e9), exp(88.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_and_silu() {
        for i in -2000..2000 {
            let x = i as f32 * 0.01;
            assert!((tanh(x) as f64 - (x as f64).tanh()).abs() < 2e-7);
            assert!((silu(x) as f64 - x as f64 / (1.0 + (-x as f64).exp())).abs() < 1e-5);
        }
    }

    /// The distribution function of the standard normal distribution, by its series or its continued fraction.
    fn normal(x: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if x < -3.0 {
            return density / (1..200).rev().fold(-x, |tail, n| -x + n as f64 / tail);
        }
        let (mut term, mut sum) = (x, 0.0);
        for n in 1..300 {
            sum += term;
            term *= x * x / (2 * n + 1) as f64;
        }
        0.5 + density * sum
    }

    #[test]
    fn gelu_is_accurate() {
        assert!((normal(-1.0) - 0.158_655_253_931_457_05).abs() < 1e-16);
        assert!((normal(-3.0 - 1e-12) / normal(-3.0 + 1e-12) - 1.0).abs() < 1e-10);
        for i in -13_000..13_000 {
            let x = i as f32 * 1e-3 + 0.0004;
            let exact = x as f64 * normal(x as f64);
            let bound = if x > -5.0 { 1e-6 } else { 5e-6 };
            assert!((gelu(x) as f64 / exact - 1.0).abs() < bound, "gelu({x}) = {} not {exact}", gelu(x));
        }
        assert_eq!((gelu(0.0), gelu(20.0), gelu(f32::INFINITY)), (0.0, 20.0, f32::INFINITY));
        assert!(gelu(-1e30).abs() < 1e-36 && gelu(f32::NEG_INFINITY).abs() < 1e-36 && gelu(f32::NAN).is_nan());
    }

    #[test]
    fn approximations_of_gelu_are_accurate() {
        for i in -5000..5000 {
            let x = i as f32 * 2e-3 + 0.0004;
            let wide = x as f64;
            let argument = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide * wide * wide);
            let exact = wide / (1.0 + (-2.0 * argument).exp());
            assert!((gelu_tanh(x) as f64 - exact).abs() < 1e-6 * (1e-3 + exact.abs()), "gelu_tanh({x})");
            let exact = wide / (1.0 + (-1.702 * wide).exp());
            assert!((gelu_quick(x) as f64 / exact - 1.0).abs() < 2e-6, "gelu_quick({x})");
        }
        assert!(gelu_tanh(f32::NAN).is_nan() && gelu_quick(f32::NAN).is_nan());
        assert!(gelu_tanh(-1e4).abs() < 1e-30 && gelu_quick(-1e4).abs() < 1e-30);
        assert_eq!((gelu_tanh(1e4), gelu_quick(1e4)), (1e4, 1e4));
    }

    #[test]
    fn sqrt_is_correctly_rounded() {
        let mut bits = 1u32;
        while bits < 0x7f80_0000 {
            let x = f32::from_bits(bits);
            assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
            bits += 9973;
        }
        assert_eq!((sqrt(0.0), sqrt(-1.0), sqrt(f32::INFINITY)), (0.0, 0.0, f32::INFINITY));
    }

    #[test]
    fn double_functions_are_accurate() {
        for i in 1..20_000 {
            let x = i as f64 * 0.37;
            assert!((ln64(x) - x.ln()).abs() < 1e-14 * (1.0 + x.ln().abs()));
            let (sin, cos) = sin_cos64(x * 97.3);
            assert!((sin - (x * 97.3).sin()).abs() < 1e-13 && (cos - (x * 97.3).cos()).abs() < 1e-13, "{x}");
            let y = (i - 10_000) as f64 * 0.05;
            assert!((exp64(y) / y.exp() - 1.0).abs() < 1e-13, "{y}");
        }
        assert!((pow64(10_000.0, -0.5) - 0.01).abs() < 1e-16);
    }
}
