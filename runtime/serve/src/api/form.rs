//! The forms of answers: of chat completions and of completions, whole and streamed.

use super::Error;
use super::generation::{Delta, Generation, Step, finish, finite};
use crate::engine::{Reason, Scored};
use crate::http::{Answer, Body, Pieces, answer, json};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

/// Which interface an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// What all parts of an answer have.
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: Option<String>,
    /// Whether log-probabilities were asked for.
    pub(crate) logprobs: bool,
    /// Texts before those of the choices: those of the prompts, where they are to be echoed, each with so many choices.
    pub(crate) echoes: Vec<String>,
    pub(crate) each: usize,
}

/// A choice as far as it has come.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) delta: Delta,
    pub(crate) reason: Option<Reason>,
}

impl Form {
    fn echo(&self, index: usize) -> &str {
        self.echoes.get(index / self.each.max(1)).map_or("", String::as_str)
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (self.kind, streamed) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        }
    }

    fn with(&self, streamed: bool, choices: Vec<Value>) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("id".into(), self.id.as_str().into());
        object.insert("object".into(), self.object(streamed).into());
        object.insert("created".into(), self.created.into());
        object.insert("model".into(), self.model.as_str().into());
        object.insert("system_fingerprint".into(), self.fingerprint.clone().into());
        object.insert("choices".into(), choices.into());
        object
    }

    /// Log-probabilities, or null if none were asked for; `offset` is the number of characters before the first token's.
    fn logprobs(&self, scored: &[Scored], offset: &mut usize) -> Value {
        match self.kind {
            _ if !self.logprobs => Value::Null,
            Kind::Chat => json!({"content": scored.iter().map(chat_logprob).collect::<Vec<_>>(), "refusal": null}),
            Kind::Completion => completion_logprobs(scored, offset),
        }
    }

    /// All choices together.
    pub(crate) async fn whole(&self, mut generation: Generation, count: usize) -> Result<(Vec<Made>, Value), Error> {
        let mut all: Vec<Made> = (0..count).map(|_| Made::default()).collect();
        while let Some(step) = poll_fn(|context| generation.poll(context)).await {
            let (index, step) = step?;
            let Some(made) = all.get_mut(index) else { continue };
            match step {
                Step::Began(scored) => made.delta.scored = scored,
                Step::More(delta) => made.delta.extend(delta),
                Step::Ended(delta, reason) => {
                    made.delta.extend(delta);
                    made.reason = Some(reason);
                }
            }
        }
        Ok((all, generation.usage()))
    }

    /// The answer of these choices.
    pub(crate) fn answer(&self, all: Vec<Made>, usage: Value) -> Answer {
        let choice = |(index, Made { delta, reason }): (usize, Made)| {
            let logprobs = self.logprobs(&delta.scored, &mut 0);
            let reason = reason.map(finish);
            match self.kind {
                Kind::Chat => {
                    let mut message = json!({"role": "assistant", "content": delta.content, "refusal": null});
                    if let (Some(message), false) = (message.as_object_mut(), delta.reasoning.is_empty()) {
                        message.insert("reasoning_content".into(), delta.reasoning.trim().into());
                    }
                    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
                }
                Kind::Completion => {
                    let text = format!("{}{}", self.echo(index), delta.content);
                    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
                }
            }
        };
        let mut object = self.with(false, all.into_iter().enumerate().map(choice).collect());
        object.insert("usage".into(), usage);
        json(StatusCode::OK, &object)
    }

    /// The choices as they come. Nothing is answered before the first of them has begun, so that what fails has its status.
    pub(crate) async fn stream(self, generation: Generation, count: usize, usage: bool) -> Result<Answer, Error> {
        let offsets = vec![0; count];
        let mut stream = Stream { form: self, generation, usage, offsets, ready: VecDeque::new(), over: false };
        if let Some(step) = poll_fn(|context| stream.generation.poll(context)).await {
            let (index, step) = step?;
            stream.step(index, step);
        }
        let mut answer = answer(StatusCode::OK, "text/event-stream; charset=utf-8", Body::Pieces(Box::new(stream)));
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(answer)
    }
}

