//! Texts through the model, many at a time.

use super::{ARCHITECTURE, Bert, Pooling, Text};
use crate::linear::{Activations, Linear, Machine, Precision, Quantized, decode_parts};
use crate::memory::{with_room, zeroed};
use crate::models::encoder::{Scratch, panels};
use crate::{Error, TensorName};
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::{Activation as Form, math, ops};
use smidgen_targets::{Kernels, Pool};

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
    model: &'m Bert<'a>,
    kernels: &'static Kernels,
    precision: Precision,
    scratch: Scratch,
    /// The texts of a pass.
    places: Vec<Place>,
    /// Their lengths.
    lengths: Vec<usize>,
    /// `[texts × width]`
    pooled: Vec<f32>,
    /// `[texts × width]`
    dense: Vec<f32>,
    /// `[texts × outputs]`
    scores: Vec<f32>,
    quantized: Quantized,
}

/// Tokens of one text in a pass.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of the text.
    text: usize,
    /// Its first token in the pass.
    start: usize,
    len: usize,
}

/// What is asked of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Embedding,
    Scores,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates memory for passes.
    ///
    /// # Errors
    /// [`Error::OptionRange`] for zero tokens, [`Error::OutOfMemory`].
    pub fn new(model: &'m Bert<'a>, options: &Options, kernels: &'static Kernels) -> Result<Session<'m, 'a>, Error> {
        if options.tokens == 0 {
            return Err(Error::OptionRange { option: "tokens", value: 0.0 });
        }
        let refused = Error::OutOfMemory { bytes: usize::MAX };
        let tokens = options.tokens.max(model.config.max_tokens);
        // Texts of four tokens and more fill a pass.
        let texts = panels(model.config.max_tokens).max(tokens.div_ceil(4));
        let width = model.width();
        let values = texts.checked_mul(width).ok_or(refused.clone())?;
        let outputs = model.head.as_ref().map_or(0, |head| head.output.weight.rows());
        let uses = |form| {
            let head = model.head.iter().flat_map(|head| head.dense.iter().chain([&head.output]));
            head.into_iter().any(|linear: &Linear| linear.weight.format().activation() == form)
        };
        let has_dense = model.head.as_ref().is_some_and(|head| head.dense.is_some());
        Ok(Session {
            model,
            kernels,
            precision: options.precision,
            scratch: Scratch::new(&model.encoder, tokens, texts)?,
            places: with_room(texts)?,
            lengths: with_room(texts)?,
            pooled: zeroed(values)?,
            dense: zeroed(if has_dense { values } else { 0 })?,
            scores: zeroed(texts.checked_mul(outputs).ok_or(refused)?)?,
            quantized: Quantized::new(values, uses(Form::Q8), uses(Form::Q8K))?,
        })
    }

    /// The model.
    pub fn model(&self) -> &'m Bert<'a> {
        self.model
    }

    /// Calls `each` with the number and the embedding of every text, in order: [`Bert::width`] values, or as many for each token with
    /// [`Pooling::None`]. A text that has none is an error of its own: [`Error::NoTokens`], [`Error::TokenRange`],
    /// [`Error::ContextFull`], [`Error::NotFinite`].
    pub fn embed(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], Error>)) {
        self.run(texts, pool, Want::Embedding, each);
    }

    /// Calls `each` with the number and the scores (logits) of every text or pair, in order: as many as the head has outputs. Errors are
    /// those of [`embed`](Self::embed), and [`Error::Purpose`] where there is no head.
    pub fn classify(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], Error>)) {
        self.run(texts, pool, Want::Scores, each);
    }

    fn run(&mut self, texts: &[Text], pool: &dyn Pool, want: Want, mut each: impl FnMut(usize, Result<&[f32], Error>)) {
        let mut next = 0;
        while next < texts.len() {
            let first = next;
            next = self.fill(texts, first, want);
            let finite = self.places.is_empty() || self.pass(texts, pool, want);
            let mut done = 0;
            for (number, text) in texts.iter().enumerate().take(next).skip(first) {
                if let Err(error) = self.check(text, want) {
                    each(number, Err(error));
                    continue;
                }
                if finite {
                    each(number, Ok(self.result(done, want)));
                    done += 1;
                    continue;
                }
                // One of the texts spoils the pass: each is asked by itself.
                let alone = self.fill(texts, number, want) > number && {
                    self.places.truncate(1);
                    self.lengths.truncate(1);
                    self.pass(texts, pool, want)
                };
                if alone {
                    each(number, Ok(self.result(0, want)));
                } else {
                    each(number, Err(Error::NotFinite { tensor: self.first_not_finite() }));
                }
            }
        }
    }

    fn first_not_finite(&self) -> Option<TensorName> {
        self.model.first_not_finite()
    }

    fn check(&self, text: &Text, want: Want) -> Result<(), Error> {
        let (vocabulary, context) = (self.model.config.vocabulary, self.model.config.max_tokens);
        let tokens = text.tokens.len();
        if want == Want::Scores && self.model.head.is_none() {
            let purpose = "classify: it has no head";
            return Err(Error::Purpose { architecture: ARCHITECTURE, purpose });
        }
        if tokens == 0 {
            return Err(Error::NoTokens);
        }
        if tokens > context {
            return Err(Error::ContextFull { context, used: 0, tokens });
        }
        match text.tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(token) => Err(Error::TokenRange { token: *token, vocabulary }),
            None => Ok(()),
        }
    }

    /// Fills a pass with texts from number `first` on, those that cannot be run left out. Returns the number of the first that is not
    /// looked at yet.
    fn fill(&mut self, texts: &[Text], first: usize, want: Want) -> usize {
        let (tokens, room) = self.scratch.room();
        let (mut start, mut used) = (0, 0);
        self.places.clear();
        self.lengths.clear();
        for (number, text) in texts.iter().enumerate().skip(first) {
            if self.check(text, want).is_err() {
                continue;
            }
            let len = text.tokens.len();
            if start + len > tokens || used + panels(len) > room {
                return number;
            }
            self.places.push(Place { text: number, start, len });
            self.lengths.push(len);
            start += len;
            used += panels(len);
        }
        texts.len()
    }

    /// Runs the texts of a pass. Whether all numbers are finite.
    fn pass(&mut self, texts: &[Text], pool: &dyn Pool, want: Want) -> bool {
        let model = self.model;
        let machine = Machine::new(self.kernels, pool, self.precision);
        let (places, width) = (self.places.as_slice(), model.width());
        let tokens = self.lengths.iter().sum();
        let types = model.config.types;
        let states = self.scratch.states(&model.encoder, tokens);
        machine.rows(states, width, |t, row| {
            let place = places[places.partition_point(|place| place.start <= t) - 1];
            let (position, text) = (t - place.start, &texts[place.text]);
            let kind = if position >= text.second && types > 1 { 1 } else { 0 };
            let parts = [(&model.tokens, text.tokens[position] as usize), (&model.positions, position)];
            row.fill(0.0);
            let [tokens, positions] = parts;
            for (table, at) in
                [Some(tokens), model.types.as_ref().map(|types| (types, kind)), Some(positions)].into_iter().flatten()
            {
                decode_parts(&table.weight, at, &mut [0.0; K_BLOCK], |first, part| {
                    ops::add(&mut row[first..first + part.len()], part);
                });
            }
            model.norm.apply(&machine, model.encoder.config.epsilon, row);
            machine.check(row);
        });
        if machine.is_finite() {
            self.scratch.pass(&model.encoder, &machine, &self.lengths);
        }
        if machine.is_finite() {
            self.pool(&machine, tokens, want);
        }
        machine.is_finite()
    }

    /// Embeddings or scores from the states of a pass.
    fn pool(&mut self, machine: &Machine, tokens: usize, want: Want) {
        let model = self.model;
        let (width, places) = (model.width(), self.places.as_slice());
        let states: &[f32] = self.scratch.states(&model.encoder, tokens);
        let pooled = &mut self.pooled[..places.len() * width];
        let pooling = if want == Want::Scores { Pooling::First } else { model.config.pooling };
        machine.rows(pooled, width, |i, row| {
            let Place { start, len, .. } = places[i];
            let state = |t: usize| &states[(start + t) * width..][..width];
            match pooling {
                Pooling::None => return,
                Pooling::First => row.copy_from_slice(state(0)),
                Pooling::Last => row.copy_from_slice(state(len - 1)),
                Pooling::Mean => {
                    row.fill(0.0);
                    (0..len).for_each(|t| (machine.kernels.add)(row, state(t)));
                    let factor = 1.0 / len as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            if want == Want::Embedding && model.config.normalize {
                let length = math::sqrt(ops::dot(row, row));
                if length > 0.0 {
                    row.iter_mut().for_each(|x| *x /= length);
                }
            }
            machine.check(row);
        });
        let Some(head) = model.head.as_ref().filter(|_| want == Want::Scores) else { return };
        let mut input = &*pooled;
        if let Some(dense) = &head.dense {
            let out = &mut self.dense[..pooled.len()];
            let mut input_of = Activations::new(input, width, &mut self.quantized);
            dense.apply_then(machine, &mut input_of, out, |row| row.iter_mut().for_each(|x| *x = math::tanh(*x)));
            input = out;
        }
        let scores = &mut self.scores[..places.len() * head.output.weight.rows()];
        head.output.apply(machine, &mut Activations::new(input, width, &mut self.quantized), scores);
    }

    /// What was asked of text `number` of the last pass.
    fn result(&mut self, number: usize, want: Want) -> &[f32] {
        let width = self.model.width();
        match (want, &self.model.head) {
            (Want::Scores, Some(head)) => {
                let outputs = head.output.weight.rows();
                &self.scores[number * outputs..][..outputs]
            }
            _ if self.model.config.pooling == Pooling::None => {
                let Place { start, len, .. } = self.places[number];
                &self.scratch.states(&self.model.encoder, start + len)[start * width..]
            }
            _ => &self.pooled[number * width..][..width],
        }
    }
}
