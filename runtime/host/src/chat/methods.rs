//! The methods of Python's texts, lists and maps.
//!
//! A method pays for what it reads by the engine's count, and for what it makes before it makes it.

use super::python::{Arguments, invalid};
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Calls a method of a text, a list or a map.
pub(super) fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if name == "format" && value.as_str().is_some() {
        return formatted(state, FormatStyle::StrFormat, value, arguments);
    }
    let mut arguments = Arguments::new(arguments)?;
    let result = match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(state, text, name, &mut arguments)?,
        (None, ValueKind::Map) => of_map(state, value, name, &mut arguments)?,
        (None, ValueKind::Seq) => of_list(state, value, name, &mut arguments)?,
        _ => return Err(ErrorKind::UnknownMethod.into()),
    };
    arguments.end()?;
    Ok(result)
}

/// Python's `%` and `str.format`. A width of four digits or from an argument is refused: it is memory that was not paid for.
pub(super) fn formatted(state: &State, style: FormatStyle, text: &Value, values: &[Value]) -> Result<Value, Error> {
    let text = text.as_str().unwrap_or_default();
    let printf = style == FormatStyle::Printf;
    let (mut digits, mut fields, mut inside) = (0, 0_u64, false);
    for c in text.chars() {
        let begins = c == if printf { '%' } else { '{' } && !inside;
        inside = begins || inside && if printf { !c.is_ascii_alphabetic() && c != '%' } else { c != '}' };
        digits = if inside && c.is_ascii_digit() { digits + 1 } else { 0 };
        fields += u64::from(begins);
        if digits > 3 || inside && printf && c == '*' {
            return Err(invalid("formats of such widths are not supported"));
        }
    }
    state.consume_fuel(fields.saturating_mul(32).saturating_add(text.len() as u64 / 64))?;
    format(style, text, values).map(Value::from)
}

/// Whether Python counts a character as a space: Unicode's, and four separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `text` without the characters `of` (spaces, if none) at its ends.
pub(super) fn stripped<'t>(text: &'t str, of: Option<&str>, [start, end]: [bool; 2]) -> &'t str {
    let strips = |c: char| of.map_or_else(|| is_space(c), |of| of.contains(c));
    let text = if start { text.trim_start_matches(strips) } else { text };
    if end { text.trim_end_matches(strips) } else { text }
}

/// Whether all letters with cases have this one, and there is one.
pub(super) fn is_cased(text: &str, upper: bool) -> bool {
    let (large, small) = (text.chars().any(char::is_uppercase), text.chars().any(char::is_lowercase));
    if upper { large && !small } else { small && !large }
}

fn texts<'t>(parts: impl IntoIterator<Item = &'t str>) -> Value {
    Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>())
}

