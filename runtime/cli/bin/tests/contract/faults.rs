//! Faults that users of other engines met: each folder of `faults` beside the golden files, by its name. The same kinds of fault have tests
//! with inputs made in code elsewhere.

use crate::{Scratch, fails, smidgen, stdout, with_stdin};
use serde_json::Value;
use std::path::PathBuf;

/// The folder of a fault; says so and gives none if it is absent.
fn fault(name: &str) -> Option<PathBuf> {
    Some(smidgen_tests::shared()?.join("faults").join(name))
}

/// Converts a folder of a fault.
fn converted(dir: &Scratch, fault: &str, folder: &str) -> Option<String> {
    let from = self::fault(fault)?.join(folder);
    let to = dir.path(&format!("{folder}.gguf"));
    let output = smidgen(&["convert", from.to_str().unwrap(), &to]).output().unwrap();
    assert!(output.status.success(), "{fault}/{folder}: {}", String::from_utf8_lossy(&output.stderr));
    Some(to)
}

/// What `inspect` says of keys whose names hold a word.
fn keys(model: &str, word: &str) -> Vec<String> {
    let all = stdout(&["inspect", model]);
    all.lines().filter(|line| line.contains(word)).map(|line| line.trim().to_owned()).collect()
}

/// Token ids are those of the file beside a checkpoint.
fn tokenizes(fault: &str, folders: &[&str]) {
    let dir = Scratch::new();
    for folder in folders {
        let Some(model) = converted(&dir, fault, folder) else { return };
        let expected = std::fs::read(self::fault(fault).unwrap().join(folder).join("expected.json")).unwrap();
        let cases: Value = serde_json::from_slice(&expected).unwrap();
        for case in cases.as_array().unwrap() {
            let text = dir.write("text", case["text"].as_str().unwrap());
            let found = stdout(&["tokenize", &model, "-f", &text, "--special"]);
            let found: Vec<u64> = serde_json::from_str(&found).unwrap();
            let ids: Vec<u64> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(found, ids, "{fault}/{folder}: {}", case["text"]);
        }
    }
}

#[test]
fn convert_normalizer() {
    tokenizes("convert-normalizer", &["nfc", "lowercase", "wordpiece-no-chinese", "wordpiece-long-words"]);
}

#[test]
fn convert_prefix_space() {
    tokenizes("convert-prefix-space", &["byte-level", "metaspace-first"]);
}

#[test]
fn convert_added_tokens() {
    tokenizes("convert-added-tokens", &["lstrip", "single-word", "wordpiece-user"]);
}

#[test]
fn convert_end_tokens() {
    let dir = Scratch::new();
    for folder in ["config-only", "generation-config-list"] {
        let Some(model) = converted(&dir, "convert-end-tokens", folder) else { return };
        let words = ["run", &model, "-p", "hello", "--raw", "-n", "20", "--temp", "0", "--ids"];
        let output = smidgen(&words).output().unwrap();
        let ids: Vec<u32> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(ids.len(), 1, "{folder}: {ids:?}");
    }
}

#[test]
fn convert_chat_template() {
    let dir = Scratch::new();
    let Some(model) = converted(&dir, "convert-chat-template", "both") else { return };
    let found = keys(&model, "chat_template");
    assert!(found.len() == 1 && found[0].contains("NEW"), "{found:?}");
}

#[test]
fn convert_pooling() {
    let dir = Scratch::new();
    let Some(folder) = fault("convert-pooling") else { return };
    let two = folder.join("mean-and-max");
    fails(&["convert", two.to_str().unwrap(), &dir.path("x.gguf")], &["1_Pooling/config.json", "mean and max"]);
    let model = converted(&dir, "convert-pooling", "other-folder").unwrap();
    assert_eq!(keys(&model, "pooling_type"), ["bert.pooling_type = 2"]);
}

#[test]
fn convert_image_flags() {
    let dir = Scratch::new();
    let Some(model) = converted(&dir, "convert-image-flags", "no-normalize") else { return };
    assert!(keys(&model, "image_mean")[0].contains("[0.0, 0.0, 0.0]"), "{:?}", keys(&model, "image_"));
    assert!(keys(&model, "image_std")[0].contains("[1.0, 1.0, 1.0]"), "{:?}", keys(&model, "image_"));
    let model = converted(&dir, "convert-image-flags", "nested").unwrap();
    assert!(keys(&model, "image_mean")[0].contains("[0.1, 0.2, 0.3]"), "{:?}", keys(&model, "image_"));
}

