//! A GGUF file is read, becomes a model of whatever architecture it names, and computes a step: the same with the scalar law and with this
//! machine's kernels. What is packed comes out again byte for byte.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use smidgen::encoder::{image, text};
use smidgen::frontend::image::Image;
use smidgen::models::micro::Micro;
use smidgen::{KvType, Model, Options, Session};
use smidgen_convert::{pack, unpack};
use smidgen_gguf::Gguf;
use smidgen_targets::{KernelSet, Serial, available, detect};

/// Most bytes of memory that a step takes.
const MEMORY: usize = 1 << 22;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::parse(bytes) else { return };
    for (_, value) in file.metadata() {
        if let Some(array) = value.as_array() {
            assert_eq!(array.iter().count(), array.len());
        }
    }
    assert!(file.tensors().all(|tensor| tensor.data.len() <= bytes.len()));
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    if pack(bytes, &mut packed, &mut |_| ()).is_ok() && unpack(&packed, &mut unpacked, &mut |_| ()).is_ok() {
        assert!(Gguf::parse(&packed).is_ok() && unpacked == bytes, "unpacking gives another file");
    }
    if let Ok(model) = Micro::parse(&file)
        && model.arena_len() < MEMORY
    {
        let mut arena = vec![0; model.arena_len()];
        model.reset(&mut arena).expect("a checked plan");
        let (input, mut output) = (vec![1; model.input().elements()], vec![0; model.output().elements()]);
        model.infer(&mut arena, &input, &mut output).expect("a checked plan");
    }
    if let Ok(model) = Model::parse(&[file]) {
        let scalar = available().next().expect("the scalar reference");
        assert!(answer(&model, scalar) == answer(&model, detect()), "kernels differ");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    smidgen_fuzz::mutate_gguf(data, size, max_size, seed)
});

/// The bits of what a model answers.
fn answer(model: &Model, kernels: &'static KernelSet) -> Vec<u32> {
    let mut answer = Vec::new();
    let mut keep = |values: &[f32]| answer.extend(values.iter().map(|value| value.to_bits()));
    for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
        let options = Options { kv, batch: 4, ..Options::new(8) };
        if !options.bytes_needed(model).is_ok_and(|bytes| bytes < MEMORY) {
            continue;
        }
        if let Ok(mut session) = Session::new(model, &options, kernels) {
            session.forward(0, &[0, 1, 2], &Serial).map(&mut keep).unwrap_or_default();
            session.forward(0, &[3], &Serial).map(&mut keep).unwrap_or_default();
        }
    }
    if let Ok(encoder) = model.text_encoder() {
        let text = text::Text { tokens: vec![2, 5, 6, 3], second: 3, uncut: 4 };
        if let Ok(mut session) =
            text::Session::new(encoder, &text::Options { tokens: 4, ..Default::default() }, kernels)
        {
            session.embed(std::slice::from_ref(&text), &Serial, |_, found| found.map(&mut keep).unwrap_or_default());
            session.classify(&[text], &Serial, |_, found| found.map(&mut keep).unwrap_or_default());
        }
    }
    if let Ok(encoder) = model.image_encoder()
        && encoder.config.image <= 64
        && let Ok(planes) = encoder.planes(
            &Image::new(3, 2, &[200, 0, 50, 1, 2, 3, 9, 8, 7, 0, 0, 0, 255, 255, 255, 4, 5, 6]).expect("an image"),
        )
        && planes.values.len() <= MEMORY / 4
    {
        if let Ok(mut session) =
            image::Session::new(encoder, &image::Options { tokens: 4, ..Default::default() }, kernels)
        {
            session
                .features(std::slice::from_ref(&planes), &Serial, |_, found| found.map(&mut keep).unwrap_or_default());
            session.classify(&[planes], &Serial, |_, found| found.map(&mut keep).unwrap_or_default());
        }
    }
    answer
}
