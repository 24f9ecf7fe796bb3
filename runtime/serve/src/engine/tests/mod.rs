//! What an engine promises, beside the same request computed token by token.

mod exact;
mod limits;
mod readers;
mod texts;

use super::{Config, Engine, Event, Events, Facts, Reason, Request, Scored, Vector};
use smidgen::sampler::{log_probability, log_sum};
use smidgen::tokenizer::Tokenizer;
use smidgen::{KvType, Model, Options, Sampler, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::Serial;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const SHAPE: Shape = Shape {
    layers: 2,
    embedding: 64,
    heads: 2,
    kv_heads: 1,
    head_size: 32,
    feed_forward: 96,
    vocabulary: 0,
    rotated: 32,
    tied: false,
    biases: false,
    seed: 3,
};

/// A token whose embedding is not finite.
const INFINITE: u32 = 200;

/// The bytes of a model that writes text.
fn writer() -> Vec<u8> {
    let mut file = chat_model(&SHAPE, Format::Q8_0);
    let row = Format::Q8_0.bytes(SHAPE.embedding).unwrap();
    // The scale of a block, as binary16.
    file.tensor("token_embd.weight").data[INFINITE as usize * row..][..2].copy_from_slice(&0x7C00u16.to_le_bytes());
    file.bytes()
}

/// A file that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(bytes: &[u8]) -> Temporary {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("smidgen-serve-{}-{number}.gguf", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// An engine of a model that writes, and its file.
fn start(change: impl FnOnce(&mut Config)) -> (Engine, Facts, Temporary) {
    let file = Temporary::new(&writer());
    let (engine, facts) = open(&file, change).unwrap();
    (engine, facts, file)
}

fn open(file: &Temporary, change: impl FnOnce(&mut Config)) -> Result<(Engine, Facts), String> {
    let mut config = Config { threads: count(2), context: Some(count(256)), ..Config::new(&file.0) };
    change(&mut config);
    let (sender, receiver) = mpsc::channel();
    let engine = Engine::start(config, move |ready| sender.send(ready).unwrap())?;
    let facts = receiver.recv().unwrap()?;
    Ok((engine, facts))
}

/// A text as tokens.
fn prompt(text: &str) -> Vec<u32> {
    let bytes = writer();
    let file = Gguf::parse(&bytes).unwrap();
    Tokenizer::parse(&file).unwrap().encode(text, smidgen::tokenizer::Special::Text)
}

/// What comes of a request.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    prompt: Vec<Scored>,
    text: String,
    scored: Vec<Scored>,
    end: Option<(Reason, usize)>,
    failed: Option<String>,
}

/// All events of a request, and how much of it came from the cache.
fn read(mut events: Events) -> (Answer, usize) {
    let (mut answer, mut cached) = (Answer::default(), 0);
    while let Some(event) = events.blocking_recv() {
        assert!(answer.end.is_none() && answer.failed.is_none(), "an event after the end: {event:?}");
        match event {
            Event::Began { cached: from_cache, scored, .. } => {
                assert!(answer.text.is_empty() && answer.prompt.is_empty());
                (answer.prompt, cached) = (scored, from_cache);
            }
            Event::Piece { text, scored, .. } => {
                answer.text.push_str(&text);
                answer.scored.extend(scored);
            }
            Event::Ended { reason, tokens } => answer.end = Some((reason, tokens)),
            Event::Failed(error) => answer.failed = Some(error),
        }
    }
    assert!(answer.end.is_some() || answer.failed.is_some(), "the events just end");
    (answer, cached)
}

/// The likeliest tokens by a sort of all, and the token itself.
fn scored(tokenizer: &Tokenizer, logits: &[f32], token: u32, top: usize) -> Scored {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
    let bytes = |token| tokenizer.token_bytes(token);
    let top = order[..top].iter().map(|token| (*token, bytes(*token), log_probability(logits, *token))).collect();
    let logprob = f64::from(logits[token as usize]) - log_sum(logits);
    Scored { token, bytes: bytes(token), logprob: Some(logprob), top }
}

/// A request alone, token by token, with the text looked through as a whole.
fn alone(request: &Request) -> Answer {
    let bytes = writer();
    let file = Gguf::parse(&bytes).unwrap();
    let model = Model::parse(std::slice::from_ref(&file)).unwrap();
    let tokenizer = Tokenizer::parse(&file).unwrap();
    let options = Options { kv: KvType::F16, ..Options::new(256) };
    let mut session = Session::new(&model, &options, smidgen_targets::detect()).unwrap();
    let mut sampler = Sampler::new(request.sampling).unwrap();
    let mut answer = Answer::default();
    let mut last = Vec::new();
    let prompt = &request.prompt;
    let read = session.forward_all(0, prompt, &Serial, |number, logits| {
        if let (true, Some(top)) = (request.prompt_logprobs, request.logprobs) {
            if number == 0 {
                let bytes = tokenizer.token_bytes(prompt[0]);
                answer.prompt.push(Scored { token: prompt[0], bytes, logprob: None, top: Vec::new() });
            }
            if let Some(next) = prompt.get(number + 1) {
                answer.prompt.push(scored(&tokenizer, logits, *next, top));
            }
        }
        last = logits.to_vec();
    });
    if let Err(error) = read {
        return Answer { failed: Some(error.to_string()), ..Answer::default() };
    }
    prompt.iter().for_each(|token| sampler.accept(*token));
    let most = request.most.unwrap_or(256 - prompt.len());
    let (mut tokens, mut generated) = (Vec::new(), 0);
    let stop =
        |text: &str| request.stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
    let reason = loop {
        if generated == most {
            break Reason::Length;
        }
        let mut biased = last.clone();
        for (token, bias) in &request.bias {
            biased[*token as usize] += bias;
        }
        let token = sampler.sample(&biased).unwrap();
        generated += 1;
        if request.ends.contains(&token) {
            break Reason::Stop;
        }
        sampler.accept(token);
        if let Some(top) = request.logprobs {
            answer.scored.push(scored(&tokenizer, &last, token, top));
        }
        tokens.push(token);
        answer.text = tokenizer.decode(&tokens, request.special);
        if let Some(at) = stop(&answer.text) {
            // A token belongs to the answer if its text begins in it.
            let begins = |count: usize| tokenizer.decode(&tokens[..count], request.special).len() < at;
            let kept = (0..tokens.len()).filter(|count| begins(*count)).count();
            answer.scored.truncate(kept);
            answer.text.truncate(at);
            break Reason::Stop;
        }
        if generated < most {
            last = session.forward(0, &[token], &Serial).unwrap().to_vec();
        }
    };
    answer.end = Some((reason, generated));
    answer
}
