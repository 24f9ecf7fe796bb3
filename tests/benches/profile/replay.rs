//! A forward pass of the llama family, operation by operation, with a look at the clock after each. The operations, their order, their
//! division among threads and their kernels are those of the library; that the logits are the same bits shows that it is the same pass.

use smidgen::models::llama::{Config, Llama};
use smidgen_quant::activation::{GROUP, K_BLOCK};
use smidgen_quant::attention::{CHUNK, Kv, KvMut};
use smidgen_quant::{Format, InputFormat, Q8, Q8K, math};
use smidgen_targets::{Input, KernelSet, Pool, WeightMatrix, for_each, for_tiles};
use std::time::{Duration, Instant};

/// Tokens that pass together at most, as in the library's sessions.
pub(crate) const BATCH: usize = 256;
/// Tokens of a pass for each thread, as in the library's sessions.
const BAND: usize = 64;
/// Tokens whose attention to one head is computed together.
const TILE: usize = 16;
/// Claims of work for each thread.
const CLAIMS: usize = 4;
const PANEL: usize = 16;
const PIECES: usize = 16;
const SMALL: usize = 1 << 13;

/// The operations of a pass. Products stand for all weights of one format in that role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Qkv,
    O,
    GateUp,
    Down,
    Head,
    Attention,
    Norms,
    Quantization,
    Rotary,
    Store,
    SiLU,
    Add,
    Embedding,
}

impl Stage {
    pub(crate) const ALL: [(Stage, &str); 13] = [
        (Stage::Qkv, "q, k, v"),
        (Stage::O, "o"),
        (Stage::GateUp, "gate, up"),
        (Stage::Down, "down"),
        (Stage::Head, "head"),
        (Stage::Attention, "attention"),
        (Stage::Norms, "norms"),
        (Stage::Quantization, "quantization"),
        (Stage::Rotary, "rotary positions"),
        (Stage::Store, "store in the KV cache"),
        (Stage::SiLU, "silu · up"),
        (Stage::Add, "residual sums"),
        (Stage::Embedding, "embedding, angles"),
    ];
}

/// The time and work of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) time: Duration,
    /// Bytes of weights, or of keys and values, that were read.
    pub(crate) bytes: u64,
    /// Multiplications and additions of int8 values.
    pub(crate) int8: u64,
    /// Multiplications and additions of `f32` values.
    pub(crate) f32: u64,
}

const NO_FORMAT: usize = Format::ALL.len();

/// The time and work of every operation: one row for each stage, one column for each format.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    spent: Vec<Spent>,
    last: Instant,
}

impl Times {
    pub(crate) fn start() -> Times {
        Times { spent: vec![Spent::default(); Stage::ALL.len() * (NO_FORMAT + 1)], last: Instant::now() }
    }

    fn lap(&mut self, stage: Stage, format: Option<Format>, work: Spent) {
        let now = Instant::now();
        let spent = &mut self.spent[stage as usize * (NO_FORMAT + 1) + format.map_or(NO_FORMAT, |f| f as usize)];
        spent.time += now - self.last;
        spent.bytes += work.bytes;
        spent.int8 += work.int8;
        spent.f32 += work.f32;
        self.last = now;
    }

    fn plain(&mut self, stage: Stage) {
        self.lap(stage, None, Spent::default());
    }

    /// Every operation that was done, with a name, in the order of the stages.
    pub(crate) fn operations(&self) -> Vec<(String, Spent)> {
        let mut operations = Vec::new();
        for (stage, name) in Stage::ALL {
            for at in 0..=NO_FORMAT {
                let spent = self.spent[stage as usize * (NO_FORMAT + 1) + at];
                if spent.time > Duration::ZERO {
                    let name =
                        Format::ALL.get(at).map_or(name.to_string(), |format| format!("{name} ({})", format.name()));
                    operations.push((name, spent));
                }
            }
        }
        operations
    }
}

/// Activations in both quantized forms.
#[derive(Default)]
struct Quantized {
    qs: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    offsets: Vec<f32>,
    k_qs: Vec<i8>,
    k_scales: Vec<f32>,
    k_sums: Vec<i16>,
}

