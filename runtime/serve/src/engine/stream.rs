//! A request that runs: its sequence, its sampler, and its text.

use super::answer::Answer;
use super::handle::Waiting;
use super::{Event, Reason, Request, Scored};
use smidgen::sampler::log_sum;
use smidgen::tokenizer::Tokenizer;
use smidgen::{RunError, Sampler};
use tokio::sync::mpsc;

/// Events that a pass may bring: `Began`, a `Piece` and what was held back, the end.
pub(super) const ROOM: usize = 4;

pub(super) struct Stream<'t, 'a> {
    pub(super) request: Request,
    pub(super) events: mpsc::Sender<Event>,
    /// The session's sequence that it has.
    pub(super) sequence: usize,
    /// Tokens of the prompt that were taken from the cache.
    cached: usize,
    /// Tokens of the prompt that the sequence holds.
    pub(super) read: usize,
    /// The token that was chosen and is to be computed next, once the prompt is read.
    pub(super) next: Option<u32>,
    /// The last event, when nothing more is to be done. It is sent when the stream's place is free again, so that who has read it finds that so.
    pub(super) end: Option<Event>,
    sampler: Sampler,
    tokenizer: &'t Tokenizer<'a>,
    answer: Answer<'t, 'a>,
    /// The prompt's tokens with their log-probabilities.
    scored: Vec<Scored>,
    /// Logits with the request's bias.
    biased: Vec<f32>,
    /// Tokens that may be generated, and that were.
    most: usize,
    generated: usize,
}

impl<'t, 'a> Stream<'t, 'a> {
    /// A stream in a sequence that holds `cached` tokens of the prompt; `context` is what a sequence can hold.
    ///
    /// # Errors
    /// [`RunError::OutOfMemory`].
    pub(super) fn new(
        waiting: Waiting,
        tokenizer: &'t Tokenizer<'a>,
        sequence: usize,
        cached: usize,
        context: usize,
    ) -> Result<Stream<'t, 'a>, (RunError, mpsc::Sender<Event>)> {
        let Waiting { mut request, mut sampler, events } = waiting;
        let room = context.saturating_sub(request.prompt.len());
        let most = request.most.map_or(room, |most| most.min(room));
        if let Err(error) = sampler.reserve(request.prompt.len() + most) {
            return Err((error, events));
        }
        request.prompt.iter().for_each(|token| sampler.accept(*token));
        let decoder = tokenizer.decoder_after(&request.prompt, request.special);
        let answer = Answer::new(decoder, std::mem::take(&mut request.stops));
        let mut scored = Vec::new();
        if let (true, Some(first)) = (request.scores_prompt(), request.prompt.first()) {
            let bytes = tokenizer.token_bytes(*first);
            scored.push(Scored { token: *first, bytes, logprob: None, top: Vec::new() });
        }
        Ok(Stream {
            request,
            events,
            sequence,
            cached,
            read: cached,
            next: None,
            end: None,
            sampler,
            tokenizer,
            answer,
            scored,
            biased: Vec::new(),
            most,
            generated: 0,
        })
    }

    /// Tokens of the prompt that are still to be read.
    pub(super) fn unread(&self) -> usize {
        self.request.prompt.len().saturating_sub(self.read)
    }

    /// Tokens that are to be computed: the rest of the prompt, and then one after another.
    pub(super) fn pending(&self) -> &[u32] {
        match &self.next {
            Some(next) => std::slice::from_ref(next),
            None => self.request.prompt.get(self.read..).unwrap_or_default(),
        }
    }

    /// Whether its reader has to take something before it can go on.
    pub(super) fn is_paused(&self) -> bool {
        self.events.capacity() < ROOM
    }

    /// Takes note of the logits after the prompt's token `number`, which is not the last.
    pub(super) fn score_prompt(&mut self, number: usize, logits: &[f32]) {
        if let (Some(top), Some(token)) = (self.request.logprobs, self.request.prompt.get(number + 1)) {
            self.scored.push(scored(self.tokenizer, logits, *token, top));
        }
    }

    /// Takes the logits after all tokens so far, and chooses the next one. Returns whether a token was generated.
    pub(super) fn step(&mut self, logits: &[f32]) -> bool {
        if self.generated == 0 {
            let (prompt, cached, scored) = (self.request.prompt.len(), self.cached, std::mem::take(&mut self.scored));
            self.send(Event::Began { prompt, cached, scored });
            if self.most == 0 {
                self.finish(None, Reason::Length);
                return false;
            }
        }
        let token = match self.choose(logits) {
            Ok(token) => token,
            Err(error) => {
                self.fail(&error.to_string());
                return false;
            }
        };
        self.generated += 1;
        self.next = Some(token);
        if self.request.ends.contains(&token) {
            self.finish(None, Reason::Stop);
            return true;
        }
        self.sampler.accept(token);
        let of_token = self.request.logprobs.map(|top| scored(self.tokenizer, logits, token, top));
        let is_written = self.request.special && self.tokenizer.is_control(token);
        let control = self.tokenizer.token_text(token).filter(|_| is_written);
        let (piece, stopped) = self.answer.push(token, of_token, control);
        // What is held back at the end comes with the last piece.
        if stopped || self.generated < self.most {
            piece.into_iter().for_each(|piece| self.send(piece));
            if stopped {
                self.over(Reason::Stop);
            }
        } else {
            self.finish(piece, Reason::Length);
        }
        true
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32, RunError> {
        if self.request.bias.is_empty() {
            return self.sampler.sample(logits);
        }
        self.biased.clear();
        self.biased.extend_from_slice(logits);
        for (token, bias) in &self.request.bias {
            if let Some(logit) = self.biased.get_mut(*token as usize) {
                *logit = (*logit + bias).clamp(f32::MIN, f32::MAX);
            }
        }
        self.sampler.sample(&self.biased)
    }

    /// Gives out what was held back, after a piece, and ends.
    fn finish(&mut self, piece: Option<Event>, reason: Reason) {
        let (rest, stopped) = self.answer.finish();
        for piece in [piece, rest].into_iter().flatten() {
            self.send(piece);
        }
        self.over(if stopped { Reason::Stop } else { reason });
    }

    fn over(&mut self, reason: Reason) {
        self.end = Some(Event::Ended { reason, tokens: self.generated });
    }

    /// Ends with an error.
    pub(super) fn fail(&mut self, error: &str) {
        self.end = Some(Event::Failed(error.to_owned()));
    }

    /// There is room, as a stream without is not run; one whose reader is gone is found by the next pass.
    fn send(&mut self, event: Event) {
        let _ = self.events.try_send(event);
    }
}

/// A token with its log-probability by the logits, and the likeliest in its place.
fn scored(tokenizer: &Tokenizer, logits: &[f32], token: u32, top: usize) -> Scored {
    let sum = log_sum(logits);
    let of = |token: u32| logits.get(token as usize).map_or(f64::NEG_INFINITY, |logit| f64::from(*logit) - sum);
    let top = likeliest(logits, top).into_iter().map(|token| (token, tokenizer.token_bytes(token), of(token)));
    Scored { token, bytes: tokenizer.token_bytes(token), logprob: Some(of(token)), top: top.collect() }
}

/// The tokens of the largest logits in order, of equals the lower id first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(count.min(logits.len()) + 1);
    for (logit, token) in logits.iter().copied().zip(0..) {
        if best.len() >= count && best.last().is_none_or(|(least, _)| logit <= *least) {
            continue;
        }
        let at = best.partition_point(|(other, _)| *other >= logit);
        best.insert(at, (logit, token));
        best.truncate(count);
    }
    best.into_iter().map(|(_, token)| token).collect()
}
