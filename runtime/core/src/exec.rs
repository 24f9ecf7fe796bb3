//! Kernels and threads that the operations of a forward pass run on.

use crate::probe::{Operation, Probe};
use crate::schedule;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Whoever is told of each operation, and the number of the layer that is run: 0 before the first, from 1 on.
    probe: Option<&'p dyn Probe>,
    layer: AtomicUsize,
}

impl<'p> Exec<'p> {
    pub(crate) fn new(kernels: &'static KernelSet, pool: &'p dyn Pool, precision: Precision) -> Exec<'p> {
        let (finite, layer) = (AtomicBool::new(true), AtomicUsize::new(0));
        Exec { kernels, pool, precision, finite, probe: None, layer }
    }

    /// The same with someone who is told of each operation.
    pub(crate) fn with_probe(self, probe: Option<&'p dyn Probe>) -> Exec<'p> {
        Exec { probe, ..self }
    }

    /// The layer that is run from now on, or none.
    pub(crate) fn enter(&self, layer: Option<usize>) {
        self.layer.store(layer.map_or(0, |layer| layer + 1), Ordering::Relaxed);
    }

    /// Tells of an operation that has ended.
    pub(crate) fn tell(&self, operation: impl FnOnce() -> Operation) {
        if let Some(probe) = self.probe {
            let layer = self.layer.load(Ordering::Relaxed).checked_sub(1);
            probe.operation(&Operation { layer, ..operation() });
        }
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
