//! BERT and what is trained from it: sentence encoders (MiniLM, BGE, E5, GTE), classifiers and rerankers. Keys and tensors are named as
//! llama.cpp names them.

use crate::Error;
use crate::checkpoint::{CONFIG, Checkpoint};
use crate::plan::{Plan, Planner};
use crate::tokenizer;

const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCES: &str = "sentence_bert_config.json";

/// `pooling_type`: the embedding of a text is the mean of its tokens', or that of the first; or a classifier makes scores of the
/// first.
const MEAN: u32 = 1;
const CLS: u32 = 2;
const RANK: u32 = 4;

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let number = |key| config.require(key)?.u32();
    let (layers, hidden, inner) = (number("num_hidden_layers")?, number("hidden_size")?, number("intermediate_size")?);
    let (positions, vocabulary) = (number("max_position_embeddings")?, number("vocab_size")?);
    let types = config.get_u32("type_vocab_size")?.unwrap_or(2);
    let unsupported = |key: &str, value: &str| Error::Unsupported {
        file: CONFIG.into(),
        field: key.into(),
        value: format!("{value:.64?}"),
    };
    if let Some(kind) = config.get_str("position_embedding_type")?.filter(|kind| *kind != "absolute") {
        return Err(unsupported("position_embedding_type", kind));
    }
    let activation = match config.get_str("hidden_act")?.unwrap_or("gelu") {
        "gelu" => "gelu",
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => "gelu_tanh",
        "quick_gelu" => "gelu_quick",
        "relu" => "relu",
        other => return Err(unsupported("hidden_act", other)),
    };

    let mut planner = Planner::new(checkpoint, "bert");
    planner.hyper("block_count", layers);
    planner.hyper("context_length", positions);
    planner.hyper("embedding_length", hidden);
    planner.hyper("feed_forward_length", inner);
    planner.hyper("attention.head_count", number("num_attention_heads")?);
    planner.hyper("attention.layer_norm_epsilon", config.get_f32("layer_norm_eps")?.unwrap_or(1e-12));
    planner.hyper("attention.causal", false);
    if activation != "gelu" {
        planner.hyper("feed_forward_activation", activation);
    }
    planner.metadata("tokenizer.ggml.token_type_count", types);

    let prefix = if planner.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
    let classifies = planner.has("classifier.weight");
    pooling(&mut planner, classifies, positions)?;
    tokenizer::wordpiece(&mut planner, vocabulary)?;

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
        let labels = labels(checkpoint)?;
        planner.linear("cls", &format!("{prefix}pooler.dense"), hidden, hidden)?;
        planner.linear("cls.output", "classifier", labels.len() as u64, hidden)?;
        planner.hyper("classifier.output_labels", labels);
        crate::problem::problem(&mut planner)?;
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

/// How the embedding of a text is made of those of its tokens, and how long a text may be.
fn pooling(planner: &mut Planner, classifies: bool, positions: u32) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    if classifies {
        planner.hyper("pooling_type", RANK);
    } else if let Some(pooling) = checkpoint.json(POOLING) {
        let mut chosen = None;
        for (key, kind) in [("pooling_mode_cls_token", CLS), ("pooling_mode_mean_tokens", MEAN)] {
            if pooling.get_bool(key)?.unwrap_or(false) {
                chosen = Some(kind);
            }
        }
        let field = || "pooling_mode_…".to_owned();
        let unsupported = || Error::Unsupported { file: POOLING.into(), field: field(), value: "neither".into() };
        planner.hyper("pooling_type", chosen.ok_or_else(unsupported)?);
    }
    let mut normalize = false;
    for module in checkpoint.json(MODULES).map(|modules| modules.list()).transpose()?.into_iter().flatten() {
        let kind = module.require("type")?.str()?;
        match kind.rsplit('.').next().unwrap_or(kind) {
            "Transformer" | "Pooling" => {}
            "Normalize" => normalize = true,
            _ => {
                let (field, value) = ("type".into(), format!("{kind:?}"));
                return Err(Error::Unsupported { file: MODULES.into(), field, value });
            }
        }
    }
    if !classifies && checkpoint.json(MODULES).is_some() {
        planner.hyper("pooling_normalize", normalize);
    }
    if let Some(sentences) = checkpoint.json(SENTENCES)
        && let Some(length) = sentences.get_u32("max_seq_length")?
    {
        planner.hyper("max_sequence_length", length.min(positions));
    }
    Ok(())
}

/// The classes in order of their numbers.
fn labels(checkpoint: &Checkpoint) -> Result<Vec<String>, Error> {
    let config = checkpoint.config();
    let Some(names) = config.get("id2label") else { return Ok(vec!["LABEL_0".into(), "LABEL_1".into()]) };
    let fields = names.value().as_object().ok_or_else(|| names.wrong("an object"))?;
    (0..fields.len()).map(|id| Ok(names.require(&id.to_string())?.str()?.to_owned())).collect()
}
