//! Which GEMV multiplies each format on each instruction set: measured, and written down here.

use super::isa::{Avx2, Avx512Vnni, AvxVnni, Isa};
use super::{load_kquant, load_legacy};

/// A way to multiply plain rows with one token. Panels, whose lanes are rows already, go through `gemv_legacy` and `gemv_kquant`, but for
/// [`Lookup`](Routine::Lookup).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Routine {
    /// As many rows as a vector (of K-quants: a panel) has are transposed as they are loaded: `gemv_legacy`, `gemv_kquant`.
    Transposed,
    /// The same, eight rows at a time on any machine: sixteen rows of long blocks touch more lines than a processor waits for, which made it a
    /// quarter slower.
    TransposedEight,
    /// Eight rows, each multiplied as it lies, so that sums are transposed and not weights: nibbles without a sign.
    RowWiseNibbles,
    /// The same for bytes with a sign.
    RowWiseBytes,
    /// The same for the six bits of Q6_K.
    RowWiseSixBits,
    /// Nibbles row-wise, fifth bits by tables of sums, for plain rows and panels: `gemv_lookup`.
    Lookup,
}

/// The choice for the format `F`.
pub(super) trait Gemv<F>: Isa {
    const ROUTINE: Routine;
    /// Whether a block is so little work for its bytes that the loop waits for memory, and prefetches otherwise.
    const OUTRUNS_MEMORY: bool = false;
}

macro_rules! routines {
    ($($isa:ident { $($module:ident { $($format:ident => $routine:ident $(+ $flag:ident)?),* })* })*) => {
        $($($(
            impl Gemv<$module::$format> for $isa {
                const ROUTINE: Routine = Routine::$routine;
                $(const $flag: bool = true;)?
            }
        )*)*)*
    };
}

routines! {
    Avx2 {
        load_legacy {
            Q4_0 => RowWiseNibbles,
            Q4_1 => RowWiseNibbles,
            Q5_0 => Lookup,
            Q5_1 => Lookup,
            Q8_0 => RowWiseBytes + OUTRUNS_MEMORY,
            IQ4_NL => Transposed
        }
        load_kquant {
            Q2_K => Transposed,
            Q3_K => Transposed,
            Q4_K => RowWiseNibbles,
            Q5_K => RowWiseNibbles,
            Q6_K => RowWiseSixBits
        }
    }
    AvxVnni {
        load_legacy {
            Q4_0 => Transposed,
            Q4_1 => Transposed,
            Q5_0 => Transposed,
            Q5_1 => Transposed,
            Q8_0 => TransposedEight + OUTRUNS_MEMORY,
            IQ4_NL => Transposed
        }
        load_kquant {
            Q2_K => Transposed,
            Q3_K => Transposed,
            Q4_K => Transposed,
            Q5_K => Transposed,
            Q6_K => RowWiseSixBits
        }
    }
    Avx512Vnni {
        load_legacy {
            Q4_0 => Transposed + OUTRUNS_MEMORY,
            Q4_1 => Transposed + OUTRUNS_MEMORY,
            Q5_0 => Transposed + OUTRUNS_MEMORY,
            Q5_1 => Transposed + OUTRUNS_MEMORY,
            Q8_0 => TransposedEight + OUTRUNS_MEMORY,
            IQ4_NL => Transposed + OUTRUNS_MEMORY
        }
        load_kquant {
            Q2_K => Transposed,
            Q3_K => Transposed,
            Q4_K => Transposed,
            Q5_K => Transposed,
            Q6_K => RowWiseSixBits
        }
    }
}
