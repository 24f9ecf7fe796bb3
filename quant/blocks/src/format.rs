//! The list of block formats.

use crate::activation::Input;
use crate::{iq4_nl, plain, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};

/// One block of a quantized format: `LEN` weights in `size_of::<Self>()` bytes, as they lie in the file, with no alignment.
pub trait Block: bytemuck::Pod {
    /// Weights in a block.
    const LEN: usize;
    /// Where the block's binary16 scales are, in bytes.
    const SCALES: &[usize];
    /// The block's fields in their order: size in bytes, which is 2 (a binary16 scale) or 4 (everything else, cut into double words), and number.
    const FIELDS: &[(usize, usize)];

    /// Writes the block's `LEN` weights.
    fn decode(&self, out: &mut [f32]);

    /// The reference: `acc` plus the product of this block, the `b`-th of its row, with the same block of token `t`.
    /// `x` is of the form that [`Format::input_format`] names.
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32;
}

/// The form of the activations that a format is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// As they are.
    F32,
    /// [`crate::Q8`], a scale for every 32.
    Q8,
    /// [`crate::Q8K`], a scale for every 256.
    Q8K,
}

/// Why bytes and numbers do not fit a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A row's length is not a multiple of the format's block.
    Length {
        /// The format.
        format: Format,
        /// The row's length.
        len: usize,
    },
    /// The bytes are not those of this many weights.
    Bytes {
        /// The format.
        format: Format,
        /// Bytes that the weights need.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::Length { format, len } => {
                write!(f, "{len} values do not fill whole {} blocks of {}", format.name(), format.block_len())
            }
            Error::Bytes { format, expected, found } => {
                write!(f, "these {} weights take {expected} bytes, not {found}", format.name())
            }
        }
    }
}

impl core::error::Error for Error {}

/// The one list of formats, from which everything is made that has an entry for each: [`Format`], panels, kernel sets.
///
/// Calls the macro `$each` with `[arguments]` and a row for each format: its name, ggml's number of the type, its kind (`plain`: weights one by
/// one; `legacy`: blocks of 32; `kquant`: superblocks of 256) and the block's type in this crate.
#[macro_export]
macro_rules! formats {
    ($each:ident $(, $argument:tt)*) => {
        $each! {
            [$($argument),*]
            F32 = 0, plain, plain::F32;
            F16 = 1, plain, plain::F16;
            BF16 = 30, plain, plain::BF16;
            Q4_0 = 2, legacy, q4_0::Q4_0;
            Q4_1 = 3, legacy, q4_1::Q4_1;
            Q5_0 = 6, legacy, q5_0::Q5_0;
            Q5_1 = 7, legacy, q5_1::Q5_1;
            Q8_0 = 8, legacy, q8_0::Q8_0;
            Q2_K = 10, kquant, q2_k::Q2K;
            Q3_K = 11, kquant, q3_k::Q3K;
            Q4_K = 12, kquant, q4_k::Q4K;
            Q5_K = 13, kquant, q5_k::Q5K;
            Q6_K = 14, kquant, q6_k::Q6K;
            IQ4_NL = 20, legacy, iq4_nl::IQ4NL;
        }
    };
}

/// The form of activations for a kind of format.
macro_rules! input_format {
    (plain) => {
        InputFormat::F32
    };
    (legacy) => {
        InputFormat::Q8
    };
    (kquant) => {
        InputFormat::Q8K
    };
}

