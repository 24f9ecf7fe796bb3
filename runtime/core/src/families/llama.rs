//! Llama, and what has its shape: Mistral, SmolLM, InternLM 2, ERNIE 4.5 (Touvron et al., "LLaMA").

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.rms()?, hyper.windows(0, 0)?);
    hyper.decoder(norm, vec![hyper.rope(Pairs::Neighbours)?], &|layer| {
        let attention = Attention { window: windows[layer.number], ..layer.attention()? };
        layer.sequential(norm, attention, layer.gated(ActivationFn::Silu)?)
    })
}
