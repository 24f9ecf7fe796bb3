//! Scratch memory of a pass, and what its blocks are told of its tokens.

use super::attention::{self, Order};
use super::outliers::Outliers;
use super::{Layer, Mixer, Rope};
use crate::RunError;
use crate::activations::Quantized;
use crate::exec::Exec;
use crate::kv::Cache;
use crate::memory::{defaults, try_with_capacity, zeroed};
use crate::probe::Operation;
use alloc::vec::Vec;
use smidgen_quant::InputFormat;

/// One token of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// The sequence that it belongs to; tokens of different sequences do not see each other.
    pub(crate) sequence: usize,
    /// Number of the sequence's cache.
    pub(crate) cache: usize,
    /// Where the sequence's keys begin there, a multiple of [`smidgen_quant::attention::KEYS`].
    pub(crate) offset: usize,
    /// Number of its key in its sequence.
    pub(crate) slot: usize,
    /// Keys that it sees if it looks back only: those up to its own, or to the end of its span.
    pub(crate) sees: usize,
    /// Keys that its sequence has after the pass.
    pub(crate) keys: usize,
    /// Its positions, which are mostly the number of its key: of three axes where the model tells them apart.
    pub(crate) position: [u32; 3],
}

/// A pass, as the blocks see it.
pub(crate) struct Pass<'p> {
    /// Its tokens. Those of a sequence follow one another, in the order of their keys.
    pub(crate) items: &'p [Item],
    pub(crate) ropes: &'p [Rope],
    /// Cosines and sines of each rotation: `[ropes × tokens × 2 · pairs]`
    pub(crate) turns: &'p [f32],
    /// Factor of what blocks add to the residual stream.
    pub(crate) residual_scale: Option<f32>,
    pub(crate) outliers: Outliers<'p>,
}

impl Pass<'_> {
    /// Cosines and sines of token `t`.
    pub(super) fn turns(&self, rope: usize, t: usize) -> &[f32] {
        let n = self.items.len();
        let before: usize = self.ropes[..rope].iter().map(|rope| 2 * rope.frequencies.len() * n).sum();
        let width = 2 * self.ropes[rope].frequencies.len();
        &self.turns[before + t * width..][..width]
    }
}

/// Memory of a pass, for a number of tokens.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Values of a token in the residual stream.
    pub(super) width: usize,
    /// The residual stream. `[tokens × width]`
    pub(super) x: Vec<f32>,
    /// `[tokens × width]`
    pub(super) normed: Vec<f32>,
    /// What a block adds to the residual stream. `[tokens × width]`
    pub(super) delta: Vec<f32>,
    /// The same of a second block beside it. `[tokens × width]`, or empty.
    pub(super) beside: Vec<f32>,
    /// Channels of rows of the residual stream that are not rounded. `[tokens × outliers]`
    pub(super) outliers: Vec<f32>,
    /// What blocks compute in between.
    pub(super) arena: Vec<f32>,
    /// See [`Pass::turns`].
    turns: Vec<f32>,
    pub(super) order: Order,
    pub(super) quantized: Quantized,
}

/// Lengths of the arrays of [`Scratch`]; what overflows is None.
struct Lengths {
    stream: usize,
    beside: usize,
    outliers: usize,
    arena: usize,
    turns: usize,
    ends: usize,
    visible: usize,
    /// Of the widest input of a product.
    widest: usize,
    q8: bool,
    q8k: bool,
}

/// The layers of a model and what they have in common.
#[derive(Clone, Copy)]
pub(crate) struct Stack<'m, 'a> {
    /// Values of a token in the residual stream.
    pub(crate) width: usize,
    pub(crate) layers: &'m [Layer<'a>],
    pub(crate) ropes: &'m [Rope],
    pub(crate) residual_scale: Option<f32>,
    pub(crate) outliers: Outliers<'m>,
    /// Whether layers keep their keys in the first layer's place, one after another: nothing is seen again.
    pub(crate) one_slot: bool,
}

impl Stack<'_, '_> {
    /// Whether a product of a layer takes activations of this form.
    pub(crate) fn uses(&self, form: InputFormat) -> bool {
        let mut products = self.layers.iter().flat_map(Layer::products);
        products.any(|linear| linear.weight.format().input_format() == form)
    }

