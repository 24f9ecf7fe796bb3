//! Attention: keys in lanes for the scores, dimensions in lanes for the values, several queries at a time.

use super::prefetch::prefetch;
use super::vec_f32::{VecF32, exp, tree};
use core::arch::x86_64::{__m256, __m512, _mm256_add_ps, _mm256_max_ps};
use core::array::from_fn;
use core::mem::MaybeUninit;
use smidgen_quant::attention::{self, CHUNK, KEYS, Kv, SCALED, Spec, Visible};
use smidgen_quant::f16_to_f32;

/// Vectors with what a machine does with them at once.
///
/// # Safety
/// As for [`VecF32`].
pub(super) trait Lanes: VecF32 {
    /// Queries that are worked on together where there are as many.
    const QUERIES: usize;
    /// [`step`] for `QUERIES`, four, three or one queries, with as many sums as registers hold.
    unsafe fn step<C: Cache>(chunk: Chunk<C>, queries: Queries);
    /// [`softmax`], compiled once for all caches and numbers of queries.
    unsafe fn softmax(scores: &mut [[f32; CHUNK]], start: usize, spec: &Spec, queries: &mut Queries) -> [f32; 8];
}

impl Lanes for __m256 {
    const QUERIES: usize = 4;

    #[inline(always)]
    unsafe fn step<C: Cache>(chunk: Chunk<C>, queries: Queries) {
        match queries.visible.len() {
            4 => step::<__m256, C, 4, 2, 2>(chunk, queries),
            3 if C::THREE => step::<__m256, C, 3, 2, 2>(chunk, queries),
            _ => step::<__m256, C, 1, 4, 4>(chunk, queries),
        }
    }
    #[inline(always)]
    unsafe fn softmax(scores: &mut [[f32; CHUNK]], start: usize, spec: &Spec, queries: &mut Queries) -> [f32; 8] {
        softmax_256(scores, start, spec, queries)
    }
}

impl Lanes for __m512 {
    const QUERIES: usize = 8;

    #[inline(always)]
    unsafe fn step<C: Cache>(chunk: Chunk<C>, queries: Queries) {
        match queries.visible.len() {
            8 if C::EIGHT => step::<__m512, C, 8, 2, 2>(chunk, queries),
            4 => step::<__m512, C, 4, 4, 4>(chunk, queries),
            3 if C::THREE => step::<__m512, C, 3, 4, 4>(chunk, queries),
            _ => step::<__m512, C, 1, 4, 4>(chunk, queries),
        }
    }
    #[inline(always)]
    unsafe fn softmax(scores: &mut [[f32; CHUNK]], start: usize, spec: &Spec, queries: &mut Queries) -> [f32; 8] {
        softmax_512(scores, start, spec, queries)
    }
}

/// Reads a cache.
///
/// # Safety
/// Needs the CPU features of the vectors; the elements exist in the cache.
pub(super) trait Cache: Copy {
    /// Whether each 32 dimensions have a scale.
    const SCALES: bool;
    /// Whether eight queries, and three, are worth code of their own.
    const EIGHT: bool = true;
    const THREE: bool = true;
    /// Asks for the lines with an element of the keys and with one of the values, where they may be far away. Harmless whatever the numbers are.
    #[inline(always)]
    fn prefetch_line(self, _key: usize, _value: usize) {}
    /// Neighbouring elements of the keys.
    unsafe fn keys<V: VecF32>(self, at: usize) -> V;
    /// Neighbouring scales of the keys.
    #[inline(always)]
    unsafe fn key_scales<V: VecF32>(self, _: usize) -> V {
        V::splat(1.0)
    }
    /// Neighbouring elements of the values.
    unsafe fn values<V: VecF32>(self, at: usize) -> V;
    /// A scale of the values.
    #[inline(always)]
    unsafe fn value_scale(self, _: usize) -> f32 {
        1.0
    }
}

