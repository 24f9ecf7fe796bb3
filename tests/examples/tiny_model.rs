//! Writes a tiny language model with weights from a seed, a vocabulary of bytes and a chat template, for tests in other languages:
//! `cargo run -p smidgen-tests --example tiny_model -- FILE.gguf`

use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: tiny_model FILE.gguf")?;
    let shape = Shape {
        embedding: 64,
        heads: 2,
        kv_heads: 1,
        head_size: 32,
        rotated: 32,
        feed_forward: 128,
        ..Shape::default()
    };
    std::fs::write(path, chat_model(&shape, Format::Q8_0).bytes())?;
    Ok(())
}
