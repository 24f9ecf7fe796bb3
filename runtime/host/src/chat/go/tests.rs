use crate::Error;
use crate::chat::{ChatTemplate, Data, Message};
use serde_json::Value;

/// The 14th of November 2023.
const SECONDS: u64 = 1_700_000_000;

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

/// The variables of a conversation in `conversations.json`.
fn variables(conversation: &Value) -> Vec<(&'static str, Data)> {
    let mut variables = vec![("add_generation_prompt", Data::Bool(true))];
    for (key, name) in [("messages", "messages"), ("tools", "tools"), ("think", "Think")] {
        variables.extend(conversation.get(key).map(|value| (name, data(value))));
    }
    variables
}

fn render(source: &str) -> Result<String, Error> {
    let message = Message { role: "user", content: "hello" };
    ChatTemplate::of_go(source)?.render_at(&[message], true, SECONDS)
}

/// Each case is a conversation, a template, and what Go makes of them, as `tests/oracle/go_templates.go` has written it down.
#[test]
fn texts_are_those_of_go() {
    let conversations: Value = serde_json::from_str(include_str!("conversations.json")).unwrap();
    let mut lines = include_str!("cases.txt").lines();
    let mut wrong = Vec::new();
    let mut count = 0;
    while let (Some(conversation), Some(source), Some(expected)) = (lines.next(), lines.next(), lines.next()) {
        let source: String = serde_json::from_str(source).unwrap();
        let expected = (expected != "!").then(|| serde_json::from_str::<String>(expected).unwrap());
        let variables = variables(&conversations[conversation]);
        let found = ChatTemplate::of_go(&source).and_then(|template| template.render_data(&variables, SECONDS));
        if found.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{conversation}: {source}\n  {found:?}\n  {expected:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 200, "{count} cases");
}
