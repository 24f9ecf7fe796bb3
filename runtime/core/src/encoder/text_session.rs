//! Texts through the model, many at a time.

use super::batch::{self, Batch, Passes, Place, panels};
use super::text::{Pooling, Text, TextEncoder};
use crate::activations::{Activations, Quantized};
use crate::exec::{Exec, Precision};
use crate::linear::decode_parts;
use crate::memory::zeroed;
use crate::{RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::{InputFormat, math, ops};
use smidgen_targets::{KernelSet, Pool};

/// What a session is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens that pass through the model at once, about: enough for the longest text always.
    pub tokens: usize,
    /// How products with weights are computed.
    pub precision: Precision,
}

impl Default for Options {
    /// 256 tokens, products by the law.
    fn default() -> Options {
        Options { tokens: 256, precision: Precision::Law }
    }
}

/// A model at work. Everything is allocated when it is made.
///
/// The same text gives the same bits whatever the others are, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: &'m TextEncoder<'a>,
    kernels: &'static KernelSet,
    precision: Precision,
    batch: Batch,
    /// `[texts × width]`
    pooled: Vec<f32>,
    /// `[texts × width]`
    dense: Vec<f32>,
    /// What is asked of texts, if it is made by a product. `[texts × outputs of the head, or of the projection]`
    outputs: Vec<f32>,
    quantized: Quantized,
}

