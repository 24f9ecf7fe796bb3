//! A model's logits are the same bits whichever kernel set computes them, on however many threads, in batches of whatever size,
//! alone or beside other sequences.

use smidgen::beam::{Search, search};
use smidgen::sampler::log_probability;
use smidgen::{KvType, Model, Options, Precision, Sampler, Sampling, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{KernelSet, Pool, Serial, scalar};
use smidgen_tests::seeded::{self, Meta, Shape};
use smidgen_tests::{Threads, at_most, best, formats, kernel_sets};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Logits after every token.
fn run(model: &Model, tokens: &[u32], options: Options, kernels: &'static KernelSet, pool: &dyn Pool) -> Vec<Vec<u32>> {
    let mut session = Session::new(model, &options, kernels).unwrap();
    let mut all = Vec::new();
    session
        .forward_all(0, tokens, pool, |number, logits| {
            assert_eq!(number, all.len());
            all.push(bits(logits));
        })
        .unwrap();
    all
}

/// Every way to compute a text gives what the scalar law gives on one thread in one batch.
fn check(file: &seeded::File, options: Options, label: &str) {
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(at_most(37, 71, "tokens"), model.vocabulary(), 5);
    let reference = run(&model, &tokens, options, &scalar::KERNELS, &Serial);
    assert_eq!(reference.len(), tokens.len());
    assert!(reference[0].iter().any(|v| *v != reference[0][0]), "{label}: logits differ from each other");
    for kernels in kernel_sets() {
        let name = kernels.name;
        assert!(run(&model, &tokens, options, kernels, &Serial) == reference, "{label}, {name}");
        assert!(run(&model, &tokens, options, kernels, &Threads(2)) == reference, "{label}, {name}, 2 threads");
        let batch = |batch| Options { batch, ..options };
        assert!(run(&model, &tokens, batch(7), kernels, &Threads(3)) == reference, "{label}, {name}, batches of 7");
        let mut session = Session::new(&model, &options, kernels).unwrap();
        for (token, reference) in tokens.iter().zip(&reference) {
            let logits = session.forward(0, &[*token], &Serial).unwrap();
            assert!(bits(logits) == *reference, "{label}, {name}, token by token");
        }
        session.truncate(0, 33);
        let logits = session.forward(0, &tokens[33..], &Serial).unwrap();
        assert!(Some(&bits(logits)) == reference.last(), "{label}, {name}, after a truncation");
    }
}

#[test]
fn every_format_with_a_cache_of_f16() {
    let shape = Shape { layers: at_most(1, 2, "layers"), ..Shape::default() };
    for &format in formats() {
        check(&seeded::model(&shape, format), Options::new(80), format.name());
    }
}

#[test]
fn every_format_with_a_cache_of_q8_0() {
    let shape = Shape { layers: at_most(1, 2, "layers"), ..Shape::default() };
    for &format in formats() {
        let options = Options { kv: KvType::Q8_0, ..Options::new(80) };
        check(&seeded::model(&shape, format), options, format.name());
    }
}

#[test]
fn heads_biases_and_own_output() {
    for (kv_heads, rotated) in [(1, 64), (2, 32), (4, 2)] {
        let shape = Shape { kv_heads, rotated, tied: false, biases: true, ..Shape::default() };
        check(&seeded::model(&shape, Format::Q4_1), Options::new(80), &format!("{shape:?}"));
    }
}

/// Rows that are no multiple of a panel or a block, heads of odd sizes.
#[test]
fn odd_extents() {
    let shape = Shape {
        layers: 1,
        embedding: 96,
        heads: 3,
        kv_heads: 3,
        head_size: 6,
        feed_forward: 172,
        vocabulary: 33,
        rotated: 6,
        ..Shape::default()
    };
    check(&seeded::model(&shape, Format::F16), Options::new(71), "odd extents");
    let shape = Shape { embedding: 32, head_size: 32, heads: 5, kv_heads: 1, feed_forward: 160, rotated: 32, ..shape };
    check(&seeded::model(&shape, Format::Q8_0), Options::new(71), "one block wide");
}

/// With weights that are not quantized, the law rounds queries only; with others, activations too.
#[test]
fn f32_precision() {
    for &format in formats() {
        let bytes = seeded::model(&Shape::default(), format).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let tokens = seeded::tokens(40, model.vocabulary(), 6);
        let exact = Options { precision: Precision::F32, ..Options::new(40) };
        let reference = run(&model, &tokens, Options::new(40), &scalar::KERNELS, &Serial);
        let found = run(&model, &tokens, exact, &scalar::KERNELS, &Threads(2));
        let (mut error, mut size) = (0.0, 0.0);
        for (a, b) in found.iter().flatten().zip(reference.iter().flatten()) {
            let (a, b) = (f32::from_bits(*a) as f64, f32::from_bits(*b) as f64);
            (error, size) = (error + (a - b) * (a - b), size + a * a);
        }
        let relative = (error / size).sqrt();
        println!("{}: relative difference {relative:.5}", format.name());
        let most = if format.block_len() == 1 { 0.001 } else { 0.05 };
        assert!(relative > 0.0 && relative < most, "{}: {relative}", format.name());
    }
}

#[test]
fn sequences_side_by_side_equal_sequences_alone() {
    for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
        let bytes = seeded::model(&Shape::default(), Format::Q4_0).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let vocabulary = model.vocabulary();
        let texts =
            [seeded::tokens(90, vocabulary, 1), seeded::tokens(70, vocabulary, 2), seeded::tokens(30, vocabulary, 3)];
        let options = Options { kv, ..Options::new(100) };
        let alone: Vec<_> = texts.iter().map(|text| run(&model, text, options, &scalar::KERNELS, &Serial)).collect();
        for kernels in kernel_sets() {
            let mut session = Session::new(&model, &Options { sequences: 3, batch: 2, ..options }, kernels).unwrap();
            let starts = [60, 40, 3];
            for (sequence, text) in texts.iter().enumerate() {
                session.forward(sequence, &text[..starts[sequence]], &Serial).unwrap();
            }
            for step in 0..27 {
                let order = [(step % 3), (step + 2) % 3, (step + 1) % 3];
                let next: Vec<_> = order.iter().map(|s| (*s, texts[*s][starts[*s] + step])).collect();
                let logits = session.forward_each(&next, &Threads(2)).unwrap();
                for (sequence, logits) in order.iter().zip(logits.chunks_exact(vocabulary)) {
                    assert!(bits(logits) == alone[*sequence][starts[*sequence] + step], "{}", kernels.name);
                }
            }
            // A copy from the middle of a panel on: both hold the same 61 tokens before.
            session.truncate(0, 61);
            session.truncate(1, 0);
            session.copy(0, 1, 0).unwrap();
            session.forward(1, &texts[1][..5], &Serial).unwrap();
            session.forward(0, &texts[0][61..75], &Serial).unwrap();
            session.copy(0, 1, 61).unwrap();
            assert_eq!(session.len(1), 75);
            let logits = session.forward(1, &texts[0][75..], &Serial).unwrap();
            assert!(bits(logits) == alone[0][89], "{}, copied", kernels.name);
        }
    }
}

