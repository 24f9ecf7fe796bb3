//! CLIP's tokenizer (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"): byte-level BPE over words
//! in lower case, each of which ends in a byte with [`END`]. Spaces separate words and have no tokens.
//!
//! Texts are composed (Unicode's NFC) and made lower case character by character, as Hugging Face's tokenizer does; HTML is not
//! unescaped and encodings are not guessed.

use alloc::string::String;
use alloc::vec::Vec;

use super::Error;
use super::merge::{Merger, Merges};
use super::normal::composed;
use super::vocab::{Kind, NONE, Vocab, byte_of_char, char_of_byte};

/// How a token is spelled that ends a word.
pub(super) const END: &str = "</w>";

/// The tokens of bytes inside of words, and of those at their ends.
pub(super) type Bytes = [[u32; 256]; 2];

/// The tokens of each byte.
pub(super) fn bytes(vocab: &Vocab<'_>) -> Bytes {
    let mut tokens = [[NONE; 256]; 2];
    let mut spelled = String::new();
    for byte in 0..=u8::MAX {
        for (tokens, end) in tokens.iter_mut().zip(["", END]) {
            spelled.clear();
            spelled.push(char_of_byte(byte));
            spelled.push_str(end);
            tokens[usize::from(byte)] = vocab.plain_id(spelled.as_bytes()).unwrap_or(NONE);
        }
    }
    tokens
}

/// The merges that made a vocabulary, for files that hold its tokens only: a token was made, in order of the ids, of the two that the
/// merges before it leave of its text.
pub(super) fn merges(vocab: &Vocab<'_>, bytes: &Bytes) -> Result<Merges, Error> {
    let mut merges = Merges::new(vocab.len())?;
    let mut merger = Merger::default();
    let mut spelled = Vec::new();
    for id in 0..vocab.len() as u32 {
        let Some(text) = vocab.text(id).filter(|_| vocab.kind(id) == Some(Kind::Normal)) else { continue };
        let (word, ends) = text.strip_suffix(END).map_or((text, false), |word| (word, true));
        spelled.clear();
        spelled.extend(word.chars().map_while(byte_of_char));
        if spelled.len() < 2 || spelled.len() != word.chars().count() {
            continue;
        }
        merge(&spelled, ends, bytes, &merges, &mut merger);
        let mut parts = merger.symbols();
        if let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next())
            && left.id != NONE
            && right.id != NONE
        {
            let (left, right) = (left.id, right.id);
            merges.push(left, right, id);
        }
    }
    Ok(merges)
}

/// Leaves the tokens of some bytes, at whose end a word ends or not, in the merger.
pub(super) fn merge(word: &[u8], ends: bool, bytes: &Bytes, merges: &Merges, merger: &mut Merger) {
    let [inside, last] = bytes;
    merger.clear();
    for (at, byte) in word.iter().enumerate() {
        let tokens = if ends && at + 1 == word.len() { last } else { inside };
        merger.push(tokens[usize::from(*byte)], 1);
    }
    merger.run(|left, right| merges.get(left.id, right.id));
}

/// A text composed, in lower case.
pub(super) fn clean(text: &str) -> String {
    composed(text).chars().flat_map(char::to_lowercase).collect()
}
