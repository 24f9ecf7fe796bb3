//! Rows 40 to 47 of the hostile table: models that must be refused, each with its exact error, built in code.

use smidgen::{Key, KvType, LoadError, Model, Options, RunError, Session, TensorName};
use smidgen_gguf::{Gguf, TensorType, ValueKind};
use smidgen_quant::Format;
use smidgen_targets::{Serial, scalar};
use smidgen_tests::seeded::{self, File, Meta, Shape};

fn good() -> File {
    seeded::model(&Shape::default(), Format::Q8_0)
}

#[track_caller]
fn refused(file: File, expected: LoadError) {
    let bytes = file.bytes();
    let files = [Gguf::parse(&bytes).unwrap()];
    let error = Model::parse(&files).err().unwrap();
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
}

/// Not comparable, for the value may be NaN.
#[track_caller]
fn refused_number(name: &'static str, value: f32) {
    let file = good().set(&format!("llama.{name}"), Meta::F32(value));
    let bytes = file.bytes();
    match Model::parse(&[Gguf::parse(&bytes).unwrap()]) {
        Err(LoadError::KeyNumber { key: found, value: at }) => {
            assert_eq!((found, at.to_bits()), (key(name), value.to_bits()));
        }
        other => panic!("{name} = {value}: {:?}", other.err()),
    }
}

fn key(name: &'static str) -> Key {
    Key { architecture: "llama", name }
}

fn tensor(layer: impl Into<Option<usize>>, part: &'static str) -> TensorName {
    TensorName { layer: layer.into(), part }
}

const MOST: u64 = 1 << 31;

#[test]
fn the_good_model_is_accepted() {
    let bytes = good().bytes();
    assert!(Model::parse(&[Gguf::parse(&bytes).unwrap()]).is_ok());
}

#[test]
fn unknown_architecture() {
    refused(good().without("general.architecture"), LoadError::NoArchitecture);
    let file = good().set("general.architecture", Meta::Str("mamba"));
    refused(file, LoadError::UnknownArchitecture { name: "mamba".into() });
    assert!(LoadError::UnknownArchitecture { name: "mamba".into() }.to_string().contains("llama"));
    let text = LoadError::UnknownArchitecture { name: "qwen3moe".into() }.to_string();
    assert!(text.contains("the nearest is qwen3;"), "{text}");
    assert_eq!(Model::parse(&[]).err(), Some(LoadError::NoArchitecture));
}

#[test]
fn row_40_block_count_zero_or_absurd() {
    let with = |count| good().set("llama.block_count", count);
    let name = key("block_count");
    refused(with(Meta::U32(0)), LoadError::KeyRange { key: name, value: 0, least: 1, most: MOST });
    refused(with(Meta::U32(4097)), LoadError::KeyRange { key: name, value: 4097, least: 1, most: 4096 });
    refused(with(Meta::U64(u64::MAX)), LoadError::KeyRange { key: name, value: u64::MAX, least: 1, most: MOST });
    refused(
        with(Meta::I32(-1)),
        LoadError::KeyType { key: name, expected: "non-negative integer", found: ValueKind::I32 },
    );
    refused(with(Meta::U32(3)), LoadError::MissingTensor { tensor: tensor(2, "attn_q.weight") });
}

#[test]
fn row_41_zero_heads_or_experts() {
    for name in [
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "embedding_length",
        "feed_forward_length",
    ] {
        let file = good().set(&format!("llama.{name}"), Meta::U32(0));
        refused(file, LoadError::KeyRange { key: key(name), value: 0, least: 1, most: MOST });
    }
    let file = good().set("llama.attention.head_count_kv", Meta::U32s(vec![2, 0]));
    refused(file, LoadError::KeyRange { key: key("attention.head_count_kv"), value: 0, least: 1, most: MOST });
    let file = good().set("llama.expert_count", Meta::U32(8));
    refused(file, LoadError::SurplusKey { key: key("expert_count") });
    let file = good().set("llama.rope.dimension_count", Meta::U32(0));
    refused(file, LoadError::KeyRange { key: key("rope.dimension_count"), value: 0, least: 2, most: MOST });
}

