//! Metadata that nobody reads, and what is wrong and can be passed over.

use crate::files::instruct;
use crate::{Scratch, fails, smidgen, stdout};
use serde_json::Value;
use smidgen_quant::Format;
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::seeded_bert;

/// A file's bytes, in which the string `mark` begins with 0xFF instead of its first character.
fn broken(file: &File, mark: &str) -> Vec<u8> {
    let mut bytes = file.bytes();
    let at = bytes.windows(mark.len()).position(|part| part == mark.as_bytes()).unwrap();
    bytes[at] = 0xFF;
    bytes
}

/// Where a text of these bytes begins in a file: at its length.
fn place(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|part| part == text).unwrap() - 8
}

#[test]
fn strings_that_nobody_reads_may_be_any_bytes() {
    let file = instruct()
        .set("general.author", Meta::Str("?ürgen\u{1b}[1m"))
        .set("general.tags", Meta::Strs(vec!["plain".to_owned(), "!bytes".to_owned()]));
    let dir = Scratch::new();
    let (clean, model) = (dir.write("clean.gguf", file.bytes()), {
        let mut bytes = broken(&file, "?ürgen");
        let at = bytes.windows(6).position(|part| part == b"!bytes").unwrap();
        bytes[at] = 0x80;
        dir.write("model.gguf", bytes)
    });
    let words = |model| ["run", model, "-p", "hello", "--temp", "0", "-n", "8"];
    assert_eq!(stdout(&words(&model)), stdout(&words(&clean)));

    let text = stdout(&["inspect", &model]);
    assert!(text.contains("general.author = \"\\xffürgen\\u{1b}[1m\" (not UTF-8, 11 bytes)"), "{text}");
    assert!(text.contains("general.tags = [\"plain\", \"\\x80bytes\" (not UTF-8, 6 bytes)]"), "{text}");
    let found: Value = serde_json::from_str(&stdout(&["inspect", &model, "--json"])).unwrap();
    let metadata = &found["parts"][0]["metadata"];
    assert_eq!(metadata["general.author"], "\\xffürgen\u{1b}[1m");
    assert_eq!(metadata["general.tags"], serde_json::json!(["plain", "\\x80bytes"]));

    // Whatever writes the file again keeps the bytes.
    let (packed, unpacked, other) = (dir.path("packed.gguf"), dir.path("unpacked.gguf"), dir.path("other.gguf"));
    stdout(&["pack", &model, &packed]);
    stdout(&["unpack", &packed, &unpacked]);
    assert!(std::fs::read(&unpacked).unwrap() == std::fs::read(&model).unwrap());
    stdout(&["quantize", &model, &other, "Q4_0"]);
    for path in [&packed, &other] {
        let bytes = std::fs::read(path).unwrap();
        for text in [&b"\xFF\xC3\xBCrgen\x1B[1m"[..], b"\x80bytes"] {
            let at = place(&bytes, text);
            assert_eq!(bytes[at..at + 8], (text.len() as u64).to_le_bytes());
        }
    }
}

