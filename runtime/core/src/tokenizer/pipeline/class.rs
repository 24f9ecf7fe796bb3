//! Sets of characters of regular expressions.

use alloc::vec::Vec;

use super::super::pattern::{Ascii, MARK, NUMBER, is_digit, kind};
use super::super::unicode::{Category, category};

/// A set of characters: those that are in all of several unions, or those that are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    ascii: Ascii,
    all: Vec<Vec<Member>>,
    negated: bool,
}

/// A part of a union.
#[derive(Clone, Debug)]
pub(super) enum Member {
    Range(char, char),
    /// Characters of a class, or of none.
    Class(Class, bool),
    Set(Set),
}

/// Classes that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Bits of [`kind`].
    Kinds(u16),
    /// `\w`
    Word,
    /// `\p{Z}`
    Separator,
    /// `\p{C}`
    Other,
    /// `\p{Cc}`
    Control,
    /// `.`
    Any,
}

impl Class {
    fn contains(self, c: char) -> bool {
        match self {
            Class::Kinds(kinds) => kind(c, kinds) & kinds != 0,
            Class::Word => is_word(c),
            Class::Separator => category(c) == Category::Space && !c.is_control(),
            Class::Other => category(c) == Category::Other || c.is_control(),
            Class::Control => c.is_control(),
            Class::Any => c != '\n',
        }
    }
}

/// `\w` of Oniguruma, for which the superscripts and fractions of Latin-1 are of words.
pub(super) fn is_word(c: char) -> bool {
    matches!(c, '\u{B2}' | '\u{B3}' | '\u{B9}' | '\u{BC}'..='\u{BE}') || is_letter_of_word(c)
}

/// `\w` without what joins words: letters and what is like them, marks, decimal digits, punctuation that connects.
pub(super) fn is_letter_of_word(c: char) -> bool {
    c.is_alphabetic()
        || kind(c, MARK | NUMBER) & MARK != 0
        || is_digit(c)
        || matches!(
            c,
            '_' | '\u{203F}' | '\u{2040}' | '\u{2054}' | '\u{FE33}' | '\u{FE34}' | '\u{FE4D}'..='\u{FE4F}' | '\u{FF3F}'
        )
}

impl Set {
    /// What is in all unions, or what is not.
    pub(super) fn new(all: Vec<Vec<Member>>, negated: bool) -> Set {
        let mut set = Set { ascii: Ascii::default(), all, negated };
        for c in '\0'..='\x7F' {
            if set.looks_up(c) {
                set.ascii.add(c);
            }
        }
        set
    }

    /// What is in one of several sets.
    pub(super) fn union(sets: Vec<Set>) -> Set {
        Set::new([sets.into_iter().map(Member::Set).collect()].into(), false)
    }

    pub(super) fn contains(&self, c: char) -> bool {
        if c.is_ascii() { self.ascii.contains(c) } else { self.looks_up(c) }
    }

    fn looks_up(&self, c: char) -> bool {
        let has = |member: &Member| match member {
            Member::Range(first, last) => (*first..=*last).contains(&c),
            Member::Class(class, negated) => class.contains(c) != *negated,
            Member::Set(set) => set.looks_up(c),
        };
        self.all.iter().all(|union| union.iter().any(has)) != self.negated
    }
}