#[test]
fn row_42_sizes_that_do_not_divide() {
    let file = good().without("llama.attention.key_length").set("llama.attention.head_count", Meta::U32(6));
    refused(
        file,
        LoadError::NotDivisible {
            key: key("embedding_length"),
            value: 256,
            divisor_key: key("attention.head_count"),
            divisor: 6,
        },
    );
    let file = good().set("llama.attention.head_count_kv", Meta::U32(3));
    let (value, divisor) = (4, 3);
    let divisor_key = key("attention.head_count_kv");
    refused(file, LoadError::NotDivisible { key: key("attention.head_count"), value, divisor_key, divisor });
    let file = good().set("llama.attention.head_count_kv", Meta::U32(8));
    let divisor = 8;
    refused(file, LoadError::NotDivisible { key: key("attention.head_count"), value, divisor_key, divisor });
    let file = good().set("llama.rope.dimension_count", Meta::U32(66));
    refused(file, LoadError::KeyRange { key: key("rope.dimension_count"), value: 66, least: 2, most: 64 });
    let file = good().set("llama.rope.dimension_count", Meta::U32(63));
    refused(file, LoadError::Odd { key: key("rope.dimension_count"), value: 63 });
    let odd = seeded::model(&Shape { head_size: 63, ..Shape::default() }, Format::F32);
    let odd = odd.without("llama.rope.dimension_count");
    refused(odd, LoadError::Odd { key: key("attention.key_length"), value: 63 });
}

#[test]
fn row_43_numbers_that_are_not_finite_or_not_positive() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1e-5] {
        refused_number("attention.layer_norm_rms_epsilon", value);
        refused_number("rope.freq_base", value);
        refused_number("rope.scaling.factor", value);
        refused_number("rope.scale_linear", value);
        refused_number("attention.scale", value);
    }
    let file = good().set("llama.rope.freq_base", Meta::U32(10_000));
    refused(file, LoadError::KeyType { key: key("rope.freq_base"), expected: "float", found: ValueKind::U32 });
    // A base this small turns the last pair by more than an angle can hold.
    let bytes = good().set("llama.rope.freq_base", Meta::F32(1e-30)).bytes();
    let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).err();
    assert!(matches!(error, Some(LoadError::RopeFrequency { index: 2, .. })), "{error:?}");
    let mut factors = [1f32; 32];
    factors[31] = f32::NAN;
    let file = good().with_floats("rope_freqs.weight", &[32], &factors);
    refused(file, LoadError::WeightNotFinite { tensor: tensor(None, "rope_freqs.weight"), index: 31 });
    factors[31] = 0.0;
    let bytes = good().with_floats("rope_freqs.weight", &[32], &factors).bytes();
    let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).err();
    assert!(matches!(error, Some(LoadError::RopeFrequency { index: 31, .. })), "{error:?}");
    let file = good().set("llama.rope.scaling.type", Meta::Str("yearn"));
    refused(file, LoadError::UnknownRopeScaling { key: key("rope.scaling.type"), name: "yearn".into() });
    let mut file = good();
    file.tensor("blk.1.ffn_norm.weight").data[40..44].copy_from_slice(&f32::INFINITY.to_le_bytes());
    refused(file, LoadError::WeightNotFinite { tensor: tensor(1, "ffn_norm.weight"), index: 10 });
}

