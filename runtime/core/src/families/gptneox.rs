//! GPT-NeoX and Pythia (Black et al., "GPT-NeoX-20B"; Biderman et al., "Pythia"): both blocks see the same residual stream, each through its own norm.

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Layer, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    let parallel = hyper.source.flag(hyper.key("use_parallel_residual"))?.unwrap_or(true);
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let blocks = layer.sequential(norm, layer.attention()?, layer.plain(ActivationFn::Gelu)?)?;
        Ok(Layer { parallel, ..blocks })
    })
}
