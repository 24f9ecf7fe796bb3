//! What Ollama gives a template: the names and shapes of a conversation.

use super::value::{Field, Form, List, Map, Record, Value};
use crate::Error;
use crate::chat::Data;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A conversation. Messages in a row with one role are one message, but those of tools.
pub(super) struct Conversation {
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Option<Value>,
    /// Whether the model is to think, and how much; none if nobody said.
    pub(super) think: Option<(bool, String)>,
}

/// A message.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) role: String,
    pub(super) content: String,
    thinking: String,
    tool_calls: Vec<Value>,
    tool_name: String,
    tool_call_id: String,
}

fn refused<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::TemplateRefused { message: crate::one_line(&message.into()) })
}

impl Conversation {
    /// The conversation that variables describe: `messages`, `tools`, `Think`, and `add_generation_prompt`, which is true.
    ///
    /// # Errors
    /// [`Error::TemplateRefused`] for what such a template cannot be given.
    pub(super) fn of(variables: &[(&str, Data)]) -> Result<Conversation, Error> {
        let mut conversation = Conversation { turns: Vec::new(), tools: None, think: None };
        for (name, value) in variables {
            match (*name, value) {
                ("messages", Data::List(messages)) => {
                    for (index, message) in messages.iter().enumerate() {
                        conversation.push(turn(message, index + 1)?);
                    }
                }
                ("add_generation_prompt", Data::Bool(true)) | (_, Data::None) => {}
                ("add_generation_prompt", _) => return refused("a template in Go's form always begins the answer"),
                ("tools", Data::List(tools)) => {
                    let tools = tools.iter().map(tool).collect::<Result<_, _>>()?;
                    conversation.tools = Some(Value::List(List::new(tools, Form::Json)));
                }
                ("Think", Data::Bool(on)) => {
                    conversation.think = Some((*on, if *on { "medium" } else { "" }.to_owned()));
                }
                ("Think", Data::Text(level)) => conversation.think = Some((true, level.clone())),
                _ => return refused(format!("a template in Go's form cannot be given {name}")),
            }
        }
        Ok(conversation)
    }

    fn push(&mut self, turn: Turn) {
        match self.turns.last_mut() {
            Some(last) if last.role == turn.role && turn.role != "tool" => {
                last.content.push_str("\n\n");
                last.content.push_str(&turn.content);
            }
            _ => self.turns.push(turn),
        }
    }

    /// All system messages.
    pub(super) fn system(&self) -> String {
        let system = self.turns.iter().filter(|turn| turn.role == "system");
        system.map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n\n")
    }

    /// What a template sees, with these entries and what thinking is.
    pub(super) fn dot(&self, entries: Vec<(&str, Value)>) -> Value {
        let (think, level) = self.think.as_ref().map_or((false, ""), |(think, level)| (*think, level.as_str()));
        let thinking = [
            ("Think", Value::Bool(think)),
            ("ThinkLevel", level.into()),
            ("IsThinkSet", Value::Bool(self.think.is_some())),
        ];
        let entries = entries.into_iter().chain(thinking).map(|(name, value)| (name.to_owned(), value));
        map(entries.collect(), Form::Plain)
    }

    pub(super) fn messages(&self) -> Value {
        let messages: Vec<Value> = self.turns.iter().map(Turn::value).collect();
        if messages.is_empty() { Value::null_list(Form::Plain) } else { Value::list(messages) }
    }

    pub(super) fn tools(&self) -> Value {
        self.tools.clone().unwrap_or_else(|| Value::null_list(Form::Json))
    }
}

impl Turn {
    fn value(&self) -> Value {
        let calls = if self.tool_calls.is_empty() {
            Value::null_list(Form::Plain)
        } else {
            Value::list(self.tool_calls.clone())
        };
        let fields = vec![
            plain("Role", self.role.as_str().into()),
            plain("Content", self.content.as_str().into()),
            plain("Thinking", self.thinking.as_str().into()),
            plain("Images", Value::null_list(Form::Plain)),
            plain("ToolCalls", calls),
            plain("ToolName", self.tool_name.as_str().into()),
            plain("ToolCallID", self.tool_call_id.as_str().into()),
        ];
        record("message", false, fields)
    }
}

fn map(entries: BTreeMap<String, Value>, form: Form) -> Value {
    Value::Map(Map { entries: Arc::new(entries), form })
}

fn record(name: &'static str, prints: bool, fields: Vec<Field>) -> Value {
    Value::Record(Arc::new(Record { name, prints, fields }))
}

/// A field whose key in JSON is its name.
fn plain(name: &'static str, value: Value) -> Field {
    Field { name, key: name, omitted: false, value }
}

