//! Nemotron 4 and Minitron (Parmar et al., "Nemotron-4 15B Technical Report"): layer norms, whose weights are in the file as they are used, and a
//! squared ReLU.

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        layer.sequential(norm, layer.attention()?, layer.plain(ActivationFn::ReluSquared)?)
    })
}
