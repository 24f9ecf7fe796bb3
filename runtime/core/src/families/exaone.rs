//! EXAONE 4 (LG AI Research, "EXAONE 4.0"): norms after the blocks, and of the heads of queries and keys.

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

/// The 32B, known by its layers, has a window on three layers of four, and only they turn.
pub(super) fn load4<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let hybrid = hyper.layers == 64;
    let (norm, windows) = (hyper.rms()?, if hybrid { hyper.windows(4096, 4)? } else { vec![None; hyper.layers] });
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let window = windows[layer.number];
        let rope = (!hybrid || window.is_some()).then_some(0);
        let attention = Attention { window, rope, ..layer.attention_with_norms(norm)? };
        let norms = [layer.after(tensor!("post_attention_norm"), norm)?, layer.after(tensor!("post_ffw_norm"), norm)?];
        Ok(layer.layer(attention, layer.gated(ActivationFn::Silu)?, norms))
    })
}
