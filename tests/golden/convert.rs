//! Checkpoints and the files that are made of them.

use serde_json::{Value, json};
use smidgen_convert::{
    CONFIG, Checkpoint, Error, File, INDEX, Mixture, Options, WEIGHTS, convert, pack, quantize, shards,
};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::checkpoint::{Stored, converted, llama, safetensors};
use smidgen_tests::seeded::{self, Shape};
use smidgen_tests::{Random, at_most};

pub(crate) fn small() -> Shape {
    Shape { heads: 8, kv_heads: 4, head_size: 32, rotated: 32, biases: true, ..Shape::default() }
}

fn with(mixture: Mixture) -> Options {
    Options { mixture: Some(mixture), ..Options::default() }
}

#[test]
fn a_llama_comes_back_from_its_checkpoint() {
    let file = chat_model(&small(), Format::F32);
    let (files, tensors) = llama(&file);
    let made = converted(&files, &tensors, Options::default()).unwrap();
    let (made, file) = (Gguf::parse(&made).unwrap(), file.bytes());
    let file = Gguf::parse(&file).unwrap();
    assert_eq!(made.tensors().count(), file.tensors().count());
    for tensor in file.tensors() {
        let found = made.tensor(tensor.name).unwrap_or_else(|| panic!("{}", tensor.name));
        assert_eq!((found.shape(), found.kind), (tensor.shape(), tensor.kind), "{}", tensor.name);
        assert!(found.data == tensor.data, "{}", tensor.name);
    }
    for (key, value) in file.metadata() {
        let found = made.get(key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!(format!("{found:?}"), format!("{value:?}"), "{key}");
    }
    assert_eq!(made.get("general.file_type").and_then(|value| value.as_u64()), Some(0));
    assert_eq!(made.get("tokenizer.ggml.add_bos_token").and_then(|value| value.as_bool()), Some(false));
}

#[test]
fn formats_are_those_of_the_encoders() {
    let file = seeded::model(&Shape { tied: false, ..small() }, Format::F32);
    let bytes = file.bytes();
    let plain = Gguf::parse(&bytes).unwrap();
    let mixtures =
        [Mixture::Q4_K_M, Mixture::F16, Mixture::BF16, Mixture::Q8_0, Mixture::Q4_0, Mixture::IQ4_NL, Mixture::Q2_K];
    for mixture in mixtures.into_iter().take(at_most(2, mixtures.len(), "mixtures")) {
        let mut out = Vec::new();
        quantize(&[&bytes], with(mixture), &mut out, &mut |_, _| ()).unwrap();
        let made = Gguf::parse(&out).unwrap();
        assert_eq!(made.get("general.file_type").and_then(|value| value.as_u64()), Some(mixture.file_type().into()));
        for tensor in plain.tensors() {
            let found = made.tensor(tensor.name).unwrap();
            let format = Format::from_id(found.kind.id()).unwrap();
            assert_eq!(format != Format::F32, tensor.n_dims == 2, "{} {}", mixture.name(), tensor.name);
            let values: Vec<f32> = tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let mut expected = vec![0; format.bytes(values.len()).unwrap()];
            format.encode(&values, &mut expected).unwrap();
            assert!(found.data == expected, "{} {}", mixture.name(), tensor.name);
        }

        // What has its format is not touched, and panels change nothing but the order.
        let (mut again, mut packed, mut expected, mut unpacked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        quantize(&[&out], with(mixture), &mut again, &mut |_, _| ()).unwrap();
        assert!(again == out, "{}", mixture.name());
        quantize(
            &[&bytes],
            Options { mixture: Some(mixture), packed: true, ..Options::default() },
            &mut packed,
            &mut |_, _| (),
        )
        .unwrap();
        if pack(&out, &mut expected, &mut |_| ()).is_ok() {
            assert!(packed == expected, "{}", mixture.name());
            quantize(&[&packed], with(mixture), &mut unpacked, &mut |_, _| ()).unwrap();
            assert!(unpacked == out, "{}", mixture.name());
            let mut from_packed = Vec::new();
            quantize(&[&packed], with(Mixture::Q8_0), &mut from_packed, &mut |_, _| ()).unwrap();
            let mut from_plain = Vec::new();
            quantize(&[&out], with(Mixture::Q8_0), &mut from_plain, &mut |_, _| ()).unwrap();
            assert!(from_packed == from_plain, "{}", mixture.name());
        } else {
            assert!(mixture.base().block_len() == 1 && packed == out);
        }
    }
}

#[test]
fn other_dtypes_are_read() {
    let file = chat_model(&small(), Format::F32);
    let (files, tensors) = llama(&file);
    // Weights that binary16 holds exactly.
    let values = |tensor: &Stored| -> Vec<f32> {
        let exact = |bytes: &[u8; 4]| (f32::from_le_bytes(*bytes) * 256.0).trunc() / 256.0;
        tensor.data.as_chunks().0.iter().map(exact).collect()
    };
    let stored = |dtype: &'static str, bytes: &dyn Fn(f32) -> Vec<u8>| -> Vec<Stored> {
        let data = |tensor: &Stored| values(tensor).into_iter().flat_map(bytes).collect();
        tensors.iter().map(|tensor| Stored { dtype, data: data(tensor), ..tensor.clone() }).collect()
    };
    let expected = converted(&files, &stored("F32", &|v| v.to_le_bytes().into()), with(Mixture::F32)).unwrap();
    let double = stored("F64", &|v| f64::from(v).to_le_bytes().into());
    assert!(converted(&files, &double, Options::default()).unwrap() == expected);
    for (dtype, format) in [("F16", Format::F16), ("BF16", Format::BF16)] {
        let encode = |value: f32| {
            let mut bytes = vec![0; 2];
            format.encode(&[value], &mut bytes).unwrap();
            bytes
        };
        let half = stored(dtype, &encode);
        if format == Format::F16 {
            assert!(converted(&files, &half, with(Mixture::F32)).unwrap() == expected);
        }
        let kept = converted(&files, &half, Options::default()).unwrap();
        let kept = Gguf::parse(&kept).unwrap();
        assert_eq!(kept.tensor("blk.0.attn_q.weight").map(|tensor| tensor.kind.id()), Some(format.id()));
        assert_eq!(kept.tensor("output_norm.weight").map(|tensor| tensor.kind.id()), Some(0));
        assert_eq!(
            kept.tensor("blk.1.ffn_up.weight").map(|tensor| tensor.data.to_vec()),
            half.iter()
                .find(|tensor| tensor.name == "model.layers.1.mlp.up_proj.weight")
                .map(|tensor| tensor.data.clone())
        );
    }
    let whole = stored("I32", &|v| (v as i32).to_le_bytes().into());
    assert!(matches!(converted(&files, &whole, Options::default()), Err(Error::Dtype { dtype, .. }) if dtype == "I32"));
}

#[test]
fn scaled_positions() {
    let file = chat_model(&small(), Format::F32);
    let (mut files, tensors) = llama(&file);
    files[0].1["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64});
    let made = converted(&files, &tensors, with(Mixture::Q8_0)).unwrap();
    let made = Gguf::parse(&made).unwrap();
    let factors = made.tensor("rope_freqs.weight").unwrap();
    let factors: Vec<f32> = factors.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    // Sixteen pairs turn by 10000^(-i/16): the first 64 / 2 pi times in 64 positions, the last almost never.
    assert_eq!((factors.len(), factors[0], factors[15]), (16, 1.0, 8.0));
    assert!(factors.is_sorted() && factors[4] > 1.0 && factors[4] < 8.0, "{factors:?}");

    files[0].1["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    let made = converted(&files, &tensors, Options::default()).unwrap();
    let made = Gguf::parse(&made).unwrap();
    assert_eq!(made.get("llama.rope.scaling.factor").map(|value| format!("{value:?}")), Some("F32(2.0)".into()));
    files[0].1["rope_scaling"] = json!({"rope_type": "proportional", "factor": 2.0});
    assert!(matches!(converted(&files, &tensors, Options::default()), Err(Error::Unsupported { .. })));
}

/// A window that some context exceeds is in the file, and the model sees no farther.
#[test]
fn windows() {
    let file = chat_model(&small(), Format::F32);
    let (mut files, tensors) = llama(&file);
    let made = |files: &[(&str, Value)]| converted(files, &tensors, Options::default()).unwrap();
    for field in ["attention_bias", "mlp_bias"] {
        files[0].1.as_object_mut().unwrap().remove(field);
    }
    files[0].1["model_type"] = json!("mistral");
    let plain = made(&files);
    let context = files[0].1["max_position_embeddings"].as_u64().unwrap();
    files[0].1["sliding_window"] = json!(context);
    assert!(made(&files) == plain);
    files[0].1["sliding_window"] = json!(4);
    let windowed = made(&files);
    let window = Gguf::parse(&windowed).unwrap().get("llama.attention.sliding_window").and_then(|value| value.as_u64());
    assert_eq!(window, Some(4));
    let logits = |bytes: &[u8], tokens: &[u32]| {
        let model = smidgen::Model::parse(&[Gguf::parse(bytes).unwrap()]).unwrap();
        let options = smidgen::Options::new(16);
        let mut session = smidgen::Session::new(&model, &options, smidgen_targets::detect()).unwrap();
        session.forward(0, tokens, &smidgen_targets::Serial).unwrap().to_vec()
    };
    // Of two layers each sees three tokens back: what is seven back does not matter, and what is six back does.
    let [far, near] = [[1, 9, 2, 3, 4, 5, 6, 7, 8], [1, 2, 9, 3, 4, 5, 6, 7, 8]];
    let text = [1, 2, 2, 3, 4, 5, 6, 7, 8];
    assert!(
        logits(&windowed, &text) == logits(&windowed, &far) && logits(&windowed, &text) != logits(&windowed, &near)
    );
    assert!(logits(&plain, &text) != logits(&plain, &far));
}

/// A BERT of two layers that classifies.
pub(crate) fn bert() -> (Vec<(&'static str, Value)>, Vec<Stored>) {
    let mut random = Random(3);
    let (width, inner, tokens) = (32, 64, 8);
    let mut tensors = vec![Stored {
        name: "bert.embeddings.position_ids".into(),
        dtype: "I64",
        shape: vec![1, 2],
        data: vec![0; 16],
    }];
    let mut add = |name: String, shape: &[u64]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_: u64| random.float(1.0)).collect();
        tensors.push(Stored::floats(name, shape, &values));
    };
    for (name, rows) in [("word", tokens), ("position", 16), ("token_type", 2)] {
        add(format!("bert.embeddings.{name}_embeddings.weight"), &[rows, width]);
    }
    let mut norms = vec!["bert.embeddings.LayerNorm".to_owned()];
    let mut products = vec![("bert.pooler.dense".to_owned(), width, width), ("classifier".to_owned(), 3, width)];
    for layer in 0..2 {
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            products.push((name(part), width, width));
        }
        products.push((name("intermediate.dense"), inner, width));
        products.push((name("output.dense"), width, inner));
        norms.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
    }
    for (name, outputs, inputs) in products {
        add(format!("{name}.weight"), &[outputs, inputs]);
        add(format!("{name}.bias"), &[outputs]);
    }
    for name in norms {
        add(format!("{name}.weight"), &[width]);
        add(format!("{name}.bias"), &[width]);
    }
    let vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##lo"];
    let vocab: Value = vocab
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), id.into()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let controls = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let added: Vec<_> = (0..5).map(|id| json!({"id": id, "special": true, "content": controls[id]})).collect();
    let files = vec![
        (
            CONFIG,
            json!({"model_type": "bert", "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 2,
                "num_attention_heads": 4, "max_position_embeddings": 16, "vocab_size": tokens, "layer_norm_eps": 1e-12,
                "hidden_act": "gelu_new", "id2label": {"1": "neutral", "0": "no", "2": "yes"}}),
        ),
        (
            "tokenizer.json",
            json!({"normalizer": {"type": "BertNormalizer", "lowercase": false, "strip_accents": null},
                "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": {"type": "WordPiece", "vocab": vocab}, "added_tokens": added}),
        ),
    ];
    (files, tensors)
}

