//! Evaluation of templates.

use super::functions;
use super::parse::{Kind, Node, Operand, Pipe, Tree};
use super::render_fault;
use super::value::{Form, List, Map, Value};
use crate::Error;

/// How deeply lists, pipelines and calls of templates may nest while a template is evaluated.
const MOST_DEPTH: usize = 1_000;
/// Bytes of data that count as a step.
const STEP: u64 = 64;

/// What evaluation may take, and what it has written.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) text: String,
    /// Steps that are left.
    pub(super) steps: u64,
    /// The most bytes of text.
    pub(super) most: usize,
    /// Seconds since the start of 1970, UTC.
    pub(super) seconds: u64,
}

impl Output {
    fn pay(&mut self, bytes: u64) -> Result<(), Error> {
        self.steps = self.steps.checked_sub(1 + bytes / STEP).ok_or(Error::TemplateSteps)?;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text.len() as u64)?;
        if self.text.len() + text.len() > self.most {
            return Err(Error::TemplateOutput { most: self.most });
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// Evaluates the tree with this dot.
///
/// # Errors
/// [`Error::TemplateRender`], [`Error::TemplateSteps`], [`Error::TemplateOutput`], [`Error::TemplateDepth`].
pub(super) fn execute(tree: &Tree, dot: &Value, output: &mut Output) -> Result<(), Error> {
    let mut evaluator = Evaluator { tree, output, variables: vec![("$", dot.clone())], line: 1, depth: 0 };
    evaluator.list(dot, &tree.root)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Evaluator<'t, 'o> {
    tree: &'t Tree,
    output: &'o mut Output,
    /// The innermost last.
    variables: Vec<(&'t str, Value)>,
    line: usize,
    depth: usize,
}

impl<'t> Evaluator<'t, '_> {
    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(render_fault(self.line, reason))
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == MOST_DEPTH {
            return Err(Error::TemplateDepth);
        }
        self.depth += 1;
        let result = f(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow, Error> {
        for node in nodes {
            self.line = node.line;
            self.output.pay(0)?;
            match self.node(dot, node)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, Error> {
        match &node.kind {
            Kind::Text(text) => self.output.write(text)?,
            Kind::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.line = node.line;
                    self.print(&value)?;
                }
            }
            Kind::Branch { with, arms, otherwise } => {
                let known = self.variables.len();
                let flow = self.branch(dot, *with, arms, otherwise)?;
                self.variables.truncate(known);
                return Ok(flow);
            }
            Kind::Range { pipe, body, otherwise } => {
                let known = self.variables.len();
                let flow = self.range(dot, pipe, body, otherwise)?;
                self.variables.truncate(known);
                return Ok(flow);
            }
            Kind::Template { name, pipe } => {
                let called = if name.is_empty() { Some(&self.tree.root) } else { self.tree.defined.get(name) };
                let Some(called) = called else { return self.fault(format!("there is no template {name:?}")) };
                let dot = pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(dot, pipe))?;
                // It does not see the variables of others.
                let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
                self.deeper(|evaluator| evaluator.list(&dot, called))?;
                self.variables = variables;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Value) -> Result<(), Error> {
        if let Value::Text(text) = value {
            return self.output.write(text);
        }
        if matches!(value, Value::Nil) {
            return self.output.write("<no value>");
        }
        self.output.pay(value.weight())?;
        let mut text = String::new();
        value.print(&mut text).or_else(|reason| self.fault(reason))?;
        self.output.write(&text)
    }

    fn branch(
        &mut self,
        dot: &Value,
        with: bool,
        arms: &'t [(Pipe, Vec<Node>)],
        otherwise: &'t [Node],
    ) -> Result<Flow, Error> {
        for (pipe, list) in arms {
            let value = self.pipe(dot, pipe)?;
            if value.is_true() {
                return self.deeper(|evaluator| evaluator.list(if with { &value } else { dot }, list));
            }
        }
        self.deeper(|evaluator| evaluator.list(dot, otherwise))
    }

    fn range(&mut self, dot: &Value, pipe: &'t Pipe, body: &'t [Node], otherwise: &'t [Node]) -> Result<Flow, Error> {
        let value = self.pipe(dot, pipe)?;
        let known = self.variables.len();
        let mut count = 0_usize;
        let mut one = |evaluator: &mut Self, key: Value, item: &Value| {
            count += 1;
            evaluator.output.pay(0)?;
            evaluator.bind(pipe, key, item)?;
            let flow = evaluator.deeper(|evaluator| evaluator.list(item, body))?;
            evaluator.variables.truncate(known);
            Ok::<_, Error>(flow == Flow::Break)
        };
        match &value {
            Value::Nil => {}
            Value::List(list) => {
                for (index, item) in list.as_slice().iter().enumerate() {
                    if one(self, Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), item)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries.iter() {
                    if one(self, key.as_str().into(), item)? {
                        break;
                    }
                }
            }
            Value::Int(_) if pipe.variables.len() > 1 => {
                return self.fault("a range over a number has one variable");
            }
            Value::Int(most) => {
                for index in 0..*most {
                    if one(self, Value::Int(index), &Value::Int(index))? {
                        break;
                    }
                }
            }
            other => return self.fault(format!("range cannot go over {}", other.kind())),
        }
        if count == 0 {
            return self.deeper(|evaluator| evaluator.list(dot, otherwise));
        }
        Ok(Flow::Next)
    }

    /// Gives the variables of a range their values: of two, the first is the key.
    fn bind(&mut self, pipe: &'t Pipe, key: Value, item: &Value) -> Result<(), Error> {
        if pipe.assigns {
            return match pipe.variables.as_slice() {
                [one] => self.assign(one, item.clone()),
                [first, second] => {
                    self.assign(first, key)?;
                    self.assign(second, item.clone())
                }
                _ => Ok(()),
            };
        }
        let mut declared = self.variables.iter_mut().rev();
        if !pipe.variables.is_empty()
            && let Some((_, value)) = declared.next()
        {
            *value = item.clone();
        }
        if pipe.variables.len() > 1
            && let Some((_, value)) = declared.next()
        {
            *value = key;
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), Error> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, old)) => {
                *old = value;
                Ok(())
            }
            None => self.fault(format!("undefined variable {name}")),
        }
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, Error> {
        self.line = pipe.line;
        let mut value = None;
        for command in &pipe.commands {
            self.output.pay(0)?;
            value = Some(self.deeper(|evaluator| evaluator.command(dot, command, value))?);
            self.line = pipe.line;
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// The value of a command; `last` is that of the command before, which becomes the last argument.
    fn command(&mut self, dot: &Value, command: &'t [Operand], last: Option<Value>) -> Result<Value, Error> {
        let Some((first, arguments)) = command.split_first() else { return self.fault("an empty command") };
        match first {
            Operand::Function(name) => return self.call(dot, name, arguments, last),
            Operand::Nil => return self.fault("nil is not a command"),
            _ => {}
        }
        if arguments.is_empty() && last.is_none() {
            return self.operand(dot, first);
        }
        self.fault("only functions take arguments")
    }

    fn operand(&mut self, dot: &Value, operand: &'t Operand) -> Result<Value, Error> {
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(text) => Value::Text(text.clone()),
            Operand::Field(names) => return self.fields(dot.clone(), names),
            Operand::Variable(name, names) => {
                let found = self.variables.iter().rev().position(|(known, _)| known == name);
                let Some(above) = found else { return self.fault(format!("undefined variable {name}")) };
                // Looking for it takes time, too.
                self.output.pay(above as u64)?;
                let value = self.variables.iter().nth_back(above).map(|(_, value)| value.clone());
                return self.fields(value.unwrap_or(Value::Nil), names);
            }
            Operand::Function(name) => return self.call(dot, name, &[], None),
            Operand::Pipe(pipe) => return self.deeper(|evaluator| evaluator.pipe(dot, pipe)),
            Operand::Chain(operand, names) => {
                let value = self.deeper(|evaluator| evaluator.operand(dot, operand))?;
                return self.fields(value, names);
            }
        })
    }

    /// The field of a field of a value, and so on.
    fn fields(&self, mut value: Value, names: &[String]) -> Result<Value, Error> {
        for (index, name) in names.iter().enumerate() {
            value = match &value {
                Value::Nil if index == 0 => Value::Nil,
                Value::Nil => return self.fault(format!("nil has no field {name}")),
                Value::Map(Map { form: Form::Json, .. }) | Value::List(List { form: Form::Json, .. })
                    if name == "String" =>
                {
                    self.method("json", &value)?
                }
                Value::Map(map) => map.entries.get(name).cloned().unwrap_or(Value::Nil),
                Value::Record(record) => match record.fields.iter().find(|field| field.name == name) {
                    Some(field) => field.value.clone(),
                    None if name == "String" && record.prints => self.method("json", &value)?,
                    None if name == "ToTypeScriptType" => self.method("toTypeScriptType", &value)?,
                    None => return self.fault(format!("a {} has no field {name}", record.name)),
                },
                other => return self.fault(format!("{} has no field {name}", other.kind())),
            };
        }
        Ok(value)
    }

    fn method(&self, function: &str, value: &Value) -> Result<Value, Error> {
        functions::call(function, std::slice::from_ref(value), 0).or_else(|reason| self.fault(reason))
    }

    fn call(&mut self, dot: &Value, name: &str, arguments: &'t [Operand], last: Option<Value>) -> Result<Value, Error> {
        if name == "and" || name == "or" {
            // The first argument that decides is the result, and those after it are not looked at.
            let mut value = None;
            for argument in arguments {
                let found = self.operand(dot, argument)?;
                if found.is_true() == (name == "or") {
                    return Ok(found);
                }
                value = Some(found);
            }
            let line = self.line;
            return last.or(value).ok_or_else(|| render_fault(line, format!("{name} takes one argument or more")));
        }
        let line = self.line;
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(dot, argument)?);
        }
        self.line = line;
        values.extend(last);
        let whole = matches!(name, "print" | "printf" | "println" | "json") || name == "slice" && values.len() > 3;
        let weight = |value: &Value| match value {
            Value::Text(text) => text.len() as u64,
            value if whole => value.weight(),
            _ => 0,
        };
        self.output.pay(values.iter().map(weight).fold(0, u64::saturating_add))?;
        let value = functions::call(name, &values, self.output.seconds).or_else(|reason| self.fault(reason))?;
        if let Value::Text(text) = &value {
            self.output.pay(text.len() as u64)?;
        }
        Ok(value)
    }
}
