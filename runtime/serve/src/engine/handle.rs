//! An engine as others see it: requests go in, events come out.

use super::open::{self, Texts};
use super::{Config, Event, Events, Facts, LOGPROBS, Refused, Request, Stats};
use smidgen::Sampler;
use smidgen::encoder::text::Text;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Events that wait for a reader, at most.
const EVENTS: usize = 16;
/// Texts that wait to be turned into tokens, at most; who brings more waits.
const TEXTS: usize = 16;
/// Texts of more bytes have a thread of their own, since others are not to wait for them.
const LONG: usize = 1 << 15;

/// A running engine, shared by whoever asks it. When the last handle is dropped its streams are cancelled.
#[derive(Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    thread: Thread,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl Handle {
    fn stop(&self, within: Duration) {
        let mut state = self.shared.state();
        let deadline = Instant::now().checked_add(within);
        state.stopping = true;
        state.deadline = [state.deadline, deadline].into_iter().flatten().min();
        drop(state);
        self.thread.unpark();
    }
}

/// A request that waits.
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) sampler: Sampler,
    pub(super) events: mpsc::Sender<Event>,
}

/// Texts to be embedded, or scored. Each has a result of its own.
pub(super) struct Reading {
    pub(super) texts: Vec<Text>,
    pub(super) scores: bool,
    pub(super) reply: oneshot::Sender<Vec<Vector>>,
}

/// An embedding, or scores; or why there are none.
pub type Vector = Result<Vec<f32>, String>;

/// What is done with the tokenizer.
pub(super) type Job = Box<dyn FnOnce(&Texts) + Send>;

/// What both sides know.
pub(super) struct Shared {
    facts: OnceLock<Facts>,
    state: Mutex<State>,
    /// Of short texts and of long ones; none when the engine has ended.
    texts: Mutex<Option<[mpsc::Sender<Job>; 2]>>,
    /// Requests that run and wait, at most.
    most: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) readings: VecDeque<Reading>,
    /// Requests that run and wait.
    pub(super) inside: usize,
    pub(super) stopping: bool,
    /// When what still runs is cancelled.
    pub(super) deadline: Option<Instant>,
    pub(super) stats: Stats,
}

impl State {
    /// Takes the waiting requests out whose readers are gone.
    pub(super) fn sweep(&mut self) {
        let before = self.waiting.len() + self.readings.len();
        self.waiting.retain(|waiting| !waiting.events.is_closed());
        self.readings.retain(|reading| !reading.reply.is_closed());
        let gone = before - self.waiting.len() - self.readings.len();
        self.inside = self.inside.saturating_sub(gone);
        self.stats.cancelled += gone as u64;
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, facts: &Facts) {
        let _ = self.facts.set(facts.clone());
    }

    /// Ends what waits: the engine is no more.
    fn close(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.inside = 0;
        for Waiting { events, .. } in state.waiting.drain(..) {
            let _ = events.try_send(Event::Failed(Refused::Stopping.to_string()));
        }
        state.readings.clear();
        drop(state);
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Closes at its end, also that of a panic, so that nobody waits for ever.
pub(super) struct Closed<'s>(pub(super) &'s Shared);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Engine {
    /// Starts an engine. `ready` is called on its thread when the model is open, or cannot be: with one line that names the file.
    ///
    /// # Errors
    /// A line of text if the system refuses a thread.
    pub fn start(config: Config, ready: impl FnOnce(Result<Facts, String>) + Send + 'static) -> Result<Engine, String> {
        let ((short, of_short), (long, of_long)) = (mpsc::channel(TEXTS), mpsc::channel(TEXTS));
        let shared = Arc::new(Shared {
            facts: OnceLock::new(),
            state: Mutex::default(),
            texts: Mutex::new(Some([short, long])),
            most: config.parallel.get().saturating_add(config.queue),
        });
        let of_thread = Arc::clone(&shared);
        let join = thread::Builder::new()
            .name("smidgen-engine".into())
            .spawn(move || {
                let _closed = Closed(&of_thread);
                open::run(&config, &of_thread, [of_short, of_long], ready);
            })
            .map_err(|error| format!("the system refuses a thread: {error}"))?;
        let thread = join.thread().clone();
        Ok(Engine { handle: Arc::new(Handle { shared, thread, join: Mutex::new(Some(join)) }) })
    }

