//! Smidgen over HTTP.
//!
//! One thread for each open model, its *engine*, owns the session and decides what goes into each pass; one thread does all input and output. Between them
//! are bounded queues, so a slow reader pauses its own stream and nobody else's.
//!
//! - [`engine`] computes;
//! - [`serve`] binds an address, and answers there as OpenAI's interface does until a signal ends it;
//! - [`Options`] are its limits, keys and names;
//! - [`Selection`] is which models it serves: one, or those of a [`Catalogue`];
//! - [`Defaults`] count where a request says nothing.

#![forbid(unsafe_code)]

mod api;
mod defaults;
pub mod engine;
mod fingerprint;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod log;
mod metrics;
mod models;
mod notify;
mod server;

pub use defaults::Defaults;
pub use models::{Catalogue, Selection, Source};
pub use server::{Options, serve};