    /// The largest of what each layer has.
    fn most(&self, of: impl Fn(&Layer<'_>) -> Option<usize>) -> Option<usize> {
        self.layers.iter().try_fold(0, |most: usize, layer| Some(most.max(of(layer)?)))
    }

    fn lengths(&self, tokens: usize, also: [bool; 2]) -> Option<Lengths> {
        let attention = |layer: &Layer| {
            let Mixer::Attention(attention) = &layer.mixer;
            (attention.kv_heads, attention.group())
        };
        let products = |layer: &Layer| layer.products().map(|linear| linear.weight.cols()).max();
        let pairs: usize = self.ropes.iter().map(|rope| 2 * rope.frequencies.len()).sum();
        let parallel = self.layers.iter().any(|layer| layer.parallel);
        let stream = tokens.checked_mul(self.width)?;
        Some(Lengths {
            stream,
            beside: if parallel { stream } else { 0 },
            outliers: tokens.checked_mul(self.outliers.0.len())?,
            arena: tokens.checked_mul(self.most(|layer| layer.floats())?)?,
            turns: tokens.checked_mul(pairs)?,
            ends: tokens.checked_mul(self.most(|layer| Some(attention(layer).0))?)?,
            visible: tokens.checked_mul(self.most(|layer| Some(attention(layer).1))?)?,
            widest: tokens.checked_mul(self.most(|layer| Some(products(layer)?.max(self.width)))?)?,
            q8: also[0] || self.uses(InputFormat::Q8),
            q8k: also[1] || self.uses(InputFormat::Q8K),
        })
    }
}

impl Scratch {
    /// Bytes for passes of `tokens` tokens; `also` says which rounded activations are used beside the layers'. None if the number overflows.
    pub(crate) fn bytes(stack: &Stack, tokens: usize, also: [bool; 2]) -> Option<usize> {
        let n = stack.lengths(tokens, also)?;
        let floats = [n.stream.checked_mul(3)?, n.beside, n.outliers, n.arena, n.turns];
        let floats = floats.into_iter().try_fold(0usize, |sum, len| sum.checked_add(len))?;
        let order = [
            tokens.checked_mul(size_of::<attention::Part>())?,
            n.ends.checked_mul(size_of::<usize>())?,
            n.visible.checked_mul(size_of::<smidgen_quant::attention::Visible>())?,
            Quantized::bytes(n.widest, n.q8, n.q8k)?,
        ];
        order.into_iter().try_fold(floats.checked_mul(size_of::<f32>())?, |sum, bytes| sum.checked_add(bytes))
    }

    pub(crate) fn new(stack: &Stack, tokens: usize, also: [bool; 2]) -> Result<Scratch, RunError> {
        let n = stack.lengths(tokens, also).ok_or(RunError::OutOfMemory { bytes: usize::MAX })?;
        Ok(Scratch {
            width: stack.width,
            x: zeroed(n.stream)?,
            normed: zeroed(n.stream)?,
            delta: zeroed(n.stream)?,
            beside: zeroed(n.beside)?,
            outliers: zeroed(n.outliers)?,
            arena: zeroed(n.arena)?,
            turns: zeroed(n.turns)?,
            order: Order { parts: try_with_capacity(tokens)?, ends: zeroed(n.ends)?, visible: defaults(n.visible)? },
            quantized: Quantized::new(n.widest, n.q8, n.q8k)?,
        })
    }

    /// The residual stream of the first `tokens` tokens: the input of [`run`](Self::run), then its output. `[tokens × width]`
    pub(crate) fn stream(&mut self, tokens: usize) -> &mut [f32] {
        &mut self.x[..tokens * self.width]
    }

    /// The residual stream after a pass, room for as many rows, and memory for rounded activations.
    pub(crate) fn output(&mut self) -> (&[f32], &mut [f32], &mut Quantized) {
        (&self.x, &mut self.normed, &mut self.quantized)
    }

    /// Runs all layers over the residual stream of these tokens, as many as there is room for at most, in a session of this context. Stops when a
    /// number was not finite, and stores none in a cache.
    pub(crate) fn run(&mut self, stack: &Stack, exec: &Exec, context: usize, caches: &mut [Cache], items: &[Item]) {
        let mut turns = core::mem::take(&mut self.turns);
        let mut rest = &mut turns[..];
        for rope in stack.ropes {
            let width = 2 * rope.frequencies.len();
            let (own, others) = rest.split_at_mut(items.len() * width);
            exec.rows(own, width, |t, row| rope.turns(context, items[t].position[0], row));
            rest = others;
        }
        let Stack { ropes, residual_scale, outliers, .. } = *stack;
        let pass = Pass { items, ropes, turns: &turns, residual_scale, outliers };
        attention::cut(&pass, &mut self.order.parts);
        exec.tell(|| Operation::new("angles"));
        for (number, layer) in stack.layers.iter().enumerate() {
            exec.enter(Some(number));
            layer.run(exec, &pass, if stack.one_slot { 0 } else { number }, caches, self);
            if !exec.is_finite() {
                break;
            }
        }
        exec.enter(None);
        self.turns = turns;
    }
}
