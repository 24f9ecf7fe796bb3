//! Shapes: the windows of convolutions and pools, axes, slices.

use super::Error;
use super::graph::Operator;
use super::lower::Lower;
use super::ops::{CONV_2D, DEPTHWISE_CONV_2D, STRIDED_SLICE};

/// A convolution's windows along one axis.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) taps: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) outputs: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

/// The window of an axis of `inner` inputs.
pub(super) fn window(inner: usize, taps: usize, stride: usize, dilation: usize, same: bool) -> Option<Window> {
    let span = taps.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    if stride == 0 || dilation == 0 || span > 1 << 20 || stride > 1 << 20 {
        return None;
    }
    let outputs = if same { inner.div_ceil(stride) } else { (inner.checked_sub(span)? + stride) / stride };
    let pad = ((outputs - 1) * stride + span).saturating_sub(inner);
    Some(Window { taps, stride, dilation, outputs, before: pad / 2, after: pad - pad / 2 })
}

/// The windows of a convolution over its input's rows and columns.
pub(super) fn windows(lower: &Lower<'_, '_>, operator: &Operator<'_>) -> Result<[Window; 2], Error> {
    let (input, filter) = (lower.operand(operator, 0)?, lower.operand(operator, 1)?);
    let (input, filter) = (&lower.tensor(input).shape, &lower.tensor(filter).shape);
    let (&[1, rows, columns, _], &[_, tap_rows, tap_columns, _]) = (&input[..], &filter[..]) else {
        return Err(lower.fail("input and filter are not of four dimensions, or there is more than one input"));
    };
    let dilations = if operator.code == CONV_2D { 4 } else { 5 };
    let size = |number, field, default| {
        let value = lower.option(operator, |options| options.int(number, field, default), default)?;
        usize::try_from(value).map_err(|_| lower.fail("a stride or dilation is negative"))
    };
    let same = lower.option(operator, |options| options.byte(0, "padding"), 0)? == 0;
    let too_large = || lower.fail("the filter is larger than the input, or a stride or dilation is zero");
    let rows = window(rows, tap_rows, size(2, "stride_h", 0)?, size(dilations + 1, "dilation_h_factor", 1)?, same);
    let columns = window(columns, tap_columns, size(1, "stride_w", 0)?, size(dilations, "dilation_w_factor", 1)?, same);
    Ok([rows.ok_or_else(too_large)?, columns.ok_or_else(too_large)?])
}

/// The border that an operator wants around its input.
pub(super) fn border(lower: &Lower<'_, '_>, operator: &Operator<'_>) -> Result<Option<(usize, [usize; 4])>, Error> {
    if !matches!(operator.code, CONV_2D | DEPTHWISE_CONV_2D) {
        return Ok(None);
    }
    let [rows, columns] = windows(lower, operator)?;
    Ok(Some((lower.operand(operator, 0)?, [rows.before, rows.after, columns.before, columns.after])))
}

/// An axis of a tensor as one of rows, columns, channels.
pub(super) fn place_axis(lower: &Lower<'_, '_>, tensor: usize, axis: i32) -> Result<usize, Error> {
    let shape = &lower.tensor(tensor).shape;
    let rank = shape.len() as i64;
    let axis = i64::from(axis);
    let axis = if axis < 0 { axis + rank } else { axis };
    let outer = usize::try_from(rank - 3).unwrap_or(0);
    if !(0..rank).contains(&axis) || shape.iter().take(outer).any(|dim| *dim != 1) || axis + 3 < rank {
        return Err(lower.fail("its axis is not one of rows, columns and channels"));
    }
    usize::try_from(axis + 3 - rank).map_err(|_| lower.fail("its axis is out of range"))
}

/// The axis of a concatenation, after a check of the shapes.
pub(super) fn axis(lower: &Lower<'_, '_>, operator: &Operator<'_>) -> Result<usize, Error> {
    let out = lower.result(operator, 0)?;
    let axis = lower.option(operator, |options| options.int(0, "axis", 0), 0)?;
    let axis = place_axis(lower, out, axis)?;
    let mut rest = lower.extent(out);
    for tensor in operator.inputs.iter().flatten() {
        let part = lower.extent(*tensor);
        let fits = (0..3).all(|i| i == axis || part[i] == lower.extent(out)[i]);
        let left = rest[axis].checked_sub(part[axis]).filter(|_| fits);
        rest[axis] = left.ok_or_else(|| lower.fail("the shapes of its inputs do not fit its output's"))?;
    }
    if rest[axis] == 0 { Ok(axis) } else { Err(lower.fail("the shapes of its inputs do not fill its output's")) }
}

/// Where a slice begins, after a check that it is one of consecutive elements that fits its output.
pub(super) fn slice_start(lower: &Lower<'_, '_>, operator: &Operator<'_>) -> Result<[usize; 3], Error> {
    let (input, out) = (lower.operand(operator, 0)?, lower.result(operator, 0)?);
    let list = |number| lower.tensor(lower.operand(operator, number)?).ints();
    let shape = &lower.tensor(input).shape;
    let begins = list(1)?;
    let strided = operator.code == STRIDED_SLICE;
    let wrong = || lower.fail("it is not a slice of consecutive elements that fits its output");
    let mut mask = 0;
    if strided {
        let masks = [2, 3, 4].map(|number| lower.option(operator, |options| options.int(number, "mask", 0), 0));
        for other in masks {
            if other? != 0 {
                return Err(lower.fail("its ellipsis, new-axis or shrink-axis mask is not zero"));
            }
        }
        mask = lower.option(operator, |options| options.int(0, "begin_mask", 0), 0)?;
        if list(3)?.iter().any(|stride| *stride != 1) {
            return Err(wrong());
        }
    }
    let target = &lower.tensor(out).shape;
    if begins.len() != shape.len() || target.len() != shape.len() || shape.len() > 31 {
        return Err(wrong());
    }
    let mut starts = Vec::new();
    for (i, (&begin, &dim)) in begins.iter().zip(shape).enumerate() {
        let whole = i64::try_from(dim).map_err(|_| wrong())?;
        let begin = if mask >> i & 1 == 1 { 0 } else { i64::from(begin) };
        let begin = if begin < 0 { begin + whole } else { begin }.clamp(0, whole);
        let start = usize::try_from(begin).map_err(|_| wrong())?;
        if start + target[i] > dim || (i + 3 < shape.len() && dim != 1) {
            return Err(wrong());
        }
        starts.push(start);
    }
    let mut start = [0; 3];
    for (to, from) in start.iter_mut().rev().zip(starts.iter().rev()) {
        *to = *from;
    }
    Ok(start)
}
