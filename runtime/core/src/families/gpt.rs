//! GPT-2, StarCoder 1 (Radford et al., "Language Models are Unsupervised Multitask Learners"; Li et al., "StarCoder"), and BLOOM (Le Scao et al.,
//! "BLOOM"): layer norms, biases, no rotation.

use super::hyper::{Hyper, LayerOf, tensor};
use crate::blocks::{ActivationFn, Attention, Layer, NormLike};
use crate::{Decoder, LoadError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::math;

fn layer<'a>(
    layer: &LayerOf<'_, '_, '_, 'a>,
    norm: NormLike,
    attention: Attention<'a>,
) -> Result<Layer<'a>, LoadError> {
    layer.sequential(norm, Attention { rope: None, ..attention }, layer.plain(ActivationFn::GeluTanh)?)
}

/// Positions have embeddings, as many as the context.
pub(super) fn load<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    const POSITIONS: TensorName = TensorName { layer: None, part: "position_embd.weight" };
    let norm = hyper.layer_norm()?;
    let decoder = hyper.decoder(norm, Vec::new(), &|of| layer(of, norm, of.attention()?))?;
    Ok(Decoder { positions: Some(hyper.source.matrix(POSITIONS, hyper.context, hyper.width)?), ..decoder })
}

/// Scores fall with the distance (ALiBi), and the embedding is normalized.
pub(super) fn load_bloom<'a>(hyper: &Hyper<'_, '_, 'a>) -> Result<Decoder<'a>, LoadError> {
    let norm = hyper.layer_norm()?;
    let decoder = hyper.decoder(norm, Vec::new(), &|of| {
        // The number of heads is a file's until its tensors have been found to have as many.
        let attention = of.attention()?;
        layer(of, norm, Attention { slopes: slopes(hyper.heads), ..attention })
    })?;
    let embedding_norm = Some(hyper.norm(tensor!("token_embd_norm"), hyper.width, norm)?);
    Ok(Decoder { embedding_norm, ..decoder })
}

/// The slopes of so many heads: powers of `2^(-8 / n)` for the largest power of two `n` that is not above, then every second one for twice as many.
fn slopes(heads: usize) -> Vec<f32> {
    let n = (heads + 1).next_power_of_two() / 2;
    let slope = |power: usize, n: usize| math::pow64(2.0, -8.0 * power as f64 / n as f64) as f32;
    (0..heads).map(|head| if head < n { slope(head + 1, n) } else { slope(2 * (head - n) + 1, 2 * n) }).collect()
}
