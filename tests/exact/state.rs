//! A saved state goes on as if nothing had happened, bit for bit, and what is no state of this model is refused.

use smidgen::{Entry, KvType, Model, Options, RunError, Session, StateError};
use smidgen_convert::pack;
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{Serial, detect};
use smidgen_tests::seeded::{self, Shape};

const CONTEXT: usize = 80;

fn bytes(seed: u64) -> Vec<u8> {
    let shape = Shape { seed, ..Shape::default() };
    seeded::model(&shape, Format::Q4_0).bytes()
}

fn options(kv: KvType, context: usize) -> Options {
    Options { kv, sequences: 2, ..Options::new(context) }
}

fn saved(session: &Session) -> Vec<u8> {
    let mut state = vec![0; session.state_bytes(0).unwrap()];
    assert_eq!(session.save(0, &mut state), Ok(state.len()));
    state
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn what_is_restored_goes_on_with_the_same_bits() {
    let bytes = bytes(1);
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(CONTEXT, model.vocabulary(), 5);
    for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
        for held in [0, 1, 15, 16, 17, 63, 64, 65] {
            let mut session = Session::new(&model, &options(kv, CONTEXT), detect()).unwrap();
            // More than is kept: of what was there before there is no trace.
            if held > 0 {
                session.forward(0, &tokens[..held + 7], &Serial).unwrap();
                session.truncate(0, held);
            }
            let state = saved(&session);
            let rest = bits(session.forward(0, &tokens[held..held + 9], &Serial).unwrap());
            for (sequence, context) in [(0, CONTEXT), (1, CONTEXT), (0, 300)] {
                let mut other = Session::new(&model, &options(kv, context), detect()).unwrap();
                other.forward(sequence, &tokens[..3], &Serial).unwrap();
                other.restore(sequence, &state).unwrap();
                assert!(other.tokens(sequence).eq(tokens[..held].iter().map(|token| Some(*token))), "{kv:?} {held}");
                if sequence == 0 {
                    assert!(saved(&other) == state, "{kv:?} {held}: saved again");
                }
                let logits = other.forward(sequence, &tokens[held..held + 9], &Serial).unwrap();
                assert!(bits(logits) == rest, "{kv:?} {held} {context}");
            }
        }
    }
}

#[test]
fn a_packed_file_takes_the_state_of_a_plain_one() {
    let plain = bytes(1);
    let mut packed = Vec::new();
    pack(&plain, &mut packed, &mut |_| ()).unwrap();
    let plain = Model::parse(&[Gguf::parse(&plain).unwrap()]).unwrap();
    let packed = Model::parse(&[Gguf::parse(&packed).unwrap()]).unwrap();
    let mut session = Session::new(&plain, &options(KvType::F16, CONTEXT), detect()).unwrap();
    session.forward(0, &[1, 2, 3], &Serial).unwrap();
    let state = saved(&session);
    let mut other = Session::new(&packed, &options(KvType::F16, CONTEXT), detect()).unwrap();
    other.restore(0, &state).unwrap();
    assert!(other.tokens(0).eq([Some(1), Some(2), Some(3)]));
}

#[test]
fn what_is_no_state_of_this_model_is_refused() {
    let (own, foreign) = (bytes(1), bytes(2));
    let model = Model::parse(&[Gguf::parse(&own).unwrap()]).unwrap();
    let stranger = Model::parse(&[Gguf::parse(&foreign).unwrap()]).unwrap();
    let tokens = seeded::tokens(20, model.vocabulary(), 5);
    let mut session = Session::new(&model, &options(KvType::F16, CONTEXT), detect()).unwrap();
    session.forward(0, &tokens, &Serial).unwrap();
    let state = saved(&session);
    let expected = state.len();
    assert_eq!(session.save(0, &mut [0; 9]), Err(StateError::Length { expected, found: 9 }));
    assert_eq!(session.restore(2, &state), Err(RunError::SequenceRange { sequence: 2, sequences: 2 }.into()));

    let mut other = Session::new(&stranger, &options(KvType::F16, CONTEXT), detect()).unwrap();
    assert_eq!(other.restore(0, &state), Err(StateError::Foreign));
    let mut other = Session::new(&model, &options(KvType::Q8_0, CONTEXT), detect()).unwrap();
    assert_eq!(other.restore(0, &state), Err(StateError::Foreign));
    let mut other = Session::new(&model, &options(KvType::F16, 19), detect()).unwrap();
    assert_eq!(other.restore(0, &state), Err(RunError::ContextFull { context: 19, used: 0, tokens: 20 }.into()));

    // A token that is kept, and a cache that stays as it was.
    let mut other = Session::new(&model, &options(KvType::F16, CONTEXT), detect()).unwrap();
    other.forward(0, &tokens[..5], &Serial).unwrap();
    let before = saved(&other);
    for len in (0..state.len()).step_by(97).chain([39, 40, state.len() - 1]) {
        assert!(other.restore(0, &state[..len]).is_err(), "{len} bytes");
    }
    for at in (0..state.len()).step_by(89).chain(0..48) {
        let mut damaged = state.clone();
        damaged[at] ^= 0x40;
        assert!(other.restore(0, &damaged).is_err(), "byte {at}");
    }
    assert!(saved(&other) == before);
}