fn text(value: &Data, name: &str) -> Result<String, Error> {
    match value {
        Data::Text(text) => Ok(text.clone()),
        Data::None => Ok(String::new()),
        _ => refused(format!("{name} must be a text")),
    }
}

/// Entries of a map with their names.
fn entries<'d>(value: &'d Data, name: &str) -> Result<&'d [(String, Data)], Error> {
    match value {
        Data::Map(entries) => Ok(entries),
        _ => refused(format!("{name} must be a map")),
    }
}

fn turn(message: &Data, number: usize) -> Result<Turn, Error> {
    let mut turn = Turn::default();
    for (key, value) in entries(message, &format!("message {number}"))? {
        let name = format!("{key} of message {number}");
        match (key.as_str(), value) {
            ("role", _) => turn.role = text(value, &name)?,
            ("content", _) => turn.content = text(value, &name)?,
            ("reasoning_content" | "thinking", _) => turn.thinking = text(value, &name)?,
            ("tool_name" | "name", _) => turn.tool_name = text(value, &name)?,
            ("tool_call_id", _) => turn.tool_call_id = text(value, &name)?,
            (_, Data::None) => {}
            ("tool_calls", Data::List(calls)) => {
                let calls = calls.iter().enumerate().map(|(index, call)| tool_call(call, index, &name));
                turn.tool_calls = calls.collect::<Result<_, _>>()?;
            }
            _ => return refused(format!("{name} cannot be given to a template in Go's form")),
        }
    }
    Ok(turn)
}

fn tool_call(call: &Data, index: usize, name: &str) -> Result<Value, Error> {
    let (mut id, mut function) = (String::new(), None);
    for (key, value) in entries(call, name)? {
        match (key.as_str(), value) {
            ("id", _) => id = text(value, name)?,
            ("function", _) => function = Some(value),
            ("type", Data::Text(kind)) if kind == "function" => {}
            (_, Data::None) => {}
            _ => return refused(format!("{key} of {name} cannot be given to a template in Go's form")),
        }
    }
    let Some(function) = function else { return refused(format!("{name} have no function")) };
    let (mut called, mut arguments) = (String::new(), map(BTreeMap::new(), Form::Json));
    for (key, value) in entries(function, name)? {
        match (key.as_str(), value) {
            ("name", _) => called = text(value, name)?,
            ("arguments", Data::Map(_)) => {
                if let Value::Map(values) = any(value) {
                    arguments = Value::Map(Map { form: Form::Json, ..values });
                }
            }
            (_, Data::None) => {}
            _ => return refused(format!("{key} of {name} cannot be given to a template in Go's form")),
        }
    }
    let function = vec![
        plain("Index", Value::Int(i64::try_from(index).unwrap_or(i64::MAX))),
        plain("Name", called.into()),
        plain("Arguments", arguments),
    ];
    let function = record("function that is called", false, function);
    Ok(record("tool call", false, vec![plain("ID", id.into()), plain("Function", function)]))
}

/// A value as Go reads it from JSON, where all numbers are floats.
fn any(value: &Data) -> Value {
    match value {
        Data::None => Value::Nil,
        Data::Bool(value) => Value::Bool(*value),
        #[allow(clippy::cast_precision_loss, reason = "Go reads numbers so")]
        Data::Int(value) => Value::Float(*value as f64),
        Data::Float(value) => Value::Float(*value),
        Data::Text(text) => text.as_str().into(),
        Data::List(items) => Value::list(items.iter().map(any).collect()),
        Data::Map(entries) => map(entries.iter().map(|(key, value)| (key.clone(), any(value))).collect(), Form::Plain),
    }
}

/// A field with the key that it has in JSON, left out of it if it is empty.
fn optional(name: &'static str, key: &'static str, value: Value) -> Field {
    Field { name, key, omitted: true, value }
}

fn required(name: &'static str, key: &'static str, value: Value) -> Field {
    Field { name, key, omitted: false, value }
}

fn texts(value: &Data, name: &str, form: Form) -> Result<Value, Error> {
    let items = match value {
        Data::Text(_) if form == Form::Single => vec![any(value)],
        Data::List(items) if items.iter().all(|item| matches!(item, Data::Text(_))) => items.iter().map(any).collect(),
        _ => return refused(format!("{name} of a tool must be texts")),
    };
    Ok(Value::List(List::new(items, form)))
}

/// Takes the value of a key out of a list of entries.
fn taken<'d>(entries: &mut Vec<&'d (String, Data)>, key: &str) -> Option<&'d Data> {
    let at = entries.iter().position(|(name, value)| name == key && *value != Data::None)?;
    Some(&entries.remove(at).1)
}

