//! Small models of the CLIP family with weights from a seed, as GGUF files and as the checkpoints that become them.

use crate::Random;
use crate::checkpoint::Stored;
use crate::seeded::{File, Meta, Tensor, weights};
use serde_json::{Map, Value, json};
use smidgen_gguf::TensorType;
use smidgen_quant::Format;

/// Extents. All rows are multiples of 256, so that every format fits.
const WIDTH: usize = 256;
const INNER: usize = 512;
const HEADS: usize = 4;
const LAYERS: usize = 2;
/// Tokens of a text.
pub const CONTEXT: usize = 20;
/// Sides of an image and of a patch.
pub const IMAGE: usize = 24;
const PATCH: usize = 6;
/// Values of an embedding.
pub const PROJECTION: usize = 48;

/// Merges in order; `|` stands for the end of a word.
const MERGES: [&str; 19] = [
    "t h", "th e|", "c a", "ca t|", "d o", "do g|", "p h", "t o|", "ph o", "pho to|", "o f|", "i n", "in g|", "' s|",
    "Ã ©|", "a n", "an d|", "n d|", "a nd|",
];

/// Tokens by their ids.
pub fn vocabulary() -> Vec<String> {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let spelled = |byte: u8| match visible(byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|byte| !visible(*byte)).count() as u32).unwrap(),
    };
    let bytes: Vec<String> = (0..=u8::MAX).map(|byte| spelled(byte).to_string()).collect();
    let ends = bytes.iter().map(|byte| format!("{byte}</w>"));
    // The last merge makes what another has made.
    let merged = merges()[..MERGES.len() - 1].iter().map(|merge| merge.replace(' ', "")).collect::<Vec<_>>();
    let frame = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    bytes.iter().cloned().chain(ends).chain(merged).chain(frame).collect()
}

fn merges() -> Vec<String> {
    MERGES.iter().map(|merge| merge.replace('|', "</w>")).collect()
}

/// A model whose matrices all have one format.
pub fn model(format: Format) -> File {
    model_of(LAYERS, format)
}

/// The same with any number of layers in each tower.
pub fn model_of(layers: usize, format: Format) -> File {
    let (mut random, vocabulary) = (Random(17), vocabulary());
    let mut file = File::default()
        .set("general.architecture", Meta::Str("clip"))
        .set("clip.has_vision_encoder", Meta::Bool(true))
        .set("clip.has_text_encoder", Meta::Bool(true))
        .set("clip.use_gelu", Meta::Bool(false))
        .set("clip.logit_scale", Meta::F32(20.0))
        .set("clip.vision.image_size", Meta::U32(IMAGE as u32))
        .set("clip.vision.patch_size", Meta::U32(PATCH as u32))
        .set("clip.text.context_length", Meta::U32(CONTEXT as u32));
    for tower in ["vision", "text"] {
        for (name, value) in [
            ("embedding_length", WIDTH),
            ("feed_forward_length", INNER),
            ("block_count", layers),
            ("attention.head_count", HEADS),
            ("projection_dim", PROJECTION),
        ] {
            file = file.set(&format!("clip.{tower}.{name}"), Meta::U32(value as u32));
        }
        file = file.set(&format!("clip.{tower}.attention.layer_norm_epsilon"), Meta::F32(1e-5));
    }
    let floats = |file: &mut File, name: &str, dims: &[usize], around: f32, random: &mut Random| {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| around + random.float(0.2)).collect();
        let dims: Vec<u64> = dims.iter().map(|dim| *dim as u64).collect();
        *file = std::mem::take(file).with_floats(name, &dims, &values);
    };
    let matrix = |file: &mut File, name: &str, rows: usize, cols: usize, random: &mut Random| {
        let (dims, data) = (vec![cols as u64, rows as u64], weights(format, rows * cols, random));
        let kind = TensorType::from_id(format.id()).unwrap();
        file.tensors.push(Tensor { name: format!("{name}.weight"), dims, kind, data });
    };
    let norm = |file: &mut File, name: &str, random: &mut Random| {
        floats(file, &format!("{name}.weight"), &[WIDTH], 1.0, random);
        floats(file, &format!("{name}.bias"), &[WIDTH], 0.0, random);
    };
    floats(&mut file, "v.class_embd", &[WIDTH], 0.0, &mut random);
    floats(&mut file, "v.patch_embd.weight", &[PATCH, PATCH, 3, WIDTH], 0.0, &mut random);
    floats(&mut file, "v.position_embd.weight", &[WIDTH, (IMAGE / PATCH).pow(2) + 1], 0.0, &mut random);
    norm(&mut file, "v.pre_ln", &mut random);
    matrix(&mut file, "t.token_embd", vocabulary.len(), WIDTH, &mut random);
    floats(&mut file, "t.position_embd.weight", &[WIDTH, CONTEXT], 0.0, &mut random);
    for tower in ["v", "t"] {
        for layer in 0..layers {
            let name = |part: &str| format!("{tower}.blk.{layer}.{part}");
            for (part, rows, cols) in [
                ("attn_q", WIDTH, WIDTH),
                ("attn_k", WIDTH, WIDTH),
                ("attn_v", WIDTH, WIDTH),
                ("attn_out", WIDTH, WIDTH),
                ("ffn_up", INNER, WIDTH),
                ("ffn_down", WIDTH, INNER),
            ] {
                matrix(&mut file, &name(part), rows, cols, &mut random);
                floats(&mut file, &name(&format!("{part}.bias")), &[rows], 0.0, &mut random);
            }
            norm(&mut file, &name("ln1"), &mut random);
            norm(&mut file, &name("ln2"), &mut random);
        }
        norm(&mut file, &format!("{tower}.post_ln"), &mut random);
    }
    matrix(&mut file, "visual_projection", PROJECTION, WIDTH, &mut random);
    matrix(&mut file, "text_projection", PROJECTION, WIDTH, &mut random);
    let kinds = vocabulary.iter().map(|token| if token.starts_with("<|") { 3 } else { 1 }).collect();
    let last = vocabulary.len() as u32 - 1;
    file.set("tokenizer.ggml.model", Meta::Str("clip"))
        .set("tokenizer.ggml.tokens", Meta::Strs(vocabulary))
        .set("tokenizer.ggml.token_type", Meta::I32s(kinds))
        .set("tokenizer.ggml.merges", Meta::Strs(merges()))
        .set("tokenizer.ggml.bos_token_id", Meta::U32(last - 1))
        .set("tokenizer.ggml.eos_token_id", Meta::U32(last))
}