#[test]
fn convert_f16_overflow() {
    let dir = Scratch::new();
    let Some(folder) = fault("convert-f16-overflow") else { return };
    let (from, to) = (folder.join("checkpoint"), dir.path("x.gguf"));
    let from = from.to_str().unwrap();
    fails(&["convert", from, &to, "--type", "F16"], &["blk.0.ffn_up.weight", "BF16", "--clamp"]);
    assert!(!std::path::Path::new(&to).exists());
    for rest in [&["--type", "BF16"][..], &["--type", "F32"], &["--type", "F16", "--clamp"]] {
        assert!(smidgen(&[&["convert", from, &to], rest].concat()).output().unwrap().status.success(), "{rest:?}");
    }
}

#[test]
fn convert_json_mark() {
    converted(&Scratch::new(), "convert-json-mark", "checkpoint");
}

#[test]
fn convert_missing_weights() {
    let dir = Scratch::new();
    let Some(folder) = fault("convert-missing-weights") else { return };
    let pickled = folder.join("pickled");
    fails(
        &["convert", pickled.to_str().unwrap(), &dir.path("x.gguf")],
        &["pytorch_model.bin", "pickled", "safetensors"],
    );
    converted(&dir, "convert-missing-weights", "shards-without-index");
}

#[test]
fn convert_sliding_window() {
    let dir = Scratch::new();
    let Some(model) = converted(&dir, "convert-sliding-window", "checkpoint") else { return };
    assert_eq!(keys(&model, "sliding_window"), ["llama.attention.sliding_window = 64"]);
}

#[test]
fn classify_multi_label() {
    let dir = Scratch::new();
    let Some(model) = converted(&dir, "classify-multi-label", "multi-label") else { return };
    let told = stdout(&["classify", &model, "hello good world", "--json"]);
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(told["labels"], serde_json::json!(["obscene", "threat", "toxic"]));
    let probabilities =
        told["probabilities"].as_array().unwrap().iter().map(|value| format!("{:.3}", value.as_f64().unwrap()));
    assert_eq!(probabilities.collect::<Vec<_>>(), ["0.833", "0.113", "0.030"]);
}

#[test]
fn embed_nothing() {
    let Some(folder) = fault("embed-nothing") else { return };
    let (_dir, model) = crate::embed::model();
    let empty = folder.join("empty.txt");
    assert_eq!(stdout(&["embed", &model, "-f", empty.to_str().unwrap(), "--json"]), "");
}

#[test]
fn prompt_newline() {
    let Some(shared) = smidgen_tests::shared() else { return };
    let model = shared.join("models/stories15M.Q8_0.gguf");
    let model = model.to_str().unwrap();
    let rest = ["--raw", "-n", "20", "--temp", "0"];
    let plain = smidgen(&[&["run", model, "-p", "Once upon a time"][..], &rest].concat()).output().unwrap();
    let piped = with_stdin(&[&["run", model, "-"][..], &rest].concat(), b"Once upon a time\n");
    assert!(plain.status.success() && plain.stdout == piped.stdout);
}

#[test]
fn jpeg_truncated() {
    let Some(folder) = fault("jpeg-truncated") else { return };
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let classify = |name: &str| stdout(&["classify", &file(name), "--top", "1"]);
    let answer = |name: &str| classify(name).replace(&file(name), "");
    assert!(answer("whole.jpg").contains("bird") && answer("whole.jpg") == answer("without-end.jpg"));
    fails(&["classify", &file("first-30-percent.jpg"), "--top", "1"], &["first-30-percent.jpg", "damaged"]);
}

#[test]
fn wav_headers() {
    let Some(folder) = fault("wav-headers") else { return };
    let dir = Scratch::new();
    let words = smidgen_tests::shared().unwrap().join("models/microwakeword/okay_nabu.tflite");
    let model = dir.path("nabu.gguf");
    stdout(&["convert", words.to_str().unwrap(), &model]);
    for name in ["odd-chunk.wav", "unknown-length.wav", "cut-off.wav"] {
        let path = folder.join(name);
        let output = smidgen(&["listen", &model, path.to_str().unwrap()]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(String::from_utf8_lossy(&output.stdout).contains("1.46\tOkay Nabu\t0.897\n"), "{name}: {output:?}");
        assert_eq!(told.contains("cut off"), name == "cut-off.wav", "{name}: {told}");
        let piped = with_stdin(&["listen", &model, "-"], &std::fs::read(&path).unwrap());
        assert!(String::from_utf8_lossy(&piped.stdout).contains("1.46\tOkay Nabu\t0.897\n"), "{name}: {piped:?}");
    }
}

#[test]
fn wake_word_manifest() {
    let Some(folder) = fault("wake-word-manifest") else { return };
    let dir = Scratch::new();
    let words = smidgen_tests::shared().unwrap().join("models/microwakeword/okay_nabu.tflite");
    let model = dir.write("x.tflite", std::fs::read(words).unwrap());
    dir.write("x.json", std::fs::read(folder.join("version-1.json")).unwrap());
    fails(&["convert", &model, &dir.path("x.gguf")], &["x.json", "version"]);
}
