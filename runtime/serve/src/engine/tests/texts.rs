//! Models that embed, and what is done with a tokenizer.

use super::*;
use crate::engine::Refused;
use smidgen::encoder::text::{self, Text};
use smidgen_tests::seeded_bert;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What a future gives that needs no runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

fn reader() -> (Engine, Facts, Temporary, Vec<u8>) {
    let bytes = seeded_bert::with_words(seeded_bert::model(
        &seeded_bert::Shape { vocabulary: 12, ..Default::default() },
        Format::Q8_0,
    ))
    .bytes();
    let file = Temporary::new(&bytes);
    let (engine, facts) = open(&file, |config| (config.parallel, config.queue) = (count(1), 3)).unwrap();
    (engine, facts, file, bytes)
}

#[test]
fn texts_are_embedded_and_scored_each_by_itself() {
    let (engine, facts, _file, bytes) = reader();
    assert_eq!((facts.embedding, facts.scores, facts.writes, facts.context), (Some(256), Some(3), false, 80));
    let mut texts = seeded_bert::texts(&[3, 70, 5, 1, 9, 40, 4, 4, 12, 8, 77, 30, 2, 6, 7, 11, 19, 23], 12, 7);
    texts.push(texts[2].clone());
    let parts = [Gguf::parse(&bytes).unwrap()];
    let model = Model::parse(&parts).unwrap();
    let encoder = model.text_encoder().unwrap();
    let mut session = text::Session::new(encoder, &text::Options::default(), smidgen_targets::detect()).unwrap();
    let mut embeddings: Vec<Vector> = Vec::new();
    let mut scores: Vec<Vector> = Vec::new();
    for text in &texts {
        let text = std::slice::from_ref(text);
        session.embed(text, &Serial, |_, values| embeddings.push(Ok(values.unwrap().to_vec())));
        session.classify(text, &Serial, |_, values| scores.push(Ok(values.unwrap().to_vec())));
    }
    assert_ne!(embeddings[0], embeddings[1]);
    assert_eq!(engine.embed(texts.clone()).unwrap().blocking_recv().unwrap(), embeddings);
    assert_eq!(engine.score(texts.clone()).unwrap().blocking_recv().unwrap(), scores);
    let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();
    let stats = engine.stats();
    assert_eq!((stats.prompt_tokens, stats.requests, stats.running), (2 * tokens as u64, 2, 0));

    let text = |tokens: Vec<u32>| Text { second: tokens.len(), uncut: tokens.len(), tokens };
    let refused = |tokens| engine.embed(vec![text(tokens)]).unwrap_err();
    assert_eq!(refused(vec![]), Refused::Empty);
    let long = refused(vec![5; 81]);
    assert_eq!(long, Refused::TooLong { prompt: 81, most: 0, context: 80 });
    assert_eq!(long.to_string(), "the text has 81 tokens, but the context holds 80; shorten it");
    assert!(refused(vec![12]).to_string().contains("token 12 is not in the vocabulary of 12 tokens"));
    let written = engine.submit(Request { prompt: vec![5], ..Request::default() }).unwrap_err();
    assert!(written.to_string().contains("the architecture bert cannot write text"));
}

#[test]
fn embeddings_wait_in_a_bounded_queue_and_end() {
    let (engine, ..) = reader();
    let texts = vec![Text { tokens: vec![5; 80], second: 80, uncut: 80 }; 2000];
    let mut jobs: Vec<_> = (0..4).map(|_| engine.embed(texts.clone()).unwrap()).collect();
    assert_eq!(engine.embed(texts.clone()).unwrap_err(), Refused::Full);
    // One that is given up makes room.
    drop(jobs.pop());
    jobs.push(engine.embed(texts[..1].to_vec()).unwrap());
    jobs.drain(..3);
    assert_eq!(jobs.pop().unwrap().blocking_recv().unwrap().len(), 1);
    let stats = engine.stats();
    assert!(stats.cancelled == 4 && stats.prompt_tokens < 4 * 2000 * 80, "{stats:?}");
    let late = engine.embed(texts.clone()).unwrap();
    engine.stop(Duration::ZERO);
    engine.join();
    assert!(late.blocking_recv().is_err());
    assert_eq!(engine.embed(texts).unwrap_err(), Refused::Stopping);
}

#[test]
fn tokenizers_are_asked_on_their_own_thread() {
    let (engine, ..) = start(|_| ());
    let own = std::thread::current().id();
    let job = engine.texts(0, move |texts| {
        let tokens = texts.tokenizer.encode("hello world", smidgen::tokenizer::Special::Text);
        (texts.tokenizer.decode(&tokens, false), texts.encoder.is_some(), std::thread::current().id() != own)
    });
    assert_eq!(wait(job).unwrap(), ("hello world".to_owned(), false, true));
    let (reader, ..) = reader();
    let text = wait(reader.texts(0, |texts| texts.encoder.unwrap().text(texts.tokenizer, "ab", None).unwrap()));
    assert_eq!(text.unwrap().tokens.first(), Some(&2));
    engine.stop(Duration::ZERO);
    engine.join();
    assert_eq!(wait(engine.texts(0, |_| ())), Err(Refused::Stopping));
}

#[test]
fn short_texts_do_not_wait_for_long_ones() {
    let (engine, ..) = start(|_| ());
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (sender, begun) = std::sync::mpsc::channel();
    let long = std::thread::spawn({
        let engine = engine.clone();
        move || {
            wait(engine.texts(1 << 20, move |_| {
                sender.send(()).unwrap();
                released.recv().unwrap();
                "long"
            }))
        }
    });
    begun.recv().unwrap();
    assert_eq!(wait(engine.texts(10, |_| "short")), Ok("short"));
    release.send(()).unwrap();
    assert_eq!(long.join().unwrap(), Ok("long"));
}
