//! Text to token ids and back, by the vocabulary inside a GGUF file.
//!
//! Six families, as `tokenizer.ggml.model` names them: `gpt2`, byte-level BPE over the pieces into which the pre-tokenizer of
//! `tokenizer.ggml.pre` cuts a text (`gemma4` and `whitespace`, the same over characters), `llama`, SentencePiece's BPE by scores with a
//! fallback to bytes, `t5`, SentencePiece's Unigram, `bert`, WordPiece, `clip`, byte-level BPE over words, and `smidgen`, steps
//! that the file lists, as Hugging Face's `tokenizers` takes them. Ids agree with llama.cpp's and, where it departs from a model's own tokenizer or has none, with that: texts are composed (NFC) for `qwen2` and others, and letter
//! case divides words for `gpt-4o` and others. Two points are for safety: control tokens never arise from plain text, however it is
//! spelled, and special tokens are found left to right, the longest first.
//!
//! ```
//! use smidgen::tokenizer::{Error, Special, Tokenizer};
//!
//! fn echo(file: &smidgen_gguf::Gguf, prompt: &str) -> Result<String, Error> {
//!     let tokenizer = Tokenizer::parse(file)?;
//!     let ids = tokenizer.encode_prompt(prompt, Special::Text);
//!     Ok(tokenizer.decode(&ids, false))
//! }
//! ```

mod clip;
mod compat;
mod compose;
mod decode;
mod decompose;
mod error;
mod merge;
mod normal;
mod parse;
mod pattern;
mod pipeline;
mod pre;
mod special;
mod split;
#[cfg(all(test, feature = "std"))]
mod tests;
mod unicode;
mod unigram;
mod vocab;
mod wordpiece;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

pub use decode::Decoder;
pub use error::{Error, Warning};
use merge::{Merger, Merges};
use pipeline::Pipeline;
use pre::{Pre, Whole};
use special::Specials;
use split::Splitter;
use unicode::{Category, category};
use unigram::Unigram;
pub use vocab::char_of_byte;
use vocab::{NONE, Vocab};

/// Whether an expression can be one of a file's steps: `Ok(true)` if a match of it may be empty.
///
/// # Errors
/// What is not supported in it.
pub fn check_expression(expression: &str) -> Result<bool, &'static str> {
    pipeline::regex::Regex::compile(expression).map(|regex| regex.may_be_empty())
}

/// Whether bytes are a table of normalizations as SentencePiece writes them, `precompiled_charsmap`.
pub fn is_charsmap(bytes: &[u8]) -> bool {
    unigram::Charsmap::parse(bytes).is_some()
}

/// Bytes by which the steps of a file may make a text longer: the lengths of what they put in, multiplied.
pub const MOST_GROWTH: usize = 1024;

/// Whether a token of this name ends a generation, and counts as a control token, where a file does not list its steps.
pub fn ends_by_name(token: &str) -> bool {
    parse::ends_by_name(token)
}

/// Whether a text may spell control tokens such as `<|im_end|>`. User-defined tokens are found in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// It is text, whatever it spells: for everything that comes from outside.
    Text,
    /// Control tokens are found: for a prompt that a chat template made.
    Parse,
}

/// A vocabulary and its rules, borrowed from the bytes of a file. Reading one takes time and memory in proportion to the
/// vocabulary; nothing is built later, so it can be shared between threads.
pub struct Tokenizer<'a> {
    vocab: Vocab<'a>,
    scheme: Scheme<'a>,
    /// The token of each byte, or [`NONE`].
    bytes: [u32; 256],
    specials: Specials,
    /// Special tokens swallow the ASCII spaces after them, but for those named here.
    strips: Option<[Option<u32>; 3]>,
    /// The special token that swallows the spaces before it.
    mask: Option<u32>,
    ids: Ids,
    add_bos: bool,
    add_eos: bool,
    /// Sorted ids of the tokens that end a generation.
    ends: Vec<u32>,
    warnings: Vec<Warning>,
}

