//! SentencePiece's Unigram (Kudo, "Subword Regularization", 2018; Kudo and Richardson, "SentencePiece", 2018): a text is normalized by a
//! table in the file, then spelled with the tokens whose scores add up to the most.

use alloc::string::String;
use alloc::vec::Vec;

use super::vocab::{Kind, Vocab, mix};
use super::{Error, SPACE};

/// How much less than the worst token an unknown character scores, as SentencePiece has it.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Most bytes that a table puts in place of a match.
const LONGEST_REPLACEMENT: usize = 1024;

/// Scores and rules of a vocabulary.
pub(super) struct Unigram<'a> {
    scores: &'a [[u8; 4]],
    unknown_score: f64,
    prefixes: Prefixes,
    charsmap: Charsmap<'a>,
    /// Whether a text begins with a space that is not its own.
    pub(super) space_prefix: bool,
    /// Whether spaces are one, and none at the ends.
    pub(super) merge_spaces: bool,
}

impl<'a> Unigram<'a> {
    /// Takes one score for each token.
    pub(super) fn new(
        vocab: &Vocab<'_>,
        scores: &'a [[u8; 4]],
        charsmap: Charsmap<'a>,
        space_prefix: bool,
        merge_spaces: bool,
    ) -> Result<Unigram<'a>, Error> {
        let mut prefixes = Prefixes::new(vocab.len())?;
        let mut worst = f32::MAX;
        for (id, score) in (0..).zip(scores) {
            prefixes.add(vocab.text(id).unwrap_or_default());
            if vocab.kind(id) == Some(Kind::Normal) {
                worst = worst.min(f32::from_le_bytes(*score));
            }
        }
        let unknown_score = f64::from(worst - UNKNOWN_PENALTY);
        Ok(Unigram { scores, unknown_score, prefixes, charsmap, space_prefix, merge_spaces })
    }

    /// A text as the vocabulary spells it.
    pub(super) fn normalized(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 2);
        let (mut in_word, mut prefixed) = (false, false);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (length, replacement) = match self.charsmap.longest(rest.as_bytes()) {
                Some((length, replacement)) => (length, replacement),
                None => (c.len_utf8(), rest.get(..c.len_utf8()).unwrap_or_default()),
            };
            for c in replacement.chars() {
                if c == ' ' {
                    in_word = false;
                    out.extend((!self.merge_spaces).then_some(SPACE));
                    continue;
                }
                if !in_word && (self.merge_spaces || self.space_prefix && !prefixed) {
                    out.push(SPACE);
                    prefixed = true;
                }
                in_word = true;
                out.push(c);
            }
            // A match that ends within a character is none.
            rest = rest.get(length..).unwrap_or_default();
        }
        out
    }

    /// Appends the ids of a text. Takes time in proportion to the text and to the longest token.
    pub(super) fn encode(&self, text: &str, vocab: &Vocab<'_>, unknown: Option<u32>, ids: &mut Vec<u32>) {
        let text = self.normalized(text);
        let bytes = text.as_bytes();
        // The best spelling of the text up to each byte: its score, its last token, and where that begins.
        let mut best = Vec::new();
        best.resize(bytes.len() + 1, (f64::NEG_INFINITY, None, 0));
        if let Some(start) = best.first_mut() {
            start.0 = 0.0;
        }
        for (at, c) in text.char_indices() {
            let score = best.get(at).map_or(0.0, |best| best.0);
            let mut known = false;
            let mut offer = |end: usize, added: f64, id: Option<u32>| {
                if let Some(champion) = best.get_mut(end).filter(|champion| score + added > champion.0) {
                    *champion = (score + added, id, at);
                }
            };
            let (mut length, mut prefix) = (0, Prefixes::EMPTY);
            for next in text.get(at..).unwrap_or_default().chars() {
                length += next.len_utf8();
                prefix = Prefixes::extended(prefix, next);
                if length > vocab.longest() || !self.prefixes.may_contain(prefix) {
                    break;
                }
                let Some(id) = bytes.get(at..at + length).and_then(|token| vocab.plain_id(token)) else { continue };
                known |= length == c.len_utf8();
                let own = self.scores.get(id as usize).map_or(0.0, |score| f32::from_le_bytes(*score));
                let user = vocab.kind(id) == Some(Kind::UserDefined);
                offer(at + length, if user { 0.0 } else { f64::from(own) }, Some(id));
            }
            if !known {
                offer(at + c.len_utf8(), self.unknown_score, None);
            }
        }
        let start = ids.len();
        let mut end = bytes.len();
        let mut was_unknown = false;
        while end > 0
            && let Some(&(_, id, at)) = best.get(end)
        {
            // Unknown characters in a row are one token.
            if id.is_some() || !was_unknown {
                ids.extend(id.or(unknown));
            }
            was_unknown = id.is_none() || id == unknown;
            end = at;
        }
        if let Some(added) = ids.get_mut(start..) {
            added.reverse();
        }
    }
}

