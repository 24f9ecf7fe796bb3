//! Phi 2, 3, 3.5 and 4 (Abdin et al., "Phi-3 Technical Report").

use super::hyper::{Hyper, tensor};
use crate::blocks::{ActivationFn, Attention, Layer, Norms, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

/// Both blocks see the same normalized input, and everything has a bias.
pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let norms = [layer.before(tensor!("attn_norm"), norm)?, Norms::default()];
        let blocks = layer.layer(layer.attention()?, layer.plain(ActivationFn::GeluTanh)?, norms);
        Ok(Layer { parallel: true, ..blocks })
    })
}

/// Queries, keys and values are one product, and so are the gate and what it lets pass.
pub(super) fn load3<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.rms()?, hyper.windows(0, 0)?);
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let attention = Attention { window: windows[layer.number], ..layer.attention()? };
        layer.sequential(norm, attention, layer.gated(ActivationFn::Silu)?)
    })
}