fn tuple(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn of_text(state: &State, text: &str, name: &str, arguments: &mut Arguments) -> Result<Value, Error> {
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    Ok(match name {
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "casefold" => text.to_lowercase().replace('\u{df}', "ss").replace('\u{3c2}', "\u{3c3}").into(),
        "capitalize" => {
            cased(text, |c, at, _, out| if at == 0 { enlarge(c, out) } else { out.extend(c.to_lowercase()) }).into()
        }
        "title" => {
            cased(text, |c, _, inside, out| if inside { out.extend(c.to_lowercase()) } else { enlarge(c, out) }).into()
        }
        "swapcase" => {
            cased(
                text,
                |c, _, _, out| {
                    if c.is_uppercase() { out.extend(c.to_lowercase()) } else { out.extend(c.to_uppercase()) }
                },
            )
            .into()
        }
        "islower" => is_cased(text, false).into(),
        "isupper" => is_cased(text, true).into(),
        "isspace" => all(is_space),
        "isdigit" | "isdecimal" => all(|c| c.is_ascii_digit() || c.is_numeric() && c.to_string().parse::<u8>().is_ok()),
        "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => text.is_ascii().into(),
        "strip" | "lstrip" | "rstrip" => {
            let of = arguments.text("chars")?;
            stripped(text, of.as_deref(), [name != "rstrip", name != "lstrip"]).into()
        }
        "removeprefix" => {
            let prefix = arguments.needed_text("prefix")?;
            text.strip_prefix(&*prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let suffix = arguments.needed_text("suffix")?;
            text.strip_suffix(&*suffix).unwrap_or(text).into()
        }
        "startswith" | "endswith" => {
            let ends = arguments.needed("prefix")?;
            let part = range(text, arguments)?.map_or("", |(_, part)| part);
            let has = |end: &Value| match end.as_str() {
                Some(end) => Ok(if name == "endswith" { part.ends_with(end) } else { part.starts_with(end) }),
                None => Err(invalid("the beginning or end to look for is no text")),
            };
            if ends.is_tuple() {
                ends.try_iter()?.map(|end| has(&end)).try_fold(false, |any, one| Ok::<_, Error>(any | one?))?.into()
            } else {
                has(&ends)?.into()
            }
        }
        "find" | "rfind" | "index" | "rindex" => {
            let what = arguments.needed_text("sub")?;
            let found = range(text, arguments)?.and_then(|(before, part)| {
                let at = if name.starts_with('r') { part.rfind(&*what) } else { part.find(&*what) };
                at.map(|at| before + part[..at].chars().count())
            });
            match found {
                Some(at) => at.into(),
                None if name.ends_with("find") => (-1).into(),
                None => return Err(invalid("substring not found")),
            }
        }
        "count" => {
            let what = arguments.needed_text("sub")?;
            range(text, arguments)?.map_or(0, |(_, part)| part.matches(&*what).count()).into()
        }
        "replace" => {
            let (old, new) = (arguments.needed_text("old")?, arguments.needed_text("new")?);
            let count = arguments.integer("count")?.unwrap_or(-1);
            let most = usize::try_from(count).unwrap_or(usize::MAX).min(text.len() / old.len().max(1) + 1);
            state.consume_fuel((most as u64).saturating_mul(new.len() as u64) / 64)?;
            text.replacen(&*old, &new, most).into()
        }
        "split" | "rsplit" => {
            let separator = arguments.text("sep")?;
            let most = arguments.integer("maxsplit")?.and_then(|most| usize::try_from(most).ok());
            state.consume_fuel(text.len() as u64 / 64 + 1)?;
            split(text, separator.as_deref(), most.unwrap_or(usize::MAX), name == "rsplit")?
        }
        "splitlines" => texts(lines(text, arguments.flag("keepends")?)),
        "partition" | "rpartition" => {
            let separator = arguments.needed_text("sep")?;
            let (at_end, separator) = (name == "rpartition", &*separator);
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            match if at_end { text.rsplit_once(separator) } else { text.split_once(separator) } {
                Some((before, after)) => tuple([before, separator, after]),
                None if at_end => tuple(["", "", text]),
                None => tuple([text, "", ""]),
            }
        }
        "ljust" | "rjust" | "center" | "zfill" => padded(state, text, name, arguments)?,
        "join" => {
            let parts = arguments.needed("iterable")?;
            let mut joined = String::new();
            for (index, part) in super::python::iterated(&parts)?.try_iter()?.enumerate() {
                let part = part.as_str().map(str::to_owned).ok_or_else(|| invalid("only texts can be joined"))?;
                state.consume_fuel(1 + (part.len() + text.len()) as u64 / 64)?;
                if index > 0 {
                    joined.push_str(text);
                }
                joined.push_str(&part);
            }
            joined.into()
        }
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

/// Each character changed by `change`, which is told its place and whether a letter with cases stands before it.
fn cased(text: &str, change: fn(char, usize, bool, &mut String)) -> String {
    let (mut inside, mut out) = (false, String::with_capacity(text.len()));
    for (at, c) in text.chars().enumerate() {
        change(c, at, inside, &mut out);
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// A letter at the beginning of a word: of one that becomes several, only the first is large.
pub(super) fn enlarge(c: char, out: &mut String) {
    let mut large = c.to_uppercase();
    out.extend(large.next());
    large.for_each(|c| out.extend(c.to_lowercase()));
}

/// The part of a text between the next two arguments, by characters, and the number of characters before it; none where it begins
/// behind its end.
fn range<'t>(text: &'t str, arguments: &mut Arguments) -> Result<Option<(usize, &'t str)>, Error> {
    let (start, end) = (arguments.integer("start")?, arguments.integer("end")?);
    if start.is_none() && end.is_none() {
        return Ok(Some((0, text)));
    }
    let length = text.chars().count();
    let place = |at: i64| {
        let far = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { length.saturating_sub(far) } else { far }
    };
    let (start, end) = (start.map_or(0, place), end.map_or(length, place).min(length));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    Ok((start <= end).then(|| (start, &text[byte(start)..byte(end)])))
}

fn split(text: &str, separator: Option<&str>, most: usize, from_end: bool) -> Result<Value, Error> {
    let pieces = most.saturating_add(1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(invalid("empty separator")),
        Some(separator) if from_end => text.rsplitn(pieces, separator).collect(),
        Some(separator) => text.splitn(pieces, separator).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), stripped(text, None, [!from_end, from_end]));
            while !rest.is_empty() {
                let cut =
                    if from_end { rest.rsplit_once(is_space).map(|(a, b)| (b, a)) } else { rest.split_once(is_space) };
                let Some((part, others)) = cut.filter(|_| parts.len() < most) else {
                    parts.push(stripped(rest, None, [from_end && parts.len() < most, !from_end && parts.len() < most]));
                    break;
                };
                parts.push(part);
                rest = stripped(others, None, [!from_end, from_end]);
            }
            parts
        }
    };
    if from_end {
        parts.reverse();
    }
    Ok(texts(parts))
}

/// The lines of a text by all ends that Python knows, with their ends if these are kept.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let is_end =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let end = rest[at..].chars().next().map_or(0, char::len_utf8);
        let after = at + if rest[at..].starts_with("\r\n") { 2 } else { end };
        parts.push(&rest[..if keep { after } else { at }]);
        rest = &rest[after..];
    }
    parts.extend(Some(rest).filter(|rest| !rest.is_empty()));
    parts
}

fn padded(state: &State, text: &str, name: &str, arguments: &mut Arguments) -> Result<Value, Error> {
    let width = arguments.integer("width")?.ok_or_else(|| invalid("a width is missing"))?;
    let with = if name == "zfill" { None } else { arguments.text("fillchar")? };
    let with = with.as_deref().unwrap_or(if name == "zfill" { "0" } else { " " });
    if with.chars().count() != 1 {
        return Err(invalid("a text is padded with one character"));
    }
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel((missing as u64).saturating_mul(with.len() as u64) / 64)?;
    let left = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, text) = text.split_at(usize::from(name == "zfill" && text.starts_with(['+', '-'])));
    Ok([sign, &with.repeat(left), text, &with.repeat(missing - left)].concat().into())
}

