//! A running model: caches, scratch memory, and the calls that advance it.

pub(crate) mod state;

use crate::exec::{Exec, Precision};
use crate::kv::{Cache, KvType, Shape};
use crate::memory::try_with_capacity;
use crate::models::llama::{Item, Llama, Scratch};
use crate::{MAX_CONTEXT, Model, RunError};
use alloc::vec::Vec;
use smidgen_targets::{KernelSet, Pool};

/// The extents of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens that each sequence can hold.
    pub context: usize,
    /// Tokens that pass through the model at once, at most. A pool of few threads is given fewer, so that what they compute stays in their caches.
    pub batch: usize,
    /// Number of sequences, numbered from 0, each with its own cache.
    pub sequences: usize,
    /// Type of the caches.
    pub kv: KvType,
    /// How products with weights are computed.
    pub precision: Precision,
}

impl Options {
    /// One sequence of `context` tokens, batches of 256, an f16 cache, products by the law.
    pub fn new(context: usize) -> Options {
        Options { context, batch: 256, sequences: 1, kv: KvType::F16, precision: Precision::Law }
    }

    /// Bytes that a session with these options takes beside the weights.
    ///
    /// # Errors
    /// [`RunError::ContextTooLarge`] if the number overflows or the context is longer than [`MAX_CONTEXT`]; [`RunError::OptionRange`] for zeros;
    /// [`RunError::Purpose`] for a model that does not write text.
    pub fn bytes_needed(&self, model: &Model) -> Result<usize, RunError> {
        let model = model.generator()?;
        let shape = self.shape(model)?;
        let (batch, rows) = self.extents(model);
        let bytes = || {
            let caches = shape.bytes(self.kv)?.checked_mul(self.sequences)?;
            let items = batch.checked_mul(size_of::<Item>())?;
            caches.checked_add(items)?.checked_add(Scratch::bytes(model, batch, rows)?)
        };
        bytes().ok_or(RunError::ContextTooLarge { context: self.context })
    }

    fn shape(&self, model: &Llama) -> Result<Shape, RunError> {
        let options = [("context", self.context), ("batch", self.batch), ("sequences", self.sequences)];
        if let Some((option, _)) = options.into_iter().find(|(_, value)| *value == 0) {
            return Err(RunError::OptionRange { option, value: 0.0 });
        }
        let config = &model.config;
        let shape = Shape::new(config.layers, config.kv_heads, config.head_size, self.context);
        shape.filter(|_| self.context <= MAX_CONTEXT).ok_or(RunError::ContextTooLarge { context: self.context })
    }

    /// Tokens in a pass, and rows of logits at once.
    fn extents(&self, model: &Llama) -> (usize, usize) {
        let batch = self.batch.min(self.context).max(self.sequences);
        let rows = (LOGITS / model.config.vocabulary).clamp(1, 32).min(batch);
        (batch, rows.max(self.sequences))
    }
}

/// Logits that are computed at once for all tokens of a text, about.
const LOGITS: usize = 1 << 20;

