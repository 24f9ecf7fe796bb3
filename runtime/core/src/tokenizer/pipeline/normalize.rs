//! Normalizers: what a text becomes before it is cut.

use alloc::borrow::Cow;
use alloc::string::String;

use super::super::decompose::is_mark;
use super::super::normal::{self, Form, in_form};
use super::super::unicode::{Category, category};
use super::super::unigram::Charsmap;
use super::super::vocab::char_of_byte;
use super::super::wordpiece::is_ideograph;
use super::steps::{Fault, Matcher, Words};

/// One step. Each takes what the one before leaves.
pub(super) enum Normalizer<'a> {
    Nfc,
    Form(Form),
    Lowercase,
    StripAccents,
    Replace(Matcher<'a>, &'a str),
    /// Spaces at the start, at the end.
    Strip(bool, bool),
    Prepend(&'a str),
    Precompiled(Charsmap<'a>),
    Nmt,
    Bert(Bert),
    ByteLevel,
}

/// BERT's cleaning.
#[derive(Clone, Copy)]
pub(super) struct Bert {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: bool,
    lowercase: bool,
}

/// A text on its way, and how many of its first bytes were made of the first character of all.
pub(super) struct Normalized {
    pub(super) text: String,
    pub(super) head: usize,
}

impl<'a> Normalizer<'a> {
    /// Reads one step and its arguments; nothing at the end. `charsmap` is the file's table.
    pub(super) fn read(words: &mut Words<'a>, charsmap: Option<Charsmap<'a>>) -> Result<Option<Normalizer<'a>>, Fault> {
        let Some(name) = words.next() else { return Ok(None) };
        Ok(Some(match name {
            "NFC" => Normalizer::Nfc,
            "NFD" => Normalizer::Form(Form::Nfd),
            "NFKC" => Normalizer::Form(Form::Nfkc),
            "NFKD" => Normalizer::Form(Form::Nfkd),
            "Lowercase" => Normalizer::Lowercase,
            "StripAccents" => Normalizer::StripAccents,
            "Replace" => Normalizer::Replace(Matcher::read(words)?, words.text()?),
            "Strip" => Normalizer::Strip(words.flag()?, words.flag()?),
            "Prepend" => Normalizer::Prepend(words.text()?),
            "Precompiled" => Normalizer::Precompiled(charsmap.ok_or(Fault::Charsmap)?),
            "Nmt" => Normalizer::Nmt,
            "BertNormalizer" => Normalizer::Bert(Bert {
                clean_text: words.flag()?,
                handle_chinese_chars: words.flag()?,
                strip_accents: words.flag()?,
                lowercase: words.flag()?,
            }),
            "ByteLevel" => Normalizer::ByteLevel,
            _ => return Err(Fault::Step),
        }))
    }

    pub(super) fn apply(&self, input: Normalized) -> Normalized {
        let Normalized { text, head } = input;
        match self {
            Normalizer::Nfc => whole(text, head, normal::composed),
            Normalizer::Form(form) => whole(text, head, |text| in_form(text, *form)),
            Normalizer::Lowercase => each(&text, head, |c, out| out.extend(c.to_lowercase())),
            Normalizer::StripAccents => {
                each(&text, head, |c, out| out.extend((category(c) != Category::Mark).then_some(c)))
            }
            Normalizer::Replace(matcher, content) => replaced(&text, head, matcher, content),
            Normalizer::Strip(left, right) => {
                let from = if *left { text.len() - text.trim_start().len() } else { 0 };
                let kept = text.get(from..).unwrap_or_default();
                let kept = if *right { kept.trim_end() } else { kept };
                Normalized { text: kept.into(), head: head.saturating_sub(from).min(kept.len()) }
            }
            Normalizer::Prepend(_) if text.is_empty() => Normalized { text, head },
            Normalizer::Prepend(prefix) => {
                let mut out = String::with_capacity(prefix.len() + text.len());
                out.push_str(prefix);
                out.push_str(&text);
                Normalized { text: out, head: if head > 0 { head + prefix.len() } else { 0 } }
            }
            Normalizer::Precompiled(charsmap) => precompiled(&text, head, charsmap),
            Normalizer::Nmt => each(&text, head, |c, out| out.extend(nmt(c))),
            Normalizer::Bert(bert) => bert.apply(text, head),
            Normalizer::ByteLevel => byte_level(&text, head),
        }
    }
}

/// What a step makes of each character.
fn each(text: &str, head: usize, mut make: impl FnMut(char, &mut String)) -> Normalized {
    let mut out = String::with_capacity(text.len());
    let mut new_head = 0;
    for (at, c) in text.char_indices() {
        make(c, &mut out);
        if at < head {
            new_head = out.len();
        }
    }
    Normalized { text: out, head: new_head }
}

/// What a step makes of a text as a whole. What its first character becomes may have taken others in.
fn whole(text: String, head: usize, make: impl Fn(&str) -> Cow<'_, str>) -> Normalized {
    let new_head = match text.get(..head).filter(|_| head > 0) {
        Some(first) => make(first).len(),
        None => 0,
    };
    let out = match make(&text) {
        Cow::Borrowed(_) => return Normalized { text, head },
        Cow::Owned(out) => out,
    };
    let own = out.chars().next().map_or(0, char::len_utf8);
    let head = if head > 0 { out.floor_char_boundary(new_head).max(own) } else { 0 };
    Normalized { text: out, head }
}

/// The letters of byte-level BPE.
pub(super) fn byte_level(text: &str, head: usize) -> Normalized {
    each(text, head, |c, out| out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(char_of_byte)))
}

