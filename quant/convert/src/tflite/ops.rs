//! The operators: what of TensorFlow Lite's is which record of a plan, with factors in fixed point, offsets in biases, and functions of one
//! byte in tables.

use super::Error;
use super::graph::{Kind, Operator};
use super::lower::Lower;
use super::memory::{Place, Record, extent};
use super::shapes::{axis, place_axis, slice_start, window, windows};
use smidgen_quant::fixed;

const ADD: i32 = 0;
const AVERAGE_POOL_2D: i32 = 1;
pub(super) const CONCATENATION: i32 = 2;
pub(super) const CONV_2D: i32 = 3;
pub(super) const DEPTHWISE_CONV_2D: i32 = 4;
const FULLY_CONNECTED: i32 = 9;
const LOGISTIC: i32 = 14;
const MAX_POOL_2D: i32 = 17;
const RELU: i32 = 19;
const RELU6: i32 = 21;
pub(super) const RESHAPE: i32 = 22;
const SOFTMAX: i32 = 25;
const PAD: i32 = 34;
const MEAN: i32 = 40;
const SQUEEZE: i32 = 43;
pub(super) const STRIDED_SLICE: i32 = 45;
const SPLIT: i32 = 49;
const SLICE: i32 = 65;
const EXPAND_DIMS: i32 = 70;
const SPLIT_V: i32 = 102;
const QUANTIZE: i32 = 114;
pub(super) const CALL_ONCE: i32 = 129;
pub(super) const VAR_HANDLE: i32 = 142;
pub(super) const READ_VARIABLE: i32 = 143;
pub(super) const ASSIGN_VARIABLE: i32 = 144;

/// The schema's name of an operator.
pub(super) fn name(code: i32) -> String {
    let known = match code {
        ADD => "ADD",
        AVERAGE_POOL_2D => "AVERAGE_POOL_2D",
        CONCATENATION => "CONCATENATION",
        CONV_2D => "CONV_2D",
        DEPTHWISE_CONV_2D => "DEPTHWISE_CONV_2D",
        FULLY_CONNECTED => "FULLY_CONNECTED",
        LOGISTIC => "LOGISTIC",
        MAX_POOL_2D => "MAX_POOL_2D",
        RELU => "RELU",
        RELU6 => "RELU6",
        RESHAPE => "RESHAPE",
        SOFTMAX => "SOFTMAX",
        PAD => "PAD",
        MEAN => "MEAN",
        SQUEEZE => "SQUEEZE",
        STRIDED_SLICE => "STRIDED_SLICE",
        SPLIT => "SPLIT",
        SLICE => "SLICE",
        EXPAND_DIMS => "EXPAND_DIMS",
        SPLIT_V => "SPLIT_V",
        QUANTIZE => "QUANTIZE",
        CALL_ONCE => "CALL_ONCE",
        VAR_HANDLE => "VAR_HANDLE",
        READ_VARIABLE => "READ_VARIABLE",
        ASSIGN_VARIABLE => "ASSIGN_VARIABLE",
        _ => return format!("number {code} of the schema"),
    };
    known.into()
}

/// A variable's name.
pub(super) fn shared_name(operator: &Operator<'_>) -> Result<String, Error> {
    operator.options.map_or(Ok(String::new()), |options| options.text(1, "shared_name"))
}

/// Rounds to the nearest, ties away from zero, and holds the result within an int8 around `zero`.
fn quantized(value: f32, scale: f32, zero: i32) -> i32 {
    let steps = f64::from(value / scale).round().clamp(-1e6, 1e6);
    zero.saturating_add(steps as i32).clamp(-128, 127)
}

