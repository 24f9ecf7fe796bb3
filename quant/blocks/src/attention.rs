//! Attention of one query over a key-value cache, streaming over the context (Milakov and Gimelshein, "Online normalizer calculation
//! for softmax"; Dao et al., "FlashAttention").
//!
//! The law, for a query `q` that sees the keys `from .. to` ([`Visible`]): the context is cut into chunks of [`CHUNK`] keys, of which those count
//! in which the query sees a key; for each, with `m` the largest score so far (`-inf` at first), `l` the sum of weights (zero at first), `o` the
//! weighted sum of values:
//!
//! 1. `s[j] = score(q, k[j]) * scale`, the dot product summed over the dimensions in order; bent by [`Spec::bend`], if the model asks for it;
//! 2. `m' = max(m, s)`, `c = exp(m - m')`, `p[j] = exp(s[j] - m')`, and zero for the keys that are not visible;
//! 3. `l = l * c + striped_sum(p)` over the chunk's 64 values;
//! 4. `o = o * c + 0.0`, then `o += p[j] * v[j]` with `j` in order.
//!
//! The result is `o * (1 / l)`. Adding `0.0` removes a negative zero, after which a key of weight zero changes nothing: a
//! kernel may take whole tiles of queries that see different keys. The cache's values are finite by construction. A sink
//! (Xiao et al., "Efficient Streaming Language Models with Attention Sinks") is a score without a value: `m` and `l` begin as the sink and 1.
//!
//! Lanes are keys for the scores, dimensions for the values. So keys lie in panels of [`KEYS`], dimension by dimension, where a key has
//! `key` dimensions and a value `value`:
//!
//! | array | index of dimension `d` of key or value `j` |
//! |---|---|
//! | keys | `(j / 16 * key + d) * 16 + j % 16` |
//! | values | `j * value + d` |
//! | scales of keys (`Q8` only, one for 32 dimensions) | `(j / 16 * key / 32 + d / 32) * 16 + j % 16` |
//! | scales of values (`Q8` only) | `j * value / 32 + d / 32` |

use crate::math::{self, exp};
use crate::ops::{self, STRIPES};
use crate::{f16_to_f32, f32_to_f16_saturating};

/// Keys between two rescalings of the running sums.
pub const CHUNK: usize = 64;
/// Keys in a panel.
pub const KEYS: usize = 16;
/// Dimensions that share one scale in a [`Kv::Q8`] cache.
pub const SCALED: usize = 32;

/// The keys that a query sees: those from number `from` up to `to`, without it; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// The first key: not 0 where a window slides.
    pub from: usize,
    /// The key after the last, which mostly is the query's own.
    pub to: usize,
}

/// What attention is computed by, beside queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Dimensions of a query and of a key.
    pub key: usize,
    /// Dimensions of a value and of a result.
    pub value: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores `s` become `cap · tanh(s / cap)` (Bello et al., "Neural Combinatorial Optimization").
    pub softcap: Option<f32>,
    /// A score without a value for each head that shares the keys, which the queries of a call take in turn; or none.
    pub sinks: &'a [f32],
    /// Added to the score for each key after it, negatively: ALiBi (Press, Smith and Lewis, "Train Short, Test Long"). In turn, as the sinks; or none.
    pub slopes: &'a [f32],
}

