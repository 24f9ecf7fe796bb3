//! Regular expressions as Hugging Face's `tokenizers` takes them: Oniguruma's, in Ruby's syntax. An expression becomes a program for a
//! backtracking machine with a stack of its own, which remembers where it failed once a match has taken long: time stays in proportion to a
//! polynomial of the text.
//!
//! Known are alternatives, groups of all kinds that need no memory, classes with properties, ranges, nesting and `&&`, quantifiers (greedy,
//! lazy, possessive), anchors, word boundaries, lookahead, lookbehind of one character, and `(?i:…)` over ASCII. What is not known, or
//! would need a table that is not here, is refused by name.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::super::pattern::char_at;
use super::class::{Set, is_word};
use super::syntax::{Assertion, Greed, Node, parse};

/// Most instructions of a program.
const LONGEST: usize = 1 << 13;
/// Attempts after which a match remembers where it failed.
const PATIENCE: usize = 1 << 12;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Regex {
    program: Vec<Step>,
    /// What a match can begin with; nothing if it may be empty or begin with a look around.
    first: Option<Set>,
    may_be_empty: bool,
}

#[derive(Debug)]
enum Step {
    /// As many characters of a set as there are, between these counts; `hold` gives none back.
    Run {
        set: Set,
        least: u32,
        most: u32,
        hold: bool,
    },
    /// The first of two ways, then the second.
    Either(usize, usize),
    Jump(usize),
    Assert(Assertion),
    /// Whether the program that follows matches here; then on at `next`.
    Look {
        not: bool,
        next: usize,
    },
    /// Whether the character before is in a set.
    Behind {
        set: Set,
        not: bool,
    },
    /// The one match of the program that follows; then on at `next`.
    Atomic {
        next: usize,
    },
    Match,
}

/// What attempts share until there is a match.
#[derive(Default)]
struct Memory {
    /// Ways that were tried after another had failed.
    attempts: usize,
    /// An instruction and a place in the text from which there is no match.
    failed: BTreeSet<(usize, usize)>,
}

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is not supported in it.
    #[cold]
    pub(crate) fn compile(expression: &str) -> Result<Regex, &'static str> {
        let node = parse(expression)?;
        let mut program = Vec::new();
        emit(&node, &mut program)?;
        program.push(Step::Match);
        Ok(Regex { program, first: first(&node), may_be_empty: node.may_be_empty() })
    }

    /// Whether a match may be empty.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.may_be_empty
    }

    /// The end of the match that begins at byte `at`.
    fn matched(&self, text: &str, at: usize, memory: &mut Memory) -> Option<usize> {
        if let Some(first) = &self.first
            && !char_at(text, at).is_some_and(|c| first.contains(c))
        {
            return None;
        }
        self.run(0, text, at, memory)
    }

    /// The leftmost match from byte `from` on.
    fn find(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        let mut memory = Memory::default();
        let rest = text.get(from..)?;
        let starts = rest.char_indices().map(|(at, _)| from + at).chain([text.len()]);
        starts.into_iter().find_map(|at| self.matched(text, at, &mut memory).map(|end| (at, end)))
    }

    /// Calls `each` with the start and the end of every match, in order. None begins in another, and an empty one does not follow another at once.
    pub(super) fn matches(&self, text: &str, each: &mut dyn FnMut(usize, usize)) {
        let (mut from, mut last) = (0, None);
        while let Some((start, end)) = self.find(text, from) {
            if start == end && last == Some(end) {
                let Some(c) = char_at(text, end) else { return };
                from = end + c.len_utf8();
                continue;
            }
            each(start, end);
            (from, last) = (end, Some(end));
        }
    }

    /// Runs the program from an instruction on. Recursion is as deep as looks around are nested.
    fn run(&self, start: usize, text: &str, at: usize, memory: &mut Memory) -> Option<usize> {
        // Where to go on when a way fails: an instruction, a place in the text, and how far back that may still move.
        let mut stack: Vec<(usize, usize, usize)> = Vec::new();
        let (mut pc, mut pos) = (start, at);
        loop {
            let next = match self.program.get(pc)? {
                Step::Match => return Some(pos),
                Step::Jump(to) => Some((*to, pos)),
                Step::Either(one, other) => {
                    stack.push((*other, pos, pos));
                    Some((*one, pos))
                }
                Step::Run { set, least, most, hold } => match run(set, *least, *most, text, pos) {
                    Some((low, end)) => {
                        if !*hold && low < end {
                            stack.push((pc + 1, before(text, end), low));
                        }
                        Some((pc + 1, end))
                    }
                    None => None,
                },
                Step::Assert(assertion) => holds(*assertion, text, pos).then_some((pc + 1, pos)),
                Step::Look { not, next } => {
                    (self.run(pc + 1, text, pos, &mut Memory::default()).is_some() != *not).then_some((*next, pos))
                }
                Step::Behind { set, not } => {
                    let c = text.get(..pos).and_then(|before| before.chars().next_back());
                    (c.is_some_and(|c| set.contains(c)) != *not).then_some((pc + 1, pos))
                }
                Step::Atomic { next } => self.run(pc + 1, text, pos, &mut Memory::default()).map(|end| (*next, end)),
            };
            if let Some(next) = next {
                (pc, pos) = next;
                continue;
            }
            loop {
                let (back, place, low) = stack.pop()?;
                if place > low {
                    stack.push((back, before(text, place), low));
                }
                memory.attempts += 1;
                if memory.attempts < PATIENCE || memory.failed.insert((back, place)) {
                    (pc, pos) = (back, place);
                    break;
                }
            }
        }
    }
}

