//! Mel-frequency cepstral coefficients against numpy, by their definition in float64, and pinned to the bit for every machine. Needs
//! `python3` with `numpy`; without it the comparison fails, unless `SMIDGEN_SKIP_PYTHON=1`.

use smidgen::frontend::mfcc::{Mfcc, Settings};
use std::io::Write;
use std::process::{Command, Stdio};

/// Largest difference to float64. Coefficients are up to about 100; what is faint beside strong frequencies has few digits in `f32`, and
/// its logarithm is a part of all of them.
const TOLERANCE: f32 = 2e-3;

/// Reads settings from the arguments and samples from stdin; writes rows of float32.
const SCRIPT: &str = r#"
import sys
import numpy as np

rate, window, step, mels, coefficients = map(int, sys.argv[1:6])
lower, upper, floor = map(float, sys.argv[6:])
x = np.frombuffer(sys.stdin.buffer.read(), "<i2") / 32768
points = 1 << (window - 1).bit_length()
hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
frames = np.stack([x[at : at + window] * hann for at in range(0, len(x) - window + 1, step)])
magnitudes = np.abs(np.fft.rfft(frames, points))
mel = lambda hertz: 1127 * np.log(1 + hertz / 700)
edges = np.linspace(mel(lower), mel(upper), mels + 2)
bins = mel(np.arange(points // 2 + 1) * rate / points)[:, None]
rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
triangles = np.maximum(0, np.minimum(rising, falling))
triangles[0] = 0
logs = np.log(magnitudes @ triangles + floor)
k, i = np.arange(coefficients)[:, None], np.arange(mels)
cosines = np.sqrt(2 / mels) * np.cos(np.pi * k * (i + 0.5) / mels)
sys.stdout.buffer.write((logs @ cosines.T).astype("<f4").tobytes())
"#;

/// Settings and FNV-1a hashes of the bits of all signals' rows.
const SETTINGS: [(&str, Settings, u64); 5] = [
    ("keywords", Settings::KEYWORDS, 0xb58a_01be_1af1_d017),
    ("all coefficients", Settings { coefficients: 40, ..Settings::KEYWORDS }, 0xab7d_6da4_2571_2c29),
    (
        "8 kHz, a power of two, no overlap",
        Settings {
            sample_rate: 8_000,
            window: 256,
            step: 256,
            mels: 13,
            coefficients: 13,
            lower: 0.0,
            upper: 4000.0,
            floor: 1e-3,
        },
        0x8372_c93b_95e4_5ca1,
    ),
    (
        "44.1 kHz, an odd window, more triangles than bins below",
        Settings {
            sample_rate: 44_100,
            window: 1103,
            step: 441,
            mels: 128,
            coefficients: 20,
            lower: 20.0,
            upper: 22_050.0,
            floor: 1e-6,
        },
        0x862b_c41e_2eb5_8e91,
    ),
    (
        "the shortest window",
        Settings {
            sample_rate: 16_000,
            window: 4,
            step: 1,
            mels: 2,
            coefficients: 1,
            lower: 1000.0,
            upper: 8000.0,
            floor: 1e-2,
        },
        0xae9f_951b_c070_d69e,
    ),
];

fn noise(i: u64) -> i64 {
    let i = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x0123_4567);
    let i = (i ^ i >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (i >> 40 & 0xffff) as i64 - 32768
}

/// Noise, faint noise, extremes, a square wave, an impulse, silence: 2500 samples each.
fn samples() -> Vec<i16> {
    let signals: [fn(u64) -> i64; 6] = [
        noise,
        |i| noise(i) >> 12,
        |i| if noise(i) < 0 { -32768 } else { 32767 },
        |i| if i / 18 % 2 == 0 { 8000 } else { -8000 },
        |i| if i == 1200 { 32767 } else { 0 },
        |_| 0,
    ];
    let long = signals.iter().flat_map(|signal| (0..2500).map(signal));
    long.map(|sample| i16::try_from(sample).unwrap()).collect()
}

fn rows(settings: Settings, samples: &[i16]) -> Vec<f32> {
    let mut memory = vec![f32::NAN; settings.memory_len().unwrap()];
    let mut mfcc = Mfcc::new(settings, &mut memory).unwrap();
    let (mut rest, mut rows, mut row) = (samples, Vec::new(), vec![0.0; settings.coefficients]);
    while !rest.is_empty() {
        let (taken, complete) = mfcc.push(rest, &mut row);
        rest = &rest[taken..];
        rows.extend(row.iter().filter(|_| complete));
    }
    rows
}

#[test]
fn coefficients_are_those_of_the_definition() {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with numpy (SMIDGEN_SKIP_PYTHON=1)");
        return;
    }
    let samples = samples();
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    for (name, settings, _) in SETTINGS {
        let Settings { sample_rate, window, step, mels, coefficients, lower, upper, floor } = settings;
        let numbers = [sample_rate as usize, window, step, mels, coefficients].map(|number| number.to_string());
        let edges = [lower, upper, floor].map(|number| number.to_string());
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .args(numbers.iter().chain(&edges))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
        // A failure to write is a script that has ended; its status tells.
        let _ = child.stdin.take().expect("stdin is piped").write_all(&bytes);
        let output = child.wait_with_output().expect("python3 can be waited for");
        assert!(output.status.success(), "python3 with numpy is needed, or SMIDGEN_SKIP_PYTHON=1");
        let expected: Vec<f32> = output.stdout.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let found = rows(settings, &samples);
        assert_eq!(found.len(), expected.len(), "{name}");
        assert_eq!(found.len(), ((samples.len() - window) / step + 1) * coefficients, "{name}");
        let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("RAN: {name}, {} coefficients, at most {most:e} from float64", found.len());
        assert!(most < TOLERANCE, "{name}: {most}");
    }
}

#[test]
fn the_bits_are_the_same_everywhere() {
    let samples = samples();
    let mut wrong = Vec::new();
    for (name, settings, expected) in SETTINGS {
        let bits = rows(settings, &samples).into_iter().flat_map(|value| value.to_bits().to_le_bytes());
        let hash =
            bits.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        if hash != expected {
            wrong.push(format!("{name}: {hash:#018x}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