/// A running model.
///
/// Everything is allocated when the session is made; the system gives memory as it is first used. The same tokens give the same bits
/// however they are cut into calls and batches, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: &'m Llama<'a>,
    options: Options,
    kernels: &'static KernelSet,
    caches: Vec<Cache>,
    /// Tokens in each cache.
    lengths: Vec<usize>,
    items: Vec<Item>,
    scratch: Scratch,
    batch: usize,
    rows: usize,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates caches and scratch memory.
    ///
    /// # Errors
    /// Those of [`Options::bytes_needed`], [`RunError::CacheHeadSize`], [`RunError::OutOfMemory`].
    pub fn new(
        model: &'m Model<'a>,
        options: &Options,
        kernels: &'static KernelSet,
    ) -> Result<Session<'m, 'a>, RunError> {
        options.bytes_needed(model)?;
        let model = model.generator()?;
        let shape = options.shape(model)?;
        let (batch, rows) = options.extents(model);
        let mut caches = try_with_capacity(options.sequences)?;
        let mut lengths = try_with_capacity(options.sequences)?;
        for _ in 0..options.sequences {
            caches.push(Cache::new(shape, options.kv)?);
            lengths.push(0);
        }
        let scratch = Scratch::new(model, batch, rows)?;
        Ok(Session {
            model,
            options: *options,
            kernels,
            caches,
            lengths,
            items: try_with_capacity(batch)?,
            scratch,
            batch,
            rows,
        })
    }

    /// The options that the session was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Number of tokens that the model knows, and of logits for each token.
    pub fn vocabulary(&self) -> usize {
        self.model.config.vocabulary
    }

    /// Tokens that a sequence holds; 0 for one that does not exist.
    pub fn len(&self, sequence: usize) -> usize {
        self.lengths.get(sequence).copied().unwrap_or(0)
    }

    /// Whether a sequence holds no tokens.
    pub fn is_empty(&self, sequence: usize) -> bool {
        self.len(sequence) == 0
    }

    /// Forgets all but the first `len` tokens of a sequence; what they were is for the caller to know.
    pub fn truncate(&mut self, sequence: usize, len: usize) {
        if let Some(length) = self.lengths.get_mut(sequence) {
            *length = len.min(*length);
        }
    }

    /// Makes sequence `to` equal to sequence `from`. They hold the same tokens before position `first` already.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn copy(&mut self, from: usize, to: usize, first: usize) -> Result<(), RunError> {
        let sequences = self.caches.len();
        let outside = [from, to].into_iter().find(|sequence| *sequence >= sequences);
        if let Some(sequence) = outside {
            return Err(RunError::SequenceRange { sequence, sequences });
        }
        if from == to {
            return Ok(());
        }
        let (low, high) = self.caches.split_at_mut(from.max(to));
        let (source, target) = if from < to { (&low[from], &mut high[0]) } else { (&high[0], &mut low[to]) };
        let first = first.min(self.lengths[from]).min(self.lengths[to]);
        target.copy(source, first, self.lengths[from]);
        self.lengths[to] = self.lengths[from];
        Ok(())
    }

    /// Appends tokens to a sequence and returns the logits after the last one.
    ///
    /// # Errors
    /// [`RunError::NoTokens`], [`RunError::TokenRange`], [`RunError::SequenceRange`], [`RunError::ContextFull`] and [`RunError::NotFinite`]. After an
    /// error the sequence holds what it held before.
    pub fn forward(&mut self, sequence: usize, tokens: &[u32], pool: &dyn Pool) -> Result<&[f32], RunError> {
        let before = self.check(sequence, tokens)?;
        let exec = Exec::new(self.kernels, pool, self.options.precision);
        let mut last = 0;
        for part in tokens.chunks(exec.pass_len(tokens.len(), self.batch)) {
            self.pass(&exec, part.iter().map(|token| (sequence, *token)));
            last = part.len() - 1;
        }
        self.scratch.logits(self.model, &exec, last, 1);
        self.finish(&exec, |lengths| lengths[sequence] = before)?;
        Ok(self.scratch.last_logits(self.model, 1))
    }

    /// As [`forward`](Self::forward), and calls `each` with the number of every token and the logits after it, in order.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward). `each` may have been called before [`RunError::NotFinite`] is found.
    pub fn forward_all(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        pool: &dyn Pool,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        let before = self.check(sequence, tokens)?;
        let exec = Exec::new(self.kernels, pool, self.options.precision);
        let vocabulary = self.model.config.vocabulary;
        let length = exec.pass_len(tokens.len(), self.batch);
        for (number, part) in tokens.chunks(length).enumerate() {
            self.pass(&exec, part.iter().map(|token| (sequence, *token)));
            for first in (0..part.len()).step_by(self.rows) {
                let rows = self.rows.min(part.len() - first);
                self.scratch.logits(self.model, &exec, first, rows);
                self.finish(&exec, |lengths| lengths[sequence] = before)?;
                let logits = self.scratch.last_logits(self.model, rows).chunks_exact(vocabulary);
                for (row, logits) in logits.enumerate() {
                    each(number * length + first + row, logits);
                }
            }
        }
        Ok(())
    }

    /// Appends one token to each of some sequences, at most [`Options::sequences`] of them, and returns the logits of each, one after
    /// another.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward); a sequence may not be named twice.
    pub fn forward_each(&mut self, tokens: &[(usize, u32)], pool: &dyn Pool) -> Result<&[f32], RunError> {
        if tokens.is_empty() {
            return Err(RunError::NoTokens);
        }
        for (i, (sequence, token)) in tokens.iter().enumerate() {
            self.check(*sequence, &[*token])?;
            if tokens[..i].iter().any(|(other, _)| other == sequence) {
                return Err(RunError::SequenceRange { sequence: *sequence, sequences: self.caches.len() });
            }
        }
        let exec = Exec::new(self.kernels, pool, self.options.precision);
        self.pass(&exec, tokens.iter().copied());
        self.scratch.logits(self.model, &exec, 0, tokens.len());
        self.finish(&exec, |lengths| tokens.iter().for_each(|(sequence, _)| lengths[*sequence] -= 1))?;
        Ok(self.scratch.last_logits(self.model, tokens.len()))
    }

    /// Whether the tokens can be appended; the sequence's length.
    fn check(&self, sequence: usize, tokens: &[u32]) -> Result<usize, RunError> {
        let vocabulary = self.model.config.vocabulary;
        let sequences = self.lengths.len();
        let used = *self.lengths.get(sequence).ok_or(RunError::SequenceRange { sequence, sequences })?;
        if tokens.is_empty() {
            return Err(RunError::NoTokens);
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(RunError::TokenRange { token: *token, vocabulary });
        }
        if tokens.len() > self.options.context - used {
            return Err(RunError::ContextFull { context: self.options.context, used, tokens: tokens.len() });
        }
        Ok(used)
    }

    fn pass(&mut self, exec: &Exec, tokens: impl Iterator<Item = (usize, u32)>) {
        self.items.clear();
        for (sequence, token) in tokens {
            self.items.push(Item { token, sequence, position: self.lengths[sequence] });
            self.lengths[sequence] += 1;
        }
        if exec.is_finite() {
            self.scratch.pass(self.model, exec, &mut self.caches, &self.items);
        }
    }

    /// An error, and the lengths as before, if something was not finite.
    fn finish(&mut self, exec: &Exec, undo: impl FnOnce(&mut [usize])) -> Result<(), RunError> {
        if exec.is_finite() {
            return Ok(());
        }
        undo(&mut self.lengths);
        Err(RunError::NotFinite { tensor: self.model.first_not_finite() })
    }
}
