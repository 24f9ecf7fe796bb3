//! `smidgen embed`.

use crate::files::instruct;
use crate::{Scratch, fails, quiet, smidgen, stdout, with_stdin};
use smidgen_quant::Format;
use smidgen_tests::seeded_bert::{self, Shape};

/// A model of 256 values and 80 tokens of context.
pub(crate) fn model() -> (Scratch, String) {
    let shape = Shape { outputs: 0, ..Shape::default() };
    Scratch::with(&seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0)))
}

fn arrays(json: &str) -> Vec<Option<Vec<f32>>> {
    json.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn texts_from_words_files_and_stdin() {
    let (dir, model) = model();
    let texts = ["a b", "", "ab ! a", "  a\u{2028}b\r"];
    let words = ["embed", &model, "--json", "--", texts[0], texts[1], texts[2], texts[3]];
    let expected = stdout(&words);
    let found = arrays(&expected);
    assert_eq!(found.len(), 4);
    for values in &found {
        let values = values.as_ref().unwrap();
        let square: f32 = values.iter().map(|x| x * x).sum();
        assert!(values.len() == 256 && (square - 1.0).abs() < 1e-5);
    }
    // Spaces and case are nothing to this vocabulary.
    assert!(found[0] == found[3] && found[0] != found[1] && found[0] != found[2]);
    let file = dir.write("texts", &(texts.join("\n") + "\n"));
    let lines = texts.join("\n");
    assert_eq!(stdout(&["embed", &model, "--json", "-f", &file]), expected);
    assert_eq!(stdout(&["embed", &model, "--json", "-f", &file, "--target", "scalar", "--threads", "3"]), expected);
    for words in
        [&["embed", &model, "--json"][..], &["embed", &model, "--json", "-"], &["embed", &model, "--json", "-f", "-"]]
    {
        assert_eq!(quiet(words, with_stdin(words, lines.as_bytes())), expected);
    }
    // A file without a byte has no text, and one newline is an empty one.
    let (nothing, newline) = (dir.write("nothing", ""), dir.write("newline", "\n"));
    assert_eq!(stdout(&["embed", &model, "--json", "-f", &nothing]), "");
    let words = ["embed", &model, "--json"];
    assert_eq!(quiet(&words, with_stdin(&words, b"")), "");
    assert_eq!(arrays(&stdout(&["embed", &model, "--json", "-f", &newline])), [found[1].clone()]);
    // One at a time as together, and the same floats as bytes.
    let bytes = smidgen(&["embed", &model, "-f", &file]).output().unwrap();
    assert!(bytes.status.success() && bytes.stderr.is_empty());
    let floats: Vec<f32> = bytes.stdout.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(floats, found.iter().flatten().flatten().copied().collect::<Vec<_>>());
    assert_eq!(arrays(&stdout(&["embed", &model, "--json", "ab ! a"]))[0], found[2]);
}

/// Ids are embedded as they are, with whatever frame they have.
#[test]
fn ids_are_embedded() {
    let (_dir, model) = model();
    let ids: Vec<u32> = serde_json::from_str(&stdout(&["tokenize", &model, "-p", "ab ! a"])).unwrap();
    // The beginning and the end of a text are ids too.
    let list = [&[2], &ids[..], &[3]].concat();
    let list = list.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(stdout(&["embed", &model, "--json", "--tokens", &list]), stdout(&["embed", &model, "--json", "ab ! a"]));
    assert_ne!(stdout(&["embed", &model, "--json", "--tokens", "1"]), stdout(&["embed", &model, "--json", "ab ! a"]));
    fails(&["embed", &model, "--tokens", "1,x"], &["--tokens", "whole number"]);
    let refused = smidgen(&["embed", &model, "--json", "--tokens", "1,100000"]).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && refused.stdout == b"null\n", "{text}");
    assert!(text.contains("--tokens 1") && text.contains("100000") && text.contains("vocabulary"), "{text}");
    fails(&["embed", &model, "--tokens", "1", "ab"], &["--tokens", "cannot be used with"]);
}

#[test]
fn what_fails_leaves_the_others_answered() {
    let (_dir, model) = model();
    let words = ["embed", &model, "--json", "-"];
    let output = with_stdin(&words, b"a\n\xffb\nb\n");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("smidgen: line 2: ") && told.contains("UTF-8") && told.lines().count() == 1, "{told}");
    let found = arrays(&String::from_utf8(output.stdout).unwrap());
    assert!(found.len() == 3 && found[0].is_some() && found[1].is_none() && found[2].is_some());
    let output = with_stdin(&["embed", &model], b"a\n\xffb\nb\n");
    assert!(
        output.stdout.len() == 3 * 256 * 4
            && f32::from_le_bytes(output.stdout[1024..1028].try_into().unwrap()).is_nan()
    );
}

#[test]
fn a_long_text_is_cut_and_said_to_be() {
    let (_dir, model) = model();
    let words = ["embed", &model, "--json", "-"];
    let output = with_stdin(&words, "a ".repeat(500_000).as_bytes());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.contains("line 1") && told.contains("80") && told.contains("500002"),
        "{told}"
    );
    let cut = stdout(&["embed", &model, "--json", &"a ".repeat(78)]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), cut);
}

#[test]
fn ranked_by_similarity() {
    let (_dir, model) = model();
    let ranked = stdout(&["embed", &model, "b !", "a", "b !", "a a a", "--similarity", "A"]);
    let lines: Vec<(f32, &str)> =
        ranked.lines().map(|line| line.split_once('\t').unwrap()).map(|(x, text)| (x.parse().unwrap(), text)).collect();
    assert!(lines.is_sorted_by(|a, b| a.0 >= b.0), "{ranked}");
    assert!(lines.len() == 4 && lines[0].1 == "a" && (lines[0].0 - 1.0).abs() < 1e-6, "{ranked}");
    let json = stdout(&["embed", &model, "b", "a", "--similarity", "a", "--json"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["text"].as_str(), first["number"].as_u64()), (Some("a"), Some(2)));
    assert!((first["similarity"].as_f64().unwrap() - 1.0).abs() < 1e-6 && json.lines().count() == 2);
}

#[test]
fn mistakes() {
    let (dir, model) = model();
    let (_llama, llama) = Scratch::with(&instruct());
    fails(&["embed", &llama, "a"], &["llama", "embed text"]);
    fails(&["run", &model, "-p", "a"], &["bert", "write text"]);
    fails(&["embed", &model, "-f", "no such file"], &["no such file"]);
    fails(&["embed", &model, "a", "-f", &dir.write("texts", "a")], &["-f"]);
    fails(&["embed", &model, "a", "--target", "abacus"], &["abacus"]);
}
