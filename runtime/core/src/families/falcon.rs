//! Falcon (Almazrouei et al., "The Falcon Series of Open Language Models"): both blocks see the same residual stream, through one norm or, in the
//! larger models, two.

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Layer, Norms, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let first = layer.before(tensor!("attn_norm"), norm)?;
        // The second is of the attention, and the first then of the feed-forward network.
        let norms = if layer.has(tensor!("attn_norm_2")) {
            [layer.before(tensor!("attn_norm_2"), norm)?, first]
        } else {
            [first, Norms::default()]
        };
        let blocks = layer.layer(layer.attention()?, layer.plain(ActivationFn::Gelu)?, norms);
        Ok(Layer { parallel: true, ..blocks })
    })
}
