//! Filters and tests as Python's Jinja has them.

use super::methods::{self, stripped};
use super::python::{Arguments, argument, compared, concatenated, contains, generator, invalid, iterated, some, text};
use super::{guard, json};
use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use std::cmp::Ordering;

/// Gives an environment all filters and tests. Each kind has one wrapper, which keeps them small.
pub(super) fn add(environment: &mut Environment) {
    for (name, filter) in FILTERS {
        environment.add_filter(*name, |state: &mut State, value: &Value, arguments: Rest<ValueOrKwargs>| {
            let mut arguments = Arguments::new(&arguments.into_values())?;
            let result = filter(state, value, &mut arguments)?;
            arguments.end().map(|()| result)
        });
    }
    for (name, lazy) in LAZY {
        environment.add_filter(*name, |state: &mut State, value: &Value, arguments: Rest<ValueOrKwargs>| {
            // Of none, which is falsy, Python's filters yield nothing.
            let value = if value.is_none() { Value::UNDEFINED } else { value.clone() };
            lazy(state, value, &arguments.into_values()).map(generator)
        });
    }
    for (name, test) in TESTS {
        environment.add_test(*name, |state: &State, value: &Value, others: Rest<Value>| test(state, value, &others));
    }
}

type Filter = fn(&mut State, &Value, &mut Arguments) -> Result<Value, Error>;

