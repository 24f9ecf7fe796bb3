//! CLIP against an implementation in numpy that shares nothing with ours: a model with weights from a seed, as a checkpoint and converted.
//! There are no trained weights to be had. Needs `python3` with `numpy`; without them it fails, unless `SMIDGEN_SKIP_PYTHON=1`.

use serde_json::{Value, json};
use smidgen::Model;
use smidgen::encoder::{image, text};
use smidgen::frontend::image::Planes;
use smidgen::tokenizer::Tokenizer;
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{Serial, detect};
use smidgen_tests::checkpoint::safetensors;
use smidgen_tests::seeded_clip::{IMAGE, checkpoint, legacy, model};
use smidgen_tests::{Random, best, seeded_vit};
use std::io::Write;
use std::process::{Command, Stdio};

/// Largest difference that is believed to be rounding: of embeddings whose values are some tenths, and of logits up to 20.
const TOLERANCE: f32 = 1e-4;

const TEXTS: [&str; 10] = [
    "a photo of a cat",
    "The  dog's photo,\tand the CAT!",
    "thinging andand 12 of 345",
    "",
    "E\u{301}t\u{e9} \u{c9}\u{130} \u{3a3}\u{1112}\u{1161}\u{11ab} \u{4e2d}\u{6587}",
    "it's they'll we've 'tis !'s",
    "\u{1f600}\u{301} e\u{302}\u{323}",
    "a text that is far longer than the context of the model and so is cut before its end",
    "\u{a0}of\u{2028}of\u{3000}",
    "dog",
];

fn images() -> Vec<Planes> {
    let mut random = Random(5);
    (0..4).map(|_| seeded_vit::planes(IMAGE, IMAGE, &mut random)).collect()
}

