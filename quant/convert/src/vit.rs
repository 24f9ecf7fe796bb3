//! Vision transformers: ViT, DeiT and DINOv2 as Hugging Face names their tensors, and two families of small models with names of their
//! own. Keys and tensors of the file are described in `docs/gguf.md`.

use crate::checkpoint::Checkpoint;
use crate::images::{Defaults, IMAGENET, images};
use crate::json::Json;
use crate::plan::{Data, Plan, Planner};
use crate::safetensors::Dtype;
use crate::{Error, labels};
use serde_json::json;

/// Where the queries, keys and values of a layer are.
enum Attention {
    /// In a product each: what their names have in common.
    Apart(&'static str),
    /// In one, one after another: the names of weight and bias.
    Together([&'static str; 2]),
}

/// How a family names its tensors; those of layers without their prefix.
struct Names {
    class: &'static str,
    positions: &'static str,
    patches: &'static str,
    /// Of layer 7, with `7` for the number.
    layer: fn(u32) -> String,
    attention: Attention,
    out: &'static str,
    norms: [&'static str; 2],
    up: &'static str,
    down: &'static str,
    final_norm: &'static str,
    dense: &'static str,
    output: &'static str,
}

/// Hugging Face's ViT and DeiT.
const VIT: Names = Names {
    class: "embeddings.cls_token",
    positions: "embeddings.position_embeddings",
    patches: "embeddings.patch_embeddings.projection",
    layer: |number| format!("encoder.layer.{number}."),
    attention: Attention::Apart("attention.attention."),
    out: "attention.output.dense",
    norms: ["layernorm_before", "layernorm_after"],
    up: "intermediate.dense",
    down: "output.dense",
    final_norm: "layernorm",
    dense: "",
    output: "classifier",
};

/// Hugging Face's DINOv2.
const DINOV2: Names = Names { norms: ["norm1", "norm2"], up: "mlp.fc1", down: "mlp.fc2", ..VIT };

/// Models around PyTorch's `nn.TransformerEncoderLayer`.
const TORCH: Names = Names {
    class: "cls_token",
    positions: "pos_embed",
    patches: "patch_embed.proj",
    layer: |number| format!("transformer.layers.{number}."),
    attention: Attention::Together(["self_attn.in_proj_weight", "self_attn.in_proj_bias"]),
    out: "self_attn.out_proj",
    norms: ["norm1", "norm2"],
    up: "linear1",
    down: "linear2",
    final_norm: "mlp_head.0",
    dense: "",
    output: "mlp_head.1",
};

/// Models after Phil Wang's early `vit-pytorch`.
const NESTED: Names = Names {
    class: "cls_token",
    positions: "pos_embedding",
    patches: "patch_to_embedding",
    layer: |number| format!("transformer.layers.{number}."),
    attention: Attention::Together(["0.fn.fn.to_qkv.weight", "0.fn.fn.to_qkv.bias"]),
    out: "0.fn.fn.to_out",
    norms: ["0.fn.norm", "1.fn.norm"],
    up: "1.fn.fn.net.0",
    down: "1.fn.fn.net.2",
    final_norm: "",
    dense: "mlp_head.0",
    output: "mlp_head.2",
};

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let kind = config.get_str("model_type")?.unwrap_or_default();
    let mut planner = Planner::new(checkpoint, "vit");
    let names = match kind {
        "dinov2" => &DINOV2,
        "" if planner.has(NESTED.positions) => &NESTED,
        "" => &TORCH,
        _ => &VIT,
    };
    let prefix =
        ["vit.", "deit.", "dinov2."].into_iter().find(|prefix| planner.has(&format!("{prefix}{}", names.class)));
    let prefix = prefix.unwrap_or_default();
    let extents = Extents::read(&config)?;
    extents.write(&mut planner);
    keys(&mut planner, kind, &extents)?;

    let source = |part: &str| format!("{prefix}{part}");
    let width = u64::from(extents.width);
    embeddings(&mut planner, names, prefix, &extents)?;
    for number in 0..extents.layers {
        layer(&mut planner, names, &source(&(names.layer)(number)), number, &extents)?;
    }
    if planner.has(&source(&format!("{}.weight", names.final_norm))) {
        planner.norm("v.post_ln", &source(names.final_norm), width)?;
    }
    head(&mut planner, names, width)?;
    let needless = [source("pooler.dense.weight"), source("pooler.dense.bias"), source("embeddings.mask_token")];
    planner.finish(|name| needless.iter().any(|needless| needless == name))
}

/// Sizes of a model.
struct Extents {
    image: u32,
    patch: u32,
    channels: u32,
    width: u32,
    inner: u32,
    layers: u32,
    heads: u32,
}

/// A field that goes by one of two names.
fn either<'c>(config: &Json<'c>, first: &str, second: &str) -> Result<Json<'c>, Error> {
    config.get(second).map_or_else(|| config.require(first), Ok)
}

impl Extents {
    fn read(config: &Json) -> Result<Extents, Error> {
        let width = config.require("hidden_size")?.u32()?;
        let inner = match config.get("mlp_ratio") {
            Some(ratio) => width.checked_mul(ratio.u32()?).ok_or_else(|| ratio.wrong("a small number"))?,
            None => either(config, "intermediate_size", "mlp_size")?.u32()?,
        };
        let heads = either(config, "num_attention_heads", "heads")?;
        if !width.is_multiple_of(heads.u32()?.max(1)) {
            return Err(heads.wrong("a divisor of hidden_size"));
        }
        let (image, patch) = (config.require("image_size")?, config.require("patch_size")?);
        if !(1..=image.u32()?).contains(&patch.u32()?) {
            return Err(patch.wrong("a size from 1 to image_size"));
        }
        Ok(Extents {
            image: image.u32()?,
            patch: patch.u32()?,
            channels: either(config, "num_channels", "channels")?.u32()?,
            width,
            inner,
            layers: either(config, "num_hidden_layers", "layers")?.u32()?,
            heads: heads.u32()?.max(1),
        })
    }

