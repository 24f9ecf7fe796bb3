//! The regular expressions of pre-tokenizers: a small subset of the usual syntax, and a matcher whose stack does not grow with the text.
//!
//! Known are alternatives, classes (`\p{L}`, `\s`, `\d`, `[^\r\n]`, ranges, `&&[^\p{Han}]`), the quantifiers `?`, `*`, `+`, `{m}` and
//! `{m,n}`, groups `(?:…)` and `(?i:…)`, the lookahead `(?!\S)` of one class, and `$`. A class gives back characters where the rest does
//! not match; a group never does, which no expression here needs.

use alloc::vec::Vec;

use super::unicode::{Category, category};

/// Deepest nesting of groups.
const DEEPEST: usize = 4;

/// A compiled expression.
pub(super) struct Pattern {
    alternatives: Vec<Alternative>,
    first: First,
}

struct Alternative {
    items: Vec<Item>,
    first: First,
}

/// A set of ASCII characters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ascii([u64; 2]);

impl Ascii {
    pub(super) fn add(&mut self, c: char) {
        let point = u32::from(c);
        if let Some(word) = self.0.get_mut((point >> 6) as usize) {
            *word |= 1 << (point & 63);
        }
    }

    pub(super) fn contains(self, c: char) -> bool {
        let point = u32::from(c);
        self.0[(point >> 6 & 1) as usize] >> (point & 63) & 1 == 1
    }

    pub(super) fn or(self, other: Ascii) -> Ascii {
        Ascii([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }
}

/// What a match can begin with.
#[derive(Clone, Copy, Default)]
struct First {
    ascii: Ascii,
    /// Characters that are not ASCII.
    others: bool,
}

impl First {
    const ANY: First = First { ascii: Ascii([u64::MAX; 2]), others: true };

    fn or(self, other: First) -> First {
        First { ascii: self.ascii.or(other.ascii), others: self.others || other.others }
    }

    fn of(list: &[Alternative]) -> First {
        list.iter().fold(First::default(), |first, one| first.or(one.first))
    }

    fn admits(self, c: char) -> bool {
        if c.is_ascii() { self.ascii.contains(c) } else { self.others }
    }
}

enum Item {
    /// As many characters of a class as there are, between these counts.
    Run(Class, u32, u32),
    /// The first alternative that matches, again and again.
    Group(Vec<Alternative>, u32, u32),
    /// No character of the class follows.
    Not(Class),
    /// The text ends.
    End,
}

/// A set of characters.
#[derive(Default)]
struct Class {
    ascii: Ascii,
    /// Bits of [`kind`].
    kinds: u16,
    ranges: Vec<(char, char)>,
    negated: bool,
    not_han: bool,
}

/// Bits of the kinds of characters: six categories, the cases of letters, decimal digits among the numbers, the script Han.
pub(super) const OTHER: u16 = 1;
pub(super) const NUMBER: u16 = 1 << 1;
pub(super) const PUNCTUATION: u16 = 1 << 2;
pub(super) const SYMBOL: u16 = 1 << 3;
pub(super) const MARK: u16 = 1 << 4;
pub(super) const SPACE: u16 = 1 << 5;
pub(super) const UPPER: u16 = 1 << 6;
pub(super) const TITLE: u16 = 1 << 7;
pub(super) const LOWER: u16 = 1 << 8;
/// Letters without case, `\p{Lm}` and `\p{Lo}`; no expression tells the two apart.
pub(super) const CASELESS: u16 = 1 << 9;
pub(super) const DIGIT: u16 = 1 << 10;
pub(super) const HAN: u16 = 1 << 11;
pub(super) const LETTER: u16 = UPPER | TITLE | LOWER | CASELESS;

impl Class {
    fn add(&mut self, first: char, last: char) {
        for c in first..=last.min('\x7F') {
            self.ascii.add(c);
        }
        if last > '\x7F' {
            self.ranges.push((first.max('\u{80}'), last));
        }
    }

    fn add_kinds(&mut self, kinds: u16) {
        self.kinds |= kinds;
        for c in '\0'..='\x7F' {
            if kind(c, kinds) & kinds != 0 {
                self.ascii.add(c);
            }
        }
    }

    fn negate(&mut self) {
        self.negated = !self.negated;
        self.ascii = Ascii(self.ascii.0.map(|word| !word));
    }

    fn contains(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii.contains(c);
        }
        let found = self.kinds != 0 && kind(c, self.kinds) & self.kinds != 0 || is_in(c, &self.ranges);
        found != self.negated && !(self.not_han && is_han(c))
    }
}

/// The kinds of a character, of those that are `asked` for.
pub(super) fn kind(c: char, asked: u16) -> u16 {
    let kind = match category(c) {
        Category::Other => OTHER,
        Category::Number if asked & DIGIT != 0 && is_digit(c) => NUMBER | DIGIT,
        Category::Number => NUMBER,
        Category::Punctuation => PUNCTUATION,
        Category::Symbol => SYMBOL,
        Category::Mark => MARK,
        Category::Space => SPACE,
        Category::Letter if asked & LETTER == LETTER => LETTER,
        Category::Letter => case(c),
    };
    if asked & HAN != 0 && is_han(c) { kind | HAN } else { kind }
}

/// The case of a letter.
fn case(c: char) -> u16 {
    if c.is_uppercase() {
        UPPER
    } else if is_in(c, TITLES) {
        TITLE
    } else if c.is_lowercase() && !is_in(c, SMALL) {
        LOWER
    } else {
        CASELESS
    }
}

/// `\d`
pub(super) fn is_digit(c: char) -> bool {
    let point = u32::from(c);
    let after = DIGITS.partition_point(|&zero| zero <= point);
    c.is_ascii_digit() || after.checked_sub(1).and_then(|at| DIGITS.get(at)).is_some_and(|zero| point - zero < 10)
}

/// `\p{Han}`
fn is_han(c: char) -> bool {
    is_in(c, HAN_RANGES)
}

fn is_in(c: char, ranges: &[(char, char)]) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= c);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|&(_, last)| c <= last)
}

