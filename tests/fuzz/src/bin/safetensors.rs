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
    // Without a tokenizer too, so that no fault of it hides what comes after.
    for files in [&files[..], &[files[0].clone(), files[3].clone()]] {
        for mixture in [None, Mixture::named("q8_0")] {
            let mut out = Vec::new();
            if convert(files, Options { mixture, packed: mixture.is_some() }, &mut out, &mut |_, _| ()).is_ok() {
                let file = Gguf::parse(&out).expect("what a converter has written");
                let _ = Tokenizer::parse(&file);
                let _ = Model::parse(&[file]);
            }
        }
    }
});
