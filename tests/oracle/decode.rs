//! Every block format against the Python package `gguf` (its arithmetic is numpy's): decoding, and the encoders that both have,
//! must agree to the bit. Needs `python3` with `gguf` and `numpy`; without them it fails, unless `SMIDGEN_SKIP_PYTHON=1`.

use std::io::Write;
use std::process::{Command, Stdio};

use smidgen_quant::Format;
use smidgen_tests::Random;

/// Reads requests `<decode|encode> <type> <bytes>\n<data>` and answers each with eight bytes of length and the data.
/// A type that the package cannot encode is answered with length zero.
const SCRIPT: &str = r#"
import sys
import numpy as np
from gguf import GGMLQuantizationType, quants

np.seterr(all="ignore")
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
answers = []
while line := stdin.readline():
    task, name, size = line.decode().split()
    data = np.frombuffer(stdin.read(int(size)), dtype=np.uint8)
    kind = GGMLQuantizationType[name]
    if task == "decode":
        answer = quants.dequantize(data, kind).astype(np.float32, copy=False).tobytes()
    else:
        try:
            answer = quants.quantize(data.view(np.float32).reshape(-1, 256), kind).tobytes()
        except NotImplementedError:
            answer = b""
    answers.append(answer)
for answer in answers:
    stdout.write(len(answer).to_bytes(8, "little") + answer)
"#;

/// Runs the script on all requests; none if the environment says that there is no Python.
fn python(requests: &[(&str, Format, Vec<u8>)]) -> Option<Vec<Vec<u8>>> {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with the Python package gguf (SMIDGEN_SKIP_PYTHON=1)");
        return None;
    }
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    for (task, format, data) in requests {
        let header = format!("{task} {} {}\n", format.name(), data.len());
        // A failure to write is a script that has ended; its status tells.
        let _ = stdin.write_all(header.as_bytes()).and_then(|()| stdin.write_all(data));
    }
    drop(stdin);
    let output = child.wait_with_output().expect("python3 can be waited for");
    assert!(output.status.success(), "python3 with gguf and numpy is needed, or SMIDGEN_SKIP_PYTHON=1");
    let mut rest = &output.stdout[..];
    let mut answers = Vec::new();
    while let Some((len, data)) = rest.split_first_chunk() {
        let (answer, tail) = data.split_at(u64::from_le_bytes(*len) as usize);
        answers.push(answer.to_vec());
        rest = tail;
    }
    assert_eq!(answers.len(), requests.len());
    Some(answers)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Blocks of random bytes with random scales, then every pattern below with every pair of extreme scales; no scale is infinite or NaN.
fn blocks(format: Format, random: &mut Random) -> Vec<u8> {
    const SCALES: [u16; 9] = [0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x3c00, 0x7bff, 0xfbff];
    let size = format.block_bytes();
    let mut blocks = Vec::new();
    while blocks.len() < 3000 * size {
        let block = random.bytes(size);
        if format.first_non_finite(&block).is_none() {
            blocks.extend(block);
        }
    }
    for pattern in [0x00, 0xff, 0x55, 0xaa, 0x0f, 0xf0] {
        for first in SCALES {
            for second in SCALES {
                let mut block = vec![pattern; size];
                for (at, scale) in format.scales().iter().zip([first, second]) {
                    block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                blocks.extend(block);
            }
        }
    }
    blocks
}

#[test]
fn decoding_equals_the_python_package() {
    let mut random = Random(0x5eed);
    let requests: Vec<_> =
        Format::ALL.into_iter().map(|format| ("decode", format, blocks(format, &mut random))).collect();
    let Some(answers) = python(&requests) else { return };
    for ((_, format, bytes), answer) in requests.iter().zip(answers) {
        let expected = floats(&answer);
        let mut got = vec![0f32; bytes.len() / format.block_bytes() * format.block_len()];
        format.decode(bytes, &mut got).expect("whole blocks");
        assert_eq!(got.len(), expected.len(), "{}", format.name());
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{} weight {i}: {got}, not {expected}", format.name());
        }
        println!("decode {:6} {} weights equal", format.name(), got.len());
    }
}

/// Rows of 256: random of many magnitudes, constants, single spikes, ramps that hit the rounding ties, the limits of binary16.
fn values(random: &mut Random) -> Vec<f32> {
    let mut rows: Vec<[f32; 256]> = Vec::new();
    for exponent in -30..=4 {
        let scale = format!("6e{exponent}").parse::<f32>().expect("a number");
        for _ in 0..10 {
            rows.push(std::array::from_fn(|_| random.float(1.0) * scale));
        }
        rows.push(std::array::from_fn(|_| random.float(1.0).abs() * scale));
        rows.push(std::array::from_fn(|_| -random.float(1.0).abs() * scale));
        rows.push([scale; 256]);
        rows.push([-scale; 256]);
        rows.push(std::array::from_fn(|i| if i % 32 == i / 8 { -scale } else { 0.0 }));
        rows.push(std::array::from_fn(|i| if i % 32 == i / 8 { scale } else { 0.0 }));
    }
    rows.push([0.0; 256]);
    rows.push([-0.0; 256]);
    rows.push(std::array::from_fn(|i| (i as f32 - 128.0) * 0.5));
    rows.push(std::array::from_fn(|i| (i % 32) as f32 * 0.5));
    rows.push(std::array::from_fn(|i| (i % 32) as f32 * -0.25 + 4.0));
    rows.push(std::array::from_fn(|i| if i % 32 == 0 { 127.0 } else { i as f32 * 0.5 - 60.0 }));
    rows.push(std::array::from_fn(|i| [65504.0, -65504.0, 65519.0, 0.0][i % 4]));
    rows.push(std::array::from_fn(|i| (i as f32 + 0.5) * f32::from_bits((127 - 24) << 23)));
    rows.into_flattened()
}

#[test]
fn encoding_equals_the_python_package() {
    let values = values(&mut Random(0xc0de));
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let requests = Format::ALL.map(|format| ("encode", format, data.clone()));
    let Some(answers) = python(&requests) else { return };
    let mut missing = Vec::new();
    for ((_, format, _), expected) in requests.iter().zip(answers) {
        if expected.is_empty() {
            missing.push(*format);
            continue;
        }
        let mut got = vec![0; format.bytes(values.len()).expect("whole blocks")];
        format.encode(&values, &mut got).expect("an encoder");
        assert_eq!(got.len(), expected.len(), "{}", format.name());
        for (b, (got, expected)) in
            got.chunks_exact(format.block_bytes()).zip(expected.chunks_exact(format.block_bytes())).enumerate()
        {
            let from = &values[b * format.block_len()..(b + 1) * format.block_len()];
            assert_eq!(got, expected, "{} block {b} of {from:?}", format.name());
        }
        println!("encode {:6} {} weights equal", format.name(), values.len());
    }
    let expected = [Format::Q2_K, Format::Q3_K, Format::Q4_K, Format::Q5_K, Format::Q6_K, Format::IQ4_NL];
    assert_eq!(missing, expected, "what the package cannot encode");
}
