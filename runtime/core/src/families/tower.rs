//! What encoders have in common: their stack of layers, layer norms with biases around two products (Vaswani et al., "Attention Is All You Need"), and
//! keys of theirs.

use crate::blocks::{ActivationFn, Attention, FeedForward, Layer, Mixer, Norm, NormKind, NormLike, Norms, Plain};
use crate::encoder::Encoder;
use crate::linear::Linear;
use crate::source::Source;
use crate::{Key, LoadError, Problem, TensorName};
use alloc::string::String;
use alloc::vec::Vec;
use smidgen_gguf::{Value, ValueKind};
use smidgen_quant::math;

/// Largest head that is supported.
const MAX_HEAD_SIZE: usize = 256;
/// Upper bound accepted from a file for the number of layers.
const MAX_LAYERS: u64 = 4096;

/// Where a layer normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormOrder {
    /// What goes into the blocks (ViT, CLIP).
    Before,
    /// The residual stream, after what a block gives was added to it (BERT).
    After,
}

/// Hyper-parameters of a stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Like {
    /// Values of a token in the residual stream.
    pub(super) width: usize,
    /// Attention heads.
    pub(super) heads: usize,
    /// Values between the products of the feed-forward network.
    pub(super) feed_forward: usize,
    /// Of all norms.
    pub(super) epsilon: f32,
    /// Where layers normalize.
    pub(super) order: NormOrder,
    /// Of the feed-forward network.
    pub(super) activation: ActivationFn,
    /// Whether a token sees itself and those before it only (CLIP's text tower).
    pub(super) causal: bool,
    /// How many.
    pub(super) layers: usize,
}

impl Like {
    /// Its norms.
    pub(super) fn norm(&self) -> NormLike {
        NormLike { kind: NormKind::Layer, epsilon: self.epsilon }
    }
}

