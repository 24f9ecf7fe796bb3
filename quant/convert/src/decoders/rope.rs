//! How positions turn pairs, from the fields of a configuration.

use super::Conversion;
use crate::Error;
use crate::json::Json;
use crate::plan::Data;
use smidgen_quant::math;

/// Fields that hold the base, and the part of a head that turns, in files of different ages.
const BASES: &[&str] = &["rope_theta", "rotary_emb_base"];
const PARTS: &[&str] = &["partial_rotary_factor", "rotary_pct", "rope_pct"];

/// What a configuration says of its rotation: in newer files all in one object.
pub(super) struct Rotation<'c> {
    parameters: Option<Json<'c>>,
    /// Whether they are those of layers of one kind.
    own: bool,
    config: Json<'c>,
}

impl<'c> Rotation<'c> {
    /// That of the configuration, or of layers of one kind where each has its own.
    pub(super) fn of(config: &Json<'c>, kind: Option<&str>) -> Rotation<'c> {
        let parameters = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
        let part = kind.and_then(|kind| parameters.as_ref().and_then(|parameters| parameters.get(kind)));
        Rotation { own: part.is_some(), parameters: part.or(parameters), config: config.clone() }
    }

    /// A number by one of these names, which must be the same wherever it stands.
    fn number(&self, names: &[&str]) -> Result<Option<f32>, Error> {
        let mut found: Option<f32> = None;
        for place in self.parameters.iter().chain([&self.config]) {
            for field in names.iter().filter_map(|name| place.get(name)) {
                let number = field.f32()?;
                if found.is_some_and(|found| found != number) {
                    return Err(field.wrong("what another field says of the same"));
                }
                found = Some(number);
            }
        }
        Ok(found)
    }

    /// The base, if it is said.
    pub(super) fn base(&self) -> Result<Option<f32>, Error> {
        self.number(BASES)
    }

    fn kind(&self) -> Result<&'c str, Error> {
        let Some(parameters) = &self.parameters else { return Ok("default") };
        let (new, old) = (parameters.get_str("rope_type")?, parameters.get_str("type")?);
        Ok(new.or(old).unwrap_or("default"))
    }

    /// The base of layers of one kind, if they have fields of their own, which may not scale.
    pub(super) fn own_base(&self) -> Result<Option<f32>, Error> {
        let Some(parameters) = self.parameters.as_ref().filter(|_| self.own) else { return Ok(None) };
        match self.kind()? {
            "default" => parameters.get_f32("rope_theta"),
            kind => Err(parameters.field_unsupported("rope_type", format!("{kind:?}"))),
        }
    }

    /// The number by which the base is raised, for a rotation that is scaled in this way only.
    pub(super) fn alpha(&self) -> Result<Option<f32>, Error> {
        let Some(parameters) = self.parameters.as_ref() else { return Ok(None) };
        let Some(alpha) = parameters.get_f32("alpha")?.filter(|_| matches!(self.kind(), Ok("dynamic"))) else {
            return Ok(None);
        };
        for field in ["factor", "mscale", "mscale_all_dim"].iter().filter_map(|name| parameters.get(name)) {
            if field.f32()? != 1.0 {
                return Err(field.unsupported());
            }
        }
        let others = ["beta_fast", "beta_slow"].iter().filter_map(|name| parameters.get(name));
        others.for_each(|field| field.leave_out("of another way to scale"));
        Ok(Some(alpha))
    }
}

