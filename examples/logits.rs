//! The law of bits: the same logits from every kernel set that this machine runs, with any number of threads:
//! `cargo run --release --example logits -- model.gguf`

use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Model, Options, Session};
use smidgen_host::{ModelFile, ThreadPool};
use std::error::Error;
use std::num::NonZeroUsize;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: logits MODEL.gguf")?;
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let prompt = Tokenizer::parse(&parts[0])?.encode_prompt("Every machine has the same thoughts.", Special::Text);

    let mut hashes = Vec::new();
    for kernels in smidgen_targets::available() {
        for threads in [1, 2, 3].into_iter().filter_map(NonZeroUsize::new) {
            let mut session = Session::new(&model, &Options::new(prompt.len()), kernels)?;
            let hash = ThreadPool::new(threads)?.enter(|pool| session.forward(0, &prompt, pool).map(fnv))?;
            println!("{hash:016x}  {} with {threads} threads", kernels.name);
            hashes.push(hash);
        }
    }
    hashes.dedup();
    if hashes.len() == 1 { Ok(()) } else { Err("the logits differ".into()) }
}

/// FNV-1a over the bits.
fn fnv(logits: &[f32]) -> u64 {
    let bytes = logits.iter().flat_map(|logit| logit.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
