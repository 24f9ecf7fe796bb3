//! Mel-frequency cepstral coefficients, the features of older keyword models (Davis and Mermelstein, "Comparison of Parametric
//! Representations for Monosyllabic Word Recognition", 1980), as `tf.signal` computes them:
//!
//! 1. samples over 2¹⁵, times a periodic Hann window, `(1 - cos(2π i / window)) / 2`;
//! 2. magnitudes of the Fourier transform of so many points as the next power of two has;
//! 3. sums under triangles whose edges are evenly spaced in mel, `1127 ln(1 + f / 700)`, without the constant part of the spectrum;
//! 4. `ln(sum + floor)`;
//! 5. a cosine transform, `sqrt(2 / mels) Σ cos(π k (i + 1/2) / mels)` for coefficient `k`, of which the first few are given.
//!
//! Arithmetic is `f32` in a fixed order with the functions of [`smidgen_quant::math`], so each machine gives the same bits. Nothing here
//! allocates or panics: tables and state lie in memory that the caller gives.

use core::f64::consts::PI;
use core::fmt;
use smidgen_quant::math;

/// Most samples of a window.
pub const MAX_WINDOW: usize = 1 << 15;
/// Most triangles.
pub const MAX_MELS: usize = 512;

/// The coefficients to compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples that a row is made of, 4 to [`MAX_WINDOW`].
    pub window: usize,
    /// Samples from a row to the next, at most `window`.
    pub step: usize,
    /// Triangles, at most [`MAX_MELS`].
    pub mels: usize,
    /// Coefficients of a row, at most `mels`.
    pub coefficients: usize,
    /// Where the first triangle begins, in Hz.
    pub lower: f32,
    /// Where the last one ends, in Hz, at most half of the samples per second.
    pub upper: f32,
    /// A floor that is added to the sums, so that silence has a logarithm.
    pub floor: f32,
}

impl Settings {
    /// Those of MLPerf Tiny's keyword spotting: 10 coefficients of 40 triangles from 20 to 4000 Hz, 30 ms every 20 ms.
    pub const KEYWORDS: Settings = Settings {
        sample_rate: 16_000,
        window: 480,
        step: 320,
        mels: 40,
        coefficients: 10,
        lower: 20.0,
        upper: 4000.0,
        floor: 1e-6,
    };

    /// Points of the transform.
    fn points(&self) -> usize {
        self.window.next_power_of_two()
    }

    /// How many numbers of memory [`Mfcc`] takes.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn memory_len(&self) -> Result<usize, Error> {
        let wrong = |name| Err(Error::Setting { name });
        if !(4..=MAX_WINDOW).contains(&self.window) {
            return wrong("window");
        }
        if !(1..=self.window).contains(&self.step) {
            return wrong("step");
        }
        if !(1..=MAX_MELS).contains(&self.mels) {
            return wrong("mels");
        }
        if !(1..=self.mels).contains(&self.coefficients) {
            return wrong("coefficients");
        }
        if !(0.0..self.upper).contains(&self.lower) {
            return wrong("lower");
        }
        if self.upper > self.sample_rate as f32 * 0.5 {
            return wrong("upper");
        }
        if !self.floor.is_finite() || self.floor < f32::MIN_POSITIVE {
            return wrong("floor");
        }
        // Samples, window; spectrum, turns; ways; widths, sums; cosines. Nothing here overflows, all are bounded.
        let tables = 2 * self.window + 2 * self.points() + self.points() / 2;
        Ok(tables + 2 * self.mels + 1 + self.coefficients * self.mels)
    }
}

/// Why there are no coefficients. The text is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum Error {
    /// A setting is out of its range.
    Setting { name: &'static str },
    /// The memory given is too small.
    Memory { needed: usize, given: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Setting { name } => write!(f, "MFCC: {name} is out of its range"),
            Error::Memory { needed, given } => write!(f, "MFCC: {needed} numbers of memory are needed, {given} given"),
        }
    }
}

impl core::error::Error for Error {}

/// A stream of sound.
#[derive(Debug)]
pub struct Mfcc<'m> {
    settings: Settings,
    filled: usize,
    /// The samples of the next window, as far as they have come, over 2¹⁵.
    samples: &'m mut [f32],
    shape: &'m [f32],
    /// Scratch: complex numbers, half as many as there are points.
    spectrum: &'m mut [[f32; 2]],
    /// Cosine and sine of each part of a turn, as many parts as there are points, up to half a turn.
    turns: &'m [[f32; 2]],
    /// The first bin that lies in a triangle.
    first: usize,
    /// How far each bin from the second on is on its way from the edge below to the edge above.
    ways: &'m [f32],
    /// How many bins lie between each edge and the next.
    widths: &'m [f32],
    /// Scratch: of triangles.
    sums: &'m mut [f32],
    /// Rows of as many as there are triangles.
    cosines: &'m [f32],
}

/// Hertz to mel.
fn mel(hertz: f64) -> f64 {
    1127.0 * math::ln64(1.0 + hertz / 700.0)
}

