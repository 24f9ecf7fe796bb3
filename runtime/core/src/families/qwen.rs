//! Qwen 2, 2.5 and 3 (Qwen Team, "Qwen2 Technical Report", "Qwen3 Technical Report").

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

/// Queries, keys and values have biases.
pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        layer.sequential(norm, layer.attention()?, layer.gated(ActivationFn::Silu)?)
    })
}

/// Queries and keys are normalized by head instead.
pub(super) fn load3<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        layer.sequential(norm, layer.attention_with_norms(norm)?, layer.gated(ActivationFn::Silu)?)
    })
}