/// Keys and values of one layer and head.
#[derive(Clone)]
struct HeadCache {
    k: Vec<u16>,
    v: Vec<u16>,
}

/// A model in the middle of a text.
pub(crate) struct Replay<'r> {
    model: &'r Llama<'r>,
    kernels: &'static KernelSet,
    pool: &'r dyn Pool,
    /// `[layers × kv_heads]`
    caches: Vec<HeadCache>,
    length: usize,
    x: Vec<f32>,
    normed: Vec<f32>,
    delta: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    grouped: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    turns: Vec<f32>,
    visible: Vec<usize>,
    quantized: Quantized,
    logits: Vec<f32>,
}

impl<'r> Replay<'r> {
    pub(crate) fn new(model: &'r Llama, kernels: &'static KernelSet, pool: &'r dyn Pool, context: usize) -> Replay<'r> {
        let Config { embedding, heads, kv_heads, head_size, feed_forward, vocabulary, layers, .. } = model.config;
        let cache = vec![0; context.next_multiple_of(CHUNK) * head_size];
        let floats = |n: usize| vec![0f32; BATCH * n];
        let widest = BATCH * embedding.max(heads * head_size).max(feed_forward);
        Replay {
            model,
            kernels,
            pool,
            caches: vec![HeadCache { k: cache.clone(), v: cache }; layers * kv_heads],
            length: 0,
            x: floats(embedding),
            normed: floats(embedding),
            delta: floats(embedding),
            q: floats(heads * head_size),
            k: floats(kv_heads * head_size),
            v: floats(kv_heads * head_size),
            grouped: floats(heads * head_size),
            attended: floats(heads * head_size),
            gate: floats(feed_forward),
            up: floats(feed_forward),
            turns: floats(2 * model.config.frequencies.len()),
            visible: vec![0; BATCH * heads / kv_heads],
            quantized: Quantized {
                qs: vec![0; widest],
                scales: vec![0.0; widest / GROUP],
                sums: vec![0; widest / GROUP],
                offsets: vec![0.0; widest / GROUP],
                k_qs: vec![0; widest],
                k_scales: vec![0.0; widest / K_BLOCK],
                k_sums: vec![0; widest / 16],
            },
            logits: vec![0.0; vocabulary],
        }
    }

    /// Forgets all but the first `length` tokens.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = length.min(self.length);
    }

    /// Appends tokens; the logits after the last one.
    pub(crate) fn forward(&mut self, tokens: &[u32], times: &mut Times) -> &[f32] {
        let mut last = 0;
        for part in tokens.chunks(BATCH.min(BAND * self.pool.threads())) {
            self.pass(part, times);
            last = part.len() - 1;
        }
        let Config { embedding, vocabulary, epsilon, .. } = self.model.config;
        let Replay { model, kernels, pool, x, normed, quantized, logits, .. } = self;
        let normed = &mut normed[..embedding];
        (kernels.rms_norm)(&x[last * embedding..][..embedding], &model.weights.output_norm, epsilon, normed);
        times.plain(Stage::Norms);
        let outputs = &mut logits[..vocabulary];
        products(
            *pool,
            kernels,
            &[&model.weights.head.weight],
            normed,
            embedding,
            quantized,
            &mut [outputs],
            Stage::Head,
            times,
        );
        &self.logits
    }

