//! Raises a pin and logs a line when a word is heard, on any board: what is the board's is given as traits of `embedded-hal`.
//!
//! Nothing here allocates or panics. A damaged model is an [`Error`].
#![no_std]
#![forbid(unsafe_code)]

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use smidgen::frontend::audio::{Frontend, STEP};
use smidgen::models::micro::WakeWord;
use smidgen_gguf::Gguf;

/// Rows of 10 ms for which the pin stays high.
const HIGH: u32 = 50;
/// How long to wait for samples that are not there yet.
const WAIT_US: u32 = 500;

/// Bytes set aside for the model's arena; [`listen`] says how many a model wants if these are too few.
pub const ARENA: usize = 6 << 10;

/// Bytes as aligned as weights and arenas want to be.
#[repr(align(32))]
#[derive(Debug)]
pub struct Aligned<B>(pub B);

/// Where sound comes from: mono, 16 bits, 16,000 samples per second.
pub trait Samples {
    /// Fills the beginning of `samples` with what there is, and says how many; none at the end of the stream. None yet is `Some(0)`.
    fn read(&mut self, samples: &mut [i16]) -> Option<usize>;
}

/// Why a demo ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file is no GGUF file.
    File(smidgen_gguf::Error),
    /// The model cannot run.
    Model(smidgen::models::micro::Error),
    /// The pin failed.
    Pin,
}

impl From<smidgen_gguf::Error> for Error {
    fn from(error: smidgen_gguf::Error) -> Error {
        Error::File(error)
    }
}

impl From<smidgen::models::micro::Error> for Error {
    fn from(error: smidgen::models::micro::Error) -> Error {
        Error::Model(error)
    }
}

impl defmt::Format for Error {
    fn format(&self, f: defmt::Formatter) {
        match self {
            Error::File(_) => defmt::write!(f, "no GGUF file"),
            Error::Model(smidgen::models::micro::Error::Arena { needed, given }) => {
                defmt::write!(f, "the arena must be {} bytes, not {}", needed, given);
            }
            Error::Model(_) => defmt::write!(f, "no model of a wake word that can run"),
            Error::Pin => defmt::write!(f, "the pin failed"),
        }
    }
}

/// Listens until the stream ends. `arena` is the memory that the model works in; its size is the file's `micro.arena_length`.
///
/// # Errors
/// [`Error`].
pub fn listen(
    model: &[u8],
    arena: &mut [u8],
    frontend: &mut Frontend,
    sound: &mut impl Samples,
    pin: &mut impl OutputPin,
    delay: &mut impl DelayNs,
) -> Result<(), Error> {
    let file = Gguf::parse(model)?;
    let mut word = WakeWord::parse(&file)?;
    word.reset(arena)?;
    frontend.reset();
    pin.set_low().map_err(|_| Error::Pin)?;
    defmt::info!("listening for {=str}", word.word().unwrap_or("a word"));
    let mut chunk = [0; STEP];
    let (mut rows, mut high) = (0_u32, 0_u32);
    while let Some(count) = sound.read(&mut chunk) {
        let Some(mut samples) = chunk.get(..count).filter(|samples| !samples.is_empty()) else {
            delay.delay_us(WAIT_US);
            continue;
        };
        while !samples.is_empty() {
            let (taken, features) = frontend.push(samples);
            samples = samples.get(taken..).unwrap_or_default();
            let Some(features) = features else { continue };
            rows = rows.wrapping_add(1);
            high = high.saturating_sub(1);
            if high == 1 {
                pin.set_low().map_err(|_| Error::Pin)?;
            }
            if let Some(step) = word.hear(&features, arena)?
                && step.heard
            {
                pin.set_high().map_err(|_| Error::Pin)?;
                high = HIGH;
                // The window of the first row is three rows long.
                let ms = rows.wrapping_add(2).wrapping_mul(10);
                defmt::info!("{=str} at {=u32} ms, step {=u32}", word.word().unwrap_or("a word"), ms, step.number);
            }
        }
    }
    pin.set_low().map_err(|_| Error::Pin)
}
