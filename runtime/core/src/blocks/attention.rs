//! Attention: each token looks at keys of its own sequence and takes of their values (Vaswani et al., "Attention Is All You Need"; Ainslie et al.,
//! "GQA"). The law is in [`smidgen_quant::attention`].

use super::{Norm, Pass};
use crate::activations::Activations;
use crate::exec::{Exec, Precision};
use crate::kv::Cache;
use crate::linear::{Linear, apply_all};
use crate::probe::Operation;
use alloc::vec::Vec;
use smidgen_quant::attention::{Spec, Visible};
use smidgen_targets::for_row_ranges;

/// Attention.
#[derive(Clone, Debug)]
pub struct Attention<'a> {
    /// Queries. `[heads · key × width]`
    pub q: Linear<'a>,
    /// Keys. `[kv_heads · key × width]`
    pub k: Linear<'a>,
    /// Values. `[kv_heads · value × width]`
    pub v: Linear<'a>,
    /// What the heads found. `[width × heads · value]`
    pub o: Linear<'a>,
    /// Of queries: of each head, or of all heads together.
    pub q_norm: Option<Norm>,
    /// Of keys.
    pub k_norm: Option<Norm>,
    /// Whether these norms come after the rotation.
    pub norm_turned: bool,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Values of a query and of a key.
    pub key: usize,
    /// Values of a value.
    pub value: usize,
    /// The number of the rotation; none where positions are told otherwise.
    pub rope: Option<usize>,
    /// Keys that a token sees, its own among them; all if there is none (Beltagy, Peters and Cohan, "Longformer").
    pub window: Option<usize>,
    /// Factor of the scores.
    pub scale: f32,
    /// See [`Spec::softcap`].
    pub softcap: Option<f32>,
    /// See [`Spec::sinks`]. `[heads]`, or empty.
    pub sinks: Vec<f32>,
    /// See [`Spec::slopes`]. `[heads]`, or empty.
    pub slopes: Vec<f32>,
    /// Whether a token sees itself and those before it only.
    pub causal: bool,
}

/// Tokens of one sequence whose attention to one head is computed together.
pub(super) const TILE: usize = 16;

/// Neighbouring tokens of a pass and of one sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// Number of the first token in the pass.
    first: usize,
    /// Tokens, at most [`TILE`].
    len: usize,
}

/// Cuts the tokens of a pass into parts. There is room for as many as tokens.
pub(super) fn cut(pass: &Pass, parts: &mut Vec<Part>) {
    parts.clear();
    let mut first = 0;
    for run in pass.items.chunk_by(|a, b| a.sequence == b.sequence) {
        for tile in run.chunks(TILE) {
            parts.push(Part { first, len: tile.len() });
            first += tile.len();
        }
    }
}

/// Memory for the order of work. Each is made for as many tokens as a pass has.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) parts: Vec<Part>,
    /// Where the rows of each part and key-value head end. `[tokens × kv_heads]`
    pub(crate) ends: Vec<usize>,
    /// Keys that each query sees. `[tokens × group]`
    pub(crate) visible: Vec<Visible>,
}

