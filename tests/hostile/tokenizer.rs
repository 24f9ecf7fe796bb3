//! Tokenizers that must be refused, each with a stable error that names the field.

use smidgen::tokenizer::{Error, Special, Tokenizer, Warning};
use smidgen_gguf::{Gguf, NewValue, Writer};

type Entry<'a> = (&'a str, NewValue<'a>);

/// A file of nothing but metadata.
fn file(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.metadata(&format!("tokenizer.ggml.{key}"), *value).unwrap();
    }
    writer.write(&[], Vec::new()).unwrap()
}

/// Opens a good tokenizer with `changes`: entries that replace one of the same key, or are added.
fn open<'a>(good: &[Entry<'a>], changes: &[Entry<'a>]) -> Result<usize, Error> {
    let mut entries: Vec<Entry<'a>> = good.to_vec();
    for change in changes {
        entries.retain(|(key, _)| *key != change.0);
        entries.push(*change);
    }
    let bytes = file(&entries);
    let tokenizer = Tokenizer::parse(&Gguf::parse(&bytes).unwrap())?;
    tokenizer.encode_prompt("ab <s> ab", Special::Parse);
    Ok(tokenizer.vocab_len())
}

const SPM_TOKENS: &[&str] = &["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab"];
const SPM_SCORES: &[f32] = &[0.0, 0.0, 0.0, 0.0, -3.0, -2.0, -1.5, -1.0];
const SPM_TYPES: &[i32] = &[2, 3, 3, 6, 1, 1, 1, 1];

fn spm() -> Vec<Entry<'static>> {
    vec![
        ("model", "llama".into()),
        ("tokens", SPM_TOKENS.into()),
        ("scores", SPM_SCORES.into()),
        ("token_type", SPM_TYPES.into()),
    ]
}

const BPE_TOKENS: &[&str] = &["<|endoftext|>", "a", "b", "Ġ", "ab"];

fn bpe() -> Vec<Entry<'static>> {
    vec![
        ("model", "gpt2".into()),
        ("pre", "gpt-2".into()),
        ("tokens", BPE_TOKENS.into()),
        ("merges", (&["a b"] as &[&str]).into()),
    ]
}

fn without(entries: Vec<Entry<'static>>, key: &str) -> Vec<Entry<'static>> {
    entries.into_iter().filter(|entry| entry.0 != key).collect()
}

#[test]
fn the_good_files_are_good() {
    assert_eq!(open(&spm(), &[]), Ok(8));
    assert_eq!(open(&bpe(), &[]), Ok(5));
}

#[test]
fn row_48_special_id_outside_of_the_vocabulary() {
    for (name, key) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("eot_token_id", "tokenizer.ggml.eot_token_id"),
        ("eom_token_id", "tokenizer.ggml.eom_token_id"),
    ] {
        for (good, tokens) in [(spm(), 8), (bpe(), 5)] {
            let last = u32::try_from(tokens - 1).unwrap();
            assert_eq!(open(&good, &[(name, last.into())]), Ok(tokens), "{name}");
            let error = |id| Err(Error::SpecialId { key, id, tokens });
            assert_eq!(open(&good, &[(name, (last + 1).into())]), error(i64::from(last) + 1), "{name}");
            assert_eq!(open(&good, &[(name, u32::MAX.into())]), error(i64::from(u32::MAX)), "{name}");
            assert_eq!(open(&good, &[(name, (-1i32).into())]), error(-1), "{name}");
            assert_eq!(open(&good, &[(name, (1u64 << 32).into())]), error(1 << 32), "{name}");
            assert_eq!(open(&good, &[(name, u64::MAX.into())]), error(i64::MAX), "{name}");
        }
    }
}

