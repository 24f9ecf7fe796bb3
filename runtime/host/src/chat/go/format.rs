//! Go's `printf`.

use super::value::{Form, List, Value, float};

/// The largest width and precision.
const MOST_WIDTH: usize = 1000;

/// What stands between the percent sign and the verb.
#[derive(Clone, Copy, Default)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    zeros: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The text of a format with these arguments: `%v`, `%s`, `%q`, `%d`, `%t`, `%f`, `%g`, `%e`, `%c`, `%x`, `%X`, `%b`, `%o`, with flags, width and precision.
///
/// Arguments that are missing, too many or of another type are told in the text, as Go does.
///
/// # Errors
/// A verb or a value that is not supported.
pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = format;
    let mut arguments = arguments.iter();
    while let Some((before, spec)) = rest.split_once('%') {
        out.push_str(before);
        let (flags, verb, after) = flags(spec, &mut arguments)?;
        rest = after;
        match verb {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => one(value, verb, flags, &mut out)?,
            },
        }
    }
    out.push_str(rest);
    let extra = arguments.as_slice();
    if !extra.is_empty() {
        out.push_str("%!(EXTRA ");
        for (index, value) in extra.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            if matches!(value, Value::Nil) {
                out.push_str("<nil>");
                continue;
            }
            out.push_str(simple(value)?);
            out.push('=');
            value.print(&mut out)?;
        }
        out.push(')');
    }
    Ok(out)
}

/// Flags, verb, and what follows.
fn flags<'s>(spec: &'s str, arguments: &mut std::slice::Iter<Value>) -> Result<(Flags, Option<char>, &'s str), String> {
    let mut flags = Flags::default();
    let mut rest = spec;
    while let Some(sign) = rest.chars().next() {
        match sign {
            '-' => (flags.left, flags.zeros) = (true, false),
            '+' => flags.plus = true,
            ' ' => flags.space = true,
            '0' => flags.zeros = !flags.left,
            '#' => flags.sharp = true,
            _ => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    if let Some(after) = rest.strip_prefix('*') {
        let (width, left) = star(arguments)?;
        flags.width = Some(width);
        if left {
            (flags.left, flags.zeros) = (true, false);
        }
        rest = after;
    } else {
        (flags.width, rest) = digits(rest)?;
    }
    if let Some(after) = rest.strip_prefix('.') {
        if let Some(after) = after.strip_prefix('*') {
            flags.precision = Some(star(arguments)?.0);
            rest = after;
        } else {
            let (precision, after) = digits(after)?;
            flags.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
    }
    if rest.starts_with('[') {
        return Err("printf with numbers of arguments is not supported".to_owned());
    }
    let mut chars = rest.chars();
    let verb = chars.next();
    if verb.is_none() && spec.ends_with('.') {
        return Err("a precision without a verb is not supported".to_owned());
    }
    Ok((flags, verb, chars.as_str()))
}

fn star(arguments: &mut std::slice::Iter<Value>) -> Result<(usize, bool), String> {
    match arguments.next() {
        Some(Value::Int(width)) => match usize::try_from(width.unsigned_abs()) {
            Ok(size) if size <= MOST_WIDTH => Ok((size, *width < 0)),
            _ => Err(format!("a width of printf is more than {MOST_WIDTH}")),
        },
        _ => Err("a width of printf is no integer".to_owned()),
    }
}

fn digits(text: &str) -> Result<(Option<usize>, &str), String> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.get(..text.len() - rest.len()).unwrap_or_default();
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(number) if number <= MOST_WIDTH => Ok((Some(number), rest)),
        _ => Err(format!("a width of printf is more than {MOST_WIDTH}")),
    }
}

/// The type of a value of which an error in a text tells.
fn simple(value: &Value) -> Result<&'static str, String> {
    match value {
        Value::List(_) | Value::Map(_) | Value::Record(_) => Err(format!("printf cannot print a {} so", value.kind())),
        value => Ok(value.kind()),
    }
}

