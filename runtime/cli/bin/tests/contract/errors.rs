//! Bad input: one line that names what is wrong, an exit code, nothing else.

use crate::files::{endless, instruct};
use crate::{Scratch, fails, refused, smidgen, with_stdin};
use smidgen_tests::seeded::Meta;
use std::fs::File;

/// Every command that opens a model, up to the model's place.
fn commands<'w>(model: &'w str, text: &'w str) -> [Vec<&'w str>; 5] {
    [
        vec!["run", model, "-p", "hello"],
        vec!["bench", model, "-p", "2", "-n", "1"],
        vec!["inspect", model],
        vec!["tokenize", model, "-p", "hello"],
        vec!["perplexity", model, text],
    ]
}

#[test]
fn files_that_are_no_models() {
    let dir = Scratch::new();
    let text = dir.write("text", "hello wor");
    let good = instruct().bytes();
    let mut files = vec![
        dir.write("text.gguf", "This is not a GGUF file."),
        dir.write("empty.gguf", ""),
        dir.write("zeros.gguf", [0; 4096]),
        dir.path("missing.gguf"),
        dir.path("missing/model"),
        dir.path(""),
    ];
    for length in [1, 4, 8, 24, 25, 100, 1000, good.len() / 2, good.len() - 4096, good.len() - 32] {
        files.push(dir.write(&format!("{length}.gguf"), &good[..length]));
    }
    for file in &files {
        for words in commands(file, &text) {
            fails(&words, &[file]);
        }
    }
}

#[test]
fn models_that_cannot_run() {
    let dir = Scratch::new();
    let text = dir.write("text", "hello wor");
    let unknown = dir.write("unknown.gguf", instruct().set("general.architecture", Meta::Str("gpt9")).bytes());
    for words in [&["run", &unknown, "-p", "x"][..], &["bench", &unknown], &["perplexity", &unknown, &text]] {
        fails(words, &[&unknown, "gpt9", "llama"]);
    }
    // What is in the file can be seen all the same.
    assert!(smidgen(&["inspect", &unknown]).output().unwrap().status.success());
    let mute = dir.write("mute.gguf", instruct().without("tokenizer.ggml.model").bytes());
    for words in [&["run", &mute, "-p", "x"][..], &["tokenize", &mute, "-p", "x"], &["perplexity", &mute, &text]] {
        fails(words, &[&mute, "tokenizer.ggml.model"]);
    }
    let holed = dir.write("holed.gguf", instruct().without_tensor("blk.1.ffn_up.weight").bytes());
    fails(&["run", &holed, "-p", "x"], &[&holed, "blk.1.ffn_up.weight"]);
    let broken = dir.write("broken.gguf", instruct().set("tokenizer.chat_template", Meta::Str("{% if %}")).bytes());
    fails(&["run", &broken, "-p", "x"], &["template", "raw"]);
    let refusing = "{{ raise_exception('no') }}";
    let refusing = dir.write("refusing.gguf", instruct().set("tokenizer.chat_template", Meta::Str(refusing)).bytes());
    fails(&["run", &refusing, "-p", "x"], &["template", "no"]);
}

#[test]
fn names_that_are_not_known() {
    fails(&["run", "smollm", "-p", "x"], &["smollm", "did you mean smollm2?"]);
    fails(&["bench", "no-such-model"], &["no-such-model", "smollm2"]);
}

