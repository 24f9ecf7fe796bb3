//! Cutting a text into pieces before merging, by the steps that a pre-tokenizer of [`pre`](super::pre) names.

use alloc::vec::Vec;

use super::pattern::{Pattern, char_at, is_digit};
use super::pre::{Cut, Grouping};
use super::unicode::Category::{Letter, Mark, Number, Space};
use super::unicode::category;

/// One step, ready to be used.
enum Step {
    Isolate(Pattern),
    Gpt2,
    Words(usize),
    FinalSpaces,
    Blanks,
    Thousands(Grouping),
}

impl Step {
    /// The length of the first piece of a text that is not empty: at least 1, at most all, at a character boundary.
    fn first(&self, text: &str) -> usize {
        match self {
            Step::Isolate(pattern) => pattern.isolate(text),
            Step::Gpt2 => gpt2(text),
            Step::Words(digits) => words(text, *digits),
            Step::FinalSpaces => final_spaces(text),
            // These cut a text at once, so that the time does not grow with the square of a run's length.
            Step::Blanks | Step::Thousands(_) => text.len(),
        }
    }
}

/// How a vocabulary cuts text.
pub(super) struct Splitter(Vec<Step>);

impl Splitter {
    /// Nothing if an expression is not one that [`Pattern`] knows.
    pub(super) fn new(cuts: &[Cut]) -> Option<Splitter> {
        let step = |cut: &Cut| {
            Some(match *cut {
                Cut::Isolate(expression) => Step::Isolate(Pattern::compile(expression)?),
                Cut::Gpt2 => Step::Gpt2,
                Cut::Words { digits } => Step::Words(digits),
                Cut::FinalSpaces => Step::FinalSpaces,
                Cut::Blanks => Step::Blanks,
                Cut::Thousands(grouping) => Step::Thousands(grouping),
            })
        };
        cuts.iter().map(step).collect::<Option<_>>().map(Splitter)
    }

    /// Calls `each` with every piece of `text`, in order. Together they are the text.
    pub(super) fn split(&self, text: &str, each: &mut dyn FnMut(&str)) {
        split(&self.0, text, each);
    }
}

fn split(steps: &[Step], mut text: &str, each: &mut dyn FnMut(&str)) {
    let Some((step, later)) = steps.split_first() else { return each(text) };
    let mut cut = |piece: &str| split(later, piece, each);
    match step {
        Step::Blanks => return blanks(text, &mut cut),
        Step::Thousands(grouping) => return thousands(text, *grouping, &mut cut),
        _ => {}
    }
    while !text.is_empty() {
        let (piece, rest) = text.split_at_checked(step.first(text).max(1)).unwrap_or((text, ""));
        cut(piece);
        text = rest;
    }
}

/// The end of the run of characters that satisfy `is`, from byte `at` on.
fn run(text: &str, mut at: usize, is: impl Fn(char) -> bool) -> usize {
    while let Some(c) = char_at(text, at).filter(|&c| is(c)) {
        at += c.len_utf8();
    }
    at
}

fn is_letter(c: char) -> bool {
    category(c) == Letter
}

fn is_number(c: char) -> bool {
    category(c) == Number
}

