//! Features and scores of images are the same bits whichever kernel set computes them, on however many threads, alone or beside
//! others.

use smidgen::encoder::image::{ImageEncoder, Options, Session};
use smidgen::frontend::image::Planes;
use smidgen::{Model, RunError};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{KernelSet, Pool, Serial, scalar};
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::seeded_vit::{Shape, model, planes};
use smidgen_tests::{Random, Threads, at_most, formats, kernel_sets};

type Answers = Vec<Result<Vec<u32>, RunError>>;

/// Features, all tokens, then scores if there is a head.
fn run(
    model: &ImageEncoder,
    images: &[Planes],
    tokens: usize,
    kernels: &'static KernelSet,
    pool: &dyn Pool,
) -> Answers {
    let mut session = Session::new(model, &Options { tokens, ..Options::default() }, kernels).unwrap();
    let mut all = Answers::new();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    session.features(images, pool, |_, features| all.push(features.map(bits)));
    session.tokens(images, pool, |_, tokens| all.push(tokens.map(bits)));
    if model.head.is_some() {
        session.classify(images, pool, |_, scores| all.push(scores.map(bits)));
    }
    all
}

/// Sizes of images: the model's own, others, not whole patches, one patch.
fn images() -> Vec<Planes> {
    let mut random = Random(3);
    let sizes = [(24, 24), (30, 18), (11, 40), (6, 6), (24, 24), (24, 24)];
    let sizes = &sizes[..at_most(4, sizes.len(), "images")];
    sizes.iter().map(|(width, height)| planes(*width, *height, &mut random)).collect()
}

/// Every way to compute some images gives what the scalar law gives for each alone.
fn check(file: &File, machines: &[&'static KernelSet], label: &str) {
    let bytes = file.bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let (model, images) = (model.image_encoder().unwrap(), images());
    let alone: Vec<Answers> =
        images.iter().map(|image| run(model, std::slice::from_ref(image), 64, &scalar::KERNELS, &Serial)).collect();
    let reference: Answers =
        (0..alone[0].len()).flat_map(|i| alone.iter().map(move |answer| answer[i].clone())).collect();
    assert!(reference.iter().all(|answer| answer.is_ok()), "{label}: {reference:?}");
    assert_ne!(reference[0], reference[1], "{label}: different images");
    let ways = [(100, 2), (30, 1), (10_000, 3)];
    for kernels in machines {
        for &(tokens, threads) in &ways[..at_most(1, ways.len(), "sizes of batches")] {
            let found = run(model, &images, tokens, kernels, &Threads(threads));
            assert!(found == reference, "{label}, {}, {tokens} tokens at once, {threads} threads", kernels.name);
        }
    }
}

#[test]
fn every_format() {
    let machines = kernel_sets();
    for &format in formats() {
        check(&model(&Shape::default(), format), &machines, format.name());
    }
}

#[test]
fn every_kind_of_model() {
    let machines = kernel_sets();
    let file = |shape: &Shape| model(shape, Format::Q8_0);
    let plain = Shape::default();
    check(&file(&Shape { distilled: true, ..plain }), &machines, "distilled");
    check(&file(&Shape { layer_scale: true, outputs: 0, ..plain }), &machines, "layer scale");
    check(&file(&plain).set("vit.norm_order", Meta::Str("post")), &machines, "post-norm");
    check(&file(&plain).set("vit.feed_forward_activation", Meta::Str("relu")), &machines, "relu");
    check(&file(&plain).set("vit.pooling_type", Meta::U32(1)), &machines, "mean");
    let without = file(&plain).without_tensor("v.post_ln.weight").without_tensor("v.post_ln.bias");
    check(&without, &machines, "without a last norm");
}

/// An image that cannot be run does not keep the others from being answered.
#[test]
fn bad_images_beside_good_ones() {
    let bytes = model(&Shape::default(), Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let (model, mut random) = (model.image_encoder().unwrap(), Random(3));
    let good = planes(24, 24, &mut random);
    let mut infinite = good.clone();
    infinite.values[5] = f32::INFINITY;
    let images = [
        good.clone(),
        infinite,
        planes(5, 24, &mut random),
        Planes { values: vec![0.0; 5], ..good.clone() },
        Planes { width: usize::MAX, height: usize::MAX, values: Vec::new() },
        planes(600, 600, &mut random),
        good.clone(),
    ];
    let mut session = Session::new(model, &Options::default(), &scalar::KERNELS).unwrap();
    let mut answers = Vec::new();
    session.classify(&images, &Serial, |_, scores| answers.push(scores.map(<[f32]>::to_vec)));
    assert_eq!(answers.len(), images.len());
    assert!(answers[0].is_ok() && answers[0] == answers[6]);
    assert_eq!(answers[1], Err(RunError::NotFinite { tensor: None }));
    assert!(matches!(answers[2], Err(RunError::ImageSize { width: 5, height: 24, .. })), "{:?}", answers[2]);
    assert!(matches!(answers[3], Err(RunError::ImageSize { .. })));
    assert!(matches!(answers[4], Err(RunError::ImageSize { .. })));
    assert_eq!(answers[5], Err(RunError::ContextFull { context: 1024, used: 0, tokens: 10_001 }));
}
