//! Every switch of a decoder: prefill, decoding token by token, batches of prompts and single tokens of several sequences, and a restored state give
//! the bits of the scalar law, on every kernel set and any number of threads.

use smidgen::{Entry, KvType, Model, Options, Precision, RunError, Session, Want};
use smidgen_gguf::Gguf;
use smidgen_targets::{KernelSet, Pool, Serial, scalar};
use smidgen_tests::switches::{CONTEXT, all};
use smidgen_tests::{Threads, at_most, kernel_sets, seeded};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Logits after every token.
fn run(model: &Model, tokens: &[u32], options: Options, kernels: &'static KernelSet, pool: &dyn Pool) -> Vec<Vec<u32>> {
    let mut session = Session::new(model, &options, kernels).unwrap();
    let mut all = Vec::new();
    session.forward_all(0, tokens, pool, |_, logits| all.push(bits(logits))).unwrap();
    all
}

/// A prompt of one sequence, single tokens of another and the middle of a third, in one call.
fn mixed(session: &mut Session, texts: [&[u32]; 3], pool: &dyn Pool) -> [Vec<u32>; 3] {
    let [prompt, single, middle] = texts;
    session.forward(1, &single[..single.len() - 1], &Serial).unwrap();
    session.forward(2, &middle[..20], &Serial).unwrap();
    let mut batch: Vec<Entry> = Vec::new();
    batch.extend(prompt.iter().map(|token| Entry::token(0, *token)));
    batch.push(Entry::token(1, single[single.len() - 1]).wanting(Want::Logits));
    batch.extend(middle[20..].iter().map(|token| Entry::token(2, *token)));
    for last in [prompt.len() - 1, batch.len() - 1] {
        batch[last] = batch[last].wanting(Want::Logits);
    }
    let rows = session.run(&batch, pool).unwrap();
    assert_eq!(rows.len(), 3);
    [0, 1, 2].map(|row| bits(rows.get(row).unwrap()))
}

#[test]
fn every_switch() {
    for switch in all() {
        let (bytes, name) = (switch.file.bytes(), switch.name);
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let tokens = seeded::tokens(70, model.vocabulary(), 5);
        let other = seeded::tokens(33, model.vocabulary(), 6);
        for kv in [KvType::F16, KvType::Q8_0, KvType::F32] {
            let options = Options { kv, ..Options::new(CONTEXT) };
            let reference = run(&model, &tokens, options, &scalar::KERNELS, &Serial);
            let beside = run(&model, &other, options, &scalar::KERNELS, &Serial);
            assert!(reference[0].iter().any(|bits| *bits != reference[0][0]), "{name}: logits differ from each other");
            for kernels in kernel_sets() {
                let label = format!("{name}, {kv:?}, {}", kernels.name);
                assert!(run(&model, &tokens, options, kernels, &Threads(3)) == reference, "{label}");
                let mut session =
                    Session::new(&model, &Options { sequences: 3, batch: 24, ..options }, kernels).unwrap();
                for (token, expected) in tokens.iter().zip(&reference).take(at_most(30, 70, "tokens")) {
                    assert!(bits(session.forward(0, &[*token], &Serial).unwrap()) == *expected, "{label}, decoding");
                }
                let mut state = vec![0; session.state_bytes(0).unwrap()];
                session.save(0, &mut state).unwrap();
                session.truncate(0, 0);
                let found = mixed(&mut session, [&tokens, &other, &tokens[..50]], &Threads(2));
                let expected = [reference.last(), beside.last(), reference.get(49)].map(|row| row.unwrap().clone());
                assert!(found == expected, "{label}, a mixed batch");
                session.restore(1, &state).unwrap();
                let held = session.len(1);
                let rest = [&tokens[held..], &other[..1]].concat();
                let logits = bits(session.forward(1, &rest, &Serial).unwrap());
                let mut again = Session::new(&model, &options, kernels).unwrap();
                let whole = [&tokens[..], &other[..1]].concat();
                assert!(logits == bits(again.forward(0, &whole, &Serial).unwrap()), "{label}, restored");
            }
        }
    }
}

/// Panels change no bits, also where a tensor holds several products.
#[test]
fn packed_files_give_the_same_bits() {
    for switch in all() {
        let (plain, mut packed) = (switch.file.bytes(), Vec::new());
        smidgen_convert::pack(&plain, &mut packed, &mut |_| ()).unwrap();
        let tokens = seeded::tokens(20, 97, 5);
        let [plain, packed] = [plain, packed].map(|bytes| {
            let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
            run(&model, &tokens, Options::new(CONTEXT), smidgen_targets::detect(), &Serial)
        });
        assert!(plain == packed, "{}", switch.name);
    }
}

