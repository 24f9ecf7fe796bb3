//! int8 networks, and language models of eight and four bits, on Cortex-M4, M7, M33 and their like: two products in an instruction. The
//! feature `armv7em` says that the processor has the DSP extension; for one without it the build fails.
//!
//! # Safety
//! The assembly reads and writes what [`Job`]'s pointers reach; [`filters`] and [`depthwise`] check before they call it that all of it
//! lies in the slices they were given, and that words are aligned where an instruction asks for it.

use core::arch::naked_asm;
pub(crate) use gemv::KERNELS;
use smidgen_quant::int8::{self, Bounds, CHANNEL, Taps};

/// Channels that are summed together.
const LANES: usize = 4;

/// The arguments of the assembly, which reads them by offset and writes them back from group to group.
#[repr(C)]
struct Job {
    /// 0, 4
    inputs: *const u8,
    weights: *const u8,
    /// 8: bytes of a row of weights, or channels of the depthwise product.
    row: usize,
    /// 12, 16
    channels: *const [u8; CHANNEL],
    out: *mut u8,
    /// 20: groups of [`LANES`] outputs.
    groups: usize,
    /// 24
    zero: i32,
    /// 28, 32, 36, 40: taps.
    rows: usize,
    columns: usize,
    column: usize,
    /// From behind a row's last tap to the next row's first.
    next: usize,
}

/// [`int8::filters`].
pub fn filters(inputs: &[u8], weights: &[u8], channels: &[[u8; CHANNEL]], bounds: Bounds, out: &mut [u8]) {
    let row = inputs.len();
    let groups = out.len().min(channels.len()) / LANES;
    let done = groups.wrapping_mul(LANES);
    let fits = done.checked_mul(row).is_some_and(|len| len <= weights.len());
    if row == 0 || groups == 0 || !fits || !channels.as_ptr().addr().is_multiple_of(4) {
        return int8::filters(inputs, weights, channels, bounds, out);
    }
    let mut job = Job {
        inputs: inputs.as_ptr(),
        weights: weights.as_ptr(),
        row,
        channels: channels.as_ptr(),
        out: out.as_mut_ptr(),
        groups,
        zero: bounds.zero,
        rows: 1,
        columns: 1,
        column: 0,
        next: 0,
    };
    // SAFETY: `groups` times four rows of weights, channels and outputs are inside of the slices, channels are aligned.
    unsafe { filters_groups(&mut job) };
    clamp(bounds, out.get_mut(..done).unwrap_or_default());
    let rest = (weights.get(done.wrapping_mul(row)..), channels.get(done..), out.get_mut(done..));
    if let (Some(weights), Some(channels), Some(out)) = rest {
        int8::filters(inputs, weights, channels, bounds, out);
    }
}

/// [`int8::depthwise`].
pub fn depthwise(
    taps: &Taps,
    inputs: &[u8],
    weights: &[u8],
    channels: &[[u8; CHANNEL]],
    bounds: Bounds,
    out: &mut [u8],
) {
    let count = out.len();
    // A single column is done like a single row, which takes fewer instructions.
    let line = Taps { rows: 1, columns: taps.rows, row: 0, column: taps.row };
    let taps = if taps.columns == 1 { &line } else { taps };
    let groups = count.min(channels.len()) / LANES;
    let fits = taps.span(count).is_some_and(|span| span <= inputs.len())
        && taps
            .rows
            .checked_mul(taps.columns)
            .and_then(|taps| taps.checked_mul(count))
            .is_some_and(|len| len <= weights.len());
    if groups == 0 || !fits || !channels.as_ptr().addr().is_multiple_of(4) {
        return int8::depthwise_from(0, taps, inputs, weights, channels, bounds, out);
    }
    let mut job = Job {
        inputs: inputs.as_ptr(),
        weights: weights.as_ptr(),
        row: count,
        channels: channels.as_ptr(),
        out: out.as_mut_ptr(),
        groups,
        zero: bounds.zero,
        rows: taps.rows,
        columns: taps.columns,
        column: taps.column,
        next: taps.row.wrapping_sub(taps.columns.wrapping_mul(taps.column)),
    };
    // SAFETY: the span of the taps, the weights of all taps, and `groups` times four channels and outputs are inside of the slices;
    // there is a row and a column, as there is a span; channels are aligned.
    unsafe { depthwise_groups(&mut job) };
    let done = groups.wrapping_mul(LANES);
    clamp(bounds, out.get_mut(..done).unwrap_or_default());
    int8::depthwise_from(done, taps, inputs, weights, channels, bounds, out);
}

