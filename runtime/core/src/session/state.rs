//! The state of a sequence as bytes: a conversation is put aside and taken up again, and nothing is computed twice.
//!
//! A state is little-endian: [`MAGIC`]; a fingerprint of the model; a hash of all that follows the header; the type of the cache; the
//! number of tokens, each in 8 bytes. Then the tokens' ids, 4 bytes each, and for each layer and head the arrays of
//! [`smidgen_quant::attention::Kv`]: whole panels of keys, with zeros for keys that are none, and the values of the tokens.
//!
//! It can be read by any session of the same model, from a plain or a packed file, whose context is long enough.

use super::Session;
use crate::memory::try_with_capacity;
use crate::{KvType, RunError, StateError};
use alloc::vec::Vec;

/// The first bytes of a state, with the version of its form.
const MAGIC: [u8; 8] = *b"smidgen1";
/// Bytes before the tokens.
const HEADER: usize = 40;

impl Session<'_, '_> {
    /// Bytes of the state of a sequence.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn state_bytes(&self, sequence: usize) -> Result<usize, RunError> {
        let sequences = self.caches.len();
        let cache = self.caches.get(sequence).ok_or(RunError::SequenceRange { sequence, sequences })?;
        let tokens = self.len(sequence);
        Ok(HEADER + 4 * tokens + cache.state_bytes(tokens))
    }

    /// Writes the state of a sequence, whose tokens the caller knows, to the first bytes of `out`, and says how many.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`]; [`StateError::Tokens`] unless as many tokens are given as the sequence holds; [`StateError::Length`] if
    /// `out` is too short.
    pub fn save(&self, sequence: usize, tokens: &[u32], out: &mut [u8]) -> Result<usize, StateError> {
        let (expected, found) = (self.len(sequence), tokens.len());
        let bytes = self.state_bytes(sequence)?;
        if expected != found {
            return Err(StateError::Tokens { expected, found });
        }
        let found = out.len();
        let out = out.get_mut(..bytes).ok_or(StateError::Length { expected: bytes, found })?;
        let (header, body) = out.split_at_mut(HEADER);
        let (ids, cache) = body.split_at_mut(4 * tokens.len());
        ids.chunks_exact_mut(4).zip(tokens).for_each(|(bytes, id)| bytes.copy_from_slice(&id.to_le_bytes()));
        self.caches[sequence].save(tokens.len(), cache);
        let fields = [
            u64::from_le_bytes(MAGIC),
            self.model.fingerprint(),
            hash(HASH, body),
            kind_number(self.options.kv),
            tokens.len() as u64,
        ];
        header.chunks_exact_mut(8).zip(fields).for_each(|(bytes, field)| bytes.copy_from_slice(&field.to_le_bytes()));
        Ok(bytes)
    }

    /// Replaces what a sequence holds by a state, and returns its tokens.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`], [`RunError::ContextFull`], [`RunError::OutOfMemory`]; [`StateError::Foreign`] for the state of another model or
    /// of another type of cache; [`StateError::Length`] and [`StateError::Damaged`] for what is no state. After an error the sequence holds
    /// what it held before.
    pub fn restore(&mut self, sequence: usize, state: &[u8]) -> Result<Vec<u32>, StateError> {
        let sequences = self.caches.len();
        let cache = self.caches.get_mut(sequence).ok_or(RunError::SequenceRange { sequence, sequences })?;
        let short = StateError::Length { expected: HEADER, found: state.len() };
        let (header, body) = state.split_at_checked(HEADER).ok_or(short)?;
        let mut fields = header.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut field = || fields.next().unwrap_or_default();
        if field() != u64::from_le_bytes(MAGIC) {
            return Err(StateError::Damaged);
        }
        if field() != self.model.fingerprint() {
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
        let expected = HEADER + 4 * count + cache.state_bytes(count);
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        let (ids, arrays) = body.split_at(4 * count);
        let mut tokens = try_with_capacity(count)?;
        tokens.extend(ids.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
        let vocabulary = self.model.config.vocabulary;
        if hash(HASH, body) != sum || tokens.iter().any(|token: &u32| *token as usize >= vocabulary) {
            return Err(StateError::Damaged);
        }
        // The law of attention relies on caches in which all is finite.
        cache.check(count, arrays)?;
        cache.restore(count, arrays);
        self.lengths[sequence] = count;
        Ok(tokens)
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