impl<'a> Lower<'_, 'a> {
    /// Lowers an operator.
    pub(super) fn operator(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        self.disentangle(operator);
        match operator.code {
            CONV_2D | DEPTHWISE_CONV_2D => self.convolution(operator),
            FULLY_CONNECTED => self.fully_connected(operator),
            AVERAGE_POOL_2D | MAX_POOL_2D => self.pool(operator),
            ADD => self.add(operator),
            MEAN => self.mean(operator),
            SOFTMAX => self.softmax(operator),
            LOGISTIC | RELU | RELU6 | QUANTIZE => self.function(operator),
            CONCATENATION => self.concatenation(operator),
            STRIDED_SLICE | SLICE => {
                let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
                let start = slice_start(self, operator)?;
                self.alias(out, self.input(input)?.part(start))
            }
            SPLIT | SPLIT_V => self.split(operator),
            RESHAPE | SQUEEZE | EXPAND_DIMS => self.reshape(operator),
            PAD => self.pad(operator),
            CALL_ONCE | VAR_HANDLE => Ok(()),
            READ_VARIABLE => {
                let (state, out) = (self.state(operator)?, self.result(operator, 0)?);
                if self.moves(state) {
                    return self.alias(out, state);
                }
                let to = self.output(out)?;
                self.copy(self.extent(out), state, to);
                Ok(())
            }
            ASSIGN_VARIABLE => {
                let state = self.state(operator)?;
                let value = self.operand(operator, 1)?;
                let from = self.input(value)?;
                if !self.moves(state) {
                    self.copy(self.extent(value), from, state);
                }
                Ok(())
            }
            _ => Err(self.fail("it is not supported")),
        }
    }

    /// Least and most of a fused activation's results.
    fn activation(&self, operator: &Operator<'a>, number: usize, out: usize) -> Result<[i32; 3], Error> {
        let (scale, zero) = (self.tensor(out).scale(0)?, self.tensor(out).zero()?);
        let at = |value| quantized(value, scale, zero);
        let [least, most] = match self.option(operator, |options| options.byte(number, "activation"), 0)? {
            0 => [-128, 127],
            1 => [at(0.0), 127],
            2 => [at(-1.0), at(1.0)],
            3 => [at(0.0), at(6.0)],
            _ => return Err(self.fail("its fused activation is not supported")),
        };
        Ok([zero, least, most])
    }

    fn multiplier(&self, factor: f64) -> Result<[i32; 2], Error> {
        let (multiplier, shift) = fixed::multiplier(factor).ok_or_else(|| self.fail("its scales are too far apart"))?;
        Ok([multiplier, shift])
    }

    /// Biases with the input's zero point folded in, multipliers and shifts: what a channel's sum needs. `weights` are those of a channel.
    fn channels<'w>(
        &mut self,
        operator: &Operator<'a>,
        count: usize,
        product: impl Fn(f32, f32, f32) -> f64,
        weights: impl Fn(usize) -> Box<dyn Iterator<Item = u8> + 'w>,
    ) -> Result<usize, Error> {
        let (input, filter, out) = (self.operand(operator, 0)?, self.operand(operator, 1)?, self.result(operator, 0)?);
        let (input, filter, out) = (self.tensor(input), self.tensor(filter), self.tensor(out));
        filter.symmetric()?;
        if filter.scales() != 1 && filter.scales() != count {
            return Err(Error::Quantization { tensor: filter.name.clone(), field: "scale" });
        }
        let biases = match operator.inputs.get(2).copied().flatten() {
            Some(bias) => self.tensor(bias).ints()?,
            None => vec![0; count],
        };
        if biases.len() != count {
            return Err(self.fail("it does not have one bias for each output channel"));
        }
        let mut bytes = Vec::new();
        for (channel, bias) in biases.into_iter().enumerate() {
            let sum = weights(channel).fold(0_i32, |sum, weight| sum.wrapping_add(i32::from(weight as i8)));
            let bias = bias.wrapping_sub(sum.wrapping_mul(input.zero()?));
            let factor = product(input.scale(0)?, filter.scale(channel)?, out.scale(0)?);
            let [multiplier, shift] = self.multiplier(factor)?;
            bytes.extend([bias, multiplier, shift].iter().flat_map(|word| word.to_le_bytes()));
        }
        Ok(self.memory.constant(&bytes))
    }

    fn convolution(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, filter, out) = (self.operand(operator, 0)?, self.operand(operator, 1)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let [rows, columns] = windows(self, operator)?;
        let (weights, shape) = (self.tensor(filter).weights()?, &self.tensor(filter).shape);
        let ([_, _, inputs], [.., outputs]) = (self.extent(input), self.extent(out));
        let depthwise = operator.code == DEPTHWISE_CONV_2D;
        let fits = match shape[..] {
            [first, .., last] if depthwise => first == 1 && last == outputs && (inputs == 1 || inputs == outputs),
            [first, .., last] => first == outputs && last == inputs,
            _ => false,
        };
        if !fits || self.tensor(out).shape != [1, rows.outputs, columns.outputs, outputs] {
            return Err(self.fail("the shapes of its input, filter and output do not fit, or it has groups"));
        }
        let taps = rows.taps * columns.taps;
        let (each, step) = if depthwise { (1, outputs) } else { (taps * inputs, 1) };
        let of = |channel: usize| -> Box<dyn Iterator<Item = u8> + '_> {
            match depthwise {
                true => Box::new(weights.iter().skip(channel).step_by(step).copied()),
                false => Box::new(weights.iter().skip(channel * each).take(each).copied()),
            }
        };
        let exact = |input: f32, filter: f32, out: f32| f64::from(input) * f64::from(filter) / f64::from(out);
        let channels = self.channels(operator, outputs, exact, of)?;
        // From one channel to several: a convolution like any other, with its weights in that one's order.
        let single = depthwise && inputs != outputs;
        let weights = match single {
            true => self.memory.constant(&(0..outputs).flat_map(of).collect::<Vec<_>>()),
            false => self.memory.constant(weights),
        };
        let pads = [rows.before, rows.after, columns.before, columns.after];
        let from = self.with_border(input, pads)?;
        let bounds = self.activation(operator, if operator.code == CONV_2D { 3 } else { 4 }, out)?;
        let to = self.output(out)?;
        let tap = [from.row * rows.dilation, from.column * columns.dilation];
        let line = columns.taps * inputs;
        let neighbours = (columns.taps == 1 || tap[1] == inputs) && (rows.taps == 1 || tap[0] == line);
        let scratch = if neighbours || (depthwise && !single) { 0 } else { taps * inputs };
        let scratch = self.memory.buffer(scratch, false);
        let start = from.offset - rows.before * from.row - columns.before * from.column;
        self.memory.push(
            Record::new(if depthwise && !single { 2 } else { 1 })
                .sizes(&[rows.outputs, columns.outputs, outputs, rows.taps, columns.taps, inputs])
                .at(from.buffer, start)
                .sizes(&[rows.stride * from.row, columns.stride * from.column])
                .sizes(&tap)
                .place(to)
                .sizes(&[weights, channels])
                .ints(&bounds)
                .at(scratch, 0),
        );
        Ok(())
    }

    fn fully_connected(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, filter, out) = (self.operand(operator, 0)?, self.operand(operator, 1)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let weights = self.tensor(filter).weights()?;
        let &[outputs, inputs] = &self.tensor(filter).shape[..] else {
            return Err(self.fail("its weights are not a matrix"));
        };
        let [rows, columns, channels] = self.extent(out);
        if channels != outputs || self.tensor(input).elements() != rows * columns * inputs {
            return Err(self.fail("the shapes of its input, weights and output do not fit"));
        }
        if self.option(operator, |options| options.byte(1, "weights_format"), 0)? != 0 {
            return Err(self.fail("its weights are shuffled"));
        }
        let of = |channel: usize| -> Box<dyn Iterator<Item = u8> + '_> {
            Box::new(weights.iter().skip(channel * inputs).take(inputs).copied())
        };
        // Unlike in convolutions, the product is one of f32.
        let product = |input: f32, filter: f32, out: f32| f64::from(input * filter) / f64::from(out);
        let params = self.channels(operator, outputs, product, of)?;
        let weights = self.memory.constant(weights);
        let from = self.dense(input)?;
        let bounds = self.activation(operator, 0, out)?;
        let to = self.output(out)?;
        let scratch = self.memory.buffer(0, false);
        self.memory.push(
            Record::new(1)
                .sizes(&[rows, columns, outputs, 1, 1, inputs])
                .at(from.buffer, from.offset)
                .sizes(&[columns * inputs, inputs, inputs, inputs])
                .place(to)
                .sizes(&[weights, params])
                .ints(&bounds)
                .at(scratch, 0),
        );
        Ok(())
    }

    fn pool(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let (tensor, result) = (self.tensor(input), self.tensor(out));
        let &[1, rows, columns, channels] = &tensor.shape[..] else {
            return Err(self.fail("its input is not of four dimensions, or there is more than one"));
        };
        if tensor.scale(0)? != result.scale(0)? || tensor.zero()? != result.zero()? {
            return Err(self.fail("the scales of input and output differ"));
        }
        let size = |number, field| {
            let value = self.option(operator, |options| options.int(number, field, 0), 0)?;
            usize::try_from(value).map_err(|_| self.fail("its window or stride is negative"))
        };
        let same = self.option(operator, |options| options.byte(0, "padding"), 0)? == 0;
        let wrong = || self.fail("its window is invalid");
        let vertical = window(rows, size(4, "filter_height")?, size(2, "stride_h")?, 1, same).ok_or_else(wrong)?;
        let horizontal = window(columns, size(3, "filter_width")?, size(1, "stride_w")?, 1, same).ok_or_else(wrong)?;
        if result.shape != [1, vertical.outputs, horizontal.outputs, channels] {
            return Err(self.fail("the shapes of its input and output do not fit"));
        }
        let [_, least, most] = self.activation(operator, 5, out)?;
        let (from, to) = (self.input(input)?, self.output(out)?);
        self.memory.push(
            Record::new(if operator.code == AVERAGE_POOL_2D { 3 } else { 4 })
                .sizes(&[rows, columns, channels])
                .place(from)
                .sizes(&[vertical.taps, horizontal.taps, vertical.stride, horizontal.stride])
                .sizes(&[vertical.before, horizontal.before, vertical.outputs, horizontal.outputs])
                .place(to)
                .ints(&[0, least, most]),
        );
        Ok(())
    }

    fn add(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (a, b, out) = (self.operand(operator, 0)?, self.operand(operator, 1)?, self.result(operator, 0)?);
        self.int8(&[a, b, out])?;
        if self.tensor(a).shape != self.tensor(out).shape || self.tensor(b).shape != self.tensor(out).shape {
            return Err(self.fail("its inputs are not of the output's shape"));
        }
        let scale = |tensor: usize| self.tensor(tensor).scale(0).map(f64::from);
        let (scales, result) = ([scale(a)?, scale(b)?], scale(out)?);
        let twice = 2.0 * scales[0].max(scales[1]);
        let factor = self.multiplier(twice / (f64::from(1 << 20) * result))?;
        let bounds = self.activation(operator, 0, out)?;
        let places = [self.input(a)?, self.input(b)?];
        let to = self.output(out)?;
        let mut record = Record::new(5).sizes(&self.extent(out)).place(places[0]).place(places[1]).place(to);
        for (tensor, scale) in [a, b].into_iter().zip(scales) {
            record = record.ints(&[self.tensor(tensor).zero()?]).ints(&self.multiplier(scale / twice)?);
        }
        self.memory.push(record.ints(&factor).ints(&bounds));
        Ok(())
    }

    fn mean(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let axes = self.tensor(self.operand(operator, 1)?).ints()?;
        let mut reduced = [false; 3];
        for axis in axes {
            reduced[place_axis(self, input, axis)?] = true;
        }
        let [rows, columns, channels] = self.extent(input);
        if reduced[2] || !(reduced[0] || rows == 1) || !(reduced[1] || columns == 1) {
            return Err(self.fail("it is not over all rows and columns"));
        }
        if self.tensor(out).elements() != channels {
            return Err(self.fail("the shapes of its input and output do not fit"));
        }
        let (tensor, result) = (self.tensor(input), self.tensor(out));
        let [multiplier, shift] = self.multiplier(f64::from(tensor.scale(0)?) / f64::from(result.scale(0)?))?;
        let count = i64::try_from(rows * columns).map_err(|_| Error::TooLarge)?;
        // The division by the number of elements is part of the factor.
        let bits = i32::try_from(count.ilog2()).unwrap_or(0).min(32).min(31 + shift);
        let multiplier = i32::try_from((i64::from(multiplier) << bits) / count).map_err(|_| Error::TooLarge)?;
        let offset = i32::try_from(-i64::from(tensor.zero()?) * count).map_err(|_| Error::TooLarge)?;
        let zero = result.zero()?;
        let (from, to) = (self.input(input)?, self.output(out)?);
        if !to.is_dense(self.extent(out)) {
            return Err(self.fail("its output is part of another"));
        }
        let to = Place::dense(to.buffer, to.offset, [1, 1, channels]);
        self.memory.push(Record::new(10).sizes(&[rows, columns, channels]).place(from).place(to).ints(&[
            offset,
            multiplier,
            shift - bits,
            zero,
        ]));
        Ok(())
    }

    fn softmax(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        /// Bits before the point of differences.
        const BITS: u32 = 5;
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let result = self.tensor(out);
        if result.scale(0)? != 1.0 / 256.0 || result.zero()? != -128 || self.extent(input) != self.extent(out) {
            return Err(self.fail("its output is not of scale 1/256 and zero point -128"));
        }
        if self.extent(out)[2] > 1 << 11 {
            return Err(self.fail("it is over more than 2,048 values"));
        }
        let beta = operator.options.map_or(Ok(0.0), |options| options.float(0, "beta"))?;
        let real = f64::from(beta) * f64::from(self.tensor(input).scale(0)?) * f64::from(1 << (31 - BITS));
        let [multiplier, shift] = self.multiplier(real.min(f64::from(i32::MAX)))?;
        if shift < 0 {
            return Err(self.fail("its scale or beta is too small"));
        }
        // Differences that would leave the range count as nothing.
        let radius = f64::from((1 << BITS) - 1) * f64::from(1 << (31 - BITS)) / f64::from(1 << shift);
        let table = (0..256).flat_map(|below: i32| {
            let scaled = fixed::multiply_high((-below).wrapping_shl(shift.unsigned_abs()), multiplier);
            let value = if f64::from(below) <= radius.floor() { fixed::exp(scaled, BITS) } else { 0 };
            value.to_le_bytes()
        });
        let table = table.collect::<Vec<_>>();
        let table = self.memory.constant(&table);
        let (from, to) = (self.input(input)?, self.output(out)?);
        self.memory.push(Record::new(7).sizes(&self.extent(out)).place(from).place(to).sizes(&[table]));
        Ok(())
    }

    /// Functions of a single value.
    fn function(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        let (tensor, result) = (self.tensor(input), self.tensor(out));
        if operator.code != QUANTIZE {
            self.int8(&[input, out])?;
        }
        if tensor.elements() != result.elements() || self.extent(input) != self.extent(out) {
            return Err(self.fail("the shapes of its input and output do not fit"));
        }
        let (scale, zero) = (tensor.scale(0)?, tensor.zero()?);
        let (out_scale, out_zero) = (result.scale(0)?, result.zero()?);
        let range = |kind| if kind == Kind::UInt8 { (0, 255) } else { (-128, 127) };
        let (least, most) = range(result.kind);
        let function: Box<dyn Fn(i32) -> i32> = match operator.code {
            LOGISTIC => {
                if out_scale != 1.0 / 256.0 || out_zero != -128 {
                    return Err(self.fail("its output is not of scale 1/256 and zero point -128"));
                }
                logistic(self, scale, zero)?
            }
            RELU6 => Box::new(move |x| x.clamp(zero, quantized(6.0, scale, zero))),
            RELU => {
                let [multiplier, shift] = self.multiplier(f64::from(scale / out_scale))?;
                let floor = quantized(0.0, out_scale, out_zero);
                Box::new(move |x| (out_zero + fixed::scale(x - zero, multiplier, shift)).clamp(floor, 127))
            }
            _ => {
                let [multiplier, shift] = self.multiplier(f64::from(scale) / f64::from(out_scale))?;
                Box::new(move |x| fixed::scale(x - zero, multiplier, shift).saturating_add(out_zero).clamp(least, most))
            }
        };
        let signed = tensor.kind != Kind::UInt8;
        let table = (0..=255_u8).map(|i| {
            // Entries are in the order of int8.
            let byte = i ^ 0x80;
            let x = if signed { i32::from(byte as i8) } else { i32::from(byte) };
            let [value, ..] = function(x).to_le_bytes();
            value
        });
        let table = table.collect::<Vec<_>>();
        let table = self.memory.constant(&table);
        let (from, to) = (self.input(input)?, self.output(out)?);
        self.memory.push(Record::new(6).sizes(&self.extent(out)).place(from).place(to).sizes(&[table]));
        Ok(())
    }

    fn concatenation(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let out = self.result(operator, 0)?;
        let axis = axis(self, operator)?;
        if self.option(operator, |options| options.byte(1, "activation"), 0)? != 0 {
            return Err(self.fail("its fused activation is not supported"));
        }
        let same = |&tensor: &usize| -> Result<bool, Error> {
            let (part, whole) = (self.tensor(tensor), self.tensor(out));
            Ok(part.kind == whole.kind && part.scale(0)? == whole.scale(0)? && part.zero()? == whole.zero()?)
        };
        for tensor in operator.inputs.iter().flatten() {
            if !same(tensor)? {
                return Err(self.fail("the scales of its inputs and output differ"));
            }
        }
        let whole = match self.decided(out) {
            Some(place) => place,
            None => self.output(out)?,
        };
        let mut start = [0; 3];
        for &tensor in operator.inputs.iter().flatten() {
            let (mut from, to, extent) = (self.input(tensor)?, whole.part(start), self.extent(tensor));
            if !from.same(&to, extent) {
                // Such as a tensor that is there twice.
                if self.entangled(tensor, &from, tensor, &to) {
                    from = self.copied(tensor, from);
                }
                self.copy(extent, from, to);
            }
            start[axis] += extent[axis];
        }
        Ok(())
    }

    fn split(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (value, axis) = if operator.code == SPLIT { (1, 0) } else { (0, 2) };
        let (input, axis) = (self.operand(operator, value)?, self.operand(operator, axis)?);
        let &[axis] = &self.tensor(axis).ints()?[..] else { return Err(self.fail("it has not one axis")) };
        let axis = place_axis(self, input, axis)?;
        let (from, whole) = (self.input(input)?, self.extent(input));
        let mut start = [0; 3];
        for &out in &operator.outputs {
            let part = self.extent(out);
            let fits = (0..3).all(|i| start[i] + part[i] <= whole[i] && (i == axis || part[i] == whole[i]));
            if !fits {
                return Err(self.fail("the shapes of its outputs do not fit its input's"));
            }
            self.alias(out, from.part(start))?;
            start[axis] += part[axis];
        }
        Ok(())
    }

    fn reshape(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        if self.tensor(input).elements() != self.tensor(out).elements() {
            return Err(self.fail("its output has not as many elements as its input"));
        }
        let extent = self.extent(out);
        if extent == self.extent(input) {
            return self.alias(out, self.input(input)?);
        }
        let from = self.dense(input)?;
        self.alias(out, Place::dense(from.buffer, from.offset, extent))
    }

    fn pad(&mut self, operator: &Operator<'a>) -> Result<(), Error> {
        let (input, out) = (self.operand(operator, 0)?, self.result(operator, 0)?);
        self.int8(&[input, out])?;
        let pads = self.tensor(self.operand(operator, 1)?).ints()?;
        let (shape, padded) = (&self.tensor(input).shape, &self.tensor(out).shape);
        let wrong = || self.fail("its paddings do not fit its shapes");
        if pads.len() != shape.len() * 2 || shape.len() != padded.len() {
            return Err(wrong());
        }
        let mut before = Vec::new();
        for ((pads, dim), result) in pads.as_chunks::<2>().0.iter().zip(shape).zip(padded) {
            let [front, back] = pads.map(|pad| usize::try_from(pad).ok());
            let front = front.ok_or_else(wrong)?;
            let sum = front.checked_add(*dim).and_then(|sum| sum.checked_add(back?));
            if sum != Some(*result) {
                return Err(wrong());
            }
            before.push(front);
        }
        // Nothing is added to the dimensions that are counted among the rows.
        let outer = shape.len().saturating_sub(3);
        if shape[..outer] != padded[..outer] || shape[..outer].iter().any(|dim| *dim != 1) {
            return Err(wrong());
        }
        let mut start = [0; 3];
        start.iter_mut().rev().zip(before.iter().rev()).for_each(|(to, from)| *to = *from);
        let (from, to, whole) = (self.input(input)?, self.output(out)?, extent(padded));
        let zero = self.tensor(out).zero()?;
        self.memory.push(Record::new(9).sizes(&whole).place(to).ints(&[zero]));
        self.copy(self.extent(input), from, to.part(start));
        Ok(())
    }

    /// That tensors are of int8, or an operator cannot compute with them.
    fn int8(&self, tensors: &[usize]) -> Result<(), Error> {
        match tensors.iter().map(|&tensor| self.tensor(tensor)).find(|tensor| tensor.kind != Kind::Int8) {
            Some(tensor) => Err(Error::Kind { tensor: tensor.name.clone(), kind: tensor.kind.name() }),
            None => Ok(()),
        }
    }
}

/// The logistic function of int8, its result of scale 1/256.
fn logistic(lower: &Lower<'_, '_>, scale: f32, zero: i32) -> Result<Box<dyn Fn(i32) -> i32>, Error> {
    /// Bits before the point of its argument.
    const BITS: u32 = 4;
    let real = f64::from(scale) * f64::from(1 << (31 - BITS));
    let [multiplier, shift] = lower.multiplier(real)?;
    if shift < 0 {
        return Err(lower.fail("its scale is too small"));
    }
    let radius = f64::from((1 << BITS) - 1) * f64::from(1 << (31 - BITS)) / f64::from(1 << shift);
    let radius = radius.floor().min(1e6) as i32;
    Ok(Box::new(move |x| match x - zero {
        x if x <= -radius => -128,
        x if x >= radius => 127,
        x => {
            let value = fixed::logistic(fixed::scale(x, multiplier, shift));
            (fixed::divide_by_power(value, 31 - 8) - 128).clamp(-128, 127)
        }
    }))
}
