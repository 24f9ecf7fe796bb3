//! Each family with weights by a rule: what goes into a conversion and what comes out, held against sums that were written down when the
//! same conversions of random models had given transformers' logits and llama.cpp's tensors.

use super::families::FAMILIES;
use super::{Conversion, Family, KeyHeads, Of, Part, Row, Size, Sizes};
use crate::{CONFIG, Checkpoint, File, Options, WEIGHTS, convert};
use serde_json::{Map, Value, json};
use smidgen_gguf::Gguf;
use std::collections::BTreeMap;

/// FNV-1a.
fn add(sum: &mut u64, bytes: &[u8]) {
    for byte in bytes {
        *sum = (*sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// What a family's configuration says besides sizes.
fn particular(name: &str) -> Value {
    let rope = |base: f64| json!({"rope_theta": base, "rope_type": "default"});
    match name {
        "llama" => {
            json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, "attention_bias": true})
        }
        "mistral" => json!({"sliding_window": 16}),
        "qwen2" => json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
        "gemma2" => {
            json!({"query_pre_attn_scalar": 24, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "sliding_window": 16})
        }
        "gemma3_text" => json!({"query_pre_attn_scalar": 8, "sliding_window": 16, "rope_local_base_freq": 1e4,
            "rope_theta": 1e6, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
        "phi3" => json!({"original_max_position_embeddings": 16, "rope_scaling": {"type": "longrope",
            "short_factor": [1.0, 1.25, 1.5, 1.75], "long_factor": [1.0, 2.0, 3.0, 4.0]}}),
        "cohere" => json!({"rope_theta": 1e4, "use_qk_norm": true}),
        "cohere2" => json!({"rope_theta": 5e4, "layer_types": ["full_attention", "sliding_attention"]}),
        "falcon" => json!({"new_decoder_architecture": true, "num_kv_heads": 2, "bias": true}),
        "stablelm" => json!({"use_parallel_residual": true, "use_qkv_bias": true}),
        "olmo3" => {
            json!({"sliding_window": 16, "rope_parameters": {"full_attention": rope(5e5), "sliding_attention": rope(5e5)}})
        }
        "granite" => {
            json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.05, "residual_multiplier": 0.22, "logits_scaling": 8.0})
        }
        "minicpm" => json!({"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16}),
        "olmo2" | "ernie4_5" | "smollm3" | "apertus" => json!({"rope_parameters": rope(5e5)}),
        "seed_oss" => json!({"attention_bias": true}),
        "hunyuan_v1_dense" => json!({"rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}}),
        "exaone4" => json!({"sliding_window": null}),
        "internlm2" => json!({"bias": false}),
        "gpt_bigcode" => json!({"multi_query": true}),
        _ => json!({}),
    }
}

/// The configuration of two layers.
fn config(family: &Family) -> Value {
    let fields = family.fields;
    let mut config = particular(family.names[0]).as_object().cloned().unwrap();
    let mut set = |keys: &str, value: Value| {
        config.entry(keys.split('|').next().unwrap()).or_insert(value);
    };
    set("model_type", family.names[0].into());
    set(fields.layers, 2.into());
    set(fields.width, 32.into());
    set(fields.heads, 4.into());
    set(fields.context, 64.into());
    set("vocab_size", 24.into());
    fields.inner.into_iter().for_each(|inner| set(inner, 48.into()));
    if let KeyHeads::OrAll(key) | KeyHeads::Said(key) = fields.kv_heads {
        set(key, 2.into());
    }
    if fields.head.is_some() {
        set("head_dim", 8.into());
    }
    config.into()
}

/// The tensors that a family's rows name, and their shapes.
fn tensors(family: &Family, config: &Value, further: &[Row]) -> BTreeMap<String, Vec<u64>> {
    let read = crate::json::Json::new(CONFIG, config);
    let sizes = Sizes::read(&read, family.fields).unwrap();
    let get = |size| sizes.get(size);
    let mut found = BTreeMap::new();
    let mut put = |row: &Row, source: String| {
        let (shape, outputs) = match row.2 {
            Part::Norm(size) | Part::NormLessOne(size) => (vec![get(size)], get(size)),
            Part::NormOfHeads(size) => (vec![get(size) / get(Size::Head), get(Size::Head)], 0),
            Part::Product(outputs, inputs) => (vec![get(outputs), get(inputs)], get(outputs)),
            Part::Transposed(outputs, inputs) => (vec![get(inputs), get(outputs)], get(outputs)),
            Part::Rotary(outputs) => (vec![get(outputs), get(Size::Width)], get(outputs)),
            Part::Grouped | Part::OfGroups(_) => (vec![get(Size::All), get(Size::Width)], get(Size::All)),
        };
        let rule = family.biases.iter().find(|(.., parts)| parts.contains(&row.1));
        let biased = rule.is_some_and(|(field, default, _)| config.get(*field).map_or(*default, |value| value == true));
        if biased || (rule.is_none() && row.1.contains("mlp") && outputs > 0) {
            found.insert(format!("{source}.bias"), vec![outputs]);
        }
        found.insert(format!("{source}.weight"), shape);
    };
    let prefix = family.prefixes[0];
    family.outer.iter().for_each(|row| put(row, format!("{prefix}{}", row.1)));
    for layer in 0..2 {
        for row in family.layer.iter().chain(further) {
            put(row, format!("{prefix}{}.{layer}.{}", family.layers, row.1));
        }
    }
    if family.names == ["apertus"] {
        found.extend(xielu());
    }
    found.insert(format!("{}.weight", family.head), vec![get(Size::Vocabulary), get(Size::Width)]);
    found
}

/// The numbers of xIELU.
fn xielu() -> impl Iterator<Item = (String, Vec<u64>)> {
    (0..2).flat_map(|layer| {
        [("alpha_p", vec![1]), ("alpha_n", vec![1]), ("beta", vec![]), ("eps", vec![])]
            .map(|(part, shape)| (format!("model.layers.{layer}.mlp.act_fn.{part}"), shape))
    })
}

/// A safetensors file of these tensors, their values by a rule.
fn weights(tensors: &BTreeMap<String, Vec<u64>>) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (number, (name, shape)) in tensors.iter().enumerate() {
        let start = data.len();
        for i in 0..shape.iter().product::<u64>() {
            let value = ((i * 37 + number as u64 * 101) % 1009) as f32 / 512.0 - 1.0;
            data.extend(value.to_le_bytes());
        }
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// What layers have besides, which the configuration decides.
fn further(family: &Family, config: &Value) -> &'static [Row] {
    let text = config.to_string();
    let tokenizer = tokenizer().to_string();
    let weights = weights(&xielu().collect());
    let files = [(CONFIG, text.as_bytes()), ("tokenizer.json", tokenizer.as_bytes()), (WEIGHTS, &weights)];
    let files = files.map(|(name, bytes)| File { name: name.into(), bytes });
    let checkpoint = Checkpoint::read(&files).unwrap();
    let mut planner = crate::Planner::new(&checkpoint, family.architecture);
    let config = checkpoint.config();
    let sizes = Sizes::read(&config, family.fields).unwrap();
    let mut conversion = Conversion { planner: &mut planner, config, sizes };
    (family.particular)(&mut conversion).unwrap()
}

fn tokenizer() -> Value {
    let vocab: Map<String, Value> = (0..24_u8).map(|id| (char::from(b'a' + id).to_string(), id.into())).collect();
    json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": vocab, "merges": []}})
}

#[test]
fn every_family_is_converted_as_it_was() {
    let mut sums = Vec::new();
    for family in FAMILIES {
        let config = config(family);
        let stored = tensors(family, &config, further(family, &config));
        let weights = weights(&stored);
        let (text, tokenizer) = (config.to_string(), tokenizer().to_string());
        let files = [(CONFIG, text.as_bytes()), ("tokenizer.json", tokenizer.as_bytes()), (WEIGHTS, &weights)];
        let files = files.map(|(name, bytes)| File { name: name.into(), bytes });
        let mut out = Vec::new();
        convert(&files, Options::default(), &mut out, &mut |_, _| ())
            .unwrap_or_else(|error| panic!("{}: {error}", family.names[0]));
        let file = Gguf::parse(&out).unwrap();
        let mut sum = START;
        for (name, shape) in &stored {
            add(&mut sum, format!("{name} {shape:?}").as_bytes());
        }
        for (key, value) in
            file.metadata().filter(|(key, _)| key.starts_with(family.architecture) || key.starts_with("xielu."))
        {
            match value.as_array() {
                Some(list) => add(&mut sum, format!("{key} {:?} {:?}", list.kind(), list.bytes()).as_bytes()),
                None => add(&mut sum, format!("{key} {value:?}").as_bytes()),
            }
        }
        for tensor in file.tensors() {
            add(&mut sum, format!("{} {:?}", tensor.name, tensor.shape()).as_bytes());
            add(&mut sum, tensor.data);
        }
        sums.push((family.names[0], sum));
    }
    assert_eq!(sums, SUMS, "{sums:#018x?}");
}

/// Of the groups of a fused product, queries, keys and values are each row once.
#[test]
fn groups_are_taken_apart_whole() {
    let sizes = Sizes { layers: 1, width: 32, inner: 1, heads: 6, kv_heads: 3, head: 4, context: 1, vocabulary: 1 };
    let mut rows: Vec<u32> =
        [Of::Queries, Of::Keys, Of::Values].into_iter().flat_map(|of| sizes.of_groups(of)).collect();
    assert_eq!(sizes.of_groups(Of::Queries)[..9], [0, 1, 2, 3, 4, 5, 6, 7, 16]);
    assert_eq!(sizes.of_groups(Of::Keys)[..5], [8, 9, 10, 11, 24]);
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..48));
}

const SUMS: &[(&str, u64)] = &[
    ("llama", 0x1a0b_f7a3_3720_7984),
    ("mistral", 0x0148_1389_1299_67c0),
    ("qwen2", 0x59a9_1378_a7e3_afe5),
    ("qwen3", 0x8bd4_0a08_0f3e_aa7b),
    ("gemma", 0xa9d3_3be7_f594_1871),
    ("gemma2", 0x6dc5_615c_e019_f101),
    ("gemma3_text", 0xf045_6387_36bf_0a39),
    ("phi", 0x0b86_44ff_c182_6451),
    ("phi3", 0x3cfe_800f_7131_c4fa),
    ("cohere", 0xd94d_4a7f_0c9d_b7d2),
    ("cohere2", 0x2edb_4310_60a8_052c),
    ("gpt2", 0x0070_b08c_82bd_237b),
    ("gpt_bigcode", 0x8ece_bc32_14fc_679a),
    ("bloom", 0xa962_709a_8a6b_a292),
    ("starcoder2", 0xa2ca_ca76_9a1c_09d6),
    ("gpt_neox", 0x8d41_7602_5640_320a),
    ("falcon", 0x67a6_f097_3509_aa09),
    ("stablelm", 0x7f37_ea26_69c2_0f17),
    ("olmo2", 0x0587_b93e_d827_a3ff),
    ("olmo3", 0xbffc_6054_8cc6_16d7),
    ("granite", 0xa1d1_103b_e801_5edf),
    ("minicpm", 0xd5e6_336e_d44d_fc62),
    ("internlm2", 0x43ec_da9c_8c54_0c5f),
    ("ernie4_5", 0xe7d6_7cda_2504_d06a),
    ("smollm3", 0xe7a2_19e1_46d4_e36b),
    ("exaone4", 0x7706_2255_e8f0_7c24),
    ("glm4", 0x4d13_d1a9_5be1_af76),
    ("hunyuan_v1_dense", 0x6877_2948_cd57_8b20),
    ("nemotron", 0x94f9_680c_c6a6_39ae),
    ("seed_oss", 0xe061_1e11_222b_816a),
    ("apertus", 0x8562_914f_d73d_36d9),
];