/// Names of a tower's tensors; of pairs, weight and bias.
pub(crate) struct Names {
    q: [&'static str; 2],
    k: [&'static str; 2],
    v: [&'static str; 2],
    o: [&'static str; 2],
    first_norm: [&'static str; 2],
    second_norm: [&'static str; 2],
    first_scale: &'static str,
    second_scale: &'static str,
    up: [&'static str; 2],
    down: [&'static str; 2],
    pub(crate) pre_norm: [&'static str; 2],
    pub(crate) post_norm: [&'static str; 2],
    pub(crate) positions: &'static str,
}

macro_rules! names {
    ($tower:literal) => {
        Names {
            q: [concat!($tower, "attn_q.weight"), concat!($tower, "attn_q.bias")],
            k: [concat!($tower, "attn_k.weight"), concat!($tower, "attn_k.bias")],
            v: [concat!($tower, "attn_v.weight"), concat!($tower, "attn_v.bias")],
            o: [concat!($tower, "attn_out.weight"), concat!($tower, "attn_out.bias")],
            first_norm: [concat!($tower, "ln1.weight"), concat!($tower, "ln1.bias")],
            second_norm: [concat!($tower, "ln2.weight"), concat!($tower, "ln2.bias")],
            first_scale: concat!($tower, "ls1.weight"),
            second_scale: concat!($tower, "ls2.weight"),
            up: [concat!($tower, "ffn_up.weight"), concat!($tower, "ffn_up.bias")],
            down: [concat!($tower, "ffn_down.weight"), concat!($tower, "ffn_down.bias")],
            pre_norm: [concat!($tower, "pre_ln.weight"), concat!($tower, "pre_ln.bias")],
            post_norm: [concat!($tower, "post_ln.weight"), concat!($tower, "post_ln.bias")],
            positions: concat!($tower, "position_embd.weight"),
        }
    };
}

/// BERT, which is no tower.
pub(super) const BERT: Names = Names {
    o: ["attn_output.weight", "attn_output.bias"],
    first_norm: ["attn_output_norm.weight", "attn_output_norm.bias"],
    second_norm: ["layer_output_norm.weight", "layer_output_norm.bias"],
    ..names!("")
};
/// The tower that sees.
pub(crate) const VISION: Names = names!("v.");
/// The tower that reads.
pub(crate) const TEXT: Names = names!("t.");

/// A tensor that belongs to no layer.
pub(crate) const fn tensor(part: &'static str) -> TensorName {
    TensorName { layer: None, part }
}

/// Hyper-parameters of a tower whose keys begin with `architecture`. `activation` is what the layers compute between their products if the
/// tower's own key does not say it.
pub(crate) fn like(
    source: &Source,
    architecture: &'static str,
    activation: ActivationFn,
    causal: bool,
) -> Result<Like, LoadError> {
    let key = |name| Key { architecture, name };
    let heads_key = key("attention.head_count");
    let layers = layers(source, key("block_count"))?;
    let width = source.required(key("embedding_length"), 1)?;
    let heads = source.required(heads_key, 1)?;
    check_heads([key("embedding_length"), heads_key], width, heads)?;
    let epsilon_key = key("attention.layer_norm_epsilon");
    let epsilon = source.number(epsilon_key)?.ok_or(LoadError::MissingKey { key: epsilon_key })?;
    let order = choice(source, key("norm_order"), &[("pre", NormOrder::Before), ("post", NormOrder::After)])?;
    let activation = self::activation(source, key("feed_forward_activation"))?.unwrap_or(activation);
    let feed_forward = source.required(key("feed_forward_length"), 1)?;
    let order = order.unwrap_or(NormOrder::Before);
    Ok(Like { width, heads, feed_forward, epsilon, order, activation, causal, layers })
}

/// A number of layers.
pub(crate) fn layers(source: &Source, key: Key) -> Result<usize, LoadError> {
    let layers = source.required(key, 1)?;
    match layers as u64 {
        value if value > MAX_LAYERS => Err(LoadError::KeyRange { key, value, least: 1, most: MAX_LAYERS }),
        _ => Ok(layers),
    }
}

/// Whether heads fill the width, whose key is the first, by a number of heads, whose key is the second, and are not too large.
pub(crate) fn check_heads([key, divisor_key]: [Key; 2], width: usize, heads: usize) -> Result<(), LoadError> {
    if !width.is_multiple_of(heads) {
        let (value, divisor) = (width as u64, heads as u64);
        return Err(LoadError::NotDivisible { key, value, divisor_key, divisor });
    }
    if width / heads > MAX_HEAD_SIZE {
        let (value, least, most) = (heads as u64, width.div_ceil(MAX_HEAD_SIZE) as u64, width as u64);
        return Err(LoadError::KeyRange { key: divisor_key, value, least, most });
    }
    Ok(())
}

/// The feed-forward network's function, if it is named.
pub(crate) fn activation(source: &Source, key: Key) -> Result<Option<ActivationFn>, LoadError> {
    let named = [
        ("gelu", ActivationFn::Gelu),
        ("gelu_tanh", ActivationFn::GeluTanh),
        ("gelu_quick", ActivationFn::GeluQuick),
        ("relu", ActivationFn::Relu),
    ];
    choice(source, key, &named)
}

/// What a text names, if there is one.
pub(crate) fn choice<T: Copy>(source: &Source, key: Key, named: &[(&str, T)]) -> Result<Option<T>, LoadError> {
    let Some(text) = source.text(key)? else { return Ok(None) };
    let unknown = || LoadError::KeyText { key, value: text.chars().take(64).collect() };
    named.iter().find(|(name, _)| *name == text).map(|(_, value)| Some(*value)).ok_or_else(unknown)
}

/// How a classifier's scores are read.
pub(crate) fn problem(source: &Source) -> Result<Problem, LoadError> {
    const PROBLEM: Key = Key { architecture: "smidgen", name: "classifier.problem_type" };
    Ok(choice(source, PROBLEM, &Problem::NAMES)?.unwrap_or_default())
}

/// The layers of a tower.
pub(crate) fn encoder<'a>(source: &Source<'_, 'a>, names: &Names, like: &Like) -> Result<Encoder<'a>, LoadError> {
    let Like { width, heads, feed_forward, order, activation, causal, layers, .. } = *like;
    let head = width / heads;
    let mut list = Vec::new();
    for number in 0..layers {
        list.try_reserve(1).map_err(|_| LoadError::OutOfMemory { bytes: size_of::<Layer>() * layers })?;
        let name = |part| TensorName { layer: Some(number), part };
        let linear = |[weight, bias]: [_; 2], outputs, inputs| source.linear(name(weight), bias, outputs, inputs);
        let norms = |names: [_; 2]| -> Result<Norms, LoadError> {
            let norm = Some(Norm::parse(source, names.map(name), width, like.norm())?);
            Ok(match order {
                NormOrder::Before => Norms { before: norm, ..Norms::default() },
                NormOrder::After => Norms { stream: norm, ..Norms::default() },
            })
        };
        let (up, down) = if is_reversed(source, name(names.up[0]), width, feed_forward) {
            (names.down, names.up)
        } else {
            (names.up, names.down)
        };
        let attention = Attention {
            q: linear(names.q, width, width)?,
            k: linear(names.k, width, width)?,
            v: linear(names.v, width, width)?,
            o: linear(names.o, width, width)?,
            q_norm: None,
            k_norm: None,
            norm_turned: false,
            heads,
            kv_heads: heads,
            key: head,
            value: head,
            rope: None,
            window: None,
            scale: 1.0 / math::sqrt(head as f32),
            softcap: None,
            sinks: Vec::new(),
            slopes: Vec::new(),
            causal,
        };
        list.push(Layer {
            mixer: Mixer::Attention(attention),
            mixer_norms: norms(names.first_norm)?,
            mixer_scale: source.vector(name(names.first_scale), width)?,
            ffn: FeedForward::Plain(Plain {
                up: linear(up, feed_forward, width)?,
                down: linear(down, width, feed_forward)?,
                activation,
            }),
            ffn_norms: norms(names.second_norm)?,
            ffn_scale: source.vector(name(names.second_scale), width)?,
            parallel: false,
        });
    }
    Ok(Encoder { width, layers: list, ropes: Vec::new(), outliers: Vec::new() })
}

/// Whether a layer's two products have each other's names, as in llama.cpp's files of old.
fn is_reversed(source: &Source, up: TensorName, width: usize, feed_forward: usize) -> bool {
    source.tensor(up).is_some_and(|tensor| tensor.dims == [feed_forward as u64, width as u64, 1, 1])
        && width != feed_forward
}

/// A norm, if its weight is there.
pub(crate) fn optional_norm(source: &Source, names: [&'static str; 2], like: &Like) -> Result<Option<Norm>, LoadError> {
    let names = names.map(tensor);
    source.tensor(names[0]).map(|_| Norm::parse(source, names, like.width, like.norm())).transpose()
}

/// Texts, one for each of `expected` things; none if the key is absent.
pub(crate) fn labels(source: &Source, key: Key, expected: usize) -> Result<Vec<String>, LoadError> {
    let Some(value) = source.value(key) else { return Ok(Vec::new()) };
    let wrong = LoadError::KeyType { key, expected: "array of strings", found: value.kind() };
    let Value::Array(array) = value else { return Err(wrong) };
    if array.kind() != ValueKind::Str {
        return Err(wrong);
    }
    if array.len() != expected {
        return Err(LoadError::KeyLength { key, expected, found: array.len() });
    }
    if let Some(offset) = value.not_utf8() {
        return Err(LoadError::NotUtf8 { key, offset });
    }
    Ok(array.into_iter().filter_map(|label| label.as_str().map(String::from)).collect())
}

/// Positive or negative finite numbers, as many as one of `expected`.
pub(crate) fn numbers(source: &Source, key: Key, expected: &[usize]) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(value) = source.value(key) else { return Ok(None) };
    let wrong = LoadError::KeyType { key, expected: "array of floats", found: value.kind() };
    let Value::Array(array) = value else { return Err(wrong) };
    if !expected.contains(&array.len()) {
        let expected = expected.first().copied().unwrap_or_default();
        return Err(LoadError::KeyLength { key, expected, found: array.len() });
    }
    let number = |value: Value| match value.as_f32() {
        Some(number) if number.is_finite() => Ok(number),
        Some(value) => Err(LoadError::KeyNumber { key, value }),
        None => Err(wrong.clone()),
    };
    array.into_iter().map(number).collect::<Result<_, _>>().map(Some)
}

/// A matrix that is looked up row by row.
pub(crate) fn table<'a>(
    source: &Source<'_, 'a>,
    name: TensorName,
    rows: usize,
    width: usize,
) -> Result<Linear<'a>, LoadError> {
    Ok(Linear { name, weight: source.matrix(name, rows, width)?, bias: Vec::new(), unrounded: Vec::new() })
}
