//! Pre-tokenizers: how a normalized text is cut into the pieces that the model spells, each for itself.

use alloc::string::String;
use alloc::vec::Vec;

use super::super::pre::Cut;
use super::super::split::Splitter;
use super::super::unicode::{Category, category};
use super::class::is_letter_of_word;
use super::normalize::{Normalized, byte_level, replaced};
use super::steps::{Fault, Matcher, Words};

/// One step. Each cuts every piece of the one before.
pub(super) enum PreTokenizer<'a> {
    ByteLevel { add_prefix_space: bool, splitter: Option<Splitter> },
    Split { matcher: Matcher<'a>, behavior: Behavior, invert: bool },
    Digits { individual: bool },
    Punctuation(Behavior),
    Whitespace,
    WhitespaceSplit,
    CharDelimiterSplit(char),
    Bert,
    Metaspace { replacement: char, scheme: Prepend, split: bool },
    FixedLength(usize),
}

/// What becomes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// Before which pieces a space goes that is not their own, unless they begin with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepend {
    Always,
    /// Pieces that begin where the text does.
    First,
    Never,
}

/// A text and where it is cut: start and end of each piece in bytes. Between pieces something may be left out.
pub(super) struct Pieces {
    pub(super) text: String,
    pub(super) cuts: Vec<(usize, usize)>,
    /// Bytes of the text that were made of the first character of all.
    head: usize,
}

/// Start, end, and whether it is a match, of all of a piece in order.
type Matches = Vec<(usize, usize, bool)>;

impl Behavior {
    fn read(words: &mut Words) -> Result<Behavior, Fault> {
        match words.text()? {
            "Removed" => Ok(Behavior::Removed),
            "Isolated" => Ok(Behavior::Isolated),
            "MergedWithPrevious" => Ok(Behavior::MergedWithPrevious),
            "MergedWithNext" => Ok(Behavior::MergedWithNext),
            "Contiguous" => Ok(Behavior::Contiguous),
            _ => Err(Fault::Argument),
        }
    }

    /// Appends the pieces that matches make.
    fn cut(self, matches: &Matches, cuts: &mut Vec<(usize, usize)>) {
        let start = cuts.len();
        let mut was_match = false;
        match self {
            Behavior::Isolated => cuts.extend(matches.iter().map(|&(start, end, _)| (start, end))),
            Behavior::Removed => {
                cuts.extend(matches.iter().filter(|found| !found.2).map(|&(start, end, _)| (start, end)))
            }
            Behavior::Contiguous | Behavior::MergedWithPrevious => {
                for &(from, to, is_match) in matches {
                    let joins =
                        if self == Behavior::Contiguous { is_match == was_match } else { is_match && !was_match };
                    match cuts.get_mut(start..).and_then(<[_]>::last_mut).filter(|_| joins) {
                        Some((_, end)) => *end = to,
                        None => cuts.push((from, to)),
                    }
                    was_match = is_match;
                }
            }
            Behavior::MergedWithNext => {
                for &(from, to, is_match) in matches.iter().rev() {
                    match cuts.get_mut(start..).and_then(<[_]>::last_mut).filter(|_| is_match && !was_match) {
                        Some((start, _)) => *start = from,
                        None => cuts.push((from, to)),
                    }
                    was_match = is_match;
                }
                if let Some(added) = cuts.get_mut(start..) {
                    added.reverse();
                }
            }
        }
    }
}

