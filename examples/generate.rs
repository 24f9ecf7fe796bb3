//! Answers a prompt, and prints the text as it comes:
//! `cargo run --release --example generate -- model.gguf "Why is the sky blue?"`

use smidgen::generate::{Request, generate};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Model, Options, Sampler, Sampling, Session};
use smidgen_host::{ChatTemplate, Message, ModelFile, ThreadPool, physical_cores};
use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("usage: generate MODEL.gguf PROMPT")?;
    let text = words.next().unwrap_or_else(|| "Why is the sky blue?".into());

    // The file is mapped; the model borrows its weights.
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let tokenizer = Tokenizer::parse(&parts[0])?;

    let template = parts[0].get("tokenizer.chat_template").and_then(|value| value.as_str());
    let prompt = match template {
        Some(template) => {
            let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
            let template = ChatTemplate::parse(template, spelled(tokenizer.bos()), spelled(tokenizer.eos()))?;
            let turn = Message { role: "user", content: &text };
            tokenizer.encode(&template.render(&[turn], true)?, Special::Parse)
        }
        None => tokenizer.encode_prompt(&text, Special::Text),
    };

    let mut session = Session::new(&model, &Options::new(1024.min(model.context())), smidgen_targets::detect())?;
    let mut sampler = Sampler::new(Sampling { temperature: 0.2, top_p: 0.95, seed: 1, ..Sampling::default() })?;
    let mut decoder = tokenizer.decoder_after(&prompt, false);
    let is_end = |token| tokenizer.is_end(token);
    let request = Request { prompt: &prompt, max_tokens: 200, stops: &[], is_end: &is_end };
    let mut print = |text: &str| {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let done = ThreadPool::new(physical_cores())?
        .enter(|pool| generate(&mut session, &mut sampler, &mut decoder, &request, pool, &mut print))?;
    eprintln!("\n[{} tokens, {:?}]", done.tokens.len(), done.finish);
    Ok(())
}
