//! Tokenizers against the ids that llama.cpp gives, for real vocabularies.
//!
//! The vocabularies lie in `vocab` of the folder `SMIDGEN_SHARED`, or of `shared` beside the workspace; SmolLM2's own in the
//! model that `SMIDGEN_SMOLLM2` names, or in the user's cache. All vocabularies of llama.cpp, `models` in its sources, are looked at in
//! the folder that `SMIDGEN_VOCABULARIES` names. What is absent is said by name.

use std::io::Write;
use std::path::{Path, PathBuf};

use smidgen::tokenizer::{Special, Tokenizer};
use smidgen_gguf::Gguf;

const MARKER: &str = "\n__ggml_vocab_test__\n";
const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn shared() -> PathBuf {
    match std::env::var_os("SMIDGEN_SHARED") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    }
}

fn smollm2() -> PathBuf {
    if let Some(path) = std::env::var_os("SMIDGEN_SMOLLM2") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_default().join("smidgen").join(SMOLLM2)
}

/// Says what ran, past the capture of test output.
fn say(line: &str) {
    // In one call, for tests write at the same time.
    let _ = std::io::stderr().write_all(format!("golden tokenizer: {line}\n").as_bytes());
}

/// Checks one vocabulary, unless a file of it is absent.
fn check(name: &str, model: &Path, vectors: &Path) {
    let texts = vectors.with_extension(extended(vectors, "inp"));
    let ids = vectors.with_extension(extended(vectors, "out"));
    if let Some(missing) = [model, &texts, &ids].into_iter().find(|path| !path.exists()) {
        return say(&format!("{name}: absent ({})", missing.display()));
    }
    let bytes = std::fs::read(model).unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::parse(&file).unwrap();
    let texts = std::fs::read_to_string(texts).unwrap();
    let mut texts: Vec<&str> = texts.split(MARKER).collect();
    let ids = std::fs::read_to_string(ids).unwrap();
    let ids: Vec<Vec<u32>> =
        ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    // What follows the last marker is a text of its own in some of the files only.
    if ids.len() + 1 == texts.len() && texts.last() == Some(&"") {
        texts.pop();
    }
    assert_eq!(ids.len(), texts.len(), "{name}: one line of ids for each text");
    for (text, ids) in texts.iter().zip(&ids) {
        assert_eq!(tokenizer.encode(text, Special::Text), *ids, "{name}: {text:?}");
        if name == "bert-bge" {
            // Case and spaces are lost.
            continue;
        }
        assert_eq!(tokenizer.decode(ids, false), *text, "{name}: {ids:?}");
        let mut decoder = tokenizer.decoder(false);
        let mut streamed: String = ids.iter().map(|&id| decoder.push(id).to_string()).collect();
        streamed.push_str(decoder.finish());
        assert_eq!(streamed, *text, "{name}: streamed {ids:?}");
    }
    say(&format!("{name}: {} texts agree", texts.len()));
}

fn extended(path: &Path, extension: &str) -> String {
    path.extension().map_or_else(|| extension.to_string(), |old| format!("{}.{extension}", old.to_string_lossy()))
}

fn check_shared(name: &str) {
    let model = shared().join("vocab").join(format!("ggml-vocab-{name}.gguf"));
    check(name, &model, &model);
}

#[test]
fn bert_bge() {
    check_shared("bert-bge");
}

/// The reference ids of all-MiniLM-L6-v2, by a vocabulary that is the same, special tokens in the text among them.
#[test]
fn bert_as_hugging_face_has_it() {
    let (model, texts) = (shared().join("vocab/ggml-vocab-bert-bge.gguf"), shared().join("golden/minilm/texts.jsonl"));
    if let Some(missing) = [&model, &texts].into_iter().find(|path| !path.exists()) {
        return say(&format!("minilm: absent ({})", missing.display()));
    }
    let bytes = std::fs::read(model).unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::parse(&file).unwrap();
    let mut count = 0;
    for line in std::fs::read_to_string(texts).unwrap().split_terminator('\n') {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["text"].as_str().unwrap();
        let ids: Vec<u32> = line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let got = tokenizer.encode_prompt(text, Special::Parse);
        assert_eq!(got.len() as u64, line["tokens_before_truncation"].as_u64().unwrap(), "{text:?}");
        let kept = ids.len() - 1;
        assert_eq!(got[..kept], ids[..kept], "{text:?}");
        assert_eq!(got.last(), ids.last(), "{text:?}");
        count += 1;
    }
    say(&format!("minilm: {count} texts agree"));
}

