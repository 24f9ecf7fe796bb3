//! The transformer stack that BERT, ViT and CLIP share: layer norms with biases, attention between all tokens of a sequence, a feed-forward
//! network of two products (Vaswani et al., "Attention Is All You Need"; Devlin et al., "BERT"; Dosovitskiy et al., "ViT").
//!
//! A pass takes the rows of many sequences one after another, of any lengths and without padding. What becomes of a sequence does not
//! depend on the others.

use crate::activations::{Activations, Quantized, Unrounded};
use crate::exec::Exec;
use crate::linear::{Linear, apply_all};
use crate::memory::{defaults, zeroed};
use crate::source::Source;
use crate::{LoadError, RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::attention::{KEYS, Kv, fill_panel};
use smidgen_quant::{InputFormat, math, ops};
use smidgen_targets::for_row_ranges;

/// Largest head that is supported.
pub const MAX_HEAD_SIZE: usize = 256;

/// Where a layer normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// What goes into the attention and the feed-forward network; the residual stream is never normalized (ViT, CLIP).
    Before,
    /// The residual stream, after the attention's and the feed-forward network's results were added to it (BERT).
    After,
}

/// The function between the two products of the feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationFn {
    /// See [`math::gelu`].
    Gelu,
    /// See [`math::gelu_tanh`].
    GeluTanh,
    /// See [`math::gelu_quick`].
    GeluQuick,
    /// `max(x, 0)`
    Relu,
}

impl ActivationFn {
    /// The function of every number of a row, in place.
    pub(crate) fn kernel(self, exec: &Exec) -> fn(&mut [f32]) {
        match self {
            ActivationFn::Gelu => exec.kernels.gelu,
            ActivationFn::GeluTanh => exec.kernels.gelu_tanh,
            ActivationFn::GeluQuick => exec.kernels.gelu_quick,
            ActivationFn::Relu => ops::relu,
        }
    }
}

/// Hyper-parameters of a stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Values of a token in the residual stream.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Values of a head, at most [`MAX_HEAD_SIZE`].
    pub head_size: usize,
    /// Values between the two products of the feed-forward network.
    pub feed_forward: usize,
    /// Added to variances.
    pub epsilon: f32,
    /// Where layers normalize.
    pub order: NormOrder,
    /// The feed-forward network's function.
    pub activation: ActivationFn,
    /// Whether a token attends to itself and those before it only (CLIP's text tower).
    pub causal: bool,
}

/// A layer norm.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[width]`
    pub weight: Vec<f32>,
    /// `[width]`
    pub bias: Vec<f32>,
}

impl Norm {
    /// The norm of these tensors' names. A missing bias is zero.
    pub(crate) fn parse(
        source: &Source,
        weight: TensorName,
        bias: &'static str,
        width: usize,
    ) -> Result<Norm, LoadError> {
        let (weight, bias) =
            (source.required_vector(weight, width)?, source.vector(TensorName { part: bias, ..weight }, width)?);
        Ok(Norm { weight, bias: if bias.is_empty() { zeroed(width)? } else { bias } })
    }

    /// Normalizes a row in place.
    pub(crate) fn apply(&self, exec: &Exec, epsilon: f32, row: &mut [f32]) {
        (exec.kernels.layer_norm)(row, &self.weight, &self.bias, epsilon);
    }
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// Queries. `[heads · head_size × width]`
    pub q: Linear<'a>,
    /// Keys. `[heads · head_size × width]`
    pub k: Linear<'a>,
    /// Values. `[heads · head_size × width]`
    pub v: Linear<'a>,
    /// What the heads found. `[width × heads · head_size]`
    pub o: Linear<'a>,
    /// Before the attention, or after it.
    pub attention_norm: Norm,
    /// Factors of the attention's result, or empty (layer scale; Touvron et al., "Going Deeper with Image Transformers"). `[width]`
    pub attention_scale: Vec<f32>,
    /// `[feed_forward × width]`
    pub up: Linear<'a>,
    /// `[width × feed_forward]`
    pub down: Linear<'a>,
    /// Before the feed-forward network, or after it.
    pub feed_forward_norm: Norm,
    /// Factors of the feed-forward network's result, or empty. `[width]`
    pub feed_forward_scale: Vec<f32>,
}

/// A stack of layers.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    /// Hyper-parameters.
    pub config: Config,
    /// One after another.
    pub layers: Vec<Layer<'a>>,
    /// Channels of the residual stream that the products of queries, keys, values and `up` multiply unrounded, in ascending order; mostly
    /// none. Those products have their weights in [`Linear::unrounded`].
    pub outliers: Vec<usize>,
}

