//! What a classifier was trained for: `problem_type` in `config.json`.

use crate::Error;
use crate::checkpoint::CONFIG;
use crate::plan::Planner;

const FIELD: &str = "problem_type";

/// Adds the key that says it, if the configuration does. The names are transformers', and the runtime's.
pub(crate) fn problem(planner: &mut Planner) -> Result<(), Error> {
    let Some(kind) = planner.checkpoint.config().get_str(FIELD)? else { return Ok(()) };
    if !["single_label_classification", "multi_label_classification", "regression"].contains(&kind) {
        let value = format!("{kind:.64?}");
        return Err(Error::Unsupported { file: CONFIG.into(), field: FIELD.into(), value });
    }
    planner.metadata("smidgen.classifier.problem_type", kind);
    Ok(())
}
