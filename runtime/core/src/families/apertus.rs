//! Apertus (Swiss AI Initiative, "Apertus: Democratizing Open and Compliant LLMs"): xIELU, whose numbers each layer has for itself, and no gate.

use super::hyper::Hyper;
use crate::blocks::{ActivationFn, Pairs};
use crate::{Decoder, Key, LoadError};
use alloc::vec;
use smidgen_quant::math;
use smidgen_quant::ops::Xielu;

pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.rms()?;
    let numbers = |name| hyper.source.number_of_layer(Key { architecture: "xielu", name }, hyper.layers);
    let (positive, negative) = (numbers("alpha_p")?, numbers("alpha_n")?);
    let (betas, epsilons) = (numbers("beta")?, numbers("eps")?);
    hyper.decoder(norm, vec![hyper.rope(Pairs::Halves)?], &|layer| {
        let at = layer.number;
        let xielu = Xielu {
            positive: softplus(positive[at]),
            negative: betas[at] + softplus(negative[at]),
            beta: betas[at],
            eps: epsilons[at],
        };
        layer.sequential(norm, layer.attention_with_norms(norm)?, layer.plain(ActivationFn::Xielu(xielu))?)
    })
}

/// `ln(1 + e^x)`
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { math::ln64(1.0 + math::exp64(x as f64)) as f32 }
}