impl<'a> PreTokenizer<'a> {
    /// Reads one step and its arguments; nothing at the end.
    pub(super) fn read(words: &mut Words<'a>) -> Result<Option<PreTokenizer<'a>>, Fault> {
        let Some(name) = words.next() else { return Ok(None) };
        Ok(Some(match name {
            "ByteLevel" => PreTokenizer::ByteLevel {
                add_prefix_space: words.flag()?,
                splitter: if words.flag()? { Splitter::new(&[Cut::Gpt2]) } else { None },
            },
            "Split" => PreTokenizer::Split {
                matcher: Matcher::read(words)?,
                behavior: Behavior::read(words)?,
                invert: words.flag()?,
            },
            "Digits" => PreTokenizer::Digits { individual: words.flag()? },
            "Punctuation" => PreTokenizer::Punctuation(Behavior::read(words)?),
            "Whitespace" => PreTokenizer::Whitespace,
            "WhitespaceSplit" => PreTokenizer::WhitespaceSplit,
            "CharDelimiterSplit" => PreTokenizer::CharDelimiterSplit(words.char()?),
            "BertPreTokenizer" => PreTokenizer::Bert,
            "Metaspace" => PreTokenizer::Metaspace {
                replacement: words.char()?,
                scheme: match words.text()? {
                    "always" => Prepend::Always,
                    "first" => Prepend::First,
                    "never" => Prepend::Never,
                    _ => return Err(Fault::Argument),
                },
                split: words.flag()?,
            },
            "FixedLength" => PreTokenizer::FixedLength(words.number()?),
            _ => return Err(Fault::Step),
        }))
    }

    pub(super) fn apply(&self, pieces: &mut Pieces) {
        let by = |is: fn(char) -> bool| move |text: &str| characters(text, is);
        match self {
            PreTokenizer::ByteLevel { add_prefix_space, splitter } => {
                if *add_prefix_space {
                    pieces.rewrite(|text, head, out| prefixed(text, head, ' ', out));
                }
                if let Some(splitter) = splitter {
                    pieces.split(Behavior::Isolated, |text| {
                        let mut found = Vec::new();
                        let mut at = 0;
                        splitter.split(text, &mut |piece| {
                            found.push((at, at + piece.len(), true));
                            at += piece.len();
                        });
                        found
                    });
                }
                pieces.rewrite(|text, head, out| append(byte_level(text, head), out));
            }
            PreTokenizer::Split { matcher, behavior, invert } => pieces.split(*behavior, |text| {
                let mut found = Vec::new();
                let mut from = 0;
                matcher.matches(text, &mut |start, end| {
                    if from < start {
                        found.push((from, start, *invert));
                    }
                    found.push((start, end, !*invert));
                    from = end;
                });
                if from < text.len() {
                    found.push((from, text.len(), *invert));
                }
                found
            }),
            PreTokenizer::Digits { individual: true } => pieces.split(Behavior::Isolated, by(is_number)),
            PreTokenizer::Digits { individual: false } => pieces.split(Behavior::Contiguous, by(is_number)),
            PreTokenizer::Punctuation(behavior) => pieces.split(*behavior, by(is_punctuation)),
            PreTokenizer::Whitespace => pieces.split(Behavior::Removed, words),
            PreTokenizer::WhitespaceSplit => pieces.split(Behavior::Removed, by(char::is_whitespace)),
            PreTokenizer::CharDelimiterSplit(delimiter) => {
                pieces.split(Behavior::Removed, |text| characters(text, |c| c == *delimiter));
            }
            PreTokenizer::Bert => {
                pieces.split(Behavior::Removed, by(char::is_whitespace));
                pieces.split(Behavior::Isolated, by(is_punctuation));
            }
            PreTokenizer::Metaspace { replacement, scheme, split } => {
                let mut buffer = [0; 4];
                let spelled = &*replacement.encode_utf8(&mut buffer);
                pieces.rewrite(|text, head, out| {
                    let Normalized { text, head } = replaced(text, head, &Matcher::Text(" "), spelled);
                    let prepends = match scheme {
                        Prepend::Always => true,
                        Prepend::First => head > 0,
                        Prepend::Never => false,
                    };
                    if prepends {
                        prefixed(&text, head, *replacement, out)
                    } else {
                        append(Normalized { text, head }, out)
                    }
                });
                if *split {
                    pieces.split(Behavior::MergedWithNext, |text| characters(text, |c| c == *replacement));
                }
            }
            PreTokenizer::FixedLength(length) => pieces.split(Behavior::Isolated, |text| {
                let mut found = Vec::new();
                let mut start = 0;
                while start < text.len() {
                    let rest = text.get(start..).unwrap_or_default();
                    let end = rest.char_indices().nth(*length).map_or(text.len(), |(at, _)| start + at);
                    found.push((start, end, true));
                    start = end;
                }
                found
            }),
        }
    }
}

impl Pieces {
    pub(super) fn new(normalized: Normalized) -> Pieces {
        let Normalized { text, head } = normalized;
        let cuts = [(0, text.len())].into();
        Pieces { text, cuts, head }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.cuts.iter().filter_map(|&(start, end)| self.text.get(start..end)).filter(|piece| !piece.is_empty())
    }

