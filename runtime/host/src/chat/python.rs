//! What Python's Jinja does otherwise than the engine.
//!
//! Operators, loops and assignments become calls of functions that no template can name, and so cannot hide. Filters and tests that
//! differ are replaced. What Python's Jinja knows and nobody's chat template asks for is unknown here, and is named when it is used.

use super::guard;
use super::json;
use super::methods::{self, stripped};
use minijinja::formatting::FormatStyle;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{DynObject, Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use std::collections::BTreeMap;
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

pub(super) fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The arguments of a call, by place or by name.
pub(super) struct Arguments {
    positional: std::vec::IntoIter<Value>,
    named: Kwargs,
}

impl Arguments {
    pub(super) fn new(arguments: &[Value]) -> Result<Arguments, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(arguments)?;
        Ok(Arguments { positional: positional.to_vec().into_iter(), named })
    }

    /// The next argument, if it is there.
    pub(super) fn next(&mut self, name: &str) -> Result<Option<Value>, Error> {
        match self.positional.next() {
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

    /// Refuses arguments that were not asked for.
    pub(super) fn end(mut self) -> Result<(), Error> {
        if self.positional.next().is_some() {
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

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
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

fn generator(items: Vec<Value>) -> Value {
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
fn some(value: &Value) -> Result<Value, Error> {
    if value.is_none() { Err(invalid("none cannot be iterated over")) } else { Ok(value.clone()) }
}

/// Python's `str`.
fn text(state: &State, value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => json::python(state, value).map(Value::from),
    }
}

fn concatenated(state: &State, values: &[Value]) -> Result<Value, Error> {
    let mut all = String::new();
    for value in values {
        let value = text(state, value)?;
        let value = value.as_str().unwrap_or_default();
        state.consume_fuel(value.len() as u64 / 64)?;
        all.push_str(value);
    }
    Ok(all.into())
}

fn compared(a: &Value, b: &Value, fits: fn(std::cmp::Ordering) -> bool) -> Result<bool, Error> {
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
    Ok(fits(a.cmp(b)))
}

fn contains(state: &State, item: &Value, all: &Value) -> Result<bool, Error> {
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
    let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && value.len().is_some();
    if value.is_undefined() || step == 0 {
        return Err(invalid("what is undefined has no parts, and a step is not 0"));
    }
    if !is_list && value.as_str().is_none() {
        return Ok(Value::UNDEFINED);
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
    Ok(if value.is_tuple() { minijinja::value::Tuple::from(part).into() } else { part.into() })
}

/// Gives an environment our functions, filters and tests, and takes away what is not counted.
pub(super) fn prepare(environment: &mut Environment, namespaces: &Namespaces) {
    use std::cmp::Ordering;
    environment.set_unknown_method_callback(methods::method);
    environment.set_formatter(|output, state, value| {
        if !matches!(state.auto_escape(), minijinja::AutoEscape::None) {
            return Err(invalid("autoescape is not supported"));
        }
        let value = text(state, value)?;
        output.write_str(value.as_str().unwrap_or_default()).map_err(Error::from)
    });
    environment.add_function(FOR, |value: &Value| iterated(value));
    environment.add_function(SET, |value: Value, namespace: &Value, name: &str| set(value, namespace, name));
    environment.add_function(SLICE, |state: &State, value: &Value, a: &Value, b: &Value, c: &Value| {
        sliced(state, value, [a, b, c])
    });
    environment.add_function(CONCATENATE, |state: &State, a: Value, b: Value| concatenated(state, &[a, b]));
    environment.add_function(IN, contains);
    environment.add_function("%", remainder);
    environment.add_function("<", |a: &Value, b: &Value| compared(a, b, Ordering::is_lt));
    environment.add_function("<=", |a: &Value, b: &Value| compared(a, b, Ordering::is_le));
    environment.add_function(">", |a: &Value, b: &Value| compared(a, b, Ordering::is_gt));
    environment.add_function(">=", |a: &Value, b: &Value| compared(a, b, Ordering::is_ge));
    let namespaces = namespaces.clone();
    environment.add_function("namespace", move |state: &State, arguments: Rest<ValueOrKwargs>| {
        namespaces.make(state, arguments)
    });
    guard::restrict(environment);
    tests(environment);
    environment.add_filter("tojson", json::to_json);
    for (name, filter) in FILTERS {
        environment.add_filter(*name, move |state: &mut State, value: &Value, arguments: Rest<ValueOrKwargs>| {
            let mut arguments = Arguments::new(&arguments.into_values())?;
            let result = filter(state, value, &mut arguments)?;
            arguments.end().map(|()| result)
        });
    }
    for (name, lazy) in LAZY {
        environment.add_filter(*name, move |state: &mut State, value: &Value, arguments: Rest<ValueOrKwargs>| {
            // Of none, which is falsy, Python's filters yield nothing.
            let value = if value.is_none() { Value::UNDEFINED } else { value.clone() };
            lazy(state, value, &arguments.into_values()).map(generator)
        });
    }
}

fn tests(environment: &mut Environment) {
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
    });
}

type Filter = fn(&mut State, &Value, &mut Arguments) -> Result<Value, Error>;

/// Filters whose arguments or results differ.
const FILTERS: &[(&str, Filter)] = &[
    ("default", default),
    ("d", default),
    ("e", escape),
    ("escape", escape),
    ("string", |state, value, _| text(state, value)),
    ("trim", |state, value, arguments| {
        let value = text(state, value)?;
        let of = arguments.text("chars")?;
        Ok(stripped(value.as_str().unwrap_or_default(), of.as_deref(), [true; 2]).into())
    }),
    ("join", |state, value, arguments| {
        let by = arguments.text("d")?.unwrap_or_default();
        let of = arguments.next("attribute")?;
        let mut all = Vec::new();
        for item in iterated(value)?.try_iter()? {
            if !all.is_empty() && !by.is_empty() {
                all.push(Value::from(&*by));
            }
            all.push(match of.as_ref() {
                Some(of) => item.get_item(of)?,
                None => item,
            });
        }
        concatenated(state, &all)
    }),
    ("list", |state, value, _| filters::list(state, iterated(value)?)),
    ("reverse", |state, value, _| {
        let mut items: Vec<Value> = iterated(value)?.try_iter()?.collect();
        state.consume_fuel(items.len() as u64)?;
        items.reverse();
        if value.as_str().is_some() { concatenated(state, &items) } else { Ok(generator(items)) }
    }),
    ("items", |state, value, _| {
        if value.is_undefined() {
            return Ok(generator(Vec::new()));
        }
        let items = methods::method(state, value, "items", &[])?;
        Ok(generator(items.try_iter()?.collect()))
    }),
    ("last", |_, value, _| match value.kind() {
        ValueKind::Iterable if value.len().is_none() => {
            Err(invalid("what is looped over once has no last item to be had"))
        }
        _ => Ok(iterated(value)?.try_iter()?.last().unwrap_or(Value::UNDEFINED)),
    }),
    ("float", |state, value, arguments| {
        let default = arguments.next("default")?.unwrap_or_else(|| 0.0.into());
        let read = |text: &str| stripped(text, None, [true; 2]).replace('_', "").parse::<f64>().ok();
        match value.as_str() {
            Some(text) => Ok(read(text).map_or(default, Value::from)),
            None if value.is_none() => Ok(default),
            None => filters::float(state, value, Some(default), Kwargs::from_iter([("", Value::UNDEFINED); 0])),
        }
    }),
    ("first", |_, value, _| Ok(some(value)?.try_iter()?.next().unwrap_or(Value::UNDEFINED))),
    ("int", |state, value, arguments| {
        let default = arguments.next("default")?.unwrap_or_else(|| 0.into());
        let base = arguments.integer("base")?.unwrap_or(10);
        let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
        if let Some(digits) = value.as_str() {
            let digits = stripped(digits, None, [true; 2]).replace('_', "");
            let bare =
                ["0x", "0X", "0b", "0B", "0o", "0O"].iter().find_map(|p| digits.strip_prefix(p)).unwrap_or(&digits);
            let whole = base.and_then(|base| i64::from_str_radix(if base == 10 { &digits } else { bare }, base).ok());
            let float = || digits.parse::<f64>().ok().filter(|float| float.is_finite());
            return Ok(whole
                .map(Value::from)
                .or_else(|| float().map(|float| (float as i64).into()))
                .unwrap_or(default));
        }
        if value.is_none() {
            Ok(default)
        } else {
            filters::int(state, value, Some(default), None, Kwargs::from_iter([("", Value::UNDEFINED); 0]))
        }
    }),
    ("indent", |state, value, arguments| {
        let width = arguments.next("width")?.unwrap_or_else(|| 4.into());
        let (first, blank) = (arguments.flag("first")?, arguments.flag("blank")?);
        let value = text(state, value)?;
        let value = value.as_str().unwrap_or_default();
        let (by, times) =
            width.as_str().map_or_else(|| Ok((" ", usize::try_from(width.clone())?)), |by| Ok::<_, Error>((by, 1)))?;
        let size = (by.len() as u64).saturating_mul(times as u64);
        state.consume_fuel((value.matches('\n').count() as u64 + 1).saturating_mul(size) / 64)?;
        let by = by.repeat(times);
        let mut out = String::new();
        for (index, line) in value.split('\n').enumerate() {
            out.push_str(if index > 0 { "\n" } else { "" });
            if if index == 0 { first } else { blank || !line.is_empty() } {
                out.push_str(&by);
            }
            out.push_str(line);
        }
        Ok(out.into())
    }),
];

fn default(_: &mut State, value: &Value, arguments: &mut Arguments) -> Result<Value, Error> {
    let other = arguments.next("default_value")?.unwrap_or_else(|| "".into());
    let falsy = arguments.flag("boolean")? && !value.is_true();
    Ok(if falsy || value.is_undefined() { other } else { value.clone() })
}

fn escape(state: &mut State, value: &Value, _: &mut Arguments) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let value = text(state, value)?;
    Ok(Value::from_safe_string(guard::escaped(value.as_str().unwrap_or_default())))
}

type Lazy = fn(&mut State, Value, &[Value]) -> Result<Vec<Value>, Error>;

/// Filters that give generators.
const LAZY: &[(&str, Lazy)] = &[
    ("unique", |state, value, arguments| {
        filters::unique(state, value, from_args::<(Kwargs,)>(arguments)?.0)?.try_iter().map(Iterator::collect)
    }),
    ("batch", |state, value, arguments| {
        let (count, fill) = from_args(arguments)?;
        filters::batch(state, value, count, fill)?.try_iter().map(Iterator::collect)
    }),
    ("map", |state, value, arguments| filters::map(state, value, from_args::<(Rest<_>,)>(arguments)?.0)),
    ("select", |state, value, arguments| {
        let (test, rest) = from_args(arguments)?;
        filters::select(state, value, test, rest)
    }),
    ("reject", |state, value, arguments| {
        let (test, rest) = from_args(arguments)?;
        filters::reject(state, value, test, rest)
    }),
    ("selectattr", |state, value, arguments| {
        let (attribute, test, rest) = from_args(arguments)?;
        filters::selectattr(state, value, attribute, test, rest)
    }),
    ("rejectattr", |state, value, arguments| {
        let (attribute, test, rest) = from_args(arguments)?;
        filters::rejectattr(state, value, attribute, test, rest)
    }),
];
