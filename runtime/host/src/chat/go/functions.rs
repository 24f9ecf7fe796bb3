//! Functions of templates: Go's own, and those that Ollama adds.

use super::format::printf;
use super::value::{List, Value};
use crate::chat::clock;
use std::cmp::Ordering;
use std::sync::Arc;

/// Functions that there are. `and` and `or` are not called here, since they do not look at all of their arguments.
const KNOWN: &[&str] = &[
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "json",
    "currentDate",
    "yesterdayDate",
    "toTypeScriptType",
];
/// Functions of Go that no prompt needs.
const REFUSED: &[&str] = &["call", "html", "js", "urlquery"];
const DAY: u64 = 86_400;

/// Why a function cannot be called; none if it can.
pub(super) fn refusal(name: &str) -> Option<String> {
    if REFUSED.contains(&name) {
        return Some(format!("the function {name} is not supported"));
    }
    (!KNOWN.contains(&name)).then(|| format!("there is no function {name}"))
}

/// Calls a function at `seconds` after the start of 1970, UTC.
///
/// # Errors
/// Why it cannot be called with these.
pub(super) fn call(name: &str, arguments: &[Value], seconds: u64) -> Result<Value, String> {
    let wrong = |count: &str| Err(format!("{name} takes {count}, not {}", arguments.len()));
    let compared = |found: fn(Ordering) -> bool| match arguments {
        [a, b] => compare(a, b).map(|ordering| Value::Bool(ordering.is_some_and(found))),
        _ => wrong("two arguments"),
    };
    let date = |seconds: u64| match arguments.iter().find(|argument| !matches!(argument, Value::Text(_))) {
        Some(argument) => Err(format!("{name} takes texts, not {}", argument.kind())),
        None => Ok(clock::strftime("%Y-%m-%d", seconds).into()),
    };
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("not", _) => wrong("one argument"),
        ("eq", [value, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(value, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("eq", _) => wrong("two arguments or more"),
        ("ne", [a, b]) => Ok(Value::Bool(!equal(a, b)?)),
        ("ne", _) => wrong("two arguments"),
        ("lt", _) => compared(Ordering::is_lt),
        ("le", _) => compared(Ordering::is_le),
        ("gt", _) => compared(Ordering::is_gt),
        ("ge", _) => compared(Ordering::is_ge),
        ("len", [value]) => length(value),
        ("len", _) => wrong("one argument"),
        ("index", [value, indexes @ ..]) => index(value, indexes),
        ("index", _) => wrong("one argument or more"),
        ("slice", [value, indexes @ ..]) => slice(value, indexes),
        ("slice", _) => wrong("one argument or more"),
        ("print" | "println", _) => print(arguments, name == "println"),
        ("printf", [Value::Text(format), rest @ ..]) => Ok(printf(format, rest)?.into()),
        ("printf", [other, ..]) => Err(format!("the format of printf must be a string, not {}", other.kind())),
        ("printf", []) => wrong("one argument or more"),
        ("json", [value]) => {
            let mut text = String::new();
            value.json(&mut text);
            Ok(text.into())
        }
        ("json", _) => wrong("one argument"),
        ("currentDate", _) => date(seconds),
        ("yesterdayDate", _) => date(seconds.saturating_sub(DAY)),
        ("toTypeScriptType", [value]) => Ok(type_script(value).into()),
        ("toTypeScriptType", _) => wrong("one argument"),
        _ => Err(refusal(name).unwrap_or_else(|| format!("{name} cannot be called"))),
    }
}

/// Kinds of values that can be compared.
#[derive(PartialEq)]
enum Basic<'v> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'v str),
}

fn basic(value: &Value) -> Option<Basic<'_>> {
    match value {
        Value::Bool(value) => Some(Basic::Bool(*value)),
        Value::Int(value) => Some(Basic::Int(*value)),
        Value::Byte(value) => Some(Basic::Int((*value).into())),
        Value::Float(value) => Some(Basic::Float(*value)),
        Value::Text(text) => Some(Basic::Text(text)),
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Record(_) => None,
    }
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("{} and {} cannot be compared", a.kind(), b.kind())
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (basic(a), basic(b)) {
        (Some(x), Some(y)) if std::mem::discriminant(&x) == std::mem::discriminant(&y) => Ok(x == y),
        (None, None) => match (a, b) {
            (Value::Nil, _) | (_, Value::Nil) => Ok(a.is_nil() == b.is_nil()),
            (Value::List(x), Value::List(y)) if x.null || y.null => Ok(x.null == y.null),
            (Value::Record(x), Value::Record(y)) => Ok(Arc::ptr_eq(x, y)),
            _ => Err(incompatible(a, b)),
        },
        _ if matches!(a, Value::Nil) || matches!(b, Value::Nil) => Ok(false),
        _ => Err(incompatible(a, b)),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (basic(a), basic(b)) {
        (Some(Basic::Int(x)), Some(Basic::Int(y))) => Ok(Some(x.cmp(&y))),
        (Some(Basic::Float(x)), Some(Basic::Float(y))) => Ok(x.partial_cmp(&y)),
        (Some(Basic::Text(x)), Some(Basic::Text(y))) => Ok(Some(x.cmp(y))),
        _ => Err(incompatible(a, b)),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.as_slice().len(),
        Value::Map(map) => map.entries.len(),
        other => return Err(format!("{} has no length", other.kind())),
    };
    i64::try_from(length).map(Value::Int).map_err(|_| "a length is too large".to_owned())
}

