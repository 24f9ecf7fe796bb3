//! The tree of a template.

use super::lex::{Keyword, Placed, Token, tokens};
use super::{functions, syntax};
use crate::Error;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How deeply actions and parentheses may nest.
const MOST_DEPTH: usize = 100;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(Arc<str>),
    Action(Pipe),
    /// `if` or `with`, and what follows `else if`, `else with` and `else`. The values of a `with` become the dot.
    Branch {
        with: bool,
        arms: Vec<(Pipe, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Range {
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Template {
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    /// From 1.
    pub(super) line: usize,
    /// Variables that take the value.
    pub(super) variables: Vec<String>,
    /// Whether these are there already.
    pub(super) assigns: bool,
    /// Commands, each of at least one operand.
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// Names of fields, from the dot on.
    Field(Vec<String>),
    /// A variable, and names of fields.
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
    /// Names of fields of something else.
    Chain(Box<Operand>, Vec<String>),
}

/// A template and those that it defines.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

/// Parses a source.
///
/// # Errors
/// [`Error::TemplateSyntax`], [`Error::TemplateDepth`].
pub(super) fn parse(source: &str) -> Result<Tree, Error> {
    let tokens = tokens(source)?;
    let mut parser =
        Parser { tokens, at: 0, variables: vec!["$".to_owned()], ranges: 0, depth: 0, tree: Tree::default() };
    let mut root = Vec::new();
    while *parser.peek() != Token::End {
        if let [Token::Open, Token::Keyword(Keyword::Define)] = [parser.peek(), parser.peek_after(1)] {
            parser.at += 2;
            parser.definition()?;
            continue;
        }
        match parser.item()? {
            Item::Node(node) => root.push(node),
            Item::Else => return parser.fault("unexpected {{else}}"),
            Item::End => return parser.fault("unexpected {{end}}"),
        }
    }
    parser.tree.root = root;
    Ok(parser.tree)
}

enum Item {
    Node(Node),
    /// `{{else`, whose rest comes.
    Else,
    End,
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    /// Those that are in scope.
    variables: Vec<String>,
    /// How many ranges are around.
    ranges: usize,
    depth: usize,
    tree: Tree,
}

impl Parser {
    fn peek_after(&self, count: usize) -> &Token {
        self.tokens.get(self.at + count).map_or(&Token::End, |placed| &placed.token)
    }

    fn peek(&self) -> &Token {
        self.peek_after(0)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |placed| placed.line)
    }

    fn is_spaced(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|placed| placed.spaced)
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(syntax(self.line(), reason))
    }

    fn unexpected<T>(&self, context: &str) -> Result<T, Error> {
        self.fault(format!("unexpected {} in {context}", told(self.peek())))
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        if *self.peek() != Token::Close {
            return self.unexpected(context);
        }
        self.at += 1;
        Ok(())
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Parser) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == MOST_DEPTH {
            return Err(Error::TemplateDepth);
        }
        self.depth += 1;
        let result = f(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn definition(&mut self) -> Result<(), Error> {
        let name = self.template_name("define")?;
        self.close("define")?;
        self.body_of(name)
    }

    fn template_name(&mut self, context: &str) -> Result<String, Error> {
        match self.peek() {
            Token::String(name) => {
                let name = name.to_string();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected(context),
        }
    }

    /// The body of a named template, up to its end. It has variables and ranges of its own.
    fn body_of(&mut self, name: String) -> Result<(), Error> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, end) = self.deeper(Parser::list)?;
        if !matches!(end, Item::End) {
            return self.fault(format!("unexpected {{{{else}}}} in the template {name:?}"));
        }
        self.variables = variables;
        self.ranges = ranges;
        if name.is_empty() {
            return self.fault("a template without a name is defined");
        }
        let empty =
            |body: &[Node]| body.iter().all(|node| matches!(&node.kind, Kind::Text(text) if text.trim().is_empty()));
        match self.tree.defined.get(&name) {
            Some(known) if !empty(known) && !empty(&body) => {
                self.fault(format!("the template {name:?} is defined twice"))
            }
            Some(known) if !empty(known) => Ok(()),
            _ => {
                self.tree.defined.insert(name, body);
                Ok(())
            }
        }
    }

    /// Everything up to an `else` or `end`.
    fn list(&mut self) -> Result<(Vec<Node>, Item), Error> {
        let mut nodes = Vec::new();
        loop {
            if *self.peek() == Token::End {
                return self.fault("an action has no {{end}}");
            }
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                end => return Ok((nodes, end)),
            }
        }
    }

    fn item(&mut self) -> Result<Item, Error> {
        let line = self.line();
        match self.next() {
            Token::Text(text) => Ok(Item::Node(Node { line, kind: Kind::Text(text) })),
            Token::Open => self.action(line),
            _ => {
                self.at -= 1;
                self.unexpected("the template")
            }
        }
    }

    fn action(&mut self, line: usize) -> Result<Item, Error> {
        let Token::Keyword(keyword) = *self.peek() else {
            let kind = Kind::Action(self.pipeline("an action", false, &Token::Close)?);
            return Ok(Item::Node(Node { line, kind }));
        };
        self.at += 1;
        let kind = match keyword {
            Keyword::Break | Keyword::Continue => {
                self.close("{{break}} or {{continue}}")?;
                if self.ranges == 0 {
                    return self.fault("{{break}} or {{continue}} outside of {{range}}");
                }
                if keyword == Keyword::Break { Kind::Break } else { Kind::Continue }
            }
            Keyword::Else => {
                if !matches!(self.peek(), Token::Keyword(Keyword::If | Keyword::With)) {
                    self.close("else")?;
                }
                return Ok(Item::Else);
            }
            Keyword::End => {
                self.close("end")?;
                return Ok(Item::End);
            }
            Keyword::If => self.deeper(|parser| parser.branch(false))?,
            Keyword::With => self.deeper(|parser| parser.branch(true))?,
            Keyword::Range => self.deeper(Parser::range)?,
            Keyword::Template => {
                let name = self.template_name("template")?;
                let pipe = if *self.peek() == Token::Close {
                    self.at += 1;
                    None
                } else {
                    Some(self.pipeline("template", false, &Token::Close)?)
                };
                Kind::Template { name, pipe }
            }
            Keyword::Block => {
                let name = self.template_name("block")?;
                let pipe = Some(self.pipeline("block", false, &Token::Close)?);
                self.body_of(name.clone())?;
                Kind::Template { name, pipe }
            }
            Keyword::Define => return self.fault("{{define}} inside of another action"),
        };
        Ok(Item::Node(Node { line, kind }))
    }

    fn branch(&mut self, with: bool) -> Result<Kind, Error> {
        let known = self.variables.len();
        let (word, keyword) = if with { ("with", Keyword::With) } else { ("if", Keyword::If) };
        let mut arms = Vec::new();
        let otherwise = loop {
            let pipe = self.pipeline(word, false, &Token::Close)?;
            let (list, end) = self.list()?;
            arms.push((pipe, list));
            if matches!(end, Item::End) {
                break Vec::new();
            }
            if *self.peek() == Token::Keyword(keyword) {
                self.at += 1;
                continue;
            }
            break self.otherwise()?;
        };
        self.variables.truncate(known);
        Ok(Kind::Branch { with, arms, otherwise })
    }

    /// What follows `{{else}}`, up to the end.
    fn otherwise(&mut self) -> Result<Vec<Node>, Error> {
        if matches!(self.peek(), Token::Keyword(_)) {
            return self.unexpected("else");
        }
        let (list, end) = self.list()?;
        if matches!(end, Item::Else) {
            return self.fault("a second {{else}}");
        }
        Ok(list)
    }

    fn range(&mut self) -> Result<Kind, Error> {
        let known = self.variables.len();
        let pipe = self.pipeline("range", true, &Token::Close)?;
        self.ranges += 1;
        let (body, end) = self.list()?;
        self.ranges -= 1;
        let otherwise = if matches!(end, Item::Else) { self.otherwise()? } else { Vec::new() };
        self.variables.truncate(known);
        Ok(Kind::Range { pipe, body, otherwise })
    }

    /// A pipeline and what ends it.
    fn pipeline(&mut self, context: &str, range: bool, end: &Token) -> Result<Pipe, Error> {
        let line = self.line();
        let mut pipe = Pipe { line, variables: Vec::new(), assigns: false, commands: Vec::new() };
        while let Token::Variable(name) = self.peek() {
            let name = name.clone();
            match self.peek_after(1) {
                sign @ (Token::Declare | Token::Assign) => {
                    pipe.assigns = *sign == Token::Assign;
                    self.at += 2;
                    self.variables.push(name.clone());
                    pipe.variables.push(name);
                    break;
                }
                Token::Sign(',') => {
                    self.at += 2;
                    if !range || !pipe.variables.is_empty() {
                        return self.fault(format!("too many variables in {context}"));
                    }
                    if !matches!(self.peek(), Token::Variable(_)) {
                        return self.fault("range can only declare variables");
                    }
                    self.variables.push(name.clone());
                    pipe.variables.push(name);
                }
                _ if pipe.variables.is_empty() => break,
                _ => return self.fault("the variables of a range have no :="),
            }
        }
        loop {
            pipe.commands.push(self.command(context)?);
            match self.peek() {
                // Go lets a pipeline end in a bar.
                Token::Pipe if self.peek_after(1) == end => {
                    self.at += 2;
                    break;
                }
                Token::Pipe => self.at += 1,
                token if token == end => {
                    self.at += 1;
                    break;
                }
                _ => return self.unexpected(context),
            }
        }
        let constant = |operand: &Operand| {
            matches!(
                operand,
                Operand::Dot | Operand::Nil | Operand::Bool(_) | Operand::Int(_) | Operand::Float(_) | Operand::Text(_)
            )
        };
        if pipe.commands.iter().skip(1).any(|command| command.first().is_some_and(constant)) {
            return self.fault("a command after | cannot be called");
        }
        Ok(pipe)
    }

    fn command(&mut self, context: &str) -> Result<Vec<Operand>, Error> {
        let mut operands = Vec::new();
        while !matches!(self.peek(), Token::Close | Token::ParenClose | Token::Pipe) {
            if !operands.is_empty() && !self.is_spaced() {
                return self.unexpected("an operand");
            }
            operands.push(self.operand(context)?);
        }
        if operands.is_empty() {
            return self.fault(format!("there is no value for {context}"));
        }
        Ok(operands)
    }

    fn operand(&mut self, context: &str) -> Result<Operand, Error> {
        let mut operand = match self.next() {
            Token::Name(name) => {
                if let Some(reason) = functions::refusal(&name) {
                    self.at -= 1;
                    return self.fault(reason);
                }
                Operand::Function(name)
            }
            Token::Dot => Operand::Dot,
            Token::Nil => Operand::Nil,
            Token::Bool(value) => Operand::Bool(value),
            Token::Int(value) => Operand::Int(value),
            Token::Float(value) => Operand::Float(value),
            Token::String(text) => Operand::Text(text),
            Token::Field(name) => Operand::Field(vec![name]),
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    self.at -= 1;
                    return self.fault(format!("undefined variable {name}"));
                }
                Operand::Variable(name, Vec::new())
            }
            Token::ParenOpen => {
                let pipe = self.deeper(|parser| parser.pipeline("parentheses", false, &Token::ParenClose))?;
                Operand::Pipe(Box::new(pipe))
            }
            _ => {
                self.at -= 1;
                return self.unexpected(context);
            }
        };
        let mut names = Vec::new();
        while let Token::Field(name) = self.peek()
            && !self.is_spaced()
        {
            names.push(name.clone());
            self.at += 1;
        }
        if names.is_empty() {
            return Ok(operand);
        }
        match &mut operand {
            Operand::Field(fields) | Operand::Variable(_, fields) => fields.append(&mut names),
            Operand::Function(_) | Operand::Pipe(_) => operand = Operand::Chain(Box::new(operand), names),
            _ => return self.fault("a constant has no fields"),
        }
        Ok(operand)
    }
}

