//! Bounds on templates that the engine itself does not have.
//!
//! The engine counts steps and the data they make ("fuel"). Three things escape it, and are closed here:
//! - Lists added to each other, or repeated, share their parts; later all items are visited at once, uncounted. So `+` and `*`
//!   are functions of ours that copy and count at once. The filters that add lists are removed, and a list that is written out
//!   is not repeated, because that would be done while parsing.
//! - A namespace that contains itself is walked without end when it is compared, hashed or printed. So namespaces may only
//!   be used by their attributes, as every real template does.
//! - An expression is searched for constants again for each operator in it. So one tag holds a bounded number of tokens.

use minijinja::machinery::{Instruction, Instructions, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::collections::HashSet;

/// How deeply calls and JSON values may nest.
pub(super) const MOST_DEPTH: usize = 64;
const MOST_TOKENS: usize = 2_000;
/// The names of our operators. No template can spell them, so none can hide them.
const ADD: &str = "+";
const MULTIPLY: &str = "*";
const NAMESPACE: &str = "namespace()";

/// Refuses sources with overlong tags, and those that use a namespace other than by its attributes.
///
/// # Errors
/// [`crate::Error::TemplateSyntax`].
pub(super) fn check(source: &str, syntax: SyntaxConfig) -> Result<(), crate::Error> {
    let mut tokens = Vec::new();
    let (mut in_tag, mut has_list, mut has_times) = (0, false, false);
    for token in tokenize(source, false, syntax) {
        let (token, span) = token.map_err(|error| super::told(&error))?;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => {
                (in_tag, has_list, has_times) = (0, false, false);
            }
            Token::Mul => has_times = true,
            // After a value, the bracket is a subscript.
            Token::BracketOpen => {
                let value = |(token, _): &(Token, u16)| match token {
                    Token::Ident(name) => !["in", "not", "and", "or", "is", "if", "else", "elif"].contains(name),
                    Token::Str(_) | Token::String(_) | Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                        true
                    }
                    _ => false,
                };
                has_list |= !tokens.last().is_some_and(value);
            }
            _ => {}
        }
        in_tag += 1;
        if in_tag > MOST_TOKENS {
            return Err(refusal("more than 2000 tokens in one tag", span.start_line));
        }
        if has_list && has_times {
            return Err(refusal("a list and a multiplication in one tag", span.start_line));
        }
        tokens.push((token, span.start_line));
    }
    let token = |index: usize| tokens.get(index).map(|(token, _)| token);
    let before = |index: usize| index.checked_sub(1).and_then(token);
    let is_set = |index: usize| {
        matches!(before(index), Some(Token::Ident("set"))) && matches!(token(index + 1), Some(Token::Assign))
    };

    let mut namespaces = HashSet::new();
    for (index, (_, line)) in
        tokens.iter().enumerate().filter(|(_, (token, _))| matches!(token, Token::Ident("namespace")))
    {
        // Without a call it is a name like any other; see `restrict`.
        if matches!(before(index), Some(Token::Dot)) || !matches!(token(index + 1), Some(Token::ParenOpen)) {
            continue;
        }
        let target = index.checked_sub(2).filter(|&target| is_set(target)).and_then(token);
        let whole = matches!(token(closing(&tokens, index + 1) + 1), Some(Token::BlockEnd));
        match target {
            Some(Token::Ident(name)) if whole => namespaces.insert(*name),
            _ => return Err(refusal("namespace() is only supported as {% set name = namespace(…) %}", *line)),
        };
    }
    for (index, (this, line)) in tokens.iter().enumerate() {
        if !matches!(this, Token::Ident(name) if namespaces.contains(name)) || matches!(before(index), Some(Token::Dot))
        {
            continue;
        }
        let by_attribute = matches!(token(index + 1), Some(Token::Dot | Token::BracketOpen | Token::Ident("is")));
        if !by_attribute && !is_set(index) {
            return Err(refusal("a namespace can only be used by its attributes", *line));
        }
    }
    Ok(())
}

/// The index of the parenthesis that closes the one at `open`, or beyond the end.
fn closing<T>(tokens: &[(Token, T)], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::ParenOpen => depth += 1,
            Token::ParenClose if depth <= 1 => return index,
            Token::ParenClose => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

fn refusal(what: &str, line: u16) -> crate::Error {
    crate::Error::TemplateSyntax { line: usize::from(line), reason: what.to_owned() }
}

/// Makes every `+`, `*` and `namespace()` a call of a function that no template can name.
pub(super) fn replace_operators(instructions: &mut Instructions) {
    let mut index = 0;
    while let Some(instruction) = instructions.get_mut(index) {
        let name = match instruction {
            Instruction::Add => Some((ADD, Some(2))),
            Instruction::Mul => Some((MULTIPLY, Some(2))),
            Instruction::CallFunction("namespace", arguments) => Some((NAMESPACE, *arguments)),
            _ => None,
        };
        if let Some((name, arguments)) = name {
            *instruction = Instruction::CallFunction(name, arguments);
        }
        index += 1;
    }
}

/// Provides our operators, and removes the functions that add lists, or show the state, uncounted.
pub(super) fn restrict(environment: &mut Environment) {
    environment.add_function(ADD, add);
    environment.add_function(MULTIPLY, multiply);
    environment.add_function(NAMESPACE, minijinja::functions::namespace);
    environment.remove_global("namespace");
    environment.add_function("range", range);
    for filter in ["chain", "sum"] {
        environment.remove_filter(filter);
    }
    environment.remove_global("debug");
}

/// Python's `range`, but counted and made at once.
fn range(state: &State, first: i64, second: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
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
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn cannot(what: &str, a: &Value, b: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("cannot {what} {} and {}", a.kind(), b.kind()))
}

fn add(state: &State, a: &Value, b: &Value) -> Result<Value, Error> {
    if is_list(a) && is_list(b) {
        let mut items = Vec::new();
        for item in a.try_iter()?.chain(b.try_iter()?) {
            state.consume_fuel(1)?;
            items.push(item);
        }
        return Ok(Value::from(items));
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        state.consume_fuel((a.len() as u64 + b.len() as u64) / 64)?;
        return Ok(Value::from([a, b].concat()));
    }
    numbers("add", a, b, i128::checked_add, |a, b| a + b)
}

fn multiply(state: &State, a: &Value, b: &Value) -> Result<Value, Error> {
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

/// Python's methods, except that `str.format` takes no format specifications: a width in one is memory uncounted.
pub(super) fn method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    if method == "format" && value.as_str().is_some_and(|text| text.contains(':')) {
        return Err(Error::new(ErrorKind::InvalidOperation, "format specifications are not supported"));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}