impl Pattern {
    /// Compiles an expression; nothing if it is not of the known syntax.
    #[cold]
    pub(super) fn compile(expression: &str) -> Option<Pattern> {
        let mut parser = Parser { rest: expression, any_case: false };
        let alternatives = parser.alternatives(0)?;
        let first = First::of(&alternatives);
        parser.rest.is_empty().then_some(Pattern { alternatives, first })
    }

    /// The length of the match at byte `at` of a text; 0 if there is none, or none that is not empty.
    fn matched(&self, text: &str, at: usize) -> usize {
        alternatives(&self.alternatives, text, at).map_or(0, |end| end - at)
    }

    /// The length of the first piece of a text that is not empty: a match, or what lies before one.
    pub(super) fn isolate(&self, text: &str) -> usize {
        match self.matched(text, 0) {
            0 => self.find(text),
            length => length,
        }
    }

    /// Where the first match begins that is not at the start of the text.
    fn find(&self, text: &str) -> usize {
        // A byte from 0xC0 on begins a character; those below that are not ASCII continue one.
        let begins = |byte: u8| {
            if byte.is_ascii() {
                self.first.ascii.contains(char::from(byte))
            } else {
                self.first.others && byte >= 0xC0
            }
        };
        let mut later = text.bytes().enumerate().skip(1).filter(|(_, byte)| begins(*byte));
        later.find(|(at, _)| self.matched(text, *at) > 0).map_or(text.len(), |(at, _)| at)
    }
}

/// The character at byte `at` of `text`.
pub(super) fn char_at(text: &str, at: usize) -> Option<char> {
    match text.as_bytes().get(at) {
        Some(&byte) if byte.is_ascii() => Some(char::from(byte)),
        Some(_) => text.get(at..)?.chars().next(),
        None => None,
    }
}

/// The end of the match of the first alternative that has one.
fn alternatives(list: &[Alternative], text: &str, at: usize) -> Option<usize> {
    let first = char_at(text, at);
    let can_begin = |one: &&Alternative| first.is_none_or(|first| one.first.admits(first));
    list.iter().filter(can_begin).find_map(|one| items(&one.items, text, at))
}

/// The end of the match of items one after another. Recursion is as deep as an expression is long.
fn items(list: &[Item], text: &str, at: usize) -> Option<usize> {
    let Some((item, rest)) = list.split_first() else { return Some(at) };
    match item {
        Item::Run(class, least, most) => {
            let (mut end, mut count) = (at, 0);
            while count < *most
                && let Some(c) = char_at(text, end).filter(|&c| class.contains(c))
            {
                end += c.len_utf8();
                count += 1;
            }
            if count < *least {
                return None;
            }
            if rest.is_empty() {
                return Some(end);
            }
            loop {
                if let Some(found) = items(rest, text, end) {
                    return Some(found);
                }
                if count == *least {
                    return None;
                }
                count -= 1;
                end = text.get(..end)?.char_indices().next_back()?.0;
            }
        }
        Item::Group(list, least, most) => {
            let (mut end, mut count) = (at, 0);
            while count < *most
                && let Some(next) = alternatives(list, text, end).filter(|&next| next > end)
            {
                end = next;
                count += 1;
            }
            if count < *least { None } else { items(rest, text, end) }
        }
        Item::Not(class) if char_at(text, at).is_some_and(|c| class.contains(c)) => None,
        Item::End if at < text.len() => None,
        Item::Not(_) | Item::End => items(rest, text, at),
    }
}

