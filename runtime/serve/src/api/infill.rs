//! `/infill`: a gap in a text is filled, in the form that llama.cpp's server has for editors. Texts with a gap for `/v1/completions` too.

use super::fields::Fields;
use super::generation::{Generation, Step};
use super::sampling::{Common, control_stops};
use super::{Arrival, Error, State};
use crate::engine::{Infill, Reason, Request};
use crate::http::{Answer, Body, Pieces, answer, json};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use smidgen::Sampling;
use smidgen::tokenizer::{Special, Tokenizer};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Another file, of which the model is to know.
#[derive(Deserialize)]
pub(super) struct Extra {
    #[serde(default)]
    filename: Option<String>,
    text: String,
}

/// Why a model that was not made for it is refused.
pub(super) const CANNOT: &str = "this model was not made to fill in the middle of a text";

/// The tokens of a text with a gap, the text before it first; other files come before that where there are some, each after its name, as models of code
/// are taught repositories (Qwen 2.5 Coder, arXiv:2409.12186, section 3.2). What users write cannot spell the marks.
pub(super) fn tokens(tokenizer: &Tokenizer, marks: &Infill, [prefix, suffix]: [&str; 2], extra: &[Extra]) -> Vec<u32> {
    let begin = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let text = |text: &str| tokenizer.encode(text, Special::Text);
    let mut tokens: Vec<u32> = begin.into_iter().collect();
    if !extra.is_empty() {
        if let Some(repository) = marks.repository {
            tokens.push(repository);
            tokens.extend(text("project\n"));
        }
        for file in extra {
            let name = file.filename.as_deref().unwrap_or("file");
            match marks.file {
                Some(mark) => {
                    tokens.push(mark);
                    tokens.extend(text(&format!("{name}\n{}", file.text)));
                }
                None => tokens.extend(text(&format!("{}\n\n", file.text))),
            }
        }
        if let Some(mark) = marks.file {
            tokens.push(mark);
            tokens.extend(text("file\n"));
        }
    }
    tokens.push(marks.prefix);
    tokens.extend(text(prefix));
    tokens.push(marks.suffix);
    tokens.extend(text(suffix));
    tokens.push(marks.middle);
    tokens
}

/// Fills a gap.
pub(crate) async fn complete(state: &State, body: &[u8], arrival: &Arrival) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let mut common = Common::of(&fields, state, &served)?;
    if common.n != 1 {
        return Err(Error::param("n", "a gap is filled once; ask several times"));
    }
    fields.only("n_probs", &["0"], "log-probabilities are not given here; use /v1/completions")?;
    if let Some(names) = fields.get::<Vec<String>>("samplers")? {
        only(&mut common.sampling, &names)?;
    }
    let mut prefix = fields.get::<String>("input_prefix")?.unwrap_or_default();
    // The line up to the gap, where it is told apart from those before it.
    prefix.push_str(&fields.get::<String>("prompt")?.unwrap_or_default());
    let suffix = fields.get::<String>("input_suffix")?.unwrap_or_default();
    let extra = fields.get::<Vec<Extra>>("input_extra")?.unwrap_or_default();
    let most = match fields.within("n_predict", -1..=i64::MAX)? {
        None => fields.get::<usize>("max_tokens")?,
        // -1 is what fits.
        Some(most) => usize::try_from(most).ok(),
    };
    let least = fields.get::<usize>("n_indent")?.unwrap_or(0);
    let limit = fields.get::<u32>("t_max_predict_ms")?.filter(|limit| *limit > 0);
    let told = fields.get::<Vec<String>>("response_fields")?;
    drop(fields);
    let facts = served.writer()?;
    let Some(marks) = facts.infill.clone() else { return Err(Error::bad(CANNOT)) };
    let files = extra.iter().map(|file| file.text.len() + file.filename.as_ref().map_or(0, String::len));
    let bytes = files.sum::<usize>() + prefix.len() + suffix.len();
    served.fits("input_prefix", bytes)?;
    let (stops, given) = (common.stops.clone(), common.given);
    let framing = marks.clone();
    let job = served.engine.texts(bytes, move |texts| {
        let stops = control_stops(texts.tokenizer, &stops, given)?;
        Ok::<_, Error>((tokens(texts.tokenizer, &framing, [&prefix, &suffix], &extra), stops))
    });
    let (prompt, stops) = job.await??;
    let mut ends = common.ends(&facts.ends, stops);
    ends.extend(marks.ends());
    let request = Request { most, ..common.request(prompt, 0, &ends) };
    let events = served.engine.submit(request)?;
    let mut filling = Filling {
        generation: Generation::new(vec![events], 1, None, arrival, &state.metrics, &served),
        lines: Lines { least, indent: None, several: false },
        limit: limit.map(|milliseconds| Duration::from_millis(milliseconds.into())),
        asked: arrival.at,
        began: arrival.at,
        model: served.id.clone(),
        told,
        over: false,
    };
    if common.stream {
        // Nothing is answered before the prompt is read, so that what fails has its status.
        let first = poll_fn(|context| filling.poll(context)).await.transpose()?;
        let stream = Stream { filling, first };
        return Ok(answer(StatusCode::OK, "text/event-stream; charset=utf-8", Body::Pieces(Box::new(stream))));
    }
    let mut content = String::new();
    while let Some(part) = poll_fn(|context| filling.poll(context)).await {
        let part = part?;
        content.push_str(&part.text);
        if let Some(why) = part.end {
            return Ok(json(StatusCode::OK, &filling.object(content, Some(why))));
        }
    }
    Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended"))
}

