//! A text as tokens, and back, by the vocabulary in a file:
//! `cargo run --release --example tokenize -- model.gguf "A text"`

use smidgen::tokenizer::{Special, Tokenizer};
use smidgen_host::ModelFile;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("usage: tokenize MODEL.gguf TEXT")?;
    let text = words.next().unwrap_or_else(|| "Tokens may end within a character: \u{1f980}".into());
    let file = ModelFile::open(path)?;
    let tokenizer = Tokenizer::parse(&file.parts()?[0])?;

    let ids = tokenizer.encode(&text, Special::Text);
    for id in &ids {
        println!("{id:>7}  {:?}", String::from_utf8_lossy(&tokenizer.token_bytes(*id)));
    }
    // A decoder never gives half a character: it waits for the rest.
    let mut decoder = tokenizer.decoder(false);
    for id in &ids {
        print!("[{}]", decoder.push(*id));
    }
    println!("{}", decoder.finish());
    Ok(())
}