#[test]
fn row_48_default_special_id_outside_of_the_vocabulary() {
    let small = |count| {
        [
            ("tokens", SPM_TOKENS[..count].into()),
            ("scores", SPM_SCORES[..count].into()),
            ("token_type", SPM_TYPES[..count].into()),
        ]
    };
    assert_eq!(open(&spm(), &small(3)), Ok(3));
    let eos = Error::SpecialId { key: "tokenizer.ggml.eos_token_id", id: 2, tokens: 2 };
    assert_eq!(open(&spm(), &small(2)), Err(eos));
    let bos = Error::SpecialId { key: "tokenizer.ggml.bos_token_id", id: 1, tokens: 1 };
    assert_eq!(open(&spm(), &small(1)), Err(bos));
}

/// What a tokenizer warns of, and its tokens for padding and the unknown.
type Dropped = (Vec<Warning>, Option<u32>, Option<u32>);

fn warned(good: &[Entry<'_>], changes: &[Entry<'_>]) -> Result<Dropped, Error> {
    let entries: Vec<_> = good.iter().filter(|entry| changes.iter().all(|change| change.0 != entry.0)).collect();
    let bytes = file(&entries.into_iter().chain(changes).copied().collect::<Vec<_>>());
    let tokenizer = Tokenizer::parse(&Gguf::parse(&bytes).unwrap())?;
    // What no token spells becomes nothing without an unknown token.
    let ids = tokenizer.encode_prompt("ab \u{1F600} <s> ab", Special::Parse);
    assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
    Ok((tokenizer.warnings().to_vec(), tokenizer.padding(), tokenizer.unknown()))
}

#[test]
fn row_48_special_id_that_no_text_needs_is_dropped_with_a_warning() {
    for name in [
        "padding_token_id",
        "unknown_token_id",
        "mask_token_id",
        "seperator_token_id",
        "cls_token_id",
        "fim_pre_token_id",
        "fim_suf_token_id",
        "fim_mid_token_id",
        "fim_pad_token_id",
        "fim_rep_token_id",
        "fim_sep_token_id",
        "prefix_token_id",
        "suffix_token_id",
        "middle_token_id",
    ] {
        let key = format!("tokenizer.ggml.{name}");
        for (good, tokens) in [(spm(), 8usize), (bpe(), 5), (unigram(), 8)] {
            let last = u32::try_from(tokens - 1).unwrap();
            assert_eq!(warned(&good, &[(name, last.into())]).unwrap().0, [], "{key}");
            for (value, id) in [
                (NewValue::from(last + 1), i64::from(last) + 1),
                (u32::MAX.into(), u32::MAX.into()),
                ((-1i32).into(), -1),
                ((1u64 << 32).into(), 1 << 32),
                (u64::MAX.into(), i64::MAX),
            ] {
                let (warnings, padding, unknown) = warned(&good, &[(name, value)]).unwrap();
                let [Warning::SpecialId { key: found, id: of, tokens: all }] = warnings.as_slice() else {
                    panic!("{key}: {warnings:?}")
                };
                assert_eq!((*found, *of, *all), (key.as_str(), id, tokens));
                assert_eq!(
                    warnings[0].to_string(),
                    format!("{key} is {id}, but there are {tokens} tokens; it is ignored")
                );
                assert!(name != "padding_token_id" || padding.is_none());
                assert!(name != "unknown_token_id" || unknown.is_none());
            }
        }
    }
}

const WORDPIECE_TOKENS: &[&str] = &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁ab"];

fn wordpiece() -> Vec<Entry<'static>> {
    vec![
        ("model", "bert".into()),
        ("tokens", WORDPIECE_TOKENS.into()),
        ("token_type", (&[3, 2, 3, 3, 1] as &[i32]).into()),
        ("padding_token_id", 0u32.into()),
        ("unknown_token_id", 1u32.into()),
        ("cls_token_id", 2u32.into()),
        ("seperator_token_id", 3u32.into()),
    ]
}

