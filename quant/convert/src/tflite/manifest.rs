//! The manifest beside a microWakeWord model, as ESPHome has it: the word and how it is detected.

use super::graph::{Kind, Tensor};
use crate::Error;
use crate::json::{self, Json};
use smidgen_gguf::Writer;

/// Features of a row, and most rows that a step takes.
const CHANNELS: usize = 40;
const MAX_ROWS: usize = 8;
/// Most probabilities that a detection is the mean of.
const MAX_WINDOW: u32 = 64;
/// Milliseconds from one row of features to the next.
const STEP_MS: u32 = 10;

/// What a field asks for.
#[derive(Clone, Copy)]
enum Field {
    /// It is written under this key, if it is there.
    Text(&'static str),
    /// It is read below.
    Read,
    /// It changes nothing here, for this reason.
    Harmless(&'static str),
}

/// Fields of a manifest. Others are refused, as they may change what is detected.
const FIELDS: [(&str, Field); 8] = [
    ("type", Field::Read),
    ("version", Field::Read),
    ("micro", Field::Read),
    ("wake_word", Field::Text("micro.wake_word")),
    ("author", Field::Text("general.author")),
    ("website", Field::Text("general.url")),
    ("model", Field::Harmless("the model is the file that the manifest lies beside")),
    ("trained_languages", Field::Harmless("languages of the voices that the model was trained with")),
];

/// Fields of `micro`.
const MICRO: [(&str, Field); 6] = [
    ("probability_cutoff", Field::Read),
    ("sliding_window_size", Field::Read),
    ("sliding_window_average_size", Field::Read),
    ("feature_step_size", Field::Read),
    ("tensor_arena_size", Field::Harmless("bytes of another interpreter's arena; ours is planned")),
    ("minimum_esphome_version", Field::Harmless("of the program on a device")),
];

/// Writes the metadata of a manifest. `ports` are the model's input and output.
pub(super) fn describe(
    file: &str,
    text: &[u8],
    ports: Option<[&Tensor<'_>; 2]>,
    writer: &mut Writer,
) -> Result<(), Error> {
    let value = json::parse(file, text)?;
    let manifest = Json::new(file, &value);
    let unsupported = |field: &str, value: String| Error::Unsupported { file: file.into(), field: field.into(), value };
    check(&manifest, "", &FIELDS, file)?;
    let kind = manifest.require("type")?.str()?;
    if kind != "micro" {
        return Err(unsupported("type", format!("{kind:.64?} instead of \"micro\"")));
    }
    let version = manifest.require("version")?;
    let micro = manifest.require("micro")?;
    check(&micro, "micro.", &MICRO, file)?;
    match version.u32()? {
        1 => return Err(unsupported("version", "1: features every 20 ms".into())),
        2 => {}
        other => return Err(unsupported("version", format!("{other} instead of 2"))),
    }
    if micro.get("sliding_window_average_size").is_some() {
        return Err(unsupported("micro.sliding_window_average_size", "a field of version 1".into()));
    }
    let cutoff = micro.require("probability_cutoff")?;
    let cutoff = cutoff
        .value()
        .as_f64()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| cutoff.wrong("a number from 0 to 1"))?;
    let window = micro.require("sliding_window_size")?.u32()?;
    if !(1..=MAX_WINDOW).contains(&window) {
        return Err(unsupported("micro.sliding_window_size", format!("{window} instead of 1 to {MAX_WINDOW}")));
    }
    let step = micro.require("feature_step_size")?.u32()?;
    if step != STEP_MS {
        return Err(unsupported("micro.feature_step_size", format!("{step} ms instead of {STEP_MS}")));
    }
    listens(ports)?;
    for (field, what) in FIELDS {
        if let (Field::Text(key), Some(text)) = (what, manifest.get_str(field)?) {
            if field == "wake_word" {
                writer.metadata("general.name", text)?;
            }
            writer.metadata(key, text)?;
        }
    }
    writer.metadata("micro.probability_cutoff", cutoff)?;
    writer.metadata("micro.sliding_window_size", window)?;
    writer.metadata("micro.feature_step_size", step)?;
    Ok(())
}

/// Refuses a field that is not in the table.
fn check(object: &Json<'_>, prefix: &str, known: &[(&str, Field)], file: &str) -> Result<(), Error> {
    let fields = object.value().as_object().ok_or_else(|| object.wrong("an object"))?;
    let is_known = |name: &str| known.iter().any(|(field, _)| *field == name);
    match fields.keys().find(|name| !is_known(name)) {
        Some(name) => {
            let field = format!("{prefix}{}", name.chars().take(64).collect::<String>());
            Err(Error::Unsupported {
                file: file.into(),
                field,
                value: "an unknown field of a wake word's manifest".into(),
            })
        }
        None => Ok(()),
    }
}

/// That a model takes rows of features and gives a probability.
fn listens(ports: Option<[&Tensor<'_>; 2]>) -> Result<(), Error> {
    let Some([input, output]) = ports else { return Ok(()) };
    let elements = |tensor: &Tensor<'_>| tensor.shape.iter().product::<usize>();
    let rows = elements(input) / CHANNELS;
    let wrong =
        |tensor: &Tensor<'_>, field| Error::Tflite(super::Error::WakeWord { tensor: tensor.name.into(), field });
    if input.shape.last() != Some(&CHANNELS) || !(1..=MAX_ROWS).contains(&rows) {
        return Err(wrong(input, "the input has not 1 to 8 rows of 40 features"));
    }
    if input.kind == Kind::UInt8 || input.zero()? != i8::MIN.into() {
        return Err(wrong(input, "the input is not int8 with the zero point -128"));
    }
    if elements(output) != 1 || output.kind != Kind::UInt8 {
        return Err(wrong(output, "the output is not one probability of type uint8"));
    }
    Ok(())
}
