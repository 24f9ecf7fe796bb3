//! Attention of one query over a key-value cache, streaming over the context (Milakov and Gimelshein, "Online normalizer calculation
//! for softmax"; Dao et al., "FlashAttention").
//!
//! The law, for a query `q` that sees the keys `0 .. visible`: the context is cut into chunks of [`CHUNK`] keys; for each chunk, with `m`
//! the largest score so far (`-inf` at first), `l` the sum of weights, `o` the weighted sum of values:
//!
//! 1. `s[j] = score(q, k[j]) * scale`, the dot product summed over the dimensions in order;
//! 2. `m' = max(m, s)`, `c = exp(m - m')`, `p[j] = exp(s[j] - m')`, and zero for the keys that are not visible;
//! 3. `l = l * c + striped_sum(p)` over the chunk's 64 values;
//! 4. `o = o * c + 0.0`, then `o += p[j] * v[j]` with `j` in order.
//!
//! The result is `o * (1 / l)`. Adding `0.0` removes a negative zero, after which a key of weight zero changes nothing: a
//! kernel may take whole tiles of queries that see different numbers of keys. The cache's values are finite by construction.
//!
//! Lanes are keys for the scores, dimensions for the values. So keys lie in panels of [`KEYS`], dimension by dimension:
//!
//! | array | index of dimension `d` of key `j` |
//! |---|---|
//! | keys | `(j / 16 * head_dim + d) * 16 + j % 16` |
//! | values | `j * head_dim + d` |
//! | scales of keys (`Q8` only, one for 32 dimensions) | `(j / 16 * head_dim / 32 + d / 32) * 16 + j % 16` |
//! | scales of values (`Q8` only) | `j * head_dim / 32 + d / 32` |

use crate::math::{self, exp};
use crate::ops::{self, STRIPES};
use crate::{f16_to_f32, f32_to_f16_saturating};

/// Keys between two rescalings of the running sums.
pub const CHUNK: usize = 64;
/// Keys in a panel.
pub const KEYS: usize = 16;
/// Dimensions that share one scale in a [`Kv::Q8`] cache.
pub const SCALED: usize = 32;

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

/// Stores key and value (`head_dim` finite values each, which saturate where the cache has binary16) as number `j`.
#[inline(always)]
pub fn store(kv: &mut KvMut, j: usize, key: &[f32], value: &[f32]) {
    let head_dim = key.len();
    let (panel, lane) = (j / KEYS, j % KEYS);
    match kv {
        KvMut::F32 { k, v } => {
            for (d, x) in key.iter().enumerate() {
                k[(panel * head_dim + d) * KEYS + lane] = *x;
            }
            v[j * head_dim..][..head_dim].copy_from_slice(value);
        }
        KvMut::F16 { k, v } => {
            // Sixteen at a time, so that they are rounded by vectors before they are scattered.
            let at = |d: usize| (panel * head_dim + d) * KEYS + lane;
            let (sixteens, rest) = key.as_chunks::<16>();
            for (i, sixteen) in sixteens.iter().enumerate() {
                for (d, half) in sixteen.map(f32_to_f16_saturating).into_iter().enumerate() {
                    k[at(16 * i + d)] = half;
                }
            }
            for (d, x) in rest.iter().enumerate() {
                k[at(16 * sixteens.len() + d)] = f32_to_f16_saturating(*x);
            }
            for (v, x) in v[j * head_dim..][..head_dim].iter_mut().zip(value) {
                *v = f32_to_f16_saturating(*x);
            }
        }
        KvMut::Q8 { k, k_scales, v, v_scales } => {
            let groups = head_dim / SCALED;
            for g in 0..groups {
                let (from, to) = (g * SCALED, (g + 1) * SCALED);
                k_scales[(panel * groups + g) * KEYS + lane] =
                    quantize(&key[from..to], |i, q| k[(panel * head_dim + from + i) * KEYS + lane] = q);
                v_scales[j * groups + g] = quantize(&value[from..to], |i, q| v[j * head_dim + from + i] = q);
            }
        }
    }
}

