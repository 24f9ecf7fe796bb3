//! A small model for every switch of a decoder: what families differ in. Weights are from a seed, so that results can be written down.

use crate::Random;
use crate::seeded::{File, Meta, Tensor, weights};
use smidgen_gguf::TensorType;
use smidgen_quant::Format;

/// Extents that all of them have.
const WIDTH: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 32;
const INNER: usize = 96;
const VOCABULARY: usize = 97;
/// Tokens that the models were trained on at once, if they had been trained.
pub const CONTEXT: usize = 128;

/// A model, and what it shows.
pub struct Switch {
    /// What is particular about it.
    pub name: &'static str,
    /// Its file.
    pub file: File,
}

/// A part of a layer, or of the whole model.
#[derive(Clone, Copy)]
enum Part {
    /// A matrix of so many rows and columns, and whether it has a bias.
    Matrix(&'static str, usize, usize, bool),
    /// The weights of a norm, and whether it has a bias.
    Norm(&'static str, usize, bool),
    /// The weights of a norm of heads that each have their own.
    Norms(&'static str, usize, usize),
}
use Part::{Matrix, Norm, Norms};

fn attention(bias: bool) -> Vec<Part> {
    vec![
        Matrix("attn_q", HEADS * HEAD, WIDTH, bias),
        Matrix("attn_k", KV_HEADS * HEAD, WIDTH, bias),
        Matrix("attn_v", KV_HEADS * HEAD, WIDTH, bias),
        Matrix("attn_output", WIDTH, HEADS * HEAD, bias),
    ]
}

fn fused(bias: bool) -> Vec<Part> {
    let rows = (HEADS + 2 * KV_HEADS) * HEAD;
    vec![Matrix("attn_qkv", rows, WIDTH, bias), Matrix("attn_output", WIDTH, HEADS * HEAD, bias)]
}

fn gated() -> Vec<Part> {
    vec![
        Matrix("ffn_gate", INNER, WIDTH, false),
        Matrix("ffn_up", INNER, WIDTH, false),
        Matrix("ffn_down", WIDTH, INNER, false),
    ]
}

fn plain(bias: bool) -> Vec<Part> {
    vec![Matrix("ffn_up", INNER, WIDTH, bias), Matrix("ffn_down", WIDTH, INNER, bias)]
}

fn norms(names: &[&'static str], bias: bool) -> Vec<Part> {
    names.iter().map(|name| Norm(name, WIDTH, bias)).collect()
}

fn heads() -> Vec<Part> {
    vec![Norm("attn_q_norm", HEAD, false), Norm("attn_k_norm", HEAD, false)]
}

/// The weights of a part from a seed, of [`Format::Q8_0`] where it is a matrix.
fn put(file: File, prefix: &str, part: Part, random: &mut Random) -> File {
    let mut floats = |file: File, name: String, dims: &[u64], middle: f32| {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| middle + random.float(0.2)).collect();
        file.with_floats(&name, dims, &values)
    };
    match part {
        Matrix(name, rows, cols, bias) => {
            let file = match bias {
                true => floats(file, format!("{prefix}{name}.bias"), &[rows as u64], 0.0),
                false => file,
            };
            let (dims, data) = (vec![cols as u64, rows as u64], weights(Format::Q8_0, rows * cols, random));
            let mut file = file;
            file.tensors.push(Tensor { name: format!("{prefix}{name}.weight"), dims, kind: TensorType::Q8_0, data });
            file
        }
        Norm(name, width, bias) => {
            let file = floats(file, format!("{prefix}{name}.weight"), &[width as u64], 1.0);
            if bias { floats(file, format!("{prefix}{name}.bias"), &[width as u64], 0.0) } else { file }
        }
        Norms(name, width, heads) => floats(file, format!("{prefix}{name}.weight"), &[width as u64, heads as u64], 1.0),
    }
}

/// A model of so many layers that are alike, with keys and parts beside what all have.
fn model(
    architecture: &'static str,
    layers: usize,
    keys: &[(&str, Meta)],
    whole: &[Part],
    layer: impl IntoIterator<Item = Vec<Part>>,
) -> File {
    let mut random = Random(7);
    let mut file = File::default().set("general.architecture", Meta::Str(architecture));
    let numbers = [
        ("block_count", layers),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("attention.key_length", HEAD),
        ("attention.value_length", HEAD),
    ];
    for (name, value) in numbers {
        file = file.set(&format!("{architecture}.{name}"), Meta::U32(value as u32));
    }
    for name in ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"] {
        file = file.set(&format!("{architecture}.{name}"), Meta::F32(1e-5));
    }
    for (name, value) in keys {
        let name = if name.contains("xielu") { (*name).into() } else { format!("{architecture}.{name}") };
        file = file.set(&name, value.clone());
    }
    for part in [Matrix("token_embd", VOCABULARY, WIDTH, false)].iter().chain(whole) {
        file = put(file, "", *part, &mut random);
    }
    let parts: Vec<Part> = layer.into_iter().flatten().collect();
    for number in 0..layers {
        for part in &parts {
            file = put(file, &format!("blk.{number}."), *part, &mut random);
        }
    }
    file
}

/// The output norm, with a bias or without.
fn last(bias: bool) -> [Part; 1] {
    [Norm("output_norm", WIDTH, bias)]
}

/// All of them.
pub fn all() -> Vec<Switch> {
    const PRE: [&str; 2] = ["attn_norm", "ffn_norm"];
    const POST: [&str; 2] = ["post_attention_norm", "post_ffw_norm"];
    let rms = || norms(&PRE, false);
    let layer = || norms(&PRE, true);
    let switch = |name, file| Switch { name, file };
    let float = Meta::F32;
    let int = Meta::U32;
    let yarn = [
        ("rope.scaling.type", Meta::Str("yarn")),
        ("rope.scaling.factor", float(4.0)),
        ("rope.scaling.original_context_length", int(32)),
    ];
    let gemma = [
        ("attention.sliding_window", int(16)),
        ("attn_logit_softcapping", float(5.0)),
        ("final_logit_softcapping", float(10.0)),
    ];
    let local = [
        ("attention.sliding_window", int(16)),
        ("rope.scaling.type", Meta::Str("linear")),
        ("rope.scaling.factor", float(8.0)),
    ];
    let granite = [
        ("attention.scale", float(0.09)),
        ("embedding_scale", float(12.0)),
        ("residual_scale", float(0.22)),
        ("logit_scale", float(8.0)),
    ];
    let xielu = [
        ("xielu.alpha_p", Meta::F32s(vec![0.3, 0.5])),
        ("xielu.alpha_n", Meta::F32s(vec![-0.2, 0.1])),
        ("xielu.beta", Meta::F32s(vec![0.5, 0.5])),
        ("xielu.eps", Meta::F32s(vec![-1e-6, -1e-6])),
    ];
    let partial = [("rope.dimension_count", int(8))];
    let pattern = [
        ("attention.sliding_window", int(16)),
        ("attention.sliding_window_pattern", Meta::Bools(vec![true, true, true, false])),
    ];
    let longrope = [
        ("attention.sliding_window", int(40)),
        ("rope.scaling.original_context_length", int(48)),
        ("rope.scaling.attn_factor", float(1.19)),
    ];
    let fused_gate = vec![Matrix("ffn_up", 2 * INNER, WIDTH, false), Matrix("ffn_down", WIDTH, INNER, false)];
    let both = [&PRE[..], &POST].concat();
    let whole_norms = vec![Norm("attn_q_norm", HEADS * HEAD, false), Norm("attn_k_norm", KV_HEADS * HEAD, false)];
    let of_heads = vec![Norms("attn_q_norm", HEAD, HEADS), Norms("attn_k_norm", HEAD, KV_HEADS)];
    let factors = |middle: f32| (0..HEAD / 2).map(|i| middle + i as f32 / 16.0).collect::<Vec<f32>>();
    let half = (HEAD / 2) as u64;
    let value = 64;
    vec![
        switch("halves and biases", model("qwen2", 2, &[], &last(false), [rms(), attention(true), gated()])),
        switch("YaRN", model("qwen2", 2, &yarn, &last(false), [rms(), attention(true), gated()])),
        switch("norms of heads", model("qwen3", 2, &[], &last(false), [rms(), heads(), attention(false), gated()])),
        switch(
            "alternating windows, softcaps, norms around, an embedding's scale",
            model("gemma2", 2, &gemma, &last(false), [norms(&both, false), attention(false), gated()]),
        ),
        switch(
            "two rotations",
            model("gemma3", 6, &local, &last(false), [norms(&both, false), heads(), attention(false), gated()]),
        ),
        switch(
            "one product for three, one for two, LongRoPE, a window",
            model("phi3", 2, &longrope, &last(false), [rms(), fused(false), fused_gate])
                .with_floats("rope_factors_short.weight", &[half], &factors(1.0))
                .with_floats("rope_factors_long.weight", &[half], &factors(2.0)),
        ),
        switch(
            "parallel blocks, layer norms, part of a head turns",
            model("phi2", 2, &partial, &last(true), [norms(&PRE[..1], true), attention(true), plain(true)]),
        ),
        switch(
            "parallel blocks with two norms",
            model("gptneox", 2, &partial, &last(true), [layer(), fused(true), plain(true)]),
        ),
        switch(
            "learned positions",
            model(
                "gpt2",
                2,
                &[],
                &[last(true)[0], Matrix("position_embd", CONTEXT, WIDTH, false)],
                [layer(), fused(true), plain(true)],
            ),
        ),
        switch(
            "ALiBi, a norm of the embedding",
            model(
                "bloom",
                2,
                &[],
                &[last(true)[0], Norm("token_embd_norm", WIDTH, true)],
                [layer(), fused(true), plain(true)],
            ),
        ),
        switch(
            "norms after blocks and of all heads, windows by a pattern",
            model("olmo2", 4, &pattern, &last(false), [norms(&POST, false), whole_norms, attention(false), gated()]),
        ),
        switch(
            "a squared ReLU",
            model("nemotron", 2, &partial, &last(true), [layer(), attention(false), plain(false)]),
        ),
        switch("xIELU", model("apertus", 2, &xielu, &last(false), [rms(), heads(), attention(false), plain(false)])),
        switch("factors", model("granite", 2, &granite, &last(false), [rms(), attention(false), gated()])),
        switch("layers that do not turn", model("smollm3", 4, &[], &last(false), [rms(), attention(false), gated()])),
        switch(
            "norms of heads that have turned",
            model("hunyuan-dense", 2, &[], &last(false), [rms(), heads(), attention(false), gated()]),
        ),
        switch(
            "norms of heads that have their own",
            model("stablelm", 2, &partial, &last(true), [norms(&PRE[..1], true), of_heads, attention(true), gated()]),
        ),
        switch(
            "a factor of logits",
            model(
                "command-r",
                2,
                &[("logit_scale", float(0.25))],
                &last(false),
                [norms(&PRE[..1], false), attention(false), gated()],
            ),
        ),
        switch(
            "keys of another size than values",
            model(
                "llama",
                2,
                &[("attention.value_length", int(value as u32))],
                &last(false),
                [
                    rms(),
                    attention(false)[..2].to_vec(),
                    vec![
                        Matrix("attn_v", KV_HEADS * value, WIDTH, false),
                        Matrix("attn_output", WIDTH, HEADS * value, false),
                    ],
                    gated(),
                ],
            ),
        ),
    ]
}