/// Refuses what of a tool was not taken.
fn nothing_left(entries: &[&(String, Data)]) -> Result<(), Error> {
    match entries.iter().find(|(_, value)| *value != Data::None) {
        Some((key, _)) => refused(format!("{key} of a tool cannot be given to a template in Go's form")),
        None => Ok(()),
    }
}

fn tool(tool: &Data) -> Result<Value, Error> {
    let mut left: Vec<_> = entries(tool, "a tool")?.iter().collect();
    let kind = taken(&mut left, "type").map_or(Ok(String::new()), |kind| text(kind, "type of a tool"))?;
    let items = taken(&mut left, "items").map_or(Value::Nil, any);
    let function = taken(&mut left, "function");
    nothing_left(&left)?;
    let Some(function) = function else { return refused("a tool has no function") };
    let mut left: Vec<_> = entries(function, "the function of a tool")?.iter().collect();
    let name = taken(&mut left, "name").map_or(Ok(String::new()), |name| text(name, "name of a tool"))?;
    let about = taken(&mut left, "description");
    let about = about.map_or(Ok(String::new()), |about| text(about, "description of a tool"))?;
    let given = taken(&mut left, "parameters");
    nothing_left(&left)?;
    let fields = vec![
        required("Name", "name", name.into()),
        required("Description", "description", about.into()),
        required("Parameters", "parameters", parameters(given)?),
    ];
    let fields = vec![
        required("Type", "type", kind.into()),
        optional("Items", "items", items),
        required("Function", "function", record("function", true, fields)),
    ];
    Ok(record("tool", true, fields))
}

fn parameters(given: Option<&Data>) -> Result<Value, Error> {
    let mut left: Vec<_> = given.map_or(Ok(&[][..]), |given| entries(given, "parameters of a tool"))?.iter().collect();
    let kind = taken(&mut left, "type").map_or(Ok(String::new()), |kind| text(kind, "type of a tool's parameters"))?;
    let defs = taken(&mut left, "$defs").map_or(Value::Nil, any);
    let items = taken(&mut left, "items").map_or(Value::Nil, any);
    let needed = taken(&mut left, "required");
    let needed = needed.map_or(Ok(Value::null_list(Form::Plain)), |names| texts(names, "required", Form::Plain))?;
    let found = taken(&mut left, "properties").map_or(Ok(BTreeMap::new()), properties)?;
    nothing_left(&left)?;
    let fields = vec![
        required("Type", "type", kind.into()),
        optional("Defs", "$defs", defs),
        optional("Items", "items", items),
        optional("Required", "required", needed),
        required("Properties", "properties", map(found, Form::Json)),
    ];
    Ok(record("list of parameters", true, fields))
}

fn properties(given: &Data) -> Result<BTreeMap<String, Value>, Error> {
    let given = entries(given, "properties of a tool")?;
    given.iter().map(|(name, value)| Ok((name.clone(), property(value)?))).collect()
}

fn property(given: &Data) -> Result<Value, Error> {
    let mut left: Vec<_> = entries(given, "a property of a tool")?.iter().collect();
    let null = || Value::null_list(Form::Plain);
    let any_of = match taken(&mut left, "anyOf") {
        None => null(),
        Some(Data::List(of)) => Value::list(of.iter().map(property).collect::<Result<_, _>>()?),
        Some(_) => return refused("anyOf of a tool must be a list"),
    };
    let kind = taken(&mut left, "type");
    let kind = kind.map_or(Ok(Value::null_list(Form::Single)), |kind| texts(kind, "type", Form::Single))?;
    let items = taken(&mut left, "items").map_or(Value::Nil, any);
    let about = taken(&mut left, "description");
    let about = about.map_or(Ok(String::new()), |about| text(about, "description of a property"))?;
    let values = match taken(&mut left, "enum") {
        None => null(),
        Some(values @ Data::List(_)) => any(values),
        Some(_) => return refused("enum of a tool must be a list"),
    };
    let inner = taken(&mut left, "properties").map(properties).transpose()?;
    let inner = inner.map_or(Value::Nil, |inner| map(inner, Form::Json));
    let needed = taken(&mut left, "required");
    let needed = needed.map_or(Ok(null()), |names| texts(names, "required", Form::Plain))?;
    nothing_left(&left)?;
    let fields = vec![
        optional("AnyOf", "anyOf", any_of),
        optional("Type", "type", kind),
        optional("Items", "items", items),
        optional("Description", "description", about.into()),
        optional("Enum", "enum", values),
        optional("Properties", "properties", inner),
        optional("Required", "required", needed),
    ];
    Ok(record("property", false, fields))
}
