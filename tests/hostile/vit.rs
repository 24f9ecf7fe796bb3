//! Vision transformers whose files contradict themselves are refused with the key or the tensor that is wrong.

use smidgen::{Key, LoadError, Model, RunError, TensorName};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::seeded_vit::{Shape, model};

fn good() -> File {
    model(&Shape::default(), Format::Q8_0)
}

fn error(file: &File) -> LoadError {
    let bytes = file.bytes();
    let parts = [Gguf::parse(&bytes).unwrap()];
    let error = Model::parse(&parts).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
    error
}

fn key(name: &'static str) -> Key {
    Key { architecture: "vit", name }
}

fn tensor(part: &'static str) -> TensorName {
    TensorName { layer: None, part }
}

#[test]
fn numbers_that_cannot_be() {
    for name in
        ["image_size", "patch_size", "block_count", "embedding_length", "feed_forward_length", "attention.head_count"]
    {
        let whole = format!("vit.{name}");
        assert_eq!(error(&good().without(&whole)), LoadError::MissingKey { key: key(name) });
        for value in [0, u32::MAX] {
            let found = error(&good().set(&whole, Meta::U32(value)));
            let named = found.to_string().contains(&whole)
                || matches!(found, LoadError::TensorShape { .. } | LoadError::NotDivisible { .. });
            assert!(named, "{name} {value}: {found}");
        }
        assert!(matches!(error(&good().set(&whole, Meta::Str("x"))), LoadError::KeyType { .. }), "{name}");
    }
    for value in [f32::NAN, f32::INFINITY, 0.0, -1.0] {
        let found = error(&good().set("vit.attention.layer_norm_epsilon", Meta::F32(value)));
        assert!(matches!(found, LoadError::KeyNumber { .. }), "{found}");
    }
    assert!(matches!(error(&good().set("vit.patch_size", Meta::U32(25))), LoadError::KeyRange { .. }));
    assert!(matches!(error(&good().set("vit.attention.head_count", Meta::U32(3))), LoadError::NotDivisible { .. }));
    assert!(matches!(error(&good().set("vit.pooling_type", Meta::U32(9))), LoadError::Unsupported { .. }));
    for (name, value) in [("image_crop_size", 5), ("image_crop_size", 25), ("image_resize_size", 5)] {
        let found = error(&good().set(&format!("vit.{name}"), Meta::U32(value)));
        assert!(matches!(found, LoadError::KeyRange { .. }), "{name} {value}: {found}");
    }
    for name in ["image_resize", "image_filter", "norm_order", "feed_forward_activation"] {
        let found = error(&good().set(&format!("vit.{name}"), Meta::Str("sideways")));
        assert_eq!(found, LoadError::KeyText { key: key(name), value: "sideways".into() });
    }
}

#[test]
fn tensors_that_do_not_fit() {
    for name in ["v.patch_embd.weight", "v.position_embd.weight", "v.blk.1.attn_q.weight", "v.blk.0.ln1.weight"] {
        let found = error(&good().without_tensor(name));
        assert!(matches!(found, LoadError::MissingTensor { .. }) && found.to_string().contains(name), "{found}");
        let mut file = good();
        file.tensor(name).dims.iter_mut().last().map(|dim| *dim -= 1).unwrap();
        let len = file.tensor(name).data.len();
        let rows = *file.tensor(name).dims.last().unwrap() as usize;
        file.tensor(name).data.truncate(len / (rows + 1) * rows);
        let found = error(&file);
        assert!(matches!(found, LoadError::TensorShape { .. }) && found.to_string().contains(name), "{found}");
    }
    // One row of scores for a token that is not there.
    let file = model(&Shape { distilled: true, ..Shape::default() }, Format::Q8_0);
    let positions = file.clone().without_tensor("v.distillation_embd");
    assert!(matches!(error(&positions), LoadError::TensorShape { .. } | LoadError::MissingTensor { .. }));
    let labels = good().set("vit.classifier.output_labels", Meta::Strs(vec!["one".into()]));
    let expected = LoadError::KeyLength { key: key("classifier.output_labels"), expected: 7, found: 1 };
    assert_eq!(error(&labels), expected);
    let numbers = good().set("vit.classifier.output_labels", Meta::U32s(vec![1; 7]));
    assert!(matches!(error(&numbers), LoadError::KeyType { .. }));
    let problem = good().set("smidgen.classifier.problem_type", Meta::Str("softmax"));
    assert!(matches!(error(&problem), LoadError::KeyText { value, .. } if value == "softmax"));
    let means = good().set("vit.image_mean", Meta::U32s(vec![1; 2]));
    assert!(matches!(error(&means), LoadError::KeyLength { .. }));
}

/// A model that sees cannot write or embed text, and says so.
#[test]
fn other_purposes() {
    let bytes = good().bytes();
    let parts = [Gguf::parse(&bytes).unwrap()];
    let model = Model::parse(&parts).unwrap();
    assert!(matches!(model.text_encoder(), Err(RunError::Purpose { architecture: "vit", .. })));
    assert_eq!((model.vocabulary(), model.context()), (0, 0));
    assert_eq!(TensorName { layer: Some(3), part: "v.ln1.weight" }.to_string(), "v.blk.3.ln1.weight");
    assert_eq!(tensor("v.class_embd").to_string(), "v.class_embd");
}
