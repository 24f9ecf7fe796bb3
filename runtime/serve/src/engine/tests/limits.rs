//! What ends an answer, and what is refused.

use super::*;
use crate::engine::Refused;

const START: &str = smidgen_tests::chat::CONTROLS[1];

fn request(most: usize) -> Request {
    Request { prompt: prompt("hello world"), most: Some(most), logprobs: Some(1), ..Request::default() }
}

/// Stop texts are found across tokens; what only looks like the beginning of one comes out with its tokens.
#[test]
fn stop_texts() {
    let (engine, ..) = start(|_| ());
    let whole = alone(&request(40));
    let text = whole.text.as_str();
    let len = text.len();
    assert!(len >= 40 && text.is_ascii() && whole.scored.len() == 40);
    let cuts = [&text[10..14], &text[12..13], &text[..1], &text[20..35], &text[len - 1..], &text[len - 9..]];
    for cut in cuts {
        let stopped = Request { stops: vec!["\u{2603}".into(), String::new(), cut.into()], ..request(40) };
        let (answer, _) = read(engine.submit(stopped.clone()).unwrap());
        assert_eq!(answer.text, text[..text.find(cut).unwrap()], "{cut:?}");
        assert_eq!(answer, alone(&stopped), "{cut:?}");
        assert_eq!(answer.end.unwrap().0, Reason::Stop);
    }
    for held in [3, 11] {
        let beginning = format!("{}\u{2603}", &text[len - held..]);
        let (answer, _) = read(engine.submit(Request { stops: vec![beginning], ..request(40) }).unwrap());
        assert_eq!(answer, whole, "{held} bytes were held back");
    }
}

/// An end token is counted and is no part of the text, and what was held back comes before it.
#[test]
fn end_tokens() {
    let (engine, ..) = start(|_| ());
    let whole = alone(&request(30));
    let first = |token: u32| whole.scored.iter().position(|scored| scored.token == token).unwrap();
    let end = whole.scored.iter().map(|scored| scored.token).max_by_key(|token| first(*token)).unwrap();
    let at = first(end);
    let before: Vec<u8> = whole.scored[..at].iter().flat_map(|scored| scored.bytes.clone()).collect();
    let before = String::from_utf8(before).unwrap();
    assert!(at > 1);
    let held = format!("{}\u{2603}", &before[before.len() - 1..]);
    let ended = Request { ends: vec![1, end], stops: vec![held], ..request(30) };
    let (answer, _) = read(engine.submit(ended.clone()).unwrap());
    assert_eq!((answer.text.as_str(), answer.end), (before.as_str(), Some((Reason::Stop, at + 1))));
    assert_eq!(answer.scored, whole.scored[..at]);
    assert_eq!(answer, alone(&ended));
}

/// Pieces are whole characters, also where tokens are bytes.
#[test]
fn characters_are_whole() {
    let (engine, facts, _file) = start(|_| ());
    // Bytes of `é`, one after another, are the likeliest by far.
    let token = |byte: u8| 3 + u32::from(byte);
    let bias = vec![(token(0xC3), 100.0)];
    let half = Request { bias, ..request(3) };
    let mut events = engine.submit(half.clone()).unwrap();
    let mut pieces = Vec::new();
    while let Some(event) = events.blocking_recv() {
        if let Event::Piece { text, tokens, .. } = event {
            pieces.push((text, tokens));
        }
    }
    assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), alone(&half).text);
    assert_eq!(pieces.iter().map(|(_, tokens)| tokens).sum::<usize>(), 3);
    assert!(pieces.iter().all(|(text, _)| text.chars().all(|c| c == char::REPLACEMENT_CHARACTER)));
    assert_eq!(facts.ends, [0, 2]);
}

