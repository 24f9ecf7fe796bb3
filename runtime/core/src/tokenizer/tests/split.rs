//! Cuts against those of Python's `regex`, and quick steps against the expressions that they stand for.

extern crate std;

use super::super::pattern::Pattern;
use super::super::pre::{self, Cut, GPT2, LLAMA3, QWEN2};
use super::super::split::Splitter;
use super::random;
use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

const SPLITS: &str = include_str!("../splits.txt");

fn pieces(cuts: &[Cut], text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    Splitter::new(cuts).unwrap().split(text, &mut |piece| pieces.push(piece.to_owned()));
    pieces
}

/// A text whose characters other than ASCII's are written like `\u{E9}`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (point, rest) = part.split_once('}').unwrap();
        out.push(char::from_u32(u32::from_str_radix(point, 16).unwrap()).unwrap());
        out.push_str(rest);
    }
    out
}

#[test]
fn pre_tokenizers_cut_as_their_expressions_say() {
    let texts: Vec<String> = SPLITS.lines().filter_map(|line| line.strip_prefix("text ")).map(unescaped).collect();
    let mut lines = SPLITS.lines().skip_while(|line| !line.starts_with("pre "));
    let mut count = 0;
    while let Some(names) = lines.next() {
        let rows: Vec<&str> = lines.by_ref().take(texts.len()).collect();
        for name in names.strip_prefix("pre ").unwrap().split(' ') {
            let cuts = pre::named(name).unwrap_or_else(|| panic!("{name} is not known")).cuts;
            for (text, row) in texts.iter().zip(&rows) {
                let mut rest = text.as_str();
                let mut expected = Vec::new();
                for length in row.split(' ') {
                    let (piece, later) = rest.split_at(length.parse().unwrap());
                    expected.push(piece);
                    rest = later;
                }
                assert_eq!(pieces(cuts, text), expected, "{name}");
            }
            count += 1;
        }
    }
    assert_eq!((texts.len(), count), (24, 91));
}

#[test]
fn quick_steps_cut_as_their_expressions_do() {
    let alphabet = [
        "a", "Z", "'s", "'RE", "'", " ", "  ", "\n", "\r", "\t", "7", "٣", "½", "é", "字", "\u{3000}", "😁", "\u{301}",
        "~", "。", "\0", "_",
    ];
    let mut state = 5;
    for _ in 0..4_000 {
        let text: String = (0..random(&mut state, 16)).map(|_| alphabet[random(&mut state, alphabet.len())]).collect();
        for (quick, expression) in [
            (Cut::Gpt2, GPT2),
            (Cut::Words { digits: 3 }, LLAMA3),
            (Cut::Words { digits: 1 }, QWEN2),
            (Cut::FinalSpaces, r"\s+$"),
        ] {
            assert_eq!(pieces(&[quick], &text), pieces(&[Cut::Isolate(expression)], &text), "{quick:?} {text:?}");
        }
    }
}

#[test]
fn expressions_of_other_syntax_are_refused() {
    for expression in
        ["(", ")", "[a", "a{", "a{x}", r"\p{Greek}", r"\p", r"\q", "(?=a)", "(?i:a", "a)", "(a)", "a{1,2", r"\"]
    {
        // A lone parenthesis is a character, which is never what was meant.
        let compiled = Pattern::compile(expression).is_some();
        assert!(!compiled || matches!(expression, "(" | "(?=a)" | "(a)"), "{expression}");
    }
}

/// Time must not grow with the square of a run's length.
#[test]
fn long_runs_are_cut_in_time() {
    let names = SPLITS.lines().filter_map(|line| line.strip_prefix("pre ")?.split(' ').next());
    for name in names {
        let splitter = Splitter::new(pre::named(name).unwrap().cuts).unwrap();
        for unit in [
            "a", "A", "aA", "1", " ", "\n", " \n", "!", "'", "a ", "\u{301}", "字", "é", "🙂", "\u{3000}", "/", "1a",
            "IMG",
        ] {
            let text = unit.repeat(1 << 14);
            let mut length = 0;
            splitter.split(&text, &mut |piece| length += piece.len());
            assert_eq!(length, text.len(), "{name} {unit:?}");
        }
    }
}
