//! The models of a server: which there are, which of them are open, and for how long.
//!
//! A model has one of as many places as models may be open at once. Who needs one that is taken has the model unloaded that nobody has used for the
//! longest time, or waits in line until there is such a model. To open and to unload is done apart from requests, so that one that goes away stops neither.

mod catalogue;
mod line;
mod open;
mod served;

pub use catalogue::{Catalogue, Selection, Source};
pub(crate) use served::{Lease, Served};

use crate::api::Error;
use crate::engine::{Config, Facts, Refused, Stats};
use hyper::StatusCode;
use line::{Line, Turn};
use open::apart;
use serde_json::{Value, json};
use served::{Hold, Uses};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout_at;

/// The time that a request waits while all models are in use, at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// The models of a server.
pub(crate) struct Models {
    catalogue: Arc<dyn Catalogue>,
    /// The only model, which is opened at the start and stays; none if there is a list.
    fixed: Option<(String, Box<Source>)>,
    /// How each is computed, but for its path and where it says more.
    engine: Config,
    keep_alive: Option<Duration>,
    /// Models that are open at once, at most.
    most: usize,
    inner: Mutex<Inner>,
    /// Requests that wait for a place.
    line: Arc<Line>,
    /// Tells whoever waits that something is other than it was.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    slots: BTreeMap<String, Slot>,
    stopping: bool,
    /// What models have counted that are no longer open.
    gone: Stats,
}

/// What is known of a model beside that it is on the list.
enum Slot {
    /// It has a place and is being opened. Who waits for it is among its uses.
    Opening(Arc<Uses>),
    Open(Arc<Served>, Arc<Uses>),
    /// It is being unloaded, and still has its place; what uses it has some time to end.
    Closing(Arc<Served>, Arc<Uses>),
    /// It could not be opened: a line that says why.
    Failed(String),
}

/// What is told of a model.
pub(crate) enum Status {
    Unloaded,
    Loading,
    Loaded(Arc<Served>),
    Failed(String),
}

/// The engines' numbers, of all models together.
#[derive(Default)]
pub(crate) struct Totals {
    /// Counters are those of models that are no longer open too.
    pub(crate) stats: Stats,
    /// Tokens that caches have room for.
    pub(crate) room: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) session_bytes: u64,
    /// Models that are open.
    pub(crate) loaded: u64,
}

/// A model's name, itself and its uses.
type Used = (String, Arc<Served>, Arc<Uses>);

/// What a request does next that needs a model.
enum Step {
    Use(Lease),
    /// It has a place for the model, to be opened in it.
    Open(Arc<Uses>),
    /// This model is to be unloaded, so that there is a place.
    Unload(Used),
    /// It waits for a model that is being opened or unloaded.
    Wait,
    /// It waits for a model that nobody uses.
    Line,
    Refuse(Error),
}

/// What a request that needs a model holds meanwhile.
#[derive(Default)]
struct Waiting {
    /// A use of the model that is being opened, so that it is not unloaded before the request has it.
    opening: Option<Hold>,
    /// Its turn in the line.
    turn: Option<Turn>,
}

