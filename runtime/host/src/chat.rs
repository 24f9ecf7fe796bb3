//! Chat templates: the Jinja source a model carries in `tokenizer.chat_template`, rendered as Hugging Face's libraries do.

use crate::{Error, one_line};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, ErrorKind, State, Value};
use std::fmt;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks: `system`, `user` or `assistant`; the template may know others.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

/// A template comes from an untrusted file, so each has its bounds; real ones stay far below them. The largest known source
/// has 30 kB.
const MOST_SOURCE: usize = 1 << 18;
/// Steps (of one instruction or 64 bytes of data each) allowed at all, for each message and for each byte of content.
const STEPS: [u64; 3] = [50_000, 2_000, 4];
/// Bytes of output allowed at all, for each message and for each byte of content.
const OUTPUT: [u64; 3] = [1 << 18, 1 << 10, 4];
const MOST_DEPTH: usize = 64;
/// Nested values and expressions are walked by recursion, so they get a stack whose size does not depend on the caller.
const STACK: usize = 32 << 20;
const NAME: &str = "chat";

/// A parsed chat template.
///
/// The template sees `messages` (maps of `role` and `content`), `add_generation_prompt`, `bos_token`, `eos_token`, `tools` and
/// `documents` (both none), and the functions `raise_exception` and `strftime_now` (in UTC). Whitespace is trimmed around block
/// tags as Hugging Face does, `{% generation %}` and `{% break %}` are understood, and so are Python's string methods.
///
/// Rendering is bounded: steps, memory, depth and output, in proportion to the messages.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
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
        let environment = on_own_stack(|| environment(source).map_err(|error| told(&error, 0)))??;
        Ok(ChatTemplate { environment, bos: bos.to_owned(), eos: eos.to_owned() })
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
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.render_at(messages, add_generation_prompt, seconds)
    }

    /// [`render`](Self::render) with the clock at `seconds` after the start of 1970, UTC, for `strftime_now`.
    ///
    /// # Errors
    /// As for [`render`](Self::render).
    pub fn render_at(&self, messages: &[Message], add_generation_prompt: bool, seconds: u64) -> Result<String, Error> {
        let (count, bytes) = messages.iter().fold((0_u64, 0_u64), |(count, bytes), message| {
            (count.saturating_add(1), bytes.saturating_add((message.role.len() + message.content.len()) as u64))
        });
        let bound = |[base, each, byte]: [u64; 3]| {
            base.saturating_add(each.saturating_mul(count)).saturating_add(byte.saturating_mul(bytes))
        };
        let most = usize::try_from(bound(OUTPUT)).unwrap_or(usize::MAX);
        on_own_stack(|| {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(bound(STEPS)));
            environment.add_function("strftime_now", move |format: &str| strftime(format, seconds));
            let messages = messages.iter().map(|message| {
                Value::from_pairs([("role", Value::from(message.role)), ("content", Value::from(message.content))])
            });
            let context = minijinja::context! {
                messages => messages.collect::<Value>(),
                add_generation_prompt,
                bos_token => &self.bos,
                eos_token => &self.eos,
                tools => (),
                documents => (),
            };
            let mut output = Bounded { text: Vec::new(), most };
            environment
                .get_template(NAME)
                .and_then(|template| template.render_captured_to(context, &mut output).map(|_| ()))
                .map_err(|error| told(&error, most))?;
            String::from_utf8(output.text)
                .map_err(|_| Error::TemplateRender { line: 0, reason: "the output is not UTF-8".to_owned() })
        })?
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("bos", &self.bos).field("eos", &self.eos).finish_non_exhaustive()
    }
}

fn environment(source: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_recursion_limit(MOST_DEPTH);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    // Python does not iterate over None; the engine does.
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: &str| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception")
            .with_source(Refusal(message.to_owned())))
    });
    environment.add_template_owned(NAME, without_generation_tags(source))?;
    Ok(environment)
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

