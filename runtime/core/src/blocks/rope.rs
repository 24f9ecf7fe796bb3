//! Rotary positions: how far each pair of a head's dimensions turns from one token to the next.

use crate::memory::try_with_capacity;
use crate::source::Source;
use crate::{Key, LoadError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::math;
pub use smidgen_quant::ops::Pairs;

/// Largest rotary frequency in radians per token; with [`MAX_CONTEXT`](crate::MAX_CONTEXT) angles stay within what the law's sine takes.
const MAX_FREQUENCY: f64 = 16.0;

/// The rotation of some layers (Su et al., "RoFormer").
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Which dimensions turn together.
    pub pairs: Pairs,
    /// Radians per position of each pair, with all scaling applied. Dimensions beyond the pairs do not turn.
    pub frequencies: Vec<f32>,
    /// What stands for the frequencies in sessions of a longer context than this (Ding et al., "LongRoPE").
    pub long: Option<(usize, Vec<f32>)>,
    /// Factor of cosines and sines (Peng et al., "YaRN"); mostly 1.
    pub magnitude: f32,
}

impl Rope {
    /// The frequencies in a session of this context.
    pub fn frequencies(&self, context: usize) -> &[f32] {
        match &self.long {
            Some((original, long)) if context > *original => long,
            _ => &self.frequencies,
        }
    }

    /// Cosines and sines of a position. `[2 · pairs]`
    pub(crate) fn turns(&self, context: usize, position: u32, to: &mut [f32]) {
        for (turn, frequency) in to.as_chunks_mut::<2>().0.iter_mut().zip(self.frequencies(context)) {
            // The angle is a product of `f32`, as it was in training.
            let (sin, cos) = math::sin_cos64((position as f32 * frequency) as f64);
            *turn = [cos as f32 * self.magnitude, sin as f32 * self.magnitude];
        }
    }
}

/// What a file says of its rotation.
pub(crate) struct RopeKeys {
    /// What keys begin with.
    pub(crate) architecture: &'static str,
    /// Dimensions of a head.
    pub(crate) head: usize,
    /// `context_length`.
    pub(crate) context: usize,
}

impl RopeKeys {
    fn key(&self, name: &'static str) -> Key {
        Key { architecture: self.architecture, name }
    }

    /// The rotation with the base of `rope.freq_base`, the scaling of `rope.scaling` and the factors of `rope_freqs.weight`.
    pub(crate) fn scaled(&self, source: &Source, pairs: Pairs) -> Result<Rope, LoadError> {
        let number = |name, default: f32| source.number(self.key(name)).map(|found| found.unwrap_or(default) as f64);
        let base = number("rope.freq_base", 10_000.0)?;
        // Files from before `rope.scaling` was named have only `scale_linear`.
        let factor = number("rope.scaling.factor", number("rope.scale_linear", 1.0)? as f32)?;
        let original = self.key("rope.scaling.original_context_length");
        let original = source.integer(original, 1)?.unwrap_or(self.context);
        let kind = self.key("rope.scaling.type");
        let scaling = match source.text(kind)? {
            None if factor != 1.0 => Scaling::Linear { factor },
            None | Some("none") => Scaling::Linear { factor: 1.0 },
            Some("linear") => Scaling::Linear { factor },
            Some("longrope") => Scaling::Linear { factor: 1.0 },
            Some("llama3") => Scaling::Llama3 {
                factor,
                low: number("rope.scaling.low_freq_factor", 1.0)?,
                high: number("rope.scaling.high_freq_factor", 4.0)?,
                original: original as f64,
            },
            Some("yarn") => Scaling::Yarn {
                factor,
                fast: number("rope.scaling.yarn_beta_fast", 32.0)?,
                slow: number("rope.scaling.yarn_beta_slow", 1.0)?,
                original: original as f64,
            },
            Some(name) => {
                return Err(LoadError::UnknownRopeScaling { key: kind, name: name.chars().take(64).collect() });
            }
        };
        let dimensions = self.dimensions(source)?;
        let factors = |part| source.vector(TensorName { layer: None, part }, dimensions / 2);
        let (short, long) = (factors("rope_factors_short.weight")?, factors("rope_factors_long.weight")?);
        let of = |factors: &[f32]| frequencies(base, dimensions, &scaling, factors);
        let (plain, long) = match (short.is_empty(), long.is_empty()) {
            (true, true) => (of(&factors("rope_freqs.weight")?)?, None),
            (false, false) => (of(&short)?, Some((original, of(&long)?))),
            (short, _) => {
                let part = if short { "rope_factors_short.weight" } else { "rope_factors_long.weight" };
                return Err(LoadError::MissingTensor { tensor: TensorName { layer: None, part } });
            }
        };
        let magnitude = scaling.magnitude() * number("rope.scaling.attn_factor", 1.0)?;
        Ok(Rope { pairs, frequencies: plain, long, magnitude: magnitude as f32 })
    }

