//! BERT's tokenizer (Devlin et al., "BERT"; Wu et al., "Google's Neural Machine Translation System", section 4.1): a text is cleaned and
//! cut into words, and each word is spelled with the longest tokens from its beginning on.
//!
//! Follows Google's `BasicTokenizer` and `WordpieceTokenizer` and, where they differ, Hugging Face's `tokenizers`: accents are removed
//! before case is. Vocabularies lie in a GGUF file as llama.cpp has them: a token that begins a word with [`SPACE`] before it,
//! one that continues a word without `##`.

use alloc::string::String;
use alloc::vec::Vec;

use super::SPACE;
use super::decompose::{decompose, is_mark};
use super::normal::jamo;
use super::unicode::{Category, category};
use super::vocab::Vocab;

/// Characters of the longest word that is spelled.
const LONGEST: usize = 100;

/// How words are made from a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cleaning {
    pub(super) lowercase: bool,
    pub(super) strip_accents: bool,
}

/// A word as it grows.
#[derive(Default)]
struct Word {
    /// [`SPACE`], then the word. Empty if there is none. What is longer than [`LONGEST`] is not kept.
    spelled: String,
    characters: usize,
}

impl Word {
    fn push(&mut self, c: char) {
        if self.characters == 0 {
            self.spelled.push(SPACE);
        }
        self.characters = self.characters.saturating_add(1);
        if self.characters <= LONGEST {
            self.spelled.push(c);
        }
    }

    /// Appends the word's tokens and begins another.
    fn end(&mut self, vocab: &Vocab<'_>, unknown: Option<u32>, ids: &mut Vec<u32>) {
        if self.characters > 0 {
            let before = ids.len();
            if self.characters > LONGEST || !spell(&self.spelled, vocab, ids) {
                ids.truncate(before);
                ids.extend(unknown);
            }
            self.spelled.clear();
            self.characters = 0;
        }
    }
}

/// Appends the longest tokens that spell a word. Whether there are any; if not, some may have been appended.
fn spell(word: &str, vocab: &Vocab<'_>, ids: &mut Vec<u32>) -> bool {
    let mut start = 0;
    // The mark of a word's beginning is no token of its own.
    let mut least = SPACE.len_utf8() + 1;
    while let Some(rest) = word.get(start..).filter(|rest| !rest.is_empty()) {
        // What begins with the mark would begin a word.
        if start > 0 && rest.starts_with(SPACE) {
            return false;
        }
        let longest = rest.floor_char_boundary(vocab.longest());
        let found = (least..=longest)
            .rev()
            .filter(|&len| rest.is_char_boundary(len))
            .find_map(|len| Some((len, vocab.plain_id(rest.get(..len)?.as_bytes())?)));
        let Some((len, id)) = found else { return false };
        ids.push(id);
        start += len;
        least = 1;
    }
    true
}

/// Appends the ids of a text.
pub(super) fn encode(text: &str, cleaning: Cleaning, vocab: &Vocab<'_>, unknown: Option<u32>, ids: &mut Vec<u32>) {
    let mut word = Word::default();
    for c in text.chars() {
        match category(c) {
            // Google's `_clean_text`: of the control characters, these three are spaces.
            Category::Space if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            Category::Space => word.end(vocab, unknown, ids),
            Category::Other => {}
            _ if c == char::REPLACEMENT_CHARACTER => {}
            kind => {
                let alone = kind == Category::Punctuation || c.is_ascii_punctuation() || is_ideograph(c);
                if alone {
                    word.end(vocab, unknown, ids);
                }
                if c.is_ascii() {
                    word.push(if cleaning.lowercase { c.to_ascii_lowercase() } else { c });
                } else {
                    clean(c, cleaning, &mut |c| {
                        // A decomposition may bring punctuation forth.
                        let alone = !alone && (category(c) == Category::Punctuation || c.is_ascii_punctuation());
                        if alone {
                            word.end(vocab, unknown, ids);
                        }
                        word.push(c);
                        if alone {
                            word.end(vocab, unknown, ids);
                        }
                    });
                }
                if alone {
                    word.end(vocab, unknown, ids);
                }
            }
        }
    }
    word.end(vocab, unknown, ids);
}

/// Gives what is left of a character without accents and case.
fn clean(c: char, cleaning: Cleaning, give: &mut impl FnMut(char)) {
    if !cleaning.strip_accents {
        return lower(c, cleaning, give);
    }
    if let Some(letters) = jamo(c) {
        return letters.into_iter().flatten().for_each(|letter| lower(letter, cleaning, give));
    }
    match decompose(c) {
        Some((first, second)) => {
            clean(first, cleaning, give);
            if let Some(second) = second.filter(|&second| !is_mark(second)) {
                lower(second, cleaning, give);
            }
        }
        None if is_mark(c) => {}
        None => lower(c, cleaning, give),
    }
}

fn lower(c: char, cleaning: Cleaning, give: &mut impl FnMut(char)) {
    if cleaning.lowercase { c.to_lowercase().for_each(give) } else { give(c) }
}

/// Whether `c` is a word of its own because it is Chinese, by Google's ranges as `tokenizers` has them.
pub(super) fn is_ideograph(c: char) -> bool {
    matches!(
        c as u32,
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}
