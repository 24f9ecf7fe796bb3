//! What Python's Jinja does otherwise than the engine.
//!
//! Operators, loops and assignments become calls of functions that no template can name, and so cannot hide. What Python's Jinja knows and nobody's chat template asks for is unknown here, and is named when it is used.

use super::{filters, guard, json, methods};
use minijinja::formatting::FormatStyle;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{
    DynObject, Enumerator, Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind, ValueOrKwargs, from_args,
};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The names of our functions.
const FOR: &str = "for";
const SET: &str = "=";
const SLICE: &str = "[:]";
const CONCATENATE: &str = "~";
const IN: &str = "in";

/// The engine's program with our functions in it.
pub(super) fn rewritten<'s>(program: &Instructions<'s>) -> Instructions<'s> {
    let all = || (0..).map_while(|index| program.get(index));
    // Where each instruction will be, and the end.
    let mut places = vec![0_u32];
    for instruction in all() {
        let size = match instruction {
            Instruction::PushLoop(_) => 2,
            Instruction::SetAttr(_) => 3,
            _ => 1,
        };
        places.push(places.last().map_or(0, |place| place + size));
    }
    let place = |index: &u32| places.get(*index as usize).copied().unwrap_or(u32::MAX);
    let call = |name, count| Instruction::CallFunction(name, Some(count));
    let mut result = Instructions::new(program.name(), program.source());
    for (index, instruction) in (0..).zip(all()) {
        let line = program.get_line(index).and_then(|line| u16::try_from(line).ok()).unwrap_or(0);
        let mut add = |instruction| {
            result.add_with_line(instruction, line);
        };
        let last = match instruction {
            Instruction::LoadConst(value) => Instruction::LoadConst(solid(value)),
            Instruction::Add => call(guard::ADD, 2),
            Instruction::Mul => call(guard::MULTIPLY, 2),
            Instruction::Rem => call("%", 2),
            Instruction::Lt => call("<", 2),
            Instruction::Lte => call("<=", 2),
            Instruction::Gt => call(">", 2),
            Instruction::Gte => call(">=", 2),
            Instruction::In => call(IN, 2),
            Instruction::StringConcat => call(CONCATENATE, 2),
            Instruction::Slice => call(SLICE, 4),
            Instruction::PushLoop(flags) => {
                add(call(FOR, 1));
                Instruction::PushLoop(*flags)
            }
            Instruction::SetAttr(name) => {
                add(Instruction::LoadConst(Value::from(*name)));
                add(call(SET, 3));
                Instruction::DiscardTop
            }
            Instruction::Iterate(to) => Instruction::Iterate(place(to)),
            Instruction::Jump(to) => Instruction::Jump(place(to)),
            Instruction::JumpIfFalse(to) => Instruction::JumpIfFalse(place(to)),
            Instruction::JumpIfFalseOrPop(to) => Instruction::JumpIfFalseOrPop(place(to)),
            Instruction::JumpIfTrueOrPop(to) => Instruction::JumpIfTrueOrPop(place(to)),
            Instruction::BuildMacro(name, at, flags) => Instruction::BuildMacro(name, place(at), *flags),
            other => other.clone(),
        };
        add(last);
    }
    result
}

/// A constant whose lists are lists: the engine adds two while parsing, and has something else then.
fn solid(value: &Value) -> Value {
    let items = || value.try_iter().into_iter().flatten().map(|item| solid(&item));
    match value.kind() {
        _ if value.is_kwargs() => value.clone(),
        ValueKind::Seq if value.is_tuple() => Tuple::from(items().collect::<Vec<_>>()).into(),
        ValueKind::Seq | ValueKind::Iterable => items().collect::<Vec<_>>().into(),
        ValueKind::Map => {
            let pairs = value.as_object().and_then(|map| map.try_iter_pairs()).into_iter().flatten();
            Value::from_pairs(pairs.map(|(key, value)| (key, solid(&value))))
        }
        _ => value.clone(),
    }
}

