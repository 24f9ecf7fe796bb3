//! `/v1/chat/completions`.

use super::fields::{Fields, Shape, parse};
use super::form::{Form, Kind};
use super::generation::Generation;
use super::sampling::Common;
use super::{Error, State};
use crate::engine::{Facts, Request, Texts};
use crate::http::Answer;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use smidgen_host::{ChatTemplate, Data, Markers, Splitter, encode_chat_data};
use std::sync::Arc;
use std::time::Instant;

/// The most likely tokens of which log-probabilities are given, at most.
const TOP: u64 = 20;
/// Tokens at the end of a prompt that may open reasoning.
const PROMPT_END: usize = 32;

/// A model's way of conversing.
pub(crate) struct Chat {
    template: ChatTemplate,
    markers: Option<Markers>,
    /// Spellings of control tokens, where they are among the markers.
    controls: Vec<String>,
}

impl Chat {
    /// By the template that the model has.
    ///
    /// # Errors
    /// A line of text, where there is none, or it cannot be used.
    pub(crate) fn of(facts: &Facts, texts: &Texts) -> Result<Chat, String> {
        let tokenizer = texts.tokenizer;
        let source = facts.template.as_deref();
        let source =
            source.ok_or("this model has no chat template; ask /v1/completions for the continuation of a text")?;
        let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
        let template = ChatTemplate::parse(source, spelled(tokenizer.bos()), spelled(tokenizer.eos()));
        let template = template.map_err(|error| format!("the model's chat template cannot be used: {error}"))?;
        let markers = Markers::find(&template, tokenizer);
        let controls = match &markers {
            Some(markers) if markers.are_control() => {
                let control = (0..tokenizer.vocab_len() as u32).filter(|id| tokenizer.is_control(*id));
                control.filter_map(|id| tokenizer.token_text(id)).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Ok(Chat { template, markers, controls })
    }
}

#[derive(Deserialize)]
struct Message<'b> {
    role: String,
    #[serde(borrow)]
    content: Option<&'b RawValue>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    text: Option<String>,
}

/// The content of a message as a text, with its parts one after another.
fn content(text: &str, at: &str) -> Result<String, Error> {
    let name = format!("{at}.content");
    if Shape::of(text) == Shape::Text {
        return parse(&name, text);
    }
    let parts: Vec<ContentPart> = parse(&name, text)?;
    parts.into_iter().enumerate().map(|(number, part)| part.text(at, number)).collect()
}

impl ContentPart {
    fn text(self, at: &str, number: usize) -> Result<String, Error> {
        let at = format!("{at}.content[{number}]");
        match self.r#type.as_str() {
            "text" | "input_text" | "output_text" => {
                self.text.ok_or_else(|| Error::param(&format!("{at}.text"), "this is required"))
            }
            other => {
                let why = format!("parts of the type {other:?} are not supported; this model reads text only");
                Err(Error::param(&format!("{at}.type"), why))
            }
        }
    }
}

/// The messages as a template takes them.
fn messages(fields: &Fields) -> Result<Data, Error> {
    let messages: Vec<Message> = fields.required("messages")?;
    if messages.is_empty() {
        return Err(Error::param("messages", "there are none; give at least one"));
    }
    let each = |(number, message): (usize, Message)| {
        let at = format!("messages[{number}]");
        let role = match message.role.as_str() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant") => role,
            "tool" | "function" => {
                return Err(Error::param(&format!("{at}.role"), "tools are not supported by this server"));
            }
            role => {
                let why = format!("{role:?} is none of system, developer, user, assistant");
                return Err(Error::param(&format!("{at}.role"), why));
            }
        };
        if message.tool_calls.is_some_and(|calls| !calls.is_empty()) {
            return Err(Error::param(&format!("{at}.tool_calls"), "tools are not supported by this server"));
        }
        let content = match message.content {
            Some(text) => content(text.get(), &at)?,
            None if role == "assistant" => String::new(),
            None => return Err(Error::param(&format!("{at}.content"), "this is required")),
        };
        let mut entries = vec![("role".to_owned(), role.into()), ("content".to_owned(), Data::Text(content))];
        if let Some(reasoning) = message.reasoning_content.filter(|_| role == "assistant") {
            entries.push(("reasoning_content".to_owned(), Data::Text(reasoning)));
        }
        Ok(Data::Map(entries))
    };
    Ok(Data::List(messages.into_iter().enumerate().map(each).collect::<Result<_, _>>()?))
}