impl Models {
    /// Those of a selection, of which none is open.
    pub(crate) fn new(selection: Selection, engine: Config) -> Models {
        let (fixed, catalogue, keep_alive, loaded) = match selection {
            Selection::One { id, source } => {
                let catalogue: Arc<dyn Catalogue> = Arc::new(One(id.clone()));
                (Some((id, source)), catalogue, None, NonZeroUsize::MIN)
            }
            Selection::Several { catalogue, keep_alive, loaded } => (None, catalogue, keep_alive, loaded),
        };
        let (changed, _) = watch::channel(());
        let line = Arc::new(Line::new(changed.clone()));
        Models { catalogue, fixed, engine, keep_alive, most: loaded.get(), inner: Mutex::default(), line, changed }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the only model that is served, if there is one.
    pub(crate) fn fixed(&self) -> Option<&str> {
        self.fixed.as_ref().map(|(id, _)| id.as_str())
    }

    /// Opens the only model, if there is one, and gives its facts. Models of a list are unloaded from now on when their time has come.
    ///
    /// # Errors
    /// A line that names what is wrong with the only model.
    pub(crate) async fn begin(self: &Arc<Models>) -> Result<Option<Facts>, String> {
        match &self.fixed {
            Some((id, source)) => {
                let uses = Arc::new(Uses::new(self.changed.clone()));
                self.inner().slots.insert(id.clone(), Slot::Opening(Arc::clone(&uses)));
                let served = Arc::clone(self).open(id.clone(), (**source).clone(), uses).await?;
                Ok(Some(served.facts.clone()))
            }
            None => {
                smidgen_host::give_freed_memory_back();
                tokio::spawn(Arc::clone(self).expire());
                Ok(None)
            }
        }
    }

    /// The model of this name, which is opened if it is not; without a name the only one that there is.
    ///
    /// # Errors
    /// 404 for a name that is not on the list, 400 for none where there are several, 503 while the only model is being opened and where there is no place,
    /// 500 with what is wrong with the model.
    pub(crate) async fn lease(self: &Arc<Models>, name: Option<&str>) -> Result<Lease, Error> {
        if let Some(fixed) = self.fixed() {
            if let Some(name) = name.filter(|name| *name != fixed) {
                return Err(self.unknown(name));
            }
            return self.open_already(fixed).ok_or_else(|| Refused::Loading.into());
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.only().await?,
        };
        if let Some(lease) = self.open_already(&name) {
            return Ok(lease);
        }
        let source = self.find(&name).await?;
        self.opened(&name, &source).await
    }

    fn open_already(&self, name: &str) -> Option<Lease> {
        match self.inner().slots.get(name) {
            Some(Slot::Open(served, uses)) => Some(Lease::new(served, uses)),
            _ => None,
        }
    }

    /// The only name of the list.
    async fn only(&self) -> Result<String, Error> {
        let mut names = self.names().await?;
        match (names.pop(), names.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => {
                Err(Error::param("model", "there are several models here; name one of those that GET /v1/models lists"))
            }
            (None, _) => Err(Error::param("model", "there are no models here")),
        }
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        let catalogue = Arc::clone(&self.catalogue);
        apart(move || catalogue.names()).await.and_then(|names| names).map_err(failed)
    }

    /// Where the model of a name of the list is.
    async fn find(&self, name: &str) -> Result<Source, Error> {
        let (catalogue, asked) = (Arc::clone(&self.catalogue), name.to_owned());
        let found = apart(move || catalogue.find(&asked)).await.map_err(failed)?;
        let found = found.ok_or_else(|| self.unknown(name))?;
        found.map_err(|error| {
            let mut inner = self.inner();
            // What has a place by now is another request's to tell of.
            if matches!(inner.slots.get(name), None | Some(Slot::Failed(_))) {
                inner.slots.insert(name.to_owned(), Slot::Failed(error.clone()));
            }
            failed(error)
        })
    }

    /// The error of a name that is not on the list.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let told: String = name.chars().take(100).collect();
        let message = match self.fixed() {
            Some(fixed) => format!("there is no model {told:?} here, only {fixed:?}"),
            None => format!("there is no model {told:?} here; GET /v1/models lists those that are"),
        };
        Error { param: Some("model".into()), ..Error::new(StatusCode::NOT_FOUND, message).code("model_not_found") }
    }

    /// The model of this name, once it is open: it may have to be opened, and may have to wait for a place.
    async fn opened(self: &Arc<Models>, name: &str, source: &Source) -> Result<Lease, Error> {
        let mut changed = self.changed.subscribe();
        let mut waiting = Waiting::default();
        let mut late = None;
        loop {
            match self.step(name, &mut waiting) {
                Step::Use(lease) => return Ok(lease),
                Step::Refuse(error) => return Err(error),
                Step::Open(uses) => {
                    tokio::spawn(Arc::clone(self).open(name.to_owned(), source.clone(), uses));
                }
                Step::Unload((other, served, uses)) => {
                    tokio::spawn(Arc::clone(self).close(other, served, uses));
                }
                Step::Wait => {
                    let _ = changed.changed().await;
                }
                Step::Line => {
                    let late = *late.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                    if timeout_at(late, changed.changed()).await.is_err() {
                        return Err(self.busy());
                    }
                }
            }
        }
    }

    /// The error of a request that has no place, as all models that are open are in use.
    fn busy(&self) -> Error {
        let most = self.most;
        let message = format!(
            "the {most} models that may be open at once are all in use; try again later, or start the server with more --models-loaded"
        );
        Error::new(StatusCode::SERVICE_UNAVAILABLE, message).code("models_busy")
    }

