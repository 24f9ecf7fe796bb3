//! The names of a classifier's outputs.

use crate::Error;
use crate::json::Json;

/// The classes in order of their numbers, if `config.json` says how many there are. Where `num_labels` disagrees with the names, they are
/// numbered, as transformers does it.
///
/// # Errors
/// [`Error::WrongField`], [`Error::MissingField`].
pub(crate) fn read(config: &Json) -> Result<Option<Vec<String>>, Error> {
    let count = config.get_u32("num_labels")?;
    if count.is_some_and(|count| count > 1 << 20) {
        return Err(config.require("num_labels")?.wrong("a number of labels below 1048576"));
    }
    let Some(names) = config.get("id2label") else { return Ok(count.map(numbered)) };
    let found = names.keys()?.len();
    if let Some(count) = count.filter(|count| *count as usize != found) {
        names.leave_out("num_labels is another number");
        return Ok(Some(numbered(count)));
    }
    (0..found).map(|id| Ok(names.require(&id.to_string())?.str()?.to_owned())).collect::<Result<_, _>>().map(Some)
}

/// The names of classes that have none.
pub(crate) fn numbered(count: u32) -> Vec<String> {
    (0..count).map(|id| format!("LABEL_{id}")).collect()
}