    /// The rotation of layers with a window: with the base of `rope.freq_base_swa`, or else `base`, and no scaling.
    pub(crate) fn local(&self, source: &Source, pairs: Pairs, base: f32) -> Result<Rope, LoadError> {
        let base = source.number(self.key("rope.freq_base_swa"))?.unwrap_or(base) as f64;
        let plain = frequencies(base, self.dimensions(source)?, &Scaling::Linear { factor: 1.0 }, &[])?;
        Ok(Rope { pairs, frequencies: plain, long: None, magnitude: 1.0 })
    }

    /// Dimensions of a head that turn.
    fn dimensions(&self, source: &Source) -> Result<usize, LoadError> {
        let key = self.key("rope.dimension_count");
        let own = source.integer(key, 2)?;
        let dimensions = own.unwrap_or(self.head);
        if !dimensions.is_multiple_of(2) {
            let key = if own.is_some() { key } else { self.key("attention.key_length") };
            return Err(LoadError::Odd { key, value: dimensions as u64 });
        }
        if dimensions > self.head {
            let (value, most) = (dimensions as u64, self.head as u64);
            return Err(LoadError::KeyRange { key, value, least: 2, most });
        }
        Ok(dimensions)
    }
}

/// `base^(-2i / dimensions)`, scaled, and divided by the factors, if there are some.
fn frequencies(base: f64, dimensions: usize, scaling: &Scaling, factors: &[f32]) -> Result<Vec<f32>, LoadError> {
    let mut list = try_with_capacity(dimensions / 2)?;
    for index in 0..dimensions / 2 {
        let plain = math::pow64(base, -((2 * index) as f64) / dimensions as f64);
        let value = scaling.apply(plain, index, base, dimensions);
        let value = value / factors.get(index).copied().unwrap_or(1.0) as f64;
        if !(value > 0.0 && value <= MAX_FREQUENCY) {
            return Err(LoadError::RopeFrequency { index, value });
        }
        list.push(value as f32);
    }
    Ok(list)
}

/// How rotary frequencies are stretched to contexts longer than the one trained on.
enum Scaling {
    /// All by one factor (Chen et al., "Extending Context Window of Large Language Models via Positional Interpolation").
    Linear { factor: f64 },
    /// Slow ones by the factor, fast ones not at all, and a ramp between (Llama 3.1's `rope_scaling`).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// As before, with a ramp over the numbers of the pairs (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models").
    Yarn { factor: f64, fast: f64, slow: f64, original: f64 },
}

impl Scaling {
    fn apply(&self, frequency: f64, index: usize, base: f64, dimensions: usize) -> f64 {
        const TURN: f64 = 2.0 * core::f64::consts::PI;
        match *self {
            Scaling::Linear { factor } => frequency / factor,
            Scaling::Llama3 { factor, low, high, original } => {
                // Turns that the pair makes within the original context.
                let turns = original * frequency / TURN;
                let smooth = if high > low { ((turns - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
            Scaling::Yarn { factor, fast, slow, original } => {
                // The pair that makes so many turns within the original context.
                let pair =
                    |turns: f64| dimensions as f64 * math::ln64(original / (turns * TURN)) / (2.0 * math::ln64(base));
                let most = dimensions as f64 - 1.0;
                let (low, high) = (floor(pair(fast)).max(0.0), (-floor(-pair(slow))).min(most));
                let width = if high > low { high - low } else { 0.001 };
                let ramp = ((index as f64 - low) / width).clamp(0.0, 1.0);
                ramp * frequency / factor + (1.0 - ramp) * frequency
            }
        }
    }

    /// Factor of cosines and sines.
    fn magnitude(&self) -> f64 {
        match *self {
            Scaling::Yarn { factor, .. } if factor > 1.0 => 0.1 * math::ln64(factor) + 1.0,
            _ => 1.0,
        }
    }
}

/// The largest integer that is not above `x`, which is of a moderate size.
fn floor(x: f64) -> f64 {
    let cut = x as i64 as f64;
    if cut > x { cut - 1.0 } else { cut }
}