/// Scales of blocks are not read when a model is opened, so what they spoil is found when it shows, and named.
#[test]
fn row_43_scales_of_blocks() {
    const INFINITY: [u8; 2] = 0x7c00u16.to_le_bytes();
    const NAN: [u8; 2] = 0x7e00u16.to_le_bytes();
    let parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let parts = parts.map(|part| format!("blk.1.{part}.weight"));
    for name in parts.iter().map(String::as_str).chain(["token_embd.weight", "output.weight"]) {
        for bits in [INFINITY, NAN] {
            let mut file = seeded::model(&Shape { tied: false, ..Shape::default() }, Format::Q8_0);
            // Token 5's row of the embedding; some block of the others.
            let block = if name == "token_embd.weight" { 5 * 8 + 3 } else { 77 };
            file.tensor(name).data[block * 34..][..2].copy_from_slice(&bits);
            let bytes = file.bytes();
            let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
            for kv in [KvType::F32, KvType::F16, KvType::Q8_0] {
                let options = Options { kv, ..Options::new(8) };
                let mut session = Session::new(&model, &options, &scalar::KERNELS).unwrap();
                let error = session.forward(0, &[5, 6, 7], &Serial).err();
                assert!(
                    matches!(error, Some(RunError::NotFinite { tensor: Some(found) }) if found.to_string() == name),
                    "{name}: {error:?}"
                );
                assert_eq!(session.len(0), 0, "the sequence is as before");
            }
        }
    }
}

#[test]
fn row_44_tensors_that_disagree_with_the_hyper_parameters() {
    let with = |name: &str, value| good().set(&format!("llama.{name}"), Meta::U32(value));
    let shape = |layer: Option<usize>, part, expected, found: [u64; 2]| LoadError::TensorShape {
        tensor: tensor(layer, part),
        expected,
        found: [found[0], found[1], 1, 1],
    };
    refused(with("vocab_size", 98), shape(None, "token_embd.weight", [256, 98], [256, 97]));
    refused(with("embedding_length", 512), shape(None, "token_embd.weight", [512, 97], [256, 97]));
    refused(with("feed_forward_length", 768), shape(Some(0), "ffn_gate.weight", [256, 768], [256, 512]));
    refused(with("attention.head_count", 8), shape(Some(0), "attn_q.weight", [256, 512], [256, 256]));
    refused(with("attention.head_count_kv", 4), shape(Some(0), "attn_k.weight", [256, 256], [256, 128]));
    let wide = with("attention.key_length", 128).set("llama.attention.value_length", Meta::U32(128));
    refused(wide, shape(Some(0), "attn_q.weight", [256, 512], [256, 256]));
    refused(with("attention.value_length", 32), shape(Some(0), "attn_v.weight", [256, 64], [256, 128]));
    let huge = with("attention.key_length", 1 << 20).set("llama.attention.value_length", Meta::U32(1 << 20));
    refused(huge, LoadError::KeyRange { key: key("attention.key_length"), value: 1 << 20, least: 1, most: 1 << 16 });
    let mut file = good();
    file.tensor("output_norm.weight").dims = vec![128, 2];
    refused(file, shape(None, "output_norm.weight", [256, 1], [128, 2]));
    let file = good().with_floats("blk.0.attn_q.bias", &[255], &[0.0; 255]);
    refused(file, shape(Some(0), "attn_q.bias", [256, 1], [255, 1]));
    let file = good().with_floats("rope_freqs.weight", &[31], &[1.0; 31]);
    refused(file, shape(None, "rope_freqs.weight", [32, 1], [31, 1]));
    let mut file = good();
    let norm = file.tensor("blk.0.attn_norm.weight");
    (norm.kind, norm.data) = (TensorType::Q8_0, vec![0; 8 * 34]);
    refused(file, LoadError::TensorKind { tensor: tensor(0, "attn_norm.weight"), found: TensorType::Q8_0 });
    let mut file = good();
    let weight = file.tensor("blk.1.ffn_up.weight");
    (weight.kind, weight.data) = (TensorType::I8, vec![0; 256 * 512]);
    refused(file, LoadError::TensorKind { tensor: tensor(1, "ffn_up.weight"), found: TensorType::I8 });
}

