//! Texts through the model, many at a time.

use super::batch::Place;
use super::session::{self, Asked, Front};
use super::text::{Text, TextEncoder};
use super::{Encoder, Head, Pooling};
use crate::RunError;
use crate::blocks::Norm;
use crate::exec::{Exec, Precision};
use crate::linear::{Linear, decode_parts};
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::ops;
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

/// Texts of so many tokens, and longer ones, fill a pass.
const USUAL: usize = 4;

/// A model at work. Everything is allocated when it is made.
///
/// The same text gives the same bits whatever the others are, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a>(session::Session<Texts<'m, 'a>>);

/// The front end.
#[derive(Debug)]
struct Texts<'m, 'a> {
    model: &'m TextEncoder<'a>,
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
        let tokens = [options.tokens, model.config.max_tokens, USUAL];
        let asked = [Some(embedding(model)), scores(model).ok()];
        session::Session::new(Texts { model }, tokens, &asked, options.precision, kernels).map(Session)
    }

    /// The model.
    pub fn model(&self) -> &'m TextEncoder<'a> {
        self.0.front.model
    }

    /// Calls `each` with the number and the embedding of every text, in order: [`TextEncoder::width`] values, or as many for each token with
    /// [`Pooling::None`]. A text that has none is an error of its own: [`RunError::NoTokens`], [`RunError::TokenRange`],
    /// [`RunError::ContextFull`], [`RunError::NotFinite`].
    pub fn embed(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        self.0.run(texts, pool, Ok(embedding(self.model())), each);
    }

    /// Calls `each` with the number and the scores (logits) of every text or pair, in order: as many as the head has outputs. Errors are
    /// those of [`embed`](Self::embed), and [`RunError::Purpose`] where there is no head.
    pub fn classify(&mut self, texts: &[Text], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        self.0.run(texts, pool, scores(self.model()), each);
    }
}

fn embedding<'m>(model: &'m TextEncoder) -> Asked<'m> {
    let normalized = model.config.normalize;
    Asked { output: model.projection.as_ref(), normalized, ..Asked::states(model.config.pooling) }
}

fn scores<'m>(model: &'m TextEncoder) -> Result<Asked<'m>, RunError> {
    Asked::scores(Pooling::Token(0), model.head.as_ref(), model.architecture)
}

impl Front for Texts<'_, '_> {
    type Input = Text;

    fn layers(&self) -> (&Encoder<'_>, Option<&Norm>) {
        (&self.model.encoder, self.model.post_norm.as_ref())
    }

    fn tokens(&self, text: &Text) -> Result<usize, RunError> {
        let (vocabulary, context) = (self.model.config.vocabulary, self.model.config.max_tokens);
        let tokens = text.tokens.len();
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

    /// The sums of the embeddings of tokens, of types and of positions, normalized if the model does so.
    fn fill(&mut self, texts: &[Text], places: &[Place], states: &mut [f32], exec: &Exec) {
        let model = self.model;
        exec.rows(states, model.encoder.width, |t, row| {
            let (number, position) = Place::of(places, t);
            let text = &texts[number];
            let kind = if position >= text.second && model.config.types > 1 { 1 } else { 0 };
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

    fn matrices(&self) -> impl Iterator<Item = &Linear<'_>> {
        let model = self.model;
        let tables = [&model.tokens, &model.positions].into_iter().chain(&model.types);
        let last = model.projection.iter().chain(model.head.iter().flat_map(Head::products));
        tables.chain(model.encoder.products()).chain(last)
    }
}
