//! Tokenizers by their steps that must be refused, each with an error that names the key, and texts that must not take long.

use smidgen::tokenizer::{Error, Special, Tokenizer};
use smidgen_gguf::{Gguf, NewValue, Writer};

type Entry<'a> = (&'a str, NewValue<'a>);

const TOKENS: &[&str] = &["<unk>", "</s>", "a", "b", "ab", "\u{2581}"];
const KINDS: &[i32] = &[1, 3, 1, 1, 1, 1];

fn good(model: &'static str) -> Vec<Entry<'static>> {
    vec![
        ("tokenizer.ggml.model", "smidgen".into()),
        ("tokenizer.ggml.tokens", TOKENS.into()),
        ("tokenizer.ggml.token_type", KINDS.into()),
        ("tokenizer.ggml.scores", (&[0f32, 0.0, -1.0, -2.0, -0.5, -3.0] as &[f32]).into()),
        ("tokenizer.ggml.unknown_token_id", 0u32.into()),
        ("smidgen.tokenizer.model", model.into()),
        ("smidgen.tokenizer.merges", (&[2u32, 3] as &[u32]).into()),
        ("smidgen.tokenizer.decoder", (&["ByteLevel"] as &[&str]).into()),
    ]
}

/// The ids of a text by a good tokenizer with `changes`: entries that replace one of the same key, or are added.
fn encoded(model: &'static str, changes: &[Entry], text: &str) -> Result<Vec<u32>, Error> {
    let mut entries = good(model);
    entries.retain(|(key, _)| changes.iter().all(|change| change.0 != *key));
    let mut writer = Writer::new();
    for (key, value) in entries.iter().chain(changes) {
        writer.metadata(key, *value).unwrap();
    }
    let bytes = writer.write(&[], Vec::new()).unwrap();
    Ok(Tokenizer::parse(&Gguf::parse(&bytes).unwrap())?.encode(text, Special::Parse))
}

#[test]
fn steps_that_are_not_known_are_refused() {
    assert_eq!(encoded("bpe", &[], "ab</s>x"), Ok(vec![4, 1, 0]));
    assert_eq!(encoded("unigram", &[], "abb"), Ok(vec![4, 3]));
    let (normalizers, pre_tokenizers) = ("smidgen.tokenizer.normalizers", "smidgen.tokenizer.pre_tokenizers");
    let long = "x".repeat(2000);
    let lists: [(&str, &[&str], usize, &str); 13] = [
        (normalizers, &["NFC", "Nothing"], 1, "is not known"),
        (normalizers, &["Replace", "String"], 0, "argument"),
        (normalizers, &["Replace", "Text", "a", "b"], 0, "argument"),
        (normalizers, &["Replace", "String", "", "b"], 0, "argument"),
        (normalizers, &["Replace", "Regex", "(", "b"], 0, "expression"),
        (normalizers, &["Strip", "yes", "no"], 0, "argument"),
        (normalizers, &["Precompiled"], 0, "precompiled_charsmap"),
        (normalizers, &["Prepend", &long], 0, "too long"),
        (pre_tokenizers, &["Split", "Regex", "(?<=ab)", "Removed", "false"], 0, "expression"),
        (pre_tokenizers, &["Digits", "true", "Punctuation", "Lost"], 2, "argument"),
        (pre_tokenizers, &["FixedLength", "0"], 0, "argument"),
        (pre_tokenizers, &["Metaspace", "ab", "first", "true"], 0, "argument"),
        (pre_tokenizers, &["UnicodeScripts"], 0, "is not known"),
    ];
    for (key, list, at, expected) in lists {
        let error = encoded("bpe", &[(key, list.into())], "ab").unwrap_err();
        assert!(matches!(&error, Error::Step { index, .. } if *index == at), "{error:?}");
        assert!(error.to_string().starts_with(key) && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn other_keys_are_checked_too() {
    let ids: &[u32] = &[1, 6];
    for key in ["added_only_ids", "normalized_ids", "lstrip_ids", "rstrip_ids", "single_word_ids", "end_token_ids"] {
        let key = format!("smidgen.tokenizer.{key}");
        let error = encoded("bpe", &[(&key, ids.into())], "ab").unwrap_err();
        assert_eq!(error.to_string(), format!("{key} is 6, but there are 6 tokens"));
    }
    for merges in [&[2u32] as &[u32], &[2, 2], &[2, 9]] {
        let error = encoded("bpe", &[("smidgen.tokenizer.merges", merges.into())], "ab").unwrap_err();
        assert!(matches!(error, Error::Merge { .. }), "{error}");
    }
    let short: &[f64] = &[0.0];
    for (model, key, value) in [
        ("words", "smidgen.tokenizer.model", NewValue::from("words")),
        ("unigram", "smidgen.tokenizer.scores", short.into()),
        ("bpe", "smidgen.tokenizer.byte_fallback", "yes".into()),
        ("wordpiece", "smidgen.tokenizer.max_word_characters", "ten".into()),
        ("bpe", "smidgen.tokenizer.decoder", (&["CTC"] as &[&str]).into()),
        ("bpe", "smidgen.tokenizer.decoder", (&["ByteLevel", "ByteLevel"] as &[&str]).into()),
    ] {
        assert!(encoded(model, &[(key, value)], "ab").is_err(), "{key}");
    }
}

#[test]
fn texts_take_no_exponential_time_and_room() {
    let pre_tokenizers = "smidgen.tokenizer.pre_tokenizers";
    let text = "a".repeat(300) + "</s>";
    for expression in ["(?:a+)+b", "(?:a|ab?)*c", "(?=(?:a|a)+c)a", "(?>a+)+b"] {
        let steps: &[&str] = &["Split", "Regex", expression, "Isolated", "false"];
        let ids = encoded("bpe", &[(pre_tokenizers, steps.into())], &text).unwrap();
        assert_eq!(ids.len(), 301, "{expression}");
    }
}
