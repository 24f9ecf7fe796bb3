//! CLIP: a tower that sees and a tower that reads, whose embeddings lie in one space, so that an image can be held against any texts
//! (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"). A file may have one tower only.
//!
//! Both are other models' shapes: a [`Vit`] whose head is the projection, and a [`Bert`] that attends backwards only and takes its last
//! token. `docs/gguf.md` has the names of keys and tensors.

use super::bert::{self, Bert, Pooling};
use super::encoder::ActivationFn;
use super::tower::{self, TEXT, tensor};
use super::vit::{Head, Like, Vit};
use crate::source::Source;
use crate::{Key, LoadError, MAX_CONTEXT, RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::{math, ops};

/// `general.architecture` of the family.
pub const ARCHITECTURE: &str = "clip";

/// What the keys of the towers begin with.
const SEES: &str = "clip.vision";
const READS: &str = "clip.text";
const TOKENS: TensorName = tensor("t.token_embd.weight");
const VISUAL_PROJECTION: TensorName = tensor("visual_projection.weight");
const TEXT_PROJECTION: TensorName = tensor("text_projection.weight");

/// The factor of a file that has none: its largest value in training, which OpenAI's models have reached.
const LOGIT_SCALE: f32 = 100.0;

/// A model of the family.
#[derive(Clone, Debug)]
pub struct Clip<'a> {
    /// What sees. The scores of its head are the embedding, of any length; without a head it has features only.
    pub vision: Option<Vit<'a>>,
    /// What reads. Its embeddings have length one.
    pub text: Option<Bert<'a>>,
    /// `clip.logit_scale`: what cosines are multiplied by.
    pub logit_scale: f32,
}

const fn key(name: &'static str) -> Key {
    Key { architecture: ARCHITECTURE, name }
}

impl<'a> Clip<'a> {
    pub(crate) fn parse(source: &Source<'_, 'a>) -> Result<Clip<'a>, LoadError> {
        const PROJECTORS: [Key; 2] = [key("projector_type"), Key { architecture: SEES, name: "projector_type" }];
        const SILU: Key = key("use_silu");
        let flag = |name| source.flag(key(name)).map(|flag| flag.unwrap_or(false));
        // Image towers of language models, which differ in more than what follows them.
        for key in PROJECTORS {
            if let Some(text) = source.text(key)? {
                return Err(LoadError::KeyText { key, value: text.chars().take(64).collect() });
            }
        }
        if source.flag(SILU)? == Some(true) {
            return Err(LoadError::Unsupported { key: SILU, value: 1 });
        }
        let activation = if flag("use_gelu")? { ActivationFn::Gelu } else { ActivationFn::GeluQuick };
        let vision = flag("has_vision_encoder")?.then(|| vision(source, activation)).transpose()?;
        let text = flag("has_text_encoder")?.then(|| text(source, activation)).transpose()?;
        if vision.is_none() && text.is_none() {
            return Err(LoadError::MissingKey { key: key("has_vision_encoder") });
        }
        let model = Clip { vision, text, logit_scale: source.number(key("logit_scale"))?.unwrap_or(LOGIT_SCALE) };
        match (model.vision_width(), &model.text) {
            (Some(sees), Some(text)) if sees != text.width() => Err(LoadError::KeyRange {
                key: KEYS[1],
                value: text.width() as u64,
                least: sees as u64,
                most: sees as u64,
            }),
            _ => Ok(model),
        }
    }

    /// Values of an image's embedding.
    fn vision_width(&self) -> Option<usize> {
        self.vision.as_ref()?.head.as_ref().map(|head| head.output.weight.rows())
    }

    /// The tower that sees.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    pub fn image_encoder(&self) -> Result<&Vit<'a>, RunError> {
        self.vision.as_ref().ok_or(RunError::Purpose { architecture: ARCHITECTURE, purpose: "take images" })
    }

    /// The tower that reads.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    pub fn text_encoder(&self) -> Result<&Bert<'a>, RunError> {
        self.text.as_ref().ok_or(RunError::Purpose { architecture: ARCHITECTURE, purpose: "embed text" })
    }

    /// How well a text fits an image (its logit): the cosine between their embeddings, of any lengths, times the factor. 0 if one of them
    /// is zero.
    pub fn score(&self, image: &[f32], text: &[f32]) -> f32 {
        let lengths = math::sqrt(ops::dot(image, image)) * math::sqrt(ops::dot(text, text));
        if lengths > 0.0 { ops::dot(image, text) / lengths * self.logit_scale } else { 0.0 }
    }
}

/// Keys of the lengths of embeddings.
const KEYS: [Key; 2] =
    [Key { architecture: SEES, name: "projection_dim" }, Key { architecture: READS, name: "projection_dim" }];

/// Rows of a projection, by its key or its shape.
fn outputs(source: &Source, key: Key, name: TensorName) -> Result<usize, LoadError> {
    let by_shape = || source.tensor(name).map(|tensor| usize::try_from(tensor.dims[1]).unwrap_or(usize::MAX));
    source.integer(key, 1)?.or_else(by_shape).ok_or(LoadError::MissingTensor { tensor: name })
}

fn vision<'a>(source: &Source<'_, 'a>, activation: ActivationFn) -> Result<Vit<'a>, LoadError> {
    let like = Like { architecture: ARCHITECTURE, prefix: SEES, activation, stretched: false };
    let mut model = Vit::tower(source, &like)?;
    if source.tensor(VISUAL_PROJECTION).is_some() {
        let outputs = outputs(source, KEYS[0], VISUAL_PROJECTION)?;
        let output = source.linear(VISUAL_PROJECTION, "visual_projection.bias", outputs, model.width())?;
        model.head = Some(Head { dense: None, output, second: None, labels: Vec::new() });
    }
    Ok(model)
}

fn text<'a>(source: &Source<'_, 'a>, activation: ActivationFn) -> Result<Bert<'a>, LoadError> {
    const CONTEXT: Key = Key { architecture: READS, name: "context_length" };
    let (config, layers) = tower::config(source, READS, activation, true)?;
    let width = config.width;
    let tokens = source.tensor(TOKENS).ok_or(LoadError::MissingTensor { tensor: TOKENS })?;
    let vocabulary = usize::try_from(tokens.dims[1]).unwrap_or(usize::MAX);
    // The frame and a token at least.
    let context = source.required(CONTEXT, 2)?;
    if context > MAX_CONTEXT {
        return Err(LoadError::KeyRange { key: CONTEXT, value: context as u64, least: 2, most: MAX_CONTEXT as u64 });
    }
    let outputs = outputs(source, KEYS[1], TEXT_PROJECTION)?;
    Ok(Bert {
        tokens: tower::table(source, TOKENS, vocabulary, width)?,
        positions: tower::table(source, tensor(TEXT.positions), context, width)?,
        types: None,
        norm: tower::optional_norm(source, TEXT.pre_norm, width)?,
        encoder: tower::encoder(source, &TEXT, config, layers)?,
        post_norm: tower::optional_norm(source, TEXT.post_norm, width)?,
        projection: Some(source.linear(TEXT_PROJECTION, "text_projection.bias", outputs, width)?),
        head: None,
        config: bert::Config {
            vocabulary,
            context,
            max_tokens: context,
            types: 1,
            pooling: Pooling::Last,
            normalize: true,
        },
        architecture: ARCHITECTURE,
    })
}
