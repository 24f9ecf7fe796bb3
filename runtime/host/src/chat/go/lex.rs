//! Tokens of Go's `text/template`.

use super::syntax;
use crate::Error;
use std::sync::Arc;

/// A part of a template's source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside of actions, trimmed.
    Text(Arc<str>),
    /// The beginning of an action.
    Open,
    /// The end of an action.
    Close,
    Assign,
    Declare,
    Pipe,
    ParenOpen,
    ParenClose,
    /// A comma, or a sign that no action has.
    Sign(char),
    /// The name of a function.
    Name(String),
    Keyword(Keyword),
    /// `.Name`, without the dot.
    Field(String),
    /// `$` or `$name`, with the sign.
    Variable(String),
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    /// The end of the source.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("block", Keyword::Block),
    ("break", Keyword::Break),
    ("continue", Keyword::Continue),
    ("define", Keyword::Define),
    ("else", Keyword::Else),
    ("end", Keyword::End),
    ("if", Keyword::If),
    ("range", Keyword::Range),
    ("template", Keyword::Template),
    ("with", Keyword::With),
];

/// A token with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    /// From 1.
    pub(super) line: usize,
    /// Whether space is before it, within an action.
    pub(super) spaced: bool,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// The tokens of a source, the last of which is [`Token::End`].