    /// What is known of the model; nothing before it is open.
    pub fn facts(&self) -> Option<&Facts> {
        self.handle.shared.facts.get()
    }

    /// Hands in a request.
    ///
    /// # Errors
    /// All variants of [`Refused`]: nothing of the request is done then.
    pub fn submit(&self, request: Request) -> Result<Events, Refused> {
        let mut all = self.submit_all(vec![request])?;
        all.pop().ok_or(Refused::Empty)
    }

    /// Hands in several requests, all or none. Those whose prompts are equal are read once.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit), of any of them.
    pub fn submit_all(&self, requests: Vec<Request>) -> Result<Vec<Events>, Refused> {
        let checked = self.writer().and_then(|facts| {
            requests.into_iter().map(|request| checked(request, facts)).collect::<Result<Vec<_>, _>>()
        });
        let mut state = self.handle.shared.state();
        let checked = checked.and_then(|checked| self.room(&mut state, checked.len()).map(|()| checked));
        let checked = checked.inspect_err(|_| state.stats.refused += 1)?;
        let mut all = Vec::with_capacity(checked.len());
        for (request, sampler) in checked {
            let (events, reader) = mpsc::channel(EVENTS);
            state.waiting.push_back(Waiting { request, sampler, events });
            all.push(reader);
        }
        drop(state);
        self.handle.thread.unpark();
        Ok(all)
    }

    /// Embeds texts, each by itself: [`Facts::embedding`] values for each, or as many for each token of a model that does not pool. The engine does one
    /// such job after another.
    ///
    /// # Errors
    /// All variants of [`Refused`].
    pub fn embed(&self, texts: Vec<Text>) -> Result<oneshot::Receiver<Vec<Vector>>, Refused> {
        self.read(texts, false)
    }

    /// Scores texts, or pairs, by a model's head: [`Facts::scores`] logits for each.
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    pub fn score(&self, texts: Vec<Text>) -> Result<oneshot::Receiver<Vec<Vector>>, Refused> {
        self.read(texts, true)
    }

    fn read(&self, texts: Vec<Text>, scores: bool) -> Result<oneshot::Receiver<Vec<Vector>>, Refused> {
        let checked = self.open().and_then(|facts| {
            let able = if scores { facts.scores } else { facts.embedding };
            let what = if scores { "classify or rank" } else { "embed text" };
            able.ok_or_else(|| cannot(facts, what))?;
            texts.iter().try_for_each(|text| fits(&text.tokens, 0, facts))
        });
        let mut state = self.handle.shared.state();
        let checked = checked.and_then(|()| self.room(&mut state, 1));
        checked.inspect_err(|_| state.stats.refused += 1)?;
        let (reply, receiver) = oneshot::channel();
        state.readings.push_back(Reading { texts, scores, reply });
        drop(state);
        self.handle.thread.unpark();
        Ok(receiver)
    }

