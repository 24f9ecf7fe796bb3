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

    /// The field, if it is there and not null.
    pub(crate) fn get<T: Deserialize<'b>>(&self, name: &str) -> Result<Option<T>, Error> {
        self.0.get(name).map_or(Ok(None), |value| parse(name, value.get()))
    }

    /// The text of the field, if it is there and not null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'b str> {
        self.0.get(name).map(|value| value.get()).filter(|text| *text != "null")
    }

    /// The field, which must be there.
    pub(crate) fn required<T: Deserialize<'b>>(&self, name: &str) -> Result<T, Error> {
        self.get(name)?.ok_or_else(|| missing(name))
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
        let Some(text) = self.raw(name) else { return Ok(()) };
        let given: String = text.split_whitespace().collect();
        if values.contains(&given.as_str()) { Ok(()) } else { Err(Error::param(name, why).code("unsupported_value")) }
    }
}

/// The error of a field that is not there.
pub(crate) fn missing(name: &str) -> Error {
    Error::param(name, "this is required").code("missing_required_parameter")
}

/// What the text of a field says.
pub(crate) fn parse<'b, T: Deserialize<'b>>(name: &str, text: &'b str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| {
        let error = error.to_string();
        // Places within the field are not those of the body.
        let what = error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what);
        Error::param(name, what)
    })
}

/// A text, or a list of what it can be a list of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    /// Of texts, or of nothing.
    Texts,
    /// Of lists.
    Lists,
    /// Of anything else.
    List,
    /// Neither a text nor a list.
    Other,
}

impl Shape {
    /// The shape of a value by the beginning of its text, so that it is read once, as what it is.
    pub(crate) fn of(text: &str) -> Shape {
        let Some(items) = text.strip_prefix('[') else {
            return if text.starts_with('"') { Shape::Text } else { Shape::Other };
        };
        match items.trim_start().chars().next() {
            Some('"' | ']') => Shape::Texts,
            Some('[') => Shape::Lists,
            _ => Shape::List,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param<T: std::fmt::Debug>(result: Result<T, Error>) -> (Option<String>, String) {
        let error = result.unwrap_err();
        assert_eq!(error.status, 400);
        assert_eq!(error.message.lines().count(), 1);
        (error.param, error.message)
    }

    #[test]
    fn fields_are_read_as_what_they_are_asked_for() {
        let body = br#" {"a": 1, "b": null, "c": "x", "a": 2, "d": {"e": [[[1]]]}, "f": 1.5, "g": -1} "#;
        let fields = Fields::parse(body).unwrap();
        assert_eq!(fields.get::<u64>("a").unwrap(), Some(2));
        assert_eq!(fields.get::<u64>("b").unwrap(), None);
        assert_eq!(fields.get::<u64>("z").unwrap(), None);
        assert_eq!(fields.raw("b"), None);
        assert_eq!(fields.raw("d"), Some("{\"e\": [[[1]]]}"));
        for name in ["c", "d", "f", "g"] {
            let (found, message) = param(fields.get::<u64>(name));
            assert_eq!(found.as_deref(), Some(name));
            assert!(message.starts_with(&format!("'{name}': invalid")) && !message.contains("line"), "{message}");
        }
        assert_eq!(param(fields.required::<u64>("b")).1, "'b': this is required");
        assert_eq!(fields.within("a", 2..=3).unwrap(), Some(2));
        assert_eq!(fields.within("b", 2..=3).unwrap(), None);
        assert_eq!(param(fields.within("a", 3..=4)).1, "'a': 2 is not within 3 to 4");
        assert_eq!(param(fields.within("f", 2.0..=3.0)).1, "'f': 1.5 is not within 2 to 3");
        fields.only("b", &[], "no").unwrap();
        fields.only("d", &["{\"e\":[[[1]]]}"], "no").unwrap();
        assert_eq!(param(fields.only("c", &["\"y\""], "no")).1, "'c': no");
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in [&b""[..], b"[1]", b"1", b"{", b"{\"a\":1}x", b"\xFF", b"{\"a\":\xFF}", b"\xEF\xBB\xBF{}"] {
            assert!(Fields::parse(body).is_err(), "{body:?}");
        }
        let deep = [b"{\"a\":".to_vec(), vec![b'['; 1 << 20], vec![b']'; 1 << 20], b"}".to_vec()].concat();
        let refused = Fields::parse(&deep).map(|fields| fields.get::<Vec<String>>("a").is_err());
        assert!(refused.unwrap_or(true));
    }

    #[test]
    fn shapes() {
        for (text, shape) in [
            ("\"\"", Shape::Text),
            ("[]", Shape::Texts),
            ("[ \"", Shape::Texts),
            ("[[", Shape::Lists),
            ("[\n1", Shape::List),
            ("[{", Shape::List),
            ("5", Shape::Other),
            ("{}", Shape::Other),
        ] {
            assert_eq!(Shape::of(text), shape, "{text}");
        }
    }
}