#[test]
fn numbers_out_of_range() {
    let (_dir, model) = Scratch::with(&endless());
    for (flag, values) in [
        ("--threads", &["0", "abc", "-1", "1.5", "", "100000"][..]),
        ("--temp", &["-1", "nan", "inf", "hot"]),
        ("--top-k", &["-1", "x"]),
        ("--top-p", &["0", "1.5", "-1", "nan"]),
        ("--min-p", &["-0.1", "1.1", "nan"]),
        ("--repeat-penalty", &["0", "-1", "inf"]),
        ("--frequency-penalty", &["nan", "x"]),
        ("--presence-penalty", &["inf"]),
        ("--beams", &["0", "x", "257", "99999999999"]),
        ("--seed", &["-1", "x", "18446744073709551616"]),
        ("--ctx", &["0", "x", "99999999999", "18446744073709551615"]),
        ("--kv", &["q4_0"]),
        ("--n", &["0", "-1", "x"]),
        ("--target", &["abacus", ""]),
        ("--no-such-flag", &["1"]),
    ] {
        for value in values {
            let line = fails(&["run", &model, "-p", "hello", flag, value], &[flag]);
            assert!(!line.contains("non-zero type"), "{line}");
        }
    }
    let line = fails(&["run", &model, "-p", "x", "--target", "abacus"], &["abacus", "scalar"]);
    assert!(crate::targets().iter().all(|target| line.contains(target)), "{line}");
    for words in [&["bench", &model][..], &["inspect", &model], &["tokenize", &model, "-p", "x"]] {
        fails(&[words, &["--target", "abacus"]].concat(), &["--target", "abacus", "scalar"]);
    }
}

#[test]
fn words_that_do_not_go_together() {
    let (_dir, model) = Scratch::with(&endless());
    for words in [
        &["run"][..],
        &["run", &model, "-p", "x", "-f", "y"],
        &["run", &model, "-", "-p", "x"],
        &["run", &model, "-p"],
        &["run", &model, "--tmep", "0"],
        &["run", &model, "x"],
        &["frobnicate"],
        &["completions"],
    ] {
        fails(words, &["--help"]);
    }
    assert!(fails(&["run", &model, "--tmep", "0"], &[]).contains("--temp"));
}

#[test]
fn texts_that_cannot_be_prompts() {
    let (dir, model) = Scratch::with(&endless());
    let latin = dir.write("latin", b"caf\xe9");
    let missing = dir.path("missing.txt");
    for command in ["run", "tokenize"] {
        fails(&[command, &model, "-f", &latin], &[&latin, "UTF-8", "byte 3"]);
        fails(&[command, &model, "-f", &missing], &[&missing, "no such file"]);
        fails(&[command, &model, "-f", dir.0.to_str().unwrap()], &["directory"]);
        let words = [command, &model, "-"];
        refused(&words, &with_stdin(&words, b"caf\xe9"), &["stdin", "UTF-8"]);
    }
    fails(&["perplexity", &model, &latin], &[&latin, "UTF-8"]);
    for words in [&["run", &model, "-p", ""][..], &["run", &model, "-p", "", "--raw"], &["run", &model, "-"]] {
        fails(words, &["prompt is empty", "-p"]);
    }
    let long = "hello wor ".repeat(6000);
    for beams in ["1", "2"] {
        fails(&["run", &model, "-p", &long, "--beams", beams], &["tokens", "--ctx"]);
        fails(&["run", &model, "-p", "hello wor", "--ctx", "1", "--beams", beams], &["tokens", "--ctx"]);
    }
    let (_dir, model) = Scratch::with(&instruct());
    fails(&["run", &model, "-p", ""], &["prompt is empty"]);
}

/// A full disk is no success.
#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written() {
    let (dir, model) = Scratch::with(&endless());
    let text = dir.write("text", "hello wor");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for words in commands(&model, &text).into_iter().chain([
        vec!["run", &model, "-p", "x", "-n", "4", "--ids"],
        vec!["pull"],
        vec!["completions", "zsh"],
        vec!["--help"],
    ]) {
        let output = smidgen(&words).stdout(full()).output().unwrap();
        refused(&words, &output, &["stdout", "space"]);
        // With nowhere to tell it, the exit code does.
        let status = smidgen(&words).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{words:?}");
    }
    assert_eq!(smidgen(&["run"]).stderr(full()).status().unwrap().code(), Some(2));
}

#[test]
#[cfg(unix)]
fn words_that_are_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let (_dir, model) = Scratch::with(&endless());
    let odd = OsStr::from_bytes(b"caf\xe9");
    refused(&["caf\u{e9}"], &smidgen(&[]).arg(odd).output().unwrap(), &["--help"]);
    let words = ["run", &model, "-p"];
    refused(&words, &smidgen(&words).arg(odd).output().unwrap(), &["UTF-8"]);
    refused(&["inspect"], &smidgen(&["inspect"]).arg(odd).output().unwrap(), &["caf"]);
}
