//! Host tools that turn GGUF files into GGUF files of another form.
#![forbid(unsafe_code)]

mod pack;

pub use pack::{Error, pack, unpack};
