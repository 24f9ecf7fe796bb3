//! Decoder families against PyTorch: seeded models of `golden/arch` in the folder of golden files. Logits and greedy ids with unrounded activations
//! and an unrounded cache; and how far the law's int8 activations are from them, beside llama.cpp's.

use serde_json::Value;
use smidgen::{KvType, Model, Options, Precision, Session};
use smidgen_gguf::Gguf;
use smidgen_targets::{KernelSet, Serial, detect};
use smidgen_tests::npy::Npy;
use smidgen_tests::{best, kernel_sets, shared};
use std::path::Path;

/// The folders of the families that are there.
const FAMILIES: &[&str] = &[
    "apertus",
    "bloom",
    "cohere2",
    "command_r",
    "ernie4_5",
    "exaone4",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3",
    "glm4",
    "gpt2",
    "gptbigcode",
    "gptneox",
    "granite",
    "hunyuan_dense",
    "internlm2",
    "llama3",
    "llama_linear",
    "minicpm",
    "mistral",
    "nemotron",
    "olmo2",
    "olmo3",
    "phi2",
    "phi3",
    "phi3_longrope",
    "phi3_shortrope",
    "qwen2",
    "qwen2_yarn",
    "qwen3",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
];
/// Largest difference of a logit, as a part of the logits' standard deviation.
const CLOSE: f32 = 1e-4;
/// How many times llama.cpp's root mean square difference with int8 activations ours is at most.
const ROUNDED: f64 = 1.5;

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

/// A model of a folder, with what is expected of it.
struct Golden {
    json: Value,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    /// `[positions × vocabulary]`
    logits: Vec<f32>,
}

impl Golden {
    fn read(folder: &Path) -> Option<Golden> {
        let logits = Npy::read(&folder.join("logits.npy"), "<f4")?.f32();
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let tokens = numbers(&json["input_ids"]).into_iter().map(|id| id as u32).collect();
        Some(Golden { tokens, positions: numbers(&json["positions"]), logits, json })
    }

    /// The logits at the positions.
    fn run(&self, session: &mut Session) -> Vec<f32> {
        let vocabulary = session.vocabulary();
        let mut found = vec![f32::NAN; self.positions.len() * vocabulary];
        let each = |position, logits: &[f32]| {
            for (row, _) in self.positions.iter().enumerate().filter(|(_, wanted)| **wanted == position) {
                found[row * vocabulary..][..vocabulary].copy_from_slice(logits);
            }
        };
        session.forward_all(0, &self.tokens, &Serial, each).unwrap();
        assert_eq!(found.len(), self.logits.len());
        found
    }
}

fn with_model<R>(path: &Path, then: impl FnOnce(&Model) -> R) -> Option<R> {
    let bytes = std::fs::read(path).ok()?;
    Some(then(&Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap_or_else(|error| panic!("{path:?}: {error}"))))
}

#[test]
fn families() {
    let Some(folder) = shared().map(|shared| shared.join("golden/arch")) else { return };
    for name in FAMILIES {
        let Some(golden) = Golden::read(&folder.join(name)) else { panic!("{name} is not among the golden files") };
        let ran = with_model(&folder.join(name).join("model.gguf"), |model| exact(name, model, &golden));
        println!("RAN: {name}, {}", ran.unwrap());
    }
}

/// By unrounded activations.
fn exact(name: &str, model: &Model, golden: &Golden) -> String {
    let steps = golden.json["greedy"].as_array().unwrap();
    let context = golden.tokens.len() + steps.len();
    let options = Options { kv: KvType::F32, precision: Precision::F32, ..Options::new(context) };
    let mut session = Session::new(model, &options, detect()).unwrap();
    let found = golden.run(&mut session);
    let largest = found.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    let limit = CLOSE * golden.json["logit_std"].as_f64().unwrap() as f32;
    assert!(largest <= limit, "{name}: the largest difference is {largest:e}, at most {limit:e}");
    session.truncate(0, 0);
    let mut next = best(session.forward(0, &golden.tokens, &Serial).unwrap());
    for (i, step) in steps.iter().enumerate() {
        assert_eq!(step["token"], next, "{name}, greedy id {i}");
        next = best(session.forward(0, &[next], &Serial).unwrap());
    }
    format!("largest difference {largest:e} of {limit:e}, {} greedy ids", steps.len())
}

/// By int8 activations, where there are weights for them: the same bits by every kernel set, and no farther off than others.
#[test]
fn families_with_int8_activations() {
    let Some(folder) = shared().map(|shared| shared.join("golden/arch")) else { return };
    let mut count = 0;
    for name in FAMILIES {
        let golden = Golden::read(&folder.join(name)).unwrap();
        let ran = with_model(&folder.join(name).join("model.q8_0.gguf"), |model| {
            let run = |kernels: &'static KernelSet| {
                let options = Options { kv: KvType::F32, ..Options::new(golden.tokens.len()) };
                golden.run(&mut Session::new(model, &options, kernels).unwrap())
            };
            let found = run(detect());
            for kernels in kernel_sets() {
                assert!(run(kernels) == found, "{name}, {}", kernels.name);
            }
            let squares = found.iter().zip(&golden.logits).map(|(a, b)| f64::from(a - b).powi(2));
            let rms = (squares.sum::<f64>() / found.len() as f64).sqrt();
            let limit = ROUNDED * golden.json["q8_0"]["llama_cpp_rms_logit_diff"].as_f64().unwrap();
            assert!(rms <= limit, "{name}: the root mean square difference is {rms:e}, at most {limit:e}");
            format!("root mean square difference {rms:e} of {limit:e}")
        });
        if let Some(ran) = ran {
            count += 1;
            println!("RAN: {name} by int8 activations, {ran}");
        }
    }
    assert!(count > 0, "there are no models with int8 weights");
}