/// Leaves only the samplers of these names at work; their order is always the same. Those that this server does not have do nothing in llama.cpp's
/// either as long as their parameters do nothing, but `infill`, which editors ask for and which chooses among tokens that are alike.
fn only(sampling: &mut Sampling, names: &[String]) -> Result<(), Error> {
    const OTHERS: [&str; 6] = ["dry", "top_n_sigma", "typ_p", "typical_p", "xtc", "infill"];
    let neutral = Sampling { temperature: 1.0, ..Sampling::default() };
    let mut kept = neutral;
    for name in names {
        match name.as_str() {
            "temperature" => kept.temperature = sampling.temperature,
            "top_k" => kept.top_k = sampling.top_k,
            "top_p" => kept.top_p = sampling.top_p,
            "min_p" => kept.min_p = sampling.min_p,
            "penalties" => {
                kept.repetition_penalty = sampling.repetition_penalty;
                kept.frequency_penalty = sampling.frequency_penalty;
                kept.presence_penalty = sampling.presence_penalty;
            }
            other if OTHERS.contains(&other) => {}
            other => return Err(Error::param("samplers", format!("{other:?} is unknown"))),
        }
    }
    *sampling = Sampling { window: sampling.window, seed: sampling.seed, ..kept };
    Ok(())
}

/// A gap as it is filled.
struct Filling {
    generation: Generation,
    lines: Lines,
    /// The time after which the answer ends, if it has more than a line by then.
    limit: Option<Duration>,
    asked: Instant,
    /// When the prompt had been read.
    began: Instant,
    model: String,
    /// The fields that are told; all without it.
    told: Option<Vec<String>>,
    over: bool,
}

/// A part of the text, and at its end why it ends.
struct Part {
    text: String,
    end: Option<&'static str>,
}

impl Filling {
    fn poll(&mut self, context: &mut Context) -> Poll<Option<Result<Part, Error>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let step = match ready!(self.generation.poll(context)) {
                Some(Ok((_, step))) => step,
                other => {
                    self.over = true;
                    return Poll::Ready(other.and_then(Result::err).map(Err));
                }
            };
            let (mut delta, mut end) = match step {
                Step::Began(_) => {
                    self.began = Instant::now();
                    continue;
                }
                Step::More(delta) => (delta, None),
                Step::Ended(delta, Reason::Stop) => (delta, Some("eos")),
                Step::Ended(delta, Reason::Length) => (delta, Some("limit")),
            };
            if let Some(cut) = self.lines.end(&delta.content) {
                delta.content.truncate(cut);
                end = Some("limit");
            }
            let late = self.limit.is_some_and(|limit| self.began.elapsed() > limit);
            if late && self.lines.several {
                end = end.or(Some("limit"));
            }
            if end.is_some() {
                self.over = true;
                self.generation.end();
            }
            return Poll::Ready(Some(Ok(Part { text: delta.content, end })));
        }
    }

    /// The answer, or an event of it.
    fn object(&self, content: String, end: Option<&str>) -> Value {
        let mut object = Map::new();
        object.insert("content".into(), content.into());
        object.insert("stop".into(), end.is_some().into());
        let Some(why) = end else { return object.into() };
        let (prompt, cached, generated) = self.generation.counts();
        let reading = (self.began - self.asked).as_secs_f64() * 1e3;
        let writing = self.began.elapsed().as_secs_f64() * 1e3;
        let mut timings = Map::new();
        for (name, tokens, milliseconds) in [("prompt", prompt - cached, reading), ("predicted", generated, writing)] {
            let each = milliseconds / tokens.max(1) as f64;
            let all: [(&str, Value); 4] = [
                ("n", tokens.into()),
                ("ms", milliseconds.into()),
                ("per_token_ms", each.into()),
                ("per_second", if each > 0.0 { 1e3 / each } else { 0.0 }.into()),
            ];
            timings.extend(all.into_iter().map(|(of, value)| (format!("{name}_{of}"), value)));
        }
        let rest = json!({
            "model": self.model, "stop_type": why, "truncated": false, "tokens_evaluated": prompt, "tokens_cached": cached,
            "tokens_predicted": generated, "timings": timings,
        });
        if let Value::Object(rest) = rest {
            object.extend(rest);
        }
        match &self.told {
            Some(names) => chosen(&object.into(), names),
            None => object.into(),
        }
    }
}