/// Which factors LongRoPE takes is the session's context's matter, and its states say so.
#[test]
fn long_factors_are_of_long_contexts() {
    let switch = all().into_iter().find(|switch| switch.name.contains("LongRoPE")).unwrap();
    let bytes = switch.file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(20, model.vocabulary(), 5);
    let options = |context| Options { precision: Precision::F32, kv: KvType::F32, ..Options::new(context) };
    let logits = |context| {
        let mut session = Session::new(&model, &options(context), &scalar::KERNELS).unwrap();
        let logits = bits(session.forward(0, &tokens, &Serial).unwrap());
        let mut state = vec![0; session.state_bytes(0).unwrap()];
        session.save(0, &mut state).unwrap();
        (logits, state)
    };
    let [(short, state), (also_short, _), (long, _)] = [20, 48, 49].map(logits);
    assert!(short == also_short && short != long);
    let mut session = Session::new(&model, &options(49), &scalar::KERNELS).unwrap();
    assert_eq!(session.restore(0, &state), Err(smidgen::StateError::Foreign));
}

/// A span sees all of itself however the call is cut, and embeddings stand for tokens.
#[test]
fn spans_and_embeddings() {
    let switch = all().into_iter().find(|switch| switch.name.contains("two rotations")).unwrap();
    let bytes = switch.file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let width = model.decoder().unwrap().width();
    let values: Vec<f32> = (0..12 * width).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let tokens = seeded::tokens(40, model.vocabulary(), 5);
    let entries = |span: Option<u32>| -> Vec<Entry> {
        let text = |range: std::ops::Range<usize>| tokens[range].iter().map(|token| Entry::token(0, *token));
        let image = values.chunks_exact(width).enumerate().map(|(i, values)| {
            let entry = Entry::embedding(0, values, 99 + i as u64);
            span.map_or(entry, |span| entry.in_span(span))
        });
        let mut all: Vec<_> = text(0..9).chain(image).chain(text(9..40)).collect();
        for at in [8, 9, 20, 51] {
            all[at] = all[at].wanting(Want::Logits);
        }
        all[30] = all[30].wanting(Want::Hidden);
        all
    };
    let results = |span, batch, kernels, pool: &dyn Pool, step: usize| {
        let options = Options { batch, rows: 5, ..Options::new(CONTEXT) };
        let mut session = Session::new(&model, &options, kernels).unwrap();
        let (mut rows, entries) = (Vec::new(), entries(span));
        // The span is in one call.
        let mut first = 0;
        while first < entries.len() {
            let end = if first <= 9 { 21 } else { (first + step).min(entries.len()) };
            let found = session.run(&entries[first..end], pool).unwrap();
            rows.extend((0..found.len()).map(|row| bits(found.get(row).unwrap())));
            first = end;
        }
        rows
    };
    let expected = results(Some(1), 64, &scalar::KERNELS, &Serial, 64);
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [97, 97, 97, width, 97]);
    let causal = results(None, 64, &scalar::KERNELS, &Serial, 64);
    assert!(expected[0] == causal[0] && expected[1] != causal[1] && expected[2] != causal[2]);
    for kernels in kernel_sets() {
        for (batch, threads, step) in [(64, 2, 3), (13, 1, 100), (12, 3, 5)] {
            assert!(results(Some(1), batch, kernels, &Threads(threads), step) == expected, "{}", kernels.name);
        }
    }
    let mut session = Session::new(&model, &Options { rows: 5, batch: 11, ..Options::new(CONTEXT) }, &scalar::KERNELS);
    let refused = session.as_mut().unwrap().run(&entries(Some(1)), &Serial).err();
    assert_eq!(refused, Some(RunError::Span { tokens: 12, batch: 11 }));
}

/// The session knows what it holds: a prompt is computed from where it differs.
#[test]
fn prompts_are_resumed() {
    let bytes = all()[0].file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(40, model.vocabulary(), 5);
    let mut session = Session::new(&model, &Options { sequences: 2, ..Options::new(64) }, &scalar::KERNELS).unwrap();
    assert_eq!((session.resume(0, &tokens), session.resume(7, &tokens)), (0, 0));
    session.forward(0, &tokens[..30], &Serial).unwrap();
    assert!(session.tokens(0).eq(tokens[..30].iter().map(|token| Some(*token))));
    let mut other = tokens.clone();
    other[25] ^= 1;
    assert_eq!(session.resume(0, &other), 25);
    assert_eq!(session.len(0), 25);
    session.forward(0, &tokens[25..], &Serial).unwrap();
    // The last token is computed again, for its logits.
    assert_eq!(session.resume(0, &tokens), 39);
    let width = model.decoder().unwrap().width();
    let values = vec![0.5; width];
    session.run(&[Entry::embedding(1, &values, 3), Entry::token(1, 5)], &Serial).unwrap();
    assert!(session.tokens(1).eq([None, Some(5)]));
    assert_eq!(session.resume(1, &[3, 5, 6]), 0);
}

