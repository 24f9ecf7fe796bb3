//! Streams of one model, scheduled into passes.
//!
//! [`Engine::start`] starts three threads for a model's file: one owns its session, chooses what goes into each pass and samples; two turn texts into
//! tokens for whoever asks ([`Engine::texts`]), short ones and long ones. A pass is one token of every running stream and a piece of the oldest prompts, so a long prompt stalls
//! nobody and a cancelled request costs one pass at most. The same request gives the same bits alone, beside others and from the cache.

mod answer;
mod cache;
mod embed;
mod handle;
mod open;
mod scheduler;
mod stream;
#[cfg(test)]
mod tests;

pub use handle::{Engine, Vector};
pub use open::Texts;

use smidgen::Sampling;
use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// How a model is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's file, or any part of a split one.
    pub path: PathBuf,
    /// Streams at once.
    pub parallel: NonZeroUsize,
    /// Requests that wait beyond those.
    pub queue: usize,
    /// Tokens that each stream can hold; without it what the model was trained for, at most [`CONTEXT`].
    pub context: Option<NonZeroUsize>,
    /// Bytes that caches may take, those of streams among them. What is left beyond these keeps the beginnings of texts. Without it there is one sequence
    /// more than streams.
    pub kv_memory: Option<usize>,
    /// Threads that compute.
    pub threads: NonZeroUsize,
    /// The type of the caches.
    pub kv: smidgen::KvType,
    /// The kernel set by name; the fastest without one.
    pub target: Option<String>,
}

/// Tokens that each stream can hold at most, if nothing is said.
pub const CONTEXT: usize = 4096;

/// The most likely tokens of which log-probabilities are given, at most.
pub const LOGPROBS: usize = 128;

impl Config {
    /// Four streams of a file, eight requests that wait, a thread for each core, caches of f16.
    pub fn new(path: impl Into<PathBuf>) -> Config {
        Config {
            path: path.into(),
            parallel: NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN),
            queue: 8,
            context: None,
            kv_memory: None,
            threads: smidgen_host::physical_cores(),
            kv: smidgen::KvType::F16,
            target: None,
        }
    }
}

/// What is known of a model once it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`, or the file's name without its ending.
    pub name: String,
    /// Tokens that each stream can hold; of a model that embeds, tokens of a text.
    pub context: usize,
    /// Tokens that the model was trained for.
    pub trained: usize,
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Values of an embedding, if the model embeds texts.
    pub embedding: Option<usize>,
    /// Outputs of a head that classifies or ranks, if there is one.
    pub scores: Option<usize>,
    /// Whether it writes text.
    pub writes: bool,
    /// `tokenizer.chat_template`.
    pub template: Option<String>,
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// Tokens that end an answer: what [`Request::ends`] is as a rule.
    pub ends: Vec<u32>,
    /// What frames a text to be filled in, if the model was made for that.
    pub infill: Option<Infill>,
    /// Bytes of the longest token's spelling.
    pub longest_token: usize,
    /// Bytes of the file, all parts.
    pub file_bytes: u64,
    /// Bytes of the session beside the weights, the caches among them.
    pub session_bytes: usize,
    /// Bytes of the caches.
    pub cache_bytes: usize,
    /// Sequences that are cached, those of running streams among them.
    pub sequences: usize,
    /// The name of the kernel set.
    pub kernels: String,
    /// What was passed over in the file, for people: a line each.
    pub warnings: Vec<String>,
}

/// The tokens that frame a text with a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infill {
    /// Before what is before the gap.
    pub prefix: u32,
    /// Before what is after the gap.
    pub suffix: u32,
    /// Before what fills the gap.
    pub middle: u32,
    /// Before the name of a repository.
    pub repository: Option<u32>,
    /// Before the name and text of a file.
    pub file: Option<u32>,
    /// After what fills the gap, in some models.
    pub padding: Option<u32>,
}

impl Infill {
    /// The tokens that end what fills a gap, beside the model's own ends.
    pub fn ends(&self) -> impl Iterator<Item = u32> {
        [self.repository, self.file, self.padding].into_iter().flatten()
    }
}

