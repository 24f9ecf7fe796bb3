//! Audio features are those of PyPI's pymicro-features, number for number: for recordings where they are present, and for signals from
//! formulas. `audio.py` prints the table.

use smidgen::frontend::audio::{CHANNELS, Frontend, STEP};
use smidgen_tests::npy::Npy;
use smidgen_tests::shared;
use std::path::Path;

type Signal = fn(u64) -> i64;

/// Signals of 8000 samples that strain the integers, and hashes of their 48 rows.
#[rustfmt::skip]
const SIGNALS: [(&str, Signal, u64); 8] = [
    ("noise", noise, 0x3865_6cd0_8973_9254),
    ("noise that grows", |i| noise(i) >> 15_u64.saturating_sub(i / 500), 0xba10_2b19_9eaf_ef32),
    ("extremes", |i| if noise(i) < 0 { -32768 } else { 32767 }, 0x8aff_8f81_a831_fcaf),
    ("lowest, once", |i| if [239, 720].contains(&i) { -32768 } else { 0 }, 0x860a_7883_f851_2e93),
    ("lowest, in silence", |i| if i % 480 == 239 { -32768 } else { noise(i) >> 12 }, 0xee78_b3ec_f61f_2c8e),
    ("lowest, then highest", |i| if i % 160 < 80 { -32768 } else { 32767 }, 0xd749_8a10_0683_a3e9),
    ("pairs", |i| [1, -1, -1, 1, 1, 1, -1, -1][(i * (i / 512 + 1) % 8) as usize] * 32768, 0x390d_d029_b50d_dc4a),
    ("on and off", |i| if i / 1600 % 2 == 0 { noise(i) } else { 0 }, 0x9aed_3edf_0733_8637),
];

fn noise(i: u64) -> i64 {
    let i = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x0123_4567);
    let i = (i ^ i >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (i >> 40 & 0xffff) as i64 - 32768
}

fn rows(samples: &[i16]) -> Vec<[u16; CHANNELS]> {
    let (mut frontend, mut rest, mut rows) = (Frontend::new(), samples, Vec::new());
    while !rest.is_empty() {
        let (taken, row) = frontend.push(rest);
        rest = &rest[taken..];
        rows.extend(row);
    }
    rows
}

#[test]
fn signals_from_formulas() {
    for (name, signal, expected) in SIGNALS {
        let samples: Vec<i16> = (0..8000).map(|i| signal(i).clamp(-32768, 32767) as i16).collect();
        let rows = rows(&samples);
        assert_eq!(rows.len(), 48);
        // FNV-1a.
        let hash = rows.as_flattened().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, feature| {
            (hash ^ u64::from(*feature)).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!(hash, expected, "{name}");
    }
}

/// The samples of a WAV file of one channel, 16 bits, 16 kHz.
fn wav(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 12;
    loop {
        let (tag, length, body) = (&bytes[at..at + 4], word(at + 4) as usize, at + 8);
        match tag {
            b"fmt " => assert_eq!((word(body), word(body + 4), word(body + 12) >> 16), (1 << 16 | 1, 16_000, 16)),
            b"data" => {
                return bytes[body..body + length].as_chunks().0.iter().map(|b| i16::from_le_bytes(*b)).collect();
            }
            _ => {}
        }
        at = body + length.next_multiple_of(2);
    }
}

#[test]
fn recordings() {
    let Some(folder) = shared().map(|shared| shared.join("golden/micro")) else { return };
    let table = folder.join("features.json");
    let Ok(table) = std::fs::read(&table) else {
        return println!("ABSENT: {}", table.display());
    };
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap();
    for (name, about) in table.as_object().unwrap() {
        let samples = wav(&folder.join("audio").join(name).with_extension("wav"));
        assert_eq!(about["samples"], samples.len(), "{name}");
        let (found, expected) = (
            rows(&samples),
            Npy::read(&folder.join("features").join(name).with_extension("npy"), "<u2").unwrap().u16(),
        );
        assert_eq!(about["frames"], found.len(), "{name}");
        assert_eq!(expected.len(), found.len() * CHANNELS, "{name}");
        for (i, (found, expected)) in found.iter().zip(expected.chunks(CHANNELS)).enumerate() {
            assert_eq!(found, expected, "{name}, row {i} at {} ms", i * STEP / 16);
        }
        println!("RAN: {name}, {} rows", found.len());
    }
    assert!(!table.as_object().unwrap().is_empty());
}
