//! What goes into each pass, and what comes of it.

use super::cache::Cache;
use super::handle::{Shared, Waiting};
use super::open::PIECE;
use super::stream::{ROOM, Stream};
use super::{Event, Refused};
use smidgen::tokenizer::Tokenizer;
use smidgen::{Entry, RunError, Session, Want};
use smidgen_host::ThreadPool;
use smidgen_targets::Pool;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;
use tokio::sync::mpsc;

/// A prompt that has so many more tokens in common with one that is being read waits for these.
const SHARED: usize = 32;
/// The fewest tokens of prompts in a pass.
const LEAST: usize = 16;

/// The streams of a session.
pub(super) struct Scheduler<'e, 'm, 'a, 't> {
    shared: &'e Shared,
    session: Session<'m, 'a>,
    tokenizer: &'t Tokenizer<'a>,
    pool: &'e ThreadPool,
    cache: Cache,
    /// In the order of their admission.
    streams: Vec<Stream<'t, 'a>>,
    parallel: usize,
    /// Those that are over, and their last events.
    ended: Vec<(mpsc::Sender<Event>, Event)>,
    /// What was done since the last look at the shared state.
    done: Done,
}

#[derive(Default)]
struct Done {
    cancelled: usize,
    cached: u64,
    prompt: u64,
    generated: u64,
    passes: u64,
    seconds: f64,
}

/// What a stream has in a pass.
#[derive(Clone, Copy)]
struct Part {
    /// Its number.
    stream: usize,
    /// Its tokens.
    tokens: usize,
    /// What its sequence held before.
    before: usize,
    /// Of how many tokens logits are wanted, the last ones.
    rows: usize,
}

impl<'e, 'm, 'a, 't> Scheduler<'e, 'm, 'a, 't> {
    pub(super) fn new(
        shared: &'e Shared,
        session: Session<'m, 'a>,
        tokenizer: &'t Tokenizer<'a>,
        pool: &'e ThreadPool,
        parallel: usize,
    ) -> Scheduler<'e, 'm, 'a, 't> {
        let cache = Cache::new(session.options().sequences);
        let (streams, ended) = (Vec::new(), Vec::new());
        Scheduler { shared, session, tokenizer, pool, cache, streams, parallel, ended, done: Done::default() }
    }

    /// Runs requests until the engine is to stop and none is left.
    pub(super) fn run(mut self) {
        loop {
            self.remove();
            let Some(deadline) = self.exchange() else { return };
            self.admit();
            let parts = self.parts();
            if parts.is_empty() {
                // Whoever failed before it began is told of first.
                if self.ended.is_empty() {
                    self.wait(deadline);
                }
                continue;
            }
            self.pass(&parts);
        }
    }

    /// Takes out the streams that are over, and those whose readers are gone.
    fn remove(&mut self) {
        let Scheduler { streams, cache, ended, done, .. } = self;
        streams.retain_mut(|stream| {
            let gone = stream.events.is_closed();
            done.cancelled += usize::from(gone);
            let end = stream.end.take();
            let goes_on = !gone && end.is_none();
            if !goes_on {
                cache.release(stream.sequence);
            }
            ended.extend(end.filter(|_| !gone).map(|end| (stream.events.clone(), end)));
            goes_on
        });
    }

    /// Tells the shared state what was done, and learns when to stop: none if that is now.
    fn exchange(&mut self) -> Option<Option<Instant>> {
        let mut state = self.shared.state();
        state.sweep();
        let (done, ended) = (std::mem::take(&mut self.done), std::mem::take(&mut self.ended));
        state.inside = state.inside.saturating_sub(ended.len() + done.cancelled);
        let stats = &mut state.stats;
        stats.cancelled += done.cancelled as u64;
        stats.failures += ended.iter().filter(|(_, end)| matches!(end, Event::Failed(_))).count() as u64;
        stats.cached_tokens += done.cached;
        stats.prompt_tokens += done.prompt;
        stats.generated_tokens += done.generated;
        stats.passes += done.passes;
        stats.busy_seconds += done.seconds;
        stats.running = self.streams.len() as u64;
        stats.paused = self.streams.iter().filter(|stream| stream.is_paused()).count() as u64;
        let sequences = self.session.options().sequences;
        stats.held_tokens = (0..sequences).map(|sequence| self.session.len(sequence) as u64).sum();
        let idle = self.streams.is_empty() && state.waiting.is_empty();
        let late = state.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let (is_end, deadline) = (state.stopping && (idle || late), state.deadline);
        if is_end {
            // Those that wait are told when the state is closed.
            state.stats.cancelled += (self.streams.len() + state.waiting.len()) as u64;
            (state.stats.running, state.stats.paused) = (0, 0);
        }
        drop(state);
        for (events, end) in ended {
            let _ = events.try_send(end);
        }
        if is_end {
            for stream in &self.streams {
                let _ = stream.events.try_send(Event::Failed(Refused::Stopping.to_string()));
            }
            return None;
        }
        Some(deadline)
    }

