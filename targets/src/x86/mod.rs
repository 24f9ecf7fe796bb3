//! x86-64.
//!
//! # Safety
//! The functions of a table need the CPU features that [`available`] has checked before it hands the table out. Inside, everything is
//! `#[inline(always)]` and generic over the machine ([`isa::Isa`]) and the format, and becomes code for the machine in the
//! `#[target_feature]` functions that `table!` makes.

#![allow(
    clippy::needless_range_loop,
    reason = "kernels walk several arrays by one number, which is a lane, a row or an input"
)]

mod activation;
mod attention;
mod isa;
mod load;
mod load_k;
mod matmul;

use crate::{Format, Kernels};

/// Safe functions whose bodies are compiled for a machine's features.
macro_rules! compiled_for {
    ($features:literal $(, $name:ident($($argument:ident: $type:ty),*) => $body:expr)*) => {
        $(
            #[allow(clippy::too_many_arguments, reason = "the law's signature")]
            fn $name($($argument: $type),*) {
                #[target_feature(enable = $features)]
                #[allow(clippy::too_many_arguments, reason = "the law's signature")]
                fn inner($($argument: $type),*) {
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

/// The table of one machine: its module, name, features, instructions, and how many of its vectors make a panel.
macro_rules! table {
    ($module:ident, $name:literal, $features:literal, $isa:ident, $halves:literal) => {
        mod $module {
            use super::isa::$isa;
            use super::{Format, Kernels, activation, attention, load, load_k, matmul};
            use crate::{Input, Rows, Tile, scalar};
            use smidgen_quant::attention::Kv;
            use smidgen_quant::ops;

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
                silu_mul(gate: &mut [f32], up: &[f32]) => ops::silu_mul(gate, up),
                rope(x: &mut [f32], head_dim: usize, table: &[f32]) => ops::rope(x, head_dim, table),
                add(x: &mut [f32], y: &[f32]) => ops::add(x, y),
                round(x: &mut [f32]) => ops::round(x),
                attend(q: &[f32], visible: &[usize], head_dim: usize, scale: f32, kv: &Kv, out: &mut [f32])
                    // SAFETY: the features are those of the machine.
                    => unsafe { attention::attend(q, visible, head_dim, scale, kv, out) }
            }

            pub(super) const KERNELS: Kernels = Kernels {
                name: $name,
                quantize_q8,
                quantize_q8k,
                rms_norm,
                silu_mul,
                rope,
                add,
                round,
                attention: attend,
                ..scalar::KERNELS
            }
            .with(Format::F32, plain)
            .with(Format::F16, plain)
            .with(Format::BF16, plain)
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
            .with(Format::IQ4_NL, iq4_nl);
        }
    };
}

table!(avx2, "avx2", "avx2,f16c", Avx2, 2);
table!(avxvnni, "avxvnni", "avx2,f16c,avxvnni", AvxVnni, 2);
table!(avx512vnni, "avx512vnni", "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", Avx512Vnni, 1);

static AVX2: Kernels = avx2::KERNELS;
static AVXVNNI: Kernels = avxvnni::KERNELS;
static AVX512VNNI: Kernels = avx512vnni::KERNELS;

/// The tables that this CPU can run, slowest first.
#[cfg(feature = "std")]
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    use std::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("f16c");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let tables =
        [(avx2, &AVX2), (avx2 && has!("avxvnni"), &AVXVNNI), (avx2 && avx512 && has!("avx512vnni"), &AVX512VNNI)];
    tables.into_iter().filter(|(present, _)| *present).map(|(_, table)| table)
}