impl Conversion<'_, '_, '_> {
    /// Writes how positions turn pairs, by a base of `base` (without, it must be said) and `part` of each head if the configuration does not say.
    pub(super) fn rope(&mut self, base: Option<f32>, part: f32) -> Result<(), Error> {
        let rotation = Rotation::of(&self.config, None);
        self.rotation(&rotation, base, part)
    }

    pub(super) fn rotation(&mut self, rotation: &Rotation, base: Option<f32>, part: f32) -> Result<(), Error> {
        let Some(base) = rotation.base()?.or(base) else { return Err(self.config.missing(BASES[0])) };
        let part = rotation.number(PARTS)?.unwrap_or(part);
        let head = self.sizes.head;
        let turned = (f64::from(head) * f64::from(part)) as u32;
        if part <= 0.0 || part > 1.0 || turned < 2 || !turned.is_multiple_of(2) {
            return Err(self.config.field_unsupported(PARTS[0], format!("{part} of a head of {head}")));
        }
        self.planner.hyper("rope.freq_base", base);
        self.planner.hyper("rope.dimension_count", turned);
        let Some(scaling) = &rotation.parameters else { return Ok(()) };
        match rotation.kind()? {
            "default" => Ok(()),
            "linear" => {
                self.planner.hyper("rope.scaling.type", "linear");
                self.planner.hyper("rope.scaling.factor", scaling.require("factor")?.f32()?);
                Ok(())
            }
            "llama3" => self.llama3(scaling, base, turned),
            "yarn" => self.yarn(scaling),
            "dynamic" => {
                // Turns are raised in longer texts than the context's only.
                scaling.get("factor").inspect(|factor| factor.leave_out("nothing changes within the context"));
                Ok(())
            }
            "longrope" | "su" => self.longrope(scaling, turned),
            kind => Err(scaling.field_unsupported("rope_type", format!("{kind:?}"))),
        }
    }

    /// Tokens of the training before the context was extended.
    fn original(&self, scaling: &Json) -> Result<u32, Error> {
        const FIELD: &str = "original_max_position_embeddings";
        let own = scaling.get_u32(FIELD)?;
        let whole = self.config.get_u32(FIELD)?;
        if let (Some(own), Some(whole)) = (own, whole)
            && own != whole
        {
            return Err(scaling.require(FIELD)?.wrong("that of the whole configuration"));
        }
        Ok(own.or(whole).unwrap_or(self.sizes.context))
    }

    /// The factors by which Llama 3.1's scaling divides frequencies, one for each pair.
    fn llama3(&mut self, scaling: &Json, base: f32, turned: u32) -> Result<(), Error> {
        let number = |key| Ok::<_, Error>(f64::from(scaling.require(key)?.f32()?));
        let (factor, low, high) = (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
        let original = f64::from(self.original(scaling)?);
        let pair = |i: u32| {
            let frequency = math::pow64(f64::from(base), -f64::from(2 * i) / f64::from(turned));
            // Turns within the context of the training: fast pairs stay, slow ones are stretched, others lie between.
            let turns = original * frequency / (2.0 * std::f64::consts::PI);
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        };
        let factors: Vec<f32> = (0..turned / 2).map(pair).collect();
        self.planner.add("rope_freqs.weight", &[factors.len() as u64], Data::Values(factors));
        Ok(())
    }

    /// YaRN (Peng et al.), with the paper's magnitude.
    fn yarn(&mut self, scaling: &Json) -> Result<(), Error> {
        let factor = scaling.require("factor")?.f32()?;
        self.planner.hyper("rope.scaling.type", "yarn");
        self.planner.hyper("rope.scaling.factor", factor);
        let original = self.original(scaling)?;
        self.planner.hyper("rope.scaling.original_context_length", original);
        for (field, key) in [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")]
        {
            if let Some(number) = scaling.get_f32(field)? {
                self.planner.hyper(key, number);
            }
        }
        let usual = (0.1 * math::ln64(f64::from(factor)) + 1.0) as f32;
        for field in ["attention_factor", "attn_factor"] {
            if let Some(magnitude) = scaling.get(field)
                && (magnitude.f32()? - usual).abs() > 1e-6
            {
                return Err(magnitude.unsupported());
            }
        }
        // Whether the corner dimensions are rounded, as GGUF has it.
        match scaling.get("truncate") {
            Some(truncate) if !truncate.bool()? => Err(truncate.unsupported()),
            _ => Ok(()),
        }
    }

    /// LongRoPE (Ding et al.): factors for contexts within that of the training, and for longer ones.
    fn longrope(&mut self, scaling: &Json, turned: u32) -> Result<(), Error> {
        let original = self.original(scaling)?;
        self.planner.hyper("rope.scaling.original_context_length", original);
        let ratio = match scaling.get_f32("factor")? {
            Some(factor) => f64::from(factor),
            None => f64::from(self.sizes.context) / f64::from(original.max(1)),
        };
        let usual =
            if ratio > 1.0 { (1.0 + math::ln64(ratio) / math::ln64(f64::from(original.max(2)))).sqrt() } else { 1.0 };
        let magnitude = scaling.get_f32("attention_factor")?.unwrap_or(usual as f32);
        self.planner.hyper("rope.scaling.attn_factor", magnitude);
        for (field, name) in
            [("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight")]
        {
            let list = scaling.require(field)?;
            let factors = list.f32s()?;
            if factors.len() != turned as usize / 2 {
                return Err(list.wrong("a list with a number for each pair of dimensions"));
            }
            self.planner.add(name, &[factors.len() as u64], Data::Values(factors));
        }
        Ok(())
    }
}
