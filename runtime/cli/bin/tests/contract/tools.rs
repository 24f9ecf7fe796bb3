//! `smidgen tokenize`, `inspect`, `bench`, `perplexity`, `logits`, `pull`, `completions` and the help.

use crate::files::{endless, instruct};
use crate::{Scratch, fails, quiet, stdout, targets, with_stdin};
use serde_json::Value;

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&stdout(words)).unwrap()
}

#[test]
fn tokenize_and_back() {
    let (dir, model) = Scratch::with(&instruct());
    let text = "hello wor<|im_end|> \u{e9}\u{1f600}\n\t ";
    let plain = stdout(&["tokenize", &model, "-p", text]);
    let special = stdout(&["tokenize", &model, "-p", text, "--special"]);
    let ids = |json: &str| serde_json::from_str::<Vec<u32>>(json).unwrap();
    assert!(ids(&special).contains(&2) && !ids(&plain).contains(&2), "{special} {plain}");
    assert!(plain.ends_with("]\n") && plain.lines().count() == 1);
    let file = dir.write("text", text);
    assert_eq!(stdout(&["tokenize", &model, "-f", &file]), plain);
    for words in [&["tokenize", &model, "-"][..], &["tokenize", &model]] {
        assert_eq!(quiet(words, with_stdin(words, text.as_bytes())), plain);
    }
    for found in [&plain, &special] {
        assert_eq!(stdout(&["tokenize", &model, "--decode", "-p", found]), text);
        let words = ["tokenize", &model, "--decode"];
        assert_eq!(quiet(&words, with_stdin(&words, found.as_bytes())), text);
    }
    assert_eq!(stdout(&["tokenize", &model, "-p", ""]), "[]\n");
    assert_eq!(stdout(&["tokenize", &model, "--decode", "-p", "[]"]), "");
}

#[test]
fn ids_that_are_none() {
    let (_dir, model) = Scratch::with(&instruct());
    for bad in ["", "hello", "[1", "[1, -3]", "[1.5]", "{}", "[4294967296]", "[\"1\"]", "[1] 2"] {
        fails(&["tokenize", &model, "--decode", "-p", bad], &["--decode", "JSON array of ids"]);
    }
    fails(&["tokenize", &model, "--decode", "-p", "[1, 100000]"], &["--decode", "100000"]);
}

