//! The models that are here.

use crate::Form;
use std::path::PathBuf;

/// A model on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its names: the full one first (`hf:USER/REPO:Q4_K_M`), then those that led to it (`hf:USER/REPO`).
    pub names: Vec<String>,
    /// Its files; more than one for a split model, in the order of the parts.
    pub files: Vec<EntryFile>,
    /// The format of most weights (`Q4_K_M`).
    pub quant: Option<String>,
    /// The licence, as the hub states it.
    pub licence: Option<String>,
    /// Where it came from: the web address, the package or the cache of another program.
    pub source: String,
    /// When it came, in seconds since 1970.
    pub pulled: u64,
    /// Whether the files belong to another program's cache; these are never removed.
    pub imported: bool,
    /// How the registry has the model used: template, system prompt, parameters.
    pub defaults: Option<serde_json::Value>,
}

/// A file of a model on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file as it was published, in lower-case hexadecimal, if the source states it. That of a packed file is checked by
    /// unpacking it.
    pub sha256: Option<String>,
    /// Whether it is packed.
    pub form: Form,
}