/// A text to be continued.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// What is added to the logits of tokens before anything else.
    pub bias: Vec<(u32, f32)>,
    /// The most tokens of the answer; as many as the context has room for if nothing is said. 0 only reads the prompt.
    pub most: Option<usize>,
    /// Tokens that end the answer; they are no part of its text.
    pub ends: Vec<u32>,
    /// Texts that end the answer; they are no part of it. Empty ones are ignored.
    pub stops: Vec<String>,
    /// Whether log-probabilities are wanted, and of how many of the likeliest tokens beside the chosen one's: at most [`LOGPROBS`].
    pub logprobs: Option<usize>,
    /// Whether those of the prompt's tokens are wanted too; then nothing of it is taken from the cache. Only with `logprobs`.
    pub prompt_logprobs: bool,
    /// Whether control tokens are written in the text.
    pub special: bool,
}

impl Request {
    /// Whether the logits of every token of the prompt are wanted.
    fn scores_prompt(&self) -> bool {
        self.prompt_logprobs && self.logprobs.is_some()
    }
}

/// A token with its log-probability by the model: of its logits as they are, before the request's bias, penalties, temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: u32,
    /// Its bytes, which need not be UTF-8.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability; none for the first token of a prompt.
    pub logprob: Option<f64>,
    /// The likeliest tokens in its place, the likeliest first and of equals the lower id, each with its bytes and log-probability.
    pub top: Vec<(u32, Vec<u8>, f64)>,
}

/// What comes of a request, in this order: `Began`, any number of `Piece`s, and one of the last two. `Failed` may come at any time. A channel that closes
/// without either belongs to an engine that is no more.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt has been read.
    Began {
        /// Its tokens.
        prompt: usize,
        /// How many of them were taken from the cache.
        cached: usize,
        /// The prompt's tokens, if their log-probabilities were asked for.
        scored: Vec<Scored>,
    },
    /// A part of the answer: whole characters, and the tokens that they are of. What may become a stop text is held back.
    Piece {
        /// The text; empty only for tokens at the end of an answer that have none.
        text: String,
        /// Spellings of control tokens that were generated since the last piece, where they are written in the text.
        controls: Vec<String>,
        /// The tokens, if log-probabilities were asked for. A token that ends the answer is not among them.
        scored: Vec<Scored>,
        /// How many tokens.
        tokens: usize,
    },
    /// The answer is complete.
    Ended {
        /// Why.
        reason: Reason,
        /// Tokens that were generated: with the one that ended it, and those of a stop text.
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

/// The events of a request. To drop it cancels the request within one pass.
pub type Events = mpsc::Receiver<Event>;

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// The model is not open yet.
    Loading,
    /// The engine takes no more requests.
    Stopping,
    /// The prompt has no tokens.
    Empty,
    /// The prompt and the answer do not fit the context; nothing is cut.
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that were asked for; 1 if nothing was said.
        most: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// A parameter that cannot be: a token that does not exist, a temperature below zero.
    Parameter(String),
    /// Something that the model is not made for.
    Purpose(String),
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Refused::Full => write!(f, "too many requests wait; try again later"),
            Refused::Loading => write!(f, "the model is being opened; try again later"),
            Refused::Stopping => write!(f, "the server is stopping"),
            Refused::Empty => write!(f, "the prompt has no tokens"),
            Refused::TooLong { prompt, most: 0, context } => {
                write!(f, "the text has {prompt} tokens, but the context holds {context}; shorten it")
            }
            Refused::TooLong { prompt, most, context } => write!(
                f,
                "the prompt has {prompt} tokens and the answer may have {most}, but the context holds {context}; shorten it or ask for fewer"
            ),
            Refused::Parameter(what) | Refused::Purpose(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refused {}

/// What an engine has done since it started, and what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Streams that run.
    pub running: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Streams among those that run which wait for their reader.
    pub paused: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were taken from the cache.
    pub cached_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Calls that computed something.
    pub passes: u64,
    /// Requests that were taken.
    pub requests: u64,
    /// Requests that were refused: full, too long, or not to be done.
    pub refused: u64,
    /// Requests that were given up by their reader.
    pub cancelled: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Tokens that the sequences hold.
    pub held_tokens: u64,
    /// Seconds that passes took.
    pub busy_seconds: f64,
}

impl Stats {
    /// Adds what another engine has counted; what it does at the moment is left out.
    pub(crate) fn count(&mut self, other: &Stats) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.generated_tokens += other.generated_tokens;
        self.passes += other.passes;
        self.requests += other.requests;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.failures += other.failures;
        self.busy_seconds += other.busy_seconds;
    }
}