impl<'a> Encoder<'a> {
    /// All products.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.layers.iter().flat_map(|layer| [&layer.q, &layer.k, &layer.v, &layer.o, &layer.up, &layer.down])
    }

    fn uses(&self, form: InputFormat) -> bool {
        self.products().any(|linear| linear.weight.format().input_format() == form)
    }

    /// Finds the outliers of a stack that normalizes its residual stream, `first` before all layers, if it has quantized weights. Few
    /// channels of such a stream are far larger than the others (Kovaleva et al., "BERT Busters"), and rounding to int8 makes the values
    /// beside them as coarse. The norms' weights tell which: the channels whose largest one is more than [`OUTLYING`] times
    /// the median channel's, at most [`OUTLIERS`] of them, the largest ones.
    pub(crate) fn with_outliers(mut self, first: &Norm) -> Result<Encoder<'a>, LoadError> {
        let is_rounded = self.products().any(|linear| linear.weight.format().input_format() != InputFormat::F32);
        if self.config.order != NormOrder::After || !is_rounded {
            return Ok(self);
        }
        let mut largest: Vec<f32> = zeroed(self.config.width)?;
        let norms = self.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.feed_forward_norm]);
        for norm in norms.chain([first]) {
            for (largest, weight) in largest.iter_mut().zip(&norm.weight) {
                *largest = largest.max(weight.abs());
            }
        }
        let mut order: Vec<usize> = zeroed(largest.len())?;
        order.iter_mut().enumerate().for_each(|(i, channel)| *channel = i);
        order.sort_unstable_by(|a, b| largest[*b].total_cmp(&largest[*a]).then(a.cmp(b)));
        let limit = largest[order[order.len() / 2]] * OUTLYING;
        order.truncate(OUTLIERS);
        order.retain(|channel| largest[*channel] > limit);
        order.sort_unstable();
        for linear in self.layers.iter_mut().flat_map(|layer| [&mut layer.q, &mut layer.k, &mut layer.v, &mut layer.up])
        {
            let outputs = linear.weight.rows();
            let mut columns =
                zeroed(outputs.checked_mul(order.len()).ok_or(LoadError::OutOfMemory { bytes: usize::MAX })?)?;
            for (channel, column) in order.iter().zip(columns.chunks_exact_mut(outputs)) {
                linear.column(*channel, column);
            }
            linear.unrounded = columns;
        }
        self.outliers = order;
        Ok(self)
    }
}

/// Most outliers of a stack.
const OUTLIERS: usize = 8;
/// How many times the median an outlier's weight is at least.
const OUTLYING: f32 = 1.4;

/// Moves the outliers of normalized rows to `to`; zeros are left.
fn take_out<'s>(outliers: &[usize], x: &mut [f32], width: usize, to: &'s mut [f32]) -> Unrounded<'s> {
    let count = outliers.len();
    if count > 0 {
        for (row, to) in x.chunks_exact_mut(width).zip(to.chunks_exact_mut(count)) {
            for (channel, to) in outliers.iter().zip(to) {
                *to = core::mem::take(&mut row[*channel]);
            }
        }
    }
    Unrounded { values: to, count }
}

/// Undoes [`take_out`].
fn put_back(outliers: &[usize], x: &mut [f32], width: usize, from: &[f32]) {
    if !outliers.is_empty() {
        for (row, from) in x.chunks_exact_mut(width).zip(from.chunks_exact(outliers.len())) {
            for (channel, value) in outliers.iter().zip(from) {
                row[*channel] = *value;
            }
        }
    }
}

/// Values of the queries of one head that are attended together. Few, since they are cleared each time.
const TILE: usize = 512;
const _: () = assert!(MAX_HEAD_SIZE <= TILE);

/// Sixteen tokens of one sequence, or what is left of it.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// First token of the sequence in the pass.
    start: usize,
    /// Tokens of the sequence.
    len: usize,
    /// First panel of the sequence.
    first_panel: usize,
}

/// Memory of a pass.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Tokens that there is room for.
    tokens: usize,
    /// Panels of [`KEYS`] tokens of one sequence that there is room for.
    panels: usize,
    /// The residual stream. `[tokens × width]`
    x: Vec<f32>,
    /// Normalized inputs, or what is added to the residual stream. `[tokens × width]`
    delta: Vec<f32>,
    /// Queries, keys, values, and what the attention found: `[tokens × heads · head_size]` each.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    found: Vec<f32>,
    /// Keys, then values, by head and panel: `[2 × heads × panels × KEYS · head_size]`
    cache: Vec<f32>,
    /// `[tokens × feed_forward]`
    hidden: Vec<f32>,
    /// `[panels]`
    parts: Vec<Part>,
    /// Where each part ends, in tokens. `[panels]`
    ends: Vec<usize>,
    /// Of a norm's results, the channels that are not rounded. `[tokens × outliers]`
    outliers: Vec<f32>,
    quantized: Quantized,
}

