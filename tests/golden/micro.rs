//! int8 networks answer as TensorFlow Lite Micro's reference kernels do, byte for byte.

use smidgen::models::micro::Micro;
use smidgen_convert::tflite;
use smidgen_gguf::Gguf;
use smidgen_tests::npy::Npy;
use smidgen_tests::{at_most, shared};
use std::path::Path;

/// The shape and the bytes of an array of one-byte integers; none if it is absent.
fn npy(path: &Path) -> Option<(Vec<usize>, Vec<u8>)> {
    let Npy { shape, data } = Npy::read(path, "|i1 |u1")?;
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Some((shape, data))
}

/// Converts a model with the manifest beside it; none if it is absent.
fn converted(path: &Path) -> Option<Vec<u8>> {
    let Ok(bytes) = std::fs::read(path) else {
        println!("ABSENT: {}", path.display());
        return None;
    };
    let manifest = std::fs::read(path.with_extension("json")).ok();
    let mut out = Vec::new();
    let manifest = manifest.as_ref().map(|text| ("manifest.json", &text[..]));
    tflite::convert(&bytes, manifest, &mut out).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(out)
}

/// Runs a stream or a series of inputs, each after the one before.
fn steps(model: &Micro<'_>, arena: &mut [u8], inputs: &[u8], fresh: bool) -> Vec<u8> {
    let mut outputs = Vec::new();
    model.reset(arena).unwrap();
    for input in inputs.chunks(model.input().elements()) {
        if fresh {
            // Nothing of what another run left behind may matter.
            arena.fill(0x55);
            model.reset(arena).unwrap();
        }
        let mut output = vec![0; model.output().elements()];
        model.infer(arena, input, &mut output).unwrap();
        outputs.extend(output);
    }
    outputs
}

#[test]
fn mlperf_tiny() {
    let Some(shared) = shared() else { return };
    for (task, file) in [
        ("kws", "kws_ref_model"),
        ("resnet", "pretrainedResnet_quant"),
        ("vww", "vww_96_int8"),
        ("ad", "ad01_int8"),
        ("streaming_ww", "str_ww_ref_model"),
    ] {
        let Some(file) = converted(&shared.join(format!("models/mlperf_tiny/{file}.tflite"))) else { continue };
        let folder = shared.join("golden/mlperf_tiny").join(task);
        let (inputs, outputs) = (npy(&folder.join("inputs.npy")), npy(&folder.join("outputs.npy")));
        let (Some((shape, inputs)), Some((_, expected))) = (inputs, outputs) else { continue };
        let gguf = Gguf::parse(&file).unwrap();
        let model = Micro::parse(&gguf).unwrap();
        assert_eq!(model.input().shape()[1..], shape[1..]);
        let count = at_most(3, shape[0], &format!("inputs of {task}"));
        let mut arena = vec![0x55; model.arena_len()];
        let found = steps(&model, &mut arena, &inputs[..count * model.input().elements()], true);
        let wrong = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
        assert_eq!(wrong, 0, "{task}: values that differ, of {}", found.len());
        assert_eq!(found.len(), count * expected.len() / shape[0]);
        println!("RAN: {task}, {count} inputs, arena of {} bytes, file of {}", model.arena_len(), file.len());
    }
}

#[test]
fn wake_words() {
    let Some(shared) = shared() else { return };
    let text = match std::fs::read_to_string(shared.join("golden/micro/runs.json")) {
        Ok(text) => text,
        Err(error) => return println!("ABSENT: runs.json: {error}"),
    };
    let runs: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for word in ["okay_nabu", "hey_mycroft"] {
        let Some(file) = converted(&shared.join(format!("models/microwakeword/{word}.tflite"))) else { continue };
        let gguf = Gguf::parse(&file).unwrap();
        let model = Micro::parse(&gguf).unwrap();
        assert_eq!((model.input().shape(), model.output().shape()), (&[1, 3, 40][..], &[1, 1][..]));
        assert!(model.input().signed && !model.output().signed);
        let key = |key: &str| gguf.get(key).unwrap_or_else(|| panic!("{key}"));
        let mut arena = vec![0; model.arena_len()];
        let mut count = 0;
        for run in runs.iter().filter(|run| run["model"] == word) {
            assert_eq!(key("micro.sliding_window_size").as_u64(), run["window"].as_u64());
            let smidgen_gguf::Value::F64(cutoff) = key("micro.probability_cutoff") else { panic!("cut-off") };
            assert_eq!(Some(cutoff), run["cutoff"].as_f64());
            let name = format!("{word}__{}", run["audio"].as_str().unwrap());
            let folder = shared.join("golden/micro/runs");
            let input = npy(&folder.join(format!("{name}.input.npy")));
            let output = npy(&folder.join(format!("{name}.output.npy")));
            let (Some((_, input)), Some((_, expected))) = (input, output) else { continue };
            // States of the run before must not matter after a reset.
            let found = steps(&model, &mut arena, &input, false);
            assert_eq!(found.len(), expected.len(), "{name}");
            let wrong: Vec<_> = (0..found.len()).filter(|&i| found[i] != expected[i]).collect();
            assert!(wrong.is_empty(), "{name}: steps {wrong:?} of {} differ", found.len());
            count += 1;
        }
        println!("RAN: {word}, {count} streams, arena of {} bytes, file of {}", model.arena_len(), file.len());
    }
}