const FILTERS: &[(&str, Filter)] = &[
    ("tojson", json::to_json),
    ("upper", |state, value, _| spelled(state, value, str::to_uppercase)),
    ("lower", |state, value, _| spelled(state, value, str::to_lowercase)),
    ("capitalize", |state, value, _| methods::method(state, &text(state, value)?, "capitalize", &[])),
    ("title", |state, value, _| spelled(state, value, title)),
    ("replace", |state, value, arguments| {
        let mut given =
            [arguments.needed("old")?, arguments.needed("new")?, arguments.next("count")?.unwrap_or_default()];
        for given in &mut given[..2] {
            *given = text(state, given)?;
        }
        let count = usize::from(!given[2].is_undefined()) + 2;
        methods::method(state, &text(state, value)?, "replace", &given[..count])
    }),
    ("format", |state, value, arguments| methods::formatted(state, FormatStyle::Printf, value, &arguments.rest())),
    ("safe", |state, value, _| {
        Ok(Value::from_safe_string(text(state, value)?.as_str().unwrap_or_default().to_owned()))
    }),
    ("length", length),
    ("count", length),
    ("sum", |state, value, arguments| {
        let attribute = arguments.next("attribute")?;
        let mut all = arguments.next("start")?.unwrap_or_else(|| 0.into());
        for item in some(value)?.try_iter()? {
            state.consume_fuel(1)?;
            let item = attribute.as_ref().map_or(Ok(item.clone()), |attribute| item.get_item(attribute))?;
            all = guard::add(state, &all, &item)?;
        }
        Ok(all)
    }),
    ("abs", |_, value, _| filters::abs(value.clone())),
    ("round", |_, value, arguments| {
        let digits = arguments.integer("precision")?.map(i32::try_from).transpose();
        let digits = digits.map_err(|_| invalid("a number is not rounded to so many digits"))?;
        filters::round(value.clone(), digits, arguments.text("method")?.as_deref(), no_names())
    }),
    ("attr", |_, value, arguments| filters::attr(value, &arguments.needed("name")?)),
    ("min", |state, value, arguments| filters::min(state, some(value)?, arguments.names())),
    ("max", |state, value, arguments| filters::max(state, some(value)?, arguments.names())),
    ("sort", |state, value, arguments| {
        let names = arguments.names();
        let by = names.peek::<Option<Value>>("attribute")?;
        let sorted = filters::sort(state, iterated(value)?, names)?;
        let keys = sorted.try_iter()?.map(|item| by.as_ref().map_or(Ok(item.clone()), |by| item.get_item(by)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        // The engine has an order of all values, Python has not.
        keys.windows(2).try_for_each(|two| compared(two, Ordering::is_le).map(|_| ()))?;
        Ok(sorted)
    }),
    ("dictsort", |state, value, arguments| {
        state.consume_fuel(value.len().unwrap_or(0) as u64 * 8)?;
        filters::dictsort(value, arguments.names())
    }),
    ("groupby", |state, value, arguments| {
        state.consume_fuel(value.len().unwrap_or(0) as u64 * 8)?;
        let of = arguments.needed_text("attribute")?;
        filters::groupby(some(value)?, Some(&of), arguments.names())
    }),
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
    ("unique", |state, value, arguments| {
        let items = filters::unique(state, iterated(value)?, arguments.names())?;
        if items.try_iter()?.any(|item| matches!(item.kind(), ValueKind::Map | ValueKind::Seq) && !item.is_tuple()) {
            return Err(invalid("lists and maps are not told apart by unique"));
        }
        of_list(items)
    }),
    ("slice", |state, value, arguments| {
        let count = usize::try_from(arguments.needed("slices")?)?;
        of_list(filters::slice(state, iterated(value)?, count, arguments.next("fill_with")?)?)
    }),
    ("batch", |state, value, arguments| {
        let count = usize::try_from(arguments.needed("linecount")?)?;
        of_list(filters::batch(state, iterated(value)?, count, arguments.next("fill_with")?)?)
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
        match known(value)?.as_str() {
            Some(text) => Ok(read(text).map_or(default, Value::from)),
            None if value.is_none() => Ok(default),
            None => filters::float(state, value, Some(default), no_names()),
        }
    }),
    ("first", |_, value, _| Ok(some(value)?.try_iter()?.next().unwrap_or(Value::UNDEFINED))),
    ("int", |state, value, arguments| {
        let default = arguments.next("default")?.unwrap_or_else(|| 0.into());
        let base = arguments.integer("base")?.unwrap_or(10);
        let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
        if let Some(digits) = known(value)?.as_str() {
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
        if value.is_none() { Ok(default) } else { filters::int(state, value, Some(default), None, no_names()) }
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
        let value = [value, "\n"].concat();
        for (index, line) in methods::lines(&value, false).into_iter().enumerate() {
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

/// A generator of a list's items.
fn of_list(list: Value) -> Result<Value, Error> {
    Ok(generator(list.try_iter()?.collect()))
}

fn known(value: &Value) -> Result<&Value, Error> {
    if value.is_undefined() { Err(invalid("what is undefined is no number")) } else { Ok(value) }
}

fn no_names() -> Kwargs {
    Kwargs::from_iter([("", Value::UNDEFINED); 0])
}

fn spelled(state: &State, value: &Value, f: fn(&str) -> String) -> Result<Value, Error> {
    let value = text(state, value)?;
    let spelled = f(value.as_str().unwrap_or_default());
    Ok(if value.is_safe() { Value::from_safe_string(spelled) } else { spelled.into() })
}

/// Words with a large first letter. They are parted as Jinja's filter does it, not as Python's method.
fn title(text: &str) -> String {
    let (mut first, mut out) = (true, String::with_capacity(text.len()));
    for c in text.chars() {
        if first {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        first = "-({[<".contains(c) || methods::is_space(c);
    }
    out
}

fn length(_: &mut State, value: &Value, _: &mut Arguments) -> Result<Value, Error> {
    match value.len() {
        Some(length) => Ok(length.into()),
        None if value.is_undefined() => Ok(0.into()),
        None => Err(Error::new(ErrorKind::InvalidOperation, format!("cannot count the items of {}", value.kind()))),
    }
}

type Lazy = fn(&mut State, Value, &[Value]) -> Result<Vec<Value>, Error>;

/// Filters that give generators.
const LAZY: &[(&str, Lazy)] = &[
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

type Test = fn(&State, &Value, &[Value]) -> Result<bool, Error>;

const TESTS: &[(&str, Test)] = &[
    ("defined", |_, value, _| Ok(!value.is_undefined())),
    ("undefined", |_, value, _| Ok(value.is_undefined())),
    ("none", |_, value, _| Ok(value.is_none())),
    ("boolean", |_, value, _| Ok(value.kind() == ValueKind::Bool)),
    ("true", |_, value, _| Ok(value.kind() == ValueKind::Bool && value.is_true())),
    ("false", |_, value, _| Ok(value.kind() == ValueKind::Bool && !value.is_true())),
    ("integer", |_, value, _| Ok(value.is_integer())),
    ("float", |_, value, _| Ok(value.kind() == ValueKind::Number && !value.is_integer())),
    ("number", |_, value, _| Ok(matches!(value.kind(), ValueKind::Number | ValueKind::Bool))),
    ("string", |_, value, _| Ok(value.as_str().is_some())),
    ("mapping", |_, value, _| Ok(value.kind() == ValueKind::Map)),
    ("sequence", |_, value, _| {
        Ok(matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined))
    }),
    ("iterable", |_, value, _| Ok(!value.is_none() && value.try_iter().is_ok())),
    ("odd", |_, value, _| Ok(guard::remainder(value, &2.into())? == 1.into())),
    ("even", |_, value, _| Ok(guard::remainder(value, &2.into())? == 0.into())),
    ("divisibleby", |_, value, others| Ok(!guard::remainder(value, argument(others, 0)?)?.is_true())),
    ("lower", |state, value, _| Ok(methods::is_cased(text(state, value)?.as_str().unwrap_or_default(), false))),
    ("upper", |state, value, _| Ok(methods::is_cased(text(state, value)?.as_str().unwrap_or_default(), true))),
    ("in", |state, value, others| contains(state, value, argument(others, 0)?)),
    ("sameas", |_, value, others| argument(others, 0).map(|other| value.kind() == other.kind() && value == other)),
    ("eq", equal),
    ("equalto", equal),
    ("==", equal),
    ("ne", |state, value, others| equal(state, value, others).map(|equal| !equal)),
    ("!=", |state, value, others| equal(state, value, others).map(|equal| !equal)),
    ("lt", less),
    ("lessthan", less),
    ("<", less),
    ("le", |_, value, others| ordered(value, others, Ordering::is_le)),
    ("<=", |_, value, others| ordered(value, others, Ordering::is_le)),
    ("gt", greater),
    ("greaterthan", greater),
    (">", greater),
    ("ge", |_, value, others| ordered(value, others, Ordering::is_ge)),
    (">=", |_, value, others| ordered(value, others, Ordering::is_ge)),
];

fn equal(_: &State, value: &Value, others: &[Value]) -> Result<bool, Error> {
    Ok(value == argument(others, 0)?)
}

fn less(_: &State, value: &Value, others: &[Value]) -> Result<bool, Error> {
    ordered(value, others, Ordering::is_lt)
}

fn greater(_: &State, value: &Value, others: &[Value]) -> Result<bool, Error> {
    ordered(value, others, Ordering::is_gt)
}

fn ordered(value: &Value, others: &[Value], fits: fn(Ordering) -> bool) -> Result<bool, Error> {
    compared(&[value.clone(), argument(others, 0)?.clone()], fits).map(|fits| fits.is_true())
}
