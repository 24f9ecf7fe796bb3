//! Command R and Command R7B (Cohere, "Command A Technical Report"): both blocks see the same normalized input.

use super::hyper::{Hyper, LayerOf, tensor};
use crate::blocks::{ActivationFn, Attention, Layer, NormLike, Norms, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

fn parallel<'a>(
    layer: &LayerOf<'_, '_, '_, 'a>,
    norm: NormLike,
    attention: Attention<'a>,
) -> Result<Layer<'a>, LoadError> {
    let norms = [layer.before(tensor!("attn_norm"), norm)?, Norms::default()];
    Ok(Layer { parallel: true, ..layer.layer(attention, layer.gated(ActivationFn::Silu)?, norms) })
}

/// The largest normalizes the heads of queries and keys, each with weights of its own.
pub(super) fn load1<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    let decoder = hyper.decoder(norm, vec![hyper.rope(Pairs::Neighbours)?], &|layer| {
        let of_heads = |names, heads| layer.norm_of_heads(names, [hyper.head, heads], norm);
        let (q_norm, k_norm) =
            (of_heads(tensor!("attn_q_norm"), hyper.heads)?, of_heads(tensor!("attn_k_norm"), hyper.kv_heads)?);
        parallel(layer, norm, Attention { q_norm, k_norm, ..layer.attention()? })
    })?;
    Ok(Decoder { logit_scale: hyper.number("logit_scale")?, ..decoder })
}

/// Three layers of four have a window, and only they turn.
pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.layer_norm()?, hyper.windows(4096, 4)?);
    let decoder = hyper.decoder(norm, vec![hyper.rope(Pairs::Neighbours)?], &|layer| {
        let window = windows[layer.number];
        parallel(layer, norm, Attention { window, rope: window.map(|_| 0), ..layer.attention()? })
    })?;
    Ok(Decoder { logit_scale: hyper.number("logit_scale")?, ..decoder })
}
