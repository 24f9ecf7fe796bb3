//! Writes the first inputs of every fuzz target, small files of each kind, to DIR/TARGET:  corpus DIR

mod serve;
mod tflite;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use smidgen_convert::pack;
use smidgen_fuzz::{CONTEXT, SMALL};
use smidgen_quant::Format;
use smidgen_targets::Serial;
use smidgen_tests::chat::{TEMPLATE, VOCABULARY, chat_model};
use smidgen_tests::seeded::{File, Meta, Shape, model};
use smidgen_tests::{Random, checkpoint, micro, seeded, seeded_bert, seeded_clip, seeded_vit, switches};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A folder of inputs.
struct Corpus(PathBuf);

impl Corpus {
    fn new(root: &Path, target: &str) -> io::Result<Corpus> {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        Ok(Corpus(folder))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.0.join(name), bytes)
    }
}

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::args_os().nth(1).expect("corpus DIR"));
    gguf(&Corpus::new(&root, "gguf")?)?;
    tokenizers(&Corpus::new(&root, "tokenizer")?)?;
    checkpoints(&Corpus::new(&root, "safetensors")?)?;
    templates(&Corpus::new(&root, "template")?)?;
    images(&Corpus::new(&root, "image")?)?;
    sounds(&Corpus::new(&root, "wav")?)?;
    states(&Corpus::new(&root, "state")?)?;
    let corpus = Corpus::new(&root, "serve")?;
    serve::connections().iter().try_for_each(|(name, bytes)| corpus.put(name, bytes))?;
    let corpus = Corpus::new(&root, "tflite")?;
    tflite::files().iter().try_for_each(|(name, bytes)| corpus.put(name, bytes))
}

fn gguf(corpus: &Corpus) -> io::Result<()> {
    for (name, format) in [("f16", Format::F16), ("q4_0", Format::Q4_0), ("q4_1", Format::Q4_1), ("q8_0", Format::Q8_0)]
    {
        let bytes = model(&Shape { biases: format == Format::Q4_0, ..SMALL }, format).bytes();
        corpus.put(&format!("llama-{name}"), &bytes)?;
        let mut packed = Vec::new();
        if format != Format::F16 {
            pack(&bytes, &mut packed, &mut |_| ()).expect("matrices of blocks");
            corpus.put(&format!("llama-{name}-packed"), &packed)?;
        }
    }
    let bert = seeded_bert::Shape {
        layers: 1,
        width: 32,
        heads: 2,
        feed_forward: 32,
        vocabulary: 12,
        context: 8,
        ..Default::default()
    };
    corpus.put("bert", &seeded_bert::model(&bert, Format::Q8_0).bytes())?;
    let vit = seeded_vit::Shape {
        layers: 1,
        width: 32,
        heads: 2,
        feed_forward: 32,
        image: 4,
        patch: 2,
        ..Default::default()
    };
    corpus.put("vit", &seeded_vit::model(&vit, Format::Q8_0).bytes())?;
    corpus.put("clip", &shrunk(seeded_clip::model_of(1, Format::Q8_0)).bytes())?;
    for (number, switch) in switches::all().into_iter().enumerate() {
        corpus.put(&format!("switch-{number}"), &switch.file.bytes())?;
    }
    corpus.put("micro", &micro::wake_word("word", Some(0.5)))
}

/// A model with rows of 32 in place of 256 and 512.
fn shrunk(mut file: File) -> File {
    for tensor in &mut file.tensors {
        tensor.dims.iter_mut().filter(|dim| **dim >= 256 && **dim % 256 == 0).for_each(|dim| *dim = 32);
        let len = tensor.kind.bytes(tensor.dims.iter().product()).expect("whole blocks");
        tensor.data.truncate(len as usize);
    }
    for (_, value) in &mut file.metadata {
        if matches!(value, Meta::U32(256 | 512)) {
            *value = Meta::U32(32);
        }
    }
    file
}

