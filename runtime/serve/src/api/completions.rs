//! `/v1/completions`.

use super::fields::{Fields, Shape, missing, parse};
use super::form::{Form, Kind, Made};
use super::generation::Generation;
use super::infill::{self, CANNOT};
use super::sampling::{Common, control_stops};
use super::{Arrival, Error, State};
use crate::engine::Request;
use crate::http::Answer;
use smidgen::tokenizer::Special;

/// Tokens of an answer, if nothing is said.
const TOKENS: u64 = 16;
/// The most likely tokens of which log-probabilities are given, at most.
const TOP: u64 = 5;

/// Prompts, in all forms that OpenAI has for them.
pub(super) enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    AllIds(Vec<Vec<u32>>),
}

impl Prompts {
    pub(super) fn of(fields: &Fields, name: &str) -> Result<Prompts, Error> {
        let text = fields.raw(name).ok_or_else(|| missing(name))?;
        Ok(match Shape::of(text) {
            Shape::Text => Prompts::Text(parse(name, text)?),
            Shape::Texts => Prompts::Texts(parse(name, text)?),
            Shape::Lists => Prompts::AllIds(parse(name, text)?),
            Shape::List => Prompts::Ids(parse(name, text)?),
            Shape::Other => {
                return Err(Error::param(
                    name,
                    "this is neither a text, nor a list of texts, of ids, or of lists of ids",
                ));
            }
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Prompts::Text(_) | Prompts::Ids(_) => 1,
            Prompts::Texts(texts) => texts.len(),
            Prompts::AllIds(all) => all.len(),
        }
    }
}

/// Continues texts.
pub(crate) async fn complete(state: &State, body: &[u8], arrival: &Arrival) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let suffix = fields.get::<String>("suffix")?.filter(|suffix| !suffix.is_empty());
    let common = Common::of(&fields, state, &served)?;
    let most = fields.get::<u64>("max_tokens")?.unwrap_or(TOKENS);
    let top = fields.within("logprobs", 0..=TOP)?;
    let echo = fields.get("echo")?.unwrap_or(false);
    let best_of = fields.within("best_of", 1..=128)?.unwrap_or(common.n);
    if best_of < common.n {
        return Err(Error::param("best_of", format!("{best_of} is less than 'n', which is {}", common.n)));
    }
    if best_of > common.n && common.stream {
        return Err(Error::param("best_of", "the best cannot be streamed, as it is known at the end only"));
    }
    let prompts: Prompts = Prompts::of(&fields, "prompt")?;
    drop(fields);
    let facts = served.writer()?;
    let count = prompts.len();
    if count == 0 {
        return Err(Error::param("prompt", "there are none; give at least one"));
    }
    served.room(count.saturating_mul(best_of))?;
    let gap = match suffix {
        None => None,
        Some(_) if echo => return Err(Error::param("suffix", "this cannot be together with 'echo'")),
        Some(suffix) => match facts.infill.clone() {
            Some(marks) => Some((suffix, marks)),
            None => return Err(Error::param("suffix", format!("{CANNOT}; leave this out"))),
        },
    };
    let (stops, given) = (common.stops.clone(), common.given);
    let gap_ends: Vec<u32> = gap.iter().flat_map(|(_, marks)| marks.ends()).collect();
    let beside = gap.as_ref().map_or(0, |(suffix, _)| suffix.len());
    let bytes = match &prompts {
        Prompts::Text(text) => text.len() + beside,
        Prompts::Texts(all) => all.iter().map(String::len).max().unwrap_or(0) + beside,
        // Tokens are turned into text only to be echoed.
        Prompts::Ids(_) | Prompts::AllIds(_) => 0,
    };
    served.fits("prompt", bytes)?;
    let job = served.engine.texts(bytes.saturating_mul(count), move |texts| {
        let tokenizer = texts.tokenizer;
        let of_text = |text: String| {
            let tokens = match &gap {
                None => tokenizer.encode_prompt(&text, Special::Parse),
                Some((suffix, marks)) => infill::tokens(tokenizer, marks, [&text, suffix], &[]),
            };
            (tokens, if echo { text } else { String::new() })
        };
        let of_ids = |ids: Vec<u32>| {
            let known = |id: &&u32| (**id as usize) < tokenizer.vocab_len();
            if let Some(id) = ids.iter().find(|id| !known(id)) {
                return Err(Error::param("prompt", format!("{id} is no id of a token")));
            }
            let echoed = if echo { tokenizer.decode(&ids, true) } else { String::new() };
            Ok((ids, echoed))
        };
        let made = match prompts {
            Prompts::Text(text) => vec![of_text(text)],
            Prompts::Texts(all) => all.into_iter().map(of_text).collect(),
            Prompts::Ids(_) | Prompts::AllIds(_) if gap.is_some() => {
                return Err(Error::param("suffix", "this is only for prompts that are texts"));
            }
            Prompts::Ids(ids) => vec![of_ids(ids)?],
            Prompts::AllIds(all) => all.into_iter().map(of_ids).collect::<Result<Vec<_>, Error>>()?,
        };
        Ok((made, control_stops(tokenizer, &stops, given)?))
    });
    let (made, stops) = job.await??;
    let (prompts, echoes): (Vec<Vec<u32>>, Vec<String>) = made.into_iter().unzip();
    let mut ends = common.ends(&facts.ends, stops);
    ends.extend(gap_ends);
    // The best is told by log-probabilities, so they are computed for that too.
    let logprobs = top.or((best_of > common.n).then_some(0)).map(|top| top as usize);
    let request = |choice: usize| Request {
        most: Some(usize::try_from(most).unwrap_or(usize::MAX)),
        logprobs,
        prompt_logprobs: echo && top.is_some(),
        ..common.request(prompts.get(choice / best_of).cloned().unwrap_or_default(), choice % best_of, &ends)
    };
    let all = count * best_of;
    let events = served.engine.submit_all((0..all).map(request).collect())?;
    let generation = Generation::new(events, best_of, None, arrival, &state.metrics, &served);
    let form = Form {
        kind: Kind::Completion,
        id: format!("cmpl-{:016x}", state.random()),
        created: super::now(),
        model: served.id.clone(),
        fingerprint: served.fingerprint(),
        logprobs: top.is_some(),
        echoes,
        each: common.n,
    };
    if common.stream {
        return form.stream(generation, all, common.usage).await;
    }
    let (made, usage) = form.whole(generation, all).await?;
    Ok(form.answer(best(made, best_of, common.n), usage))
}