/// What a family does not ask for would change its results.
#[test]
fn tensors_and_keys_beyond_the_architecture() {
    let file = good().with_floats("blk.1.attn_q_norm.weight", &[64], &[1.0; 64]);
    refused(file, LoadError::SurplusTensor { name: "blk.1.attn_q_norm.weight".into() });
    for (name, value) in [
        ("logit_scale", Meta::F32(8.0)),
        ("embedding_scale", Meta::F32(12.0)),
        ("attn_logit_softcapping", Meta::F32(50.0)),
        ("attention.causal", Meta::Bool(false)),
        ("use_parallel_residual", Meta::Bool(true)),
        ("attention.kv_lora_rank", Meta::U32(16)),
        ("rope.dimension_sections", Meta::U32s(vec![1, 2, 3, 0])),
    ] {
        let file = good().set(&format!("llama.{name}"), value);
        refused(file, LoadError::SurplusKey { key: key(name) });
    }
    // By these values the keys change nothing.
    for (name, value) in [
        ("logit_scale", Meta::F32(1.0)),
        ("expert_count", Meta::U32(0)),
        ("attention.causal", Meta::Bool(true)),
        ("use_parallel_residual", Meta::Bool(false)),
        ("attention.sliding_window", Meta::U32(0)),
    ] {
        let bytes = good().set(&format!("llama.{name}"), value).bytes();
        assert!(Model::parse(&[Gguf::parse(&bytes).unwrap()]).is_ok(), "{name}");
    }
    // Layers that predict further tokens are not run, and their tensors are none of ours.
    let file = good().set("llama.nextn_predict_layers", Meta::U32(1));
    let bytes = file.with_floats("blk.1.nextn.eh_proj.weight", &[256], &[1.0; 256]).bytes();
    assert_eq!(Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap().decoder().unwrap().layers.len(), 1);
    // A file with more layers than it says gives nonsense if the rest is left out.
    let file = good().set("llama.block_count", Meta::U32(1));
    refused(file, LoadError::SurplusTensor { name: "blk.1.attn_k.weight".into() });
    let (tensor, file) = (tensor(1, "nextn.eh_proj.weight"), good().set("llama.nextn_predict_layers", Meta::U32(1)));
    refused(file, LoadError::MissingTensor { tensor });
    let file = good().set("llama.nextn_predict_layers", Meta::U32(2));
    refused(file, LoadError::KeyRange { key: key("nextn_predict_layers"), value: 2, least: 1, most: 1 });
}

/// A number of heads that no tensor has must not be believed before that is known: lists as long would be made.
#[test]
fn heads_beyond_the_tensors() {
    for switch in smidgen_tests::switches::all() {
        let architecture = switch.file.metadata.iter().find(|(key, _)| key == "general.architecture");
        let Some((_, Meta::Str(architecture))) = architecture else { panic!("{}", switch.name) };
        let mut file = switch.file.clone();
        for (name, value) in [("head_count", 1 << 30), ("head_count_kv", 1), ("key_length", 2), ("value_length", 2)] {
            file = file.set(&format!("{architecture}.attention.{name}"), Meta::U32(value));
        }
        let bytes = file.without(&format!("{architecture}.rope.dimension_count")).bytes();
        let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).err();
        assert!(matches!(error, Some(LoadError::TensorShape { .. })), "{}: {error:?}", switch.name);
    }
}