    /// Cuts every piece where `find` has matches in it.
    fn split(&mut self, behavior: Behavior, find: impl Fn(&str) -> Matches) {
        let mut cuts = Vec::with_capacity(self.cuts.len());
        let mut own = Vec::new();
        for &(start, end) in &self.cuts {
            let found = find(self.text.get(start..end).unwrap_or_default());
            own.clear();
            behavior.cut(&found, &mut own);
            cuts.extend(own.iter().filter(|(from, to)| from < to).map(|&(from, to)| (start + from, start + to)));
        }
        self.cuts = cuts;
    }

    /// Puts what `make` appends, of a piece and as many of its bytes as are of the head, in the place of every piece; it gives the bytes of
    /// the new piece that are of the head.
    fn rewrite(&mut self, make: impl Fn(&str, usize, &mut String) -> usize) {
        let mut out = String::with_capacity(self.text.len() + self.cuts.len());
        let mut head = 0;
        for cut in &mut self.cuts {
            let (start, end) = *cut;
            let text = self.text.get(start..end).unwrap_or_default();
            let from = out.len();
            let own = make(text, self.head.saturating_sub(start).min(text.len()), &mut out);
            if own > 0 {
                head = from + own;
            }
            *cut = (from, out.len());
        }
        (self.text, self.head) = (out, head);
    }
}

/// Appends a text; how much of it is of the head.
fn append(made: Normalized, out: &mut String) -> usize {
    out.push_str(&made.text);
    made.head
}

/// Appends a text with `prefix` before it, unless it begins so.
fn prefixed(text: &str, head: usize, prefix: char, out: &mut String) -> usize {
    let missing = !text.starts_with(prefix) && !text.is_empty();
    out.extend(missing.then_some(prefix));
    out.push_str(text);
    if head > 0 && missing { head + prefix.len_utf8() } else { head }
}

/// Each character that satisfies `is` as a match.
fn characters(text: &str, is: impl Fn(char) -> bool) -> Matches {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| is(*c)) {
        if from < at {
            found.push((from, at, false));
        }
        from = at + c.len_utf8();
        found.push((at, from, true));
    }
    if from < text.len() {
        found.push((from, text.len(), false));
    }
    found
}

/// Words and runs of what is neither in words nor a space; the rest counts as matches.
fn words(text: &str) -> Matches {
    let kind = |c: char| {
        if is_letter_of_word(c) || matches!(c, '\u{200C}' | '\u{200D}') { 2 } else { u8::from(!c.is_whitespace()) }
    };
    let mut found: Matches = Vec::new();
    let mut last = u8::MAX;
    for (at, c) in text.char_indices() {
        let own = kind(c);
        match found.last_mut().filter(|_| own == last) {
            Some((_, end, _)) => *end = at + c.len_utf8(),
            None => found.push((at, at + c.len_utf8(), own == 0)),
        }
        last = own;
    }
    found
}

fn is_number(c: char) -> bool {
    category(c) == Category::Number
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || category(c) == Category::Punctuation
}
