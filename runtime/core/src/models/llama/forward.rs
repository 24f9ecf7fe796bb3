//! The forward pass.

use super::{Config, Llama};
use crate::RunError;
use crate::activations::{Activations, Quantized};
use crate::exec::{Exec, Precision};
use crate::kv::Cache;
use crate::linear::{apply_all, apply_all_unseen, decode_parts};
use crate::memory::zeroed;
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::{InputFormat, math};
use smidgen_targets::for_tiles;

/// One token of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) token: u32,
    /// The sequence that it continues.
    pub(crate) sequence: usize,
    /// Its position there.
    pub(crate) position: usize,
}

/// Tokens of one sequence whose attention to one head is computed together.
const TILE: usize = 16;

/// Memory of a pass, for `batch` tokens.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The residual stream. `[batch × embedding]`
    x: Vec<f32>,
    /// `[batch × embedding]`
    normed: Vec<f32>,
    /// What a layer adds to the residual stream. `[batch × embedding]`
    delta: Vec<f32>,
    /// `[batch × heads · head_size]`, first queries, then the attention's results.
    q: Vec<f32>,
    /// `[batch × kv_heads · head_size]`
    k: Vec<f32>,
    /// `[batch × kv_heads · head_size]`
    v: Vec<f32>,
    /// Queries by tile, then by key-value head: `[tiles × kv_heads × tokens of a tile × group · head_size]`
    grouped: Vec<f32>,
    /// The attention's results in the same order.
    attended: Vec<f32>,
    /// `[batch × feed_forward]`
    gate: Vec<f32>,
    /// `[batch × feed_forward]`
    up: Vec<f32>,
    /// Cosine and sine of each pair of dimensions. `[batch × 2 · frequencies]`
    turns: Vec<f32>,
    /// Keys that each query sees. `[batch × group]`
    visible: Vec<usize>,
    quantized: Quantized,
    /// `[rows × vocabulary]`
    logits: Vec<f32>,
}

/// Lengths of the arrays of [`Scratch`]; what overflows is None.
struct Lengths {
    embedding: usize,
    queries: usize,
    keys: usize,
    grouped: usize,
    feed_forward: usize,
    turns: usize,
    visible: usize,
    widest: usize,
    logits: usize,
}

impl Lengths {
    fn new(config: &Config, batch: usize, rows: usize) -> Option<Lengths> {
        let queries = config.heads * config.head_size;
        Some(Lengths {
            embedding: batch.checked_mul(config.embedding)?,
            queries: batch.checked_mul(queries)?,
            keys: batch.checked_mul(config.kv_heads * config.head_size)?,
            grouped: batch.checked_next_multiple_of(TILE)?.checked_mul(queries)?,
            feed_forward: batch.checked_mul(config.feed_forward)?,
            turns: batch.checked_mul(2 * config.frequencies.len())?,
            visible: batch.checked_mul(config.group())?,
            widest: batch.checked_mul(config.embedding.max(queries).max(config.feed_forward))?,
            logits: rows.checked_mul(config.vocabulary)?,
        })
    }
}

impl Scratch {
    /// Bytes for passes of `batch` tokens and the logits of `rows` at once. None if the number overflows.
    pub(crate) fn bytes(model: &Llama, batch: usize, rows: usize) -> Option<usize> {
        let n = Lengths::new(&model.config, batch, rows)?;
        let quantized = Quantized::bytes(n.widest, model.uses(InputFormat::Q8), model.uses(InputFormat::Q8K))?;
        let floats = [
            n.embedding.checked_mul(3)?,
            n.queries,
            n.keys.checked_mul(2)?,
            n.grouped.checked_mul(2)?,
            n.feed_forward.checked_mul(2)?,
            n.turns,
            n.logits,
        ];
        let floats = floats.into_iter().try_fold(0usize, |sum, len| sum.checked_add(len))?;
        let visible = n.visible.checked_mul(size_of::<usize>())?;
        floats.checked_mul(size_of::<f32>())?.checked_add(visible)?.checked_add(quantized)
    }

    pub(crate) fn new(model: &Llama, batch: usize, rows: usize) -> Result<Scratch, RunError> {
        let refused = RunError::OutOfMemory { bytes: usize::MAX };
        let n = Lengths::new(&model.config, batch, rows).ok_or(refused)?;
        Ok(Scratch {
            x: zeroed(n.embedding)?,
            normed: zeroed(n.embedding)?,
            delta: zeroed(n.embedding)?,
            q: zeroed(n.queries)?,
            k: zeroed(n.keys)?,
            v: zeroed(n.keys)?,
            grouped: zeroed(n.grouped)?,
            attended: zeroed(n.grouped)?,
            gate: zeroed(n.feed_forward)?,
            up: zeroed(n.feed_forward)?,
            turns: zeroed(n.turns)?,
            visible: zeroed(n.visible)?,
            quantized: Quantized::new(n.widest, model.uses(InputFormat::Q8), model.uses(InputFormat::Q8K))?,
            logits: zeroed(n.logits)?,
        })
    }

