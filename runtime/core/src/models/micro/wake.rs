//! Wake words: rows of audio features go in, probabilities and detections come out. The same code runs on a desktop and on a device.

use super::{Error, Micro};
use crate::frontend::audio::{CHANNELS, Features};
use core::fmt;
use smidgen_gguf::{Gguf, Value};

/// Most rows of features that a step takes.
pub const MAX_ROWS: usize = 8;
/// Most probabilities that a detection is the mean of.
pub const MAX_WINDOW: usize = 64;
/// Milliseconds from row to row.
const ROW_MS: u64 = 10;
/// Probabilities are in units of 1/256.
const UNITS: u64 = 256;

/// What a step of a model has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number since the last reset, from 0.
    pub number: u32,
    /// What the model gave, a probability times 256.
    pub output: u8,
    /// The sum of the last outputs, as many as the window has; none before there are so many, or without a cut-off.
    pub sum: Option<u32>,
    /// Whether the word is heard: the mean is above the cut-off and was not at the step before.
    pub heard: bool,
}

/// A model of a wake word and what it has heard so far. The memory that it works in is the caller's: [`Micro::arena_len`] bytes.
#[derive(Clone)]
pub struct WakeWord<'a> {
    model: Micro<'a>,
    word: Option<&'a str>,
    /// The greatest sum of a window's outputs with which the word is not heard; none if the file has no cut-off.
    silent: Option<u32>,
    window: usize,
    /// Rows that a step takes.
    rows: usize,
    /// From a feature to steps of the input's scale, times 2^17.
    factor: u32,
    input: [[u8; CHANNELS]; MAX_ROWS],
    filled: usize,
    outputs: [u8; MAX_WINDOW],
    /// Where the next output goes.
    next: usize,
    steps: u32,
    above: bool,
}

impl fmt::Debug for WakeWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeWord").field("word", &self.word).field("model", &self.model).finish_non_exhaustive()
    }
}

impl<'a> WakeWord<'a> {
    /// Checks a whole model, and that it takes [`Features`] and gives one probability. A file without a cut-off detects nothing, but gives
    /// probabilities.
    ///
    /// # Errors
    /// Those of [`Micro::parse`]; [`Error::Key`] for what is of another type, range or shape.
    pub fn parse(file: &Gguf<'a>) -> Result<WakeWord<'a>, Error> {
        const CUTOFF: &str = "micro.probability_cutoff";
        const WINDOW: &str = "micro.sliding_window_size";
        const STEP: &str = "micro.feature_step_size";
        const WORD: &str = "micro.wake_word";
        let model = Micro::parse(file)?;
        let (input, output) = (model.input(), model.output());
        let rows = input.elements() / CHANNELS;
        let shaped = input.shape().last() == Some(&CHANNELS) && input.elements().is_multiple_of(CHANNELS);
        if !shaped || !(1..=MAX_ROWS).contains(&rows) {
            return Err(Error::Key { key: "micro.input.shape" });
        }
        if !input.signed || input.zero_point != i8::MIN.into() {
            return Err(Error::Key { key: "micro.input.zero_point" });
        }
        if output.elements() != 1 || output.signed {
            return Err(Error::Key { key: "micro.output.shape" });
        }
        if file.get(STEP).is_some_and(|value| value.as_u64() != Some(ROW_MS)) {
            return Err(Error::Key { key: STEP });
        }
        let word = file.get(WORD).map(|value| value.as_str().ok_or(Error::Key { key: WORD })).transpose()?;
        let window = match file.get(WINDOW) {
            Some(value) => value.as_u64().and_then(|window| usize::try_from(window).ok()),
            None => Some(1),
        };
        let window = window.filter(|window| (1..=MAX_WINDOW).contains(window)).ok_or(Error::Key { key: WINDOW })?;
        let silent = match file.get(CUTOFF) {
            Some(Value::F64(cutoff)) => {
                let units = u64::try_from(window).unwrap_or(0).wrapping_mul(UNITS);
                Some(whole(cutoff, units).ok_or(Error::Key { key: CUTOFF })?)
            }
            Some(_) => return Err(Error::Key { key: CUTOFF }),
            None => None,
        };
        // A feature is 25.6 times what models were trained with: 2^17 / 25.6 = 5120.
        let factor = (5120.0 / input.scale + 0.5) as u32;
        Ok(WakeWord {
            word,
            silent,
            window,
            rows,
            factor,
            model,
            input: [[0; CHANNELS]; MAX_ROWS],
            filled: 0,
            outputs: [0; MAX_WINDOW],
            next: 0,
            steps: 0,
            above: false,
        })
    }

    /// The model.
    pub fn model(&self) -> &Micro<'a> {
        &self.model
    }