fn told(token: &Token) -> String {
    match token {
        Token::Text(_) => "text".to_owned(),
        Token::Open => "{{".to_owned(),
        Token::Close => "}}".to_owned(),
        Token::Assign => "=".to_owned(),
        Token::Declare => ":=".to_owned(),
        Token::Pipe => "|".to_owned(),
        Token::ParenOpen => "(".to_owned(),
        Token::ParenClose => ")".to_owned(),
        Token::Sign(sign) => sign.to_string(),
        Token::Name(name) => name.clone(),
        Token::Keyword(keyword) => format!("{keyword:?}").to_lowercase(),
        Token::Field(name) => format!(".{name}"),
        Token::Variable(name) => name.clone(),
        Token::Dot => ".".to_owned(),
        Token::Nil => "nil".to_owned(),
        Token::Bool(value) => value.to_string(),
        Token::Int(value) => value.to_string(),
        Token::Float(value) => value.to_string(),
        Token::String(text) => format!("{text:?}"),
        Token::End => "the end".to_owned(),
    }
}

impl Tree {
    /// The names of fields and variables, as Ollama looks for them: in the commands of actions, branches, ranges and calls of templates.
    pub(super) fn names(&self, each: &mut dyn FnMut(&str)) {
        names(&self.root, each);
        self.defined.values().for_each(|nodes| names(nodes, each));
    }