    /// Runs all layers for tokens that the vocabulary and the caches have room for, at most a batch. Consecutive items of a sequence are
    /// at consecutive positions. Stops when the machine has seen a number that is not finite, and stores none in a cache.
    pub(crate) fn pass(&mut self, model: &Llama, exec: &Exec, caches: &mut [Cache], items: &[Item]) {
        let Config { embedding, head_size, feed_forward, epsilon, .. } = model.config;
        let (n, group) = (items.len(), model.config.group());
        let (queries, keys) = (model.config.heads * head_size, model.config.kv_heads * head_size);
        let Scratch { x, normed, delta, q, k, v, grouped, attended, gate, up, turns, visible, quantized, .. } = self;
        let (x, normed, delta) = (&mut x[..n * embedding], &mut normed[..n * embedding], &mut delta[..n * embedding]);
        let (q, k, v) = (&mut q[..n * queries], &mut k[..n * keys], &mut v[..n * keys]);
        let (gate, up) = (&mut gate[..n * feed_forward], &mut up[..n * feed_forward]);
        let (turns, visible) = (&mut turns[..n * 2 * model.config.frequencies.len()], &mut visible[..n * group]);
        let kernels = exec.kernels;

        exec.rows(x, embedding, |t, row| {
            decode_parts(&model.weights.embedding, items[t].token as usize, &mut [0.0; K_BLOCK], |first, part| {
                row[first..first + part.len()].copy_from_slice(part);
            });
            exec.check(row);
        });
        let width = 2 * model.config.frequencies.len();
        exec.rows(turns, width, |t, row| {
            for (turn, frequency) in row.as_chunks_mut::<2>().0.iter_mut().zip(&model.config.frequencies) {
                // The angle is a product of `f32`, as it was in training.
                let (sin, cos) = math::sin_cos64((items[t].position as f32 * frequency) as f64);
                *turn = [cos as f32, sin as f32];
            }
        });
        for (visible, item) in visible.chunks_exact_mut(group).zip(items) {
            visible.fill(item.position + 1);
        }
        let queries_of = Queries::new(&model.config, items);
        // Queries meet keys that are rounded to binary16 or less.
        let rounded = exec.precision == Precision::Law && caches.iter().all(Cache::is_rounded);

        for (number, layer) in model.weights.layers.iter().enumerate() {
            exec.rows(normed, embedding, |t, row| {
                (kernels.rms_norm)(&x[t * embedding..][..embedding], &layer.attention_norm, epsilon, row);
            });
            let mut input = Activations::new(normed, embedding, quantized);
            apply_all([(&layer.q, &mut *q), (&layer.k, k), (&layer.v, v)], exec, &mut input);
            if !exec.is_finite() {
                return;
            }
            exec.rows(q, queries, |t, row| {
                (kernels.rope)(row, head_size, &turns[t * width..][..width]);
                if rounded {
                    (kernels.round)(row);
                }
            });
            exec.rows(k, keys, |t, row| (kernels.rope)(row, head_size, &turns[t * width..][..width]));
            store(exec, caches, number, items, keys, k, v);
            queries_of.attend(exec, model, number, caches, visible, q, grouped, attended);
            let mut input = Activations::new(q, queries, quantized);
            // What is not finite stays in the residual stream, which is looked at below.
            layer.o.apply_unseen(exec, &mut input, delta);
            exec.rows(x, embedding, |t, row| (kernels.add)(row, &delta[t * embedding..][..embedding]));

            exec.rows(normed, embedding, |t, row| {
                (kernels.rms_norm)(&x[t * embedding..][..embedding], &layer.feed_forward_norm, epsilon, row);
            });
            let mut input = Activations::new(normed, embedding, quantized);
            apply_all_unseen([(&layer.gate, &mut *gate), (&layer.up, up)], exec, &mut input);
            exec.rows(gate, feed_forward, |t, row| {
                (kernels.silu_mul)(row, &up[t * feed_forward..][..feed_forward]);
                exec.check(row);
            });
            let mut input = Activations::new(gate, feed_forward, quantized);
            layer.down.apply_unseen(exec, &mut input, delta);
            exec.rows(x, embedding, |t, row| {
                (kernels.add)(row, &delta[t * embedding..][..embedding]);
                exec.check(row);
            });
        }
    }

