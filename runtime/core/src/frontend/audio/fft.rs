//! The spectrum of 512 real numbers by a complex transform of 256 points, radix 4, in place, in 16-bit fixed point.
//!
//! The law is kissfft's (`FIXED_POINT` 16, the real transform): before each of the four stages numbers are divided by four, and by two
//! before the spectra of even and odd samples are taken apart; each product is rounded to 15 bits, halves up; sums wrap.

use super::tables::{FIRST_BIN, STAGE_4, STAGE_16, STAGE_64, UNTANGLE};
use core::hint::black_box;

/// Points of the complex transform.
pub(super) const POINTS: usize = 256;

/// Complex numbers of 16 bits, the real part in the lower half; at last energies.
pub(super) type Buffer = [u32; POINTS];

/// A complex number of 16-bit parts. Larger ones wrap.
#[inline(always)]
pub(super) const fn pack(re: i32, im: i32) -> u32 {
    re as u32 & 0xffff | (im as u32) << 16
}

#[inline(always)]
fn re(number: u32) -> i32 {
    i32::from(number as i16)
}

#[inline(always)]
fn im(number: u32) -> i32 {
    number as i32 >> 16
}

/// The constants of fixed point, kept from the compiler so that a multiplication by them, with the rounding, stays one instruction.
#[derive(Clone, Copy)]
struct Fixed {
    /// Half of the last bit that rounding keeps.
    half_bit: i32,
    /// Nearly 1/4 and 1/2, times 2¹⁵.
    quarter: i16,
    half: i16,
}

impl Fixed {
    fn new() -> Fixed {
        let [quarter, half] = black_box([8191, 16383]);
        Fixed { half_bit: black_box(1 << 14), quarter, half }
    }

    /// A product of 15-bit fractions, rounded, halves up.
    #[inline(always)]
    fn times(self, a: i32, b: i32) -> i32 {
        (self.half_bit + a * b) >> 15
    }

    #[inline(always)]
    fn quarter(self, x: u32) -> (i32, i32) {
        let by = i32::from(self.quarter);
        (self.times(re(x), by), self.times(im(x), by))
    }

    /// A product of complex numbers, the second one of magnitude 32767.
    #[inline(always)]
    fn rotated(self, a: (i32, i32), b: u32) -> (i32, i32) {
        let (re_b, im_b) = (re(b), im(b));
        ((self.half_bit + a.0 * re_b - a.1 * im_b) >> 15, (self.half_bit + a.0 * im_b + a.1 * re_b) >> 15)
    }
}

/// The first of each four points in the order in which the transform takes them: base-4 digits in reverse. The others are 64, 128 and 192
/// points later.
pub(super) fn order() -> impl Iterator<Item = usize> {
    (0..POINTS / 4).map(|i| i >> 4 | i & 0b1100 | (i & 0b11) << 4)
}

/// A transform of four points, from complex numbers as pairs.
#[inline(always)]
fn of_four(a: (i32, i32), b: (i32, i32), c: (i32, i32), d: (i32, i32)) -> [u32; 4] {
    let (even, even_beyond) = ((a.0 + c.0, a.1 + c.1), (a.0 - c.0, a.1 - c.1));
    let (odd, odd_beyond) = ((b.0 + d.0, b.1 + d.1), (b.0 - d.0, b.1 - d.1));
    [
        pack(even.0 + odd.0, even.1 + odd.1),
        pack(even_beyond.0 + odd_beyond.1, even_beyond.1 - odd_beyond.0),
        pack(even.0 - odd.0, even.1 - odd.1),
        pack(even_beyond.0 - odd_beyond.1, even_beyond.1 + odd_beyond.0),
    ]
}

/// The first stage, whose numbers are shifted to the left before. Its factors are 32767/32768, which changes none of the quarters.
fn first_stage(buffer: &mut Buffer, fixed: Fixed, shift: u32) {
    let by = i32::from(fixed.quarter) << shift;
    for quad in buffer.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = quad.map(|x| (fixed.times(re(x), by), fixed.times(im(x), by)));
        *quad = of_four(a, b, c, d);
    }
}

/// A stage that makes transforms of `4 M` points out of four of `M`.
fn stage<const M: usize>(buffer: &mut Buffer, fixed: Fixed, factors: &[[u32; 3]; M]) {
    for [a, b, c, d] in buffer.as_chunks_mut::<M>().0.as_chunks_mut::<4>().0 {
        for ((((a, b), c), d), [by_b, by_c, by_d]) in a.iter_mut().zip(b).zip(c).zip(d).zip(factors) {
            let turned = |x: u32, by: u32| fixed.rotated(fixed.quarter(x), by);
            [*a, *b, *c, *d] = of_four(fixed.quarter(*a), turned(*b, *by_b), turned(*c, *by_c), turned(*d, *by_d));
        }
    }
}

