//! What chat completions and completions have in common: how tokens are chosen, and when an answer ends.

use super::fields::{Fields, Shape, parse};
use super::{Error, State};
use crate::engine::Request;
use crate::models::Served;
use serde::Deserialize;
use smidgen::Sampling;
use smidgen::tokenizer::{Special, Tokenizer};
use std::collections::BTreeMap;

/// Choices for each prompt, at most.
const CHOICES: usize = 128;
/// Texts that end an answer, at most.
const STOPS: usize = 4;

/// Parameters of other servers that change the answer and are not supported, and the number with which each does nothing.
const OTHERS: &[(&str, f64)] = &[
    ("mirostat", 0.0),
    ("typical_p", 1.0),
    ("tfs_z", 1.0),
    ("top_a", 0.0),
    ("dynatemp_range", 0.0),
    ("xtc_probability", 0.0),
    ("dry_multiplier", 0.0),
    ("length_penalty", 1.0),
    ("min_tokens", 0.0),
];

/// Refuses what would change the answer and is not supported, each by its name.
fn refuse(fields: &Fields) -> Result<(), Error> {
    for (name, neutral) in OTHERS {
        if fields.get::<f64>(name)?.is_some_and(|value| value != *neutral) {
            return Err(Error::param(name, format!("only {neutral} is supported")).code("unsupported_value"));
        }
    }
    fields.only("use_beam_search", &["false"], "beam search is not supported by this server")?;
    let shaped = "answers of a given form are not supported by this server; leave this out";
    for name in ["json_schema", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"]
    {
        fields.only(name, &["{}"], shaped)?;
    }
    fields.only("response_format", &["{\"type\":\"text\"}"], "only {\"type\": \"text\"} is supported")?;
    fields.only("grammar", &["\"\""], "grammars are not supported by this server")
}

/// Parameters of both interfaces.
pub(crate) struct Common {
    pub(crate) sampling: Sampling,
    pub(crate) bias: Vec<(u32, f32)>,
    /// Texts that end an answer: those of the request, and after so many those of the model's registry.
    pub(crate) stops: Vec<String>,
    pub(crate) given: usize,
    /// Whether the model's own ends end no answer.
    endless: bool,
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
    pub(crate) fn of(fields: &Fields, state: &State, served: &Served) -> Result<Common, Error> {
        refuse(fields)?;
        let defaults = &served.defaults;
        let seed = match fields.get::<i64>("seed")? {
            Some(seed) => seed.cast_unsigned(),
            None => defaults.seed.unwrap_or_else(|| state.random()),
        };
        let own = &defaults.sampling;
        let top_k = fields.within("top_k", -1..=i64::from(i32::MAX))?;
        let top_k = top_k.map(|tokens| usize::try_from(tokens).unwrap_or(0));
        let penalty = match fields.within("repetition_penalty", f32::MIN_POSITIVE..=10.0)? {
            Some(penalty) => penalty,
            None => fields.within("repeat_penalty", f32::MIN_POSITIVE..=10.0)?.unwrap_or(own.repetition_penalty),
        };
        let sampling = Sampling {
            temperature: fields.within("temperature", 0.0..=2.0)?.unwrap_or(own.temperature),
            top_k: top_k.unwrap_or(own.top_k),
            // The likeliest token is always kept.
            top_p: fields.within("top_p", 0.0..=1.0)?.unwrap_or(own.top_p).max(f32::MIN_POSITIVE),
            min_p: fields.within("min_p", 0.0..=1.0)?.unwrap_or(own.min_p),
            repetition_penalty: penalty,
            frequency_penalty: fields.within("frequency_penalty", -2.0..=2.0)?.unwrap_or(own.frequency_penalty),
            presence_penalty: fields.within("presence_penalty", -2.0..=2.0)?.unwrap_or(own.presence_penalty),
            seed,
            window: match fields.within("repeat_last_n", -1..=i64::from(i32::MAX))? {
                None => own.window,
                // -1 is the whole text.
                Some(tokens) => usize::try_from(tokens).unwrap_or(usize::MAX),
            },
        };
        let n = fields.within("n", 1..=CHOICES)?.unwrap_or(1);
        let stream = fields.get("stream")?.unwrap_or(false);
        let options: Option<StreamOptions> = fields.get("stream_options")?;
        if options.is_some() && !stream {
            return Err(Error::param("stream_options", "this is only for 'stream': true"));
        }
        let usage = options.and_then(|options| options.include_usage).unwrap_or(false);
        let mut stops = stops(fields)?;
        let given = stops.len();
        stops.extend(defaults.stops.iter().cloned());
        let endless = fields.get("ignore_eos")?.unwrap_or(false);
        Ok(Common { sampling, bias: bias(fields)?, stops, given, endless, n, stream, usage })
    }

    /// Tokens that end an answer: the model's own, and those of stop texts.
    pub(crate) fn ends(&self, own: &[u32], stops: Vec<u32>) -> Vec<u32> {
        if self.endless { stops } else { [own, &stops].concat() }
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

/// The control tokens whose spellings are stop texts: these are no part of a text, so that they end it as tokens.
///
/// # Errors
/// One of the first so many texts has such a spelling and more, and would end nothing.
pub(crate) fn control_stops(tokenizer: &Tokenizer, stops: &[String], given: usize) -> Result<Vec<u32>, Error> {
    let mut ends = Vec::new();
    for (number, stop) in stops.iter().enumerate() {
        let control = tokenizer.encode(stop, Special::Parse).into_iter().filter(|id| tokenizer.is_control(*id));
        for id in control {
            if tokenizer.token_text(id) == Some(stop) {
                ends.push(id);
            } else if number < given {
                let why = format!("the text {stop:?} has a control token and more, so it would end no answer");
                return Err(Error::param("stop", why));
            }
        }
    }
    Ok(ends)
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