#[test]
fn rotary_scaling_is_alike_everywhere_and_changes_something() {
    let plain = seeded::model(&Shape::default(), Format::Q8_0);
    let linear = plain.clone().set("llama.rope.scaling.type", Meta::Str("linear"));
    let linear = linear.set("llama.rope.scaling.factor", Meta::F32(4.0));
    let llama3 = plain.clone().set("llama.rope.scaling.type", Meta::Str("llama3"));
    let llama3 = llama3.set("llama.rope.scaling.factor", Meta::F32(8.0));
    let llama3 = llama3.set("llama.rope.scaling.original_context_length", Meta::U32(64));
    let factors: Vec<f32> = (0..32).map(|i| 1.0 + i as f32 / 4.0).collect();
    let tensor = plain.clone().with_floats("rope_freqs.weight", &[32], &factors);
    let mut seen = Vec::new();
    for (label, file) in [("plain", plain), ("linear", linear), ("llama3", llama3), ("rope_freqs", tensor)] {
        check(&file, Options::new(80), label);
        let bytes = file.bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let logits = run(&model, &[1, 2, 3, 4, 5], Options::new(5), &scalar::KERNELS, &Serial).concat();
        assert!(!seen.contains(&logits), "{label}");
        seen.push(logits);
    }
}

/// The tensor of factors and the metadata say the same in their ways: factor i is what divides frequency i.
#[test]
fn frequencies() {
    let frequencies = |file: &seeded::File| {
        let bytes = file.bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        model.decoder().unwrap().ropes[0].frequencies.iter().copied().map(f64::from).collect::<Vec<_>>()
    };
    let file = seeded::model(&Shape::default(), Format::F32);
    let plain = frequencies(&file);
    assert_eq!((plain.len(), plain[0]), (32, 1.0));
    assert!((plain[16] - 0.01).abs() < 1e-9);
    let linear = file.clone().set("llama.rope.scaling.type", Meta::Str("linear"));
    let linear = frequencies(&linear.set("llama.rope.scaling.factor", Meta::F32(4.0)));
    assert!(linear.iter().zip(&plain).all(|(a, b)| *a == b / 4.0));
    let llama3 = file
        .set("llama.rope.scaling.type", Meta::Str("llama3"))
        .set("llama.rope.scaling.factor", Meta::F32(8.0))
        .set("llama.rope.scaling.low_freq_factor", Meta::F32(1.0))
        .set("llama.rope.scaling.high_freq_factor", Meta::F32(4.0))
        .set("llama.rope.scaling.original_context_length", Meta::U32(8192));
    let llama3 = frequencies(&llama3);
    for (scaled, plain) in llama3.into_iter().zip(plain) {
        let turns = 8192.0 * plain / std::f64::consts::TAU;
        let expected = match turns {
            4.0.. => plain,
            ..1.0 => plain / 8.0,
            _ => plain / 8.0 + (plain - plain / 8.0) * (turns - 1.0) / 3.0,
        };
        assert!((scaled / expected - 1.0).abs() < 2e-7);
    }
}

