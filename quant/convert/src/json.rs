//! JSON sidecar files, read with the file and the field in every error.

use crate::{Error, safetensors};
use serde_json::Value;

/// A value in a sidecar file, and where it is.
#[derive(Clone, Debug)]
pub struct Json<'c> {
    /// The file's name.
    file: &'c str,
    /// The path of the value in the file, such as `vision_config`; empty for the whole file.
    path: String,
    value: &'c Value,
}

/// Reads the text of a sidecar file. A byte order mark before it, as some editors write, is passed over.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Value, Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| Error::Json {
        file: file.into(),
        line: error.line(),
        column: error.column(),
        reason: safetensors::reason(&error),
    })
}

impl<'c> Json<'c> {
    pub(crate) fn new(file: &'c str, value: &'c Value) -> Json<'c> {
        Json { file, path: String::new(), value }
    }

    /// The value itself.
    pub fn value(&self) -> &'c Value {
        self.value
    }

    /// A field of an object; none if it is absent or null.
    pub fn get(&self, key: &str) -> Option<Json<'c>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Json { file: self.file, path: self.field(key), value })
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// [`Error::MissingField`].
    pub fn require(&self, key: &str) -> Result<Json<'c>, Error> {
        self.get(key).ok_or_else(|| Error::MissingField { file: self.file.into(), field: self.field(key) })
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
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
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a whole number from 0 to 4294967295"))
    }

    /// A number.
    pub fn f32(&self) -> Result<f32, Error> {
        let number = self.value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong("a number"))
    }

    /// A boolean.
    pub fn bool(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A text.
    pub fn str(&self) -> Result<&'c str, Error> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// [`Error::WrongField`].
    pub fn list(&self) -> Result<impl ExactSizeIterator<Item = Json<'c>> + use<'c>, Error> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let (file, path) = (self.file, self.path.clone());
        Ok(list.iter().enumerate().map(move |(i, value)| Json { file, path: format!("{path}[{i}]"), value }))
    }

    /// The numbers of an array.
    ///
    /// # Errors
    /// [`Error::WrongField`].
    pub fn f32s(&self) -> Result<Vec<f32>, Error> {
        self.list()?.map(|number| number.f32()).collect()
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
