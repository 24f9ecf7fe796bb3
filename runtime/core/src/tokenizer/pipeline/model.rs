//! Models: how a piece is spelled with tokens.

use alloc::vec::Vec;

use super::super::merge::{Merger, Merges};
use super::super::unigram::Prefixes;
use super::super::vocab::{Kind, NONE, Vocab};

/// The tokens that a model knows.
pub(super) struct Known<'v, 'a> {
    pub(super) vocab: &'v Vocab<'a>,
    /// Ascending ids of tokens that are found in texts only, and not made by the model.
    pub(super) added_only: &'v [u32],
    /// Whether control tokens may arise.
    pub(super) control: bool,
}

impl Known<'_, '_> {
    fn may_arise(&self, id: u32) -> bool {
        match self.vocab.kind(id) {
            Some(Kind::Control | Kind::Unknown) => self.control && self.added_only.binary_search(&id).is_err(),
            Some(Kind::Normal | Kind::UserDefined | Kind::Byte) => self.added_only.binary_search(&id).is_err(),
            _ => false,
        }
    }

    fn id(&self, text: &[u8]) -> Option<u32> {
        self.vocab.id(text).filter(|&id| self.may_arise(id))
    }
}

/// How pieces are spelled.
pub(super) enum Model<'a> {
    Bpe(Bpe<'a>),
    WordPiece(WordPiece<'a>),
    Unigram(Unigram<'a>),
}

/// Byte-pair encoding over characters (Sennrich et al., 2016).
pub(super) struct Bpe<'a> {
    pub(super) merges: Merges,
    /// The token of each byte, for characters that have none.
    pub(super) bytes: Option<[u32; 256]>,
    /// Whether unknown characters in a row are one token.
    pub(super) fuse_unknown: bool,
    /// Whether pieces that are tokens are taken as they are.
    pub(super) ignore_merges: bool,
    pub(super) prefix: &'a str,
    pub(super) suffix: &'a str,
}

/// The longest tokens from the beginning on (Wu et al., 2016).
pub(super) struct WordPiece<'a> {
    pub(super) prefix: &'a str,
    /// Characters of the longest piece that is spelled.
    pub(super) longest: usize,
}

/// The tokens whose scores add up to the most (Kudo, 2018).
pub(super) struct Unigram<'a> {
    pub(super) scores: Scores<'a>,
    pub(super) unknown_score: f64,
    pub(super) prefixes: Prefixes,
    /// The token of each byte, for characters that have none.
    pub(super) bytes: Option<[u32; 256]>,
}

/// Log probabilities of the tokens.
#[derive(Clone, Copy)]
pub(super) enum Scores<'a> {
    Single(&'a [[u8; 4]]),
    Double(&'a [[u8; 8]]),
}

impl Scores<'_> {
    pub(super) fn get(self, id: u32) -> f64 {
        match self {
            Scores::Single(scores) => scores.get(id as usize).map_or(0.0, |score| f32::from_le_bytes(*score).into()),
            Scores::Double(scores) => scores.get(id as usize).map_or(0.0, |score| f64::from_le_bytes(*score)),
        }
    }
}

impl Model<'_> {
    /// Appends the ids of a piece that is not empty.
    pub(super) fn encode(
        &self,
        piece: &str,
        known: &Known,
        unknown: Option<u32>,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) {
        match self {
            Model::Bpe(bpe) => bpe.encode(piece, known, unknown, merger, ids),
            Model::WordPiece(words) => words.encode(piece, known, unknown, ids),
            Model::Unigram(unigram) => unigram.encode(piece, known, unknown, ids),
        }
    }
}

impl Bpe<'_> {
    fn encode(&self, piece: &str, known: &Known, unknown: Option<u32>, merger: &mut Merger, ids: &mut Vec<u32>) {
        if self.ignore_merges
            && piece.len() <= known.vocab.longest()
            && let Some(id) = known.id(piece.as_bytes())
        {
            return ids.push(id);
        }
        merger.clear();
        let mut spelled = Vec::new();
        // Bytes of unknown characters that are not yet a symbol.
        let mut pending = 0;
        let mut rest = piece.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            spelled.clear();
            if at > 0 {
                spelled.extend_from_slice(self.prefix.as_bytes());
            }
            spelled.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            if rest.peek().is_none() {
                spelled.extend_from_slice(self.suffix.as_bytes());
            }
            let length = c.len_utf8() as u32;
            if let Some(id) = known.id(&spelled) {
                if let (Some(unknown), 1..) = (unknown, pending) {
                    merger.push(unknown, core::mem::take(&mut pending));
                }
                merger.push(id, length);
                continue;
            }
            if let Some(bytes) = &self.bytes {
                let token = |byte: &u8| Some(bytes[usize::from(*byte)]).filter(|&id| id != NONE);
                if let Some(tokens) = spelled.iter().map(token).collect::<Option<Vec<_>>>() {
                    tokens.into_iter().for_each(|id| merger.push(id, 1));
                    continue;
                }
            }
            if let Some(unknown) = unknown {
                if pending > 0 && !self.fuse_unknown {
                    merger.push(unknown, core::mem::take(&mut pending));
                }
                pending += length;
            }
        }
        if let (Some(unknown), 1..) = (unknown, pending) {
            merger.push(unknown, pending);
        }
        merger.run(|left, right| self.merges.get(left.id, right.id).filter(|(_, id)| known.may_arise(*id)));
        ids.extend(merger.symbols().map(|symbol| symbol.id));
    }
}

