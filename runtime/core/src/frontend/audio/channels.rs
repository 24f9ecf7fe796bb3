//! From the energies of a spectrum to features: mel filters, noise reduction, gain control, logarithm.

use super::tables::{FIRST_BIN, GAIN, LOG2_BEYOND_LINE, ROOTS, WEIGHTS, WIDTHS};
use super::{CHANNELS, Features, fft};

/// Of 2¹⁴: how much of a frame enters the noise estimates of even and of odd channels, and what is left of a signal that is all noise.
const SMOOTHING: [u32; 2] = [409, 983];
const REMAINING: u32 = 819;
const SMOOTHING_BITS: u32 = 14;
/// Noise estimates have this many more bits than signals.
const NOISE_BITS: u32 = 10;

/// The features of a spectrum that was shifted by `shift` bits. Updates the noise estimates.
pub(super) fn features(energies: &fft::Buffer, shift: u32, noise: &mut [u32; CHANNELS]) -> Features {
    let mut features = [0; CHANNELS];
    let mut bins = energies.iter().skip(FIRST_BIN).zip(&WEIGHTS);
    // Each stretch of bins is the falling side of one triangle and the rising side of the next.
    let mut sides = WIDTHS.iter().map(|width| {
        let (mut rising, mut falling) = (0, 0);
        for (energy, weight) in bins.by_ref().take(usize::from(*width)) {
            rising += u64::from(*energy) * u64::from(*weight);
            falling += u64::from(*energy) * u64::from(4096 - *weight);
        }
        (rising, falling)
    });
    let (_, mut before) = sides.next().unwrap_or_default();
    let channels = features.iter_mut().zip(noise).zip(SMOOTHING.iter().cycle());
    for (((feature, noise), smoothing), (rising, falling)) in channels.zip(sides) {
        let signal = root(before + rising) >> shift;
        before = falling;
        let cleaned = reduced(signal, noise, *smoothing);
        *feature = logarithm(normalized(cleaned, *noise));
    }
    features
}

/// The square root, rounded to the nearest, but 65535 for what would be 65536. For numbers below 2⁵⁸.
///
/// By long division from a table of roots of 8 bits (Zimmermann, "Karatsuba Square Root", 1999): 16 bits, then 30.
fn root(x: u64) -> u32 {
    if x == 0 {
        return 0;
    }
    let zeros = x.leading_zeros() & !1;
    let x_shifted = x << zeros;
    let (high, low) = ((x_shifted >> 32) as u32, x_shifted as u32);

    let mut root = u32::from(ROOTS[usize::from((high >> 24) as u8)]);
    let mut rest = (high >> 16) - root * root;
    if rest > 2 * root {
        rest -= 2 * root + 1;
        root += 1;
    }
    (root, rest) = longer::<8>(root, rest, high);
    (root, _) = longer::<14>(root, rest, low >> 4);

    // The root of x with so many binary digits after the point.
    let digits = zeros / 2 - 2;
    let rounded = (root + (1 << (digits - 1))) >> digits;
    if rounded == 1 << 16 && x >> 32 == 0 { 0xffff } else { rounded }
}

/// A root and its rest, with `K` more bits from the last `2 K` bits of `digits`.
#[inline(always)]
fn longer<const K: u32>(root: u32, rest: u32, digits: u32) -> (u32, u32) {
    let (first, second) = (digits >> K & ((1 << K) - 1), digits & ((1 << K) - 1));
    let dividend = rest << K | first;
    let divisor = (2 * root).max(1);
    let quotient = dividend / divisor;
    let (root, left) = ((root << K) + quotient, (dividend - quotient * divisor) << K | second);
    let square = quotient * quotient;
    if left < square { (root - 1, left + 2 * root - 1 - square) } else { (root, left - square) }
}

/// The signal without the noise, whose estimate it changes first.
fn reduced(signal: u32, noise: &mut u32, smoothing: u32) -> u32 {
    let scaled = signal << NOISE_BITS;
    let mixed =
        u64::from(scaled) * u64::from(smoothing) + u64::from(*noise) * u64::from((1 << SMOOTHING_BITS) - smoothing);
    *noise = (mixed >> SMOOTHING_BITS) as u32;
    let floor = ((u64::from(signal) * u64::from(REMAINING)) >> SMOOTHING_BITS) as u32;
    (scaled.saturating_sub(*noise) >> NOISE_BITS).max(floor)
}

