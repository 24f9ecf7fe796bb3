//! x86-64.
//!
//! # Safety
//! The functions of a table need the CPU features that [`available`] has checked before it hands the table out. Inside, everything is
//! `#[inline(always)]` and generic over the machine ([`isa::Isa`]) and the format, and becomes code for the machine in the
//! `#[target_feature]` functions that the macros here make.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "the paragraph above is the argument for all of it: a block around each body would say it two hundred times"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "kernels walk several arrays by one number, which is a lane, a row or an input"
)]

mod activation;
mod along;
mod along_k;
mod attention;
mod fifth;
mod ints;
mod isa;
mod load;
mod load_k;
mod matmul;
mod single;
mod vector;

use crate::Kernels;

/// Safe functions whose bodies are compiled for a machine's features.
macro_rules! compiled_for {
    ($features:literal $(, $vis:vis $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? => $body:expr)*) => {
        $(
            #[allow(clippy::too_many_arguments, reason = "the law's signature")]
            $vis fn $name($($argument: $type),*) $(-> $result)? {
                #[target_feature(enable = $features)]
                #[allow(clippy::too_many_arguments, reason = "the law's signature")]
                fn inner($($argument: $type),*) $(-> $result)? {
                    $body
                }
                // SAFETY: the table that this is part of is handed out only where the CPU has the features.
                unsafe { inner($($argument),*) }
            }
        )*
    };
}

/// The products of a machine, one a format: the function's name, the loop that it is, and what loads the format's weights.
macro_rules! products {
    ($features:literal, $isa:ident, $halves:literal $(, $name:ident: $loop:ident, $format:path)*) => {
        $(
            fn $name(w: &Rows, x: &Input, out: &mut Tile) {
                #[target_feature(enable = $features)]
                fn inner(w: &Rows, x: &Input, out: &mut Tile) {
                    // SAFETY: the features are those of the machine, and `Kernels::matmul` has checked the arguments.
                    unsafe { matmul::$loop::<$isa, $format, $halves>(w, x, out) }
                }
                // SAFETY: the table that this is part of is handed out only where the CPU has the features.
                unsafe { inner(w, x, out) }
            }
        )*
    };
}

/// The products of every format for a machine: its features, instructions, and how many of its vectors make a panel.
/// Makes `with_products`, which lays them over a table.
macro_rules! all_products {
    ($features:literal, $isa:ident, $halves:literal) => {
        use super::isa::$isa;
        use super::{load, load_k, matmul};

        products! {
            $features, $isa, $halves,
            q4_0: legacy, load::Q40,
            q4_1: legacy, load::Q41,
            q5_0: legacy, load::Q50,
            q5_1: legacy, load::Q51,
            q8_0: legacy, load::Q80,
            iq4_nl: legacy, load::Iq4Nl,
            q2_k: k_quant, load_k::Q2K,
            q3_k: k_quant, load_k::Q3K,
            q4_k: k_quant, load_k::Q4K,
            q5_k: k_quant, load_k::Q5K,
            q6_k: k_quant, load_k::Q6K
        }

        const fn with_products(table: Kernels) -> Kernels {
            table
                .with(Format::Q4_0, q4_0)
                .with(Format::Q4_1, q4_1)
                .with(Format::Q5_0, q5_0)
                .with(Format::Q5_1, q5_1)
                .with(Format::Q8_0, q8_0)
                .with(Format::Q2_K, q2_k)
                .with(Format::Q3_K, q3_k)
                .with(Format::Q4_K, q4_k)
                .with(Format::Q5_K, q5_k)
                .with(Format::Q6_K, q6_k)
                .with(Format::IQ4_NL, iq4_nl)
        }
    };
}