#[test]
fn logits_after_ids() {
    let (dir, model) = Scratch::with(&instruct());
    let tokens = "5,1,7";
    let all = json(&["logits", &model, "--tokens", tokens, "--json"]);
    assert_eq!(all["positions"], serde_json::json!([0, 1, 2]));
    let some = json(&["logits", &model, "--tokens", tokens, "--positions", "2, 0", "--json"]);
    assert_eq!(some["positions"], serde_json::json!([2, 0]));
    assert_eq!((&some["logits"][0], &some["logits"][1]), (&all["logits"][2], &all["logits"][0]));
    assert_eq!(all["logits"][0].as_array().unwrap().len(), smidgen_tests::chat::VOCABULARY);
    // Whichever kernels compute them; with unrounded activations they are others, but close.
    for target in targets() {
        assert_eq!(json(&["logits", &model, "--tokens", tokens, "--json", "--target", &target]), all, "{target}");
    }
    let exact = json(&["logits", &model, "--tokens", tokens, "--json", "--f32"]);
    assert_eq!(exact, json(&["logits", &model, "--tokens", tokens, "--json", "--f32", "--kv", "f32"]));
    assert_ne!(exact, all);
    let file = dir.0.join("logits.npy");
    assert_eq!(stdout(&["logits", &model, "--tokens", tokens, "--npy", file.to_str().unwrap()]), "");
    let found = smidgen_tests::npy::Npy::read(&file, "<f4").unwrap();
    assert_eq!(found.shape, [3, smidgen_tests::chat::VOCABULARY]);
    let expected = all["logits"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    assert!(found.f32().iter().zip(expected).all(|(a, b)| *a == b.as_f64().unwrap() as f32));
    let best = stdout(&["logits", &model, "--tokens", tokens, "--positions", "1"]);
    assert!(best.starts_with("1: ") && best.lines().count() == 1, "{best}");
}

#[test]
fn logits_of_what_is_not_there() {
    let (_dir, model) = Scratch::with(&instruct());
    fails(&["logits", &model], &["--tokens"]);
    for bad in ["", "1,", "1,x", "-1", "1.5", "4294967296"] {
        fails(&["logits", &model, &format!("--tokens={bad}")], &["--tokens", "whole number"]);
    }
    fails(&["logits", &model, "--tokens", "1,100000"], &["100000", "vocabulary"]);
    fails(&["logits", &model, "--tokens", "1,2", "--positions", "2"], &["--positions", "2"]);
    fails(&["logits", &model, "--tokens", "1,2", "--positions", "last"], &["--positions", "whole number"]);
    fails(&["logits", &model, "--tokens", "1,2", "--ctx", "1"], &["context"]);
    fails(&["logits", &model, "--tokens", "1,2", "--npy", "/nowhere/x.npy"], &["--npy", "/nowhere/x.npy"]);
}

#[test]
fn inspect_shows_metadata_and_tensors() {
    let (_dir, model) = Scratch::with(&instruct());
    let text = stdout(&["inspect", &model]);
    for part in
        ["general.architecture = \"llama\"", "llama.block_count = 2", "blk.1.ffn_down.weight", "Q8_0", "512 x 256"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found = json(&["inspect", &model, "--json"]);
    assert_eq!(found["bytes"], std::fs::metadata(&model).unwrap().len());
    let part = &found["parts"][0];
    assert_eq!((&part["path"], &part["version"]), (&Value::from(model.as_str()), &Value::from(3)));
    assert_eq!(part["metadata"]["tokenizer.ggml.tokens"].as_array().unwrap().len(), smidgen_tests::chat::VOCABULARY);
    assert_eq!(part["metadata"]["tokenizer.ggml.token_type"][2], 3);
    assert_eq!(part["metadata"]["llama.rope.freq_base"], 10_000.0);
    assert_eq!(part["metadata"]["tokenizer.chat_template"], smidgen_tests::chat::TEMPLATE);
    let tensors = part["tensors"].as_array().unwrap();
    let down = tensors.iter().find(|tensor| tensor["name"] == "blk.1.ffn_down.weight").unwrap();
    assert_eq!(down["shape"], Value::from(vec![512, 256]));
    assert_eq!((&down["type"], &down["bytes"]), (&Value::from("Q8_0"), &Value::from(512 * 256 / 32 * 34)));
    assert!(down["offset"].as_u64().unwrap().is_multiple_of(part["alignment"].as_u64().unwrap()));
}

#[test]
fn inspect_cannot_be_made_to_write_to_the_terminal() {
    let (_dir, model) =
        Scratch::with(&instruct().set("a\u{1b}[2Jb\nc", smidgen_tests::seeded::Meta::Str("\u{1b}]0;x")));
    let text = stdout(&["inspect", &model]);
    assert!(!text.contains('\u{1b}') && text.contains("a\\u{1b}[2Jb\\nc"), "{text}");
}

#[test]
fn bench_has_a_row_for_each_number_of_threads() {
    let (_dir, model) = Scratch::with(&endless());
    let small = ["bench", &model, "-p", "8", "-n", "4"];
    for target in targets() {
        let rows = json(&[&small[..], &["--threads", "1,2", "--json", "--target", &target]].concat());
        assert_eq!(rows.as_array().unwrap().len(), 2);
        for (row, threads) in rows.as_array().unwrap().iter().zip([1, 2]) {
            assert_eq!((&row["threads"], &row["target"]), (&Value::from(threads), &Value::from(target.as_str())));
            assert_eq!((&row["prompt_tokens"], &row["generated_tokens"]), (&Value::from(8), &Value::from(4)));
            for rate in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
                assert!(row[rate].as_f64().unwrap() > 0.0, "{rate}: {row}");
            }
        }
    }
    let row = &json(&["bench", &model, "-p", "0", "-n", "4", "--json"])[0];
    assert!(row["prefill_tokens_per_second"].is_null() && row["decode_tokens_per_second"].is_f64(), "{row}");
    let table = stdout(&[&small[..], &["--threads", "1,2", "--repeat", "1"]].concat());
    assert_eq!(table.lines().count(), 3, "{table}");
    fails(&["bench", &model, "-p", "0", "-n", "0"], &["-p 0", "-n 0"]);
    for huge in ["18446744073709551615", "18446744073709551610", "9999999999"] {
        fails(&["bench", &model, "-p", huge, "-n", "8", "--json"], &["-p"]);
    }
    fails(&["bench", &model, "--threads", "1,0"], &["--threads"]);
    fails(&["bench", &model, "--threads", ""], &["--threads"]);
}

#[test]
fn bandwidth_is_measured_and_kept() {
    let dir = Scratch::new();
    let cache = dir.path("cache");
    let run = |words: &[&str]| {
        let output = crate::smidgen(words).env("SMIDGEN_CACHE", &cache).output().unwrap();
        quiet(words, output)
    };
    let kept = || serde_json::from_slice::<Value>(&std::fs::read(dir.path("cache/machine.json")).unwrap()).unwrap();
    let text = run(&["bench", "--bandwidth", "--threads", "1"]);
    assert!(text.starts_with("memory is read with ") && text.ends_with(" GB/s by 1 thread\n"), "{text}");
    assert_eq!(kept()["threads"], 1);
    let rows: Value = serde_json::from_str(&run(&["bench", "--bandwidth", "--threads", "1,2", "--json"])).unwrap();
    let rate = |index: usize| rows[index]["bandwidth_bytes_per_second"].as_f64().unwrap();
    assert!(rate(0) > 0.0 && rate(1) > 0.0, "{rows}");
    assert_eq!(kept()["bytes_per_second"].as_f64().unwrap(), rate(0).max(rate(1)));
    fails(&["bench"], &["MODEL"]);
}

#[test]
fn perplexity_is_the_same_whatever_computes_it() {
    let (dir, model) = Scratch::with(&endless());
    let text = dir.write("text", "hello wor user ".repeat(8));
    let of = |more: &[&str]| json(&[&["perplexity", &model, &text, "--json"], more].concat());
    let first = of(&[]);
    let count: Value = serde_json::from_str(&stdout(&["tokenize", &model, "-f", &text])).unwrap();
    assert_eq!(first["tokens"], count.as_array().unwrap().len());
    assert!(first["perplexity"].as_f64().unwrap() > 1.0);
    assert_eq!(first.as_object().unwrap().len(), 2);
    for threads in ["1", "2", "4"] {
        assert_eq!(of(&["--threads", threads]), first, "{threads} threads");
    }
    for target in targets() {
        assert_eq!(of(&["--target", &target]), first, "{target}");
    }
    let some = of(&["--tokens", "10"]);
    assert_eq!(some["tokens"], 10);
    assert_ne!(some["perplexity"], first["perplexity"]);
    let near = of(&["--f32"])["perplexity"].as_f64().unwrap() / first["perplexity"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&near), "{near}");
    let line = stdout(&["perplexity", &model, &text]);
    assert!(line.starts_with("perplexity ") && line.lines().count() == 1, "{line}");
    fails(&["perplexity", &model, &text, "--tokens", "100000"], &["--tokens", &text]);
    fails(&["perplexity", &model, &text, "--tokens", "1"], &["two tokens"]);
    let short = dir.write("short", "");
    fails(&["perplexity", &model, &short], &[&short, "two tokens"]);
}

