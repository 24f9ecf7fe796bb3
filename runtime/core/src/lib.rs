//! Smidgen: a language model from a GGUF file, with the same bits on every machine.
//!
//! [`Model::parse`] checks the files' hyper-parameters and tensors once and borrows the weights. A [`Session`] holds what a run needs:
//! the key-value cache and scratch memory, both of a size known before ([`Model::bytes_needed`]). A [`Sampler`] chooses tokens,
//! [`generate`](generate::generate) and [`beam::search`] are the loops around them. Weights, threads and kernels are given by the caller.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod beam;
mod error;
pub mod frontend;
pub mod generate;
mod kv;
mod linear;
mod memory;
mod model;
pub mod models;
pub mod sampler;
mod session;
pub mod tokenizer;

pub use error::{Error, Key, TensorName};
pub use kv::KvType;
pub use linear::{Linear, Precision};
pub use model::Model;
pub use sampler::{Sampler, Sampling};
pub use session::{Options, Session};

/// The longest context, in tokens. Rotary angles are exact up to here.
pub const MAX_CONTEXT: usize = 1 << 24;
