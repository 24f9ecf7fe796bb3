//! A checkpoint is read and converted: `config.json`, `tokenizer.json` and `tokenizer_config.json`, each ended by a zero byte, and weights.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
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
    let plain = Options { mixture: None, ..Options::default() };
    let small = Options { mixture: Mixture::named("q8_0"), packed: true, ..Options::default() };
    // Without a tokenizer too, so that no fault of it hides what comes after.
    if !converts(&files, plain) || !converts(&files, small) {
        converts(&[files[0].clone(), files[3].clone()], small);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let Some(data_at) = data.get(..size).and_then(|bytes| Some(8 + weights(bytes)? + header(bytes)?)) else {
        return fuzzer_mutate(data, size, max_size);
    };
    let Some((end, size)) = smidgen_fuzz::mutate_front(data, [size, max_size], seed, data_at, 1) else {
        return fuzzer_mutate(data, size, max_size);
    };
    // A header may change its length.
    if let Some(at) = weights(&data[..end])
        && let Some(len) = end.checked_sub(at + 8)
    {
        data[at..at + 8].copy_from_slice(&(len as u64).to_le_bytes());
    }
    size
});

/// Where the weights begin.
fn weights(bytes: &[u8]) -> Option<usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).nth(2).map(|(at, _)| at + 1)
}

/// The length of the weights' header.
fn header(bytes: &[u8]) -> Option<usize> {
    let len = u64::from_le_bytes(*bytes.get(weights(bytes)?..)?.first_chunk()?);
    usize::try_from(len).ok().filter(|len| *len <= bytes.len())
}

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
