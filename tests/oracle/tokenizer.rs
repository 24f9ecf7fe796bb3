//! Tokenizers against Hugging Face's `tokenizers` (PyPI, called from `tokenizer.py`): every normalizer, flag, pre-tokenizer and model, converted
//! and compared over 400 random texts each. Without the package this says that it is absent, and fails where it is expected.

use serde_json::Value;
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen_gguf::Gguf;
use smidgen_tests::checkpoint::smallest;
use std::io::Write;
use std::process::Command;

/// Kinds that `convert` refuses, with what it says of them.
const REFUSED: &[(&str, &str)] = &[
    ("normalizer replace-empty", "may match nothing"),
    ("normalizer replace-empty, first", "may match nothing"),
    ("pre scripts", "UnicodeScripts"),
    ("dropout", "dropout"),
    ("words", "WordLevel"),
    ("frame of two", "more than one token"),
    ("expression names", "a group of this kind"),
];
/// Kinds for which llama.cpp's keys say everything, and their `tokenizer.ggml.model` and `pre`.
const PLAIN: &[(&str, &str, &str)] = &[
    ("sentencepiece, all merges", "llama", "default"),
    ("sentencepiece without prefix", "llama", "default"),
    ("byte-level False True", "gpt2", "gpt-2"),
    ("smollm", "gpt2", "smollm"),
    ("expression llama3", "gpt2", "smaug-bpe"),
    ("expression qwen2", "gpt2", "deepseek-r1-qwen"),
    ("qwen2 nfc", "gpt2", "qwen2"),
    ("normalizer nfc", "gpt2", "olmo"),
    ("llama3 whole", "gpt2", "llama-bpe"),
    ("bert, no token with a low line", "bert", ""),
    ("bert cased, no token with a low line", "bert", ""),
];
/// Texts that the script writes for each kind.
const TEXTS: usize = 400;

/// The cases that the script writes; none if there is no Python, or not the package.
fn cases() -> Option<Vec<Value>> {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with tokenizers (SMIDGEN_SKIP_PYTHON=1)");
        return None;
    }
    let output = Command::new("python3").args(["-c", include_str!("tokenizer.py")]).output();
    let output = output.expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    if output.stdout.is_empty() {
        let expected = std::env::var("SMIDGEN_EXPECT_TOKENIZERS").is_ok_and(|v| v == "1");
        assert!(!expected, "SMIDGEN_EXPECT_TOKENIZERS=1, but {told}");
        println!("{}", told.trim());
        return None;
    }
    let lines = std::str::from_utf8(&output.stdout).unwrap().split_terminator('\n');
    Some(lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

#[test]
fn tokens_are_those_of_hugging_face() {
    let Some(cases) = cases() else { return };
    let (mut wrong, mut texts, mut plain) = (Vec::new(), 0, 0);
    let mut refused = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let files: Vec<_> =
            case["files"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let vocabulary = case["vocabulary"].as_u64().unwrap();
        let reads = case["files"]["tokenizer.json"]["model"]["type"] == "WordPiece";
        let bytes = match smallest(&files, vocabulary) {
            Ok(bytes) => bytes,
            Err(error) => {
                refused.push((name, error.to_string()));
                continue;
            }
        };
        let file = Gguf::parse(&bytes).unwrap();
        let tokenizer = Tokenizer::parse(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some((_, model, pre)) = PLAIN.iter().find(|(kind, ..)| *kind == name) {
            let text = |key: &str| file.get(key).and_then(|value| value.as_str()).unwrap_or_default();
            assert_eq!([text("tokenizer.ggml.model"), text("tokenizer.ggml.pre")], [*model, *pre], "{name}");
            plain += 1;
        }
        let all = case["texts"].as_array().unwrap();
        assert_eq!(all.len(), TEXTS, "{name}");
        for (i, text) in all.iter().enumerate() {
            let text = text.as_str().unwrap();
            let (expected, got) = (numbers(&case["ids"][i]), tokenizer.encode(text, Special::Parse));
            if got != expected {
                wrong.push(format!("{name}: {text:?}\n   is {got:?}\n  not {expected:?}"));
                continue;
            }
            // A language model is not given a beginning or an end twice.
            let (framed, got) = (numbers(&case["framed"][i]), tokenizer.encode_prompt(text, Special::Parse));
            let doubles = |ids: &[u32], id: Option<u32>| {
                id.is_some() && (id == ids.first().copied() || id == ids.last().copied())
            };
            if got != framed && (reads || !(doubles(&expected, tokenizer.bos()) || doubles(&expected, tokenizer.eos())))
            {
                wrong.push(format!("{name}, framed: {text:?}\n   is {got:?}\n  not {framed:?}"));
            }
            texts += 1;
        }
    }
    println!("RAN: tokenizers, {} kinds, {texts} texts agree, {} do not", cases.len() - refused.len(), wrong.len());
    for (name, error) in &refused {
        let is_listed = REFUSED.iter().any(|(kind, reason)| name == kind && error.contains(reason));
        assert!(is_listed, "{name} is refused: {error}");
    }
    assert_eq!(plain, PLAIN.len());
    assert_eq!(refused.len(), REFUSED.len(), "kinds that are listed as refused are converted");
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for kind in wrong.iter().map(|text| text.split(": \"").next().unwrap_or_default()) {
        match kinds.last_mut().filter(|(last, _)| *last == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{shown}\nof {kinds:?}");
}
