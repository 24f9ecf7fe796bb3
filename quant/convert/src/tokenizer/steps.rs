//! The steps of `tokenizer.json` in the form in which a GGUF file lists them: the name of a step, then its arguments, each a string.

use super::{TOKENIZER, kind_of, steps, unknown};
use crate::Error;
use crate::json::Json;

/// A step: its name and its arguments.
pub(super) type Step = Vec<String>;

fn step(parts: &[&str]) -> Step {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

fn flag(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// The normalizers, and the table of the one that has one.
pub(super) fn normalizers(json: &Json) -> Result<(Vec<Step>, Option<Vec<u8>>), Error> {
    let mut charsmap = None;
    let mut list = Vec::new();
    for part in steps(json.get("normalizer"), "normalizers")? {
        let kind = kind_of(&part)?;
        let required = |key| part.require(key)?.bool().map(flag);
        list.push(match kind {
            "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "StripAccents" | "Nmt" | "ByteLevel" => step(&[kind]),
            "Replace" => {
                let [kind, pattern] = pattern(&part, "normalizer Replace")?;
                step(&["Replace", &kind, &pattern, part.require("content")?.str()?])
            }
            "Strip" => step(&["Strip", required("strip_left")?, required("strip_right")?]),
            "Prepend" => step(&["Prepend", part.require("prepend")?.str()?]),
            "Precompiled" => {
                let field = part.require("precompiled_charsmap")?;
                let table = base64(field.str()?).filter(|table| smidgen::tokenizer::is_charsmap(table));
                let table = table.ok_or_else(|| field.wrong("a table of normalizations in base64"))?;
                if charsmap.as_ref().is_some_and(|known| *known != table) {
                    return Err(unknown(TOKENIZER, "normalizer", "Precompiled, twice"));
                }
                charsmap = Some(table);
                step(&["Precompiled"])
            }
            "BertNormalizer" => {
                let lowercase = part.get_bool("lowercase")?.unwrap_or(true);
                let strip_accents = part.get_bool("strip_accents")?.unwrap_or(lowercase);
                let or_true = |key| Ok::<_, Error>(flag(part.get_bool(key)?.unwrap_or(true)));
                let flags = [or_true("clean_text")?, or_true("handle_chinese_chars")?];
                step(&["BertNormalizer", flags[0], flags[1], flag(strip_accents), flag(lowercase)])
            }
            other => return Err(unknown(TOKENIZER, "normalizer", other)),
        });
    }
    let put_in = |step: &Step| match step.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["Replace", .., text] | ["Prepend", text] => text.len().max(1),
        _ => 1,
    };
    if list.iter().map(put_in).fold(1usize, usize::saturating_mul) > smidgen::tokenizer::MOST_GROWTH {
        return Err(unknown(TOKENIZER, "normalizer", "that makes texts so long"));
    }
    Ok((list, charsmap))
}

/// The pre-tokenizers.
pub(super) fn pre_tokenizers(json: &Json) -> Result<Vec<Step>, Error> {
    let mut list = Vec::new();
    for part in steps(json.get("pre_tokenizer"), "pretokenizers")? {
        let or = |key, default| Ok::<_, Error>(flag(part.get_bool(key)?.unwrap_or(default)));
        list.push(match kind_of(&part)? {
            "ByteLevel" => step(&["ByteLevel", or("add_prefix_space", false)?, or("use_regex", true)?]),
            "Split" => {
                let [kind, pattern] = pattern(&part, "pre_tokenizer Split")?;
                step(&["Split", &kind, &pattern, behavior(&part, "Removed")?, or("invert", false)?])
            }
            "Digits" => step(&["Digits", or("individual_digits", false)?]),
            "Punctuation" => step(&["Punctuation", behavior(&part, "Isolated")?]),
            kind @ ("Whitespace" | "WhitespaceSplit" | "BertPreTokenizer") => step(&[kind]),
            "CharDelimiterSplit" => step(&["CharDelimiterSplit", character(&part, "delimiter")?]),
            "Metaspace" => {
                let scheme = scheme(&part)?;
                step(&["Metaspace", character(&part, "replacement")?, scheme, or("split", true)?])
            }
            "FixedLength" => {
                let length = part.get_u32("length")?.unwrap_or(5);
                if length == 0 {
                    return Err(unknown(TOKENIZER, "pre_tokenizer", "FixedLength of length 0"));
                }
                step(&["FixedLength", &length.to_string()])
            }
            other => return Err(unknown(TOKENIZER, "pre_tokenizer", other)),
        });
    }
    Ok(list)
}

/// Before which pieces a Metaspace puts its character, in the words of newer files.
fn scheme<'c>(part: &Json<'c>) -> Result<&'c str, Error> {
    let scheme = part.get_str("prepend_scheme")?;
    if let Some(Ok(text)) = part.get("str_rep").map(|text| text.str())
        && text != character(part, "replacement")?
    {
        return Err(unknown(TOKENIZER, "str_rep", text));
    }
    match (part.get_bool("add_prefix_space")?, scheme) {
        (Some(false), None | Some("never")) => Ok("never"),
        (Some(false), Some(_)) => Err(unknown(TOKENIZER, "prepend_scheme", "that add_prefix_space contradicts")),
        (_, None) => Ok("always"),
        (_, Some(scheme @ ("always" | "first" | "never"))) => Ok(scheme),
        (_, Some(scheme)) => Err(unknown(TOKENIZER, "prepend_scheme", scheme)),
    }
}