    /// What comes next for a request that needs the model of this name.
    fn step(&self, name: &str, waiting: &mut Waiting) -> Step {
        let mut inner = self.inner();
        if inner.stopping {
            return Step::Refuse(Refused::Stopping.into());
        }
        match inner.slots.get(name) {
            Some(Slot::Open(served, uses)) => return Step::Use(Lease::new(served, uses)),
            Some(Slot::Opening(uses)) => {
                *waiting = Waiting { opening: Some(Hold::new(uses)), turn: None };
                return Step::Wait;
            }
            Some(Slot::Closing(..)) => {
                // Those behind it need not wait for that.
                waiting.turn = None;
                return Step::Wait;
            }
            // It failed while this request waited for it; one that comes later tries anew.
            Some(Slot::Failed(error)) if waiting.opening.is_some() => return Step::Refuse(failed(error.clone())),
            Some(Slot::Failed(_)) | None => {}
        }
        let places = inner.slots.values().filter(|slot| !matches!(slot, Slot::Failed(_))).count();
        // Who came first has the next place.
        let is_first = self.line.is_first(waiting.turn.as_ref());
        if is_first && places < self.most {
            let uses = Arc::new(Uses::new(self.changed.clone()));
            *waiting = Waiting { opening: Some(Hold::new(&uses)), turn: None };
            inner.slots.insert(name.to_owned(), Slot::Opening(Arc::clone(&uses)));
            return Step::Open(uses);
        }
        let closing = inner.slots.values().filter_map(|slot| match slot {
            Slot::Closing(_, uses) => Some(uses.count()),
            _ => None,
        });
        // A model whose answers end before it is unloaded may take longer than another that nobody uses.
        let (is_closing, is_soon) = closing.fold((false, false), |(_, soon), uses| (true, soon || uses == 0));
        let unused = inner.slots.iter().filter_map(|(name, slot)| match slot {
            Slot::Open(served, uses) if uses.count() == 0 => Some((name, served, uses)),
            _ => None,
        });
        let oldest = unused.min_by_key(|(_, _, uses)| uses.last()).filter(|_| is_first && !is_soon);
        let step = match oldest {
            Some((other, served, uses)) => {
                let (other, served, uses) = (other.clone(), Arc::clone(served), Arc::clone(uses));
                inner.slots.insert(other.clone(), Slot::Closing(Arc::clone(&served), Arc::clone(&uses)));
                Step::Unload((other, served, uses))
            }
            None if is_closing => Step::Wait,
            None => Step::Line,
        };
        if waiting.turn.is_none() {
            if matches!(step, Step::Line) && self.line.len() >= self.engine.queue {
                return Step::Refuse(self.busy());
            }
            waiting.turn = Some(Turn::new(&self.line));
        }
        step
    }

    /// Opens a model because somebody asks for just that.
    ///
    /// # Errors
    /// Those of [`lease`](Self::lease), and 400 for one that is open or being opened, and where there is only one.
    pub(crate) async fn load(self: &Arc<Models>, name: &str) -> Result<(), Error> {
        self.refuse_fixed(name)?;
        let source = self.find(name).await?;
        match self.inner().slots.get(name) {
            Some(Slot::Open(..)) => return Err(Error::param("model", "this model is loaded already")),
            Some(Slot::Opening(_)) => return Err(Error::param("model", "this model is being loaded already")),
            Some(Slot::Closing(..) | Slot::Failed(_)) | None => {}
        }
        self.opened(name, &source).await.map(drop)
    }

    /// Unloads a model because somebody asks for it; returns when its memory is given back. What uses it has some time to end.
    ///
    /// # Errors
    /// 404 for a name that is not on the list, and 400 for one that is not open, and where there is only one.
    pub(crate) async fn unload(self: &Arc<Models>, name: &str) -> Result<(), Error> {
        self.refuse_fixed(name)?;
        let mut changed = self.changed.subscribe();
        let closing = match self.inner().slots.get_mut(name) {
            Some(Slot::Opening(_)) => {
                return Err(Error::param("model", "this model is being loaded; unload it when it is loaded"));
            }
            Some(Slot::Closing(served, _)) => Some((Arc::clone(served), None)),
            Some(slot @ Slot::Open(..)) => {
                let Slot::Open(served, uses) = &*slot else { return Ok(()) };
                let (served, uses) = (Arc::clone(served), Arc::clone(uses));
                *slot = Slot::Closing(Arc::clone(&served), Arc::clone(&uses));
                Some((served, Some(uses)))
            }
            Some(Slot::Failed(_)) | None => None,
        };
        let Some((served, uses)) = closing else {
            self.find(name).await?;
            return Err(Error::param("model", "this model is not loaded"));
        };
        if let Some(uses) = uses {
            tokio::spawn(Arc::clone(self).close(name.to_owned(), Arc::clone(&served), uses));
        }
        let is_closing =
            || matches!(self.inner().slots.get(name), Some(Slot::Closing(own, _)) if Arc::ptr_eq(own, &served));
        while is_closing() && changed.changed().await.is_ok() {}
        Ok(())
    }

