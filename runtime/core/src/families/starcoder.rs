//! StarCoder 2 (Lozhkov et al., "StarCoder 2 and The Stack v2").

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Attention, Pairs};
use crate::{Decoder, LoadError};
use alloc::vec;

pub(super) fn load2<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let (norm, windows) = (hyper.layer_norm()?, hyper.windows(0, 0)?);
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let attention = Attention { window: windows[layer.number], ..layer.attention()? };
        layer.sequential(norm, attention, layer.plain(ActivationFn::GeluTanh)?)
    })
}