/// `String` or `Regex`, and the pattern.
fn pattern(part: &Json, of: &str) -> Result<[String; 2], Error> {
    let field = part.require("pattern")?;
    if let Some(text) = field.get("String") {
        let text = text.str()?;
        if text.is_empty() {
            return Err(unknown(TOKENIZER, of, "with an empty pattern"));
        }
        return Ok(["String".into(), text.into()]);
    }
    let expression = field.require("Regex")?.str()?;
    match smidgen::tokenizer::check_expression(expression) {
        // What Hugging Face's tokenizers puts in the place of nothing is not text.
        Ok(true) if of.ends_with("Replace") => Err(unknown(TOKENIZER, of, "of an expression that may match nothing")),
        Ok(_) => Ok(["Regex".into(), expression.into()]),
        Err(reason) => {
            let reason = format!("{of}: the expression {expression:.200?} is not supported: {reason}");
            Err(Error::Tokenizer { file: TOKENIZER.into(), reason })
        }
    }
}

/// What becomes of matches, by the name that the runtime knows.
fn behavior(part: &Json, default: &'static str) -> Result<&'static str, Error> {
    Ok(match part.get_str("behavior")?.unwrap_or(default) {
        "Removed" | "removed" => "Removed",
        "Isolated" | "isolated" => "Isolated",
        "MergedWithPrevious" | "merged_with_previous" => "MergedWithPrevious",
        "MergedWithNext" | "merged_with_next" => "MergedWithNext",
        "Contiguous" | "contiguous" => "Contiguous",
        other => return Err(unknown(TOKENIZER, "behavior", other)),
    })
}

fn character<'c>(part: &Json<'c>, key: &str) -> Result<&'c str, Error> {
    let field = part.require(key)?;
    let text = field.str()?;
    if text.chars().count() == 1 { Ok(text) } else { Err(field.wrong("one character")) }
}

/// Whether pieces are made of byte-level BPE's letters and of nothing else.
pub(super) fn are_letters(normalizers: &[Step], pre_tokenizers: &[Step]) -> bool {
    let is = |step: &Step, name: &str| step.first().is_some_and(|first| first == name);
    let adds = pre_tokenizers.iter().any(|step| is(step, "Metaspace"));
    pre_tokenizers.last().is_some_and(|step| is(step, "ByteLevel"))
        || normalizers.last().is_some_and(|step| is(step, "ByteLevel")) && !adds
}

