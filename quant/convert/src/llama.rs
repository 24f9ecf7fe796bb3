//! The llama family: Llama, Mistral, SmolLM and others of the same architecture. Keys and tensors are named as llama.cpp names them.

use crate::Error;
use crate::checkpoint::{CONFIG, Checkpoint};
use crate::json::Json;
use crate::plan::{Data, Plan, Planner};
use crate::safetensors::Tensor;
use crate::tokenizer;
use smidgen_quant::math;

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let number = |key| config.require(key)?.u32();
    let unsupported =
        |field: &str, value: String| Error::Unsupported { file: CONFIG.into(), field: field.into(), value };
    let (layers, hidden, inner) = (number("num_hidden_layers")?, number("hidden_size")?, number("intermediate_size")?);
    let (heads, vocabulary) = (number("num_attention_heads")?, number("vocab_size")?);
    let kv_heads = config.get_u32("num_key_value_heads")?.unwrap_or(heads);
    let head = config.get_u32("head_dim")?.unwrap_or(hidden.checked_div(heads).unwrap_or(0));
    if !head.is_multiple_of(2) || head == 0 {
        return Err(unsupported("head_dim", head.to_string()));
    }
    let activation = config.get_str("hidden_act")?.unwrap_or("silu");
    if activation != "silu" {
        return Err(unsupported("hidden_act", format!("{activation:?}")));
    }
    let context = number("max_position_embeddings")?;

    let mut planner = Planner::new(checkpoint, "llama");
    // A window that no context exceeds is none.
    if let Some(window) = config.get_u32("sliding_window")?.filter(|window| *window < context) {
        planner.hyper("attention.sliding_window", window);
    }
    planner.hyper("block_count", layers);
    planner.hyper("context_length", context);
    planner.hyper("embedding_length", hidden);
    planner.hyper("feed_forward_length", inner);
    planner.hyper("attention.head_count", heads);
    planner.hyper("attention.head_count_kv", kv_heads);
    planner.hyper("attention.key_length", head);
    planner.hyper("attention.value_length", head);
    planner.hyper("attention.layer_norm_rms_epsilon", config.get_f32("rms_norm_eps")?.unwrap_or(1e-6));
    planner.hyper("rope.dimension_count", head);
    planner.hyper("vocab_size", vocabulary);
    let factors = rope(&mut planner, &config, head)?;
    tokenizer::bpe(&mut planner, vocabulary)?;

    let (hidden, inner, vocabulary) = (u64::from(hidden), u64::from(inner), u64::from(vocabulary));
    let (attended, cached) = (u64::from(heads) * u64::from(head), u64::from(kv_heads) * u64::from(head));
    let prefix = if planner.has("model.embed_tokens.weight") { "model." } else { "" };
    planner.tensor("token_embd.weight", &format!("{prefix}embed_tokens.weight"), &[vocabulary, hidden])?;
    if let Some(factors) = factors {
        planner.add("rope_freqs.weight", &[factors.len() as u64], Data::Values(factors));
    }
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let source = |part: &str| format!("{prefix}layers.{layer}.{part}");
        planner.tensor(name("attn_norm.weight"), &source("input_layernorm.weight"), &[hidden])?;
        rotary(&mut planner, &name("attn_q"), &source("self_attn.q_proj"), [attended, hidden], head)?;
        rotary(&mut planner, &name("attn_k"), &source("self_attn.k_proj"), [cached, hidden], head)?;
        planner.linear(&name("attn_v"), &source("self_attn.v_proj"), cached, hidden)?;
        planner.linear(&name("attn_output"), &source("self_attn.o_proj"), hidden, attended)?;
        planner.tensor(name("ffn_norm.weight"), &source("post_attention_layernorm.weight"), &[hidden])?;
        planner.linear(&name("ffn_gate"), &source("mlp.gate_proj"), inner, hidden)?;
        planner.linear(&name("ffn_up"), &source("mlp.up_proj"), inner, hidden)?;
        planner.linear(&name("ffn_down"), &source("mlp.down_proj"), hidden, inner)?;
    }
    planner.tensor("output_norm.weight", &format!("{prefix}norm.weight"), &[hidden])?;
    let tied = config.get_bool("tie_word_embeddings")?.unwrap_or(!planner.has("lm_head.weight"));
    if !tied {
        planner.linear("output", "lm_head", vocabulary, hidden)?;
    }
    planner.finish(|name| name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight"))
}

/// Adds a product of queries or keys, its rows reordered so that the two of a rotary pair are neighbours.
fn rotary(planner: &mut Planner, name: &str, source: &str, shape: [u64; 2], head: u32) -> Result<(), Error> {
    for (part, shape) in [("weight", &shape[..]), ("bias", &shape[..1])] {
        let from = format!("{source}.{part}");
        if part == "bias" && !planner.has(&from) {
            continue;
        }
        let Tensor { dtype, data, .. } = *planner.take(&from, shape)?;
        planner.add(format!("{name}.{part}"), shape, Data::Rotary { dtype, bytes: data, head: head as usize });
    }
    Ok(())
}

/// Writes how positions turn pairs, and gives the factors by which Llama 3.1's scaling divides frequencies, one for each pair.
fn rope(planner: &mut Planner, config: &Json, head: u32) -> Result<Option<Vec<f32>>, Error> {
    // Newer files have everything in one object.
    let parameters = config.get("rope_parameters");
    let base = match parameters.as_ref().map(|parameters| parameters.get_f32("rope_theta")).transpose()?.flatten() {
        Some(base) => base,
        None => config.get_f32("rope_theta")?.unwrap_or(10_000.0),
    };
    planner.hyper("rope.freq_base", base);
    let Some(scaling) = parameters.or_else(|| config.get("rope_scaling")) else { return Ok(None) };
    let kind = match scaling.get_str("rope_type")? {
        Some(kind) => kind,
        None => scaling.get_str("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(None),
        "linear" => {
            planner.hyper("rope.scaling.type", "linear");
            planner.hyper("rope.scaling.factor", scaling.require("factor")?.f32()?);
            Ok(None)
        }
        "llama3" => {
            let number = |key, default: f32| Ok::<_, Error>(f64::from(scaling.get_f32(key)?.unwrap_or(default)));
            let (factor, low) = (number("factor", 8.0)?, number("low_freq_factor", 1.0)?);
            let (high, original) =
                (number("high_freq_factor", 4.0)?, number("original_max_position_embeddings", 8192.0)?);
            let pair = |i: u32| {
                let frequency = math::pow64(f64::from(base), -f64::from(2 * i) / f64::from(head));
                // Turns within the context of the training: fast pairs stay, slow ones are stretched, others lie between.
                let turns = original * frequency / (2.0 * std::f64::consts::PI);
                let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
            };
            Ok(Some((0..head / 2).map(pair).collect()))
        }
        other => Err(Error::Unsupported {
            file: CONFIG.into(),
            field: "rope_scaling".into(),
            value: format!("{other:.64?}"),
        }),
    }
}
