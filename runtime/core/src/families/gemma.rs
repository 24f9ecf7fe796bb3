//! Gemma 1, 2 and 3 (Gemma Team, "Gemma", "Gemma 2", "Gemma 3"). Norms' weights are in the file as they are used, one added.

use super::hyper::{Hyper, LayerOf, tensor};
use crate::blocks::{ActivationFn, Attention, NormLike, Norms, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;
use smidgen_quant::math;

/// The embedding is multiplied by the root of its width.
fn scaled<'a>(hyper: &Hyper, decoder: Decoder<'a>) -> Decoder<'a> {
    Decoder { embedding_scale: Some(math::sqrt(hyper.width as f32)), ..decoder }
}

/// The largest models divide scores by the root of what a head would have of the width.
fn scale(hyper: &Hyper, largest: usize) -> Result<f32, LoadError> {
    let size = if hyper.layers == largest { hyper.width / hyper.heads } else { hyper.head };
    Ok(hyper.number("attention.scale")?.unwrap_or(1.0 / math::sqrt(size as f32)))
}

/// Norms around both blocks.
fn norms(layer: &LayerOf, norm: NormLike) -> Result<[Norms; 2], LoadError> {
    Ok([
        layer.around(tensor!("attn_norm"), tensor!("post_attention_norm"), norm)?,
        layer.around(tensor!("ffn_norm"), tensor!("post_ffw_norm"), norm)?,
    ])
}

pub(super) fn load1<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    let decoder = hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        layer.sequential(norm, layer.attention()?, layer.gated(ActivationFn::GeluTanh)?)
    })?;
    Ok(scaled(hyper, decoder))
}

/// Every other layer has a window; scores and logits have a cap.
pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.rms()?, hyper.windows(4096, 2)?);
    let softcap = Some(hyper.number("attn_logit_softcapping")?.unwrap_or(50.0));
    let decoder = hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let (window, scale) = (windows[layer.number], scale(hyper, 46)?);
        let attention = Attention { window, scale, softcap, ..layer.attention()? };
        Ok(layer.layer(attention, layer.gated(ActivationFn::GeluTanh)?, norms(layer, norm)?))
    })?;
    let logit_softcap = Some(hyper.number("final_logit_softcapping")?.unwrap_or(30.0));
    Ok(Decoder { logit_softcap, ..scaled(hyper, decoder) })
}

/// Five layers of six have a window and turn by another base; queries and keys are normalized by head.
pub(super) fn load3<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.rms()?, hyper.windows(0, 6)?);
    let ropes = vec![hyper.rope(Pairs::Halves)?, hyper.local_rope(Pairs::Halves, 10_000.0)?];
    let decoder = hyper.decoder(norm, ropes, &|layer| {
        let (window, scale) = (windows[layer.number], scale(hyper, 62)?);
        let rope = Some(usize::from(window.is_some()));
        let attention = Attention { window, scale, rope, ..layer.attention_with_norms(norm)? };
        Ok(layer.layer(attention, layer.gated(ActivationFn::GeluTanh)?, norms(layer, norm)?))
    })?;
    Ok(Decoder { logit_softcap: hyper.number("final_logit_softcapping")?, ..scaled(hyper, decoder) })
}
