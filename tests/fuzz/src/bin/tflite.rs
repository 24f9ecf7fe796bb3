//! A TensorFlow Lite file is converted; what comes out is a model that runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::models::micro::Micro;
use smidgen_convert::tflite;
use smidgen_gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    if tflite::convert(bytes, None, &mut out).is_err() {
        return;
    }
    let file = Gguf::parse(&out).expect("what the converter has written");
    let model = Micro::parse(&file).expect("what the converter has written");
    if model.arena_len() > 1 << 14 {
        return;
    }
    let mut arena = vec![0; model.arena_len()];
    model.reset(&mut arena).expect("a checked plan");
    let (input, mut output) = (vec![1; model.input().elements()], vec![0; model.output().elements()]);
    for _ in 0..2 {
        model.infer(&mut arena, &input, &mut output).expect("a checked plan");
    }
});
