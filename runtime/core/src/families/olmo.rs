//! OLMo 2 and 3 (OLMo Team, "2 OLMo 2 Furious", "Olmo 3"): norms after the blocks, and of all queries and all keys of a token.

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

/// OLMo 3 has the same architecture and a window on three layers of four, whose rotation is not scaled.
pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.rms()?, hyper.windows(0, 4)?);
    let base = hyper.number("rope.freq_base")?.unwrap_or(10_000.0);
    let mut ropes = vec![hyper.rope(Pairs::Halves)?];
    if windows.iter().any(Option::is_some) {
        ropes.push(hyper.local_rope(Pairs::Halves, base)?);
    }
    hyper.decoder(norm, ropes, &|layer| {
        let window = windows[layer.number];
        let attention = Attention {
            q_norm: Some(layer.norm(tensor!("attn_q_norm"), hyper.heads * hyper.head, norm)?),
            k_norm: Some(layer.norm(tensor!("attn_k_norm"), hyper.kv_heads * hyper.head, norm)?),
            rope: Some(usize::from(window.is_some())),
            window,
            ..layer.attention()?
        };
        let norms = [layer.after(tensor!("post_attention_norm"), norm)?, layer.after(tensor!("post_ffw_norm"), norm)?];
        Ok(layer.layer(attention, layer.gated(ActivationFn::Silu)?, norms))
    })
}