    fn write(&self, planner: &mut Planner) {
        planner.hyper("image_size", self.image);
        planner.hyper("patch_size", self.patch);
        planner.hyper("block_count", self.layers);
        planner.hyper("embedding_length", self.width);
        planner.hyper("feed_forward_length", self.inner);
        planner.hyper("attention.head_count", self.heads);
    }
}

/// Keys beside the extents.
fn keys(planner: &mut Planner, kind: &str, extents: &Extents) -> Result<(), Error> {
    let config = planner.checkpoint.config();
    let activation = match config.get("hidden_act") {
        Some(field) => field,
        None => config.get("activation").map_or_else(|| config.require("hidden_act"), Ok)?,
    };
    let activation = match activation.str()? {
        "gelu" | "gelu_erf" => "gelu",
        "gelu_new" | "gelu_pytorch_tanh" => "gelu_tanh",
        "quick_gelu" => "gelu_quick",
        "relu" => "relu",
        _ => return Err(activation.wrong("gelu, gelu_new, gelu_pytorch_tanh, quick_gelu or relu")),
    };
    planner.hyper("feed_forward_activation", activation);
    planner.hyper("attention.layer_norm_epsilon", either(&config, "layer_norm_eps", "norm_eps")?.f32()?);
    if let Some(field) = config.get("use_swiglu_ffn")
        && field.bool()?
    {
        return Err(field.unsupported());
    }
    let order = config.get_str("norm_order")?.unwrap_or("pre");
    planner.hyper("norm_order", order);
    for (key, known) in
        [("cls_token", json!(true)), ("pooling", json!("cls")), ("head_dim", json!(extents.width / extents.heads))]
    {
        if let Some(field) = config.get(key)
            && *field.value() != known
        {
            return Err(field.unsupported());
        }
    }
    if let Some(field) = config.get("rescale")
        && (field.f32()? * 255.0 - 1.0).abs() > 1e-5
    {
        return Err(field.wrong("1/255"));
    }
    let imagenet = IMAGENET.map(Vec::from);
    // The tensors' shapes decide later whether there are so many.
    let half = vec![0.5; extents.channels.min(16) as usize];
    let plain =
        Defaults { stretched: true, size: extents.image, crop: None, bicubic: false, normal: [half.clone(), half] };
    let defaults = match kind {
        "dinov2" => Defaults { stretched: false, size: 256, crop: Some(224), bicubic: true, normal: imagenet },
        "deit" => Defaults { size: 256, crop: Some(224), bicubic: true, normal: imagenet, ..plain },
        "" => {
            let normal = [config.require("mean")?.f32s()?, config.require("std")?.f32s()?];
            Defaults { bicubic: true, normal, ..plain }
        }
        _ => plain,
    };
    images(planner, "", defaults)
}

/// Plans the tensors that turn pixels into tokens.
fn embeddings(planner: &mut Planner, names: &Names, prefix: &str, extents: &Extents) -> Result<(), Error> {
    let Extents { image, patch, channels, width, .. } = *extents;
    let source = |part: &str| format!("{prefix}{part}");
    let [side, channels, width] = [patch, channels, width].map(u64::from);
    let shape = [width, channels, side, side];
    let weight = source(&format!("{}.weight", names.patches));
    if planner.checkpoint.tensor(&weight).is_some_and(|tensor| tensor.shape.len() == 2) && channels == 1 {
        let tensor = planner.take(&weight, &[width, side * side])?;
        planner.add("v.patch_embd.weight", &shape, Data::Stored { dtype: tensor.dtype, bytes: tensor.data });
    } else {
        planner.tensor("v.patch_embd.weight", &weight, &shape)?;
    }
    let bias = source(&format!("{}.bias", names.patches));
    if planner.has(&bias) {
        planner.tensor("v.patch_embd.bias", &bias, &[width])?;
    }
    let mut tokens = u64::from(image / patch).pow(2);
    for (name, part) in [("v.class_embd", names.class), ("v.distillation_embd", "embeddings.distillation_token")] {
        if planner.has(&source(part)) {
            let tensor = planner.take(&source(part), &[1, 1, width])?;
            planner.add(name, &[width], Data::Stored { dtype: tensor.dtype, bytes: tensor.data });
            tokens += 1;
        }
    }
    let tensor = planner.take(&source(names.positions), &[1, tokens, width])?;
    planner.add("v.position_embd.weight", &[tokens, width], Data::Stored { dtype: tensor.dtype, bytes: tensor.data });
    Ok(())
}

fn layer(planner: &mut Planner, names: &Names, source: &str, number: u32, extents: &Extents) -> Result<(), Error> {
    let (width, inner) = (u64::from(extents.width), u64::from(extents.inner));
    let name = |part: &str| format!("v.blk.{number}.{part}");
    let from = |part: &str| format!("{source}{part}");
    let biased = planner.checkpoint.config().get_bool("qkv_bias")?;
    planner.norm(&name("ln1"), &from(names.norms[0]), width)?;
    match &names.attention {
        Attention::Apart(common) => {
            for (part, of) in [("attn_q", "query"), ("attn_k", "key"), ("attn_v", "value")] {
                planner.product(&name(part), &from(&format!("{common}{of}")), width, width, biased)?;
            }
        }
        Attention::Together([weight, bias]) => {
            together(planner, &name, "weight", &from(weight), &[3 * width, width], extents)?;
            if biased.unwrap_or_else(|| planner.has(&from(bias))) {
                together(planner, &name, "bias", &from(bias), &[3 * width], extents)?;
            }
        }
    }
    planner.linear(&name("attn_out"), &from(names.out), width, width)?;
    for (part, lambda) in [("ls1.weight", "layer_scale1.lambda1"), ("ls2.weight", "layer_scale2.lambda1")] {
        if planner.has(&from(lambda)) {
            planner.tensor(name(part), &from(lambda), &[width])?;
        }
    }
    planner.norm(&name("ln2"), &from(names.norms[1]), width)?;
    planner.linear(&name("ffn_up"), &from(names.up), inner, width)?;
    planner.linear(&name("ffn_down"), &from(names.down), width, inner)
}

/// Queries, keys and values out of one tensor. Queries are multiplied by what the configuration's scale of scores differs from the usual.
fn together(
    planner: &mut Planner,
    name: &impl Fn(&str) -> String,
    kind: &str,
    source: &str,
    shape: &[u64],
    extents: &Extents,
) -> Result<(), Error> {
    let config = planner.checkpoint.config();
    let usual = f64::from(extents.width / extents.heads).sqrt().recip() as f32;
    let factor = config.get_f32("attention_scale")?.unwrap_or(usual) / usual;
    let tensor = planner.take(source, shape)?;
    let rows = u64::from(extents.width);
    let part: Vec<u64> = std::iter::once(rows).chain(shape.iter().skip(1).copied()).collect();
    for (number, of) in ["attn_q", "attn_k", "attn_v"].into_iter().enumerate() {
        let mut data = tensor.rows(number as u64 * rows, rows);
        if number == 0 && (factor - 1.0).abs() > 1e-6 {
            data = Data::Values(scaled_floats(source, &data, factor)?);
        }
        planner.add(name(&format!("{of}.{kind}")), &part, data);
    }
    Ok(())
}

/// The values of a tensor of `f32`, multiplied.
fn scaled_floats(name: &str, data: &Data, factor: f32) -> Result<Vec<f32>, Error> {
    match data {
        Data::Stored { dtype: Dtype::F32, bytes } => {
            Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes) * factor).collect())
        }
        _ => Err(Error::Dtype { tensor: name.into(), dtype: "other than F32".into() }),
    }
}

