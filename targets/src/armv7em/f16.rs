//! GEMV of F16 for processors with a floating-point unit of single precision: weights become
//! floats by integer instructions and a product with a power of two, which every such unit has and which is exact.

use crate::{Input, Tile, WeightMatrix};
use core::arch::naked_asm;
use smidgen_quant::f16_to_f32;
use smidgen_quant::ops::{STRIPES, tree};

pub(super) fn f16(w: &WeightMatrix, x: &Input, out: &mut Tile) {
    let Input::F32 { values, cols } = *x else { return };
    let (first_row, first_token) = (out.first_col(), out.first_row());
    let whole = cols / STRIPES;
    for t in 0..out.rows() {
        let x = &values[(first_token + t) * cols..][..cols];
        for (r, result) in out.row(t).iter_mut().enumerate() {
            let row = w.bytes(first_row + r, 1);
            let mut lanes = [0.0; STRIPES];
            if whole > 0 {
                // SAFETY: the row and `x` have `cols` numbers each, at least `whole` times sixteen.
                unsafe { stripes(row.as_ptr(), x.as_ptr(), whole, &mut lanes) };
            }
            let rest = row.as_chunks::<2>().0.iter().zip(x).skip(whole * STRIPES);
            for (lane, (weight, x)) in lanes.iter_mut().zip(rest) {
                *lane += f16_to_f32(u16::from_le_bytes(*weight)) * x;
            }
            *result = tree(lanes);
        }
    }
}

/// Two halves become floats, times 2^-112: their signs, and what follows shifted to its place, under the mask in r4.
macro_rules! pair {
    ($low:literal, $high:literal) => {
        concat!(
            "ldr r12, [r0], #4\n",
            "and r6, r4, r12, asr #3\n",
            "lsl r12, r12, #16\n",
            "and r5, r4, r12, asr #3\n",
            "vmov ",
            $low,
            ", ",
            $high,
            ", r5, r6\n",
        )
    };
}

macro_rules! term {
    ($lane:literal, $weight:literal, $x:literal) => {
        concat!(
            "vmul.f32 ",
            $weight,
            ", ",
            $weight,
            ", s24\n",
            "vmul.f32 ",
            $weight,
            ", ",
            $weight,
            ", ",
            $x,
            "\n",
            "vadd.f32 ",
            $lane,
            ", ",
            $lane,
            ", ",
            $weight,
            "\n",
        )
    };
}

/// Four products, into these lanes.
macro_rules! four {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "vldmia r1!, {{s16, s17, s18, s19}}\n",
            pair!("s20", "s21"),
            pair!("s22", "s23"),
            term!($a, "s20", "s16"),
            term!($b, "s21", "s17"),
            term!($c, "s22", "s18"),
            term!($d, "s23", "s19"),
        )
    };
}

/// Adds the products of `sixteens` times sixteen weights and activations to the lanes. Weights are finite.
///
/// # Safety
/// So many weights and activations can be read; there are some.
#[unsafe(naked)]
unsafe extern "C" fn stripes(weights: *const u8, x: *const f32, sixteens: usize, lanes: &mut [f32; STRIPES]) {
    naked_asm!(
        // The assembler is not told of the unit that the target has.
        ".fpu fpv4-sp-d16",
        "push {{r4, r5, r6, lr}}",
        "vpush {{d8, d9, d10, d11, d12}}",
        "vldmia r3, {{s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15}}",
        "movw r4, #0xe000",
        "movt r4, #0x8fff",
        // 2^112.
        "mov r5, #0x77000000",
        "orr r5, r5, #0x00800000",
        "vmov s24, r5",
        "1:",
        four!("s0", "s1", "s2", "s3"),
        four!("s4", "s5", "s6", "s7"),
        four!("s8", "s9", "s10", "s11"),
        four!("s12", "s13", "s14", "s15"),
        "subs r2, r2, #1",
        "bne 1b",
        "vstmia r3, {{s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15}}",
        "vpop {{d8, d9, d10, d11, d12}}",
        "pop {{r4, r5, r6, pc}}",
    )
}
