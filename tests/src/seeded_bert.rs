//! Small models of the BERT family with weights from a seed, in any block format.

use crate::Random;
use crate::seeded::{File, Meta, Tensor, weights};
use smidgen::encoder::text::Text;
use smidgen_gguf::TensorType;
use smidgen_quant::Format;

/// Extents of a model. All rows are multiples of 256 by default, so that every format fits.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the model's configuration")]
pub struct Shape {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub feed_forward: usize,
    pub vocabulary: usize,
    pub context: usize,
    pub types: usize,
    /// Outputs of the head; 0 for none.
    pub outputs: usize,
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        let (layers, width, heads, feed_forward) = (2, 256, 4, 512);
        Shape { layers, width, heads, feed_forward, vocabulary: 97, context: 80, types: 2, outputs: 3, seed: 1 }
    }
}

/// A model whose matrices all have one format.
pub fn model(shape: &Shape, format: Format) -> File {
    let Shape { layers, width, heads, feed_forward, vocabulary, context, types, outputs, seed } = *shape;
    let mut random = Random(seed);
    let kind = TensorType::from_id(format.id()).unwrap();
    let mut file = File::default()
        .set("general.architecture", Meta::Str("bert"))
        .set("bert.block_count", Meta::U32(layers as u32))
        .set("bert.embedding_length", Meta::U32(width as u32))
        .set("bert.feed_forward_length", Meta::U32(feed_forward as u32))
        .set("bert.attention.head_count", Meta::U32(heads as u32))
        .set("bert.attention.layer_norm_epsilon", Meta::F32(1e-12))
        .set("bert.context_length", Meta::U32(context as u32))
        .set("bert.pooling_type", Meta::U32(1))
        .set("tokenizer.ggml.token_type_count", Meta::U32(types as u32));
    let matrix = |file: &mut File, name: &str, rows: usize, cols: usize, random: &mut Random| {
        let (dims, data) = (vec![cols as u64, rows as u64], weights(format, rows * cols, random));
        file.tensors.push(Tensor { name: format!("{name}.weight"), dims, kind, data });
    };
    let vector = |file: &mut File, name: &str, len: usize, middle: f32, random: &mut Random| {
        let values: Vec<f32> = (0..len).map(|_| middle + random.float(0.2)).collect();
        *file = std::mem::take(file).with_floats(name, &[len as u64], &values);
    };
    let linear = |file: &mut File, name: &str, rows: usize, cols: usize, random: &mut Random| {
        matrix(file, name, rows, cols, random);
        vector(file, &format!("{name}.bias"), rows, 0.0, random);
    };
    let norm = |file: &mut File, name: &str, random: &mut Random| {
        vector(file, &format!("{name}.weight"), width, 1.0, random);
        vector(file, &format!("{name}.bias"), width, 0.0, random);
    };
    matrix(&mut file, "token_embd", vocabulary, width, &mut random);
    matrix(&mut file, "position_embd", context, width, &mut random);
    matrix(&mut file, "token_types", types, width, &mut random);
    norm(&mut file, "token_embd_norm", &mut random);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            linear(&mut file, &name(part), width, width, &mut random);
        }
        norm(&mut file, &name("attn_output_norm"), &mut random);
        linear(&mut file, &name("ffn_up"), feed_forward, width, &mut random);
        linear(&mut file, &name("ffn_down"), width, feed_forward, &mut random);
        norm(&mut file, &name("layer_output_norm"), &mut random);
    }
    if outputs > 0 {
        linear(&mut file, "cls", width, width, &mut random);
        linear(&mut file, "cls.output", outputs, width, &mut random);
        let labels = (0..outputs).map(|i| format!("class {i}")).collect();
        file = file.set("bert.classifier.output_labels", Meta::Strs(labels));
    }
    file
}

/// Texts of these lengths with ids from a seed; every other one is a pair.
pub fn texts(lengths: &[usize], vocabulary: usize, seed: u64) -> Vec<Text> {
    let mut random = Random(seed);
    let mut text = |(i, len): (usize, &usize)| {
        let tokens = (0..*len).map(|_| random.below(vocabulary) as u32).collect();
        Text { tokens, second: if i % 2 == 0 { *len } else { len / 2 }, uncut: *len }
    };
    lengths.iter().enumerate().map(&mut text).collect()
}

/// The same file with a vocabulary of twelve tokens, `a` and `b` among them.
pub fn with_words(file: File) -> File {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "▁b", "a", "b", "▁", "▁!", "▁é", "▁E"];
    let kinds = (0..words.len()).map(|id| if id < 4 { 3 } else { 1 }).collect();
    file.set("general.architecture", Meta::Str("bert"))
        .set("tokenizer.ggml.model", Meta::Str("bert"))
        .set("tokenizer.ggml.tokens", Meta::Strs(words.map(String::from).into()))
        .set("tokenizer.ggml.token_type", Meta::I32s(kinds))
        .set("tokenizer.ggml.cls_token_id", Meta::U32(2))
        .set("tokenizer.ggml.seperator_token_id", Meta::U32(3))
        .set("tokenizer.ggml.unknown_token_id", Meta::U32(1))
        .set("tokenizer.ggml.padding_token_id", Meta::U32(0))
}
