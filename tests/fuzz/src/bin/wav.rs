//! A WAV file is read as `smidgen listen` does, and heard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::frontend::audio::Frontend;
use smidgen::frontend::mfcc::{Mfcc, Settings};

fuzz_target!(|bytes: &[u8]| {
    let Ok(samples) = smidgen_cli::samples(bytes) else { return };
    assert!(samples.len() * 2 <= bytes.len());
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
