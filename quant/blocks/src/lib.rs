//! The law of bits: what every kernel on every machine must return.
//!
//! This crate holds the meaning of each block format of a GGUF file (one file per format: the struct, decoding, encoding and the
//! scalar dot product), how activations are rounded to int8, and the few `f32` functions a model needs. Everything is plain Rust whose
//! result does not depend on the machine: integers are exact, floats are added in a written order and never fused, and no function of
//! the platform's mathematical library is called.
//!
//! The functions that kernels share with the law (`ops`, `attention`, `activation`) are `#[inline(always)]` and branch-free, so that
//! a kernel may instantiate them under its own instruction set: the compiler then vectorizes them, and may not change their bits.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("Smidgen is little-endian only: weights are used as they lie in GGUF files");

pub mod activation;
pub mod attention;
mod f16;
pub mod fixed;
mod format;
pub mod int8;
mod k_encode;
mod legacy;
pub mod math;
pub mod ops;
mod overflow;
pub mod packed;

pub mod iq4_nl;
pub mod k_scales;
pub mod plain;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;

pub use activation::{Input, Q8, Q8K};
pub use f16::{f16_to_f32, f32_to_f16, f32_to_f16_saturating, round_to_f16};
pub use format::{Block, Error, Format, InputFormat};
