//! A layer: a mixer of tokens and a feed-forward network, each with its norms, around the residual stream.

use super::{Attention, FeedForward, Norm, Pass, Scratch};
use crate::activations::Activations;
use crate::exec::Exec;
use crate::kv::{Cache, Slot};
use crate::linear::Linear;
use crate::probe::Operation;
use alloc::vec::Vec;
use smidgen_quant::ops;

/// What mixes the tokens of a sequence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mixer<'a> {
    /// Attention.
    Attention(Attention<'a>),
}

/// Where a block's input and output are normalized.
#[derive(Clone, Debug, Default)]
pub struct Norms {
    /// Of what goes in.
    pub before: Option<Norm>,
    /// Of what comes out, before it is added to the residual stream.
    pub after: Option<Norm>,
    /// Of the residual stream, after what comes out was added to it (BERT).
    pub stream: Option<Norm>,
}

/// A layer: `x + ffn(y)` with `y = x + mixer(x)`, or in parallel `x + mixer(x) + ffn(x)`, with norms and factors where the model has them.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// Mixes tokens.
    pub mixer: Mixer<'a>,
    /// Of the mixer.
    pub mixer_norms: Norms,
    /// Factors of what the mixer gives, or empty (layer scale; Touvron et al., "Going Deeper with Image Transformers"). `[width]`
    pub mixer_scale: Vec<f32>,
    /// Works on each token by itself.
    pub ffn: FeedForward<'a>,
    /// Of the feed-forward network. In a parallel layer without a norm before it, it has the mixer's input.
    pub ffn_norms: Norms,
    /// Factors of what the feed-forward network gives, or empty. `[width]`
    pub ffn_scale: Vec<f32>,
    /// Whether both blocks see the same residual stream (Wang and Komatsuzaki, "GPT-J").
    pub parallel: bool,
}

impl<'a> Layer<'a> {
    /// All products.
    pub fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        let Mixer::Attention(attention) = &self.mixer;
        attention.products().chain(self.ffn.products())
    }

    /// The products of what comes from the residual stream.
    #[cfg(feature = "encoders")]
    pub(crate) fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Linear<'a>> {
        let Mixer::Attention(attention) = &mut self.mixer;
        attention.inputs_mut().chain(self.ffn.inputs_mut())
    }

    /// Norms of the residual stream and of what is added to it.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        [&self.mixer_norms, &self.ffn_norms]
            .into_iter()
            .flat_map(|norms| [&norms.before, &norms.after, &norms.stream])
            .flatten()
    }

    /// What the mixer keeps of a sequence.
    pub(crate) fn slot(&self) -> Slot {
        let Mixer::Attention(attention) = &self.mixer;
        Slot { heads: attention.kv_heads, key: attention.key, value: attention.value }
    }

    /// Values of the arena for each token.
    pub(crate) fn floats(&self) -> Option<usize> {
        let Mixer::Attention(attention) = &self.mixer;
        Some(attention.floats()?.max(self.ffn.floats()?))
    }

    /// Runs the layer over the residual stream. Stops when a number was not finite.
    pub(crate) fn run(&self, exec: &Exec, pass: &Pass, slot: usize, caches: &mut [Cache], scratch: &mut Scratch) {
        let (n, width) = (pass.items.len(), scratch.width);
        let Scratch { x, normed, delta, beside, order, arena, quantized, outliers, .. } = scratch;
        let (x, normed, delta) = (&mut x[..n * width], &mut normed[..n * width], &mut delta[..n * width]);
        let Mixer::Attention(attention) = &self.mixer;

        let kept = pass.outliers.take(x, width, outliers);
        let input = input(exec, &self.mixer_norms.before, x, normed);
        let input = Activations::new(input, width, quantized).with(kept);
        attention.run(exec, pass, slot, caches, input, order, arena, delta);
        pass.outliers.put_back(x, width, outliers);
        if !exec.is_finite() {
            return;
        }
        finish(exec, &self.mixer_norms.after, delta);
        if self.parallel {
            let beside = &mut beside[..n * width];
            let input = match &self.ffn_norms.before {
                None if self.mixer_norms.before.is_some() => &*normed,
                before => self::input(exec, before, x, normed),
            };
            self.ffn.run(exec, Activations::new(input, width, quantized), arena, beside);
            finish(exec, &self.ffn_norms.after, beside);
            exec.rows(x, width, |t, row| {
                let part = t * width..(t + 1) * width;
                add(exec, pass.residual_scale, &self.mixer_scale, row, &delta[part.clone()]);
                add(exec, pass.residual_scale, &self.ffn_scale, row, &beside[part]);
                exec.check(row);
            });
            exec.tell(|| Operation::new("residual sums"));
            return;
        }
        exec.rows(x, width, |t, row| {
            add(exec, pass.residual_scale, &self.mixer_scale, row, &delta[t * width..][..width]);
            if let Some(norm) = &self.mixer_norms.stream {
                norm.apply(exec, row);
            }
        });
        exec.tell(|| Operation::new("residual sums"));
        let kept = pass.outliers.take(x, width, outliers);
        let input = self::input(exec, &self.ffn_norms.before, x, normed);
        self.ffn.run(exec, Activations::new(input, width, quantized).with(kept), arena, delta);
        pass.outliers.put_back(x, width, outliers);
        finish(exec, &self.ffn_norms.after, delta);
        exec.rows(x, width, |t, row| {
            add(exec, pass.residual_scale, &self.ffn_scale, row, &delta[t * width..][..width]);
            if let Some(norm) = &self.ffn_norms.stream {
                norm.apply(exec, row);
            }
            exec.check(row);
        });
        exec.tell(|| Operation::new("residual sums"));
    }
}

/// What goes into a block: the residual stream, or a normalized copy of it.
fn input<'s>(exec: &Exec, norm: &Option<Norm>, x: &'s [f32], copy: &'s mut [f32]) -> &'s [f32] {
    let Some(norm) = norm else { return x };
    norm.copy(exec, x, copy);
    exec.tell(|| Operation::new("norms"));
    copy
}

/// Normalizes what comes out of a block, if it is to be.
fn finish(exec: &Exec, norm: &Option<Norm>, delta: &mut [f32]) {
    if let Some(norm) = norm {
        exec.rows(delta, norm.width, |_, row| norm.apply(exec, row));
        exec.tell(|| Operation::new("norms"));
    }
}

/// Adds what a block gives to a row of the residual stream, times a factor for all or one for each channel.
fn add(exec: &Exec, factor: Option<f32>, scale: &[f32], x: &mut [f32], delta: &[f32]) {
    if !scale.is_empty() {
        x.iter_mut().zip(delta).zip(scale).for_each(|((x, delta), scale)| *x += delta * scale);
    } else if let Some(factor) = factor {
        ops::add_scaled(x, factor, delta);
    } else {
        (exec.kernels.add)(x, delta);
    }
}
