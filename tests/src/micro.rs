//! A small model of a wake word, made by hand, and WAV and NumPy files.

use crate::random::Random;
use smidgen_gguf::{NewTensor, NewValue, TensorType, Writer};

/// Rows of 40 features that a step of [`wake_word`] takes.
pub const ROWS: usize = 2;

/// A model whose probability is how loud the sound is: the sum of all features, over 128. Its cut-off, if it is to have one, is for the
/// mean of three.
pub fn wake_word(word: &str, cutoff: Option<f64>) -> Vec<u8> {
    let inputs = 40 * ROWS as i32;
    let mut weights = vec![1_u8; 80];
    // Bias (the zero point times the sum of the weights), multiplier, shift.
    let channel = [128 * inputs, 1 << 30, -6];
    weights.extend(channel.iter().flat_map(|word| word.to_le_bytes()));
    weights.resize(96, 0);
    weights.extend(0..=255_u8);
    let convolution =
        [1, 1, 1, 1, 1, 1, inputs, 0, inputs, inputs, inputs, inputs, inputs, 1, 1, 0, 80, -128, -128, 127, 0];
    let table = [6, 1, 1, 1, inputs, 1, 1, inputs + 1, 1, 1, 96];
    let plan: Vec<u8> = convolution.iter().chain(&table).flat_map(|word| word.to_le_bytes()).collect();
    let mut writer = Writer::new();
    let size = [1, ROWS as u32, 40];
    let ports: [(&str, NewValue<'_>); 17] = [
        ("general.architecture", "micro".into()),
        ("micro.arena_length", 82_u32.into()),
        ("micro.input.shape", (&size[..]).into()),
        ("micro.input.type", "int8".into()),
        ("micro.input.scale", 0.1_f32.into()),
        ("micro.input.zero_point", (-128_i32).into()),
        ("micro.input.extent", (&size[..]).into()),
        ("micro.input.view", (&[0_u32, 80, 40][..]).into()),
        ("micro.output.shape", (&[1_u32, 1][..]).into()),
        ("micro.output.type", "uint8".into()),
        ("micro.output.scale", (1.0_f32 / 256.0).into()),
        ("micro.output.zero_point", 0_i32.into()),
        ("micro.output.extent", (&[1_u32, 1, 1][..]).into()),
        ("micro.output.view", (&[81_u32, 1, 1][..]).into()),
        ("micro.wake_word", word.into()),
        ("micro.sliding_window_size", 3_u32.into()),
        ("micro.feature_step_size", 10_u32.into()),
    ];
    for (key, value) in ports {
        writer.metadata(key, value).expect("metadata");
    }
    if let Some(cutoff) = cutoff {
        writer.metadata("micro.probability_cutoff", cutoff).expect("metadata");
    }
    let dims = [weights.len() as u64, plan.len() as u64 / 4];
    let tensors = [
        NewTensor { name: "weights", dims: &dims[..1], kind: TensorType::I8, data: &weights },
        NewTensor { name: "plan", dims: &dims[1..], kind: TensorType::I32, data: &plan },
    ];
    writer.write(&tensors, Vec::new()).expect("a file")
}

/// Samples: a second of silence, then for each of the `bursts` half a second of noise and a second of silence.
pub fn bursts(bursts: usize) -> Vec<i16> {
    let mut random = Random(3);
    let mut samples = vec![0; 16_000];
    for _ in 0..bursts {
        samples.extend((0..8_000).map(|_| random.bits() as i16 / 2));
        samples.resize(samples.len() + 16_000, 0);
    }
    samples
}

/// A WAV file with a header of 44 bytes.
pub fn wav(rate: u32, channels: u16, bits: u16, format: u16, data: &[u8]) -> Vec<u8> {
    let frame = channels * bits / 8;
    let length = data.len() as u32;
    let mut file = [b"RIFF", &(36 + length).to_le_bytes()[..], b"WAVEfmt ", &16_u32.to_le_bytes()].concat();
    file.extend([format.to_le_bytes(), channels.to_le_bytes()].concat());
    file.extend([rate.to_le_bytes(), (rate * u32::from(frame)).to_le_bytes()].concat());
    file.extend([frame.to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend([b"data", &length.to_le_bytes()[..], data].concat());
    file
}

/// Samples as they are stored.
pub fn pcm(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// A NumPy file of version 1 whose header says these things, literally.
pub fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}