/// Translates the engine's error; `most` is the bound on the output.
fn told(error: &minijinja::Error, most: usize) -> Error {
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
                ErrorKind::WriteFailure => return Error::TemplateOutput { most },
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

/// Collects at most `most` bytes.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// The `tojson` filter as Hugging Face defines it: Python's `json.dumps` without escaping for HTML.
fn to_json(state: &State, value: &Value, positional: Rest<Value>, options: Kwargs) -> Result<String, minijinja::Error> {
    let first = positional.first().filter(|value| value.kind() == ValueKind::Number).cloned();
    let indent = options.get::<Option<Value>>("indent")?.or(first).filter(|value| !value.is_none());
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson takes two separators")),
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let indent = indent.map(|value| usize::try_from(value)).transpose()?;
    if indent.is_some_and(|indent| indent > 16) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "tojson indents by at most 16"));
    }
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut json = Json { state, indent, item, key, sorted, ascii, text: String::new(), paid: 0 };
    json.value(value, 0)?;
    Ok(json.text)
}

struct Json<'a, 's, 'e> {
    state: &'a State<'s, 'e>,
    indent: Option<usize>,
    item: String,
    key: String,
    sorted: bool,
    ascii: bool,
    text: String,
    paid: usize,
}

impl Json<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        if depth > MOST_DEPTH {
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "recursion limit exceeded in tojson"));
        }
        // One step for each value and 64 bytes, as the engine counts.
        self.state.consume_fuel(1 + (self.text.len() - self.paid) as u64 / 64)?;
        self.paid = self.text.len();
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&value.to_string()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.text.push('{');
                for (index, key) in keys.iter().enumerate() {
                    self.separate(index == 0, depth + 1);
                    self.string(&key.to_string());
                    self.text.push_str(&self.key);
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                self.close(keys.is_empty(), depth, '}');
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.text.push('[');
                let mut empty = true;
                for item in value.try_iter()? {
                    self.separate(empty, depth + 1);
                    empty = false;
                    self.value(&item, depth + 1)?;
                }
                self.close(empty, depth, ']');
            }
            _ => match value.as_str() {
                Some(text) => self.string(text),
                None => return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "value has no JSON form")),
            },
        }
        Ok(())
    }

    fn separate(&mut self, first: bool, depth: usize) {
        if !first {
            self.text.push_str(&self.item);
        }
        self.new_line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, sign: char) {
        if !empty {
            self.new_line(depth);
        }
        self.text.push(sign);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

/// C's `strftime` in English and UTC; unknown conversions stay as they are.
fn strftime(format: &str, seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let date = Date::of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let half = (hour + 11) % 12 + 1;
    let day_name = DAYS[usize::try_from(seconds / 86_400 % 7).unwrap_or(0)];
    let month_name = MONTHS[date.month];
    let month = date.month + 1;
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut sign = rest.next();
        let bare = sign == Some('-');
        if bare {
            sign = rest.next();
        }
        let number = |value: u64| if bare { value.to_string() } else { format!("{value:02}") };
        text.push_str(&match sign {
            Some('Y') => date.year.to_string(),
            Some('y') => number(date.year % 100),
            Some('m') => number(month as u64),
            Some('d') => number(date.day),
            Some('e') => format!("{:2}", date.day),
            Some('H') => number(hour),
            Some('I') => number(half),
            Some('M') => number(minute),
            Some('S') => number(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('j') if bare => (date.day_of_year + 1).to_string(),
            Some('j') => format!("{:03}", date.day_of_year + 1),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('F') => format!("{}-{month:02}-{:02}", date.year, date.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('R') => format!("{hour:02}:{minute:02}"),
            Some('D') => format!("{month:02}/{:02}/{:02}", date.day, date.year % 100),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{}{other}", if bare { "-" } else { "" }),
            None => format!("%{}", if bare { "-" } else { "" }),
        });
    }
    text
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 0.
    month: usize,
    /// From 1.
    day: u64,
    /// From 0.
    day_of_year: u64,
}

impl Date {
    /// The date `days` after the first of January 1970.
    fn of(days: u64) -> Date {
        // Whole 400-year cycles first (146,097 days; 1970 + 400n have the same calendars), then year by year.
        let mut year = 1970 + days / 146_097 * 400;
        let mut left = days % 146_097;
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        while left >= 365 + u64::from(leap(year)) {
            left -= 365 + u64::from(leap(year));
            year += 1;
        }
        let day_of_year = left;
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while let Some(&length) = lengths.get(month).filter(|&&length| left >= length) {
            left -= length;
            month += 1;
        }
        Date { year, month, day: left + 1, day_of_year }
    }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