/// Panels that a sequence takes.
pub(crate) fn panels(len: usize) -> usize {
    len.div_ceil(KEYS)
}

impl Scratch {
    /// Memory for passes of up to `tokens` tokens in sequences that take up to `panels` panels together.
    pub(crate) fn new(encoder: &Encoder, tokens: usize, panels: usize) -> Result<Scratch, RunError> {
        let refused = RunError::OutOfMemory { bytes: usize::MAX };
        let Config { width, heads, head_size, feed_forward, .. } = encoder.config;
        let inner = heads.checked_mul(head_size).ok_or(refused.clone())?;
        let of = |values: usize, count: usize| values.checked_mul(count).ok_or(refused.clone());
        let widest = of(width.max(inner).max(feed_forward), tokens)?;
        Ok(Scratch {
            tokens,
            panels,
            x: zeroed(of(width, tokens)?)?,
            delta: zeroed(of(width, tokens)?)?,
            q: zeroed(of(inner, tokens)?)?,
            k: zeroed(of(inner, tokens)?)?,
            v: zeroed(of(inner, tokens)?)?,
            found: zeroed(of(inner, tokens)?)?,
            cache: zeroed(of(of(inner, panels)?, 2 * KEYS)?)?,
            hidden: zeroed(of(feed_forward, tokens)?)?,
            parts: defaults(panels)?,
            ends: zeroed(panels)?,
            outliers: zeroed(of(encoder.outliers.len(), tokens)?)?,
            quantized: Quantized::new(widest, encoder.uses(InputFormat::Q8), encoder.uses(InputFormat::Q8K))?,
        })
    }

    /// Tokens, and panels of [`KEYS`] tokens, that there is room for.
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.tokens, self.panels)
    }

    /// The residual stream of the first `tokens` tokens: the input of [`pass`](Self::pass), then its output. `[tokens × width]`
    pub(crate) fn states(&mut self, encoder: &Encoder, tokens: usize) -> &mut [f32] {
        &mut self.x[..tokens * encoder.config.width]
    }

    /// Runs all layers over sequences of these lengths, whose tokens lie one after another in the residual stream. Together they are no
    /// more than there is room for. Stops when the machine has seen a number that is not finite.
    pub(crate) fn pass(&mut self, encoder: &Encoder, exec: &Exec, lengths: &[usize]) {
        let Config { width, heads, head_size, feed_forward, epsilon, order, activation, causal } = encoder.config;
        let (n, count) = self.cut(lengths);
        if n == 0 {
            return;
        }
        let inner = heads * head_size;
        let Scratch { x, delta, q, k, v, found, cache, hidden, parts, ends, outliers: kept, quantized, .. } = self;
        let outliers = &encoder.outliers;
        let (x, delta, hidden) = (&mut x[..n * width], &mut delta[..n * width], &mut hidden[..n * feed_forward]);
        let (q, k, v) = (&mut q[..n * inner], &mut k[..n * inner], &mut v[..n * inner]);
        let (found, cache) = (&mut found[..n * inner], &mut cache[..count * KEYS * inner * 2]);
        let (parts, ends) = (&parts[..count], &ends[..count]);
        let act = activation.kernel(exec);
        let heads = Heads { parts, ends, heads, head_size, causal };

        for layer in &encoder.layers {
            let unrounded = take_out(outliers, x, width, kept);
            let input = normed(exec, order, &layer.attention_norm, epsilon, x, delta);
            let mut input = Activations::new(input, width, quantized).with(unrounded);
            apply_all([(&layer.q, &mut *q), (&layer.k, k), (&layer.v, v)], exec, &mut input);
            put_back(outliers, x, width, kept);
            if !exec.is_finite() {
                return;
            }
            heads.store(exec, k, v, cache);
            heads.attend(exec, q, cache, found);
            let mut input = Activations::new(found, inner, quantized);
            layer.o.apply(exec, &mut input, delta);
            merge(exec, order, &layer.attention_norm, epsilon, &layer.attention_scale, x, delta);

            let unrounded = take_out(outliers, x, width, kept);
            let input = normed(exec, order, &layer.feed_forward_norm, epsilon, x, delta);
            let mut input = Activations::new(input, width, quantized).with(unrounded);
            layer.up.apply_then(exec, &mut input, hidden, act);
            put_back(outliers, x, width, kept);
            let mut input = Activations::new(hidden, feed_forward, quantized);
            layer.down.apply(exec, &mut input, delta);
            merge(exec, order, &layer.feed_forward_norm, epsilon, &layer.feed_forward_scale, x, delta);
        }
    }

    /// Cuts the sequences into panels. Returns the numbers of tokens and of panels.
    fn cut(&mut self, lengths: &[usize]) -> (usize, usize) {
        let (mut start, mut count) = (0, 0);
        for len in lengths {
            let first_panel = count;
            for panel in 0..panels(*len) {
                self.parts[count] = Part { start, len: *len, first_panel };
                self.ends[count] = start + ((panel + 1) * KEYS).min(*len);
                count += 1;
            }
            start += len;
        }
        (start, count)
    }
}