    fn pass(&mut self, tokens: &[u32], times: &mut Times) {
        let Config { embedding, heads, kv_heads, head_size, feed_forward, epsilon, attention_scale, .. } =
            self.model.config;
        let (n, group, first) = (tokens.len(), heads / kv_heads, self.length);
        let (queries, keys) = (heads * head_size, kv_heads * head_size);
        let Replay { model, kernels, pool, caches, quantized, turns, visible, .. } = self;
        let (kernels, pool) = (*kernels, *pool);
        let (x, normed) = (&mut self.x[..n * embedding], &mut self.normed[..n * embedding]);
        let delta = &mut self.delta[..n * embedding];
        let (q, k, v) = (&mut self.q[..n * queries], &mut self.k[..n * keys], &mut self.v[..n * keys]);
        let (gate, up) = (&mut self.gate[..n * feed_forward], &mut self.up[..n * feed_forward]);
        let (grouped, attended) = (&mut self.grouped, &mut self.attended);
        let width = 2 * model.config.frequencies.len();
        let (turns, visible) = (&mut turns[..n * width], &mut visible[..n * group]);

        rows(pool, x, embedding, |t, row| {
            decode(&model.weights.embedding, tokens[t] as usize, row);
            check(row);
        });
        rows(pool, turns, width, |t, row| {
            for (turn, frequency) in row.as_chunks_mut::<2>().0.iter_mut().zip(&model.config.frequencies) {
                let (sin, cos) = math::sin_cos64(((first + t) as f32 * frequency) as f64);
                *turn = [cos as f32, sin as f32];
            }
        });
        for (t, visible) in visible.chunks_exact_mut(group).enumerate() {
            visible.fill(first + t + 1);
        }
        times.plain(Stage::Embedding);

        // Keys and values that the queries of each tile read, and what they do with them.
        let tiles = (0..n).step_by(TILE).map(|t| (TILE.min(n - t), first + n.min(t + TILE)));
        let tile = TILE.min(n);
        let mut attention = Spent::default();
        for (tokens, seen) in tiles {
            attention.bytes += (seen * keys * 2 * size_of::<u16>()) as u64;
            attention.f32 += (4 * tokens * seen * queries) as u64;
        }

        for (number, layer) in model.weights.layers.iter().enumerate() {
            rows(pool, normed, embedding, |t, row| {
                (kernels.rms_norm)(&x[t * embedding..][..embedding], &layer.attention_norm, epsilon, row);
            });
            times.plain(Stage::Norms);
            let weights = [&layer.q.weight, &layer.k.weight, &layer.v.weight];
            products(
                pool,
                kernels,
                &weights,
                normed,
                embedding,
                quantized,
                &mut [&mut *q, &mut *k, &mut *v],
                Stage::Qkv,
                times,
            );
            rows(pool, q, queries, |t, row| {
                (kernels.rope)(row, head_size, &turns[t * width..][..width]);
                (kernels.round)(row);
            });
            rows(pool, k, keys, |t, row| (kernels.rope)(row, head_size, &turns[t * width..][..width]));
            times.plain(Stage::Rotary);
            let layer_caches = &mut caches[number * kv_heads..][..kv_heads];
            let mut numbered: Vec<_> = layer_caches.iter_mut().enumerate().collect();
            for_each(pool, &mut numbered, |(head, cache)| {
                let mut to = KvMut::F16 { k: &mut cache.k, v: &mut cache.v };
                for (t, (k, v)) in k.chunks_exact(keys).zip(v.chunks_exact(keys)).enumerate() {
                    let range = *head * head_size..(*head + 1) * head_size;
                    (kernels.store)(&mut to, first + t, &k[range.clone()], &v[range]);
                }
            });
            times.plain(Stage::Store);

            let (part, stride) = (group * head_size, tile * group * head_size);
            let count = n.div_ceil(tile);
            let needed = kv_heads * count * stride;
            let grouped: &[f32] = if n == 1 {
                q
            } else {
                rows(pool, &mut grouped[..needed], stride, |row, to| {
                    let (head, first) = (row / count, row % count * tile);
                    for (t, to) in (first..n).zip(to.chunks_exact_mut(part)) {
                        to.copy_from_slice(&q[(t * kv_heads + head) * part..][..part]);
                    }
                });
                &grouped[..needed]
            };
            for_tiles(pool, &mut attended[..needed], stride, 1, stride, |mut out| {
                let row = out.first_row();
                let (head, from) = (row / count, row % count * tile);
                let tokens = tile.min(n - from);
                let cache = &caches[number * kv_heads + head];
                let kv = Kv::F16 { k: &cache.k, v: &cache.v };
                let (q, out) = (&grouped[row * stride..][..tokens * part], &mut out.row(0)[..tokens * part]);
                (kernels.attention)(
                    q,
                    &visible[from * group..][..tokens * group],
                    head_size,
                    attention_scale,
                    &kv,
                    out,
                );
                check(out);
            });
            rows(pool, q, queries, |t, row| {
                for (head, to) in row.chunks_exact_mut(part).enumerate() {
                    let at = (head * count + t / tile) * stride + t % tile * part;
                    to.copy_from_slice(&attended[at..at + part]);
                }
            });
            times.lap(Stage::Attention, None, attention);

            products(pool, kernels, &[&layer.o.weight], q, queries, quantized, &mut [&mut *delta], Stage::O, times);
            rows(pool, x, embedding, |t, row| (kernels.add)(row, &delta[t * embedding..][..embedding]));
            times.plain(Stage::Add);
            rows(pool, normed, embedding, |t, row| {
                (kernels.rms_norm)(&x[t * embedding..][..embedding], &layer.feed_forward_norm, epsilon, row);
            });
            times.plain(Stage::Norms);
            let weights = [&layer.gate.weight, &layer.up.weight];
            products(
                pool,
                kernels,
                &weights,
                normed,
                embedding,
                quantized,
                &mut [&mut *gate, &mut *up],
                Stage::GateUp,
                times,
            );
            rows(pool, gate, feed_forward, |t, row| {
                (kernels.silu_mul)(row, &up[t * feed_forward..][..feed_forward]);
                check(row);
            });
            times.plain(Stage::SiLU);
            let weights = [&layer.down.weight];
            products(pool, kernels, &weights, gate, feed_forward, quantized, &mut [&mut *delta], Stage::Down, times);
            rows(pool, x, embedding, |t, row| {
                (kernels.add)(row, &delta[t * embedding..][..embedding]);
                check(row);
            });
            times.plain(Stage::Add);
        }
        self.length += n;
    }
}