enum Scheme<'a> {
    Bpe(Bpe),
    Spm {
        scores: &'a [[u8; 4]],
        /// Whether text begins with a space that is not its own.
        space_prefix: bool,
        /// Whether words can be merged one by one.
        word_by_word: bool,
    },
    Unigram(Unigram<'a>),
    WordPiece(wordpiece::Cleaning),
    Clip {
        splitter: Splitter,
        bytes: Box<clip::Bytes>,
        merges: Merges,
        /// Special tokens that are found in the text that was made lower case.
        normalized: Box<Specials>,
    },
    Pipeline(Box<Pipeline<'a>>),
}

/// BPE over the pieces of a pre-tokenizer.
struct Bpe {
    pre: Pre,
    splitter: Splitter,
    merges: Merges,
    lowercase: bool,
}

impl Scheme<'_> {
    /// Whether models have never seen a text without its beginning and end, whatever their files say.
    fn is_framed(&self) -> bool {
        matches!(self, Scheme::WordPiece(_) | Scheme::Clip { .. })
    }

    /// Whether models have seen texts that spell their own beginning or end twice.
    fn doubles(&self) -> bool {
        self.is_framed() || matches!(self, Scheme::Pipeline(pipeline) if pipeline.is_framed)
    }
}

/// Ids of the tokens with a role.
#[derive(Clone, Copy, Default)]
struct Ids {
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
}

