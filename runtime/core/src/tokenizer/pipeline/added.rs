//! Added tokens: those that are found in a text before the model spells the rest.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::super::vocab::{Kind, Vocab};
use super::class::is_letter_of_word;

/// How added tokens are found: for each flag the ids of the tokens that have it, ascending.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) lstrip: Vec<u32>,
    pub(super) rstrip: Vec<u32>,
    pub(super) single_word: Vec<u32>,
}

/// The tokens that are looked for at the same time.
pub(super) struct Finder<'a> {
    /// Sorted by text.
    entries: Vec<(Cow<'a, str>, u32)>,
    /// Whether one begins with this byte.
    first: [bool; 256],
}

/// A part of a text: its start and end, and the token that it is.
pub(super) type Part = (usize, usize, Option<u32>);

impl<'a> Finder<'a> {
    pub(super) fn new(mut entries: Vec<(Cow<'a, str>, u32)>) -> Finder<'a> {
        entries.retain(|(text, _)| !text.is_empty());
        entries.sort_unstable();
        let mut first = [false; 256];
        for byte in entries.iter().filter_map(|(text, _)| text.as_bytes().first()) {
            first[usize::from(*byte)] = true;
        }
        Finder { entries, first }
    }

    /// The parts of a text, in order. Control tokens count only with `control`.
    pub(super) fn parts(&self, text: &str, vocab: &Vocab<'_>, flags: &Flags, control: bool) -> Vec<Part> {
        let has = |ids: &[u32], id: u32| ids.binary_search(&id).is_ok();
        let mut parts = Vec::new();
        let (mut from, mut done) = (0, 0);
        while let Some((at, length, id)) = self.find(text, from, vocab, control) {
            let (mut start, mut end) = (at, at + length);
            from = end;
            let (before, after) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
            if has(&flags.single_word, id)
                && (before.chars().next_back().is_some_and(is_word) || after.chars().next().is_some_and(is_word))
            {
                continue;
            }
            if has(&flags.lstrip, id) {
                start = before.trim_end().len().max(done);
            }
            if has(&flags.rstrip, id) {
                end += after.len() - after.trim_start().len();
            }
            if done < start {
                parts.push((done, start, None));
            }
            parts.push((start, end, Some(id)));
            done = end;
        }
        if done < text.len() {
            parts.push((done, text.len(), None));
        }
        parts
    }

    /// The leftmost token from byte `from` on, the longest of those that begin there.
    fn find(&self, text: &str, from: usize, vocab: &Vocab<'_>, control: bool) -> Option<(usize, usize, u32)> {
        let bytes = text.as_bytes();
        let begins = |&(_, byte): &(usize, &u8)| self.first[usize::from(*byte)];
        let starts = bytes.iter().enumerate().skip(from).filter(begins);
        starts.map(|(at, _)| at).find_map(|at| {
            let (length, id) = self.longest(bytes.get(at..)?, vocab, control)?;
            Some((at, length, id))
        })
    }

    fn longest(&self, bytes: &[u8], vocab: &Vocab<'_>, control: bool) -> Option<(usize, u32)> {
        let mut candidates = self.entries.as_slice();
        let mut best = None;
        for (depth, byte) in bytes.iter().enumerate() {
            // Candidates agree with the text so far; those that end sooner sort first.
            let at = |(text, _): &(Cow<'_, str>, u32)| text.as_bytes().get(depth).copied();
            let from = candidates.partition_point(|entry| at(entry) < Some(*byte));
            let to = candidates.partition_point(|entry| at(entry) <= Some(*byte));
            candidates = candidates.get(from..to).unwrap_or_default();
            let Some((text, _)) = candidates.first() else { break };
            if text.len() == depth + 1 {
                let whole = candidates.iter().take_while(|(text, _)| text.len() == depth + 1);
                let wanted = whole.map(|(_, id)| *id).find(|id| control || vocab.kind(*id) != Some(Kind::Control));
                best = wanted.map(|id| (depth + 1, id)).or(best);
            }
        }
        best
    }
}

/// `\w` as Rust's expressions have it.
fn is_word(c: char) -> bool {
    is_letter_of_word(c) || matches!(c, '\u{200C}' | '\u{200D}')
}
