//! Smidgen on an operating system: everything that needs files, threads and processes, so that the core can do without these.
//!
//! - [`ModelFile`] maps a GGUF file, or all the parts of a split one, into memory;
//! - [`ThreadPool`] runs the core's jobs on several threads, and [`physical_cores`] says how many are sensible;
//! - [`ChatTemplate`] renders the chat template a model carries, within fixed limits, and [`encode_chat`] makes tokens of a conversation;
//! - [`Splitter`] tells a thinking model's reasoning from its answer;
//! - [`pull`], [`find`] and [`resolve`] turn a model's short name into a file in the user's cache;
//! - [`hub`] has any model by name, and the models that are here; [`machine`] tells what this machine has for one;
//! - [`digest_of`] makes the digest of a model's file, once;
//! - [`convert`], [`quantize`] and [`pack`] write files in other forms;
//! - [`give_freed_memory_back`] lets the allocator keep little;
//! - [`remove_temporaries`] removes what is not finished, when a signal ends the process;
//! - [`Picture`] decodes image files;
//! - [`Sound`] reads sound from files and streams.
//!
//! Everything that can fail returns [`Error`], whose text is one line that says what to do. The last four of these parts, and the chat
//! templates, are features, all on by default.

#[cfg(feature = "pull")]
mod archive;
#[cfg(feature = "chat")]
mod chat;
#[cfg(feature = "convert")]
mod convert;
#[cfg(feature = "pull")]
mod digest;
mod error;
#[cfg(feature = "pull")]
mod fetch;
mod files;
mod heap;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "image")]
mod image;
#[cfg(feature = "hub")]
pub mod machine;
#[cfg(feature = "pull")]
mod models;
#[cfg(feature = "convert")]
mod output;
#[cfg(feature = "convert")]
mod pack;
mod pool;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "sound")]
mod sound;
#[cfg(feature = "convert")]
mod temporary;

#[cfg(feature = "chat")]
pub use chat::prompt::{encode as encode_chat, encode_data as encode_chat_data};
#[cfg(feature = "chat")]
pub use chat::thinking::{Markers, Part, Splitter};
#[cfg(feature = "chat")]
pub use chat::{ChatTemplate, Data, Message};
#[cfg(feature = "convert")]
pub use convert::{convert, explain, is_tflite, quantize};
#[cfg(feature = "pull")]
pub use digest::digest_of;
pub use error::Error;
pub use files::ModelFile;
pub use heap::give_freed_memory_back;
#[cfg(feature = "image")]
pub use image::{Picture, is_image};
#[cfg(feature = "pull")]
pub use models::{Checkpoint, KNOWN_MODELS, KnownModel, Package, PackageManager, Sidecar};
#[cfg(feature = "convert")]
pub use pack::{Direction, pack};
pub use pool::{MAX_THREADS, ThreadPool, physical_cores};
#[cfg(feature = "pull")]
pub use pull::{Form, Progress, Silent, Stage, cache_dir, find, pull, resolve};
#[cfg(feature = "convert")]
pub use smidgen_convert::{Clamped, Fate, Field, Mixture, Options};
#[cfg(feature = "sound")]
pub use sound::Sound;
#[cfg(all(unix, feature = "convert"))]
pub use temporary::ignores;
#[cfg(feature = "convert")]
pub use temporary::remove_temporaries;

/// `text` on one line of reasonable length.
#[cfg(any(feature = "chat", feature = "image", feature = "pull", feature = "sound"))]
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
