//! BERT and what grew out of it: embeddings of texts (MiniLM, BGE, E5, GTE), sequence classifiers, and cross-encoders that rank pairs of
//! texts (Devlin et al., "BERT"; Reimers and Gurevych, "Sentence-BERT"); and the tower of CLIP that reads, which has the same shape
//! ([`clip`](super::clip)). `docs/gguf.md` has the names of keys and tensors.

mod session;

use super::encoder::{ActivationFn, Config as EncoderConfig, Encoder, Layer, Norm, NormOrder};
use super::tower::{self, tensor};
use crate::linear::Linear;
use crate::memory::try_with_capacity;
use crate::source::Source;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Key, LoadError, MAX_CONTEXT, RunError, TensorName};
use alloc::string::String;
use alloc::vec::Vec;
pub use session::{Options, Session};

/// `general.architecture` of the family.
pub const ARCHITECTURE: &str = "bert";

const fn key(name: &'static str) -> Key {
    Key { architecture: ARCHITECTURE, name }
}

/// What of a text's tokens is its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Each token has its own: as many embeddings as tokens, one after another, never normalized.
    None,
    /// The mean of all tokens, `[CLS]` and `[SEP]` among them.
    Mean,
    /// The first token, `[CLS]`.
    First,
    /// The last token, `[SEP]`; CLIP's `<|endoftext|>`.
    Last,
}

/// Hyper-parameters beside the encoder's.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens, from the shape of `token_embd.weight`.
    pub vocabulary: usize,
    /// `context_length`: positions that have an embedding.
    pub context: usize,
    /// `max_sequence_length`: tokens that a text is cut to, at most `context`.
    pub max_tokens: usize,
    /// Types of tokens: 2 where pairs of texts are told apart.
    pub types: usize,
    /// `pooling_type`
    pub pooling: Pooling,
    /// `pooling_normalize`: whether embeddings are divided by their length.
    pub normalize: bool,
}

/// What turns a text's first token into scores.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// A product before `tanh`, if there is one. `[width × width]`
    pub dense: Option<Linear<'a>>,
    /// `[outputs × width]`
    pub output: Linear<'a>,
    /// Names of the outputs, in order; empty if the file has none.
    pub labels: Vec<String>,
}

/// A model of the family.
#[derive(Clone, Debug)]
pub struct Bert<'a> {
    /// Hyper-parameters.
    pub config: Config,
    /// `[vocabulary × width]`
    pub tokens: Linear<'a>,
    /// `[context × width]`
    pub positions: Linear<'a>,
    /// `[types × width]`, if there is more than nothing to add.
    pub types: Option<Linear<'a>>,
    /// Of the sum of the three; CLIP has none.
    pub norm: Option<Norm>,
    /// The layers.
    pub encoder: Encoder<'a>,
    /// Of what comes out, if there is one (CLIP).
    pub post_norm: Option<Norm>,
    /// From a text's token to its embedding, if there is a product between (CLIP). `[any × width]`
    pub projection: Option<Linear<'a>>,
    /// For classification.
    pub head: Option<Head<'a>>,
    /// `general.architecture` of its file.
    pub(super) architecture: &'static str,
}

/// The tokens of a text, or of a pair of texts, with their frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// `[CLS]` a `[SEP]`, or `[CLS]` a `[SEP]` b `[SEP]`.
    pub tokens: Vec<u32>,
    /// Where the tokens of type 1 begin; the number of tokens if there are none.
    pub second: usize,
    /// Tokens that there would have been if the text had not been cut; otherwise their number.
    pub uncut: usize,
}

impl Text {
    /// Whether the text was too long and is cut.
    pub fn is_cut(&self) -> bool {
        self.uncut > self.tokens.len()
    }
}

