//! How models are opened and unloaded.

use super::served::Uses;
use super::{Lease, Models, Served, Slot, Source, Used};
use crate::engine::{Config, Engine, Facts};
use crate::fingerprint::{Fingerprint, Now};
use crate::log::log;
use crate::server::{GRACE, first};
use serde_json::json;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

impl Models {
    /// Opens a model that has a place.
    pub(super) async fn open(
        self: Arc<Models>,
        name: String,
        source: Source,
        uses: Arc<Uses>,
    ) -> Result<Arc<Served>, String> {
        let told = |warning: &String| log("warning", json!({"model": name, "text": warning}));
        source.warnings.iter().for_each(told);
        let started = Instant::now();
        let opened = self.start(&name, source).await;
        let seconds = seconds(started);
        let mut inner = self.inner();
        let slot = match &opened {
            Ok(served) => {
                if inner.stopping {
                    served.engine.stop(GRACE);
                }
                uses.now();
                Slot::Open(Arc::clone(served), Arc::clone(&uses))
            }
            Err(error) => Slot::Failed(error.clone()),
        };
        inner.slots.insert(name.clone(), slot);
        // It is not unloaded before its template is read.
        let prepared = opened.as_ref().ok().map(|served| Lease::new(served, &uses));
        drop(inner);
        self.changed.send_replace(());
        match &opened {
            Ok(served) => {
                served.facts.warnings.iter().for_each(told);
                let Facts { context, kernels, .. } = &served.facts;
                if self.fixed.is_none() {
                    log("loaded", json!({"model": name, "seconds": seconds, "context": context, "kernels": kernels}));
                }
            }
            // What is wrong with the only model ends the server.
            Err(error) if self.fixed.is_none() => {
                log("failed", json!({"model": name, "seconds": seconds, "text": error}));
            }
            Err(_) => {}
        }
        if let Some(prepared) = prepared {
            tokio::spawn(async move {
                for warning in prepared.prepare().await {
                    log("warning", json!({"model": name, "text": warning}));
                }
            });
        }
        opened
    }

    async fn start(&self, name: &str, source: Source) -> Result<Arc<Served>, String> {
        let Source { path, defaults, context, .. } = source;
        let config = Config { path: path.clone(), context: self.engine.context.or(context), ..self.engine.clone() };
        let (sender, ready) = oneshot::channel();
        let engine = Engine::start(config, move |opened| drop(sender.send(opened)))?;
        let facts = match ready.await.unwrap_or_else(|_| Err("the engine has ended".into())) {
            Ok(facts) => facts,
            Err(error) => {
                // What it had is given back before anybody has its place.
                join(engine).await;
                return Err(error);
            }
        };
        let (asked, kv) = (engine.clone(), self.engine.kv);
        let now = move || match asked.is_over() {
            true => Now::Over,
            false if asked.stats().running > 0 => Now::Busy,
            false => Now::Idle,
        };
        let fingerprint = apart(move || Fingerprint::of(path, kv, now)).await?;
        let parallel = self.engine.parallel.get();
        let streams = parallel.saturating_add(self.engine.queue);
        let (id, chat) = (name.to_owned(), OnceLock::new());
        Ok(Arc::new(Served { id, engine, facts, chat, defaults, parallel, streams, fingerprint }))
    }

    /// Unloads a model that is marked for it: requests that use it have some time to end. Its place is free when its memory is given back.
    pub(super) async fn close(self: Arc<Models>, name: String, served: Arc<Served>, uses: Arc<Uses>) {
        let started = Instant::now();
        let mut changed = self.changed.subscribe();
        let unused = async { while uses.count() > 0 && changed.changed().await.is_ok() {} };
        let _ = timeout(GRACE, unused).await;
        served.engine.stop(Duration::ZERO);
        join(served.engine.clone()).await;
        let mut inner = self.inner();
        let stats = served.engine.stats();
        inner.gone.count(&stats);
        inner.slots.remove(&name);
        drop(inner);
        log("unloaded", json!({"model": name, "seconds": seconds(started)}));
        self.changed.send_replace(());
    }

    /// Unloads models when nobody has used them for as long as they are kept.
    pub(super) async fn expire(self: Arc<Models>) {
        let Some(keep_alive) = self.keep_alive else { return };
        let mut changed = self.changed.subscribe();
        loop {
            let (expired, next) = self.expired(keep_alive, Instant::now());
            for (name, served, uses) in expired {
                tokio::spawn(Arc::clone(&self).close(name, served, uses));
            }
            let sleep = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            first(sleep, changed.changed()).await;
        }
    }

    /// Marks the models whose time is over as to be unloaded and gives them, and when the next one's will be.
    pub(super) fn expired(&self, keep_alive: Duration, now: Instant) -> (Vec<Used>, Option<Instant>) {
        let (mut expired, mut next) = (Vec::new(), None::<Instant>);
        for (name, slot) in &mut self.inner().slots {
            let Slot::Open(served, uses) = &*slot else { continue };
            // A time that is too far away to be told is never.
            let Some(end) = uses.last().checked_add(keep_alive).filter(|_| uses.count() == 0) else { continue };
            if end > now {
                next = next.into_iter().chain([end]).min();
                continue;
            }
            let (served, uses) = (Arc::clone(served), Arc::clone(uses));
            *slot = Slot::Closing(Arc::clone(&served), Arc::clone(&uses));
            expired.push((name.clone(), served, uses));
        }
        (expired, next)
    }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e6
}

/// Does what may take long on a thread of its own.
pub(super) async fn apart<R: Send + 'static>(job: impl FnOnce() -> R + Send + 'static) -> Result<R, String> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("smidgen-models".into());
    thread.spawn(move || drop(sender.send(job()))).map_err(|error| format!("the system refuses a thread: {error}"))?;
    receiver.await.map_err(|_| "the thread has ended".into())
}

/// Waits for the end of an engine.
async fn join(engine: Engine) {
    let of_thread = engine.clone();
    if apart(move || of_thread.join()).await.is_err() {
        engine.join();
    }
}
