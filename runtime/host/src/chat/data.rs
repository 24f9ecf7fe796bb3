//! Values that a template is given.

use super::Message;
use minijinja::Value;

/// A value that a template is given: what JSON can say, with the keys of a map in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `none`.
    None,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Data>),
    /// A map; of two entries with one key, the last counts.
    Map(Vec<(String, Data)>),
}

impl Data {
    /// The number of maps in this value, itself included, and the bytes of its texts.
    pub(super) fn size(&self) -> (u64, u64) {
        let add = |(a, b): (u64, u64), (c, d): (u64, u64)| (a.saturating_add(c), b.saturating_add(d));
        match self {
            Data::None | Data::Bool(_) | Data::Int(_) | Data::Float(_) => (0, 0),
            Data::Text(text) => (0, text.len() as u64),
            Data::List(items) => items.iter().map(Data::size).fold((0, 0), add),
            Data::Map(entries) => entries.iter().map(|(_, value)| value.size()).fold((1, 0), add),
        }
    }

    /// Whether lists and maps are within each other more deeply than `most`.
    pub(super) fn deeper_than(&self, most: usize) -> bool {
        let inner = |value: &Data| most == 0 || value.deeper_than(most - 1);
        match self {
            Data::List(items) => items.iter().any(inner),
            Data::Map(entries) => entries.iter().any(|(_, value)| inner(value)),
            _ => false,
        }
    }

    /// Calls `f` for each text, but not for keys, nor for the role of a message.
    pub(super) fn texts<'d>(&'d self, f: &mut dyn FnMut(&'d str)) {
        match self {
            Data::Text(text) => f(text),
            Data::List(items) => items.iter().for_each(|item| item.texts(f)),
            Data::Map(entries) => entries.iter().filter(|(key, _)| key != "role").for_each(|(_, value)| value.texts(f)),
            _ => {}
        }
    }

    /// The value with each text that [`texts`](Self::texts) names replaced.
    pub(super) fn with_texts(&self, f: &dyn Fn(&str) -> String) -> Data {
        match self {
            Data::Text(text) => Data::Text(f(text)),
            Data::List(items) => Data::List(items.iter().map(|item| item.with_texts(f)).collect()),
            Data::Map(entries) => {
                let with = |(key, value): &(String, Data)| {
                    (key.clone(), if key == "role" { value.clone() } else { value.with_texts(f) })
                };
                Data::Map(entries.iter().map(with).collect())
            }
            other => other.clone(),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Data::None => Value::from(()),
            Data::Bool(value) => Value::from(*value),
            Data::Int(value) => Value::from(*value),
            Data::Float(value) => Value::from(*value),
            Data::Text(value) => Value::from(value.as_str()),
            Data::List(items) => items.iter().map(Data::value).collect(),
            Data::Map(entries) => Value::from_pairs(entries.iter().map(|(key, value)| (key.as_str(), value.value()))),
        }
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Data {
        Data::Text(text.to_owned())
    }
}

impl From<&Message<'_>> for Data {
    fn from(message: &Message) -> Data {
        Data::Map(vec![("role".to_owned(), message.role.into()), ("content".to_owned(), message.content.into())])
    }
}

impl From<&[Message<'_>]> for Data {
    fn from(messages: &[Message]) -> Data {
        Data::List(messages.iter().map(Data::from).collect())
    }
}
