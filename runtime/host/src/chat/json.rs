//! JSON text of the engine's values.

use super::guard::MOST_DEPTH;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{ErrorKind, State, Value};

/// The `tojson` filter as Hugging Face defines it: Python's `json.dumps` without escaping for HTML.
pub(super) fn to_json(
    state: &State,
    value: &Value,
    positional: Rest<Value>,
    options: Kwargs,
) -> Result<String, minijinja::Error> {
    let first = positional.first().filter(|value| value.kind() == ValueKind::Number).cloned();
    let indent = options.get::<Option<Value>>("indent")?.or(first).filter(|value| !value.is_none());
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson takes two separators")),
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let indent = indent.map(usize::try_from).transpose()?;
    if indent.is_some_and(|indent| indent > 16) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson indents by at most 16"));
    }
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut json = Json { state, indent, item, key, sorted, ascii, text: String::new(), paid: 0 };
    json.value(value, 0)?;
    Ok(json.text)
}

struct Json<'a, 's, 'e> {
    state: &'a State<'s, 'e>,
    indent: Option<usize>,
    item: String,
    key: String,
    sorted: bool,
    ascii: bool,
    text: String,
    paid: usize,
}

impl Json<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        if depth > MOST_DEPTH {
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "recursion limit exceeded in tojson"));
        }
        // One step for each value and 64 bytes, as the engine counts.
        self.state.consume_fuel(1 + (self.text.len() - self.paid) as u64 / 64)?;
        self.paid = self.text.len();
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&value.to_string()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.text.push('{');
                for (index, key) in keys.iter().enumerate() {
                    self.separate(index == 0, depth + 1);
                    self.string(&key.to_string());
                    self.text.push_str(&self.key);
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                self.close(keys.is_empty(), depth, '}');
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.text.push('[');
                let mut empty = true;
                for item in value.try_iter()? {
                    self.separate(empty, depth + 1);
                    empty = false;
                    self.value(&item, depth + 1)?;
                }
                self.close(empty, depth, ']');
            }
            _ => match value.as_str() {
                Some(text) => self.string(text),
                None => return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "value has no JSON form")),
            },
        }
        Ok(())
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
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * depth));
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
