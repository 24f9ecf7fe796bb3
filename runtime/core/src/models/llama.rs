//! The llama family: a decoder with RMS norms, rotary positions, grouped-query attention and a gated feed-forward network
//! (Touvron et al., "LLaMA"; Ainslie et al., "GQA"). Names of keys and tensors are those of the GGUF specification.

mod forward;

use crate::linear::Linear;
use crate::memory::try_with_capacity;
use crate::session::state::{HASH, hash};
use crate::source::{MAX_EXTENT, Source};
use crate::{Key, LoadError, MAX_CONTEXT, TensorName};
use alloc::vec::Vec;
pub(crate) use forward::{Item, Scratch};
use smidgen_quant::{InputFormat, math};
use smidgen_targets::WeightMatrix;

/// `general.architecture` of the family.
pub const ARCHITECTURE: &str = "llama";

/// Upper bound accepted from a file for the number of layers.
const MAX_LAYERS: u64 = 4096;
/// Upper bound accepted from a file for the size of a head.
const MAX_HEAD_SIZE: u64 = 1 << 16;
/// Largest rotary frequency in radians per token; with [`MAX_CONTEXT`] angles stay within what the law's sine takes.
const MAX_FREQUENCY: f64 = 16.0;

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `block_count`.
    pub layers: usize,
    /// `embedding_length`.
    pub embedding: usize,
    /// `feed_forward_length`.
    pub feed_forward: usize,
    /// `attention.head_count`: query heads.
    pub heads: usize,
    /// `attention.head_count_kv`: key-value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// `attention.key_length` and `value_length`; `embedding / heads` if absent.
    pub head_size: usize,
    /// Tokens, from the shape of `token_embd.weight`.
    pub vocabulary: usize,
    /// `context_length`: tokens that the model was trained on at once.
    pub context: usize,
    /// `attention.layer_norm_rms_epsilon`.
    pub epsilon: f32,
    /// Factor of the scores: `attention.scale`, or 1 / √head_size.
    pub attention_scale: f32,
    /// Radians per position of each pair of neighbouring dimensions, with all scaling applied. `[rope.dimension_count / 2]`
    pub frequencies: Vec<f32>,
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// `[embedding]`
    pub attention_norm: Vec<f32>,
    /// `[heads · head_size × embedding]`
    pub q: Linear<'a>,
    /// `[kv_heads · head_size × embedding]`
    pub k: Linear<'a>,
    /// `[kv_heads · head_size × embedding]`
    pub v: Linear<'a>,
    /// `[embedding × heads · head_size]`
    pub o: Linear<'a>,
    /// `[embedding]`
    pub feed_forward_norm: Vec<f32>,
    /// `[feed_forward × embedding]`
    pub gate: Linear<'a>,
    /// `[feed_forward × embedding]`
    pub up: Linear<'a>,
    /// `[embedding × feed_forward]`
    pub down: Linear<'a>,
}

impl<'a> Layer<'a> {
    fn products(&self) -> [&Linear<'a>; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }
}

/// All weights.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    /// `[vocabulary × embedding]`
    pub embedding: WeightMatrix<'a>,
    /// One for each layer.
    pub layers: Vec<Layer<'a>>,
    /// `[embedding]`
    pub output_norm: Vec<f32>,
    /// `[vocabulary × embedding]`; the embedding's rows if the file has no head of its own.
    pub head: Linear<'a>,
}

/// A model of the family.
#[derive(Clone, Debug)]
pub struct Llama<'a> {
    /// Hyper-parameters.
    pub config: Config,
    /// Weights.
    pub weights: Weights<'a>,
}

const fn key(name: &'static str) -> Key {
    Key { architecture: ARCHITECTURE, name }
}

const EMBEDDING: TensorName = TensorName { layer: None, part: "token_embd.weight" };
const HEAD: TensorName = TensorName { layer: None, part: "output.weight" };