    /// Tokens of prompts in the next pass, at most: so many that a pass takes not much longer beside running streams, or a full one.
    fn budget(&self) -> usize {
        let running = self.streams.iter().filter(|stream| stream.next.is_some() && !stream.is_paused()).count();
        let batch = self.session.options().batch;
        match running {
            0 => batch,
            _ => batch.saturating_sub(running).clamp(LEAST, PIECE),
        }
    }

    /// Gives sequences to those who wait, in order, as long as there is room for their prompts in the next pass.
    fn admit(&mut self) {
        let budget = self.budget();
        while self.streams.len() < self.parallel {
            let reading = || self.streams.iter().filter(|stream| stream.next.is_none());
            if reading().map(Stream::unread).sum::<usize>() >= budget {
                return;
            }
            let mut state = self.shared.state();
            let Some(first) = state.waiting.front() else { return };
            let prompt = &first.request.prompt;
            let most = prompt.len().saturating_sub(1);
            let same = |stream: &Stream| {
                prompt.iter().zip(&stream.request.prompt).take(most).take_while(|(a, b)| a == b).count()
            };
            if !first.request.scores_prompt() && reading().any(|stream| same(stream) >= stream.read + SHARED) {
                return;
            }
            let Some(waiting) = state.waiting.pop_front() else { return };
            drop(state);
            self.start(waiting);
        }
    }

    fn start(&mut self, waiting: Waiting) {
        let request = &waiting.request;
        let most = if request.scores_prompt() { 0 } else { usize::MAX };
        let context = self.session.options().context;
        let taken = self.cache.take(&mut self.session, &request.prompt, most);
        let (error, events) = match taken {
            Ok(Some((sequence, cached))) => match Stream::new(waiting, self.tokenizer, sequence, cached, context) {
                Ok(stream) => {
                    self.done.cached += cached as u64;
                    return self.streams.push(stream);
                }
                Err((error, events)) => {
                    self.cache.release(sequence);
                    (error.to_string(), events)
                }
            },
            // There are as many sequences as streams.
            Ok(None) => ("there is no free sequence".to_owned(), waiting.events),
            Err(error) => (error.to_string(), waiting.events),
        };
        self.ended.push((events, Event::Failed(error)));
    }

    /// What goes into the next pass: a token of each stream that can go on, and pieces of prompts, the oldest first.
    fn parts(&self) -> Vec<Part> {
        let mut budget = self.budget();
        let options = self.session.options();
        let mut rows = options.rows.saturating_sub(options.sequences);
        let mut parts = Vec::with_capacity(self.streams.len());
        for (number, stream) in self.streams.iter().enumerate() {
            let before = self.session.len(stream.sequence);
            let part = |tokens, rows| Part { stream: number, tokens, before, rows };
            if stream.next.is_some() {
                if !stream.is_paused() {
                    parts.push(part(1, 1));
                }
                continue;
            }
            let mut tokens = stream.unread().min(budget);
            if stream.request.scores_prompt() {
                tokens = tokens.min(rows);
                rows -= tokens;
            }
            if tokens == 0 {
                continue;
            }
            budget -= tokens;
            let last = usize::from(tokens == stream.unread());
            parts.push(part(tokens, if stream.request.scores_prompt() { tokens } else { last }));
        }
        parts
    }

