//! Embeddings and scores are the same bits whichever kernel set computes them, on however many threads, alone or beside others.

use smidgen::encoder::text::{Options, Session, Text};
use smidgen::{Model, Precision, RunError};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{KernelSet, Pool, Serial, scalar};
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::seeded_bert::{self, Shape};
use smidgen_tests::{Threads, at_most, formats, kernel_sets};

/// Lengths on both sides of a panel of keys, a tile of queries, a chunk of the softmax and a tile of tokens.
const LENGTHS: &[usize] = &[1, 2, 16, 17, 65, 80, 33, 7];

type Answers = Vec<Result<Vec<u32>, RunError>>;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Embeddings, then scores if there is a head.
fn run(model: &Model, texts: &[Text], options: &Options, kernels: &'static KernelSet, pool: &dyn Pool) -> Answers {
    let model = model.text_encoder().unwrap();
    let mut session = Session::new(model, options, kernels).unwrap();
    let mut all = Answers::new();
    session.embed(texts, pool, |number, embedding| {
        assert_eq!(number, all.len());
        all.push(embedding.map(bits));
    });
    if model.head.is_some() {
        session.classify(texts, pool, |number, scores| {
            assert_eq!(number + texts.len(), all.len());
            all.push(scores.map(bits));
        });
    }
    all
}

