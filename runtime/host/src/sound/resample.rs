//! Other rates of samples brought to [`SAMPLE_RATE`]: band-limited interpolation (Smith, "Digital Audio Resampling"), the ideal low-pass
//! filter under a Kaiser window. The same bits on every machine, as all is in f64, in one order, with our own functions.

use smidgen::frontend::audio::SAMPLE_RATE;
use smidgen_quant::math::sin_cos64;
use std::f64::consts::PI;

/// Zero crossings of the filter on each side.
const CROSSINGS: usize = 64;
/// Values of the filter between two zero crossings; what lies between these is interpolated linearly, with an error below -100 dB.
const FINENESS: usize = 512;
/// Where the filter is at one half, as a share of the lower rate's half: from there to the half itself it falls by 80 dB.
const CUTOFF: f64 = 0.96;
/// Of the Kaiser window: what is to be removed is 80 dB lower.
const BETA: f64 = 7.857;

/// Brings a stream of samples from one rate to [`SAMPLE_RATE`].
#[derive(Debug)]
pub(super) struct Resampler {
    /// Samples per second of the input, and how many of them there are for one of the output.
    rate: u64,
    /// One side of the filter.
    filter: Vec<f64>,
    /// Values of the filter from one sample of the input to the next.
    pace: f64,
    /// Samples of the input that the filter covers on each side.
    reach: u64,
    /// The input from sample number `first` - `reach` on, with silence before the first of all.
    window: Vec<f64>,
    first: u64,
    /// Samples that came in and that went out.
    heard: u64,
    told: u64,
}

impl Resampler {
    /// A stream with so many samples per second, at least 1.
    pub(super) fn new(rate: u32) -> Resampler {
        let rate = u64::from(rate.max(1));
        // Both rates' sounds end where the lower one's do.
        let band = CUTOFF * (SAMPLE_RATE as f64 / rate as f64).min(1.0);
        let reach = (CROSSINGS as f64 / band) as u64 + 1;
        Resampler {
            rate,
            filter: filter(band),
            pace: band * FINENESS as f64,
            reach,
            window: vec![0.0; reach as usize],
            first: 0,
            heard: 0,
            told: 0,
        }
    }

    /// Takes samples in, and gives those to `out` that depend on no later ones.
    pub(super) fn push(&mut self, samples: &[f64], mut out: impl FnMut(f64)) {
        self.window.extend_from_slice(samples);
        self.heard += samples.len() as u64;
        while self.place() + self.reach < self.heard {
            out(self.next());
        }
        // What no later sample of the output asks for.
        let passed = self.place().saturating_sub(self.first).min(self.window.len() as u64);
        self.window.drain(..passed as usize);
        self.first += passed;
    }

    /// Gives the rest, as if silence followed.
    pub(super) fn end(&mut self, mut out: impl FnMut(f64)) {
        let silence = vec![0.0; self.reach as usize + 1];
        self.window.extend_from_slice(&silence);
        while self.place() < self.heard {
            out(self.next());
        }
    }

    /// The sample of the input that the next one of the output lies at, or behind.
    fn place(&self) -> u64 {
        (u128::from(self.told) * u128::from(self.rate) / SAMPLE_RATE as u128) as u64
    }

    fn next(&mut self) -> f64 {
        let behind = (u128::from(self.told) * u128::from(self.rate) % SAMPLE_RATE as u128) as f64 / SAMPLE_RATE as f64;
        let middle = (self.place() - self.first + self.reach) as usize;
        self.told += 1;
        let (before, after) = self.window.split_at(middle.min(self.window.len()));
        let mut sum = 0.0;
        // The sample at the place and those after it lie at distances -behind, 1 - behind, …; those before it at 1 + behind, ….
        for (i, sample) in before.iter().rev().take(self.reach as usize).enumerate() {
            sum += sample * self.weight(1.0 + i as f64 + behind);
        }
        for (i, sample) in after.iter().take(self.reach as usize + 1).enumerate() {
            let distance = i as f64 - behind;
            sum += sample * self.weight(if distance < 0.0 { -distance } else { distance });
        }
        sum
    }

    /// The filter at a distance in samples of the input.
    fn weight(&self, distance: f64) -> f64 {
        let at = distance * self.pace;
        let whole = at as usize;
        match self.filter.get(whole..) {
            Some([from, to, ..]) => from + (to - from) * (at - whole as f64),
            _ => 0.0,
        }
    }
}

