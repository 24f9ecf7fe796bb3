//! The same bits alone, beside others and from the cache.

use super::*;
use smidgen::Sampling;
use smidgen_tests::Random;

/// Requests of many kinds, some with beginnings in common.
fn requests(seed: u64, number: usize) -> Vec<Request> {
    let mut random = Random(seed);
    let system = prompt("system: be brief, be kind, and say hello world to the user\n");
    let one = |number: usize| {
        let mut tokens = if random.below(2) == 0 { system.clone() } else { Vec::new() };
        let len = 1 + random.below(if number % 5 == 4 { 150 } else { 30 });
        tokens.extend((0..len).map(|_| 3 + random.below(100) as u32));
        let sampling = match random.below(3) {
            0 => Sampling { temperature: 0.9, top_p: 0.95, top_k: 40, seed: random.bits(), ..Sampling::default() },
            1 => Sampling { repetition_penalty: 1.2, presence_penalty: 0.5, window: 20, ..Sampling::default() },
            _ => Sampling::default(),
        };
        let bias = if random.below(4) == 0 { vec![(3 + u32::from(b'e'), 1.5), (40, -100.0)] } else { Vec::new() };
        let most = Some(random.below(25));
        let prompt_logprobs = random.below(6) == 0;
        let stops = if random.below(3) == 0 { vec!["e".into(), "ab".into()] } else { Vec::new() };
        Request {
            prompt: tokens,
            sampling,
            bias,
            most,
            logprobs: Some(3),
            prompt_logprobs,
            stops,
            ..Request::default()
        }
    };
    (0..number).map(one).collect()
}

/// Hands requests in at random moments of each other and reads them all at once.
fn together(engine: &Engine, requests: &[Request], seed: u64) -> Vec<(Answer, usize)> {
    let mut random = Random(seed);
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for request in requests {
            for _ in 0..random.below(200) {
                std::thread::yield_now();
            }
            let events = engine.submit(request.clone()).unwrap();
            readers.push(scope.spawn(|| read(events)));
        }
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    })
}

/// Sixteen streams, one of which has numbers that are not finite: it fails alone. The second time their beginnings are in the cache.
#[test]
fn streams_equal_each_alone() {
    for (seed, parallel, threads, kv_memory) in [(1, 16, 2, None), (2, 3, 1, None), (3, 5, 2, Some(4 << 20))] {
        let (engine, facts, _file) = start(|config| {
            (config.parallel, config.queue, config.threads) = (count(parallel), 32, count(threads));
            config.kv_memory = kv_memory;
        });
        assert!(facts.sequences > parallel);
        let mut requests = requests(seed, 16);
        requests[7].prompt.push(INFINITE);
        let expected: Vec<Answer> = requests.iter().map(alone).collect();
        assert!(expected.iter().enumerate().all(|(i, answer)| answer.failed.is_some() == (i == 7)));
        assert!(expected[7].failed.as_ref().unwrap().contains("token_embd.weight"));
        for round in 0..4 {
            let found = together(&engine, &requests, seed * 100 + round);
            for (number, ((found, _), expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "request {number}, round {round}, {parallel} at once");
            }
        }
        let stats = engine.stats();
        assert!(stats.cached_tokens > 0, "{stats:?}");
        assert_eq!((stats.failures, stats.requests, stats.cancelled), (4, 64, 0));
    }
}

/// What is not finite in the middle of a prompt fails its request as at the end, and its sequence is as good as before.
#[test]
fn numbers_that_are_not_finite_fail_alone() {
    let (engine, ..) = start(|config| config.parallel = count(1));
    let mut tokens: Vec<u32> = (0..200).map(|i| 40 + i * 7 % 50).collect();
    let good = Request { prompt: tokens.clone(), most: Some(8), logprobs: Some(1), ..Request::default() };
    for at in [0, 5, 127, 128, 150, 199] {
        tokens[at] = INFINITE;
        let bad = Request { prompt: tokens.clone(), ..good.clone() };
        tokens[at] = good.prompt[at];
        let (answer, _) = read(engine.submit(bad.clone()).unwrap());
        assert_eq!(answer, alone(&bad));
        assert_eq!(answer.failed.as_deref(), Some("tensor token_embd.weight holds a weight that is not finite"));
        assert_eq!(read(engine.submit(good.clone()).unwrap()).0, alone(&good));
    }
    assert_eq!(engine.stats().failures, 6);
}

