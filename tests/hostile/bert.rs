//! Encoders that must be refused, each with its exact error, built in code; and texts that are no reason to fall over.

use smidgen::encoder::text::{Options as BertOptions, Session as BertSession};
use smidgen::tokenizer::{self, Special, Tokenizer};
use smidgen::{Key, LoadError, Model, Options, RunError, Session, TensorName};
use smidgen_gguf::{Gguf, ValueKind};
use smidgen_quant::Format;
use smidgen_targets::{Serial, scalar};
use smidgen_tests::seeded::{self, File, Meta};
use smidgen_tests::seeded_bert::{self, Shape};

const MOST: u64 = 1 << 31;

fn good() -> File {
    seeded_bert::model(&Shape::default(), Format::Q8_0)
}

#[track_caller]
fn refused(file: File, expected: LoadError) {
    let bytes = file.bytes();
    let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).err().unwrap();
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
}

fn key(name: &'static str) -> Key {
    Key { architecture: "bert", name }
}

fn tensor(layer: impl Into<Option<usize>>, part: &'static str) -> TensorName {
    TensorName { layer: layer.into(), part }
}

/// Layers that are not run would leave embeddings that look well.
#[test]
fn what_the_model_does_not_use() {
    let file = good().set("bert.block_count", Meta::U32(1));
    refused(file, LoadError::SurplusTensor { name: "blk.1.attn_k.bias".into() });
    let file = good().with_floats("token_embd_norm.scale", &[1], &[1.0]);
    refused(file, LoadError::SurplusTensor { name: "token_embd_norm.scale".into() });
}

#[test]
fn the_good_model_is_accepted() {
    let bytes = good().bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    assert_eq!(model.text_encoder().unwrap().labels().unwrap().len(), 3);
}

#[test]
fn extents() {
    for name in ["block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length"] {
        let name_in_file = format!("bert.{name}");
        refused(good().without(&name_in_file), LoadError::MissingKey { key: key(name) });
        let file = good().set(&name_in_file, Meta::U32(0));
        refused(file, LoadError::KeyRange { key: key(name), value: 0, least: 1, most: MOST });
        let file = good().set(&name_in_file, Meta::Str("7"));
        refused(file, LoadError::KeyType { key: key(name), expected: "non-negative integer", found: ValueKind::Str });
    }
    let file = good().set("bert.block_count", Meta::U32(4097));
    refused(file, LoadError::KeyRange { key: key("block_count"), value: 4097, least: 1, most: 4096 });
    let file = good().set("bert.block_count", Meta::U32(3));
    refused(file, LoadError::MissingTensor { tensor: tensor(2, "attn_q.weight") });
    let heads = key("attention.head_count");
    let error = LoadError::NotDivisible { key: key("embedding_length"), value: 256, divisor_key: heads, divisor: 3 };
    refused(good().set("bert.attention.head_count", Meta::U32(3)), error);
    let file = seeded_bert::model(&Shape { width: 512, heads: 1, ..Shape::default() }, Format::Q8_0);
    refused(file, LoadError::KeyRange { key: heads, value: 1, least: 2, most: 512 });
    let file = good().set("bert.attention.head_count_kv", Meta::U32(2));
    refused(file, LoadError::Unsupported { key: key("attention.head_count_kv"), value: 2 });
    let file = good().set("bert.context_length", Meta::U32(1 << 25));
    refused(file, LoadError::KeyRange { key: key("context_length"), value: 1 << 25, least: 1, most: 1 << 24 });
    for value in [1, 81] {
        let file = good().set("bert.max_sequence_length", Meta::U32(value));
        let most = if value == 1 { MOST } else { 80 };
        refused(file, LoadError::KeyRange { key: key("max_sequence_length"), value: value.into(), least: 2, most });
    }
}