/// Follows the largest logits for some tokens.
fn greedy(session: &mut Session, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut next = best(session.forward(0, prompt, &Serial).unwrap());
    let mut tokens = vec![next];
    while tokens.len() < count {
        next = best(session.forward(0, &[next], &Serial).unwrap());
        tokens.push(next);
    }
    tokens
}

#[test]
fn beams() {
    let shape = Shape { vocabulary: 24, ..Shape::default() };
    let bytes = seeded::model(&shape, Format::Q4_1).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let prompt = seeded::tokens(20, 24, 9);
    let never = |_| false;
    let mut alone = Session::new(&model, &Options::new(64), &scalar::KERNELS).unwrap();
    let expected = greedy(&mut alone, &prompt, 12);
    let mut common = None;
    for kernels in kernel_sets() {
        let mut session = Session::new(&model, &Options { sequences: 24, ..Options::new(64) }, kernels).unwrap();
        let one = Search { width: 1, max_tokens: 12, length_penalty: 1.0 };
        let found = search(&mut session, &prompt, &one, &never, &Serial).unwrap();
        assert_eq!((found.len(), &found[0].tokens), (1, &expected));

        let five = Search { width: 5, max_tokens: 12, length_penalty: 0.7 };
        let found = search(&mut session, &prompt, &five, &|token| token == expected[4], &Threads(2)).unwrap();
        assert_eq!(*common.get_or_insert(found.clone()), found, "{}", kernels.name);
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for hypothesis in &found {
            // Its log-probability is that of its tokens one after another.
            assert_eq!(hypothesis.ended, hypothesis.tokens.last() == Some(&expected[4]));
            alone.truncate(0, 0);
            let mut sum = log_probability(alone.forward(0, &prompt, &Serial).unwrap(), hypothesis.tokens[0]);
            for pair in hypothesis.tokens.windows(2) {
                sum += log_probability(alone.forward(0, &pair[..1], &Serial).unwrap(), pair[1]);
            }
            assert!((sum - hypothesis.log_probability).abs() < 1e-9);
        }

        // As many beams as tokens: the best pair of all.
        let all = Search { width: 24, max_tokens: 2, length_penalty: 0.0 };
        let found = search(&mut session, &prompt, &all, &never, &Serial).unwrap();
        let mut pairs = Vec::new();
        for first in 0..24 {
            alone.truncate(0, 0);
            let before = log_probability(alone.forward(0, &prompt, &Serial).unwrap(), first);
            let logits = alone.forward(0, &[first], &Serial).unwrap();
            pairs.extend((0..24).map(|second| (before + log_probability(logits, second), vec![first, second])));
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (pair, found) in pairs.iter().zip(&found) {
            assert_eq!(pair.1, found.tokens);
        }
    }
}

/// Same seed, same text, whatever the kernels and threads.
#[test]
fn samples() {
    let bytes = seeded::model(&Shape::default(), Format::Q5_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let sampling = Sampling {
        temperature: 0.9,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.02,
        repetition_penalty: 1.1,
        ..Sampling::default()
    };
    let draw = |seed, kernels: &'static KernelSet, pool: &dyn Pool| {
        let mut session = Session::new(&model, &Options::new(64), kernels).unwrap();
        let mut sampler = Sampler::new(Sampling { seed, ..sampling }).unwrap();
        let mut tokens = vec![3];
        while tokens.len() < 40 {
            let logits = session.forward(0, &tokens[tokens.len() - 1..], pool).unwrap();
            let token = sampler.sample(logits).unwrap();
            sampler.accept(token);
            tokens.push(token);
        }
        tokens
    };
    let expected = draw(1, &scalar::KERNELS, &Serial);
    assert_ne!(expected, draw(2, &scalar::KERNELS, &Serial));
    for kernels in kernel_sets() {
        assert_eq!(draw(1, kernels, &Threads(2)), expected, "{}", kernels.name);
    }
}
