//! GEMV of Q8_0 and Q4_0, four rows at a time, so that activations are unpacked once.

use crate::{Input, KernelSet, Tile, WeightMatrix, scalar};
use core::arch::naked_asm;
use smidgen_quant::{Format, f16_to_f32};

/// Rows that are summed together.
const ROWS: usize = 4;
/// Bytes of a block's scale, which come before its weights.
const SCALE: usize = 2;

/// Cortex-M4, M7, M33.
pub(crate) static KERNELS: KernelSet =
    with_f16(KernelSet { name: "armv7em", ..scalar::KERNELS }).with(Format::Q8_0, q8_0).with(Format::Q4_0, q4_0);

#[cfg(target_abi = "eabihf")]
const fn with_f16(table: KernelSet) -> KernelSet {
    table.with(Format::F16, super::f16::f16)
}

#[cfg(not(target_abi = "eabihf"))]
const fn with_f16(table: KernelSet) -> KernelSet {
    table
}

/// Sums over a block's products for [`ROWS`] rows: `weights` of the first row's block, bytes from row to row, 32 activations.
///
/// # Safety
/// The weights of a block can be read in each row, and 32 activations.
type Sums = unsafe extern "C" fn(weights: *const u8, row: usize, x: *const i8, sums: &mut [i32; ROWS]);

fn q8_0(w: &WeightMatrix, x: &Input, out: &mut Tile) {
    by_rows(w, x, out, q8_0_sums, |sum, _| sum);
}

fn q4_0(w: &WeightMatrix, x: &Input, out: &mut Tile) {
    // Levels are nibbles less 8.
    by_rows(w, x, out, q4_0_sums, |sum, of_activations| sum.wrapping_sub(of_activations.wrapping_mul(8)));
}

/// Groups of rows that lie one after another; the reference does the rest. `sum` makes the reference's sum from that of the function and of a block's
/// activations.
#[inline(always)]
fn by_rows(w: &WeightMatrix, x: &Input, out: &mut Tile, function: Sums, sum: impl Fn(i32, i32) -> i32) {
    let Input::Q8(activations) = x else { return };
    let (first_row, first_token) = (out.first_col(), out.first_row());
    let plain = first_row >= w.packed_rows();
    let done = if plain { out.cols() / ROWS * ROWS } else { 0 };
    let (row_bytes, block_bytes) = (w.row_bytes(), w.format().block_bytes());
    for t in 0..out.rows() {
        for (group, out) in out.row(t).as_chunks_mut::<ROWS>().0.iter_mut().take(done / ROWS).enumerate() {
            let rows = w.bytes(first_row + group * ROWS, ROWS);
            let mut results = [0.0; ROWS];
            for b in 0..w.cols() / w.format().block_len() {
                let (xs, dx, of_activations, _) = activations.block(b, first_token + t);
                let mut sums = [0; ROWS];
                let at = b * block_bytes;
                // SAFETY: block `b` lies in each of the rows, which are `row_bytes` long, its weights behind the scale; `xs` are 32.
                unsafe { function(rows.as_ptr().add(at + SCALE), row_bytes, xs.as_ptr(), &mut sums) };
                for (i, (result, found)) in results.iter_mut().zip(sums).enumerate() {
                    let scale =
                        f16_to_f32(u16::from_le_bytes([rows[i * row_bytes + at], rows[i * row_bytes + at + 1]]));
                    *result += (scale * dx) * sum(found, of_activations) as f32;
                }
            }
            *out = results;
        }
    }
    w.by_reference(x, out, done);
}

/// Where rows and activations are, sums of zero; the end of the activations' part that is walked over, and where the sums go, on the
/// stack.
macro_rules! begin {
    ($length:literal) => {
        concat!(
            "push {{r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}}\n",
            "mov r4, r2\n",
            "add r2, r2, #",
            $length,
            "\n",
            "push {{r2}}\n",
            "mov r5, r0\n",
            "add r6, r5, r1\n",
            "add r7, r6, r1\n",
            "add r8, r7, r1\n",
            "mov r0, #0\n",
            "mov r1, #0\n",
            "mov r2, #0\n",
            "mov r3, #0\n",
        )
    };
}

/// Back to label 1 unless the end is reached.
macro_rules! end {
    () => {
        concat!(
            "ldr r12, [sp]\n",
            "cmp r4, r12\n",
            "bne 1b\n",
            "add sp, sp, #4\n",
            "pop {{r12}}\n",
            "stm r12, {{r0, r1, r2, r3}}\n",
            "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}\n",
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn q8_0_sums(weights: *const u8, row: usize, x: *const i8, sums: &mut [i32; ROWS]) {
    naked_asm!(begin!("32"), "1:", taps!(), taps!(), end!())
}

/// Four nibbles of a row, at every other place from two bits on: those of the inputs' even bytes, in r10, and of the odd ones, in r11.
macro_rules! nibbles {
    ($sum:literal, $weights:literal, $even:literal, $odd:literal) => {
        concat!(
            "ldr r12, ",
            $weights,
            "\n",
            "and lr, r9, r12",
            $even,
            "\n",
            "smlad ",
            $sum,
            ", lr, r10, ",
            $sum,
            "\n",
            "and lr, r9, r12",
            $odd,
            "\n",
            "smlad ",
            $sum,
            ", lr, r11, ",
            $sum,
            "\n",
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn q4_0_sums(weights: *const u8, row: usize, x: *const i8, sums: &mut [i32; ROWS]) {
    naked_asm!(
        begin!("16"),
        "mov r9, #15",
        "orr r9, r9, r9, lsl #16",
        "1: ldr r10, [r4], #4",
        "sxtb16 r11, r10, ror #8",
        "sxtb16 r10, r10",
        nibbles!("r0", "[r5]", "", ", lsr #8"),
        nibbles!("r1", "[r6]", "", ", lsr #8"),
        nibbles!("r2", "[r7]", "", ", lsr #8"),
        nibbles!("r3", "[r8]", "", ", lsr #8"),
        // Weight 16 of a block is the high nibble of byte 0.
        "ldr r10, [r4, #12]",
        "sxtb16 r11, r10, ror #8",
        "sxtb16 r10, r10",
        nibbles!("r0", "[r5], #4", ", lsr #4", ", lsr #12"),
        nibbles!("r1", "[r6], #4", ", lsr #4", ", lsr #12"),
        nibbles!("r2", "[r7], #4", ", lsr #4", ", lsr #12"),
        nibbles!("r3", "[r8], #4", ", lsr #4", ", lsr #12"),
        end!(),
    )
}
