//! Attention: keys in lanes for the scores, dimensions in lanes for the values, up to four queries at a time.

use super::load_legacy::{Sixteen, eight_f16s, nothing, sixteen_f16s};
use core::arch::aarch64::*;
use smidgen_quant::attention::{self, CHUNK, KEYS, Kv, SCALED, Spec, Visible, softmax_chunk};
use smidgen_quant::f16_to_f32;

/// Queries that share each load of a key or a value.
const QUERIES: usize = 4;

/// Reads a cache.
///
/// # Safety
/// Needs NEON; the panel, key, dimension and group exist in the cache.
trait Cache: Copy {
    /// Whether each 32 dimensions have a scale.
    const SCALES: bool;
    /// Whether three queries are worth code of their own: decoding has as many as heads share a key.
    const THREE: bool = true;
    /// Dimension `d` (counted through all panels) of a panel's 16 keys.
    unsafe fn keys(self, d: usize) -> Sixteen;
    /// Scales of a panel's 16 keys, groups counted through all panels.
    unsafe fn key_scales(self, _: usize) -> Sixteen {
        [nothing(); 4]
    }
    /// Eight neighbouring elements of the values.
    unsafe fn values(self, at: usize) -> [float32x4_t; 2];
    /// Scale of a group of a value, groups counted through all values.
    unsafe fn value_scale(self, _: usize) -> f32 {
        1.0
    }
}

#[derive(Clone, Copy)]
struct F32<'a>(&'a [f32], &'a [f32]);

impl Cache for F32<'_> {
    const SCALES: bool = false;
    const THREE: bool = false;

    #[inline(always)]
    unsafe fn keys(self, d: usize) -> Sixteen {
        let from = self.0.as_ptr().add(d * KEYS);
        [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))]
    }
    #[inline(always)]
    unsafe fn values(self, at: usize) -> [float32x4_t; 2] {
        let from = self.1.as_ptr().add(at);
        [vld1q_f32(from), vld1q_f32(from.add(4))]
    }
}

#[derive(Clone, Copy)]
struct F16<'a>(&'a [u16], &'a [u16]);

impl Cache for F16<'_> {
    const SCALES: bool = false;

    #[inline(always)]
    unsafe fn keys(self, d: usize) -> Sixteen {
        sixteen_f16s(self.0.as_ptr().add(d * KEYS))
    }
    #[inline(always)]
    unsafe fn values(self, at: usize) -> [float32x4_t; 2] {
        eight_f16s(self.1.as_ptr().add(at))
    }
}

#[derive(Clone, Copy)]
struct Int8<'a> {
    k: &'a [i8],
    k_scales: &'a [u16],
    v: &'a [i8],
    v_scales: &'a [u16],
}

/// Eight bytes as floats.
#[inline(always)]
unsafe fn eight_bytes(bytes: int8x8_t) -> [float32x4_t; 2] {
    let wide = vmovl_s8(bytes);
    [vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))]
}

impl Cache for Int8<'_> {
    const SCALES: bool = true;

    #[inline(always)]
    unsafe fn keys(self, d: usize) -> Sixteen {
        let bytes = vld1q_s8(self.k.as_ptr().add(d * KEYS));
        let ([a, b], [c, d]) = (eight_bytes(vget_low_s8(bytes)), eight_bytes(vget_high_s8(bytes)));
        [a, b, c, d]
    }
    #[inline(always)]
    unsafe fn key_scales(self, group: usize) -> Sixteen {
        sixteen_f16s(self.k_scales.as_ptr().add(group * KEYS))
    }
    #[inline(always)]
    unsafe fn values(self, at: usize) -> [float32x4_t; 2] {
        eight_bytes(vld1_s8(self.v.as_ptr().add(at)))
    }
    #[inline(always)]
    unsafe fn value_scale(self, group: usize) -> f32 {
        f16_to_f32(*self.v_scales.get_unchecked(group))
    }
}

