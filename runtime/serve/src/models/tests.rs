//! When models are opened and unloaded.

use super::*;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::task::yield_now;
use tokio::time::timeout;

/// A list whose models are all the same file, which is removed in the end.
#[derive(Debug)]
struct Same {
    names: &'static [&'static str],
    path: PathBuf,
    /// How often a model was looked for.
    found: AtomicUsize,
}

impl Drop for Same {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Catalogue for Same {
    fn names(&self) -> Result<Vec<String>, String> {
        Ok(self.names.iter().map(|name| name.to_string()).collect())
    }

    fn find(&self, name: &str) -> Option<Result<Source, String>> {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.names.contains(&name).then(|| Ok(Source::new(&self.path)))
    }
}

fn same(names: &'static [&'static str]) -> Same {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("smidgen-models-{}-{number}.gguf", std::process::id()));
    std::fs::write(&path, chat_model(&Shape::default(), Format::Q8_0).bytes()).unwrap();
    Same { names, path, found: AtomicUsize::new(0) }
}

/// Models of which so many may be open at once, and so many requests may wait in line.
fn models(same: Same, loaded: usize, queue: usize) -> Arc<Models> {
    let engine = Config { threads: NonZeroUsize::MIN, queue, ..Config::new("") };
    let loaded = NonZeroUsize::new(loaded).unwrap();
    Arc::new(Models::new(Selection::Several { catalogue: Arc::new(same), keep_alive: None, loaded }, engine))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(60), test).await.expect("it hangs") });
}

/// The names of the models that have a place, and whether each is open.
fn places(models: &Models) -> Vec<(String, bool)> {
    let inner = models.inner();
    let places = inner.slots.iter().filter(|(_, slot)| !matches!(slot, Slot::Failed(_)));
    places.map(|(name, slot)| (name.clone(), matches!(slot, Slot::Open(..)))).collect()
}

fn place(name: &str, open: bool) -> Vec<(String, bool)> {
    vec![(name.to_owned(), open)]
}

async fn until(is: impl Fn() -> bool) {
    while !is() {
        yield_now().await;
    }
}

fn status(result: Result<Lease, Error>) -> u16 {
    result.err().map_or(200, |error| error.status.as_u16())
}

#[test]
fn a_request_that_goes_away_does_not_stop_what_it_began() {
    run(async {
        let models = models(same(&["a"]), 1, 1);
        let of_task = Arc::clone(&models);
        let first = tokio::spawn(async move { of_task.lease(Some("a")).await });
        until(|| !places(&models).is_empty()).await;
        let uses = match models.inner().slots.get("a") {
            Some(Slot::Opening(uses)) => Arc::clone(uses),
            _ => panic!("it is open already"),
        };
        assert_eq!(uses.count(), 1);
        // Who waits for it is among its uses, so that it does not give way before.
        let mut waiting = Waiting::default();
        assert!(matches!(models.step("a", &mut waiting), Step::Wait));
        assert_eq!(uses.count(), 2);
        first.abort();
        until(|| uses.count() == 1).await;
        drop(waiting);
        assert_eq!(uses.count(), 0);
        // What another waits for is the same opening.
        let second = models.lease(Some("a")).await.unwrap();
        let slot =
            models.inner().slots.get("a").map(|slot| matches!(slot, Slot::Open(_, own) if Arc::ptr_eq(own, &uses)));
        assert_eq!(slot, Some(true));
        drop(second);
    });
}

#[test]
fn who_waits_for_a_model_has_it_before_it_gives_way() {
    run(async {
        let models = models(same(&["a", "b", "c"]), 1, 15);
        let request = |name: &'static str| {
            let models = Arc::clone(&models);
            tokio::spawn(async move {
                let lease = models.lease(Some(name)).await.unwrap();
                assert_eq!((lease.id.as_str(), places(&models)), (name, place(name, true)));
            })
        };
        let all: Vec<_> = (0..5).flat_map(|_| ["a", "b", "c"]).map(request).collect();
        for one in all {
            one.await.unwrap();
        }
    });
}

#[test]
fn a_model_in_use_keeps_its_place_and_the_line_has_an_end() {
    run(async {
        let models = models(same(&["a", "b", "c"]), 1, 1);
        let used = models.lease(Some("a")).await.unwrap();
        until(|| match models.inner().slots.get("a") {
            Some(Slot::Open(_, uses)) => uses.count() == 1,
            _ => false,
        })
        .await;
        let waiting = |name: &'static str| {
            let models = Arc::clone(&models);
            tokio::spawn(async move { models.lease(Some(name)).await })
        };
        let first = waiting("b");
        until(|| models.line.len() == 1).await;
        assert_eq!(status(models.lease(Some("c")).await), 503);
        // One that gives up leaves its place in line to another.
        first.abort();
        until(|| models.line.len() == 0).await;
        let second = waiting("c");
        until(|| models.line.len() == 1).await;
        assert_eq!(places(&models), place("a", true));
        assert_eq!(status(models.lease(Some("a")).await), 200);
        drop(used);
        let second = second.await.unwrap().unwrap();
        assert_eq!((second.id.as_str(), models.line.len()), ("c", 0));
        assert_eq!(places(&models), place("c", true));
        models.stop(Duration::ZERO);
        assert_eq!(status(models.lease(Some("b")).await), 503);
    });
}

/// With one place and somebody who uses its model now and then, those who wait have it in the order in which they came.
#[test]
fn the_line_is_served_in_its_order() {
    run(async {
        let models = models(same(&["a", "b", "c", "d", "e"]), 1, 9);
        let used = models.lease(Some("a")).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for (number, name) in ["b", "c", "d", "e"].into_iter().enumerate() {
            let (of_task, order) = (Arc::clone(&models), Arc::clone(&order));
            all.push(tokio::spawn(async move {
                let _lease = of_task.lease(Some(name)).await.unwrap();
                order.lock().unwrap().push(name);
            }));
            until(|| models.line.len() == number + 1).await;
        }
        drop(used);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["b", "c", "d", "e"]);
    });
}

#[test]
fn models_expire_when_they_were_not_used_for_so_long() {
    run(async {
        let models = models(same(&["a", "b"]), 2, 1);
        let used = models.lease(Some("a")).await.unwrap();
        drop(models.lease(Some("b")).await.unwrap());
        let unused = |name: &str| match models.inner().slots.get(name) {
            Some(Slot::Open(_, uses)) => uses.count() == 0,
            _ => false,
        };
        until(|| unused("b")).await;
        let (now, keep_alive) = (Instant::now(), Duration::from_secs(60));
        let (expired, next) = models.expired(keep_alive, now);
        assert!(expired.is_empty() && next.is_some_and(|next| next > now && next <= now + keep_alive));
        assert_eq!(models.expired(Duration::MAX, now).1, None);
        let (expired, next) = models.expired(keep_alive, now + keep_alive);
        assert_eq!(expired.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(next, None);
        assert!(models.expired(Duration::ZERO, now + keep_alive).0.is_empty());
        assert_eq!(places(&models), [place("a", true), place("b", false)].concat());
        drop(used);
    });
}

#[test]
fn only_what_is_listed_is_found() {
    run(async {
        let models = models(same(&["a", "b"]), 1, 1);
        assert_eq!(status(models.lease(Some("c")).await), 404);
        assert_eq!(status(models.lease(None).await), 400);
        assert!(places(&models).is_empty());
        let one = super::tests::models(same(&["only"]), 1, 1);
        assert_eq!(one.lease(None).await.unwrap().id, "only");
        assert_eq!(status(super::tests::models(same(&[]), 1, 1).lease(None).await), 400);
    });
}