fn of_map(state: &State, map: &Value, name: &str, arguments: &mut Arguments) -> Result<Value, Error> {
    let object = map.as_object().ok_or(ErrorKind::UnknownMethod)?;
    if name == "get" {
        let (key, default) = (arguments.needed("key")?, arguments.next("default")?);
        return Ok(object.get_value(&key).or(default).unwrap_or_else(|| Value::from(())));
    }
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    state.consume_fuel(object.enumerator_len().unwrap_or(0) as u64)?;
    Ok(match name {
        "items" => super::python::view(pairs().map(|(key, value)| Value::from(Tuple::from([key, value]))).collect()),
        "keys" => super::python::view(pairs().map(|(key, _)| key).collect()),
        "values" => super::python::view(pairs().map(|(_, value)| value).collect()),
        "copy" => Value::from_pairs(pairs()),
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

fn of_list(state: &State, list: &Value, name: &str, arguments: &mut Arguments) -> Result<Value, Error> {
    let mut items = list.try_iter()?;
    state.consume_fuel(list.len().unwrap_or(0) as u64)?;
    Ok(match name {
        "count" => {
            let what = arguments.needed("value")?;
            items.filter(|item| *item == what).count().into()
        }
        "index" => {
            let what = arguments.needed("value")?;
            items.position(|item| item == what).ok_or_else(|| invalid("the value is not in the list"))?.into()
        }
        "copy" if !list.is_tuple() => items.collect(),
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}
