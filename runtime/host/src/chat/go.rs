//! Chat templates in the form of Go's `text/template`, as the layers of an Ollama registry have them, rendered as Ollama does.
//!
//! A template that mentions `.Messages` sees the whole conversation. An older one is rendered for each turn, with `.System`, `.Prompt` and
//! `.Response`, and of the last turn without what follows the answer.

mod conversation;
mod eval;
mod format;
mod functions;
mod lex;
mod parse;
mod value;

use super::Data;
use crate::Error;
use conversation::Conversation;
use eval::Output;
use parse::{Kind, Node, Operand, Pipe, Tree};
use value::Value;

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    tree: Tree,
    /// Whether it sees all messages.
    messages: bool,
    tools: bool,
    /// Whether it writes what a model has thought.
    thinking: bool,
    /// Whether it asks whether a model is to think.
    think: bool,
}

/// Steps and bytes of text that a template may take.
pub(super) struct Bounds {
    pub(super) steps: u64,
    pub(super) bytes: usize,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`Error::TemplateSyntax`], [`Error::TemplateDepth`].
    pub(super) fn parse(source: &str) -> Result<Template, Error> {
        let mut tree = parse::parse(source)?;
        let mut names = Vec::new();
        tree.names(&mut |name| names.push(name.to_lowercase()));
        let has = |name: &str| names.iter().any(|known| known == name);
        let messages = has("messages");
        let (tools, thinking, think) =
            (has("tools"), has("thinking"), ["think", "thinklevel", "isthinkset"].map(has).contains(&true));
        if !messages && !has("response") {
            let operand = Operand::Field(vec!["Response".to_owned()]);
            let line = tree.root.last().map_or(1, |node| node.line);
            let pipe = Pipe { line, variables: Vec::new(), assigns: false, commands: vec![vec![operand]] };
            tree.root.push(Node { line, kind: Kind::Action(pipe) });
        }
        Ok(Template { tree, messages, tools, thinking, think })
    }

    /// Whether it has a switch for thinking.
    pub(super) fn has_switch(&self) -> bool {
        self.think
    }

    /// The prompt of the conversation that the variables describe.
    ///
    /// # Errors
    /// [`Error::TemplateRefused`], [`Error::TemplateRender`], [`Error::TemplateSteps`], [`Error::TemplateOutput`], [`Error::TemplateDepth`].
    pub(super) fn render(&self, variables: &[(&str, Data)], seconds: u64, bounds: &Bounds) -> Result<String, Error> {
        let mut conversation = Conversation::of(variables)?;
        let refused = |message: &str| Err(Error::TemplateRefused { message: message.to_owned() });
        if conversation.tools.is_some() && !self.tools {
            return refused("it has no place for tools");
        }
        // A thinking model thinks, unless it is told not to.
        if conversation.think.is_none() && self.messages && self.thinking {
            conversation.think = Some((true, "medium".to_owned()));
        }
        let mut output = Output { text: String::new(), steps: bounds.steps, most: bounds.bytes, seconds };
        if self.messages {
            let dot = conversation.dot(vec![
                ("System", conversation.system().into()),
                ("Messages", conversation.messages()),
                ("Tools", conversation.tools()),
                ("Response", "".into()),
            ]);
            eval::execute(&self.tree, &dot, &mut output)?;
            return Ok(output.text);
        }
        let mut turn = Turn::default();
        for message in &conversation.turns {
            let before = match message.role.as_str() {
                "system" => turn.prompt.is_some() || turn.response.is_some(),
                "user" => turn.response.is_some(),
                "assistant" => false,
                _ => return refused("it has no place for messages other than of system, user and assistant"),
            };
            if before {
                eval::execute(&self.tree, &turn.dot(&conversation), &mut output)?;
                turn = Turn::default();
            }
            // An empty text is as none.
            let content = Some(message.content.as_str()).filter(|content| !content.is_empty());
            match message.role.as_str() {
                "system" => turn.system = content,
                "user" => turn.prompt = content,
                _ => turn.response = content,
            }
        }
        eval::execute(&self.tree.up_to_response(), &turn.dot(&conversation), &mut output)?;
        Ok(output.text)
    }
}

/// A turn of a conversation, for templates that do not see the others.
#[derive(Default)]
struct Turn<'c> {
    system: Option<&'c str>,
    prompt: Option<&'c str>,
    response: Option<&'c str>,
}

impl Turn<'_> {
    fn dot(&self, conversation: &Conversation) -> Value {
        let text = |text: Option<&str>| Value::from(text.unwrap_or_default());
        conversation.dot(vec![
            ("System", text(self.system)),
            ("Prompt", text(self.prompt)),
            ("Response", text(self.response)),
        ])
    }
}

fn syntax(line: usize, reason: impl Into<String>) -> Error {
    Error::TemplateSyntax { line, reason: crate::one_line(&reason.into()) }
}

fn render_fault(line: usize, reason: impl Into<String>) -> Error {
    Error::TemplateRender { line, reason: crate::one_line(&reason.into()) }
}

#[cfg(test)]
mod tests;
