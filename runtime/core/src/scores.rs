//! Scores of classes.

use alloc::vec::Vec;
use smidgen_quant::math::exp64;

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
