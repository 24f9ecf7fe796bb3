//! The families: names of fields and tensors, and what is particular to each.

use super::particular::*;
use super::{Family, Fields, KeyHeads, Of, Part, Row, Size};
use crate::fields::Rule;
use Part::{Grouped, Norm, NormLessOne, OfGroups, Product, Rotary, Transposed};
use Size::{All, Context, Head, Inner, Keys, Queries, TwoInner, Vocabulary, Width};

const HF: Fields = Fields {
    layers: "num_hidden_layers",
    width: "hidden_size",
    inner: Some("intermediate_size"),
    heads: "num_attention_heads",
    kv_heads: KeyHeads::OrAll("num_key_value_heads"),
    head: None,
    context: "max_position_embeddings",
    longest: None,
};
/// The same where the number of key's heads, and the size of a head, is not made of others if absent.
const fn sized(head: u32) -> Fields {
    Fields { kv_heads: KeyHeads::Said("num_key_value_heads"), head: Some(head), ..HF }
}
const SAID: Fields = Fields { kv_heads: KeyHeads::Said("num_key_value_heads"), ..HF };
const HEADS_OF_128: Fields = sized(128);
const HEADS_OF_256: Fields = sized(256);
const GPT: Fields = Fields {
    layers: "n_layer",
    width: "n_embd",
    inner: Some("n_inner"),
    heads: "n_head",
    kv_heads: KeyHeads::All,
    head: None,
    context: "n_positions",
    longest: None,
};

const RMS: &str = "attention.layer_norm_rms_epsilon";
const LAYER: &str = "attention.layer_norm_epsilon";

const EMBEDDING: Row = ("token_embd", "embed_tokens", Product(Vocabulary, Width));
const FINAL: Row = ("output_norm", "norm", Norm(Width));
const OUTER: &[Row] = &[EMBEDDING, FINAL];
const OUTER_LESS_ONE: &[Row] = &[EMBEDDING, ("output_norm", "norm", NormLessOne(Width))];

pub(super) const NORM: Row = ("attn_norm", "input_layernorm", Norm(Width));
pub(super) const FFN_NORM: Row = ("ffn_norm", "post_attention_layernorm", Norm(Width));
const Q: Row = ("attn_q", "self_attn.q_proj", Product(Queries, Width));
const K: Row = ("attn_k", "self_attn.k_proj", Product(Keys, Width));
const V: Row = ("attn_v", "self_attn.v_proj", Product(Keys, Width));
const O: Row = ("attn_output", "self_attn.o_proj", Product(Width, Queries));
const TURNED_Q: Row = ("attn_q", "self_attn.q_proj", Rotary(Queries));
const TURNED_K: Row = ("attn_k", "self_attn.k_proj", Rotary(Keys));
const Q_NORM: Row = ("attn_q_norm", "self_attn.q_norm", Norm(Head));
const K_NORM: Row = ("attn_k_norm", "self_attn.k_norm", Norm(Head));
const GATE: Row = ("ffn_gate", "mlp.gate_proj", Product(Inner, Width));
const UP: Row = ("ffn_up", "mlp.up_proj", Product(Inner, Width));
const DOWN: Row = ("ffn_down", "mlp.down_proj", Product(Width, Inner));
const GATE_UP: Row = ("ffn_up", "mlp.gate_up_proj", Product(TwoInner, Width));

const QKV_NAMES: &[&str] = &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
const ATTENTION_NAMES: &[&str] = &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
const MLP_NAMES: &[&str] = &["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.c_fc", "mlp.c_proj"];
const FALCON_NAMES: &[&str] =
    &["self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"];
const ATTENTION_BIAS: (&str, bool, &[&str]) = ("attention_bias", false, ATTENTION_NAMES);
const MLP_BIAS: (&str, bool, &[&str]) = ("mlp_bias", false, MLP_NAMES);
const USE_BIAS: (&str, bool, &[&str]) = (
    "use_bias",
    false,
    &[
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ],
);

