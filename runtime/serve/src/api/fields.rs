//! The fields of a request. What is null is absent; what is not asked for is ignored, and takes no memory beyond its text.

use super::Error;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The fields of an object of JSON.
pub(crate) struct Fields<'b>(BTreeMap<String, &'b RawValue>);

impl<'b> Fields<'b> {
    /// The fields of a body; of two with one name the last counts.
    pub(crate) fn parse(body: &'b [u8]) -> Result<Fields<'b>, Error> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Error::bad(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
        let fields = serde_json::from_str(text)
            .map_err(|error| Error::bad(format!("the body is not an object of JSON: {error}")).code("invalid_json"))?;
        Ok(Fields(fields))
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() != "null")
    }

    /// The field, if it is there and not null.
    pub(crate) fn get<T: Deserialize<'b>>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        serde_json::from_str::<Option<T>>(value.get()).map_err(|error| {
            let error = error.to_string();
            // Places within the field are not those of the body.
            let what = error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what);
            Error::param(name, what)
        })
    }

    /// The field, which must be there.
    pub(crate) fn required<T: Deserialize<'b>>(&self, name: &str) -> Result<T, Error> {
        self.get(name)?.ok_or_else(|| Error::param(name, "this is required").code("missing_required_parameter"))
    }

    /// A number within a range.
    pub(crate) fn within<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Error>
    where
        T: Deserialize<'b> + PartialOrd + Display,
    {
        match self.get(name)? {
            Some(value) if !range.contains(&value) => {
                Err(Error::param(name, format!("{value} is not within {} to {}", range.start(), range.end())))
            }
            value => Ok(value),
        }
    }

    /// Refuses a field that is there with anything but one of these values, each as JSON writes it.
    pub(crate) fn only(&self, name: &str, values: &[&str], why: &str) -> Result<(), Error> {
        let Some(value) = self.0.get(name).filter(|_| self.has(name)) else { return Ok(()) };
        let given: String = value.get().split_whitespace().collect();
        if values.contains(&given.as_str()) { Ok(()) } else { Err(Error::param(name, why).code("unsupported_value")) }
    }
}
