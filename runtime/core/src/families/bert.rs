//! BERT and what grew out of it: MiniLM, BGE, E5, GTE (Devlin et al., "BERT"). `docs/gguf.md` has the names of keys and tensors.

use super::tower::{self, BERT, Like, NormOrder, tensor};
use crate::blocks::{ActivationFn, Norm};
use crate::encoder::text::{Config, TextEncoder};
use crate::encoder::{Head, Pooling};
use crate::source::Source;
use crate::{Key, LoadError, MAX_CONTEXT, TensorName};

/// `general.architecture` of the family.
pub(super) const ARCHITECTURE: &str = "bert";

const fn key(name: &'static str) -> Key {
    Key { architecture: ARCHITECTURE, name }
}

pub(super) fn load<'a>(source: &Source<'_, 'a>) -> Result<TextEncoder<'a>, LoadError> {
    const TOKENS: TensorName = tensor("token_embd.weight");
    const TYPES: TensorName = tensor("token_types.weight");
    const TYPE_COUNT: Key = Key { architecture: "tokenizer", name: "ggml.token_type_count" };
    let like = like(source)?;
    let width = like.width;
    let extent = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let vocabulary = extent(source.tensor(TOKENS).ok_or(LoadError::MissingTensor { tensor: TOKENS })?.dims[1]);
    let types = match source.integer(TYPE_COUNT, 1)? {
        Some(types) => types,
        None => source.tensor(TYPES).map_or(1, |tensor| extent(tensor.dims[1])),
    };
    let matrix = |name, outputs| tower::table(source, name, outputs, width);
    let head = head(source, width)?;
    let config = config(source, vocabulary, types, head.is_some())?;
    let names = ["token_embd_norm.weight", "token_embd_norm.bias"].map(tensor);
    let norm = Norm::parse(source, names, width, like.norm())?;
    Ok(TextEncoder {
        encoder: tower::encoder(source, &BERT, &like)?.with_outliers(&norm)?,
        norm: Some(norm),
        post_norm: None,
        projection: None,
        tokens: matrix(TOKENS, vocabulary)?,
        positions: matrix(tensor("position_embd.weight"), config.context)?,
        types: source.tensor(TYPES).map(|_| matrix(TYPES, types)).transpose()?,
        head,
        config,
        architecture: ARCHITECTURE,
    })
}

/// The stack's hyper-parameters.
fn like(source: &Source) -> Result<Like, LoadError> {
    const HEADS: Key = key("attention.head_count");
    const WIDTH: Key = key("embedding_length");
    let layers = tower::layers(source, key("block_count"))?;
    let width = source.required(WIDTH, 1)?;
    let feed_forward = source.per_layer(key("feed_forward_length"), layers)?;
    let heads = source.per_layer(HEADS, layers)?.ok_or(LoadError::MissingKey { key: HEADS })?;
    tower::check_heads([WIDTH, HEADS], width, heads)?;
    if let Some(value) = source.per_layer(key("attention.head_count_kv"), layers)?.filter(|count| *count != heads) {
        return Err(LoadError::Unsupported { key: key("attention.head_count_kv"), value: value as u64 });
    }
    let epsilon_key = key("attention.layer_norm_epsilon");
    let activation = tower::activation(source, key("feed_forward_activation"))?.unwrap_or(ActivationFn::Gelu);
    Ok(Like {
        width,
        heads,
        feed_forward: feed_forward.ok_or(LoadError::MissingKey { key: key("feed_forward_length") })?,
        epsilon: source.number(epsilon_key)?.ok_or(LoadError::MissingKey { key: epsilon_key })?,
        order: NormOrder::After,
        activation,
        causal: source.flag(key("attention.causal"))?.unwrap_or(false),
        layers,
    })
}

fn config(source: &Source, vocabulary: usize, types: usize, has_head: bool) -> Result<Config, LoadError> {
    const CONTEXT: Key = key("context_length");
    const POOLING: Key = key("pooling_type");
    const LONGEST: Key = key("max_sequence_length");
    let context = source.required(CONTEXT, 1)?;
    let max_tokens = source.integer(LONGEST, 2)?.unwrap_or(context);
    for (key, value, least, most) in [(CONTEXT, context, 1, MAX_CONTEXT), (LONGEST, max_tokens, 2, context)] {
        if value > most {
            return Err(LoadError::KeyRange { key, value: value as u64, least, most: most as u64 });
        }
    }
    let pooling = match source.integer(POOLING, 0)? {
        Some(0) => Pooling::None,
        Some(1) => Pooling::MeanFrom(0),
        Some(2) => Pooling::Token(0),
        Some(3) => Pooling::Last,
        Some(4) => Pooling::Token(0),
        None => {
            if has_head {
                Pooling::Token(0)
            } else {
                Pooling::MeanFrom(0)
            }
        }
        Some(value) => return Err(LoadError::Unsupported { key: POOLING, value: value as u64 }),
    };
    let normalize = source.flag(key("pooling_normalize"))?.unwrap_or(true);
    Ok(Config { vocabulary, context, max_tokens, types, pooling, normalize })
}

fn head<'a>(source: &Source<'_, 'a>, width: usize) -> Result<Option<Head<'a>>, LoadError> {
    const OUTPUT: TensorName = tensor("cls.output.weight");
    const DENSE: TensorName = tensor("cls.weight");
    const LABELS: Key = key("classifier.output_labels");
    let Some(output) = source.tensor(OUTPUT) else { return Ok(None) };
    let outputs = usize::try_from(output.dims[1]).unwrap_or(usize::MAX);
    let labels = tower::labels(source, LABELS, outputs)?;
    let dense = source.tensor(DENSE).map(|_| source.linear(DENSE, "cls.bias", width, width)).transpose()?;
    let output = source.linear(OUTPUT, "cls.output.bias", outputs, width)?;
    let problem = tower::problem(source)?;
    Ok(Some(Head { dense, activation: ActivationFn::Tanh, output, second: None, labels, problem }))
}