#[test]
fn numbers_and_names() {
    let epsilon = key("attention.layer_norm_epsilon");
    refused(good().without("bert.attention.layer_norm_epsilon"), LoadError::MissingKey { key: epsilon });
    for value in [0.0, -1e-12, f32::INFINITY] {
        let file = good().set("bert.attention.layer_norm_epsilon", Meta::F32(value));
        refused(file, LoadError::KeyNumber { key: epsilon, value });
    }
    let file = good().set("bert.pooling_type", Meta::U32(5));
    refused(file, LoadError::Unsupported { key: key("pooling_type"), value: 5 });
    let file = good().set("bert.feed_forward_activation", Meta::Str("swish"));
    refused(file, LoadError::KeyText { key: key("feed_forward_activation"), value: "swish".into() });
    for name in ["attention.causal", "pooling_normalize"] {
        let file = good().set(&format!("bert.{name}"), Meta::U32(1));
        refused(file, LoadError::KeyType { key: key(name), expected: "bool", found: ValueKind::U32 });
    }
    let problem = Key { architecture: "smidgen", name: "classifier.problem_type" };
    let file = good().set("smidgen.classifier.problem_type", Meta::Str("multi_label"));
    refused(file, LoadError::KeyText { key: problem, value: "multi_label".into() });
    let file = good().set("smidgen.classifier.problem_type", Meta::U32(1));
    refused(file, LoadError::KeyType { key: problem, expected: "string", found: ValueKind::U32 });
    let labels = key("classifier.output_labels");
    let file = good().set("bert.classifier.output_labels", Meta::Strs(vec!["one".into()]));
    refused(file, LoadError::KeyLength { key: labels, expected: 3, found: 1 });
    let file = good().set("bert.classifier.output_labels", Meta::U32s(vec![1, 2, 3]));
    refused(file, LoadError::KeyType { key: labels, expected: "array of strings", found: ValueKind::Array });
}

#[test]
fn tensors() {
    for part in ["token_embd.weight", "position_embd.weight", "token_embd_norm.weight"] {
        refused(good().without_tensor(part), LoadError::MissingTensor { tensor: tensor(None, part) });
    }
    for part in
        ["attn_q.weight", "attn_output_norm.weight", "ffn_up.weight", "ffn_down.weight", "layer_output_norm.weight"]
    {
        refused(good().without_tensor(&format!("blk.1.{part}")), LoadError::MissingTensor { tensor: tensor(1, part) });
    }
    let types = Key { architecture: "tokenizer", name: "ggml.token_type_count" };
    let file = good().set(&types.to_string(), Meta::U32(3));
    let (expected, found) = ([256, 3], [256, 2, 1, 1]);
    refused(file, LoadError::TensorShape { tensor: tensor(None, "token_types.weight"), expected, found });
    let file = good().set("bert.context_length", Meta::U32(81));
    let (expected, found) = ([256, 81], [256, 80, 1, 1]);
    refused(file, LoadError::TensorShape { tensor: tensor(None, "position_embd.weight"), expected, found });
    let mut file = good();
    file.tensor("blk.0.ffn_up.bias").data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(file, LoadError::WeightNotFinite { tensor: tensor(0, "ffn_up.bias"), index: 0 });
    // Biases and types may be absent.
    let file = good().without_tensor("blk.0.attn_q.bias").without_tensor("token_embd_norm.bias");
    let file = file.without_tensor("token_types.weight").without("tokenizer.ggml.token_type_count");
    let bytes = file.bytes();
    assert!(Model::parse(&[Gguf::parse(&bytes).unwrap()]).is_ok());
}

