//! Thinking models: the switch of their template, and their reasoning in what they generate.

use super::{ChatTemplate, Data};
use smidgen::tokenizer::Tokenizer;

/// Switches that templates have: a variable, and what turns thinking on and off.
const SWITCHES: &[(&str, Data, Data)] = &[
    ("enable_thinking", Data::Bool(true), Data::Bool(false)),
    ("thinking", Data::Bool(true), Data::Bool(false)),
    ("reasoning", Data::Bool(true), Data::Bool(false)),
    ("thinking_budget", Data::Int(-1), Data::Int(0)),
];
/// Switches whose values are words. Those count that the template compares the variable with.
const WORDS: &[&str] = &["thinking_mode", "thinking_option", "reasoning_effort", "thinking_effort"];
const ON: &[&str] = &["enabled", "on", "high", "medium"];
const OFF: &[&str] = &["disabled", "off", "none", "no_think", "minimal"];

/// What surrounds reasoning in the texts of model families.
const MARKERS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("<|think|>", "<|content|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
];

impl ChatTemplate {
    /// The variable, and its value, by which the template turns thinking on or off; none if it has no such switch.
    ///
    /// A switch is one whose name the template asks for and whose two values give different prompts.
    #[must_use]
    pub fn thinking(&self, on: bool) -> Option<(&'static str, Data)> {
        #[cfg(feature = "hub")]
        if let Some(go) = &self.go {
            return go.has_switch().then_some(("Think", Data::Bool(on)));
        }
        let prompt = |name: &str, value: &Data| {
            let user = Data::Map(vec![("role".into(), "user".into()), ("content".into(), "a".into())]);
            let (messages, add) = (Data::List(vec![user]), Data::Bool(true));
            let variables = [("messages", messages), ("add_generation_prompt", add), (name, value.clone())];
            self.render_data(&variables, 0).ok()
        };
        let differ = |name: &str, a: &Data, b: &Data| {
            let prompts = [prompt(name, a), prompt(name, b)];
            prompts.iter().all(Option::is_some) && prompts[0] != prompts[1]
        };
        let asked = |name: &str| self.source.contains(name);
        for (name, yes, no) in SWITCHES.iter().filter(|(name, ..)| asked(name)) {
            if differ(name, yes, no) {
                return Some((name, if on { yes } else { no }.clone()));
            }
        }
        for name in WORDS.iter().copied().filter(|name| asked(name)) {
            let word =
                |words: &[&str]| words.iter().find(|word| self.compares(name, word)).map(|word| Data::from(*word));
            match (word(ON), word(OFF)) {
                (yes, Some(no)) => {
                    let yes = yes.unwrap_or_else(|| "high".into());
                    if differ(name, &yes, &no) {
                        return Some((name, if on { yes } else { no }));
                    }
                }
                // Thinking that can be more or less, but not nothing.
                (yes, None) if on && name == "reasoning_effort" && differ(name, &"high".into(), &"low".into()) => {
                    return Some((name, yes.unwrap_or_else(|| "medium".into())));
                }
                _ => {}
            }
        }
        None
    }

    /// Whether a tag has both the variable and the word in quotes.
    fn compares(&self, name: &str, word: &str) -> bool {
        let quoted = [format!("'{word}'"), format!("\"{word}\"")];
        self.source.split(['{', '}']).any(|tag| tag.contains(name) && quoted.iter().any(|quoted| tag.contains(quoted)))
    }
}

/// What surrounds the reasoning of a model.
#[derive(Clone, Debug)]
pub struct Markers {
    pairs: Vec<(&'static str, &'static str)>,
    /// Whether control tokens are among them.
    control: bool,
}

