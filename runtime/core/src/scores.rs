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

/// What a classifier was trained for (transformers' `problem_type`), which decides how its scores (logits) are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Problem {
    /// One of the classes is right: probabilities are the softmax of the logits, or of one logit alone its logistic function.
    #[default]
    SingleLabel,
    /// Each class is right or not, whatever the others are: each has the logistic function of its own logit.
    MultiLabel,
    /// Logits are the answer as they are.
    Regression,
}

impl Problem {
    /// The names in files, which are transformers'.
    pub const NAMES: [(&'static str, Problem); 3] = [
        ("single_label_classification", Problem::SingleLabel),
        ("multi_label_classification", Problem::MultiLabel),
        ("regression", Problem::Regression),
    ];

    /// Probabilities of the classes from a classifier's logits; of a regression the logits.
    pub fn probabilities(self, logits: &[f32]) -> Vec<f64> {
        match (self, logits) {
            (Problem::Regression, _) => logits.iter().map(|logit| f64::from(*logit)).collect(),
            (Problem::MultiLabel, _) | (Problem::SingleLabel, [_]) => {
                logits.iter().map(|logit| logistic(*logit)).collect()
            }
            (Problem::SingleLabel, _) => softmax(logits),
        }
    }
}

fn logistic(logit: f32) -> f64 {
    1.0 / (1.0 + exp64(-f64::from(logit)))
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| exp64(f64::from(logit - largest))).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// transformers' pipelines: softmax, the logistic function where there are several labels or one output, nothing for a regression.
    #[test]
    fn each_problem_has_its_own_reading_of_logits() {
        let logits = [-2.0, 0.5, 1.0];
        let near = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        };
        near(Problem::SingleLabel.probabilities(&logits), &[0.030059, 0.366192, 0.603749]);
        near(Problem::MultiLabel.probabilities(&logits), &[0.119203, 0.622459, 0.731059]);
        near(Problem::Regression.probabilities(&logits), &[-2.0, 0.5, 1.0]);
        near(Problem::SingleLabel.probabilities(&[0.5]), &[0.622459]);
        near(Problem::MultiLabel.probabilities(&[0.5]), &[0.622459]);
        near(Problem::Regression.probabilities(&[0.5]), &[0.5]);
        assert_eq!(Problem::default(), Problem::SingleLabel);
    }
}