#[derive(Clone, Copy)]
struct F16<'a>(&'a [u16], &'a [u16]);

impl Cache for F16<'_> {
    const SCALES: bool = false;
    // Where there are many queries, they see a chunk as `f32`.
    const EIGHT: bool = false;

    #[inline(always)]
    fn prefetch_line(self, key: usize, value: usize) {
        prefetch(self.0.as_ptr().wrapping_add(key).cast(), true);
        prefetch(self.1.as_ptr().wrapping_add(value).cast(), true);
    }
    #[inline(always)]
    unsafe fn keys<V: VecF32>(self, at: usize) -> V {
        V::f16s(self.0.as_ptr().add(at))
    }
    #[inline(always)]
    unsafe fn values<V: VecF32>(self, at: usize) -> V {
        V::f16s(self.1.as_ptr().add(at))
    }
}

#[derive(Clone, Copy)]
struct F32<'a>(&'a [f32], &'a [f32]);

impl Cache for F32<'_> {
    const SCALES: bool = false;
    // Three are as many as share a key head in a decoding step, whose keys are not `f32`.
    const THREE: bool = false;

    #[inline(always)]
    unsafe fn keys<V: VecF32>(self, at: usize) -> V {
        V::load(self.0.as_ptr().add(at))
    }
    #[inline(always)]
    unsafe fn values<V: VecF32>(self, at: usize) -> V {
        V::load(self.1.as_ptr().add(at))
    }
}

#[derive(Clone, Copy)]
struct Int8<'a> {
    k: &'a [i8],
    k_scales: &'a [u16],
    v: &'a [i8],
    v_scales: &'a [u16],
}

impl Cache for Int8<'_> {
    const SCALES: bool = true;

    #[inline(always)]
    fn prefetch_line(self, key: usize, value: usize) {
        prefetch(self.k.as_ptr().wrapping_add(key).cast(), true);
        prefetch(self.v.as_ptr().wrapping_add(value).cast(), true);
    }
    #[inline(always)]
    unsafe fn keys<V: VecF32>(self, at: usize) -> V {
        V::bytes(self.k.as_ptr().add(at))
    }
    #[inline(always)]
    unsafe fn key_scales<V: VecF32>(self, at: usize) -> V {
        V::f16s(self.k_scales.as_ptr().add(at))
    }
    #[inline(always)]
    unsafe fn values<V: VecF32>(self, at: usize) -> V {
        V::bytes(self.v.as_ptr().add(at))
    }
    #[inline(always)]
    unsafe fn value_scale(self, at: usize) -> f32 {
        f16_to_f32(*self.v_scales.get_unchecked(at))
    }
}

/// A chunk of keys and values.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a, C> {
    cache: C,
    /// Number of its first key.
    start: usize,
    /// Number of its first key in `cache`, a multiple of [`KEYS`].
    at: usize,
    spec: &'a Spec<'a>,
}

/// Some of the queries of a call, with what they have found so far.
pub(super) struct Queries<'a> {
    /// Number in the call of the first.
    number: usize,
    q: &'a [f32],
    visible: &'a [Visible],
    largest: &'a mut [f32],
    sum: &'a mut [f32],
    out: &'a mut [f32],
}

/// Queries that walk over the cache together.
const TOKENS_TOGETHER: usize = 64;
/// From so many queries on, a chunk is widened for all of them.
const MANY: usize = 16;
/// Elements of the keys, and of the values, of a chunk that is widened: heads of up to 256 dimensions.
const WIDENED: usize = CHUNK * 256;