fn tokenizers(corpus: &Corpus) -> io::Result<()> {
    let text = "Hello<|im_end|> world, it's 2026 \u{e9}\u{4e16}\u{1f600}\n\t  a b</s>";
    let put = |name: &str, mut file: File| {
        file.tensors.clear();
        corpus.put(name, &[&file.bytes()[..], &[0xff], text.as_bytes()].concat())
    };
    let bpe = chat_model(&SMALL, Format::Q8_0);
    for rules in ["gpt-2", "llama-bpe", "qwen2", "smollm", "gpt-4o", "kimi-k2", "deepseek-coder", "tiny_aya"] {
        put(rules, bpe.clone().set("tokenizer.ggml.pre", Meta::Str(rules)))?;
    }
    put("bert", seeded_bert::with_words(File::default()))?;
    put("clip", seeded_clip::model_of(1, Format::Q8_0))?;
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u{2581}", "a", "b", "ab", "l", "e", "ll", "H", "\u{2581}a"];
    let scores: &[f32] = &[0.0, 0.0, 0.0, 0.0, -3.0, -2.0, -1.5, -1.0, -4.0, -5.0, -2.5, -6.0, -0.5];
    let kinds: &[i32] = &[2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 4];
    let merges: &[&str] = &["a b", "l l", "\u{2581} a"];
    // A trie with one entry, by which H becomes ab.
    let mut units = [0u32; 512];
    units[0] = 256 << 10;
    units[256 ^ 72] = 72 | 1 << 8 | 72 << 10;
    units[256] = 1 << 31;
    let mut charsmap = 2048u32.to_le_bytes().to_vec();
    charsmap.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    charsmap.extend(b"ab\0");
    for (name, model) in [("spm", "llama"), ("unigram", "t5"), ("characters", "gemma4")] {
        let mut writer = smidgen_gguf::Writer::new();
        let mut put = |key: &str, value: smidgen_gguf::NewValue| {
            writer.metadata(&format!("tokenizer.ggml.{key}"), value).expect("metadata")
        };
        put("model", model.into());
        put("tokens", (&tokens[..]).into());
        put("scores", scores.into());
        put("token_type", kinds.into());
        put("merges", merges.into());
        put("precompiled_charsmap", charsmap.as_slice().into());
        put("bos_token_id", 1u32.into());
        put("add_space_prefix", true.into());
        let file = writer.write(&[], Vec::new()).expect("a file");
        corpus.put(name, &[&file[..], &[0xff], text.as_bytes()].concat())?;
    }
    let steps: [&[&str]; 2] = [
        &[
            "NFKC",
            "Precompiled",
            "BertNormalizer",
            "true",
            "true",
            "true",
            "true",
            "Replace",
            "Regex",
            " {2,}",
            "\u{2581}",
            "Strip",
            "true",
            "false",
        ],
        &[
            "Split",
            "Regex",
            r"(?i:'s)|\p{L}+|\s+(?!\S)|.",
            "MergedWithNext",
            "false",
            "Metaspace",
            "\u{2581}",
            "first",
            "true",
            "ByteLevel",
            "true",
            "true",
        ],
    ];
    for model in ["bpe", "wordpiece", "unigram"] {
        let mut writer = smidgen_gguf::Writer::new();
        let mut put = |key: &str, value: smidgen_gguf::NewValue| writer.metadata(key, value).expect("metadata");
        put("tokenizer.ggml.model", "smidgen".into());
        put("tokenizer.ggml.tokens", (&tokens[..]).into());
        put("tokenizer.ggml.token_type", kinds.into());
        put("tokenizer.ggml.scores", scores.into());
        put("tokenizer.ggml.precompiled_charsmap", charsmap.as_slice().into());
        put("tokenizer.ggml.unknown_token_id", 0u32.into());
        put("smidgen.tokenizer.model", model.into());
        put("smidgen.tokenizer.normalizers", steps[0].into());
        put("smidgen.tokenizer.pre_tokenizers", steps[1].into());
        put("smidgen.tokenizer.decoder", (&["Metaspace", "\u{2581}", "first"] as &[&str]).into());
        put("smidgen.tokenizer.merges", (&[5u32, 6, 8, 8] as &[u32]).into());
        put("smidgen.tokenizer.byte_fallback", true.into());
        for key in ["normalized", "lstrip", "single_word"] {
            put(&format!("smidgen.tokenizer.{key}_ids"), (&[2u32, 12] as &[u32]).into());
        }
        let file = writer.write(&[], Vec::new()).expect("a file");
        corpus.put(&format!("steps-{model}"), &[&file[..], &[0xff], text.as_bytes()].concat())?;
    }
    Ok(())
}

