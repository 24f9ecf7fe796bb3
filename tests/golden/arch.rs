//! Decoder families against PyTorch: seeded models of `golden/arch` in the folder of golden files, logits and greedy ids, with unrounded
//! activations and an unrounded cache.

use serde_json::Value;
use smidgen::{KvType, Model, Options, Precision, Session};
use smidgen_gguf::Gguf;
use smidgen_targets::{Serial, detect};
use smidgen_tests::npy::Npy;
use smidgen_tests::{best, shared};

/// The folders of the families that are there.
const FAMILIES: &[&str] = &["llama3", "llama_linear", "mistral"];
/// Largest difference of a logit, as a part of the logits' standard deviation.
const CLOSE: f32 = 1e-4;

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

#[test]
fn families() {
    let Some(folder) = shared().map(|shared| shared.join("golden/arch")) else { return };
    for name in FAMILIES {
        let folder = folder.join(name);
        let Some(expected) = Npy::read(&folder.join("logits.npy"), "<f4") else { continue };
        let golden: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let bytes = std::fs::read(folder.join("model.gguf")).unwrap();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let tokens: Vec<u32> = numbers(&golden["input_ids"]).into_iter().map(|id| id as u32).collect();
        let positions = numbers(&golden["positions"]);
        let steps = golden["greedy"].as_array().unwrap();

        let context = tokens.len() + steps.len();
        let options = Options { kv: KvType::F32, precision: Precision::F32, ..Options::new(context) };
        let mut session = Session::new(&model, &options, detect()).unwrap();
        let (vocabulary, expected) = (session.vocabulary(), expected.f32());
        assert_eq!(expected.len(), positions.len() * vocabulary, "{name}");
        let (mut largest, mut next) = (0f32, 0);
        session
            .forward_all(0, &tokens, &Serial, |position, logits| {
                next = best(logits);
                for (row, _) in positions.iter().enumerate().filter(|(_, wanted)| **wanted == position) {
                    for (a, b) in logits.iter().zip(&expected[row * vocabulary..][..vocabulary]) {
                        largest = largest.max((a - b).abs());
                    }
                }
            })
            .unwrap();
        let limit = CLOSE * golden["logit_std"].as_f64().unwrap() as f32;
        assert!(largest <= limit, "{name}: the largest difference is {largest:e}, at most {limit:e}");
        for (i, step) in steps.iter().enumerate() {
            assert_eq!(step["token"], next, "{name}, greedy id {i}");
            next = best(session.forward(0, &[next], &Serial).unwrap());
        }
        println!("RAN: {name}, largest difference {largest:e} of {limit:e}, {} greedy ids", steps.len());
    }
}
