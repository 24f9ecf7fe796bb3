//! Hyper-parameters that decoders have in common, and the blocks that most of them are made of. Names of keys and tensors are those of the GGUF
//! specification.

use crate::blocks::{
    ActivationFn, Attention, FeedForward, Gated, Layer, Mixer, Norm, NormKind, NormLike, Norms, Pairs, Plain, Rope,
    RopeKeys,
};
use crate::memory::zeroed;
use crate::source::{MAX_EXTENT, Source};
use crate::{Decoder, Key, Linear, LoadError, MAX_CONTEXT, TensorName};
use alloc::vec::Vec;
use smidgen_quant::math;

/// Upper bound accepted from a file for the number of layers.
const MAX_LAYERS: u64 = 4096;
/// Upper bound accepted from a file for the size of a head.
const MAX_HEAD_SIZE: u64 = 1 << 16;

/// The names of a tensor and its bias.
macro_rules! tensor {
    ($name:literal) => {
        [concat!($name, ".weight"), concat!($name, ".bias")]
    };
}
pub(super) use tensor;

/// The names of a tensor and its bias.
pub(super) type Names = [&'static str; 2];

/// Hyper-parameters of a decoder, and its file.
pub(super) struct Hyper<'s, 'f, 'a> {
    pub(super) source: &'s Source<'f, 'a>,
    /// `general.architecture`, with which keys begin.
    pub(super) architecture: &'static str,
    /// `block_count`, without layers that predict further tokens (`nextn_predict_layers`), which are not run.
    pub(super) layers: usize,
    /// `nextn_predict_layers`
    pub(super) further: usize,
    /// `embedding_length`
    pub(super) width: usize,
    /// `feed_forward_length`
    pub(super) feed_forward: usize,
    /// `attention.head_count`
    pub(super) heads: usize,
    /// `attention.head_count_kv`, a divisor of `heads`; as many if absent.
    pub(super) kv_heads: usize,
    /// `attention.key_length`; `width / heads` if absent.
    pub(super) head: usize,
    /// `attention.value_length`; as the key's if absent.
    pub(super) value: usize,
    /// `context_length`: tokens that the model was trained on at once.
    pub(super) context: usize,
    /// Tokens, from `vocab_size` or the shape of `token_embd.weight`.
    pub(super) vocabulary: usize,
}

const EMBEDDING: TensorName = TensorName { layer: None, part: "token_embd.weight" };

impl<'s, 'f, 'a> Hyper<'s, 'f, 'a> {
    pub(super) fn parse(source: &'s Source<'f, 'a>, architecture: &'static str) -> Result<Self, LoadError> {
        let key = |name| Key { architecture, name };
        let bounded = |name, value: usize, most: u64| match value as u64 {
            value if value > most => Err(LoadError::KeyRange { key: key(name), value, least: 1, most }),
            _ => Ok(value),
        };
        let all = bounded("block_count", source.required(key("block_count"), 1)?, MAX_LAYERS)?;
        let further = source.integer(key("nextn_predict_layers"), 0)?.unwrap_or(0);
        let further = bounded("nextn_predict_layers", further, all as u64 - 1)?;
        let layers = all - further;
        for layer in layers..all {
            // By this they are known to be such layers.
            let tensor = TensorName { layer: Some(layer), part: "nextn.eh_proj.weight" };
            source.tensor(tensor).ok_or(LoadError::MissingTensor { tensor })?;
        }
        if let Some(1..) = source.integer(key("expert_count"), 0)? {
            return Err(LoadError::SurplusKey { key: key("expert_count") });
        }
        let width = source.required(key("embedding_length"), 1)?;
        let per_layer = |name| source.per_layer(key(name), all);
        let feed_forward = per_layer("feed_forward_length")?;
        let feed_forward = feed_forward.ok_or(LoadError::MissingKey { key: key("feed_forward_length") })?;
        let heads_key = key("attention.head_count");
        let heads = per_layer(heads_key.name)?.ok_or(LoadError::MissingKey { key: heads_key })?;
        let kv_heads = per_layer("attention.head_count_kv")?.unwrap_or(heads);
        divides(key("attention.head_count_kv"), kv_heads, heads_key, heads)?;
        let head = match source.integer(key("attention.key_length"), 1)? {
            Some(size) => size,
            None => {
                divides(heads_key, heads, key("embedding_length"), width)?;
                width / heads
            }
        };
        let most = MAX_HEAD_SIZE.min(MAX_EXTENT / heads as u64);
        bounded("attention.key_length", head, most)?;
        let value = source.integer(key("attention.value_length"), 1)?.unwrap_or(head);
        bounded("attention.value_length", value, most)?;
        let context = source.required(key("context_length"), 1)?;
        bounded("context_length", context, MAX_CONTEXT as u64)?;
        let rows = source.tensor(EMBEDDING).ok_or(LoadError::MissingTensor { tensor: EMBEDDING })?.dims[1];
        let vocabulary = match source.integer(key("vocab_size"), 1)? {
            Some(size) => size,
            None => usize::try_from(rows).unwrap_or(usize::MAX),
        };
        Ok(Hyper {
            source,
            architecture,
            layers,
            further,
            width,
            feed_forward,
            heads,
            kv_heads,
            head,
            value,
            context,
            vocabulary,
        })
    }

