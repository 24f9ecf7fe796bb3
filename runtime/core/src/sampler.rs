//! Choosing the next token from a model's logits.
//!
//! The steps, in order: penalties for recent tokens; at temperature 0 the token with the largest logit, otherwise the filters top-k,
//! top-p and min-p, each on what the one before has left; temperature; the draw. All arithmetic is the law's and the generator is the
//! sampler's own, so the same seed and logits give the same tokens on every machine.

use crate::RunError;
use crate::memory::try_reserve;
use alloc::vec::Vec;
use core::cmp::Ordering;
use smidgen_quant::math;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits before the draw; 0 always takes the largest.
    pub temperature: f32,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest tokens whose probabilities, largest first, add up to this (Holtzman et al., "The Curious Case of Neural Text
    /// Degeneration"); 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens with at least this part of the largest probability (Nguyen et al., "Min-p Sampling"); 0 keeps all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this if positive and multiplied if negative (Keskar et al., "CTRL"); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a recent token's logit for each time that it occurs; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Subtracted from a recent token's logit once; 0 changes nothing.
    pub presence_penalty: f32,
    /// How many of the last tokens are recent.
    pub window: usize,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// The largest logit, always; no penalties.
impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            window: 64,
            seed: 0,
        }
    }
}

/// Chooses tokens, and remembers the recent ones and the state of the generator.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// State of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
    state: u64,
    /// The last tokens, up to the window; once full, `oldest` is replaced next.
    recent: Vec<u32>,
    oldest: usize,
    sorted: Vec<u32>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    token: u32,
}