impl<'a> Tokenizer<'a> {
    /// The ids of `text`, without the BOS and EOS of [`encode_prompt`](Tokenizer::encode_prompt).
    ///
    /// Takes n log n time in the length of the text. Bytes that the vocabulary cannot spell become its unknown token
    /// (`llama`) or nothing (`gpt2`, `clip`), as in llama.cpp; so do characters in a row (`t5`) and whole words (`bert`). Where the file has no unknown
    /// token, they become nothing; `bert` always has one.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        self.encode_into(text, special, &mut ids);
        ids
    }

    /// Like [`encode`](Tokenizer::encode), with a BOS before and an EOS after if the file asks for them; for `bert` `[CLS]` and `[SEP]`,
    /// for `clip` `<|startoftext|>` and `<|endoftext|>`. A BOS or EOS that the text itself spells at its place is not doubled, but for `bert`
    /// and `clip`, as their models have seen them.
    pub fn encode_prompt(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 3);
        let bos = self.ids.bos.filter(|_| self.add_bos);
        ids.extend(bos);
        self.encode_into(text, special, &mut ids);
        let doubled = self.scheme.doubles();
        if let (Some(bos), [first, second, ..]) = (bos, ids.as_slice())
            && *first == bos
            && *second == bos
            && !doubled
        {
            ids.remove(0);
        }
        if let Some(eos) = self.ids.eos.filter(|&eos| self.add_eos && (doubled || ids.last() != Some(&eos))) {
            ids.push(eos);
        }
        ids
    }

    fn encode_into(&self, text: &str, special: Special, ids: &mut Vec<u32>) {
        if let Scheme::Pipeline(pipeline) = &self.scheme {
            return self.encode_pipeline(text, special, pipeline, ids);
        }
        let mut merger = Merger::default();
        let mut rest = text;
        while !rest.is_empty() {
            let found = self.specials.find(&self.vocab, rest, special == Special::Parse);
            let (at, token) = found.map_or((rest.len(), None), |(at, id)| (at, Some(id)));
            let (mut plain, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
            if token.is_some() && token == self.mask {
                plain = plain.trim_end_matches(is_blank);
            }
            // Longer runs than this are cut, so that offsets fit in 32 bits.
            while !plain.is_empty() {
                let (part, later) = plain.split_at_checked(plain.floor_char_boundary(1 << 30)).unwrap_or((plain, ""));
                match &self.scheme {
                    Scheme::Bpe(bpe) => self.encode_bpe(part, bpe, &mut merger, ids),
                    Scheme::Unigram(unigram) => unigram.encode(part, &self.vocab, self.ids.unknown, ids),
                    Scheme::Spm { scores, space_prefix, word_by_word } => {
                        let mut spelled = String::with_capacity(part.len() + part.len() / 2);
                        spelled.extend(space_prefix.then_some(SPACE));
                        spelled.extend(part.chars().map(|c| if c == ' ' { SPACE } else { c }));
                        let mut words = spelled.as_str();
                        while !words.is_empty() {
                            let end = if *word_by_word { word_end(words) } else { words.len() };
                            let (word, rest) = words.split_at_checked(end).unwrap_or((words, ""));
                            self.encode_spm(word, scores, &mut merger, ids);
                            words = rest;
                        }
                    }
                    Scheme::WordPiece(cleaning) => {
                        wordpiece::encode(part, *cleaning, &self.vocab, self.ids.unknown, ids);
                    }
                    Scheme::Pipeline(_) => {}
                    Scheme::Clip { splitter, bytes, merges, normalized } => {
                        let text = clip::clean(part);
                        let mut rest = text.as_str();
                        while !rest.is_empty() {
                            let found = (!normalized.is_empty())
                                .then(|| normalized.find(&self.vocab, rest, special == Special::Parse))
                                .flatten();
                            let (at, id) = found.map_or((rest.len(), None), |(at, id)| (at, Some(id)));
                            let (words, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
                            splitter.split(words, &mut |word| {
                                if !word.starts_with(|c| category(c) == Category::Space) {
                                    clip::merge(word.as_bytes(), true, bytes, merges, &mut merger);
                                    ids.extend(merger.symbols().map(|symbol| symbol.id).filter(|&id| id != NONE));
                                }
                            });
                            ids.extend(id);
                            let length = id.and_then(|id| self.vocab.bytes(id)).map_or(0, <[u8]>::len);
                            rest = tail.get(length..).unwrap_or_default();
                        }
                    }
                }
                plain = later;
            }
            rest = tail;
            if let Some(id) = token {
                ids.push(id);
                rest = rest.get(self.vocab.bytes(id).map_or(0, <[u8]>::len)..).unwrap_or_default();
                if self.strips.is_some_and(|kept| !kept.contains(&Some(id))) {
                    rest = rest.trim_start_matches(is_blank);
                }
            }
        }
    }

    fn encode_pipeline(&self, text: &str, special: Special, pipeline: &Pipeline<'_>, ids: &mut Vec<u32>) {
        let mut rest = text;
        // Longer texts than this are cut, so that offsets fit in 32 bits.
        while !rest.is_empty() {
            let (part, later) = rest.split_at_checked(rest.floor_char_boundary(1 << 28)).unwrap_or((rest, ""));
            pipeline.encode(part, special == Special::Parse, &self.vocab, self.ids.unknown, ids);
            rest = later;
        }
    }

    fn encode_bpe(&self, text: &str, bpe: &Bpe, merger: &mut Merger, ids: &mut Vec<u32>) {
        let Bpe { pre, splitter, merges, lowercase } = bpe;
        let mut text = if pre.compose { normal::composed(text) } else { Cow::Borrowed(text) };
        if *lowercase {
            text = text.chars().flat_map(char::to_lowercase).collect();
        }
        if pre.characters && !pre.drop_spaces {
            text = escape(text);
        }
        let mut spelled = String::new();
        splitter.split(&text, &mut |piece| {
            if pre.drop_spaces && piece.starts_with(|c| category(c) == Category::Space) {
                return;
            }
            let is_whole = match pre.whole {
                Whole::None => false,
                Whole::Newlines => piece.bytes().all(|byte| byte == b'\n'),
                Whole::All => true,
            };
            if is_whole && piece.len() <= self.vocab.longest() {
                let spelling = if pre.characters {
                    piece
                } else {
                    spelled.clear();
                    spelled.extend(piece.bytes().map(char_of_byte));
                    &spelled
                };
                if let Some(id) = self.vocab.plain_id(spelling.as_bytes()) {
                    return ids.push(id);
                }
            }
            merger.clear();
            if pre.characters {
                self.push_characters(piece, merger);
            } else {
                for byte in piece.bytes() {
                    merger.push(self.bytes[usize::from(byte)], 1);
                }
            }
            merger.run(|left, right| merges.get(left.id, right.id));
            for symbol in merger.symbols() {
                let end = symbol.start as usize + symbol.len as usize;
                match symbol.id {
                    NONE if pre.characters => {
                        self.push_bytes(
                            piece.get(symbol.start as usize..end).unwrap_or_default().as_bytes(),
                            None,
                            ids,
                        );
                    }
                    NONE => {}
                    id => ids.push(id),
                }
            }
        });
    }

    /// Gives a merger the token of each character, or [`NONE`].
    fn push_characters(&self, text: &str, merger: &mut Merger) {
        for c in text.chars() {
            let id = self.vocab.plain_id(c.encode_utf8(&mut [0; 4]).as_bytes());
            merger.push(id.unwrap_or(NONE), c.len_utf8() as u32);
        }
    }

    /// Appends the token of each byte, or `unknown`.
    fn push_bytes(&self, bytes: &[u8], unknown: Option<u32>, ids: &mut Vec<u32>) {
        for &byte in bytes {
            let id = self.bytes[usize::from(byte)];
            ids.extend(if id == NONE { unknown } else { Some(id) });
        }
    }

    /// Merges a text with SentencePiece's spelling of spaces.
    fn encode_spm(&self, spelled: &str, scores: &[[u8; 4]], merger: &mut Merger, ids: &mut Vec<u32>) {
        let bytes = |start: u32, len: u32| {
            spelled.as_bytes().get(start as usize..start as usize + len as usize).unwrap_or_default()
        };
        merger.clear();
        self.push_characters(spelled, merger);
        merger.run(|left, right| {
            let len = left.len + right.len;
            if len as usize > self.vocab.longest() {
                return None;
            }
            let id = self.vocab.plain_id(bytes(left.start, len))?;
            Some((priority(f32::from_le_bytes(*scores.get(id as usize)?)), id))
        });
        for symbol in merger.symbols() {
            match symbol.id {
                NONE => self.push_bytes(bytes(symbol.start, symbol.len), self.ids.unknown, ids),
                id => ids.push(id),
            }
        }
    }

    /// What is wrong with the file's tokenizer and was passed over, to be told to a user.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Number of tokens: ids are below it.
    pub fn vocab_len(&self) -> usize {
        self.vocab.len()
    }

    /// Bytes of the longest token's spelling.
    pub fn longest_token(&self) -> usize {
        self.vocab.longest()
    }

    /// How the file spells a token: byte-level BPE writes a space as `Ġ`, SentencePiece, Unigram and WordPiece as `▁`; CLIP ends words
    /// in `</w>`.
    pub fn token_text(&self, id: u32) -> Option<&'a str> {
        self.vocab.text(id)
    }

    /// The token that the file spells `text`, of any type.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocab.id(text.as_bytes())
    }

    /// Whether the token stands for an event or for the unknown, and not for text.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(vocab::Kind::Control | vocab::Kind::Unknown))
    }

    /// Whether a generation ends with this token: EOS, EOT, EOM, or by its name.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Tokens that end a generation, ascending.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Beginning of a text: `[CLS]` for `bert`.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// End of a text: `[SEP]` for `bert`.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// End of a turn, given by the file or found by its name.
    pub fn eot(&self) -> Option<u32> {
        self.ids.eot
    }

    /// End of a message, given by the file or found by its name.
    pub fn eom(&self) -> Option<u32> {
        self.ids.eom
    }

    /// The token for text that no other token spells.
    pub fn unknown(&self) -> Option<u32> {
        self.ids.unknown
    }

    /// Filler.
    pub fn padding(&self) -> Option<u32> {
        self.ids.padding
    }

    /// Whether [`encode_prompt`](Tokenizer::encode_prompt) puts a BOS first.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether [`encode_prompt`](Tokenizer::encode_prompt) puts an EOS last.
    pub fn adds_eos(&self) -> bool {
        self.add_eos
    }
}

/// Whether a special token may swallow a character.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{B}'
}

/// How SentencePiece writes a space.
const SPACE: char = '▁';

/// Where the first word ends: after spaces and what follows them, at the next space.
fn word_end(text: &str) -> usize {
    let word = text.trim_start_matches(SPACE);
    word.find(SPACE).map_or(text.len(), |at| text.len() - word.len() + at)
}

/// Orders scores from high to low.
fn priority(score: f32) -> u32 {
    // Adding zero makes −0 equal to 0.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

/// SentencePiece's spelling of a text.
fn escape(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains(' ') { Cow::Owned(text.replace(' ', "▁")) } else { text }
}

/// A SentencePiece spelling with its spaces.
fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains(SPACE) { Cow::Owned(text.replace(SPACE, " ")) } else { Cow::Borrowed(text) }
}
