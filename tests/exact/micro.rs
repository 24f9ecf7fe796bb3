//! The loops of int8 networks for the processor that this is built for return the bytes of the law. Only a build for 32-bit ARM with the
//! feature `armv7em` has loops of its own.

use smidgen_quant::int8::{self, Bounds, CHANNEL, Taps};
use smidgen_targets::micro;
use smidgen_tests::Random;

/// The next number from `low` to `high`.
fn within(random: &mut Random, low: i64, high: i64) -> i64 {
    low + ((random.bits() >> 1) % (high - low + 1) as u64) as i64
}

fn pick<const N: usize>(random: &mut Random, values: [i32; N]) -> i32 {
    values[within(random, 0, N as i64 - 1) as usize]
}

/// Channels with multipliers and shifts of every kind.
fn channels(random: &mut Random, count: usize) -> Vec<[u8; CHANNEL]> {
    let word = |random: &mut Random| (random.bits() >> 32) as i32;
    let channel = |_| {
        let bias = word(random) >> within(random, 0, 20);
        let multiplier = match within(random, 0, 5) {
            0 => pick(random, [0, 1, 1 << 30, i32::MAX]),
            _ => word(random) & i32::MAX,
        };
        let shift = match within(random, 0, 5) {
            0 => pick(random, [-31, -30, -1, 0, 1, 30]),
            _ => within(random, -16, 3) as i32,
        };
        let channel = [bias, multiplier, shift].map(i32::to_le_bytes);
        let channel: [u8; CHANNEL] = channel.as_flattened().try_into().unwrap();
        assert!(int8::is_channel(&channel));
        channel
    };
    (0..count).map(channel).collect()
}

fn bounds(random: &mut Random) -> Bounds {
    let zero = within(random, -128, 127) as i32;
    match within(random, 0, 1) {
        0 => Bounds { zero, least: -128, most: 127 },
        _ => {
            let least = within(random, -128, 127) as i32;
            Bounds { zero, least, most: within(random, least.into(), 127) as i32 }
        }
    }
}

/// Random bytes or the lowest ones, whose products are the largest, from an odd address on.
fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    if within(random, 0, 7) == 0 { vec![0x80; len + 1] } else { random.bytes(len + 1) }
}

#[test]
fn filters() {
    let mut random = Random(7);
    for round in 0..2000 {
        let (inputs, outputs) = (within(&mut random, 1, 70) as usize, within(&mut random, 1, 19) as usize);
        let (x, weights) = (bytes(&mut random, inputs), bytes(&mut random, inputs * outputs));
        let (channels, bounds) = (channels(&mut random, outputs), bounds(&mut random));
        let mut found = vec![1; outputs];
        let mut expected = vec![2; outputs];
        micro::filters(&x[1..], &weights[1..], &channels, bounds, &mut found);
        int8::filters(&x[1..], &weights[1..], &channels, bounds, &mut expected);
        assert_eq!(found, expected, "round {round}: {inputs} inputs, {outputs} outputs");
    }
}

#[test]
fn depthwise() {
    let mut random = Random(8);
    for round in 0..2000 {
        let count = within(&mut random, 1, 23) as usize;
        let [rows, columns] = [(); 2].map(|()| within(&mut random, 1, 5) as usize);
        let column = count + within(&mut random, 0, 3) as usize;
        let row = columns * column + within(&mut random, 0, 3) as usize;
        let taps = Taps { rows, columns, row, column };
        let (x, weights) = (bytes(&mut random, taps.span(count).unwrap()), bytes(&mut random, rows * columns * count));
        let (channels, bounds) = (channels(&mut random, count), bounds(&mut random));
        let mut found = vec![1; count];
        let mut expected = vec![2; count];
        micro::depthwise(&taps, &x[1..], &weights[1..], &channels, bounds, &mut found);
        int8::depthwise(&taps, &x[1..], &weights[1..], &channels, bounds, &mut expected);
        assert_eq!(found, expected, "round {round}: {taps:?}, {count} channels");
    }
}
