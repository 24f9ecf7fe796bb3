//! The names of a classifier's outputs, and how they are read.

use crate::Error;
use crate::json::Json;
use crate::plan::Planner;

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
    let names = names.whole();
    (0..found).map(|id| Ok(names.require(&id.to_string())?.str()?.to_owned())).collect::<Result<_, _>>().map(Some)
}

/// The names of classes that have none.
pub(crate) fn numbered(count: u32) -> Vec<String> {
    (0..count).map(|id| format!("LABEL_{id}")).collect()
}

/// Adds the key that says what a classifier was trained for, if the configuration does. The names are transformers', and the runtime's.
pub(crate) fn problem(planner: &mut Planner) -> Result<(), Error> {
    const FIELD: &str = "problem_type";
    let config = planner.checkpoint.config();
    let Some(kind) = config.get_str(FIELD)? else { return Ok(()) };
    if !["single_label_classification", "multi_label_classification", "regression"].contains(&kind) {
        return Err(config.field_unsupported(FIELD, format!("{kind:.64?}")));
    }
    planner.metadata("smidgen.classifier.problem_type", kind);
    Ok(())
}