struct Parser<'e> {
    rest: &'e str,
    /// Whether letters stand for both of their cases.
    any_case: bool,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    #[cold]
    fn alternatives(&mut self, depth: usize) -> Option<Vec<Alternative>> {
        let mut list = Vec::new();
        loop {
            let mut items = Vec::new();
            while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
                items.push(self.item(depth)?);
            }
            let first = first(&items);
            list.push(Alternative { items, first });
            if !self.eat("|") {
                return Some(list);
            }
        }
    }

    #[cold]
    fn item(&mut self, depth: usize) -> Option<Item> {
        if self.eat("$") {
            return Some(Item::End);
        }
        if self.eat("(?!") {
            let class = self.class()?;
            return self.eat(")").then_some(Item::Not(class));
        }
        let any_case = self.any_case;
        let opens = self.eat("(?:") || {
            let opens = self.eat("(?i:");
            self.any_case |= opens;
            opens
        };
        if opens {
            let list = (depth < DEEPEST).then(|| self.alternatives(depth + 1))??;
            self.any_case = any_case;
            let closed = self.eat(")");
            let (least, most) = self.counts()?;
            return closed.then_some(Item::Group(list, least, most));
        }
        let class = self.class()?;
        let (least, most) = self.counts()?;
        Some(Item::Run(class, least, most))
    }

    /// A quantifier, or once.
    #[cold]
    fn counts(&mut self) -> Option<(u32, u32)> {
        for (sign, least, most) in [("?", 0, 1), ("*", 0, u32::MAX), ("+", 1, u32::MAX)] {
            if self.eat(sign) {
                return Some((least, most));
            }
        }
        if !self.eat("{") {
            return Some((1, 1));
        }
        let (counts, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
        Some((least.parse().ok()?, most.parse().ok()?))
    }

    /// One character or one set of them.
    #[cold]
    fn class(&mut self) -> Option<Class> {
        let mut class = Class::default();
        if !self.eat("[") {
            self.member(&mut class)?;
            return Some(class);
        }
        let negated = self.eat("^");
        while !self.eat("]") {
            if self.eat("&&[^\\p{Han}]") {
                class.not_han = true;
            } else {
                self.member(&mut class)?;
            }
        }
        if negated {
            class.negate();
        }
        // No range lies within another, so that one search finds the only one that can hold a character.
        class.ranges.sort_unstable();
        Some(class)
    }

    /// Adds a character, a range or a property to a class.
    #[cold]
    fn member(&mut self, class: &mut Class) -> Option<()> {
        let Some(first) = self.character(class)? else { return Some(()) };
        let last = match self.rest.strip_prefix('-').filter(|rest| !rest.starts_with(']')) {
            Some(rest) => {
                self.rest = rest;
                self.character(class)??
            }
            None => first,
        };
        class.add(first, last);
        if self.any_case && first == last && first.is_ascii_alphabetic() {
            let other = char::from(first as u8 ^ 0x20);
            class.add(other, other);
        }
        Some(())
    }

    /// A character; a property is added to the class instead.
    #[cold]
    fn character(&mut self, class: &mut Class) -> Option<Option<char>> {
        let c = self.next()?;
        if c != '\\' {
            return Some(Some(c));
        }
        let kinds = match self.next()? {
            'n' => return Some(Some('\n')),
            'r' => return Some(Some('\r')),
            't' => return Some(Some('\t')),
            's' => SPACE,
            'd' => DIGIT,
            'S' => !SPACE & (OTHER | NUMBER | PUNCTUATION | SYMBOL | MARK | LETTER),
            'p' => {
                let (name, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
                self.rest = rest;
                match name {
                    "L" => LETTER,
                    "N" => NUMBER,
                    "P" => PUNCTUATION,
                    "S" => SYMBOL,
                    "M" => MARK,
                    "Lu" => UPPER,
                    "Lt" => TITLE,
                    "Ll" => LOWER,
                    "Lm" | "Lo" => CASELESS,
                    "Han" => HAN,
                    _ => return None,
                }
            }
            c if c.is_ascii_punctuation() => return Some(Some(c)),
            _ => return None,
        };
        class.add_kinds(kinds);
        Some(None)
    }
}

/// What a match of items can begin with; anything where they match nothing too.
fn first(items: &[Item]) -> First {
    let mut first = First::default();
    for item in items {
        let (begins, least) = match item {
            Item::Run(class, least, _) => {
                let others = class.negated || class.kinds != 0 || !class.ranges.is_empty();
                (First { ascii: class.ascii, others }, *least)
            }
            Item::Group(list, least, _) => (First::of(list), *least),
            Item::Not(_) | Item::End => return First::ANY,
        };
        first = first.or(begins);
        if least > 0 {
            return first;
        }
    }
    First::ANY
}

/// First and last of each range of letters in title case.
#[rustfmt::skip]
static TITLES: &[(char, char)] = &[
    ('\u{1C5}', '\u{1C5}'), ('\u{1C8}', '\u{1C8}'), ('\u{1CB}', '\u{1CB}'), ('\u{1F2}', '\u{1F2}'), ('\u{1F88}', '\u{1F8F}'), ('\u{1F98}', '\u{1F9F}'),
    ('\u{1FA8}', '\u{1FAF}'), ('\u{1FBC}', '\u{1FBC}'), ('\u{1FCC}', '\u{1FCC}'), ('\u{1FFC}', '\u{1FFC}'),
];

/// First and last of each range of letters without case that Unicode counts as lowercase, such as ª.
#[rustfmt::skip]
static SMALL: &[(char, char)] = &[
    ('\u{AA}', '\u{AA}'), ('\u{BA}', '\u{BA}'), ('\u{2B0}', '\u{2B8}'), ('\u{2C0}', '\u{2C1}'), ('\u{2E0}', '\u{2E4}'), ('\u{37A}', '\u{37A}'),
    ('\u{10FC}', '\u{10FC}'), ('\u{1D2C}', '\u{1D6A}'), ('\u{1D78}', '\u{1D78}'), ('\u{1D9B}', '\u{1DBF}'), ('\u{2071}', '\u{2071}'), ('\u{207F}', '\u{207F}'),
    ('\u{2090}', '\u{209C}'), ('\u{2C7C}', '\u{2C7D}'), ('\u{A69C}', '\u{A69D}'), ('\u{A770}', '\u{A770}'), ('\u{A7F2}', '\u{A7F4}'), ('\u{A7F8}', '\u{A7F9}'),
    ('\u{AB5C}', '\u{AB5F}'), ('\u{AB69}', '\u{AB69}'), ('\u{10780}', '\u{10780}'), ('\u{10783}', '\u{10785}'), ('\u{10787}', '\u{107B0}'), ('\u{107B2}', '\u{107BA}'),
    ('\u{1E030}', '\u{1E06D}'),
];

/// The zeros of decimal digits.
#[rustfmt::skip]
static DIGITS: &[u32] = &[
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
    0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730,
    0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2,
    0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E950, 0x1FBF0,
];

/// First and last of each range of the script Han, without what is not assigned between them.
#[rustfmt::skip]
static HAN_RANGES: &[(char, char)] = &[
    ('\u{2E80}', '\u{2E99}'), ('\u{2E9B}', '\u{2EF3}'), ('\u{2F00}', '\u{2FD5}'), ('\u{3005}', '\u{3005}'), ('\u{3007}', '\u{3007}'), ('\u{3021}', '\u{3029}'),
    ('\u{3038}', '\u{303B}'), ('\u{3400}', '\u{4DBF}'), ('\u{4E00}', '\u{9FFF}'), ('\u{F900}', '\u{FA6D}'), ('\u{FA70}', '\u{FAD9}'), ('\u{16FE2}', '\u{16FE3}'),
    ('\u{16FF0}', '\u{16FF1}'), ('\u{20000}', '\u{2A6DF}'), ('\u{2A700}', '\u{2B739}'), ('\u{2B740}', '\u{2B81D}'), ('\u{2B820}', '\u{2CEA1}'), ('\u{2CEB0}', '\u{2EBE0}'),
    ('\u{2EBF0}', '\u{2EE5D}'), ('\u{2F800}', '\u{2FA1D}'), ('\u{30000}', '\u{3134A}'), ('\u{31350}', '\u{323AF}'),
];