/// Cosine and sine of `part / parts` of a turn.
fn turn(part: usize, parts: usize) -> [f32; 2] {
    let (sin, cos) = math::sin_cos64(2.0 * PI * part as f64 / parts as f64);
    [cos as f32, sin as f32]
}

impl<'m> Mfcc<'m> {
    /// A stream that has heard nothing. Fills the memory, which has at least [`Settings::memory_len`] numbers, with tables.
    ///
    /// # Errors
    /// All variants of [`Error`].
    pub fn new(settings: Settings, memory: &'m mut [f32]) -> Result<Mfcc<'m>, Error> {
        let needed = settings.memory_len()?;
        let short = Error::Memory { needed, given: memory.len() };
        let Settings { sample_rate, window, mels, coefficients, lower, upper, .. } = settings;
        let points = settings.points();
        let mut rest = memory.get_mut(..needed).ok_or(short)?;
        let mut part = |len: usize| {
            let (part, tail) = core::mem::take(&mut rest).split_at_mut_checked(len).ok_or(short)?;
            rest = tail;
            Ok(part)
        };
        let (samples, shape) = (part(window)?, part(window)?);
        let (spectrum, turns) = (part(points)?.as_chunks_mut().0, part(points)?.as_chunks_mut().0);
        let (ways, widths, sums, cosines) =
            (part(points / 2)?, part(mels + 1)?, part(mels)?, part(mels * coefficients)?);
        for (i, weight) in shape.iter_mut().enumerate() {
            let [cos, _] = turn(i, window);
            *weight = 0.5 - 0.5 * cos;
        }
        for (i, to) in turns.iter_mut().enumerate() {
            *to = turn(i, points);
        }
        let (start, end) = (mel(lower.into()), mel(upper.into()));
        let between = (end - start) / (mels + 1) as f64;
        let mut first = points;
        widths.fill(0.0);
        for (bin, way) in (1..).zip(&mut *ways) {
            let place = (mel(bin as f64 * f64::from(sample_rate) / points as f64) - start) / between;
            // The edge below; the places of bins ascend, and none has a negative one's.
            let edge = if place < 0.0 { usize::MAX } else { place as usize };
            *way = (place - edge as f64) as f32;
            if let Some(width) = widths.get_mut(edge) {
                *width += 1.0;
                first = first.min(bin);
            }
        }
        let scale = math::sqrt(2.0 / mels as f32);
        for (k, row) in cosines.chunks_exact_mut(mels).enumerate() {
            for (i, cosine) in row.iter_mut().enumerate() {
                let [cos, _] = turn(k * (2 * i + 1), 4 * mels);
                *cosine = scale * cos;
            }
        }
        Ok(Mfcc { settings, filled: 0, samples, shape, spectrum, turns, first, ways, widths, sums, cosines })
    }

    /// Forgets what it has heard.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Hears samples (mono), at most as many as the next row needs. Returns how many it took, not none unless there were none, and whether
    /// `row` has the next coefficients, of which it gets as many as it has room for. The caller comes again with the rest.
    ///
    /// The first row needs a window, each later one a step more. How the stream is cut does not change the rows.
    pub fn push(&mut self, samples: &[i16], row: &mut [f32]) -> (usize, bool) {
        let room = self.samples.get_mut(self.filled..).unwrap_or_default();
        let taken = room.len().min(samples.len());
        for (to, from) in room.iter_mut().zip(samples) {
            *to = f32::from(*from) * (1.0 / 32768.0);
        }
        self.filled += taken;
        if self.filled < self.samples.len() {
            return (taken, false);
        }
        self.transform();
        self.weigh();
        for (to, cosines) in row.iter_mut().zip(self.cosines.chunks_exact(self.settings.mels)) {
            *to = self.sums.iter().zip(cosines).fold(0.0, |sum, (value, cosine)| sum + value * cosine);
        }
        let kept = self.settings.step.min(self.samples.len());
        self.samples.copy_within(kept.., 0);
        self.filled = self.samples.len() - kept;
        (taken, true)
    }

    /// The transform of the windowed samples, two of them a complex number: radix 2, in place.
    fn transform(&mut self) {
        let count = self.spectrum.len();
        let bits = count.trailing_zeros();
        let sample = |i: usize| match (self.samples.get(i), self.shape.get(i)) {
            (Some(sample), Some(weight)) => sample * weight,
            // The window is shorter than the transform.
            _ => 0.0,
        };
        for (i, to) in self.spectrum.iter_mut().enumerate() {
            let from = i.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0);
            *to = [sample(2 * from), sample(2 * from + 1)];
        }
        let mut half = 1;
        while half < count {
            // Turns of one in `2 half` parts.
            let stride = count / half;
            for block in self.spectrum.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((low, high), [cos, sin]) in low.iter_mut().zip(high).zip(self.turns.iter().step_by(stride)) {
                    let turned = [high[0] * cos + high[1] * sin, high[1] * cos - high[0] * sin];
                    *high = [low[0] - turned[0], low[1] - turned[1]];
                    *low = [low[0] + turned[0], low[1] + turned[1]];
                }
            }
            half *= 2;
        }
    }

    /// Logarithms of the magnitudes' sums under triangles.
    fn weigh(&mut self) {
        self.sums.fill(0.0);
        let count = self.spectrum.len();
        let mut bins = (1..).zip(self.ways).skip(self.first.wrapping_sub(1));
        // Each stretch between two edges is the rising side of one triangle and the falling side of the one before.
        for (edge, width) in self.widths.iter().enumerate() {
            let (mut rising, mut falling) = (0.0, 0.0);
            for (bin, way) in bins.by_ref().take(*width as usize) {
                let magnitude = match (self.spectrum.get(bin), self.spectrum.get(count - bin), self.turns.get(bin)) {
                    (Some(low), Some(high), Some(turn)) => magnitude(*low, *high, *turn),
                    // The last bin is that of half of the samples' rate.
                    _ => self.spectrum.first().map_or(0.0, |[re, im]| (re - im).abs()),
                };
                rising += way * magnitude;
                falling += (1.0 - way) * magnitude;
            }
            if let Some(sum) = self.sums.get_mut(edge) {
                *sum += rising;
            }
            if let Some(sum) = edge.checked_sub(1).and_then(|edge| self.sums.get_mut(edge)) {
                *sum += falling;
            }
        }
        for sum in &mut *self.sums {
            *sum = math::ln64(f64::from(*sum + self.settings.floor)) as f32;
        }
    }
}

