//! Renders chat templates for `tests/oracle/templates.py`. Each line of stdin is a JSON map of `source`, `variables` and `seconds`; each
//! line of stdout is one of `text`, `refused` (by the template itself) or `error`.

use serde_json::{Value, json};
use smidgen_host::{ChatTemplate, Data, Error};
use std::io::BufRead;

fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::None,
        Value::Bool(value) => Data::Bool(*value),
        Value::Number(value) => {
            value.as_i64().map_or_else(|| Data::Float(value.as_f64().unwrap_or_default()), Data::Int)
        }
        Value::String(text) => Data::Text(text.clone()),
        Value::Array(items) => Data::List(items.iter().map(data).collect()),
        Value::Object(entries) => Data::Map(entries.iter().map(|(key, value)| (key.clone(), data(value))).collect()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let source = case["source"].as_str().ok_or("no source")?;
        let variables = case["variables"].as_object().ok_or("no variables")?;
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), data(value))).collect();
        let seconds = case["seconds"].as_u64().ok_or("no seconds")?;
        let rendered =
            ChatTemplate::parse(source, "", "").and_then(|template| template.render_data(&variables, seconds));
        let outcome = match rendered {
            Ok(text) => json!({ "text": text }),
            Err(Error::TemplateRefused { message }) => json!({ "refused": message }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{outcome}");
    }
    Ok(())
}
