//! CLIPs whose files contradict themselves, or are damaged anywhere, give errors and nothing else.

use smidgen::encoder::{image, text};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Key, LoadError, Model, RunError};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{Serial, scalar};
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::seeded_clip::{IMAGE, legacy, model, vocabulary};
use smidgen_tests::{Random, at_most, seeded_vit};

fn good() -> File {
    model(Format::Q8_0)
}

#[track_caller]
fn error(file: &File) -> LoadError {
    let bytes = file.bytes();
    let error = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
    error
}

const fn key(architecture: &'static str, name: &'static str) -> Key {
    Key { architecture, name }
}

#[test]
fn keys() {
    for tower in ["clip.vision", "clip.text"] {
        for name in ["embedding_length", "feed_forward_length", "block_count", "attention.head_count"] {
            let whole = format!("{tower}.{name}");
            assert_eq!(error(&good().without(&whole)), LoadError::MissingKey { key: key(tower, name) });
            for value in [0, 3, 4097, u32::MAX] {
                let found = error(&good().set(&whole, Meta::U32(value)));
                assert!(!matches!(found, LoadError::MissingKey { .. }), "{whole} {value}: {found}");
            }
            assert!(matches!(error(&good().set(&whole, Meta::Str("x"))), LoadError::KeyType { .. }), "{whole}");
        }
        for value in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
            let found = error(&good().set(&format!("{tower}.attention.layer_norm_epsilon"), Meta::F32(value)));
            assert!(matches!(found, LoadError::KeyNumber { .. }), "{found}");
            assert!(matches!(error(&good().set("clip.logit_scale", Meta::F32(value))), LoadError::KeyNumber { .. }));
        }
        let found = error(&good().set(&format!("{tower}.projection_dim"), Meta::U32(47)));
        assert!(matches!(found, LoadError::TensorShape { .. }), "{found}");
    }
    for (name, values) in [("image_size", [0, 23]), ("patch_size", [0, 25])] {
        for value in values {
            error(&good().set(&format!("clip.vision.{name}"), Meta::U32(value)));
        }
    }
    for value in [0, 1, 21, u32::MAX] {
        error(&good().set("clip.text.context_length", Meta::U32(value)));
    }
    assert_eq!(
        error(&good().set("clip.use_silu", Meta::Bool(true))),
        LoadError::Unsupported { key: key("clip", "use_silu"), value: 1 }
    );
    for (architecture, name) in [("clip", "projector_type"), ("clip.vision", "projector_type")] {
        let found = error(&good().set(&format!("{architecture}.{name}"), Meta::Str("mlp")));
        assert_eq!(found, LoadError::KeyText { key: key(architecture, name), value: "mlp".into() });
    }
    let neither = good().without("clip.has_vision_encoder").set("clip.has_text_encoder", Meta::Bool(false));
    assert_eq!(error(&neither), LoadError::MissingKey { key: key("clip", "has_vision_encoder") });
    assert!(matches!(error(&good().set("clip.has_text_encoder", Meta::U32(1))), LoadError::KeyType { .. }));
}

#[test]
fn tensors() {
    for name in [
        "v.patch_embd.weight",
        "v.position_embd.weight",
        "v.blk.1.attn_q.weight",
        "t.token_embd.weight",
        "t.position_embd.weight",
        "t.blk.1.ln2.weight",
        "t.blk.0.ffn_down.weight",
        "text_projection.weight",
    ] {
        let found = error(&good().without_tensor(name));
        assert!(matches!(found, LoadError::MissingTensor { .. }) && found.to_string().contains(name), "{found}");
    }
    // Embeddings that cannot be compared.
    let file = good().without("clip.text.projection_dim").without("clip.vision.projection_dim");
    let mut other = file.clone();
    let projection = other.tensor("text_projection.weight");
    let row = projection.data.len() / 48;
    (projection.dims[1], _) = (47, projection.data.truncate(47 * row));
    assert!(matches!(error(&other), LoadError::KeyRange { value: 47, least: 48, most: 48, .. }));
    // Without a projection an image has features only.
    let bytes = good().without_tensor("visual_projection.weight").bytes();
    let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
    let mut session =
        image::Session::new(model.image_encoder().unwrap(), &Default::default(), &scalar::KERNELS).unwrap();
    let image = seeded_vit::planes(IMAGE, IMAGE, &mut Random(1));
    session.classify(std::slice::from_ref(&image), &Serial, |_, scores| {
        assert!(matches!(scores, Err(RunError::Purpose { architecture: "clip", .. })));
    });
    session.features(&[image], &Serial, |_, features| assert_eq!(features.unwrap().len(), 256));
}

/// Opens what a file has and asks it something. Whatever comes, comes as a value.
fn try_all(bytes: &[u8]) {
    let Ok(gguf) = Gguf::parse(bytes) else { return };
    let tokenizer = Tokenizer::parse(&gguf);
    let Ok(model) = Model::parse(std::slice::from_ref(&gguf)) else { return };
    if let (Ok(reads), Ok(tokenizer)) = (model.text_encoder(), &tokenizer)
        && let Ok(text) = reads.text(tokenizer, "the cat's photo \u{e9}", None)
        && let Ok(mut session) = text::Session::new(reads, &Default::default(), &scalar::KERNELS)
    {
        session.embed(&[text], &Serial, |_, _| ());
    }
}

#[test]
fn damage_anywhere() {
    let file = model(Format::Q4_0);
    let mut random = Random(9);
    for file in [file.clone(), legacy(file)] {
        let bytes = file.bytes();
        let header = bytes.len() - file.tensors.iter().map(|tensor| tensor.data.len()).sum::<usize>();
        for length in (0..header).step_by(101) {
            try_all(&bytes[..length]);
        }
        for _ in 0..at_most(40, 400, "damaged files") {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                damaged[random.below(header)] = random.bits() as u8;
            }
            try_all(&damaged);
        }
    }
}

/// Long texts take time in proportion to their length: were it the square, this would not end.
#[test]
fn a_text_of_a_million_characters() {
    let (bytes, tokens) = (good().bytes(), vocabulary().len());
    let tokenizer = Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).unwrap();
    for text in ["x", "the ", "\u{301}", "'", "\u{1e0b}\u{323}", " ", "1"] {
        let long = text.repeat(1_000_000 / text.chars().count());
        let ids = tokenizer.encode(&long, Special::Parse);
        assert_eq!(ids.is_empty(), text == " ", "{text:?}");
        assert!(ids.iter().all(|id| (*id as usize) < tokens));
    }
}

#[test]
fn vocabularies() {
    let refused = |file: File| {
        let bytes = file.bytes();
        Tokenizer::parse(&Gguf::parse(&bytes).unwrap()).err().unwrap().to_string()
    };
    let told = refused(good().set("tokenizer.ggml.merges", Meta::Strs(vec!["no pair".into()])));
    assert!(told.contains("merge 0"), "{told}");
    let told = refused(good().set("tokenizer.ggml.eos_token_id", Meta::U32(9999)));
    assert!(told.contains("9999"), "{told}");
    // A vocabulary without the frame.
    let told = refused(legacy(good()).set("tokenizer.ggml.tokens", Meta::Strs(vec!["a".into(), "b</w>".into()])));
    assert!(told.contains("bos_token_id is missing"), "{told}");
}
