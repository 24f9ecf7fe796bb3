//! Smidgen over HTTP.
//!
//! One thread, the *engine*, owns a model's session and decides what goes into each pass; one thread does all input and output. Between them
//! are bounded queues, so a slow reader pauses its own stream and nobody else's.

#![forbid(unsafe_code)]

pub mod engine;