#[test]
fn deepseek_llm() {
    check_shared("deepseek-llm");
}

#[test]
fn gpt_2() {
    check_shared("gpt-2");
}

#[test]
fn llama_bpe() {
    check_shared("llama-bpe");
}

#[test]
fn llama_spm() {
    check_shared("llama-spm");
}

#[test]
fn phi_3() {
    check_shared("phi-3");
}

#[test]
fn qwen2() {
    check_shared("qwen2");
}

#[test]
fn smollm2_in_its_model() {
    check("smollm2", &smollm2(), &shared().join("vocab/smollm2"));
}

/// XLM-RoBERTa's vocabulary against sentencepiece: `unigram.jsonl` has the ids that its library, 0.2, gives for a model made of the
/// file's pieces, scores and table of normalizations.
#[test]
fn unigram_as_sentencepiece_has_it() {
    let shared = shared().join("vocab");
    let named = std::env::var_os("SMIDGEN_VOCABULARIES").map(PathBuf::from);
    let models = [Some(shared), named].map(|folder| folder.map(|path| path.join("ggml-vocab-nomic-bert-moe.gguf")));
    let Some(bytes) = models.iter().flatten().find_map(|path| std::fs::read(path).ok()) else {
        return say("unigram_as_sentencepiece_has_it: SKIPPED, ggml-vocab-nomic-bert-moe.gguf is absent");
    };
    let file = Gguf::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::parse(&file).unwrap();
    let mut count = 0;
    for line in include_str!("unigram.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["text"].as_str().unwrap();
        let ids: Vec<u64> = line["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let got: Vec<u64> = tokenizer.encode(text, Special::Text).into_iter().map(u64::from).collect();
        assert_eq!(got, ids, "{text:?}");
        count += 1;
    }
    say(&format!("unigram: {count} texts agree"));
}

/// The vocabularies of llama.cpp's sources that it has ids for, and those that it only has.
const WITH_IDS: [&str; 15] = [
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
];
const WITHOUT_IDS: [&str; 4] = ["aquila", "baichuan", "gpt-neox", "nomic-bert-moe"];

#[test]
fn all_vocabularies_of_llama_cpp() {
    let Some(folder) = std::env::var_os("SMIDGEN_VOCABULARIES").map(PathBuf::from) else {
        return say("all_vocabularies_of_llama_cpp: SKIPPED, SMIDGEN_VOCABULARIES names no folder");
    };
    for name in WITH_IDS {
        let model = folder.join(format!("ggml-vocab-{name}.gguf"));
        check(name, &model, &model);
    }
    for name in WITHOUT_IDS {
        let model = folder.join(format!("ggml-vocab-{name}.gguf"));
        let Ok(bytes) = std::fs::read(&model) else {
            say(&format!("{name}: absent ({})", model.display()));
            continue;
        };
        let file = Gguf::parse(&bytes).unwrap();
        let tokenizer = Tokenizer::parse(&file).unwrap();
        let text = "Hello, world! Zwölf Boxkämpfer 123 — 我想在apple工作 🦙";
        let decoded = tokenizer.decode(&tokenizer.encode(text, Special::Text), false);
        // This one has no llama.
        let expected = if name == "nomic-bert-moe" { text.replace("🦙", "") } else { text.into() };
        say(&format!("{name}: opened, {} ids", tokenizer.encode(text, Special::Text).len()));
        assert_eq!(decoded, expected, "{name}");
    }
}
