//! Small models of the llama family with weights from a seed, in any block format, and files of them with anything changed.

use crate::Random;
use smidgen_gguf::{NewTensor, NewValue, TensorType, Writer};
use smidgen_quant::Format;

/// A metadata value that a [`File`] owns.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "GGUF's types")]
pub enum Meta {
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    Bool(bool),
    Str(&'static str),
    Bools(Vec<bool>),
    F32s(Vec<f32>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    Strs(Vec<String>),
}

/// A tensor that a [`File`] owns.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "GGUF's terms")]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub kind: TensorType,
    pub data: Vec<u8>,
}

/// A GGUF file in parts.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Keys and values.
    pub metadata: Vec<(String, Meta)>,
    /// Tensors.
    pub tensors: Vec<Tensor>,
}

impl File {
    /// Sets a metadata value.
    pub fn set(mut self, key: &str, value: Meta) -> File {
        self = self.without(key);
        self.metadata.push((key.into(), value));
        self
    }

    /// Leaves out a metadata key.
    pub fn without(mut self, key: &str) -> File {
        self.metadata.retain(|(name, _)| name != key);
        self
    }

    /// Leaves out a tensor, which must be there.
    pub fn without_tensor(mut self, name: &str) -> File {
        let before = self.tensors.len();
        self.tensors.retain(|tensor| tensor.name != name);
        assert_eq!(self.tensors.len() + 1, before, "{name}");
        self
    }

    /// The tensor of that name, which must be there.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// Adds a tensor of `f32`.
    pub fn with_floats(mut self, name: &str, dims: &[u64], values: &[f32]) -> File {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.push(Tensor { name: name.into(), dims: dims.into(), kind: TensorType::F32, data });
        self
    }

    /// The same with one number of an F32 tensor replaced.
    pub fn with_float(mut self, name: &str, index: usize, value: f32) -> File {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor.kind, TensorType::F32);
        tensor.data[index * 4..][..4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            let strings: Vec<&str>;
            let value: NewValue = match value {
                Meta::U32(v) => (*v).into(),
                Meta::I32(v) => (*v).into(),
                Meta::U64(v) => (*v).into(),
                Meta::F32(v) => (*v).into(),
                Meta::Bool(v) => (*v).into(),
                Meta::Str(v) => (*v).into(),
                Meta::Bools(v) => v.as_slice().into(),
                Meta::F32s(v) => v.as_slice().into(),
                Meta::U32s(v) => v.as_slice().into(),
                Meta::I32s(v) => v.as_slice().into(),
                Meta::Strs(v) => {
                    strings = v.iter().map(String::as_str).collect();
                    strings.as_slice().into()
                }
            };
            writer.metadata(key, value).unwrap();
        }
        let tensors: Vec<_> = self
            .tensors
            .iter()
            .map(|t| NewTensor { name: &t.name, dims: &t.dims, kind: t.kind, data: &t.data })
            .collect();
        writer.write(&tensors, Vec::new()).unwrap()
    }
}

/// Extents of a model. All rows are multiples of 256 by default, so that every format fits.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the model's configuration")]
pub struct Shape {
    pub layers: usize,
    pub embedding: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub feed_forward: usize,
    pub vocabulary: usize,
    /// Dimensions of a head that rotary positions turn.
    pub rotated: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether products have biases.
    pub biases: bool,
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            layers: 2,
            embedding: 256,
            heads: 4,
            kv_heads: 2,
            head_size: 64,
            feed_forward: 512,
            vocabulary: 97,
            rotated: 64,
            tied: true,
            biases: false,
            seed: 1,
        }
    }
}

