//! Norms: of the residual stream, of what a block adds to it, of heads.

use crate::exec::Exec;
use crate::memory::zeroed;
use crate::source::Source;
use crate::{LoadError, TensorName};
use alloc::vec::Vec;

/// What a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// See [`smidgen_quant::ops::rms_norm`].
    Rms,
    /// See [`smidgen_quant::ops::layer_norm`].
    Layer,
}

/// A norm of rows of `width` values.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// What it divides by.
    pub kind: NormKind,
    /// Values that are normalized together.
    pub width: usize,
    /// `[width]`, or `[rows × width]` if the rows of a token (its heads) have weights of their own.
    pub weight: Vec<f32>,
    /// As many as weights; none for [`NormKind::Rms`].
    pub bias: Vec<f32>,
    /// Added to the mean square, or to the variance.
    pub epsilon: f32,
}

/// What a norm is read with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormLike {
    pub(crate) kind: NormKind,
    pub(crate) epsilon: f32,
}

impl Norm {
    /// The norm of these tensors' names. A missing bias of a layer norm is zero.
    pub(crate) fn parse(
        source: &Source,
        [weight, bias]: [TensorName; 2],
        width: usize,
        NormLike { kind, epsilon }: NormLike,
    ) -> Result<Norm, LoadError> {
        let weight = source.required_vector(weight, width)?;
        let bias = match kind {
            NormKind::Rms => Vec::new(),
            NormKind::Layer => {
                let bias = source.vector(bias, width)?;
                if bias.is_empty() { zeroed(width)? } else { bias }
            }
        };
        Ok(Norm { kind, width, weight, bias, epsilon })
    }

    /// Normalizes a row of one token, or some of them that share weights, in place.
    pub(crate) fn apply(&self, exec: &Exec, rows: &mut [f32]) {
        let (n, kernels) = (self.weight.len(), exec.kernels);
        if n == self.width {
            return match self.kind {
                NormKind::Rms => (kernels.rms_norm)(rows, &self.weight, self.epsilon),
                NormKind::Layer => (kernels.layer_norm)(rows, &self.weight, &self.bias, self.epsilon),
            };
        }
        for (i, row) in rows.chunks_exact_mut(self.width).enumerate() {
            let part = i * self.width % n..i * self.width % n + self.width;
            match self.kind {
                NormKind::Rms => (kernels.rms_norm)(row, &self.weight[part], self.epsilon),
                NormKind::Layer => {
                    (kernels.layer_norm)(row, &self.weight[part.clone()], &self.bias[part], self.epsilon);
                }
            }
        }
    }

    /// A normalized copy of rows `[tokens × width]`.
    pub(crate) fn copy(&self, exec: &Exec, x: &[f32], to: &mut [f32]) {
        exec.rows(to, self.width, |t, row| {
            row.copy_from_slice(&x[t * self.width..][..self.width]);
            self.apply(exec, row);
        });
    }
}