/// See [`attention::attention`].
///
/// # Safety
/// Needs AVX2, F16C and the features of `V`.
#[inline(always)]
pub(super) unsafe fn attend<V: Lanes>(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]) {
    if !kv.holds(q, visible, spec, out) {
        return attention::attention(q, visible, spec, kv, out);
    }
    // The cache holds the panels of the most keys that are visible and as many values, `q` and `out` the queries, and the dimensions fill whole steps.
    match kv {
        Kv::F32 { k, v } => together::<V, _>(F32(k, v), None, q, visible, spec, out),
        Kv::F16 { k, v } => together::<V, _>(F16(k, v), None, q, visible, spec, out),
        Kv::Q8 { k, k_scales, v, v_scales } => {
            together::<V, _>(Int8 { k, k_scales, v, v_scales }, None, q, visible, spec, out)
        }
    }
}

/// Whether [`attend_many`] is faster.
pub(super) fn are_many(visible: &[Visible], spec: &Spec, kv: &Kv) -> bool {
    visible.len() >= MANY && matches!(kv, Kv::F16 { .. }) && spec.key.max(spec.value) <= WIDENED / CHUNK
}

/// As [`attend`]; a chunk of binary16 numbers is widened to `f32` once, before all queries see it.
///
/// # Safety
/// As for [`attend`].
#[inline(always)]
pub(super) unsafe fn attend_many<V: Lanes>(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]) {
    let Kv::F16 { k, v } = kv else { return };
    if !kv.holds(q, visible, spec, out) || spec.key.max(spec.value) > WIDENED / CHUNK {
        return attention::attention(q, visible, spec, kv, out);
    }
    let (mut wide_k, mut wide_v) = ([MaybeUninit::uninit(); WIDENED], [MaybeUninit::uninit(); WIDENED]);
    let wide = Some((&mut wide_k, &mut wide_v));
    // As in `attend`, and the dimensions of a chunk fit the arrays.
    together::<V, _>(F16(k, v), wide, q, visible, spec, out)
}

/// Where the keys and the values of a chunk are widened to.
type Wide<'a> = (&'a mut [MaybeUninit<f32>; WIDENED], &'a mut [MaybeUninit<f32>; WIDENED]);

/// All queries, some of which walk over the cache together; its chunks are widened if there is room for it.
#[inline(always)]
unsafe fn together<V: Lanes, C: Cache>(
    cache: C,
    mut wide: Option<Wide>,
    q: &[f32],
    visible: &[Visible],
    spec: &Spec,
    out: &mut [f32],
) {
    let span = |dims: usize| TOKENS_TOGETHER.saturating_mul(dims);
    let calls =
        q.chunks(span(spec.key)).zip(out.chunks_mut(span(spec.value))).zip(visible.chunks(TOKENS_TOGETHER)).enumerate();
    for (call, ((q, out), visible)) in calls {
        let number = call * TOKENS_TOGETHER;
        let (mut largest, mut sum) = ([f32::NEG_INFINITY; TOKENS_TOGETHER], [0f32; TOKENS_TOGETHER]);
        if !spec.sinks.is_empty() {
            for i in 0..visible.len() {
                (largest[i], sum[i]) = spec.start(number + i);
            }
        }
        let out = &mut out[..visible.len() * spec.value];
        out.fill(0.0);
        let most = visible.iter().map(|visible| visible.to).max().unwrap_or(0);
        let least = visible.iter().map(|visible| visible.from).min().unwrap_or(0);
        for start in (least / CHUNK * CHUNK..most).step_by(CHUNK) {
            let queries = Queries { number, q, visible, largest: &mut largest, sum: &mut sum, out };
            match &mut wide {
                Some(wide) => {
                    let cache = widened(cache, start, CHUNK.min(most - start), spec, wide);
                    all::<V, _>(Chunk { cache, start, at: 0, spec }, queries);
                }
                None => all::<V, _>(Chunk { cache, start, at: start, spec }, queries),
            }
        }
        for (out, sum) in out.chunks_exact_mut(spec.value).zip(sum) {
            let inverse = 1.0 / sum;
            for o in out {
                *o *= inverse;
            }
        }
    }
}

