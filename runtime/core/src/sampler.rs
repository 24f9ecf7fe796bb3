//! Choosing the next token from a model's logits.

use smidgen_quant::math;

/// The natural logarithm of a token's probability; minus infinity for one that has no logit.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    logits.get(token as usize).map_or(f64::NEG_INFINITY, |logit| *logit as f64 - log_sum(logits))
}

/// The logarithm of the sum of `e^logit`: what is subtracted from logits to get log-probabilities.
pub fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |max, v| if *v > max { *v } else { max });
    let sum: f64 = logits.iter().map(|logit| math::exp(logit - largest) as f64).sum();
    largest as f64 + math::ln64(sum)
}
