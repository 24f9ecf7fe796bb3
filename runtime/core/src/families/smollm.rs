//! SmolLM 3 (Bakouch et al., "SmolLM3"): Llama, of which every fourth layer does not turn (Yang et al., "Rope to Nope and Back Again").

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load3<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Neighbours)?], &|layer| {
        let rope = (!(layer.number + 1).is_multiple_of(4)).then_some(0);
        layer.sequential(norm, Attention { rope, ..layer.attention()? }, layer.gated(ActivationFn::Silu)?)
    })
}