#[test]
fn windows_and_factors() {
    let with = |value| good().set("llama.attention.sliding_window", Meta::U32(4)).set(PATTERN, value);
    const PATTERN: &str = "llama.attention.sliding_window_pattern";
    let expected = LoadError::KeyLength { key: key("attention.sliding_window_pattern"), expected: 2, found: 3 };
    refused(with(Meta::Bools(vec![true, false, true])), expected);
    let (name, found) = ("attention.sliding_window_pattern", ValueKind::F32);
    refused(with(Meta::F32(1.0)), LoadError::KeyType { key: key(name), expected: "non-negative integer", found });
    let file = good().set("llama.attention.sliding_window", Meta::U64(1 << 40));
    let (name, value) = ("attention.sliding_window", 1 << 40);
    refused(file, LoadError::KeyRange { key: key(name), value, least: 0, most: MOST });
    let file = good().with_floats("rope_factors_long.weight", &[32], &[1.0; 32]);
    refused(file, LoadError::MissingTensor { tensor: tensor(None, "rope_factors_short.weight") });
    let file = good().with_floats("rope_factors_long.weight", &[32], &[1.0; 32]);
    let file = file.with_floats("rope_factors_short.weight", &[31], &[1.0; 31]);
    let (expected, found) = ([32, 1], [31, 1, 1, 1]);
    let name = tensor(None, "rope_factors_short.weight");
    refused(file, LoadError::TensorShape { tensor: name, expected, found });
    let mut file = good();
    file.tensor("blk.0.attn_q.weight").dims = vec![256, 128, 2];
    let (tensor, found) = (tensor(0, "attn_q.weight"), [256, 128, 2, 1]);
    refused(file, LoadError::TensorShape { tensor, expected: [256, 256], found });
}

#[test]
fn row_45_required_tensors_and_keys_missing() {
    for part in [
        "attn_norm.weight",
        "attn_q.weight",
        "attn_k.weight",
        "attn_v.weight",
        "attn_output.weight",
        "ffn_norm.weight",
        "ffn_gate.weight",
        "ffn_up.weight",
        "ffn_down.weight",
    ] {
        refused(good().without_tensor(&format!("blk.1.{part}")), LoadError::MissingTensor { tensor: tensor(1, part) });
    }
    for part in ["token_embd.weight", "output_norm.weight"] {
        refused(good().without_tensor(part), LoadError::MissingTensor { tensor: tensor(None, part) });
    }
    for name in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.layer_norm_rms_epsilon",
        "context_length",
    ] {
        refused(good().without(&format!("llama.{name}")), LoadError::MissingKey { key: key(name) });
    }
}

#[test]
fn row_46_contexts_whose_cache_overflows() {
    let range = |value| LoadError::KeyRange { key: key("context_length"), value, least: 1, most: 1 << 24 };
    refused(good().set("llama.context_length", Meta::U32(1 << 25)), range(1 << 25));
    let most = LoadError::KeyRange { key: key("context_length"), value: u64::MAX, least: 1, most: MOST };
    refused(good().set("llama.context_length", Meta::U64(u64::MAX)), most);
    let bytes = good().bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let long = usize::try_from(1u64 << 40).unwrap_or(usize::MAX / 200);
    for context in [usize::MAX, usize::MAX / 2, long, (1 << 24) + 1] {
        let expected = RunError::ContextTooLarge { context };
        assert_eq!(model.bytes_needed(context, KvType::F16, 256), Err(expected.clone()));
        assert_eq!(Session::new(&model, &Options::new(context), &scalar::KERNELS).err(), Some(expected));
    }
    // Numbers that fit but memory that no machine has.
    let options = Options { sequences: 1 << 16, ..Options::new(1 << 24) };
    match options.bytes_needed(&model) {
        Ok(bytes) => assert!(bytes as u64 > 1 << 48),
        Err(error) => assert!(usize::BITS < 64 && error == RunError::ContextTooLarge { context: 1 << 24 }),
    }
    let options = Options { batch: usize::MAX, sequences: usize::MAX, ..Options::new(8) };
    assert_eq!(options.bytes_needed(&model), Err(RunError::ContextTooLarge { context: 8 }));
    let bytes = model.bytes_needed(128, KvType::F16, 256).unwrap();
    // 2 layers, 2 heads of 64, keys and values of 2 bytes.
    let cache = 2 * 2 * 64 * 128 * 2 * 2;
    assert!(bytes > cache && bytes < cache + (4 << 20), "{bytes}");
}

