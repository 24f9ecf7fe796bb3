//! The operators. Every access is checked, so that nothing can panic, and outside of the innermost loops.

use super::Error;
use super::dot::{dot, multiply_add};
use super::plan::{Add, Bounds, CHANNEL, Conv, Factor, Op, Place, Pool, VALUES};
use core::ops::Range;
use smidgen_quant::fixed;

/// Channels of a depthwise convolution that are summed together.
const LANES: usize = 4;

type Done = Result<(), Error>;

/// Runs a record whose places were checked against this arena's length.
pub(super) fn run(op: &Op<'_>, arena: &mut [u8]) -> Done {
    match op {
        Op::Conv(op) => conv(op, arena),
        Op::Depthwise(op) => depthwise(op, arena),
        Op::Average(op) => pool(op, arena, average),
        Op::Maximum(op) => pool(op, arena, maximum),
        Op::Add(op) => add(op, arena),
        Op::Table { input, out, table } => each_run(input, out, arena, |from, to| {
            for (&from, to) in from.iter().zip(to) {
                *to = table.get(usize::from(from ^ 0x80)).copied().unwrap_or(0);
            }
            Ok(())
        }),
        Op::Softmax { input, out, table } => each_run(input, out, arena, |from, to| softmax(table, from, to)),
        Op::Copy { input, out } => each_run(input, out, arena, |from, to| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            Ok(())
        }),
        Op::Fill { out, value } => fill(out, *value, arena),
        Op::Mean { input, out, offset, factor, zero } => mean(input, out, *offset, *factor, *zero, arena),
        Op::Move { from, to } => {
            let len = from.len();
            if from.end > arena.len() || to.checked_add(len).is_none_or(|end| end > arena.len()) {
                return Err(Error::Internal);
            }
            arena.copy_within(from.clone(), *to);
            Ok(())
        }
        Op::Load { data, to } => {
            let to = arena.get_mut(to.clone()).ok_or(Error::Internal)?;
            to.iter_mut().zip(*data).for_each(|(to, from)| *to = *from);
            Ok(())
        }
    }
}

/// The bytes that are read and those that are written.
fn split<'a>(
    arena: &'a mut [u8],
    read: &Range<usize>,
    write: &Range<usize>,
) -> Result<(&'a [u8], &'a mut [u8]), Error> {
    match arena.get_disjoint_mut([read.clone(), write.clone()]) {
        Ok([read, write]) => Ok((read, write)),
        Err(_) => Err(Error::Internal),
    }
}

#[inline(always)]
fn part(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], Error> {
    bytes.get(at..).and_then(|bytes| bytes.get(..len)).ok_or(Error::Internal)
}

#[inline(always)]
fn part_mut(bytes: &mut [u8], at: usize, len: usize) -> Result<&mut [u8], Error> {
    bytes.get_mut(at..).and_then(|bytes| bytes.get_mut(..len)).ok_or(Error::Internal)
}

impl Factor {
    #[inline(always)]
    fn apply(self, x: i32) -> i32 {
        fixed::scale(x, self.multiplier, self.shift)
    }
}

impl Bounds {
    #[inline(always)]
    fn byte(self, x: i32) -> u8 {
        // Bounds are those of an int8.
        x.wrapping_add(self.zero).max(self.least).min(self.most) as u8
    }

    /// Adds a channel's bias to a sum and brings it to the output's scale.
    #[inline(always)]
    fn output(self, channel: &[u8; CHANNEL], sum: i32) -> u8 {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *channel;
        let [bias, multiplier, shift] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(i32::from_le_bytes);
        self.byte(fixed::scale(sum.wrapping_add(bias), multiplier, shift))
    }
}

/// Each output pixel is the product of the weights and the taps below it.
fn conv(op: &Conv<'_>, arena: &mut [u8]) -> Done {
    let ranges = [op.input.clone(), op.out.range.clone(), op.scratch.clone()];
    let Ok([input, out, scratch]) = arena.get_disjoint_mut(ranges) else { return Err(Error::Internal) };
    let patch = op.taps.rows.wrapping_mul(op.taps.columns).wrapping_mul(op.taps.channels);
    let filters = op.weights.chunks_exact(patch.max(1));
    for y in 0..op.out.extent.rows {
        for x in 0..op.out.extent.columns {
            let start = op.steps.at(y, x);
            let taps = if scratch.is_empty() {
                part(input, start, patch)?
            } else {
                gather(op, part(input, start, input.len().wrapping_sub(start))?, scratch)?;
                &*scratch
            };
            let out = part_mut(out, op.out.view.at(y, x), op.out.extent.channels)?;
            for ((out, filter), channel) in out.iter_mut().zip(filters.clone()).zip(op.channels) {
                *out = op.bounds.output(channel, dot(filter, taps));
            }
        }
    }
    Ok(())
}

