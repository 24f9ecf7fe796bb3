//! The kernel sets of 64-bit ARM: neon, dotprod, i8mm, and how they are found.
//!
//! # Safety
//! The functions of a kernel set need the CPU features that [`available`] has checked before it hands the set out; NEON is part of every
//! aarch64. Inside, everything is `#[inline(always)]` and generic over the instructions ([`isa::Isa`]) and the format. Instructions that stable
//! Rust has no functions for are written as `asm!` over registers, so that nothing has to be compiled for other features than NEON. An
//! `unsafe fn` below needs the features of its `Isa`, the memory behind its pointers, and what its own paragraph says. Pointers are formed from
//! slices whose lengths [`KernelSet::matmul`](crate::KernelSet::matmul) and `Kv::holds` have checked against each other: a row has `cols / block`
//! blocks of `BYTES`, a token as many of activations, a tile as many outputs as it says.

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
mod f16;
mod isa;
mod load_kquant;
mod load_legacy;
mod matmul;

use crate::{Format, Input, KernelSet, Tile, WeightMatrix, scalar};
use isa::Isa;

/// The product of one format on a machine: its kind, name, and instructions. The plain formats have theirs among the operations.
macro_rules! product {
    (plain $($rest:tt)*) => {};
    (legacy $name:ident, $isa:ident) => {
        product! { matmul::legacy, load_legacy::$name, $name, $isa }
    };
    (kquant $name:ident, $isa:ident) => {
        product! { matmul::kquant, load_kquant::$name, $name, $isa }
    };
    ($loop:path, $format:path, $name:ident, $isa:ident) => {
        #[allow(non_snake_case, reason = "the format's name")]
        pub(super) fn $name(w: &WeightMatrix, x: &Input, out: &mut Tile) {
            use $loop as product;
            if isa::$isa::GEMM_ONLY && out.rows() == 1 {
                return dotprod::$name(w, x, out);
            }
            // SAFETY: the kernel set that this is part of is handed out only where the CPU has the features, and `KernelSet::matmul` has
            // checked the arguments.
            unsafe { product::<isa::$isa, $format>(w, x, out) }
        }
    };
}

/// The products of the formats in the list for a machine. Makes a module with `with_products`, which lays them over a kernel set.
macro_rules! products {
    ([$machine:ident, $isa:ident] $($name:ident = $id:literal, $kind:ident, $block:ty;)*) => {
        mod $machine {
            use super::*;

            $(product! { $kind $name, $isa })*

            pub(super) const fn with_products(set: KernelSet) -> KernelSet {
                $(let set = with_product!($kind set, $name);)*
                set
            }
        }
    };
}

smidgen_quant::formats!(products, neon, Neon);
smidgen_quant::formats!(products, dotprod, Dotprod);
smidgen_quant::formats!(products, i8mm, I8mm);

/// The operations that are more than what the compiler makes of the reference.
const OPERATIONS: KernelSet = KernelSet {
    quantize_q8: activation::quantize_q8,
    quantize_q8k: activation::quantize_q8k,
    attention: attention::attend,
    ..scalar::KERNELS
}
.with(Format::F16, f16::f16);

/// ARMv8.0: Cortex-A53, A57, A72 (Raspberry Pi 3 and 4, Jetson Nano and TX2).
static NEON: KernelSet = neon::with_products(KernelSet { name: "neon", ..OPERATIONS });
/// ARMv8.2 with dot products: Cortex-A76 and A78 (Raspberry Pi 5, Jetson Orin), Apple M1, phones since 2018.
static DOTPROD: KernelSet = dotprod::with_products(KernelSet { name: "dotprod", ..OPERATIONS });
/// ARMv8.6 with int8 matrix products: Cortex-A510 and A710, Neoverse V1 and N2, Apple M2.
static I8MM: KernelSet = i8mm::with_products(KernelSet { name: "i8mm", ..OPERATIONS });

/// The kernel sets that this CPU can run, slowest first.
pub(super) fn available() -> impl Iterator<Item = &'static KernelSet> {
    let (dotprod, i8mm) = features();
    [(true, &NEON), (dotprod, &DOTPROD), (dotprod && i8mm, &I8MM)]
        .into_iter()
        .filter(|(present, _)| *present)
        .map(|(_, set)| set)
}

/// Whether the CPU has dot products and int8 matrix products.
#[cfg(feature = "std")]
fn features() -> (bool, bool) {
    use std::arch::is_aarch64_feature_detected as has;
    (has!("dotprod"), has!("i8mm"))
}

/// The features that the build is for, since there is no operating system to ask.
#[cfg(not(feature = "std"))]
fn features() -> (bool, bool) {
    (cfg!(target_feature = "dotprod"), cfg!(target_feature = "i8mm"))
}
