//! The tokens of some inputs, one after another, through the layers, and what is pooled of them.

use super::{Encoder, Pooling};
use crate::RunError;
use crate::blocks::{Item, Norm, Scratch};
use crate::exec::Exec;
use crate::kv::{Cache, KvType, Shape};
use crate::memory::try_with_capacity;
use alloc::vec::Vec;
use smidgen_quant::attention::KEYS;

/// Where an input's tokens are in a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its first token in the pass.
    pub(crate) start: usize,
    /// Its tokens.
    pub(crate) len: usize,
}

impl Place {
    /// The number of the input that token `t` of a pass is of, and the token's number in it. The first place starts at 0.
    pub(super) fn of(places: &[Place], t: usize) -> (usize, usize) {
        let number = places.partition_point(|place| place.start <= t) - 1;
        (number, t - places[number].start)
    }
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

    /// Tokens of the longest pass.
    pub(crate) fn most_tokens(&self) -> usize {
        self.room[0]
    }

    /// Leaves no input in it.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.items.clear();
        self.used = 0;
    }

    /// Whether there is room for an input of this length.
    pub(crate) fn fits(&self, len: usize) -> bool {
        let [tokens, room, most] = self.room;
        self.places.len() < most && len <= tokens - self.items.len() && panels(len) <= room - self.used
    }

    /// Puts an input of this length into the pass, which has room for it.
    pub(crate) fn push(&mut self, len: usize) {
        let (start, sequence, offset) = (self.items.len(), self.places.len(), self.used * KEYS);
        self.used += panels(len);
        self.places.push(Place { start, len });
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

    /// Pools the states of each input into a row, `[inputs × width]`.
    pub(crate) fn pool(&mut self, pooling: Pooling, rows: &mut [f32], width: usize, exec: &Exec) {
        let (places, states) = self.states();
        let states = &*states;
        exec.rows(rows, width, |i, row| {
            let Place { start, len } = places[i];
            let state = |t: usize| &states[(start + t) * width..][..width];
            match pooling {
                Pooling::None => {}
                Pooling::Token(token) => row.copy_from_slice(state(token)),
                Pooling::Last => row.copy_from_slice(state(len - 1)),
                Pooling::MeanFrom(first) => {
                    row.fill(0.0);
                    (first..len).for_each(|t| (exec.kernels.add)(row, state(t)));
                    let factor = 1.0 / (len - first) as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            exec.check(row);
        });
    }
}