fn checkpoints(corpus: &Corpus) -> io::Result<()> {
    let put = |name: &str, files: &[(&str, serde_json::Value)], tensors: &[checkpoint::Stored]| {
        let of = |name: &str| {
            files.iter().find(|(file, _)| *file == name).map(|(_, json)| json.to_string()).unwrap_or_default()
        };
        let mut bytes = Vec::new();
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            bytes.extend(of(name).bytes().chain([0]));
        }
        bytes.extend(checkpoint::safetensors(tensors));
        corpus.put(name, &bytes)
    };
    let file = chat_model(&SMALL, Format::F32)
        .set("llama.vocab_size", Meta::U32(VOCABULARY as u32))
        .without_tensor("output.weight");
    let (files, tensors) = checkpoint::llama(&file);
    put("llama", &files, &tensors)?;
    put("llama-cut", &files[..1], &tensors[..3])?;
    let (files, tensors) = seeded_clip::checkpoint();
    put("clip-cut", &files, &tensors[tensors.len() - 1..])
}

fn templates(corpus: &Corpus) -> io::Result<()> {
    let messages = "\0system\0Be brief.\0user\0Hello \u{e9}\0assistant\0Hi.\0user\0<|im_end|>";
    let put = |name: &str, source: &str| corpus.put(name, [source, messages].concat().as_bytes());
    put("chat", TEMPLATE)?;
    for (number, source) in [
        "{%- set n = namespace(a='x') -%}{% for m in messages %}{{ '<' ~ m['role'] + '>\\n' }}{# note #}{% generation %}{{ m.content | trim }}{% endgeneration %}{% endfor %}{{ n.a }}",
        "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'].strip() }}{% endfor %}",
        "{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, b='c') | upper }}",
        "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i > 6 %}{% break %}{% endif %}{{ i // 2 }},{{ i ** 2 }}{% else %}none{% endfor %}",
        "{{ messages | tojson }}{{ messages | map(attribute='role') | join(',') }}{{ messages | length }}{{ messages | selectattr('role', 'equalto', 'user') | list | last }}",
        "{{ strftime_now('%d %B %Y, %H:%M:%S %j %%') }}{{ 'a,b'.split(',') | reverse | first }}{{ 'abc'[::-1] }}{{ 'x'.replace('x', 'yy') }}",
        "{% raw %}{{ x }}{% endraw %}{{- 'a' if tools is defined and tools is not none else 'b' -}}{{ {'k': [1, 2.5, none, true]}['k'] | sort | string }}",
        "{{ 'abc'.startswith('a') }}{{ 'ABC'.lower().title().find('b') }}{{ '%s-%d' | format('a', 3) }}{{ [3, 1] | sum }}{{ 'a b' | replace(' ', '') | capitalize | indent(2) }}",
        "{% set ns = namespace(i=0) %}{% for m in messages if m.role != 'system' %}{% set ns.i = ns.i + 1 %}{{ ns.i }}: {{ loop.last }}{{ loop.previtem }}{% endfor %}{% with a = 1, b = 2 %}{{ a < b and not (a >= b) or a in [1] }}{% endwith %}",
        "{% filter upper %}x{% endfilter %}{% call(x) f() %}{{ x }}{% endcall %}{% block b %}{% endblock %}{{ x|default('d', true)|e }}{{ 1 / 0 }}",
    ]
    .iter()
    .enumerate()
    {
        put(&format!("whole-{number}"), source)?;
        // Expressions alone too, since what is short is changed in the place that matters sooner.
        for (part, expression) in source.split_inclusive("}}").enumerate().filter(|_| source.starts_with("{{")) {
            put(&format!("part-{number}-{part}"), expression)?;
        }
    }
    Ok(())
}

