//! Weights and activations from a seed.

use crate::Random;
use smidgen_quant::Format;

/// The kind of bytes beside the scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Random.
    Random,
    /// All the same.
    Byte(u8),
}

/// `len` weights of a format: random bytes with finite scales of magnitude about `scale`.
pub fn weights(format: Format, len: usize, scale: f32, fill: Fill, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; format.bytes(len).expect("whole blocks")];
    for byte in &mut bytes {
        *byte = match fill {
            Fill::Random => (random.bits() >> 32) as u8,
            Fill::Byte(byte) => byte,
        };
    }
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            Format::F16 => block.copy_from_slice(&smidgen_quant::f32_to_f16(random.float(1.0) * scale).to_le_bytes()),
            Format::F32 => block.copy_from_slice(&(random.float(1.0) * scale).to_le_bytes()),
            Format::BF16 => block.copy_from_slice(&(random.float(1.0) * scale).to_le_bytes()[2..]),
            _ => {
                for at in format.scales() {
                    let half = smidgen_quant::f32_to_f16(random.float(1.0) * scale);
                    block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// Owned activations in every form.
#[derive(Debug)]
pub struct Activations {
    /// Number of vectors.
    pub tokens: usize,
    /// Length of each.
    pub cols: usize,
    /// As they are, token-major.
    pub values: Vec<f32>,
    q8: (Vec<i8>, Vec<f32>, Vec<i32>, Vec<f32>),
    q8k: (Vec<i8>, Vec<f32>, Vec<i16>),
}

impl Activations {
    /// Quantizes token-major values by a table's functions. `cols` need not be whole blocks of either kind.
    pub fn new(kernels: &smidgen_targets::KernelSet, values: Vec<f32>, cols: usize) -> Activations {
        let tokens = values.len() / cols;
        let mut q8 = (
            vec![0; tokens * cols],
            vec![0.0; tokens * cols / 32],
            vec![0; tokens * cols / 32],
            vec![0.0; tokens * cols / 32],
        );
        let mut q8k = (vec![0; tokens * cols], vec![0.0; tokens * cols / 256], vec![0; tokens * cols / 16]);
        for (t, x) in values.chunks_exact(cols).enumerate() {
            if cols.is_multiple_of(32) {
                (kernels.quantize_q8)(x, t, tokens, &mut q8.0, &mut q8.1, &mut q8.2, &mut q8.3);
            }
            if cols.is_multiple_of(256) {
                (kernels.quantize_q8k)(x, t, tokens, &mut q8k.0, &mut q8k.1, &mut q8k.2);
            }
        }
        Activations { tokens, cols, values, q8, q8k }
    }

    /// The form that a format asks for.
    pub fn input(&self, format: Format) -> smidgen_quant::Input<'_> {
        use smidgen_quant::{Input, InputFormat, Q8, Q8K};
        let (tokens, cols) = (self.tokens, self.cols);
        match format.input_format() {
            InputFormat::F32 => Input::F32 { values: &self.values, cols },
            InputFormat::Q8 => {
                let (qs, scales, sums, offsets) = (&self.q8.0, &self.q8.1, &self.q8.2, &self.q8.3);
                Input::Q8(Q8 { tokens, cols, qs, scales, sums, offsets })
            }
            InputFormat::Q8K => {
                let (qs, scales, sums) = (&self.q8k.0, &self.q8k.1, &self.q8k.2);
                Input::Q8K(Q8K { tokens, cols, qs, scales, sums })
            }
        }
    }
}