#[test]
fn row_48_wordpiece_needs_its_ends_and_its_unknown_token() {
    let fine = (Vec::new(), Some(0), Some(1));
    assert_eq!(warned(&wordpiece(), &[]), Ok(fine));
    for (name, key) in [
        ("unknown_token_id", "tokenizer.ggml.unknown_token_id"),
        ("cls_token_id", "tokenizer.ggml.cls_token_id"),
        ("seperator_token_id", "tokenizer.ggml.seperator_token_id"),
    ] {
        let error = Err(Error::SpecialId { key, id: 5, tokens: 5 });
        assert_eq!(warned(&wordpiece(), &[(name, 5u32.into())]), error);
    }
    // Where it is not given it is token 100.
    let error = Err(Error::SpecialId { key: "tokenizer.ggml.unknown_token_id", id: 100, tokens: 5 });
    assert_eq!(warned(&without(wordpiece(), "unknown_token_id"), &[]), error);
    for (name, key) in [
        ("padding_token_id", "tokenizer.ggml.padding_token_id"),
        ("mask_token_id", "tokenizer.ggml.mask_token_id"),
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ] {
        let (warnings, ..) = warned(&wordpiece(), &[(name, 5u32.into())]).unwrap();
        assert_eq!(warnings, [Warning::SpecialId { key, id: 5, tokens: 5 }]);
    }
}

#[test]
fn texts_that_are_not_utf8_are_refused_where_they_are_read() {
    for (good, mark, byte, key) in [
        (bpe(), &b"<|endoftext|>"[..], 2, "tokenizer.ggml.tokens"),
        (bpe(), b"gpt-2", 0, "tokenizer.ggml.pre"),
        (spm(), b"<unk>", 4, "tokenizer.ggml.tokens"),
        (wordpiece(), b"[CLS]", 1, "tokenizer.ggml.tokens"),
        (bpe(), b"gpt2", 3, "tokenizer.ggml.model"),
    ] {
        let mut bytes = file(&good);
        let place = bytes.windows(mark.len()).position(|part| part == mark).unwrap();
        bytes[place + byte] = 0xFF;
        let error = Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).map(|_| ()).unwrap_err();
        let offset = place as u64 - 8;
        assert_eq!(error, Error::NotUtf8 { key, offset });
        assert_eq!(error.to_string(), format!("{key} is not UTF-8 (at byte {offset})"));
    }
}

#[test]
fn row_48_special_id_of_the_wrong_type() {
    let key = "tokenizer.ggml.bos_token_id";
    for value in [NewValue::from("1"), NewValue::from(1.0f32), NewValue::from(true), NewValue::from(&[1u32] as &[u32])]
    {
        assert_eq!(open(&spm(), &[("bos_token_id", value)]), Err(Error::WrongType { key, expected: "integer" }));
    }
}

#[test]
fn row_48_bos_or_eos_wanted_but_not_given() {
    let missing = |key| Err(Error::Missing { key });
    assert_eq!(open(&bpe(), &[("add_bos_token", true.into())]), missing("tokenizer.ggml.bos_token_id"));
    assert_eq!(open(&bpe(), &[("add_eos_token", true.into())]), missing("tokenizer.ggml.eos_token_id"));
    assert_eq!(open(&bpe(), &[("pre", "llama-bpe".into())]), missing("tokenizer.ggml.bos_token_id"));
}

#[test]
fn row_49_scores_of_the_wrong_length() {
    let key = "tokenizer.ggml.scores";
    for found in [0, 1, 7, 9] {
        let scores = vec![0.0f32; found];
        let error = Error::WrongLength { key, found, expected: 8 };
        assert_eq!(open(&spm(), &[("scores", scores.as_slice().into())]), Err(error));
    }
}

#[test]
fn row_49_scores_of_the_wrong_type() {
    let error = Error::WrongType { key: "tokenizer.ggml.scores", expected: "array of f32" };
    for value in [
        NewValue::from(&[0.0f64; 8] as &[f64]),
        NewValue::from(&[0u8; 8] as &[u8]),
        NewValue::from(&[""; 8] as &[&str]),
        NewValue::from(0.0f32),
    ] {
        assert_eq!(open(&spm(), &[("scores", value)]), Err(error.clone()));
    }
}

#[test]
fn row_49_token_type_of_the_wrong_length() {
    let key = "tokenizer.ggml.token_type";
    for (good, expected) in [(spm(), 8), (bpe(), 5)] {
        for found in [0, 1, expected - 1, expected + 1] {
            let types = vec![1i32; found];
            let error = Error::WrongLength { key, found, expected };
            assert_eq!(open(&good, &[("token_type", types.as_slice().into())]), Err(error));
        }
    }
}

