//! A GGUF file becomes a tokenizer, which encodes and decodes a text: what follows the last byte 0xff, of which UTF-8 has none.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen_gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::parse(bytes) else { return };
    let Ok(tokenizer) = Tokenizer::parse(&file) else { return };
    let text = bytes.rsplit(|byte| *byte == 0xff).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    for special in [Special::Text, Special::Parse] {
        let ids = tokenizer.encode_prompt(&text, special);
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
        tokenizer.decode(&ids, true);
        let mut decoder = tokenizer.decoder_after(&ids, false);
        ids.iter().for_each(|id| drop(decoder.push(*id).to_owned()));
        decoder.finish();
    }
    // Any numbers, of tokens or not.
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    tokenizer.decode(&ids, true);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    smidgen_fuzz::mutate_gguf(data, size, max_size, seed)
});