impl Kv<'_> {
    /// Whether the arrays hold all that [`attention`] with these arguments touches, the last keys as a whole panel, and a head is a number of whole
    /// eights of dimensions, or of whole groups that share a scale: what kernels count on. What does not is left to the law's checked accesses.
    pub fn holds(&self, q: &[f32], visible: &[usize], head_dim: usize, out: &[f32]) -> bool {
        // Numbers that overflow fit no cache.
        let most = visible.iter().max().copied().unwrap_or(0);
        let elements = |keys: Option<usize>| keys.and_then(|keys| keys.checked_mul(head_dim)).unwrap_or(usize::MAX);
        let (keys, values) = (elements(most.checked_next_multiple_of(KEYS)), elements(Some(most)));
        let queries = visible.len().saturating_mul(head_dim);
        let (complete, step) = match self {
            Kv::F32 { k, v } => (k.len() >= keys && v.len() >= values, 8),
            Kv::F16 { k, v } => (k.len() >= keys && v.len() >= values, 8),
            Kv::Q8 { k, k_scales, v, v_scales } => {
                let complete = k.len() >= keys && v.len() >= values;
                (complete && k_scales.len() >= keys / SCALED && v_scales.len() >= values / SCALED, SCALED)
            }
        };
        complete && head_dim > 0 && head_dim.is_multiple_of(step) && q.len() >= queries && out.len() >= queries
    }

    /// `q · k[j]`, dimensions in order; with scales, each group of 32 is summed by itself and then added.
    fn score(&self, q: &[f32], j: usize) -> f32 {
        let (panel, lane) = (j / KEYS, j % KEYS);
        let head_dim = q.len();
        let mut sum = 0f32;
        match self {
            Kv::F16 { k, .. } => {
                for (d, q) in q.iter().enumerate() {
                    sum += q * f16_to_f32(k[(panel * head_dim + d) * KEYS + lane]);
                }
            }
            Kv::F32 { k, .. } => {
                for (d, q) in q.iter().enumerate() {
                    sum += q * k[(panel * head_dim + d) * KEYS + lane];
                }
            }
            Kv::Q8 { k, k_scales, .. } => {
                let groups = head_dim / SCALED;
                for (g, q) in q.chunks_exact(SCALED).enumerate() {
                    let mut part = 0f32;
                    for (i, q) in q.iter().enumerate() {
                        part += q * k[(panel * head_dim + g * SCALED + i) * KEYS + lane] as f32;
                    }
                    sum += f16_to_f32(k_scales[(panel * groups + g) * KEYS + lane]) * part;
                }
            }
        }
        sum
    }

    /// `o += p * v[j]`; with scales, `o += (p * scale) * v[j]`.
    fn accumulate(&self, p: f32, j: usize, o: &mut [f32]) {
        let head_dim = o.len();
        match self {
            Kv::F16 { v, .. } => {
                for (o, v) in o.iter_mut().zip(&v[j * head_dim..]) {
                    *o += p * f16_to_f32(*v);
                }
            }
            Kv::F32 { v, .. } => {
                for (o, v) in o.iter_mut().zip(&v[j * head_dim..]) {
                    *o += p * v;
                }
            }
            Kv::Q8 { v, v_scales, .. } => {
                let groups = head_dim / SCALED;
                for (g, o) in o.chunks_exact_mut(SCALED).enumerate() {
                    let weight = p * f16_to_f32(v_scales[j * groups + g]);
                    for (o, v) in o.iter_mut().zip(&v[j * head_dim + g * SCALED..]) {
                        *o += weight * *v as f32;
                    }
                }
            }
        }
    }
}

/// Step 2 and 3 of the law for one chunk: turns scores into weights and returns the factor for the older sums.
/// `n` of the scores are visible, at least one.
#[inline(always)]
pub fn softmax_chunk(scores: &mut [f32; CHUNK], n: usize, largest: &mut f32, sum: &mut f32) -> f32 {
    // A length that the compiler does not know keeps it from taking the loops apart, number by number.
    let (seen, beyond) = scores.split_at_mut(n.next_multiple_of(STRIPES).min(CHUNK));
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

/// The law. `q` and `out` hold one head for each entry of `visible`, the number of keys that this query sees (at least 1).
/// `head_dim` is a multiple of 32 for a [`Kv::Q8`] cache.
pub fn attention(q: &[f32], visible: &[usize], head_dim: usize, scale: f32, kv: &Kv, out: &mut [f32]) {
    let heads = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
    for ((q, out), visible) in heads.zip(visible) {
        let (mut largest, mut sum) = (f32::NEG_INFINITY, 0f32);
        out.fill(0.0);
        for start in (0..*visible).step_by(CHUNK) {
            let n = (visible - start).min(CHUNK);
            let mut scores = [0f32; CHUNK];
            for (j, score) in scores[..n].iter_mut().enumerate() {
                *score = kv.score(q, start + j) * scale;
            }
            let correction = softmax_chunk(&mut scores, n, &mut largest, &mut sum);
            for o in out.iter_mut() {
                *o = *o * correction + 0.0;
            }
            for (j, p) in scores[..n].iter().enumerate() {
                kv.accumulate(*p, start + j, out);
            }
        }
        let inverse = 1.0 / sum;
        for o in out.iter_mut() {
            *o *= inverse;
        }
    }
}
