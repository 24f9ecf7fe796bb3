//! Vision transformers: ViT and DeiT classifiers, DINOv2's features, CLIP's vision tower (Dosovitskiy et al., "An Image is Worth 16x16
//! Words"; Touvron et al., "Training Data-Efficient Image Transformers"; Oquab et al., "DINOv2"). `docs/gguf.md` has the names of keys and
//! tensors.

mod positions;
mod session;

use super::encoder::{ActivationFn, Encoder, Norm};
use super::tower::{self, VISION, tensor};
use crate::frontend::image::{Filter, Image, Planes, Preprocess, Resize};
use crate::linear::Linear;
use crate::source::Source;
use crate::{Key, LoadError, RunError, TensorName};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
pub use session::{Options, Session};

/// `general.architecture` of the family.
pub const ARCHITECTURE: &str = "vit";

const PATCHES: TensorName = tensor("v.patch_embd.weight");
const CLASS: TensorName = tensor("v.class_embd");
const DISTILLATION: TensorName = tensor("v.distillation_embd");
const DENSE: TensorName = tensor("cls.weight");
const OUTPUT: TensorName = tensor("cls.output.weight");
const SECOND: TensorName = tensor("cls.distillation.weight");

/// Upper bound accepted from a file for the side of a grid of patches.
const MAX_GRID: usize = 1 << 10;

/// What of an image's tokens are its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of the patches' tokens.
    Mean,
    /// The first token, which is of no patch.
    First,
}

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
    /// `pooling_type`
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

/// What turns features into scores.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// A product before the encoder's activation function, if there is one. `[any × width]`
    pub dense: Option<Linear<'a>>,
    /// `[outputs × width]`, or what the product before gives.
    pub output: Linear<'a>,
    /// Scores of the second token, which are averaged with those of the first (DeiT). `[outputs × width]`
    pub second: Option<Linear<'a>>,
    /// Names of the outputs, in order; empty if the file has none.
    pub labels: Vec<String>,
}

/// A model of the family.
#[derive(Clone, Debug)]
pub struct Vit<'a> {
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
    /// Of the sum, if there is one (CLIP).
    pub pre_norm: Option<Norm>,
    /// The layers.
    pub encoder: Encoder<'a>,
    /// Of what comes out, if there is one.
    pub post_norm: Option<Norm>,
    /// For classification.
    pub head: Option<Head<'a>>,
    /// `general.architecture` of its file.
    architecture: &'static str,
}

/// What towers of different files differ in.
pub(super) struct Like {
    /// `general.architecture`
    pub(super) architecture: &'static str,
    /// What keys begin with.
    pub(super) prefix: &'static str,
    /// What stands between the products of a layer if the file does not say it.
    pub(super) activation: ActivationFn,
    /// Whether both sides of an image are brought to a size, rather than the shorter, if the file does not say it.
    pub(super) stretched: bool,
}