pub(super) fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The arguments of a call, by place or by name.
pub(super) struct Arguments {
    positional: VecDeque<Value>,
    named: Kwargs,
}

impl Arguments {
    pub(super) fn new(arguments: &[Value]) -> Result<Arguments, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(arguments)?;
        Ok(Arguments { positional: positional.to_vec().into(), named })
    }

    /// The next argument, if it is there.
    pub(super) fn next(&mut self, name: &str) -> Result<Option<Value>, Error> {
        match self.positional.pop_front() {
            None if self.named.has(name) => self.named.get(name).map(Some),
            value => Ok(value),
        }
    }

    /// The next argument, which must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<Value, Error> {
        self.next(name)?.ok_or_else(|| ErrorKind::MissingArgument.into())
    }

    /// The next argument as a text; none counts as not there.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<Arc<str>>, Error> {
        match self.next(name)?.filter(|value| !value.is_none()) {
            None => Ok(None),
            Some(value) => {
                value.as_str().map(|text| Some(text.into())).ok_or_else(|| invalid("an argument is no text"))
            }
        }
    }

    pub(super) fn needed_text(&mut self, name: &str) -> Result<Arc<str>, Error> {
        self.text(name)?.ok_or_else(|| invalid("an argument is no text"))
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.next(name)?.filter(|value| !value.is_none()).map(i64::try_from).transpose()
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.next(name)?.is_some_and(|value| value.is_true()))
    }

    /// The arguments that are left, by place.
    pub(super) fn rest(&mut self) -> Vec<Value> {
        self.positional.drain(..).collect()
    }

    /// The arguments by name, for a function that takes them itself.
    pub(super) fn names(&mut self) -> Kwargs {
        std::mem::replace(&mut self.named, Kwargs::from_iter([("", Value::UNDEFINED); 0]))
    }

    /// Refuses arguments that were not asked for.
    pub(super) fn end(self) -> Result<(), Error> {
        if !self.positional.is_empty() {
            return Err(ErrorKind::TooManyArguments.into());
        }
        self.named.assert_all_used()
    }
}

/// Python's namespace, which templates change. Nothing walks into it, so that it may hold itself.
#[derive(Default)]
struct Namespace(Mutex<BTreeMap<Arc<str>, Value>>);

impl Namespace {
    fn held(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Namespace>")
    }
}

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.held().get(key.as_str()?).cloned()
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Namespace>().map(|other| Arc::as_ptr(self).cmp(&std::ptr::from_ref(other)))
    }
}

/// All namespaces of a rendering. They are emptied in the end, since one that holds itself would never be freed.
#[derive(Clone, Default)]
pub(super) struct Namespaces(Arc<Mutex<Vec<Weak<Namespace>>>>);

impl Namespaces {
    fn make(&self, state: &State, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
        let namespace = Arc::new(Namespace::default());
        for argument in arguments.into_values() {
            let pairs = argument.as_object().filter(|_| argument.kind() == ValueKind::Map);
            let pairs =
                pairs.and_then(|map| map.try_iter_pairs()).ok_or_else(|| invalid("a namespace is made of maps"))?;
            for (key, value) in pairs {
                state.consume_fuel(1)?;
                namespace.held().insert(key.as_str().ok_or_else(|| invalid("a namespace has names"))?.into(), value);
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&namespace));
        Ok(Value::from_dyn_object(namespace))
    }

    pub(super) fn empty(&self) {
        for namespace in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(namespace) = namespace.upgrade() {
                // What is freed here may free other namespaces, which must not be held then.
                let values = std::mem::take(&mut *namespace.held());
                drop(values);
            }
        }
    }
}

fn set(value: Value, namespace: &Value, name: &str) -> Result<(), Error> {
    let namespace = namespace.downcast_object_ref::<Namespace>();
    namespace
        .ok_or_else(|| invalid("cannot assign attribute on non-namespace object"))?
        .held()
        .insert(name.into(), value);
    Ok(())
}

