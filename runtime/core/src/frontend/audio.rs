//! Audio as keyword models take it: 40 numbers for every 10 ms of sound, on a logarithmic scale, cleaned of steady noise.
//!
//! The steps and their integer arithmetic are those of TensorFlow Lite Micro's "microfrontend" with the settings of microWakeWord
//! (`pymicro-features`), to the last bit: a Hann window of 30 ms, a 512-point Fourier transform, 40 triangles evenly spaced in mel from
//! 125 to 7500 Hz, subtraction of a running estimate of the noise, per-channel amplitude normalization (Wang et al., "Trainable Frontend
//! for Robust and Far-Field Keyword Spotting", 2017) and a logarithm. Sums that do not fit wrap as they do there.
//!
//! Nothing here allocates, uses floating point or panics; tables are constants, 3.7 KB in all.

mod channels;
mod fft;
mod tables;

use tables::WINDOW_SHAPE;

/// Samples per second.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples that a row of features is made of: 30 ms.
pub const WINDOW: usize = 480;
/// Samples from a row of features to the next: 10 ms.
pub const STEP: usize = 160;
/// Features of a row.
pub const CHANNELS: usize = 40;

/// One row, the lowest frequencies first. Microphones give at most about 670 = 25.6 × 26.2; `pymicro-features` divides by 25.6.
pub type Features = [u16; CHANNELS];

/// The state of one stream of sound, and all the memory that is used beside the stack: 2148 bytes on a 32-bit machine.
#[derive(Clone, Debug)]
pub struct Frontend {
    /// The samples of the next window, as far as they have come.
    samples: [i16; WINDOW],
    filled: usize,
    /// The noise in each channel, times 2¹⁰.
    noise: [u32; CHANNELS],
    /// Scratch: the window's samples in pairs, then their spectrum.
    spectrum: fft::Buffer,
}

impl Default for Frontend {
    fn default() -> Frontend {
        Frontend::new()
    }
}

impl Frontend {
    /// A stream that has heard nothing.
    pub const fn new() -> Frontend {
        Frontend { samples: [0; WINDOW], filled: 0, noise: [0; CHANNELS], spectrum: [0; fft::POINTS] }
    }