impl<'a> Vit<'a> {
    pub(crate) fn parse(source: &Source<'_, 'a>) -> Result<Vit<'a>, LoadError> {
        const POOLING: Key = Key { architecture: ARCHITECTURE, name: "pooling_type" };
        let like =
            Like { architecture: ARCHITECTURE, prefix: ARCHITECTURE, activation: ActivationFn::Gelu, stretched: true };
        let mut model = Vit::tower(source, &like)?;
        model.config.pooling = match source.integer(POOLING, 0)? {
            Some(1) => Pooling::Mean,
            Some(2) | None => Pooling::First,
            Some(value) => return Err(LoadError::Unsupported { key: POOLING, value: value as u64 }),
        };
        model.head = head(source, &model)?;
        Ok(model)
    }

    /// A tower without a head.
    pub(super) fn tower(source: &Source<'_, 'a>, like: &Like) -> Result<Vit<'a>, LoadError> {
        let key = |name| Key { architecture: like.prefix, name };
        let (encoder, layers) = tower::config(source, like.prefix, like.activation, false)?;
        let width = encoder.width;
        let (image, patch) = (source.required(key("image_size"), 1)?, source.required(key("patch_size"), 1)?);
        if patch > image || image / patch > MAX_GRID {
            let (least, most) = (image.div_ceil(MAX_GRID) as u64, image as u64);
            return Err(LoadError::KeyRange { key: key("patch_size"), value: patch as u64, least, most });
        }
        let preprocess = preprocess(source, like, image, patch)?;
        let mut prefix = source.vector(CLASS, width)?;
        prefix.extend(source.vector(DISTILLATION, width)?);
        let channels = preprocess.mean.len();
        let pooling = Pooling::First;
        let config = Config { image, patch, channels, prefix: prefix.len() / width, pooling };
        let tokens = config.tokens(image, image);
        Ok(Vit {
            patches: source.convolution(PATCHES, "v.patch_embd.bias", width, [patch, patch, channels])?,
            positions: tower::table(source, tensor(VISION.positions), tokens, width)?,
            pre_norm: tower::optional_norm(source, VISION.pre_norm, width)?,
            encoder: tower::encoder(source, &VISION, encoder, layers)?,
            post_norm: tower::optional_norm(source, VISION.post_norm, width)?,
            head: None,
            config,
            preprocess,
            prefix,
            architecture: like.architecture,
        })
    }

    /// Values of a token, and of an image's features.
    pub fn width(&self) -> usize {
        self.encoder.config.width
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

    /// Products that are not the encoder's or the patches'.
    fn heads(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.head.iter().flat_map(|head| head.dense.iter().chain([&head.output]).chain(&head.second))
    }

    /// The first tensor with a weight that is not finite. Reads all weights.
    pub(crate) fn first_not_finite(&self) -> Option<TensorName> {
        let all = [&self.patches, &self.positions].into_iter().chain(self.encoder.products()).chain(self.heads());
        all.into_iter().find(|linear| !linear.is_finite()).map(|linear| linear.name)
    }
}

fn preprocess(source: &Source, like: &Like, image: usize, patch: usize) -> Result<Preprocess, LoadError> {
    let key = |name| Key { architecture: like.prefix, name };
    let stretched = tower::choice(source, key("image_resize"), &[("stretch", true), ("shorter_side", false)])?;
    let filters = [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)];
    let filter = tower::choice(source, key("image_filter"), &filters)?.unwrap_or(Filter::Bicubic);
    let stretched = stretched.unwrap_or(like.stretched);
    let size = source.integer(key("image_resize_size"), 1)?.unwrap_or(image);
    let crop = source.integer(key("image_crop_size"), 1)?;
    let crop = crop.or((!stretched).then_some(image.min(size)));
    let seen = crop.unwrap_or(size);
    if seen < patch || seen > size {
        let (name, least, most) = ("image_crop_size", patch as u64, size as u64);
        return Err(LoadError::KeyRange { key: key(name), value: seen as u64, least, most });
    }
    let mean = tower::numbers(source, key("image_mean"), &[3, 1])?.unwrap_or(vec![0.5; 3]);
    let std_key = key("image_std");
    let std = tower::numbers(source, std_key, &[mean.len()])?.unwrap_or(vec![0.5; mean.len()]);
    if let Some(value) = std.iter().find(|std| **std <= 0.0) {
        return Err(LoadError::KeyNumber { key: std_key, value: *value });
    }
    let resize = if stretched { Resize::To(size, size) } else { Resize::ShorterSide(size) };
    Ok(Preprocess { resize, filter, crop: crop.map(|side| (side, side)), rescale: 1.0 / 255.0, mean, std })
}

fn head<'a>(source: &Source<'_, 'a>, model: &Vit<'a>) -> Result<Option<Head<'a>>, LoadError> {
    const LABELS: Key = Key { architecture: ARCHITECTURE, name: "classifier.output_labels" };
    let extent =
        |name: TensorName| source.tensor(name).map(|tensor| usize::try_from(tensor.dims[1]).unwrap_or(usize::MAX));
    let (Some(outputs), width) = (extent(OUTPUT), model.width()) else { return Ok(None) };
    let dense = match extent(DENSE) {
        Some(inner) => Some(source.linear(DENSE, "cls.bias", inner, width)?),
        None => None,
    };
    let inner = dense.as_ref().map_or(width, |dense| dense.weight.rows());
    let output = source.linear(OUTPUT, "cls.output.bias", outputs, inner)?;
    let second = match extent(SECOND) {
        Some(_) if model.config.prefix < 2 => return Err(LoadError::MissingTensor { tensor: DISTILLATION }),
        Some(_) => Some(source.linear(SECOND, "cls.distillation.bias", outputs, width)?),
        None => None,
    };
    Ok(Some(Head { dense, output, second, labels: tower::labels(source, LABELS, outputs)? }))
}