const WINDOW_OF_LLAMA: Rule = ("sliding_window", "*", "Llama has no window, whatever its configuration says");

/// Llama's, which the others change.
const LLAMA: Family = Family {
    names: &["llama", "smollm"],
    architecture: "llama",
    fields: &HF,
    epsilon: ("rms_norm_eps", 1e-6, RMS),
    prefixes: &["model.", ""],
    layers: "layers",
    outer: OUTER,
    layer: &[NORM, TURNED_Q, TURNED_K, V, O, FFN_NORM, GATE, UP, DOWN],
    head: "lm_head",
    biases: &[ATTENTION_BIAS, MLP_BIAS],
    harmless: &[("rope_interleaved", "false", "pairs lie half a head apart"), WINDOW_OF_LLAMA],
    particular: llama,
};

/// The same with rotary pairs half a head apart.
const HALVES: &[Row] = &[NORM, Q, K, V, O, FFN_NORM, GATE, UP, DOWN];
const HALVES_WITH_NORMS: &[Row] = &[NORM, Q, K, V, O, Q_NORM, K_NORM, FFN_NORM, GATE, UP, DOWN];
/// Norms after the blocks only.
const AFTER: &[Row] = &[
    Q,
    K,
    V,
    O,
    Q_NORM,
    K_NORM,
    ("post_attention_norm", "post_attention_layernorm", Norm(Width)),
    GATE,
    UP,
    DOWN,
    ("post_ffw_norm", "post_feedforward_layernorm", Norm(Width)),
];
/// Gemma's.
const GEMMA: Family = Family {
    names: &["gemma"],
    fields: &HEADS_OF_256,
    architecture: "gemma",
    outer: OUTER_LESS_ONE,
    layer: &[
        ("attn_norm", "input_layernorm", NormLessOne(Width)),
        Q,
        K,
        V,
        O,
        ("ffn_norm", "post_attention_layernorm", NormLessOne(Width)),
        GATE,
        UP,
        DOWN,
    ],
    biases: &[ATTENTION_BIAS],
    harmless: &[],
    particular: gemma,
    ..LLAMA
};
const GPT_OUTER: &[Row] = &[
    ("token_embd", "wte", Product(Vocabulary, Width)),
    ("position_embd", "wpe", Product(Context, Width)),
    ("output_norm", "ln_f", Norm(Width)),
];