/// How tokens become text again: what the decoder says, or where there is none what the steps before the model do.
pub(super) fn decoder(json: &Json, normalizers: &[Step], pre_tokenizers: &[Step], model: &str) -> Result<Step, Error> {
    let names = |list: &[Step], name: &str| list.iter().any(|step| step.first().is_some_and(|first| first == name));
    let metaspace = pre_tokenizers.iter().find(|step| step.first().is_some_and(|name| name == "Metaspace"));
    // Whether each part of a text gets a space that is not its own, or the text, or none.
    let lead = match metaspace.and_then(|step| step.get(2)) {
        Some(scheme) => scheme.as_str(),
        None if names(normalizers, "Prepend") => "always",
        None => "never",
    };
    let parts = steps(json.get("decoder"), "decoders")?;
    if parts.is_empty() {
        return Ok(match metaspace.and_then(|step| step.get(1)) {
            Some(space) => step(&["Metaspace", space, lead]),
            None if names(pre_tokenizers, "ByteLevel") || names(normalizers, "ByteLevel") => step(&["ByteLevel"]),
            None if model == "wordpiece" => step(&["WordPiece", "##"]),
            None => match normalizers.iter().find_map(|step| space_of(step)) {
                Some(space) => step(&["Metaspace", space, lead]),
                None => step(&["WordPiece", ""]),
            },
        });
    }
    let mut made = None;
    let mut strips = false;
    for part in &parts {
        let kind = kind_of(part)?;
        let own = match kind {
            "ByteLevel" => step(&["ByteLevel"]),
            "Metaspace" => {
                strips = true;
                let scheme = scheme(part)?;
                let lead = if scheme == "never" || lead == "never" { scheme } else { lead };
                step(&["Metaspace", character(part, "replacement")?, lead])
            }
            "WordPiece" => step(&["WordPiece", part.require("prefix")?.str()?]),
            "BPEDecoder" => step(&["BPEDecoder", part.require("suffix")?.str()?]),
            "Replace" => {
                let [kind, pattern] = pattern(part, "decoder Replace")?;
                let content = part.require("content")?.str()?;
                if kind != "String" || pattern.chars().count() != 1 || content != " " {
                    return Err(unknown(TOKENIZER, "decoder", "Replace of other than a character by a space"));
                }
                step(&["Metaspace", &pattern, lead])
            }
            "Strip" => {
                let counts = [part.get_u32("start")?.unwrap_or(0), part.get_u32("stop")?.unwrap_or(0)];
                if part.get_str("content")? != Some(" ") || counts != [1, 0] {
                    return Err(unknown(TOKENIZER, "decoder", "Strip of other than one space at the start"));
                }
                strips = true;
                continue;
            }
            // Bytes are put together in any case.
            "ByteFallback" | "Fuse" => continue,
            other => return Err(unknown(TOKENIZER, "decoder", other)),
        };
        if made.replace(own).is_some() {
            return Err(unknown(TOKENIZER, "decoder", "that has two ways from tokens to text"));
        }
    }
    let mut made = made.ok_or_else(|| unknown(TOKENIZER, "decoder", "of bytes only"))?;
    if let [name, _, lead] = made.as_mut_slice()
        && name == "Metaspace"
    {
        // A space is dropped as the decoder says, be it one that was put there or the text's own.
        match strips {
            false => *lead = "never".into(),
            true if lead == "never" && kind_of_first(&parts)? != "Metaspace" => *lead = "first".into(),
            true => {}
        }
    }
    Ok(made)
}

/// The `type` of the first step.
fn kind_of_first<'c>(parts: &[Json<'c>]) -> Result<&'c str, Error> {
    parts.first().map_or(Ok(""), kind_of)
}

/// The character that a normalizer puts in the place of spaces.
fn space_of(step: &Step) -> Option<&str> {
    match step.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["Replace", "String", " ", space] if space.chars().count() == 1 => Some(space),
        _ => None,
    }
}

/// The bytes of a text in base64.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for c in digits.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
