extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::activation::{quantize_q8, quantize_q8k};
use crate::{Q8, Q8K};

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Sum of twelve uniform numbers: mean 0, variance 1, nearly normal.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.bits() >> 40) as f64 / (1 << 24) as f64).sum();
        (sum - 6.0) as f32
    }

    fn normals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.normal()).collect()
    }

    /// Random bytes, the scales random too but of a sane magnitude.
    fn blocks(&mut self, format: Format, blocks: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..blocks * format.block_bytes()).map(|_| (self.bits() >> 32) as u8).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            for at in format.scales() {
                block[*at..at + 2].copy_from_slice(&crate::f32_to_f16(self.normal() * 0.01).to_le_bytes());
            }
            if format.input_format() == InputFormat::F32 {
                format.encode(&[self.normal()], block).unwrap();
            }
        }
        bytes
    }
}

/// Activations of several tokens in every form.
struct Activations {
    cols: usize,
    tokens: usize,
    values: Vec<f32>,
    q8: (Vec<i8>, Vec<f32>, Vec<i32>, Vec<f32>),
    q8k: (Vec<i8>, Vec<f32>, Vec<i16>),
}

impl Activations {
    fn new(random: &mut Random, cols: usize, tokens: usize) -> Activations {
        let n = cols * tokens;
        let values = random.normals(n);
        let mut q8 = (vec![0; n], vec![0.0; n / 32], vec![0; n / 32], vec![0.0; n / 32]);
        let mut q8k = (vec![0; n], vec![0.0; n / 256], vec![0; n / 16]);
        for (t, row) in values.chunks_exact(cols).enumerate() {
            quantize_q8(row, t, tokens, &mut q8.0, &mut q8.1, &mut q8.2, &mut q8.3);
            quantize_q8k(row, t, tokens, &mut q8k.0, &mut q8k.1, &mut q8k.2);
        }
        Activations { cols, tokens, values, q8, q8k }
    }

    fn input(&self, form: InputFormat) -> Input<'_> {
        let (tokens, cols) = (self.tokens, self.cols);
        match form {
            InputFormat::F32 => Input::F32 { values: &self.values, cols },
            InputFormat::Q8 => {
                let (qs, scales, sums, offsets) = &self.q8;
                Input::Q8(Q8 { tokens, cols, qs, scales, sums, offsets })
            }
            InputFormat::Q8K => {
                let (qs, scales, sums) = &self.q8k;
                Input::Q8K(Q8K { tokens, cols, qs, scales, sums })
            }
        }
    }

    /// The value of activation `i` of token `t`.
    fn value(&self, form: InputFormat, i: usize, t: usize) -> f64 {
        let q = (i / 32 * self.tokens + t) * 32 + i % 32;
        match form {
            InputFormat::F32 => self.values[t * self.cols + i] as f64,
            InputFormat::Q8 => self.q8.0[q] as f64 * self.q8.1[i / 32 * self.tokens + t] as f64,
            InputFormat::Q8K => self.q8k.0[q] as f64 * self.q8k.1[i / 256 * self.tokens + t] as f64,
        }
    }
}

fn decode(format: Format, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    format.decode(bytes, &mut out).unwrap();
    out
}

fn round_trip(format: Format, values: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0xaa; format.bytes(values.len()).unwrap()];
    format.encode(values, &mut bytes).unwrap();
    assert_eq!(format.first_non_finite(&bytes), None, "{format:?}");
    decode(format, &bytes)
}

/// FNV-1a.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn sizes_are_those_of_ggml() {
    let sizes = Format::ALL.map(|f| (f.name(), f.id(), f.block_len(), f.block_bytes()));
    let expected = [
        ("F32", 0, 1, 4),
        ("F16", 1, 1, 2),
        ("BF16", 30, 1, 2),
        ("Q4_0", 2, 32, 18),
        ("Q4_1", 3, 32, 20),
        ("Q5_0", 6, 32, 22),
        ("Q5_1", 7, 32, 24),
        ("Q8_0", 8, 32, 34),
        ("Q2_K", 10, 256, 84),
        ("Q3_K", 11, 256, 110),
        ("Q4_K", 12, 256, 144),
        ("Q5_K", 13, 256, 176),
        ("Q6_K", 14, 256, 210),
        ("IQ4_NL", 20, 32, 18),
    ];
    assert_eq!(sizes, expected);
    for format in Format::ALL {
        assert_eq!(Format::from_id(format.id()), Some(format));
    }
    assert_eq!(Format::from_id(4), None);
}