pub(super) const FAMILIES: &[Family] = &[
    LLAMA,
    Family { names: &["mistral"], fields: &SAID, biases: &[], harmless: &[], particular: mistral, ..LLAMA },
    Family {
        names: &["qwen2"],
        architecture: "qwen2",
        fields: &SAID,
        layer: HALVES,
        biases: &[],
        harmless: &[],
        particular: qwen,
        ..LLAMA
    },
    Family {
        names: &["qwen3"],
        fields: &HEADS_OF_128,
        architecture: "qwen3",
        layer: HALVES_WITH_NORMS,
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: qwen,
        ..LLAMA
    },
    GEMMA,
    Family {
        names: &["gemma2"],
        architecture: "gemma2",
        layer: &[
            ("attn_norm", "input_layernorm", NormLessOne(Width)),
            Q,
            K,
            V,
            O,
            ("post_attention_norm", "post_attention_layernorm", NormLessOne(Width)),
            ("ffn_norm", "pre_feedforward_layernorm", NormLessOne(Width)),
            GATE,
            UP,
            DOWN,
            ("post_ffw_norm", "post_feedforward_layernorm", NormLessOne(Width)),
        ],
        harmless: &[],
        particular: gemma2,
        ..GEMMA
    },
    Family {
        names: &["gemma3_text"],
        architecture: "gemma3",
        layer: &[
            ("attn_norm", "input_layernorm", NormLessOne(Width)),
            Q,
            K,
            V,
            O,
            ("attn_q_norm", "self_attn.q_norm", NormLessOne(Head)),
            ("attn_k_norm", "self_attn.k_norm", NormLessOne(Head)),
            ("post_attention_norm", "post_attention_layernorm", NormLessOne(Width)),
            ("ffn_norm", "pre_feedforward_layernorm", NormLessOne(Width)),
            GATE,
            UP,
            DOWN,
            ("post_ffw_norm", "post_feedforward_layernorm", NormLessOne(Width)),
        ],
        harmless: &[],
        particular: gemma3,
        ..GEMMA
    },
    Family {
        names: &["phi"],
        architecture: "phi2",
        epsilon: ("layer_norm_eps", 1e-5, LAYER),
        outer: &[EMBEDDING, ("output_norm", "final_layernorm", Norm(Width))],
        layer: &[
            NORM,
            Q,
            K,
            V,
            ("attn_output", "self_attn.dense", Product(Width, Queries)),
            ("ffn_up", "mlp.fc1", Product(Inner, Width)),
            ("ffn_down", "mlp.fc2", Product(Width, Inner)),
        ],
        biases: &[],
        harmless: &[],
        particular: phi,
        ..LLAMA
    },
    Family {
        names: &["phi3"],
        architecture: "phi3",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: &[NORM, ("attn_qkv", "self_attn.qkv_proj", Product(All, Width)), O, FFN_NORM, GATE_UP, DOWN],
        biases: &[],
        harmless: &[],
        particular: phi3,
        ..LLAMA
    },
    Family {
        names: &["cohere"],
        fields: &Fields { context: "model_max_length|max_position_embeddings", ..HF },
        architecture: "command-r",
        epsilon: ("layer_norm_eps", 1e-5, LAYER),
        layer: &[NORM, Q, K, V, O, GATE, UP, DOWN],
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: cohere,
        ..LLAMA
    },
    Family {
        names: &["cohere2"],
        fields: &SAID,
        architecture: "cohere2",
        epsilon: ("layer_norm_eps", 1e-5, LAYER),
        layer: &[NORM, Q, K, V, O, GATE, UP, DOWN],
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: cohere2,
        ..LLAMA
    },
    Family {
        names: &["gpt2"],
        architecture: "gpt2",
        fields: &GPT,
        epsilon: ("layer_norm_epsilon", 1e-5, LAYER),
        prefixes: &["transformer.", ""],
        layers: "h",
        outer: GPT_OUTER,
        layer: &[
            ("attn_norm", "ln_1", Norm(Width)),
            ("attn_qkv", "attn.c_attn", Transposed(All, Width)),
            ("attn_output", "attn.c_proj", Transposed(Width, Queries)),
            ("ffn_norm", "ln_2", Norm(Width)),
            ("ffn_up", "mlp.c_fc", Transposed(Inner, Width)),
            ("ffn_down", "mlp.c_proj", Transposed(Width, Inner)),
        ],
        biases: &[],
        harmless: &[],
        particular: gpt,
        ..LLAMA
    },
    Family {
        names: &["gpt_bigcode"],
        architecture: "starcoder",
        fields: &Fields { kv_heads: KeyHeads::One(shared), ..GPT },
        epsilon: ("layer_norm_epsilon", 1e-5, LAYER),
        prefixes: &["transformer.", ""],
        layers: "h",
        outer: GPT_OUTER,
        layer: &[
            ("attn_norm", "ln_1", Norm(Width)),
            ("attn_qkv", "attn.c_attn", Product(All, Width)),
            ("attn_output", "attn.c_proj", Product(Width, Queries)),
            ("ffn_norm", "ln_2", Norm(Width)),
            ("ffn_up", "mlp.c_fc", Product(Inner, Width)),
            ("ffn_down", "mlp.c_proj", Product(Width, Inner)),
        ],
        biases: &[],
        harmless: &[],
        particular: bigcode,
        ..LLAMA
    },
    Family {
        names: &["bloom"],
        architecture: "bloom",
        fields: &Fields {
            layers: "n_layer|num_hidden_layers",
            width: "hidden_size|n_embed",
            inner: Some("n_inner"),
            heads: "n_head|num_attention_heads",
            kv_heads: KeyHeads::All,
            context: "seq_length",
            longest: Some(2048),
            ..HF
        },
        epsilon: ("layer_norm_epsilon", 1e-5, LAYER),
        prefixes: &["transformer.", ""],
        layers: "h",
        outer: &[
            ("token_embd", "word_embeddings", Product(Vocabulary, Width)),
            ("token_embd_norm", "word_embeddings_layernorm", Norm(Width)),
            ("output_norm", "ln_f", Norm(Width)),
        ],
        layer: &[
            NORM,
            ("attn_qkv", "self_attention.query_key_value", Grouped),
            ("attn_output", "self_attention.dense", Product(Width, Queries)),
            FFN_NORM,
            ("ffn_up", "mlp.dense_h_to_4h", Product(Inner, Width)),
            ("ffn_down", "mlp.dense_4h_to_h", Product(Width, Inner)),
        ],
        biases: &[],
        harmless: BLOOM,
        particular: bloom,
        ..LLAMA
    },
    Family {
        names: &["starcoder2"],
        architecture: "starcoder2",
        epsilon: ("norm_epsilon", 1e-5, LAYER),
        layer: &[
            NORM,
            Q,
            K,
            V,
            O,
            FFN_NORM,
            ("ffn_up", "mlp.c_fc", Product(Inner, Width)),
            ("ffn_down", "mlp.c_proj", Product(Width, Inner)),
        ],
        biases: &[(
            "use_bias",
            true,
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.c_fc", "mlp.c_proj"],
        )],
        harmless: STARCODER2,
        particular: starcoder2,
        ..LLAMA
    },
    Family {
        names: &["gpt_neox"],
        architecture: "gptneox",
        fields: &Fields { kv_heads: KeyHeads::All, ..HF },
        epsilon: ("layer_norm_eps", 1e-5, LAYER),
        prefixes: &["gpt_neox."],
        outer: &[
            ("token_embd", "embed_in", Product(Vocabulary, Width)),
            ("output_norm", "final_layer_norm", Norm(Width)),
        ],
        layer: &[
            NORM,
            ("attn_qkv", "attention.query_key_value", Grouped),
            ("attn_output", "attention.dense", Product(Width, Queries)),
            FFN_NORM,
            ("ffn_up", "mlp.dense_h_to_4h", Product(Inner, Width)),
            ("ffn_down", "mlp.dense_4h_to_h", Product(Width, Inner)),
        ],
        head: "embed_out",
        biases: &[("attention_bias", true, &["attention.query_key_value", "attention.dense"])],
        harmless: &[],
        particular: neox,
        ..LLAMA
    },
    FALCON,
    Family {
        names: &["stablelm"],
        architecture: "stablelm",
        epsilon: ("layer_norm_eps", 1e-5, LAYER),
        layer: &[NORM, Q, K, V, O, GATE, UP, DOWN],
        biases: &[("use_qkv_bias", false, QKV_NAMES)],
        harmless: &[],
        particular: stablelm,
        ..LLAMA
    },
    Family {
        names: &["olmo2"],
        architecture: "olmo2",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: OLMO,
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: olmo2,
        ..LLAMA
    },
    Family {
        names: &["olmo3"],
        architecture: "olmo2",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: OLMO,
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: olmo3,
        ..LLAMA
    },
    Family { names: &["granite"], architecture: "granite", harmless: &[], particular: granite, ..LLAMA },
    Family { names: &["minicpm"], architecture: "minicpm", biases: &[], harmless: &[], particular: minicpm, ..LLAMA },
    Family {
        names: &["internlm2"],
        architecture: "internlm2",
        outer: &[("token_embd", "tok_embeddings", Product(Vocabulary, Width)), FINAL],
        layer: &[
            ("attn_norm", "attention_norm", Norm(Width)),
            ("attn_q", "attention.wqkv", OfGroups(Of::Queries)),
            ("attn_k", "attention.wqkv", OfGroups(Of::Keys)),
            ("attn_v", "attention.wqkv", OfGroups(Of::Values)),
            ("attn_output", "attention.wo", Product(Width, Queries)),
            ("ffn_norm", "ffn_norm", Norm(Width)),
            ("ffn_gate", "feed_forward.w1", Product(Inner, Width)),
            ("ffn_up", "feed_forward.w3", Product(Inner, Width)),
            ("ffn_down", "feed_forward.w2", Product(Width, Inner)),
        ],
        head: "output",
        biases: &[("bias", true, &["attention.wqkv", "attention.wo"])],
        harmless: &[],
        particular: internlm2,
        ..LLAMA
    },
    Family {
        names: &["ernie4_5"],
        architecture: "ernie4_5",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: HALVES,
        biases: &[USE_BIAS],
        harmless: &[],
        particular: ernie,
        ..LLAMA
    },
    Family { names: &["smollm3"], architecture: "smollm3", harmless: &[], particular: smollm3, ..LLAMA },
    Family {
        names: &["exaone4"],
        fields: &SAID,
        architecture: "exaone4",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: AFTER,
        biases: &[],
        harmless: &[],
        particular: exaone4,
        ..LLAMA
    },
    Family {
        names: &["glm4"],
        fields: &HEADS_OF_128,
        architecture: "glm4",
        epsilon: ("rms_norm_eps", 1.5625e-7, RMS),
        layer: &[
            NORM,
            Q,
            K,
            V,
            O,
            ("post_attention_norm", "post_self_attn_layernorm", Norm(Width)),
            FFN_NORM,
            GATE_UP,
            DOWN,
            ("post_ffw_norm", "post_mlp_layernorm", Norm(Width)),
        ],
        biases: &[("attention_bias", false, QKV_NAMES)],
        harmless: &[],
        particular: glm4,
        ..LLAMA
    },
    Family {
        names: &["hunyuan_v1_dense"],
        architecture: "hunyuan-dense",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: &[
            NORM,
            Q,
            K,
            V,
            O,
            ("attn_q_norm", "self_attn.query_layernorm", Norm(Head)),
            ("attn_k_norm", "self_attn.key_layernorm", Norm(Head)),
            FFN_NORM,
            GATE,
            UP,
            DOWN,
        ],
        biases: &[ATTENTION_BIAS],
        harmless: HUNYUAN,
        particular: hunyuan,
        ..LLAMA
    },
    Family {
        names: &["nemotron"],
        architecture: "nemotron",
        epsilon: ("norm_eps", 1e-5, LAYER),
        outer: OUTER_LESS_ONE,
        layer: &[
            ("attn_norm", "input_layernorm", NormLessOne(Width)),
            Q,
            K,
            V,
            O,
            ("ffn_norm", "post_attention_layernorm", NormLessOne(Width)),
            UP,
            DOWN,
        ],
        harmless: &[],
        particular: nemotron,
        ..LLAMA
    },
    Family {
        names: &["seed_oss"],
        fields: &HEADS_OF_128,
        architecture: "seed_oss",
        layer: &[NORM, Q, K, V, O, ("post_attention_norm", "post_attention_layernorm", Norm(Width)), GATE, UP, DOWN],
        biases: &[("attention_bias", true, QKV_NAMES), ("attention_out_bias", false, &["self_attn.o_proj"]), MLP_BIAS],
        harmless: &[],
        particular: seed,
        ..LLAMA
    },
    Family {
        names: &["apertus"],
        architecture: "apertus",
        epsilon: ("rms_norm_eps", 1e-5, RMS),
        layer: &[
            ("attn_norm", "attention_layernorm", Norm(Width)),
            Q,
            K,
            V,
            O,
            Q_NORM,
            K_NORM,
            ("ffn_norm", "feedforward_layernorm", Norm(Width)),
            UP,
            DOWN,
        ],
        biases: &[ATTENTION_BIAS],
        harmless: &[],
        particular: apertus,
        ..LLAMA
    },
];

