//! Models that see: classifiers of images, features of images, and CLIP's tower, whose embeddings lie in one space with those of texts.

use super::{Encoder, Head, Pooling};
use crate::RunError;
use crate::blocks::Norm;
use crate::frontend::image::{Image, Planes, Preprocess};
use crate::linear::Linear;
use alloc::string::String;
use alloc::vec::Vec;

pub use super::image_session::{Options, Session};

/// Hyper-parameters beside the encoder's.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `image_size`: side of the images that the positions were trained for, in pixels.
    pub image: usize,
    /// `patch_size`: side of a patch, in pixels.
    pub patch: usize,
    /// Planes of an image: 1 or 3.
    pub channels: usize,
    /// Tokens before those of the patches: the class token and the distillation token.
    pub prefix: usize,
    /// `pooling_type`: what of an image's tokens are its features.
    pub pooling: Pooling,
}

impl Config {
    /// Patches along a side of the images that the positions were trained for.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }

    /// Tokens of an image of this size. What is left at its right and bottom is not seen.
    pub fn tokens(&self, width: usize, height: usize) -> usize {
        (width / self.patch).saturating_mul(height / self.patch).saturating_add(self.prefix)
    }
}

/// A model that sees.
#[derive(Clone, Debug)]
pub struct ImageEncoder<'a> {
    /// Hyper-parameters.
    pub config: Config,
    /// What is done to an image first.
    pub preprocess: Preprocess,
    /// A patch to a token: a convolution whose steps are as long as its side. `[width × channels · patch · patch]`
    pub patches: Linear<'a>,
    /// `[prefix × width]`
    pub prefix: Vec<f32>,
    /// Added to the tokens. `[prefix + grid · grid × width]`
    pub positions: Linear<'a>,
    /// Of the sum of tokens and positions, if there is one (CLIP).
    pub pre_norm: Option<Norm>,
    /// The layers.
    pub encoder: Encoder<'a>,
    /// Of what comes out of the layers, if there is one.
    pub post_norm: Option<Norm>,
    /// For classification; CLIP's projection to embeddings.
    pub head: Option<Head<'a>>,
    /// `general.architecture` of its file.
    pub(crate) architecture: &'static str,
}

impl<'a> ImageEncoder<'a> {
    /// Values of a token, and of an image's features.
    pub fn width(&self) -> usize {
        self.encoder.width
    }

    /// Names of the head's outputs, as many as there are scores or none; nothing if there is no head.
    pub fn labels(&self) -> Option<&[String]> {
        self.head.as_ref().map(|head| head.labels.as_slice())
    }

    /// An image as the model takes it.
    ///
    /// # Errors
    /// Those of [`Preprocess::apply`].
    pub fn planes(&self, image: &Image) -> Result<Planes, RunError> {
        self.preprocess.apply(image)
    }
}
