//! BERT and what is trained from it: sentence encoders (MiniLM, BGE, E5, GTE), classifiers and rerankers. Keys and tensors are named as
//! llama.cpp names them.

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::plan::{Plan, Planner};
use crate::{labels, sentences, tokenizer};

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let number = |key| config.require(key)?.u32();
    let (layers, hidden, inner) = (number("num_hidden_layers")?, number("hidden_size")?, number("intermediate_size")?);
    let (positions, vocabulary) = (number("max_position_embeddings")?, number("vocab_size")?);
    let heads = config.require("num_attention_heads")?;
    if heads.u32()? == 0 || !hidden.is_multiple_of(heads.u32()?) {
        return Err(heads.wrong("a divisor of hidden_size"));
    }
    let types = config.get_u32("type_vocab_size")?.unwrap_or(2);
    if let Some(kind) = config.get("position_embedding_type").filter(|kind| !matches!(kind.str(), Ok("absolute"))) {
        return Err(kind.unsupported());
    }
    let activation = match config.get("hidden_act") {
        None => "gelu",
        Some(field) => match field.str()? {
            "gelu" => "gelu",
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => "gelu_tanh",
            "quick_gelu" => "gelu_quick",
            "relu" => "relu",
            _ => return Err(field.unsupported()),
        },
    };

    let mut planner = Planner::new(checkpoint, "bert");
    planner.hyper("block_count", layers);
    planner.hyper("context_length", positions);
    planner.hyper("embedding_length", hidden);
    planner.hyper("feed_forward_length", inner);
    planner.hyper("attention.head_count", heads.u32()?);
    planner.hyper("attention.layer_norm_epsilon", config.get_f32("layer_norm_eps")?.unwrap_or(1e-12));
    planner.hyper("attention.causal", false);
    if activation != "gelu" {
        planner.hyper("feed_forward_activation", activation);
    }
    planner.metadata("tokenizer.ggml.token_type_count", types);

    let prefix = if planner.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
    let classifies = planner.has("classifier.weight");
    sentences::plan(&mut planner, classifies, positions)?;
    tokenizer::encoder(&mut planner, vocabulary, classifies)?;

    let (hidden, inner) = (u64::from(hidden), u64::from(inner));
    for (name, source, rows) in [
        ("token_embd", "word_embeddings", vocabulary),
        ("position_embd", "position_embeddings", positions),
        ("token_types", "token_type_embeddings", types),
    ] {
        let source = format!("{prefix}embeddings.{source}.weight");
        planner.tensor(format!("{name}.weight"), &source, &[rows.into(), hidden])?;
    }
    norm(&mut planner, "token_embd_norm", &format!("{prefix}embeddings.LayerNorm"), hidden)?;
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let source = |part: &str| format!("{prefix}encoder.layer.{layer}.{part}");
        for (part, from) in [("attn_q", "query"), ("attn_k", "key"), ("attn_v", "value")] {
            planner.linear(&name(part), &source(&format!("attention.self.{from}")), hidden, hidden)?;
        }
        planner.linear(&name("attn_output"), &source("attention.output.dense"), hidden, hidden)?;
        norm(&mut planner, &name("attn_output_norm"), &source("attention.output.LayerNorm"), hidden)?;
        planner.linear(&name("ffn_up"), &source("intermediate.dense"), inner, hidden)?;
        planner.linear(&name("ffn_down"), &source("output.dense"), hidden, inner)?;
        norm(&mut planner, &name("layer_output_norm"), &source("output.LayerNorm"), hidden)?;
    }
    if classifies {
        labels::problem(&mut planner)?;
        let labels = labels::read(&config)?.unwrap_or_else(|| labels::numbered(2));
        planner.linear("cls", &format!("{prefix}pooler.dense"), hidden, hidden)?;
        planner.linear("cls.output", "classifier", labels.len() as u64, hidden)?;
        planner.hyper("classifier.output_labels", labels);
    }
    planner.finish(|name| {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        name == "embeddings.position_ids" || name.starts_with("pooler.") || name.starts_with("cls.")
    })
}

/// A layer norm, which old files name as its paper does.
fn norm(planner: &mut Planner, name: &str, source: &str, len: u64) -> Result<(), Error> {
    if planner.has(&format!("{source}.gamma")) {
        planner.tensor(format!("{name}.weight"), &format!("{source}.gamma"), &[len])?;
        return planner.tensor(format!("{name}.bias"), &format!("{source}.beta"), &[len]);
    }
    planner.norm(name, source, len)
}
