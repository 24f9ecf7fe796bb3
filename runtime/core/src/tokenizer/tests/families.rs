//! Families that [`Made`](super::Made) does not make: Unigram, and BPE over characters.

extern crate std;

use super::super::{Error, Special, Tokenizer};
use super::{BYTE, CONTROL, NORMAL, UNKNOWN, USER, char_of_byte, pieces};
use smidgen_gguf::{Gguf, NewValue, Writer};
use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

type Token<'a> = (&'a str, i32, f32);

/// Opens a tokenizer of these tokens and keys.
fn open<T>(
    tokens: &[Token<'_>],
    keys: &[(&str, NewValue<'_>)],
    check: impl FnOnce(&Tokenizer<'_>) -> T,
) -> Result<T, Error> {
    let mut writer = Writer::new();
    let texts: Vec<&str> = tokens.iter().map(|token| token.0).collect();
    let kinds: Vec<i32> = tokens.iter().map(|token| token.1).collect();
    let scores: Vec<f32> = tokens.iter().map(|token| token.2).collect();
    let common: [(&str, NewValue<'_>); 3] = [
        ("tokens", texts.as_slice().into()),
        ("token_type", kinds.as_slice().into()),
        ("scores", scores.as_slice().into()),
    ];
    for (key, value) in common.iter().chain(keys) {
        let key = if key.starts_with("general.") { (*key).to_owned() } else { format!("tokenizer.ggml.{key}") };
        writer.metadata(&key, *value).unwrap();
    }
    let bytes = writer.write(&[], Vec::new()).unwrap();
    Ok(check(&Tokenizer::parse(&Gguf::parse(&bytes).unwrap())?))
}

/// A table of normalizations, each node of whose trie has 256 units of its own.
fn charsmap(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut units = vec![0u32; 256];
    let mut replacements = String::new();
    for (key, replacement) in entries {
        let mut at = 0usize;
        for (index, &byte) in key.as_bytes().iter().enumerate() {
            let mut base = (units[at] >> 10) as usize ^ if index == 0 { 0 } else { at };
            if units[at] >> 10 == 0 {
                base = units.len();
                units.resize(base + 256, 0);
                units[at] |= ((base ^ if index == 0 { 0 } else { at }) as u32) << 10;
            }
            at = base ^ usize::from(byte);
            units[at] |= u32::from(byte);
        }
        let mut base = (units[at] >> 10) as usize ^ at;
        if units[at] >> 10 == 0 {
            base = units.len();
            units.resize(base + 256, 0);
            units[at] |= ((base ^ at) as u32) << 10;
        }
        units[at] |= 1 << 8;
        units[base] = 1 << 31 | replacements.len() as u32;
        replacements.push_str(replacement);
        replacements.push('\0');
    }
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(replacements.bytes());
    bytes
}

const UNIGRAM: &[Token<'_>] = &[
    ("<pad>", CONTROL, 0.0),
    ("</s>", CONTROL, 0.0),
    ("<unk>", UNKNOWN, 0.0),
    ("▁", NORMAL, -3.0),
    ("a", NORMAL, -4.0),
    ("b", NORMAL, -4.0),
    ("ab", NORMAL, -5.0),
    ("▁ab", NORMAL, -6.0),
    ("aba", NORMAL, -7.0),
    ("ba", NORMAL, -8.5),
    ("<x>", USER, -50.0),
    ("fi", NORMAL, -6.0),
    ("é", NORMAL, -6.0),
];

#[test]
fn unigram_takes_the_best_sum() {
    let map = charsmap(&[("ﬁ", "fi"), ("e\u{301}", "é"), ("\u{200b}", ""), ("\t", " "), ("ab\u{301}", "b")]);
    let keys = [
        ("model", NewValue::from("t5")),
        ("precompiled_charsmap", map.as_slice().into()),
        ("add_space_prefix", true.into()),
        ("remove_extra_whitespaces", true.into()),
    ];
    let result = open(UNIGRAM, &keys, |tokenizer| {
        let split = |text| pieces(tokenizer, text, Special::Text);
        assert_eq!(split("ab"), ["▁ab"]);
        assert_eq!(split("aba"), ["▁", "aba"], "-10 is more than -6 - 4 that came later");
        assert_eq!(split("abab"), ["▁ab", "ab"]);
        assert_eq!(split("xyz a"), ["▁", "<unk>", "▁", "a"], "unknown characters are one token");
        assert_eq!(split("ﬁe\u{301}\u{200b}é"), ["▁", "fi", "é", "é"]);
        assert_eq!(split("ab\u{301}"), ["▁", "b"], "the longest entry");
        assert_eq!(split("a<x>b"), ["▁", "a", "<x>", "▁", "b"]);
        assert_eq!(split("  a\t b  "), ["▁", "a", "▁", "b"]);
        assert_eq!(split(" \t"), [""; 0]);
        assert_eq!(split("</s>")[..2], ["▁", "<unk>"]);
        assert_eq!(tokenizer.encode_prompt("ab", Special::Text), [7, 1], "an EOS, no BOS");
        assert_eq!((tokenizer.eos(), tokenizer.unknown(), tokenizer.padding()), (Some(1), Some(2), Some(0)));
        assert_eq!(tokenizer.decode(&tokenizer.encode("ab a<x>b", Special::Text), false), "ab a<x>b");
        let long = "ab".repeat(1 << 16);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&long, Special::Text), false), long);
    });
    assert_eq!(result, Ok(()));
    // Without the flags every space stays, and none is added.
    let keys = [("model", NewValue::from("t5"))];
    let result = open(UNIGRAM, &keys, |tokenizer| {
        let split = |text| pieces(tokenizer, text, Special::Text);
        assert_eq!(split("ab  a "), ["ab", "▁", "▁", "a", "▁"]);
        assert_eq!(tokenizer.decode(&tokenizer.encode(" ab  a ", Special::Text), false), " ab  a ");
    });
    assert_eq!(result, Ok(()));
}

#[test]
fn a_mask_swallows_spaces_where_its_models_say_so() {
    let mut tokens = UNIGRAM.to_vec();
    tokens.push(("<mask>", CONTROL, 0.0));
    for (architecture, spaces) in [("nomic-bert-moe", 0), ("jina-bert-v3", 0), ("bert", 2)] {
        let keys = [("model", NewValue::from("t5")), ("general.architecture", architecture.into())];
        let result = open(&tokens, &keys, |tokenizer| {
            let mut expected = vec!["a".to_string()];
            expected.extend(vec!["▁".to_string(); spaces]);
            expected.extend(["<mask>", "b"].map(str::to_owned));
            assert_eq!(pieces(tokenizer, "a  <mask>b", Special::Parse), expected, "{architecture}");
        });
        assert_eq!(result, Ok(()));
    }
}

#[test]
fn bpe_over_characters() {
    let tokens: Vec<Token<'_>> = [
        ("<bos>", CONTROL),
        ("<unk>", UNKNOWN),
        ("<0xC3>", BYTE),
        ("<0xA9>", BYTE),
        ("\n", NORMAL),
        ("\n\n", NORMAL),
        ("\n\n\n", NORMAL),
        ("▁", NORMAL),
        ("a", NORMAL),
        ("b", NORMAL),
        ("ab", NORMAL),
        ("▁ab", NORMAL),
        ("ab▁ab", NORMAL),
        ("字", NORMAL),
    ]
    .map(|(text, kind)| (text, kind, 0.0))
    .to_vec();
    let merges: &[&str] = &["a b", "ab ▁ab", "▁ ab", "\n \n"];
    let keys = [("model", NewValue::from("gemma4")), ("merges", merges.into()), ("bos_token_id", 0u32.into())];
    let result = open(&tokens, &keys, |tokenizer| {
        let split = |text| pieces(tokenizer, text, Special::Text);
        assert_eq!(split("ab ab"), ["ab▁ab"], "merges reach over spaces");
        assert_eq!(split("a\n\n\nb"), ["a", "\n\n\n", "b"], "line feeds that are a token");
        assert_eq!(split("\n\n\n\n"), ["\n\n", "\n\n"]);
        assert_eq!(split("aé字ü"), ["a", "<0xC3>", "<0xA9>", "字", "<0xC3>"], "bytes, as far as there are any");
        assert_eq!(split("<bos>"), ["b"], "control tokens do not arise from text");
        assert!(tokenizer.adds_bos());
        for text in [" ab  ab", "é\n\n\n\n字", "  "] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, Special::Text), false), text);
        }
        let mut decoder = tokenizer.decoder(false);
        assert_eq!([2, 3, 11].map(|id| decoder.push(id).to_owned()), ["", "é", " ab"]);
    });
    assert_eq!(result, Ok(()));
    let keys = [keys[0], keys[1], keys[2], ("add_bos_token", false.into())];
    assert_eq!(
        open(&tokens, &keys, |tokenizer| tokenizer.adds_bos()),
        Ok(true),
        "as llama.cpp has it, against old files"
    );
    let keys = [("model", NewValue::from("whitespace")), ("merges", merges.into())];
    let result = open(&tokens, &keys, |tokenizer| {
        assert_eq!(pieces(tokenizer, " ab\u{3000}ab a ", Special::Text), ["ab", "ab", "a"]);
        assert_eq!(pieces(tokenizer, "AB", Special::Text), [""; 0]);
    });
    assert_eq!(result, Ok(()));
    let keys = [keys[0], keys[1], ("normalizer.lowercase", true.into())];
    let split = open(&tokens, &keys, |tokenizer| pieces(tokenizer, "AB aB", Special::Text));
    assert_eq!(split, Ok(vec!["ab".to_string(), "ab".to_string()]));
}

#[test]
fn texts_are_composed_where_the_models_do() {
    for (pre, composes) in
        [("qwen2", true), ("command-r", true), ("mpt", true), ("qwen35", false), ("llama-bpe", false)]
    {
        let letters: Vec<String> = (0..=255).map(|byte| char_of_byte(byte).to_string()).collect();
        let tokens: Vec<Token<'_>> = letters.iter().map(|letter| (letter.as_str(), NORMAL, 0.0)).collect();
        let none: &[&str] = &[];
        let keys = [
            ("model", NewValue::from("gpt2")),
            ("pre", pre.into()),
            ("merges", none.into()),
            ("bos_token_id", 0u32.into()),
        ];
        let ids = open(&tokens, &keys, |tokenizer| tokenizer.encode("e\u{301}", Special::Text)).unwrap();
        let expected: &[u32] = if composes { &[0xC3, 0xA9] } else { &[0x65, 0xCC, 0x81] };
        assert_eq!(ids, expected, "{pre}");
    }
}
