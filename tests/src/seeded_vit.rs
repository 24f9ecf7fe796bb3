//! Small vision transformers with weights from a seed.

use crate::Random;
use crate::seeded::{File, Meta, Tensor, weights};
use smidgen::frontend::image::Planes;
use smidgen_gguf::TensorType;
use smidgen_quant::Format;

/// The parts of a model beside its layers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the model's configuration")]
pub struct Shape {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub feed_forward: usize,
    pub image: usize,
    pub patch: usize,
    pub outputs: usize,
    /// Whether there is a second token with scores of its own.
    pub distilled: bool,
    /// Whether results of a layer are scaled.
    pub layer_scale: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            layers: 2,
            width: 256,
            heads: 4,
            feed_forward: 512,
            image: 24,
            patch: 6,
            outputs: 7,
            distilled: false,
            layer_scale: false,
        }
    }
}

/// A model whose matrices all have one format.
pub fn model(shape: &Shape, format: Format) -> File {
    let mut random = Random(11);
    let Shape { layers, width, heads, feed_forward, image, patch, outputs, .. } = *shape;
    let number = |value: usize| Meta::U32(value as u32);
    let mut file = File::default()
        .set("general.architecture", Meta::Str("vit"))
        .set("vit.image_size", number(image))
        .set("vit.patch_size", number(patch))
        .set("vit.block_count", number(layers))
        .set("vit.embedding_length", number(width))
        .set("vit.feed_forward_length", number(feed_forward))
        .set("vit.attention.head_count", number(heads))
        .set("vit.attention.layer_norm_epsilon", Meta::F32(1e-6));
    let floats = |file: &mut File, name: &str, dims: &[u64], around: f32, random: &mut Random| {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| around + random.float(0.2)).collect();
        *file = std::mem::take(file).with_floats(name, dims, &values);
    };
    let matrix = |file: &mut File, name: &str, rows: usize, cols: usize, random: &mut Random| {
        let (dims, data) = (vec![cols as u64, rows as u64], weights(format, rows * cols, random));
        let kind = TensorType::from_id(format.id()).unwrap();
        file.tensors.push(Tensor { name: format!("{name}.weight"), dims, kind, data });
        let bias: Vec<f32> = (0..rows).map(|_| random.float(0.1)).collect();
        *file = std::mem::take(file).with_floats(&format!("{name}.bias"), &[rows as u64], &bias);
    };
    let (side, wide) = (patch as u64, width as u64);
    floats(&mut file, "v.patch_embd.weight", &[side, side, 3, wide], 0.0, &mut random);
    floats(&mut file, "v.patch_embd.bias", &[wide], 0.0, &mut random);
    floats(&mut file, "v.class_embd", &[wide], 0.0, &mut random);
    if shape.distilled {
        floats(&mut file, "v.distillation_embd", &[wide], 0.0, &mut random);
        matrix(&mut file, "cls.distillation", outputs, width, &mut random);
    }
    let tokens = (image / patch).pow(2) + 1 + usize::from(shape.distilled);
    floats(&mut file, "v.position_embd.weight", &[wide, tokens as u64], 0.0, &mut random);
    let norm = |file: &mut File, name: &str, floats: &mut dyn FnMut(&mut File, &str, f32)| {
        floats(file, &format!("{name}.weight"), 1.0);
        floats(file, &format!("{name}.bias"), 0.0);
    };
    for layer in 0..layers {
        let name = |part: &str| format!("v.blk.{layer}.{part}");
        for part in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            matrix(&mut file, &name(part), width, width, &mut random);
        }
        matrix(&mut file, &name("ffn_up"), feed_forward, width, &mut random);
        matrix(&mut file, &name("ffn_down"), width, feed_forward, &mut random);
        for part in ["ln1", "ln2"] {
            norm(&mut file, &name(part), &mut |file, name, around| floats(file, name, &[wide], around, &mut random));
        }
        if shape.layer_scale {
            floats(&mut file, &name("ls1.weight"), &[wide], 0.5, &mut random);
            floats(&mut file, &name("ls2.weight"), &[wide], 0.5, &mut random);
        }
    }
    norm(&mut file, "v.post_ln", &mut |file, name, around| floats(file, name, &[wide], around, &mut random));
    if outputs > 0 {
        matrix(&mut file, "cls.output", outputs, width, &mut random);
    }
    file
}

/// An image of any numbers.
pub fn planes(width: usize, height: usize, random: &mut Random) -> Planes {
    Planes { width, height, values: (0..3 * width * height).map(|_| random.float(2.0)).collect() }
}