/// One side of a low-pass filter for a share `band` of the input's frequencies, from its middle to where it ends.
fn filter(band: f64) -> Vec<f64> {
    let end = CROSSINGS * FINENESS;
    let value = |i: usize| {
        let x = i as f64 / FINENESS as f64;
        let sinc = if i == 0 { 1.0 } else { sin_cos64(PI * x).0 / (PI * x) };
        let share = i as f64 / end as f64;
        band * sinc * bessel(BETA * BETA * (1.0 - share * share)) / bessel(BETA * BETA)
    };
    (0..=end).map(value).collect()
}

/// The modified Bessel function of the first kind and order 0 of the square root of `square`.
fn bessel(square: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..40 {
        term *= square / (4 * k * k) as f64;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sine of this frequency at this rate, for a second, brought to 16 kHz in pieces.
    fn sine(frequency: f64, rate: u32) -> Vec<f64> {
        let sample = |i: u32| 10_000.0 * sin_cos64(2.0 * PI * (frequency * f64::from(i) / f64::from(rate)).fract()).0;
        let samples: Vec<f64> = (0..rate).map(sample).collect();
        let (mut resampler, mut out) = (Resampler::new(rate), Vec::new());
        for piece in samples.chunks(1 + rate as usize / 7) {
            resampler.push(piece, |sample| out.push(sample));
        }
        resampler.end(|sample| out.push(sample));
        out
    }

    /// The amplitude of a frequency in the middle of a second of sound, and the root of the mean square of all the rest.
    fn spectrum(samples: &[f64], frequency: f64) -> (f64, f64) {
        let middle = &samples[2_000..14_000];
        let (mut sin, mut cos) = (0.0, 0.0);
        let turn = |i: usize| sin_cos64(2.0 * PI * (frequency * i as f64 / SAMPLE_RATE as f64).fract());
        for (i, sample) in middle.iter().enumerate() {
            sin += sample * turn(i).0 * 2.0 / middle.len() as f64;
            cos += sample * turn(i).1 * 2.0 / middle.len() as f64;
        }
        let rest: f64 = middle
            .iter()
            .enumerate()
            .map(|(i, sample)| sample - sin * turn(i).0 - cos * turn(i).1)
            .map(|rest| rest * rest)
            .sum();
        ((sin * sin + cos * cos).sqrt(), (rest / middle.len() as f64).sqrt())
    }

    #[test]
    fn a_sine_keeps_its_frequency_and_amplitude() {
        for rate in [4_000, 8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_099, 44_100, 48_000, 96_000, 192_000] {
            let out = sine(1_000.0, rate);
            assert_eq!(out.len(), SAMPLE_RATE, "{rate}");
            let (amplitude, rest) = spectrum(&out, 1_000.0);
            assert!((amplitude / 10_000.0 - 1.0).abs() < 1e-3, "{rate}: {amplitude}");
            // Images, aliases and noise: -70 dB.
            assert!(rest < 10_000.0 * 3e-4, "{rate}: {rest}");
        }
        let (amplitude, _) = spectrum(&sine(7_300.0, 48_000), 7_300.0);
        assert!((amplitude / 10_000.0 - 1.0).abs() < 1e-2, "{amplitude}");
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_removed() {
        for (frequency, rate) in
            [(8_050.0, 22_050), (9_000.0, 44_100), (8_050.0, 48_000), (15_000.0, 48_000), (50_000.0, 192_000)]
        {
            let (_, rest) = spectrum(&sine(frequency, rate), 0.0);
            assert!(rest < 10_000.0 * 1e-3, "{frequency} of {rate}: {rest}");
        }
        // And the images of what a lower rate held.
        let (amplitude, rest) = spectrum(&sine(3_500.0, 8_000), 3_500.0);
        assert!((amplitude / 10_000.0 - 1.0).abs() < 1e-3 && rest < 10_000.0 * 3e-4, "{amplitude} {rest}");
    }

    #[test]
    fn pieces_do_not_matter() {
        let samples: Vec<f64> =
            (0..3_000_u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 16) - 32_768.0).collect();
        for rate in [8_000, 44_100] {
            let all = |size: usize| {
                let (mut resampler, mut out) = (Resampler::new(rate), Vec::new());
                samples.chunks(size).for_each(|piece| resampler.push(piece, |sample| out.push(sample.to_bits())));
                resampler.end(|sample| out.push(sample.to_bits()));
                out
            };
            assert_eq!(all(1), all(3_000));
            assert_eq!(all(7), all(3_000));
            assert_eq!(all(1).len(), (3_000 * SAMPLE_RATE).div_ceil(rate as usize));
        }
    }
}