    /// Forgets what it has heard.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.noise = [0; CHANNELS];
    }

    /// Hears samples (mono, [`SAMPLE_RATE`]), at most as many as the next row of features needs. Returns how many it took, not none unless
    /// there were none, and the row if it is complete. The caller comes again with the rest.
    ///
    /// The first row needs [`WINDOW`] samples, each later one [`STEP`] more. How the stream is cut does not change the rows.
    pub fn push(&mut self, samples: &[i16]) -> (usize, Option<Features>) {
        let room = self.samples.get_mut(self.filled..).unwrap_or_default();
        let taken = room.len().min(samples.len());
        if let (Some(room), Some(samples)) = (room.get_mut(..taken), samples.get(..taken)) {
            room.copy_from_slice(samples);
        }
        self.filled += taken;
        if self.filled < WINDOW {
            return (taken, None);
        }
        let shift = self.window();
        fft::energies(&mut self.spectrum, shift);
        let features = channels::features(&self.spectrum, shift, &mut self.noise);
        // Three steps make a window, so what is kept moves a step at a time.
        if let ([a, b, c], _) = self.samples.as_chunks_mut::<STEP>() {
            *a = *b;
            *b = *c;
        }
        self.filled = WINDOW - STEP;
        (taken, Some(features))
    }

    /// Fills the spectrum with the weighted samples, in the order in which the transform takes them. Returns how many bits they can be
    /// shifted to the left, and must be for the transform to use all of its bits.
    fn window(&mut self) -> u32 {
        let ([a, b, c], d) = self.samples.as_chunks::<2>().0.as_chunks::<64>() else { return 0 };
        let ([shape_a, shape_b, shape_c], shape_d) = WINDOW_SHAPE.as_chunks::<64>() else { return 0 };
        let mut seen = 0;
        let mut weighted = |[a, b]: [i16; 2], [weight_a, weight_b]: [i16; 2]| {
            // Weights are at most 2¹².
            let a = (i32::from(a) * i32::from(weight_a)) >> 12;
            let b = (i32::from(b) * i32::from(weight_b)) >> 12;
            seen |= a.unsigned_abs() | b.unsigned_abs();
            fft::pack(a, b)
        };
        for (quad, i) in self.spectrum.as_chunks_mut::<4>().0.iter_mut().zip(fft::order()) {
            *quad = [weighted(a[i], shape_a[i]), weighted(b[i], shape_b[i]), weighted(c[i], shape_c[i]), 0];
            // The window is shorter than the transform.
            if let (Some(sample), Some(shape), [.., last]) = (d.get(i), shape_d.get(i), quad) {
                *last = weighted(*sample, *shape);
            }
        }
        // To the reference, whose numbers are of 16 bits, the absolute value of -2¹⁵ is negative and not the largest. So it can be shifted
        // until nothing is left.
        let shift = (seen & 0x7fff).leading_zeros() - 17;
        if seen & 0x8000 != 0 && shift > 0 {
            for pair in &mut self.spectrum {
                let [re, im] =
                    [*pair as i16, (*pair >> 16) as i16].map(|x| if x == i16::MIN { 0 } else { i32::from(x) });
                *pair = fft::pack(re, im);
            }
        }
        shift
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn rows(frontend: &mut Frontend, samples: &[i16], chunk: usize) -> Vec<Features> {
        let mut rows = Vec::new();
        for mut chunk in samples.chunks(chunk) {
            while !chunk.is_empty() {
                let (taken, row) = frontend.push(chunk);
                assert!(taken > 0);
                rows.extend(row);
                chunk = &chunk[taken..];
            }
        }
        rows
    }

    fn tone(length: usize) -> Vec<i16> {
        (0..length as u32).map(|i| ((i * i * 37 + i * 911) >> 3) as u16 as i16 / 4).collect()
    }

    #[test]
    fn how_the_stream_is_cut_does_not_matter() {
        let samples = tone(5000);
        let whole = rows(&mut Frontend::new(), &samples, samples.len());
        assert_eq!(whole.len(), (samples.len() - WINDOW) / STEP + 1);
        for chunk in [1, 7, 159, 160, 161, 479, 480, 481, 1000] {
            assert_eq!(rows(&mut Frontend::new(), &samples, chunk), whole, "{chunk}");
        }
    }

    #[test]
    fn a_reset_stream_is_a_new_one() {
        let samples = tone(2000);
        let mut frontend = Frontend::new();
        let first = rows(&mut frontend, &samples, 160);
        assert_ne!(rows(&mut frontend, &samples, 160), first);
        frontend.reset();
        assert_eq!(rows(&mut frontend, &samples, 160), first);
    }

    #[test]
    fn the_state_is_small() {
        assert_eq!(size_of::<Frontend>(), 2 * WINDOW + size_of::<usize>() + 4 * CHANNELS + 4 * fft::POINTS);
    }

    #[test]
    fn rows_come_as_soon_as_they_can() {
        let mut frontend = Frontend::new();
        assert_eq!(frontend.push(&[]), (0, None));
        assert_eq!(frontend.push(&[0; WINDOW - 1]), (WINDOW - 1, None));
        assert_eq!(frontend.push(&[0; 9]), (1, Some([0; CHANNELS])));
        assert_eq!(frontend.push(&[0; STEP - 1]), (STEP - 1, None));
        assert_eq!(frontend.push(&[0; STEP]), (1, Some([0; CHANNELS])));
    }

    #[test]
    fn a_tone_is_heard_in_its_channel() {
        // 1 kHz, in sixteenths of a turn.
        let wave = [0, 3827, 7071, 9239, 10000, 9239, 7071, 3827, 0, -3827, -7071, -9239, -10000, -9239, -7071, -3827];
        let samples: Vec<i16> = wave.into_iter().cycle().take(WINDOW).collect();
        let (_, row) = Frontend::new().push(&samples);
        let row = row.unwrap();
        let loudest = (0..CHANNELS).max_by_key(|channel| row[*channel]).unwrap();
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        let place = (mel(1000.0) - mel(125.0)) / (mel(7500.0) - mel(125.0)) * 41.0 - 1.0;
        assert!((loudest as f64 - place).abs() < 1.0, "{loudest} {place}");
    }
}