/// A number from 0 to `most`.
fn place(index: &Value, most: usize) -> Result<usize, String> {
    let number = match index {
        Value::Int(number) => *number,
        Value::Byte(number) => (*number).into(),
        other => return Err(format!("an index must be an integer, not {}", other.kind())),
    };
    let place = usize::try_from(number).ok().filter(|place| *place <= most);
    place.ok_or_else(|| format!("index {number} is out of range, of {most} items"))
}

fn index(value: &Value, indexes: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    if matches!(value, Value::Nil) {
        return Err("nil has no items".to_owned());
    }
    for index in indexes {
        value = match &value {
            Value::Text(text) => {
                let place = place(index, text.len())?;
                let byte = text.as_bytes().get(place);
                byte.map(|byte| Value::Byte(*byte)).ok_or_else(|| format!("index {place} is out of range"))?
            }
            Value::List(list) => {
                let place = place(index, list.as_slice().len())?;
                list.as_slice().get(place).cloned().ok_or_else(|| format!("index {place} is out of range"))?
            }
            Value::Map(map) => match index {
                Value::Text(key) => map.entries.get(&**key).cloned().unwrap_or(Value::Nil),
                other => return Err(format!("the key of a map must be a string, not {}", other.kind())),
            },
            other => return Err(format!("{} has no items", other.kind())),
        };
    }
    Ok(value)
}

fn slice(value: &Value, indexes: &[Value]) -> Result<Value, String> {
    let (length, most) = match value {
        Value::Text(text) => (text.len(), text.len()),
        Value::List(list) => (list.as_slice().len(), list.items.len() - list.from.min(list.items.len())),
        other => return Err(format!("{} cannot be sliced", other.kind())),
    };
    if indexes.len() > 3 || (indexes.len() == 3 && matches!(value, Value::Text(_))) {
        return Err(format!("slice takes fewer than {} indexes", indexes.len()));
    }
    let mut places = [0, length, most];
    for (place_, index) in places.iter_mut().zip(indexes) {
        *place_ = place(index, most)?;
    }
    let [from, to, end] = places;
    if from > to || to > end {
        return Err(format!("slice indexes are not in order: {from}, {to}"));
    }
    match value {
        Value::Text(text) => match text.get(from..to) {
            Some(text) => Ok(text.into()),
            None => Err(format!("slice {from} {to} cuts a character of the text in two")),
        },
        Value::List(list) => {
            let (from, to) = (list.from + from, list.from + to);
            // Without what the third index cuts off.
            let items = if indexes.len() == 3 {
                list.items.get(..list.from + end).unwrap_or_default().into()
            } else {
                Arc::clone(&list.items)
            };
            Ok(Value::List(List { items, from, to, form: list.form, null: false }))
        }
        _ => Err("only texts and lists can be sliced".to_owned()),
    }
}

/// `print` puts spaces between what are no texts, `println` between all.
fn print(arguments: &[Value], line: bool) -> Result<Value, String> {
    let mut text = String::new();
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    for (at, value) in arguments.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| arguments.get(before));
        if before.is_some_and(|before| line || !is_text(before) && !is_text(value)) {
            text.push(' ');
        }
        value.print(&mut text)?;
    }
    if line {
        text.push('\n');
    }
    Ok(text.into())
}

/// TypeScript's type of a parameter of a tool.
fn type_script(property: &Value) -> String {
    let Value::Record(record) = property else { return "any".to_owned() };
    let items = |name: &str| match record.fields.iter().find(|field| field.name == name).map(|field| &field.value) {
        Some(Value::List(list)) => list.as_slice().to_vec(),
        _ => Vec::new(),
    };
    let any_of = items("AnyOf");
    let types: Vec<String> = if any_of.is_empty() {
        items("Type").iter().map(|name| json_type(name).to_owned()).collect()
    } else {
        any_of.iter().map(type_script).collect()
    };
    if types.is_empty() { "any".to_owned() } else { types.join(" | ") }
}

fn json_type(name: &Value) -> &'static str {
    let Value::Text(name) = name else { return "any" };
    match &**name {
        "string" => "string",
        "number" | "integer" => "number",
        "boolean" => "boolean",
        "array" => "any[]",
        "object" => "Record<string, any>",
        "null" => "null",
        _ => "any",
    }
}