/// Puts the taps of an output side by side.
fn gather(op: &Conv<'_>, input: &[u8], out: &mut [u8]) -> Done {
    let channels = op.taps.channels;
    // Neighbours of a row are taken together.
    let together = op.tap_column == channels;
    let (columns, len) =
        if together { (1, op.taps.columns.wrapping_mul(channels)) } else { (op.taps.columns, channels) };
    let mut out = out.chunks_exact_mut(len.max(1));
    for y in 0..op.taps.rows {
        for x in 0..columns {
            let at = y.wrapping_mul(op.tap_row).wrapping_add(x.wrapping_mul(op.tap_column));
            let (from, to) = (part(input, at, len)?, out.next().ok_or(Error::Internal)?);
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }
    Ok(())
}

/// Each channel has its own taps.
fn depthwise(op: &Conv<'_>, arena: &mut [u8]) -> Done {
    let (input, out) = split(arena, &op.input, &op.out.range)?;
    let channels = op.taps.channels;
    for y in 0..op.out.extent.rows {
        for x in 0..op.out.extent.columns {
            let start = op.steps.at(y, x);
            let input = part(input, start, input.len().wrapping_sub(start))?;
            let out = part_mut(out, op.out.view.at(y, x), channels)?;
            let (whole, rest) = out.as_chunks_mut::<LANES>();
            let (params, rest_params) = op.channels.as_chunks::<LANES>();
            for (i, (out, params)) in whole.iter_mut().zip(params).enumerate() {
                let sums = taps::<LANES>(op, input, i.wrapping_mul(LANES))?;
                for ((out, channel), sum) in out.iter_mut().zip(params).zip(sums) {
                    *out = op.bounds.output(channel, sum);
                }
            }
            let done = channels.wrapping_sub(rest.len());
            for (i, (out, channel)) in rest.iter_mut().zip(rest_params).enumerate() {
                let [sum] = taps::<1>(op, input, done.wrapping_add(i))?;
                *out = op.bounds.output(channel, sum);
            }
        }
    }
    Ok(())
}

/// The sums of neighbouring channels over all taps.
#[inline(always)]
fn taps<const N: usize>(op: &Conv<'_>, input: &[u8], channel: usize) -> Result<[i32; N], Error> {
    let mut sums = [0; N];
    let mut weights = channel;
    let mut row = channel;
    for _ in 0..op.taps.rows {
        let mut at = row;
        for _ in 0..op.taps.columns {
            let inputs = input.get(at..).and_then(|input| input.first_chunk()).ok_or(Error::Internal)?;
            let filter = op.weights.get(weights..).and_then(|weights| weights.first_chunk()).ok_or(Error::Internal)?;
            multiply_add(&mut sums, filter, inputs);
            at = at.wrapping_add(op.tap_column);
            weights = weights.wrapping_add(op.taps.channels);
        }
        row = row.wrapping_add(op.tap_row);
    }
    Ok(sums)
}

/// `function` gets a window's first byte in the input, its rows and columns.
fn pool(op: &Pool, arena: &mut [u8], function: impl Fn(&Pool, &[u8], usize, [usize; 2]) -> Result<i32, Error>) -> Done {
    let (input, out) = split(arena, &op.input.range, &op.out.range)?;
    let inner = [op.input.extent.rows, op.input.extent.columns];
    // The part of a window that lies in the input.
    let cut = |axis: usize, i: usize| {
        let [kernel, stride, pad, inner] =
            [&op.kernel, &op.stride, &op.pad, &inner].map(|sizes| sizes.get(axis).copied().unwrap_or(0));
        let start = i.wrapping_mul(stride);
        let end = start.wrapping_add(kernel).saturating_sub(pad).min(inner);
        let start = start.saturating_sub(pad);
        (start, end.saturating_sub(start))
    };
    for y in 0..op.out.extent.rows {
        let (top, rows) = cut(0, y);
        for x in 0..op.out.extent.columns {
            let (left, columns) = cut(1, x);
            let start = op.input.view.at(top, left);
            let out = part_mut(out, op.out.view.at(y, x), op.out.extent.channels)?;
            for (channel, out) in out.iter_mut().enumerate() {
                let value = function(op, input, start.wrapping_add(channel), [rows, columns])?;
                *out = value.max(op.bounds.least).min(op.bounds.most) as u8;
            }
        }
    }
    Ok(())
}

/// Folds the values of one channel in a window.
fn fold(
    place: &Place,
    input: &[u8],
    start: usize,
    [rows, columns]: [usize; 2],
    first: i32,
    f: fn(i32, i32) -> i32,
) -> Result<i32, Error> {
    let mut result = first;
    for y in 0..rows {
        for x in 0..columns {
            let value = input.get(start.wrapping_add(place.view.at(y, x))).ok_or(Error::Internal)?;
            result = f(result, i32::from(*value as i8));
        }
    }
    Ok(result)
}

fn average(op: &Pool, input: &[u8], start: usize, window: [usize; 2]) -> Result<i32, Error> {
    let sum = fold(&op.input, input, start, window, 0, i32::wrapping_add)?;
    let [rows, columns] = window;
    let count = i32::try_from(rows.wrapping_mul(columns)).unwrap_or(0);
    let half = if sum > 0 { count / 2 } else { -(count / 2) };
    sum.wrapping_add(half).checked_div(count).ok_or(Error::Internal)
}

fn maximum(op: &Pool, input: &[u8], start: usize, window: [usize; 2]) -> Result<i32, Error> {
    fold(&op.input, input, start, window, i32::from(i8::MIN), i32::max)
}

fn mean(input: &Place, out: &Place, offset: i32, factor: Factor, zero: i32, arena: &mut [u8]) -> Done {
    let (bytes, out) = split(arena, &input.range, &out.range)?;
    for (channel, out) in out.iter_mut().enumerate() {
        let window = [input.extent.rows, input.extent.columns];
        let sum = fold(input, bytes, channel, window, 0, i32::wrapping_add)?;
        let bounds = Bounds { zero, least: i8::MIN.into(), most: i8::MAX.into() };
        *out = bounds.byte(factor.apply(sum.wrapping_add(offset)));
    }
    Ok(())
}

/// Bits by which sums are finer than their terms.
const ADD_BITS: u32 = 20;

fn add(op: &Add, arena: &mut [u8]) -> Done {
    let [(a, a_zero, a_factor), (b, b_zero, b_factor)] = &op.inputs;
    // What is read lies before or after what is written.
    let (before, rest) = arena.split_at_mut_checked(op.out.range.start).ok_or(Error::Internal)?;
    let (out, after) = rest.split_at_mut_checked(op.out.range.len()).ok_or(Error::Internal)?;
    let side = |place: &Place| match place.range.start.checked_sub(op.out.range.end) {
        Some(start) => part(after, start, place.range.len()),
        None => part(before, place.range.start, place.range.len()),
    };
    let (a_bytes, b_bytes) = (side(a)?, side(b)?);
    let extent = op.out.extent;
    for y in 0..extent.rows {
        for x in 0..extent.columns {
            let a = part(a_bytes, a.view.at(y, x), extent.channels)?;
            let b = part(b_bytes, b.view.at(y, x), extent.channels)?;
            let out = part_mut(out, op.out.view.at(y, x), extent.channels)?;
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                let term = |value: u8, zero: i32, factor: Factor| {
                    factor.apply(i32::from(value as i8).wrapping_sub(zero).wrapping_shl(ADD_BITS))
                };
                let sum = term(a, *a_zero, *a_factor).wrapping_add(term(b, *b_zero, *b_factor));
                *out = op.bounds.byte(op.factor.apply(sum));
            }
        }
    }
    Ok(())
}

