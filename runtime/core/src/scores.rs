//! Scores of classes.

use alloc::vec::Vec;
use smidgen_quant::math::{exp64, sqrt};
use smidgen_quant::ops;

/// What embeddings of images and of texts have to do with each other, if they lie in one space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// What cosines are multiplied by.
    pub scale: f32,
}

impl Similarity {
    /// How well a text fits an image (its logit): the cosine between their embeddings, of any lengths, times the factor. 0 if one of them
    /// is zero.
    pub fn score(&self, image: &[f32], text: &[f32]) -> f32 {
        let lengths = sqrt(ops::dot(image, image)) * sqrt(ops::dot(text, text));
        if lengths > 0.0 { ops::dot(image, text) / lengths * self.scale } else { 0.0 }
    }
}

/// Probabilities from a classifier's scores (logits): their softmax, or of one alone the logistic function.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    if let [logit] = logits {
        return Vec::from([1.0 / (1.0 + exp64(-f64::from(*logit)))]);
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| exp64(f64::from(logit - largest))).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
