//! A running model: caches, scratch memory, and the calls that advance it.

mod entry;
mod run;
pub(crate) mod state;

use crate::blocks::{Item, Layer, Scratch};
use crate::decoder::Decoder;
use crate::exec::Precision;
use crate::kv::{Cache, KvType, Shape};
use crate::memory::{defaults, try_with_capacity, zeroed};
use crate::{MAX_CONTEXT, Model, RunError, TensorName};
use alloc::vec::Vec;
use entry::Piece;
pub use entry::{Entry, Input, Want};
pub use run::Rows;
use smidgen_targets::KernelSet;

/// The extents of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens that each sequence can hold.
    pub context: usize,
    /// Tokens that pass through the model at once, at most. A pool of few threads is given fewer, so that what they compute stays in their caches.
    pub batch: usize,
    /// Number of sequences, numbered from 0, each with its own cache.
    pub sequences: usize,
    /// Rows of results (logits, hidden states) that one call gives, at most; at least one for each sequence.
    pub rows: usize,
    /// Type of the caches.
    pub kv: KvType,
    /// How products with weights are computed.
    pub precision: Precision,
}

impl Options {
    /// One sequence of `context` tokens, batches of 256, an f16 cache, products by the law.
    pub fn new(context: usize) -> Options {
        Options { context, batch: 256, sequences: 1, rows: 1, kv: KvType::F16, precision: Precision::Law }
    }

    /// Bytes that a session with these options takes beside the weights.
    ///
    /// # Errors
    /// [`RunError::ContextTooLarge`] if the number overflows or the context is longer than [`MAX_CONTEXT`]; [`RunError::OptionRange`] for zeros;
    /// [`RunError::Purpose`] for a model that does not write text.
    pub fn bytes_needed(&self, model: &Model) -> Result<usize, RunError> {
        let model = model.decoder()?;
        let shape = self.shape(model)?;
        let (batch, rows) = self.extents(model);
        let bytes = || {
            let held = self.context.checked_mul(size_of::<Piece>())?;
            let caches = shape.bytes(self.kv)?.checked_add(held)?.checked_mul(self.sequences)?;
            let items = batch.checked_mul(size_of::<Item>() + 3 * size_of::<usize>())?;
            let results = rows.checked_mul(model.vocabulary().checked_add(model.width())?)?;
            let scratch = Scratch::bytes(&model.stack(), batch, model.head_formats())?;
            caches.checked_add(items)?.checked_add(results.checked_mul(size_of::<f32>())?)?.checked_add(scratch)
        };
        bytes().ok_or(RunError::ContextTooLarge { context: self.context })
    }

    /// Bytes of the caches among those of [`bytes_needed`](Self::bytes_needed).
    ///
    /// # Errors
    /// Those of [`bytes_needed`](Self::bytes_needed).
    pub fn cache_bytes(&self, model: &Model) -> Result<usize, RunError> {
        let bytes = self.shape(model.decoder()?)?.bytes(self.kv).and_then(|bytes| bytes.checked_mul(self.sequences));
        bytes.ok_or(RunError::ContextTooLarge { context: self.context })
    }

    fn shape(&self, model: &Decoder) -> Result<Shape, RunError> {
        let options =
            [("context", self.context), ("batch", self.batch), ("sequences", self.sequences), ("rows", self.rows)];
        if let Some((option, _)) = options.into_iter().find(|(_, value)| *value == 0) {
            return Err(RunError::OptionRange { option, value: 0.0 });
        }
        let shape = Shape::new(model.layers.iter().map(Layer::slot), self.context);
        shape.filter(|_| self.context <= MAX_CONTEXT).ok_or(RunError::ContextTooLarge { context: self.context })
    }

    /// Tokens in a pass, and rows of results at once.
    fn extents(&self, model: &Decoder) -> (usize, usize) {
        let batch = self.batch.min(self.context).max(self.sequences);
        let rows = (LOGITS / model.vocabulary()).clamp(1, 32).min(batch);
        (batch, rows.max(self.sequences).max(self.rows))
    }
}

/// Logits that are computed at once for all tokens of a text, about.
const LOGITS: usize = 1 << 20;

/// A running model.
///
/// Everything is allocated when the session is made; the system gives memory as it is first used. The same tokens give the same bits
/// however they are cut into calls and batches and whatever other sequences do, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: &'m Decoder<'a>,
    options: Options,
    kernels: &'static KernelSet,
    caches: Vec<Cache>,
    sequences: Vec<Sequence>,
    items: Vec<Item>,
    /// Of each token of a pass: the number of its entry in the call, and that of its row if a result is wanted of it.
    places: Vec<(usize, usize)>,
    /// Numbers in the pass of the tokens whose results are computed together.
    wanted: Vec<usize>,
    /// Rows of the entries before the pass.
    rows_before: usize,
    scratch: Scratch,
    /// `[rows × vocabulary]`
    logits: Vec<f32>,
    /// `[rows × width]`
    hidden: Vec<f32>,
    results: Vec<run::Outcome>,
    /// The first tensor with a weight that is not finite, once a number was not: to find it all weights are read.
    not_finite: Option<Option<TensorName>>,
    batch: usize,
    rows: usize,
}