impl<'a> Spec<'a> {
    /// Keys and values of so many dimensions, and nothing else.
    pub fn new(head_dim: usize, scale: f32) -> Spec<'a> {
        Spec { key: head_dim, value: head_dim, scale, softcap: None, sinks: &[], slopes: &[] }
    }

    /// Largest score and sum of weights before the first key, for query `number` of a call.
    #[inline(always)]
    pub fn start(&self, number: usize) -> (f32, f32) {
        match self.sinks.len() {
            0 => (f32::NEG_INFINITY, 0.0),
            n => (self.sinks[number % n], 1.0),
        }
    }

    /// Whether [`bend`](Self::bend) does anything.
    #[inline(always)]
    pub fn bends(&self) -> bool {
        self.softcap.is_some() || !self.slopes.is_empty()
    }

    /// Bends the scores of neighbouring keys from number `first` on, for query `number` of a call, whose own key is `own`: [`ops::softcap`],
    /// then `s + slope · (key - own)`.
    #[inline(always)]
    pub fn bend(&self, number: usize, own: usize, first: usize, scores: &mut [f32]) {
        if let Some(cap) = self.softcap {
            ops::softcap(scores, cap);
        }
        if !self.slopes.is_empty() {
            let slope = self.slopes[number % self.slopes.len()];
            let distance = first as i32 - own as i32;
            for (j, score) in scores.iter_mut().enumerate() {
                *score += slope * (distance + j as i32) as f32;
            }
        }
    }
}

/// The cache of one layer and one key-value head. Arrays of keys hold whole panels.
#[derive(Clone, Copy, Debug)]
pub enum Kv<'a> {
    /// As they are: for encoders, which keep them no longer than a layer, and as a yardstick for the other types.
    F32 {
        /// Keys in panels.
        k: &'a [f32],
        /// Values.
        v: &'a [f32],
    },
    /// Binary16 bits.
    F16 {
        /// Keys in panels.
        k: &'a [u16],
        /// Values.
        v: &'a [u16],
    },
    /// Int8 with a binary16 scale for every 32 dimensions.
    Q8 {
        /// Keys in panels.
        k: &'a [i8],
        /// Scales of the keys in panels.
        k_scales: &'a [u16],
        /// Values.
        v: &'a [i8],
        /// Scales of the values.
        v_scales: &'a [u16],
    },
}

/// The cache of one layer and one key-value head, to be written to.
#[derive(Debug)]
pub enum KvMut<'a> {
    /// See [`Kv::F32`].
    F32 {
        /// Keys in panels.
        k: &'a mut [f32],
        /// Values.
        v: &'a mut [f32],
    },
    /// See [`Kv::F16`].
    F16 {
        /// Keys in panels.
        k: &'a mut [u16],
        /// Values.
        v: &'a mut [u16],
    },
    /// See [`Kv::Q8`].
    Q8 {
        /// Keys in panels.
        k: &'a mut [i8],
        /// Scales of the keys in panels.
        k_scales: &'a mut [u16],
        /// Values.
        v: &'a mut [i8],
        /// Scales of the values.
        v_scales: &'a mut [u16],
    },
}

/// Fills one panel of a [`Kv::F32`] cache with up to [`KEYS`] keys of `panel.len() / KEYS` dimensions each, which begin `stride` apart.
pub fn fill_panel(keys: &[f32], stride: usize, panel: &mut [f32]) {
    let (dimensions, _) = panel.as_chunks_mut::<KEYS>();
    for (lane, key) in keys.chunks(stride.max(1)).take(KEYS).enumerate() {
        for (lanes, x) in dimensions.iter_mut().zip(key) {
            lanes[lane] = *x;
        }
    }
}

/// Rounds up to 32 values to int8; returns the scale's bits. As in the format Q8_0, with the scale saturated to be finite.
fn quantize(values: &[f32], mut put: impl FnMut(usize, i8)) -> u16 {
    let largest = values.iter().fold(0f32, |max, v| if v.abs() > max { v.abs() } else { max });
    let bits = f32_to_f16_saturating(largest / 127.0);
    let scale = f16_to_f32(bits);
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (i, v) in values.iter().enumerate() {
        put(i, math::round_even((v * factor).clamp(-127.0, 127.0)) as i8);
    }
    bits
}

