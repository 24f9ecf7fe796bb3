//! The kernel sets of x86-64: avx2, avxvnni, avx512vnni, and how they are found.
//!
//! # Safety
//! The functions of a kernel set need the CPU features that [`available`] has checked before it hands the set out. Inside, everything is
//! `#[inline(always)]` and generic over the instructions ([`isa::Isa`]) and the format, and becomes code for a machine in the
//! `#[target_feature]` functions that the macros here make. An `unsafe fn` below needs those features, the memory behind its pointers, and what
//! its own paragraph says. Pointers are formed from slices whose lengths [`KernelSet::matmul`](crate::KernelSet::matmul) and `Kv::holds` have checked
//! against each other: a row has `cols / block` blocks of `BYTES`, a token as many of activations, a tile as many outputs as it says.
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
mod gemm;
mod gemv_kquant;
mod gemv_legacy;
mod gemv_lookup;
mod gemv_rowwise;
mod gemv_rowwise_kquant;
mod isa;
mod load_kquant;
mod load_legacy;
mod matmul;
mod prefetch;
mod routines;
mod vec_f32;
mod vec_i32;

use crate::KernelSet;

/// Safe functions whose bodies are compiled for a machine's features.
macro_rules! compiled_for {
    ($features:literal $(, $vis:vis $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? => $body:expr)*) => {
        $(
            #[allow(clippy::too_many_arguments, reason = "the reference's signature")]
            $vis fn $name($($argument: $type),*) $(-> $result)? {
                #[target_feature(enable = $features)]
                #[allow(clippy::too_many_arguments, reason = "the reference's signature")]
                fn inner($($argument: $type),*) $(-> $result)? {
                    $body
                }
                // SAFETY: the kernel set that this is part of is handed out only where the CPU has the features.
                unsafe { inner($($argument),*) }
            }
        )*
    };
}

/// The product of one format, compiled for a machine's features: its kind, name, features, instructions, and how many vectors make a panel.
macro_rules! product {
    (plain $($rest:tt)*) => {};
    (legacy $name:ident, $($machine:tt)*) => {
        product! { matmul::legacy, load_legacy::$name, $name, $($machine)* }
    };
    (kquant $name:ident, $($machine:tt)*) => {
        product! { matmul::kquant, load_kquant::$name, $name, $($machine)* }
    };
    ($loop:path, $format:path, $name:ident, $features:literal, $isa:ident, $vectors:literal) => {
        #[allow(non_snake_case, reason = "the format's name")]
        fn $name(w: &WeightMatrix, x: &Input, out: &mut Tile) {
            use $loop as product;
            #[target_feature(enable = $features)]
            fn inner(w: &WeightMatrix, x: &Input, out: &mut Tile) {
                // SAFETY: the features are those of the instructions, and `KernelSet::matmul` has checked the arguments.
                unsafe { product::<$isa, $format, $vectors>(w, x, out) }
            }
            // SAFETY: the kernel set that this is part of is handed out only where the CPU has the features.
            unsafe { inner(w, x, out) }
        }
    };
}

/// The products of the formats in the list for a machine: its features, instructions, and how many of its vectors make a panel.
/// Makes `with_products`, which lays them over a kernel set.
macro_rules! products {
    ([$features:literal, $isa:ident, $vectors:literal] $($name:ident = $id:literal, $kind:ident, $block:ty;)*) => {
        use super::isa::$isa;
        use super::{load_kquant, load_legacy, matmul};

        $(product! { $kind $name, $features, $isa, $vectors })*

        const fn with_products(set: KernelSet) -> KernelSet {
            $(let set = with_product!($kind set, $name);)*
            set
        }
    };
}

