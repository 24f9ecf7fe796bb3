//! `/v1/chat/completions`.

use super::fields::{Fields, Shape, parse};
use super::form::{Form, Kind};
use super::generation::Generation;
use super::sampling::{Common, control_stops};
use super::{Arrival, Error, State};
use crate::defaults::Defaults;
use crate::engine::{Facts, Request, Texts};
use crate::http::Answer;
use crate::models::Served;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use smidgen_host::{ChatTemplate, Data, Markers, Splitter, encode_chat_data};

/// The most likely tokens of which log-probabilities are given, at most.
const TOP: u64 = 20;
/// Tokens at the end of a prompt that may open reasoning.
const PROMPT_END: usize = 32;

/// A model's way of conversing.
pub(crate) struct Chat {
    template: ChatTemplate,
    markers: Option<Markers>,
}

impl Chat {
    /// Whether there is a template at all.
    pub(crate) fn has_template(
        facts: &Facts,
        #[cfg_attr(not(feature = "hub"), expect(unused_variables, reason = "registries are of the hub"))]
        defaults: &Defaults,
    ) -> bool {
        #[cfg(feature = "hub")]
        if defaults.template.is_some() {
            return true;
        }
        facts.template.is_some()
    }

    /// By the template that the model's registry has, or else its file.
    ///
    /// # Errors
    /// A line of text, where there is none, or it cannot be used.
    pub(crate) fn of(facts: &Facts, defaults: &Defaults, texts: &Texts) -> Result<Chat, String> {
        let tokenizer = texts.tokenizer;
        let template = template(facts, defaults, texts)?;
        let markers = Markers::find(&template, tokenizer);
        Ok(Chat { template, markers })
    }
}

fn template(
    facts: &Facts,
    #[cfg_attr(not(feature = "hub"), expect(unused_variables, reason = "registries are of the hub"))]
    defaults: &Defaults,
    texts: &Texts,
) -> Result<ChatTemplate, String> {
    let told = |error| format!("the model's chat template cannot be used: {error}");
    #[cfg(feature = "hub")]
    if let Some(source) = &defaults.template {
        return ChatTemplate::of_go(source).map_err(told);
    }
    let source = facts.template.as_deref();
    let source = source.ok_or("this model has no chat template; ask /v1/completions for the continuation of a text")?;
    let spelled = |id: Option<u32>| id.and_then(|id| texts.tokenizer.token_text(id)).unwrap_or_default();
    ChatTemplate::parse(source, spelled(texts.tokenizer.bos()), spelled(texts.tokenizer.eos())).map_err(told)
}

#[derive(Deserialize)]
struct Message<'b> {
    role: String,
    #[serde(borrow)]
    content: Option<&'b RawValue>,
    name: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    text: Option<String>,
}

fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
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

/// A message as a template takes it.
fn message(role: &str, content: String) -> Vec<(String, Data)> {
    vec![("role".to_owned(), role.into()), ("content".to_owned(), Data::Text(content))]
}

fn parsed<'b>((number, message): (usize, &'b RawValue)) -> Result<Message<'b>, Error> {
    parse(&format!("messages[{number}]"), message.get())
}