#[test]
fn a_bert_that_classifies() {
    let (files, tensors) = bert();
    let made = converted(&files, &tensors, Options::default()).unwrap();
    let made = Gguf::parse(&made).unwrap();
    let strings = |key: &str| -> Vec<&str> {
        made.get(key).and_then(|value| value.as_array()).unwrap().strings().unwrap().collect()
    };
    assert_eq!(strings("bert.classifier.output_labels"), ["no", "neutral", "yes"]);
    assert_eq!(
        strings("tokenizer.ggml.tokens"),
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "lo", "▁[PAD7]"]
    );
    for (key, value) in [
        ("bert.pooling_type", "U32(4)"),
        ("bert.feed_forward_activation", "Str(\"gelu_tanh\")"),
        ("tokenizer.ggml.seperator_token_id", "U32(3)"),
        ("tokenizer.ggml.token_type_count", "U32(2)"),
        ("tokenizer.ggml.normalizer.lowercase", "Bool(false)"),
    ] {
        assert_eq!(made.get(key).map(|value| format!("{value:?}")).as_deref(), Some(value), "{key}");
    }
    assert!(made.get("tokenizer.ggml.normalizer.strip_accents").is_none());
    for (name, from) in [
        ("token_embd.weight", "bert.embeddings.word_embeddings.weight"),
        ("token_embd_norm.bias", "bert.embeddings.LayerNorm.bias"),
        ("blk.1.attn_k.weight", "bert.encoder.layer.1.attention.self.key.weight"),
        ("blk.0.attn_output_norm.weight", "bert.encoder.layer.0.attention.output.LayerNorm.weight"),
        ("blk.0.ffn_down.bias", "bert.encoder.layer.0.output.dense.bias"),
        ("blk.1.layer_output_norm.weight", "bert.encoder.layer.1.output.LayerNorm.weight"),
        ("cls.weight", "bert.pooler.dense.weight"),
        ("cls.output.bias", "classifier.bias"),
    ] {
        let expected = tensors.iter().find(|tensor| tensor.name == from).unwrap();
        assert!(made.tensor(name).is_some_and(|tensor| tensor.data == expected.data), "{name}");
    }
    assert_eq!(made.tensors().count(), 5 + 2 * 16 + 4);
}

