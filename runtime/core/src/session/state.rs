//! The state of a sequence as bytes: a conversation is put aside and taken up again, and nothing is computed twice.
//!
//! A state is little-endian: [`MAGIC`]; a fingerprint of the model; a hash of all that follows the header; the type of the cache; the
//! number of tokens, each in 8 bytes. Then what the keys were computed from, 8 bytes each: a token's id, or an embedding's digest with the highest
//! bit set; and for each layer and head the arrays of [`smidgen_quant::attention::Kv`]: whole panels of keys, with zeros for keys that are none, and
//! the values of the tokens.
//!
//! It can be read by any session of the same model, from a plain or a packed file, whose context is long enough; where the rotation depends on
//! the context (LongRoPE), by one that turns as the session did which wrote it.

use super::Session;
use super::entry::Piece;
use crate::{KvType, RunError, StateError};

/// The first bytes of a state, with the version of its form.
const MAGIC: [u8; 8] = *b"smidgen2";
/// Bytes before the tokens.
const HEADER: usize = 40;

impl Session<'_, '_> {
    /// Bytes of the state of a sequence.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn state_bytes(&self, sequence: usize) -> Result<usize, RunError> {
        let tokens = self.sequence(sequence)?.held.len();
        Ok(HEADER + size_of::<Piece>() * tokens + self.caches[sequence].state_bytes(tokens))
    }

    /// Writes the state of a sequence to the first bytes of `out`, and says how many.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`]; [`StateError::Length`] if `out` is too short.
    pub fn save(&self, sequence: usize, out: &mut [u8]) -> Result<usize, StateError> {
        let bytes = self.state_bytes(sequence)?;
        let held = &self.sequences[sequence].held;
        let found = out.len();
        let out = out.get_mut(..bytes).ok_or(StateError::Length { expected: bytes, found })?;
        let (header, body) = out.split_at_mut(HEADER);
        let (pieces, cache) = body.split_at_mut(size_of::<Piece>() * held.len());
        pieces.as_chunks_mut().0.iter_mut().zip(held).for_each(|(bytes, piece)| *bytes = piece.0.to_le_bytes());
        self.caches[sequence].save(held.len(), cache);
        let fields = [
            u64::from_le_bytes(MAGIC),
            self.model.fingerprint(self.options.context),
            hash(HASH, body),
            kind_number(self.options.kv),
            held.len() as u64,
        ];
        header.as_chunks_mut().0.iter_mut().zip(fields).for_each(|(bytes, field)| *bytes = field.to_le_bytes());
        Ok(bytes)
    }

    /// Replaces what a sequence holds by a state.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`], [`RunError::ContextFull`]; [`StateError::Foreign`] for the state of another model or of another type of cache;
    /// [`StateError::Length`] and [`StateError::Damaged`] for what is no state. After an error the sequence holds what it held before.
    pub fn restore(&mut self, sequence: usize, state: &[u8]) -> Result<(), StateError> {
        self.sequence(sequence)?;
        let cache = &mut self.caches[sequence];
        let short = StateError::Length { expected: HEADER, found: state.len() };
        let (header, body) = state.split_at_checked(HEADER).ok_or(short)?;
        let mut fields = header.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut field = || fields.next().unwrap_or_default();
        if field() != u64::from_le_bytes(MAGIC) {
            return Err(StateError::Damaged);
        }
        if field() != self.model.fingerprint(self.options.context) {
            return Err(StateError::Foreign);
        }
        let sum = field();
        if field() != kind_number(self.options.kv) {
            return Err(StateError::Foreign);
        }
        let count = usize::try_from(field()).unwrap_or(usize::MAX);
        if count > self.options.context {
            return Err(RunError::ContextFull { context: self.options.context, used: 0, tokens: count }.into());
        }
        let expected = HEADER + size_of::<Piece>() * count + cache.state_bytes(count);
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        let (pieces, arrays) = body.split_at(size_of::<Piece>() * count);
        let pieces = || pieces.as_chunks().0.iter().map(|bytes| Piece(u64::from_le_bytes(*bytes)));
        let vocabulary = self.model.vocabulary();
        if hash(HASH, body) != sum || pieces().any(|piece| piece.0 >> 63 == 0 && piece.0 >= vocabulary as u64) {
            return Err(StateError::Damaged);
        }
        // The law of attention relies on caches in which all is finite.
        cache.check(count, arrays)?;
        cache.restore(count, arrays);
        let held = &mut self.sequences[sequence].held;
        held.clear();
        held.extend(pieces());
        Ok(())
    }
}

fn kind_number(kind: KvType) -> u64 {
    match kind {
        KvType::F16 => 1,
        KvType::Q8_0 => 2,
        KvType::F32 => 3,
    }
}

/// Where a hash begins.
pub(crate) const HASH: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on with a hash: FNV-1a (Fowler, Noll and Vo) of eight bytes at a time, with a shift that spreads the high bits. It finds damage,
/// not deceit.
pub(crate) fn hash(sum: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(0x0100_0000_01b3);
        sum ^ sum >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}