fn one(value: &Value, verb: char, flags: Flags, out: &mut String) -> Result<(), String> {
    const VERBS: &str = "vsqdtfFgeEcxXbo";
    if !VERBS.contains(verb) {
        return Err(format!("the verb %{verb} of printf is not supported"));
    }
    if flags.sharp || flags.plus && matches!(value, Value::Map(_) | Value::Record(_)) {
        return Err(format!("a flag of %{verb} of printf is not supported"));
    }
    match value {
        Value::Nil if verb == 'v' => pad("<nil>", flags, out),
        Value::Nil => out.push_str(&format!("%!{verb}(<nil>)")),
        Value::Bool(value) if matches!(verb, 'v' | 't') => pad(if *value { "true" } else { "false" }, flags, out),
        Value::Int(number) => return integer(*number, verb, flags, value, out),
        Value::Byte(number) => return integer((*number).into(), verb, flags, value, out),
        Value::Float(number) => return real(*number, verb, flags, value, out),
        Value::Text(text) => match verb {
            'v' | 's' => pad(&cut(text, flags), flags, out),
            'q' => {
                let quoted = quoted(&cut(text, flags));
                pad(&quoted, Flags { zeros: false, ..flags }, out);
            }
            'x' | 'X' => {
                if flags.space {
                    return Err(format!("a flag of %{verb} of printf is not supported"));
                }
                let bytes = text.bytes().take(flags.precision.unwrap_or(usize::MAX));
                let text: String =
                    bytes.map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") }).collect();
                pad(&text, flags, out);
            }
            _ => wrong(value, verb, flags, out)?,
        },
        Value::List(List { form: Form::Json, .. }) | Value::Map(_) | Value::Record(_) => {
            if !matches!(verb, 'v' | 's') {
                return Err(format!("printf cannot print a {} by %{verb}", value.kind()));
            }
            if verb == 's' && matches!(value, Value::Map(map) if map.form == Form::Plain) {
                return Err("printf cannot print a map by %s".to_owned());
            }
            let mut text = String::new();
            value.print(&mut text)?;
            let prints = !matches!(value, Value::Map(map) if map.form == Form::Plain);
            pad(&if prints { cut(&text, flags) } else { text }, flags, out);
        }
        Value::List(list) if list.form == Form::Single && matches!(verb, 'v' | 's') => {
            let mut text = String::new();
            value.print(&mut text)?;
            pad(&cut(&text, flags), flags, out);
        }
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.as_slice().iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                one(item, verb, flags, out)?;
            }
            out.push(']');
        }
        Value::Bool(_) => wrong(value, verb, flags, out)?,
    }
    Ok(())
}

fn wrong(value: &Value, verb: char, flags: Flags, out: &mut String) -> Result<(), String> {
    out.push_str(&format!("%!{verb}({}=", simple(value)?));
    one(value, 'v', flags, out)?;
    out.push(')');
    Ok(())
}

/// The first characters, as many as the precision says.
fn cut(text: &str, flags: Flags) -> String {
    text.chars().take(flags.precision.unwrap_or(usize::MAX)).collect()
}

fn pad(text: &str, flags: Flags, out: &mut String) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if flags.zeros { "0" } else { " " }.repeat(missing);
    if flags.left {
        out.push_str(text);
    }
    out.push_str(&fill);
    if !flags.left {
        out.push_str(text);
    }
}

fn sign(negative: bool, flags: Flags) -> &'static str {
    match () {
        () if negative => "-",
        () if flags.plus => "+",
        () if flags.space => " ",
        () => "",
    }
}

/// A number's sign and digits; zeros come after the sign.
fn signed(sign: &str, digits: &str, flags: Flags, out: &mut String) {
    if !flags.zeros {
        return pad(&format!("{sign}{digits}"), flags, out);
    }
    out.push_str(sign);
    let width = flags.width.map(|width| width.saturating_sub(sign.len()));
    pad(digits, Flags { width, ..flags }, out);
}

fn integer(number: i64, verb: char, flags: Flags, value: &Value, out: &mut String) -> Result<(), String> {
    let size = number.unsigned_abs();
    let digits = match verb {
        'v' | 'd' => size.to_string(),
        'x' => format!("{size:x}"),
        'X' => format!("{size:X}"),
        'o' => format!("{size:o}"),
        'b' => format!("{size:b}"),
        'c' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            pad(&c.to_string(), flags, out);
            return Ok(());
        }
        'q' => return Err("printf cannot print an integer by %q".to_owned()),
        _ => return wrong(value, verb, flags, out),
    };
    let Some(precision) = flags.precision else {
        signed(sign(number < 0, flags), &digits, flags, out);
        return Ok(());
    };
    let digits = if precision == 0 && number == 0 { String::new() } else { format!("{digits:0>precision$}") };
    // Go writes nothing but spaces then.
    let sign = if digits.is_empty() { "" } else { sign(number < 0, flags) };
    signed(sign, &digits, Flags { zeros: false, ..flags }, out);
    Ok(())
}

fn real(number: f64, verb: char, flags: Flags, value: &Value, out: &mut String) -> Result<(), String> {
    let size = number.abs();
    let digits = match (verb, flags.precision) {
        ('f' | 'F', precision) => format!("{size:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => {
            let text = format!("{size:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let minus = if exponent < 0 { '-' } else { '+' };
            let e = if verb == 'e' { 'e' } else { 'E' };
            format!("{mantissa}{e}{minus}{:02}", exponent.abs())
        }
        ('v' | 'g', None) => float(size),
        ('v' | 'g', Some(_)) => return Err(format!("a precision of %{verb} of printf is not supported")),
        ('x' | 'X' | 'b', _) => return Err(format!("printf cannot print a float by %{verb}")),
        _ => return wrong(value, verb, flags, out),
    };
    if !number.is_finite() {
        return Err("printf cannot print a number that is not finite".to_owned());
    }
    signed(sign(number.is_sign_negative(), flags), &digits, flags, out);
    Ok(())
}

/// Go's quoted text.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Whether Unicode says that a character is printable: as the standard library's own debug text has it.
            c if c.escape_debug().count() == 1 => out.push(c),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
