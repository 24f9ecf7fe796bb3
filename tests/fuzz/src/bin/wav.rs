//! A WAV file is read as `smidgen listen` does, and heard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::frontend::audio::Frontend;
use smidgen::frontend::mfcc::{Mfcc, Settings};
use smidgen_host::{Error, Sound};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(samples) = heard(bytes) else { return };
    // Of one byte of a sample, 1,000 of them in a second.
    assert!(samples.len() <= bytes.len() * 16);
    let mut frontend = Frontend::new();
    let mut rest = &samples[..];
    while !rest.is_empty() {
        let (taken, _) = frontend.push(rest);
        rest = &rest[taken..];
    }
    let mut memory = vec![0.0; Settings::KEYWORDS.memory_len().expect("good settings")];
    let mut mfcc = Mfcc::new(Settings::KEYWORDS, &mut memory).expect("good settings");
    let mut row = [0.0; 10];
    let mut rest = &samples[..];
    while !rest.is_empty() {
        let (taken, _) = mfcc.push(rest, &mut row);
        assert!(row.iter().all(|value| value.is_finite()));
        rest = &rest[taken..];
    }
});

/// The samples of a stream.
fn heard(bytes: &[u8]) -> Result<Vec<i16>, Error> {
    let mut sound = Sound::stream(bytes, Path::new("x"))?;
    let mut all = Vec::new();
    loop {
        let samples = sound.samples()?;
        if samples.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(samples);
    }
}
