//! A checkpoint is read and converted: `config.json`, `tokenizer.json` and `tokenizer_config.json`, each ended by a zero byte, and weights.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::Model;
use smidgen::tokenizer::Tokenizer;
use smidgen_convert::safetensors::SafeTensors;
use smidgen_convert::{File, Mixture, Options, convert};
use smidgen_gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let parts = bytes.splitn(names.len(), |byte| *byte == 0);
    let files: Vec<_> = names.iter().zip(parts).map(|(name, bytes)| File { name: (*name).into(), bytes }).collect();
    let Some(weights) = files.get(3) else { return };
    if let Ok(file) = SafeTensors::parse(weights.bytes) {
        assert!(file.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>() <= bytes.len());
    }
    let plain = Options { mixture: None, packed: false };
    let small = Options { mixture: Mixture::named("q8_0"), packed: true };
    // Without a tokenizer too, so that no fault of it hides what comes after.
    if !converts(&files, plain) || !converts(&files, small) {
        converts(&[files[0].clone(), files[3].clone()], small);
    }
});

/// Whether files can be converted; what comes out can be read.
fn converts(files: &[File], options: Options) -> bool {
    let mut out = Vec::new();
    if convert(files, options, &mut out, &mut |_, _| ()).is_err() {
        return false;
    }
    let file = Gguf::parse(&out).expect("what a converter has written");
    let _ = Tokenizer::parse(&file);
    let _ = Model::parse(&[file]);
    true
}