/// What is asked of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Embedding,
    Scores,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates memory for passes.
    ///
    /// # Errors
    /// [`RunError::OptionRange`] for zero tokens, [`RunError::OutOfMemory`].
    pub fn new(
        model: &'m TextEncoder<'a>,
        options: &Options,
        kernels: &'static KernelSet,
    ) -> Result<Session<'m, 'a>, RunError> {
        if options.tokens == 0 {
            return Err(RunError::OptionRange { option: "tokens", value: 0.0 });
        }
        let tokens = options.tokens.max(model.config.max_tokens);
        // Texts of four tokens and more fill a pass.
        let texts = panels(model.config.max_tokens).max(tokens.div_ceil(4));
        let refused = RunError::OutOfMemory { bytes: usize::MAX };
        let of = |values: usize| values.checked_mul(texts).ok_or(refused.clone());
        let width = model.encoder.width;
        let outputs = model.last_products().map(|linear| linear.weight.rows()).max().unwrap_or(0);
        let uses = |form| model.last_products().any(|linear| linear.weight.format().input_format() == form);
        let has_dense = model.head.as_ref().is_some_and(|head| head.dense.is_some());
        Ok(Session {
            model,
            kernels,
            precision: options.precision,
            batch: Batch::new(&model.encoder, tokens, texts, texts)?,
            pooled: zeroed(of(width)?)?,
            dense: zeroed(if has_dense { of(width)? } else { 0 })?,
            outputs: zeroed(of(outputs)?)?,
            quantized: Quantized::new(of(width)?, uses(InputFormat::Q8), uses(InputFormat::Q8K))?,
        })
    }

    /// The model.
    pub fn model(&self) -> &'m TextEncoder<'a> {
        self.model
    }

    /// Calls `each` with the number and the embedding of every text, in order: [`TextEncoder::width`] values, or as many for each token with
    /// [`Pooling::None`]. A text that has none is an error of its own: [`RunError::NoTokens`], [`RunError::TokenRange`],
    /// [`RunError::ContextFull`], [`RunError::NotFinite`].
    pub fn embed(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        batch::run(self, texts, pool, Want::Embedding, each);
    }

    /// Calls `each` with the number and the scores (logits) of every text or pair, in order: as many as the head has outputs. Errors are
    /// those of [`embed`](Self::embed), and [`RunError::Purpose`] where there is no head.
    pub fn classify(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        batch::run(self, texts, pool, Want::Scores, each);
    }

    /// The sums of the embeddings of tokens, of types and of positions, normalized if the model does so.
    fn sum(&mut self, texts: &[Text], exec: &Exec) {
        let model = self.model;
        let width = model.encoder.width;
        let types = model.config.types;
        let (places, states) = self.batch.states();
        exec.rows(states, width, |t, row| {
            let place = places[places.partition_point(|place| place.start <= t) - 1];
            let (position, text) = (t - place.start, &texts[place.input]);
            let kind = if position >= text.second && types > 1 { 1 } else { 0 };
            let token = (&model.tokens, text.tokens[position] as usize);
            let kind = model.types.as_ref().map(|types| (types, kind));
            row.fill(0.0);
            for (table, at) in [Some(token), kind, Some((&model.positions, position))].into_iter().flatten() {
                decode_parts(&table.weight, at, &mut [0.0; K_BLOCK], |first, part| {
                    ops::add(&mut row[first..first + part.len()], part);
                });
            }
            if let Some(norm) = &model.norm {
                norm.apply(exec, row);
            }
            exec.check(row);
        });
    }

    /// Embeddings or scores from the states of a pass.
    fn pool(&mut self, exec: &Exec, want: Want) {
        let model = self.model;
        let width = model.encoder.width;
        let (places, states) = self.batch.states();
        let states = &*states;
        let pooled = &mut self.pooled[..places.len() * width];
        let pooling = if want == Want::Scores { Pooling::First } else { model.config.pooling };
        let normalizes = want == Want::Embedding && model.config.normalize;
        exec.rows(pooled, width, |i, row| {
            let Place { start, len, .. } = places[i];
            let state = |t: usize| &states[(start + t) * width..][..width];
            match pooling {
                Pooling::None => return,
                Pooling::First => row.copy_from_slice(state(0)),
                Pooling::Last => row.copy_from_slice(state(len - 1)),
                Pooling::Mean => {
                    row.fill(0.0);
                    (0..len).for_each(|t| (exec.kernels.add)(row, state(t)));
                    let factor = 1.0 / len as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            if normalizes && model.projection.is_none() {
                normalize(row);
            }
            exec.check(row);
        });
        let mut input = &*pooled;
        let last = match &model.head {
            Some(head) if want == Want::Scores => {
                if let Some(dense) = &head.dense {
                    let out = &mut self.dense[..pooled.len()];
                    let mut input_of = Activations::new(input, width, &mut self.quantized);
                    let tanh = |row: &mut [f32]| row.iter_mut().for_each(|x| *x = math::tanh(*x));
                    dense.apply_then(exec, &mut input_of, out, tanh);
                    input = out;
                }
                Some(&head.output)
            }
            _ => model.projection.as_ref().filter(|_| pooling != Pooling::None),
        };
        let Some(last) = last else { return };
        let count = last.weight.rows();
        let outputs = &mut self.outputs[..places.len() * count];
        last.apply(exec, &mut Activations::new(input, width, &mut self.quantized), outputs);
        if normalizes {
            outputs.chunks_exact_mut(count).for_each(normalize);
        }
    }
}

/// Divides a vector by its length, if it has one.
fn normalize(row: &mut [f32]) {
    let length = math::sqrt(ops::dot(row, row));
    if length > 0.0 {
        row.iter_mut().for_each(|x| *x /= length);
    }
}

impl Passes for Session<'_, '_> {
    type Input = Text;
    type Want = Want;

    fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    fn check(&mut self, text: &Text, want: Want) -> Result<usize, RunError> {
        let (vocabulary, context) = (self.model.config.vocabulary, self.model.config.max_tokens);
        let tokens = text.tokens.len();
        if want == Want::Scores && self.model.head.is_none() {
            let purpose = "classify: it has no head";
            return Err(RunError::Purpose { architecture: self.model.architecture, purpose });
        }
        if tokens == 0 {
            return Err(RunError::NoTokens);
        }
        if tokens > context {
            return Err(RunError::ContextFull { context, used: 0, tokens });
        }
        match text.tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(token) => Err(RunError::TokenRange { token: *token, vocabulary }),
            None => Ok(tokens),
        }
    }

    fn pass(&mut self, texts: &[Text], pool: &dyn Pool, want: Want) -> bool {
        let model = self.model;
        let exec = Exec::new(self.kernels, pool, self.precision);
        self.sum(texts, &exec);
        if self.batch.layers(&model.encoder, model.post_norm.as_ref(), &exec) {
            self.pool(&exec, want);
        }
        exec.is_finite()
    }

    fn result(&mut self, number: usize, want: Want) -> &[f32] {
        let model = self.model;
        let width = model.encoder.width;
        let last =
            if want == Want::Scores { model.head.as_ref().map(|head| &head.output) } else { model.projection.as_ref() };
        match last {
            _ if want == Want::Embedding && model.config.pooling == Pooling::None => {
                let Place { start, len, .. } = self.batch.places[number];
                &self.batch.states().1[start * width..][..len * width]
            }
            Some(last) => &self.outputs[number * last.weight.rows()..][..last.weight.rows()],
            None => &self.pooled[number * width..][..width],
        }
    }

    fn first_not_finite(&self) -> Option<TensorName> {
        self.model.first_not_finite()
    }
}
