//! Chat templates: the Jinja source a model carries in `tokenizer.chat_template`, rendered as Hugging Face's libraries do.

use crate::{Error, one_line};
use minijinja::machinery::{self, CompiledTemplate, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, ErrorKind, Value};
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The role of the speaker: `system`, `user` or `assistant`; the template may know others.
    pub role: &'a str,
    /// The text of the message.
    pub content: &'a str,
}

mod clock;
mod data;
mod filters;
#[cfg(feature = "hub")]
mod go;
mod guard;
mod json;
mod methods;
pub(crate) mod prompt;
mod python;
pub(crate) mod thinking;

pub use data::Data;

/// A template comes from an untrusted file, so each has its bounds; real ones stay far below them. The largest known source
/// has 17 kB.
const MOST_SOURCE: usize = 1 << 17;
/// Steps (of one instruction or 64 bytes of data each) that are allowed in any case, for each message, and for each byte of content.
const STEPS: [u64; 3] = [20_000, 2_000, 4];
/// Bytes of output that are allowed in any case, for each message, and for each byte of content.
const OUTPUT: [u64; 3] = [1 << 18, 1 << 10, 4];
/// Nested values and expressions are walked by recursion, so they get a stack whose size does not depend on the caller.
const STACK: usize = 32 << 20;

/// A parsed chat template.
///
/// The template sees `messages` (maps of `role` and `content`), `add_generation_prompt`, `bos_token`, `eos_token`, `tools` and
/// `documents` (both none), and the functions `raise_exception` and `strftime_now` (in UTC). Whitespace is trimmed around block
/// tags as Hugging Face does, `{% generation %}` and `{% break %}` are understood, and so are Python's methods of texts, lists and maps.
/// What Python refuses is refused, such as a loop over `tools` where there are none. Filters that no known template uses are not there;
/// the error names them.
///
/// Rendering is bounded: steps, memory, depth and output, in proportion to the messages.
///
/// A template in Go's form, made by [`of_go`](Self::of_go), sees what Ollama gives such templates instead.
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
    #[cfg(feature = "hub")]
    go: Option<go::Template>,
}

impl ChatTemplate {
    /// Reads the template `source` of a model whose begin and end tokens have the texts `bos` and `eos` (empty if none).
    ///
    /// # Errors
    /// [`Error::TemplateSize`], [`Error::TemplateSyntax`], [`Error::TemplateDepth`].
    pub fn parse(source: &str, bos: &str, eos: &str) -> Result<ChatTemplate, Error> {
        if source.len() > MOST_SOURCE {
            return Err(Error::TemplateSize { bytes: source.len(), most: MOST_SOURCE });
        }
        // Jinja knows one kind of line end.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let source = without_generation_tags(&without_long_escapes(&source));
        on_own_stack(|| compile(&source).map(|_| ()))??;
        Ok(ChatTemplate {
            source,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            #[cfg(feature = "hub")]
            go: None,
        })
    }

    /// Reads a template of Go's `text/template`, as Ollama's models have it.
    ///
    /// It is rendered as Ollama does: over the whole conversation if it mentions `.Messages`, and turn by turn with `.System`, `.Prompt` and
    /// `.Response` otherwise. Messages in a row with one role are joined. What is written is always up to the beginning of an answer.
    /// [`encode_chat`](crate::encode_chat) puts the begin token before it, if the tokenizer has it so, as such templates write none.
    ///
    /// # Errors
    /// [`Error::TemplateSize`], [`Error::TemplateSyntax`], also for functions that are not supported, and [`Error::TemplateDepth`].
    #[cfg(feature = "hub")]
    pub fn of_go(source: &str) -> Result<ChatTemplate, Error> {
        if source.len() > MOST_SOURCE {
            return Err(Error::TemplateSize { bytes: source.len(), most: MOST_SOURCE });
        }
        let go = on_own_stack(|| go::Template::parse(source))??;
        Ok(ChatTemplate { source: source.to_owned(), bos: String::new(), eos: String::new(), go: Some(go) })
    }

    /// Whether the template leaves the begin token to the tokenizer.
    fn leaves_bos(&self) -> bool {
        #[cfg(feature = "hub")]
        return self.go.is_some();
        #[cfg(not(feature = "hub"))]
        return false;
    }