/// Items that can be had once, whose number nobody knows: Python's generators.
struct Generator(Mutex<std::vec::IntoIter<Value>>);

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator>")
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let this = Arc::clone(self);
        Enumerator::Iter(Box::new(std::iter::from_fn(move || {
            this.0.lock().unwrap_or_else(PoisonError::into_inner).next()
        })))
    }

    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::UNDEFINED)
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

pub(super) fn generator(items: Vec<Value>) -> Value {
    Value::from_object(Generator(Mutex::new(items.into_iter())))
}

/// A map's keys, values or items: they have a number, but no places, and no JSON.
pub(super) fn view(items: Vec<Value>) -> Value {
    Value::make_object_iterable(items, |items| Box::new(items.iter().cloned()))
}

/// A value that Python can loop over: itself, or the characters of a text as a list.
pub(super) fn iterated(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => Ok(text.chars().map(Value::from).collect::<Vec<_>>().into()),
        None if value.is_none() => Err(invalid("none cannot be iterated over")),
        None => Ok(value.clone()),
    }
}

/// What a filter goes over, which is not none.
pub(super) fn some(value: &Value) -> Result<Value, Error> {
    if value.is_none() { Err(invalid("none cannot be iterated over")) } else { Ok(value.clone()) }
}

/// Python's `str`.
pub(super) fn text(state: &State, value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => json::python(state, value).map(Value::from),
    }
}

pub(super) fn concatenated(state: &State, values: &[Value]) -> Result<Value, Error> {
    let mut all = String::new();
    for value in values {
        let value = text(state, value)?;
        let value = value.as_str().unwrap_or_default();
        state.consume_fuel(value.len() as u64 / 64)?;
        all.push_str(value);
    }
    Ok(all.into())
}

pub(super) fn compared(values: &[Value], fits: fn(Ordering) -> bool) -> Result<Value, Error> {
    let (a, b) = (argument(values, 0)?, argument(values, 1)?);
    let class = |value: &Value| match value.kind() {
        ValueKind::Number | ValueKind::Bool => 1,
        ValueKind::String => 2,
        ValueKind::Seq if value.is_tuple() => 3,
        ValueKind::Seq => 4,
        _ => 0,
    };
    if class(a) == 0 || class(a) != class(b) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("cannot compare {} and {}", a.kind(), b.kind())));
    }
    Ok(fits(a.cmp(b)).into())
}