/// See [`attention::attention`].
pub(super) fn attend(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]) {
    if !kv.holds(q, visible, spec, out) {
        return attention::attention(q, visible, spec, kv, out);
    }
    let (q, out) = (&q[..visible.len() * spec.key], &mut out[..visible.len() * spec.value]);
    let tiles = q.chunks(QUERIES * spec.key).zip(out.chunks_mut(QUERIES * spec.value)).zip(visible.chunks(QUERIES));
    for (tile, ((q, out), visible)) in tiles.enumerate() {
        let queries = Queries { number: tile * QUERIES, q, visible };
        // SAFETY: the cache holds the panels of the most keys that are visible and as many values, `q` and `out` the queries of `visible`, and the
        // dimensions fill whole steps.
        unsafe {
            match kv {
                Kv::F32 { k, v } => some(F32(k, v), queries, spec, out),
                Kv::F16 { k, v } => some(F16(k, v), queries, spec, out),
                Kv::Q8 { k, k_scales, v, v_scales } => some(Int8 { k, k_scales, v, v_scales }, queries, spec, out),
            }
        }
    }
}

/// Some of the queries of a call.
#[derive(Clone, Copy)]
struct Queries<'a> {
    /// Number in the call of the first.
    number: usize,
    q: &'a [f32],
    visible: &'a [Visible],
}

#[inline(always)]
unsafe fn some<C: Cache>(cache: C, queries: Queries, spec: &Spec, out: &mut [f32]) {
    match queries.visible.len() {
        QUERIES => tile::<C, QUERIES>(cache, queries, spec, out),
        3 if C::THREE => tile::<C, 3>(cache, queries, spec, out),
        _ => {
            let Queries { number, q, visible } = queries;
            let each = q.chunks(spec.key).zip(visible.chunks(1)).zip(out.chunks_mut(spec.value));
            for (i, ((q, visible), out)) in each.enumerate() {
                tile::<C, 1>(cache, Queries { number: number + i, q, visible }, spec, out);
            }
        }
    }
}

/// `N` queries.
#[inline(always)]
unsafe fn tile<C: Cache, const N: usize>(cache: C, queries: Queries, spec: &Spec, out: &mut [f32]) {
    let Queries { number, q, visible } = queries;
    let most = visible.iter().map(|visible| visible.to).max().unwrap_or(0);
    let least = visible.iter().map(|visible| visible.from).min().unwrap_or(0);
    let (mut largest, mut sum) = ([0f32; N], [0f32; N]);
    for i in 0..N {
        (largest[i], sum[i]) = spec.start(number + i);
    }
    let mut weights = [[0f32; CHUNK]; N];
    out.fill(0.0);
    for start in (least / CHUNK * CHUNK..most).step_by(CHUNK) {
        let keys = CHUNK.min(most - start);
        // `start + keys <= most`, rounded up to whole panels inside the cache.
        scores::<C, N>(cache, q, start, keys, spec, &mut weights);
        let mut correction = [1f32; N];
        for i in 0..N {
            let Visible { from, to } = visible[i];
            let (from, n) = (from.saturating_sub(start), to.saturating_sub(start).min(CHUNK));
            if from < n {
                if spec.bends() {
                    bend(spec, number + i, to - 1, start, &mut weights[i][..n]);
                }
                correction[i] = softmax(&mut weights[i], from, n, &mut largest[i], &mut sum[i]);
            } else {
                weights[i] = [0.0; CHUNK];
            }
        }
        let (mut d, dims) = (0, spec.value);
        // `d` stays below `dims`, a multiple of 8.
        while d + 16 <= dims {
            values::<C, N, 2>(cache, &weights, &correction, start, keys, dims, d, out);
            d += 16;
        }
        if d < dims {
            for (i, out) in out.chunks_exact_mut(dims).enumerate() {
                let (weights, correction) = (&[weights[i]], &[correction[i]]);
                values::<C, 1, 1>(cache, weights, correction, start, keys, dims, d, out);
            }
        }
    }
    for (out, sum) in out.chunks_exact_mut(spec.value).zip(sum) {
        let inverse = 1.0 / sum;
        for o in out {
            *o *= inverse;
        }
    }
}