#[test]
fn row_49_token_type_of_the_wrong_type() {
    let error = Error::WrongType { key: "tokenizer.ggml.token_type", expected: "array of i32" };
    for value in [
        NewValue::from(&[1i64; 8] as &[i64]),
        NewValue::from(&[1i8; 8] as &[i8]),
        NewValue::from(&[1.0f32; 8] as &[f32]),
        NewValue::from("normal"),
    ] {
        assert_eq!(open(&spm(), &[("token_type", value)]), Err(error.clone()));
    }
}

#[test]
fn row_50_malformed_byte_token() {
    for text in ["<0x-1>", "<0x+1>", "<0x>", "<0x0>", "<0x00A>", "<0xG0>", "<0x0A", "0x0A", "", "\n", "<0x€>"] {
        let mut tokens = SPM_TOKENS.to_vec();
        tokens[3] = text;
        let error = Err(Error::ByteToken { id: 3 });
        assert_eq!(open(&spm(), &[("tokens", tokens.as_slice().into())]), error, "{text:?}");
    }
    let mut tokens = BPE_TOKENS.to_vec();
    tokens[2] = "<0x-1>";
    let changes = [
        ("tokens", tokens.as_slice().into()),
        ("token_type", (&[1, 1, 6, 1, 1] as &[i32]).into()),
        ("merges", (&[] as &[&str]).into()),
    ];
    assert_eq!(open(&bpe(), &changes), Err(Error::ByteToken { id: 2 }));
}

#[test]
fn row_51_merges_that_name_no_token() {
    for merge in ["x y", "a x", "x b", "b a", "a  b", "a b b", "ab", "a ", " b", " ", "", "ab ", "a\u{a0}b"] {
        let error = Err(Error::Merge { index: 1 });
        assert_eq!(open(&bpe(), &[("merges", (&["a b", merge] as &[&str]).into())]), error, "{merge:?}");
    }
    // Both parts must be tokens even where their joined text is one.
    let tokens: &[&str] = &["<|endoftext|>", "a", "b", "abb", "ab"];
    for (index, merges) in [(0, &["a bb"] as &[&str]), (1, &["a b", "a bb"])] {
        assert_eq!(open(&bpe(), &[("tokens", tokens.into()), ("merges", merges.into())]), Err(Error::Merge { index }));
    }
}

#[test]
fn merges_of_the_wrong_type() {
    let error = Error::WrongType { key: "tokenizer.ggml.merges", expected: "array of strings" };
    assert_eq!(open(&bpe(), &[("merges", (&[1i32, 2] as &[i32]).into())]), Err(error.clone()));
    assert_eq!(open(&bpe(), &[("merges", "a b".into())]), Err(error));
}

#[test]
fn unknown_model_and_rules_are_named() {
    let name = || "no-such".to_string();
    assert_eq!(open(&bpe(), &[("model", "no-such".into())]), Err(Error::UnknownModel { name: name() }));
    assert_eq!(open(&bpe(), &[("pre", "no-such".into())]), Err(Error::UnknownPre { name: name() }));
    assert!(Error::UnknownPre { name: name() }.to_string().contains("no-such"));
}

#[test]
fn missing_keys_are_named() {
    for (good, name, key) in [
        (spm(), "model", "tokenizer.ggml.model"),
        (spm(), "tokens", "tokenizer.ggml.tokens"),
        (spm(), "scores", "tokenizer.ggml.scores"),
        (bpe(), "tokens", "tokenizer.ggml.tokens"),
        (bpe(), "merges", "tokenizer.ggml.merges"),
    ] {
        assert_eq!(open(&without(good, name), &[]), Err(Error::Missing { key }));
    }
}