/// The magnitude of a bin of the real numbers' spectrum from that bin of the pairs' spectrum and the one as far from the end.
fn magnitude(low: [f32; 2], high: [f32; 2], [cos, sin]: [f32; 2]) -> f32 {
    let even = [(low[0] + high[0]) * 0.5, (low[1] - high[1]) * 0.5];
    let odd = [(low[0] - high[0]) * 0.5, (low[1] + high[1]) * 0.5];
    let re = even[0] + (odd[1] * cos - odd[0] * sin);
    let im = even[1] - (odd[1] * sin + odd[0] * cos);
    math::sqrt(re * re + im * im)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn rows(mfcc: &mut Mfcc<'_>, samples: &[i16], chunk: usize) -> Vec<[f32; 10]> {
        let mut rows = Vec::new();
        for mut chunk in samples.chunks(chunk) {
            while !chunk.is_empty() {
                let mut row = [0.0; 10];
                let (taken, complete) = mfcc.push(chunk, &mut row);
                assert!(taken > 0);
                rows.extend(complete.then_some(row));
                chunk = &chunk[taken..];
            }
        }
        rows
    }

    #[test]
    fn how_the_stream_is_cut_does_not_matter_and_a_reset_stream_is_a_new_one() {
        let settings = Settings::KEYWORDS;
        let samples: Vec<i16> = (0..5000_u32).map(|i| ((i * i * 37 + i * 911) >> 3) as u16 as i16 / 4).collect();
        let mut memory = vec![f32::NAN; settings.memory_len().unwrap()];
        let mut mfcc = Mfcc::new(settings, &mut memory).unwrap();
        let whole = rows(&mut mfcc, &samples, samples.len());
        assert_eq!(whole.len(), (samples.len() - settings.window) / settings.step + 1);
        for chunk in [1, 7, 319, 320, 321, 480, 1000] {
            mfcc.reset();
            assert_eq!(rows(&mut mfcc, &samples, chunk), whole, "{chunk}");
        }
    }

    #[test]
    fn settings_out_of_range_and_too_little_memory_are_errors() {
        let good = Settings::KEYWORDS;
        let wrong = [
            ("window", Settings { window: 3, ..good }),
            ("window", Settings { window: MAX_WINDOW + 1, ..good }),
            ("step", Settings { step: 0, ..good }),
            ("step", Settings { step: 481, ..good }),
            ("mels", Settings { mels: 0, ..good }),
            ("mels", Settings { mels: MAX_MELS + 1, ..good }),
            ("coefficients", Settings { coefficients: 0, ..good }),
            ("coefficients", Settings { coefficients: 41, ..good }),
            ("lower", Settings { lower: 4000.0, ..good }),
            ("lower", Settings { lower: -1.0, ..good }),
            ("lower", Settings { lower: f32::NAN, ..good }),
            ("lower", Settings { upper: f32::NAN, ..good }),
            ("upper", Settings { upper: 8000.5, ..good }),
            ("floor", Settings { floor: 0.0, ..good }),
            ("floor", Settings { floor: f32::INFINITY, ..good }),
        ];
        for (name, settings) in wrong {
            assert_eq!(Mfcc::new(settings, &mut []).unwrap_err(), Error::Setting { name });
        }
        let needed = good.memory_len().unwrap();
        let mut memory = vec![0.0; needed - 1];
        assert_eq!(Mfcc::new(good, &mut memory).unwrap_err(), Error::Memory { needed, given: needed - 1 });
    }
}