fn is_space(c: char) -> bool {
    category(c) == Space
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// `[^\s\p{L}\p{N}]`
fn is_rest(c: char) -> bool {
    !matches!(category(c), Letter | Number | Space)
}

/// `\w`
fn is_word(c: char) -> bool {
    // The last are the punctuation that connects words, `\p{Pc}`.
    matches!(category(c), Letter | Mark)
        || is_digit(c)
        || matches!(
            c,
            '_' | '\u{203F}' | '\u{2040}' | '\u{2054}' | '\u{FE33}' | '\u{FE34}' | '\u{FE4D}'..='\u{FE4F}' | '\u{FF3F}'
        )
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, of any case if `any_case`; 0 if there is none.
fn contraction(text: &str, any_case: bool) -> usize {
    let lower = |c: u8| if any_case { c.to_ascii_lowercase() } else { c };
    let [b'\'', rest @ ..] = text.as_bytes() else { return 0 };
    match *rest {
        [a, ..] if matches!(lower(a), b's' | b't' | b'm' | b'd') => 2,
        [a, b, ..] if matches!([lower(a), lower(b)], [b'r' | b'v', b'e'] | [b'l', b'l']) => 3,
        _ => 0,
    }
}

/// `\s+(?!\S)|\s+`: a run of spaces, without its last if a word follows.
fn spaces(text: &str) -> usize {
    let end = run(text, 0, is_space);
    let last = text.get(..end).and_then(|run| run.chars().next_back()).map_or(0, char::len_utf8);
    match end - last {
        before if before > 0 && end < text.len() => before,
        _ => end,
    }
}

/// The length of the first match of [`GPT2`](super::pre::GPT2).
fn gpt2(text: &str) -> usize {
    let short = contraction(text, false);
    if short > 0 {
        return short;
    }
    let from = usize::from(text.starts_with(' '));
    for is in [is_letter, is_number, is_rest] {
        let end = run(text, from, is);
        if end > from {
            return end;
        }
    }
    spaces(text)
}

/// The length of the first match of [`LLAMA3`](super::pre::LLAMA3), with at most `digits` characters of a number.
fn words(text: &str, digits: usize) -> usize {
    let short = contraction(text, true);
    if short > 0 {
        return short;
    }
    let Some(first) = char_at(text, 0) else { return 0 };
    let from = if is_newline(first) || is_letter(first) || is_number(first) { 0 } else { first.len_utf8() };
    let end = run(text, from, is_letter);
    if end > from {
        return end;
    }
    if is_number(first) {
        return text.chars().take(digits).take_while(|&c| is_number(c)).map(char::len_utf8).sum();
    }
    let from = usize::from(first == ' ');
    let end = run(text, from, is_rest);
    if end > from {
        return run(text, end, is_newline);
    }
    let blank = text.get(..run(text, 0, is_space)).unwrap_or_default();
    match blank.rfind(is_newline) {
        Some(at) => at + 1,
        None => spaces(text),
    }
}

/// `\s+$`
fn final_spaces(text: &str) -> usize {
    match text.trim_end_matches(is_space).len() {
        0 => text.len(),
        body => body,
    }
}

/// Cuts a text of nothing but spaces, none of which ends a line.
#[cold]
fn blanks(text: &str, each: &mut dyn FnMut(&str)) {
    if !text.chars().all(|c| is_space(c) && !is_newline(c)) {
        return each(text);
    }
    let mut rest = text;
    let mut left = text.chars().count();
    while left > 0 {
        let count = if left < 4 { left.min(2) } else { 1 << left.ilog2().min(9) };
        let length = rest.chars().take(count).map(char::len_utf8).sum();
        let (piece, later) = rest.split_at_checked(length).unwrap_or((rest, ""));
        each(piece);
        rest = later;
        left -= count;
    }
}

/// Cuts digits into threes.
#[cold]
fn thousands(text: &str, grouping: Grouping, each: &mut dyn FnMut(&str)) {
    let mut from = 0;
    let mut cut = |to: usize| {
        if let Some(piece) = text.get(from..to).filter(|piece| !piece.is_empty()) {
            each(piece);
            from = to;
        }
    };
    let mut at = 0;
    while at < text.len() {
        let start = run(text, at, |c| !is_digit(c));
        let end = run(text, start, is_digit);
        at = end;
        if grouping == Grouping::Words && char_at(text, end).is_some_and(is_word) {
            continue;
        }
        if grouping != Grouping::Between {
            cut(start);
        }
        let number = text.get(start..end).unwrap_or_default();
        let mut left = number.chars().count();
        for (offset, _) in number.char_indices() {
            if left % 3 == 0 {
                cut(start + offset);
            }
            left -= 1;
        }
        if grouping != Grouping::Between {
            cut(end);
        }
    }
    cut(text.len());
}