/// The first so many of each group by the mean of their tokens' log-probabilities; of equals, the earlier.
fn best(made: Vec<Made>, group: usize, keep: usize) -> Vec<Made> {
    if group == keep {
        return made;
    }
    let mut kept = Vec::with_capacity(made.len() / group.max(1) * keep);
    let mut made = made.into_iter().peekable();
    while made.peek().is_some() {
        let mut all: Vec<(f64, Made)> = made.by_ref().take(group).map(|made| (mean(&made), made)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        kept.extend(all.into_iter().take(keep).map(|(_, made)| made));
    }
    kept
}

fn mean(made: &Made) -> f64 {
    let logprobs = made.delta.scored.iter().filter_map(|scored| scored.logprob);
    logprobs.sum::<f64>() / made.delta.scored.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Scored;

    #[test]
    fn the_best_of_each_group_are_kept() {
        let made = |logprobs: &[f64]| {
            let scored = |logprob: &f64| Scored { token: 0, bytes: vec![], logprob: Some(*logprob), top: vec![] };
            let mut made = Made::default();
            made.delta.scored = logprobs.iter().map(scored).collect();
            made
        };
        let all = vec![made(&[-2.0, -4.0]), made(&[-1.0]), made(&[-5.0]), made(&[-7.0]), made(&[-6.0]), made(&[-9.0])];
        let kept: Vec<f64> = best(all, 3, 2).iter().map(mean).collect();
        assert_eq!(kept, [-1.0, -3.0, -6.0, -7.0]);
    }
}