    fn refuse_fixed(&self, name: &str) -> Result<(), Error> {
        let Some(fixed) = self.fixed() else { return Ok(()) };
        if name != fixed {
            return Err(self.unknown(name));
        }
        Err(Error::bad(
            "this server was started with one model, which stays; start it with --models-dir to load and unload",
        ))
    }

    /// All models in the order of the list, and what is known of each. Those that are open and no longer on the list come last.
    ///
    /// # Errors
    /// 500 with what cannot be read.
    pub(crate) async fn list(&self) -> Result<Vec<(String, Status)>, Error> {
        let mut names = self.names().await?;
        let inner = self.inner();
        let open = inner.slots.iter().filter(|(_, slot)| !matches!(slot, Slot::Failed(_)));
        let missing: Vec<String> = open.map(|(name, _)| name).filter(|name| !names.contains(name)).cloned().collect();
        names.extend(missing);
        let each = |name: String| {
            let status = inner.slots.get(&name).map_or(Status::Unloaded, Slot::status);
            (name, status)
        };
        Ok(names.into_iter().map(each).collect())
    }

    /// The engines' numbers.
    pub(crate) fn totals(&self) -> Totals {
        let inner = self.inner();
        let mut totals = Totals { stats: inner.gone, ..Totals::default() };
        for slot in inner.slots.values() {
            let (Slot::Open(served, _) | Slot::Closing(served, _)) = slot else { continue };
            let (stats, facts) = (served.engine.stats(), &served.facts);
            totals.stats.count(&stats);
            totals.stats.running += stats.running;
            totals.stats.waiting += stats.waiting;
            totals.stats.paused += stats.paused;
            totals.stats.held_tokens += stats.held_tokens;
            totals.room += (facts.sequences as u64).saturating_mul(facts.context as u64);
            totals.cache_bytes += facts.cache_bytes as u64;
            totals.session_bytes += facts.session_bytes as u64;
            totals.loaded += 1;
        }
        totals
    }

    /// Whether requests are answered.
    ///
    /// # Errors
    /// While the only model is being opened, and after its end.
    pub(crate) fn ready(&self) -> Result<(), Refused> {
        let inner = self.inner();
        if inner.stopping {
            return Err(Refused::Stopping);
        }
        match self.fixed().map(|fixed| inner.slots.get(fixed)) {
            Some(Some(Slot::Open(served, _))) if served.engine.is_over() => Err(Refused::Stopping),
            Some(Some(Slot::Open(..))) | None => Ok(()),
            Some(_) => Err(Refused::Loading),
        }
    }

    /// Ends: nothing more is opened, and what runs has so much time.
    pub(crate) fn stop(&self, within: Duration) {
        let mut inner = self.inner();
        inner.stopping = true;
        for slot in inner.slots.values() {
            if let Slot::Open(served, _) | Slot::Closing(served, _) = slot {
                served.engine.stop(within);
            }
        }
        drop(inner);
        self.changed.send_replace(());
    }
}

impl Slot {
    fn status(&self) -> Status {
        match self {
            Slot::Opening(_) => Status::Loading,
            Slot::Open(served, _) | Slot::Closing(served, _) => Status::Loaded(Arc::clone(served)),
            Slot::Failed(error) => Status::Failed(error.clone()),
        }
    }
}

impl Status {
    /// The status in the form of llama.cpp's router.
    pub(crate) fn value(&self) -> Value {
        match self {
            Status::Unloaded => json!({"value": "unloaded"}),
            Status::Loading => json!({"value": "loading"}),
            Status::Loaded(_) => json!({"value": "loaded"}),
            Status::Failed(error) => json!({"value": "failed", "failed": true, "error": error}),
        }
    }
}

/// The list of the only model.
#[derive(Debug)]
struct One(String);

impl Catalogue for One {
    fn names(&self) -> Result<Vec<String>, String> {
        Ok(vec![self.0.clone()])
    }

    fn find(&self, _: &str) -> Option<Result<Source, String>> {
        None
    }
}

/// The error of what the server cannot do.
fn failed(error: String) -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}

#[cfg(test)]
mod tests;
