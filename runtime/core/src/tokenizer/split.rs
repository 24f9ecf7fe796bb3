//! Pre-tokenizers of byte-level BPE: the rules, named in `tokenizer.ggml.pre`, by which a text is cut into pieces before
//! merging. Each is a chain of stages; a stage cuts every piece of the one before. The regular expressions quoted are
//! llama.cpp's, and so are the cuts: "isolate" means that matches and what lies between them are pieces.

use super::unicode::Category::{Letter, Number, Punctuation, Space};
use super::unicode::category;

/// Length of the first piece of a text that is not empty: at least 1, at most all, at a character boundary.
type Stage = fn(&str) -> usize;

/// How a vocabulary cuts text.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    stages: &'static [Stage],
    /// A piece that is a token as a whole is not merged from its bytes.
    pub(super) whole_pieces: bool,
    /// Whether a BOS is put first where the file does not say.
    pub(super) add_bos: bool,
}

impl Rules {
    /// CLIP's, whose spaces are pieces that nothing is made of.
    pub(super) const CLIP: Rules = Rules { stages: &[clip], whole_pieces: false, add_bos: true };

    /// The rules that `tokenizer.ggml.pre` names.
    pub(super) fn named(pre: &str) -> Option<Rules> {
        let plain = |stages| Rules { stages, whole_pieces: false, add_bos: false };
        Some(match pre {
            "default" => plain(DEFAULT),
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" | "gigachat"
            | "a.x-4.0" | "mellum" => plain(&[gpt2]),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
                plain(&[one_number, gpt2])
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
                Rules { stages: &[llama3], whole_pieces: true, add_bos: true }
            }
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => plain(&[llama3]),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan" | "solar-open"
            | "grok-2" => plain(&[qwen2]),
            "deepseek-llm" => plain(DEEPSEEK),
            "falcon" => plain(FALCON),
            _ => return None,
        })
    }

    /// Calls `each` with every piece of `text`, in order. Together they are the text.
    pub(super) fn split(&self, text: &str, each: &mut dyn FnMut(&str)) {
        split(self.stages, text, each);
    }
}

fn split(stages: &[Stage], mut text: &str, each: &mut dyn FnMut(&str)) {
    let Some((stage, later)) = stages.split_first() else { return each(text) };
    while !text.is_empty() {
        let (piece, rest) = text.split_at_checked(stage(text).max(1)).unwrap_or((text, ""));
        split(later, piece, each);
        text = rest;
    }
}

const DEFAULT: &[Stage] = &[punctuation, gpt2, numbers, three_digits];
const FALCON: &[Stage] = &[punctuation_or_backtick, gpt2, three_digits];
const DEEPSEEK: &[Stage] = &[newline, cased_letters, wide_punctuation, final_spaces, cjk, numbers];

/// The character at byte `at` of `text`.
fn char_at(text: &str, at: usize) -> Option<char> {
    match text.as_bytes().get(at) {
        Some(&byte) if byte.is_ascii() => Some(char::from(byte)),
        Some(_) => text.get(at..)?.chars().next(),
        None => None,
    }
}

/// The end of the run of characters that satisfy `is`, from byte `at` on.
fn run(text: &str, mut at: usize, is: impl Fn(char) -> bool) -> usize {
    while let Some(c) = char_at(text, at).filter(|&c| is(c)) {
        at += c.len_utf8();
    }
    at
}

fn is_letter(c: char) -> bool {
    category(c) == Letter
}

fn is_number(c: char) -> bool {
    category(c) == Number
}