/// Whatever byte or length of a state is not as it was, the error is the state's own, and the session as before.
#[test]
fn damage_is_always_told_as_such() {
    let bytes = bytes(1);
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let tokens = seeded::tokens(20, model.vocabulary(), 5);
    let values = vec![0.25; model.decoder().unwrap().width()];
    for (kv, held, context) in
        [(KvType::F16, 3, 3), (KvType::Q8_0, 17, 17), (KvType::F32, 1, 80), (KvType::F16, 0, 1), (KvType::F16, 20, 19)]
    {
        let mut session = Session::new(&model, &options(kv, CONTEXT), detect()).unwrap();
        if held == 1 {
            session.run(&[Entry::embedding(0, &values, 77)], &Serial).unwrap();
        } else if held > 0 {
            session.forward(0, &tokens[..held], &Serial).unwrap();
        }
        let state = saved(&session);
        let mut other = Session::new(&model, &options(kv, context), detect()).unwrap();
        other.forward(0, &tokens[..1], &Serial).unwrap();
        let before = saved(&other);
        let mut refused = |damaged: &[u8], what: &dyn std::fmt::Debug| {
            let found = other.restore(0, damaged);
            let own = matches!(found, Err(StateError::Damaged | StateError::Foreign | StateError::Length { .. }));
            assert!(own, "{kv:?} {held} {what:?}: {found:?}");
            assert!(!found.unwrap_err().to_string().contains('\n'));
        };
        // All bits of the header, some of every byte behind it.
        let mut damaged = state.clone();
        for at in 0..state.len() {
            let masks: &[u8] = if at < 40 { &[1, 2, 4, 8, 16, 32, 64, 128, 255] } else { &[1, 0x80] };
            for mask in masks {
                damaged[at] ^= mask;
                refused(&damaged, &(at, mask));
                damaged[at] = state[at];
            }
        }
        for len in (0..state.len()).filter(|len| *len < 300 || len % 61 == 0 || len + 300 > state.len()) {
            refused(&state[..len], &len);
        }
        refused(&[&state[..], &[0]].concat(), &"one more");
        refused(&[&state[..], &state[..]].concat(), &"twice");
        // Numbers of tokens that wrap around where they are multiplied.
        for count in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, u64::MAX >> bit, u64::MAX << bit]) {
            if count != held as u64 {
                damaged[32..40].copy_from_slice(&count.to_le_bytes());
                refused(&damaged, &count);
            }
        }
        damaged.copy_from_slice(&state);
        let mut random = 0x9E37_79B9_u64;
        for round in 0..400 {
            for _ in 0..=round % 7 {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let at = (random >> 33) as usize % state.len();
                damaged[at] = (random >> 24) as u8;
            }
            if damaged != state {
                refused(&damaged, &round);
            }
            damaged.copy_from_slice(&state);
        }
        assert!(saved(&other) == before);
        // A whole one is what it was.
        let expected = RunError::ContextFull { context, used: 0, tokens: held };
        let restored = if held > context { Err(expected.into()) } else { Ok(()) };
        assert_eq!(other.restore(0, &state), restored);
        other.truncate(0, 0);
        assert!(other.forward(0, &tokens[..1], &Serial).is_ok());
    }
}

/// States are kept by apps: what one version has saved, later ones restore. These are the hashes of states of the first version of the form.
#[test]
fn states_are_what_they_were() {
    let other = Shape { biases: true, tied: false, rotated: 32, ..Shape::default() };
    for (kv, shape, expected) in
        [(KvType::F16, Shape::default(), 0xf43f_bc1d_0ec2_93df), (KvType::Q8_0, other, 0x1f06_ad3d_1f45_643f)]
    {
        let bytes = seeded::model(&shape, Format::Q4_0).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let tokens = seeded::tokens(21, model.vocabulary(), 5);
        let mut session = Session::new(&model, &options(kv, CONTEXT), detect()).unwrap();
        session.forward(0, &tokens, &Serial).unwrap();
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        assert_eq!(saved(&session).iter().fold(0xcbf2_9ce4_8422_2325, fnv), expected, "{kv:?}");
    }
}

/// Embeddings are known again by their digests.
#[test]
fn a_state_with_embeddings() {
    let bytes = bytes(1);
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let values = vec![0.25; model.decoder().unwrap().width()];
    let options = options(KvType::F16, CONTEXT);
    let mut session = Session::new(&model, &options, detect()).unwrap();
    session.run(&[Entry::token(0, 5), Entry::embedding(0, &values, 77), Entry::token(0, 6)], &Serial).unwrap();
    let state = saved(&session);
    assert_eq!(state[..8], *b"smidgen2");
    let rest = bits(session.forward(0, &[7], &Serial).unwrap());
    let mut other = Session::new(&model, &options, detect()).unwrap();
    other.restore(1, &state).unwrap();
    assert!(other.tokens(1).eq([Some(5), None, Some(6)]));
    assert!(bits(other.forward(1, &[7], &Serial).unwrap()) == rest);
    // Tokens alone have the narrow form only.
    session.truncate(0, 0);
    session.forward(0, &[5], &Serial).unwrap();
    let narrow = saved(&session);
    let mut wide = [b"smidgen2", &narrow[8..44], &[0; 4], &narrow[44..]].concat();
    let step = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(0x0100_0000_01b3);
        sum ^ sum >> 29
    };
    let (words, rest) = wide[40..].as_chunks::<8>();
    let sum = words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| step(sum, u64::from_le_bytes(*word)));
    let sum = rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)));
    wide[16..24].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(other.restore(0, &wide), Err(StateError::Damaged));
    other.restore(0, &narrow).unwrap();
    // An id that is none.
    let mut damaged = state.clone();
    damaged[40 + 16 + 3] = 1;
    assert_eq!(other.restore(0, &damaged), Err(StateError::Damaged));
}
