//! Kernels: one kernel set per instruction set, all bit-equal to the scalar reference of `smidgen-quant`.
//!
//! A kernel set is a table of functions: the scalar set with a machine's own functions laid over it, so what it does not override is the
//! reference itself. Sets other than the scalar one can only be had from [`available`], [`detect`] and [`named`], which ask the CPU first: that
//! is why calling their functions is safe.
//!
//! This crate and its neighbours for the operating system hold the project's `unsafe` code.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

/// A kernel set with the product of a format laid over it, by the format's kind; the plain formats have theirs among the operations.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! with_product {
    (plain $set:ident, $name:ident) => {
        $set
    };
    ($kind:ident $set:ident, $name:ident) => {
        $set.with(Format::$name, $name)
    };
}

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(all(target_arch = "arm", feature = "armv7em"))]
mod armv7em;
pub mod micro;
pub mod scalar;
mod schedule;
mod weight_matrix;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(feature = "alloc")]
mod zeroed;

pub use schedule::{Matrix, Pool, Serial, Tile, for_column_tiles, for_each, for_row_ranges, for_tiles};
use smidgen_quant::attention::{Kv, KvMut, Spec, Visible};
use smidgen_quant::ops::Pairs;
pub use smidgen_quant::{Format, Input, InputFormat};
pub use weight_matrix::{Layout, WeightMatrix};
#[cfg(feature = "alloc")]
pub use zeroed::{Zeroable, zeroed};

/// `out[t][r] = w[r] · x[t]` for the tokens (rows of the tile) and weight rows (columns of the tile) that the tile covers.
pub type MatMul = fn(w: &WeightMatrix, x: &Input, out: &mut Tile);

/// A kernel set: the functions of a machine. Each equals the function of the same name in `smidgen-quant` bit for bit, and takes the same arguments.
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    clippy::type_complexity,
    reason = "each function is documented and named where the reference defines it"
)]
pub struct KernelSet {
    /// Its name, for `--target`.
    pub name: &'static str,
    matmul: [MatMul; Format::ALL.len()],
    pub quantize_q8: fn(
        x: &[f32],
        t: usize,
        tokens: usize,
        qs: &mut [i8],
        scales: &mut [f32],
        sums: &mut [i32],
        offsets: &mut [f32],
    ),
    pub quantize_q8k: fn(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i16]),
    pub rms_norm: fn(x: &mut [f32], weight: &[f32], eps: f32),
    pub layer_norm: fn(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32),
    pub silu_mul: fn(gate: &mut [f32], up: &[f32]),
    pub gelu: fn(x: &mut [f32]),
    pub gelu_tanh: fn(x: &mut [f32]),
    pub gelu_quick: fn(x: &mut [f32]),
    pub softcap: fn(x: &mut [f32], cap: f32),
    pub rope: fn(x: &mut [f32], head_dim: usize, table: &[f32], pairs: Pairs),
    pub add: fn(x: &mut [f32], y: &[f32]),
    pub round: fn(x: &mut [f32]),
    pub finite: fn(x: &[f32]) -> bool,
    pub store: fn(kv: &mut KvMut, j: usize, key: &[f32], value: &[f32]),
    pub attention: fn(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]),
}

impl KernelSet {
    /// This set with another product for one format.
    pub const fn with(mut self, format: Format, matmul: MatMul) -> KernelSet {
        self.matmul[format as usize] = matmul;
        self
    }

    /// The tile of outputs, by this machine. Checks that the weights, the activations and the tile fit each other.
    ///
    /// # Panics
    /// If they do not fit, or if `x` is not in the format that the weights ask for: both are mistakes of the caller's code.
    pub fn matmul(&self, w: &WeightMatrix, x: &Input, out: &mut Tile) {
        let fits = matches!(
            (w.format().input_format(), x),
            (InputFormat::F32, Input::F32 { .. }) | (InputFormat::Q8, Input::Q8(_)) | (InputFormat::Q8K, Input::Q8K(_))
        );
        assert!(fits && x.cols() == w.cols() && x.is_complete());
        assert!(out.first_row() + out.rows() <= x.tokens() && out.first_col() + out.cols() <= w.rows());
        (self.matmul[w.format() as usize])(w, x, out)
    }
}

/// Every kernel set that this machine can run, the scalar one first, the fastest last.
pub fn available() -> impl Iterator<Item = &'static KernelSet> {
    core::iter::once(&scalar::KERNELS).chain(machine())
}

/// The fastest kernel set for this machine.
pub fn detect() -> &'static KernelSet {
    available().last().unwrap_or(&scalar::KERNELS)
}

/// The kernel set of that name, if this machine can run it.
pub fn named(name: &str) -> Option<&'static KernelSet> {
    available().find(|kernels| kernels.name == name)
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn machine() -> impl Iterator<Item = &'static KernelSet> {
    x86::available()
}

#[cfg(target_arch = "aarch64")]
fn machine() -> impl Iterator<Item = &'static KernelSet> {
    arm::available()
}

#[cfg(all(target_arch = "arm", feature = "armv7em"))]
fn machine() -> impl Iterator<Item = &'static KernelSet> {
    core::iter::once(&armv7em::KERNELS)
}

#[cfg(not(any(
    all(target_arch = "x86_64", feature = "std"),
    target_arch = "aarch64",
    all(target_arch = "arm", feature = "armv7em")
)))]
fn machine() -> impl Iterator<Item = &'static KernelSet> {
    core::iter::empty()
}
