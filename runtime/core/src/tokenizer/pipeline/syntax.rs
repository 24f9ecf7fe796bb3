//! The syntax of regular expressions, Ruby's as Oniguruma reads it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::super::pattern::{
    CASELESS, DIGIT, HAN, LETTER, LOWER, MARK, NUMBER, PUNCTUATION, SPACE, SYMBOL, TITLE, UPPER,
};
use super::class::{Class, Member, Set};

/// Deepest nesting of groups and of classes.
const DEEPEST: u32 = 32;
/// Most that a part may be repeated.
const MOST: u32 = 1000;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// One character.
    Set(Set),
    Sequence(Vec<Node>),
    /// The first that matches.
    Alternatives(Vec<Node>),
    Repeat {
        node: Box<Node>,
        least: u32,
        /// `u32::MAX` for any number.
        most: u32,
        greed: Greed,
    },
    /// What follows, not taken.
    Look {
        node: Box<Node>,
        not: bool,
    },
    /// The character before.
    Behind {
        set: Set,
        not: bool,
    },
    /// No other match once there is one.
    Atomic(Box<Node>),
    Assert(Assertion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// What must be true of a place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assertion {
    TextStart,
    LineStart,
    TextEnd,
    LineEnd,
    /// The text ends, perhaps after a line feed.
    LastLineEnd,
    WordEdge,
    NoWordEdge,
}

impl Node {
    /// Whether a match may be empty.
    pub(super) fn may_be_empty(&self) -> bool {
        match self {
            Node::Set(_) => false,
            Node::Sequence(parts) => parts.iter().all(Node::may_be_empty),
            Node::Alternatives(ways) => ways.iter().any(Node::may_be_empty),
            Node::Repeat { node, least, .. } => *least == 0 || node.may_be_empty(),
            Node::Atomic(node) => node.may_be_empty(),
            Node::Look { .. } | Node::Behind { .. } | Node::Assert(_) => true,
        }
    }
}

type Parsed<T> = Result<T, &'static str>;

/// Reads an expression.
///
/// # Errors
/// What is not supported in it.
#[cold]
pub(super) fn parse(expression: &str) -> Parsed<Node> {
    let mut parser = Parser { rest: expression, any_case: false, depth: 0 };
    let node = parser.alternatives()?;
    if parser.rest.is_empty() { Ok(node) } else { Err("a parenthesis is not opened") }
}

