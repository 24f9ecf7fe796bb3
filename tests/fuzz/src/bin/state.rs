//! A saved state is restored, goes on, and is saved again; its hash is put right first, so that damage reaches what lies behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smidgen::Session;
use smidgen_targets::Serial;
use std::cell::RefCell;

thread_local! {
    static SESSIONS: RefCell<[Session<'static, 'static>; 2]> = RefCell::new(smidgen_fuzz::sessions());
}

fuzz_target!(|bytes: &[u8]| {
    let mut state = bytes.to_vec();
    if let Some((header, body)) = state.split_at_mut_checked(40) {
        header[16..24].copy_from_slice(&hash(body).to_le_bytes());
    }
    SESSIONS.with_borrow_mut(|sessions| {
        for session in sessions {
            session.truncate(0, 0);
            session.forward(0, &[1, 2], &Serial).expect("room for two tokens");
            if session.restore(0, &state).is_err() {
                assert_eq!(session.len(0), 2, "a refused state leaves what was there");
                continue;
            }
            let held = session.len(0);
            let mut saved = vec![0; session.state_bytes(0).expect("a sequence")];
            session.save(0, &mut saved).expect("room for it");
            assert!(saved == state, "a restored state is saved as another");
            let logits = session.forward(0, &[3], &Serial);
            assert!(
                logits.map_or(held == smidgen_fuzz::CONTEXT, |logits| logits.iter().all(|logit| logit.is_finite()))
            );
        }
    });
});

/// The hash of a state, as `runtime/core/src/session/state.rs` computes it. Were it another, a state that was just saved would not come
/// back the same.
fn hash(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(0x0100_0000_01b3);
        sum ^ sum >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}