impl Config {
    fn parse(source: &Source) -> Result<Config, LoadError> {
        const HEADS: Key = key("attention.head_count");
        const KV_HEADS: Key = key("attention.head_count_kv");
        let layers = source.required(key("block_count"), 1)?;
        if layers as u64 > MAX_LAYERS {
            let value = layers as u64;
            return Err(LoadError::KeyRange { key: key("block_count"), value, least: 1, most: MAX_LAYERS });
        }
        let embedding = source.required(key("embedding_length"), 1)?;
        let feed_forward = source.per_layer(key("feed_forward_length"), layers)?;
        let feed_forward = feed_forward.ok_or(LoadError::MissingKey { key: key("feed_forward_length") })?;
        let heads = source.per_layer(HEADS, layers)?.ok_or(LoadError::MissingKey { key: HEADS })?;
        let kv_heads = source.per_layer(KV_HEADS, layers)?.unwrap_or(heads);
        divides(KV_HEADS, kv_heads, HEADS, heads)?;
        let head_size = match source.integer(key("attention.key_length"), 1)? {
            Some(size) => size,
            None => {
                divides(HEADS, heads, key("embedding_length"), embedding)?;
                embedding / heads
            }
        };
        if let Some(value) = source.integer(key("attention.value_length"), 1)?
            && value != head_size
        {
            return Err(LoadError::Unsupported { key: key("attention.value_length"), value: value as u64 });
        }
        let (value, most) = (head_size as u64, MAX_HEAD_SIZE.min(MAX_EXTENT / heads as u64));
        if value > most {
            return Err(LoadError::KeyRange { key: key("attention.key_length"), value, least: 1, most });
        }
        if let Some(value @ 1..) = source.integer(key("expert_count"), 0)? {
            return Err(LoadError::Unsupported { key: key("expert_count"), value: value as u64 });
        }
        let context = source.required(key("context_length"), 1)?;
        if context > MAX_CONTEXT {
            let (value, most) = (context as u64, MAX_CONTEXT as u64);
            return Err(LoadError::KeyRange { key: key("context_length"), value, least: 1, most });
        }
        let epsilon_key = key("attention.layer_norm_rms_epsilon");
        let epsilon = source.number(epsilon_key)?.ok_or(LoadError::MissingKey { key: epsilon_key })?;
        let vocabulary = source.tensor(EMBEDDING).ok_or(LoadError::MissingTensor { tensor: EMBEDDING })?.dims[1];
        let vocabulary = match source.integer(key("vocab_size"), 1)? {
            Some(size) => size,
            None => usize::try_from(vocabulary).unwrap_or(usize::MAX),
        };
        Ok(Config {
            layers,
            embedding,
            feed_forward,
            heads,
            kv_heads,
            head_size,
            vocabulary,
            context,
            epsilon,
            attention_scale: source.number(key("attention.scale"))?.unwrap_or(1.0 / math::sqrt(head_size as f32)),
            frequencies: frequencies(source, head_size, context)?,
        })
    }

    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

fn divides(divisor_key: Key, divisor: usize, key: Key, value: usize) -> Result<(), LoadError> {
    let (value, divisor) = (value as u64, divisor as u64);
    if value.is_multiple_of(divisor) {
        Ok(())
    } else {
        Err(LoadError::NotDivisible { key, value, divisor_key, divisor })
    }
}

/// Rotary frequencies: `base^(-2i / dimensions)`, scaled by `rope.scaling` and divided by the factors of `rope_freqs.weight`.
fn frequencies(source: &Source, head_size: usize, context: usize) -> Result<Vec<f32>, LoadError> {
    const DIMENSIONS: Key = key("rope.dimension_count");
    const TYPE: Key = key("rope.scaling.type");
    let dimensions = source.integer(DIMENSIONS, 2)?.unwrap_or(head_size);
    if dimensions > head_size || !dimensions.is_multiple_of(2) {
        let (value, most) = (dimensions as u64, head_size as u64);
        return Err(LoadError::KeyRange { key: DIMENSIONS, value, least: 2, most });
    }
    let number = |name, default: f32| source.number(key(name)).map(|found| found.unwrap_or(default) as f64);
    let base = number("rope.freq_base", 10_000.0)?;
    // Files from before `rope.scaling` was named have only `scale_linear`.
    let factor = number("rope.scaling.factor", number("rope.scale_linear", 1.0)? as f32)?;
    let scaling = match source.text(TYPE)? {
        None if factor != 1.0 => Scaling::Linear { factor },
        None | Some("none") => Scaling::Linear { factor: 1.0 },
        Some("linear") => Scaling::Linear { factor },
        Some("llama3") => Scaling::Llama3 {
            factor,
            low: number("rope.scaling.low_freq_factor", 1.0)?,
            high: number("rope.scaling.high_freq_factor", 4.0)?,
            original: source.integer(key("rope.scaling.original_context_length"), 1)?.unwrap_or(context) as f64,
        },
        Some(name) => return Err(LoadError::UnknownRopeScaling { key: TYPE, name: name.chars().take(64).collect() }),
    };
    let pairs = dimensions / 2;
    let factors = source.vector(TensorName { layer: None, part: "rope_freqs.weight" }, pairs)?;
    let mut list = try_with_capacity(pairs)?;
    for index in 0..pairs {
        let plain = math::pow64(base, -((2 * index) as f64) / dimensions as f64);
        let value = scaling.apply(plain) / factors.get(index).copied().unwrap_or(1.0) as f64;
        if !(value > 0.0 && value <= MAX_FREQUENCY) {
            return Err(LoadError::RopeFrequency { index, value });
        }
        list.push(value as f32);
    }
    Ok(list)
}

/// How rotary frequencies are stretched to contexts longer than the one trained on.
enum Scaling {
    /// All by one factor (Chen et al., "Extending Context Window of Large Language Models via Positional Interpolation").
    Linear { factor: f64 },
    /// Slow ones by the factor, fast ones not at all, and a ramp between (Llama 3.1's `rope_scaling`).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
}

impl Scaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Scaling::Linear { factor } => frequency / factor,
            Scaling::Llama3 { factor, low, high, original } => {
                // Turns that the pair makes within the original context.
                let turns = original * frequency / (2.0 * core::f64::consts::PI);
                let smooth = if high > low { ((turns - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

impl<'a> Llama<'a> {
    pub(crate) fn parse(source: &Source<'_, 'a>) -> Result<Llama<'a>, LoadError> {
        let config = Config::parse(source)?;
        let Config { embedding, feed_forward, vocabulary, .. } = config;
        let (attended, cached) = (config.heads * config.head_size, config.kv_heads * config.head_size);
        let rows = source.matrix(EMBEDDING, vocabulary, embedding)?;
        let head = match source.tensor(HEAD) {
            Some(_) => source.linear(HEAD, "output.bias", vocabulary, embedding)?,
            None => Linear { name: EMBEDDING, weight: rows, bias: Vec::new(), unrounded: Vec::new() },
        };
        let mut layers = Vec::new();
        for number in 0..config.layers {
            layers.try_reserve(1).map_err(|_| LoadError::OutOfMemory { bytes: size_of::<Layer>() * config.layers })?;
            let name = |part| TensorName { layer: Some(number), part };
            let linear = |weight, bias, outputs, inputs| source.linear(name(weight), bias, outputs, inputs);
            layers.push(Layer {
                attention_norm: source.required_vector(name("attn_norm.weight"), embedding)?,
                q: linear("attn_q.weight", "attn_q.bias", attended, embedding)?,
                k: linear("attn_k.weight", "attn_k.bias", cached, embedding)?,
                v: linear("attn_v.weight", "attn_v.bias", cached, embedding)?,
                o: linear("attn_output.weight", "attn_output.bias", embedding, attended)?,
                feed_forward_norm: source.required_vector(name("ffn_norm.weight"), embedding)?,
                gate: linear("ffn_gate.weight", "ffn_gate.bias", feed_forward, embedding)?,
                up: linear("ffn_up.weight", "ffn_up.bias", feed_forward, embedding)?,
                down: linear("ffn_down.weight", "ffn_down.bias", embedding, feed_forward)?,
            });
        }
        let output_norm = source.required_vector(TensorName { layer: None, part: "output_norm.weight" }, embedding)?;
        Ok(Llama { config, weights: Weights { embedding: rows, layers, output_norm, head } })
    }

    fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.weights.layers.iter().flat_map(Layer::products).chain([&self.weights.head])
    }

    /// A number that another model hardly has: a hash of what the cache depends on, weights by a few of them from each matrix. It is the
    /// same for a plain and a packed file.
    pub(crate) fn fingerprint(&self) -> u64 {
        const ROWS: usize = 5;
        let Config { layers, heads, kv_heads, head_size, vocabulary, ref frequencies, .. } = self.config;
        let extents = [layers, heads, kv_heads, head_size, vocabulary];
        let mut sum = extents.into_iter().fold(HASH, |sum, extent| hash(sum, &(extent as u64).to_le_bytes()));
        let norms = self.weights.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.feed_forward_norm]);
        for value in norms.chain([frequencies]).flatten() {
            sum = hash(sum, &value.to_le_bytes());
        }
        let products = self.products().map(|linear| &linear.weight);
        for weight in core::iter::once(&self.weights.embedding).chain(products) {
            let mut start = [0; 256];
            for row in (0..weight.rows()).step_by(weight.rows().div_ceil(ROWS).max(1)) {
                sum = hash(sum, weight.blocks(row, 0, &mut start));
            }
        }
        sum
    }

    /// Whether a product takes activations of this form.
    fn uses(&self, form: InputFormat) -> bool {
        self.products().any(|linear| linear.weight.format().input_format() == form)
    }

    /// The first tensor with a weight that is not finite. Reads all weights.
    pub(crate) fn first_not_finite(&self) -> Option<TensorName> {
        let embedding =
            Linear { name: EMBEDDING, weight: self.weights.embedding, bias: Vec::new(), unrounded: Vec::new() };
        core::iter::once(&embedding).chain(self.products()).find(|linear| !linear.is_finite()).map(|linear| linear.name)
    }
}
