//! Sequences of tokens, some at a time: what the sessions of texts and of images have in common.

use super::encoder::{Encoder, Norm, Scratch, panels};
use crate::exec::Exec;
use crate::memory::try_with_capacity;
use crate::{RunError, TensorName};
use alloc::vec::Vec;
use smidgen_targets::Pool;

/// Where an input's tokens are in a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Number of the input.
    pub(crate) input: usize,
    /// Its first token in the pass.
    pub(crate) start: usize,
    /// Its tokens.
    pub(crate) len: usize,
}

/// The inputs of a pass, and its memory.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) scratch: Scratch,
    /// One after another, at most as many as there is room for.
    pub(crate) places: Vec<Place>,
    /// Their lengths.
    lengths: Vec<usize>,
    /// Inputs that there is room for.
    most: usize,
}

impl Batch {
    /// Memory for passes of up to `tokens` tokens, `room` panels of one input each and `most` inputs.
    pub(crate) fn new(encoder: &Encoder, tokens: usize, room: usize, most: usize) -> Result<Batch, RunError> {
        let scratch = Scratch::new(encoder, tokens, room)?;
        Ok(Batch { scratch, places: try_with_capacity(most)?, lengths: try_with_capacity(most)?, most })
    }

    /// Leaves no input in it.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.lengths.clear();
    }

    /// Tokens of the pass.
    pub(crate) fn tokens(&self) -> usize {
        self.places.last().map_or(0, |place| place.start + place.len)
    }

    /// Puts an input of this length into the pass. Whether there was room.
    fn take(&mut self, input: usize, len: usize) -> bool {
        let (tokens, room) = self.scratch.room();
        let (start, used) = (self.tokens(), self.lengths.iter().map(|len| panels(*len)).sum::<usize>());
        let fits = self.places.len() < self.most && start + len <= tokens && used + panels(len) <= room;
        if fits {
            self.places.push(Place { input, start, len });
            self.lengths.push(len);
        }
        fits
    }

    /// The residual stream of the pass. `[tokens × width]`
    pub(crate) fn states(&mut self, encoder: &Encoder) -> &mut [f32] {
        let tokens = self.tokens();
        self.scratch.states(encoder, tokens)
    }

    /// Runs the layers, and the norm after them if there is one. Whether all numbers are finite.
    pub(crate) fn layers(&mut self, encoder: &Encoder, norm: Option<&Norm>, exec: &Exec) -> bool {
        if exec.is_finite() {
            self.scratch.pass(encoder, exec, &self.lengths);
        }
        if let Some(norm) = norm.filter(|_| exec.is_finite()) {
            exec.rows(self.states(encoder), encoder.config.width, |_, row| {
                norm.apply(exec, encoder.config.epsilon, row);
                exec.check(row);
            });
        }
        exec.is_finite()
    }
}

/// A session, as [`run`] sees it.
pub(crate) trait Passes {
    /// What becomes a sequence of tokens.
    type Input;
    /// What is asked of it.
    type Want: Copy;

    fn batch(&mut self) -> &mut Batch;
    /// Forgets the last pass.
    fn clear(&mut self) {
        self.batch().clear();
    }
    /// Tokens of an input, if it can be run. Given the same input it says the same.
    fn check(&mut self, input: &Self::Input, want: Self::Want) -> Result<usize, RunError>;
    /// Runs the inputs of the batch, of which there is one at least. Whether all numbers are finite.
    fn pass(&mut self, inputs: &[Self::Input], pool: &dyn Pool, want: Self::Want) -> bool;
    /// What was asked of input `number` of the last pass.
    fn result(&mut self, number: usize, want: Self::Want) -> &[f32];
    /// The first tensor with a weight that is not finite.
    fn first_not_finite(&self) -> Option<TensorName>;
}

/// Calls `each` with the number and the result of every input, in order.
pub(crate) fn run<S: Passes>(
    session: &mut S,
    inputs: &[S::Input],
    pool: &dyn Pool,
    want: S::Want,
    mut each: impl FnMut(usize, Result<&[f32], RunError>),
) {
    let mut next = 0;
    while next < inputs.len() {
        let first = next;
        next = fill(session, inputs, first, want);
        let finite = session.batch().places.is_empty() || session.pass(inputs, pool, want);
        let mut done = 0;
        for (number, input) in inputs.iter().enumerate().take(next).skip(first) {
            if let Err(error) = session.check(input, want) {
                each(number, Err(error));
            } else if finite {
                each(number, Ok(session.result(done, want)));
                done += 1;
            } else {
                // One of the inputs spoils the pass: each is asked by itself.
                let alone = inputs.get(..=number).unwrap_or(inputs);
                fill(session, alone, number, want);
                if session.pass(inputs, pool, want) {
                    each(number, Ok(session.result(0, want)));
                } else {
                    each(number, Err(RunError::NotFinite { tensor: session.first_not_finite() }));
                }
            }
        }
    }
}

/// Fills a pass with inputs from number `first` on, those that cannot be run left out. Returns the number of the first that is not looked at
/// yet.
fn fill<S: Passes>(session: &mut S, inputs: &[S::Input], first: usize, want: S::Want) -> usize {
    session.clear();
    for (number, input) in inputs.iter().enumerate().skip(first) {
        if let Ok(len) = session.check(input, want)
            && !session.batch().take(number, len)
        {
            return number;
        }
    }
    inputs.len()
}
