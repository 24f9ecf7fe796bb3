//! Which architecture a checkpoint has, and so who plans its file.

use crate::checkpoint::{Checkpoint, File};
use crate::plan::Plan;
use crate::{Clamped, Error, Options, bert, clip, llama, vit, write};
use std::io::Write;

/// Makes a plan for one architecture.
type Planning = for<'c, 'a> fn(&'c Checkpoint<'a>) -> Result<Plan<'a>, Error>;

/// `model_type` (or, in files that have none, `architecture`) of `config.json`, and who plans it.
const ARCHITECTURES: &[(&str, Planning)] = &[
    ("bert", bert::plan),
    ("llama", llama::plan),
    ("mistral", llama::plan),
    ("smollm", llama::plan),
    ("vit", vit::plan),
    ("deit", vit::plan),
    ("dinov2", vit::plan),
    ("clip", clip::plan),
    ("clip_text_model", clip::plan),
    ("clip_vision_model", clip::plan),
];

/// Plans the GGUF file of a checkpoint.
///
/// # Errors
/// [`Error::UnknownArchitecture`], and what the architecture misses: [`Error::MissingTensor`], [`Error::WrongShape`],
/// [`Error::UnusedTensor`], [`Error::MissingField`], [`Error::WrongField`], [`Error::Unsupported`], [`Error::Tokenizer`].
pub fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let config = checkpoint.config();
    let name = match config.get_str("model_type")? {
        Some(name) => name,
        None => config.get("architecture").map_or_else(|| config.require("model_type"), Ok)?.str()?,
    };
    let Some((_, planning)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
        return Err(Error::UnknownArchitecture { name: name.chars().take(64).collect(), known: known.join(", ") });
    };
    planning(checkpoint)
}

/// Converts a checkpoint to a GGUF file. `progress` is told the bytes of weights written and how many there will be.
///
/// # Errors
/// Those of [`Checkpoint::read`], [`plan`] and [`write`](write::write).
pub fn convert(
    files: &[File],
    options: Options,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Clamped, Error> {
    let checkpoint = Checkpoint::read(files)?;
    write::write(&plan(&checkpoint)?, options, out, progress)
}