pub(super) fn contains(state: &State, item: &Value, all: &Value) -> Result<bool, Error> {
    match (all.as_str(), item.as_str()) {
        (Some(all), Some(item)) => {
            state.consume_fuel(all.len() as u64 / 64)?;
            return Ok(all.contains(item));
        }
        (Some(_), None) => return Err(invalid("only a text can be in a text")),
        _ => {}
    }
    if all.kind() == ValueKind::Map {
        return Ok(all.as_object().is_some_and(|map| map.get_value(item).is_some()));
    }
    for one in some(all)?.try_iter()? {
        state.consume_fuel(1)?;
        if one == *item {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remainder(state: &State, a: &Value, b: &Value) -> Result<Value, Error> {
    if a.as_str().is_some() {
        let values = if b.is_tuple() { b.try_iter()?.collect() } else { vec![b.clone()] };
        return methods::formatted(state, FormatStyle::Printf, a, &values);
    }
    guard::remainder(a, b)
}

fn sliced(state: &State, value: &Value, bounds: [&Value; 3]) -> Result<Value, Error> {
    let [start, stop, step] = bounds.map(|bound| (!bound.is_none()).then(|| i64::try_from(bound.clone())).transpose());
    let (start, stop, step) = (start?, stop?, step?.unwrap_or(1));
    let is_list = value.kind() == ValueKind::Seq;
    if step == 0 {
        return Err(invalid("the step of a slice is not 0"));
    }
    if !is_list && value.as_str().is_none() {
        return Err(invalid("only texts and lists have parts"));
    }
    let items: Vec<Value> = iterated(value)?.try_iter()?.collect();
    state.consume_fuel(items.len() as u64 / 8)?;
    let length = items.len() as i64;
    let [low, high] = if step > 0 { [0, length] } else { [-1, length - 1] };
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(low, high);
    let (mut at, stop) =
        (start.map_or(if step > 0 { low } else { high }, place), stop.map_or(if step > 0 { high } else { low }, place));
    let mut part = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        part.extend(usize::try_from(at).ok().and_then(|at| items.get(at).cloned()));
        at = at.saturating_add(step);
    }
    if value.as_str().is_some() {
        return concatenated(state, &part);
    }
    Ok(if value.is_tuple() { Tuple::from(part).into() } else { part.into() })
}

type Function = fn(&State, &[Value]) -> Result<Value, Error>;

/// Operators and functions.
const FUNCTIONS: &[(&str, Function)] = &[
    (FOR, |_, a| iterated(argument(a, 0)?)),
    (SET, |_, a| {
        set(argument(a, 0)?.clone(), argument(a, 1)?, argument(a, 2)?.as_str().unwrap_or_default()).map(Value::from)
    }),
    (SLICE, |state, a| sliced(state, argument(a, 0)?, [argument(a, 1)?, argument(a, 2)?, argument(a, 3)?])),
    (CONCATENATE, concatenated),
    (IN, |state, a| contains(state, argument(a, 0)?, argument(a, 1)?).map(Value::from)),
    (guard::ADD, |state, a| guard::add(state, argument(a, 0)?, argument(a, 1)?)),
    (guard::MULTIPLY, |state, a| guard::multiply(state, argument(a, 0)?, argument(a, 1)?)),
    ("%", |state, a| remainder(state, argument(a, 0)?, argument(a, 1)?)),
    ("<", |_, a| compared(a, Ordering::is_lt)),
    ("<=", |_, a| compared(a, Ordering::is_le)),
    (">", |_, a| compared(a, Ordering::is_gt)),
    (">=", |_, a| compared(a, Ordering::is_ge)),
    ("range", |state, a| {
        let [first, second, step] = [0, 1, 2].map(|at| a.get(at).map(|value| i64::try_from(value.clone())).transpose());
        guard::range(state, first?.ok_or(ErrorKind::MissingArgument)?, second?, step?)
    }),
    ("dict", |_, a| {
        let (map, more) = from_args(a)?;
        minijinja::functions::dict(map, more)
    }),
    ("raise_exception", |state, a| {
        let message = text(state, argument(a, 0)?)?;
        let refusal = super::Refusal(message.as_str().unwrap_or_default().to_owned());
        Err(invalid("raise_exception").with_source(refusal))
    }),
];

pub(super) fn argument(arguments: &[Value], at: usize) -> Result<&Value, Error> {
    arguments.get(at).ok_or_else(|| ErrorKind::MissingArgument.into())
}

/// An environment of nothing but our functions, filters and tests.
pub(super) fn environment(namespaces: &Namespaces, seconds: u64) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_recursion_limit(guard::MOST_CALLS);
    environment.set_unknown_method_callback(methods::method);
    environment.set_formatter(|output, state, value| {
        if !matches!(state.auto_escape(), minijinja::AutoEscape::None) {
            return Err(invalid("autoescape is not supported"));
        }
        let value = text(state, value)?;
        output.write_str(value.as_str().unwrap_or_default()).map_err(Error::from)
    });
    for (name, function) in FUNCTIONS {
        environment.add_function(*name, |state: &State, arguments: Rest<ValueOrKwargs>| {
            function(state, &arguments.into_values())
        });
    }
    let namespaces = namespaces.clone();
    environment.add_function("namespace", move |state: &State, arguments: Rest<ValueOrKwargs>| {
        namespaces.make(state, arguments)
    });
    environment.add_function("strftime_now", move |format: &str| super::clock::strftime(format, seconds));
    filters::add(&mut environment);
    environment
}