/// Where the least and where the most of a run end.
fn run(set: &Set, least: u32, most: u32, text: &str, at: usize) -> Option<(usize, usize)> {
    let (mut end, mut count, mut low) = (at, 0, at);
    while count < most
        && let Some(c) = char_at(text, end).filter(|&c| set.contains(c))
    {
        end += c.len_utf8();
        count += 1;
        if count == least {
            low = end;
        }
    }
    (count >= least).then_some((low, end))
}

/// Where the character before a place begins.
fn before(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|text| text.char_indices().next_back()).map_or(0, |(at, _)| at)
}

fn holds(assertion: Assertion, text: &str, at: usize) -> bool {
    let (left, right) = text.split_at_checked(at).unwrap_or((text, ""));
    let edge = || left.chars().next_back().is_some_and(is_word) != right.chars().next().is_some_and(is_word);
    match assertion {
        Assertion::TextStart => left.is_empty(),
        Assertion::LineStart => left.is_empty() || left.ends_with('\n') && !right.is_empty(),
        Assertion::TextEnd => right.is_empty(),
        Assertion::LineEnd => right.is_empty() || right.starts_with('\n'),
        Assertion::LastLineEnd => right.is_empty() || right == "\n",
        Assertion::WordEdge => edge(),
        Assertion::NoWordEdge => !edge(),
    }
}

/// Appends the instructions of a part.
#[cold]
fn emit(node: &Node, program: &mut Vec<Step>) -> Result<(), &'static str> {
    if program.len() > LONGEST {
        return Err("it is too long");
    }
    match node {
        Node::Set(set) => program.push(Step::Run { set: set.clone(), least: 1, most: 1, hold: true }),
        Node::Sequence(parts) => parts.iter().try_for_each(|part| emit(part, program))?,
        Node::Alternatives(ways) => {
            let mut jumps = Vec::new();
            let Some((last, others)) = ways.split_last() else { return Ok(()) };
            for way in others {
                let fork = program.len();
                program.push(Step::Jump(0));
                emit(way, program)?;
                jumps.push(program.len());
                program.push(Step::Jump(0));
                patch(program, fork, |next| Step::Either(fork + 1, next));
            }
            emit(last, program)?;
            for jump in jumps {
                patch(program, jump, Step::Jump);
            }
        }
        Node::Repeat { node, least, most, greed } => repeat(node, *least, *most, *greed, program)?,
        Node::Assert(assertion) => program.push(Step::Assert(*assertion)),
        Node::Behind { set, not } => program.push(Step::Behind { set: set.clone(), not: *not }),
        Node::Look { node, not } => enclosed(node, program, |next| Step::Look { not: *not, next })?,
        Node::Atomic(node) => enclosed(node, program, |next| Step::Atomic { next })?,
    }
    Ok(())
}

/// Appends an instruction with a program of its own.
fn enclosed(node: &Node, program: &mut Vec<Step>, step: impl Fn(usize) -> Step) -> Result<(), &'static str> {
    let at = program.len();
    program.push(Step::Jump(0));
    emit(node, program)?;
    program.push(Step::Match);
    patch(program, at, step);
    Ok(())
}

/// Puts the instruction that knows where the program ends by now in its place.
fn patch(program: &mut [Step], at: usize, step: impl Fn(usize) -> Step) {
    let end = program.len();
    if let Some(place) = program.get_mut(at) {
        *place = step(end);
    }
}