/// Narrower bounds than those of an int8, which the assembly holds.
fn clamp(bounds: Bounds, out: &mut [u8]) {
    if bounds.least > i8::MIN.into() || bounds.most < i8::MAX.into() {
        for out in out {
            *out = i32::from(*out as i8).max(bounds.least).min(bounds.most) as u8;
        }
    }
}

/// Four taps of one filter: the inputs' even bytes in r10, odd ones in r11.
macro_rules! tap {
    ($sum:literal, $weights:literal) => {
        concat!(
            "ldr r12, [",
            $weights,
            "], #4\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad ",
            $sum,
            ", lr, r10, ",
            $sum,
            "\n",
            "smlad ",
            $sum,
            ", r12, r11, ",
            $sum,
            "\n",
        )
    };
}

/// Four taps of four filters.
macro_rules! taps {
    () => {
        concat!(
            "ldr r10, [r4], #4\n",
            "sxtb16 r11, r10, ror #8\n",
            "sxtb16 r10, r10\n",
            tap!("r0", "r5"),
            tap!("r1", "r6"),
            tap!("r2", "r7"),
            tap!("r3", "r8"),
        )
    };
}

#[cfg(target_abi = "eabihf")]
mod f16;
// Behind the macros, which it uses.
mod gemv;

/// A sum becomes a byte: bias, doubled product's high half rounded, shift rounded away from zero, zero point (r6). The multiplier, once
/// doubled, is a number without sign, which the third operand makes up for. Channels at r4, output at r5.
macro_rules! output {
    ($sum:literal) => {
        concat!(
            "ldm r4!, {{r7, r8, r9}}\n",
            "add ",
            $sum,
            ", ",
            $sum,
            ", r7\n",
            "lsl r8, r8, #1\n",
            "rsbs r9, r9, #0\n",
            "ble 2f\n",
            "and r7, ",
            $sum,
            ", r8, asr #31\n",
            "smmlar ",
            $sum,
            ", ",
            $sum,
            ", r8, r7\n",
            "add ",
            $sum,
            ", ",
            $sum,
            ", ",
            $sum,
            ", asr #31\n",
            "asrs ",
            $sum,
            ", ",
            $sum,
            ", r9\n",
            "adc ",
            $sum,
            ", ",
            $sum,
            ", r6\n",
            "3: ssat ",
            $sum,
            ", #8, ",
            $sum,
            "\n",
            "strb ",
            $sum,
            ", [r5], #1\n",
            ".subsection 1\n",
            "2: rsb r9, r9, #0\n",
            "lsl ",
            $sum,
            ", ",
            $sum,
            ", r9\n",
            "and r7, ",
            $sum,
            ", r8, asr #31\n",
            "smmlar ",
            $sum,
            ", ",
            $sum,
            ", r8, r7\n",
            "add ",
            $sum,
            ", ",
            $sum,
            ", r6\n",
            "b 3b\n",
            ".previous\n",
        )
    };
}