    /// The word, if the file names it.
    pub fn word(&self) -> Option<&'a str> {
        self.word
    }

    /// Of how many outputs a detection is the mean; none if the file has no cut-off.
    pub fn window(&self) -> Option<usize> {
        self.silent.map(|_| self.window)
    }

    /// Forgets what it has heard. Must come before the first [`hear`](Self::hear) with an arena.
    ///
    /// # Errors
    /// [`Error::Arena`].
    pub fn reset(&mut self, arena: &mut [u8]) -> Result<(), Error> {
        (self.filled, self.next, self.steps, self.above) = (0, 0, 0, false);
        self.model.reset(arena)
    }

    /// Hears 10 ms of sound. Every few rows, as many as the model takes, is a step.
    ///
    /// # Errors
    /// [`Error::Arena`].
    pub fn hear(&mut self, features: &Features, arena: &mut [u8]) -> Result<Option<Step>, Error> {
        let row = self.input.get_mut(self.filled).ok_or(Error::Internal)?;
        for (to, feature) in row.iter_mut().zip(features) {
            let steps = (u64::from(*feature) * u64::from(self.factor) + (1 << 16)) >> 17;
            // From -128 on.
            *to = steps.min(255) as u8 ^ 0x80;
        }
        self.filled += 1;
        if self.filled < self.rows {
            return Ok(None);
        }
        self.filled = 0;
        let mut output = [0];
        let input = self.input.get(..self.rows).ok_or(Error::Internal)?;
        self.model.infer(arena, input.as_flattened(), &mut output)?;
        let [output] = output;
        let number = self.steps;
        self.steps = number.saturating_add(1);
        // Where the oldest was.
        let place = self.next;
        *self.outputs.get_mut(place).ok_or(Error::Internal)? = output;
        self.next = if place + 1 < self.window { place + 1 } else { 0 };
        let enough = usize::try_from(self.steps).is_ok_and(|steps| steps >= self.window);
        let sum = self.silent.filter(|_| enough).map(|_| {
            let outputs = self.outputs.iter().take(self.window);
            outputs.map(|output| u32::from(*output)).fold(0, u32::wrapping_add)
        });
        let above = sum > self.silent && sum.is_some();
        let heard = above && !self.above;
        self.above = above;
        Ok(Some(Step { number, output, sum, heard }))
    }
}

/// The whole part of `share * units` for a share from 0 to 1, rounded to the 40th binary digit first: 0.85 * 1280 is 1088. Without
/// floating-point arithmetic, which is long on a microcontroller.
fn whole(share: f64, units: u64) -> Option<u32> {
    let bits = share.to_bits();
    let exponent = u32::try_from(bits >> 52).ok().filter(|exponent| *exponent <= 1023)?;
    let fraction = (bits & ((1 << 52) - 1)) | (1 << 52);
    // Of 2^40 parts, to the nearest; what is below half of one is nothing.
    let down = 12 + (1023 - exponent);
    let parts = if down > 54 { 0 } else { ((fraction >> (down - 1)) + 1) >> 1 };
    if parts > 1 << 40 {
        return None;
    }
    // What the rounding may have taken away is given back.
    u32::try_from(parts.wrapping_mul(units).wrapping_add(units) >> 40).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_real_numbers() {
        for window in 1..=64 {
            for percent in 0..=100_u32 {
                let share = f64::from(percent) / 100.0;
                let expected = percent * window * 256 / 100;
                assert_eq!(whole(share, u64::from(window) * 256), Some(expected), "{percent} {window}");
            }
        }
        assert_eq!([whole(1e-9, 256), whole(f64::MIN_POSITIVE, 256), whole(0.0, 256)], [Some(0); 3]);
        for none in [1.001, -0.5, f64::NAN, f64::INFINITY, -f64::INFINITY, 1e300] {
            assert_eq!(whole(none, 1280), None, "{none}");
        }
    }
}
