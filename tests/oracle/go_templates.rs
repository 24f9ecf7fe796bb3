//! Chat templates in Go's form against Go's own `text/template`, set up as Ollama does (`go_templates.go`): every case of the host's table with every
//! conversation. Without Go this says that it is skipped, and fails where Go is expected.

use serde_json::Value;
use smidgen_host::{ChatTemplate, Data};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The 14th of November 2023.
const SECONDS: u64 = 1_700_000_000;
/// Templates that are refused where Go writes something, with what the refusal says.
const REFUSED: &[(&str, &str)] = &[("{{ index .Messages 4 }}", "a message cannot be printed")];

fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::None,
        Value::Bool(value) => Data::Bool(*value),
        Value::Number(value) => value.as_i64().map_or_else(|| Data::Float(value.as_f64().unwrap()), Data::Int),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Data::List(items.iter().map(data).collect()),
        Value::Object(entries) => Data::Map(entries.iter().map(|(key, value)| (key.clone(), data(value))).collect()),
    }
}

#[test]
fn texts_are_those_of_go() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/host/src/chat/go");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/go_templates.go");
    let [conversations, cases] = ["conversations.json", "cases.txt"].map(|name| table.join(name));
    let output = match Command::new("go").arg("run").args([&script, &conversations, &cases]).output() {
        Ok(output) => output,
        Err(error) => {
            let expected = std::env::var("SMIDGEN_EXPECT_GO").is_ok_and(|value| value == "1");
            assert!(!expected, "SMIDGEN_EXPECT_GO=1, but go cannot be run: {error}");
            // Not `println`, which a passing test does not show.
            let _ = writeln!(std::io::stdout(), "SKIPPED: comparison of chat templates with Go (go: {error})");
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::str::from_utf8(&output.stdout).unwrap().lines();
    let conversations: Value = serde_json::from_str(&std::fs::read_to_string(conversations).unwrap()).unwrap();
    let cases = std::fs::read_to_string(cases).unwrap();
    let cases: Vec<&str> = cases.lines().collect();
    assert_eq!(cases.len(), 3 * written.clone().count(), "results for every case");
    let (mut wrong, mut refused, mut texts, mut errors) = (Vec::new(), Vec::new(), 0, 0);
    for (case, results) in cases.chunks(3).zip(written) {
        let [of, source, kept] = case else { panic!("a case has three lines") };
        let source: String = serde_json::from_str(source).unwrap();
        let results: Value = serde_json::from_str(results).unwrap();
        let template = ChatTemplate::of_go(&source);
        let kept = if *kept == "!" { Value::Null } else { serde_json::from_str(kept).unwrap() };
        assert_eq!(results[of], kept, "{source}: what the table has, and what Go writes");
        for (name, conversation) in conversations.as_object().unwrap() {
            let mut variables = vec![("add_generation_prompt", Data::Bool(true))];
            for (key, variable) in [("messages", "messages"), ("tools", "tools"), ("think", "Think")] {
                variables.extend(conversation.get(key).map(|value| (variable, data(value))));
            }
            let found = match &template {
                Ok(template) => template.render_data(&variables, SECONDS).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match (&found, results[name].as_str()) {
                (Ok(found), Some(expected)) if found == expected => texts += 1,
                (Err(_), None) => errors += 1,
                (Err(error), Some(_))
                    if REFUSED.iter().any(|(listed, why)| *listed == source && error.contains(why)) =>
                {
                    refused.push(source.clone());
                }
                (found, expected) => wrong.push(format!("{name}: {source}\n   is {found:?}\n  not {expected:?}")),
            }
        }
    }
    let _ = writeln!(
        std::io::stdout(),
        "RAN: Go's templates, {texts} texts and {errors} errors agree, {} do not",
        wrong.len()
    );
    assert!(REFUSED.iter().all(|(source, _)| refused.iter().any(|refused| refused == source)), "one is not refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(texts > 600 && errors > 400, "{texts} texts, {errors} errors");
}
