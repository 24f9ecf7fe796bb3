//! Which architecture a checkpoint has, and so who plans its file.

use crate::checkpoint::{CONFIG, Checkpoint, File};
use crate::fields::{self, Field, Rule};
use crate::json::{self, Json};
use crate::plan::Plan;
use crate::{Clamped, Error, Options, bert, clip, decoders, vit, write};
use std::io::Write;

/// An architecture that can be converted.
struct Architecture {
    /// `model_type` (or, in files that have none, `architecture`) of `config.json`.
    names: &'static [&'static str],
    plan: for<'c, 'a> fn(&'c Checkpoint<'a>) -> Result<Plan<'a>, Error>,
    /// Fields of `config.json` that change nothing for this architecture.
    harmless: &'static [Rule],
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture { names: &["bert"], plan: bert::plan, harmless: fields::ENCODER },
    Architecture { names: &["vit", "deit", "dinov2"], plan: vit::plan, harmless: fields::VIT },
    Architecture { names: &["clip", "clip_text_model", "clip_vision_model"], plan: clip::plan, harmless: fields::CLIP },
];

/// Language models, which are all planned alike.
const DECODER: Architecture = Architecture { names: &[], plan: decoders::plan, harmless: fields::DECODER };

/// Plans the GGUF file of a checkpoint.
///
/// # Errors
/// [`Error::UnknownArchitecture`], [`Error::UnknownField`] for what is in its sidecar files and nobody knows, and what the architecture misses: [`Error::MissingTensor`], [`Error::WrongShape`],
/// [`Error::UnusedTensor`], [`Error::MissingField`], [`Error::WrongField`], [`Error::Unsupported`], [`Error::Tokenizer`].
pub fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    let plan = plan_known(checkpoint)?;
    fields::check(checkpoint)?;
    Ok(plan)
}

/// What becomes of each field of a checkpoint's sidecar files.
///
/// # Errors
/// Those of [`plan`], but for unknown fields.
pub fn explain(checkpoint: &Checkpoint) -> Result<Vec<Field>, Error> {
    plan_known(checkpoint)?;
    fields::fates(checkpoint)
}

/// Plans the file, whatever else is in the sidecar files.
fn plan_known<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    (of(checkpoint)?.plan)(checkpoint)
}

/// The architecture of a checkpoint.
///
/// # Errors
/// [`Error::UnknownArchitecture`], [`Error::MissingField`], [`Error::WrongField`].
fn of(checkpoint: &Checkpoint) -> Result<&'static Architecture, Error> {
    of_config(&checkpoint.config())
}

/// Whether the model whose `config.json` has this text writes text, as far as that can be converted.
///
/// # Errors
/// [`Error::Json`], [`Error::UnknownArchitecture`], [`Error::MissingField`], [`Error::WrongField`].
pub fn is_decoder(config: &[u8]) -> Result<bool, Error> {
    let config = json::parse(CONFIG, config)?;
    Ok(of_config(&Json::new(CONFIG, &config))?.names.is_empty())
}

fn of_config(config: &Json) -> Result<&'static Architecture, Error> {
    let name = match config.get_str("model_type")? {
        Some(name) => name,
        None => config.get("architecture").map_or_else(|| config.require("model_type"), Ok)?.str()?,
    };
    if decoders::names().any(|known| known == name) {
        return Ok(&DECODER);
    }
    ARCHITECTURES.iter().find(|architecture| architecture.names.contains(&name)).ok_or_else(|| {
        let encoders = ARCHITECTURES.iter().flat_map(|architecture| architecture.names).copied();
        let known: Vec<_> = decoders::names().chain(encoders).collect();
        Error::UnknownArchitecture { name: name.chars().take(64).collect(), known: known.join(", ") }
    })
}

/// The fields of `config.json` that change nothing for a checkpoint's architecture.
///
/// # Errors
/// [`Error::UnknownArchitecture`], [`Error::MissingField`], [`Error::WrongField`].
pub(crate) fn harmless(checkpoint: &Checkpoint) -> Result<[&'static [Rule]; 2], Error> {
    Ok([of(checkpoint)?.harmless, decoders::harmless(checkpoint)])
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
