//! Smidgen: a language model from a GGUF file, with the same bits on every machine.
//!
//! [`Model::parse`] checks the files' hyper-parameters and tensors once and borrows the weights. A [`Session`] holds what a run needs:
//! the key-value cache and scratch memory, both of a size known before ([`Model::bytes_needed`]). A [`Sampler`] chooses tokens,
//! [`generate`](generate::generate) and [`beam::search`] are the loops around them. Weights, threads and kernels are given by the caller.
//!
//! Without the feature `alloc` (part of `std`, the default) there are [`models::micro`] and [`frontend::audio`], for microcontrollers.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

/// The version of the law of bits. The same model, prompt and parameters give the same bits wherever this is the same: a release that changes any of them
/// counts it up, and says so in CHANGELOG.md.
pub const LAW: u32 = 1;

#[cfg(feature = "alloc")]
mod activations;
#[cfg(feature = "alloc")]
pub mod beam;
#[cfg(feature = "alloc")]
pub mod blocks;
#[cfg(feature = "alloc")]
mod decoder;
#[cfg(feature = "encoders")]
pub mod encoder;
#[cfg(feature = "alloc")]
mod error;
#[cfg(feature = "alloc")]
mod exec;
#[cfg(feature = "alloc")]
mod families;
#[cfg(feature = "alloc")]
pub mod frontend;
#[cfg(feature = "alloc")]
pub mod generate;
#[cfg(feature = "alloc")]
mod kv;
#[cfg(feature = "alloc")]
mod linear;
#[cfg(feature = "alloc")]
mod memory;
#[cfg(feature = "alloc")]
mod model;
#[cfg(feature = "alloc")]
pub mod models;
#[cfg(feature = "alloc")]
mod probe;
#[cfg(feature = "alloc")]
pub mod sampler;
#[cfg(feature = "alloc")]
mod schedule;
#[cfg(feature = "alloc")]
mod scores;
#[cfg(feature = "alloc")]
mod session;
#[cfg(feature = "alloc")]
mod source;
#[cfg(feature = "alloc")]
pub mod tokenizer;

/// From the world to numbers: what a microcontroller can do.
#[cfg(not(feature = "alloc"))]
pub mod frontend {
    pub mod audio;
}

/// Models that a microcontroller can run.
#[cfg(not(feature = "alloc"))]
pub mod models {
    pub mod micro;
}

#[cfg(feature = "alloc")]
pub use decoder::Decoder;
#[cfg(feature = "alloc")]
pub use error::{Key, LoadError, RunError, StateError, TensorName};
#[cfg(feature = "alloc")]
pub use exec::Precision;
#[cfg(feature = "alloc")]
pub use kv::KvType;
#[cfg(feature = "alloc")]
pub use linear::Linear;
#[cfg(feature = "alloc")]
pub use model::Model;
#[cfg(feature = "alloc")]
pub use probe::{Operation, Probe};
#[cfg(feature = "alloc")]
pub use sampler::{Sampler, Sampling};
#[cfg(feature = "alloc")]
pub use scores::{Problem, Similarity};
#[cfg(feature = "alloc")]
pub use session::{Entry, Input, Options, Rows, Session, Want};

/// The longest context, in tokens. Rotary angles are exact up to here.
pub const MAX_CONTEXT: usize = 1 << 24;
