//! Sequences of tokens, some at a time: what the sessions of texts and of images have in common.

use super::Encoder;
use crate::blocks::{Item, Norm, Scratch};
use crate::exec::Exec;
use crate::kv::{Cache, KvType, Shape};
use crate::memory::try_with_capacity;
use crate::{RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::attention::KEYS;
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

/// Panels of keys that an input takes.
pub(super) fn panels(len: usize) -> usize {
    len.div_ceil(KEYS)
}

/// The inputs of a pass, and its memory.
#[derive(Debug)]
pub(crate) struct Batch {
    scratch: Scratch,
    /// Keys and values of a layer, those of an input from a whole panel on.
    caches: [Cache; 1],
    items: Vec<Item>,
    /// One after another, at most as many as there is room for.
    pub(crate) places: Vec<Place>,
    /// Panels that they take.
    used: usize,
    /// Tokens, panels of one input each, and inputs that there is room for.
    room: [usize; 3],
}

impl Batch {
    /// Memory for passes of up to `tokens` tokens, `room` panels of one input each and `most` inputs.
    pub(crate) fn new(encoder: &Encoder, tokens: usize, room: usize, most: usize) -> Result<Batch, RunError> {
        let keys = room.checked_mul(KEYS).ok_or(RunError::OutOfMemory { bytes: usize::MAX })?;
        let shape = Shape::new(encoder.layers.iter().map(crate::blocks::Layer::slot).take(1), keys);
        let shape = shape.ok_or(RunError::OutOfMemory { bytes: usize::MAX })?;
        Ok(Batch {
            scratch: Scratch::new(&encoder.stack(), tokens, [false; 2])?,
            caches: [Cache::new(&shape, KvType::F32)?],
            items: try_with_capacity(tokens)?,
            places: try_with_capacity(most)?,
            used: 0,
            room: [tokens, room, most],
        })
    }

    /// Tokens, and panels of one input each, that there is room for.
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.room[0], self.room[1])
    }

    /// Leaves no input in it.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.items.clear();
        self.used = 0;
    }

    /// Tokens of the pass.
    pub(crate) fn tokens(&self) -> usize {
        self.items.len()
    }

    /// Puts an input of this length into the pass. Whether there was room.
    fn take(&mut self, input: usize, len: usize) -> bool {
        let (start, sequence, [tokens, room, most]) = (self.tokens(), self.places.len(), self.room);
        let fits = sequence < most && start + len <= tokens && self.used + panels(len) <= room;
        if fits {
            let offset = self.used * KEYS;
            self.used += panels(len);
            self.places.push(Place { input, start, len });
            self.items.extend((0..len).map(|slot| Item {
                sequence,
                cache: 0,
                offset,
                slot,
                sees: slot + 1,
                keys: len,
                position: [slot as u32; 3],
            }));
        }
        fits
    }

    /// Where the inputs are, and the residual stream of the pass, `[tokens × width]`.
    pub(crate) fn states(&mut self) -> (&[Place], &mut [f32]) {
        (&self.places, self.scratch.stream(self.items.len()))
    }

    /// Runs the layers, and the norm after them if there is one. Whether all numbers are finite.
    pub(crate) fn layers(&mut self, encoder: &Encoder, norm: Option<&Norm>, exec: &Exec) -> bool {
        if exec.is_finite() {
            self.scratch.run(&encoder.stack(), exec, self.items.len(), &mut self.caches, &self.items);
        }
        if let Some(norm) = norm.filter(|_| exec.is_finite()) {
            exec.rows(self.states().1, encoder.width, |_, row| {
                norm.apply(exec, row);
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
