//! Token texts and types, and the way back from a text to its id.

use super::Error;
use alloc::vec::Vec;

/// No token.
pub(super) const NONE: u32 = u32::MAX;

/// Type of a token, by `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No or an unknown type: never found in text, decodes to nothing.
    Undefined,
    Normal,
    Unknown,
    /// Stands for an event, such as the end of a turn: found in text only on demand.
    Control,
    /// Found in every text before anything else is.
    UserDefined,
    Unused,
    /// One byte, spelled `<0x0A>`.
    Byte,
}

impl Kind {
    pub(super) fn from_file(value: i32) -> Kind {
        match value {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => Kind::Undefined,
        }
    }
}

/// The tokens of a file, their texts borrowed from it.
pub(super) struct Vocab<'a> {
    /// UTF-8, as the file has been checked for.
    tokens: Vec<&'a [u8]>,
    kinds: Vec<Kind>,
    index: Index,
    longest: usize,
}

impl<'a> Vocab<'a> {
    /// Takes the tokens of a string array and their kinds, both in order of the ids. Of equal texts the first is found; an
    /// empty text never is.
    pub(super) fn new(texts: Texts<'a>, kinds: Vec<Kind>) -> Result<Vocab<'a>, Error> {
        let mut tokens = try_with_capacity(kinds.len())?;
        tokens.extend(texts.take(kinds.len()));
        let index = Index::new(tokens.len())?;
        let mut vocab = Vocab { tokens, kinds, index, longest: 0 };
        for (id, text) in vocab.tokens.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            vocab.longest = vocab.longest.max(text.len());
            let key = Key::new(text);
            vocab.index.insert(key.hash(), id as u32, |other| names(&vocab.tokens, other, key));
        }
        Ok(vocab)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Length of the longest text in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn text(&self, id: u32) -> Option<&'a str> {
        self.bytes(id).and_then(|bytes| core::str::from_utf8(bytes).ok())
    }

    /// The UTF-8 of a token's text.
    pub(super) fn bytes(&self, id: u32) -> Option<&'a [u8]> {
        self.tokens.get(id as usize).copied()
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn set_kind(&mut self, id: u32, kind: Kind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind;
        }
    }

    /// The token spelled `text`, of any type.
    pub(super) fn id(&self, text: &[u8]) -> Option<u32> {
        self.find(Key::new(text))
    }

    /// The token spelled as a key's text, of any type.
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        self.index.find(key.hash(), |id| names(&self.tokens, id, key))
    }

    /// The token spelled `text`, unless its spelling only names it: a control token must not arise from plain text.
    pub(super) fn plain_id(&self, text: &[u8]) -> Option<u32> {
        self.id(text).filter(|&id| matches!(self.kind(id), Some(Kind::Normal | Kind::UserDefined | Kind::Unused)))
    }
}

fn names(tokens: &[&[u8]], id: u32, key: Key) -> bool {
    tokens.get(id as usize).is_some_and(|token| key.is(token))
}

/// The texts of a string array, by its bytes in the file: the length (u64) before each.
pub(super) struct Texts<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(len)).ok()?)?;
        self.0 = rest;
        Some(text)
    }
}

/// The byte that a token spelled like `<0x0A>` stands for.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    match text {
        [b'<', b'0', b'x', high, low, b'>'] => {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            Some(digit(*high)? << 4 | digit(*low)?)
        }
        _ => None,
    }
}

/// The character that byte-level BPE writes for a byte: printable Latin-1 for itself, U+0100 and up for the rest.
pub fn char_of_byte(byte: u8) -> char {
    let point = match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x121 + u32::from(byte - 0x7F),
        0xAD => 0x143,
        _ => u32::from(byte),
    };
    char::from_u32(point).unwrap_or('\u{FFFD}')
}

