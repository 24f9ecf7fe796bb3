//! The state of a sequence as bytes: a conversation is put aside and taken up again, and nothing is computed twice.
//!
//! A state is little-endian: [`MAGIC`]; a fingerprint of the model; a hash of all that follows the header; the type of the cache; the
//! number of tokens, each in 8 bytes. Then what the keys were computed from: tokens' ids, 4 bytes each; or, if there are embeddings among them, 8 bytes
//! each, of which the highest bit tells an embedding's digest from an id. Then for each layer and head the arrays of
//! [`smidgen_quant::attention::Kv`]: whole panels of keys, with zeros for keys that are none, and the values of the tokens.
//!
//! It can be read by any session of the same model, from a plain or a packed file, whose context is long enough; where the rotation depends on
//! the context (LongRoPE), by one that turns as the session did which wrote it.

use super::Session;
use super::entry::Piece;
use crate::{KvType, RunError, StateError};
use smidgen_quant::attention::KEYS;

/// The first bytes of a state, with the version of its form: of tokens, and of tokens and embeddings.
const MAGIC: [[u8; 8]; 2] = [*b"smidgen1", *b"smidgen2"];
/// Bytes before the tokens.
const HEADER: usize = 40;

impl Session<'_, '_> {
    /// Bytes of the state of a sequence.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn state_bytes(&self, sequence: usize) -> Result<usize, RunError> {
        let held = &self.sequence(sequence)?.held;
        Ok(HEADER + piece_bytes(form_of(held)) * held.len() + self.caches[sequence].state_bytes(held.len()))
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
        let form = form_of(held);
        let (pieces, cache) = body.split_at_mut(piece_bytes(form) * held.len());
        for (bytes, piece) in pieces.chunks_exact_mut(piece_bytes(form)).zip(held) {
            bytes.copy_from_slice(&piece.0.to_le_bytes()[..piece_bytes(form)]);
        }
        self.caches[sequence].save(held.len(), cache);
        let fields = [
            u64::from_le_bytes(MAGIC[form]),
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
    /// [`RunError::SequenceRange`]; [`StateError::Foreign`] for the state of another model or of another type of cache; [`StateError::Length`] and
    /// [`StateError::Damaged`] for what is no state, or not as it was saved, which is always found where one byte or the length differs;
    /// [`RunError::ContextFull`] for a whole state of more tokens than the context. After an error the sequence holds what it held before.
    pub fn restore(&mut self, sequence: usize, state: &[u8]) -> Result<(), StateError> {
        self.sequence(sequence)?;
        let cache = &mut self.caches[sequence];
        let short = StateError::Length { expected: HEADER, found: state.len() };
        let (header, body) = state.split_at_checked(HEADER).ok_or(short)?;
        let mut fields = header.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut field = || fields.next().unwrap_or_default();
        let magic = field();
        let form = MAGIC.iter().position(|known| u64::from_le_bytes(*known) == magic).ok_or(StateError::Damaged)?;
        if field() != self.model.fingerprint(self.options.context) {
            return Err(StateError::Foreign);
        }
        let sum = field();
        if field() != kind_number(self.options.kv) {
            return Err(StateError::Foreign);
        }
        // Each token has bytes of its own, so that the number is bounded before it is reckoned with.
        let most = body.len() / (piece_bytes(form) + cache.state_bytes(KEYS) / KEYS);
        let most = most.max(self.options.context);
        let count = usize::try_from(field()).ok().filter(|count| *count <= most).ok_or(StateError::Damaged)?;
        let expected = HEADER + piece_bytes(form) * count + cache.state_bytes(count);
        if state.len() != expected {
            return Err(StateError::Length { expected, found: state.len() });
        }
        let (pieces, arrays) = body.split_at(piece_bytes(form) * count);
        let pieces = || {
            pieces.chunks_exact(piece_bytes(form)).map(|bytes| {
                let mut word = [0; size_of::<Piece>()];
                word[..bytes.len()].copy_from_slice(bytes);
                Piece(u64::from_le_bytes(word))
            })
        };
        let vocabulary = self.model.vocabulary();
        // One state has one form.
        let is_wide = pieces().any(|piece| piece.token().is_none());
        if hash(HASH, body) != sum
            || is_wide != (form == 1)
            || pieces().any(|piece| piece.0 >> 63 == 0 && piece.0 >= vocabulary as u64)
        {
            return Err(StateError::Damaged);
        }
        // The law of attention relies on caches in which all is finite.
        cache.check(count, arrays)?;
        // Last, as only what is a state can be too long.
        if count > self.options.context {
            return Err(RunError::ContextFull { context: self.options.context, used: 0, tokens: count }.into());
        }
        cache.restore(count, arrays);
        let held = &mut self.sequences[sequence].held;
        held.clear();
        held.extend(pieces());
        Ok(())
    }
}

/// The form of the state of what is held.
fn form_of(held: &[Piece]) -> usize {
    usize::from(held.iter().any(|piece| piece.token().is_none()))
}

/// Bytes of what a key was computed from.
fn piece_bytes(form: usize) -> usize {
    [size_of::<u32>(), size_of::<Piece>()][form]
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