/// Everything but the quantized products, compiled for a machine's features. Makes `OPERATIONS`, a table.
macro_rules! operations {
    ($name:literal, $features:literal, $vector:ident) => {
        use super::{activation, attention, vector};
        use core::arch::x86_64::$vector;
        use crate::scalar;
        use smidgen_quant::attention::{self as law, Kv, KvMut};
        use smidgen_quant::ops;

        compiled_for! {
            $features,
            plain(w: &Rows, x: &Input, out: &mut Tile) => scalar::matmul(w, x, out),
            quantize_q8(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i32], offsets: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { activation::quantize_q8(x, t, tokens, qs, scales, sums, offsets) },
            quantize_q8k(x: &[f32], t: usize, tokens: usize, qs: &mut [i8], scales: &mut [f32], sums: &mut [i16])
                // SAFETY: the features are those of the machine.
                => unsafe { activation::quantize_q8k(x, t, tokens, qs, scales, sums) },
            rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) => ops::rms_norm(x, weight, eps, out),
            layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) => ops::layer_norm(x, weight, bias, eps),
            silu_mul(gate: &mut [f32], up: &[f32])
                // SAFETY: the features are those of the machine.
                => unsafe { vector::silu_mul::<$vector>(gate, up) },
            gelu(x: &mut [f32]) => ops::gelu(x),
            gelu_tanh(x: &mut [f32]) => ops::gelu_tanh(x),
            gelu_quick(x: &mut [f32]) => ops::gelu_quick(x),
            rope(x: &mut [f32], head_dim: usize, table: &[f32]) => ops::rope(x, head_dim, table),
            add(x: &mut [f32], y: &[f32]) => ops::add(x, y),
            round(x: &mut [f32]) => ops::round(x),
            finite(x: &[f32]) -> bool => ops::finite(x),
            store(kv: &mut KvMut, j: usize, key: &[f32], value: &[f32]) => law::store(kv, j, key, value),
            attend_few(q: &[f32], visible: &[usize], head_dim: usize, scale: f32, kv: &Kv, out: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { attention::attend::<$vector>(q, visible, head_dim, scale, kv, out) },
            attend_many(q: &[f32], visible: &[usize], head_dim: usize, scale: f32, kv: &Kv, out: &mut [f32])
                // SAFETY: the features are those of the machine.
                => unsafe { attention::attend_many::<$vector>(q, visible, head_dim, scale, kv, out) }
        }

        fn attend(q: &[f32], visible: &[usize], head_dim: usize, scale: f32, kv: &Kv, out: &mut [f32]) {
            let attend = if attention::are_many(visible, head_dim, kv) { attend_many } else { attend_few };
            attend(q, visible, head_dim, scale, kv, out);
        }

        pub(super) const OPERATIONS: Kernels = Kernels {
            name: $name,
            quantize_q8,
            quantize_q8k,
            rms_norm,
            layer_norm,
            silu_mul,
            gelu,
            gelu_tanh,
            gelu_quick,
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
    use crate::{Format, Input, Kernels, Rows, Tile};
    operations!("avx2", "avx2,f16c", __m256);
    all_products!("avx2,f16c", Avx2, 2);
    pub(super) static KERNELS: Kernels = with_products(OPERATIONS);
}

/// Small Intel cores since Gracemont (the N100), large ones since Alder Lake; AMD since Zen 5.
mod avxvnni {
    use crate::{Format, Input, Kernels, Rows, Tile};
    all_products!("avx2,f16c,avxvnni", AvxVnni, 2);
    pub(super) static KERNELS: Kernels = with_products(Kernels { name: "avxvnni", ..super::avx2::OPERATIONS });
}

/// Intel servers since Cascade Lake, AMD since Zen 4.
mod avx512vnni {
    use crate::{Format, Input, Kernels, Rows, Tile};
    operations!("avx512vnni", "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", __m512);
    all_products!("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512Vnni, 1);
    pub(super) static KERNELS: Kernels = with_products(OPERATIONS);
}

/// The tables that this CPU can run, slowest first.
#[cfg(feature = "std")]
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    use std::is_x86_feature_detected as has;
    matmul::look_at_caches();
    let avx2 = has!("avx2") && has!("f16c");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let tables = [
        (avx2, &avx2::KERNELS),
        (avx2 && has!("avxvnni"), &avxvnni::KERNELS),
        (avx2 && avx512 && has!("avx512vnni"), &avx512vnni::KERNELS),
    ];
    tables.into_iter().filter(|(present, _)| *present).map(|(_, table)| table)
}
