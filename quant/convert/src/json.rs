//! JSON sidecar files, read with the file and the field in every error, and with a note of every field that was read.

use crate::fields::Fate;
use crate::{Error, safetensors};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

/// The fields that were read, or left out for a reason, by file and path. Of a field that holds others, all count with it.
#[derive(Debug, Default)]
pub(crate) struct Reads(RefCell<HashMap<(String, String), Fate>>);

impl Reads {
    pub(crate) fn fate(&self, file: &str, path: &str) -> Option<Fate> {
        self.0.borrow().get(&(file.to_owned(), path.to_owned())).copied()
    }
}

/// A value in a sidecar file, and where it is.
#[derive(Clone, Debug)]
pub struct Json<'c> {
    /// The file's name.
    file: &'c str,
    /// The path of the value in the file, such as `vision_config`; empty for the whole file.
    path: String,
    value: &'c Value,
    reads: Option<&'c Reads>,
}

/// Reads the text of a sidecar file.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Value, Error> {
    // Editors of Windows begin a file with a byte order mark.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| Error::Json {
        file: file.into(),
        line: error.line(),
        column: error.column(),
        reason: safetensors::reason(&error),
    })
}

impl<'c> Json<'c> {
    pub(crate) fn new(file: &'c str, value: &'c Value) -> Json<'c> {
        Json { file, path: String::new(), value, reads: None }
    }

    /// The same with a note of what is read.
    pub(crate) fn noted(file: &'c str, value: &'c Value, reads: &'c Reads) -> Json<'c> {
        Json { reads: Some(reads), ..Json::new(file, value) }
    }

    /// The value itself. All that it holds counts as read.
    pub fn value(&self) -> &'c Value {
        self.note(Fate::Used);
        self.value
    }

    /// The same, read as a whole: what it holds is not noted one by one.
    pub(crate) fn whole(&self) -> Json<'c> {
        self.note(Fate::Used);
        Json { reads: None, ..self.clone() }
    }

    /// Says that the field, with all that it holds, has no effect in this model, and why.
    pub(crate) fn leave_out(&self, reason: &'static str) {
        self.note(Fate::Harmless(reason));
    }

    fn note(&self, fate: Fate) {
        if let Some(Reads(reads)) = self.reads {
            reads.borrow_mut().insert((self.file.to_owned(), self.path.clone()), fate);
        }
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// Whether the value is a list.
    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// A field of an object that may be absent or of another type, without a note that it was read.
    pub(crate) fn peek(&self, key: &str) -> Option<&'c Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// The text of the value, without a note that it was read.
    pub(crate) fn peek_str(&self) -> Option<&'c str> {
        self.value.as_str()
    }

    /// Whether the value is true or false.
    pub(crate) fn is_bool(&self) -> bool {
        self.value.is_boolean()
    }

    /// The names of an object's fields, in order.
    ///
    /// # Errors
    /// [`Error::WrongField`].
    pub fn keys(&self) -> Result<impl ExactSizeIterator<Item = &'c str> + use<'c>, Error> {
        Ok(self.value.as_object().ok_or_else(|| self.wrong("an object"))?.keys().map(String::as_str))
    }

    /// A field of an object; none if it is absent or null.
    pub fn get(&self, key: &str) -> Option<Json<'c>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Json { path: self.field(key), value, ..*self })
    }

    /// Whether there is a field, be it null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// [`Error::MissingField`].
    pub fn require(&self, key: &str) -> Result<Json<'c>, Error> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    /// That a field is missing.
    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::MissingField { file: self.file.into(), field: self.field(key) }
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// That the value is one that the conversion does not know.
    pub(crate) fn unsupported(&self) -> Error {
        let value = short(self.value);
        Error::Unsupported { file: self.file.into(), field: self.path.clone(), value }
    }

    /// That a field of the object has a value that the conversion does not know.
    pub(crate) fn field_unsupported(&self, key: &str, value: String) -> Error {
        Error::Unsupported { file: self.file.into(), field: self.field(key), value }
    }

    /// That the value is not what was `expected`.
    pub fn wrong(&self, expected: &'static str) -> Error {
        Error::WrongField { file: self.file.into(), field: self.path.clone(), expected }
    }

    /// A whole number of 32 bits.
    ///
    /// # Errors
    /// [`Error::WrongField`], as for the other types.
    pub fn u32(&self) -> Result<u32, Error> {
        let number = self.value().as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a whole number from 0 to 4294967295"))
    }

    /// A number.
    pub fn f32(&self) -> Result<f32, Error> {
        let number = self.value().as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong("a number"))
    }

    /// A boolean.
    pub fn bool(&self) -> Result<bool, Error> {
        self.value().as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A text.
    pub fn str(&self) -> Result<&'c str, Error> {
        self.value().as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// [`Error::WrongField`].
    pub fn list(&self) -> Result<impl ExactSizeIterator<Item = Json<'c>> + use<'c>, Error> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let Json { file, reads, .. } = *self;
        let path = self.path.clone();
        Ok(list.iter().enumerate().map(move |(i, value)| Json { file, path: format!("{path}[{i}]"), value, reads }))
    }

    /// The numbers of an array.
    ///
    /// # Errors
    /// [`Error::WrongField`].
    pub fn f32s(&self) -> Result<Vec<f32>, Error> {
        self.whole().list()?.map(|number| number.f32()).collect()
    }

    /// A field that may be absent, as a whole number of 32 bits.
    ///
    /// # Errors
    /// [`Error::WrongField`], as for the other types.
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.get(key).map(|value| value.u32()).transpose()
    }

    /// A field that may be absent, as a number.
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.get(key).map(|value| value.f32()).transpose()
    }

    /// A field that may be absent, as a boolean.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.get(key).map(|value| value.bool()).transpose()
    }

    /// A field that may be absent, as a text.
    pub fn get_str(&self, key: &str) -> Result<Option<&'c str>, Error> {
        self.get(key).map(|value| value.str()).transpose()
    }
}

/// A value on one line, cut if it is long.
pub(crate) fn short(value: &Value) -> String {
    const MOST: usize = 64;
    match value {
        Value::Object(fields) if fields.len() > 3 => format!("an object of {} fields", fields.len()),
        Value::Array(values) if values.len() > 8 => format!("a list of {} values", values.len()),
        value => {
            let text = value.to_string();
            if text.chars().count() > MOST { text.chars().take(MOST).chain(['…']).collect() } else { text }
        }
    }
}
