//! Smidgen on an operating system: what needs files, threads and processes, so that the core can do without.
//!
//! - [`ModelFile`] maps a GGUF file, or all the parts of a split one, into memory;
//! - [`ThreadPool`] runs the core's jobs on several threads, and [`physical_cores`] says how many are sensible;
//! - [`ChatTemplate`] renders the chat template a model carries, within fixed limits;
//! - [`pull`], [`find`] and [`resolve`] turn a model's short name into a file in the user's cache;
//! - [`convert`], [`quantize`] and [`pack`] write files in other forms;
//! - [`Picture`] decodes image files.
//!
//! Everything that can fail returns [`Error`], whose text is one line that says what to do.

mod archive;
mod chat;
mod convert;
mod error;
mod fetch;
mod files;
mod image;
mod models;
mod output;
mod pack;
mod pool;
mod pull;

pub use chat::{ChatTemplate, Message};
pub use convert::{convert, is_tflite, quantize};
pub use error::Error;
pub use files::ModelFile;
pub use image::{Picture, is_image};
pub use models::{Checkpoint, KNOWN_MODELS, KnownModel, Package, PackageManager, Sidecar};
pub use pack::{Direction, pack};
pub use pool::{MAX_THREADS, ThreadPool, physical_cores};
pub use pull::{Form, Progress, Silent, Stage, cache_dir, find, pull, resolve};
pub use smidgen_convert::{Mixture, Options};

/// `text` on one line of reasonable length.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|c| !c.is_control());
    if let Some((end, _)) = line.char_indices().nth(MOST) {
        line.truncate(end);
        line.push('…');
    }
    line
}
