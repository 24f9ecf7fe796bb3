//! StableLM 2 (Bellagente et al., "Stable LM 2 1.6B Technical Report").

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Attention, Layer, Norms, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

/// The larger models normalize the heads of queries and keys, each with weights of its own, and run both blocks on the same input.
pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    let parallel = hyper.source.flag(hyper.key("use_parallel_residual"))?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let of_heads = |names, heads| layer.norm_of_heads(names, [hyper.head, heads], norm);
        let (q_norm, k_norm) =
            (of_heads(tensor!("attn_q_norm"), hyper.heads)?, of_heads(tensor!("attn_k_norm"), hyper.kv_heads)?);
        let own = layer.has(tensor!("ffn_norm"));
        let ffn_norms = if own { layer.before(tensor!("ffn_norm"), norm)? } else { Norms::default() };
        let attention = Attention { q_norm, k_norm, ..layer.attention()? };
        let norms = [layer.before(tensor!("attn_norm"), norm)?, ffn_norms];
        let blocks = layer.layer(attention, layer.gated(ActivationFn::Silu)?, norms);
        Ok(Layer { parallel: parallel.unwrap_or(!own), ..blocks })
    })
}