/// The inverse of [`char_of_byte`].
pub(super) fn byte_of_char(c: char) -> Option<u8> {
    let point = u32::from(c);
    let byte = match point {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => point,
        0x100..=0x120 => point - 0x100,
        0x121..=0x142 => point - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// An empty vector with room for `len`.
pub(super) fn try_with_capacity<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    let refused = Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    list.try_reserve_exact(len).map_err(|_| refused)?;
    Ok(list)
}

/// Most entries of an [`Index`].
pub(super) const MAX_ENTRIES: usize = (1 << 31) - 1;

/// An open-addressing hash table of numbers below its capacity. What they stand for is kept by the caller.
pub(super) struct Index {
    /// 0 is free; else the number plus one, and above it as many bits of the hash as fit.
    slots: Vec<u32>,
    bits: u32,
}

impl Index {
    /// For at most `capacity` (≤ [`MAX_ENTRIES`]) numbers, each below it.
    pub(super) fn new(capacity: usize) -> Result<Index, Error> {
        let bits = usize::BITS - capacity.leading_zeros();
        let len = (capacity * 2).next_power_of_two();
        let mut slots = try_with_capacity(len)?;
        // Zeros are written, since a slot is read before it is: the system's page of zeros would be mapped first and replaced then, of which it tells all
        // processors that run a thread of this process.
        slots.resize(len, 0);
        Ok(Index { slots, bits })
    }

    fn tag(&self, hash: u64) -> u32 {
        ((hash >> 32) as u32) << self.bits
    }

    /// Adds `number` unless one that `equals` it is there.
    pub(super) fn insert(&mut self, hash: u64, number: u32, equals: impl Fn(u32) -> bool) {
        let tag = self.tag(hash);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        for _ in 0..=mask {
            let Some(slot) = self.slots.get_mut(at) else { return };
            if *slot == 0 {
                *slot = tag | (number + 1);
                return;
            }
            let known = *slot ^ tag;
            if known >> self.bits == 0 && equals(known - 1) {
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The number with this hash that `equals` accepts.
    pub(super) fn find(&self, hash: u64, equals: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = self.tag(hash);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        for _ in 0..=mask {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            let known = slot ^ tag;
            if known >> self.bits == 0 && equals(known - 1) {
                return Some(known - 1);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

/// A text to be found, and its [`ends`], which are asked for more than once.
#[derive(Clone, Copy)]
pub(super) struct Key<'t> {
    text: &'t [u8],
    ends: (u64, u64),
}

impl<'t> Key<'t> {
    pub(super) fn new(text: &'t [u8]) -> Key<'t> {
        Key { text, ends: ends(text) }
    }

    /// Equality, quick for short texts.
    pub(super) fn is(&self, other: &[u8]) -> bool {
        self.text.len() == other.len() && self.ends == ends(other) && (other.len() <= 16 || self.text == other)
    }

    /// A fast hash of short texts. Not meant to resist an adversary: a file made to collide is slow to open, no worse.
    fn hash(&self) -> u64 {
        let (text, (first, last)) = (self.text, self.ends);
        let state = (first ^ text.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ last.rotate_left(32);
        if text.len() <= 16 {
            return mix(state);
        }
        text.as_chunks().0.iter().fold(mix(state), |state, word| mix(state ^ u64::from_le_bytes(*word)))
    }
}

/// Two words that, with its length, hold all of a text of 16 bytes or fewer, and the ends of a longer one.
fn ends(text: &[u8]) -> (u64, u64) {
    if let (Some(&first), Some(&last)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from_le_bytes(first), u64::from_le_bytes(last))
    } else if let (Some(&first), Some(&last)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from(u32::from_le_bytes(first)) | u64::from(u32::from_le_bytes(last)) << 32, 0)
    } else if let (Some(&first), Some(&middle), Some(&last)) = (text.first(), text.get(text.len() / 2), text.last()) {
        (u64::from_le_bytes([first, middle, last, 0, 0, 0, 0, 0]), 0)
    } else {
        (0, 0)
    }
}

/// Spreads every bit of `n` over the low and the high half.
pub(super) fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    n ^ n >> 32
}
