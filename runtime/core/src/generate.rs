//! The loop from a prompt to a text.

use crate::memory::try_with_capacity;
use crate::tokenizer::Decoder;
use crate::{RunError, Sampler, Session};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use smidgen_targets::Pool;

/// The request of a generation.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// Tokens that are appended to the session's sequence 0 first; at least one.
    pub prompt: &'r [u32],
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the generation, and are not part of it. Empty ones are ignored.
    pub stops: &'r [&'r str],
    /// Tokens that end the generation, and are not part of its text.
    pub is_end: &'r dyn Fn(u32) -> bool,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By an end token.
    End,
    /// By one of the stop texts.
    Stop,
    /// All requested tokens are there.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller asked.
    Cancelled,
}

/// The outcome of a generation, beside the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// All tokens, an end token and those of a stop text too.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub finish: Finish,
}

/// Appends a prompt to the session's sequence 0 and generates until an end.
///
/// `each` gets the text as it becomes certain: a text that may be the beginning of a stop text, or part of a character, waits. It is
/// called after every part of the prompt and after every token, with an empty text if there is none, and may break off. Text is
/// certain in the end, so the last call may come after an end token.
///
/// The sampler accepts the prompt's tokens and the generated ones. The sequence holds all of them but the last, unless the
/// caller broke off between parts of the prompt.
///
/// # Errors
/// Those of [`Session::forward`] and [`Sampler::sample`]. A prompt that does not fit the context is [`RunError::ContextFull`], a context
/// that fills up later is not an error.
pub fn generate(
    session: &mut Session,
    sampler: &mut Sampler,
    decoder: &mut Decoder,
    request: &Request,
    pool: &dyn Pool,
    each: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generated, RunError> {
    let mut stops = Stops::new(request.stops);
    let (context, used) = (session.options().context, session.len(0));
    if request.prompt.len() > context - used {
        return Err(RunError::ContextFull { context, used, tokens: request.prompt.len() });
    }
    // The last token is not held.
    let mut tokens = try_with_capacity(request.max_tokens.min(context - used - request.prompt.len() + 1))?;
    sampler.reserve(context - used + 1)?;
    request.prompt.iter().for_each(|token| sampler.accept(*token));
    let batch = session.options().batch;
    let (before, last) = request.prompt.split_at(request.prompt.len().saturating_sub(1) / batch * batch);
    for part in before.chunks(batch) {
        session.append(0, part, pool)?;
        if each("").is_break() {
            return Ok(Generated { tokens, finish: Finish::Cancelled });
        }
    }
    let mut logits = session.forward(0, last, pool)?;
    let finish = loop {
        if tokens.len() >= request.max_tokens {
            break Finish::Length;
        }
        let token = sampler.sample(logits)?;
        tokens.push(token);
        if (request.is_end)(token) {
            break Finish::End;
        }
        sampler.accept(token);
        let stopped = stops.push(decoder.push(token));
        if each(stops.certain()).is_break() {
            return Ok(Generated { tokens, finish: Finish::Cancelled });
        }
        if stopped {
            return Ok(Generated { tokens, finish: Finish::Stop });
        }
        if tokens.len() >= request.max_tokens {
            break Finish::Length;
        }
        if session.len(0) >= context {
            break Finish::ContextFull;
        }
        logits = session.forward(0, &[token], pool)?;
    };
    let finish = if stops.push(decoder.finish()) { Finish::Stop } else { finish };
    stops.flush();
    let text = stops.certain();
    if !text.is_empty() && each(text).is_break() {
        return Ok(Generated { tokens, finish: Finish::Cancelled });
    }
    Ok(Generated { tokens, finish })
}

/// Finds stop texts in a text that comes in pieces.
#[derive(Clone, Debug)]
pub struct Stops<'s> {
    stops: &'s [&'s str],
    /// The text that has been pushed; `text[..certain]` is certain to be handed out.
    text: String,
    certain: usize,
}

impl<'s> Stops<'s> {
    /// Looks for any of the texts. Empty ones are ignored.
    pub fn new(stops: &'s [&'s str]) -> Stops<'s> {
        Stops { stops, text: String::new(), certain: 0 }
    }

    /// Takes the next piece, and says whether a stop text is complete. If so, the text ends before it.
    pub fn push(&mut self, piece: &str) -> bool {
        self.text.drain(..self.certain);
        self.text.push_str(piece);
        let stops = || self.stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| self.text.find(stop)).min() {
            self.text.truncate(at);
            self.certain = at;
            return true;
        }
        let may_begin = |at: usize| stops().any(|stop| stop.starts_with(&self.text[at..]));
        self.certain = self.text.char_indices().map(|(at, _)| at).find(|at| may_begin(*at)).unwrap_or(self.text.len());
        false
    }

    /// Text that no stop text can take back any more, since the last push.
    pub fn certain(&self) -> &str {
        &self.text[..self.certain]
    }

    /// Makes the rest certain: the text is at its end.
    pub fn flush(&mut self) {
        self.certain = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that comes out of pieces, with `|` between the pushes, and whether it was stopped.
    fn cut(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stops = Stops::new(stops);
        let mut out = String::new();
        for piece in pieces {
            let stopped = stops.push(piece);
            out.push_str(stops.certain());
            if stopped {
                return (out, true);
            }
            out.push('|');
        }
        // The rest comes by `flush`, what was handed out before does not come again.
        stops.push("");
        out.push_str(stops.certain());
        stops.flush();
        out.push_str(&stops.text);
        (out, false)
    }

    #[test]
    fn stop_texts_are_found_across_pieces() {
        assert_eq!(cut(&["</s>"], &["one", " two<", "/s", "> three"]), ("one| two||".into(), true));
        assert_eq!(cut(&["</s>"], &["a<", "/b"]), ("a|</b|".into(), false));
        assert_eq!(cut(&["aab"], &["aa", "aab"]), ("|aa".into(), true));
        assert_eq!(cut(&["xyz", "y"], &["ab", "x", "yz"]), ("ab||".into(), true));
        assert_eq!(cut(&["END", ""], &["the EN"]), ("the |EN".into(), false));
        assert_eq!(cut(&[], &["all", "of it"]), ("all|of it|".into(), false));
        assert_eq!(cut(&["\u{e9}t\u{e9}"], &["l'\u{e9}", "t\u{e9}!"]), ("l'|".into(), true));
    }
}