/// `keys` keys from `start` on, and their values, as `f32`.
#[inline(always)]
unsafe fn widened<'a, C: Cache>(cache: C, start: usize, keys: usize, spec: &Spec, to: &'a mut Wide) -> F32<'a> {
    let (panels, values) = (keys.next_multiple_of(KEYS) * spec.key, keys * spec.value);
    let (k, v) = (to.0.as_mut_ptr().cast::<f32>(), to.1.as_mut_ptr().cast::<f32>());
    // The lengths are multiples of eight, fit the arrays, and are written before they are read.
    for i in (0..panels).step_by(8) {
        cache.keys::<__m256>(start * spec.key + i).store(k.add(i));
    }
    for i in (0..values).step_by(8) {
        cache.values::<__m256>(start * spec.value + i).store(v.add(i));
    }
    F32(core::slice::from_raw_parts(k, panels), core::slice::from_raw_parts(v, values))
}

/// Shows a chunk to all queries, some at a time.
#[inline(always)]
unsafe fn all<V: Lanes, C: Cache>(chunk: Chunk<C>, queries: Queries) {
    let Queries { mut number, mut q, mut visible, mut largest, mut sum, mut out } = queries;
    let Spec { key, value, .. } = *chunk.spec;
    while !visible.is_empty() {
        let n = match visible.len() {
            8.. if C::EIGHT && V::QUERIES == 8 => 8,
            4.. => 4,
            3 if C::THREE => 3,
            _ => 1,
        };
        let (now, later) = (largest.split_at_mut(n), sum.split_at_mut(n));
        let these = out.split_at_mut(n * value);
        let queries = Queries { number, q, visible: &visible[..n], largest: now.0, sum: later.0, out: these.0 };
        V::step(chunk, queries);
        (q, visible, largest, sum, out) = (&q[n * key..], &visible[n..], now.1, later.1, these.1);
        number += n;
    }
}

/// Shows a chunk to `N` queries; `K` vectors of keys at a time for the scores, and `W` of dimensions for the values.
#[inline(always)]
unsafe fn step<V: Lanes, C: Cache, const N: usize, const K: usize, const W: usize>(
    chunk: Chunk<C>,
    mut queries: Queries,
) {
    let Chunk { cache, start, at, spec } = chunk;
    let q = queries.q;
    let seen = queries.visible.iter().map(|visible| visible.to).max().map_or(0, |most| most.saturating_sub(start));
    let keys = seen.min(CHUNK);
    // The windows of all of them may begin later.
    if keys == 0 || queries.visible.iter().all(|visible| visible.from >= start + CHUNK) {
        return;
    }
    // The chunk whose keys are prefetched: the next one, if there is one.
    let next = if seen > CHUNK { at + CHUNK } else { at };
    let mut weights = [[0f32; CHUNK]; N];
    let (panels, mut first) = (keys.next_multiple_of(KEYS), 0);
    // The chunk has `keys` keys, rounded up to whole panels inside the cache.
    while first + K * V::LEN <= panels {
        scores::<V, C, N, K>(cache, q, at, next, first, spec, &mut weights);
        first += K * V::LEN;
    }
    while first < panels {
        scores::<V, C, N, 1>(cache, q, at, next, first, spec, &mut weights);
        first += V::LEN;
    }
    let correction = V::softmax(&mut weights, start, spec, &mut queries);
    let (out, value) = (queries.out, spec.value);
    // `d` stays below `value`, a multiple of 8.
    let mut d = 0;
    while d + W * V::LEN <= value {
        values::<V, C, N, W>(cache, &weights, &correction, at, keys, value, d, out);
        d += W * V::LEN;
    }
    // What is left has few dimensions, or heads of a rare size.
    while d < value {
        let whole = d + V::LEN <= value;
        for (i, out) in out.chunks_exact_mut(value).enumerate() {
            let (weights, correction) = (&[weights[i]], &correction[i..]);
            if whole {
                values::<V, C, 1, 1>(cache, weights, correction, at, keys, value, d, out);
            } else {
                values::<__m256, C, 1, 1>(cache, weights, correction, at, keys, value, d, out);
            }
        }
        d += if whole { V::LEN } else { 8 };
    }
}