impl<'a> Bert<'a> {
    pub(crate) fn parse(source: &Source<'_, 'a>) -> Result<Bert<'a>, LoadError> {
        const TOKENS: TensorName = tensor("token_embd.weight");
        const TYPES: TensorName = tensor("token_types.weight");
        const TYPE_COUNT: Key = Key { architecture: "tokenizer", name: "ggml.token_type_count" };
        let (encoder, layers) = encoder_config(source)?;
        let width = encoder.width;
        let extent = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let vocabulary = extent(source.tensor(TOKENS).ok_or(LoadError::MissingTensor { tensor: TOKENS })?.dims[1]);
        let types = match source.integer(TYPE_COUNT, 1)? {
            Some(types) => types,
            None => source.tensor(TYPES).map_or(1, |tensor| extent(tensor.dims[1])),
        };
        let matrix = |name, outputs| tower::table(source, name, outputs, width);
        let head = head(source, width)?;
        let config = config(source, vocabulary, types, head.is_some())?;
        let mut list = Vec::new();
        for number in 0..layers {
            list.try_reserve(1).map_err(|_| LoadError::OutOfMemory { bytes: size_of::<Layer>() * layers })?;
            list.push(layer(source, &encoder, number)?);
        }
        let norm = Norm::parse(source, tensor("token_embd_norm.weight"), "token_embd_norm.bias", width)?;
        let encoder = Encoder { config: encoder, layers: list, outliers: Vec::new() };
        Ok(Bert {
            encoder: encoder.with_outliers(&norm)?,
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

    /// Values of an embedding.
    pub fn width(&self) -> usize {
        self.projection.as_ref().map_or(self.encoder.config.width, |linear| linear.weight.rows())
    }

    /// Names of the head's outputs, as many as there are scores or none; nothing if there is no head.
    pub fn labels(&self) -> Option<&[String]> {
        self.head.as_ref().map(|head| head.labels.as_slice())
    }

    /// Tokens of a text, or of a pair. What is longer than [`Config::max_tokens`] is cut at the end; of a pair, the longer text is.
    /// Special tokens that a text spells are found, as the models' own tokenizers do.
    ///
    /// # Errors
    /// [`RunError::Purpose`] for a pair where texts cannot be told apart or do not fit, or a tokenizer that is not for this model.
    pub fn text(&self, tokenizer: &Tokenizer, first: &str, second: Option<&str>) -> Result<Text, RunError> {
        let frame = if second.is_some() { 3 } else { 2 };
        let purpose = |purpose| RunError::Purpose { architecture: self.architecture, purpose };
        let (Some(start), Some(end)) = (tokenizer.bos(), tokenizer.eos()) else {
            return Err(purpose("read text: its tokenizer has no token for a text's beginning or end"));
        };
        if second.is_some() && self.config.types < 2 {
            return Err(purpose("compare two texts: its tokens have one type"));
        }
        let room = self.config.max_tokens.checked_sub(frame).ok_or(purpose("read text: its context is too short"))?;
        let mut a = tokenizer.encode(first, Special::Parse);
        let mut b = second.map(|text| tokenizer.encode(text, Special::Parse)).unwrap_or_default();
        let uncut = a.len() + b.len() + frame;
        if uncut - frame > room {
            // The longer loses tokens until both are as long, then each in turn.
            let half = room / 2;
            let (of_a, of_b) = match (a.len() > room - half, b.len() > half) {
                (true, true) => (room - half, half),
                (true, false) => (room - b.len(), b.len()),
                _ => (a.len(), room - a.len()),
            };
            a.truncate(of_a);
            b.truncate(of_b);
        }
        let mut tokens = try_with_capacity(a.len() + b.len() + frame)?;
        tokens.push(start);
        tokens.extend(a);
        tokens.push(end);
        let types_from = tokens.len();
        if second.is_some() {
            tokens.extend(b);
            tokens.push(end);
        }
        Ok(Text { second: types_from, tokens, uncut })
    }

    /// The products after the encoder.
    fn last_products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.projection.iter().chain(self.head.iter().flat_map(|head| head.dense.iter().chain([&head.output])))
    }

    /// All products and tables.
    fn matrices(&self) -> impl Iterator<Item = &Linear<'a>> {
        let tables = [&self.tokens, &self.positions].into_iter().chain(&self.types);
        tables.chain(self.encoder.products()).chain(self.last_products())
    }

    /// The first tensor with a weight that is not finite. Reads all weights.
    fn first_not_finite(&self) -> Option<TensorName> {
        self.matrices().find(|linear| !linear.is_finite()).map(|linear| linear.name)
    }
}