/// Control tokens are told where their spellings are in the text, so that these can be told from text that is spelled alike.
#[test]
fn control_tokens_that_are_written_are_told() {
    let (engine, ..) = start(|_| ());
    for (special, stops) in [(true, vec![]), (true, vec![format!("{START}x")]), (false, vec![])] {
        let marks = Request { bias: vec![(1, 100.0)], special, stops, ..request(3) };
        let mut events = engine.submit(marks).unwrap();
        let (mut whole, mut told) = (String::new(), Vec::new());
        while let Some(event) = events.blocking_recv() {
            if let Event::Piece { text, controls, .. } = event {
                told.extend(controls);
                whole.push_str(&text);
                assert!(whole.is_empty() || !told.is_empty(), "the text comes before it is told what is in it");
            }
        }
        let count = if special { 3 } else { 0 };
        assert_eq!((whole, told), (START.repeat(count), vec![START.to_owned(); count]));
    }
}

#[test]
fn requests_that_cannot_be_done_are_refused() {
    let (engine, facts, _file) = start(|config| config.context = Some(count(64)));
    let refused = |request| engine.submit(request).unwrap_err();
    assert_eq!(refused(Request::default()), Refused::Empty);
    let long = |tokens: usize, most| Request { prompt: vec![50; tokens], most, ..Request::default() };
    assert_eq!(refused(long(60, Some(5))), Refused::TooLong { prompt: 60, most: 5, context: 64 });
    assert_eq!(refused(long(64, None)), Refused::TooLong { prompt: 64, most: 1, context: 64 });
    assert_eq!(refused(long(64, Some(usize::MAX))), Refused::TooLong { prompt: 64, most: usize::MAX, context: 64 });
    let vocabulary = facts.vocabulary as u32;
    let text = |refused: Refused| refused.to_string();
    let told = format!("token {vocabulary} is not in the vocabulary of {vocabulary} tokens");
    assert_eq!(text(refused(Request { prompt: vec![5, vocabulary], ..Request::default() })), told);
    assert_eq!(text(refused(Request { bias: vec![(vocabulary, 1.0)], ..request(4) })), told);
    assert_eq!(text(refused(Request { bias: vec![(7, f32::NAN)], ..request(4) })), "the bias of token 7 cannot be NaN");
    let sampling = smidgen::Sampling { temperature: -1.0, ..Default::default() };
    assert_eq!(text(refused(Request { sampling, ..request(4) })), "temperature cannot be -1");
    assert!(text(refused(Request { logprobs: Some(129), ..request(4) })).contains("at most of 128"));
    assert!(text(engine.embed(Vec::new()).unwrap_err()).contains("the architecture llama cannot embed text"));
    assert_eq!(engine.stats().refused, 10);
    // One that cannot be done takes the others with it.
    assert_eq!(engine.submit_all(vec![request(3), Request::default()]).unwrap_err(), Refused::Empty);
    // To the last token of the context.
    for most in [Some(4), None] {
        let (answer, _) = read(engine.submit(long(60, most)).unwrap());
        assert_eq!(answer.end, Some((Reason::Length, 4)));
    }
    let (answer, _) = read(engine.submit(long(64, Some(0))).unwrap());
    assert_eq!((answer.text.as_str(), answer.end), ("", Some((Reason::Length, 0))));
    assert_eq!(engine.stats().requests, 3);
}

#[test]
fn files_and_options_that_cannot_be_served_are_told() {
    let file = Temporary::new(&writer());
    let told = |change: &dyn Fn(&mut Config)| open(&file, |config| change(config)).err().unwrap();
    assert!(told(&|config| config.path = "none.gguf".into()).contains("none.gguf"));
    let error = told(&|config| config.kv_memory = Some(1000));
    assert!(error.contains("--kv-memory 1000") && error.contains("--parallel"), "{error}");
    assert!(told(&|config| config.target = Some("abacus".into())).contains("--target abacus"));
    assert!(told(&|config| config.context = Some(count(1 << 30))).contains("--context 1073741824"));
    let damaged = Temporary::new(b"GGUF");
    assert!(open(&damaged, |_| ()).err().unwrap().contains(&*damaged.0.to_string_lossy()));
    let (_engine, facts) = open(&file, |config| config.context = None).unwrap();
    assert_eq!((facts.context, facts.trained, facts.architecture.as_str()), (256, 256, "llama"));
    assert!(facts.template.unwrap().contains("<|im_start|>") && facts.writes);
    assert!(facts.session_bytes > facts.cache_bytes && facts.cache_bytes > 0);
}
