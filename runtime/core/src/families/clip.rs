//! CLIP: a tower that sees and a tower that reads, whose embeddings lie in one space, so that an image can be held against any texts
//! (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"). A file may have one tower only.
//!
//! The first has its projection for a head; the second attends backwards only and takes its last token. `docs/gguf.md` has the names of keys and
//! tensors.

use super::tower::{self, TEXT, tensor};
use super::vit::{self, Tower};
use crate::blocks::ActivationFn;
use crate::encoder::image::ImageEncoder;
use crate::encoder::text::{self, TextEncoder};
use crate::encoder::{Head, Pooling};
use crate::source::Source;
use crate::{Key, LoadError, MAX_CONTEXT, Model, Problem, Similarity, TensorName};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// `general.architecture` of the family.
pub(super) const ARCHITECTURE: &str = "clip";

/// What the keys of the towers begin with.
const SEES: &str = "clip.vision";
const READS: &str = "clip.text";
const TOKENS: TensorName = tensor("t.token_embd.weight");
const VISUAL_PROJECTION: TensorName = tensor("visual_projection.weight");
const TEXT_PROJECTION: TensorName = tensor("text_projection.weight");

/// The factor of a file that has none: its largest value in training, which OpenAI's models have reached.
const LOGIT_SCALE: f32 = 100.0;

const fn key(name: &'static str) -> Key {
    Key { architecture: ARCHITECTURE, name }
}

pub(super) fn load<'a>(source: &Source<'_, 'a>) -> Result<Model<'a>, LoadError> {
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
    let image = flag("has_vision_encoder")?.then(|| vision(source, activation)).transpose()?;
    let text = flag("has_text_encoder")?.then(|| text(source, activation)).transpose()?;
    if image.is_none() && text.is_none() {
        return Err(LoadError::MissingKey { key: key("has_vision_encoder") });
    }
    let sees = image.as_ref().and_then(|image| image.head.as_ref()).map(|head| head.output.weight.rows());
    if let (Some(sees), Some(text)) = (sees, &text)
        && sees != text.width()
    {
        let (value, bound) = (text.width() as u64, sees as u64);
        return Err(LoadError::KeyRange { key: KEYS[1], value, least: bound, most: bound });
    }
    let scale = source.number(key("logit_scale"))?.unwrap_or(LOGIT_SCALE);
    Ok(Model {
        architecture: ARCHITECTURE,
        decoder: None,
        text_encoder: text.map(Box::new),
        image_encoder: image.map(Box::new),
        similarity: Some(Similarity { scale }),
    })
}

/// Keys of the lengths of embeddings.
const KEYS: [Key; 2] =
    [Key { architecture: SEES, name: "projection_dim" }, Key { architecture: READS, name: "projection_dim" }];

/// Rows of a projection, by its key or its shape.
fn outputs(source: &Source, key: Key, name: TensorName) -> Result<usize, LoadError> {
    let by_shape = || source.tensor(name).map(|tensor| usize::try_from(tensor.dims[1]).unwrap_or(usize::MAX));
    source.integer(key, 1)?.or_else(by_shape).ok_or(LoadError::MissingTensor { tensor: name })
}

fn vision<'a>(source: &Source<'_, 'a>, activation: ActivationFn) -> Result<ImageEncoder<'a>, LoadError> {
    let like = Tower { architecture: ARCHITECTURE, prefix: SEES, activation, stretched: false };
    let mut model = vit::tower(source, &like)?;
    if source.tensor(VISUAL_PROJECTION).is_some() {
        let outputs = outputs(source, KEYS[0], VISUAL_PROJECTION)?;
        let output = source.linear(VISUAL_PROJECTION, "visual_projection.bias", outputs, model.width())?;
        model.head = Some(Head {
            dense: None,
            activation,
            output,
            second: None,
            labels: Vec::new(),
            problem: Problem::SingleLabel,
        });
    }
    Ok(model)
}

fn text<'a>(source: &Source<'_, 'a>, activation: ActivationFn) -> Result<TextEncoder<'a>, LoadError> {
    const CONTEXT: Key = Key { architecture: READS, name: "context_length" };
    let like = tower::like(source, READS, activation, true)?;
    let width = like.width;
    let tokens = source.tensor(TOKENS).ok_or(LoadError::MissingTensor { tensor: TOKENS })?;
    let vocabulary = usize::try_from(tokens.dims[1]).unwrap_or(usize::MAX);
    // The frame and a token at least.
    let context = source.required(CONTEXT, 2)?;
    if context > MAX_CONTEXT {
        return Err(LoadError::KeyRange { key: CONTEXT, value: context as u64, least: 2, most: MAX_CONTEXT as u64 });
    }
    let outputs = outputs(source, KEYS[1], TEXT_PROJECTION)?;
    Ok(TextEncoder {
        tokens: tower::table(source, TOKENS, vocabulary, width)?,
        positions: tower::table(source, tensor(TEXT.positions), context, width)?,
        types: None,
        norm: tower::optional_norm(source, TEXT.pre_norm, &like)?,
        encoder: tower::encoder(source, &TEXT, &like)?,
        post_norm: tower::optional_norm(source, TEXT.post_norm, &like)?,
        projection: Some(source.linear(TEXT_PROJECTION, "text_projection.bias", outputs, width)?),
        head: None,
        config: text::Config {
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