/// Calls `function` with the channels of each row and column.
fn each_run(input: &Place, out: &Place, arena: &mut [u8], mut function: impl FnMut(&[u8], &mut [u8]) -> Done) -> Done {
    let (read, write) = split(arena, &input.range, &out.range)?;
    let extent = out.extent;
    for y in 0..extent.rows {
        for x in 0..extent.columns {
            let from = part(read, input.view.at(y, x), extent.channels)?;
            function(from, part_mut(write, out.view.at(y, x), extent.channels)?)?;
        }
    }
    Ok(())
}

fn fill(out: &Place, value: u8, arena: &mut [u8]) -> Done {
    let bytes = arena.get_mut(out.range.clone()).ok_or(Error::Internal)?;
    for y in 0..out.extent.rows {
        for x in 0..out.extent.columns {
            part_mut(bytes, out.view.at(y, x), out.extent.channels)?.fill(value);
        }
    }
    Ok(())
}

/// Exponentials of the differences to the maximum, divided by their sum.
fn softmax(table: &[[u8; 4]], input: &[u8], out: &mut [u8]) -> Done {
    let most = input.iter().map(|&x| x as i8).max().unwrap_or(0);
    let exp = |x: u8| {
        let below = usize::from(most.abs_diff(x as i8));
        table.get(below.min(VALUES - 1)).map_or(0, |bytes| i32::from_le_bytes(*bytes))
    };
    let term = |x: &u8| fixed::divide_by_power(exp(*x), fixed::SUM_BITS);
    let (factor, exponent) = fixed::reciprocal(input.iter().map(term).fold(0, i32::wrapping_add));
    let shift = u32::try_from(exponent.wrapping_add(31 - 8)).unwrap_or(0).min(31);
    for (out, &x) in out.iter_mut().zip(input) {
        let value = fixed::divide_by_power(fixed::multiply_high(factor, exp(x)), shift);
        *out = value.wrapping_add(i8::MIN.into()).max(i8::MIN.into()).min(i8::MAX.into()) as u8;
    }
    Ok(())
}