/// A conversation that goes on is read from where it differs, and a stream that runs lends its beginning.
#[test]
fn beginnings_come_from_the_cache() {
    let (engine, ..) = start(|config| config.parallel = count(3));
    let text = prompt("hello world, hello user: say something that goes on for a while, and then say something else");
    let request =
        |tokens: &[u32], most| Request { prompt: tokens.to_vec(), most, logprobs: Some(2), ..Request::default() };
    let first = request(&text[..60], Some(10));
    let (answer, cached) = read(engine.submit(first.clone()).unwrap());
    assert_eq!((answer, cached), (alone(&first), 0));
    // The same again: the last token has to be computed for its logits.
    assert_eq!(read(engine.submit(first.clone()).unwrap()), (alone(&first), 59));
    let longer = request(&text, Some(10));
    assert_eq!(read(engine.submit(longer.clone()).unwrap()), (alone(&longer), 60));
    // It is in a sequence by itself, which a running stream keeps: nobody reads it, so that it stays.
    let mut running = engine.submit(request(&text[..70], None)).unwrap();
    assert!(matches!(running.blocking_recv(), Some(Event::Began { cached: 69, .. })));
    let other = request(&[&text[..65], &[50, 51, 52, 53][..]].concat(), Some(12));
    assert_eq!(read(engine.submit(other.clone()).unwrap()), (alone(&other), 65));
    // What was asked of every token of the prompt is computed.
    let scored = Request { prompt_logprobs: true, ..longer };
    assert_eq!(read(engine.submit(scored.clone()).unwrap()), (alone(&scored), 0));
    let (whole, _) = read(running);
    assert_eq!(whole.end, Some((Reason::Length, 256 - 70)));
}

/// A long text is not given up for a short beginning, and the one that was used least recently goes first.
#[test]
fn long_texts_are_kept() {
    let (engine, facts, _file) = start(|config| config.parallel = count(2));
    assert_eq!(facts.sequences, 3);
    let of = |first: &[u32], len: usize| {
        let tokens = first.iter().copied().chain((0..).map(|i| 40 + i * 7 % 50)).take(len).collect();
        Request { prompt: tokens, most: Some(1), logprobs: Some(0), ..Request::default() }
    };
    let cached = |request: Request| {
        let (answer, cached) = read(engine.submit(request.clone()).unwrap());
        assert_eq!(answer, alone(&request));
        cached
    };
    let (long, beginning) = (of(&[90], 150), of(&[90], 12).prompt);
    let other = of(&[&beginning[..], &[30]].concat(), 20);
    assert_eq!(cached(long), 0);
    assert_eq!([cached(other.clone()), cached(of(&[90], 200))], [12, 150]);
    // Both others are used since, so the other's sequence is the one to go.
    assert_eq!([cached(of(&[91], 20)), cached(of(&[92], 20))], [0, 0]);
    assert_eq!([cached(of(&[90], 201)), cached(other)], [200, 12]);
}

/// Several answers to one prompt read it once.
#[test]
fn equal_prompts_are_read_once() {
    let (engine, ..) = start(|config| config.parallel = count(4));
    let request = |seed| Request {
        prompt: prompt("hello world: tell me a story of some words, and one more of some others, please do"),
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
        most: Some(12),
        logprobs: Some(0),
        ..Request::default()
    };
    let requests: Vec<_> = (0..4).map(request).collect();
    let all = engine.submit_all(requests.clone()).unwrap();
    let tokens = requests[0].prompt.len();
    for (number, (events, request)) in all.into_iter().zip(&requests).enumerate() {
        assert_eq!(read(events), (alone(request), if number == 0 { 0 } else { tokens - 1 }));
    }
    assert_eq!(engine.stats().prompt_tokens, tokens as u64 + 3);
}