    /// Calls `job` with the model's tokenizer, on a thread that does so for one after another, and gives what it returns. `bytes` is the size of its
    /// texts: short ones do not wait for long ones.
    ///
    /// # Errors
    /// [`Refused::Stopping`].
    pub async fn texts<R: Send + 'static>(
        &self,
        bytes: usize,
        job: impl FnOnce(&Texts) -> R + Send + 'static,
    ) -> Result<R, Refused> {
        let sender = self.handle.shared.texts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, receiver) = oneshot::channel();
        let job: Job = Box::new(move |texts| {
            if !reply.is_closed() {
                let _ = reply.send(job(texts));
            }
        });
        let [short, long] = sender.ok_or(Refused::Stopping)?;
        let sender = if bytes > LONG { long } else { short };
        sender.send(job).await.map_err(|_| Refused::Stopping)?;
        receiver.await.map_err(|_| Refused::Stopping)
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        let state = self.handle.shared.state();
        Stats { waiting: (state.waiting.len() + state.readings.len()) as u64, ..state.stats }
    }

    /// Takes no more requests. What was taken goes on for so long, and is cancelled then; a second call can only shorten that. Returns at once.
    pub fn stop(&self, within: Duration) {
        self.handle.stop(within);
    }

    /// Waits for the end of the engine's thread, after [`stop`](Self::stop).
    pub fn join(&self) {
        let join = self.handle.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(join) = join {
            let _ = join.join();
        }
    }

    /// Whether the engine's thread has ended.
    pub fn is_over(&self) -> bool {
        self.handle.join.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn open(&self) -> Result<&Facts, Refused> {
        if self.handle.shared.state().stopping {
            return Err(Refused::Stopping);
        }
        self.facts().ok_or(Refused::Loading)
    }

    fn writer(&self) -> Result<&Facts, Refused> {
        let facts = self.open()?;
        if facts.writes { Ok(facts) } else { Err(cannot(facts, "write text")) }
    }

    /// Counts so many requests in, if there is room for them.
    fn room(&self, state: &mut State, requests: usize) -> Result<(), Refused> {
        if state.stopping {
            return Err(Refused::Stopping);
        }
        let most = self.handle.shared.most;
        if requests > most {
            return Err(Refused::Parameter(format!(
                "{requests} answers are asked for at once, but there is room for {most}"
            )));
        }
        if state.inside + requests > most {
            state.sweep();
        }
        if state.inside + requests > most {
            return Err(Refused::Full);
        }
        state.inside += requests;
        state.stats.requests += requests as u64;
        Ok(())
    }
}

fn cannot(facts: &Facts, purpose: &str) -> Refused {
    Refused::Purpose(format!("this model of the architecture {} cannot {purpose}", facts.architecture))
}

/// Whether tokens exist and have room.
fn fits(tokens: &[u32], most: usize, facts: &Facts) -> Result<(), Refused> {
    let &Facts { vocabulary, context, .. } = facts;
    if tokens.is_empty() {
        return Err(Refused::Empty);
    }
    if tokens.len().saturating_add(most) > context {
        return Err(Refused::TooLong { prompt: tokens.len(), most, context });
    }
    exist(tokens.iter().copied(), vocabulary)
}

fn exist(tokens: impl IntoIterator<Item = u32>, vocabulary: usize) -> Result<(), Refused> {
    match tokens.into_iter().find(|token| *token as usize >= vocabulary) {
        Some(token) => {
            Err(Refused::Parameter(format!("token {token} is not in the vocabulary of {vocabulary} tokens")))
        }
        None => Ok(()),
    }
}

/// A request that can be done, and its sampler.
fn checked(request: Request, facts: &Facts) -> Result<(Request, Sampler), Refused> {
    fits(&request.prompt, request.most.unwrap_or(1), facts)?;
    exist(request.bias.iter().map(|(token, _)| *token), facts.vocabulary)?;
    if let Some((token, bias)) = request.bias.iter().find(|(_, bias)| !bias.is_finite()) {
        return Err(Refused::Parameter(format!("the bias of token {token} cannot be {bias}")));
    }
    if let Some(top) = request.logprobs.filter(|top| *top > LOGPROBS) {
        return Err(Refused::Parameter(format!(
            "log-probabilities of {top} tokens cannot be given; at most of {LOGPROBS}"
        )));
    }
    let sampler = Sampler::new(request.sampling).map_err(|error| Refused::Parameter(error.to_string()))?;
    Ok((request, sampler))
}