/// Steps 2 and 3 of the reference for the chunk at `start` and at most eight queries: turns scores into weights and returns the factors for the older sums.
#[inline(always)]
unsafe fn softmax<V: VecF32>(
    scores: &mut [[f32; CHUNK]],
    start: usize,
    spec: &Spec,
    queries: &mut Queries,
) -> [f32; 8] {
    let Queries { number, visible, largest, sum, .. } = queries;
    let (mut shrunk, mut correction) = ([0f32; 8], [0f32; 8]);
    // None of a chunk in which the window has not begun.
    let seen = |i: usize| {
        let Visible { from, to } = visible[i];
        if from < start + CHUNK { to.saturating_sub(start).min(CHUNK) } else { 0 }
    };
    // A panel of scores is a number of whole vectors.
    for (i, scores) in scores.iter_mut().enumerate() {
        let (n, panels) = (seen(i), seen(i).next_multiple_of(KEYS));
        if spec.bends() && n > 0 {
            spec.bend(*number + i, visible[i].to - 1, start, &mut scores[..panels]);
        }
        let from = visible[i].from.saturating_sub(start).min(n);
        if from > 0 {
            scores[..from].fill(f32::NEG_INFINITY);
        }
        scores[n..panels].fill(f32::NEG_INFINITY);
        scores[panels..].fill(0.0);
        let mut most = [V::splat(f32::NEG_INFINITY); 2];
        for at in (0..panels).step_by(KEYS) {
            for part in 0..KEYS / V::LEN {
                most[part] = V::load(scores.as_ptr().add(at + part * V::LEN)).larger(most[part]);
            }
        }
        let most = tree(V::stripes(most), |a, b| _mm256_max_ps(b, a));
        let new = if most > largest[i] { most } else { largest[i] };
        // A query that sees nothing here has nothing to shrink, also while it has seen nothing at all.
        shrunk[i] = if n > 0 { largest[i] - new } else { 0.0 };
        largest[i] = new;
    }
    exp([__m256::load(shrunk.as_ptr())])[0].store(correction.as_mut_ptr());
    for (i, scores) in scores.iter_mut().enumerate() {
        let mut total = [V::splat(0.0); 2];
        let (mut at, panels) = (0, seen(i).next_multiple_of(KEYS));
        while at + 4 * V::LEN <= panels {
            weigh::<V, 4>(scores.as_mut_ptr().add(at), largest[i], &mut total);
            at += 4 * V::LEN;
        }
        while at < panels {
            let scores = scores.as_mut_ptr().add(at);
            if V::LEN == KEYS {
                weigh::<V, 1>(scores, largest[i], &mut total);
            } else {
                weigh::<V, 2>(scores, largest[i], &mut total);
            }
            at += KEYS;
        }
        sum[i] = sum[i] * correction[i] + tree(V::stripes(total), |a, b| _mm256_add_ps(a, b));
    }
    correction
}

/// Turns `N` vectors of scores, whole panels, into weights, and adds them to the totals of a panel's vectors.
#[inline(always)]
unsafe fn weigh<V: VecF32, const N: usize>(scores: *mut f32, largest: f32, total: &mut [V; 2]) {
    let weights = exp(from_fn::<_, N, _>(|n| V::load(scores.add(n * V::LEN)).sub(V::splat(largest))));
    for (n, weight) in weights.iter().enumerate() {
        weight.store(scores.add(n * V::LEN));
        let total = &mut total[n % (KEYS / V::LEN)];
        *total = total.add(*weight);
    }
}

