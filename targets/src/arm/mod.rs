//! 64-bit ARM.
//!
//! # Safety
//! The functions of a table need the CPU features that [`available`] has checked before it hands the table out; NEON is part of every
//! aarch64. Inside, everything is `#[inline(always)]` and generic over the machine ([`isa::Isa`]) and the format. Instructions that stable
//! Rust has no functions for are written as `asm!`, so that nothing has to be compiled for other features than NEON.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "the paragraph above is the argument for all of it: a block around each body would say it two hundred times"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "kernels walk several arrays by one number, which is a lane, a row or an input"
)]

mod activation;
mod attention;
mod halves;
mod isa;
mod load;
mod load_k;
mod matmul;

use crate::{Format, Input, Kernels, Rows, Tile, scalar};
use isa::Isa;

/// The products of every format for some machines, each a name for a module and its instructions. Makes the modules, with
/// `with_products`, which lays a machine's products over a table.
macro_rules! products {
    ($machine:ident: $isa:ident $(, $name:ident: $loop:ident, $format:path, $id:ident)*) => {
        mod $machine {
            use super::*;
            $(
                pub(super) fn $name(w: &Rows, x: &Input, out: &mut Tile) {
                    if isa::$isa::SEVERAL && out.rows() == 1 {
                        return dotprod::$name(w, x, out);
                    }
                    // SAFETY: the table that this is part of is handed out only where the CPU has the features, and `Kernels::matmul`
                    // has checked the arguments.
                    unsafe { matmul::$loop::<isa::$isa, $format>(w, x, out) }
                }
            )*

            pub(super) const fn with_products(table: Kernels) -> Kernels {
                table$(.with(Format::$id, $name))*
            }
        }
    };
    ($($machine:ident: $isa:ident),*) => {
        $(
            products! {
                $machine: $isa,
                q4_0: legacy, load::Q40, Q4_0,
                q4_1: legacy, load::Q41, Q4_1,
                q5_0: legacy, load::Q50, Q5_0,
                q5_1: legacy, load::Q51, Q5_1,
                q8_0: legacy, load::Q80, Q8_0,
                iq4_nl: legacy, load::Iq4Nl, IQ4_NL,
                q2_k: k_quant, load_k::Q2K, Q2_K,
                q3_k: k_quant, load_k::Q3K, Q3_K,
                q4_k: k_quant, load_k::Q4K, Q4_K,
                q5_k: k_quant, load_k::Q5K, Q5_K,
                q6_k: k_quant, load_k::Q6K, Q6_K
            }
        )*
    };
}

products!(neon: Neon, dotprod: Dotprod, i8mm: I8mm);

/// The operations that are more than what the compiler makes of the law.
const OPERATIONS: Kernels = Kernels {
    quantize_q8: activation::quantize_q8,
    quantize_q8k: activation::quantize_q8k,
    attention: attention::attend,
    ..scalar::KERNELS
}
.with(Format::F16, halves::f16);

/// ARMv8.0: Cortex-A53, A57, A72 (Raspberry Pi 3 and 4, Jetson Nano and TX2).
static NEON: Kernels = neon::with_products(Kernels { name: "neon", ..OPERATIONS });
/// ARMv8.2 with dot products: Cortex-A76 and A78 (Raspberry Pi 5, Jetson Orin), Apple M1, phones since 2018.
static DOTPROD: Kernels = dotprod::with_products(Kernels { name: "dotprod", ..OPERATIONS });
/// ARMv8.6 with int8 matrix products: Cortex-A510 and A710, Neoverse V1 and N2, Apple M2.
static I8MM: Kernels = i8mm::with_products(Kernels { name: "i8mm", ..OPERATIONS });

/// The tables that this CPU can run, slowest first.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    let (dotprod, i8mm) = features();
    [(true, &NEON), (dotprod, &DOTPROD), (dotprod && i8mm, &I8MM)]
        .into_iter()
        .filter(|(present, _)| *present)
        .map(|(_, table)| table)
}

/// Whether the CPU has dot products and int8 matrix products.
#[cfg(feature = "std")]
fn features() -> (bool, bool) {
    use std::arch::is_aarch64_feature_detected as has;
    (has!("dotprod"), has!("i8mm"))
}

/// What the compiler was told, since the operating system cannot be asked.
#[cfg(not(feature = "std"))]
fn features() -> (bool, bool) {
    (cfg!(target_feature = "dotprod"), cfg!(target_feature = "i8mm"))
}