/// Stores key and value (finite values, which saturate where the cache has binary16) as number `j`.
#[inline(always)]
pub fn store(kv: &mut KvMut, j: usize, key: &[f32], value: &[f32]) {
    let (key_dim, value_dim) = (key.len(), value.len());
    let (panel, lane) = (j / KEYS, j % KEYS);
    match kv {
        KvMut::F32 { k, v } => {
            for (d, x) in key.iter().enumerate() {
                k[(panel * key_dim + d) * KEYS + lane] = *x;
            }
            v[j * value_dim..][..value_dim].copy_from_slice(value);
        }
        KvMut::F16 { k, v } => {
            // Sixteen at a time, so that they are rounded by vectors before they are scattered.
            let at = |d: usize| (panel * key_dim + d) * KEYS + lane;
            let (sixteens, rest) = key.as_chunks::<16>();
            for (i, sixteen) in sixteens.iter().enumerate() {
                for (d, half) in sixteen.map(f32_to_f16_saturating).into_iter().enumerate() {
                    k[at(16 * i + d)] = half;
                }
            }
            for (d, x) in rest.iter().enumerate() {
                k[at(16 * sixteens.len() + d)] = f32_to_f16_saturating(*x);
            }
            for (v, x) in v[j * value_dim..][..value_dim].iter_mut().zip(value) {
                *v = f32_to_f16_saturating(*x);
            }
        }
        KvMut::Q8 { k, k_scales, v, v_scales } => {
            let groups = key_dim / SCALED;
            for (g, key) in key.chunks_exact(SCALED).enumerate() {
                let from = panel * key_dim + g * SCALED;
                k_scales[(panel * groups + g) * KEYS + lane] = quantize(key, |i, q| k[(from + i) * KEYS + lane] = q);
            }
            let groups = value_dim / SCALED;
            for (g, value) in value.chunks_exact(SCALED).enumerate() {
                v_scales[j * groups + g] = quantize(value, |i, q| v[j * value_dim + g * SCALED + i] = q);
            }
        }
    }
}

impl Kv<'_> {
    /// Whether the arrays hold all that [`attention`] with these arguments touches, the last keys as a whole panel, and keys and values are a number
    /// of whole eights of dimensions, or of whole groups that share a scale: what kernels count on. What does not is left to the law's checked
    /// accesses.
    pub fn holds(&self, q: &[f32], visible: &[Visible], spec: &Spec, out: &[f32]) -> bool {
        // Numbers that overflow fit no cache.
        let most = visible.iter().map(|visible| visible.to).max().unwrap_or(0);
        let elements =
            |keys: Option<usize>, dims: usize| keys.and_then(|keys| keys.checked_mul(dims)).unwrap_or(usize::MAX);
        let keys = elements(most.checked_next_multiple_of(KEYS), spec.key);
        let values = elements(Some(most), spec.value);
        let (complete, step) = match self {
            Kv::F32 { k, v } => (k.len() >= keys && v.len() >= values, 8),
            Kv::F16 { k, v } => (k.len() >= keys && v.len() >= values, 8),
            Kv::Q8 { k, k_scales, v, v_scales } => {
                let complete = k.len() >= keys && v.len() >= values;
                (complete && k_scales.len() >= keys / SCALED && v_scales.len() >= values / SCALED, SCALED)
            }
        };
        let whole = |dims: usize| dims > 0 && dims.is_multiple_of(step);
        let of = |dims: usize| visible.len().saturating_mul(dims);
        complete && whole(spec.key) && whole(spec.value) && q.len() >= of(spec.key) && out.len() >= of(spec.value)
    }

    /// `q · k[j]`, dimensions in order; with scales, each group of 32 is summed by itself and then added.
    fn score(&self, q: &[f32], j: usize) -> f32 {
        let (panel, lane) = (j / KEYS, j % KEYS);
        let dims = q.len();
        let mut sum = 0f32;
        match self {
            Kv::F16 { k, .. } => {
                for (d, q) in q.iter().enumerate() {
                    sum += q * f16_to_f32(k[(panel * dims + d) * KEYS + lane]);
                }
            }
            Kv::F32 { k, .. } => {
                for (d, q) in q.iter().enumerate() {
                    sum += q * k[(panel * dims + d) * KEYS + lane];
                }
            }
            Kv::Q8 { k, k_scales, .. } => {
                let groups = dims / SCALED;
                for (g, q) in q.chunks_exact(SCALED).enumerate() {
                    let mut part = 0f32;
                    for (i, q) in q.iter().enumerate() {
                        part += q * k[(panel * dims + g * SCALED + i) * KEYS + lane] as f32;
                    }
                    sum += f16_to_f32(k_scales[(panel * groups + g) * KEYS + lane]) * part;
                }
            }
        }
        sum
    }

    /// `o += p * v[j]`; with scales, `o += (p * scale) * v[j]`.
    fn accumulate(&self, p: f32, j: usize, o: &mut [f32]) {
        let dims = o.len();
        match self {
            Kv::F16 { v, .. } => {
                for (o, v) in o.iter_mut().zip(&v[j * dims..]) {
                    *o += p * f16_to_f32(*v);
                }
            }
            Kv::F32 { v, .. } => {
                for (o, v) in o.iter_mut().zip(&v[j * dims..]) {
                    *o += p * v;
                }
            }
            Kv::Q8 { v, v_scales, .. } => {
                let groups = dims / SCALED;
                for (g, o) in o.chunks_exact_mut(SCALED).enumerate() {
                    let weight = p * f16_to_f32(v_scales[j * groups + g]);
                    for (o, v) in o.iter_mut().zip(&v[j * dims + g * SCALED..]) {
                        *o += weight * *v as f32;
                    }
                }
            }
        }
    }
}

