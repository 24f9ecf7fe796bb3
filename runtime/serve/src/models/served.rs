//! A model that is open, and who uses it.

use crate::api::{Chat, Error, control_stops};
use crate::defaults::Defaults;
use crate::engine::{Engine, Facts, Refused};
use crate::fingerprint::Fingerprint;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Bytes of a text whose tokens are counted in any case, as some tokenizers make few of many.
const BYTES: usize = 1 << 18;

/// A model that is open.
pub(crate) struct Served {
    /// The name by which requests call it.
    pub(crate) id: String,
    pub(crate) engine: Engine,
    pub(crate) facts: Facts,
    pub(crate) chat: OnceLock<Result<Chat, String>>,
    pub(crate) defaults: Defaults,
    /// Streams that run, at most.
    pub(crate) parallel: usize,
    /// Streams that run and wait, at most.
    pub(crate) streams: usize,
    pub(super) fingerprint: Fingerprint,
}

impl Served {
    /// See [`Fingerprint`]; none before it is known.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.fingerprint.get().map(str::to_owned)
    }

    /// The facts of a model that writes text.
    pub(crate) fn writer(&self) -> Result<&Facts, Refused> {
        let facts = &self.facts;
        let cannot =
            || Refused::Purpose(format!("this model of the architecture {} cannot write text", facts.architecture));
        if facts.writes { Ok(facts) } else { Err(cannot()) }
    }

    /// Refuses a text that cannot fit the context, by its bytes: to find out how many tokens it has would take long.
    pub(crate) fn fits(&self, param: &str, bytes: usize) -> Result<(), Error> {
        let context = self.facts.context;
        let most = context.saturating_mul(self.facts.longest_token).max(BYTES);
        if bytes <= most {
            return Ok(());
        }
        let why = format!("{bytes} bytes are more than fit the context, which holds {context} tokens; shorten it");
        Err(Error::param(param, why).code("context_length_exceeded"))
    }

    /// Whether so many choices can run or wait at all.
    pub(crate) fn room(&self, choices: usize) -> Result<(), Error> {
        let most = self.streams;
        if choices <= most {
            return Ok(());
        }
        Err(Error::param("n", format!("{choices} answers are asked for at once, but there is room for {most}")))
    }
}

/// How many requests use a model, and since when none does.
#[derive(Debug)]
pub(crate) struct Uses {
    count: AtomicUsize,
    last: Mutex<Instant>,
    changed: watch::Sender<()>,
}

impl Uses {
    /// None; `changed` learns when there are none again.
    pub(super) fn new(changed: watch::Sender<()>) -> Uses {
        Uses { count: AtomicUsize::new(0), last: Mutex::new(Instant::now()), changed }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// When it was used last.
    pub(super) fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// One use, until it is dropped.
pub(super) struct Hold(pub(super) Arc<Uses>);

impl Hold {
    pub(super) fn new(uses: &Arc<Uses>) -> Hold {
        uses.count.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(uses))
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        Hold::new(&self.0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.now();
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.send_replace(());
        }
    }
}

/// A model for as long as a request uses it: it is not unloaded before the last of these is dropped.
#[derive(Clone)]
pub(crate) struct Lease {
    served: Arc<Served>,
    _hold: Hold,
}

impl Lease {
    pub(super) fn new(served: &Arc<Served>, uses: &Arc<Uses>) -> Lease {
        Lease { served: Arc::clone(served), _hold: Hold::new(uses) }
    }

    /// Reads the chat template before the first conversation needs it. Tells what is wrong with it, and with stop texts of the model's registry.
    pub(super) async fn prepare(self) -> Vec<String> {
        if !self.facts.writes {
            return Vec::new();
        }
        let of_thread = self.clone();
        let job = self.engine.texts(0, move |texts| {
            let Served { facts, defaults, chat, .. } = &*of_thread;
            let chat = match Chat::has_template(facts, defaults) {
                true => chat.get_or_init(|| Chat::of(facts, defaults, texts)).as_ref().err().cloned(),
                false => None,
            };
            let stops = defaults.stops.iter().filter_map(|stop| {
                let error = control_stops(texts.tokenizer, std::slice::from_ref(stop), 1).err()?;
                Some(format!("of the model's registry: {}", error.message))
            });
            chat.into_iter().chain(stops).collect()
        });
        job.await.unwrap_or_default()
    }
}

impl Deref for Lease {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}
