//! Which models there are.

use crate::defaults::Defaults;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a model is, and how it is used.
#[derive(Clone, Debug)]
pub struct Source {
    /// The model's file, or any part of a split one.
    pub path: PathBuf,
    /// What counts where a request says nothing.
    pub defaults: Defaults,
    /// Tokens of context where the server's own number is not given.
    pub context: Option<NonZeroUsize>,
    /// What people are told when the model is opened: a line each.
    pub warnings: Vec<String>,
}

impl Source {
    /// A file of which nothing more is said.
    pub fn new(path: impl Into<PathBuf>) -> Source {
        Source { path: path.into(), defaults: Defaults::default(), context: None, warnings: Vec::new() }
    }
}

/// A list of models that may change while the server runs. It is asked on threads that may wait for a disk.
pub trait Catalogue: Debug + Send + Sync {
    /// The names of all models, each once, in the order in which they are listed.
    ///
    /// # Errors
    /// One line that names what cannot be read.
    fn names(&self) -> Result<Vec<String>, String>;

    /// The model of exactly this name; none if the list has no such name. The name comes from a request: it is compared with those of the list and is never
    /// made a path.
    ///
    /// # Errors
    /// One line that names what is wrong with the model.
    fn find(&self, name: &str) -> Option<Result<Source, String>>;
}

/// Which models are served.
#[derive(Clone, Debug)]
pub enum Selection {
    /// One, which is opened at the start and stays.
    One {
        /// The name by which requests call it. They may leave it out.
        id: String,
        /// Where it is.
        source: Box<Source>,
    },
    /// Those of a list, each opened when a request names it.
    Several {
        /// The list.
        catalogue: Arc<dyn Catalogue>,
        /// The time after its last request after which a model is unloaded; none keeps it.
        keep_alive: Option<Duration>,
        /// Models that are open at once, at most.
        loaded: NonZeroUsize,
    },
}
