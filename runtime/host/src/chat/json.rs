//! Texts of the engine's values: JSON, and Python's.

use super::guard::MOST_DEPTH;
use super::python::{Arguments, invalid};
use minijinja::value::ValueKind;
use minijinja::{State, Value};

/// The most characters of an indentation.
const MOST_INDENT: usize = 16;

/// The `tojson` filter as Hugging Face defines it: Python's `json.dumps` without escaping for HTML.
pub(super) fn to_json(state: &mut State, value: &Value, arguments: &mut Arguments) -> Result<Value, minijinja::Error> {
    let [ascii, indent, separators, sorted] = ["ensure_ascii", "indent", "separators", "sort_keys"]
        .map(|name| arguments.next(name).map(|value| value.filter(|value| !value.is_none())));
    let (ascii, indent, separators, sorted) = (ascii?, indent?, separators?, sorted?);
    let indent = match indent {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(MOST_INDENT + 1)),
        }),
    };
    if indent.as_ref().is_some_and(|indent| indent.len() > MOST_INDENT) {
        return Err(invalid("tojson indents by at most 16"));
    }
    let separators: Option<Vec<Value>> = separators.map(|both| both.try_iter().map(Iterator::collect)).transpose()?;
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.to_string(), key.to_string()],
        Some(_) => return Err(invalid("tojson takes two separators")),
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let (sorted, ascii) = (sorted.is_some_and(|value| value.is_true()), ascii.is_some_and(|value| value.is_true()));
    let mut json = Writer { state, indent, item, key, sorted, ascii, python: false, text: String::new(), paid: 0 };
    json.value(value, 0)?;
    Ok(json.text.into())
}

/// Python's `str` of a value that is no text.
pub(super) fn python(state: &State, value: &Value) -> Result<String, minijinja::Error> {
    if value.is_undefined() {
        return Ok(String::new());
    }
    let [item, key] = [", ", ": "].map(str::to_owned);
    let (indent, text) = (None, String::new());
    let mut writer = Writer { state, indent, item, key, sorted: false, ascii: false, python: true, text, paid: 0 };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a, 's, 'e> {
    state: &'a State<'s, 'e>,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
    ascii: bool,
    /// Whether it writes Python's texts and not JSON.
    python: bool,
    text: String,
    paid: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        if depth > MOST_DEPTH {
            return Err(invalid("recursion limit exceeded in a value's text"));
        }
        // One step for each value and 64 bytes, as the engine counts.
        self.state.consume_fuel(1 + (self.text.len() - self.paid) as u64 / 64)?;
        self.paid = self.text.len();
        let words = if self.python { ["Undefined", "None", "True", "False"] } else { ["", "null", "true", "false"] };
        match value.kind() {
            ValueKind::Undefined if !self.python => return Err(invalid("what is undefined has no JSON form")),
            ValueKind::Undefined => self.text.push_str(words[0]),
            ValueKind::None => self.text.push_str(words[1]),
            ValueKind::Bool => self.text.push_str(if value.is_true() { words[2] } else { words[3] }),
            ValueKind::Number => self.number(value)?,
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.text.push('{');
                for (index, key) in keys.iter().enumerate() {
                    self.separate(index == 0, depth + 1);
                    // The keys of JSON are texts.
                    if self.python || key.as_str().is_some() {
                        self.value(key, depth + 1)?;
                    } else {
                        self.text.push('"');
                        self.value(key, depth + 1)?;
                        self.text.push('"');
                    }
                    self.text.push_str(&self.key);
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                self.close(keys.is_empty(), depth, '}');
            }
            // Python has no JSON for generators and views.
            ValueKind::Iterable if !self.python => {
                return Err(invalid("only lists have a JSON form, not what is looped over once"));
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let [open, end] = if self.python && value.is_tuple() { ['(', ')'] } else { ['[', ']'] };
                self.text.push(open);
                let mut count = 0;
                for item in value.try_iter()? {
                    self.separate(count == 0, depth + 1);
                    count += 1;
                    self.value(&item, depth + 1)?;
                }
                if count == 1 && open == '(' {
                    self.text.push(',');
                }
                self.close(count == 0, depth, end);
            }
            _ => match value.as_str() {
                Some(text) if self.python => self.quoted(text),
                Some(text) => self.string(text),
                None if self.python => self.text.push_str(&value.to_string()),
                None => return Err(invalid("value has no JSON form")),
            },
        }
        Ok(())
    }

    /// A number, floats as Python writes them: in shortest digits, with an exponent below 1e-4 and from 1e16.
    fn number(&mut self, value: &Value) -> Result<(), minijinja::Error> {
        if value.is_integer() {
            self.text.push_str(&value.to_string());
            return Ok(());
        }
        let float = f64::try_from(value.clone())?;
        let text = format!("{float:e}");
        let parts = text.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)));
        match parts {
            Some((digits, exponent)) if !(-4..16).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                self.text.push_str(&format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
            }
            _ if self.python || float.is_finite() => self.text.push_str(&format!("{float:?}").to_lowercase()),
            _ if float.is_nan() => self.text.push_str("NaN"),
            _ => self.text.push_str(if float > 0.0 { "Infinity" } else { "-Infinity" }),
        }
        Ok(())
    }

    /// Python's `repr` of a text.
    fn quoted(&mut self, text: &str) {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.text.push(quote);
        for c in text.chars() {
            // The library's tables for this were made from Python's; combining characters after another are not escaped.
            let visible = |c: char| !format!("{:?}", ['a', c].iter().collect::<String>()).contains("\\u{");
            match c {
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\\' => self.text.push_str("\\\\"),
                c if c == quote => self.text.extend(['\\', c]),
                ' '..='~' => self.text.push(c),
                '\0'..='\u{a0}' | '\u{ad}' => self.text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if visible(c) => self.text.push(c),
                c if u32::from(c) <= 0xffff => self.text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => self.text.push_str(&format!("\\U{:08x}", u32::from(c))),
            }
        }
        self.text.push(quote);
    }

    fn separate(&mut self, first: bool, depth: usize) {
        if !first {
            self.text.push_str(&self.item);
        }
        self.new_line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, sign: char) {
        if !empty {
            self.new_line(depth);
        }
        self.text.push(sign);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.text.push('\n');
            self.text.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}
