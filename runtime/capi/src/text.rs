//! Tokens.

use crate::failure::Failure;
use crate::model::Model;
use crate::types::*;
use crate::{guard, handle, memory, reserve};
use smidgen::tokenizer::Special;
use std::ffi::c_char;

/// Tokenizes a text of `length` bytes (`SMIDGEN_TEXT_END`: null-terminated). `flags` are `SMIDGEN_TOKENS_...`. `count` receives the number of
/// tokens, also if the buffer is too short for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_tokenize(
    model: *mut smidgen_model,
    text: *const c_char,
    length: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives a text of that length.
        let text = unsafe { memory::text(text, length, "text") }?;
        let special = if flags & SMIDGEN_TOKENS_CONTROL != 0 { Special::Parse } else { Special::Text };
        let tokenizer = model.tokenizer()?;
        reserve::probe(text.len().saturating_mul(BYTES_PER_BYTE))?;
        let found = match flags & !SMIDGEN_TOKENS_CONTROL {
            0 => tokenizer.encode(text, special),
            SMIDGEN_TOKENS_FRAMED => tokenizer.encode_prompt(text, special),
            _ => return Err(Failure::unsupported(format_args!("flags {flags:#x}: unknown bits are set"))),
        };
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, tokens, capacity, count) }
    })
}

/// Writes the text of tokens to `buffer` as a null-terminated string; bytes that are not UTF-8 become U+FFFD. `length` receives its length without
/// the terminator, for which the buffer must have room too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_detokenize(
    model: *mut smidgen_model,
    tokens: *const u32,
    count: usize,
    flags: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives so many tokens.
        let tokens = unsafe { memory::slice(tokens, count, "tokens") }?;
        if flags & !SMIDGEN_TOKENS_CONTROL != 0 {
            return Err(Failure::unsupported(format_args!("flags {flags:#x}: unknown bits are set")));
        }
        let tokenizer = model.tokenizer()?;
        let vocabulary = tokenizer.vocab_len();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Failure::argument(format_args!(
                "token {token} is out of range; the vocabulary has {vocabulary} tokens"
            )));
        }
        let spelled = |token: &u32| tokenizer.token_text(*token).map_or(0, str::len);
        let bytes = tokens.iter().fold(0_usize, |bytes, token| bytes.saturating_add(spelled(token)));
        reserve::probe(bytes.saturating_mul(3))?;
        let text = tokenizer.decode(tokens, flags & SMIDGEN_TOKENS_CONTROL != 0);
        // SAFETY: the host gives a buffer of that capacity, and a place for the length.
        unsafe { memory::give_text(&text, buffer, capacity, length) }
    })
}

/// Applies the model's chat template to a conversation, and tokenizes the result up to where the next answer begins. `count` is as for
/// `smidgen_tokenize`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_chat(
    model: *mut smidgen_model,
    messages: *const smidgen_message,
    message_count: usize,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives so many messages.
        let messages = unsafe { memory::slice(messages, message_count, "messages") }?;
        let found = chat(&model, messages)?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, tokens, capacity, count) }
    })
}

/// Bytes of memory that suffice to compile and render any template, with the stack of the thread on which that is done.
#[cfg(feature = "chat")]
pub(crate) const TEMPLATE: usize = 40 << 20;
/// The most bytes of memory that tokenizing takes for each byte of text.
pub(crate) const BYTES_PER_BYTE: usize = 160;

#[cfg(feature = "chat")]
fn chat(model: &Model, messages: &[smidgen_message]) -> Result<Vec<u32>, Failure> {
    let mut turns = Vec::new();
    turns.try_reserve_exact(messages.len()).map_err(|_| Failure::short())?;
    let mut bytes = 0_usize;
    for message in messages {
        // SAFETY: the host gives texts that end with zeros.
        let role = unsafe { memory::text(message.role, SMIDGEN_TEXT_END, "role") }?;
        // SAFETY: as above.
        let content = unsafe { memory::text(message.content, SMIDGEN_TEXT_END, "content") }?;
        bytes = bytes.saturating_add(role.len() + content.len());
        turns.push(smidgen_host::Message { role, content });
    }
    reserve::probe(bytes.saturating_mul(2 * BYTES_PER_BYTE).saturating_add(TEMPLATE))?;
    let none = || Failure::unsupported("this model has no usable chat template");
    let template = model.template.as_ref().ok_or_else(none)?;
    Ok(smidgen_host::encode_chat(model.tokenizer()?, template, &turns)?)
}

#[cfg(not(feature = "chat"))]
fn chat(_: &Model, _: &[smidgen_message]) -> Result<Vec<u32>, Failure> {
    Err(Failure::unsupported("this build of the library does not support chat templates"))
}
