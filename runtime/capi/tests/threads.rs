//! Handles that several threads open, use, cancel and close at once: each call ends with a status that the header names for that, and what was
//! written is the same whoever wrote it. `tests/tsan.sh` looks for races here.

use smidgen_capi::generate::smidgen_generate;
use smidgen_capi::models::{smidgen_model_close, smidgen_model_get_info, smidgen_model_open_memory};
use smidgen_capi::sessions::*;
use smidgen_capi::types::*;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;

/// Threads of the host.
const THREADS: usize = 4;
/// Times that each of them opens and closes.
const ROUNDS: usize = 12;
/// Tokens that a generation asks for.
const TOKENS: u32 = 6;

/// What all threads see of the handles of each: perhaps still open, perhaps closed, perhaps closed just now.
#[derive(Default)]
struct Shelf {
    models: [AtomicPtr<smidgen_model>; THREADS],
    sessions: [AtomicPtr<smidgen_session>; THREADS],
    /// What every whole generation wrote.
    text: OnceLock<Vec<u8>>,
    whole: AtomicUsize,
    cancelled: AtomicUsize,
}

unsafe extern "C" fn keep(user: *mut c_void, text: *const c_char, length: usize) -> i32 {
    // SAFETY: the vector that `write` gives, and as many bytes as the library says.
    unsafe { (*user.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(text.cast(), length)) };
    0
}

impl Shelf {
    /// Writes with a session, and counts how that ended.
    fn write(&self, session: *mut smidgen_session) -> smidgen_status {
        // SAFETY: zeros are the defaults.
        let (mut params, mut result): (smidgen_generate_params, smidgen_generate_result) =
            unsafe { std::mem::zeroed() };
        (params.size, params.max_tokens) = (size_of_val(&params), TOKENS);
        result.size = size_of_val(&result);
        let (mut text, prompt) = (Vec::<u8>::new(), [1_u32, 40, 50]);
        let user = (&raw mut text).cast();
        // SAFETY: everything lives until the call ends.
        let status =
            unsafe { smidgen_generate(session, prompt.as_ptr(), prompt.len(), &params, Some(keep), user, &mut result) };
        if status == SMIDGEN_OK && result.finish == SMIDGEN_FINISH_CANCELLED {
            self.cancelled.fetch_add(1, Ordering::Relaxed);
        } else if status == SMIDGEN_OK {
            self.whole.fetch_add(1, Ordering::Relaxed);
            assert_eq!(result.generated, TOKENS);
            assert_eq!(self.text.get_or_init(|| text.clone()), &text);
        }
        status
    }

    /// Uses what others have opened, whatever state that is in.
    fn meddle(&self, own: usize) {
        for other in (0..THREADS).filter(|other| *other != own) {
            let (model, session) =
                (self.models[other].load(Ordering::Acquire), self.sessions[other].load(Ordering::Acquire));
            let (gone, null) = ([SMIDGEN_OK, SMIDGEN_ERROR_HANDLE], [SMIDGEN_ERROR_NULL]);
            let may = |handle_is_null: bool, more: &[smidgen_status], status| {
                let expected: Vec<_> = if handle_is_null { null.to_vec() } else { [&gone, more].concat() };
                assert!(expected.contains(&status), "{status} is not among {expected:?}");
            };
            // SAFETY: zeros, but for the size.
            let mut info: smidgen_model_info = unsafe { std::mem::zeroed() };
            info.size = size_of_val(&info);
            // SAFETY: handles need not be open.
            may(model.is_null(), &[], unsafe { smidgen_model_get_info(model, &mut info) });
            // SAFETY: as above.
            may(session.is_null(), &[SMIDGEN_ERROR_IDLE], unsafe { smidgen_session_cancel(session) });
            may(session.is_null(), &[SMIDGEN_ERROR_BUSY], self.write(session));
        }
    }
}

#[test]
fn handles_are_used_by_many_threads_at_once() {
    let bytes = chat_model(&Shape { layers: 1, ..Shape::default() }, Format::Q8_0).bytes();
    let (shelf, barrier) = (Shelf::default(), Barrier::new(THREADS));
    let round = |own: usize| {
        let (mut model, mut session) = (null_mut(), null_mut());
        // SAFETY: zeros are the defaults.
        let mut params: smidgen_session_params = unsafe { std::mem::zeroed() };
        (params.size, params.context, params.threads) = (size_of_val(&params), 64, 2);
        // SAFETY: the bytes live longer than all handles.
        let status = unsafe { smidgen_model_open_memory(bytes.as_ptr(), bytes.len(), null(), &mut model) };
        assert_eq!(status, SMIDGEN_OK);
        shelf.models[own].store(model, Ordering::Release);
        // SAFETY: the place and the parameters live until the call ends.
        assert_eq!(unsafe { smidgen_session_open(model, &params, &mut session) }, SMIDGEN_OK);
        shelf.sessions[own].store(session, Ordering::Release);
        // SAFETY: a model may be closed before its sessions.
        assert_eq!(unsafe { smidgen_model_close(model) }, SMIDGEN_OK);
        let status = shelf.write(session);
        assert!([SMIDGEN_OK, SMIDGEN_ERROR_BUSY].contains(&status), "{status}");
        shelf.meddle(own);
        loop {
            // SAFETY: nobody else closes it.
            match unsafe { smidgen_session_close(session) } {
                SMIDGEN_OK => break,
                status => assert_eq!(status, SMIDGEN_ERROR_BUSY),
            }
            thread::yield_now();
        }
    };
    let all = |own: usize| {
        barrier.wait();
        (0..ROUNDS).for_each(|_| round(own));
    };
    let all = &all;
    thread::scope(|scope| (0..THREADS).for_each(|own| drop(scope.spawn(move || all(own)))));
    let whole = shelf.whole.load(Ordering::Relaxed);
    println!("{whole} whole generations, {} cancelled", shelf.cancelled.load(Ordering::Relaxed));
    // How many of them were left in peace is chance, but after all of them nobody cancels this one.
    round(0);
    assert_eq!(shelf.whole.into_inner(), whole + 1);
}