/// Everything but the quantized products, compiled for a machine's features. Makes `OPERATIONS`, a kernel set.
macro_rules! operations {
    ($name:literal, $features:literal, $vector:ident) => {
        use super::{activation, attention, vec_f32};
        use core::arch::x86_64::$vector;
        use crate::scalar;
        use smidgen_quant::attention::{self as reference, Kv, KvMut, Spec, Visible};
        use smidgen_quant::ops::{self, Pairs};

        compiled_for! {
            $features,
            plain(w: &WeightMatrix, x: &Input, out: &mut Tile) => scalar::matmul(w, x, out),
            quantize_q8(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i32], offsets: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { activation::quantize_q8(x, t, tokens, qs, scales, sums, offsets) },
            quantize_q8k(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i16])
                // SAFETY: the features are those of the machine.
                => unsafe { activation::quantize_q8k(x, t, tokens, qs, scales, sums) },
            rms_norm(x: &mut [f32], weight: &[f32], eps: f32) => ops::rms_norm(x, weight, eps),
            layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) => ops::layer_norm(x, weight, bias, eps),
            silu_mul(gate: &mut [f32], up: &[f32])
                // SAFETY: the features are those of the machine.
                => unsafe { vec_f32::silu_mul::<$vector>(gate, up) },
            gelu(x: &mut [f32]) => ops::gelu(x),
            gelu_tanh(x: &mut [f32]) => ops::gelu_tanh(x),
            gelu_quick(x: &mut [f32]) => ops::gelu_quick(x),
            softcap(x: &mut [f32], cap: f32) => ops::softcap(x, cap),
            rope(x: &mut [f32], head_dim: usize, table: &[f32], pairs: Pairs) => ops::rope(x, head_dim, table, pairs),
            add(x: &mut [f32], y: &[f32]) => ops::add(x, y),
            round(x: &mut [f32]) => ops::round(x),
            finite(x: &[f32]) -> bool => ops::finite(x),
            store(kv: &mut KvMut, j: usize, key: &[f32], value: &[f32]) => reference::store(kv, j, key, value),
            attend_few(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { attention::attend::<$vector>(q, visible, spec, kv, out) },
            attend_many(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { attention::attend_many::<$vector>(q, visible, spec, kv, out) }
        }

        fn attend(q: &[f32], visible: &[Visible], spec: &Spec, kv: &Kv, out: &mut [f32]) {
            let attend = if attention::are_many(visible, spec, kv) { attend_many } else { attend_few };
            attend(q, visible, spec, kv, out);
        }

        pub(super) const OPERATIONS: KernelSet = KernelSet {
            name: $name,
            quantize_q8,
            quantize_q8k,
            rms_norm,
            layer_norm,
            silu_mul,
            gelu,
            gelu_tanh,
            gelu_quick,
            softcap,
            rope,
            add,
            round,
            finite,
            store,
            attention: attend,
            ..scalar::KERNELS
        }
        .with(Format::F32, plain)
        .with(Format::F16, plain)
        .with(Format::BF16, plain);
    };
}

/// Intel since Haswell, AMD since Excavator.
mod avx2 {
    use crate::{Format, Input, KernelSet, Tile, WeightMatrix};
    operations!("avx2", "avx2,f16c", __m256);
    smidgen_quant::formats!(products, "avx2,f16c", Avx2, 2);
    pub(super) static KERNELS: KernelSet = with_products(OPERATIONS);
}

/// Small Intel cores since Gracemont (the N100), large ones since Alder Lake; AMD since Zen 5.
mod avxvnni {
    use crate::{Format, Input, KernelSet, Tile, WeightMatrix};
    smidgen_quant::formats!(products, "avx2,f16c,avxvnni", AvxVnni, 2);
    pub(super) static KERNELS: KernelSet = with_products(KernelSet { name: "avxvnni", ..super::avx2::OPERATIONS });
}

/// Intel servers since Cascade Lake, AMD since Zen 4.
mod avx512vnni {
    use crate::{Format, Input, KernelSet, Tile, WeightMatrix};
    operations!("avx512vnni", "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", __m512);
    smidgen_quant::formats!(products, "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512Vnni, 1);
    pub(super) static KERNELS: KernelSet = with_products(OPERATIONS);
}

/// The kernel sets that this CPU can run, slowest first.
#[cfg(feature = "std")]
pub(super) fn available() -> impl Iterator<Item = &'static KernelSet> {
    use std::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("f16c");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let sets = [
        (avx2, &avx2::KERNELS),
        (avx2 && has!("avxvnni"), &avxvnni::KERNELS),
        (avx2 && avx512 && has!("avx512vnni"), &avx512vnni::KERNELS),
    ];
    sets.into_iter().filter(|(present, _)| *present).map(|(_, set)| set)
}