    /// The tree without what follows the first action that writes `.Response`, where an answer goes on.
    pub(super) fn up_to_response(&self) -> Tree {
        let mut tree = self.clone();
        cut(&mut tree.root, &mut false);
        tree
    }
}

fn names(nodes: &[Node], each: &mut dyn FnMut(&str)) {
    for node in nodes {
        match &node.kind {
            Kind::Text(_) | Kind::Break | Kind::Continue => {}
            Kind::Action(pipe) => pipe_names(pipe, each),
            Kind::Branch { arms, otherwise, .. } => {
                for (pipe, list) in arms {
                    pipe_names(pipe, each);
                    names(list, each);
                }
                names(otherwise, each);
            }
            Kind::Range { pipe, body, otherwise } => {
                pipe_names(pipe, each);
                names(body, each);
                names(otherwise, each);
            }
            Kind::Template { pipe, .. } => pipe.iter().for_each(|pipe| pipe_names(pipe, each)),
        }
    }
}

fn pipe_names(pipe: &Pipe, each: &mut dyn FnMut(&str)) {
    for operand in pipe.commands.iter().flatten() {
        match operand {
            Operand::Field(fields) => fields.iter().for_each(|field| each(field)),
            Operand::Variable(name, fields) => {
                each(name);
                fields.iter().for_each(|field| each(field));
            }
            Operand::Pipe(pipe) => pipe_names(pipe, each),
            _ => {}
        }
    }
}

fn cut(nodes: &mut Vec<Node>, found: &mut bool) {
    nodes.retain_mut(|node| {
        if *found {
            return false;
        }
        match &mut node.kind {
            Kind::Action(pipe) => *found = writes_response(pipe),
            Kind::Branch { arms, otherwise, .. } => {
                arms.iter_mut().for_each(|(_, list)| cut(list, found));
                cut(otherwise, found);
            }
            Kind::Range { body, otherwise, .. } => {
                cut(body, found);
                cut(otherwise, found);
            }
            Kind::Text(_) | Kind::Template { .. } | Kind::Break | Kind::Continue => {}
        }
        true
    });
}

/// Whether a command in the pipeline, or in its parentheses, has an operand `.Response`.
fn writes_response(pipe: &Pipe) -> bool {
    pipe.commands.iter().flatten().any(|operand| match operand {
        Operand::Field(fields) => fields.iter().any(|field| field == "Response"),
        Operand::Pipe(pipe) => writes_response(pipe),
        _ => false,
    })
}