fn is_space(c: char) -> bool {
    category(c) == Space
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// `[^\s\p{L}\p{N}]`
fn is_rest(c: char) -> bool {
    !matches!(category(c), Letter | Number | Space)
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, of any case if `any_case`; 0 if there is none.
fn contraction(text: &str, any_case: bool) -> usize {
    let lower = |c: u8| if any_case { c.to_ascii_lowercase() } else { c };
    let [b'\'', rest @ ..] = text.as_bytes() else { return 0 };
    match *rest {
        [a, ..] if matches!(lower(a), b's' | b't' | b'm' | b'd') => 2,
        [a, b, ..] if matches!([lower(a), lower(b)], [b'r' | b'v', b'e'] | [b'l', b'l']) => 3,
        _ => 0,
    }
}

/// `\s+(?!\S)|\s+`: a run of spaces, without its last if a word follows.
fn spaces(text: &str) -> usize {
    let end = run(text, 0, is_space);
    let last = text.get(..end).and_then(|run| run.chars().next_back()).map_or(0, char::len_utf8);
    match end - last {
        before if before > 0 && end < text.len() => before,
        _ => end,
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str) -> usize {
    let short = contraction(text, false);
    if short > 0 {
        return short;
    }
    let from = usize::from(text.starts_with(' '));
    for is in [is_letter, is_number, is_rest] {
        let end = run(text, from, is);
        if end > from {
            return end;
        }
    }
    spaces(text)
}

/// `'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`, or else spaces
fn clip(text: &str) -> usize {
    let short = contraction(text, false);
    if short > 0 {
        return short;
    }
    match one_number_at(text) {
        0 => [is_letter, is_rest, is_space].into_iter().map(|is| run(text, 0, is)).find(|&end| end > 0).unwrap_or(0),
        length => length,
    }
}

/// Length of the number at the start, or 0.
fn one_number_at(text: &str) -> usize {
    char_at(text, 0).filter(|&c| is_number(c)).map_or(0, char::len_utf8)
}

fn llama3(text: &str) -> usize {
    words(text, 3)
}

fn qwen2(text: &str) -> usize {
    words(text, 1)
}

/// `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn words(text: &str, digits: usize) -> usize {
    let short = contraction(text, true);
    if short > 0 {
        return short;
    }
    let Some(first) = char_at(text, 0) else { return 0 };
    let from = if is_newline(first) || is_letter(first) || is_number(first) { 0 } else { first.len_utf8() };
    let end = run(text, from, is_letter);
    if end > from {
        return end;
    }
    if is_number(first) {
        return text.chars().take(digits).take_while(|&c| is_number(c)).map(char::len_utf8).sum();
    }
    let from = usize::from(first == ' ');
    let end = run(text, from, is_rest);
    if end > from {
        return run(text, end, is_newline);
    }
    let blank = text.get(..run(text, 0, is_space)).unwrap_or_default();
    match blank.rfind(is_newline) {
        Some(at) => at + 1,
        None => spaces(text),
    }
}

/// Isolates what `matched` finds: its result is the length of a match at the start of a text, or 0.
fn isolate(text: &str, matched: impl Fn(&str) -> usize) -> usize {
    match matched(text) {
        0 => (text.char_indices().skip(1).map(|(at, _)| at))
            .find(|&at| text.get(at..).is_some_and(|rest| matched(rest) > 0))
            .unwrap_or(text.len()),
        length => length,
    }
}

/// Isolates runs of characters that satisfy `is`.
fn isolate_run(text: &str, is: impl Fn(char) -> bool) -> usize {
    match run(text, 0, &is) {
        0 => run(text, 0, |c| !is(c)),
        length => length,
    }
}

/// Isolates `\p{N}`.
fn one_number(text: &str) -> usize {
    match char_at(text, 0) {
        Some(c) if is_number(c) => c.len_utf8(),
        _ => run(text, 0, |c| !is_number(c)),
    }
}

/// Isolates `\p{N}+`.
fn numbers(text: &str) -> usize {
    isolate_run(text, is_number)
}

/// Isolates `[0-9][0-9][0-9]`.
fn three_digits(text: &str) -> usize {
    let digit = |at| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let triple = |at: usize| digit(at) && digit(at + 1) && digit(at + 2);
    if triple(0) { 3 } else { (1..text.len()).find(|&at| triple(at)).unwrap_or(text.len()) }
}

/// Isolates `[\p{P}\$\+<=>\^~\|]+`.
fn punctuation(text: &str) -> usize {
    isolate_run(text, |c| category(c) == Punctuation || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|'))
}

/// Isolates ``[\p{P}\$\+<=>\^~\|`]+``.
fn punctuation_or_backtick(text: &str) -> usize {
    isolate_run(text, |c| {
        category(c) == Punctuation || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' | '`')
    })
}

/// Isolates `[\r\n]`.
fn newline(text: &str) -> usize {
    match char_at(text, 0) {
        Some(c) if is_newline(c) => 1,
        _ => run(text, 0, |c| !is_newline(c)),
    }
}

/// The length of a match of `\s?[class]+` at the start, or 0.
fn spaced(text: &str, class: impl Fn(char) -> bool) -> usize {
    let from = char_at(text, 0).filter(|&c| is_space(c)).map_or(0, char::len_utf8);
    let end = run(text, from, class);
    if end > from { end } else { 0 }
}

/// Isolates `\s?[` letters of alphabets with upper and lower case `]+`.
fn cased_letters(text: &str) -> usize {
    isolate(text, |text| spaced(text, is_cased))
}

/// Isolates `\s?[!-/:-~！-／：-～‘-‟　-。]+`; the ideographic space in it counts as a space only.
fn wide_punctuation(text: &str) -> usize {
    let class = |c| matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '\u{2018}'..='\u{201F}' | '\u{3001}'..='\u{3002}');
    isolate(text, |text| spaced(text, class))
}

/// Isolates `\s+$`.
fn final_spaces(text: &str) -> usize {
    match text.trim_end_matches(is_space).len() {
        0 => text.len(),
        body => body,
    }
}

/// Isolates `[一-龥ࠀ-一가-퟿]+`, without the spaces among them.
fn cjk(text: &str) -> usize {
    isolate_run(text, |c| matches!(c, '\u{800}'..='\u{9FA5}' | '\u{AC00}'..='\u{D7FF}') && !is_space(c))
}

fn is_cased(c: char) -> bool {
    let point = u32::from(c);
    let after = CASED.partition_point(|&(first, _)| first <= point);
    after.checked_sub(1).and_then(|at| CASED.get(at)).is_some_and(|&(_, last)| point <= last)
}

/// First and last of each range of the letters in the rules of deepseek-llm.
#[rustfmt::skip]
static CASED: [(u32, u32); 85] = [
    (0x0041, 0x005A), (0x0061, 0x007A), (0x00B5, 0x00B5), (0x00C0, 0x00D6), (0x00D8, 0x00F6), (0x00F8, 0x01BA),
    (0x01BC, 0x01BF), (0x01C4, 0x0293), (0x0295, 0x02AF), (0x0370, 0x0373), (0x0376, 0x0376), (0x0377, 0x0377),
    (0x037B, 0x037D), (0x037F, 0x037F), (0x0386, 0x0386), (0x0388, 0x038A), (0x038C, 0x038C), (0x038E, 0x03A1),
    (0x03A3, 0x03F5), (0x03F7, 0x0481), (0x048A, 0x052F), (0x0531, 0x0556), (0x10A0, 0x10C5), (0x13A0, 0x13F5),
    (0x13F8, 0x13FD), (0x1C90, 0x1CBA), (0x1CBD, 0x1CBF), (0x1D00, 0x1D2B), (0x1D6B, 0x1D77), (0x1D79, 0x1D9A),
    (0x1E00, 0x1F15), (0x1F18, 0x1F1D), (0x1F20, 0x1F45), (0x1F48, 0x1F4D), (0x1F50, 0x1F57), (0x1F59, 0x1F59),
    (0x1F5B, 0x1F5B), (0x1F5D, 0x1F5D), (0x1F5F, 0x1F7D), (0x1F80, 0x1FB4), (0x1FB6, 0x1FBC), (0x1FBE, 0x1FBE),
    (0x1FC2, 0x1FC4), (0x1FC6, 0x1FCC), (0x1FD0, 0x1FD3), (0x1FD6, 0x1FDB), (0x1FE0, 0x1FEC), (0x1FF2, 0x1FF4),
    (0x1FF6, 0x1FFC), (0x2102, 0x2102), (0x2107, 0x2107), (0x210A, 0x2113), (0x2115, 0x2115), (0x2119, 0x211D),
    (0x2124, 0x2124), (0x2126, 0x2126), (0x2128, 0x2128), (0x212A, 0x212D), (0x212F, 0x2134), (0x2139, 0x2139),
    (0x213C, 0x213F), (0x2145, 0x2149), (0x214E, 0x214E), (0x2183, 0x2184), (0x2C00, 0x2C7B), (0x2C7E, 0x2CE4),
    (0x2CEB, 0x2CEE), (0x2CF2, 0x2CF3), (0xA640, 0xA66D), (0xA680, 0xA69B), (0xA722, 0xA76F), (0xA771, 0xA787),
    (0xA78B, 0xA78E), (0xAB70, 0xABBF), (0xFB00, 0xFB06), (0xFB13, 0xFB17), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A),
    (0x10400, 0x1044F), (0x104B0, 0x104D3), (0x104D8, 0x104FB), (0x10C80, 0x10CB2), (0x10CC0, 0x10CF2),
    (0x118A0, 0x118DF), (0x1E900, 0x1E943),
];