fn images(corpus: &Corpus) -> io::Result<()> {
    let pixels = Random(5).bytes(12 * 9 * 4);
    // The last four bytes choose what is done.
    for (number, ways) in [[0, 0, 0, 0], [1, 8, 8, 0], [4, 5, 7, 3], [8, 6, 4, 5], [11, 20, 20, 0]].iter().enumerate() {
        let put = |name: &str, bytes: Vec<u8>| corpus.put(&format!("{name}-{number}"), &[&bytes[..], ways].concat());
        for (name, kind, channels) in [
            ("grey", ExtendedColorType::L8, 1),
            ("rgb", ExtendedColorType::Rgb8, 3),
            ("rgba", ExtendedColorType::Rgba8, 4),
        ] {
            let pixels = &pixels[..12 * 9 * channels];
            let (mut png, mut jpeg, mut webp) = (Vec::new(), Vec::new(), Vec::new());
            PngEncoder::new(&mut png).write_image(pixels, 12, 9, kind).expect("an image");
            put(&format!("png-{name}"), png)?;
            if channels < 4 {
                JpegEncoder::new(&mut jpeg).write_image(pixels, 12, 9, kind).expect("an image");
                put(&format!("jpeg-{name}"), jpeg)?;
            }
            WebPEncoder::new_lossless(&mut webp).write_image(pixels, 12, 9, kind).expect("an image");
            put(&format!("webp-{name}"), webp)?;
        }
    }
    Ok(())
}

fn sounds(corpus: &Corpus) -> io::Result<()> {
    let samples = micro::pcm(&micro::bursts(1)[15_000..17_000]);
    corpus.put("good", &micro::wav(16_000, 1, 16, 1, &samples))?;
    corpus.put("short", &micro::wav(16_000, 1, 16, 1, &samples[..6]))?;
    corpus.put("stereo", &micro::wav(16_000, 2, 16, 1, &samples[..64]))?;
    corpus.put("float", &micro::wav(16_000, 1, 32, 3, &samples[..64]))?;
    corpus.put("extensible", &extensible(&samples[..64]))?;
    corpus.put("bytes", &micro::wav(8_000, 1, 8, 1, &samples[..64]))
}

/// A WAV file whose format is told in 40 bytes, with a chunk before it that nobody knows.
fn extensible(data: &[u8]) -> Vec<u8> {
    let plain = micro::wav(16_000, 1, 16, 0xfffe, data);
    let kind = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";
    let format = [&plain[20..36], &22_u16.to_le_bytes(), &16_u16.to_le_bytes(), &4_u32.to_le_bytes(), kind].concat();
    [&plain[..12], b"LIST\x04\x00\x00\x00abcdfmt \x28\x00\x00\x00", &format[..], &plain[36..]].concat()
}

fn states(corpus: &Corpus) -> io::Result<()> {
    for (kind, mut session) in ["f16", "q8_0"].into_iter().zip(smidgen_fuzz::sessions()) {
        for held in [0, 1, 17, CONTEXT] {
            let tokens = seeded::tokens(held, session.vocabulary(), 5);
            session.truncate(0, 0);
            if held > 0 {
                session.forward(0, &tokens, &Serial).expect("room for the tokens");
            }
            let mut state = vec![0; session.state_bytes(0).expect("a sequence")];
            session.save(0, &mut state).expect("room for it");
            corpus.put(&format!("{kind}-{held}"), &state)?;
        }
    }
    Ok(())
}
