//! Model files for the tests.

use crate::Scratch;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::{File, Meta, Shape};

/// A model with a chat template and random weights.
pub(crate) fn instruct() -> File {
    chat_model(&Shape { heads: 8, kv_heads: 4, head_size: 32, rotated: 32, ..Shape::default() }, Format::Q8_0)
}

/// The same without a template, whose texts never end.
pub(crate) fn endless() -> File {
    let mut file = instruct()
        .without("tokenizer.chat_template")
        .without("tokenizer.ggml.bos_token_id")
        .without("tokenizer.ggml.eos_token_id")
        .set("llama.context_length", Meta::U32(1 << 20));
    for (key, value) in &mut file.metadata {
        if let ("tokenizer.ggml.tokens", Meta::Strs(tokens)) = (key.as_str(), value) {
            for (id, token) in tokens.iter_mut().take(3).enumerate() {
                *token = format!("<{id}>");
            }
        }
    }
    file
}

impl Scratch {
    /// A directory with a file `model.gguf`, and the path of that.
    pub(crate) fn with(file: &File) -> (Scratch, String) {
        let dir = Scratch::new();
        let path = dir.write("model.gguf", file.bytes());
        (dir, path)
    }
}
