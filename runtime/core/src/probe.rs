//! A look into a pass: what it does, operation by operation.

use smidgen_targets::Format;

/// An operation of a pass, all threads and tokens together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// What it is: of products, the part of the first tensor's name; else a word of the blocks.
    pub name: &'static str,
    /// The layer that it belongs to, if it does.
    pub layer: Option<usize>,
    /// The format of the weights, of products.
    pub format: Option<Format>,
    /// Bytes of weights, or of keys and values, that were read.
    pub bytes: u64,
    /// Multiplications and additions of int8 values.
    pub int8: u64,
    /// Multiplications and additions of `f32` values.
    pub f32: u64,
}

impl Operation {
    /// An operation whose work is not counted.
    pub(crate) fn new(name: &'static str) -> Operation {
        Operation { name, ..Operation::default() }
    }
}

/// Whoever is told of each operation of a pass when it has ended, in order, by the calling thread.
pub trait Probe: Sync {
    /// An operation has ended.
    fn operation(&self, operation: &Operation);
}
