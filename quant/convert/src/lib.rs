//! Host tools that write GGUF files: from checkpoints in safetensors ([`convert`]), and from GGUF files in another form ([`quantize`],
//! [`pack`], [`unpack`]).
//!
//! A conversion has three steps. [`Checkpoint`] reads a model's files and checks them. An architecture's own module turns it into a
//! [`Plan`]: metadata, and for each tensor its name, its shape and where its values come from. [`write()`] encodes the plan in the formats
//! that a [`Mixture`] chooses, row by row, so that no more than one piece of the file is in memory.
#![forbid(unsafe_code)]

mod architecture;
mod bert;
mod checkpoint;
mod clip;
mod decoders;
mod error;
mod fields;
mod images;
mod json;
mod labels;
mod meta;
mod mixture;
mod pack;
mod plan;
mod quantize;
pub mod safetensors;
mod sentences;
pub mod tflite;
mod tokenizer;
mod vit;
mod write;

pub use architecture::{convert, explain, is_decoder, plan};
pub use checkpoint::{CONFIG, Checkpoint, File, INDEX, SIDECARS, WEIGHTS, modules, shards};
pub use error::Error;
pub use fields::{Fate, Field};
pub use json::Json;
pub use meta::Meta;
pub use mixture::{Facts, Mixture};
pub use pack::{pack, unpack};
pub use plan::{Data, Plan, Planned, Planner};
pub use quantize::quantize;
pub use sentences::MODULES;
pub use tokenizer::CHAT_TEMPLATES;
pub use write::{Clamped, Options, write};
