//! Checkpoints in safetensors, made in code.

use crate::seeded::{File, Meta};
use serde_json::{Map, Value, json};
use smidgen_convert::{Error, File as InFolder, Options, WEIGHTS, convert};
use smidgen_gguf::{Gguf, TensorType};

/// A tensor that a safetensors file gets.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the format's terms")]
pub struct Stored {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

impl Stored {
    /// A tensor of `f32`.
    pub fn floats(name: impl Into<String>, shape: &[u64], values: &[f32]) -> Stored {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Stored { name: name.into(), dtype: "F32", shape: shape.into(), data }
    }
}

/// A safetensors file of this header and these data.
pub fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A safetensors file.
pub fn safetensors(tensors: &[Stored]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    for Stored { name, dtype, shape, data: bytes } in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    raw(&Value::from(header).to_string(), &data)
}

/// Converts a checkpoint of these JSON files and weights.
///
/// # Errors
/// Those of [`convert`].
pub fn converted(files: &[(&str, Value)], tensors: &[Stored], options: Options) -> Result<Vec<u8>, Error> {
    let texts: Vec<_> = files.iter().map(|(name, value)| (*name, value.to_string().into_bytes())).collect();
    let weights = safetensors(tensors);
    let mut all: Vec<_> = texts.iter().map(|(name, text)| InFolder { name: (*name).into(), bytes: text }).collect();
    all.push(InFolder { name: WEIGHTS.into(), bytes: &weights });
    let (mut out, mut told) = (Vec::new(), Vec::new());
    convert(&all, options, &mut out, &mut |done, total| told.push((done, total)))?;
    let weights: u64 = Gguf::parse(&out).unwrap().tensors().map(|tensor| tensor.data.len() as u64).sum();
    assert_eq!((told.first(), told.last()), (Some(&(0, weights)), Some(&(weights, weights))));
    Ok(out)
}

/// The checkpoint from which a converter makes the seeded `file` of the llama family with F32 weights and a byte-level vocabulary: `config.json`,
/// `tokenizer.json`, `tokenizer_config.json` and the tensors.
pub fn llama(file: &File) -> ([(&'static str, Value); 3], Vec<Stored>) {
    let number = |key: &str| match file.metadata.iter().find(|(name, _)| name == key) {
        Some((_, Meta::U32(value))) => u64::from(*value),
        other => panic!("{key}: {other:?}"),
    };
    let (heads, head) = (number("llama.attention.head_count"), number("llama.attention.key_length"));
    let biased = file.tensors.iter().any(|tensor| tensor.name == "blk.0.attn_q.bias");
    let tied = !file.tensors.iter().any(|tensor| tensor.name == "output.weight");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "num_hidden_layers": number("llama.block_count"), "hidden_size": number("llama.embedding_length"),
        "intermediate_size": number("llama.feed_forward_length"), "num_attention_heads": heads,
        "num_key_value_heads": number("llama.attention.head_count_kv"), "head_dim": head,
        "max_position_embeddings": number("llama.context_length"), "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": null, "attention_bias": biased, "mlp_bias": biased, "tie_word_embeddings": tied, "vocab_size": number("llama.vocab_size"),
    });
    let stored = file.tensors.iter().map(|tensor| {
        assert_eq!(tensor.kind, TensorType::F32);
        let shape: Vec<u64> = tensor.dims.iter().rev().copied().collect();
        let data = if tensor.name.contains("attn_q.") || tensor.name.contains("attn_k.") {
            let row = tensor.data.len() / shape[0] as usize;
            halves(&tensor.data, row, head as usize)
        } else {
            tensor.data.clone()
        };
        Stored { name: published(&tensor.name), dtype: "F32", shape, data }
    });
    let [tokenizer, tokenizer_config] = tokenizer(file);
    let files = [("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", tokenizer_config)];
    (files, stored.collect())
}

/// The name of a tensor in a checkpoint.
fn published(name: &str) -> String {
    let parts = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("attn_output", "self_attn.o_proj"),
        ("output", "lm_head"),
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("blk", "model.layers"),
    ];
    let known = |part: &str| parts.iter().find(|(own, _)| *own == part).map(|(_, published)| (*published).to_owned());
    name.split('.').map(|part| known(part).unwrap_or_else(|| part.to_owned())).collect::<Vec<_>>().join(".")
}

