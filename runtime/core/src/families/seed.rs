//! Seed-OSS (ByteDance Seed): Qwen 2 with another name for the norm before the feed-forward network.

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let norms = [layer.before(tensor!("attn_norm"), norm)?, layer.before(tensor!("post_attention_norm"), norm)?];
        Ok(layer.layer(layer.attention()?, layer.gated(ActivationFn::Silu)?, norms))
    })
}
