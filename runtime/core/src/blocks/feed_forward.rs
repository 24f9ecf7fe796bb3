//! Feed-forward networks: what a layer does with each token by itself.

use super::ActivationFn;
use crate::activations::Activations;
use crate::exec::Exec;
use crate::linear::{Linear, apply_all_unseen};
use crate::probe::Operation;

/// A feed-forward network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FeedForward<'a> {
    /// `down (f(gate x) · up x)` (Shazeer, "GLU Variants Improve Transformer").
    Gated(Gated<'a>),
    /// `down f(up x)`
    Plain(Plain<'a>),
}

/// A gated network. The gate and what it lets pass may be rows of one tensor.
#[derive(Clone, Debug)]
pub struct Gated<'a> {
    /// `[inner × width]`
    pub gate: Linear<'a>,
    /// `[inner × width]`
    pub up: Linear<'a>,
    /// `[width × inner]`
    pub down: Linear<'a>,
    /// Of the gate.
    pub activation: ActivationFn,
}

/// A network without a gate.
#[derive(Clone, Debug)]
pub struct Plain<'a> {
    /// `[inner × width]`
    pub up: Linear<'a>,
    /// `[width × inner]`
    pub down: Linear<'a>,
    /// Between the two.
    pub activation: ActivationFn,
}

impl<'a> FeedForward<'a> {
    /// All products.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        match self {
            FeedForward::Gated(block) => [Some(&block.gate), Some(&block.up), Some(&block.down)],
            FeedForward::Plain(block) => [Some(&block.up), Some(&block.down), None],
        }
        .into_iter()
        .flatten()
    }

    /// The products of the input.
    #[cfg(feature = "encoders")]
    pub(crate) fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Linear<'a>> {
        match self {
            FeedForward::Gated(block) => [Some(&mut block.gate), Some(&mut block.up)],
            FeedForward::Plain(block) => [Some(&mut block.up), None],
        }
        .into_iter()
        .flatten()
    }

    /// Values between the products.
    pub(crate) fn inner(&self) -> usize {
        match self {
            FeedForward::Gated(block) => block.down.weight.cols(),
            FeedForward::Plain(block) => block.down.weight.cols(),
        }
    }

    /// Values of the arena for each token.
    pub(crate) fn floats(&self) -> Option<usize> {
        match self {
            FeedForward::Gated(_) => self.inner().checked_mul(2),
            FeedForward::Plain(_) => Some(self.inner()),
        }
    }

    /// `out[t] = network(input[t])`.
    pub(crate) fn run(&self, exec: &Exec, mut input: Activations, arena: &mut [f32], out: &mut [f32]) {
        let (tokens, inner) = (input.tokens, self.inner());
        let (hidden, rest) = arena.split_at_mut(tokens * inner);
        match self {
            FeedForward::Gated(Gated { gate, up, activation, .. }) => {
                let passed = &mut rest[..tokens * inner];
                // What is not finite is looked for in what becomes of it.
                apply_all_unseen([(gate, &mut *hidden), (up, &mut *passed)], exec, &mut input);
                exec.rows(hidden, inner, |t, row| {
                    activation.gated(exec, row, &passed[t * inner..][..inner]);
                    exec.check(row);
                });
                exec.tell(|| Operation::new("gates"));
            }
            FeedForward::Plain(Plain { up, activation, .. }) => {
                up.apply_then(exec, &mut input, hidden, |row| activation.apply(exec, row));
            }
        }
        let down = match self {
            FeedForward::Gated(block) => &block.down,
            FeedForward::Plain(block) => &block.down,
        };
        let mut input = Activations::new(hidden, inner, input.into_memory());
        // What is not finite stays in the residual stream, where it is looked for.
        down.apply_unseen(exec, &mut input, out);
    }
}
