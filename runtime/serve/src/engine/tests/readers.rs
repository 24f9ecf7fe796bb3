//! Readers that go away, are slow, or are too many; and the end.

use super::*;
use crate::engine::Refused;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn request(first: u32, most: Option<usize>) -> Request {
    let prompt = [first, 60, 61, 62].to_vec();
    Request { prompt, most, logprobs: Some(1), ..Request::default() }
}

/// A stream of which nothing is read but that it began: it stays where it is, and with it its sequence.
fn stalled(engine: &Engine) -> Events {
    let mut events = engine.submit(request(70, Some(200))).unwrap();
    assert!(matches!(events.blocking_recv(), Some(Event::Began { .. })));
    events
}

#[test]
fn a_slow_reader_pauses_its_own_stream() {
    let (engine, ..) = start(|config| config.parallel = count(2));
    let slow = stalled(&engine);
    for first in 80..90 {
        let other = request(first, Some(30));
        assert_eq!(read(engine.submit(other.clone()).unwrap()).0, alone(&other));
    }
    assert_eq!(engine.stats().running, 1);
    assert_eq!(read(slow).0, alone(&request(70, Some(200))));
}

#[test]
fn a_full_queue_refuses_and_those_who_leave_it_make_room() {
    let (engine, ..) = start(|config| (config.parallel, config.queue) = (count(1), 2));
    let running = stalled(&engine);
    let [second, third] = [80, 81].map(|first| engine.submit(request(first, Some(5))).unwrap());
    assert_eq!(engine.submit(request(82, Some(5))).unwrap_err(), Refused::Full);
    assert_eq!(engine.stats().waiting, 2);
    // This many would never have room.
    let many = engine.submit_all(vec![request(82, Some(5)); 4]).unwrap_err();
    assert_eq!(many.to_string(), "4 answers are asked for at once, but there is room for 3");
    drop(second);
    // There is one place, and not two.
    assert_eq!(engine.submit_all(vec![request(82, Some(5)); 2]).unwrap_err(), Refused::Full);
    let last = engine.submit(request(82, Some(5))).unwrap();
    assert_eq!(engine.submit(request(83, Some(5))).unwrap_err(), Refused::Full);
    // The one that runs makes room, too.
    drop(running);
    assert_eq!(read(third).0, alone(&request(81, Some(5))));
    assert_eq!(read(last).0, alone(&request(82, Some(5))));
    let stats = engine.stats();
    assert_eq!((stats.cancelled, stats.refused, stats.requests), (2, 4, 4));
}

#[test]
fn a_prompt_is_given_up_when_its_reader_goes() {
    let context = 1 << 14;
    let (engine, ..) = start(|config| (config.parallel, config.context) = (count(1), Some(count(context))));
    let long = Request { prompt: vec![50; context - 1], most: Some(1), ..Request::default() };
    let events = engine.submit(long).unwrap();
    while engine.stats().prompt_tokens == 0 {
        std::thread::yield_now();
    }
    drop(events);
    assert_eq!(read(engine.submit(request(80, Some(5))).unwrap()).0, alone(&request(80, Some(5))));
    let stats = engine.stats();
    assert!(stats.cancelled == 1 && stats.prompt_tokens < context as u64, "{stats:?}");
}

/// A reader that goes away in the middle of an answer disturbs nobody, and what was computed for it is of use.
#[test]
fn an_answer_is_given_up_when_its_reader_goes() {
    let (engine, ..) = start(|config| config.parallel = count(2));
    let other = request(80, Some(60));
    let mut all = engine.submit_all(vec![request(70, Some(200)), other.clone()]).unwrap();
    let (rest, mut gone) = (all.pop().unwrap(), all.pop().unwrap());
    for _ in 0..4 {
        gone.blocking_recv().unwrap();
    }
    drop(gone);
    assert_eq!(read(rest).0, alone(&other));
    let again = request(70, Some(20));
    assert_eq!(read(engine.submit(again.clone()).unwrap()), (alone(&again), 3));
    let stats = engine.stats();
    assert_eq!((stats.cancelled, stats.running), (1, 0));
}

/// A prompt is read in pieces beside a stream, which gets a token with each, and in whole passes without one.
#[test]
fn a_long_prompt_stalls_nobody() {
    // Beside the stream it has what is left of the first pass and five pieces, and then two passes of its own.
    let (short, long) = (request(70, Some(6)), 124 + 5 * 64 + 2 * 128);
    let long = Request { prompt: vec![50; long], most: Some(0), ..Request::default() };
    let passes = |requests: Vec<Request>| {
        let (engine, ..) = start(|config| config.context = Some(count(1024)));
        let all = engine.submit_all(requests).unwrap();
        let ends: Vec<_> = all.into_iter().map(|events| read(events).0.end.unwrap().1).collect();
        engine.stop(LONG);
        engine.join();
        (ends, engine.stats().passes)
    };
    assert_eq!(passes(vec![short, long.clone()]), (vec![6, 0], 8));
    assert_eq!(passes(vec![long]), (vec![0], 6));
}

#[test]
fn stopping_lets_streams_end_until_it_is_time() {
    let (engine, ..) = start(|config| config.parallel = count(1));
    let (running, waiting) = (stalled(&engine), engine.submit(request(80, Some(5))).unwrap());
    engine.stop(LONG);
    assert_eq!(engine.submit(request(81, Some(5))).unwrap_err(), Refused::Stopping);
    assert_eq!(read(running).0, alone(&request(70, Some(200))));
    assert_eq!(read(waiting).0, alone(&request(80, Some(5))));
    engine.join();
    assert!(engine.is_over());

    let (engine, ..) = start(|config| config.parallel = count(1));
    let (running, waiting) = (stalled(&engine), engine.submit(request(80, Some(5))).unwrap());
    engine.stop(LONG);
    engine.stop(Duration::ZERO);
    engine.join();
    for events in [running, waiting] {
        assert_eq!(read(events).0.failed.as_deref(), Some("the server is stopping"));
    }
    // A handle that is dropped is enough.
    let (engine, _, _file) = start(|config| config.parallel = count(1));
    let running = stalled(&engine);
    drop(engine);
    assert!(read(running).0.failed.is_some());
}
