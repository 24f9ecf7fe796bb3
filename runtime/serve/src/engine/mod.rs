//! Streams of one model, scheduled into passes.

use smidgen::Sampling;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How a model is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's file, or the first part of a split one.
    pub path: PathBuf,
    /// Streams at once.
    pub parallel: usize,
    /// Requests that wait beyond those.
    pub queue: usize,
    /// Tokens that each stream can hold.
    pub context: usize,
    /// Threads that compute.
    pub threads: std::num::NonZeroUsize,
    /// The type of the caches.
    pub kv: smidgen::KvType,
    /// The kernel set by name; the fastest without one.
    pub target: Option<String>,
}

/// A text to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// What is added to the logits of tokens before anything else.
    pub bias: Vec<(u32, f32)>,
    /// The most tokens of the answer.
    pub most: usize,
    /// Tokens that end the answer; they are no part of its text.
    pub ends: Vec<u32>,
    /// Texts that end the answer; they are no part of it.
    pub stops: Vec<String>,
    /// Whether log-probabilities are wanted, and of how many other tokens.
    pub logprobs: Option<usize>,
    /// Whether those of the prompt's tokens are wanted too.
    pub prompt_logprobs: bool,
    /// Whether tokens with a meaning of their own are written in the text.
    pub special: bool,
}

/// A token with its log-probability before sampling: the law's logits with the request's bias, divided by nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its natural logarithm; none for the first token of a prompt.
    pub logprob: Option<f64>,
    /// The most likely tokens in its place, the likeliest first, each with its bytes.
    pub top: Vec<(u32, Vec<u8>, f64)>,
}

/// What comes of a request, in this order: `Began`, any number of `Piece`s, and one of the last two.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt has been read.
    Began {
        /// Its tokens, and how many of them were taken from a cache.
        prompt: usize,
        /// Tokens that were taken from a cache.
        cached: usize,
        /// The prompt's tokens, if their log-probabilities were asked for.
        scored: Vec<Scored>,
    },
    /// A part of the answer: whole characters, and the tokens that they are of. What may become a stop text is held back.
    Piece {
        /// The text.
        text: String,
        /// The tokens, if log-probabilities were asked for.
        scored: Vec<Scored>,
        /// How many tokens.
        tokens: usize,
    },
    /// The answer is complete.
    Ended {
        /// Why.
        reason: Reason,
        /// Tokens of the answer.
        tokens: usize,
    },
    /// The request failed, alone.
    Failed(String),
}

/// Why an answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A token or a text that ends it.
    Stop,
    /// It has as many tokens as were asked for, or the context is full.
    Length,
}

/// A running engine, shared by whoever asks it.
#[derive(Clone)]
pub struct Engine {
    #[expect(dead_code, reason = "to be written")]
    inner: Arc<()>,
}

/// The events of a request. To drop it cancels the request within one pass.
pub type Events = mpsc::Receiver<Event>;
