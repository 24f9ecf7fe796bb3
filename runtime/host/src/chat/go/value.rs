//! Values of templates, their truth and their texts, as Go has them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Go's `nil`, of no type; what a map has no entry for.
    Nil,
    Bool(bool),
    Int(i64),
    /// A byte of a text.
    Byte(u8),
    Float(f64),
    Text(Arc<str>),
    List(List),
    Map(Map),
    Record(Arc<Record>),
}

/// A part of a list. It may be made longer again, as in Go.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) items: Arc<[Value]>,
    pub(super) from: usize,
    pub(super) to: usize,
    /// How it prints.
    pub(super) form: Form,
    /// Whether it is Go's nil, which equals nil and is `null` in JSON.
    pub(super) null: bool,
}

/// How a list or a map prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As Go prints it.
    Plain,
    /// As JSON.
    Json,
    /// A list of one item as this item, in JSON too.
    Single,
}

#[derive(Clone, Debug)]
pub(super) struct Map {
    pub(super) entries: Arc<BTreeMap<String, Value>>,
    pub(super) form: Form,
}

/// Go's struct.
#[derive(Debug)]
pub(super) struct Record {
    /// What it is, for errors.
    pub(super) name: &'static str,
    /// Whether it prints as JSON; others are not printed.
    pub(super) prints: bool,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Its key in JSON.
    pub(super) key: &'static str,
    /// Whether JSON leaves it out if it is empty.
    pub(super) omitted: bool,
    pub(super) value: Value,
}

impl List {
    pub(super) fn new(items: Vec<Value>, form: Form) -> List {
        let to = items.len();
        List { items: items.into(), from: 0, to, form, null: false }
    }

    pub(super) fn as_slice(&self) -> &[Value] {
        self.items.get(self.from..self.to).unwrap_or_default()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl Value {
    pub(super) fn list(items: Vec<Value>) -> Value {
        Value::List(List::new(items, Form::Plain))
    }

    /// Go's nil of a type of lists.
    pub(super) fn null_list(form: Form) -> Value {
        Value::List(List { null: true, ..List::new(Vec::new(), form) })
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Value::Nil | Value::List(List { null: true, .. }))
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Byte(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.as_slice().is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Record(_) => true,
        }
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Byte(_) => "uint8",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Record(record) => record.name,
        }
    }

    /// A bound of the bytes that its text takes.
    pub(super) fn weight(&self) -> u64 {
        let sum = |values: &mut dyn Iterator<Item = u64>| values.fold(2_u64, u64::saturating_add);
        match self {
            Value::Text(text) => text.len() as u64,
            Value::List(list) => sum(&mut list.as_slice().iter().map(Value::weight)),
            Value::Map(map) => sum(&mut map.entries.iter().map(|(key, value)| value.weight() + key.len() as u64)),
            Value::Record(record) => sum(&mut record.fields.iter().map(|field| field.value.weight() + 16)),
            _ => 16,
        }
    }

    /// Its text, as Go's `%v` writes it.
    ///
    /// # Errors
    /// What cannot be printed.
    pub(super) fn print(&self, out: &mut String) -> Result<(), String> {
        match self {
            Value::Nil => out.push_str("<nil>"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Byte(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&float(*value)),
            Value::Text(text) => out.push_str(text),
            Value::List(List { form: Form::Json, .. }) | Value::Map(Map { form: Form::Json, .. }) => self.json(out),
            Value::List(list) => match (list.form, list.as_slice()) {
                (Form::Single, []) => {}
                (Form::Single, [only]) => only.print(out)?,
                (_, items) => {
                    out.push('[');
                    for (index, item) in items.iter().enumerate() {
                        out.push_str(if index == 0 { "" } else { " " });
                        item.print(out)?;
                    }
                    out.push(']');
                }
            },
            Value::Map(map) => {
                out.push_str("map[");
                for (index, (key, value)) in map.entries.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { " " });
                    out.push_str(key);
                    out.push(':');
                    value.print(out)?;
                }
                out.push(']');
            }
            Value::Record(record) if record.prints => self.json(out),
            Value::Record(record) => return Err(format!("a {} cannot be printed, only its fields", record.name)),
        }
        Ok(())
    }

    /// Its JSON, as Go's `json.Marshal` writes it: without spaces, keys of maps in order, `<`, `>` and `&` escaped.
    pub(super) fn json(&self, out: &mut String) {
        match self {
            Value::Nil => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Byte(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&json_float(*value)),
            Value::Text(text) => json_text(text, out),
            Value::List(list) => match (list.form, list.as_slice()) {
                (Form::Single, [only]) => only.json(out),
                (_, []) if list.null => out.push_str("null"),
                (_, items) => {
                    out.push('[');
                    for (index, item) in items.iter().enumerate() {
                        out.push_str(if index == 0 { "" } else { "," });
                        item.json(out);
                    }
                    out.push(']');
                }
            },
            Value::Map(map) => {
                out.push('{');
                for (index, (key, value)) in map.entries.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    json_text(key, out);
                    out.push(':');
                    value.json(out);
                }
                out.push('}');
            }
            Value::Record(record) => {
                out.push('{');
                let shown = record.fields.iter().filter(|field| !field.omitted || field.value.is_true());
                for (index, field) in shown.enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    json_text(field.key, out);
                    out.push(':');
                    field.value.json(out);
                }
                out.push('}');
            }
        }
    }
}

/// The shortest digits of a number that is not negative, and the power of ten of the first.
fn digits(value: f64) -> (String, i32) {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// A float as Go's `%v` writes it: with an exponent below a ten-thousandth, and from a million on.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return if sign.is_empty() { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (digits, exponent) = digits(value.abs());
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let (first, rest) = digits.split_at(1.min(digits.len()));
    let point = if rest.is_empty() { "" } else { "." };
    let minus = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{minus}{:02}", exponent.abs())
}

fn json_float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{value}")
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
