//! The functions of libsmidgen. The library itself is `lib`, which is this crate and nothing else but an allocator.
//!
//! The functions and types here are the ABI; `runtime/capi/include/smidgen.h` is generated from them (`runtime/capi/tests/header.rs`), and `docs/abi.md` says what
//! the ABI promises. Every entry goes through `guard::enter`: nothing unwinds into the host, floating-point arithmetic follows the law of bits, and an
//! error is a status and a message. Handles are numbers in a table (`handle`), so stale ones are found without touching memory.
#![cfg_attr(
    not(all(feature = "audio", feature = "chat", feature = "encoders", feature = "language")),
    allow(unused, reason = "what serves only the abilities that are left out")
)]
#![allow(non_camel_case_types, reason = "C's names")]
#![allow(clippy::missing_safety_doc, reason = "the introduction of the header says it for all: see docs/abi.md")]

mod failure;
mod float;
mod guard;
mod handle;
mod log;
mod memory;
mod model;
mod reserve;
mod session;

pub mod classify;
pub mod common;
pub mod generate;
pub mod models;
pub mod sessions;
pub mod state;
pub mod text;
pub mod types;

pub use reserve::Reserve;