/// The library's look at every result for numbers that are not finite.
fn check(values: &[f32]) {
    let largest = values.iter().fold(0, |max, v| (v.to_bits() & !(1 << 31)).max(max));
    assert!(largest <= f32::MAX.to_bits(), "the model gives numbers that are not finite");
}

fn rows(pool: &dyn Pool, matrix: &mut [f32], stride: usize, job: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = matrix.len() / stride.max(1);
    for_tiles(pool, matrix, stride, rows.div_ceil(pool.threads() * CLAIMS), stride, |mut tile| {
        for i in 0..tile.rows() {
            let row = tile.first_row() + i;
            job(row, tile.row(i));
        }
    });
}

/// Decodes a row of the embedding.
fn decode(weight: &WeightMatrix, r: usize, out: &mut [f32]) {
    let format = weight.format();
    let mut bytes = [0; K_BLOCK * size_of::<f32>()];
    let bytes = &mut bytes[..K_BLOCK / format.block_len() * format.block_bytes()];
    let mut first = 0;
    while first < out.len() {
        let blocks = weight.blocks(r, first / format.block_len(), bytes);
        let len = blocks.len() / format.block_bytes() * format.block_len();
        format.decode(blocks, &mut out[first..first + len]).expect("whole blocks");
        first += len;
    }
}

