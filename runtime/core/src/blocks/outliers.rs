//! Channels of the residual stream that are not rounded.

use crate::activations::Unrounded;

/// Numbers of channels that products multiply unrounded, in ascending order; mostly none. The products have their weights in
/// [`Linear::unrounded`](crate::Linear::unrounded).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outliers<'m>(pub(crate) &'m [usize]);

impl Outliers<'_> {
    /// Moves the outliers of rows of `width` values to `to`; zeros are left.
    pub(super) fn take<'s>(&self, x: &mut [f32], width: usize, to: &'s mut [f32]) -> Unrounded<'s> {
        let count = self.0.len();
        if count > 0 {
            for (row, to) in x.chunks_exact_mut(width).zip(to.chunks_exact_mut(count)) {
                for (channel, to) in self.0.iter().zip(to) {
                    *to = core::mem::take(&mut row[*channel]);
                }
            }
        }
        Unrounded { values: to, count }
    }

    /// Undoes [`take`](Self::take).
    pub(super) fn put_back(&self, x: &mut [f32], width: usize, from: &[f32]) {
        if !self.0.is_empty() {
            for (row, from) in x.chunks_exact_mut(width).zip(from.chunks_exact(self.0.len())) {
                for (channel, value) in self.0.iter().zip(from) {
                    row[*channel] = *value;
                }
            }
        }
    }
}