    /// Runs a pass. Should it be refused as a whole, each of its parts is run by itself, so that only what is at fault fails.
    fn pass(&mut self, parts: &[Part]) {
        let started = Instant::now();
        match (self.compute(parts), parts) {
            (Ok(()), _) => {}
            (Err(error), [part]) => self.fail(*part, &error),
            (Err(_), _) => {
                for part in parts {
                    if let Err(error) = self.compute(&[*part]) {
                        self.fail(*part, &error);
                    }
                }
            }
        }
        self.done.passes += 1;
        self.done.seconds += started.elapsed().as_secs_f64();
    }

    fn fail(&mut self, part: Part, error: &RunError) {
        if let Some(stream) = self.streams.get_mut(part.stream) {
            stream.fail(&error.to_string());
        }
    }

    fn compute(&mut self, parts: &[Part]) -> Result<(), RunError> {
        let mut entries = Vec::with_capacity(parts.iter().map(|part| part.tokens).sum());
        for part in parts {
            let Some(stream) = self.streams.get(part.stream) else { continue };
            entries.extend(stream.pending().iter().take(part.tokens).enumerate().map(|(i, token)| {
                let want = if part.tokens - i <= part.rows { Want::Logits } else { Want::Nothing };
                Entry::token(stream.sequence, *token).wanting(want)
            }));
        }
        let Scheduler { session, streams, pool, done, .. } = self;
        pool.enter(|pool: &dyn Pool| {
            let rows = session.run(&entries, pool)?;
            let (mut row, mut parts) = (0, parts.iter().peekable());
            let mut steps = Vec::with_capacity(parts.len());
            for (number, stream) in streams.iter_mut().enumerate() {
                let Some(part) = parts.next_if(|part| part.stream == number) else { continue };
                let first = stream.read;
                if stream.next.is_none() {
                    stream.read += part.tokens;
                    done.prompt += part.tokens as u64;
                }
                let last = part.rows.checked_sub(1).filter(|_| stream.unread() == 0);
                let mut logits = None;
                for i in 0..part.rows {
                    match rows.get(row + i) {
                        _ if stream.end.is_some() => {}
                        Err(error) => stream.fail(&error.to_string()),
                        Ok(of_last) if Some(i) == last => logits = Some(of_last),
                        Ok(logits) => stream.score_prompt(first + i, logits),
                    }
                }
                row += part.rows;
                steps.extend(logits.map(|logits| Mutex::new(Some((stream, logits)))));
            }
            done.generated += step(&steps, pool);
            Ok::<(), RunError>(())
        })?;
        // A piece of a prompt of which nothing was wanted is missing from its sequence if a number was not finite. To run it again tells why.
        for part in parts {
            let Some(stream) = streams.get_mut(part.stream) else { continue };
            if stream.end.is_none() && session.len(stream.sequence) < part.before + part.tokens {
                let piece = stream.request.prompt.get(part.before..part.before + part.tokens).unwrap_or_default();
                let error = pool.enter(|pool: &dyn Pool| session.append(stream.sequence, piece, pool)).err();
                stream.fail(&error.unwrap_or(RunError::NotFinite { tensor: None }).to_string());
            }
        }
        Ok(())
    }

    /// Sleeps until a request comes, a paused stream's reader takes something or goes away, or it is time to stop.
    fn wait(&self, deadline: Option<Instant>) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut room: Vec<_> = self.streams.iter().map(|stream| Box::pin(stream.events.reserve_many(ROOM))).collect();
        if room.iter_mut().any(|room| room.as_mut().poll(&mut context).is_ready()) {
            return;
        }
        match deadline {
            Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }
}

/// A stream and the logits after its tokens, until it has taken them.
type Step<'s, 't, 'a> = Mutex<Option<(&'s mut Stream<'t, 'a>, &'s [f32])>>;

/// Lets streams choose their next tokens, several at once: for some samplers that takes as long as what a stream has of a pass. Returns how many tokens
/// were generated.
fn step(steps: &[Step], pool: &dyn Pool) -> u64 {
    let (next, generated) = (AtomicUsize::new(0), AtomicU64::new(0));
    let job = || {
        while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = step.lock().unwrap_or_else(PoisonError::into_inner).take();
            let is_new = taken.is_some_and(|(stream, logits)| stream.step(logits));
            generated.fetch_add(u64::from(is_new), Ordering::Relaxed);
        }
    };
    if steps.len() > 1 {
        pool.run(&job)
    } else {
        job()
    }
    generated.into_inner()
}

/// Wakes the engine's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}