#[test]
fn keys_of_the_wrong_type_are_named() {
    for (name, key, expected) in [
        ("model", "tokenizer.ggml.model", "string"),
        ("pre", "tokenizer.ggml.pre", "string"),
        ("tokens", "tokenizer.ggml.tokens", "array of strings"),
        ("add_bos_token", "tokenizer.ggml.add_bos_token", "bool"),
        ("add_eos_token", "tokenizer.ggml.add_eos_token", "bool"),
    ] {
        assert_eq!(open(&bpe(), &[(name, 1u32.into())]), Err(Error::WrongType { key, expected }));
    }
    let key = "tokenizer.ggml.add_space_prefix";
    assert_eq!(open(&spm(), &[("add_space_prefix", "no".into())]), Err(Error::WrongType { key, expected: "bool" }));
}

#[test]
fn a_vocabulary_of_no_tokens() {
    let none: &[&str] = &[];
    assert_eq!(open(&bpe(), &[("tokens", none.into())]), Err(Error::VocabularySize { tokens: 0 }));
}

#[test]
fn odd_but_harmless_files_open() {
    // Equal and empty tokens, kinds that no one knows, scores that are not numbers.
    let tokens: &[&str] = &["", "", "a", "a", "▁", "b", "ab", "▁ab"];
    let scores: &[f32] = &[f32::NAN, f32::INFINITY, -0.0, 0.0, f32::NEG_INFINITY, f32::NAN, f32::NAN, -f32::NAN];
    let types: &[i32] = &[i32::MIN, i32::MAX, 0, 1, 4, 5, 3, 7];
    let changes = [("tokens", tokens.into()), ("scores", scores.into()), ("token_type", types.into())];
    assert_eq!(open(&spm(), &changes), Ok(8));
}

const UNIGRAM_TOKENS: &[&str] = &["<pad>", "</s>", "<unk>", "▁", "a", "b", "ab", "<s>"];
const UNIGRAM_SCORES: &[f32] = &[0.0, 0.0, 0.0, -3.0, -2.0, -1.5, -1.0, 0.0];
const UNIGRAM_TYPES: &[i32] = &[3, 3, 2, 1, 1, 1, 1, 3];

fn unigram() -> Vec<Entry<'static>> {
    vec![
        ("model", "t5".into()),
        ("tokens", UNIGRAM_TOKENS.into()),
        ("scores", UNIGRAM_SCORES.into()),
        ("token_type", UNIGRAM_TYPES.into()),
        ("add_space_prefix", true.into()),
    ]
}

#[test]
fn unigram_of_wrong_lengths_types_and_ids() {
    assert_eq!(open(&unigram(), &[]), Ok(8));
    let key = "tokenizer.ggml.scores";
    assert_eq!(open(&without(unigram(), "scores"), &[]), Err(Error::Missing { key }));
    for found in [0, 1, 7, 9] {
        let scores = vec![0.0f32; found];
        let error = Error::WrongLength { key, found, expected: 8 };
        assert_eq!(open(&unigram(), &[("scores", scores.as_slice().into())]), Err(error));
    }
    for key in ["tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.add_space_prefix"] {
        let name = key.rsplit('.').next().unwrap();
        assert_eq!(open(&unigram(), &[(name, 1u32.into())]), Err(Error::WrongType { key, expected: "bool" }));
    }
    // By default the ends of texts are tokens 1, unknown is 2 and padding 0.
    let small = [
        ("tokens", UNIGRAM_TOKENS[..2].into()),
        ("scores", UNIGRAM_SCORES[..2].into()),
        ("token_type", UNIGRAM_TYPES[..2].into()),
    ];
    let warning = Warning::SpecialId { key: "tokenizer.ggml.unknown_token_id", id: 2, tokens: 2 };
    assert_eq!(warned(&unigram(), &small), Ok((vec![warning], Some(0), None)));
    let missing = Err(Error::Missing { key: "tokenizer.ggml.bos_token_id" });
    assert_eq!(open(&unigram(), &[("add_bos_token", true.into())]), missing);
}