/// The beginning of a sequence serves another as its own would.
#[test]
fn beginnings_are_copied() {
    let bytes = all()[0].file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(60, model.vocabulary(), 5);
    let other = [&tokens[..20], &seeded::tokens(25, model.vocabulary(), 6)].concat();
    for kv in [KvType::F16, KvType::Q8_0, KvType::F32] {
        let options = Options { sequences: 2, kv, ..Options::new(64) };
        let expected = run(&model, &tokens, options, &scalar::KERNELS, &Serial);
        let mut session = Session::new(&model, &options, &scalar::KERNELS).unwrap();
        session.forward(0, &tokens, &Serial).unwrap();
        // What the other holds already is a part of it, is longer, or has another end.
        for (held, len, copied) in
            [(0, 37, 37), (10, 16, 16), (20, 33, 33), (45, 1, 1), (45, 59, 59), (45, 99, 60), (45, 0, 0)]
        {
            session.truncate(1, 0);
            if held > 0 {
                session.append(1, &other[..held], &Serial).unwrap();
            }
            assert_eq!(session.copy_prefix(0, 1, len), Ok(copied));
            assert!(session.tokens(1).eq(tokens[..copied].iter().map(|token| Some(*token))));
            if let Some(next) = tokens.get(copied) {
                let logits = bits(session.forward(1, &[*next], &Serial).unwrap());
                assert!(logits == expected[copied], "{kv:?}, {copied} after {held}");
            }
        }
        assert_eq!((session.copy_prefix(1, 1, 0), session.len(1), session.len(0)), (Ok(0), 0, 60));
        let range = RunError::SequenceRange { sequence: 2, sequences: 2 };
        assert_eq!([session.copy_prefix(0, 2, 1), session.copy_prefix(2, 0, 1)], [Err(range.clone()), Err(range)]);
    }
}

/// What is not finite ends its own sequence, and what is asked beyond the session's means is refused before anything is done.
#[test]
fn errors_are_of_a_sequence_or_of_the_call() {
    let bytes = all()[2].file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(9, model.vocabulary(), 5);
    let width = model.decoder().unwrap().width();
    let options = Options { sequences: 3, rows: 3, ..Options::new(16) };
    let mut session = Session::new(&model, &options, &scalar::KERNELS).unwrap();
    let infinite = vec![f32::INFINITY; width];
    session.forward(1, &tokens[..2], &Serial).unwrap();
    let mut batch = vec![Entry::embedding(1, &infinite, 1).wanting(Want::Logits)];
    for (sequence, count) in [(0, 9), (2, 4)] {
        batch.extend(tokens[..count].iter().map(|token| Entry::token(sequence, *token)));
        let last = batch.len() - 1;
        batch[last] = batch[last].wanting(Want::Logits);
    }
    let rows = session.run(&batch, &Serial).unwrap();
    assert_eq!(rows.get(0).err(), Some(RunError::NotFinite { tensor: None }));
    let found = [rows.get(1), rows.get(2)].map(|row| bits(row.unwrap()));
    assert_eq!([0, 1, 2].map(|sequence| session.len(sequence)), [9, 2, 4]);
    let alone = run(&model, &tokens, options, &scalar::KERNELS, &Serial);
    assert!(found == [alone[8].clone(), alone[3].clone()]);

    // What follows in later passes of the call is left out, and the others go on.
    let few = Options { batch: 4, ..options };
    let mut session = Session::new(&model, &few, &scalar::KERNELS).unwrap();
    let mut batch = vec![Entry::embedding(1, &infinite, 1)];
    batch.extend(tokens.iter().map(|token| Entry::token(1, *token)));
    batch.extend(tokens.iter().map(|token| Entry::token(0, *token)));
    for last in [9, 18] {
        batch[last] = batch[last].wanting(Want::Logits);
    }
    let rows = session.run(&batch, &Serial).unwrap();
    assert_eq!(rows.get(0).err(), Some(RunError::NotFinite { tensor: None }));
    assert!(bits(rows.get(1).unwrap()) == alone[8]);
    assert_eq!([0, 1, 2].map(|sequence| session.len(sequence)), [9, 0, 0]);
    let mut session = Session::new(&model, &options, &scalar::KERNELS).unwrap();
    session.forward(0, &tokens, &Serial).unwrap();
    session.forward(1, &tokens[..2], &Serial).unwrap();
    session.forward(2, &tokens[..4], &Serial).unwrap();

    let logits = |sequence, token| Entry::token(sequence, token).wanting(Want::Logits);
    let refused = |session: &mut Session, batch: &[Entry]| session.run(batch, &Serial).err().unwrap();
    let short = vec![0.0; width - 1];
    let cases: [(Vec<Entry>, RunError); 6] = [
        (vec![], RunError::NoTokens),
        (vec![logits(0, 1), logits(3, 1)], RunError::SequenceRange { sequence: 3, sequences: 3 }),
        (vec![logits(0, 1), logits(1, 97)], RunError::TokenRange { token: 97, vocabulary: 97 }),
        (vec![Entry::embedding(0, &short, 1)], RunError::EmbeddingWidth { expected: width, found: width - 1 }),
        (vec![logits(0, 1); 8], RunError::ContextFull { context: 16, used: 9, tokens: 8 }),
        (vec![logits(0, 1); 4], RunError::Rows { asked: 4, rows: 3 }),
    ];
    for (batch, error) in cases {
        assert_eq!(refused(&mut session, &batch), error);
        assert_eq!([0, 1, 2].map(|sequence| session.len(sequence)), [9, 2, 4], "{error}");
    }
}
