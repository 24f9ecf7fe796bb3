//! What a model says: its answer goes to stdout, its reasoning to stderr.

use crate::tell;
use smidgen::tokenizer::Tokenizer;
use smidgen_host::{Part, Splitter};
use std::io::{self, Write};

/// Prints what a model generates, as it comes.
pub(super) struct Speech {
    splitter: Option<Splitter>,
    said: Said,
}

/// What was said, and how it is said.
struct Said {
    /// Whether nothing is printed.
    silent: bool,
    /// Whether reasoning goes to stdout too.
    shown: bool,
    answer: String,
    reasoning: String,
    printed: io::Result<()>,
}

impl Speech {
    /// With a splitter for a thinking model, whose reasoning goes to stdout if `shown`. Nothing is printed if `silent`.
    pub(super) fn new(splitter: Option<Splitter>, silent: bool, shown: bool) -> Speech {
        let (answer, reasoning) = (String::new(), String::new());
        let mut said = Said { silent, shown, answer, reasoning, printed: Ok(()) };
        if let Some(open) = splitter.as_ref().and_then(Splitter::opened) {
            said.part(Part::Open(open));
            if said.shown {
                said.print("\n");
            }
        }
        Speech { splitter, said }
    }

    /// Notes that a token was generated, whose text comes later.
    pub(super) fn token(&mut self, tokenizer: &Tokenizer, token: u32) {
        if let Some(splitter) = self.splitter.as_mut().filter(|_| tokenizer.is_control(token)) {
            splitter.control(tokenizer.token_text(token).unwrap_or_default());
        }
    }

    /// Takes the next piece of text, and says whether it could be printed.
    pub(super) fn say(&mut self, text: &str) -> bool {
        match &mut self.splitter {
            Some(splitter) => splitter.push(text, &mut |part| self.said.part(part)),
            None => self.said.part(Part::Answer(text)),
        }
        self.said.printed.is_ok()
    }

    /// The answer and the reasoning, when all was said.
    pub(super) fn end(mut self) -> io::Result<(String, String)> {
        if let Some(splitter) = &mut self.splitter {
            splitter.finish(&mut |part| self.said.part(part));
        }
        // Nothing but reasoning came: its line ends here.
        if self.said.answer.is_empty() {
            self.said.end_line();
        }
        let said = self.said;
        said.printed.map(|()| (said.answer, said.reasoning.trim().to_owned()))
    }
}

impl Said {
    fn part(&mut self, part: Part) {
        match part {
            Part::Answer(text) => {
                self.answer.push_str(text);
                self.print(text);
            }
            Part::Reasoning(text) => {
                self.reasoning.push_str(text);
                self.reason(text);
            }
            Part::Open(text) if self.shown => self.print(text),
            Part::Close(text) if self.shown => {
                self.print(text);
                self.print("\n");
            }
            Part::Close(_) => self.end_line(),
            Part::Open(_) => {}
        }
    }

    fn reason(&mut self, text: &str) {
        if self.shown {
            self.print(text);
        } else if !self.silent {
            tell(format_args!("{text}"));
        }
    }

    /// Ends the line of reasoning on stderr.
    fn end_line(&mut self) {
        if !self.shown && !self.reasoning.is_empty() && !self.reasoning.ends_with('\n') {
            self.reason("\n");
        }
    }

    fn print(&mut self, text: &str) {
        if self.silent || self.printed.is_err() || text.is_empty() {
            return;
        }
        let mut out = io::stdout().lock();
        self.printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