/// Its norms are one or two.
const FALCON: Family = Family {
    names: &["falcon"],
    architecture: "falcon",
    fields: &Fields {
        layers: "num_hidden_layers|n_layer",
        inner: Some("ffn_hidden_size"),
        heads: "num_attention_heads|n_head",
        kv_heads: KeyHeads::One(shared),
        longest: Some(2048),
        ..HF
    },
    epsilon: ("layer_norm_epsilon", 1e-5, LAYER),
    prefixes: &["transformer.", ""],
    layers: "h",
    outer: &[("token_embd", "word_embeddings", Product(Vocabulary, Width)), ("output_norm", "ln_f", Norm(Width))],
    layer: &[
        ("attn_qkv", "self_attention.query_key_value", Grouped),
        ("attn_output", "self_attention.dense", Product(Width, Queries)),
        ("ffn_up", "mlp.dense_h_to_4h", Product(Inner, Width)),
        ("ffn_down", "mlp.dense_4h_to_h", Product(Width, Inner)),
    ],
    head: "lm_head",
    biases: &[("bias", false, FALCON_NAMES)],
    harmless: &[],
    particular: falcon,
};

const BLOOM: &[Rule] = &[("offset_alibi", "*", "distances count, not positions")];
const STARCODER2: &[Rule] = &[
    ("activation_function", "*", "hidden_act is what counts"),
    ("layer_norm_epsilon", "*", "norm_epsilon is what counts"),
    ("mlp_type", "\"default\"", "there are two products"),
    ("norm_type", "\"layer_norm\"", "norms are layer norms"),
    ("scale_attn_weights", "true", "scores are divided by the root of a head's size"),
];
const HUNYUAN: &[Rule] = &[
    ("add_classification_head", "false", "there is no classifier"),
    ("class_num", "*", "there is no classifier"),
    ("dense_list", "*", "there is no classifier"),
    ("pool_type", "*", "there is no classifier"),
    ("attention_head_dim", "*", "head_dim is what counts"),
    ("cla_share_factor", "*", "layers share no keys"),
    ("use_cla", "false", "layers share no keys"),
    ("use_mla", "false", "attention is not latent"),
    ("use_qk_norm", "true", "queries and keys are normalized"),
    ("use_rotary_pos_emb", "true", "positions turn pairs"),
    ("norm_type", "\"rms\" | \"hf_rms\" | \"fused\"", "norms are RMS norms"),
    ("num_experts", "1", "there are no experts"),
    ("position_embedding_xdrope", "false", "positions turn pairs"),
    ("enable_lm_head_fp32", "*", "how exact sums are in a Python program"),
    ("org_vocab_size", "*", "vocab_size is what counts"),
    ("im_start_id", "*", "the tokenizer's files name the token"),
    ("im_end_id", "*", "the tokenizer's files name the token"),
    ("im_newline_id", "*", "the tokenizer's files name the token"),
    ("text_start_id", "*", "the tokenizer's files name the token"),
    ("text_end_id", "*", "the tokenizer's files name the token"),
    ("mask_init_id", "*", "for training only"),
];

/// Norms of all heads at once.
const OLMO: &[Row] = &[
    Q,
    K,
    V,
    O,
    ("attn_q_norm", "self_attn.q_norm", Norm(Queries)),
    ("attn_k_norm", "self_attn.k_norm", Norm(Keys)),
    ("post_attention_norm", "post_attention_layernorm", Norm(Width)),
    GATE,
    UP,
    DOWN,
    ("post_ffw_norm", "post_feedforward_layernorm", Norm(Width)),
];
