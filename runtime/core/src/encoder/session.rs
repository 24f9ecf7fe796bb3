//! A model at work on many inputs, whatever they are: the session behind those of texts and of images.

use super::batch::{Batch, Place, panels};
use super::{Encoder, Head, Pooling};
use crate::RunError;
use crate::activations::{Activations, Quantized};
use crate::blocks::{ActivationFn, Norm};
use crate::exec::{Exec, Precision};
use crate::linear::Linear;
use crate::memory::zeroed;
use alloc::vec::Vec;
use smidgen_quant::{InputFormat, math, ops};
use smidgen_targets::{KernelSet, Pool};

/// What makes tokens of inputs.
pub(super) trait Front {
    /// A text, or an image.
    type Input;

    /// The layers, and the norm after them if there is one.
    fn layers(&self) -> (&Encoder<'_>, Option<&Norm>);
    /// Tokens of an input, if it may be run: one at least.
    fn tokens(&self, input: &Self::Input) -> Result<usize, RunError>;
    /// Forgets what it can before a pass is filled.
    fn clear(&mut self) {}
    /// Makes what an input of the next pass needs.
    fn prepare(&mut self, _: &Self::Input) -> Result<(), RunError> {
        Ok(())
    }
    /// Writes the residual stream of a pass, `[tokens × width]`. An input is where the place of its number is.
    fn fill(&mut self, inputs: &[Self::Input], places: &[Place], states: &mut [f32], exec: &Exec);
    /// All products and tables.
    fn matrices(&self) -> impl Iterator<Item = &Linear<'_>>;
}

/// Whoever is given the number and the result of every input, in order.
type Each<'e> = dyn FnMut(usize, Result<&[f32], RunError>) + 'e;

/// What is asked of inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'m> {
    /// Which states of an input's tokens its result is made of; with [`Pooling::None`] they are the result.
    pub(super) pooling: Pooling,
    /// A product with what is pooled, and the activation function after it.
    pub(super) dense: Option<(&'m Linear<'m>, &'m ActivationFn)>,
    /// The product that gives the result; without it the result is what is pooled.
    pub(super) output: Option<&'m Linear<'m>>,
    /// The same product of the second token, with which the result is averaged.
    pub(super) second: Option<&'m Linear<'m>>,
    /// Whether the result is divided by its length.
    pub(super) normalized: bool,
}

impl<'m> Asked<'m> {
    /// What is pooled, as it is.
    pub(super) fn states(pooling: Pooling) -> Asked<'m> {
        Asked { pooling, dense: None, output: None, second: None, normalized: false }
    }

    /// The scores of a model's head.
    pub(super) fn scores(
        pooling: Pooling,
        head: Option<&'m Head<'m>>,
        architecture: &'static str,
    ) -> Result<Asked<'m>, RunError> {
        let head = head.ok_or(RunError::Purpose { architecture, purpose: "classify: it has no head" })?;
        Ok(Asked {
            dense: head.dense.as_ref().map(|dense| (dense, &head.activation)),
            output: Some(&head.output),
            second: head.second.as_ref(),
            ..Asked::states(pooling)
        })
    }

    /// Its products.
    fn products(&self) -> impl Iterator<Item = &'m Linear<'m>> {
        self.dense.map(|(dense, _)| dense).into_iter().chain(self.output).chain(self.second)
    }
}

/// A model at work behind its front end.
#[derive(Debug)]
pub(super) struct Session<F> {
    pub(super) front: F,
    kernels: &'static KernelSet,
    precision: Precision,
    batch: Batch,
    /// `[inputs × width]`
    pooled: Vec<f32>,
    /// `[inputs × outputs of the first product]`
    dense: Vec<f32>,
    /// `[inputs × outputs]`
    outputs: Vec<f32>,
    /// `[inputs × outputs]`
    second: Vec<f32>,
    quantized: Quantized,
}

impl<F: Front> Session<F> {
    /// Memory for passes of up to `tokens` tokens, but at least `longest`, that inputs of `usual` tokens fill, and for whatever may be
    /// `asked`.
    pub(super) fn new(
        front: F,
        [tokens, longest, usual]: [usize; 3],
        asked: &[Option<Asked>],
        precision: Precision,
        kernels: &'static KernelSet,
    ) -> Result<Session<F>, RunError> {
        if tokens == 0 {
            return Err(RunError::OptionRange { option: "tokens", value: 0.0 });
        }
        let tokens = tokens.max(longest);
        let inputs = tokens.div_ceil(usual);
        let (encoder, _) = front.layers();
        let width = encoder.width;
        let asked = || asked.iter().flatten();
        let uses = |form| asked().flat_map(Asked::products).any(|linear| linear.weight.format().input_format() == form);
        let most = |rows: fn(&Asked) -> Option<usize>| asked().filter_map(rows).max().unwrap_or(0);
        let dense = most(|asked| asked.dense.map(|(dense, _)| dense.weight.rows()));
        let outputs = most(|asked| asked.output.map(|output| output.weight.rows()));
        let second = most(|asked| asked.second.map(|second| second.weight.rows()));
        let of = |values: usize| values.checked_mul(inputs).ok_or(RunError::OutOfMemory { bytes: usize::MAX });
        Ok(Session {
            batch: Batch::new(encoder, tokens, inputs.saturating_mul(panels(usual)), inputs)?,
            pooled: zeroed(of(width)?)?,
            dense: zeroed(of(dense)?)?,
            outputs: zeroed(of(outputs)?)?,
            second: zeroed(of(second)?)?,
            quantized: Quantized::new(of(width.max(dense))?, uses(InputFormat::Q8), uses(InputFormat::Q8K))?,
            front,
            kernels,
            precision,
        })
    }

