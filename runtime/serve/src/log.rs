//! Lines of JSON on stderr. Nothing of prompts and answers is among them unless that is asked for.

use serde_json::{Value, json};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes a line: what happened, when, and the fields of an object.
pub(crate) fn log(event: &str, fields: Value) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let mut line = json!({"time": (seconds * 1e3).round() / 1e3, "event": event});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