#[test]
fn completions_and_help() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("perplexity") && script.contains("top-k"), "{shell}");
    }
    fails(&["completions", "cmd"], &["cmd", "bash"]);
    for command in ["", "run", "bench", "inspect", "tokenize", "perplexity", "pull", "pack", "unpack", "completions"] {
        let words: Vec<_> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = stdout(&words);
        assert!(help.contains("Examples:\n  "), "{command}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 140), "{command}");
    }
    assert!(stdout(&["--version"]).starts_with("smidgen "));
}

#[test]
fn pull_lists_and_refuses() {
    assert!(stdout(&["pull"]).lines().any(|line| line.starts_with("smollm2\t")));
    fails(&["pull", "smollm"], &["smollm", "did you mean smollm2?"]);
    fails(&["pull", "../model"], &["../model"]);
}

#[test]
fn pull_without_a_package_manager() {
    let dir = Scratch::new();
    for words in [&["pull", "smollm2"][..], &["run", "smollm2", "-p", "hello"]] {
        let mut command = crate::smidgen(words);
        let output = command.env("PATH", &dir.0).env("SMIDGEN_CACHE", dir.path("cache")).output().unwrap();
        crate::refused(words, &output, &["needed to download", "SmolLM2-135M-Instruct"]);
    }
}

#[test]
fn packed_files_run_the_same_and_unpack_to_the_same_bytes() {
    let (dir, model) = Scratch::with(&endless());
    let (packed, back) = (dir.path("packed.gguf"), dir.path("back.gguf"));
    assert_eq!(stdout(&["pack", &model, &packed]), "");
    assert_eq!(stdout(&["unpack", &packed, &back]), "");
    assert_eq!(std::fs::read(&back).unwrap(), std::fs::read(&model).unwrap());
    let of = |file: &str| stdout(&["run", file, "-p", "hello wor", "-n", "20", "--temp", "1", "--ids"]);
    assert_eq!(of(&packed), of(&model));

    let text = dir.write("text", "hello");
    let (missing, nowhere) = (dir.path("missing"), dir.path("no/where"));
    for command in ["pack", "unpack"] {
        fails(&[command, &model, &model], &[&model, "input itself"]);
        fails(&[command, &packed, dir.0.to_str().unwrap()], &["not a regular file"]);
        fails(&[command, &missing, &back], &[&missing]);
        fails(&[command, &text, &back], &[&text]);
        fails(&[command, &model], &["<OUTPUT>"]);
    }
    fails(&["pack", &model, &nowhere], &[&nowhere, "cannot be written"]);
    // Nothing is left of what failed.
    let mut left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["back.gguf", "model.gguf", "packed.gguf", "text"]);
}