/// The end of a group: four outputs, and back to label 1 if there is another.
macro_rules! outputs {
    () => {
        concat!(
            "ldr r12, [sp]\n",
            "ldrd r4, r5, [r12, #12]\n",
            "ldr r6, [r12, #24]\n",
            output!("r0"),
            output!("r1"),
            output!("r2"),
            output!("r3"),
            "strd r4, r5, [r12, #12]\n",
            "ldr r4, [r12, #20]\n",
            "subs r4, r4, #1\n",
            "str r4, [r12, #20]\n",
            "bne 1b\n",
            "add sp, sp, #4\n",
            "pop {{r4, r5, r6, r7, r8, r9, r10, r11, pc}}\n",
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn filters_groups(job: &mut Job) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "push {{r0}}",
        "1: ldr r12, [sp]",
        "ldm r12, {{r4, r5, r9}}",
        "add r6, r5, r9",
        "add r7, r6, r9",
        "add r8, r7, r9",
        "add r10, r8, r9",
        "str r10, [r12, #4]",
        "mov r0, #0",
        "mov r1, #0",
        "mov r2, #0",
        "mov r3, #0",
        "lsr r10, r9, #2",
        "add r9, r4, r10, lsl #2",
        "tst r10, #1",
        "beq 5f",
        taps!(),
        "5: cmp r4, r9",
        "beq 6f",
        "4:",
        taps!(),
        taps!(),
        "cmp r4, r9",
        "bne 4b",
        "6: ldr r12, [sp]",
        "ldr r9, [r12, #8]",
        "ands r9, r9, #3",
        "beq 8f",
        "7: ldrsb r10, [r4], #1",
        "ldrsb r11, [r5], #1",
        "ldrsb r12, [r6], #1",
        "mla r0, r10, r11, r0",
        "mla r1, r10, r12, r1",
        "ldrsb r11, [r7], #1",
        "ldrsb r12, [r8], #1",
        "mla r2, r10, r11, r2",
        "mla r3, r10, r12, r3",
        "subs r9, r9, #1",
        "bne 7b",
        "8:",
        outputs!(),
    )
}

/// A tap of four channels, at these places.
macro_rules! channels {
    ($input:literal, $weight:literal) => {
        concat!(
            "ldr r10, ",
            $input,
            "\n",
            "ldr r12, ",
            $weight,
            "\n",
            "sxtb16 r11, r10, ror #8\n",
            "sxtb16 r10, r10\n",
            "sxtb16 lr, r12, ror #8\n",
            "sxtb16 r12, r12\n",
            "smlabb r0, r10, r12, r0\n",
            "smlatt r2, r10, r12, r2\n",
            "smlabb r1, r11, lr, r1\n",
            "smlatt r3, r11, lr, r3\n",
        )
    };
}

#[unsafe(naked)]
unsafe extern "C" fn depthwise_groups(job: &mut Job) {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, lr}}",
        "push {{r0}}",
        "1: ldr r12, [sp]",
        "ldm r12, {{r4, r5, r7}}",
        "add r0, r4, #4",
        "add r1, r5, #4",
        "strd r0, r1, [r12]",
        "ldr r9, [r12, #28]",
        "ldr r6, [r12, #36]",
        "mov r0, #0",
        "mov r1, #0",
        "mov r2, #0",
        "mov r3, #0",
        "4: ldr r12, [sp]",
        "ldr r8, [r12, #32]",
        "cmp r8, #3",
        "bne 5f",
        channels!("[r4]", "[r5]"),
        channels!("[r4, r6]", "[r5, r7]"),
        channels!("[r4, r6, lsl #1]", "[r5, r7, lsl #1]"),
        "add r4, r4, r6",
        "add r4, r4, r6, lsl #1",
        "add r5, r5, r7",
        "add r5, r5, r7, lsl #1",
        "b 6f",
        "5:",
        channels!("[r4]", "[r5]"),
        "add r4, r4, r6",
        "add r5, r5, r7",
        "subs r8, r8, #1",
        "bne 5b",
        "6: ldr r12, [sp]",
        "ldr r12, [r12, #40]",
        "add r4, r4, r12",
        "subs r9, r9, #1",
        "bne 4b",
        outputs!(),
    )
}
