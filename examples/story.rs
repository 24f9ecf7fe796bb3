//! Continues a text, greedily; the examples in C, C++, Python, Java and Kotlin tell the same bytes:
//! `cargo run --release --example story -- model.gguf "Once upon a time" 60`

use smidgen::generate::{Request, generate};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Model, Options, Sampler, Sampling, Session};
use smidgen_host::{ModelFile, ThreadPool, physical_cores};
use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, text, tokens] = words.as_slice() else { return Err("usage: story MODEL.gguf TEXT TOKENS".into()) };
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let tokenizer = Tokenizer::parse(&parts[0])?;
    let prompt = tokenizer.encode_prompt(text, Special::Parse);
    let mut session = Session::new(&model, &Options::new(8192.min(model.context())), smidgen_targets::detect())?;
    let mut sampler = Sampler::new(Sampling::default())?;
    let mut decoder = tokenizer.decoder_after(&prompt, false);
    let is_end = |token| tokenizer.is_end(token);
    let request = Request { prompt: &prompt, max_tokens: tokens.parse()?, stops: &[], is_end: &is_end };
    let mut out = std::io::stdout().lock();
    let mut print = |text: &str| match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    ThreadPool::new(physical_cores())?
        .enter(|pool| generate(&mut session, &mut sampler, &mut decoder, &request, pool, &mut print))?;
    Ok(())
}