/// The fields of an object with these names; a name with slashes is that of a field within others. What is not there is left out.
fn chosen(object: &Value, names: &[String]) -> Value {
    let found = |name: &String| Some((name.clone(), object.pointer(&format!("/{name}"))?.clone()));
    Value::Object(names.iter().filter_map(found).collect())
}

/// The lines of a text, which ends before one that is indented by less than the first line was.
struct Lines {
    /// The least indentation in characters.
    least: usize,
    /// That of a line whose first word has not come.
    indent: Option<usize>,
    /// Whether there is more than a line.
    several: bool,
}

impl Lines {
    /// Where the text ends within its next part, in bytes, if it does.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (at, character) in text.char_indices() {
            match (character, self.indent) {
                ('\n', _) => (self.indent, self.several) = (Some(0), true),
                (' ' | '\t', Some(indent)) => self.indent = Some(indent + 1),
                (_, Some(indent)) if indent < self.least => return Some(at),
                _ => self.indent = None,
            }
        }
        None
    }
}

/// A filling as events of a stream.
struct Stream {
    filling: Filling,
    first: Option<Part>,
}

impl Pieces for Stream {
    fn poll_piece(&mut self, context: &mut Context) -> Poll<Option<Bytes>> {
        let part = match self.first.take() {
            Some(part) => Some(Ok(part)),
            None => ready!(self.filling.poll(context)),
        };
        let value = match part {
            Some(Ok(Part { text, end })) => self.filling.object(text, end),
            // The status is gone, so the error is an event.
            Some(Err(error)) => error.value(),
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(format!("data: {value}\n\n").into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_before_a_line_of_less_indentation() {
        let end = |least: usize, parts: &[&str]| {
            let mut lines = Lines { least, indent: None, several: false };
            parts.iter().position(|part| lines.end(part).is_some()).map(|part| (part, lines.several))
        };
        assert_eq!(end(2, &["a\n  b\n\n", "  c\n \t", "d"]), None);
        assert_eq!(end(2, &["a", "\n", " ", "b"]), Some((3, true)));
        assert_eq!(end(0, &["    a\nb"]), None);
        let mut lines = Lines { least: 4, indent: None, several: false };
        assert_eq!(lines.end("x = 1\n    y\n  z\n"), Some(14));
    }

    #[test]
    fn fields_are_told_by_their_names() {
        let object = json!({"content": "x", "timings": {"prompt_n": 5}, "stop": true});
        let names = ["content", "timings/prompt_n", "nothing"].map(str::to_owned);
        assert_eq!(chosen(&object, &names), json!({"content": "x", "timings/prompt_n": 5}));
    }

    #[test]
    fn samplers_that_are_not_named_do_nothing() {
        let all = Sampling { temperature: 0.5, top_k: 3, top_p: 0.5, min_p: 0.1, seed: 7, ..Sampling::default() };
        let mut kept = all;
        only(&mut kept, &["top_k", "infill"].map(str::to_owned)).unwrap();
        assert_eq!(kept, Sampling { temperature: 1.0, top_k: 3, seed: 7, ..Sampling::default() });
        let error = only(&mut kept, &["beam".to_owned()]).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("samplers"));
    }
}