#[test]
fn scores_that_are_no_numbers_are_harmless() {
    for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0] {
        for others in [score, -1.0] {
            let mut scores = [others; 8];
            scores[5] = score;
            assert_eq!(open(&unigram(), &[("scores", scores.as_slice().into())]), Ok(8));
            let types: &[i32] = &[3, 3, 2, 4, 5, 1, 6, 9];
            let changes = [("scores", scores.as_slice().into()), ("token_type", types.into())];
            assert_eq!(open(&unigram(), &changes), Err(Error::ByteToken { id: 6 }));
            let types: &[i32] = &[3, 3, 2, 4, 5, 2, 0, 9];
            let changes = [("scores", scores.as_slice().into()), ("token_type", types.into())];
            assert_eq!(open(&unigram(), &changes), Ok(8));
        }
    }
}

/// A table of normalizations: a trie of these units, and replacements.
fn charsmap(units: &[u32], replacements: &[u8]) -> Vec<u8> {
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend_from_slice(replacements);
    bytes
}

#[test]
fn tables_of_normalizations_that_are_none() {
    let good = charsmap(&[0; 4], b"x\0");
    assert_eq!(open(&unigram(), &[("precompiled_charsmap", good.as_slice().into())]), Ok(8));
    let mut tables: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0; 3], vec![0; 4]];
    tables.extend([charsmap(&[], b"x\0"), charsmap(&[0], b""), charsmap(&[0], b"x"), charsmap(&[0], b"\xFF\0")]);
    tables.push(charsmap(&[0], &[&[b'x'; 1025][..], b"\0"].concat()));
    for length in [1u32, 2, 3, 5, 15, 17, 18, 19, 100, u32::MAX, u32::MAX - 3] {
        tables.push([&length.to_le_bytes()[..], &good[4..]].concat());
    }
    for table in tables {
        let bytes = table.len();
        let opened = open(&unigram(), &[("precompiled_charsmap", table.as_slice().into())]);
        assert_eq!(opened, Err(Error::Charsmap { bytes }), "{bytes}");
    }
    let text = Error::Charsmap { bytes: 3 }.to_string();
    assert!(text.contains("precompiled_charsmap") && !text.contains('\n'));
    let error = Error::WrongType { key: "tokenizer.ggml.precompiled_charsmap", expected: "array of u8" };
    for value in [NewValue::from("x"), NewValue::from(1u32), NewValue::from(&[0u32; 8] as &[u32])] {
        assert_eq!(open(&unigram(), &[("precompiled_charsmap", value)]), Err(error.clone()));
    }
}

#[test]
fn tries_that_lead_astray_normalize_nothing() {
    // Units that lead out of the trie, to themselves, or to replacements that are not there or begin within a character.
    let a = u32::from(b'a');
    for root in [0, 1 << 10, 96 << 10, 1 << 9 | 1 << 10, u32::MAX, u32::MAX << 10] {
        for unit in [a, a | 1 << 8, a | 1 << 8 | 1 << 10, a | 1 << 8 | u32::MAX << 9 & !(1 << 31), u32::MAX] {
            for leaf in [0, 1, 2, 1 << 31, 1 << 31 | 1, 1 << 31 | 2, u32::MAX, u32::MAX >> 1] {
                let mut units = vec![leaf; 256];
                units[0] = root;
                for at in [97, 96, 1] {
                    units[at] = unit;
                }
                let table = charsmap(&units, "é\0".as_bytes());
                assert_eq!(open(&unigram(), &[("precompiled_charsmap", table.as_slice().into())]), Ok(8));
            }
        }
    }
}

#[test]
fn kinds_of_tokenizers_that_are_not_there_are_named() {
    for name in ["rwkv", "plamo2", "hybriddna", "none", "no_vocab", "test", ""] {
        let error = open(&bpe(), &[("model", name.into())]).unwrap_err();
        assert_eq!(error, Error::UnknownModel { name: name.to_string() });
        assert!(error.to_string().contains(&format!("{name:?}")));
    }
    for name in ["", " ", "gpt-2 phi-2", "gpt-2 ", "GPT-2", "qwen", "llama"] {
        assert_eq!(open(&bpe(), &[("pre", name.into())]), Err(Error::UnknownPre { name: name.to_string() }));
    }
}