/// The signal over a power of the noise, then a root for small ones.
fn normalized(signal: u32, noise: u32) -> u32 {
    let ratio = ((u64::from(signal) * u64::from(gain(noise))) >> 6) as u32;
    if ratio < 2 << 12 { (ratio * ratio) >> 20 } else { (ratio >> 6) - (1 << 6) }
}

/// `2²¹ (noise / 2⁷ + 80)^-0.95`, nearly: a parabola in each octave.
fn gain(noise: u32) -> u32 {
    let octave = 32 - noise.leading_zeros();
    let [start, slope, bend] = GAIN[octave as usize].map(i32::from);
    let place = if octave < 11 { noise << (11 - octave) } else { noise >> (octave - 11) };
    let place = (place & 0x3ff) as i32;
    let rise = (((bend * place) >> 5) + (slope << 5)) * place;
    (start + ((rise + (1 << 14)) >> 15)) as u32
}

/// `64 ln(8 x)`, nearly: with a table of 128 segments for the logarithm to base 2.
fn logarithm(x: u32) -> u16 {
    let x = x << 3;
    if x <= 1 {
        return 0;
    }
    let zeros = x.leading_zeros();
    // What follows the leading one, 16 bits.
    let fraction = ((x << zeros) << 1) >> 16;
    let segment = (fraction >> 9) as usize;
    let (start, end) = (i32::from(LOG2_BEYOND_LINE[segment]), i32::from(LOG2_BEYOND_LINE[segment + 1]));
    let bend = start + (((end - start) * (fraction & 0x1ff) as i32) >> 16);
    let log2 = ((31 - zeros) << 16) + fraction + bend as u32;
    let natural = ((u64::from(log2) * 45426 + (1 << 15)) >> 16) as u32;
    (((natural << 6) + (1 << 15)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_rounded() {
        let expected = |x: u64| {
            let root = (4 * x).isqrt().div_ceil(2);
            let rounded = if root == 1 << 16 && x < 1 << 32 { 0xffff } else { root };
            rounded as u32
        };
        for x in 0..1 << 20 {
            assert_eq!(root(x), expected(x), "{x}");
        }
        let mut random = 1_u64;
        for _ in 0..1_000_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let x = random >> 6 >> (random & 0x3f);
            assert_eq!(root(x), expected(x), "{x}");
        }
        // Around squares and half-way between them.
        for bits in 1..29 {
            for near in [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1, 0xb504_f333 >> (31 - bits)] {
                for x in [near * near, near * near + near] {
                    for x in [x - 1, x, x + 1] {
                        assert_eq!(root(x), expected(x), "{x}");
                    }
                }
            }
        }
    }

    #[test]
    fn logarithms_are_close() {
        for i in 0..1_u32 << 20 {
            let x = if i < 1 << 16 { i } else { i.wrapping_mul(i) >> 4 } & ((1 << 29) - 1);
            let exact = if x == 0 { 0.0 } else { 64.0 * (8.0 * f64::from(x)).ln() };
            assert!((f64::from(logarithm(x)) - exact).abs() < 0.7, "{x}: {} {exact}", logarithm(x));
        }
    }

    #[test]
    fn gains_are_close() {
        for i in 0..1_u32 << 16 {
            let noise = i.wrapping_mul(i);
            let exact = f64::from(1 << 21) * (f64::from(noise) / 128.0 + 80.0).powf(-0.95);
            let error = (f64::from(gain(noise)) - exact).abs();
            assert!(error < 1.5 + exact * 0.02, "{noise}: {} {exact}", gain(noise));
        }
    }

    #[test]
    fn steady_noise_goes_away() {
        let mut noise = 0;
        let first = reduced(10_000, &mut noise, SMOOTHING[1]);
        assert_eq!(noise, (((10_000 << 10) * 983_u64) >> 14) as u32);
        assert_eq!(first, 9400);
        for _ in 0..1000 {
            reduced(10_000, &mut noise, SMOOTHING[1]);
        }
        assert_eq!(reduced(10_000, &mut noise, SMOOTHING[1]), (10_000 * REMAINING) >> 14);
    }
}