    pub(super) fn key(&self, name: &'static str) -> Key {
        Key { architecture: self.architecture, name }
    }

    /// A positive finite number.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<f32>, LoadError> {
        self.source.number(self.key(name))
    }

    /// RMS norms with `attention.layer_norm_rms_epsilon`.
    pub(super) fn rms(&self) -> Result<NormLike, LoadError> {
        self.norm_like(NormKind::Rms, "attention.layer_norm_rms_epsilon")
    }

    /// Layer norms with `attention.layer_norm_epsilon`.
    pub(super) fn layer_norm(&self) -> Result<NormLike, LoadError> {
        self.norm_like(NormKind::Layer, "attention.layer_norm_epsilon")
    }

    fn norm_like(&self, kind: NormKind, name: &'static str) -> Result<NormLike, LoadError> {
        let key = self.key(name);
        Ok(NormLike { kind, epsilon: self.source.number(key)?.ok_or(LoadError::MissingKey { key })? })
    }

    fn rope_keys(&self) -> RopeKeys {
        RopeKeys { architecture: self.architecture, head: self.head, context: self.context }
    }

    /// The rotation of all layers, or of those without a window.
    pub(super) fn rope(&self, pairs: Pairs) -> Result<Rope, LoadError> {
        self.rope_keys().scaled(self.source, pairs)
    }

    /// The rotation of layers with a window, where it is another: see [`RopeKeys::local`].
    pub(super) fn local_rope(&self, pairs: Pairs, base: f32) -> Result<Rope, LoadError> {
        self.rope_keys().local(self.source, pairs, base)
    }

    /// The window of each layer: `attention.sliding_window`, or else `default`, on the layers that `attention.sliding_window_pattern` says; if it says
    /// nothing, on all but each `period`-th, and on all for a period of 0. A window of 0 is none.
    pub(super) fn windows(&self, default: usize, period: usize) -> Result<Vec<Option<usize>>, LoadError> {
        let window = self.source.integer(self.key("attention.sliding_window"), 0)?.unwrap_or(default);
        let pattern = self.key("attention.sliding_window_pattern");
        let mut windows: Vec<Option<usize>> = Vec::new();
        let flags = self.source.flags(pattern)?;
        let period = match &flags {
            Some(flags) if flags.len() != self.layers => {
                return Err(LoadError::KeyLength { key: pattern, expected: self.layers, found: flags.len() });
            }
            Some(_) => 0,
            None => self.source.integer(pattern, 0)?.unwrap_or(period),
        };
        windows.try_reserve_exact(self.layers).map_err(|_| LoadError::OutOfMemory { bytes: self.layers })?;
        windows.extend((0..self.layers).map(|layer| {
            let slides = match &flags {
                Some(flags) => flags[layer],
                None => period == 0 || !(layer + 1).is_multiple_of(period),
            };
            (slides && window > 0).then_some(window)
        }));
        Ok(windows)
    }

    /// The norm `[width]` of these tensors.
    pub(super) fn norm(&self, names: Names, width: usize, like: NormLike) -> Result<Norm, LoadError> {
        Norm::parse(self.source, names.map(|part| TensorName { layer: None, part }), width, like)
    }

    /// The decoder with these norms and rotations, whose layers are made one by one; without scales and the like, which a family adds.
    pub(super) fn decoder(
        &self,
        like: NormLike,
        ropes: Vec<Rope>,
        layer: &dyn Fn(&LayerOf<'_, 's, 'f, 'a>) -> Result<Layer<'a>, LoadError>,
    ) -> Result<Decoder<'a>, LoadError> {
        const HEAD: TensorName = TensorName { layer: None, part: "output.weight" };
        let rows = self.source.matrix(EMBEDDING, self.vocabulary, self.width)?;
        let head = match self.source.tensor(HEAD) {
            Some(_) => self.source.linear(HEAD, "output.bias", self.vocabulary, self.width)?,
            None => Linear { name: EMBEDDING, weight: rows, bias: Vec::new(), unrounded: Vec::new() },
        };
        let mut layers = Vec::new();
        for number in 0..self.layers {
            layers.try_reserve(1).map_err(|_| LoadError::OutOfMemory { bytes: size_of::<Layer>() * self.layers })?;
            layers.push(layer(&LayerOf { hyper: self, number })?);
        }
        Ok(Decoder {
            context: self.context,
            embedding: rows,
            embedding_scale: None,
            embedding_norm: None,
            positions: None,
            ropes,
            layers,
            residual_scale: None,
            output_norm: self.norm(tensor!("output_norm"), self.width, like)?,
            head,
            logit_scale: None,
            logit_softcap: None,
        })
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