impl WordPiece<'_> {
    fn encode(&self, piece: &str, known: &Known, unknown: Option<u32>, ids: &mut Vec<u32>) {
        let before = ids.len();
        let is_short = piece.chars().nth(self.longest).is_none();
        if !is_short || !self.spell(piece, known, ids) {
            ids.truncate(before);
            ids.extend(unknown);
        }
    }

    /// Appends the longest tokens that spell a piece. Whether there are any; if not, some may have been appended.
    fn spell(&self, piece: &str, known: &Known, ids: &mut Vec<u32>) -> bool {
        let mut spelled = Vec::new();
        let mut start = 0;
        while start < piece.len() {
            let rest = piece.get(start..).unwrap_or_default();
            let prefix = if start > 0 { self.prefix } else { "" };
            spelled.clear();
            spelled.extend_from_slice(prefix.as_bytes());
            spelled.extend_from_slice(rest.as_bytes());
            let longest = rest.floor_char_boundary(known.vocab.longest().saturating_sub(prefix.len()));
            let lengths = (1..=longest).rev().filter(|&length| rest.is_char_boundary(length));
            let token = |length: usize| known.id(spelled.get(..prefix.len() + length)?).map(|id| (length, id));
            let Some((length, id)) = lengths.into_iter().find_map(token) else { return false };
            ids.push(id);
            start += length;
        }
        true
    }
}

impl Unigram<'_> {
    fn encode(&self, piece: &str, known: &Known, unknown: Option<u32>, ids: &mut Vec<u32>) {
        let bytes = piece.as_bytes();
        // The best spelling of the text up to each byte: its score, its last token, and where that begins.
        let mut best: Vec<Option<(f64, Option<u32>, usize)>> = Vec::new();
        best.resize(bytes.len() + 1, None);
        for (at, c) in piece.char_indices() {
            let score = best.get(at).copied().flatten().map_or(0.0, |best| best.0);
            let mut has_own = false;
            let mut offer = |end: usize, added: f64, id: Option<u32>| {
                if let Some(champion) = best.get_mut(end)
                    && champion.is_none_or(|champion| added + score > champion.0)
                {
                    *champion = Some((added + score, id, at));
                }
            };
            let (mut length, mut prefix) = (0, Prefixes::EMPTY);
            for next in piece.get(at..).unwrap_or_default().chars() {
                length += next.len_utf8();
                prefix = Prefixes::extended(prefix, next);
                if length > known.vocab.longest() || !self.prefixes.may_contain(prefix) {
                    break;
                }
                let Some(id) = bytes.get(at..at + length).and_then(|token| known.id(token)) else { continue };
                has_own |= length == c.len_utf8();
                offer(at + length, self.scores.get(id), Some(id));
            }
            if !has_own {
                offer(at + c.len_utf8(), self.unknown_score, unknown);
            }
        }
        let mut parts = Vec::new();
        let mut end = bytes.len();
        while end > 0
            && let Some(Some((_, id, at))) = best.get(end).copied()
        {
            // Unknown characters in a row are one.
            match parts.last_mut().filter(|(_, _, last)| id == unknown && *last == unknown) {
                Some((start, _, _)) => *start = at,
                None => parts.push((at, end, id)),
            }
            end = at;
        }
        for (start, end, id) in parts.into_iter().rev() {
            let token = bytes.get(start..end).unwrap_or_default();
            let Some(found) = id.filter(|id| Some(*id) != unknown).or_else(|| known.id(token)) else {
                let byte =
                    |byte: &u8| self.bytes.as_ref().map(|tokens| tokens[usize::from(*byte)]).filter(|&id| id != NONE);
                match token.iter().map(byte).collect::<Option<Vec<_>>>() {
                    Some(tokens) => ids.extend(tokens),
                    None => ids.extend(unknown),
                }
                continue;
            };
            ids.push(found);
        }
    }
}
