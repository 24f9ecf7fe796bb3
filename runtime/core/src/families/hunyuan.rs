//! Hunyuan's dense models (Tencent, "Hunyuan-A13B Technical Report"): the heads of queries and keys are normalized after they have turned.

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let attention = Attention { norm_turned: true, ..layer.attention_with_norms(norm)? };
        layer.sequential(norm, attention, layer.gated(ActivationFn::Silu)?)
    })
}
