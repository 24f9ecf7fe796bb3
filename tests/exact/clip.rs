//! Embeddings of images and texts by CLIP are the same bits whichever kernel set computes them, on however many threads, alone or
//! beside others.

use smidgen::encoder::{image, text};
use smidgen::{Model, RunError};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{KernelSet, Pool, Serial, scalar};
use smidgen_tests::seeded_clip::{CONTEXT, IMAGE, model_of, vocabulary};
use smidgen_tests::{Random, Threads, at_most, kernel_sets, seeded_bert, seeded_vit};

type Answers = Vec<Result<Vec<u32>, RunError>>;

/// Embeddings of texts of some lengths, then of images, all together or each alone.
fn run(model: &Model, together: bool, tokens: usize, kernels: &'static KernelSet, pool: &dyn Pool) -> Answers {
    let mut random = Random(3);
    let texts = seeded_bert::texts(&[2, CONTEXT, 7, 16, 17], vocabulary().len(), 5);
    let images: Vec<_> =
        [IMAGE, IMAGE, 30].into_iter().map(|side| seeded_vit::planes(side, IMAGE, &mut random)).collect();
    let mut all = Answers::new();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let options = text::Options { tokens, ..Default::default() };
    let mut session = text::Session::new(model.text_encoder().unwrap(), &options, kernels).unwrap();
    for texts in texts.chunks(if together { texts.len() } else { 1 }) {
        session.embed(texts, pool, |_, embedding| all.push(embedding.map(bits)));
    }
    let options = image::Options { tokens, ..Default::default() };
    let mut session = image::Session::new(model.image_encoder().unwrap(), &options, kernels).unwrap();
    for images in images.chunks(if together { images.len() } else { 1 }) {
        session.classify(images, pool, |_, embedding| all.push(embedding.map(bits)));
    }
    all
}

#[test]
fn every_format() {
    let machines = kernel_sets();
    for format in Format::ALL.into_iter().take(at_most(4, Format::ALL.len(), "formats")) {
        let bytes = model_of(1, format).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let reference = run(&model, false, 50, &scalar::KERNELS, &Serial);
        assert!(
            reference.iter().all(Result::is_ok) && reference.len() == 8 && reference[0] != reference[1],
            "{}: {reference:?}",
            format.name()
        );
        if format == Format::Q8_0 {
            assert!(run(&model, true, 50, &scalar::KERNELS, &Threads(2)) == reference, "a few at once");
        }
        for kernels in &machines {
            let found = run(&model, true, 10_000, kernels, &Threads(3));
            assert!(found == reference, "{}, {}", format.name(), kernels.name);
        }
    }
}
