//! CLIP, as Hugging Face names its tensors: both towers, or one of them. Keys and tensors are named as llama.cpp's converter of image
//! encoders names them; what it has no name for is described in `docs/gguf.md`.

use crate::Error;
use crate::checkpoint::{CONFIG, Checkpoint};
use crate::images::{Defaults, OPENAI, images};
use crate::json::Json;
use crate::plan::{Plan, Planner};
use crate::safetensors::{Dtype, Tensor};
use crate::tokenizer;
use smidgen_quant::{Format, math};

/// How a tower is called: in keys, in names of tensors, and in checkpoints; and what configurations leave out, as they name only what differs
/// from ViT-B/32.
struct Tower {
    key: &'static str,
    letter: &'static str,
    source: &'static str,
    config: &'static str,
    width: u32,
    inner: u32,
    heads: u32,
}

const VISION: Tower = Tower {
    key: "vision",
    letter: "v",
    source: "vision_model",
    config: "vision_config",
    width: 768,
    inner: 3072,
    heads: 12,
};
const TEXT: Tower =
    Tower { key: "text", letter: "t", source: "text_model", config: "text_config", width: 512, inner: 2048, heads: 8 };
/// Layers of either tower, and values of an embedding.
const LAYERS: u32 = 12;
const PROJECTION: u32 = 512;

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let mut planner = Planner::new(checkpoint, "clip");
    let config = checkpoint.config();
    let sees = planner.has("vision_model.embeddings.class_embedding");
    let reads = planner.has("text_model.embeddings.token_embedding.weight");
    if !sees && !reads {
        return Err(Error::MissingTensor { tensor: "vision_model.embeddings.class_embedding".into() });
    }
    planner.hyper("has_vision_encoder", sees);
    planner.hyper("has_text_encoder", reads);
    planner.hyper("has_llava_projector", false);
    let mut activations = Vec::new();
    if sees {
        let own = config.get(VISION.config).unwrap_or_else(|| config.clone());
        activations.push(activation(&own)?);
        vision(&mut planner, &own)?;
    }
    if reads {
        let own = config.get(TEXT.config).unwrap_or_else(|| config.clone());
        activations.push(activation(&own)?);
        text(&mut planner, &own)?;
    }
    activations.dedup();
    let [activation] = activations[..] else {
        return Err(Error::Unsupported { file: CONFIG.into(), field: "hidden_act".into(), value: "two kinds".into() });
    };
    // The convention knows two functions. By the function that is meant, and not its approximation, `gelu` is the error function's.
    planner.hyper("use_gelu", activation == "gelu");
    if activation != "gelu" && activation != "gelu_quick" {
        for tower in [sees.then_some(VISION.key), reads.then_some(TEXT.key)].into_iter().flatten() {
            planner.hyper(&format!("{tower}.feed_forward_activation"), activation);
        }
    }
    if planner.has("logit_scale") {
        let exponent = scalar("logit_scale", planner.take("logit_scale", &[])?)?;
        planner.hyper("logit_scale", math::exp64(f64::from(exponent)) as f32);
    }
    planner.finish(|name| name.ends_with(".position_ids"))
}

/// A whole number that a configuration may leave out.
fn number(config: &Json, key: &str, default: u32) -> Result<u32, Error> {
    Ok(config.get_u32(key)?.unwrap_or(default))
}

/// The function between the two products of a layer.
fn activation(config: &Json) -> Result<&'static str, Error> {
    let Some(field) = config.get("hidden_act") else { return Ok("gelu_quick") };
    match field.str()? {
        "quick_gelu" => Ok("gelu_quick"),
        "gelu" => Ok("gelu"),
        "gelu_new" | "gelu_pytorch_tanh" => Ok("gelu_tanh"),
        "relu" => Ok("relu"),
        _ => Err(field.wrong("quick_gelu, gelu, gelu_new, gelu_pytorch_tanh or relu")),
    }
}

/// The one number of a tensor without dimensions.
fn scalar(name: &str, tensor: &Tensor) -> Result<f32, Error> {
    let format = match tensor.dtype {
        Dtype::F32 => Format::F32,
        Dtype::F16 => Format::F16,
        Dtype::BF16 => Format::BF16,
        dtype => return Err(Error::Dtype { tensor: name.into(), dtype: dtype.name().into() }),
    };
    let mut value = [0.0];
    format.decode(tensor.data, &mut value).map_err(|error| Error::Encode { tensor: name.into(), error })?;
    Ok(value[0])
}

/// Sizes of a tower.
struct Extents {
    width: u64,
    inner: u64,
    layers: u32,
    projection: u64,
}