/// Larger logits first, among equal ones the lower token.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Sampler {
    /// A sampler that has seen no tokens.
    ///
    /// # Errors
    /// [`RunError::OptionRange`] for numbers that make no sense.
    pub fn new(sampling: Sampling) -> Result<Sampler, RunError> {
        let checks = [
            ("temperature", sampling.temperature, sampling.temperature >= 0.0),
            ("top-p", sampling.top_p, sampling.top_p > 0.0 && sampling.top_p <= 1.0),
            ("min-p", sampling.min_p, (0.0..=1.0).contains(&sampling.min_p)),
            ("repetition penalty", sampling.repetition_penalty, sampling.repetition_penalty > 0.0),
            ("frequency penalty", sampling.frequency_penalty, true),
            ("presence penalty", sampling.presence_penalty, true),
        ];
        if let Some((option, value, _)) = checks.into_iter().find(|(_, value, fits)| !fits || !value.is_finite()) {
            return Err(RunError::OptionRange { option, value: value as f64 });
        }
        let state = sampling.seed;
        Ok(Sampler { sampling, state, recent: Vec::new(), oldest: 0, sorted: Vec::new(), candidates: Vec::new() })
    }

    /// Makes room for a text of so many more tokens; without it, memory that is refused ends the program.
    ///
    /// # Errors
    /// [`RunError::OutOfMemory`].
    pub fn reserve(&mut self, tokens: usize) -> Result<(), RunError> {
        let known = self.recent.len();
        let recent = self.sampling.window.min(known.saturating_add(tokens));
        try_reserve(&mut self.recent, recent.saturating_sub(known))?;
        self.sorted.clear();
        Ok(try_reserve(&mut self.sorted, recent)?)
    }

    /// Takes note of a token of the text, be it of the prompt or chosen.
    pub fn accept(&mut self, token: u32) {
        if self.recent.len() < self.sampling.window {
            self.recent.push(token);
        } else if let Some(slot) = self.recent.get_mut(self.oldest) {
            *slot = token;
            self.oldest = (self.oldest + 1) % self.sampling.window;
        }
    }

    /// Chooses a token. It is not accepted yet.
    ///
    /// # Errors
    /// [`RunError::Scores`] if there are no logits, or some are not finite; [`RunError::OutOfMemory`].
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, RunError> {
        if logits.is_empty() || u32::try_from(logits.len()).is_err() || !logits.iter().all(|logit| logit.is_finite()) {
            return Err(RunError::Scores { found: logits.len() });
        }
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        self.candidates.clear();
        try_reserve(&mut self.candidates, logits.len())?;
        self.candidates.extend(logits.iter().zip(0..).map(|(&logit, token)| Candidate { logit, token }));
        self.penalize();
        if temperature == 0.0 {
            let best = self.candidates.iter().min_by(|a, b| order(a, b));
            return best.map(|best| best.token).ok_or(RunError::Scores { found: 0 });
        }
        if top_k > 0 && top_k < self.candidates.len() {
            sort_first(&mut self.candidates, top_k);
            self.candidates.truncate(top_k);
        }
        let largest =
            self.candidates.iter().fold(f32::NEG_INFINITY, |max, c| if c.logit > max { c.logit } else { max });
        if top_p < 1.0 {
            keep_top_p(&mut self.candidates, largest, top_p);
        }
        if min_p > 0.0 {
            self.candidates.retain(|c| math::exp(c.logit - largest) >= min_p);
        }
        let weight = |c: &Candidate| math::exp((c.logit - largest) / temperature) as f64;
        let total: f64 = self.candidates.iter().map(weight).sum();
        let mut left = self.random() * total;
        let mut chosen = None;
        for candidate in &self.candidates {
            let weight = weight(candidate);
            // The last one that can be drawn stays, should rounding leave something.
            if weight > 0.0 {
                chosen = Some(candidate.token);
            }
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        chosen.ok_or(RunError::Scores { found: 0 })
    }

    fn penalize(&mut self) {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.sampling;
        if repetition_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0 {
            return;
        }
        self.sorted.clone_from(&self.recent);
        self.sorted.sort_unstable();
        for same in self.sorted.chunk_by(|a, b| a == b) {
            let Some(candidate) = self.candidates.get_mut(same[0] as usize) else { continue };
            let logit = &mut candidate.logit;
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            *logit -= frequency_penalty * same.len() as f32 + presence_penalty;
            *logit = logit.clamp(f32::MIN, f32::MAX);
        }
    }

    /// Uniform in 0 to 1, without 1.
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Moves the `n` first candidates to the front, in order.
fn sort_first(candidates: &mut [Candidate], n: usize) {
    if n < candidates.len() && n > 0 {
        candidates.select_nth_unstable_by(n - 1, order);
    }
    candidates[..n].sort_unstable_by(order);
}

/// Sorts as many candidates as it takes, which are few as a rule.
fn keep_top_p(candidates: &mut Vec<Candidate>, largest: f32, p: f32) {
    let weight = |c: &Candidate| math::exp(c.logit - largest) as f64;
    let enough = candidates.iter().map(weight).sum::<f64>() * p as f64;
    let mut n = 256;
    loop {
        n = n.min(candidates.len());
        sort_first(candidates, n);
        let mut sum = 0.0;
        let within = candidates[..n].iter().take_while(|c| {
            let more = sum < enough;
            sum += weight(c);
            more
        });
        let keep = within.count();
        if keep < n || n == candidates.len() {
            return candidates.truncate(keep);
        }
        n = n.saturating_mul(8);
    }
}

/// The `n` largest logits in order, as token and log-probability.
pub(crate) fn best(logits: &[f32], n: usize) -> Vec<(u32, f64)> {
    let mut candidates: Vec<_> = logits.iter().zip(0..).map(|(&logit, token)| Candidate { logit, token }).collect();
    let n = n.min(candidates.len());
    sort_first(&mut candidates, n);
    let sum = log_sum(logits);
    candidates[..n].iter().map(|c| (c.token, c.logit as f64 - sum)).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::f32::consts::LN_2;

    fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).unwrap();
        (0..count).map(|_| sampler.sample(logits).unwrap()).collect()
    }

    /// How often each of `n` tokens is drawn.
    fn histogram(sampling: Sampling, logits: &[f32], count: usize) -> Vec<usize> {
        let mut hits = vec![0; logits.len()];
        for token in draws(sampling, logits, count) {
            hits[token as usize] += 1;
        }
        hits
    }

    const HOT: Sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        window: 64,
        seed: 7,
    };
    /// Probabilities 1/2, 1/4, 1/8, 1/8 of tokens 2, 0, 1, 3.
    const LOGITS: [f32; 4] = [-LN_2, -2.0 * LN_2, 0.0, -2.0 * LN_2];

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        assert_eq!(draws(Sampling::default(), &[0.0, 2.0, -1.0, 2.0], 3), [1, 1, 1]);
    }

    #[test]
    fn the_generator_is_splitmix64() {
        let mut sampler = Sampler::new(Sampling { seed: 1_234_567, ..HOT }).unwrap();
        // First output for this seed in the reference implementation: 6457827717110365317.
        assert_eq!(sampler.random(), (6_457_827_717_110_365_317u64 >> 11) as f64 / (1u64 << 53) as f64);
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let hits = histogram(HOT, &LOGITS, 8000);
        for (hits, expected) in hits.into_iter().zip([2000, 1000, 4000, 1000]) {
            assert!(hits.abs_diff(expected) < 200, "{hits} of {expected}");
        }
        assert_eq!(draws(HOT, &LOGITS, 50), draws(HOT, &LOGITS, 50));
        assert_ne!(draws(HOT, &LOGITS, 50), draws(Sampling { seed: 8, ..HOT }, &LOGITS, 50));
        let cold = histogram(Sampling { temperature: 0.5, ..HOT }, &LOGITS, 1000);
        assert!(cold[2] > 650, "{cold:?}");
        assert_eq!(draws(Sampling { temperature: 1e-30, ..HOT }, &LOGITS, 9), [2; 9]);
    }

    #[test]
    fn filters_keep_what_they_say() {
        let kept = |sampling| {
            let hits = histogram(sampling, &LOGITS, 400);
            (0..4).filter(|token| hits[*token] > 0).collect::<Vec<_>>()
        };
        assert_eq!(kept(Sampling { top_k: 1, ..HOT }), [2]);
        assert_eq!(kept(Sampling { top_k: 2, ..HOT }), [0, 2]);
        assert_eq!(kept(Sampling { top_k: 3, ..HOT }), [0, 1, 2], "of equals the lower token stays");
        assert_eq!(kept(Sampling { top_p: 0.49, ..HOT }), [2]);
        assert_eq!(kept(Sampling { top_p: 0.6, ..HOT }), [0, 2]);
        assert_eq!(kept(Sampling { top_p: 0.8, ..HOT }), [0, 1, 2]);
        assert_eq!(kept(Sampling { min_p: 0.4, ..HOT }), [0, 2]);
        assert_eq!(kept(Sampling { min_p: 1.0, ..HOT }), [2]);
        assert_eq!(kept(HOT), [0, 1, 2, 3]);
    }

    #[test]
    fn top_p_over_many_tokens_equals_a_full_sort() {
        let logits: Vec<f32> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 * 2e-4).collect();
        let mut candidates: Vec<_> = logits.iter().zip(0..).map(|(&logit, token)| Candidate { logit, token }).collect();
        let mut sorted = candidates.clone();
        sorted.sort_by(order);
        keep_top_p(&mut candidates, sorted[0].logit, 0.55);
        assert!(candidates.len() > 2048 && candidates.len() < 2500);
        assert!(candidates.iter().zip(&sorted).all(|(a, b)| a.token == b.token));
    }

    #[test]
    fn penalties_count_the_window() {
        let sampling = Sampling { window: 3, presence_penalty: 0.5, frequency_penalty: 0.25, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling).unwrap();
        let logits = [1.0, 0.8, 0.0];
        assert_eq!(sampler.sample(&logits).unwrap(), 0);
        sampler.accept(0);
        assert_eq!(sampler.sample(&logits).unwrap(), 1);
        sampler.accept(1);
        assert_eq!(sampler.sample(&logits).unwrap(), 0);
        sampler.accept(1);
        sampler.accept(1);
        assert_eq!(sampler.sample(&[-9.0, 1.3, 0.0]).unwrap(), 1);
        assert_eq!(sampler.sample(&[-9.0, 1.2, 0.0]).unwrap(), 2);
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::default() }).unwrap();
        (0..200).for_each(|_| sampler.accept(0));
        assert_eq!(sampler.sample(&[1.0, 0.6]).unwrap(), 1);
        assert_eq!(sampler.sample(&[-1.0, -1.9]).unwrap(), 1);
        assert_eq!(sampler.sample(&[-1.0, -2.1]).unwrap(), 0);
    }

    #[test]
    fn nonsense_is_refused() {
        for sampling in [
            Sampling { temperature: -1.0, ..HOT },
            Sampling { temperature: f32::NAN, ..HOT },
            Sampling { top_p: 0.0, ..HOT },
            Sampling { min_p: 1.5, ..HOT },
            Sampling { repetition_penalty: 0.0, ..HOT },
            Sampling { presence_penalty: f32::INFINITY, ..HOT },
        ] {
            assert!(matches!(Sampler::new(sampling), Err(RunError::OptionRange { .. })), "{sampling:?}");
        }
        let mut sampler = Sampler::new(HOT).unwrap();
        assert_eq!(sampler.sample(&[]), Err(RunError::Scores { found: 0 }));
        assert_eq!(sampler.sample(&[1.0, f32::NAN]), Err(RunError::Scores { found: 2 }));
    }

    #[test]
    fn log_probabilities_add_up() {
        assert!((log_probability(&LOGITS, 2) + core::f64::consts::LN_2).abs() < 1e-6);
        assert_eq!(log_probability(&LOGITS, 4), f64::NEG_INFINITY);
        assert_eq!(best(&LOGITS, 3).iter().map(|(token, _)| *token).collect::<Vec<_>>(), [2, 0, 1]);
    }
}