#[test]
fn row_47_per_layer_arrays_of_the_wrong_length() {
    for name in ["attention.head_count", "attention.head_count_kv", "feed_forward_length"] {
        let with = |values: &[u32]| good().set(&format!("llama.{name}"), Meta::U32s(values.into()));
        for values in [&[][..], &[4], &[4, 4, 4]] {
            refused(with(values), LoadError::KeyLength { key: key(name), expected: 2, found: values.len() });
        }
        refused(with(&[4, 2]), LoadError::LayersDiffer { key: key(name) });
    }
    let bytes = good().set("llama.attention.head_count", Meta::U32s(vec![4, 4])).bytes();
    assert!(Model::parse(&[Gguf::parse(&bytes).unwrap()]).is_ok());
}

#[test]
fn parts_of_a_split_file_with_the_same_tensor() {
    let whole = good();
    let (mut first, mut second) = (whole.clone(), File::default());
    second.tensors = first.tensors.split_off(7);
    let (first_bytes, second_bytes) = (first.bytes(), second.bytes());
    let parts = [Gguf::parse(&first_bytes).unwrap(), Gguf::parse(&second_bytes).unwrap()];
    assert!(Model::parse(&parts).is_ok());
    assert!(matches!(Model::parse(&parts[..1]), Err(LoadError::MissingTensor { .. })));
    second.tensors.push(first.tensors[0].clone());
    let second_bytes = second.bytes();
    let parts = [parts[0].clone(), Gguf::parse(&second_bytes).unwrap()];
    assert_eq!(Model::parse(&parts).err(), Some(LoadError::DuplicateTensor { name: "token_embd.weight".into() }));
}

#[test]
fn a_session_refuses_what_it_cannot_run() {
    let bytes = good().bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    for (option, options) in [
        ("context", Options::new(0)),
        ("batch", Options { batch: 0, ..Options::new(8) }),
        ("sequences", Options { sequences: 0, ..Options::new(8) }),
    ] {
        let error = Session::new(&model, &options, &scalar::KERNELS).err();
        assert_eq!(error, Some(RunError::OptionRange { option, value: 0.0 }));
    }
    let mut session = Session::new(&model, &Options { sequences: 2, ..Options::new(8) }, &scalar::KERNELS).unwrap();
    assert_eq!(session.forward(0, &[], &Serial), Err(RunError::NoTokens));
    assert_eq!(session.forward_each(&[], &Serial), Err(RunError::NoTokens));
    assert_eq!(session.forward(0, &[1, 97], &Serial), Err(RunError::TokenRange { token: 97, vocabulary: 97 }));
    assert_eq!(session.forward(2, &[1], &Serial), Err(RunError::SequenceRange { sequence: 2, sequences: 2 }));
    assert_eq!(
        session.forward_each(&[(1, 1), (1, 1)], &Serial),
        Err(RunError::SequenceRange { sequence: 1, sequences: 2 })
    );
    assert_eq!(session.copy(0, 2, 0), Err(RunError::SequenceRange { sequence: 2, sequences: 2 }));
    session.forward(0, &[1; 5], &Serial).unwrap();
    let full = RunError::ContextFull { context: 8, used: 5, tokens: 4 };
    assert_eq!(session.forward(0, &[1; 4], &Serial), Err(full));
    assert_eq!(session.len(0), 5);
    session.forward(0, &[1; 3], &Serial).unwrap();
    assert_eq!(session.forward_each(&[(0, 1)], &Serial), Err(RunError::ContextFull { context: 8, used: 8, tokens: 1 }));

    let shape = Shape { head_size: 48, rotated: 48, embedding: 96, feed_forward: 96, ..Shape::default() };
    let bytes = seeded::model(&shape, Format::Q8_0).bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let options = Options { kv: KvType::Q8_0, ..Options::new(8) };
    assert_eq!(Session::new(&model, &options, &scalar::KERNELS).err(), Some(RunError::CacheHeadSize { head_size: 48 }));
}
