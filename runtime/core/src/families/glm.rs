//! GLM 4 of 2025 (GLM Team, "ChatGLM"): norms around the blocks; half of a head turns.

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load4<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Neighbours)?], &|layer| {
        let norms = [
            layer.around(tensor!("attn_norm"), tensor!("post_attention_norm"), norm)?,
            layer.around(tensor!("ffn_norm"), tensor!("post_ffw_norm"), norm)?,
        ];
        Ok(layer.layer(layer.attention()?, layer.gated(ActivationFn::Silu)?, norms))
    })
}