impl Tower {
    /// Reads the sizes and adds their keys.
    fn extents(&self, planner: &mut Planner, config: &Json) -> Result<Extents, Error> {
        let number = |key, default| number(config, key, default);
        let (width, inner) = (number("hidden_size", self.width)?, number("intermediate_size", self.inner)?);
        let (layers, heads) = (number("num_hidden_layers", LAYERS)?, number("num_attention_heads", self.heads)?);
        let whole = planner.checkpoint.config().get_u32("projection_dim")?;
        let projection = whole.map_or_else(|| number("projection_dim", PROJECTION), Ok)?;
        let epsilon = config.get_f32("layer_norm_eps")?.unwrap_or(1e-5);
        let key = |name: &str| format!("{}.{name}", self.key);
        planner.hyper(&key("embedding_length"), width);
        planner.hyper(&key("feed_forward_length"), inner);
        planner.hyper(&key("block_count"), layers);
        planner.hyper(&key("attention.head_count"), heads);
        planner.hyper(&key("attention.layer_norm_epsilon"), epsilon);
        planner.hyper(&key("projection_dim"), projection);
        Ok(Extents { width: width.into(), inner: inner.into(), layers, projection: projection.into() })
    }

    /// Adds the layers.
    fn layers(&self, planner: &mut Planner, extents: &Extents) -> Result<(), Error> {
        let Extents { width, inner, layers, .. } = *extents;
        for number in 0..layers {
            let name = |part: &str| format!("{}.blk.{number}.{part}", self.letter);
            let source = |part: &str| format!("{}.encoder.layers.{number}.{part}", self.source);
            planner.norm(&name("ln1"), &source("layer_norm1"), width)?;
            for (part, from) in
                [("attn_q", "q_proj"), ("attn_k", "k_proj"), ("attn_v", "v_proj"), ("attn_out", "out_proj")]
            {
                planner.linear(&name(part), &source(&format!("self_attn.{from}")), width, width)?;
            }
            planner.norm(&name("ln2"), &source("layer_norm2"), width)?;
            planner.linear(&name("ffn_up"), &source("mlp.fc1"), inner, width)?;
            planner.linear(&name("ffn_down"), &source("mlp.fc2"), width, inner)?;
        }
        Ok(())
    }
}

/// The tower that sees.
fn vision(planner: &mut Planner, config: &Json) -> Result<(), Error> {
    let extents = VISION.extents(planner, config)?;
    let number = |key, default| number(config, key, default);
    let (image, patch, channels) = (number("image_size", 224)?, number("patch_size", 32)?, number("num_channels", 3)?);
    if !(1..=image).contains(&patch) {
        return Err(config.wrong("an object with a patch_size from 1 to image_size"));
    }
    planner.hyper("vision.image_size", image);
    planner.hyper("vision.patch_size", patch);
    let normal = OPENAI.map(Vec::from);
    images(planner, "vision.", Defaults { stretched: false, size: image, crop: Some(image), bicubic: true, normal })?;

    let (width, side) = (extents.width, u64::from(patch));
    let tokens = u64::from(image / patch).pow(2) + 1;
    planner.tensor("v.class_embd", "vision_model.embeddings.class_embedding", &[width])?;
    let shape = [width, channels.into(), side, side];
    planner.tensor("v.patch_embd.weight", "vision_model.embeddings.patch_embedding.weight", &shape)?;
    let positions = "vision_model.embeddings.position_embedding.weight";
    planner.tensor("v.position_embd.weight", positions, &[tokens, width])?;
    // Misspelled in the checkpoints.
    planner.norm("v.pre_ln", "vision_model.pre_layrnorm", width)?;
    VISION.layers(planner, &extents)?;
    planner.norm("v.post_ln", "vision_model.post_layernorm", width)?;
    if planner.has("visual_projection.weight") {
        planner.linear("visual_projection", "visual_projection", extents.projection, width)?;
    }
    Ok(())
}

/// The tower that reads.
fn text(planner: &mut Planner, config: &Json) -> Result<(), Error> {
    let extents = TEXT.extents(planner, config)?;
    let context = config.get_u32("max_position_embeddings")?.unwrap_or(77);
    let vocabulary = config.get_u32("vocab_size")?.unwrap_or(49_408);
    planner.hyper("text.context_length", context);
    let end = tokenizer::clip(planner, vocabulary)?;
    // The token whose embedding is the text's; by 2, which is none, old configurations mean the last.
    if let Some(field) = config.get("eos_token_id")
        && field.u32()? != end
        && field.u32()? != 2
    {
        return Err(field.unsupported());
    }

    let width = extents.width;
    for (name, source, rows) in
        [("token_embd", "token_embedding", vocabulary), ("position_embd", "position_embedding", context)]
    {
        let source = format!("text_model.embeddings.{source}.weight");
        planner.tensor(format!("t.{name}.weight"), &source, &[rows.into(), width])?;
    }
    TEXT.layers(planner, &extents)?;
    planner.norm("t.post_ln", "text_model.final_layer_norm", width)?;
    planner.linear("text_projection", "text_projection", extents.projection, width)
}