/// An answer as events of a stream.
struct Stream {
    form: Form,
    generation: Generation,
    /// Whether usage was asked for.
    usage: bool,
    /// Characters of each choice so far.
    offsets: Vec<usize>,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Stream {
    fn step(&mut self, index: usize, step: Step) {
        match (self.form.kind, step) {
            (Kind::Chat, Step::Began(_)) => {
                self.choice(index, json!({"delta": {"role": "assistant", "content": ""}}), &[], None);
            }
            (Kind::Completion, Step::Began(scored)) => {
                let echo = self.form.echo(index);
                if !echo.is_empty() || !scored.is_empty() {
                    self.choice(index, json!({"text": echo}), &scored, None);
                }
            }
            (_, Step::More(delta)) => self.delta(index, delta),
            (kind, Step::Ended(delta, reason)) => {
                self.delta(index, delta);
                let rest = if kind == Kind::Chat { json!({"delta": {}}) } else { json!({"text": ""}) };
                self.choice(index, rest, &[], Some(reason));
            }
        }
    }

    fn delta(&mut self, index: usize, delta: Delta) {
        if delta.is_empty() {
            return;
        }
        let part = match self.form.kind {
            Kind::Completion => json!({"text": delta.content}),
            Kind::Chat => {
                let mut fields = Map::new();
                if !delta.reasoning.is_empty() {
                    fields.insert("reasoning_content".into(), delta.reasoning.into());
                }
                if !delta.content.is_empty() || fields.is_empty() {
                    fields.insert("content".into(), delta.content.into());
                }
                json!({"delta": fields})
            }
        };
        self.choice(index, part, &delta.scored, None);
    }

    fn choice(&mut self, index: usize, mut part: Value, scored: &[Scored], reason: Option<Reason>) {
        let mut none = 0;
        let offset = self.offsets.get_mut(index).unwrap_or(&mut none);
        let logprobs = if scored.is_empty() { Value::Null } else { self.form.logprobs(scored, offset) };
        if let Some(part) = part.as_object_mut() {
            part.insert("index".into(), index.into());
            part.insert("logprobs".into(), logprobs);
            part.insert("finish_reason".into(), reason.map(finish).into());
        }
        let mut object = self.form.with(true, vec![part]);
        if self.usage {
            object.insert("usage".into(), Value::Null);
        }
        self.event(&object.into());
    }

    fn event(&mut self, value: &Value) {
        self.ready.push_back(format!("data: {value}\n\n").into());
    }

    fn end(&mut self) {
        if self.usage {
            let mut object = self.form.with(true, Vec::new());
            object.insert("usage".into(), self.generation.usage());
            self.event(&object.into());
        }
        self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.over = true;
    }
}

impl Pieces for Stream {
    fn poll_piece(&mut self, context: &mut Context) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(piece));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match ready!(self.generation.poll(context)) {
                Some(Ok((index, step))) => self.step(index, step),
                // The status is gone, so the error is an event, and the end that clients wait for does not come.
                Some(Err(error)) => {
                    self.event(&error.value());
                    self.over = true;
                }
                None => self.end(),
            }
        }
    }
}

fn chat_logprob(scored: &Scored) -> Value {
    let one = |bytes: &[u8], logprob: f64| json!({"token": String::from_utf8_lossy(bytes), "logprob": finite(logprob), "bytes": bytes});
    let top: Vec<Value> = scored.top.iter().map(|(_, bytes, logprob)| one(bytes, *logprob)).collect();
    let mut value = one(&scored.bytes, scored.logprob.unwrap_or(0.0));
    if let Some(value) = value.as_object_mut() {
        value.insert("top_logprobs".into(), top.into());
    }
    value
}

/// A token's spelling: bytes that are not UTF-8 as OpenAI writes them.
fn spelled(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| format!("{text}\\x{byte:02x}")),
    }
}

fn completion_logprobs(scored: &[Scored], offset: &mut usize) -> Value {
    let (mut tokens, mut logprobs, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for token in scored {
        tokens.push(spelled(&token.bytes));
        logprobs.push(token.logprob.map(finite));
        let mut top = Map::new();
        for (_, bytes, logprob) in &token.top {
            // Of tokens that are spelled alike the likeliest counts.
            top.entry(spelled(bytes)).or_insert_with(|| finite(*logprob).into());
        }
        tops.push(if token.logprob.is_none() { Value::Null } else { top.into() });
        offsets.push(*offset);
        *offset += String::from_utf8_lossy(&token.bytes).chars().count();
    }
    json!({"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets})
}