#[test]
fn dot_is_the_product_of_what_weights_and_activations_stand_for() {
    let mut random = Random(1);
    let (cols, tokens) = (1024, 3);
    let x = Activations::new(&mut random, cols, tokens);
    for format in Format::ALL {
        let form = format.input_format();
        for _ in 0..20 {
            let row = random.blocks(format, cols / format.block_len());
            let weights = decode(format, &row);
            for t in 0..tokens {
                let terms = || weights.iter().enumerate().map(|(i, w)| *w as f64 * x.value(form, i, t));
                let (expected, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let got = format.dot(&row, &x.input(form), t) as f64;
                assert!((got - expected).abs() <= 1e-6 * size, "{format:?}: {got}, not {expected} (of {size})");
            }
        }
    }
}

/// The written expressions, from integers that decoding yields when the scales are set to one and zero.
#[test]
fn dot_follows_the_written_expression() {
    let mut random = Random(8);
    let (cols, tokens) = (768, 2);
    let x = Activations::new(&mut random, cols, tokens);
    for format in Format::ALL.into_iter().flat_map(|format| [format; 20]) {
        let row = random.blocks(format, cols / format.block_len());
        let with_scales = |scales: [f32; 2]| {
            let mut row = row.clone();
            for block in row.chunks_exact_mut(format.block_bytes()) {
                for (at, scale) in format.scales().iter().zip(scales) {
                    block[*at..at + 2].copy_from_slice(&crate::f32_to_f16(scale).to_le_bytes());
                }
            }
            decode(format, &row)
        };
        let (levels, mins) = (with_scales([1.0, 0.0]), with_scales([0.0, -1.0]));
        let len = format.block_len();
        for t in 0..tokens {
            let mut acc = 0f32;
            let mut lanes = [0f32; 16];
            for (b, block) in row.chunks_exact(format.block_bytes()).enumerate() {
                let scale = |s: usize| {
                    let at = format.scales()[s];
                    crate::f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
                };
                let sum = |weights: &[f32], qs: &[i8]| -> i32 {
                    (b * len..(b + 1) * len)
                        .map(|i| weights[i] as i32 * qs[(i / 32 * tokens + t) * 32 + i % 32] as i32)
                        .sum()
                };
                match (format.input_format(), format.scales().len()) {
                    (InputFormat::F32, _) => lanes[b % 16] += levels[b] * x.values[t * cols + b],
                    (InputFormat::Q8, n) => {
                        let (dx, offset) = (x.q8.1[b * tokens + t], x.q8.3[b * tokens + t]);
                        let term = (scale(0) * dx) * sum(&levels, &x.q8.0) as f32;
                        acc += if n == 2 { term + scale(1) * offset } else { term };
                    }
                    (InputFormat::Q8K, n) => {
                        let dx = x.q8k.1[b * tokens + t];
                        let term = (scale(0) * dx) * sum(&levels, &x.q8k.0) as f32;
                        acc += if n == 2 { term - (scale(1) * dx) * sum(&mins, &x.q8k.0) as f32 } else { term };
                    }
                }
            }
            for width in [8, 4, 2, 1] {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
            }
            let expected = if format.input_format() == InputFormat::F32 { lanes[0] } else { acc };
            let got = format.dot(&row, &x.input(format.input_format()), t);
            assert_eq!(got.to_bits(), expected.to_bits(), "{format:?}: {got}, not {expected}");
        }
    }
}

/// The bits themselves, so that any machine that runs this test is compared with every other.
#[test]
fn the_law_is_pinned() {
    let mut random = Random(2);
    let (cols, tokens) = (768, 2);
    let x = Activations::new(&mut random, cols, tokens);
    let hashes = Format::ALL.map(|format| {
        let bits = (0..50).flat_map(|_| {
            let row = random.blocks(format, cols / format.block_len());
            let input = x.input(format.input_format());
            [0, 1].map(|t| format.dot(&row, &input, t).to_bits())
        });
        (format.name(), hash(bits.collect::<Vec<_>>().into_iter().flat_map(u32::to_le_bytes)))
    });
    let expected = [
        ("F32", 0x81fe_7ef2_53a9_4ad7),
        ("F16", 0xdba9_6450_0e8b_2cea),
        ("BF16", 0x7dea_85fb_dce2_a41e),
        ("Q4_0", 0xb39c_298e_6aae_2a49),
        ("Q4_1", 0x21b2_41a2_0ee5_920d),
        ("Q5_0", 0x989d_bd3d_f77c_b719),
        ("Q5_1", 0x02ca_d8d6_999e_1240),
        ("Q8_0", 0x0e42_8bf5_1ff7_c9fc),
        ("Q2_K", 0xad38_636d_ddfb_3055),
        ("Q3_K", 0x127c_5b14_b4db_ff3e),
        ("Q4_K", 0xed11_96e7_3724_b6d0),
        ("Q5_K", 0x57b9_97c2_52e2_547d),
        ("Q6_K", 0xb29a_ebc1_6be1_e64d),
        ("IQ4_NL", 0x2f3f_56b4_cae4_9f55),
    ];
    assert_eq!(hashes, expected);
}

#[test]
fn encoders_are_pinned() {
    let values = Random(3).normals(256 * 20);
    let hashes: Vec<_> = Format::ALL
        .into_iter()
        .map(|format| {
            let mut bytes = vec![0; format.bytes(values.len()).unwrap()];
            format.encode(&values, &mut bytes).unwrap();
            (format.name(), hash(bytes))
        })
        .collect();
    let expected = [
        ("F32", 0x15ef_a648_7d69_8789),
        ("F16", 0x7142_5f24_3515_a1c8),
        ("BF16", 0x8ad5_57e0_c0c6_cb4b),
        ("Q4_0", 0x5867_6b1b_91f5_aa7d),
        ("Q4_1", 0x9c25_a6bc_2198_52f8),
        ("Q5_0", 0xc299_7159_46f8_4aec),
        ("Q5_1", 0x5c49_1035_d39a_890b),
        ("Q8_0", 0xa993_1612_e93b_9c16),
        ("Q2_K", 0x9d2c_b1a7_0118_6983),
        ("Q3_K", 0x95b7_6679_0b5b_2e57),
        ("Q4_K", 0x99f1_7ba1_0ef4_4899),
        ("Q5_K", 0x3b13_5fec_194a_f359),
        ("Q6_K", 0xf554_66ef_5ff1_e6b7),
        ("IQ4_NL", 0x23b5_4ae1_6ce5_360a),
    ];
    assert_eq!(hashes, expected);
}

#[test]
fn what_does_not_fit_is_left_out_of_the_product() {
    let mut random = Random(4);
    let x = Activations::new(&mut random, 512, 1);
    for format in Format::ALL {
        let input = x.input(format.input_format());
        let row = random.blocks(format, 768 / format.block_len());
        let whole = &row[..format.bytes(512).unwrap()];
        assert_eq!(format.dot(&row, &input, 0).to_bits(), format.dot(whole, &input, 0).to_bits(), "{format:?}");
        let bytes = format.bytes(256).unwrap();
        let expected = format.dot(&row[..bytes], &input, 0);
        assert_eq!(format.dot(&row[..bytes + 1], &input, 0).to_bits(), expected.to_bits(), "{format:?}");
        assert_eq!(format.dot(&row, &input, 1), 0.0);
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let (mut values, mut bytes) = ([0f32; 33], [0u8; 1024]);
    let error = Format::Q8_0.decode(&bytes, &mut values);
    assert_eq!(error, Err(Error::Length { format: Format::Q8_0, len: 33 }));
    let error = Format::Q8_0.encode(&values[..32], &mut bytes[..35]);
    assert_eq!(error, Err(Error::Bytes { format: Format::Q8_0, expected: 34, found: 35 }));
    assert_eq!(Format::F32.bytes(usize::MAX), None);
}

#[test]
fn non_finite_scales_are_found() {
    for format in Format::ALL {
        let mut bytes = Random(5).blocks(format, 3);
        assert_eq!(format.first_non_finite(&bytes), None);
        for special in [0x7c00u16, 0xfc00, 0x7e01] {
            for at in format.scales() {
                let old = bytes.clone();
                bytes[format.block_bytes() + at..][..2].copy_from_slice(&special.to_le_bytes());
                assert_eq!(format.first_non_finite(&bytes), Some(1), "{format:?}");
                bytes = old;
            }
        }
        if format.scales().is_empty() {
            bytes[format.block_bytes()..].fill(0xff);
            assert_eq!(format.first_non_finite(&bytes), Some(1), "{format:?}");
        }
    }
}

#[test]
fn normal_weights_keep_their_precision() {
    let values = Random(6).normals(256 * 400);
    let bounds = [
        (Format::F32, 0.0),
        (Format::F16, 2.1e-4),
        (Format::BF16, 1.7e-3),
        (Format::Q4_0, 0.0850),
        (Format::Q4_1, 0.0778),
        (Format::Q5_0, 0.0423),
        (Format::Q5_1, 0.0377),
        (Format::Q8_0, 0.0053),
        (Format::Q2_K, 0.2690),
        (Format::Q3_K, 0.1520),
        (Format::Q4_K, 0.0704),
        (Format::Q5_K, 0.0348),
        (Format::Q6_K, 0.0176),
        (Format::IQ4_NL, 0.0760),
    ];
    assert!(Format::ALL.into_iter().eq(bounds.map(|(format, _)| format)));
    for (format, bound) in bounds {
        let decoded = round_trip(format, &values);
        let squares: f64 = values.iter().zip(decoded).map(|(a, b)| ((a - b) as f64) * ((a - b) as f64)).sum();
        let error = std::primitive::f64::sqrt(squares / values.len() as f64);
        assert!(error <= bound && error >= bound * 0.97, "{format:?}: {error}");
    }
}

#[test]
fn constants_and_zeros_survive() {
    for format in Format::ALL.into_iter() {
        for value in [0.0f32, -0.0, 1.0, -1.0, 0.3, -0.3, 1e-3, -1e-3, 1234.5, -6e4] {
            for decoded in round_trip(format, &[value; 256]) {
                assert!((decoded - value).abs() <= value.abs() * 0.01, "{format:?}: {value} became {decoded}");
            }
        }
        // One value among zeros.
        for value in [1.0f32, -1.0, -2e4] {
            for at in [0, 15, 16, 31, 77, 255] {
                let mut values = [0f32; 256];
                values[at] = value;
                for (before, after) in values.iter().zip(round_trip(format, &values)) {
                    assert!((after - before).abs() <= value.abs() * 0.01, "{format:?}: {before} became {after}");
                }
            }
        }
    }
}

#[test]
fn magnitude_does_not_change_the_precision_until_binary16_ends() {
    let normals = Random(7).normals(256 * 8);
    for format in Format::ALL.into_iter() {
        for scale in [1e-2f32, 1.0, 1e3, 1e4] {
            let values: Vec<f32> = normals.iter().map(|v| v * scale).collect();
            let errors = values.iter().zip(round_trip(format, &values)).map(|(a, b)| ((a - b) / scale).abs());
            let bound = if matches!(format, Format::Q2_K | Format::Q3_K) { 0.25 } else { 0.08 };
            assert!(errors.sum::<f32>() / (values.len() as f32) < bound, "{format:?} at {scale}");
        }
        for scale in [1e-44f32, 1e-40, 1e-38, 1e-30, 1e-20, 1e-9, 1e-7, 1e-6] {
            let values: Vec<f32> = normals.iter().map(|v| v * scale).collect();
            let largest = values.iter().fold(0f32, |max, v| max.max(v.abs()));
            for decoded in round_trip(format, &values) {
                // A scale that is rounded up to the smallest binary16 counts up to 127 times.
                assert!(decoded.abs() <= largest * 1.2 + 4e-6, "{format:?} at {scale}: {decoded}");
            }
        }
        for scale in [1e5f32, 1e7, 1e9, 1e20, 1e37] {
            let values: Vec<f32> = normals.iter().map(|v| v * scale).collect();
            assert!(round_trip(format, &values).iter().all(|v| v.is_finite()), "{format:?} at {scale}");
        }
    }
    for format in Format::ALL.into_iter() {
        let extremes: [f32; 256] = core::array::from_fn(|i| if i % 3 == 0 { f32::MAX } else { f32::MIN });
        assert!(format == Format::BF16 || round_trip(format, &extremes).iter().all(|v| v.is_finite()), "{format:?}");
    }
}