/// A text with `content` in the place of each match.
pub(super) fn replaced(text: &str, head: usize, matcher: &Matcher<'_>, content: &str) -> Normalized {
    let mut out = String::with_capacity(text.len());
    let (mut from, mut new_head) = (0, 0);
    let keep = |out: &mut String, start: usize, end: usize, new_head: &mut usize| {
        if start < head && start < end {
            *new_head = out.len() + end.min(head) - start;
        }
        out.push_str(text.get(start..end).unwrap_or_default());
    };
    matcher.matches(text, &mut |start, end| {
        keep(&mut out, from, start, &mut new_head);
        out.push_str(content);
        // The content stands where the last character was that it replaces.
        if head > 0 && end <= head {
            new_head = out.len();
        }
        from = end;
    });
    keep(&mut out, from, text.len(), &mut new_head);
    Normalized { text: out, head: new_head }
}

/// What is left of a character by SentencePiece's rules for machine translation.
fn nmt(c: char) -> Option<char> {
    match c {
        '\u{1}'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{8F}' | '\u{9F}' => None,
        '\t'
        | '\n'
        | '\u{C}'
        | '\r'
        | '\u{1680}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2581}'
        | '\u{FEFF}'
        | '\u{FFFD}' => Some(' '),
        c => Some(c),
    }
}

impl Bert {
    fn apply(self, text: String, head: usize) -> Normalized {
        let mut done = Normalized { text, head };
        if self.clean_text {
            done = each(&done.text, done.head, |c, out| {
                let is_space = matches!(c, '\t' | '\n' | '\r') || c.is_whitespace() && !c.is_control();
                let is_noise = category(c) == Category::Other || c.is_control() || c == char::REPLACEMENT_CHARACTER;
                if is_space {
                    out.push(' ');
                } else if !is_noise {
                    out.push(c);
                }
            });
        }
        if self.handle_chinese_chars {
            done = each(&done.text, done.head, |c, out| {
                let space = is_ideograph(c).then_some(' ');
                out.extend(space.into_iter().chain([c]).chain(space));
            });
        }
        if self.strip_accents {
            done = whole(done.text, done.head, |text| in_form(text, Form::Nfd));
            done = each(&done.text, done.head, |c, out| out.extend((!is_mark(c)).then_some(c)));
        }
        if self.lowercase {
            done = each(&done.text, done.head, |c, out| out.extend(c.to_lowercase()));
        }
        done
    }
}

/// By SentencePiece's table, as Hugging Face's `tokenizers` applies it: to a character with its marks if these have fewer than six bytes
/// and the table has a beginning of them, otherwise to each character.
fn precompiled(text: &str, head: usize, charsmap: &Charsmap<'_>) -> Normalized {
    let mut out = String::with_capacity(text.len());
    let (mut at, mut new_head) = (0, 0);
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let length = cluster(rest);
        let grapheme = rest.get(..length).unwrap_or_default();
        match charsmap.shortest(grapheme.as_bytes()).filter(|_| length < 6) {
            Some(replacement) => out.push_str(replacement),
            None => {
                for c in grapheme.chars() {
                    match charsmap.shortest(c.encode_utf8(&mut [0; 4]).as_bytes()) {
                        Some(replacement) => out.push_str(replacement),
                        None => out.push(c),
                    }
                }
            }
        }
        if at < head {
            new_head = out.len();
        }
        at += length.max(1);
    }
    // What is removed at the start counts for what follows it.
    if head > 0 && new_head == 0 {
        new_head = out.chars().next().map_or(0, char::len_utf8);
    }
    Normalized { text: out, head: new_head }
}

/// The length of the first grapheme cluster of a text (Unicode Standard Annex 29), exact where it has fewer than six bytes; what is longer
/// and made of syllables, flags or joined pictures may be cut.
fn cluster(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else { return 0 };
    if text.starts_with("\r\n") {
        return 2;
    }
    if is_break(first) {
        return first.len_utf8();
    }
    let mut last = first;
    for (at, c) in chars {
        if !(extends(c) || begins_cluster(last) && !is_break(c)) {
            return at;
        }
        last = c;
    }
    text.len()
}

/// Whether a character always stands alone: controls and what is not seen.
fn is_break(c: char) -> bool {
    let is_hidden = category(c) == Category::Other && !extends(c) && !begins_cluster(c);
    c.is_control() || is_hidden || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character belongs to the one before.
fn extends(c: char) -> bool {
    match c {
        '\u{200C}'
        | '\u{200D}'
        | '\u{FF9E}'
        | '\u{FF9F}'
        | '\u{E33}'
        | '\u{EB3}'
        | '\u{1F3FB}'..='\u{1F3FF}'
        | '\u{E0020}'..='\u{E007F}' => true,
        // Spacing marks that are letters in all but name.
        '\u{102B}'
        | '\u{102C}'
        | '\u{1038}'
        | '\u{1062}'..='\u{1064}'
        | '\u{1067}'..='\u{106D}'
        | '\u{1083}'
        | '\u{1087}'..='\u{108C}'
        | '\u{108F}'
        | '\u{109A}'..='\u{109C}'
        | '\u{1A61}'
        | '\u{1A63}'
        | '\u{1A64}'
        | '\u{AA7B}'
        | '\u{AA7D}'
        | '\u{11720}'
        | '\u{11721}' => false,
        c => category(c) == Category::Mark,
    }
}

/// Whether a character belongs to the one after.
fn begins_cluster(c: char) -> bool {
    matches!(
        c,
        '\u{600}'..='\u{605}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'
            | '\u{891}'
            | '\u{8E2}'
            | '\u{D4E}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{111C2}'
            | '\u{111C3}'
            | '\u{1193F}'
            | '\u{11941}'
            | '\u{11A3A}'
            | '\u{11A84}'..='\u{11A89}'
            | '\u{11D46}'
            | '\u{11F02}'
    )
}
