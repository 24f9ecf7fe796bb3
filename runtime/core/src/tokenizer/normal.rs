//! Unicode's normalization forms (Unicode Standard Annex 15).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::compat::compatible;
use super::compose::{class, compose, decompose_mark};
use super::decompose::decompose;

/// Unicode's normalization form C (Unicode Standard Annex 15).
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    let Some(mut first) = unsettled(text) else { return Cow::Borrowed(text) };
    // Nothing is composed with what comes before a settled character.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let start = rest.get(..first).and_then(|before| before.char_indices().next_back()).map_or(0, |(at, _)| at);
        let (before, tail) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let own = tail.chars().next().map_or(0, char::len_utf8);
        let end = tail.get(own..).and_then(|tail| tail.find(is_settled)).map_or(tail.len(), |at| own + at);
        let (part, later) = tail.split_at_checked(end).unwrap_or((tail, ""));
        out.push_str(before);
        compose_into(part, &mut out);
        rest = later;
        match unsettled(rest) {
            Some(next) => first = next,
            None => break,
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where the first character is that is not settled.
fn unsettled(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        // Characters below U+0300 begin with a lesser byte, and none continues with one of these.
        let at = from + text.as_bytes().get(from..)?.iter().position(|&byte| byte >= 0xCC)?;
        let c = text.get(at..)?.chars().next()?;
        if !is_settled(c) {
            return Some(at);
        }
        from = at + c.len_utf8();
    }
}

/// Appends what a text is composed to.
#[cold]
fn compose_into(text: &str, composed: &mut String) {
    let mut parts = Vec::with_capacity(text.len());
    text.chars().for_each(|c| push_parts(c, &mut parts));
    arrange(&mut parts);
    join_into(parts, composed);
}

/// Unicode's other normalization forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Canonical decomposition.
    Nfd,
    /// Compatibility decomposition, then composition.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
}

/// A text in one of the [forms](Form).
#[cold]
pub(super) fn in_form(text: &str, form: Form) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut parts = Vec::with_capacity(text.len());
    for c in text.chars() {
        match compatible(c).filter(|_| form != Form::Nfd) {
            Some(text) => parts.extend(text.chars().map(|c| (c, class(c)))),
            None => match jamo(c).filter(|_| form != Form::Nfkc) {
                Some(letters) => parts.extend(letters.into_iter().flatten().map(|letter| (letter, 0))),
                None => push_parts(c, &mut parts),
            },
        }
    }
    arrange(&mut parts);
    let mut out = String::with_capacity(text.len());
    match form {
        Form::Nfkc => join_into(parts, &mut out),
        Form::Nfd | Form::Nfkd => out.extend(parts.into_iter().map(|(c, _)| c)),
    }
    Cow::Owned(out)
}

/// The letters of a Hangul syllable (the Unicode Standard, section 3.12).
pub(super) fn jamo(c: char) -> Option<[Option<char>; 3]> {
    let index = (c as u32).checked_sub(0xAC00).filter(|&index| index < 11_172)?;
    let last = index % 28;
    let letter = |first: u32, number: u32| char::from_u32(first + number);
    Some([letter(0x1100, index / 588), letter(0x1161, index % 588 / 28), letter(0x11A7, last).filter(|_| last > 0)])
}

/// Puts the marks of each character in the order of their classes.
fn arrange(parts: &mut [(char, u8)]) {
    for marks in parts.chunk_by_mut(|a, b| (a.1 == 0) == (b.1 == 0)) {
        if marks.first().is_some_and(|(_, class)| *class != 0) {
            marks.sort_by_key(|(_, class)| *class);
        }
    }
}

/// Appends what arranged characters are composed to.
fn join_into(parts: Vec<(char, u8)>, composed: &mut String) {
    let mut out: Vec<(char, u8)> = Vec::with_capacity(parts.len());
    let mut starter = None;
    for (c, own) in parts {
        let joined = starter.and_then(|at: usize| {
            let (first, _) = out.get(at).copied()?;
            // Nothing of the same class, and no other character, may stand between.
            let free = out.len() == at + 1 || out.last().is_some_and(|(_, last)| *last != 0 && *last < own);
            Some((at, join(first, c).filter(|_| free)?))
        });
        match joined.and_then(|(at, c)| Some((out.get_mut(at)?, c))) {
            Some((first, c)) => first.0 = c,
            None => {
                if own == 0 {
                    starter = Some(out.len());
                }
                out.push((c, own));
            }
        }
    }
    composed.extend(out.into_iter().map(|(c, _)| c));
}

