//! Beam search: the continuations of largest probability that are found by following several at a time.

use crate::sampler::best;
use crate::{RunError, Session};
use alloc::vec::Vec;
use smidgen_quant::math;
use smidgen_targets::Pool;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Continuations followed at a time; the session has at least as many sequences.
    pub width: usize,
    /// Longest continuation.
    pub max_tokens: usize,
    /// Log-probabilities are divided by the number of tokens to this power before continuations are compared; 0 favours short ones,
    /// 1 compares the mean.
    pub length_penalty: f32,
}

/// A continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Sum of the tokens' log-probabilities.
    pub log_probability: f64,
    /// The log-probability divided by a power of the length.
    pub score: f64,
    /// Whether an end token was met.
    pub ended: bool,
}

/// A continuation that is being followed, in a sequence of the session.
struct Beam {
    sequence: usize,
    tokens: Vec<u32>,
    log_probability: f64,
}

/// The best continuations of the prompt, best first, at most `width` of them. Uses and overwrites the first `width` sequences.
///
/// The search ends when `width` continuations have ended, or at the greatest length, or when the context is full. With a width of 1 it
/// is greedy decoding.
///
/// # Errors
/// Those of [`Session::forward`]; [`RunError::SequenceRange`] if the session has too few sequences; [`RunError::OptionRange`].
pub fn search(
    session: &mut Session,
    prompt: &[u32],
    search: &Search,
    is_end: &dyn Fn(u32) -> bool,
    pool: &dyn Pool,
) -> Result<Vec<Hypothesis>, RunError> {
    let Search { width, max_tokens, length_penalty } = *search;
    let sequences = session.options().sequences;
    if width == 0 || !length_penalty.is_finite() {
        let (option, value) = if width == 0 { ("width", 0.0) } else { ("length penalty", length_penalty as f64) };
        return Err(RunError::OptionRange { option, value });
    }
    if width > sequences {
        return Err(RunError::SequenceRange { sequence: width - 1, sequences });
    }
    let hypothesis = |tokens: Vec<u32>, log_probability: f64, ended: bool| {
        let length = tokens.len().max(1) as f64;
        let score = log_probability / math::pow64(length, length_penalty as f64);
        Hypothesis { tokens, log_probability, score, ended }
    };
    // An ended continuation may crowd out a living one, so twice the width is looked at.
    let wide = width.saturating_mul(2);
    for sequence in 0..width {
        session.truncate(sequence, 0);
    }
    let mut choices = Vec::from([best(session.forward(0, prompt, pool)?, wide)]);
    (1..width).try_for_each(|sequence| session.copy(0, sequence, 0))?;
    let mut beams = Vec::from([Beam { sequence: 0, tokens: Vec::new(), log_probability: 0.0 }]);
    let mut ended = Vec::new();
    for _ in 0..max_tokens {
        let mut steps: Vec<(f64, usize, u32)> = Vec::new();
        for (parent, (beam, choices)) in beams.iter().zip(&choices).enumerate() {
            steps.extend(choices.iter().map(|(token, log)| (beam.log_probability + log, parent, *token)));
        }
        steps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut next = Vec::new();
        for (rank, (log_probability, parent, token)) in steps.into_iter().enumerate() {
            if is_end(token) {
                if rank < width {
                    let mut tokens = beams[parent].tokens.clone();
                    tokens.push(token);
                    ended.push(hypothesis(tokens, log_probability, true));
                }
            } else if next.len() < width {
                next.push((log_probability, parent, token));
            }
        }
        let full = beams.first().is_none_or(|beam| session.len(beam.sequence) >= session.options().context);
        let last = beams.first().is_some_and(|beam| beam.tokens.len() + 1 >= max_tokens);
        beams = spread(session, &beams, &next, width, prompt.len())?;
        if ended.len() >= width || beams.is_empty() || full || last {
            break;
        }
        let tokens: Vec<_> = beams.iter().zip(&next).map(|(beam, step)| (beam.sequence, step.2)).collect();
        let vocabulary = session.vocabulary();
        choices =
            session.forward_each(&tokens, pool)?.chunks_exact(vocabulary).map(|logits| best(logits, wide)).collect();
    }
    if ended.len() < width {
        ended.extend(beams.into_iter().map(|beam| hypothesis(beam.tokens, beam.log_probability, false)));
    }
    ended.sort_by(|a, b| b.score.total_cmp(&a.score));
    ended.truncate(width);
    Ok(ended)
}

/// The next beams, in sequences that hold their tokens but the last: a parent's first child stays in its sequence, others get a copy in
/// one that has no children.
fn spread(
    session: &mut Session,
    beams: &[Beam],
    next: &[(f64, usize, u32)],
    width: usize,
    prompt: usize,
) -> Result<Vec<Beam>, RunError> {
    let is_parent = |sequence: usize| next.iter().any(|(_, parent, _)| beams[*parent].sequence == sequence);
    let mut free: Vec<usize> = (0..width).rev().filter(|sequence| !is_parent(*sequence)).collect();
    let mut children: Vec<Beam> = Vec::new();
    for (log_probability, parent, token) in next {
        let mut sequence = beams[*parent].sequence;
        if children.iter().any(|child| child.sequence == sequence)
            && let Some(other) = free.pop()
        {
            session.copy(sequence, other, prompt)?;
            sequence = other;
        }
        let mut tokens = beams[*parent].tokens.clone();
        tokens.push(*token);
        children.push(Beam { sequence, tokens, log_probability: *log_probability });
    }
    Ok(children)
}
