//! The choices of an answer as the engine makes them.

use super::{Arrival, Error};
use crate::engine::{Event, Events, Reason, Scored};
use crate::log::log;
use crate::metrics::Metrics;
use crate::models::Lease;
use hyper::StatusCode;
use serde_json::{Value, json};
use smidgen_host::{Part, Splitter};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// One choice.
pub(crate) struct Choice {
    events: Events,
    /// What tells reasoning from the answer, of a thinking model.
    splitter: Option<Splitter>,
    /// The number of its prompt.
    prompt: usize,
    prompt_tokens: usize,
    cached: usize,
    tokens: usize,
    ended: bool,
    last: Option<Instant>,
}

/// The choices of an answer.
pub(crate) struct Generation {
    choices: Vec<Choice>,
    /// The choice that is asked first next, so that each has its turn.
    next: usize,
    /// The name of its request.
    id: String,
    started: Instant,
    metrics: Arc<Metrics>,
    /// The model, which stays open for it.
    _lease: Lease,
}

/// Tells the log of the answer's size, be it complete or given up.
impl Drop for Generation {
    fn drop(&mut self) {
        let mut fields = self.usage();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("id".into(), self.id.as_str().into());
            fields.insert("complete".into(), self.choices.iter().all(|choice| choice.ended).into());
            fields.insert("seconds".into(), ((self.started.elapsed().as_secs_f64() * 1e6).round() / 1e6).into());
        }
        log("answer", fields);
    }
}

/// A part of a choice.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) scored: Vec<Scored>,
}

/// What comes of a choice.
#[derive(Debug)]
pub(crate) enum Step {
    /// The prompt was read; with its tokens, where they were asked for.
    Began(Vec<Scored>),
    /// More of it.
    More(Delta),
    /// The rest of it.
    Ended(Delta, Reason),
}

impl Generation {
    /// The choices of so many for each prompt.
    pub(crate) fn new(
        all: Vec<Events>,
        each: usize,
        splitter: Option<&Splitter>,
        arrival: &Arrival,
        metrics: &Arc<Metrics>,
        served: &Lease,
    ) -> Generation {
        let choice = |(number, events): (usize, Events)| Choice {
            events,
            splitter: splitter.cloned(),
            prompt: number / each.max(1),
            prompt_tokens: 0,
            cached: 0,
            tokens: 0,
            ended: false,
            last: None,
        };
        let choices = all.into_iter().enumerate().map(choice).collect();
        let (id, metrics, lease) = (arrival.id.clone(), Arc::clone(metrics), served.clone());
        Generation { choices, next: 0, id, started: arrival.at, metrics, _lease: lease }
    }

    /// What comes next of any choice, and its number; none when all have ended.
    pub(crate) fn poll(&mut self, context: &mut Context) -> Poll<Option<Result<(usize, Step), Error>>> {
        let count = self.choices.len();
        let mut open = false;
        for turn in 0..count {
            let index = (self.next + turn) % count;
            let Some(choice) = self.choices.get_mut(index).filter(|choice| !choice.ended) else { continue };
            open = true;
            if let Poll::Ready(event) = choice.events.poll_recv(context) {
                self.next = index + 1;
                let event = event.unwrap_or_else(|| Event::Failed("the engine has ended".into()));
                return Poll::Ready(Some(choice.take(event, self.started, &self.metrics).map(|part| (index, part))));
            }
        }
        if open { Poll::Pending } else { Poll::Ready(None) }
    }

    /// Ends all choices as they are: nothing more of them is wanted.
    pub(crate) fn end(&mut self) {
        for choice in &mut self.choices {
            choice.ended = true;
            choice.events.close();
        }
    }

    /// Tokens of the prompts, of these from the cache, and of the answers. Prompts count once for all their choices.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let (mut prompt, mut cached, mut completion) = (0, 0, 0);
        let mut last: Option<&Choice> = None;
        for choice in &self.choices {
            completion += choice.tokens;
            // What the first choice of a prompt was taken from the cache; those after it always find it there.
            if last.is_none_or(|last| last.prompt != choice.prompt) {
                prompt += choice.prompt_tokens;
                cached += choice.cached;
            }
            last = Some(choice);
        }
        (prompt, cached, completion)
    }

    /// `usage` in OpenAI's form.
    pub(crate) fn usage(&self) -> Value {
        let (prompt, cached, completion) = self.counts();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        })
    }
}

impl Choice {
    fn take(&mut self, event: Event, started: Instant, metrics: &Metrics) -> Result<Step, Error> {
        match event {
            Event::Began { prompt, cached, scored } => {
                (self.prompt_tokens, self.cached) = (prompt, cached);
                Ok(Step::Began(scored))
            }
            Event::Piece { text, controls, scored, tokens } => {
                let now = Instant::now();
                match self.last {
                    None => metrics.first_token.observe((now - started).as_secs_f64()),
                    Some(last) => metrics.between_tokens.observe((now - last).as_secs_f64() / tokens.max(1) as f64),
                }
                self.last = Some(now);
                self.tokens += tokens;
                let mut delta = Delta { scored, ..Delta::default() };
                match &mut self.splitter {
                    Some(splitter) => {
                        controls.iter().for_each(|control| splitter.control(control));
                        splitter.push(&text, &mut |part| delta.part(part));
                    }
                    None => delta.content = text,
                }
                Ok(Step::More(delta))
            }
            Event::Ended { reason, tokens } => {
                (self.ended, self.tokens) = (true, tokens);
                metrics.whole.observe(started.elapsed().as_secs_f64());
                let mut delta = Delta::default();
                if let Some(splitter) = &mut self.splitter {
                    splitter.finish(&mut |part| delta.part(part));
                }
                Ok(Step::Ended(delta, reason))
            }
            Event::Failed(error) => {
                self.ended = true;
                Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, error))
            }
        }
    }
}

impl Delta {
    fn part(&mut self, part: Part) {
        match part {
            Part::Answer(text) => self.content.push_str(text),
            Part::Reasoning(text) => self.reasoning.push_str(text),
            Part::Open(_) | Part::Close(_) => {}
        }
    }

    pub(crate) fn extend(&mut self, other: Delta) {
        self.content.push_str(&other.content);
        self.reasoning.push_str(&other.reasoning);
        self.scored.extend(other.scored);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.content.is_empty() && self.reasoning.is_empty() && self.scored.is_empty()
    }
}

/// `finish_reason` in OpenAI's form.
pub(crate) fn finish(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "stop",
        Reason::Length => "length",
    }
}

/// A log-probability; what is not finite has no form in JSON, and is as OpenAI writes what cannot be.
pub(crate) fn finite(logprob: f64) -> f64 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