/// What is known of a sequence beside its cache.
#[derive(Debug, Default)]
struct Sequence {
    /// What its keys were computed from.
    held: Vec<Piece>,
    /// Tokens before the call, and before the pass.
    before: usize,
    pass: usize,
    /// Whether a number was not finite in this call.
    broken: bool,
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
        let model = model.decoder()?;
        let shape = options.shape(model)?;
        let (batch, rows) = options.extents(model);
        let mut caches = try_with_capacity(options.sequences)?;
        let mut sequences = try_with_capacity(options.sequences)?;
        for _ in 0..options.sequences {
            caches.push(Cache::new(&shape, options.kv)?);
            sequences.push(Sequence { held: try_with_capacity(options.context)?, ..Sequence::default() });
        }
        let of = |width: usize| rows.checked_mul(width).ok_or(RunError::OutOfMemory { bytes: usize::MAX });
        Ok(Session {
            model,
            options: *options,
            kernels,
            caches,
            sequences,
            items: defaults(batch)?,
            places: defaults(batch)?,
            wanted: zeroed(batch)?,
            rows_before: 0,
            scratch: Scratch::new(&model.stack(), batch, model.head_formats())?,
            logits: zeroed(of(model.vocabulary())?)?,
            hidden: zeroed(of(model.width())?)?,
            results: try_with_capacity(rows)?,
            not_finite: None,
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
        self.model.vocabulary()
    }

    /// Tokens that a sequence holds; 0 for one that does not exist.
    pub fn len(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, |sequence| sequence.held.len())
    }

    /// Whether a sequence holds no tokens.
    pub fn is_empty(&self, sequence: usize) -> bool {
        self.len(sequence) == 0
    }

    /// The tokens that a sequence holds, none in the place of an embedding.
    pub fn tokens(&self, sequence: usize) -> impl ExactSizeIterator<Item = Option<u32>> {
        let held = self.sequences.get(sequence).map_or(&[][..], |sequence| &sequence.held);
        held.iter().map(|piece| piece.token())
    }

    /// Keeps what a sequence holds of the beginning of a prompt and forgets the rest. Returns how many tokens of the prompt it holds, which are not all:
    /// the last has to be run, for its logits. What is to be run next are the others.
    pub fn resume(&mut self, sequence: usize, prompt: &[u32]) -> usize {
        let Some(Sequence { held, .. }) = self.sequences.get_mut(sequence) else { return 0 };
        let most = prompt.len().saturating_sub(1);
        let same = held.iter().zip(&prompt[..most]).take_while(|(piece, token)| piece.token() == Some(**token)).count();
        held.truncate(same);
        same
    }

    /// Forgets all but the first `len` tokens of a sequence, and says how many are left.
    pub fn truncate(&mut self, sequence: usize, len: usize) -> usize {
        let Some(Sequence { held, .. }) = self.sequences.get_mut(sequence) else { return 0 };
        held.truncate(len);
        held.len()
    }

    /// Makes sequence `to` equal to sequence `from`. They hold the same tokens before position `first` already.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn copy(&mut self, from: usize, to: usize, first: usize) -> Result<(), RunError> {
        for sequence in [from, to] {
            self.sequence(sequence)?;
        }
        if from == to {
            return Ok(());
        }
        let first = first.min(self.len(from)).min(self.len(to));
        let [source, target] = pair(&mut self.sequences, from, to);
        target.held.truncate(first);
        target.held.extend_from_slice(&source.held[first..]);
        let keys = source.held.len();
        let [source, target] = pair(&mut self.caches, from, to);
        target.copy(source, first, keys);
        Ok(())
    }

    /// Makes sequence `to` hold the first `len` tokens of sequence `from`, or all of them if there are fewer, and says how many. What both hold already
    /// is not copied again.
    ///
    /// # Errors
    /// [`RunError::SequenceRange`].
    pub fn copy_prefix(&mut self, from: usize, to: usize, len: usize) -> Result<usize, RunError> {
        for sequence in [from, to] {
            self.sequence(sequence)?;
        }
        let len = len.min(self.len(from));
        if from == to {
            return Ok(self.truncate(to, len));
        }
        let [source, target] = pair(&mut self.sequences, from, to);
        let source = &source.held[..len];
        let first = source.iter().zip(&target.held).take_while(|(a, b)| a == b).count();
        target.held.truncate(first);
        target.held.extend_from_slice(&source[first..]);
        if first < len {
            let [source, target] = pair(&mut self.caches, from, to);
            target.copy(source, first, len);
        }
        Ok(len)
    }

    /// A sequence that exists.
    fn sequence(&self, sequence: usize) -> Result<&Sequence, RunError> {
        let sequences = self.sequences.len();
        self.sequences.get(sequence).ok_or(RunError::SequenceRange { sequence, sequences })
    }
}

/// Two different elements.
fn pair<T>(list: &mut [T], a: usize, b: usize) -> [&mut T; 2] {
    let (low, high) = list.split_at_mut(a.max(b));
    if a < b { [&mut low[a], &mut high[0]] } else { [&mut high[0], &mut low[b]] }
}
