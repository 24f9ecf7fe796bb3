//! The wake words of PyPI's pymicro-wakeword, converted and run, against TensorFlow Lite Micro's reference kernels (PyPI tflite-micro) and
//! pinned to the byte; the audio frontend against PyPI's pymicro-features. `wake_words.py` calls them; what is not installed is absent, and
//! said so.

use smidgen::frontend::audio::{CHANNELS, Frontend};
use smidgen::models::micro::{Micro, WakeWord};
use smidgen_convert::tflite;
use smidgen_gguf::Gguf;
use std::io::Write;
use std::process::Command;

/// Words, and FNV-1a hashes of the outputs of the file and of the one with its last bias raised.
const WORDS: [(&str, [u64; 2]); 4] = [
    ("Alexa", [0xbeac_ddec_8ea6_dba4, 0xc801_4757_7242_04d1]),
    ("Hey Jarvis", [0x3702_7190_f725_c8c5, 0x05da_195f_dd78_a326]),
    ("Hey Mycroft", [0x1495_15eb_8575_a79c, 0xcd6e_0266_d12c_fbdf]),
    ("Okay Nabu", [0xfdcb_7522_1af6_2a00, 0x2f22_195c_08df_6458]),
];

/// Named parts that the script writes, in order; none if there is no Python.
fn parts() -> Option<Vec<(String, Vec<u8>)>> {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with pymicro-wakeword (SMIDGEN_SKIP_PYTHON=1)");
        return None;
    }
    let output = Command::new("python3").args(["-c", include_str!("wake_words.py")]).output();
    let output = output.expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.lines().filter(|line| line.starts_with("ABSENT")).for_each(|line| println!("{line}"));
    let mut rest = &output.stdout[..];
    let mut parts = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (name, length) = std::str::from_utf8(&rest[..end]).unwrap().split_once(' ').unwrap();
        let (data, tail) = rest[end + 1..].split_at(length.parse().unwrap());
        parts.push((name.into(), data.to_vec()));
        rest = tail;
    }
    Some(parts)
}

fn hear(samples: &[u8]) -> Vec<u8> {
    let samples: Vec<i16> = samples.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
    let (mut frontend, mut rest, mut rows) = (Frontend::new(), &samples[..], Vec::new());
    while !rest.is_empty() {
        let (taken, row) = frontend.push(rest);
        rest = &rest[taken..];
        rows.extend(row.iter().flatten().flat_map(|feature| feature.to_le_bytes()));
    }
    rows
}

fn converted(file: &[u8], manifest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    tflite::convert(file, Some(("manifest.json", manifest)), &mut out).unwrap();
    out
}

fn steps(gguf: &Gguf<'_>, inputs: &[u8]) -> Vec<u8> {
    let model = Micro::parse(gguf).unwrap();
    let mut arena = vec![0x55; model.arena_len()];
    model.reset(&mut arena).unwrap();
    let step = |input: &[u8]| {
        let mut output = [0];
        model.infer(&mut arena, input, &mut output).unwrap();
        output[0]
    };
    inputs.chunks(3 * CHANNELS).map(step).collect()
}

#[test]
fn models_and_features_of_the_packages() {
    let Some(parts) = parts() else { return };
    let mut parts = parts.iter().map(|(name, data)| (name.as_str(), &data[..])).peekable();
    let (mut words, mut wrong) = (WORDS.iter(), Vec::new());
    while let Some((name, data)) = parts.next() {
        if name == "samples" {
            if let Some((_, features)) = parts.next_if(|(name, _)| *name == "features") {
                let found = hear(data);
                assert_eq!(found.len(), features.len());
                let differ = found.iter().zip(features).position(|(found, expected)| found != expected);
                assert_eq!(differ.map(|at| at / 2 / CHANNELS), None, "the first row that differs");
                println!("RAN: features, {} rows", features.len() / 2 / CHANNELS);
            }
            continue;
        }
        assert_eq!(name, "manifest");
        let (word, hashes) = words.next().unwrap();
        let (_, inputs) = parts.next_if(|(name, _)| *name == "inputs").unwrap();
        for (hash, what) in hashes.iter().zip(["as it is", "raised"]) {
            let (_, file) = parts.next_if(|(name, _)| *name == "file").unwrap();
            let file = converted(file, data);
            let gguf = Gguf::parse(&file).unwrap();
            assert_eq!(WakeWord::parse(&gguf).unwrap().word(), Some(*word));
            let found = steps(&gguf, inputs);
            let reference = parts.next_if(|(name, _)| *name == "outputs");
            if let Some((_, expected)) = reference {
                assert_eq!(found, expected, "{word}, {what}");
            }
            let found_hash = found
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
            if found_hash != *hash {
                wrong.push(format!("{word}, {what}: {found_hash:#018x}"));
            }
            let with = if reference.is_some() { "the reference's bytes" } else { "without a reference" };
            println!("RAN: {word}, {what}, {} steps, {with}, pinned", found.len());
        }
    }
    assert!(wrong.is_empty(), "bytes that are not as pinned:\n{}", wrong.join("\n"));
}