#[test]
fn the_type_of_problem_is_kept() {
    const KEY: &str = "smidgen.classifier.problem_type";
    let (mut files, tensors) = bert();
    let made = converted(&files, &tensors, Options::default()).unwrap();
    assert!(Gguf::parse(&made).unwrap().get(KEY).is_none());
    for kind in ["single_label_classification", "multi_label_classification", "regression"] {
        files[0].1["problem_type"] = kind.into();
        let made = converted(&files, &tensors, Options::default()).unwrap();
        let made = Gguf::parse(&made).unwrap();
        assert_eq!(made.get(KEY).and_then(|value| value.as_str()), Some(kind));
    }
    files[0].1["problem_type"] = "multi_label".into();
    let error = converted(&files, &tensors, Options::default()).unwrap_err().to_string();
    assert!(
        error.contains("config.json") && error.contains("problem_type") && error.contains("multi_label"),
        "{error}"
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    type Change = fn(&mut Vec<(&'static str, Value)>, &mut Vec<Stored>);
    type Check = fn(&Error) -> bool;
    let cases: [(Change, Check); 10] = [
        (|files, _| files.truncate(0), |e| matches!(e, Error::MissingFile { file } if file == CONFIG)),
        (|files, _| files.truncate(1), |e| matches!(e, Error::MissingFile { file } if file == "tokenizer.json")),
        (|_, tensors| tensors.clear(), |e| matches!(e, Error::MissingFile { file } if file == WEIGHTS)),
        (
            |files, _| files[0].1["model_type"] = "gpt9".into(),
            |e| matches!(e, Error::UnknownArchitecture { name, known } if name == "gpt9" && known.contains("bert")),
        ),
        (
            |files, _| files[0].1["hidden_size"] = "wide".into(),
            |e| matches!(e, Error::WrongField { field, .. } if field == "hidden_size"),
        ),
        (
            |files, _| files[0].1["num_hidden_layers"] = u32::MAX.into(),
            |e| matches!(e, Error::MissingTensor { tensor } if tensor.contains("layer.2.")),
        ),
        (
            |files, _| files[0].1["num_hidden_layers"] = 1.into(),
            |e| matches!(e, Error::UnusedTensor { tensor } if tensor.contains("layer.1.")),
        ),
        (
            |files, _| files[0].1["vocab_size"] = 9.into(),
            |e| matches!(e, Error::WrongShape { tensor, found, .. } if tensor.contains("word_emb") && found == &[8, 32]),
        ),
        (
            |files, _| files[1].1["model"]["vocab"]["far"] = 8.into(),
            |e| matches!(e, Error::Tokenizer { reason, .. } if reason.contains("\"far\" has the id 8")),
        ),
        (
            |_, tensors| tensors[1].data[36..40].copy_from_slice(&f32::NAN.to_le_bytes()),
            |e| matches!(e, Error::NotFinite { row: 0, column: 9, .. }),
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let (mut files, mut tensors) = bert();
        change(&mut files, &mut tensors);
        let error = converted(&files, &tensors, with(Mixture::F16)).unwrap_err();
        assert!(expected(&error), "{number}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn weights_in_several_files() {
    let (files, tensors) = bert();
    let whole = converted(&files, &tensors, Options::default()).unwrap();
    let halves = tensors.split_at(7);
    let parts = [("b.safetensors", safetensors(halves.0)), ("a.safetensors", safetensors(halves.1))];
    let map = |misplaced: Option<&str>| -> Value {
        let place = |(i, tensor): (usize, &Stored)| {
            let first = (i < 7) != (misplaced == Some(tensor.name.as_str()));
            (tensor.name.clone(), parts[usize::from(!first)].0.into())
        };
        json!({"metadata": {}, "weight_map": tensors.iter().enumerate().map(place).collect::<serde_json::Map<_, _>>()})
    };
    assert_eq!(shards(map(None).to_string().as_bytes()).unwrap(), ["a.safetensors", "b.safetensors"]);
    let convert_with = |index: &Value, parts: &[(&str, Vec<u8>)]| {
        let mut texts: Vec<_> = files.iter().map(|(name, value)| (*name, value.to_string().into_bytes())).collect();
        texts.push((INDEX, index.to_string().into_bytes()));
        texts.extend(parts.iter().cloned());
        let all: Vec<_> = texts.iter().map(|(name, bytes)| File { name: (*name).into(), bytes }).collect();
        let mut out = Vec::new();
        convert(&all, Options::default(), &mut out, &mut |_, _| ()).map(|_| out)
    };
    assert!(convert_with(&map(None), &parts).unwrap() == whole);
    let error = convert_with(&map(Some("classifier.bias")), &parts).unwrap_err();
    assert!(
        matches!(&error, Error::NotInShard { tensor, file } if tensor == "classifier.bias" && file == "b.safetensors"),
        "{error}"
    );
    let twice = [parts[0].clone(), parts[1].clone(), ("c.safetensors", parts[1].1.clone())];
    assert!(matches!(convert_with(&map(None), &twice), Err(Error::Duplicate { .. })));
    for name in ["../x.safetensors", "/x.safetensors", "d\\x.safetensors", "x.bin", ""] {
        let index = json!({"weight_map": {"a": name}}).to_string();
        assert!(matches!(shards(index.as_bytes()), Err(Error::ShardName { .. })), "{name}");
    }
    assert!(matches!(shards(b"{\"weight_map\": []}"), Err(Error::WrongField { .. })));
    assert!(matches!(shards(b"{}"), Err(Error::MissingField { .. })));
    assert!(matches!(shards(b"{"), Err(Error::Json { .. })));
}

#[test]
fn a_checkpoint_is_read_from_its_parts() {
    let bytes = safetensors(&[Stored::floats("a", &[1], &[1.0])]);
    let file = |name: &str, bytes| File { name: name.into(), bytes };
    let files = [file(CONFIG, b"{\"x\": {\"y\": [1, 2.5]}}"), file(WEIGHTS, &bytes), file("vocab.txt", b"\xff")];
    let checkpoint = Checkpoint::read(&files).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a"]);
    assert!(matches!(checkpoint.text("vocab.txt"), Err(Error::Encoding { offset: 0, .. })));
    let list = checkpoint.config().require("x").unwrap().require("y").unwrap();
    assert_eq!(list.f32s().unwrap(), [1.0, 2.5]);
    assert_eq!(list.str().unwrap_err().to_string(), "config.json: \"x.y\" is not a string");
    let broken = [file(CONFIG, b"{\n  \"x\": ?\n}"), file(WEIGHTS, &bytes)];
    let error = Checkpoint::read(&broken).unwrap_err();
    assert!(matches!(error, Error::Json { line: 2, .. }), "{error}");
}

#[test]
fn pre_tokenizers_are_recognized() {
    let file = chat_model(&small(), Format::F32);
    let (mut files, tensors) = llama(&file);
    let bytes = |regex: bool| json!({"type": "ByteLevel", "use_regex": regex});
    let split = |numbers: &str| {
        let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
        let rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let pattern = json!({"Regex": format!("{words}{numbers}{rest}")});
        json!({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": pattern, "behavior": "Isolated"}, bytes(false)]})
    };
    let digits =
        json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)]});
    for (rules, whole, name) in [
        (bytes(true), false, "gpt-2"),
        (digits, false, "smollm"),
        (split(r"\p{N}{1,3}"), true, "llama-bpe"),
        (split(r"\p{N}{1,3}"), false, "smaug-bpe"),
        (split(r"\p{N}"), false, "deepseek-r1-qwen"),
    ] {
        files[1].1["pre_tokenizer"] = rules;
        files[1].1["model"]["ignore_merges"] = whole.into();
        let made = converted(&files, &tensors, with(Mixture::Q8_0)).unwrap();
        let made = Gguf::parse(&made).unwrap();
        assert_eq!(made.get("tokenizer.ggml.pre").and_then(|value| value.as_str()), Some(name));
    }
    files[1].1["model"]["ignore_merges"] = false.into();
    for unnamed in [split(r"\p{N}{1,2}"), json!({"type": "Whitespace"}), Value::Null] {
        files[1].1["pre_tokenizer"] = unnamed;
        let made = converted(&files, &tensors, Options::default()).unwrap();
        let made = Gguf::parse(&made).unwrap();
        assert_eq!(made.get("tokenizer.ggml.model").and_then(|value| value.as_str()), Some("smidgen"));
        assert!(made.get("tokenizer.ggml.pre").is_none());
    }
    for unknown in [split(r"\p{Greek}"), json!({"type": "UnicodeScripts"})] {
        files[1].1["pre_tokenizer"] = unknown;
        let error = converted(&files, &tensors, Options::default()).unwrap_err();
        assert!(matches!(&error, Error::Tokenizer { reason, .. } if reason.contains("pre_tokenizer")), "{error}");
    }
}

#[test]
fn a_vocabulary_of_sentencepiece() {
    let file = chat_model(&small(), Format::F32);
    let (mut files, tensors) = llama(&file);
    let mut vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "\u{2581}he": 3, "he": 4, "h": 5, "e": 6, "\u{2581}": 7});
    for byte in 0..256 {
        vocab[format!("<0x{byte:02X}>")] = (8 + byte).into();
    }
    files[1].1 = json!({
        "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true},
            {"id": 2, "content": "</s>", "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab,
            "merges": [["h", "e"], ["\u{2581}", "he"]]},
    });
    files[2].1 = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let made = converted(&files, &tensors, with(Mixture::Q8_0)).unwrap();
    let made = Gguf::parse(&made).unwrap();
    let array = |key: &str| made.get(key).and_then(|value| value.as_array()).unwrap();
    let first = |key: &str| array(key).iter().take(10).map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" ");
    assert_eq!(
        first("tokenizer.ggml.token_type"),
        "I32(2) I32(3) I32(3) I32(1) I32(1) I32(1) I32(1) I32(1) I32(6) I32(6)"
    );
    assert_eq!(
        first("tokenizer.ggml.scores"),
        "F32(0.0) F32(0.0) F32(0.0) F32(-1.0) F32(-0.0) F32(-2.0) F32(-2.0) F32(-2.0) F32(0.0) F32(0.0)"
    );
    for (key, value) in [
        ("tokenizer.ggml.model", "Str(\"llama\")"),
        ("tokenizer.ggml.bos_token_id", "U32(1)"),
        ("tokenizer.ggml.eos_token_id", "U32(2)"),
        ("tokenizer.ggml.add_bos_token", "Bool(true)"),
        ("tokenizer.ggml.add_eos_token", "Bool(false)"),
        ("tokenizer.ggml.add_space_prefix", "Bool(true)"),
    ] {
        assert_eq!(made.get(key).map(|value| format!("{value:?}")).as_deref(), Some(value), "{key}");
    }
    assert!(smidgen::tokenizer::Tokenizer::parse(&made).is_ok());
}