    /// The prompt for these messages; with `add_generation_prompt`, up to where the assistant's next words begin.
    ///
    /// Tokenize the result with special tokens on and add no begin token: the template writes it.
    ///
    /// # Errors
    /// [`Error::TemplateRefused`] when the template rejects the conversation (say, for two user turns in a row),
    /// [`Error::TemplateRender`] when it fails, and [`Error::TemplateSteps`], [`Error::TemplateOutput`] and
    /// [`Error::TemplateDepth`] when it passes a bound.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        self.render_at(messages, add_generation_prompt, now())
    }

    /// [`render`](Self::render) with the clock at `seconds` after the start of 1970, UTC, for `strftime_now`.
    ///
    /// # Errors
    /// As for [`render`](Self::render).
    pub fn render_at(&self, messages: &[Message], add_generation_prompt: bool, seconds: u64) -> Result<String, Error> {
        let variables = [("messages", messages.into()), ("add_generation_prompt", Data::Bool(add_generation_prompt))];
        self.render_data(&variables, seconds)
    }

    /// Renders the template with these variables, such as `messages`, `tools`, `add_generation_prompt` and what else the template
    /// knows, at `seconds` after the start of 1970, UTC.
    ///
    /// Those that are not given are undefined, but `tools` and `documents`, which are none, and the texts of the begin and end tokens.
    /// A message is a map of `role` and `content`, and may have `reasoning_content` and `tool_calls` as in Hugging Face's libraries.
    ///
    /// # Errors
    /// As for [`render`](Self::render).
    pub fn render_data(&self, variables: &[(&str, Data)], seconds: u64) -> Result<String, Error> {
        let (count, bytes) = variables.iter().fold((0_u64, 0_u64), |(count, bytes), (_, value)| {
            let (more, texts) = value.size();
            (count.saturating_add(more), bytes.saturating_add(texts))
        });
        let bound = |[base, each, byte]: [u64; 3]| {
            base.saturating_add(each.saturating_mul(count)).saturating_add(byte.saturating_mul(bytes))
        };
        if variables.iter().any(|(_, value)| value.deeper_than(guard::MOST_DEPTH)) {
            return Err(Error::TemplateDepth);
        }
        let most = usize::try_from(bound(OUTPUT)).unwrap_or(usize::MAX);
        #[cfg(feature = "hub")]
        if let Some(go) = &self.go {
            let bounds = go::Bounds { steps: bound(STEPS), bytes: most };
            return on_own_stack(|| go.render(variables, seconds, &bounds))?;
        }
        let namespaces = python::Namespaces::default();
        let mut environment = python::environment(&namespaces, seconds);
        environment.set_fuel(Some(bound(STEPS)));
        let defaults = [
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let given = variables.iter().map(|(name, value)| (*name, value.value()));
        let context = Value::from_pairs(defaults.into_iter().chain(given));
        let text = on_own_stack(|| {
            let compiled = compile(&self.source)?;
            let mut text = String::new();
            let mut output = machinery::make_string_output(&mut text);
            let done = machinery::eval(
                &environment,
                &compiled.instructions,
                context,
                &compiled.blocks,
                &mut output,
                AutoEscape::None,
            );
            // Here, since what is freed may be as deep as the stack allows.
            namespaces.empty();
            done.map_err(|error| told(&error))?;
            Ok::<_, Error>(text)
        })??;
        if text.len() > most { Err(Error::TemplateOutput { most }) } else { Ok(text) }
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("bos", &self.bos).field("eos", &self.eos).finish_non_exhaustive()
    }
}

fn compile(source: &str) -> Result<CompiledTemplate<'_>, Error> {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| told(&error))?;
    guard::check(source, syntax.clone())?;
    let config = TemplateConfig { syntax_config: syntax, default_auto_escape: Arc::new(|_| AutoEscape::None) };
    let mut compiled = CompiledTemplate::new("chat", source, &config).map_err(|error| told(&error))?;
    compiled.instructions = python::rewritten(&compiled.instructions);
    Ok(compiled)
}

/// Seconds since the start of 1970, UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Runs `f` on a thread with [`STACK`] bytes of stack.
fn on_own_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let refused = |reason: String| Error::Spawn { threads: 1, reason };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("smidgen-chat".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, f).map_err(|error| refused(error.to_string()))?;
        Ok(thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
    })
}

/// The words of a `raise_exception`, carried through the engine's errors.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Translates the engine's error.
fn told(error: &minijinja::Error) -> Error {
    let mut innermost = error;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Refusal(message)) = error.downcast_ref() {
            return Error::TemplateRefused { message: one_line(message) };
        }
        if let Some(error) = error.downcast_ref::<minijinja::Error>() {
            innermost = error;
            match error.kind() {
                ErrorKind::OutOfFuel => return Error::TemplateSteps,
                _ if error.detail().is_some_and(|detail| detail.contains("recursion limit")) => {
                    return Error::TemplateDepth;
                }
                _ => {}
            }
        }
        cause = error.source();
    }
    let line = innermost.line().or(error.line()).unwrap_or(0);
    let reason = match innermost.detail() {
        Some(detail) => one_line(&format!("{}: {detail}", innermost.kind())),
        None => innermost.kind().to_string(),
    };
    match error.kind() {
        ErrorKind::SyntaxError => Error::TemplateSyntax { line, reason },
        _ => Error::TemplateRender { line, reason },
    }
}

/// `{% generation %}` marks the assistant's words for training; here it becomes a condition that always holds, which keeps
/// the whitespace control of the tag.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        result.push_str(before);
        let signed = tag.strip_prefix(['-', '+']).unwrap_or(tag);
        let word = signed.trim_start();
        result.push_str(&tag[..tag.len() - word.len()]);
        rest = word;
        for (name, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
            if let Some(after) = word.strip_prefix(name)
                && after.trim_start().trim_start_matches(['-', '+']).starts_with("%}")
            {
                result.push_str(instead);
                rest = after;
            }
        }
    }
    result + rest
}

/// Characters that tags spell as `\UXXXXXXXX`, which the engine does not read.
fn without_long_escapes(source: &str) -> String {
    const DIGITS: usize = 8;
    let (mut result, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find("\\U") {
        let (before, escape) = rest.split_at(at);
        result.push_str(before);
        let code = escape.get(2..2 + DIGITS).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let place = |signs: [&str; 2]| signs.iter().filter_map(|sign| result.rfind(sign)).max();
        let in_tag = place(["{{", "{%"]) > place(["}}", "%}"]);
        let escaped = before.len() - before.trim_end_matches('\\').len();
        // A quote or a backslash would have to be escaped in its turn.
        let c = code.and_then(char::from_u32).filter(|c| in_tag && escaped % 2 == 0 && !c.is_ascii());
        result.push_str(&c.map_or_else(|| "\\U".to_owned(), String::from));
        rest = &escape[if c.is_some() { 2 + DIGITS } else { 2 }..];
    }
    result + rest
}

#[cfg(test)]
mod tests;
