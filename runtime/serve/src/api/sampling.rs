//! What chat completions and completions have in common: how tokens are chosen, and when an answer ends.

use super::fields::{Fields, Shape, parse};
use super::{Error, State};
use crate::engine::{Facts, Request};
use serde::Deserialize;
use smidgen::Sampling;
use smidgen::tokenizer::Tokenizer;
use std::collections::BTreeMap;

/// Choices for each prompt, at most.
const CHOICES: usize = 128;
/// Texts that end an answer, at most.
const STOPS: usize = 4;

/// Parameters of both interfaces.
pub(crate) struct Common {
    pub(crate) sampling: Sampling,
    pub(crate) bias: Vec<(u32, f32)>,
    pub(crate) stops: Vec<String>,
    /// Choices for each prompt.
    pub(crate) n: usize,
    pub(crate) stream: bool,
    /// Whether a stream tells its usage at its end.
    pub(crate) usage: bool,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Common {
    pub(crate) fn of(fields: &Fields, state: &State) -> Result<Common, Error> {
        let seed = match fields.get::<i64>("seed")? {
            Some(seed) => seed.cast_unsigned(),
            None => state.random(),
        };
        let top_k = fields.within("top_k", -1..=i64::from(i32::MAX))?.unwrap_or(0).max(0);
        let penalty = match fields.within("repetition_penalty", f32::MIN_POSITIVE..=10.0)? {
            Some(penalty) => penalty,
            None => fields.within("repeat_penalty", f32::MIN_POSITIVE..=10.0)?.unwrap_or(1.0),
        };
        let sampling = Sampling {
            temperature: fields.within("temperature", 0.0..=2.0)?.unwrap_or(1.0),
            top_k: usize::try_from(top_k).unwrap_or(0),
            top_p: fields.within("top_p", 0.0..=1.0)?.unwrap_or(1.0),
            min_p: fields.within("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            repetition_penalty: penalty,
            frequency_penalty: fields.within("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence_penalty: fields.within("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            seed,
            ..Sampling::default()
        };
        let n = fields.within("n", 1..=CHOICES)?.unwrap_or(1);
        let stream = fields.get("stream")?.unwrap_or(false);
        let options: Option<StreamOptions> = fields.get("stream_options")?;
        if options.is_some() && !stream {
            return Err(Error::param("stream_options", "this is only for 'stream': true"));
        }
        let usage = options.and_then(|options| options.include_usage).unwrap_or(false);
        Ok(Common { sampling, bias: bias(fields)?, stops: stops(fields)?, n, stream, usage })
    }

    /// What ends an answer, for a thread that has the tokenizer: the model's own ends, and control tokens whose spellings are stop texts.
    pub(crate) fn ends(&self, facts: &Facts) -> impl FnOnce(&Tokenizer) -> Vec<u32> + Send + 'static {
        let (mut ends, stops) = (facts.ends.clone(), self.stops.clone());
        move |tokenizer| {
            let ids = stops.iter().filter_map(|stop| tokenizer.id_of(stop));
            ends.extend(ids.filter(|id| tokenizer.is_control(*id)));
            ends
        }
    }

    /// The request for the choice with this number after a prompt; each has a seed of its own.
    pub(crate) fn request(&self, prompt: Vec<u32>, choice: usize, ends: &[u32]) -> Request {
        let seed = self.sampling.seed.wrapping_add(choice as u64);
        Request {
            prompt,
            sampling: Sampling { seed, ..self.sampling },
            bias: self.bias.clone(),
            ends: ends.to_vec(),
            stops: self.stops.clone(),
            ..Request::default()
        }
    }
}

fn bias(fields: &Fields) -> Result<Vec<(u32, f32)>, Error> {
    let given: BTreeMap<String, f32> = fields.get("logit_bias")?.unwrap_or_default();
    let each = |(token, bias): (String, f32)| {
        let id = token.parse().map_err(|_| Error::param("logit_bias", format!("{token:?} is no id of a token")))?;
        if !(-100.0..=100.0).contains(&bias) {
            return Err(Error::param("logit_bias", format!("{bias} of token {id} is not within -100 to 100")));
        }
        Ok((id, bias))
    };
    given.into_iter().map(each).collect()
}

fn stops(fields: &Fields) -> Result<Vec<String>, Error> {
    let stops: Vec<String> = match fields.raw("stop").map(|text| (Shape::of(text), text)) {
        None => Vec::new(),
        Some((Shape::Text, text)) => vec![parse("stop", text)?],
        Some((_, text)) => parse("stop", text)?,
    };
    if stops.len() > STOPS {
        return Err(Error::param("stop", format!("{} texts are too many; give at most {STOPS}", stops.len())));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Error::param("stop", "a text is empty; leave it out"));
    }
    Ok(stops)
}
