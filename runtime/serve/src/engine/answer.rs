//! From the tokens of an answer to its text: whole characters, up to a stop text.

use super::{Event, Scored};
use smidgen::tokenizer::Decoder;
use std::collections::VecDeque;

/// The text of an answer as it comes.
pub(super) struct Answer<'t, 'a> {
    decoder: Decoder<'t, 'a>,
    stops: Vec<String>,
    /// Bytes of the text that have been given out.
    given: usize,
    /// The text after those: what may become a stop text.
    held: String,
    /// Tokens that have not been given out: where the text of each begins in the answer, and what is known of it.
    tokens: VecDeque<(usize, Option<Scored>)>,
    /// Spellings of control tokens that have not been given out.
    controls: Vec<String>,
}

impl<'t, 'a> Answer<'t, 'a> {
    pub(super) fn new(decoder: Decoder<'t, 'a>, mut stops: Vec<String>) -> Answer<'t, 'a> {
        stops.retain(|stop| !stop.is_empty());
        Answer { decoder, stops, given: 0, held: String::new(), tokens: VecDeque::new(), controls: Vec::new() }
    }

    /// Takes the next token, with its spelling if it is a control token that is written in the text. Returns what is certain of the text by now, if it is something, and whether a stop text is complete, which the text then
    /// ends before.
    pub(super) fn push(&mut self, token: u32, scored: Option<Scored>, control: Option<&str>) -> (Option<Event>, bool) {
        self.controls.extend(control.map(str::to_owned));
        self.tokens.push_back((self.given + self.held.len(), scored));
        self.held.push_str(self.decoder.push(token));
        self.certain()
    }

    /// Ends the answer: what is left of it, if it is something, and whether a stop text is complete after all.
    pub(super) fn finish(&mut self) -> (Option<Event>, bool) {
        self.held.push_str(self.decoder.finish());
        let (piece, stopped) = self.certain();
        if stopped {
            return (piece, true);
        }
        let rest = self.give(self.held.len(), true);
        (join(piece, rest), false)
    }

    fn certain(&mut self) -> (Option<Event>, bool) {
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            return (self.give(at, false), true);
        }
        let may_begin = |at: &usize| {
            let rest = self.held.get(*at..).unwrap_or_default();
            self.stops.iter().any(|stop| stop.starts_with(rest))
        };
        let certain = self.held.char_indices().map(|(at, _)| at).find(may_begin).unwrap_or(self.held.len());
        (self.give(certain, false), false)
    }

    /// Gives out the first bytes that are held, and the tokens whose text begins in them, or all of them.
    fn give(&mut self, bytes: usize, all: bool) -> Option<Event> {
        if bytes == 0 && (!all || self.tokens.is_empty()) {
            return None;
        }
        let text: String = self.held.drain(..bytes).collect();
        self.given += bytes;
        let tokens = self.tokens.iter().take_while(|(start, _)| all || *start < self.given).count();
        let scored = self.tokens.drain(..tokens).filter_map(|(_, scored)| scored).collect();
        Some(Event::Piece { text, controls: std::mem::take(&mut self.controls), scored, tokens })
    }
}

/// Two pieces as one.
fn join(first: Option<Event>, second: Option<Event>) -> Option<Event> {
    match (first, second) {
        (
            Some(Event::Piece { mut text, mut controls, mut scored, tokens }),
            Some(Event::Piece { text: more, controls: later, scored: others, tokens: further }),
        ) => {
            text.push_str(&more);
            controls.extend(later);
            scored.extend(others);
            Some(Event::Piece { text, controls, scored, tokens: tokens + further })
        }
        (first, second) => first.or(second),
    }
}
