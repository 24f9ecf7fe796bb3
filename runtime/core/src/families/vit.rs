//! Vision transformers: ViT and DeiT classifiers, DINOv2's features, CLIP's vision tower (Dosovitskiy et al., "An Image is Worth 16x16
//! Words"; Touvron et al., "Training Data-Efficient Image Transformers"; Oquab et al., "DINOv2"). `docs/gguf.md` has the names of keys and
//! tensors.

use super::tower::{self, VISION, tensor};
use crate::blocks::ActivationFn;
use crate::encoder::image::{Config, ImageEncoder};
use crate::encoder::{Head, Pooling};
use crate::frontend::image::{Filter, Preprocess, Resize};
use crate::source::Source;
use crate::{Key, LoadError, TensorName};
use alloc::vec;

/// `general.architecture` of the family.
pub(super) const ARCHITECTURE: &str = "vit";

const PATCHES: TensorName = tensor("v.patch_embd.weight");
const CLASS: TensorName = tensor("v.class_embd");
const DISTILLATION: TensorName = tensor("v.distillation_embd");
const DENSE: TensorName = tensor("cls.weight");
const OUTPUT: TensorName = tensor("cls.output.weight");
const SECOND: TensorName = tensor("cls.distillation.weight");

/// Upper bound accepted from a file for the side of a grid of patches.
const MAX_GRID: usize = 1 << 10;

/// What towers of different files differ in.
pub(super) struct Tower {
    /// `general.architecture`
    pub(super) architecture: &'static str,
    /// What keys begin with.
    pub(super) prefix: &'static str,
    /// What stands between the products of a layer if the file does not say it.
    pub(super) activation: ActivationFn,
    /// Whether both sides of an image are brought to a size, rather than the shorter, if the file does not say it.
    pub(super) stretched: bool,
}

pub(super) fn load<'a>(source: &Source<'_, 'a>) -> Result<ImageEncoder<'a>, LoadError> {
    const POOLING: Key = Key { architecture: ARCHITECTURE, name: "pooling_type" };
    let like =
        Tower { architecture: ARCHITECTURE, prefix: ARCHITECTURE, activation: ActivationFn::Gelu, stretched: true };
    let mut model = tower(source, &like)?;
    let activation = tower::activation(source, Key { architecture: ARCHITECTURE, name: "feed_forward_activation" })?;
    model.config.pooling = match source.integer(POOLING, 0)? {
        Some(1) => Pooling::MeanFrom(model.config.prefix),
        Some(2) | None => Pooling::Token(0),
        Some(value) => return Err(LoadError::Unsupported { key: POOLING, value: value as u64 }),
    };
    model.head = head(source, &model, activation.unwrap_or(like.activation))?;
    Ok(model)
}

/// A tower without a head.
pub(super) fn tower<'a>(source: &Source<'_, 'a>, like: &Tower) -> Result<ImageEncoder<'a>, LoadError> {
    let key = |name| Key { architecture: like.prefix, name };
    let stack = tower::like(source, like.prefix, like.activation, false)?;
    let width = stack.width;
    let (image, patch) = (source.required(key("image_size"), 1)?, source.required(key("patch_size"), 1)?);
    if patch > image || image / patch > MAX_GRID {
        let (least, most) = (image.div_ceil(MAX_GRID) as u64, image as u64);
        return Err(LoadError::KeyRange { key: key("patch_size"), value: patch as u64, least, most });
    }
    let preprocess = preprocess(source, like, image, patch)?;
    let mut prefix = source.vector(CLASS, width)?;
    prefix.extend(source.vector(DISTILLATION, width)?);
    let channels = preprocess.mean.len();
    let pooling = Pooling::Token(0);
    let config = Config { image, patch, channels, prefix: prefix.len() / width, pooling };
    let tokens = config.tokens(image, image);
    Ok(ImageEncoder {
        patches: source.convolution(PATCHES, "v.patch_embd.bias", width, [patch, patch, channels])?,
        positions: tower::table(source, tensor(VISION.positions), tokens, width)?,
        pre_norm: tower::optional_norm(source, VISION.pre_norm, &stack)?,
        encoder: tower::encoder(source, &VISION, &stack)?,
        post_norm: tower::optional_norm(source, VISION.post_norm, &stack)?,
        head: None,
        config,
        preprocess,
        prefix,
        architecture: like.architecture,
    })
}

fn preprocess(source: &Source, like: &Tower, image: usize, patch: usize) -> Result<Preprocess, LoadError> {
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

fn head<'a>(
    source: &Source<'_, 'a>,
    model: &ImageEncoder<'a>,
    activation: ActivationFn,
) -> Result<Option<Head<'a>>, LoadError> {
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
    let (labels, problem) = (tower::labels(source, LABELS, outputs)?, tower::problem(source)?);
    Ok(Some(Head { dense, activation, output, second, labels, problem }))
}
