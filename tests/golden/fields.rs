//! The fields of files beside weights: none is taken on trust by the conversion.

use crate::convert::{bert, small};
use serde_json::{Value, json};
use smidgen_convert::{Checkpoint, Error, Fate, File, Options, convert, explain};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::checkpoint::{Stored, llama, safetensors};
use smidgen_tests::{seeded_clip, shared};
use std::collections::BTreeMap;
use std::path::Path;

/// A checkpoint: JSON files by name, other files, weights.
struct Parts {
    name: String,
    json: Vec<(String, Value)>,
    others: Vec<(String, Vec<u8>)>,
}

impl Parts {
    fn made(name: &str, json: Vec<(&str, Value)>, tensors: &[Stored]) -> Parts {
        let json = json.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Parts { name: name.into(), json, others: vec![("model.safetensors".into(), safetensors(tensors))] }
    }

    fn read(folder: &Path) -> Parts {
        let (mut json, mut others) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let (name, bytes) = (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
            if name.ends_with(".json") {
                json.push((name, serde_json::from_slice(&bytes).unwrap()));
            } else {
                others.push((name, bytes));
            }
        }
        Parts { name: folder.display().to_string(), json, others }
    }

    /// Calls `run` with the files.
    fn with_files<T>(&self, run: impl FnOnce(&[File]) -> T) -> T {
        let texts: Vec<_> = self.json.iter().map(|(name, value)| (name, value.to_string().into_bytes())).collect();
        let all = texts
            .iter()
            .map(|(name, bytes)| (*name, bytes))
            .chain(self.others.iter().map(|(name, bytes)| (name, bytes)));
        run(&all.map(|(name, bytes)| File { name: name.clone(), bytes }).collect::<Vec<_>>())
    }

    fn converted(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.with_files(|files| convert(files, Options::default(), &mut out, &mut |_, _| ()))?;
        Ok(out)
    }

    fn fates(&self) -> BTreeMap<(String, String), Fate> {
        let fields = self.with_files(|files| explain(&Checkpoint::read(files).unwrap())).unwrap();
        fields.into_iter().map(|field| ((field.file, field.path), field.fate)).collect()
    }
}