    /// Computes the logits of the last pass's tokens `first .. first + rows`.
    pub(crate) fn logits(&mut self, model: &Llama, exec: &Exec, first: usize, rows: usize) {
        let Config { embedding, vocabulary, epsilon, .. } = model.config;
        let x = &self.x[first * embedding..][..rows * embedding];
        let normed = &mut self.normed[..rows * embedding];
        exec.rows(normed, embedding, |t, row| {
            (exec.kernels.rms_norm)(&x[t * embedding..][..embedding], &model.weights.output_norm, epsilon, row);
        });
        let mut input = Activations::new(normed, embedding, &mut self.quantized);
        let logits = &mut self.logits[..rows * vocabulary];
        model.weights.head.apply(exec, &mut input, logits);
    }

    /// The `rows` logits computed last. `[rows × vocabulary]`
    pub(crate) fn last_logits(&self, model: &Llama, rows: usize) -> &[f32] {
        &self.logits[..rows * model.config.vocabulary]
    }
}

/// Stores keys and values in the caches of their sequences, run by run.
fn store(exec: &Exec, caches: &mut [Cache], layer: usize, items: &[Item], width: usize, k: &[f32], v: &[f32]) {
    let mut at = 0;
    for run in items.chunk_by(|a, b| a.sequence == b.sequence) {
        let range = at * width..(at + run.len()) * width;
        caches[run[0].sequence].store(exec, layer, run[0].position, &k[range.clone()], &v[range]);
        at += run.len();
    }
}

/// How the queries of a pass are grouped: by tiles of tokens of one sequence, then by key-value head.
struct Queries<'i> {
    items: &'i [Item],
    /// Tokens in a tile; the last tile may hold fewer.
    tokens: usize,
    tiles: usize,
    /// Values of one token and one key-value head.
    width: usize,
    kv_heads: usize,
}

impl<'i> Queries<'i> {
    fn new(config: &Config, items: &'i [Item]) -> Queries<'i> {
        let one_sequence = items.iter().all(|item| Some(item.sequence) == items.first().map(|first| first.sequence));
        let tokens = if one_sequence { TILE.min(items.len()) } else { 1 };
        let tiles = items.len().div_ceil(tokens.max(1));
        Queries { items, tokens, tiles, width: config.group() * config.head_size, kv_heads: config.kv_heads }
    }

    /// Replaces the queries in `q` by what they attend to.
    #[expect(clippy::too_many_arguments, reason = "the arrays are borrowed apart from each other")]
    fn attend(
        &self,
        exec: &Exec,
        model: &Llama,
        layer: usize,
        caches: &[Cache],
        visible: &[usize],
        q: &mut [f32],
        grouped: &mut [f32],
        attended: &mut [f32],
    ) {
        let Config { head_size, attention_scale, .. } = model.config;
        let (width, stride, group) = (self.width, self.tokens * self.width, model.config.group());
        let len = self.kv_heads * self.tiles * stride;
        let attended = &mut attended[..len];
        // One token's queries lie by key-value head already.
        let grouped = if self.items.len() == 1 {
            &*q
        } else {
            exec.rows(&mut grouped[..len], stride, |row, to| {
                let (head, first) = (row % self.kv_heads, row / self.kv_heads * self.tokens);
                for (t, to) in (first..self.items.len()).zip(to.chunks_exact_mut(width)) {
                    to.copy_from_slice(&q[(t * self.kv_heads + head) * width..][..width]);
                }
            });
            &grouped[..len]
        };
        for_tiles(exec.pool, attended, stride, 1, stride, |mut tile| {
            let (row, out) = (tile.first_row(), tile.row(0));
            let (head, first) = (row % self.kv_heads, row / self.kv_heads * self.tokens);
            let tokens = self.tokens.min(self.items.len() - first);
            let kv = caches[self.items[first].sequence].head(layer, head);
            let (q, out) = (&grouped[row * stride..][..tokens * width], &mut out[..tokens * width]);
            let visible = &visible[first * group..][..tokens * group];
            (exec.kernels.attention)(q, visible, head_size, attention_scale, &kv, out);
            exec.check(out);
        });
        let attended = &*attended;
        exec.rows(q, self.kv_heads * width, |t, row| {
            for (head, to) in row.chunks_exact_mut(width).enumerate() {
                let at = (t / self.tokens * self.kv_heads + head) * stride + t % self.tokens * width;
                to.copy_from_slice(&attended[at..at + width]);
            }
        });
    }
}
