//! Bounds on templates that the engine itself does not have.
//!
//! The engine counts steps and the data they make ("fuel"). Three things escape it, and are closed here:
//! - Lists added to each other, or repeated, share their parts; later all items are visited at once, uncounted. So `+` and `*`
//!   are functions of ours that copy and count at once. The filters that add lists are removed, and a list that is written out
//!   is not repeated, because that would be done while parsing.
//! - A namespace that contains itself is walked without end when it is compared, hashed or printed. So namespaces are ours, and
//!   nothing walks into them.
//! - An expression is searched for constants again for each operator in it. So one tag holds a bounded number of tokens.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// How deeply values may nest.
pub(super) const MOST_DEPTH: usize = 64;
/// How deeply calls may nest, as the engine counts: a macro is four or more, a loop one.
pub(super) const MOST_CALLS: usize = 400;
const MOST_TOKENS: usize = 2_000;
/// The names of our operators. No template can spell them, so none can hide them.
pub(super) const ADD: &str = "+";
pub(super) const MULTIPLY: &str = "*";

/// Refuses sources with overlong tags, and those that would make lists while they are parsed.
///
/// # Errors
/// [`crate::Error::TemplateSyntax`].
pub(super) fn check(source: &str, syntax: SyntaxConfig) -> Result<(), crate::Error> {
    let mut tokens = Vec::new();
    let mut in_tag = 0;
    for token in tokenize(source, false, syntax) {
        let (token, span) = token.map_err(|error| super::told(&error))?;
        if matches!(token, Token::TemplateData(_) | Token::VariableStart | Token::BlockStart) {
            in_tag = 0;
        }
        in_tag += 1;
        if in_tag > MOST_TOKENS {
            return Err(refusal("more than 2000 tokens in one tag", span.start_line));
        }
        tokens.push((token, span.start_line));
    }
    for (at, (_, line)) in tokens.iter().enumerate().filter(|(_, (token, _))| matches!(token, Token::Mul)) {
        let operands = [operand(&tokens, at, false), operand(&tokens, at, true)];
        if operands.iter().all(|operand| *operand != Operand::Variable) && operands.contains(&Operand::List) {
            return Err(refusal("a list that is written out cannot be multiplied", *line));
        }
    }
    Ok(())
}

/// What stands beside a multiplication sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// Something that is not known while parsing.
    Variable,
    /// Something that may be.
    Constant,
    /// Something that may be, with a list in it.
    List,
}

type Placed<'s> = (Token<'s>, u16);

/// Names that are values, and names that are operators.
const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];
const OPERATORS: [&str; 5] = ["in", "not", "and", "or", "is"];

/// Whether an expression ends here, so that a bracket after it is a subscript or a call.
fn ends_value(token: Option<&Placed>) -> bool {
    match token {
        Some((Token::Ident(name), _)) => !OPERATORS.contains(name) && !["if", "else", "elif"].contains(name),
        Some((token, _)) => matches!(
            token,
            Token::Str(_) | Token::String(_) | Token::BracketClose | Token::ParenClose | Token::BraceClose
        ),
        None => false,
    }
}

fn operand(tokens: &[Placed], sign: usize, after: bool) -> Operand {
    let step = |at: usize| if after { Some(at + 1) } else { at.checked_sub(1) };
    let mut at = step(sign);
    while let Some((Token::Minus | Token::Plus, _)) = at.and_then(|at| tokens.get(at)) {
        at = at.and_then(step);
    }
    let Some((first, (token, _))) = at.and_then(|at| Some((at, tokens.get(at)?))) else { return Operand::Constant };
    match token {
        Token::Ident(name) if !CONSTANTS.contains(name) => return Operand::Variable,
        Token::BracketOpen | Token::BracketClose | Token::ParenOpen | Token::ParenClose => {}
        Token::BraceOpen | Token::BraceClose => return Operand::List,
        _ => return Operand::Constant,
    }
    // To the other end of the brackets. What has a name in it is not computed while parsing.
    let (mut depth, mut list, mut at) = (0_usize, false, Some(first));
    while let Some((index, (token, _))) = at.and_then(|at| Some((at, tokens.get(at)?))) {
        let opens = matches!(token, Token::BracketOpen | Token::ParenOpen | Token::BraceOpen);
        let closes = matches!(token, Token::BracketClose | Token::ParenClose | Token::BraceClose);
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        list |= matches!(token, Token::Comma) || matches!(token, Token::BracketOpen) && !ends_value(before);
        if matches!(token, Token::Ident(name) if !CONSTANTS.contains(name) && !OPERATORS.contains(name)) {
            return Operand::Variable;
        }
        match (opens || closes, opens == after) {
            (true, true) => depth += 1,
            (true, false) => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
        if depth == 0 {
            let applied = !after && ends_value(before);
            return match list {
                _ if applied => Operand::Variable,
                true => Operand::List,
                false => Operand::Constant,
            };
        }
        at = step(index);
    }
    Operand::List
}

fn refusal(what: &str, line: u16) -> crate::Error {
    crate::Error::TemplateSyntax { line: usize::from(line), reason: what.to_owned() }
}

/// Python's `range`, but counted and made at once.
pub(super) fn range(state: &State, first: i64, second: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = second.map_or((0, first), |stop| (first, stop));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "a range cannot have step 0"));
    }
    let mut items = Vec::new();
    let mut next = Some(start);
    while let Some(item) = next.filter(|&item| if step > 0 { item < stop } else { item > stop }) {
        state.consume_fuel(1)?;
        items.push(Value::from(item));
        next = item.checked_add(step);
    }
    Ok(Value::from(items))
}

fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq
}

fn cannot(what: &str, a: &Value, b: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("cannot {what} {} and {}", a.kind(), b.kind()))
}

/// HTML's escapes, as Python's MarkupSafe writes them.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn add(state: &State, a: &Value, b: &Value) -> Result<Value, Error> {
    if is_list(a) && is_list(b) && a.is_tuple() == b.is_tuple() {
        let mut items = Vec::new();
        for item in a.try_iter()?.chain(b.try_iter()?) {
            state.consume_fuel(1)?;
            items.push(item);
        }
        return Ok(if a.is_tuple() { Tuple::from(items).into() } else { items.into() });
    }
    if let (Some(x), Some(y), true) = (a.as_str(), b.as_str(), a.is_safe() != b.is_safe()) {
        // Python's `Markup` escapes what is added to it.
        state.consume_fuel((x.len() as u64 + y.len() as u64) / 8)?;
        let [x, y] =
            [(a, x), (b, y)].map(|(value, text)| if value.is_safe() { text.to_owned() } else { escaped(text) });
        return Ok(Value::from_safe_string(x + &y));
    }
    if let (Some(a), Some(b), true) = (a.as_str(), b.as_str(), a.is_safe()) {
        state.consume_fuel((a.len() as u64 + b.len() as u64) / 64)?;
        return Ok(Value::from_safe_string([a, b].concat()));
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        state.consume_fuel((a.len() as u64 + b.len() as u64) / 64)?;
        return Ok(Value::from([a, b].concat()));
    }
    numbers("add", a, b, i128::checked_add, |a, b| a + b)
}

pub(super) fn multiply(state: &State, a: &Value, b: &Value) -> Result<Value, Error> {
    let count = |value: &Value| value.is_integer().then(|| i64::try_from(value.clone()).ok()).flatten();
    let (repeated, times) = if is_list(a) || a.as_str().is_some() { (a, count(b)) } else { (b, count(a)) };
    let Some(times) = times.filter(|_| is_list(repeated) || repeated.as_str().is_some()) else {
        return numbers("multiply", a, b, i128::checked_mul, |a, b| a * b);
    };
    let times = u64::try_from(times).unwrap_or(0);
    if let Some(text) = repeated.as_str() {
        state.consume_fuel((text.len() as u64).saturating_mul(times) / 64)?;
        return Ok(Value::from(text.repeat(usize::try_from(times).unwrap_or(0))));
    }
    let mut items = Vec::new();
    for _ in 0..times {
        state.consume_fuel(1)?;
        for item in repeated.try_iter()? {
            state.consume_fuel(1)?;
            items.push(item);
        }
    }
    Ok(Value::from(items))
}

fn numbers(
    what: &str,
    a: &Value,
    b: &Value,
    exact: fn(i128, i128) -> Option<i128>,
    float: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(a) || !is_number(b) {
        return Err(cannot(what, a, b));
    }
    let integer = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ => value.is_integer().then(|| i128::try_from(value.clone()).ok()).flatten(),
    };
    if let (Some(x), Some(y)) = (integer(a), integer(b)) {
        let result = exact(x, y).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the number is too large"))?;
        return Ok(i64::try_from(result).map_or_else(|_| Value::from(result), Value::from));
    }
    Ok(Value::from(float(f64::try_from(a.clone())?, f64::try_from(b.clone())?)))
}

/// Python's `%` of numbers, whose result has the sign of `b`.
pub(super) fn remainder(a: &Value, b: &Value) -> Result<Value, Error> {
    let exact = |a: i128, b: i128| {
        a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    };
    let float = |a: f64, b: f64| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    };
    if !b.is_true() {
        return Err(Error::new(ErrorKind::InvalidOperation, "the remainder of a division by zero"));
    }
    numbers("divide", a, b, exact, float)
}