/// The results of numpy for the checkpoint; none if the environment says that there is no Python.
fn reference() -> Option<Value> {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with CLIP in numpy (SMIDGEN_SKIP_PYTHON=1)");
        return None;
    }
    let folder = std::env::temp_dir().join(format!("smidgen-clip-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (files, tensors) = checkpoint();
    for (name, value) in files {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }
    std::fs::write(folder.join("model.safetensors"), safetensors(&tensors)).unwrap();
    let images: Vec<Vec<f32>> = images().into_iter().map(|image| image.values).collect();
    let mut child = Command::new("python3")
        .args(["-c", include_str!("clip.py")])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
    // A failure to write is a script that has ended; its status tells.
    let _ = child.stdin.take().unwrap().write_all(json!({"texts": TEXTS, "images": images}).to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(output.status.success(), "python3 with numpy is needed, or SMIDGEN_SKIP_PYTHON=1");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The file that the checkpoint becomes.
fn converted() -> Vec<u8> {
    let (files, tensors) = checkpoint();
    let mut texts: Vec<_> = files.iter().map(|(name, value)| (*name, value.to_string().into_bytes())).collect();
    texts.push((smidgen_convert::WEIGHTS, safetensors(&tensors)));
    let files: Vec<_> =
        texts.iter().map(|(name, bytes)| smidgen_convert::File { name: (*name).into(), bytes }).collect();
    let mut out = Vec::new();
    smidgen_convert::convert(&files, Default::default(), &mut out, &mut |_, _| ()).unwrap();
    out
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn distance(a: &[f32], b: &Value) -> f32 {
    let b = numbers(b);
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Ids of the texts, their embeddings, those of the images.
type Answers = (Vec<Vec<u32>>, Vec<Vec<f32>>, Vec<Vec<f32>>);

fn answers(model: &Model, tokenizer: &Tokenizer) -> Answers {
    let reads = model.text_encoder().unwrap();
    let texts: Vec<_> = TEXTS.iter().map(|text| reads.text(tokenizer, text, None).unwrap()).collect();
    let (mut embeddings, mut seen) = (Vec::new(), Vec::new());
    let mut session = text::Session::new(reads, &text::Options::default(), detect()).unwrap();
    session.embed(&texts, &Serial, |_, embedding| embeddings.push(embedding.unwrap().to_vec()));
    let mut session =
        image::Session::new(model.image_encoder().unwrap(), &image::Options::default(), detect()).unwrap();
    session.classify(&images(), &Serial, |_, embedding| seen.push(embedding.unwrap().to_vec()));
    (texts.into_iter().map(|text| text.tokens).collect(), embeddings, seen)
}

fn with_model<R>(bytes: &[u8], then: impl FnOnce(&Model, &Tokenizer) -> R) -> R {
    let parts = [Gguf::parse(bytes).unwrap()];
    let model = Model::parse(&parts).unwrap();
    then(&model, &Tokenizer::parse(&parts[0]).unwrap())
}

#[test]
fn both_towers_as_in_numpy() {
    let Some(expected) = reference() else { return };
    with_model(&converted(), |model, tokenizer| {
        let (ids, texts, images) = answers(model, tokenizer);
        let (mut worst, mut worst_logit) = (0f32, 0f32);
        for (i, text) in TEXTS.iter().enumerate() {
            assert_eq!(json!(ids[i]), expected["ids"][i], "{text:?}");
            worst = worst.max(distance(&texts[i], &expected["texts"][i]));
        }
        for (i, image) in images.iter().enumerate() {
            worst = worst.max(distance(image, &expected["images"][i]));
            let logits: Vec<f32> = texts.iter().map(|text| model.similarity.unwrap().score(image, text)).collect();
            worst_logit = worst_logit.max(distance(&logits, &expected["logits"][i]));
            assert_eq!(best(&logits), best(&numbers(&expected["logits"][i])));
        }
        println!(
            "RAN: clip, {} texts, {} images, largest difference {worst:e}, of logits {worst_logit:e}",
            ids.len(),
            images.len()
        );
        assert!(worst < TOLERANCE && worst_logit < TOLERANCE * 10.0, "{worst} {worst_logit}");
    });
}

/// A converted checkpoint equals the seeded model to the last bit, and gives the same answers.
#[test]
fn a_model_comes_back_from_its_checkpoint() {
    let (made, own) = (converted(), model(Format::F32).bytes());
    let (made, own) = (Gguf::parse(&made).unwrap(), Gguf::parse(&own).unwrap());
    assert_eq!(made.tensors().count(), own.tensors().count());
    for tensor in own.tensors() {
        let found = made.tensor(tensor.name).unwrap_or_else(|| panic!("{}", tensor.name));
        assert!((found.shape(), found.data) == (tensor.shape(), tensor.data), "{}", tensor.name);
    }
    for (key, value) in own.metadata().filter(|(key, _)| *key != "clip.logit_scale") {
        assert_eq!(format!("{:?}", made.get(key)), format!("{:?}", Some(value)), "{key}");
    }
    let scale = made.get("clip.logit_scale").and_then(|value| value.as_f32()).unwrap();
    assert!((scale - 20.0).abs() < 1e-5, "{scale}");
}

/// Files by llama.cpp's converter of old say less, and name some things otherwise. The answers are the same.
#[test]
fn the_convention_of_llama_cpp() {
    let mut file = model(Format::F32);
    // Binary16 holds these.
    for bytes in file.tensor("v.patch_embd.weight").data.as_chunks_mut().0 {
        *bytes = ((f32::from_le_bytes(*bytes) * 256.0).trunc() / 256.0).to_le_bytes();
    }
    let ours = with_model(&file.bytes(), answers);
    with_model(&legacy(file.clone()).bytes(), |model, tokenizer| {
        assert!(answers(model, tokenizer) == ours);
        assert_eq!(model.similarity.unwrap().scale, 100.0);
    });
    // Either tower alone.
    for (key, letter, projection) in [("vision", "v.", "visual"), ("text", "t.", "text")] {
        let mut half = legacy(file.clone());
        half.tensors.retain(|tensor| !tensor.name.starts_with(letter));
        let half = half.without_tensor(&format!("{projection}_projection.weight"));
        let half = half.set(&format!("clip.has_{key}_encoder"), smidgen_tests::seeded::Meta::Bool(false));
        with_model(&half.bytes(), |model, _| {
            assert_eq!((model.image_encoder.is_none(), model.text_encoder.is_none()), (key == "vision", key == "text"));
            assert_eq!(
                (model.image_encoder().is_err(), model.text_encoder().is_err()),
                (key == "vision", key == "text")
            );
        });
    }
}
