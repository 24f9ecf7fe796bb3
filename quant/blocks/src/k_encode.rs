//! The search for scales that the encoders of the K-quants share.

use crate::legacy::{range, reciprocal};
use crate::math::round_even;
use crate::ops;

/// The values of a group, relative to the largest magnitude of their block, and how much the error of each counts: values far from zero
/// more, for they tend to meet larger activations. Its weights are `w = scale * q - min` with `q` from 0 to `top`.
pub(crate) struct Group<const N: usize> {
    values: [f32; N],
    weights: [f32; N],
    top: f32,
}

impl<const N: usize> Group<N> {
    pub(crate) fn new(values: [f32; N], top: f32) -> Group<N> {
        let mean = ops::sum(&values.map(f32::abs)) / N as f32;
        Group { values, weights: values.map(|v| mean + v.abs()), top }
    }

    /// The nearest levels.
    pub(crate) fn levels(&self, scale: f32, min: f32) -> [f32; N] {
        let inverse = reciprocal(scale);
        self.values.map(|v| round_even(((v + min) * inverse).clamp(0.0, self.top)))
    }

    /// Weighted squared error with the nearest levels.
    fn error(&self, scale: f32, min: f32) -> f32 {
        let levels = self.levels(scale, min);
        let squares: [f32; N] = core::array::from_fn(|i| {
            let difference = scale * levels[i] - min - self.values[i];
            difference * difference
        });
        ops::dot(&self.weights, &squares)
    }

    /// Scale and minimum (neither negative): from several ranges the levels, from the levels the best line through them.
    pub(crate) fn fit(&self) -> (f32, f32) {
        let (low, high) = range(&self.values);
        let low = if low < 0.0 { low } else { 0.0 };
        if high <= low {
            return (0.0, -low);
        }
        let mut best = ((high - low) / self.top, -low);
        let mut least = self.error(best.0, best.1);
        let wv: [f32; N] = core::array::from_fn(|i| self.weights[i] * self.values[i]);
        let (sw, sv) = (ops::sum(&self.weights), ops::sum(&wv));
        for step in 0..=20 {
            let levels = self.levels((high - low) / ((self.top - 1.0) + 0.1 * step as f32), -low);
            let wq: [f32; N] = core::array::from_fn(|i| self.weights[i] * levels[i]);
            let (sq, sqq, sqv) = (ops::sum(&wq), ops::dot(&wq, &levels), ops::dot(&wv, &levels));
            let determinant = sw * sqq - sq * sq;
            if determinant <= 0.0 {
                continue;
            }
            let (mut scale, mut min) = ((sw * sqv - sv * sq) / determinant, (sq * sqv - sqq * sv) / determinant);
            if min < 0.0 {
                (scale, min) = (sqv / sqq, 0.0);
            }
            let error = self.error(scale, min);
            if error < least && scale >= 0.0 {
                (best, least) = ((scale, min), error);
            }
        }
        best
    }

    /// The best codes (up to `most`) of scale and minimum, each at most one from the nearest.
    pub(crate) fn codes(&self, (scale, min): (f32, f32), d: f32, dmin: f32, most: u8) -> (u8, u8) {
        let around = |value: f32, unit: f32| {
            let nearest = round_even((value * reciprocal(unit)).clamp(0.0, most as f32)) as u8;
            [nearest, nearest.saturating_sub(1), (nearest + 1).min(most)]
        };
        let (scales, mins) = (around(scale, d), around(min, dmin));
        let (mut best, mut least) = ((scales[0], mins[0]), f32::INFINITY);
        for scale in scales {
            for min in mins {
                let error = self.error(d * scale as f32, dmin * min as f32);
                if error < least {
                    (best, least) = ((scale, min), error);
                }
            }
        }
        best
    }
}

/// The largest of some values, 0 if there is none above.
pub(crate) fn largest<const N: usize>(values: [f32; N]) -> f32 {
    values.into_iter().fold(0f32, |max, v| if v > max { v } else { max })
}

/// The best scale for levels that `assign` chooses, given one over a scale: from several scales the levels, from the levels the scale by
/// least squares weighted with the values' squares. Of the levels, `extreme` is the one of largest magnitude.
pub(crate) fn fit_signed<const N: usize>(
    group: &[f32; N],
    extreme: f32,
    steps: core::ops::RangeInclusive<i32>,
    step_size: f32,
    assign: impl Fn(&[f32; N], f32) -> [f32; N],
) -> f32 {
    let peak = crate::legacy::peak(group);
    if peak == 0.0 {
        return 0.0;
    }
    let (mut best, mut gain) = (peak / extreme, 0.0);
    for step in steps {
        let levels = assign(group, (extreme - step_size * step as f32) / peak);
        let (mut sqv, mut sqq) = (0.0, 0.0);
        for (v, q) in group.iter().zip(levels) {
            let w = v * v;
            sqv += w * q * v;
            sqq += w * q * q;
        }
        if sqq > 0.0 && sqv * sqv > gain * sqq {
            (best, gain) = (sqv / sqq, sqv * sqv / sqq);
        }
    }
    best
}