///
/// # Errors
/// [`Error::TemplateSyntax`].
pub(super) fn tokens(source: &str) -> Result<Vec<Placed>, Error> {
    let mut lexer = Lexer { rest: source, line: 1, spaced: false, parens: 0, tokens: Vec::new() };
    while let Some((text, inside)) = lexer.rest.split_once("{{") {
        let trims = inside.starts_with('-') && inside[1..].starts_with(SPACES);
        let shown = if trims { text.trim_end_matches(SPACES) } else { text };
        lexer.text(shown);
        lexer.take(text.len() + if trims { 4 } else { 2 });
        if lexer.rest.starts_with("/*") { lexer.comment()? } else { lexer.action()? }
    }
    let rest = lexer.rest;
    lexer.text(rest);
    lexer.take(rest.len());
    lexer.put(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    spaced: bool,
    parens: usize,
    tokens: Vec<Placed>,
}

impl<'s> Lexer<'s> {
    fn put(&mut self, token: Token) {
        self.tokens.push(Placed { token, line: self.line, spaced: self.spaced });
        self.spaced = false;
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.put(Token::Text(text.into()));
        }
    }

    /// Goes on by this many bytes, and returns them.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(syntax(self.line, reason))
    }

    /// How many bytes end an action here, and whether they trim the text after it.
    fn close(&self) -> Option<(usize, bool)> {
        if self.rest.starts_with("}}") {
            return Some((2, false));
        }
        (self.rest.starts_with(SPACES) && self.rest[1..].starts_with("-}}")).then_some((4, true))
    }

    fn end(&mut self, (bytes, trims): (usize, bool)) {
        self.take(bytes);
        if trims {
            self.take(self.rest.len() - self.rest.trim_start_matches(SPACES).len());
        }
    }

    fn comment(&mut self) -> Result<(), Error> {
        let Some(length) = self.rest.find("*/") else { return self.fault("unclosed comment") };
        self.take(length + 2);
        let Some(close) = self.close() else { return self.fault("a comment must end right before }}") };
        self.end(close);
        Ok(())
    }

    fn action(&mut self) -> Result<(), Error> {
        self.spaced = false;
        self.put(Token::Open);
        self.parens = 0;
        loop {
            if let Some(close) = self.close() {
                if self.parens > 0 {
                    return self.fault("unclosed parenthesis");
                }
                self.put(Token::Close);
                self.end(close);
                return Ok(());
            }
            let Some(c) = self.rest.chars().next() else { return self.fault("unclosed action") };
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    self.take(1);
                    self.spaced = true;
                }
                '=' => self.sign(Token::Assign),
                ':' if self.rest.starts_with(":=") => {
                    self.put(Token::Declare);
                    self.take(2);
                }
                ':' => return self.fault("expected :="),
                '|' => self.sign(Token::Pipe),
                '(' => {
                    self.parens += 1;
                    self.sign(Token::ParenOpen);
                }
                ')' => {
                    let Some(parens) = self.parens.checked_sub(1) else {
                        return self.fault("a parenthesis is closed that was not opened");
                    };
                    self.parens = parens;
                    self.sign(Token::ParenClose);
                }
                '"' => self.string()?,
                '`' => self.raw_string()?,
                '\'' => self.character()?,
                '$' => self.variable()?,
                '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.field()?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                c if is_word(c) => self.word()?,
                c if c.is_ascii_graphic() => self.sign(Token::Sign(c)),
                c => return self.fault(format!("unrecognized character {:?} in an action", c)),
            }
        }
    }

    fn sign(&mut self, token: Token) {
        self.put(token);
        self.take(1);
    }

    /// Takes letters, digits and low lines, which must be at their end after that.
    fn name(&mut self) -> Result<&'s str, Error> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let name = self.take(end);
        match self.rest.chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => Ok(name),
            Some(_) if self.rest.starts_with("}}") => Ok(name),
            Some(c) => self.fault(format!("unexpected character {c:?} after {name:?}")),
        }
    }

    fn word(&mut self) -> Result<(), Error> {
        let name = self.name()?;
        let keyword = KEYWORDS.iter().find(|(word, _)| *word == name).map(|(_, keyword)| *keyword);
        self.put(match (keyword, name) {
            (Some(keyword), _) => Token::Keyword(keyword),
            (None, "nil") => Token::Nil,
            (None, "true" | "false") => Token::Bool(name == "true"),
            (None, name) => Token::Name(name.to_owned()),
        });
        Ok(())
    }

    fn field(&mut self) -> Result<(), Error> {
        self.take(1);
        let name = self.name()?;
        self.put(if name.is_empty() { Token::Dot } else { Token::Field(name.to_owned()) });
        Ok(())
    }

    fn variable(&mut self) -> Result<(), Error> {
        self.take(1);
        let name = self.name()?;
        self.put(Token::Variable(format!("${name}")));
        Ok(())
    }

    /// The length of a quoted text with both quotes; a backslash takes the sign after it along.
    fn quoted(&self, quote: char) -> Option<usize> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => return None,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => return Some(at + 1),
                _ => {}
            }
        }
        None
    }

    fn string(&mut self) -> Result<(), Error> {
        let Some(length) = self.quoted('"') else { return self.fault("unterminated string") };
        let text = self.rest.get(1..length - 1).unwrap_or_default();
        match unquoted(text, '"').and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(value) => self.put(Token::String(value.into())),
            None => return self.fault(format!("the string {text:?} has an escape that is not valid, or is not UTF-8")),
        }
        self.take(length);
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), Error> {
        let Some(length) = self.rest.get(1..).and_then(|rest| rest.find('`')) else {
            return self.fault("unterminated raw string");
        };
        self.put(Token::String(self.rest.get(1..=length).unwrap_or_default().replace('\r', "").into()));
        self.take(length + 2);
        Ok(())
    }

    fn character(&mut self) -> Result<(), Error> {
        let Some(length) = self.quoted('\'') else { return self.fault("unterminated character") };
        let text = self.rest.get(1..length - 1).unwrap_or_default();
        let bytes = unquoted(text, '\'');
        let decoded = bytes.as_deref().map(std::str::from_utf8);
        let value = match (decoded, bytes.as_deref()) {
            (Some(Ok(text)), _) => text.chars().next().filter(|c| c.len_utf8() == text.len()).map(u32::from),
            (Some(Err(_)), Some([byte])) => Some(u32::from(*byte)),
            _ => None,
        };
        let Some(value) = value else { return self.fault(format!("{text:?} is not one character")) };
        self.put(Token::Int(value.into()));
        self.take(length);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let signed = self.rest.strip_prefix(['+', '-']).unwrap_or(self.rest);
        let hexadecimal = signed.starts_with("0x") || signed.starts_with("0X");
        let mut end = self.rest.len() - signed.len();
        let mut before = ' ';
        for c in signed.chars() {
            let exponent = !hexadecimal && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
            if !(is_word(c) || c == '.' || exponent) {
                break;
            }
            end += c.len_utf8();
            before = c;
        }
        let text = self.rest.get(..end).unwrap_or_default();
        let Some(token) = number(text) else { return self.fault(format!("the number {text:?} cannot be read")) };
        self.put(token);
        self.take(end);
        Ok(())
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

/// The value of a number as Go writes it.
fn number(text: &str) -> Option<Token> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, plain) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        _ if lower.len() > 1 && lower.starts_with('0') && !lower.contains(['.', 'e']) => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    // Low lines stand between digits, or after the letter of a base.
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
    for (at, _) in plain.match_indices('_') {
        let (before, after) = plain.split_at(at);
        let begins = before.is_empty() && radix != 10;
        if !(begins || digit(before.chars().last())) || !digit(after.chars().nth(1)) {
            return None;
        }
    }
    let plain = plain.replace('_', "");
    if plain.starts_with(['+', '-']) {
        return None;
    }
    if radix != 10 || !plain.contains(['.', 'e']) {
        let size = i128::from_str_radix(&plain, radix).ok()?;
        return i64::try_from(if negative { -size } else { size }).ok().map(Token::Int);
    }
    if !plain.contains(|c: char| c.is_ascii_digit()) || plain.contains(|c: char| c.is_alphabetic() && c != 'e') {
        return None;
    }
    let size: f64 = plain.parse().ok().filter(|size: &f64| size.is_finite())?;
    Some(Token::Float(if negative { -size } else { size }))
}

/// The bytes of a text in quotes, its escapes read; none if one of them is not valid.
fn unquoted(text: &str, quote: char) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let sign = escape.chars().next()?;
        let digits = |from: usize, count: usize, radix: u32| {
            let digits = escape.get(from..from + count).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
            u32::from_str_radix(digits?, radix).ok()
        };
        let mut length = 1;
        let simple = match sign {
            'a' => Some(7),
            'b' => Some(8),
            't' => Some(9),
            'n' => Some(10),
            'v' => Some(11),
            'f' => Some(12),
            'r' => Some(13),
            '\\' => Some(b'\\'),
            c if c == quote => Some(c as u8),
            _ => None,
        };
        match (simple, sign) {
            (Some(byte), _) => bytes.push(byte),
            (None, 'x') => {
                bytes.push(u8::try_from(digits(1, 2, 16)?).ok()?);
                length = 3;
            }
            (None, '0'..='7') => {
                bytes.push(u8::try_from(digits(0, 3, 8)?).ok()?);
                length = 3;
            }
            (None, 'u' | 'U') => {
                let count = if sign == 'u' { 4 } else { 8 };
                let c = char::from_u32(digits(1, count, 16)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                length = count + 1;
            }
            _ => return None,
        }
        rest = escape.get(length..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}