/// A value as a template takes it.
fn data(value: Value) -> Data {
    match value {
        Value::Null => Data::None,
        Value::Bool(value) => Data::Bool(value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Data::Int(whole),
            None => Data::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Data::Text(text),
        Value::Array(items) => Data::List(items.into_iter().map(data).collect()),
        Value::Object(entries) => Data::Map(entries.into_iter().map(|(key, value)| (key, data(value))).collect()),
    }
}

/// Bytes of `chat_template_kwargs`, at most.
const VARIABLES: usize = 1 << 16;

/// Variables of the template beside the conversation, by `chat_template_kwargs`.
fn variables(fields: &Fields) -> Result<Vec<(String, Data)>, Error> {
    if fields.raw("chat_template_kwargs").is_some_and(|text| text.len() > VARIABLES) {
        return Err(Error::param("chat_template_kwargs", format!("this is longer than {VARIABLES} bytes")));
    }
    let given: serde_json::Map<String, Value> = fields.get("chat_template_kwargs")?.unwrap_or_default();
    let own = ["messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"];
    if let Some(name) = own.iter().find(|name| given.contains_key(**name)) {
        return Err(Error::param("chat_template_kwargs", format!("{name} cannot be set by it")));
    }
    Ok(given.into_iter().map(|(name, value)| (name, data(value))).collect())
}

/// Whether thinking is asked for, or not to be.
fn thinking(fields: &Fields) -> Result<Option<bool>, Error> {
    let effort: Option<String> = fields.get("reasoning_effort")?;
    match effort.as_deref() {
        None => Ok(None),
        Some("none" | "minimal") => Ok(Some(false)),
        Some("low" | "medium" | "high" | "xhigh") => Ok(Some(true)),
        Some(other) => Err(Error::param(
            "reasoning_effort",
            format!("{other:?} is none of none, minimal, low, medium, high, xhigh"),
        )),
    }
}

/// What this server does not do, each refused by its name.
fn refuse(fields: &Fields) -> Result<(), Error> {
    let tools = "tools are not supported by this server; leave this out";
    fields.only("tools", &["[]"], tools)?;
    fields.only("functions", &["[]"], tools)?;
    fields.only("tool_choice", &["\"none\"", "\"auto\""], tools)?;
    fields.only("function_call", &["\"none\"", "\"auto\""], tools)?;
    let text = "this server answers with text only";
    fields.only("response_format", &["{\"type\":\"text\"}"], "only {\"type\": \"text\"} is supported")?;
    fields.only("modalities", &["[\"text\"]"], text)?;
    fields.only("audio", &[], text)?;
    fields.only("web_search_options", &[], "this server does not search")?;
    fields.only("grammar", &["\"\""], "grammars are not supported by this server")
}

/// The tokens of a conversation, and what tells reasoning from the answer.
struct Prompt {
    tokens: Vec<u32>,
    splitter: Option<Splitter>,
    special: bool,
}

fn prompt(
    chat: &Chat,
    texts: &Texts,
    messages: Data,
    more: Vec<(String, Data)>,
    thinks: Option<bool>,
) -> Result<Prompt, Error> {
    let mut variables = vec![("messages", messages), ("add_generation_prompt", Data::Bool(true))];
    if let Some(on) = thinks {
        match chat.template.thinking(on) {
            Some(switch) => variables.push(switch),
            None if !on && chat.markers.is_none() => {}
            None => {
                let turn = if on { "on" } else { "off" };
                let why = format!("the model's chat template cannot turn thinking {turn}; leave this out");
                return Err(Error::param("reasoning_effort", why));
            }
        }
    }
    variables.extend(more.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let tokens = encode_chat_data(texts.tokenizer, &chat.template, &variables)
        .map_err(|error| Error::param("messages", error.to_string()))?;
    let end = tokens.get(tokens.len().saturating_sub(PROMPT_END)..).unwrap_or_default();
    let splitter = chat.markers.as_ref().map(|markers| {
        let mut splitter = Splitter::after(markers.clone(), &texts.tokenizer.decode(end, true));
        chat.controls.iter().for_each(|control| splitter.control(control));
        splitter
    });
    Ok(Prompt { tokens, splitter, special: !chat.controls.is_empty() })
}

/// Answers a conversation.
pub(crate) async fn complete(state: &State, body: &[u8], started: Instant) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    state.model(&fields)?;
    refuse(&fields)?;
    let common = Common::of(&fields, state)?;
    let most = match fields.within("max_completion_tokens", 1..=u64::MAX)? {
        Some(most) => Some(most),
        None => fields.within("max_tokens", 1..=u64::MAX)?,
    };
    let logprobs = fields.get("logprobs")?.unwrap_or(false);
    let top = fields.within("top_logprobs", 0..=TOP)?;
    if top.is_some() && !logprobs {
        return Err(Error::param("top_logprobs", "this is only for 'logprobs': true"));
    }
    let (messages, more, thinks) = (messages(&fields)?, variables(&fields)?, thinking(&fields)?);
    drop(fields);
    let facts = state.writer()?;
    state.room(common.n)?;
    let (shared, of_thread) = (Arc::clone(&state.chat), facts.clone());
    let ends = common.ends(&facts);
    let prompt = state.engine()?.texts(move |texts| {
        let chat = shared.get_or_init(|| Chat::of(&of_thread, texts)).as_ref().map_err(Error::bad)?;
        prompt(chat, texts, messages, more, thinks).map(|prompt| (prompt, ends(texts.tokenizer)))
    });
    let (Prompt { tokens, splitter, special }, ends) = prompt.await??;
    let request = |choice| Request {
        most: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        logprobs: logprobs.then_some(top.unwrap_or(0) as usize),
        special,
        ..common.request(tokens.clone(), choice, &ends)
    };
    let events = state.engine()?.submit_all((0..common.n).map(request).collect())?;
    let generation = Generation::new(events, common.n, splitter.as_ref(), started, &state.metrics);
    let form = Form {
        kind: Kind::Chat,
        id: format!("chatcmpl-{:016x}", state.random()),
        created: super::now(),
        model: state.id.clone(),
        fingerprint: state.fingerprint.clone(),
        logprobs,
        echoes: Vec::new(),
        each: common.n,
    };
    if common.stream {
        return form.stream(generation, common.n, common.usage).await;
    }
    let (all, usage) = form.whole(generation, common.n).await?;
    Ok(form.answer(all, usage))
}