/// Several products of the same inputs, which are rounded once for each form that is asked for.
#[expect(clippy::too_many_arguments, reason = "the arrays are borrowed apart from each other")]
fn products(
    pool: &dyn Pool,
    kernels: &KernelSet,
    weights: &[&WeightMatrix],
    values: &[f32],
    cols: usize,
    quantized: &mut Quantized,
    outs: &mut [&mut [f32]],
    stage: Stage,
    times: &mut Times,
) {
    let (tokens, len) = (values.len() / cols, values.len());
    let mut done = [false; 2];
    for (weight, out) in weights.iter().zip(outs) {
        let form = weight.format().input_format();
        if form == InputFormat::Q8 && !done[0] {
            quantize_q8(pool, kernels, values, cols, quantized);
            done[0] = true;
            times.plain(Stage::Quantization);
        }
        if form == InputFormat::Q8K && !done[1] {
            quantize_q8k(pool, kernels, values, cols, quantized);
            done[1] = true;
            times.plain(Stage::Quantization);
        }
        let input = match form {
            InputFormat::F32 => Input::F32 { values, cols },
            InputFormat::Q8 => Input::Q8(Q8 {
                tokens,
                cols,
                qs: &quantized.qs[..len],
                scales: &quantized.scales[..len / GROUP],
                sums: &quantized.sums[..len / GROUP],
                offsets: &quantized.offsets[..len / GROUP],
            }),
            InputFormat::Q8K => Input::Q8K(Q8K {
                tokens,
                cols,
                qs: &quantized.k_qs[..len],
                scales: &quantized.k_scales[..len / K_BLOCK],
                sums: &quantized.k_sums[..len / 16],
            }),
        };
        let outputs = weight.rows();
        let grain = match pool.threads() {
            1 => outputs,
            threads => outputs.div_ceil(threads * CLAIMS).next_multiple_of(PANEL),
        };
        for_tiles(pool, &mut out[..tokens * outputs], outputs, tokens, grain, |mut tile| {
            kernels.matmul(weight, &input, &mut tile);
            for t in 0..tile.rows() {
                check(tile.row(t));
            }
        });
        let operations = 2 * (outputs * cols * tokens) as u64;
        let (int8, f32) = if form == InputFormat::F32 { (0, operations) } else { (operations, 0) };
        let bytes = (outputs * weight.row_bytes()) as u64;
        times.lap(stage, Some(weight.format()), Spent { bytes, int8, f32, time: Duration::ZERO });
    }
}

/// Blocks of `block` values in each piece.
fn piece(pool: &dyn Pool, len: usize, cols: usize, block: usize) -> usize {
    let blocks = cols / block;
    if len < SMALL || pool.threads() == 1 { blocks.max(1) } else { blocks.div_ceil(PIECES).max(1) }
}

fn quantize_q8(pool: &dyn Pool, kernels: &KernelSet, values: &[f32], cols: usize, to: &mut Quantized) {
    let (tokens, len) = (values.len() / cols, values.len());
    let piece = piece(pool, len, cols, GROUP);
    let n = piece * tokens;
    let mut pieces: Vec<_> = to.qs[..len]
        .chunks_mut(n * GROUP)
        .zip(to.scales[..len / GROUP].chunks_mut(n))
        .zip(to.sums[..len / GROUP].chunks_mut(n))
        .zip(to.offsets[..len / GROUP].chunks_mut(n))
        .enumerate()
        .collect();
    for_each(pool, &mut pieces, |(i, (((qs, scales), sums), offsets))| {
        let (from, to) = (*i * piece * GROUP, cols.min((*i + 1) * piece * GROUP));
        for (t, values) in values.chunks_exact(cols).enumerate() {
            (kernels.quantize_q8)(&values[from..to], t, tokens, qs, scales, sums, offsets);
        }
    });
}

fn quantize_q8k(pool: &dyn Pool, kernels: &KernelSet, values: &[f32], cols: usize, to: &mut Quantized) {
    let (tokens, len) = (values.len() / cols, values.len());
    let piece = piece(pool, len, cols, K_BLOCK);
    let n = piece * tokens;
    let mut pieces: Vec<_> = to.k_qs[..len]
        .chunks_mut(n * K_BLOCK)
        .zip(to.k_scales[..len / K_BLOCK].chunks_mut(n))
        .zip(to.k_sums[..len / 16].chunks_mut(n * (K_BLOCK / 16)))
        .enumerate()
        .collect();
    for_each(pool, &mut pieces, |(i, ((qs, scales), sums))| {
        let (from, to) = (*i * piece * K_BLOCK, cols.min((*i + 1) * piece * K_BLOCK));
        for (t, values) in values.chunks_exact(cols).enumerate() {
            (kernels.quantize_q8k)(&values[from..to], t, tokens, qs, scales, sums);
        }
    });
}
