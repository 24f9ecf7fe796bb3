//! Granite (IBM, "Granite 3.0 Language Models") and MiniCPM (Hu et al., "MiniCPM"): Llama with factors, by which its logits are divided.

use super::hyper::Hyper;
use super::llama;
use crate::blocks::Mixer;
use crate::{Decoder, LoadError};
use smidgen_quant::math;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let mut decoder = llama::load(hyper)?;
    // A model without positions is told so by this key.
    if hyper.source.flag(hyper.key("rope.scaling.finetuned"))? == Some(false) {
        for layer in &mut decoder.layers {
            let Mixer::Attention(attention) = &mut layer.mixer;
            attention.rope = None;
        }
    }
    Ok(Decoder {
        embedding_scale: hyper.number("embedding_scale")?,
        residual_scale: hyper.number("residual_scale")?,
        logit_scale: hyper.number("logit_scale")?.map(|scale| 1.0 / scale),
        ..decoder
    })
}

/// Files of old have no keys for the factors, which are the paper's then.
pub(super) fn load_minicpm<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let decoder = llama::load(hyper)?;
    let number = |name, default: f32| hyper.number(name).map(|found| found.unwrap_or(default));
    Ok(Decoder {
        embedding_scale: Some(number("embedding_scale", 12.0)?),
        residual_scale: Some(number("residual_scale", 1.4 / math::sqrt(hyper.layers as f32))?),
        logit_scale: Some(1.0 / number("logit_scale", hyper.width as f32 / 256.0)?),
        ..decoder
    })
}