/// The messages as a template takes them, at most so many: before those of the request come what the model's registry has.
fn messages(fields: &Fields, defaults: &Defaults, most: usize) -> Result<Data, Error> {
    let messages: Vec<&RawValue> = fields.required("messages")?;
    if messages.len() > most {
        let why = format!("{} messages do not fit the context, which holds {most} tokens", messages.len());
        return Err(Error::param("messages", why).code("context_length_exceeded"));
    }
    let messages = messages.into_iter().enumerate().map(parsed).collect::<Result<Vec<Message>, Error>>()?;
    if messages.is_empty() {
        return Err(Error::param("messages", "there are none; give at least one"));
    }
    let system = defaults.system.iter().filter(|_| !messages.first().is_some_and(is_system));
    let first = defaults.messages.iter().map(|(role, content)| Data::Map(message(role, content.clone())));
    let first: Vec<Data> = system.map(|content| Data::Map(message("system", content.clone()))).chain(first).collect();
    let each = |(number, given): (usize, Message)| {
        let at = format!("messages[{number}]");
        let role = match given.role.as_str() {
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
        if given.tool_calls.is_some_and(|calls| !calls.is_empty()) {
            return Err(Error::param(&format!("{at}.tool_calls"), "tools are not supported by this server"));
        }
        let content = match given.content {
            Some(text) => content(text.get(), &at)?,
            None if role == "assistant" => String::new(),
            None => return Err(Error::param(&format!("{at}.content"), "this is required")),
        };
        let mut entries = message(role, content);
        entries.extend(given.name.map(|name| ("name".to_owned(), Data::Text(name))));
        if let Some(reasoning) = given.reasoning_content.filter(|_| role == "assistant") {
            entries.push(("reasoning_content".to_owned(), Data::Text(reasoning)));
        }
        Ok(Data::Map(entries))
    };
    let given = messages.into_iter().enumerate().map(each);
    Ok(Data::List(first.into_iter().map(Ok).chain(given).collect::<Result<_, _>>()?))
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

/// Bytes of the texts in a value, but for roles.
fn size(value: &Data) -> usize {
    match value {
        Data::Text(text) => text.len(),
        Data::List(items) => items.iter().map(size).sum(),
        Data::Map(entries) => entries.iter().filter(|(key, _)| key != "role").map(|(_, value)| size(value)).sum(),
        Data::None | Data::Bool(_) | Data::Int(_) | Data::Float(_) => 0,
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

/// Words for how much a model is to think.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];

/// How much the model is to think, if anything is said.
fn effort(fields: &Fields) -> Result<Option<&'static str>, Error> {
    let Some(given) = fields.get::<String>("reasoning_effort")? else { return Ok(None) };
    match EFFORTS.iter().find(|known| **known == given) {
        Some(known) => Ok(Some(known)),
        None => Err(Error::param("reasoning_effort", format!("this is none of {}", EFFORTS.join(", ")))),
    }
}

/// The variable of the template that says how much to think; none for a model that does not think and is not to.
fn switch(chat: &Chat, effort: &'static str) -> Result<Option<(&'static str, Data)>, Error> {
    let on = !matches!(effort, "none" | "minimal");
    match chat.template.thinking(on) {
        // A template that knows more or less thinking takes the word itself.
        Some((name @ ("reasoning_effort" | "thinking_effort"), _)) if on => Ok(Some((name, effort.into()))),
        Some(switch) => Ok(Some(switch)),
        None if !on && chat.markers.is_none() && chat.template.thinking(true).is_none() => Ok(None),
        None => {
            let turn = if on { "on" } else { "off" };
            let why = format!("the model's chat template cannot turn thinking {turn}; leave this out");
            Err(Error::param("reasoning_effort", why))
        }
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
    fields.only("modalities", &["[\"text\"]"], text)?;
    fields.only("audio", &[], text)?;
    fields.only("verbosity", &["\"medium\""], "this is not supported by this server; leave this out")?;
    fields.only("web_search_options", &[], "this server does not search")
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
    effort: Option<&'static str>,
) -> Result<Prompt, Error> {
    let mut variables = vec![("messages", messages), ("add_generation_prompt", Data::Bool(true))];
    if let Some(effort) = effort {
        variables.extend(switch(chat, effort)?);
    }
    variables.extend(more.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let tokens = encode_chat_data(texts.tokenizer, &chat.template, &variables)
        .map_err(|error| Error::param("messages", error.to_string()))?;
    let end = tokens.get(tokens.len().saturating_sub(PROMPT_END)..).unwrap_or_default();
    let splitter =
        chat.markers.as_ref().map(|markers| Splitter::after(markers.clone(), &texts.tokenizer.decode(end, true)));
    Ok(Prompt { tokens, splitter, special: chat.markers.as_ref().is_some_and(Markers::are_control) })
}

/// Answers a conversation.
pub(crate) async fn complete(state: &State, body: &[u8], arrival: &Arrival) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let facts = served.writer()?;
    refuse(&fields)?;
    let common = Common::of(&fields, state, &served)?;
    let most = match fields.within("max_completion_tokens", 1..=u64::MAX)? {
        Some(most) => Some(most),
        None => fields.within("max_tokens", 1..=u64::MAX)?,
    };
    let logprobs = fields.get("logprobs")?.unwrap_or(false);
    let top = fields.within("top_logprobs", 0..=TOP)?;
    if top.is_some() && !logprobs {
        return Err(Error::param("top_logprobs", "this is only for 'logprobs': true"));
    }
    let (messages, more, effort) =
        (messages(&fields, &served.defaults, facts.context)?, variables(&fields)?, effort(&fields)?);
    drop(fields);
    served.room(common.n)?;
    let of_thread = served.clone();
    let (stops, given) = (common.stops.clone(), common.given);
    let bytes = size(&messages);
    served.fits("messages", bytes)?;
    let prompt = served.engine.texts(bytes, move |texts| {
        let Served { facts, defaults, chat, .. } = &*of_thread;
        let chat = chat.get_or_init(|| Chat::of(facts, defaults, texts)).as_ref().map_err(Error::bad)?;
        let stops = control_stops(texts.tokenizer, &stops, given)?;
        Ok::<_, Error>((prompt(chat, texts, messages, more, effort)?, stops))
    });
    let (Prompt { tokens, splitter, special }, stops) = prompt.await??;
    let ends = common.ends(&facts.ends, stops);
    // What nobody asked for takes what room there is.
    let room = facts.context.saturating_sub(tokens.len()).max(1);
    let most = match most {
        Some(most) => Some(usize::try_from(most).unwrap_or(usize::MAX)),
        None => served.defaults.max_tokens.map(|most| most.min(room)),
    };
    let request = |choice| Request {
        most,
        logprobs: logprobs.then_some(top.unwrap_or(0) as usize),
        special,
        ..common.request(tokens.clone(), choice, &ends)
    };
    let events = served.engine.submit_all((0..common.n).map(request).collect())?;
    let generation = Generation::new(events, common.n, splitter.as_ref(), arrival, &state.metrics, &served);
    let form = Form {
        kind: Kind::Chat,
        id: format!("chatcmpl-{:016x}", state.random()),
        created: super::now(),
        model: served.id.clone(),
        fingerprint: served.fingerprint(),
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