/// Compiled once for all caches and numbers of queries.
macro_rules! softmax_for {
    ($name:ident, $vector:ty, $features:literal) => {
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn $name(scores: &mut [[f32; CHUNK]], start: usize, spec: &Spec, queries: &mut Queries) -> [f32; 8] {
            softmax::<$vector>(scores, start, spec, queries)
        }
    };
}
softmax_for!(softmax_256, __m256, "avx2,f16c");
softmax_for!(softmax_512, __m512, "avx2,f16c,avx512f,avx512dq");

/// The scores of `K` vectors of keys, written from `first` on; they are in the cache from key `at + first` on. Meanwhile their values are prefetched,
/// and as many keys of the chunk `next`.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of one loop of `step`")]
unsafe fn scores<V: VecF32, C: Cache, const N: usize, const K: usize>(
    cache: C,
    q: &[f32],
    at: usize,
    next: usize,
    first: usize,
    spec: &Spec,
    out: &mut [[f32; CHUNK]; N],
) {
    let dims = spec.key;
    // Where the vector's keys begin in a panel, and how many dimensions are in the panels before.
    let place = |k: usize| ((first + k * V::LEN) % KEYS, (at + first + k * V::LEN) / KEYS * dims);
    let mut total = [[V::splat(0.0); K]; N];
    let group_len = if C::SCALES { SCALED } else { dims };
    for group in 0..dims / group_len {
        let mut acc = [[V::splat(0.0); K]; N];
        for d in group * group_len..(group + 1) * group_len {
            let line = (first + at) * dims + d * K * V::LEN;
            cache.prefetch_line(line + (next - at) * dims, line);
            if K * V::LEN > 32 {
                cache.prefetch_line(line + (next - at) * dims + 32, line + 32);
            }
            let mut keys = [V::splat(0.0); K];
            for k in 0..K {
                let (lane, before) = place(k);
                keys[k] = cache.keys((before + d) * KEYS + lane);
            }
            for i in 0..N {
                let q = V::splat(*q.get_unchecked(i * dims + d));
                for k in 0..K {
                    acc[i][k] = acc[i][k].add(q.mul(keys[k]));
                }
            }
        }
        if C::SCALES {
            for k in 0..K {
                let (lane, before) = place(k);
                let scales = cache.key_scales::<V>((before / SCALED + group) * KEYS + lane);
                for i in 0..N {
                    total[i][k] = total[i][k].add(scales.mul(acc[i][k]));
                }
            }
        } else {
            total = acc;
        }
    }
    let scale = V::splat(spec.scale);
    for i in 0..N {
        for k in 0..K {
            total[i][k].mul(scale).store(out[i].as_mut_ptr().add(first + k * V::LEN));
        }
    }
}

/// Adds the weighted values of `keys` keys from `from` on to `W` vectors of dimensions from `d` on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of one loop of `step`")]
unsafe fn values<V: VecF32, C: Cache, const N: usize, const W: usize>(
    cache: C,
    weights: &[[f32; CHUNK]; N],
    correction: &[f32],
    from: usize,
    keys: usize,
    dims: usize,
    d: usize,
    out: &mut [f32],
) {
    let out = out.as_mut_ptr();
    let mut acc = [[V::splat(0.0); W]; N];
    for i in 0..N {
        for w in 0..W {
            let o = V::load(out.add(i * dims + d + w * V::LEN));
            acc[i][w] = o.mul(V::splat(correction[i])).add(V::splat(0.0));
        }
    }
    for j in 0..keys {
        let at = (from + j) * dims + d;
        let mut v = [V::splat(0.0); W];
        for w in 0..W {
            v[w] = cache.values(at + w * V::LEN);
        }
        for i in 0..N {
            for w in 0..W {
                let p = weights[i][j];
                let p = if C::SCALES { p * cache.value_scale((at + w * V::LEN) / SCALED) } else { p };
                acc[i][w] = acc[i][w].add(V::splat(p).mul(v[w]));
            }
        }
    }
    for i in 0..N {
        for w in 0..W {
            acc[i][w].store(out.add(i * dims + d + w * V::LEN));
        }
    }
}