macro_rules! define {
    ([] $($name:ident = $id:literal, $kind:ident, $block:ty;)*) => {
        /// A type of tensor that can be multiplied. The variants carry ggml's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, missing_docs, reason = "ggml's names are the field's terms")]
        pub enum Format { $($name),* }

        impl Format {
            /// Every format, in the order of the variants.
            pub const ALL: [Format; [$(Format::$name),*].len()] = [$(Format::$name),*];

            /// ggml's number of the type, as it is written in a GGUF file.
            pub const fn id(self) -> u32 {
                match self { $(Format::$name => $id),* }
            }

            /// ggml's name.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$name => stringify!($name)),* }
            }

            /// Weights in a block.
            pub const fn block_len(self) -> usize {
                match self { $(Format::$name => <$block as Row>::LEN),* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Format::$name => size_of::<$block>()),* }
            }

            /// The form in which a product of this format takes its activations.
            pub const fn input_format(self) -> InputFormat {
                match self { $(Format::$name => input_format!($kind)),* }
            }

            /// The fields of a block in their order, as packed panels have them (see [`crate::packed`]): size in bytes and number. Empty for the
            /// formats that are not packed.
            pub const fn fields(self) -> &'static [(usize, usize)] {
                match self { $(Format::$name => <$block as Row>::FIELDS),* }
            }

            /// Where a block's binary16 scales are, in bytes from its start; empty for F32, F16 and BF16.
            pub const fn scales(self) -> &'static [usize] {
                match self { $(Format::$name => <$block as Row>::SCALES),* }
            }

            /// The first block with a scale (for F32, F16 and BF16: the first weight) that is infinite or NaN. What `dot` and every
            /// kernel return for such weights may differ between machines, so they are refused when a model is loaded.
            pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
                match self { $(Format::$name => blocks_of::<$block>(bytes).iter().position(|block| !Row::is_finite(block))),* }
            }

            /// Decodes whole blocks: `out.len()` weights from `bytes`.
            pub fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
                self.check(bytes, out.len())?;
                match self { $(Format::$name => decode_blocks::<$block>(bytes, out)),* }
                Ok(())
            }

            /// Encodes whole blocks: `values.len()` weights into `bytes`. The values are finite; scales (of F16: weights) that binary16 cannot hold become its largest value, which [`first_overflow`](Format::first_overflow) tells.
            pub fn encode(self, values: &[f32], bytes: &mut [u8]) -> Result<(), Error> {
                self.check(bytes, values.len())?;
                match self {
                    $(Format::$name => {
                        let encode: fn(&[f32]) -> $block = <$block>::encode;
                        let blocks: &mut [$block] = bytemuck::cast_slice_mut(bytes);
                        for (block, values) in blocks.iter_mut().zip(values.chunks_exact(<$block as Row>::LEN)) {
                            *block = encode(values);
                        }
                    }),*
                }
                Ok(())
            }

            /// The reference: the product of one row of weights with token `t` of `x`. The row's bytes and `x` must fit each other and the
            /// format; what is beyond the shorter of the two is left out.
            pub fn dot(self, row: &[u8], x: &Input, t: usize) -> f32 {
                match self { $(Format::$name => Row::dot(blocks_of::<$block>(row), x, t)),* }
            }

            /// One step of the law: `acc` plus the product of `block`, the `b`-th of its row, with token `t` of `x`. F32, F16 and BF16
            /// have no blocks, and add nothing.
            #[inline]
            pub fn accumulate(self, acc: f32, block: &[u8], x: &Input, b: usize, t: usize) -> f32 {
                match self { $(Format::$name => blocks_of::<$block>(block).first().map_or(acc, |w| Row::accumulate(w, acc, x, b, t))),* }
            }
        }
    };
}

crate::formats!(define);

impl Format {
    /// The format with ggml's number `id`.
    pub fn from_id(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.id() == id)
    }

    /// Bytes of `len` weights; none if they do not fill whole blocks or the size overflows.
    pub fn bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    fn check(self, bytes: &[u8], len: usize) -> Result<(), Error> {
        let expected = self.bytes(len).ok_or(Error::Length { format: self, len })?;
        if bytes.len() == expected { Ok(()) } else { Err(Error::Bytes { format: self, expected, found: bytes.len() }) }
    }
}

fn decode_blocks<B: Row>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytemuck::cast_slice::<u8, B>(bytes).iter().zip(out.chunks_exact_mut(B::LEN)) {
        block.decode(out);
    }
}

/// The properties of a type of weight that the table needs, whether it comes in blocks or alone.
pub(crate) trait Row: bytemuck::Pod {
    /// Weights in a block.
    const LEN: usize;
    /// Where a block's binary16 scales are, in bytes.
    const SCALES: &[usize];
    /// See [`Block::FIELDS`].
    const FIELDS: &[(usize, usize)];

    /// Whether no scale, or no weight that stands alone, is infinite or NaN.
    fn is_finite(&self) -> bool;

    /// Writes the `LEN` weights.
    fn decode(&self, out: &mut [f32]);

    /// One step of the law, for what comes in blocks.
    fn accumulate(&self, acc: f32, _x: &Input, _b: usize, _t: usize) -> f32 {
        acc
    }

    /// The reference: the product of a row with token `t` of `x`; zero if `x` is of another form or has no such token.
    fn dot(row: &[Self], x: &Input, t: usize) -> f32;
}

/// Blocks are added in order.
impl<B: Block> Row for B {
    const LEN: usize = B::LEN;
    const SCALES: &[usize] = B::SCALES;
    const FIELDS: &[(usize, usize)] = B::FIELDS;

    fn is_finite(&self) -> bool {
        let bytes = bytemuck::bytes_of(self);
        B::SCALES.iter().all(|at| u16::from_le_bytes([bytes[*at], bytes[at + 1]]) & 0x7c00 != 0x7c00)
    }

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        Block::decode(self, out);
    }

    #[inline(always)]
    fn accumulate(&self, acc: f32, x: &Input, b: usize, t: usize) -> f32 {
        Block::accumulate(self, acc, x, b, t)
    }

    #[inline(always)]
    fn dot(row: &[B], x: &Input, t: usize) -> f32 {
        let blocks = if t < x.tokens() { x.cols() / B::LEN } else { 0 };
        row.iter().take(blocks).enumerate().fold(0.0, |acc, (b, block)| Block::accumulate(block, acc, x, b, t))
    }
}

/// The whole blocks of `bytes`.
fn blocks_of<B: Row>(bytes: &[u8]) -> &[B] {
    bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<B>() * size_of::<B>()])
}

#[cfg(test)]
mod tests;