/// From pairs of samples in their [`order`], which are shifted to the left by `shift` bits first, to the squared magnitudes of their
/// spectrum at its bins, over 2¹⁸. What is below [`FIRST_BIN`] and above `256 - FIRST_BIN` has no meaning. Shifted samples must fit.
pub(super) fn energies(buffer: &mut Buffer, shift: u32) {
    let fixed = Fixed::new();
    first_stage(buffer, fixed, shift);
    stage(buffer, fixed, &STAGE_4);
    stage(buffer, fixed, &STAGE_16);
    stage(buffer, fixed, &STAGE_64);
    let (low, high) = buffer.split_at_mut(POINTS / 2);
    let [low, high] = [low, high].map(|part| part.iter_mut());
    let mut factors = UNTANGLE.iter().skip(FIRST_BIN);
    for ((low, high), by) in low.skip(FIRST_BIN).zip(high.rev().skip(FIRST_BIN - 1)).zip(factors.by_ref()) {
        (*low, *high) = untangled(fixed, *low, *high, *by);
    }
    if let (Some(middle), Some(by)) = (buffer.get_mut(POINTS / 2), factors.next()) {
        *middle = untangled(fixed, *middle, *middle, *by).1;
    }
}

/// The energies at bins `k` and `256 - k` of the real numbers' spectrum from those bins of the pairs' spectrum.
#[inline(always)]
fn untangled(fixed: Fixed, low: u32, high: u32, by: u32) -> (u32, u32) {
    let half = |x: i32| fixed.times(x, i32::from(fixed.half));
    let low = (half(re(low)), half(im(low)));
    let high = (half(re(high)), half(i32::from((-im(high)) as i16)));
    let sum = (low.0 + high.0, low.1 + high.1);
    let (turned_re, turned_im) = fixed.rotated((low.0 - high.0, low.1 - high.1), by);
    let turned = (i32::from(turned_re as i16), i32::from(turned_im as i16));
    let energy = |re: i32, im: i32| (re * re + im * im) as u32;
    (energy((sum.0 + turned.0) >> 1, (sum.1 + turned.1) >> 1), energy((sum.0 - turned.0) >> 1, (turned.1 - sum.1) >> 1))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::f64::consts::PI;

    /// Energies by the definition of the transform.
    fn expected(samples: &[i16; 512], bin: usize) -> f64 {
        let turned = |quarter: f64| {
            let term = |(i, sample): (usize, &i16)| {
                f64::from(*sample) * (2.0 * PI * ((i * bin % 512) as f64 / 512.0 - quarter)).cos()
            };
            samples.iter().enumerate().map(term).sum::<f64>() / 512.0
        };
        turned(0.0).powi(2) + turned(0.25).powi(2)
    }

    #[test]
    fn energies_are_those_of_the_definition() {
        let noise = |i: usize| ((i * i + 3) as u64 * 40_503 % 65_536) as i32 - 32_768;
        for (shift, signal) in [
            (0, &noise as &dyn Fn(usize) -> i32),
            (5, &|i| noise(i) >> 5),
            (0, &|i| (30_000.0 * (2.0 * PI * 77.3 * i as f64 / 512.0).cos()) as i32),
            (1, &|i| if i == 100 { 16_383 } else { 0 }),
            (0, &|_| 0),
        ] {
            let samples: [i16; 512] = core::array::from_fn(|i| signal(i) as i16);
            let mut buffer = [0; POINTS];
            for (quad, first) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(order()) {
                let point = |i: usize| pack(samples[2 * i].into(), samples[2 * i + 1].into());
                *quad = [0, 64, 128, 192].map(|later| point(first + later));
            }
            energies(&mut buffer, shift);
            for (bin, energy) in buffer.iter().enumerate().take(POINTS - FIRST_BIN + 1).skip(FIRST_BIN) {
                let (found, expected) =
                    (f64::from(*energy).sqrt(), expected(&samples, bin).sqrt() * f64::from(1 << shift));
                assert!((found - expected).abs() < 3.0 + expected * 1e-3, "{bin} {found} {expected}");
            }
        }
    }

    #[test]
    fn every_point_is_taken_once() {
        let mut seen = [0; POINTS];
        order().flat_map(|i| [i, i + 64, i + 128, i + 192]).for_each(|i| seen[i] += 1);
        assert_eq!(seen, [1; POINTS]);
    }
}
