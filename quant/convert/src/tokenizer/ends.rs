//! The tokens that end a generation: as `generation_config.json` says, or `config.json`, and the tokenizer.

use super::GENERATION;
use crate::Error;
use crate::json::Json;
use crate::plan::Planner;

/// Writes the token that ends a text, `last` if the tokenizer puts it after each, and all others that end a generation. `own` is the
/// tokenizer's.
pub(super) fn write(planner: &mut Planner, size: u32, own: Option<u32>, last: Option<u32>) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    let mut ends = Vec::new();
    let config = checkpoint.config();
    for json in [checkpoint.json(GENERATION), Some(config.clone()), config.get("text_config")].into_iter().flatten() {
        if ends.is_empty() {
            ends = ids(&json, size)?;
        }
    }
    ends.extend(own);
    if let Some(last) = last {
        ends.insert(0, last);
    }
    let Some(&first) = ends.first() else { return Ok(()) };
    planner.metadata("tokenizer.ggml.eos_token_id", first);
    let mut others = Vec::new();
    for id in ends {
        if id != first && !others.contains(&id) {
            others.push(id);
        }
    }
    if !others.is_empty() {
        planner.metadata("smidgen.tokenizer.end_token_ids", others);
    }
    Ok(())
}

/// The ids of `eos_token_id`: a number, or a list of them.
fn ids(json: &Json, size: u32) -> Result<Vec<u32>, Error> {
    let Some(field) = json.get("eos_token_id") else { return Ok(Vec::new()) };
    let id = |id: &Json| match id.u32()? {
        id if id < size => Ok(id),
        id => Err(json.field_unsupported("eos_token_id", format!("{id}, but the model has {size} tokens"))),
    };
    if field.is_list() { field.whole().list()?.map(|field| id(&field)).collect() } else { Ok(vec![id(&field)?]) }
}
