//! Seeded models that read and write text: a small byte-level vocabulary and a chat template.

use crate::seeded::{File, Meta, Shape, model};
use smidgen_quant::Format;

/// Turns between `<|im_start|>` and `<|im_end|>`.
pub const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n\
     {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The control tokens, whose ids are their places here.
pub const CONTROLS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Merges; the token of each follows the bytes'.
const MERGES: [&str; 12] =
    ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "u s", "e r", "us er", "i m", "im _"];

/// Number of tokens.
pub const VOCABULARY: usize = CONTROLS.len() + 256 + MERGES.len();

/// How byte-level BPE spells a byte.
fn spelled(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if visible(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !visible(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

/// A model with this vocabulary, and a template unless that is taken away. It writes printable ASCII only, and never ends by itself.
pub fn chat_model(shape: &Shape, format: Format) -> File {
    let bytes = (0..=u8::MAX).map(|byte| spelled(byte).to_string());
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let tokens: Vec<String> = CONTROLS.iter().map(|token| token.to_string()).chain(bytes).chain(merged).collect();
    let kinds = (0..tokens.len()).map(|id| if id < CONTROLS.len() { 3 } else { 1 }).collect();
    let mut file = model(&Shape { vocabulary: VOCABULARY, tied: false, ..*shape }, format);
    // Other tokens have rows of zeros in the head, and there is always a larger logit.
    let row = format.bytes(shape.embedding).unwrap();
    for (id, row) in file.tensor("output.weight").data.chunks_exact_mut(row).enumerate() {
        let byte = id.checked_sub(CONTROLS.len());
        if byte.is_none_or(|byte| byte < 0x20 || (0x7F..256).contains(&byte)) {
            row.fill(0);
        }
    }
    file.set("tokenizer.ggml.model", Meta::Str("gpt2"))
        .set("tokenizer.ggml.pre", Meta::Str("gpt-2"))
        .set("tokenizer.ggml.tokens", Meta::Strs(tokens))
        .set("tokenizer.ggml.token_type", Meta::I32s(kinds))
        .set("tokenizer.ggml.merges", Meta::Strs(MERGES.iter().map(|merge| merge.to_string()).collect()))
        .set("tokenizer.ggml.bos_token_id", Meta::U32(1))
        .set("tokenizer.ggml.eos_token_id", Meta::U32(2))
        .set("tokenizer.chat_template", Meta::Str(TEMPLATE))
}