impl<'a> Attention<'a> {
    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// All products.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        [&self.q, &self.k, &self.v, &self.o].into_iter()
    }

    /// The products of the input.
    #[cfg(feature = "encoders")]
    pub(crate) fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Linear<'a>> {
        [&mut self.q, &mut self.k, &mut self.v].into_iter()
    }

    /// Values of the arena for each token.
    pub(crate) fn floats(&self) -> Option<usize> {
        let heads = self.key.checked_add(self.value.checked_add(self.key.max(self.value))?)?.checked_mul(self.heads)?;
        heads.checked_add(self.key.checked_add(self.value)?.checked_mul(self.kv_heads)?)
    }

    /// `out[t] = attention(input[t])`. Stores keys and values in layer `slot` of the caches; nothing of a pass in which a number was not finite.
    #[expect(clippy::too_many_arguments, reason = "the arrays are borrowed apart from each other")]
    pub(crate) fn run(
        &self,
        exec: &Exec,
        pass: &Pass,
        slot: usize,
        caches: &mut [Cache],
        mut input: Activations,
        order: &mut Order,
        arena: &mut [f32],
        out: &mut [f32],
    ) {
        let (n, kernels) = (pass.items.len(), exec.kernels);
        let (queries, keys, values) = (self.heads * self.key, self.kv_heads * self.key, self.kv_heads * self.value);
        let (q, arena) = arena.split_at_mut(n * queries);
        let (k, arena) = arena.split_at_mut(n * keys);
        let (v, arena) = arena.split_at_mut(n * values);
        let (attended, arena) = arena.split_at_mut(n * self.heads * self.value);
        let grouped = &mut arena[..n * self.heads * self.key.max(self.value)];

        apply_all([(&self.q, &mut *q), (&self.k, &mut *k), (&self.v, &mut *v)], exec, &mut input);
        if !exec.is_finite() {
            return;
        }
        // Queries meet keys that are rounded to binary16 or less.
        let rounded = exec.precision == Precision::Law && caches.iter().all(Cache::is_rounded);
        let turn = |t: usize, row: &mut [f32], norm: &Option<Norm>| {
            if let Some(norm) = norm.as_ref().filter(|_| !self.norm_turned) {
                norm.apply(exec, row);
            }
            if let Some(rope) = self.rope {
                (kernels.rope)(row, self.key, pass.turns(rope, t), pass.ropes[rope].pairs);
            }
            if let Some(norm) = norm.as_ref().filter(|_| self.norm_turned) {
                norm.apply(exec, row);
            }
        };
        exec.rows(q, queries, |t, row| {
            turn(t, row, &self.q_norm);
            if rounded {
                (kernels.round)(row);
            }
        });
        if self.rope.is_some() || self.k_norm.is_some() {
            exec.rows(k, keys, |t, row| turn(t, row, &self.k_norm));
        }
        exec.tell(|| Operation::new("rotation"));
        let mut first = 0;
        for run in pass.items.chunk_by(|a, b| a.sequence == b.sequence) {
            let (k, v) = (&k[first * keys..][..run.len() * keys], &v[first * values..][..run.len() * values]);
            caches[run[0].cache].store(exec, slot, run[0].offset + run[0].slot, k, v);
            first += run.len();
        }
        exec.tell(|| Operation::new("store"));
        let found = self.attend(exec, pass, slot, caches, order, q, grouped, attended);
        exec.tell(|| self.work(pass, caches.first(), order));
        let mut input = Activations::new(found, self.heads * self.value, input.into_memory());
        // What is not finite stays in the residual stream, where it is looked for.
        self.o.apply_unseen(exec, &mut input, out);
    }

    /// What attention has read and computed: keys and values once for each part and head, and each score and its use.
    fn work(&self, pass: &Pass, cache: Option<&Cache>, order: &Order) -> Operation {
        let group = self.group();
        let seen = |visible: &Visible| visible.to - visible.from;
        let most = |part: &Part| {
            let tokens = &order.visible[part.first * group..][..part.len * group];
            let from = tokens.iter().map(|visible| visible.from).min().unwrap_or(0);
            tokens.iter().map(|visible| visible.to).max().unwrap_or(0) - from
        };
        let keys: usize = order.parts.iter().map(most).sum::<usize>() * self.kv_heads;
        let scores: usize = order.visible[..pass.items.len() * group].iter().map(seen).sum::<usize>() * self.kv_heads;
        let width = self.key + self.value;
        Operation {
            bytes: (keys * width) as u64 * cache.map_or(0, Cache::element_bits) / 8,
            f32: 2 * (scores * width) as u64,
            ..Operation::new("attention")
        }
    }

    /// What the queries find. `[tokens × heads · value]`
    ///
    /// Threads share parts and key-value heads, whose queries and results lie together while they are computed: the rows of a part, of one token and
    /// key-value head each, are in the order of heads.
    #[expect(clippy::too_many_arguments, reason = "the arrays are borrowed apart from each other")]
    fn attend<'s>(
        &self,
        exec: &Exec,
        pass: &Pass,
        slot: usize,
        caches: &[Cache],
        order: &mut Order,
        q: &[f32],
        grouped: &'s mut [f32],
        attended: &'s mut [f32],
    ) -> &'s [f32] {
        let (n, heads, group) = (pass.items.len(), self.kv_heads, self.group());
        let (from, to) = (group * self.key, group * self.value);
        let Order { parts, ends, visible } = order;
        let (parts, ends, visible) = (&*parts, &mut ends[..parts.len() * heads], &mut visible[..n * group]);
        for (ends, Part { first, len }) in ends.chunks_exact_mut(heads).zip(parts) {
            for (head, end) in ends.iter_mut().enumerate() {
                *end = first * heads + (head + 1) * len;
            }
        }
        for (visible, item) in visible.chunks_exact_mut(group).zip(pass.items) {
            let to = if self.causal { item.sees } else { item.keys };
            let from = self.window.map_or(0, |window| (item.slot + 1).saturating_sub(window));
            visible.fill(Visible { from, to });
        }
        let (ends, visible) = (&*ends, &*visible);
        // The token and the key-value head of a row.
        let place = |row: usize| {
            let part = parts.partition_point(|part| (part.first + part.len) * heads <= row);
            let Part { first, len } = parts[part];
            let row = row - first * heads;
            (first + row % len, row / len)
        };
        // One token's queries lie by key-value head already.
        let queries = if n == 1 {
            q
        } else {
            let queries = &mut grouped[..n * heads * from];
            exec.rows(queries, from, |row, to| {
                let (t, head) = place(row);
                to.copy_from_slice(&q[(t * heads + head) * from..][..from]);
            });
            &*queries
        };
        for_row_ranges(exec.pool, attended, to, ends, to, |range, mut tile| {
            let (Part { first, len }, head) = (parts[range / heads], range % heads);
            let of_heads = |list: &[f32]| if list.is_empty() { 0..0 } else { head * group..(head + 1) * group };
            let spec = Spec {
                key: self.key,
                value: self.value,
                scale: self.scale,
                softcap: self.softcap,
                sinks: &self.sinks[of_heads(&self.sinks)],
                slopes: &self.slopes[of_heads(&self.slopes)],
            };
            let item = &pass.items[first];
            let kv = caches[item.cache].head(slot, head, item.offset);
            let q = &queries[tile.first_row() * from..][..len * from];
            let out = tile.whole_rows();
            (exec.kernels.attention)(q, &visible[first * group..][..len * group], &spec, &kv, out);
            exec.check(out);
        });
        if n == 1 {
            return attended;
        }
        let (attended, found) = (&*attended, &mut grouped[..n * heads * to]);
        exec.rows(found, heads * to, |t, row| {
            let part = parts.partition_point(|part| part.first + part.len <= t);
            let Part { first, len } = parts[part];
            for (head, to_row) in row.chunks_exact_mut(to).enumerate() {
                let at = first * heads + head * len + t - first;
                to_row.copy_from_slice(&attended[at * to..][..to]);
            }
        });
        found
    }
}
