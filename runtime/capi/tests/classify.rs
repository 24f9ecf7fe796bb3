//! Scores of classifiers: each problem type has its own reading of the logits, for texts and for images.

use smidgen_capi::classify::{smidgen_classify_image, smidgen_classify_text};
use smidgen_capi::models::{smidgen_model_close, smidgen_model_open_memory};
use smidgen_capi::sessions::*;
use smidgen_capi::types::*;
use smidgen_quant::Format;
use smidgen_tests::seeded::{File, Meta};
use smidgen_tests::{seeded_bert, seeded_vit};
use std::ptr::{null, null_mut};

/// What a model of this file gives for a text, or for an image, with these flags.
fn scores(file: &File, is_text: bool, flags: u32) -> Vec<f32> {
    let bytes = file.clone().bytes();
    let (mut model, mut session) = (null_mut(), null_mut());
    let (mut values, mut count) = ([0.0; 16], 0);
    let pixels = [9, 200, 30].repeat(16);
    let size = size_of::<smidgen_image>();
    let image = smidgen_image { size, pixels: pixels.as_ptr(), length: pixels.len(), stride: 0, width: 4, height: 4 };
    // SAFETY: zeros are the defaults.
    let mut params: smidgen_session_params = unsafe { std::mem::zeroed() };
    params.size = size_of_val(&params);
    // SAFETY: the bytes and all places live longer than the handles.
    unsafe {
        assert_eq!(smidgen_model_open_memory(bytes.as_ptr(), bytes.len(), null(), &mut model), SMIDGEN_OK);
        assert_eq!(smidgen_session_open(model, &params, &mut session), SMIDGEN_OK);
        let (to, capacity) = (values.as_mut_ptr(), values.len());
        let status = if is_text {
            smidgen_classify_text(session, c"a b".as_ptr(), 3, flags, to, capacity, &mut count)
        } else {
            smidgen_classify_image(session, &image, flags, to, capacity, &mut count)
        };
        assert_eq!(status, SMIDGEN_OK);
        assert_eq!(smidgen_session_close(session), SMIDGEN_OK);
        assert_eq!(smidgen_model_close(model), SMIDGEN_OK);
    }
    values[..count].to_vec()
}

#[test]
fn probabilities_are_those_of_the_problem_type() {
    let texts = seeded_bert::with_words(seeded_bert::model(&seeded_bert::Shape::default(), Format::Q8_0));
    let images = seeded_vit::model(&seeded_vit::Shape::default(), Format::Q8_0);
    for (file, is_text) in [(texts, true), (images, false)] {
        let logits = scores(&file, is_text, SMIDGEN_SCORES_LOGITS);
        assert!(logits.len() > 2);
        let of = |problem| {
            let file = file.clone().set("smidgen.classifier.problem_type", Meta::Str(problem));
            assert_eq!(scores(&file, is_text, SMIDGEN_SCORES_LOGITS), logits);
            scores(&file, is_text, 0)
        };
        let plain = scores(&file, is_text, 0);
        assert!((plain.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(of("single_label_classification"), plain);
        assert_eq!(of("regression"), logits);
        let several = of("multi_label_classification");
        assert_eq!(several.len(), logits.len());
        for (probability, logit) in several.iter().zip(&logits) {
            assert!((f64::from(*probability) - 1.0 / (1.0 + (-f64::from(*logit)).exp())).abs() < 1e-6);
        }
    }
}