#[test]
fn what_a_model_is_not_made_for() {
    let bytes = good().bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let error = Session::new(&model, &Options::new(8), &scalar::KERNELS).err();
    assert_eq!(error, Some(RunError::Purpose { architecture: "bert", purpose: "write text" }));
    let bytes = seeded::model(&seeded::Shape::default(), Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    assert_eq!(model.text_encoder().err(), Some(RunError::Purpose { architecture: "llama", purpose: "embed text" }));
    let bytes = seeded_bert::model(&Shape { outputs: 0, ..Shape::default() }, Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let model = model.text_encoder().unwrap();
    let mut session = BertSession::new(model, &BertOptions::default(), &scalar::KERNELS).unwrap();
    let mut count = 0;
    session.classify(&seeded_bert::texts(&[3, 4], 97, 1), &Serial, |_, scores| {
        let purpose = "classify: it has no head";
        assert_eq!(scores, Err(RunError::Purpose { architecture: "bert", purpose }));
        count += 1;
    });
    assert_eq!(count, 2);
    let options = BertOptions { tokens: 0, ..BertOptions::default() };
    let error = BertSession::new(model, &options, &scalar::KERNELS).err();
    assert_eq!(error, Some(RunError::OptionRange { option: "tokens", value: 0.0 }));
}

/// A vocabulary of a few words.
fn words() -> File {
    seeded_bert::with_words(File::default())
}

#[track_caller]
fn encoded(file: &File, text: &str) -> Vec<u32> {
    let bytes = file.bytes();
    Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap().encode(text, Special::Text)
}

#[test]
fn special_ids_outside_of_the_vocabulary() {
    for (name, default) in [("cls", 101), ("seperator", 102), ("unknown", 100)] {
        let key = format!("tokenizer.ggml.{name}_token_id");
        for (file, id) in [(words().set(&key, Meta::U32(12)), 12), (words().without(&key), default)] {
            let bytes = file.bytes();
            match Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).err() {
                Some(tokenizer::Error::SpecialId { id: found, tokens: 12, .. }) => assert_eq!(found, id),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn words_and_pieces() {
    let file = words();
    assert_eq!(encoded(&file, "a b ab BA ! a!"), [4, 5, 4, 7, 5, 6, 9, 4, 9]);
    assert_eq!(encoded(&file, "c ac ca"), [1, 1, 1]);
    assert_eq!(encoded(&file, "[CLS]"), [1, 1, 1]);
    // The mark of a word's beginning is no letter of it, and does not begin a word inside of one.
    assert_eq!(encoded(&file, "▁a a▁a"), [1, 1]);
    assert_eq!(encoded(&file, "á Â\u{301} \u{301} e E"), [4, 4, 1, 1]);
    let cased = words().set("tokenizer.ggml.normalizer.lowercase", Meta::Bool(false));
    assert_eq!(encoded(&cased, "a A E é e\u{301}"), [4, 1, 11, 10, 1]);
    let accents = words().set("tokenizer.ggml.normalizer.strip_accents", Meta::Bool(false));
    assert_eq!(encoded(&accents, "É a\u{301}"), [10, 1]);
    assert_eq!(encoded(&file, &"a".repeat(100)), [[4].as_slice(), &[6; 99]].concat());
    assert_eq!(encoded(&file, &"a".repeat(101)), [1]);
    assert_eq!(encoded(&file, "a\0b\u{7f}\u{200b}\u{fffd}a a\u{b}b"), [4, 7, 6, 4, 7]);
    assert_eq!(encoded(&file, "a\u{3000}b\u{2028}a\u{a0}b"), [4, 5, 4, 5]);
}

/// Long texts take time in proportion to their length: were it the square, this would not end.
#[test]
fn a_text_of_a_million_characters() {
    let file = words();
    let million = 1_000_000;
    assert_eq!(encoded(&file, &"a".repeat(million)), [1]);
    assert_eq!(encoded(&file, &"a ".repeat(million / 2)).len(), million / 2);
    assert_eq!(encoded(&file, &"!".repeat(million)).len(), million);
    assert_eq!(encoded(&file, &"\u{301}".repeat(million)).len(), 0);
    assert_eq!(encoded(&file, &"中".repeat(million)).len(), million);
    let words: String = core::iter::repeat_n(format!("{} ", "ab".repeat(50)), million / 101).collect();
    assert_eq!(encoded(&file, &words).len(), million / 101 * 100);
}

/// Texts that are too long are truncated, of a pair the longer one first; the special tokens around them stay.
#[test]
fn long_texts_are_cut() {
    let file = words();
    let bytes = file.bytes();
    let tokenizer = Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap();
    let bytes = good().set("bert.max_sequence_length", Meta::U32(11)).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let model = model.text_encoder().unwrap();
    let text = |a: usize, b: Option<usize>| {
        let (a, b) = ("a ".repeat(a), b.map(|b| "b ".repeat(b)));
        let text = model.text(&tokenizer, &a, b.as_deref()).unwrap();
        assert_eq!((text.tokens.first(), text.tokens.last()), (Some(&2), Some(&3)));
        let count = |id: u32| text.tokens.iter().filter(|token| **token == id).count();
        assert_eq!(text.is_cut(), text.uncut > text.tokens.len());
        (count(4), count(5), text.second, text.uncut)
    };
    assert_eq!(text(0, None), (0, 0, 2, 2));
    assert_eq!(text(9, None), (9, 0, 11, 11));
    assert_eq!(text(500_000, None), (9, 0, 11, 500_002));
    assert_eq!(text(3, Some(5)), (3, 5, 5, 11));
    assert_eq!(text(3, Some(50)), (3, 5, 5, 56));
    assert_eq!(text(50, Some(1)), (7, 1, 9, 54));
    assert_eq!(text(50, Some(50)), (4, 4, 6, 103));
    let bytes = good().set("bert.max_sequence_length", Meta::U32(2)).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    assert!(model.text_encoder().unwrap().text(&tokenizer, "a", Some("b")).is_err());
}