/// Weights from a seed in a format: any blocks, with scales that make weights of some ±0.1.
pub fn weights(format: Format, count: usize, random: &mut Random) -> Vec<u8> {
    let mut data = vec![0; format.bytes(count).unwrap()];
    if format.block_len() == 1 {
        let values: Vec<f32> = (0..count).map(|_| random.float(0.1)).collect();
        format.encode(&values, &mut data).unwrap();
        return data;
    }
    data.iter_mut().for_each(|byte| *byte = random.bits() as u8);
    // Where binary16 scales lie in a block, and the exponent fields that they get; the sign is set on minima that are added.
    let scales: &[(usize, u16)] = match format {
        Format::F32 | Format::F16 | Format::BF16 => &[],
        Format::Q4_0 => &[(0, 8)],
        Format::Q4_1 => &[(0, 8), (2, 11 | 32)],
        Format::Q5_0 => &[(0, 7)],
        Format::Q5_1 => &[(0, 7), (2, 11 | 32)],
        Format::Q8_0 | Format::IQ4_NL => &[(0, 4)],
        Format::Q2_K => &[(80, 5), (82, 5)],
        Format::Q3_K => &[(108, 5)],
        Format::Q4_K => &[(0, 2), (2, 2)],
        Format::Q5_K => &[(0, 1), (2, 2)],
        Format::Q6_K => &[(208, 1)],
    };
    for block in data.chunks_exact_mut(format.block_bytes()) {
        let mantissa = random.bits() as u16 & 0x3ff;
        for (at, exponent) in scales {
            block[*at..at + 2].copy_from_slice(&(exponent << 10 | mantissa).to_le_bytes());
        }
    }
    data
}

/// A model whose matrices all have one format.
pub fn model(shape: &Shape, format: Format) -> File {
    let mut random = Random(shape.seed);
    let kind = TensorType::from_id(format.id()).unwrap();
    let Shape { layers, embedding, heads, kv_heads, head_size, feed_forward, vocabulary, .. } = *shape;
    let mut file = File::default()
        .set("general.architecture", Meta::Str("llama"))
        .set("llama.block_count", Meta::U32(layers as u32))
        .set("llama.embedding_length", Meta::U32(embedding as u32))
        .set("llama.feed_forward_length", Meta::U32(feed_forward as u32))
        .set("llama.attention.head_count", Meta::U32(heads as u32))
        .set("llama.attention.head_count_kv", Meta::U32(kv_heads as u32))
        .set("llama.attention.key_length", Meta::U32(head_size as u32))
        .set("llama.attention.value_length", Meta::U32(head_size as u32))
        .set("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5))
        .set("llama.rope.dimension_count", Meta::U32(shape.rotated as u32))
        .set("llama.rope.freq_base", Meta::F32(10_000.0))
        .set("llama.context_length", Meta::U32(256))
        .set("llama.vocab_size", Meta::U32(vocabulary as u32));
    let matrix = |file: &mut File, name: String, rows: usize, cols: usize, random: &mut Random| {
        let (dims, data) = (vec![cols as u64, rows as u64], weights(format, rows * cols, random));
        file.tensors.push(Tensor { name: name.clone() + ".weight", dims, kind, data });
        if shape.biases {
            let bias: Vec<f32> = (0..rows).map(|_| random.float(0.1)).collect();
            *file = std::mem::take(file).with_floats(&(name + ".bias"), &[rows as u64], &bias);
        }
    };
    let norm = |file: &mut File, name: String, random: &mut Random| {
        let values: Vec<f32> = (0..embedding).map(|_| 1.0 + random.float(0.2)).collect();
        *file = std::mem::take(file).with_floats(&name, &[embedding as u64], &values);
    };
    let dims = vec![embedding as u64, vocabulary as u64];
    let data = weights(format, embedding * vocabulary, &mut random);
    file.tensors.push(Tensor { name: "token_embd.weight".into(), dims, kind, data });
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        norm(&mut file, name("attn_norm.weight"), &mut random);
        matrix(&mut file, name("attn_q"), heads * head_size, embedding, &mut random);
        matrix(&mut file, name("attn_k"), kv_heads * head_size, embedding, &mut random);
        matrix(&mut file, name("attn_v"), kv_heads * head_size, embedding, &mut random);
        matrix(&mut file, name("attn_output"), embedding, heads * head_size, &mut random);
        norm(&mut file, name("ffn_norm.weight"), &mut random);
        matrix(&mut file, name("ffn_gate"), feed_forward, embedding, &mut random);
        matrix(&mut file, name("ffn_up"), feed_forward, embedding, &mut random);
        matrix(&mut file, name("ffn_down"), embedding, feed_forward, &mut random);
    }
    norm(&mut file, "output_norm.weight".into(), &mut random);
    if !shape.tied {
        matrix(&mut file, "output".into(), vocabulary, embedding, &mut random);
    }
    file
}

/// Token ids from a seed.
pub fn tokens(count: usize, vocabulary: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| (random.bits() % vocabulary as u64) as u32).collect()
}
