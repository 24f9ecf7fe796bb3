//! Models that read texts or see images: layers whose tokens see all of their input, without padding and without a cache that is kept.
//!
//! A pass takes the tokens of many inputs one after another, of any lengths. What becomes of an input does not depend on the others.
//! One session runs passes, pools the tokens of each input and applies the last products. [`text::Session`] and [`image::Session`] are its two
//! front ends: they check inputs, turn them into tokens, and say what can be asked.

mod batch;
pub mod image;
mod image_session;
mod positions;
mod session;
pub mod text;
mod text_session;

use crate::blocks::{ActivationFn, Layer, Norm, Outliers, Rope, Stack};
use crate::linear::Linear;
use crate::memory::zeroed;
use crate::{LoadError, Problem};
use alloc::string::String;
use alloc::vec::Vec;
use smidgen_quant::InputFormat;

/// A stack of layers.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    /// Values of a token in the residual stream.
    pub width: usize,
    /// One after another.
    pub layers: Vec<Layer<'a>>,
    /// Rotations, of which a layer names its own.
    pub ropes: Vec<Rope>,
    /// Channels of the residual stream that the products of what comes from it multiply unrounded, in ascending order; mostly none. Those products have
    /// their weights in [`Linear::unrounded`].
    pub outliers: Vec<usize>,
}

/// What of an input's tokens is its embedding, or its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Each token has its own: as many embeddings as tokens, one after another, never normalized.
    None,
    /// The mean of the tokens from this number on: of all of a text's, `[CLS]` and `[SEP]` among them; of an image's patches.
    MeanFrom(usize),
    /// The token of this number: 0 is a text's `[CLS]`, and an image's class token.
    Token(usize),
    /// The last token, `[SEP]`; CLIP's `<|endoftext|>`.
    Last,
}

/// The last products of a model: what is pooled of an input becomes scores (logits).
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// A product before an activation function, if there is one. `[any × width]`
    pub dense: Option<Linear<'a>>,
    /// Of that product.
    pub activation: ActivationFn,
    /// `[outputs × width]`, or what the product before gives.
    pub output: Linear<'a>,
    /// Scores of the second token, which are averaged with those of the first (DeiT). `[outputs × width]`
    pub second: Option<Linear<'a>>,
    /// Names of the outputs, in order; empty if the file has none.
    pub labels: Vec<String>,
    /// How the scores are read.
    pub problem: Problem,
}

impl<'a> Head<'a> {
    /// All products.
    fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.dense.iter().chain([&self.output]).chain(&self.second)
    }
}

impl<'a> Encoder<'a> {
    pub(crate) fn stack(&self) -> Stack<'_, 'a> {
        Stack {
            width: self.width,
            layers: &self.layers,
            ropes: &self.ropes,
            residual_scale: None,
            outliers: Outliers(&self.outliers),
            one_slot: true,
        }
    }

    /// All products.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.layers.iter().flat_map(Layer::products)
    }

    /// Finds the outliers of a stack that normalizes its residual stream after each block, `first` before all, if it has quantized weights. Few
    /// channels of such a stream are far larger than the others (Kovaleva et al., "BERT Busters"), and rounding to int8 makes the values
    /// beside them as coarse. The norms' weights tell which: the channels whose largest one is more than [`OUTLYING`] times
    /// the median channel's, at most [`OUTLIERS`] of them, the largest ones.
    pub(crate) fn with_outliers(mut self, first: &Norm) -> Result<Encoder<'a>, LoadError> {
        if !self.products().any(|linear| linear.weight.format().input_format() != InputFormat::F32) {
            return Ok(self);
        }
        let mut largest: Vec<f32> = zeroed(self.width)?;
        let norms = self.layers.iter().flat_map(Layer::norms);
        for norm in norms.chain([first]) {
            for (largest, weight) in largest.iter_mut().zip(&norm.weight) {
                *largest = largest.max(weight.abs());
            }
        }
        let mut order: Vec<usize> = zeroed(largest.len())?;
        order.iter_mut().enumerate().for_each(|(i, channel)| *channel = i);
        order.sort_unstable_by(|a, b| largest[*b].total_cmp(&largest[*a]).then(a.cmp(b)));
        let limit = largest[order[order.len() / 2]] * OUTLYING;
        order.truncate(OUTLIERS);
        order.retain(|channel| largest[*channel] > limit);
        order.sort_unstable();
        for linear in self.layers.iter_mut().flat_map(Layer::inputs_mut) {
            let outputs = linear.weight.rows();
            let mut columns =
                zeroed(outputs.checked_mul(order.len()).ok_or(LoadError::OutOfMemory { bytes: usize::MAX })?)?;
            for (channel, column) in order.iter().zip(columns.chunks_exact_mut(outputs)) {
                linear.column(*channel, column);
            }
            linear.unrounded = columns;
        }
        self.outliers = order;
        Ok(self)
    }
}

/// Most outliers of a stack.
const OUTLIERS: usize = 8;
/// How many times the median an outlier's weight is at least.
const OUTLYING: f32 = 1.4;
