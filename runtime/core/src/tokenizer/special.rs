//! Finding special tokens in a text.

use alloc::vec::Vec;

use super::Error;
use super::vocab::{Kind, Vocab, try_with_capacity};

const USER: u8 = 1;
const CONTROL: u8 = 2;

/// The tokens that are looked for before a text is split.
pub(super) struct Specials {
    /// Sorted by text.
    ids: Vec<u32>,
    /// Which kinds of special token begin with this byte.
    first: [u8; 256],
}

impl Specials {
    /// Those of the special tokens that are `wanted`.
    pub(super) fn new(vocab: &Vocab<'_>, wanted: impl Fn(u32) -> bool) -> Result<Specials, Error> {
        let mut first = [0; 256];
        let all = || (0..vocab.len() as u32).filter(|&id| class(vocab, id).is_some() && wanted(id));
        let mut ids = try_with_capacity(all().count())?;
        for id in all() {
            let Some(kind) = class(vocab, id) else { continue };
            let Some(&byte) = vocab.bytes(id).and_then(|text| text.first()) else { continue };
            first[usize::from(byte)] |= kind;
            ids.push(id);
        }
        ids.sort_unstable_by_key(|&id| (vocab.bytes(id), id));
        Ok(Specials { ids, first })
    }

    /// Whether a token is one of them.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The leftmost special token in `text`, the longest of those that begin there: where it is, and its id. Control and
    /// unknown tokens count only with `control`.
    pub(super) fn find(&self, vocab: &Vocab<'_>, text: &str, control: bool) -> Option<(usize, u32)> {
        let wanted = if control { USER | CONTROL } else { USER };
        let bytes = text.as_bytes();
        bytes
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| self.first[usize::from(byte)] & wanted != 0)
            .find_map(|(at, _)| bytes.get(at..).and_then(|rest| self.longest(vocab, rest, wanted)).map(|id| (at, id)))
    }

    fn longest(&self, vocab: &Vocab<'_>, bytes: &[u8], wanted: u8) -> Option<u32> {
        let mut candidates = self.ids.as_slice();
        let mut best = None;
        for (depth, byte) in bytes.iter().enumerate() {
            // Candidates agree with the text so far; those that end sooner sort first.
            let at = |id: &u32| vocab.bytes(*id).and_then(|text| text.get(depth));
            let from = candidates.partition_point(|id| at(id) < Some(byte));
            let to = candidates.partition_point(|id| at(id) <= Some(byte));
            candidates = candidates.get(from..to).unwrap_or_default();
            let Some(&id) = candidates.first() else { break };
            let complete = vocab.bytes(id).is_some_and(|text| text.len() == depth + 1);
            if complete && class(vocab, id).is_some_and(|kind| kind & wanted != 0) {
                best = Some(id);
            }
        }
        best
    }
}

fn class(vocab: &Vocab<'_>, id: u32) -> Option<u8> {
    match vocab.kind(id) {
        Some(Kind::UserDefined) => Some(USER),
        Some(Kind::Control | Kind::Unknown) => Some(CONTROL),
        _ => None,
    }
}
