//! The innermost loops of int8 networks, the law that other machines' functions must return: products of filters with a row of inputs,
//! and sums over taps channel by channel, each brought to the output's scale by [`crate::fixed`].

use crate::fixed;

/// Bytes of a channel's bias, multiplier and shift, a little-endian word each.
pub const CHANNEL: usize = 12;

/// The output range of a sum: after scaling it is moved to a zero point, and held within bounds, which are those of an int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The zero point: the output of 0.
    pub zero: i32,
    /// The least result.
    pub least: i32,
    /// The most result.
    pub most: i32,
}

impl Bounds {
    /// The byte of a sum on the output's scale.
    #[inline(always)]
    pub fn byte(self, x: i32) -> u8 {
        x.wrapping_add(self.zero).max(self.least).min(self.most) as u8
    }

    /// Adds a channel's bias to a sum and brings it to the output's scale.
    #[inline(always)]
    pub fn output(self, channel: &[u8; CHANNEL], sum: i32) -> u8 {
        let [bias, multiplier, shift] = words(channel);
        self.byte(fixed::scale(sum.wrapping_add(bias), multiplier, shift))
    }
}

fn words(channel: &[u8; CHANNEL]) -> [i32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *channel;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(i32::from_le_bytes)
}

/// Whether a channel's multiplier is not negative and its shift one that [`fixed::scale`] takes, as all functions here ask for.
pub fn is_channel(channel: &[u8; CHANNEL]) -> bool {
    let [_, multiplier, shift] = words(channel);
    multiplier >= 0 && fixed::is_shift(shift)
}

/// `out[i]` is the product of row `i` of `weights` and the inputs. Rows are as long as the inputs. What has no place in one of the slices
/// is left out.
pub fn filters(inputs: &[u8], weights: &[u8], channels: &[[u8; CHANNEL]], bounds: Bounds, out: &mut [u8]) {
    let rows = weights.chunks_exact(inputs.len().max(1));
    for ((out, weights), channel) in out.iter_mut().zip(rows).zip(channels) {
        *out = bounds.output(channel, dot(weights, inputs));
    }
}

/// The sum of the products of two rows of int8, as long as the shorter one.
#[inline(always)]
fn dot(weights: &[u8], inputs: &[u8]) -> i32 {
    let mut sum = 0_i32;
    for (&weight, &input) in weights.iter().zip(inputs) {
        sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(input as i8));
    }
    sum
}

/// Where the taps of an output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// How many, from top to bottom.
    pub rows: usize,
    /// How many, from left to right.
    pub columns: usize,
    /// Bytes from one to the next below.
    pub row: usize,
    /// Bytes from one to the next on the right.
    pub column: usize,
}

impl Taps {
    /// Bytes from the first channel of the first tap to the last of the last; none if there are more than memory has.
    pub fn span(&self, channels: usize) -> Option<usize> {
        let down = self.rows.checked_sub(1)?.checked_mul(self.row)?;
        down.checked_add(self.columns.checked_sub(1)?.checked_mul(self.column)?)?.checked_add(channels)
    }
}

/// Channels that are summed together.
const LANES: usize = 4;

/// `out[c]` is the sum over taps of the products of channel `c`. `inputs` begin at the first tap; `weights` are `[row][column][channel]`.
/// Products of elements that lie outside of a slice count as zero.
pub fn depthwise(
    taps: &Taps,
    inputs: &[u8],
    weights: &[u8],
    channels: &[[u8; CHANNEL]],
    bounds: Bounds,
    out: &mut [u8],
) {
    let count = out.len();
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    let done = count.wrapping_sub(rest.len());
    for (i, (out, params)) in whole.iter_mut().zip(channels.as_chunks::<LANES>().0).enumerate() {
        let sums = sums::<LANES>(taps, inputs, weights, i.wrapping_mul(LANES), count);
        for ((out, channel), sum) in out.iter_mut().zip(params).zip(sums) {
            *out = bounds.output(channel, sum);
        }
    }
    depthwise_from(done, taps, inputs, weights, channels, bounds, out);
}

/// [`depthwise`] for the channels from `first` on, one by one.
pub fn depthwise_from(
    first: usize,
    taps: &Taps,
    inputs: &[u8],
    weights: &[u8],
    channels: &[[u8; CHANNEL]],
    bounds: Bounds,
    out: &mut [u8],
) {
    let count = out.len();
    for (i, (out, channel)) in out.iter_mut().zip(channels).enumerate().skip(first) {
        let [sum] = sums::<1>(taps, inputs, weights, i, count);
        *out = bounds.output(channel, sum);
    }
}

/// The sums of neighbouring channels over all taps.
#[inline(always)]
fn sums<const N: usize>(taps: &Taps, inputs: &[u8], weights: &[u8], channel: usize, channels: usize) -> [i32; N] {
    let mut sums = [0_i32; N];
    let (mut weight, mut row) = (channel, channel);
    for _ in 0..taps.rows {
        let mut at = row;
        for _ in 0..taps.columns {
            let inputs = inputs.get(at..).and_then(|inputs| inputs.first_chunk::<N>()).unwrap_or(&[0; N]);
            let weights = weights.get(weight..).and_then(|weights| weights.first_chunk::<N>()).unwrap_or(&[0; N]);
            for ((sum, &weight), &input) in sums.iter_mut().zip(weights).zip(inputs) {
                *sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(input as i8));
            }
            at = at.wrapping_add(taps.column);
            weight = weight.wrapping_add(channels);
        }
        row = row.wrapping_add(taps.row);
    }
    sums
}