#[test]
fn strings_that_are_read_are_named_where_they_are_not_utf8() {
    let dir = Scratch::new();
    let file = instruct();
    let template: &[u8] = b"\xFF% for message in messages";
    for (mark, key, text) in [
        ("llama", "general.architecture", &b"\xFFlama"[..]),
        ("gpt2", "tokenizer.ggml.model", b"\xFFpt2"),
        ("gpt-2", "tokenizer.ggml.pre", b"\xFFpt-2"),
        ("<|im_start|>", "tokenizer.ggml.tokens", b"\xFF|im_start|>"),
        ("{% for message in messages", "tokenizer.chat_template", template),
    ] {
        // `llama` is a part of keys too; of these the value is the first that stands alone.
        let mut bytes = file.bytes();
        let whole = [&(mark.len() as u64).to_le_bytes()[..], mark.as_bytes()].concat();
        let found = bytes.windows(whole.len()).position(|part| part == whole).map(|at| at + 8);
        let at = found.unwrap_or_else(|| bytes.windows(mark.len()).position(|part| part == mark.as_bytes()).unwrap());
        bytes[at] = 0xFF;
        let offset = format!("is not UTF-8 (at byte {})", place(&bytes, text));
        let model = dir.write("model.gguf", &bytes);
        fails(&["run", &model, "-p", "x", "-n", "1"], &[&model, key, &offset]);
        stdout(&["inspect", &model]);
        let output = dir.path("out.gguf");
        if key == "general.architecture" {
            fails(&["quantize", &model, &output, "Q4_0"], &[&model, key, &offset]);
        } else {
            stdout(&["quantize", &model, &output, "Q4_0"]);
        }
    }
    let model = dir.write("model.gguf", broken(&file, "{% for message"));
    assert_eq!(stdout(&["run", &model, "--raw", "-p", "x", "-n", "1", "--temp", "0"]).lines().count(), 1);
    // Labels of a classifier.
    let shape = seeded_bert::Shape { outputs: 2, ..Default::default() };
    let labels = Meta::Strs(vec!["good".to_owned(), "?ad".to_owned()]);
    let file = seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0));
    let bytes = broken(&file.set("bert.classifier.output_labels", labels), "?ad");
    let offset = format!("is not UTF-8 (at byte {})", place(&bytes, b"\xFFad"));
    let model = dir.write("model.gguf", bytes);
    fails(&["classify", &model, "a"], &[&model, "bert.classifier.output_labels", &offset]);
}

#[test]
fn ids_that_no_text_needs_are_passed_over_with_a_warning() {
    let dir = Scratch::new();
    let clean = dir.write("clean.gguf", instruct().bytes());
    let ids = instruct()
        .set("tokenizer.ggml.padding_token_id", Meta::U32(70_000))
        .set("tokenizer.ggml.unknown_token_id", Meta::I32(-1))
        .set("tokenizer.ggml.fim_pre_token_id", Meta::U32(u32::MAX));
    let model = dir.write("model.gguf", ids.bytes());
    let tokens = smidgen_tests::chat::VOCABULARY;
    let warnings: String = [("unknown", "-1"), ("padding", "70000"), ("fim_pre", "4294967295")]
        .iter()
        .map(|(name, id)| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            format!("smidgen: warning: {model}: {key} is {id}, but there are {tokens} tokens; it is ignored\n")
        })
        .collect();
    for words in [
        &["run", "", "-p", "hello", "--temp", "0", "-n", "8"][..],
        &["tokenize", "", "-p", "hello world"],
        &["inspect", "", "--json"],
    ] {
        let with = |model: &str| {
            let mut words = words.to_vec();
            words[1] = model;
            smidgen(&words).output().unwrap()
        };
        let (found, expected) = (with(&model), with(&clean));
        assert!(found.status.success() && expected.stderr.is_empty(), "{words:?}: {found:?}");
        assert_eq!(String::from_utf8_lossy(&found.stderr), warnings, "{words:?}");
        assert!(words[0] == "inspect" || found.stdout == expected.stdout, "{words:?}");
    }
    // A text ends with these.
    for name in ["bos", "eos", "eot", "eom"] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let model = dir.write("model.gguf", instruct().set(&key, Meta::U32(70_000)).bytes());
        fails(&["run", &model, "-p", "x"], &[&model, &key, "is 70000"]);
        fails(&["tokenize", &model, "-p", "x"], &[&model, &key, "is 70000"]);
    }
}

#[test]
fn readers_of_texts_warn_too() {
    let dir = Scratch::new();
    for (outputs, command) in [(0, "embed"), (2, "classify")] {
        let shape = seeded_bert::Shape { outputs, ..Default::default() };
        let file = seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0));
        let model = dir.write("model.gguf", file.set("tokenizer.ggml.mask_token_id", Meta::U32(70_000)).bytes());
        let output = smidgen(&[command, &model, "--json", "a b"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let warning = format!("smidgen: warning: {model}: tokenizer.ggml.mask_token_id is 70000");
        assert!(output.status.success() && told.starts_with(&warning) && told.lines().count() == 1, "{told}");
        let file = seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0));
        let model = dir.write("model.gguf", file.set("tokenizer.ggml.unknown_token_id", Meta::U32(70_000)).bytes());
        fails(&[command, &model, "a b"], &[&model, "tokenizer.ggml.unknown_token_id is 70000"]);
    }
}
