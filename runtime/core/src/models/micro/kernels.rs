//! The operators. Every access is checked, so that nothing can panic, and outside of the innermost loops.

use super::Error;
use super::plan::{Add, Conv, Factor, Place, Pool, VALUES};
use core::ops::Range;
use smidgen_quant::fixed;
use smidgen_quant::int8::Bounds;
use smidgen_targets::micro;

type Done = Result<(), Error>;

/// Bytes become others.
pub(super) fn table(table: &[u8], from: &[u8], to: &mut [u8]) {
    for (&from, to) in from.iter().zip(to) {
        *to = table.get(usize::from(from ^ 0x80)).copied().unwrap_or(0);
    }
}

pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Moves bytes, whose places may overlap: as many at a time as they move by, so that each piece has a place of its own.
pub(super) fn shift(from: &Range<usize>, to: usize, arena: &mut [u8]) -> Done {
    let len = from.len();
    let step = from.start.abs_diff(to);
    let mut done = 0_usize;
    while done < len && step > 0 {
        let count = step.min(len.wrapping_sub(done));
        // From the end if bytes move upwards.
        let at = if to < from.start { done } else { len.wrapping_sub(done).wrapping_sub(count) };
        let (read, write) = (from.start.wrapping_add(at), to.wrapping_add(at));
        let (read, write) = split(arena, &(read..read.wrapping_add(count)), &(write..write.wrapping_add(count)))?;
        copy(read, write);
        done = done.wrapping_add(count);
    }
    Ok(())
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

/// Each output pixel is the product of the weights and the taps below it.
pub(super) fn conv(op: &Conv<'_>, arena: &mut [u8]) -> Done {
    let ranges = [op.input.clone(), op.out.range.clone(), op.scratch.clone()];
    let Ok([input, out, scratch]) = arena.get_disjoint_mut(ranges) else { return Err(Error::Internal) };
    let patch = op.taps.rows.wrapping_mul(op.taps.columns).wrapping_mul(op.inputs);
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
            micro::filters(taps, op.weights, op.channels, op.bounds, out);
        }
    }
    Ok(())
}

/// Puts the taps of an output side by side.
fn gather(op: &Conv<'_>, input: &[u8], out: &mut [u8]) -> Done {
    let channels = op.inputs;
    // Neighbours of a row are taken together.
    let together = op.taps.column == channels;
    let (columns, len) =
        if together { (1, op.taps.columns.wrapping_mul(channels)) } else { (op.taps.columns, channels) };
    let mut out = out.chunks_exact_mut(len.max(1));
    for y in 0..op.taps.rows {
        for x in 0..columns {
            let at = y.wrapping_mul(op.taps.row).wrapping_add(x.wrapping_mul(op.taps.column));
            let (from, to) = (part(input, at, len)?, out.next().ok_or(Error::Internal)?);
            copy(from, to);
        }
    }
    Ok(())
}

/// Each channel has its own taps.
pub(super) fn depthwise(op: &Conv<'_>, arena: &mut [u8]) -> Done {
    let (input, out) = split(arena, &op.input, &op.out.range)?;
    for y in 0..op.out.extent.rows {
        for x in 0..op.out.extent.columns {
            let start = op.steps.at(y, x);
            let input = part(input, start, input.len().wrapping_sub(start))?;
            let out = part_mut(out, op.out.view.at(y, x), op.inputs)?;
            micro::depthwise(&op.taps, input, op.weights, op.channels, op.bounds, out);
        }
    }
    Ok(())
}

/// Means or maxima of windows, which are cut at the edges.
pub(super) fn pool(op: &Pool, maximum: bool, arena: &mut [u8]) -> Done {
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
                let (start, window) = (start.wrapping_add(channel), [rows, columns]);
                let value = match maximum {
                    true => fold(&op.input, input, start, window, i8::MIN.into(), i32::max)?,
                    false => average(&op.input, input, start, window)?,
                };
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

fn average(place: &Place, input: &[u8], start: usize, window: [usize; 2]) -> Result<i32, Error> {
    let sum = fold(place, input, start, window, 0, i32::wrapping_add)?;
    let [rows, columns] = window;
    let count = i32::try_from(rows.wrapping_mul(columns)).unwrap_or(0);
    let half = if sum > 0 { count / 2 } else { -(count / 2) };
    sum.wrapping_add(half).checked_div(count).ok_or(Error::Internal)
}

pub(super) fn mean(input: &Place, out: &Place, offset: i32, factor: Factor, zero: i32, arena: &mut [u8]) -> Done {
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

pub(super) fn add(op: &Add, arena: &mut [u8]) -> Done {
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
pub(super) fn each_run(input: &Place, out: &Place, arena: &mut [u8], function: impl Fn(&[u8], &mut [u8])) -> Done {
    let (read, write) = split(arena, &input.range, &out.range)?;
    let extent = out.extent;
    for y in 0..extent.rows {
        for x in 0..extent.columns {
            let from = part(read, input.view.at(y, x), extent.channels)?;
            function(from, part_mut(write, out.view.at(y, x), extent.channels)?);
        }
    }
    Ok(())
}

pub(super) fn fill(out: &Place, value: u8, arena: &mut [u8]) -> Done {
    let bytes = arena.get_mut(out.range.clone()).ok_or(Error::Internal)?;
    for y in 0..out.extent.rows {
        for x in 0..out.extent.columns {
            part_mut(bytes, out.view.at(y, x), out.extent.channels)?.fill(value);
        }
    }
    Ok(())
}

/// Exponentials of the differences to the maximum, divided by their sum.
pub(super) fn softmax(table: &[[u8; 4]], input: &[u8], out: &mut [u8]) {
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
}
