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
    /// It changes nothing here.
    Harmless,
}

/// Fields of a manifest. Others are refused, as they may change what is detected.
const FIELDS: [(&str, Field); 8] = [
    ("type", Field::Read),
    ("version", Field::Read),
    ("micro", Field::Read),
    ("wake_word", Field::Text("micro.wake_word")),
    ("author", Field::Text("general.author")),
    ("website", Field::Text("general.url")),
    // The model is the file that the manifest lies beside.
    ("model", Field::Harmless),
    // Of the voices that the model was trained with.
    ("trained_languages", Field::Harmless),
];

/// Fields of `micro`.
const MICRO: [(&str, Field); 6] = [
    ("probability_cutoff", Field::Read),
    ("sliding_window_size", Field::Read),
    ("sliding_window_average_size", Field::Read),
    ("feature_step_size", Field::Read),
    // Bytes of another interpreter's arena; ours is planned.
    ("tensor_arena_size", Field::Harmless),
    // Of the program on a device.
    ("minimum_esphome_version", Field::Harmless),
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
        1 => return Err(unsupported("version", "1: version 1 has features every 20 ms".into())),
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
        let Field::Text(key) = what else { continue };
        let Some(text) = manifest.get_str(field)? else { continue };
        if field == "wake_word" {
            writer.metadata("general.name", text)?;
        }
        writer.metadata(key, text)?;
    }
    writer.metadata("micro.probability_cutoff", cutoff)?;
    writer.metadata("micro.sliding_window_size", window)?;
    writer.metadata("micro.feature_step_size", step)?;
    Ok(())
}

/// Refuses a field that is not in the table.
fn check(object: &Json<'_>, prefix: &str, known: &[(&str, Field)], file: &str) -> Result<(), Error> {
    let Some(name) = object.keys()?.find(|name| !known.iter().any(|(field, _)| field == name)) else { return Ok(()) };
    let field = format!("{prefix}{}", name.chars().take(64).collect::<String>());
    let value = object.get(name).map_or("null".into(), |field| json::short(field.value()));
    Err(Error::UnknownField { file: file.into(), field, value })
}

/// That a model takes rows of features and gives a probability.
fn listens(ports: Option<[&Tensor<'_>; 2]>) -> Result<(), Error> {
    let Some([input, output]) = ports else { return Ok(()) };
    let rows = input.elements() / CHANNELS;
    let wrong =
        |tensor: &Tensor<'_>, field| Error::Tflite(super::Error::WakeWord { tensor: tensor.name.clone(), field });
    if input.shape.last() != Some(&CHANNELS) || !(1..=MAX_ROWS).contains(&rows) {
        return Err(wrong(input, "the input has not 1 to 8 rows of 40 features"));
    }
    if input.kind == Kind::UInt8 || input.zero()? != i32::from(i8::MIN) {
        return Err(wrong(input, "the input is not int8 with the zero point -128"));
    }
    if output.elements() != 1 || output.kind != Kind::UInt8 {
        return Err(wrong(output, "the output is not one probability of type uint8"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use smidgen_gguf::{Gguf, NewTensor, TensorType};

    fn good() -> Value {
        json!({"type": "micro", "wake_word": "Okay", "author": "A", "website": "w", "model": "okay.tflite", "version": 2,
            "trained_languages": ["en"], "micro": {"probability_cutoff": 0.9, "sliding_window_size": 5,
                "feature_step_size": 10, "tensor_arena_size": 30000, "minimum_esphome_version": "2024.7.0"}})
    }

    fn written(text: &[u8]) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new();
        describe("okay.json", text, None, &mut writer)?;
        let tensor = NewTensor { name: "x", dims: &[1], kind: TensorType::I8, data: &[0] };
        Ok(writer.write(&[tensor], Vec::new())?)
    }

    #[test]
    fn a_manifest_becomes_keys() {
        for mark in [&b""[..], b"\xef\xbb\xbf"] {
            let bytes = written(&[mark, good().to_string().as_bytes()].concat()).unwrap();
            let file = Gguf::parse(&bytes).unwrap();
            for (key, value) in [
                ("general.name", "Str(\"Okay\")"),
                ("micro.wake_word", "Str(\"Okay\")"),
                ("general.author", "Str(\"A\")"),
                ("general.url", "Str(\"w\")"),
                ("micro.probability_cutoff", "F64(0.9)"),
                ("micro.sliding_window_size", "U32(5)"),
                ("micro.feature_step_size", "U32(10)"),
            ] {
                assert_eq!(file.get(key).map(|value| format!("{value:?}")).as_deref(), Some(value), "{key}");
            }
        }
    }

    /// What the runtime could not honour is refused by its name, and so is what nobody knows.
    #[test]
    fn manifests_that_cannot_be_honoured() {
        let refused = |pointer: &str, field: &str, value: Value, named: &[&str]| {
            let mut manifest = good();
            manifest.pointer_mut(pointer).unwrap()[field] = value;
            let error = written(manifest.to_string().as_bytes()).unwrap_err().to_string();
            for name in [&["okay.json", field], named].concat() {
                assert!(error.contains(name) && !error.contains('\n'), "{name}: {error}");
            }
        };
        refused("", "version", 1.into(), &["version 1 has features every 20 ms"]);
        refused("", "version", 3.into(), &["3 instead of 2"]);
        refused("", "version", "2".into(), &[]);
        refused("", "version", Value::Null, &["missing"]);
        refused("", "type", "macro".into(), &["macro"]);
        refused("", "micro", Value::Null, &["missing"]);
        refused("", "micro", 1.into(), &[]);
        refused("", "wake_word", 1.into(), &[]);
        refused("", "sample_rate", 16_000.into(), &["16000", "not known"]);
        for field in ["probability_cutoff", "sliding_window_size", "feature_step_size"] {
            refused("/micro", field, Value::Null, &["micro", "missing"]);
            refused("/micro", field, "5".into(), &[]);
        }
        for window in [0, 65, 300] {
            refused("/micro", "sliding_window_size", window.into(), &["1 to 64"]);
        }
        for step in [1, 20] {
            refused("/micro", "feature_step_size", step.into(), &["10"]);
        }
        refused("/micro", "probability_cutoff", 1.01.into(), &[]);
        refused("/micro", "sliding_window_average_size", 10.into(), &["version 1"]);
        refused("/micro", "cooldown_ms", 1500.into(), &["1500"]);
        let version_1 = json!({"type": "micro", "wake_word": "Okay", "model": "x.tflite", "version": 1,
            "micro": {"probability_cutoff": 0.5, "sliding_window_average_size": 10}});
        let error = written(version_1.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains("\"version\" is 1: version 1 has features every 20 ms"), "{error}");
        assert!(written(b"[]").is_err() && written(b"").is_err());
    }
}