/// [`softmax_chunk`], compiled once for all caches.
#[inline(never)]
fn softmax(scores: &mut [f32; CHUNK], from: usize, n: usize, largest: &mut f32, sum: &mut f32) -> f32 {
    softmax_chunk(scores, from, n, largest, sum)
}

/// [`Spec::bend`], compiled once for all caches.
#[inline(never)]
fn bend(spec: &Spec, number: usize, own: usize, start: usize, scores: &mut [f32]) {
    spec.bend(number, own, start, scores);
}

/// The scores of `keys` keys from `start` on, a multiple of [`CHUNK`].
#[inline(always)]
unsafe fn scores<C: Cache, const N: usize>(
    cache: C,
    q: &[f32],
    start: usize,
    keys: usize,
    spec: &Spec,
    out: &mut [[f32; CHUNK]; N],
) {
    let dims = spec.key;
    for first in (0..keys).step_by(KEYS) {
        let panel = (start + first) / KEYS;
        let mut total = [[nothing(); 4]; N];
        let group_len = if C::SCALES { SCALED } else { dims };
        for group in 0..dims / group_len {
            let mut acc = [[nothing(); 4]; N];
            for d in group * group_len..(group + 1) * group_len {
                let k = cache.keys(panel * dims + d);
                for i in 0..N {
                    let q = *q.get_unchecked(i * dims + d);
                    for part in 0..4 {
                        acc[i][part] = vaddq_f32(acc[i][part], vmulq_n_f32(k[part], q));
                    }
                }
            }
            if C::SCALES {
                let scales = cache.key_scales(panel * (dims / SCALED) + group);
                for i in 0..N {
                    for part in 0..4 {
                        total[i][part] = vaddq_f32(total[i][part], vmulq_f32(scales[part], acc[i][part]));
                    }
                }
            } else {
                total = acc;
            }
        }
        for i in 0..N {
            for part in 0..4 {
                let at = out[i].as_mut_ptr().add(first + 4 * part);
                vst1q_f32(at, vmulq_n_f32(total[i][part], spec.scale));
            }
        }
    }
}

/// Adds the weighted values of `keys` keys from `start` on to `8 W` dimensions from `d` on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of one loop of `tile`")]
unsafe fn values<C: Cache, const N: usize, const W: usize>(
    cache: C,
    weights: &[[f32; CHUNK]; N],
    correction: &[f32; N],
    start: usize,
    keys: usize,
    dims: usize,
    d: usize,
    out: &mut [f32],
) {
    let out = out.as_mut_ptr();
    let mut acc = [[[nothing(); 2]; W]; N];
    for i in 0..N {
        for w in 0..W {
            for half in 0..2 {
                let o = vld1q_f32(out.add(i * dims + d + 8 * w + 4 * half));
                acc[i][w][half] = vaddq_f32(vmulq_n_f32(o, correction[i]), nothing());
            }
        }
    }
    for j in 0..keys {
        let mut v = [[nothing(); 2]; W];
        for (w, v) in v.iter_mut().enumerate() {
            *v = cache.values((start + j) * dims + d + 8 * w);
        }
        let scale = if C::SCALES { cache.value_scale(((start + j) * dims + d) / SCALED) } else { 1.0 };
        for i in 0..N {
            let p = if C::SCALES { weights[i][j] * scale } else { weights[i][j] };
            for w in 0..W {
                for half in 0..2 {
                    acc[i][w][half] = vaddq_f32(acc[i][w][half], vmulq_n_f32(v[w][half], p));
                }
            }
        }
    }
    for i in 0..N {
        for w in 0..W {
            for half in 0..2 {
                vst1q_f32(out.add(i * dims + d + 8 * w + 4 * half), acc[i][w][half]);
            }
        }
    }
}