/// Checkpoints of all kinds, made in code, with every file that is read.
fn checkpoints() -> Vec<Parts> {
    let (mut files, tensors) = bert();
    let (mut encoder_files, mut encoder_tensors) = bert();
    files.push(("special_tokens_map.json", json!({"cls_token": "[CLS]"})));
    encoder_tensors.retain(|tensor| !tensor.name.contains("classifier") && !tensor.name.contains("pooler"));
    encoder_files[0].1.as_object_mut().unwrap().remove("id2label");
    let module = |name: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{name}")});
    encoder_files.extend([
        (
            "modules.json",
            json!([module("Transformer", ""), module("Pooling", "pool"), module("Normalize", "2_Normalize")]),
        ),
        (
            "pool/config.json",
            json!({"word_embedding_dimension": 32, "pooling_mode_cls_token": true,
            "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false}),
        ),
        ("sentence_bert_config.json", json!({"max_seq_length": 9, "do_lower_case": false})),
        (
            "config_sentence_transformers.json",
            json!({"__version__": {"pytorch": "2"}, "prompts": {}, "default_prompt_name": null}),
        ),
    ]);
    let (clip_files, clip_tensors) = seeded_clip::checkpoint();
    let (llama_files, llama_tensors) = llama(&chat_model(&small(), Format::F32));
    vec![
        Parts::made("bert", files, &tensors),
        Parts::made("sentences", encoder_files, &encoder_tensors),
        Parts::made("clip", clip_files.into(), &clip_tensors),
        Parts::made("llama", llama_files.into(), &llama_tensors),
    ]
}

/// The checkpoints in the folder of golden files.
fn published() -> Vec<Parts> {
    let Some(shared) = shared() else { return Vec::new() };
    let folders = ["gemma3", "phi3", "qwen2", "qwen3"].map(|name| shared.join("golden/arch").join(name).join("hf"));
    let models = ["vit_cifar10", "vit_mnist"].map(|name| shared.join("models").join(name));
    folders.iter().chain(&models).map(|folder| Parts::read(folder)).collect()
}

#[test]
fn an_unknown_field_of_any_file_is_refused_by_name() {
    let mut seen = std::collections::BTreeSet::new();
    for mut parts in checkpoints() {
        parts.converted().unwrap();
        for i in 0..parts.json.len() {
            let (name, before) = parts.json[i].clone();
            let object = match &mut parts.json[i].1 {
                Value::Array(list) => &mut list[0],
                whole => whole,
            };
            object["smidgen_unknown"] = json!({"inner": [7]});
            let error = parts.converted().err().unwrap_or_else(|| panic!("{} {name} is converted", parts.name));
            let named = matches!(&error, Error::UnknownField { file, field, value } if *file == name && field.ends_with("smidgen_unknown.inner[0]") && value == "7");
            assert!(named, "{} {name}: {error}", parts.name);
            parts.json[i].1 = before;
            seen.insert(name);
        }
    }
    println!("files: {seen:?}");
}

/// Every value of a file that holds no others, by path as [`explain`] writes it.
fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                leaves(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                leaves(&format!("{path}[{i}]"), value, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// The value at a path, and what it becomes when it is another.
fn at<'v>(value: &'v mut Value, path: &str) -> &'v mut Value {
    let mut value = value;
    let mut rest = path;
    while !rest.is_empty() {
        let object = value.is_object();
        // Names may hold dots: the longest that is there counts.
        let length = match object {
            true => {
                let keys = value.as_object().unwrap().keys();
                keys.filter(|key| rest.starts_with(key.as_str())).map(|key| key.len()).max().unwrap()
            }
            false => rest.find(']').unwrap() + 1,
        };
        let (step, after) = rest.split_at(length);
        value = match object {
            true => &mut value[step],
            false => &mut value[step.trim_matches(['[', ']']).parse::<usize>().unwrap()],
        };
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    value
}

fn mutated(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![json!(!flag), json!("x")],
        Value::Number(number) if number.is_f64() => vec![json!(number.as_f64().unwrap() * 1.5 + 0.25), json!("x")],
        Value::Number(number) => vec![json!(number.as_i64().unwrap() + 1), json!(number.as_i64().unwrap() + 1000)],
        Value::String(text) => vec![json!(format!("{text}x")), json!(7)],
        _ => vec![json!("x"), json!(3), json!(true)],
    }
}

#[test]
fn every_field_counts_or_is_known_not_to() {
    let mut count = [0; 3];
    for mut parts in checkpoints().into_iter().chain(published()) {
        let (before, fates) = (parts.converted().unwrap(), parts.fates());
        for i in 0..parts.json.len() {
            let (name, whole) = parts.json[i].clone();
            let mut paths = Vec::new();
            leaves("", &whole, &mut paths);
            // Vocabularies and merges are long, and all alike.
            let long = |path: &String| path.starts_with("model.vocab") || path.starts_with("model.merges");
            let (all, some): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| !long(path));
            for path in all.iter().chain(some.iter().step_by(some.len() / 7 + 1)) {
                // A field is told of by itself or with all that is around it.
                let around = |known: &&(String, String)| {
                    known.0 == name
                        && (path == &known.1
                            || path.starts_with(&format!("{}.", known.1))
                            || path.starts_with(&format!("{}[", known.1)))
                };
                let fate = fates.keys().find(around).map(|key| fates[key]);
                for other in mutated(at(&mut parts.json[i].1, path)) {
                    let leaf = at(&mut parts.json[i].1, path);
                    let old = std::mem::replace(leaf, other.clone());
                    let result = parts.converted();
                    *at(&mut parts.json[i].1, path) = old;
                    match result {
                        Err(error) => {
                            assert!(!error.to_string().contains('\n'), "{error}");
                            count[0] += 1;
                        }
                        Ok(made) if made != before => count[1] += 1,
                        Ok(_) => {
                            let harmless = matches!(fate, Some(Fate::Harmless(_)) | None);
                            assert!(
                                harmless,
                                "{}: {name}: {path} = {other} changes nothing, and its fate is {fate:?}",
                                parts.name
                            );
                            count[2] += 1;
                        }
                    }
                }
            }
        }
    }
    println!("refused {}, changed {}, harmless {}", count[0], count[1], count[2]);
}

/// Keys of llama.cpp's conversion that ours leaves out or writes otherwise, and keys of ours; with the reasons.
const OTHERWISE: &[(&str, &str)] = &[
    ("general.", "names of the model, from a folder's name or a model card"),
    ("attention.key_length", "ours says it, theirs leaves out what is the width by the heads"),
    ("attention.value_length", "as the key's"),
    ("rope.dimension_count", "ours says it, theirs leaves out what is a whole head"),
    ("rope.freq_base", "ours says it, theirs leaves out 10000"),
    ("vocab_size", "ours says it, theirs leaves it to the list of tokens"),
    ("rope.scaling.original_context_length", "theirs says it without scaling too"),
    ("attention.sliding_window", "theirs says 0 for none"),
    ("tokenizer.ggml.add_eos_token", "ours says it, theirs leaves out what is false"),
];

#[test]
fn conversions_are_those_of_llama_cpp() {
    let Some(shared) = shared() else { return };
    for name in ["gemma3", "phi3", "qwen2", "qwen3"] {
        let folder = shared.join("golden/arch").join(name);
        let ours = Parts::read(&folder.join("hf")).converted().unwrap();
        let theirs = std::fs::read(folder.join("model.gguf")).unwrap();
        let (ours, theirs) = (Gguf::parse(&ours).unwrap(), Gguf::parse(&theirs).unwrap());
        let tensors = |file: &Gguf| -> Vec<(String, Vec<u64>, u32)> {
            let mut list: Vec<_> = file
                .tensors()
                .map(|tensor| (tensor.name.to_owned(), tensor.shape().to_vec(), tensor.kind.id()))
                .collect();
            list.sort();
            list
        };
        assert_eq!(tensors(&ours), tensors(&theirs), "{name}");
        for tensor in theirs.tensors() {
            assert!(ours.tensor(tensor.name).unwrap().data == tensor.data, "{name}: {}", tensor.name);
        }
        let keys = |file: &Gguf| -> BTreeMap<String, String> {
            file.metadata().map(|(key, value)| (key.to_owned(), format!("{value:?}"))).collect()
        };
        let (ours, theirs) = (keys(&ours), keys(&theirs));
        for key in ours.keys().chain(theirs.keys()) {
            let known = OTHERWISE.iter().any(|(part, _)| key.starts_with(part) || key.ends_with(part));
            assert!(
                known || ours.get(key) == theirs.get(key),
                "{name}: {key}: {:?} {:?}",
                ours.get(key),
                theirs.get(key)
            );
        }
    }
}

/// What a folder of modules says, and the sentence of its error.
#[test]
fn modules_are_done_as_they_are_listed() {
    /// The conversion with another value at a path of a file; without the file for none.
    fn with(file: &str, path: &str, value: Option<Value>) -> Result<Vec<u8>, Error> {
        let mut parts = checkpoints().into_iter().find(|parts| parts.name == "sentences").unwrap();
        let number = parts.json.iter().position(|(name, _)| name == file).unwrap();
        match value {
            Some(value) => *at(&mut parts.json[number].1, path) = value,
            None => drop(parts.json.remove(number)),
        }
        parts.converted()
    }
    let (pool, modules, whole) = ("pool/config.json", "modules.json", "config_sentence_transformers.json");
    let dimension = json!({"embedding_dimension": 32, "pooling_mode": "lasttoken"});
    for (changed, kind) in [(json!({"pooling_mode": "cls"}), 2), (dimension, 3)] {
        let made = with(pool, "", Some(changed)).unwrap();
        let made = Gguf::parse(&made).unwrap();
        let number = |key: &str| made.get(key).and_then(|value| value.as_u64());
        assert_eq!((number("bert.pooling_type"), number("bert.max_sequence_length")), (Some(kind), Some(9)));
        assert_eq!(made.get("bert.pooling_normalize").and_then(|value| value.as_bool()), Some(true));
    }
    for (length, expected) in [(json!(7), 7), (json!(1e30), 16)] {
        let mut parts = checkpoints().into_iter().find(|parts| parts.name == "sentences").unwrap();
        parts.json.retain(|(name, _)| name != "sentence_bert_config.json");
        parts.json.push(("tokenizer_config.json".into(), json!({"model_max_length": length})));
        let made = parts.converted().unwrap();
        let made = Gguf::parse(&made).unwrap();
        assert_eq!(made.get("bert.max_sequence_length").and_then(|value| value.as_u64()), Some(expected));
    }
    let dense = json!("sentence_transformers.models.Dense");
    for (named, file, path, value) in [
        ("pool/config.json is missing", pool, "", None),
        ("cls and max", pool, "pooling_mode_max_tokens", Some(json!(true))),
        ("none of the known modes", pool, "pooling_mode_cls_token", Some(json!(false))),
        ("word_embedding_dimension", pool, "word_embedding_dimension", Some(json!(33))),
        ("[1].type", modules, "[1].type", Some(dense)),
        ("[0].path", modules, "[0].path", Some(json!("../other"))),
        ("default_prompt_name", whole, "default_prompt_name", Some(json!("query"))),
    ] {
        let error = with(file, path, value).err().unwrap_or_else(|| panic!("{named} is converted")).to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{named}: {error}");
    }
}

/// What a configuration of images says: keys, or the field in the error.
#[test]
fn images_are_prepared_as_is_said() {
    let clip = || checkpoints().into_iter().find(|parts| parts.name == "clip").unwrap();
    let changed = |fields: Value| {
        let mut parts = clip();
        let file = &mut parts.json.iter_mut().find(|(name, _)| name == "preprocessor_config.json").unwrap().1;
        for (key, value) in fields.as_object().unwrap() {
            file[key] = value.clone();
        }
        parts.converted()
    };
    let floats = |made: &[u8], key: &str| -> Vec<f32> {
        let file = Gguf::parse(made).unwrap();
        let list = file.get(key).unwrap().as_array().unwrap();
        list.bytes().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let [mean, std] = ["clip.vision.image_mean", "clip.vision.image_std"];
    let plain = changed(json!({"do_normalize": false})).unwrap();
    assert_eq!((floats(&plain, mean), floats(&plain, std)), (vec![0.0; 3], vec![1.0; 3]));
    // Bytes that are not divided: means and deviations of 255 times less do the same to what is.
    let raw = changed(json!({"do_rescale": false, "image_mean": [127.5, 127.5, 127.5], "image_std": 51.0})).unwrap();
    assert_eq!((floats(&raw, mean), floats(&raw, std)), (vec![0.5; 3], vec![0.2; 3]));
    for (field, value) in [
        ("do_resize", json!(false)),
        ("do_pad", json!(true)),
        ("do_flip_channel_order", json!(true)),
        ("do_grayscale", json!(true)),
        ("crop_pct", json!(0.9)),
        ("resample", json!(1)),
        ("image_std", json!([0.5, 0.0, 0.5])),
        ("image_mean", json!([0.5])),
        ("image_processor_type", json!("PoolFormerImageProcessor")),
        ("size", json!({"longest_edge": 224})),
    ] {
        let mut fields = json!({});
        fields[field] = value;
        let error = changed(fields).err().unwrap_or_else(|| panic!("{field} is converted")).to_string();
        assert!(error.contains("preprocessor_config.json") && error.contains(field), "{error}");
    }
    // The class decides what is left out, wherever the configuration stands.
    let mut parts = clip();
    let at = parts.json.iter().position(|(name, _)| name == "preprocessor_config.json").unwrap();
    parts.json[at] = (
        "processor_config.json".into(),
        json!({"processor_class": "CLIPProcessor", "image_processor": {
        "image_processor_type": "ViTImageProcessorFast", "size": {"height": 32, "width": 32}}}),
    );
    let nested = parts.converted().unwrap();
    assert_eq!(floats(&nested, mean), [0.5; 3]);
    assert_eq!(
        Gguf::parse(&nested).unwrap().get("clip.vision.image_filter").and_then(|value| value.as_str()),
        Some("bilinear")
    );
}

/// Sizes that a configuration claims are not believed before its tensors have them.
#[test]
fn absurd_sizes_take_no_memory() {
    for (fields, named) in [
        (json!({"num_hidden_layers": u32::MAX}), "num_hidden_layers"),
        (json!({"num_attention_heads": 1 << 30, "num_key_value_heads": 1 << 30}), "num_attention_heads"),
        (json!({"num_attention_heads": 1 << 24, "num_key_value_heads": 1 << 24}), "q_proj"),
        (json!({"head_dim": 1 << 20}), "head_dim"),
        (json!({"intermediate_size": u32::MAX}), "gate_proj"),
        (json!({"vocab_size": u32::MAX}), "tokens"),
    ] {
        let mut parts = checkpoints().into_iter().find(|parts| parts.name == "llama").unwrap();
        let config = &mut parts.json.iter_mut().find(|(name, _)| name == "config.json").unwrap().1;
        for (key, value) in fields.as_object().unwrap() {
            config[key] = value.clone();
        }
        let error = parts.converted().err().unwrap_or_else(|| panic!("{fields} is converted")).to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{named}: {error}");
    }
}