    /// Calls `each` with the number and the result of every input, in order.
    pub(super) fn run(
        &mut self,
        inputs: &[F::Input],
        pool: &dyn Pool,
        asked: Result<Asked, RunError>,
        mut each: impl FnMut(usize, Result<&[f32], RunError>),
    ) {
        match asked {
            Ok(asked) => self.run_from(0, inputs, pool, &asked, &mut each),
            Err(error) => (0..inputs.len()).for_each(|number| each(number, Err(error.clone()))),
        }
    }

    /// As [`run`](Self::run); `number` is that of the first input.
    fn run_from(
        &mut self,
        mut number: usize,
        mut inputs: &[F::Input],
        pool: &dyn Pool,
        asked: &Asked,
        each: &mut Each,
    ) {
        while !inputs.is_empty() {
            let refused = self.take_all(inputs);
            let (taken, rest) = inputs.split_at(self.batch.places.len());
            if taken.is_empty() || self.pass(taken, pool, asked) {
                (0..taken.len()).for_each(|i| each(number + i, Ok(self.result(i, asked))));
            } else if let [_] = taken {
                let tensor = self.front.matrices().find(|linear| !linear.is_finite()).map(|linear| linear.name);
                each(number, Err(RunError::NotFinite { tensor }));
            } else {
                // One of the inputs spoils the pass: each is asked by itself.
                for (i, input) in taken.iter().enumerate() {
                    self.run_from(number + i, core::slice::from_ref(input), pool, asked, each);
                }
            }
            (number, inputs) = (number + taken.len(), rest);
            if let Some(error) = refused {
                each(number, Err(error));
                (number, inputs) = (number + 1, inputs.get(1..).unwrap_or_default());
            }
        }
    }

    /// Fills a pass with the first of some inputs, until there is no room or one is refused, with this error.
    fn take_all(&mut self, inputs: &[F::Input]) -> Option<RunError> {
        self.batch.clear();
        self.front.clear();
        for input in inputs {
            match self.take(input) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Puts an input into the pass. Whether there was room, as there is for one by itself unless it is refused.
    fn take(&mut self, input: &F::Input) -> Result<bool, RunError> {
        let tokens = self.front.tokens(input)?;
        if !self.batch.fits(tokens) {
            let refused = RunError::ContextFull { context: self.batch.most_tokens(), used: 0, tokens };
            return if self.batch.places.is_empty() { Err(refused) } else { Ok(false) };
        }
        self.front.prepare(input)?;
        self.batch.push(tokens);
        Ok(true)
    }

    /// Runs the inputs of the batch, of which there is one at least. Whether all numbers are finite.
    fn pass(&mut self, inputs: &[F::Input], pool: &dyn Pool, asked: &Asked) -> bool {
        let exec = Exec::new(self.kernels, pool, self.precision);
        let (places, states) = self.batch.states();
        self.front.fill(inputs, places, states, &exec);
        let (encoder, norm) = self.front.layers();
        let width = encoder.width;
        if self.batch.layers(encoder, norm, &exec) && asked.pooling != Pooling::None {
            self.finish(asked, width, &exec);
        }
        exec.is_finite()
    }

    /// Makes results from the states of a pass.
    fn finish(&mut self, asked: &Asked, width: usize, exec: &Exec) {
        let count = self.batch.places.len();
        let pooled = &mut self.pooled[..count * width];
        if let Some(second) = asked.second {
            self.batch.pool(Pooling::Token(1), pooled, width, exec);
            second.apply(exec, &mut Activations::new(pooled, width, &mut self.quantized), &mut self.second);
        }
        self.batch.pool(asked.pooling, pooled, width, exec);
        let (mut result, mut cols) = (pooled, width);
        if let Some((dense, activation)) = asked.dense {
            let outputs = dense.weight.rows();
            let out = &mut self.dense[..count * outputs];
            let mut input = Activations::new(result, cols, &mut self.quantized);
            dense.apply_then(exec, &mut input, out, |row| activation.apply(exec, row));
            (result, cols) = (out, outputs);
        }
        if let Some(output) = asked.output {
            let outputs = output.weight.rows();
            let out = &mut self.outputs[..count * outputs];
            output.apply(exec, &mut Activations::new(result, cols, &mut self.quantized), out);
            (result, cols) = (out, outputs);
        }
        if asked.second.is_some() {
            ops::add(result, &self.second[..count * cols]);
            result.iter_mut().for_each(|score| *score *= 0.5);
        }
        if asked.normalized {
            exec.rows(result, cols, |_, row| normalize(row));
        }
    }

    /// The result of input `number` of the last pass.
    fn result(&mut self, number: usize, asked: &Asked) -> &[f32] {
        let width = self.front.layers().0.width;
        match (asked.pooling, asked.output) {
            (Pooling::None, _) => {
                let Place { start, len } = self.batch.places[number];
                &self.batch.states().1[start * width..][..len * width]
            }
            (_, Some(output)) => &self.outputs[number * output.weight.rows()..][..output.weight.rows()],
            (_, None) => &self.pooled[number * width..][..width],
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
