//! What a file says that is passed over reaches the host's logger.

use smidgen_capi::common::smidgen_set_logger;
use smidgen_capi::models::{smidgen_model_close, smidgen_model_metadata, smidgen_model_open_memory};
use smidgen_capi::types::*;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::{File, Meta, Shape};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;

/// Lines of the logger: it is the process's.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn keep(_: *mut c_void, _: u32, line: *const c_char) {
    // SAFETY: the library gives a text that ends with a zero.
    let line = unsafe { CStr::from_ptr(line) }.to_str().unwrap().to_owned();
    LINES.lock().unwrap().push(line);
}

fn file() -> File {
    chat_model(&Shape { layers: 1, ..Shape::default() }, Format::Q8_0)
}

/// Opens a model and gives what was logged, and the status of asking for a metadata key.
fn opened(bytes: &[u8], key: &CStr) -> (Vec<String>, smidgen_status) {
    LINES.lock().unwrap().clear();
    let mut model = null_mut();
    // SAFETY: the bytes live longer than the handle.
    assert_eq!(unsafe { smidgen_model_open_memory(bytes.as_ptr(), bytes.len(), null(), &mut model) }, SMIDGEN_OK);
    let mut length = 0;
    // SAFETY: without room, only the length is written.
    let status = unsafe { smidgen_model_metadata(model, key.as_ptr(), null_mut(), 0, &mut length) };
    // SAFETY: the handle is open.
    assert_eq!(unsafe { smidgen_model_close(model) }, SMIDGEN_OK);
    (std::mem::take(&mut LINES.lock().unwrap()), status)
}

#[test]
fn what_is_passed_over_is_logged() {
    // SAFETY: the function stays valid.
    assert_eq!(unsafe { smidgen_set_logger(Some(keep), null_mut(), SMIDGEN_LOG_WARNING) }, SMIDGEN_OK);
    assert_eq!(opened(&file().bytes(), c"general.architecture"), (vec![], SMIDGEN_ERROR_SHORT_BUFFER));
    let bytes = file().set("tokenizer.ggml.padding_token_id", Meta::U32(70_000)).bytes();
    let (lines, _) = opened(&bytes, c"general.architecture");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("tokenizer.ggml.padding_token_id is 70000"), "{lines:?}");

    // A template that is not UTF-8 is as one with an error, and other strings are the host's to ask for.
    let mut bytes = file().set("general.author", Meta::Str("?ürgen")).bytes();
    for mark in ["{% for message", "?ürgen"] {
        let at = bytes.windows(mark.len()).position(|part| part == mark.as_bytes()).unwrap();
        bytes[at] = 0xFF;
    }
    let (lines, status) = opened(&bytes, c"general.author");
    assert_eq!(status, SMIDGEN_ERROR_FORMAT);
    assert!(lines[0].starts_with("tokenizer.chat_template is not UTF-8 (at byte "), "{lines:?}");
}