/// A layer that is being made.
pub(super) struct LayerOf<'h, 's, 'f, 'a> {
    pub(super) hyper: &'h Hyper<'s, 'f, 'a>,
    pub(super) number: usize,
}

impl<'a> LayerOf<'_, '_, '_, 'a> {
    fn name(&self, part: &'static str) -> TensorName {
        TensorName { layer: Some(self.number), part }
    }

    /// Whether the layer has a tensor of this name.
    pub(super) fn has(&self, [weight, _]: Names) -> bool {
        self.hyper.source.tensor(self.name(weight)).is_some()
    }

    /// A product, with its bias if there is one.
    pub(super) fn linear(&self, [weight, bias]: Names, outputs: usize, inputs: usize) -> Result<Linear<'a>, LoadError> {
        self.hyper.source.linear(self.name(weight), bias, outputs, inputs)
    }

    /// A norm of `width` values.
    pub(super) fn norm(&self, names: Names, width: usize, like: NormLike) -> Result<Norm, LoadError> {
        Norm::parse(self.hyper.source, names.map(|part| self.name(part)), width, like)
    }

    /// A norm of heads of `width` values, of which each of `heads` has weights of its own, if the layer has it.
    pub(super) fn norm_of_heads(
        &self,
        names: Names,
        [width, heads]: [usize; 2],
        like: NormLike,
    ) -> Result<Option<Norm>, LoadError> {
        if !self.has(names) {
            return Ok(None);
        }
        let weight = self.hyper.source.table(self.name(names[0]), heads, width)?;
        let bias = if like.kind == NormKind::Layer { zeroed(weight.len())? } else { Vec::new() };
        Ok(Some(Norm { kind: like.kind, width, weight, bias, epsilon: like.epsilon }))
    }

    /// Norms before a block only.
    pub(super) fn before(&self, names: Names, like: NormLike) -> Result<Norms, LoadError> {
        Ok(Norms { before: Some(self.norm(names, self.hyper.width, like)?), ..Norms::default() })
    }

    /// Norms after a block only.
    pub(super) fn after(&self, names: Names, like: NormLike) -> Result<Norms, LoadError> {
        Ok(Norms { after: Some(self.norm(names, self.hyper.width, like)?), ..Norms::default() })
    }

    /// Norms before and after a block.
    pub(super) fn around(&self, before: Names, after: Names, like: NormLike) -> Result<Norms, LoadError> {
        Ok(Norms { after: self.after(after, like)?.after, ..self.before(before, like)? })
    }

    /// Attention with the first rotation and no window, whose scores are divided by the root of the head's size or multiplied by `attention.scale`.
    /// Queries, keys and values have tensors of their own or one for all.
    pub(super) fn attention(&self) -> Result<Attention<'a>, LoadError> {
        let Hyper { source, width, heads, kv_heads, head, value, .. } = *self.hyper;
        let (queries, keys, values) = (heads * head, kv_heads * head, kv_heads * value);
        let [q, k, v] = if self.has(tensor!("attn_qkv")) {
            let [weight, bias] = tensor!("attn_qkv");
            let parts = [queries, keys, values];
            source.fused(self.name(weight), bias, parts, width)?
        } else {
            [
                self.linear(tensor!("attn_q"), queries, width)?,
                self.linear(tensor!("attn_k"), keys, width)?,
                self.linear(tensor!("attn_v"), values, width)?,
            ]
        };
        Ok(Attention {
            q,
            k,
            v,
            o: self.linear(tensor!("attn_output"), width, heads * value)?,
            q_norm: None,
            k_norm: None,
            norm_turned: false,
            heads,
            kv_heads,
            key: head,
            value,
            rope: Some(0),
            window: None,
            scale: self.hyper.number("attention.scale")?.unwrap_or(1.0 / math::sqrt(head as f32)),
            softcap: None,
            sinks: Vec::new(),
            slopes: Vec::new(),
            causal: true,
        })
    }

    /// The same with norms of queries and keys: of each head.
    pub(super) fn attention_with_norms(&self, like: NormLike) -> Result<Attention<'a>, LoadError> {
        let head = self.hyper.head;
        Ok(Attention {
            q_norm: Some(self.norm(tensor!("attn_q_norm"), head, like)?),
            k_norm: Some(self.norm(tensor!("attn_k_norm"), head, like)?),
            ..self.attention()?
        })
    }

    /// A gated network. The gate and what it lets pass have tensors of their own or one for both.
    pub(super) fn gated(&self, activation: ActivationFn) -> Result<FeedForward<'a>, LoadError> {
        let Hyper { source, width, feed_forward, .. } = *self.hyper;
        let [weight, bias] = tensor!("ffn_up");
        let rows = source.tensor(self.name(weight)).map(|tensor| tensor.dims[1]);
        let [gate, up] = if !self.has(tensor!("ffn_gate")) && rows == Some(2 * feed_forward as u64) {
            source.fused(self.name(weight), bias, [feed_forward; 2], width)?
        } else {
            [
                self.linear(tensor!("ffn_gate"), feed_forward, width)?,
                self.linear(tensor!("ffn_up"), feed_forward, width)?,
            ]
        };
        let down = self.linear(tensor!("ffn_down"), width, feed_forward)?;
        Ok(FeedForward::Gated(Gated { gate, up, down, activation }))
    }

    /// A network without a gate.
    pub(super) fn plain(&self, activation: ActivationFn) -> Result<FeedForward<'a>, LoadError> {
        let Hyper { width, feed_forward, .. } = *self.hyper;
        Ok(FeedForward::Plain(Plain {
            up: self.linear(tensor!("ffn_up"), feed_forward, width)?,
            down: self.linear(tensor!("ffn_down"), width, feed_forward)?,
            activation,
        }))
    }

    /// A layer with the two blocks after each other, each with a norm before it.
    pub(super) fn sequential(
        &self,
        like: NormLike,
        attention: Attention<'a>,
        ffn: FeedForward<'a>,
    ) -> Result<Layer<'a>, LoadError> {
        let norms = [self.before(tensor!("attn_norm"), like)?, self.before(tensor!("ffn_norm"), like)?];
        Ok(self.layer(attention, ffn, norms))
    }

    /// A layer with the two blocks after each other and these norms.
    pub(super) fn layer(
        &self,
        attention: Attention<'a>,
        ffn: FeedForward<'a>,
        [mixer_norms, ffn_norms]: [Norms; 2],
    ) -> Layer<'a> {
        Layer {
            mixer: Mixer::Attention(attention),
            mixer_norms,
            mixer_scale: Vec::new(),
            ffn,
            ffn_norms,
            ffn_scale: Vec::new(),
            parallel: false,
        }
    }
}