/// The rows of each head with the first of every pair first, then the second of every pair: how transformers turns positions.
fn halves(data: &[u8], row: usize, head: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for rows in data.chunks_exact(row * head) {
        for second in [0, 1] {
            for pair in 0..head / 2 {
                out.extend(&rows[(2 * pair + second) * row..][..row]);
            }
        }
    }
    out
}

/// `tokenizer.json` and `tokenizer_config.json` of the file's vocabulary.
fn tokenizer(file: &File) -> [Value; 2] {
    let meta = |key: &str| file.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let (Some(Meta::Strs(tokens)), Some(Meta::I32s(kinds)), Some(Meta::Strs(merges))) =
        (meta("tokenizer.ggml.tokens"), meta("tokenizer.ggml.token_type"), meta("tokenizer.ggml.merges"))
    else {
        panic!("no vocabulary")
    };
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        if *kind == 3 {
            added.push(json!({"id": id, "content": token, "special": true, "normalized": false}));
        } else {
            vocab.insert(token.clone(), id.into());
        }
    }
    let text = |key: &str| match meta(key) {
        Some(Meta::Str(text)) => Value::from(*text),
        Some(Meta::U32(id)) => Value::from(tokens[*id as usize].as_str()),
        _ => Value::Null,
    };
    let json = json!({
        "added_tokens": added, "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    let config = json!({
        "bos_token": text("tokenizer.ggml.bos_token_id"), "eos_token": {"content": text("tokenizer.ggml.eos_token_id")},
        "add_bos_token": false, "chat_template": text("tokenizer.chat_template"),
    });
    [json, config]
}

/// The file that the smallest checkpoint with a tokenizer of `vocabulary` tokens becomes: of BERT where `tokenizer.json` is WordPiece, of
/// Llama otherwise. Fields of a `config.json` in `files` are added to its own.
///
/// # Errors
/// Those of the conversion.
pub fn smallest(files: &[(&str, Value)], vocabulary: u64) -> Result<Vec<u8>, smidgen_convert::Error> {
    let given = |name: &str| files.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    let reads = given("tokenizer.json").is_none_or(|json| json["model"]["type"] == "WordPiece");
    let mut config = json!({"vocab_size": vocabulary, "hidden_size": 4, "num_attention_heads": 1, "intermediate_size": 4, "max_position_embeddings": 8});
    let own = if reads {
        json!({"model_type": "bert", "num_hidden_layers": 0, "type_vocab_size": 2})
    } else {
        json!({"model_type": "llama", "num_hidden_layers": 1, "tie_word_embeddings": true})
    };
    for (key, value) in
        [Some(&own), given("config.json")].into_iter().flatten().flat_map(|fields| fields.as_object().unwrap())
    {
        config[key] = value.clone();
    }
    let floats = |name: &str, shape: &[u64]| {
        let count: u64 = shape.iter().product();
        Stored::floats(name, shape, &vec![0.5; count as usize])
    };
    let mut tensors = Vec::new();
    if reads {
        for (name, rows) in [("word", vocabulary), ("position", 8), ("token_type", 2)] {
            tensors.push(floats(&format!("embeddings.{name}_embeddings.weight"), &[rows, 4]));
        }
        tensors.extend(["weight", "bias"].map(|part| floats(&format!("embeddings.LayerNorm.{part}"), &[4])));
    } else {
        tensors.extend([floats("model.embed_tokens.weight", &[vocabulary, 4]), floats("model.norm.weight", &[4])]);
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(floats(&format!("model.layers.0.{norm}.weight"), &[4]));
        }
        for product in ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"] {
            tensors.push(floats(&format!("model.layers.0.{product}_proj.weight"), &[4, 4]));
        }
    }
    let mut all =
        vec![("config.json", config.to_string().into_bytes()), (smidgen_convert::WEIGHTS, safetensors(&tensors))];
    for (name, value) in files.iter().filter(|(name, _)| *name != "config.json") {
        // Templates and lists of words are texts of their own.
        let text = if name.ends_with(".json") { value.to_string() } else { value.as_str().unwrap().to_owned() };
        all.push((name, text.into_bytes()));
    }
    let files: Vec<_> =
        all.iter().map(|(name, bytes)| smidgen_convert::File { name: (*name).to_owned(), bytes }).collect();
    let mut out = Vec::new();
    smidgen_convert::convert(&files, smidgen_convert::Options::default(), &mut out, &mut |_, _| ())?;
    Ok(out)
}