/// The same as llama.cpp's converter of old writes it: tokens without merges, the feed-forward network's products by each other's names, no
/// factor for cosines, weights of the convolution in binary16.
pub fn legacy(mut file: File) -> File {
    for key in ["model", "token_type", "merges", "bos_token_id", "eos_token_id"] {
        file = file.without(&format!("tokenizer.ggml.{key}"));
    }
    for tensor in &mut file.tensors {
        tensor.name = match tensor.name.split_once("ffn_") {
            Some((before, after)) if after.starts_with("up") => format!("{before}ffn_down{}", &after[2..]),
            Some((before, after)) => format!("{before}ffn_up{}", &after[4..]),
            None => continue,
        };
    }
    let patches = file.tensor("v.patch_embd.weight");
    let values: Vec<f32> = patches.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (patches.kind, patches.data) = (TensorType::F16, vec![0; values.len() * 2]);
    Format::F16.encode(&values, &mut patches.data).unwrap();
    file.without("clip.logit_scale")
}

/// The checkpoint that becomes the model in F32: JSON files and tensors.
pub fn checkpoint() -> ([(&'static str, Value); 3], Vec<Stored>) {
    let file = model(Format::F32);
    let tower = || {
        json!({"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "hidden_act": "quick_gelu"})
    };
    let (mut sees, mut reads) = (tower(), tower());
    (sees["image_size"], sees["patch_size"]) = (IMAGE.into(), PATCH.into());
    (reads["max_position_embeddings"], reads["vocab_size"]) = (CONTEXT.into(), vocabulary().len().into());
    let config =
        json!({"model_type": "clip", "projection_dim": PROJECTION, "vision_config": sees, "text_config": reads});
    let ids: Map<String, Value> = vocabulary().into_iter().enumerate().map(|(id, token)| (token, id.into())).collect();
    let last = vocabulary().len() - 1;
    let added = |id: usize, token: &str| json!({"id": id, "content": token, "special": true, "normalized": true});
    let tokenizer = json!({
        "added_tokens": [added(last - 1, "<|startoftext|>"), added(last, "<|endoftext|>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"},
                "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "model": {"type": "BPE", "unk_token": "<|endoftext|>", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "vocab": ids, "merges": merges()},
    });
    let preprocessor = json!({"do_resize": true, "size": {"shortest_edge": IMAGE}, "resample": 3, "do_center_crop": true,
        "crop_size": {"height": IMAGE, "width": IMAGE}, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]});
    let files = [("config.json", config), ("tokenizer.json", tokenizer), ("preprocessor_config.json", preprocessor)];
    let mut stored: Vec<Stored> = file.tensors.iter().map(published).collect();
    // The natural logarithm of 20.
    stored.push(Stored::floats("logit_scale", &[], &[2.995_732_3]));
    let positions = (0..CONTEXT as i64).flat_map(i64::to_le_bytes).collect();
    let name = "text_model.embeddings.position_ids".into();
    stored.push(Stored { name, dtype: "I64", shape: vec![1, CONTEXT as u64], data: positions });
    (files, stored)
}

/// A tensor as a checkpoint has it.
fn published(tensor: &Tensor) -> Stored {
    let parts = [
        ("v.class_embd", "vision_model.embeddings.class_embedding"),
        ("v.patch_embd", "vision_model.embeddings.patch_embedding"),
        ("v.position_embd", "vision_model.embeddings.position_embedding"),
        ("t.token_embd", "text_model.embeddings.token_embedding"),
        ("t.position_embd", "text_model.embeddings.position_embedding"),
        ("v.pre_ln", "vision_model.pre_layrnorm"),
        ("v.post_ln", "vision_model.post_layernorm"),
        ("t.post_ln", "text_model.final_layer_norm"),
        ("v.blk", "vision_model.encoder.layers"),
        ("t.blk", "text_model.encoder.layers"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_out", "self_attn.out_proj"),
        ("ffn_up", "mlp.fc1"),
        ("ffn_down", "mlp.fc2"),
        ("ln1", "layer_norm1"),
        ("ln2", "layer_norm2"),
    ];
    let name = parts.iter().fold(tensor.name.clone(), |name, (own, published)| name.replace(own, published));
    let shape = tensor.dims.iter().rev().copied().collect();
    Stored { name, dtype: "F32", shape, data: tensor.data.clone() }
}
