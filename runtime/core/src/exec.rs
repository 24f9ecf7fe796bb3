//! Kernels and threads that the operations of a forward pass run on.

use crate::schedule;
use core::sync::atomic::{AtomicBool, Ordering};
use smidgen_targets::{KernelSet, Pool, for_tiles};

/// How products with weights are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// By the law of the weights' format, activations rounded to int8 for the quantized ones.
    #[default]
    Law,
    /// Weights decoded to `f32`, activations unrounded. Slow; a yardstick for the other, with a cache of [`KvType::F32`](crate::KvType::F32).
    F32,
}

/// Kernels and threads that the operations of a forward pass run on.
pub(crate) struct Exec<'p> {
    pub(crate) kernels: &'static KernelSet,
    pub(crate) pool: &'p dyn Pool,
    pub(crate) precision: Precision,
    /// Whether every output so far is finite. Rounding to int8 would hide a NaN, so products are looked at, or what is made of them before that.
    finite: AtomicBool,
}

impl<'p> Exec<'p> {
    pub(crate) fn new(kernels: &'static KernelSet, pool: &'p dyn Pool, precision: Precision) -> Exec<'p> {
        Exec { kernels, pool, precision, finite: AtomicBool::new(true) }
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.finite.load(Ordering::Relaxed)
    }

    /// Takes note if a value is infinite or NaN.
    pub(crate) fn check(&self, values: &[f32]) {
        if !(self.kernels.finite)(values) {
            self.finite.store(false, Ordering::Relaxed);
        }
    }

    /// Tokens in a pass of some of `tokens`, at most `batch`: see [`schedule::pass_len`].
    pub(crate) fn pass_len(&self, tokens: usize, batch: usize) -> usize {
        schedule::pass_len(tokens, batch, self.pool.threads())
    }

    /// Calls `job` once for each row of a matrix with its number, on several threads if there are several rows.
    pub(crate) fn rows(&self, matrix: &mut [f32], stride: usize, job: impl Fn(usize, &mut [f32]) + Sync) {
        let tile_rows = schedule::rows_of_rowwise_tile(matrix.len() / stride.max(1), self.pool.threads());
        for_tiles(self.pool, matrix, stride, tile_rows, stride, |mut tile| {
            for i in 0..tile.rows() {
                let row = tile.first_row() + i;
                job(row, tile.row(i));
            }
        });
    }
}