/// The classifier, if there is one.
fn head(planner: &mut Planner, names: &Names, width: u64) -> Result<(), Error> {
    let distilled = planner.has("cls_classifier.weight");
    let output = if distilled { "cls_classifier" } else { names.output };
    let Some(weight) = planner.checkpoint.tensor(&format!("{output}.weight")) else { return Ok(()) };
    labels::problem(planner)?;
    let outputs = weight.shape.first().copied().unwrap_or_default();
    let mut inner = width;
    if let Some(dense) = planner.checkpoint.tensor(&format!("{}.weight", names.dense)) {
        inner = dense.shape.first().copied().unwrap_or_default();
        planner.linear("cls", names.dense, inner, width)?;
    }
    planner.linear("cls.output", output, outputs, inner)?;
    if distilled {
        planner.linear("cls.distillation", "distillation_classifier", outputs, width)?;
    }
    let config = planner.checkpoint.config();
    let named = config.get("labels").map(|labels| labels.whole().list()).transpose()?;
    let named = named.map(|labels| labels.map(|name| Ok(name.str()?.to_owned())).collect::<Result<_, Error>>());
    let labels = match named {
        Some(labels) => Some(labels?),
        None => labels::read(&config)?,
    };
    if let Some(labels) = labels {
        if labels.len() as u64 != outputs {
            let key = if config.get("labels").is_some() { "labels" } else { "id2label" };
            return Err(config.field_unsupported(key, format!("{} names for {outputs} outputs", labels.len())));
        }
        planner.hyper("classifier.output_labels", labels);
    }
    if let Some(classes) = config.get("classes")
        && u64::from(classes.u32()?) != outputs
    {
        return Err(classes.wrong("the number of the classifier's outputs"));
    }
    Ok(())
}