/// Whether a character is known to stay as it is after any other. Most of what is written is of these.
fn is_settled(c: char) -> bool {
    matches!(
        c,
        '\u{0}'..='\u{2FF}'
            | '\u{388}'..='\u{482}'
            | '\u{488}'..='\u{590}'
            | '\u{621}'..='\u{64A}'
            | '\u{E01}'..='\u{E30}'
            | '\u{108E}'..='\u{1160}'
            | '\u{11C3}'..='\u{135C}'
            | '\u{1E00}'..='\u{1F70}'
            | '\u{2002}'..='\u{20CF}'
            | '\u{212C}'..='\u{2328}'
            | '\u{232B}'..='\u{2ADB}'
            | '\u{2E00}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{309B}'..='\u{A66E}'
            | '\u{ABEE}'..='\u{D7FF}'
            | '\u{E000}'..='\u{F8FF}'
            | '\u{FE30}'..='\u{101FC}'
            | '\u{1F000}'..='\u{2F7FF}'
    )
}

/// A character's full decomposition, each part with its class.
fn push_parts(c: char, parts: &mut Vec<(char, u8)>) {
    match decompose(c).or_else(|| decompose_mark(c)) {
        Some((first, second)) => {
            push_parts(first, parts);
            if let Some(second) = second {
                push_parts(second, parts);
            }
        }
        None => parts.push((c, class(c))),
    }
}

/// The character that two become, Hangul's letters too (the Unicode Standard, section 3.12).
fn join(first: char, second: char) -> Option<char> {
    let letter = |c: char, from: u32, count: u32| (c as u32).checked_sub(from).filter(|number| *number < count);
    if let (Some(l), Some(v)) = (letter(first, 0x1100, 19), letter(second, 0x1161, 21)) {
        return char::from_u32(0xAC00 + (l * 21 + v) * 28);
    }
    if let (Some(syllable), Some(t)) = (letter(first, 0xAC00, 11_172), letter(second, 0x11A7, 28))
        && syllable % 28 == 0
        && t > 0
    {
        return char::from_u32(0xAC00 + syllable + t);
    }
    compose(first, second)
}

#[cfg(test)]
mod tests {
    use super::super::clip::clean;
    use super::super::compose::{class, compose};
    use super::{compose_into, composed, is_settled, push_parts};
    use alloc::string::String;

    #[test]
    fn settled_characters_stay_as_they_are() {
        for c in ('\0'..=char::MAX).filter(|c| is_settled(*c)) {
            let mut alone = String::new();
            compose_into(c.encode_utf8(&mut [0; 4]), &mut alone);
            assert!(alone.chars().eq([c]) && class(c) == 0, "{c:?}");
        }
        // Of pairs that become one character, the second is none of them; the first may be.
        for second in ('\0'..=char::MAX).filter(|c| is_settled(*c)) {
            for first in [
                'a',
                'A',
                'o',
                '\u{3b1}',
                '\u{928}',
                '\u{9c7}',
                '\u{1b05}',
                '\u{304b}',
                '\u{11131}',
                '\u{1100}',
                '\u{ac00}',
            ] {
                assert_eq!(compose(first, second), None, "{second:?}");
            }
        }
    }

    #[test]
    fn every_character_is_composed_as_unicode_15_1_says() {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for c in '\0'..=char::MAX {
            let mut own = [0; 4];
            let alone = composed(c.encode_utf8(&mut own)).into_owned();
            alone.chars().for_each(|c| hash = (hash ^ u64::from(c)).wrapping_mul(0x100_0000_01b3));
            let mut parts = alloc::vec::Vec::new();
            push_parts(c, &mut parts);
            let parts: String = parts.into_iter().map(|(c, _)| c).collect();
            assert_eq!(composed(&parts), alone, "{c:?}");
        }
        // FNV-1a over the code points, by another program.
        assert_eq!(hash, 0xa757_821c_7f21_b4df);
    }

    #[test]
    fn texts_are_composed() {
        for (from, to) in [
            ("plain", "plain"),
            ("e\u{301}", "\u{e9}"),
            ("\u{e9}", "\u{e9}"),
            ("\u{212b}", "\u{c5}"),
            // Marks change places, and one of the same class keeps the next from joining.
            ("a\u{302}\u{323}", "\u{1ead}"),
            ("a\u{323}\u{302}", "\u{1ead}"),
            ("a\u{30a}\u{301}", "\u{1fb}"),
            ("a\u{327}\u{301}", "\u{e1}\u{327}"),
            ("a\u{305}\u{301}", "a\u{305}\u{301}"),
            ("\u{301}e", "\u{301}e"),
            ("caffe\u{301}e\u{300} e\u{301}", "caff\u{e9}\u{e8} \u{e9}"),
            ("\u{2126}x\u{1100}\u{1161}\u{11a8}", "\u{3a9}x\u{ac01}"),
            ("\u{340}", "\u{300}"),
            ("\u{958}", "\u{915}\u{93c}"),
            ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
            ("\u{d558}\u{11ab}", "\u{d55c}"),
            ("\u{9c7}\u{9be}", "\u{9cb}"),
        ] {
            assert_eq!(composed(from), to, "{from:?}");
        }
        assert_eq!(clean("E\u{301}COLE \u{130}\u{3a3}"), "\u{e9}cole i\u{307}\u{3c3}");
    }
}
