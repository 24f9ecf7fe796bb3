//! Seeded random mutations of a good file.

use std::fmt::Debug;

use smidgen_gguf::Gguf;
use smidgen_tests::Random;

use super::raw::{good, walk_file};

/// Flips, replaces, removes, repeats or moves a few bytes.
fn mutate(random: &mut Random, file: &mut Vec<u8>) {
    const TELLING: [u64; 12] = [0, 1, 2, 31, 33, 64, 255, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX];
    let at = random.below(file.len());
    let some = (1 + random.below(16)).min(file.len() - at);
    match random.below(6) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file[at] = random.below(256) as u8,
        2 => {
            let value = TELLING[random.below(TELLING.len())].to_le_bytes();
            let width = [1, 4, 8][random.below(3)].min(file.len() - at);
            file[at..at + width].copy_from_slice(&value[..width]);
        }
        3 if file.len() > some => drop(file.drain(at..at + some)),
        4 => {
            let piece = file[at..at + some].to_vec();
            let to = random.below(file.len());
            drop(file.splice(to..to, piece));
        }
        _ => {
            let to = random.below(file.len() - some + 1);
            file.copy_within(at..at + some, to);
        }
    }
}

#[test]
fn mutations_never_panic_and_what_is_accepted_can_be_walked() {
    let raw = good();
    let good = raw.build();
    let head = good.len() - raw.data.len();
    let mut random = Random(0x5EED_0F60_1DEA_D500);
    let mut accepted = 0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60_000 {
        // Most of the mutations should hit the head, not the data.
        let mut file = good[..head].to_vec();
        for _ in 0..1 + random.below(3) {
            mutate(&mut random, &mut file);
        }
        file.extend(&good[head..]);
        match Gguf::parse(&file) {
            Ok(parsed) => {
                walk_file(&parsed, &file);
                accepted += 1;
            }
            Err(error) => {
                assert!(error.offset() <= file.len() as u64, "{error}");
                seen.insert(variant(&error));
            }
        }
    }
    assert!(accepted > 1_000, "only {accepted} accepted");
    assert!(seen.len() > 15, "only these errors were seen: {seen:?}");
}

fn variant(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    text.split(' ').next().unwrap_or_default().to_owned()
}