/// The encoder's hyper-parameters, and the number of layers.
fn encoder_config(source: &Source) -> Result<(EncoderConfig, usize), LoadError> {
    const HEADS: Key = key("attention.head_count");
    const WIDTH: Key = key("embedding_length");
    let layers = tower::layers(source, key("block_count"))?;
    let width = source.required(WIDTH, 1)?;
    let feed_forward = source.per_layer(key("feed_forward_length"), layers)?;
    let heads = source.per_layer(HEADS, layers)?.ok_or(LoadError::MissingKey { key: HEADS })?;
    let head_size = tower::head_size([WIDTH, HEADS], width, heads)?;
    if let Some(value) = source.per_layer(key("attention.head_count_kv"), layers)?.filter(|count| *count != heads) {
        return Err(LoadError::Unsupported { key: key("attention.head_count_kv"), value: value as u64 });
    }
    let epsilon_key = key("attention.layer_norm_epsilon");
    let activation = tower::activation(source, key("feed_forward_activation"))?.unwrap_or(ActivationFn::Gelu);
    let config = EncoderConfig {
        width,
        heads,
        head_size,
        feed_forward: feed_forward.ok_or(LoadError::MissingKey { key: key("feed_forward_length") })?,
        epsilon: source.number(epsilon_key)?.ok_or(LoadError::MissingKey { key: epsilon_key })?,
        order: NormOrder::After,
        activation,
        causal: source.flag(key("attention.causal"))?.unwrap_or(false),
    };
    Ok((config, layers))
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
        Some(1) => Pooling::Mean,
        Some(2) => Pooling::First,
        Some(3) => Pooling::Last,
        Some(4) => Pooling::First,
        None => {
            if has_head {
                Pooling::First
            } else {
                Pooling::Mean
            }
        }
        Some(value) => return Err(LoadError::Unsupported { key: POOLING, value: value as u64 }),
    };
    let normalize = source.flag(key("pooling_normalize"))?.unwrap_or(true);
    Ok(Config { vocabulary, context, max_tokens, types, pooling, normalize })
}

fn layer<'a>(source: &Source<'_, 'a>, config: &EncoderConfig, number: usize) -> Result<Layer<'a>, LoadError> {
    let EncoderConfig { width, feed_forward, .. } = *config;
    let name = |part| TensorName { layer: Some(number), part };
    let linear = |weight, bias, outputs, inputs| source.linear(name(weight), bias, outputs, inputs);
    Ok(Layer {
        q: linear("attn_q.weight", "attn_q.bias", width, width)?,
        k: linear("attn_k.weight", "attn_k.bias", width, width)?,
        v: linear("attn_v.weight", "attn_v.bias", width, width)?,
        o: linear("attn_output.weight", "attn_output.bias", width, width)?,
        attention_norm: Norm::parse(source, name("attn_output_norm.weight"), "attn_output_norm.bias", width)?,
        attention_scale: Vec::new(),
        up: linear("ffn_up.weight", "ffn_up.bias", feed_forward, width)?,
        down: linear("ffn_down.weight", "ffn_down.bias", width, feed_forward)?,
        feed_forward_norm: Norm::parse(source, name("layer_output_norm.weight"), "layer_output_norm.bias", width)?,
        feed_forward_scale: Vec::new(),
    })
}

fn head<'a>(source: &Source<'_, 'a>, width: usize) -> Result<Option<Head<'a>>, LoadError> {
    const OUTPUT: TensorName = tensor("cls.output.weight");
    const DENSE: TensorName = tensor("cls.weight");
    const LABELS: Key = key("classifier.output_labels");
    let Some(output) = source.tensor(OUTPUT) else { return Ok(None) };
    let outputs = usize::try_from(output.dims[1]).unwrap_or(usize::MAX);
    let labels = tower::labels(source, LABELS, outputs)?;
    let dense = source.tensor(DENSE).map(|_| source.linear(DENSE, "cls.bias", width, width)).transpose()?;
    Ok(Some(Head { dense, output: source.linear(OUTPUT, "cls.output.bias", outputs, width)?, labels }))
}