/// What tokens begin with: a Bloom filter, so that few texts are looked up that no token begins with.
pub(super) struct Prefixes {
    bits: Vec<u32>,
}

impl Prefixes {
    pub(super) const EMPTY: u64 = 0;

    pub(super) fn new(tokens: usize) -> Result<Prefixes, Error> {
        // A bit for each of some characters of each token, with room to spare.
        let words = tokens.next_power_of_two();
        let refused = Error::OutOfMemory { bytes: words.saturating_mul(size_of::<u32>()) };
        Ok(Prefixes { bits: smidgen_targets::zeroed(words).ok_or(refused)? })
    }

    /// The hash of a text with one more character.
    pub(super) fn extended(hash: u64, c: char) -> u64 {
        mix(hash ^ u64::from(u32::from(c)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(super) fn add(&mut self, token: &str) {
        let last = self.bits.len() - 1;
        let mut hash = Prefixes::EMPTY;
        for c in token.chars() {
            hash = Prefixes::extended(hash, c);
            if let Some(word) = self.bits.get_mut((hash >> 5) as usize & last) {
                *word |= 1 << (hash & 31);
            }
        }
    }

    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let last = self.bits.len() - 1;
        self.bits.get((hash >> 5) as usize & last).is_some_and(|word| word >> (hash & 31) & 1 == 1)
    }
}

/// SentencePiece's table of normalizations, `precompiled_charsmap`: the length of a trie in bytes, the trie, and the replacements, each
/// of which ends in a NUL. The trie is a double array of 32-bit units (Kanda, "Space- and Time-Efficient String Dictionaries", 2018), as
/// the library Darts-clone has it.
#[derive(Clone, Copy, Default)]
pub(super) struct Charsmap<'a> {
    trie: &'a [[u8; 4]],
    replacements: &'a str,
}

impl<'a> Charsmap<'a> {
    /// Nothing if a length or the text of the replacements is wrong, or one is too long.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Charsmap<'a>> {
        let (&length, rest) = bytes.split_first_chunk()?;
        let (trie, replacements) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
        let (trie, []) = trie.as_chunks() else { return None };
        let replacements = core::str::from_utf8(replacements).ok().filter(|all| all.ends_with('\0'))?;
        // So that a text cannot grow without bounds; those of real tables have some dozens of bytes.
        let are_short = replacements.split('\0').all(|text| text.len() <= LONGEST_REPLACEMENT);
        (!trie.is_empty() && are_short).then_some(Charsmap { trie, replacements })
    }

    fn unit(&self, at: usize) -> Option<u32> {
        self.trie.get(at).map(|&unit| u32::from_le_bytes(unit))
    }

    /// What replaces the shortest entry that a text begins with.
    pub(super) fn shortest(&self, text: &[u8]) -> Option<&'a str> {
        self.search(text, true).map(|(_, found)| found)
    }

    /// The longest entry that a text begins with: its length and what replaces it. A trie that leads out of itself has none there.
    fn longest(&self, text: &[u8]) -> Option<(usize, &'a str)> {
        self.search(text, false)
    }

    /// An entry that a text begins with, the shortest or the longest.
    fn search(&self, text: &[u8], shortest: bool) -> Option<(usize, &'a str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize;
        let mut best = None;
        let mut at = offset(self.unit(0)?);
        for (index, &byte) in text.iter().enumerate() {
            at ^= usize::from(byte);
            let Some(unit) = self.unit(at).filter(|unit| byte != 0 && unit & (1 << 31 | 0xFF) == u32::from(byte))
            else {
                break;
            };
            at ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(value) = self.unit(at)
                && let Some(found) = self.replacements.get((value & !(1 << 31)) as usize..)
                && core::str::from_utf8(text.get(..=index)?).is_ok()
            {
                best = found.split_once('\0').map(|(found, _)| (index + 1, found)).or(best);
                if shortest {
                    break;
                }
            }
        }
        best
    }
}