/// What goes into a product: the stream, or a normalized copy of it.
fn normed<'s>(
    exec: &Exec,
    order: NormOrder,
    norm: &Norm,
    epsilon: f32,
    x: &'s [f32],
    copy: &'s mut [f32],
) -> &'s [f32] {
    if order == NormOrder::After {
        return x;
    }
    let width = norm.weight.len();
    exec.rows(copy, width, |t, row| {
        row.copy_from_slice(&x[t * width..][..width]);
        norm.apply(exec, epsilon, row);
    });
    copy
}

/// Adds the results of a product to the stream.
fn merge(exec: &Exec, order: NormOrder, norm: &Norm, epsilon: f32, scale: &[f32], x: &mut [f32], delta: &[f32]) {
    let width = norm.weight.len();
    exec.rows(x, width, |t, row| {
        let delta = &delta[t * width..][..width];
        if scale.is_empty() {
            (exec.kernels.add)(row, delta);
        } else {
            for ((x, delta), scale) in row.iter_mut().zip(delta).zip(scale) {
                *x += delta * scale;
            }
        }
        if order == NormOrder::After {
            norm.apply(exec, epsilon, row);
        }
        exec.check(row);
    });
}

/// Attention of a pass.
struct Heads<'s> {
    parts: &'s [Part],
    ends: &'s [usize],
    heads: usize,
    head_size: usize,
    causal: bool,
}

impl Heads<'_> {
    /// Puts keys and values into the order that the law of attention reads.
    fn store(&self, exec: &Exec, k: &[f32], v: &[f32], cache: &mut [f32]) {
        let (size, count) = (self.head_size, self.parts.len());
        let inner = self.heads * size;
        exec.rows(cache, KEYS * size, |row, to| {
            let (head, panel) = (row / count, row % count);
            let Part { start, first_panel, .. } = self.parts[panel];
            let first = start + (panel - first_panel) * KEYS;
            let tokens = self.ends[panel] - first;
            if head < self.heads {
                fill_panel(&k[first * inner + head * size..self.ends[panel] * inner], inner, to);
            } else {
                let values = v[first * inner + (head - self.heads) * size..].chunks(inner);
                for (to, value) in to.chunks_exact_mut(size).zip(values).take(tokens) {
                    to.copy_from_slice(&value[..size]);
                }
            }
        });
    }

    /// What the queries find.
    fn attend(&self, exec: &Exec, q: &[f32], cache: &[f32], found: &mut [f32]) {
        let (size, count) = (self.head_size, self.parts.len());
        let (inner, scale) = (self.heads * size, 1.0 / math::sqrt(size as f32));
        let (keys, values) = cache.split_at(cache.len() / 2);
        for_row_ranges(exec.pool, found, inner, self.ends, size, |panel, mut tile| {
            let Part { start, len, first_panel } = self.parts[panel];
            let from = (tile.first_col() / size * count + first_panel) * KEYS * size;
            let range = from..from + panels(len) * KEYS * size;
            let kv = Kv::F32 { k: &keys[range.clone()], v: &values[range] };
            let (mut queries, mut out) = ([0f32; TILE], [0f32; TILE]);
            let most = (TILE / size).min(KEYS);
            let (first, col) = (tile.first_row(), tile.first_col());
            for done in (0..tile.rows()).step_by(most) {
                let tokens = most.min(tile.rows() - done);
                let (queries, out) = (&mut queries[..tokens * size], &mut out[..tokens * size]);
                let mut visible = [len; KEYS];
                for (t, to) in queries.chunks_exact_mut(size).enumerate() {
                    to.copy_from_slice(&q[(first + done + t) * inner + col..][..size]);
                    if self.causal {
                        visible[t] = first + done + t - start + 1;
                    }
                }
                (exec.kernels.attention)(queries, &visible[..tokens], size, scale, &kv, out);
                exec.check(out);
                for (t, out) in out.chunks_exact(size).enumerate() {
                    tile.row(done + t).copy_from_slice(out);
                }
            }
        });
    }
}