/// Every way to compute some texts gives what the scalar law gives for each alone.
fn check(file: &File, machines: &[&'static KernelSet], label: &str) {
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let lengths = &LENGTHS[..at_most(5, LENGTHS.len(), "texts")];
    let texts = seeded_bert::texts(lengths, model.vocabulary(), 5);
    let options = Options::default();
    let alone = texts.iter().map(|text| run(&model, std::slice::from_ref(text), &options, &scalar::KERNELS, &Serial));
    let alone: Vec<Answers> = alone.collect();
    let answers = alone[0].len();
    let reference: Answers = (0..answers).flat_map(|i| alone.iter().map(move |answer| answer[i].clone())).collect();
    let first = reference[0].as_ref().unwrap();
    assert!(first.iter().any(|v| v != &first[0]), "{label}: values differ from each other");
    let ways = [(100, 2), (1, 1), (10_000, 3)];
    for kernels in machines {
        for &(tokens, threads) in &ways[..at_most(1, ways.len(), "sizes of batches")] {
            let options = Options { tokens, ..options };
            let found = run(&model, &texts, &options, kernels, &Threads(threads));
            assert!(found == reference, "{label}, {}, {tokens} tokens at once, {threads} threads", kernels.name);
        }
    }
}

#[test]
fn every_format() {
    let machines = kernel_sets();
    for &format in formats() {
        let shape = Shape { layers: 1, feed_forward: 256, ..Shape::default() };
        check(&seeded_bert::model(&shape, format), &machines, format.name());
    }
}

#[test]
fn every_pooling_and_activation() {
    let machines = kernel_sets();
    let shape = Shape { layers: at_most(1, 2, "layers"), outputs: 0, ..Shape::default() };
    let file = || seeded_bert::model(&shape, Format::Q8_0);
    for pooling in 0..=4 {
        check(&file().set("bert.pooling_type", Meta::U32(pooling)), &machines, &format!("pooling {pooling}"));
    }
    for activation in ["gelu", "gelu_tanh", "gelu_quick", "relu"] {
        check(&file().set("bert.feed_forward_activation", Meta::Str(activation)), &machines, activation);
    }
    check(&file().set("bert.attention.causal", Meta::Bool(true)), &machines, "causal");
    check(&file().set("bert.pooling_normalize", Meta::Bool(false)), &machines, "as long as they are");
}

/// Rows that are no multiple of a panel or a block, heads of odd sizes.
#[test]
fn odd_extents() {
    let machines = kernel_sets();
    let shape = Shape { layers: 1, width: 42, heads: 3, feed_forward: 75, vocabulary: 33, ..Shape::default() };
    check(&seeded_bert::model(&shape, Format::F16), &machines, "odd extents");
    let shape = Shape { width: 32, heads: 1, feed_forward: 96, types: 1, outputs: 1, ..shape };
    check(&seeded_bert::model(&shape, Format::Q4_0), &machines, "one block wide");
}

/// Channels of the residual stream that are multiplied unrounded are found by the norms' weights, are no more than eight, and are
/// multiplied alike everywhere.
#[test]
fn outliers() {
    let machines = kernel_sets();
    let shape = Shape { outputs: 0, ..Shape::default() };
    for (format, count) in [(Format::Q8_0, 1), (Format::Q4_0, 3), (Format::Q4_K, 8), (Format::Q8_0, 9)] {
        let mut file = seeded_bert::model(&shape, format);
        let channels: Vec<usize> = (0..count).map(|i| (i * 113 + 5) % shape.width).collect();
        for (i, channel) in channels.iter().enumerate() {
            let norm =
                ["token_embd_norm.weight", "blk.0.layer_output_norm.weight", "blk.1.attn_output_norm.weight"][i % 3];
            file = file.with_float(norm, *channel, -30.0 + i as f32);
        }
        check(&file, &machines, &format!("{} with {count} outliers", format.name()));
        let bytes = file.bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let mut expected: Vec<usize> = channels[..count.min(8)].to_vec();
        expected.sort();
        assert_eq!(model.text_encoder().unwrap().encoder.outliers, expected);
    }
    let bytes = seeded_bert::model(&shape, Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    assert!(model.text_encoder().unwrap().encoder.outliers.is_empty());
    let file = seeded_bert::model(&shape, Format::F16).with_float("token_embd_norm.weight", 3, 50.0);
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    assert!(model.text_encoder().unwrap().encoder.outliers.is_empty(), "nothing is rounded");
}

/// The states of a text's beginning do not depend on what follows.
#[test]
fn a_causal_encoder_does_not_look_ahead() {
    let file = seeded_bert::model(&Shape { outputs: 0, ..Shape::default() }, Format::Q4_0);
    let file = file.set("bert.attention.causal", Meta::Bool(true)).set("bert.pooling_type", Meta::U32(0));
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let mut texts = seeded_bert::texts(&[40], model.vocabulary(), 3);
    let part = Text { tokens: texts[0].tokens[..25].to_vec(), second: 25, uncut: 25 };
    texts.push(part);
    let found = run(&model, &texts, &Options::default(), &scalar::KERNELS, &Serial);
    let [Ok(whole), Ok(part)] = found.as_slice() else { panic!("refused") };
    assert!(whole[..25 * 256] == part[..] && whole.len() == 40 * 256);
}

#[test]
fn types_and_positions_matter() {
    let bytes = seeded_bert::model(&Shape::default(), Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let text = |tokens: [u32; 4], second| Text { tokens: tokens.into(), second, uncut: 4 };
    let texts = [text([5, 6, 7, 8], 4), text([5, 6, 7, 8], 2), text([6, 5, 7, 8], 4)];
    let found = run(&model, &texts, &Options::default(), &scalar::KERNELS, &Serial);
    assert!(found[0] != found[1] && found[0] != found[2]);
    assert_eq!(found[3].as_ref().unwrap().len(), 3);
}

/// With weights that are not quantized the law rounds nothing.
#[test]
fn f32_precision() {
    for format in [Format::F32, Format::Q8_0] {
        let bytes = seeded_bert::model(&Shape { outputs: 0, ..Shape::default() }, format).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let texts = seeded_bert::texts(&[50], model.vocabulary(), 5);
        let exact = Options { precision: Precision::F32, ..Options::default() };
        let [reference, found] = [Options::default(), exact].map(|options| {
            let answers = run(&model, &texts, &options, &scalar::KERNELS, &Serial);
            answers[0].as_ref().unwrap().iter().map(|v| f32::from_bits(*v)).collect::<Vec<_>>()
        });
        let cosine: f32 = reference.iter().zip(&found).map(|(a, b)| a * b).sum();
        println!("{}: cosine {cosine}", format.name());
        assert!(cosine > if format == Format::F32 { 0.999_999 } else { 0.999 }, "{}: {cosine}", format.name());
        assert_eq!(reference == found, format == Format::F32);
    }
}

/// Texts that cannot be run are errors of their own; the others are answered as if they were alone.
#[test]
fn the_others_are_answered() {
    let shape = Shape { outputs: 0, ..Shape::default() };
    let mut file = seeded_bert::model(&shape, Format::F32);
    let row = 7 * shape.width * 4;
    file.tensor("token_embd.weight").data[row..row + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let text = |tokens: Vec<u32>| Text { second: tokens.len(), uncut: tokens.len(), tokens };
    let texts = [vec![1, 2, 3], vec![], vec![4, 97], vec![5; 81], vec![1, 7, 2], vec![9, 8], vec![7]].map(text);
    for kernels in kernel_sets() {
        let found = run(&model, &texts, &Options::default(), kernels, &Threads(2));
        let alone = |i: usize| run(&model, &texts[i..=i], &Options::default(), &scalar::KERNELS, &Serial)[0].clone();
        assert!(found[0].is_ok() && found[0] == alone(0) && found[5].is_ok() && found[5] == alone(5));
        assert_eq!(found[1], Err(RunError::NoTokens));
        assert_eq!(found[2], Err(RunError::TokenRange { token: 97, vocabulary: 97 }));
        assert_eq!(found[3], Err(RunError::ContextFull { context: 80, used: 0, tokens: 81 }));
        for i in [4, 6] {
            let Err(RunError::NotFinite { tensor: Some(tensor) }) = &found[i] else { panic!("{:?}", found[i]) };
            assert_eq!(tensor.to_string(), "token_embd.weight");
        }
    }
}
