//! What is particular to each family: keys besides the sizes, and what a configuration may not say since the architecture does otherwise.

use super::families::{FFN_NORM, NORM};
use super::rope::Rotation;
use super::{Conversion, Part, Row, Size};
use crate::Error;
use crate::json::Json;
use smidgen_quant::math;

type Done = Result<&'static [Row], Error>;

const NO_WINDOW: &str = "no layer has a window";
const BASE: f32 = 10_000.0;
const SILU: &[&str] = &["silu", "swish"];
const GELU_TANH: &[&str] = &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"];

pub(super) fn llama(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.no_windows()?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn mistral(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    if let Some(window) = of.window(Some(4096))? {
        of.planner.hyper("attention.sliding_window", window);
    }
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

/// Qwen 2 and 3: a window that is not used has fields all the same.
pub(super) fn qwen(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    if of.config.get_bool("use_sliding_window")?.unwrap_or(false) {
        if of.window(Some(4096))?.is_some() {
            return Err(of.config.require("use_sliding_window")?.unsupported());
        }
    } else if of.slides(|_| false)?.contains(&true) {
        return Err(of.config.require("layer_types")?.unsupported());
    }
    of.leave_out(&["sliding_window", "max_window_layers"], NO_WINDOW);
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

/// Gemma's activation function has gone by two fields, of which one was once wrong.
fn gemma_activation(of: &Conversion) -> Result<(), Error> {
    const KNOWN: &[&str] = &["gelu_pytorch_tanh", "gelu"];
    of.only("hidden_activation", &KNOWN[..1])?;
    let named = of.config.get("hidden_activation").is_some();
    of.only("hidden_act", if named { KNOWN } else { &KNOWN[..1] })?;
    of.must_be("use_bidirectional_attention", false)
}

/// The factor of scores, where it is not that of a head's size.
fn gemma_scale(of: &mut Conversion, largest: u32) -> Result<(), Error> {
    let size = if of.sizes.layers == largest { of.sizes.width / of.sizes.heads } else { of.sizes.head };
    let scalar = of.config.require("query_pre_attn_scalar")?;
    let number = scalar.f32()?;
    if number <= 0.0 {
        return Err(scalar.wrong("a number above 0"));
    }
    if number != size as f32 {
        of.planner.hyper("attention.scale", 1.0 / math::sqrt(number));
    }
    Ok(())
}

pub(super) fn gemma(of: &mut Conversion) -> Done {
    gemma_activation(of)?;
    of.no_windows()?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn gemma2(of: &mut Conversion) -> Done {
    gemma_activation(of)?;
    gemma_scale(of, 46)?;
    of.number("attn_logit_softcapping", None, "attn_logit_softcapping")?;
    of.number("final_logit_softcapping", None, "final_logit_softcapping")?;
    of.windows(4096, 2, &[])?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn gemma3(of: &mut Conversion) -> Done {
    gemma_activation(of)?;
    gemma_scale(of, 62)?;
    if let Some(cap) = of.config.get("attn_logit_softcapping") {
        return Err(cap.unsupported());
    }
    if of.config.get("final_logit_softcapping").is_some() {
        of.number("final_logit_softcapping", None, "final_logit_softcapping")?;
    }
    of.windows(4096, 6, &["sliding_window_pattern", "_sliding_window_pattern"])?;
    let (full, local) =
        (Rotation::of(&of.config, Some("full_attention")), Rotation::of(&of.config, Some("sliding_attention")));
    of.rotation(&full, Some(1_000_000.0), 1.0)?;
    let base = match of.config.get_f32("rope_local_base_freq")? {
        Some(base) => base,
        None => local.own_base()?.unwrap_or(BASE),
    };
    of.planner.hyper("rope.freq_base_swa", base);
    Ok(&[])
}

pub(super) fn phi(of: &mut Conversion) -> Done {
    of.only("hidden_act", GELU_TANH)?;
    of.must_be("qk_layernorm", false)?;
    of.rope(Some(BASE), 0.5)?;
    Ok(&[])
}

pub(super) fn phi3(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    if let Some(window) = of.window(None)? {
        of.planner.hyper("attention.sliding_window", window);
    }
    // Used by LongRoPE only.
    of.leave_out(&["original_max_position_embeddings"], "nothing is scaled by it");
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn cohere(of: &mut Conversion) -> Done {
    const NORMS: &[Row] = &[
        ("attn_q_norm", "self_attn.q_norm", Part::NormOfHeads(Size::Queries)),
        ("attn_k_norm", "self_attn.k_norm", Part::NormOfHeads(Size::Keys)),
    ];
    of.only("hidden_act", SILU)?;
    of.number("logit_scale", Some(0.0625), "logit_scale")?;
    if of.config.get("model_max_length").is_some() {
        of.leave_out(&["max_position_embeddings"], "model_max_length is what counts");
    }
    of.rope(None, 1.0)?;
    Ok(if of.config.get_bool("use_qk_norm")?.unwrap_or(false) { NORMS } else { &[] })
}

pub(super) fn cohere2(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.number("logit_scale", Some(0.0625), "logit_scale")?;
    of.windows(4096, 4, &["sliding_window_pattern", "_sliding_window_pattern"])?;
    of.rope(None, 1.0)?;
    Ok(&[])
}

pub(super) fn gpt(of: &mut Conversion) -> Done {
    of.only("activation_function", GELU_TANH)?;
    of.must_be("scale_attn_weights", true)?;
    of.must_be("scale_attn_by_inverse_layer_idx", false)?;
    if let Some(context) = of.config.get("n_ctx")
        && context.u32()? != of.sizes.context
    {
        return Err(context.wrong("n_positions"));
    }
    Ok(&[])
}

pub(super) fn bigcode(of: &mut Conversion) -> Done {
    of.must_be("multi_query", true)?;
    gpt(of)
}

/// One head of keys, where queries share it.
pub(super) fn shared(config: &Json) -> Result<Option<u32>, Error> {
    let all = config.get_u32("num_kv_heads")?.or(config.get_u32("n_head_kv")?);
    let own = config.get_bool("new_decoder_architecture")?.unwrap_or(false);
    let one = config.get_bool("multi_query")?.unwrap_or(true) && !own;
    if let Some(heads) = config.get_u32("num_key_value_heads")?
        && one
        && heads != 1
    {
        return Err(config.require("num_key_value_heads")?.unsupported());
    }
    Ok(if one { Some(1) } else { all })
}

pub(super) fn bloom(of: &mut Conversion) -> Done {
    of.must_be("apply_residual_connection_post_layernorm", false)?;
    Ok(&[])
}

pub(super) fn starcoder2(of: &mut Conversion) -> Done {
    of.only("hidden_act", GELU_TANH)?;
    if let Some(window) = of.window(None)? {
        of.planner.hyper("attention.sliding_window", window);
    }
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn neox(of: &mut Conversion) -> Done {
    of.only("hidden_act", &["gelu"])?;
    let parallel = of.config.get_bool("use_parallel_residual")?.unwrap_or(true);
    of.planner.hyper("use_parallel_residual", parallel);
    of.rope(Some(BASE), 0.25)?;
    Ok(&[])
}

/// The larger models have a norm for each block.
pub(super) fn falcon(of: &mut Conversion) -> Done {
    const ONE: &[Row] = &[NORM];
    const TWO: &[Row] =
        &[("attn_norm", "ln_mlp", Part::Norm(Size::Width)), ("attn_norm_2", "ln_attn", Part::Norm(Size::Width))];
    of.only("activation", &["gelu"])?;
    of.must_be("alibi", false)?;
    of.must_be("apply_residual_connection_post_layernorm", false)?;
    of.must_be("parallel_attn", true)?;
    of.rope(Some(BASE), 1.0)?;
    let new = of.config.get_bool("new_decoder_architecture")?.unwrap_or(false);
    Ok(match of.config.get("num_ln_in_parallel_attn") {
        None if new => TWO,
        None => ONE,
        Some(count) => match count.u32()? {
            1 => ONE,
            2 if new => TWO,
            _ => return Err(count.unsupported()),
        },
    })
}

pub(super) fn stablelm(of: &mut Conversion) -> Done {
    const SECOND: &[Row] = &[FFN_NORM];
    of.only("hidden_act", SILU)?;
    of.must_be("qk_layernorm", false)?;
    let parallel = of.config.get_bool("use_parallel_residual")?.unwrap_or(false);
    of.planner.hyper("use_parallel_residual", parallel);
    of.rope(Some(BASE), 0.25)?;
    Ok(if parallel { &[] } else { SECOND })
}

pub(super) fn olmo2(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.no_windows()?;
    of.rope(None, 1.0)?;
    Ok(&[])
}

/// Layers with a window turn by the same base, without scaling.
pub(super) fn olmo3(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.windows(4096, 4, &[])?;
    let full = Rotation::of(&of.config, Some("full_attention"));
    of.rotation(&full, None, 1.0)?;
    let local = Rotation::of(&of.config, Some("sliding_attention"));
    if let Some(base) = local.own_base()?.or(full.base()?) {
        of.planner.hyper("rope.freq_base_swa", base);
    }
    Ok(&[])
}

pub(super) fn granite(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.number("embedding_multiplier", Some(1.0), "embedding_scale")?;
    of.number("residual_multiplier", Some(1.0), "residual_scale")?;
    of.number("logits_scaling", Some(1.0), "logit_scale")?;
    of.number("attention_multiplier", Some(1.0), "attention.scale")?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn minicpm(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.number("scale_emb", Some(1.0), "embedding_scale")?;
    let depth = of.config.get_f32("scale_depth")?.unwrap_or(1.0);
    of.planner.hyper("residual_scale", (f64::from(depth) / f64::from(of.sizes.layers).sqrt()) as f32);
    let base = of.config.get("dim_model_base").map_or(Ok(of.sizes.width as f32), |field| field.f32())?;
    of.planner.hyper("logit_scale", of.sizes.width as f32 / base);
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn internlm2(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn ernie(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.rope(None, 1.0)?;
    Ok(&[])
}

/// Every fourth layer does not turn.
pub(super) fn smollm3(of: &mut Conversion) -> Done {
    const PERIOD: u32 = 4;
    of.only("hidden_act", SILU)?;
    of.must_be("use_sliding_window", false)?;
    of.no_windows()?;
    of.leave_out(&["sliding_window", "max_window_layers"], NO_WINDOW);
    if let Some(period) = of.config.get("no_rope_layer_interval")
        && period.u32()? != PERIOD
    {
        return Err(period.unsupported());
    }
    if let Some(list) = of.config.get("no_rope_layers") {
        let turns: Vec<u32> = list.whole().list()?.map(|flag| flag.u32()).collect::<Result<_, _>>()?;
        let expected = (1..=of.sizes.layers).map(|layer| u32::from(!layer.is_multiple_of(PERIOD)));
        if !turns.is_empty() && !turns.iter().copied().eq(expected) {
            return Err(list.unsupported());
        }
    }
    of.rope(None, 1.0)?;
    Ok(&[])
}

/// The 32B, known by its layers, has windows.
pub(super) fn exaone4(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    let pattern = of.config.get("sliding_window_pattern");
    if of.sizes.layers == 64 {
        // As text, the pattern's letters are of layers with and without a window.
        if let Some(pattern) = pattern.filter(|pattern| !matches!(pattern.value().as_str(), Some("LLLG")))
            && pattern.u32()? != 4
        {
            return Err(pattern.unsupported());
        }
        of.windows(4096, 4, &[])?;
    } else {
        of.leave_out(&["sliding_window_pattern"], NO_WINDOW);
        // Absent, it has a value in transformers.
        if !of.config.has("sliding_window") || of.config.get_u32("sliding_window")?.is_some() {
            return Err(of.config.require("sliding_window")?.unsupported());
        }
        of.slides(|_| false)?;
    }
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

pub(super) fn glm4(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.rope(Some(BASE), 0.5)?;
    Ok(&[])
}

/// The base is raised by a number instead of scaling (NTK-aware).
pub(super) fn hunyuan(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    let rotation = Rotation::of(&of.config, None);
    let Some(alpha) = rotation.alpha()? else {
        of.rotation(&rotation, Some(BASE), 1.0)?;
        return Ok(&[]);
    };
    let (base, head) = (f64::from(rotation.base()?.unwrap_or(BASE)), f64::from(of.sizes.head));
    of.planner.hyper("rope.freq_base", (base * math::pow64(f64::from(alpha), head / (head - 2.0))) as f32);
    of.planner.hyper("rope.dimension_count", of.sizes.head);
    Ok(&[])
}

pub(super) fn nemotron(of: &mut Conversion) -> Done {
    of.only("hidden_act", &["relu2"])?;
    of.rope(Some(BASE), 0.5)?;
    Ok(&[])
}

pub(super) fn seed(of: &mut Conversion) -> Done {
    of.only("hidden_act", SILU)?;
    of.rope(Some(BASE), 1.0)?;
    Ok(&[])
}

/// The activation function has four numbers in each layer.
pub(super) fn apertus(of: &mut Conversion) -> Done {
    of.only("hidden_act", &["xielu"])?;
    of.must_be("qk_norm", true)?;
    of.must_be("post_norm", false)?;
    for (part, shape) in [("alpha_p", &[1][..]), ("alpha_n", &[1]), ("beta", &[]), ("eps", &[])] {
        let mut numbers = Vec::new();
        for layer in 0..of.sizes.layers {
            let name = format!("model.layers.{layer}.mlp.act_fn.{part}");
            numbers.extend(of.planner.take(&name, shape)?.floats()?);
        }
        of.planner.metadata(format!("xielu.{part}"), numbers);
    }
    of.rope(None, 1.0)?;
    Ok(&[])
}

impl Conversion<'_, '_, '_> {
    /// Says that these fields have no effect in this model.
    fn leave_out(&self, fields: &[&str], reason: &'static str) {
        fields.iter().filter_map(|field| self.config.get(field)).for_each(|field| field.leave_out(reason));
    }

    /// Writes the window, and which layers have it where that is not all but each `period`-th. The period may also be a field.
    fn windows(&mut self, default: u32, period: u32, fields: &[&str]) -> Result<(), Error> {
        let mut every = period;
        if self.config.get("layer_types").is_some() {
            self.leave_out(fields, "layer_types says it of each layer");
        } else {
            for field in fields.iter().filter_map(|field| self.config.get(field)) {
                every = field.u32()?;
                if every == 0 {
                    return Err(field.unsupported());
                }
            }
        }
        let window = self.config.get_u32("sliding_window")?;
        if window.is_none() && self.config.has("sliding_window") {
            return Err(self.config.field_unsupported("sliding_window", "null".into()));
        }
        self.planner.hyper("attention.sliding_window", window.unwrap_or(default));
        let usual = |layer: u32| !(layer + 1).is_multiple_of(period);
        let slides = self.slides(|layer| !(layer + 1).is_multiple_of(every))?;
        if !slides.iter().copied().eq((0..self.sizes.layers).map(usual)) {
            self.planner.hyper("attention.sliding_window_pattern", slides);
        }
        Ok(())
    }
}
