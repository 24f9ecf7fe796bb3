//! Damaged states by the C ABI: each is refused with the status of a state, and the session goes on as before.

use smidgen_capi::generate::{smidgen_generate, smidgen_session_reset};
use smidgen_capi::models::{smidgen_model_close, smidgen_model_open_memory};
use smidgen_capi::sessions::{smidgen_session_close, smidgen_session_open};
use smidgen_capi::state::{smidgen_session_restore, smidgen_session_restore_file, smidgen_session_save};
use smidgen_capi::types::*;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;
use std::ffi::CString;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// Tokens of the states; the smaller session has just room for them.
const HELD: u32 = 6;

fn open(model: *mut smidgen_model, context: u32) -> *mut smidgen_session {
    let mut session = null_mut();
    // SAFETY: zeros are the defaults.
    let mut params: smidgen_session_params = unsafe { zeroed() };
    (params.size, params.context, params.threads) = (size_of_val(&params), context, 1);
    // SAFETY: the place and the parameters live until the call ends.
    assert_eq!(unsafe { smidgen_session_open(model, &params, &mut session) }, SMIDGEN_OK);
    session
}

/// Runs a prompt of so many tokens.
fn fill(session: *mut smidgen_session, tokens: u32) {
    // SAFETY: zeros are the defaults.
    let (mut params, mut result): (smidgen_generate_params, smidgen_generate_result) = unsafe { zeroed() };
    (params.size, params.max_tokens, result.size) = (size_of_val(&params), 1, size_of_val(&result));
    let prompt: Vec<u32> = (40..40 + tokens).collect();
    // SAFETY: everything lives until the call ends.
    let status =
        unsafe { smidgen_generate(session, prompt.as_ptr(), prompt.len(), &params, None, null_mut(), &mut result) };
    assert_eq!(status, SMIDGEN_OK);
}

fn saved(session: *mut smidgen_session) -> Vec<u8> {
    let mut length = 0;
    // SAFETY: without room, only the length is written.
    assert_eq!(unsafe { smidgen_session_save(session, null_mut(), 0, &mut length) }, SMIDGEN_ERROR_SHORT_BUFFER);
    let mut state = vec![0; length];
    // SAFETY: there is room for so many bytes.
    assert_eq!(unsafe { smidgen_session_save(session, state.as_mut_ptr(), length, &mut length) }, SMIDGEN_OK);
    state
}

fn restored(session: *mut smidgen_session, state: &[u8]) -> smidgen_status {
    // SAFETY: so many bytes are there.
    unsafe { smidgen_session_restore(session, state.as_ptr(), state.len()) }
}

#[test]
fn a_damaged_state_has_the_status_of_a_state() {
    let bytes = chat_model(&Shape { layers: 1, ..Shape::default() }, Format::Q8_0).bytes();
    let mut model = null_mut();
    // SAFETY: the bytes live longer than the handle.
    assert_eq!(unsafe { smidgen_model_open_memory(bytes.as_ptr(), bytes.len(), null(), &mut model) }, SMIDGEN_OK);
    let (wide, narrow) = (open(model, 64), open(model, HELD + 2));
    fill(wide, HELD);
    let state = saved(wide);
    fill(narrow, 2);
    let before = saved(narrow);
    let refused = |damaged: &[u8], what: &dyn std::fmt::Debug| {
        assert_eq!(restored(narrow, damaged), SMIDGEN_ERROR_STATE, "{what:?}");
    };
    let mut damaged = state.clone();
    for at in (0..state.len()).filter(|at| *at < 200 || at % 7 == 0) {
        for mask in [1, 0x40, 0xFF] {
            damaged[at] ^= mask;
            refused(&damaged, &(at, mask));
            damaged[at] = state[at];
        }
    }
    for length in (0..state.len()).filter(|length| *length < 200 || length % 31 == 0) {
        refused(&state[..length], &length);
    }
    // The same by files, of which the empty one is a state of no bytes.
    let path = std::env::temp_dir().join(format!("smidgen-capi-state-{}", std::process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    for (bytes, expected) in
        [(&state[..0], SMIDGEN_ERROR_STATE), (&state[..99], SMIDGEN_ERROR_STATE), (&state[..], SMIDGEN_OK)]
    {
        assert!(saved(narrow) == before);
        std::fs::write(&path, bytes).unwrap();
        // SAFETY: the name ends with a zero.
        assert_eq!(unsafe { smidgen_session_restore_file(narrow, name.as_ptr()) }, expected);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(saved(narrow) == state);
    // Only a whole state is too long.
    // SAFETY: the handle is open.
    assert_eq!(unsafe { smidgen_session_reset(wide) }, SMIDGEN_OK);
    fill(wide, HELD + 9);
    assert_eq!(restored(narrow, &saved(wide)), SMIDGEN_ERROR_CONTEXT_FULL);
    for session in [wide, narrow] {
        // SAFETY: nobody else closes it.
        assert_eq!(unsafe { smidgen_session_close(session) }, SMIDGEN_OK);
    }
    // SAFETY: as above.
    assert_eq!(unsafe { smidgen_model_close(model) }, SMIDGEN_OK);
}
