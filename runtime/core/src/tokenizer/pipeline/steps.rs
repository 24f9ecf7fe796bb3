//! The steps of a pipeline as a file lists them: the name of a step, then its arguments, each a string of its own.

use super::regex::Regex;

/// What is wrong with a list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No step has this name.
    Step,
    /// An argument is missing, or not one of those that the step takes.
    Argument,
    /// An expression is not of the known syntax.
    Expression,
    /// The table of normalizations is missing.
    Charsmap,
}

/// The strings of a list, in order.
pub(super) struct Words<'a> {
    texts: super::super::vocab::Texts<'a>,
    /// How many have been read.
    pub(super) read: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(texts: super::super::vocab::Texts<'a>) -> Words<'a> {
        Words { texts, read: 0 }
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.read += 1;
        self.texts.next().and_then(|text| core::str::from_utf8(text).ok())
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        self.next().ok_or(Fault::Argument)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        match self.text()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Fault::Argument),
        }
    }

    pub(super) fn char(&mut self) -> Result<char, Fault> {
        let mut chars = self.text()?.chars();
        chars.next().filter(|_| chars.next().is_none()).ok_or(Fault::Argument)
    }

    pub(super) fn number(&mut self) -> Result<usize, Fault> {
        self.text()?.parse().ok().filter(|&number| number > 0).ok_or(Fault::Argument)
    }
}

/// What is looked for in a text.
pub(super) enum Matcher<'a> {
    Text(&'a str),
    Regex(Regex),
}

impl<'a> Matcher<'a> {
    /// `String` or `Regex`, then the pattern.
    pub(super) fn read(words: &mut Words<'a>) -> Result<Matcher<'a>, Fault> {
        let kind = words.text()?;
        let pattern = words.text()?;
        match kind {
            "String" if !pattern.is_empty() => Ok(Matcher::Text(pattern)),
            "Regex" => Regex::compile(pattern).map(Matcher::Regex).map_err(|_| Fault::Expression),
            _ => Err(Fault::Argument),
        }
    }

    /// Calls `each` with the start and the end of every match, in order.
    pub(super) fn matches(&self, text: &str, each: &mut dyn FnMut(usize, usize)) {
        match self {
            Matcher::Text(pattern) => text.match_indices(pattern).for_each(|(at, _)| each(at, at + pattern.len())),
            Matcher::Regex(regex) => regex.matches(text, each),
        }
    }
}