/// Step 2 and 3 of the law for one chunk: turns scores into weights and returns the factor for the older sums.
/// The scores `from .. n` are of visible keys, at least one.
#[inline(always)]
pub fn softmax_chunk(scores: &mut [f32; CHUNK], from: usize, n: usize, largest: &mut f32, sum: &mut f32) -> f32 {
    // A length that the compiler does not know keeps it from taking the loops apart, number by number.
    let (seen, beyond) = scores.split_at_mut(n.next_multiple_of(STRIPES).min(CHUNK));
    seen[..from].fill(f32::NEG_INFINITY);
    seen[n..].fill(f32::NEG_INFINITY);
    beyond.fill(0.0);
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; STRIPES];
    for part in seen.as_chunks::<STRIPES>().0 {
        for i in 0..STRIPES {
            lanes[i] = larger(lanes[i], part[i]);
        }
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = larger(lanes[i], lanes[i + width]);
        }
    }
    let new = larger(*largest, lanes[0]);
    let correction = exp(*largest - new);
    for score in seen.iter_mut() {
        *score = exp(*score - new);
    }
    *largest = new;
    *sum = *sum * correction + ops::sum(seen);
    correction
}

/// The law. `q` and `out` hold one head for each entry of `visible`. The dimensions are multiples of 32 for a [`Kv::Q8`] cache.
pub fn attention(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]) {
    let heads = q.chunks_exact(spec.key).zip(out.chunks_exact_mut(spec.value));
    for (number, ((q, out), Visible { from, to })) in heads.zip(visible).enumerate() {
        let (mut largest, mut sum) = spec.start(number);
        out.fill(0.0);
        for start in (from / CHUNK * CHUNK..*to).step_by(CHUNK) {
            let (from, n) = (from.saturating_sub(start), (to - start).min(CHUNK));
            let mut scores = [0f32; CHUNK];
            for (j, score) in scores[..n].iter_mut().enumerate().skip(from) {
                *score = kv.score(q, start + j) * spec.scale;
            }
            spec.bend(number, to - 1, start, &mut scores[..n]);
            let correction = softmax_chunk(&mut scores, from, n, &mut largest, &mut sum);
            for o in out.iter_mut() {
                *o = *o * correction + 0.0;
            }
            for (j, p) in scores[..n].iter().enumerate().skip(from) {
                kv.accumulate(*p, start + j, out);
            }
        }
        let inverse = 1.0 / sum;
        for o in out.iter_mut() {
            *o *= inverse;
        }
    }
}
