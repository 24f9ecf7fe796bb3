//! `smidgen run`.

use crate::args::{RunArgs, ThinkArg};
use crate::{open, tell};
use smidgen::beam::{self, Search};
use smidgen::generate::{Finish, Request, Stops, generate};
use smidgen::sampler::Sampler;
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Model, Options, RunError, Session};
use smidgen_gguf::Gguf;
use smidgen_host::{ChatTemplate, Data, Markers, ModelFile, Splitter, encode_chat_data};
use smidgen_targets::{KernelSet, Pool};
use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

mod settings;
mod speech;

use settings::Settings;
use speech::Speech;

/// A result whose error is printed as one line.
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// The longest context without `--ctx`.
pub(crate) const CONTEXT: usize = 8192;
/// Tokens at the end of a prompt that may open reasoning.
const PROMPT_END: usize = 32;
/// Exit code after Ctrl-C, by convention.
const INTERRUPTED: u8 = 130;

/// Whether Ctrl-C was pressed since the generation began.
static INTERRUPT: AtomicBool = AtomicBool::new(false);
/// Whether a generation is under way; Ctrl-C ends the program otherwise.
static GENERATING: AtomicBool = AtomicBool::new(false);

/// The state that all turns of a run share.
struct Run<'m, 'a> {
    args: &'m RunArgs,
    settings: Settings,
    tokenizer: Tokenizer<'a>,
    template: Option<ChatTemplate>,
    /// The template's switch for thinking, as it was asked for.
    switch: Option<(&'static str, Data)>,
    /// What surrounds the model's reasoning, if it is a thinking model.
    markers: Option<Markers>,
    /// Control tokens that end an answer because a stop text is their spelling.
    ends: Vec<u32>,
    session: Session<'m, 'a>,
    sampler: Sampler,
}

/// A generated answer.
struct Answer {
    tokens: Vec<u32>,
    text: String,
    reasoning: String,
    /// Whether it ended because the context is full.
    full: bool,
}

pub(crate) fn run(args: &RunArgs) -> Fallible<ExitCode> {
    let kernels = open::kernels(&args.machine)?;
    let text = open::text(&args.text)?;
    let (file, settings) = opened(args)?;
    let sampler = Sampler::new(settings.sampling)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    let tokenizer = open::tokenizer(&file, &parts)?;
    let template =
        if args.raw || args.tokens.is_some() { None } else { template(args, &settings, &file, &parts, &tokenizer)? };
    let terminal = io::stdin().is_terminal();
    let chat = args.chat || args.tokens.is_none() && text.is_none() && terminal && template.is_some() && !args.ids;
    if chat && template.is_none() {
        return Err(format!("--chat: {} has no chat template; use -p and --raw", args.model.display()).into());
    }
    if args.system.is_some() && template.is_none() {
        return Err(
            format!("--system: {} has no chat template; put the text into the prompt", args.model.display()).into()
        );
    }
    if template.is_none() && (settings.system.is_some() || !settings.messages.is_empty()) {
        let model = args.model.display();
        return Err(format!("{model}: its registry has a system message or messages for it, but it has no chat template; use --no-defaults or --raw").into());
    }
    let switch = switch(args, template.as_ref())?;
    let text = match text {
        _ if args.tokens.is_some() => None,
        None if !chat && terminal => return Err("there is no prompt: give -p TEXT, -f FILE or - for stdin".into()),
        None if !chat => Some(open::stdin()?),
        text => text,
    };
    // A file's last line ends with a newline, which nobody has written as part of the prompt.
    let text = text.map(|text| match text.strip_suffix('\n') {
        Some(line) if args.text.prompt.is_none() && !args.keep_newline => {
            line.strip_suffix('\r').unwrap_or(line).to_owned()
        }
        _ => text,
    });
    if text.as_deref() == Some("") {
        return Err("the prompt is empty: give -p TEXT, -f FILE or - for stdin".into());
    }
    let session = session(args, &settings, &model, kernels)?;
    ctrlc::set_handler(|| {
        if !GENERATING.load(Ordering::SeqCst) || INTERRUPT.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    let markers = template.as_ref().and_then(|template| Markers::find(template, &tokenizer));
    let ends = ends(args, &settings, &tokenizer);
    let mut run = Run { args, settings, tokenizer, template, switch, markers, ends, session, sampler };
    open::pool(&args.threads)?
        .enter(|pool| if chat { run.chat(text, pool) } else { run.once(&text.unwrap_or_default(), pool) })
}

/// The model's file, and how it is run.
#[cfg(feature = "hub")]
fn opened(args: &RunArgs) -> Fallible<(ModelFile, Settings)> {
    let (path, defaults) = open::resolve_with_defaults(&args.model, args.ctx)?;
    let file = ModelFile::open(path)?;
    let Some(defaults) = defaults.filter(|_| !args.no_defaults) else { return Ok((file, Settings::of(args))) };
    let named = |error: String| format!("{}: {error}", args.model.display());
    let defaults = smidgen_host::hub::Defaults::of_value(&defaults)
        .map_err(|error| named(format!("{error}; --no-defaults goes without")))?;
    for parameter in defaults.unknown() {
        let warning =
            format!("the parameter {:.100} of its registry is unknown and passed over", parameter.escape_debug());
        tell(format_args!("smidgen: warning: {}\n", named(warning)));
    }
    Ok((file, Settings::with(args, defaults).map_err(named)?))
}

#[cfg(not(feature = "hub"))]
fn opened(args: &RunArgs) -> Fallible<(ModelFile, Settings)> {
    Ok((open::file(&args.model)?, Settings::of(args)))
}

/// The control tokens whose spellings are stop texts. A stop text that only contains such a spelling never comes, which is told.
fn ends(args: &RunArgs, settings: &Settings, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ends = Vec::new();
    for stop in &settings.stops {
        let control = tokenizer.encode(stop, Special::Parse).into_iter().filter(|id| tokenizer.is_control(*id));
        for id in control {
            if tokenizer.token_text(id) == Some(stop) {
                ends.push(id);
            } else {
                let model = args.model.display();
                tell(format_args!(
                    "smidgen: warning: {model}: the stop text {stop:?} has a control token and more, so it ends no answer\n"
                ));
            }
        }
    }
    ends
}

fn session<'m, 'a>(
    args: &RunArgs,
    settings: &Settings,
    model: &'m Model<'a>,
    kernels: &'static KernelSet,
) -> Fallible<Session<'m, 'a>> {
    let (context, said) = settings.context.unwrap_or((model.context().min(CONTEXT), "--ctx"));
    let mut options = Options::new(context);
    options.kv = args.kv.into();
    options.sequences = args.beams.get();
    let session = Session::new(model, &options, kernels).map_err(|error| match error {
        RunError::CacheHeadSize { .. } => format!("--kv: {error}"),
        _ => format!("--ctx {context} --beams {}: {error}", args.beams),
    })?;
    if context > model.context() {
        let trained = model.context();
        tell(format_args!(
            "smidgen: {said} {context} is more than the {trained} tokens that the model was trained for\n"
        ));
    }
    Ok(session)
}

/// The template that the registry has, or else the file's.
#[cfg_attr(not(feature = "hub"), allow(unused_variables, reason = "registries are of the hub"))]
fn template(
    args: &RunArgs,
    settings: &Settings,
    file: &ModelFile,
    parts: &[Gguf],
    tokenizer: &Tokenizer,
) -> Fallible<Option<ChatTemplate>> {
    #[cfg(feature = "hub")]
    if let Some(source) = &settings.template {
        let told = |error| format!("{}: {error}, or with the file's own (--no-defaults)", args.model.display());
        return Ok(Some(ChatTemplate::of_go(source).map_err(told)?));
    }
    let value = parts.first().and_then(|part| part.get("tokenizer.chat_template"));
    if let Some(offset) = value.and_then(|value| value.not_utf8()) {
        let what = format!("tokenizer.chat_template is not UTF-8 (at byte {offset}); use --raw to do without");
        return Err(open::named(file, what));
    }
    let source = value.and_then(|value| value.as_str());
    #[cfg(feature = "hub")]
    if let Some(renderer) = &settings.renderer {
        let model = args.model.display();
        if source.is_none() {
            return Err(format!("{model}: its registry has the prompts written by Ollama's renderer {renderer}, which is not supported, and the file has no chat template; use --raw").into());
        }
        tell(format_args!(
            "smidgen: warning: {model}: its registry has the prompts written by Ollama's renderer {renderer}; the file's own chat template is used\n"
        ));
    }
    let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
    let parse = |source| ChatTemplate::parse(source, spelled(tokenizer.bos()), spelled(tokenizer.eos()));
    Ok(source.map(parse).transpose()?)
}

/// The switch of the template that `--think` asks for.
fn switch(args: &RunArgs, template: Option<&ChatTemplate>) -> Fallible<Option<(&'static str, Data)>> {
    let Some(think) = args.think else { return Ok(None) };
    let (model, on) = (args.model.display(), think == ThinkArg::On);
    let template = template.ok_or_else(|| format!("--think: {model} has no chat template"))?;
    if let Some(switch) = template.thinking(on) {
        return Ok(Some(switch));
    }
    Err(match template.thinking(true) {
        Some((name, _)) => {
            format!("--think off: the chat template of {model} can have more or less thinking, by {name}, but not none")
        }
        None => format!("--think: the chat template of {model} has no switch for thinking"),
    }
    .into())
}

/// A message of a conversation.
fn message(role: &str, content: String, reasoning: String) -> Data {
    let mut entries = vec![("role".to_owned(), role.into()), ("content".to_owned(), Data::Text(content))];
    if !reasoning.is_empty() {
        entries.push(("reasoning_content".to_owned(), Data::Text(reasoning)));
    }
    Data::Map(entries)
}

/// All messages of a conversation: the system message, those that the registry has, and the turns.
fn conversation(settings: &Settings, turns: &[Data]) -> Vec<Data> {
    let system = settings.system.iter().map(|content| message("system", content.clone(), String::new()));
    let first = settings.messages.iter().map(|(role, content)| message(role, content.clone(), String::new()));
    system.chain(first).chain(turns.iter().cloned()).collect()
}

impl Run<'_, '_> {
    /// One prompt, one answer.
    fn once(&mut self, text: &str, pool: &dyn Pool) -> Fallible<ExitCode> {
        // A prompt without a template is all the user's own, so it may spell special tokens.
        let prompt = match &self.template {
            None if self.args.tokens.is_some() => self.args.tokens.iter().flat_map(|ids| ids.0.clone()).collect(),
            None => self.tokenizer.encode_prompt(text, Special::Parse),
            Some(_) => self.rendered(&[message("user", text.into(), String::new())])?,
        };
        let answer = self.answer(prompt, pool)?;
        let mut out = io::stdout().lock();
        if self.args.ids {
            writeln!(out, "{}", serde_json::to_string(&answer.tokens)?)?;
        } else if out.is_terminal() {
            writeln!(out)?;
        }
        self.tell_if_full(&answer);
        Ok(exit_code())
    }

    /// Turns from the terminal (or lines of stdin), the first one perhaps from the command line.
    fn chat(&mut self, mut first: Option<String>, pool: &dyn Pool) -> Fallible<ExitCode> {
        let terminal = io::stdin().is_terminal();
        if terminal {
            tell(format_args!("/exit leaves, /clear starts a new conversation, Ctrl-C stops an answer.\n"));
        }
        let mut turns: Vec<Data> = Vec::new();
        loop {
            let line = match first.take() {
                Some(text) => text,
                None => {
                    if terminal {
                        tell(format_args!("> "));
                    }
                    let mut line = String::new();
                    if io::stdin().read_line(&mut line).map_err(|error| format!("stdin: {error}"))? == 0 {
                        if terminal {
                            tell(format_args!("\n"));
                        }
                        return Ok(ExitCode::SUCCESS);
                    }
                    line.trim_end_matches(['\n', '\r']).to_owned()
                }
            };
            match line.trim() {
                "" => continue,
                "/exit" => return Ok(ExitCode::SUCCESS),
                "/clear" => {
                    turns.clear();
                    continue;
                }
                _ => turns.push(message("user", line, String::new())),
            }
            match self.rendered(&turns).and_then(|prompt| self.answer(prompt, pool)) {
                Ok(answer) => {
                    writeln!(io::stdout())?;
                    self.tell_if_full(&answer);
                    // What of the reasoning is told to the model again is up to the template.
                    turns.push(message("assistant", answer.text, answer.reasoning));
                }
                // A person can go on after a turn that is too long.
                Err(error) if terminal && error.downcast_ref::<io::Error>().is_none() => {
                    tell(format_args!("smidgen: {error}; /clear starts a new conversation\n"));
                    turns.pop();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The ids of a conversation up to where the next answer begins.
    fn rendered(&self, turns: &[Data]) -> Fallible<Vec<u32>> {
        let template = self.template.as_ref().ok_or("no chat template")?;
        let messages = Data::List(conversation(&self.settings, turns));
        let mut variables = vec![("messages", messages), ("add_generation_prompt", Data::Bool(true))];
        variables.extend(self.switch.clone());
        Ok(encode_chat_data(&self.tokenizer, template, &variables)?)
    }

    /// What tells reasoning from the answer after a prompt, and prints both.
    fn speech(&self, prompt: &[u32]) -> Speech {
        let end = prompt.get(prompt.len().saturating_sub(PROMPT_END)..).unwrap_or_default();
        let after = |markers: &Markers| Splitter::after(markers.clone(), &self.tokenizer.decode(end, true));
        Speech::new(self.markers.as_ref().map(after), self.args.ids, self.args.show_thinking)
    }

    /// Generates after a prompt and prints the text as it comes.
    fn answer(&mut self, prompt: Vec<u32>, pool: &dyn Pool) -> Fallible<Answer> {
        self.check(&prompt)?;
        if self.args.beams.get() > 1 {
            return self.beams(&prompt, pool);
        }
        // The conversation so far is in the cache, up to where the template or the tokenizer now writes it otherwise.
        let same = self.session.resume(0, &prompt);
        self.generate(prompt.get(same..).unwrap_or_default(), &prompt, pool)
    }

    /// Refuses a prompt that is empty or leaves no room; the error names the flag to change.
    fn check(&self, prompt: &[u32]) -> Fallible<()> {
        let context = self.session.options().context;
        if prompt.is_empty() {
            return Err("the prompt has no tokens".into());
        }
        if prompt.len() < context {
            return Ok(());
        }
        let tokens = prompt.len();
        Err(format!("the prompt has {tokens} tokens, but the context holds {context}; shorten it or raise --ctx")
            .into())
    }

    /// Generates after `new`, the part of `prompt` that is not in the session's context, and prints the text as it comes.
    fn generate(&mut self, new: &[u32], prompt: &[u32], pool: &dyn Pool) -> Fallible<Answer> {
        let speech = RefCell::new(self.speech(prompt));
        let Run { settings, tokenizer, session, sampler, markers, ends, .. } = self;
        let stops: Vec<&str> = settings.stops.iter().map(String::as_str).collect();
        let special = markers.as_ref().is_some_and(Markers::are_control);
        // Each token is asked for once, before its text comes.
        let is_end = |token| {
            speech.borrow_mut().token(tokenizer, token);
            tokenizer.is_end(token) || ends.contains(&token)
        };
        let request =
            Request { prompt: new, max_tokens: settings.most.unwrap_or(usize::MAX), stops: &stops, is_end: &is_end };
        let mut decoder = tokenizer.decoder_after(prompt, special);
        INTERRUPT.store(false, Ordering::SeqCst);
        GENERATING.store(true, Ordering::SeqCst);
        let generated = generate(session, sampler, &mut decoder, &request, pool, &mut |text| {
            if !speech.borrow_mut().say(text) || INTERRUPT.load(Ordering::SeqCst) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        GENERATING.store(false, Ordering::SeqCst);
        let generated = generated?;
        let (text, reasoning) = speech.into_inner().end()?;
        Ok(Answer { tokens: generated.tokens, text, reasoning, full: generated.finish == Finish::ContextFull })
    }

    /// Says that the context ended the text, if it did.
    fn tell_if_full(&self, answer: &Answer) {
        if answer.full {
            tell(format_args!("smidgen: the context of {} tokens is full\n", self.session.options().context));
        }
    }

    /// Searches with beams and prints the best continuation.
    fn beams(&mut self, prompt: &[u32], pool: &dyn Pool) -> Fallible<Answer> {
        let Run { args, settings, tokenizer, ends, session, .. } = self;
        let room = session.options().context - prompt.len();
        let search = Search {
            width: args.beams.get(),
            max_tokens: settings.most.map_or(room, |most| most.min(room)),
            length_penalty: 1.0,
        };
        let is_end = |token| tokenizer.is_end(token) || ends.contains(&token);
        let found = beam::search(session, prompt, &search, &is_end, pool)?;
        let tokens = found.into_iter().next().map(|hypothesis| hypothesis.tokens).unwrap_or_default();
        let stops: Vec<&str> = self.settings.stops.iter().map(String::as_str).collect();
        let mut stops = Stops::new(&stops);
        let mut decoder = self.tokenizer.decoder_after(prompt, self.markers.as_ref().is_some_and(Markers::are_control));
        let mut speech = self.speech(prompt);
        let mut whole = String::new();
        for token in tokens.iter().filter(|token| !self.tokenizer.is_end(**token) && !self.ends.contains(token)) {
            speech.token(&self.tokenizer, *token);
            whole.push_str(decoder.push(*token));
        }
        whole.push_str(decoder.finish());
        stops.push(&whole);
        stops.flush();
        speech.say(stops.certain());
        let (text, reasoning) = speech.end()?;
        Ok(Answer { tokens, text, reasoning, full: false })
    }
}

fn exit_code() -> ExitCode {
    if INTERRUPT.load(Ordering::SeqCst) { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS }
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    /// The prompt of a model whose registry has a template, a system message and messages.
    #[test]
    fn prompts_have_what_the_registry_has() {
        const TEMPLATE: &str = "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ if .Prompt }}<u>{{ .Prompt }}</u>{{ end }}<a>{{ .Response }}</a>";
        let defaults = serde_json::json!({
            "template": TEMPLATE,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        });
        for (flags, expected) in [
            (&[][..], "<s>Be brief.</s><u>Hi</u><a>Ho</a><u>How?</u><a>"),
            (&["--system", "Sing."], "<s>Sing.</s><u>Hi</u><a>Ho</a><u>How?</u><a>"),
        ] {
            let words = ["smidgen", "run", "m.gguf"].into_iter().chain(flags.iter().copied());
            let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!("run") };
            let defaults = smidgen_host::hub::Defaults::of_value(&defaults).unwrap();
            let settings = Settings::with(&args, defaults).unwrap();
            let turns = [message("user", "How?".into(), String::new())];
            let messages = Data::List(conversation(&settings, &turns));
            let template = ChatTemplate::of_go(settings.template.as_deref().unwrap()).unwrap();
            assert_eq!(template.render_data(&[("messages", messages)], 0).unwrap(), expected);
        }
    }
}