impl Markers {
    /// The markers that the template writes or the vocabulary has; none if it is no thinking model as far as one can see.
    #[must_use]
    pub fn find(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Markers> {
        let known = |text: &str| template.source.contains(text) || tokenizer.id_of(text).is_some();
        let pairs: Vec<_> = MARKERS
            .iter()
            .copied()
            .filter(|(open, close)| known(open) && (known(close) || close.starts_with("<|end|>")))
            .collect();
        let is_control = |text: &str| {
            (1..=text.len())
                .filter_map(|end| text.get(..end))
                .filter_map(|part| tokenizer.id_of(part))
                .any(|id| tokenizer.is_control(id))
        };
        let control = pairs.iter().any(|(open, close)| is_control(open) || is_control(close));
        (!pairs.is_empty()).then_some(Markers { pairs, control })
    }

    /// Whether control tokens are among the markers, so that a decoder must write these.
    #[must_use]
    pub fn are_control(&self) -> bool {
        self.control
    }
}

/// A part of what a model generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// The marker before reasoning.
    Open(&'t str),
    /// Reasoning.
    Reasoning(&'t str),
    /// The marker after reasoning.
    Close(&'t str),
    /// The answer.
    Answer(&'t str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but spaces was there.
    Start,
    /// Within reasoning that the marker with this number ends.
    Reasoning(usize),
    /// After reasoning, before the answer's first line.
    Closed,
    Answer,
}

/// Tells the reasoning of a model from its answer, in a text that comes in pieces.
///
/// A marker is one at the beginning of what is generated, where a thinking model writes it; later ones are text, unless they are control
/// tokens. Line ends before the answer are left out.
#[derive(Clone, Debug)]
pub struct Splitter {
    markers: Markers,
    state: State,
    /// Text that may be the beginning of a marker.
    held: String,
    /// Spellings of control tokens, which are no part of the text.
    control: Vec<String>,
    opened: Option<&'static str>,
}

impl Splitter {
    /// For what follows a prompt with this text at its end. If that opens reasoning, reasoning is what comes first.
    #[must_use]
    pub fn after(markers: Markers, prompt: &str) -> Splitter {
        let opened = markers.pairs.iter().position(|(open, _)| prompt.trim_end().ends_with(open));
        let state = opened.map_or(State::Start, State::Reasoning);
        let opened = opened.and_then(|at| markers.pairs.get(at)).map(|(open, _)| *open);
        Splitter { markers, state, held: String::new(), control: Vec::new(), opened }
    }

    /// The marker by which the prompt opens reasoning, if it does.
    #[must_use]
    pub fn opened(&self) -> Option<&'static str> {
        self.opened
    }

    /// Says that a control token with this spelling was generated, whose text comes with a piece from now on.
    pub fn control(&mut self, spelled: &str) {
        if !self.control.iter().any(|known| known == spelled) {
            self.control.push(spelled.to_owned());
        }
    }

    /// Takes the next piece, and hands out what is certain.
    pub fn push(&mut self, piece: &str, each: &mut dyn FnMut(Part)) {
        self.held.push_str(piece);
        while self.step(false, each) {}
    }

    /// Hands out the rest: the text is at its end.
    pub fn finish(&mut self, each: &mut dyn FnMut(Part)) {
        while self.step(true, each) {}
    }

    /// Hands out text, or takes a marker from the text; false if there is nothing to be done before the next piece.
    fn step(&mut self, last: bool, each: &mut dyn FnMut(Part)) -> bool {
        let text = std::mem::take(&mut self.held);
        let start = match self.state {
            State::Start => text.len() - text.trim_start().len(),
            State::Closed => text.len() - text.trim_start_matches(['\n', '\r']).len(),
            State::Reasoning(_) | State::Answer => 0,
        };
        if start == text.len() {
            // Spaces alone do not say yet what they belong to.
            if last && self.state == State::Start && start > 0 {
                each(Part::Answer(&text));
            } else if !last && self.state == State::Start {
                self.held = text;
            }
            return false;
        }
        let at_start = matches!(self.state, State::Start | State::Closed);
        let places = text.char_indices().map(|(at, _)| at).filter(|at| *at >= start);
        for at in places.take(if at_start { 1 } else { usize::MAX }) {
            let rest = &text[at..];
            let needles = || self.needles();
            if !last && needles().any(|(needle, _)| needle.len() > rest.len() && needle.starts_with(rest)) {
                self.hand(&text[start.min(at)..at], each);
                // Spaces before what may be a marker are kept with it.
                self.held = if at_start { text } else { rest.to_owned() };
                return false;
            }
            let found = needles()
                .filter(|(needle, _)| rest.starts_with(needle))
                .max_by_key(|(needle, next)| (needle.len(), next.is_some()));
            let Some((length, next)) = found.map(|(needle, next)| (needle.len(), next)) else { continue };
            let before = &text[start.min(at)..at];
            self.hand(before, each);
            match next {
                Some(State::Reasoning(_)) => each(Part::Open(&rest[..length])),
                Some(_) if matches!(self.state, State::Reasoning(_)) => each(Part::Close(&rest[..length])),
                _ => {}
            }
            self.state = next.unwrap_or(self.state);
            self.held = rest[length..].to_owned();
            return true;
        }
        if self.state == State::Start {
            // What began with spaces is the answer, spaces and all.
            self.state = State::Answer;
            self.held = text;
            return true;
        }
        if self.state == State::Closed {
            self.state = State::Answer;
            self.held = text[start..].to_owned();
            return true;
        }
        self.hand(&text, each);
        false
    }

    fn hand(&self, text: &str, each: &mut dyn FnMut(Part)) {
        match self.state {
            _ if text.is_empty() => {}
            State::Reasoning(_) => each(Part::Reasoning(text)),
            State::Start | State::Closed | State::Answer => each(Part::Answer(text)),
        }
    }

    /// The texts that end the present state, and the state after each; none for a control token that is only left out.
    fn needles(&self) -> impl Iterator<Item = (&str, Option<State>)> {
        let pairs = self.markers.pairs.iter().enumerate();
        let markers = pairs.flat_map(move |(index, (open, close))| {
            let opens = match self.state {
                State::Start => true,
                State::Answer | State::Closed => self.control.iter().any(|control| open.starts_with(control)),
                State::Reasoning(_) => false,
            };
            let closes = match self.state {
                // One opening may have several ends.
                State::Reasoning(within) => self.markers.pairs.get(within).is_some_and(|(opened, _)| opened == open),
                State::Start => true,
                State::Answer | State::Closed => self.control.iter().any(|control| close.starts_with(control)),
            };
            let open = opens.then_some((*open, Some(State::Reasoning(index))));
            [open, closes.then_some((*close, Some(State::Closed)))].into_iter().flatten()
        });
        markers.chain(self.control.iter().map(|control| (control.as_str(), None)))
    }
}

#[cfg(test)]
mod tests;