fn repeat(node: &Node, least: u32, most: u32, greed: Greed, program: &mut Vec<Step>) -> Result<(), &'static str> {
    if let (Node::Set(set), Greed::Greedy | Greed::Possessive) = (node, greed) {
        program.push(Step::Run { set: set.clone(), least, most, hold: greed == Greed::Possessive });
        return Ok(());
    }
    if greed == Greed::Possessive {
        let inner = Node::Repeat { node: Box::new(node.clone()), least, most, greed: Greed::Greedy };
        return emit(&Node::Atomic(Box::new(inner)), program);
    }
    let fork = |into: usize, past: usize| match greed {
        Greed::Lazy => Step::Either(past, into),
        _ => Step::Either(into, past),
    };
    for _ in 0..least {
        emit(node, program)?;
    }
    if most == u32::MAX {
        if node.may_be_empty() {
            return Err("what is repeated may be empty");
        }
        let start = program.len();
        program.push(Step::Jump(0));
        emit(node, program)?;
        program.push(Step::Jump(start));
        patch(program, start, |end| fork(start + 1, end));
        return Ok(());
    }
    let mut forks = Vec::new();
    for _ in least..most {
        forks.push(program.len());
        program.push(Step::Jump(0));
        emit(node, program)?;
    }
    for at in forks {
        patch(program, at, |end| fork(at + 1, end));
    }
    Ok(())
}

/// What a match of a part begins with; nothing if that is not known, or the match may be empty.
fn first(node: &Node) -> Option<Set> {
    match node {
        Node::Set(set) => Some(set.clone()),
        Node::Sequence(parts) => first(parts.first()?),
        Node::Alternatives(ways) => ways.iter().map(first).collect::<Option<Vec<_>>>().map(Set::union),
        Node::Repeat { node, least, .. } => first(node).filter(|_| *least > 0),
        Node::Atomic(node) => first(node),
        Node::Look { .. } | Node::Behind { .. } | Node::Assert(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Regex;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn found<'t>(expression: &str, text: &'t str) -> Vec<&'t str> {
        let regex = Regex::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut all = Vec::new();
        regex.matches(text, &mut |start, end| all.push(&text[start..end]));
        all
    }

    #[test]
    fn matches_are_those_of_ruby() {
        for (expression, text, expected) in [
            ("a|ab", "abab", &["a", "a"][..]),
            ("(a|ab)(c|bcd)", "abcd", &["abcd"]),
            ("(?:a|ab)*c", "aababc", &["aababc"]),
            ("a{2,3}?", "aaaa", &["aa", "aa"]),
            ("a*+a", "aaa", &[]),
            ("(?>a+)b|a", "aac", &["a", "a"]),
            (r"\d{1,3}(?=(?:\d{3})*\b)", "1234567", &["1", "234", "567"]),
            (r"(?=\d)", "a1b2", &["", ""]),
            ("x?", "axb", &["", "x", ""]),
            (r"[a-z&&[^aeiou]]+", "hello", &["h", "ll"]),
            (r"(?i:'s|'t)", "'S't's", &["'S", "'t", "'s"]),
            (r"[^\r\n]+$", "ab\ncd", &["ab", "cd"]),
            (r"(?<=a)b|(?<!a)c", "abcac", &["b", "c"]),
            (r"\p{Lu}\p{Ll}*|\P{L}+", "Ab1cD", &["Ab", "1", "D"]),
            (r"[[:x]y]+", "x:y", &["x:y"]),
            (r"\s+(?!\S)|\s+", "a   b  ", &["  ", " ", "  "]),
            (" {2,}", "a  b   c d", &["  ", "   "]),
            (r"\x41\u0042\x{43}", "ABC", &["ABC"]),
        ] {
            if expression.starts_with("[[:") {
                assert!(Regex::compile(expression).is_err());
                continue;
            }
            assert_eq!(found(expression, text), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for expression in [
            "(",
            "a)",
            "[a",
            "a**",
            "*a",
            r"(a)\1",
            r"\p{Greek}",
            "(?<=ab)c",
            "(?<n>a)",
            "(?x)a",
            "(a?)*",
            "a{1,3}+",
            r"(?i:ss)",
            "(?i:é)",
            r"[\p{Lm}]",
            "a{100000}{100000}",
            r"\X",
        ] {
            assert!(Regex::compile(expression).is_err(), "{expression}");
        }
    }

    #[test]
    fn a_match_takes_no_exponential_time() {
        let text: String = core::iter::repeat_n('a', 1000).collect();
        assert!(found("(?:a+)+b", &text).is_empty());
        assert!(found("(?:a|a)*b", &text[..300]).is_empty());
    }
}