struct Parser<'e> {
    rest: &'e str,
    /// Whether letters stand for both of their cases.
    any_case: bool,
    depth: u32,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Parsed<char> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or("it ends too soon")?;
        self.rest = chars.as_str();
        Ok(c)
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEEPEST { Err("it is nested too deep") } else { Ok(()) }
    }

    fn alternatives(&mut self) -> Parsed<Node> {
        let mut ways = vec![self.sequence()?];
        while self.eat("|") {
            ways.push(self.sequence()?);
        }
        Ok(match ways.len() {
            1 => ways.pop().unwrap_or(Node::Sequence(Vec::new())),
            _ => Node::Alternatives(ways),
        })
    }

    fn sequence(&mut self) -> Parsed<Node> {
        let mut parts = Vec::new();
        let mut last = None;
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let before = self.rest;
            let part = self.atom()?;
            if self.any_case {
                // Several letters that are one in another case: ß and ss, ﬁ and fi.
                let letter = before.chars().next().map(|c| c.to_ascii_lowercase());
                if letter.is_some_and(|c| !c.is_ascii()) {
                    return Err("(?i) of letters that are not ASCII");
                }
                if let (Some('s' | 'f'), Some('s' | 't' | 'f' | 'i' | 'l')) = (last, letter) {
                    return Err("(?i) of letters that have a ligature");
                }
                last = letter;
            }
            parts.push(self.repeated(part)?);
        }
        Ok(match parts.len() {
            1 => parts.pop().unwrap_or(Node::Sequence(Vec::new())),
            _ => Node::Sequence(parts),
        })
    }

    /// A part with its quantifier.
    fn repeated(&mut self, node: Node) -> Parsed<Node> {
        let (least, most, is_interval) = match self.rest.as_bytes().first() {
            Some(b'?') => (0, 1, false),
            Some(b'*') => (0, u32::MAX, false),
            Some(b'+') => (1, u32::MAX, false),
            Some(b'{') => match interval(self.rest) {
                Some((least, most, rest)) => {
                    self.rest = rest;
                    (least, most, true)
                }
                None => return Ok(node),
            },
            _ => return Ok(node),
        };
        if !is_interval {
            self.next()?;
        }
        if least > MOST || most != u32::MAX && most > MOST || least > most {
            return Err("a part is repeated too often");
        }
        let greed = match self.rest.as_bytes().first() {
            // In Ruby's syntax these are quantifiers of their own.
            Some(b'?') if is_interval && least == most => return Err("{n}?"),
            Some(b'+') if is_interval => return Err("a quantifier of a quantifier"),
            Some(b'?') => Greed::Lazy,
            Some(b'+') => Greed::Possessive,
            _ => Greed::Greedy,
        };
        if greed != Greed::Greedy {
            self.next()?;
        }
        if self.rest.starts_with(['?', '*', '+']) || interval(self.rest).is_some() {
            return Err("a quantifier of a quantifier");
        }
        Ok(Node::Repeat { node: Box::new(node), least, most, greed })
    }

    fn atom(&mut self) -> Parsed<Node> {
        if self.rest.starts_with('(') {
            return self.group();
        }
        if self.rest.starts_with('[') {
            return self.class().map(Node::Set);
        }
        let assertions = [
            ("^", Assertion::LineStart),
            ("$", Assertion::LineEnd),
            (r"\A", Assertion::TextStart),
            (r"\z", Assertion::TextEnd),
            (r"\Z", Assertion::LastLineEnd),
            (r"\b", Assertion::WordEdge),
            (r"\B", Assertion::NoWordEdge),
        ];
        for (spelled, assertion) in assertions {
            if self.eat(spelled) {
                return Ok(Node::Assert(assertion));
            }
        }
        if self.eat(".") {
            return Ok(Node::Set(Set::new(vec![vec![Member::Class(Class::Any, false)]], false)));
        }
        if self.rest.starts_with(['*', '+', '?']) {
            return Err("a quantifier of nothing");
        }
        let mut members = Vec::new();
        let letters = self.member(&mut members, false)?;
        check_letters(letters)?;
        Ok(Node::Set(Set::new(vec![members], false)))
    }

    fn group(&mut self) -> Parsed<Node> {
        self.enter()?;
        let any_case = self.any_case;
        let look = |not| move |node: Node| Ok(Node::Look { node: Box::new(node), not });
        let behind = |not| {
            move |node: Node| match node {
                Node::Set(set) => Ok(Node::Behind { set, not }),
                _ => Err("lookbehind of more than one character"),
            }
        };
        let node = if self.eat("(?:") {
            self.alternatives()?
        } else if self.eat("(?i:") {
            self.any_case = true;
            self.alternatives()?
        } else if self.eat("(?i)") {
            // To the end of the group around it, alternatives too.
            self.any_case = true;
            let node = self.alternatives()?;
            self.any_case = any_case;
            self.depth -= 1;
            return Ok(node);
        } else if self.eat("(?=") {
            self.alternatives().and_then(look(false))?
        } else if self.eat("(?!") {
            self.alternatives().and_then(look(true))?
        } else if self.eat("(?<=") {
            self.alternatives().and_then(behind(false))?
        } else if self.eat("(?<!") {
            self.alternatives().and_then(behind(true))?
        } else if self.eat("(?>") {
            Node::Atomic(Box::new(self.alternatives()?))
        } else if self.rest.starts_with("(?") {
            return Err("a group of this kind");
        } else {
            self.eat("(");
            self.alternatives()?
        };
        self.any_case = any_case;
        self.depth -= 1;
        if self.eat(")") { Ok(node) } else { Err("a parenthesis is not closed") }
    }

    /// A set in brackets.
    fn class(&mut self) -> Parsed<Set> {
        self.enter()?;
        if self.rest.starts_with("[[:") {
            return Err("a POSIX class");
        }
        self.eat("[");
        let negated = self.eat("^");
        let mut all = Vec::new();
        let mut members = Vec::new();
        let mut letters = (false, false);
        // A bracket that comes first is a character.
        if self.rest.starts_with(']') {
            return Err("an empty class");
        }
        while !self.eat("]") {
            if self.eat("&&") {
                all.push(core::mem::take(&mut members));
                check_letters(core::mem::take(&mut letters))?;
            } else if self.rest.starts_with("[:") {
                return Err("a POSIX class");
            } else if self.rest.starts_with('[') {
                members.push(Member::Set(self.class()?));
            } else {
                let (lm, lo) = self.member(&mut members, true)?;
                letters = (letters.0 | lm, letters.1 | lo);
            }
        }
        check_letters(letters)?;
        all.push(members);
        self.depth -= 1;
        Ok(Set::new(all, negated))
    }

    /// Adds a character, a property or, in brackets, a range; whether that was `\p{Lm}` or `\p{Lo}`.
    fn member(&mut self, members: &mut Vec<Member>, in_brackets: bool) -> Parsed<(bool, bool)> {
        let first = match self.character()? {
            Character::One(c) => c,
            Character::Class(class, negated, letters) => {
                if self.any_case
                    && matches!(class, Class::Kinds(kinds) if kinds & LETTER != 0 && kinds & LETTER != LETTER)
                {
                    return Err("(?i) of letters in a case");
                }
                members.push(Member::Class(class, negated));
                return Ok(letters);
            }
        };
        let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]") && !self.rest.starts_with("-[");
        let last = if is_range && in_brackets {
            self.next()?;
            match self.character()? {
                Character::One(c) if c >= first => c,
                _ => return Err("a range that ends before it begins"),
            }
        } else {
            first
        };
        members.push(Member::Range(first, last));
        if self.any_case {
            if !last.is_ascii() {
                return Err("(?i) of letters that are not ASCII");
            }
            for c in (first..=last).filter(char::is_ascii_alphabetic) {
                let other = char::from(c as u8 ^ 0x20);
                members.push(Member::Range(other, other));
                // The long s, and the sign for kelvin.
                let like = match c.to_ascii_lowercase() {
                    's' => '\u{17F}',
                    'k' => '\u{212A}',
                    _ => continue,
                };
                members.push(Member::Range(like, like));
            }
        }
        Ok((false, false))
    }

    fn character(&mut self) -> Parsed<Character> {
        let c = self.next()?;
        if c != '\\' {
            return Ok(Character::One(c));
        }
        let class = |class, negated| Ok(Character::Class(class, negated, (false, false)));
        match self.next()? {
            'n' => Ok(Character::One('\n')),
            'r' => Ok(Character::One('\r')),
            't' => Ok(Character::One('\t')),
            'f' => Ok(Character::One('\x0C')),
            'v' => Ok(Character::One('\x0B')),
            'a' => Ok(Character::One('\x07')),
            'e' => Ok(Character::One('\x1B')),
            's' => class(Class::Kinds(SPACE), false),
            'S' => class(Class::Kinds(SPACE), true),
            'd' => class(Class::Kinds(DIGIT), false),
            'D' => class(Class::Kinds(DIGIT), true),
            'w' => class(Class::Word, false),
            'W' => class(Class::Word, true),
            'u' => self.hexadecimal(4).map(Character::One),
            'x' if self.eat("{") => {
                let (digits, rest) = self.rest.split_once('}').ok_or("\\x{ is not closed")?;
                self.rest = rest;
                point(digits).map(Character::One)
            }
            'x' => self.hexadecimal(2).and_then(|c| if c.is_ascii() { Ok(Character::One(c)) } else { Err("a byte") }),
            'p' => self.property(false),
            'P' => self.property(true),
            c if c.is_ascii_alphanumeric() => Err("an escape of this kind"),
            c => Ok(Character::One(c)),
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Parsed<char> {
        let (digits, rest) = self.rest.split_at_checked(digits).ok_or("an escape is too short")?;
        self.rest = rest;
        point(digits)
    }

    fn property(&mut self, mut negated: bool) -> Parsed<Character> {
        if !self.eat("{") {
            return Err("\\p without braces");
        }
        negated ^= self.eat("^");
        let (name, rest) = self.rest.split_once('}').ok_or("\\p{ is not closed")?;
        self.rest = rest;
        let kinds = match name {
            "L" | "Letter" => LETTER,
            "N" | "Number" => NUMBER,
            "P" | "Punctuation" => PUNCTUATION,
            "S" | "Symbol" => SYMBOL,
            "M" | "Mark" => MARK,
            "Lu" => UPPER,
            "Lt" => TITLE,
            "Ll" => LOWER,
            "Lm" | "Lo" => CASELESS,
            "Nd" => DIGIT,
            "Han" => HAN,
            "Z" | "Separator" => return Ok(Character::Class(Class::Separator, negated, (false, false))),
            "C" | "Other" => return Ok(Character::Class(Class::Other, negated, (false, false))),
            "Cc" => return Ok(Character::Class(Class::Control, negated, (false, false))),
            _ => return Err("a property of this name"),
        };
        if negated && kinds == CASELESS {
            return Err("\\P{Lm} and \\P{Lo}");
        }
        Ok(Character::Class(Class::Kinds(kinds), negated, (name == "Lm", name == "Lo")))
    }
}

enum Character {
    One(char),
    /// A class, whether it is negated, and whether it is `\p{Lm}` or `\p{Lo}`.
    Class(Class, bool, (bool, bool)),
}

/// That letters without case are meant as a whole, for nothing here tells `\p{Lm}` from `\p{Lo}`.
fn check_letters((lm, lo): (bool, bool)) -> Parsed<()> {
    if lm == lo { Ok(()) } else { Err("\\p{Lm} without \\p{Lo}, or the reverse") }
}

fn point(digits: &str) -> Parsed<char> {
    let point = u32::from_str_radix(digits, 16).map_err(|_| "an escape that is not hexadecimal")?;
    char::from_u32(point).ok_or("an escape that is no character")
}

/// The counts of an interval such as `{2,}`, and what follows it. What is not one is text.
fn interval(text: &str) -> Option<(u32, u32, &str)> {
    let (counts, rest) = text.strip_prefix('{')?.split_once('}')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        // What is too long for a number is too often in any case.
        is_number.then(|| digits.parse().unwrap_or(u32::MAX - 1))
    };
    match counts.split_once(',') {
        None => number(counts).map(|count| (count, count, rest)),
        Some(("", "")) => None,
        Some(("", most)) => number(most).map(|most| (0, most, rest)),
        Some((least, "")) => number(least).map(|least| (least, u32::MAX, rest)),
        Some((least, most)) => Some((number(least)?, number(most)?, rest)),
    }
}
