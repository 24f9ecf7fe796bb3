//! Loads of K-quants, superblocks of 256: unpacked, and transposed so that lanes are rows.

#![allow(non_camel_case_types, reason = "the formats' names")]

use super::load_legacy::{RowBlock, bytes};
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;

/// A superblock of some rows: a lane for each.
pub(super) struct Superblock<V: VecI32> {
    /// VecF32 `8 g + k` holds inputs `32 g + 4 k ..` of each row, without sign.
    pub(super) q: [V; 64],
    pub(super) scales: Scales<V>,
}

/// Scales and minima of a superblock.
pub(super) struct Scales<V: VecI32> {
    /// Scale of each sub-block, twice, in the 16-bit halves of a lane.
    pub(super) subs: [V; 16],
    /// Factors of the sums of inputs `32 g .. 32 g + 16` and `32 g + 16 .. 32 g + 32`, as 16-bit halves: minima, or the scales
    /// again where an offset is to be subtracted.
    pub(super) pairs: [V; 8],
    pub(super) d: V::Float,
    /// Untouched by the formats without minima.
    pub(super) dmin: V::Float,
}

impl<V: VecI32> Scales<V> {
    /// # Safety
    /// Needs what `V` needs.
    #[inline(always)]
    pub(super) unsafe fn zero() -> Scales<V> {
        let (int, float) = (V::splat(0), V::Float::splat(0.0));
        Scales { subs: [int; 16], pairs: [int; 8], d: float, dmin: float }
    }
}

/// Takes the weights of some rows as they are unpacked.
///
/// # Safety
/// Needs what `V` needs.
pub(super) trait Take<V> {
    /// Inputs `32 g + 4 k ..` of each row, without sign. Each is given once; those of a group in order.
    unsafe fn take(&mut self, g: usize, k: usize, q: V);
}

impl<V> Take<V> for [V; 64] {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, k: usize, q: V) {
        self[8 * g + k] = q;
    }
}

/// A format with superblocks of 256.
///
/// # Safety
/// `scales` and `weights` need what `V` needs, and rows that have the superblock.
pub(super) trait KQuant {
    /// Bytes of a superblock.
    const BYTES: usize;
    /// Weights that share a scale: 16 or 32.
    const SUB: usize;
    /// Largest weight, before the offset is subtracted.
    const MAX: i32;
    /// Twos exponent of what is to be subtracted from each weight; none for the formats with minima.
    const OFFSET_SHIFT: Option<i32>;
    /// Groups of 32 weights that are unpacked side by side: 2 or 4.
    const ABREAST: usize = 4;

    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>);
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>);
}

/// A block for each of the eight vectors of 32 inputs. Its number is a constant there, so that it is known which sum a product belongs to.
macro_rules! each_of_eight {
    ($k:ident, $body:block) => {
        each_of_eight!($k, $body, 0 1 2 3 4 5 6 7)
    };
    ($k:ident, $body:block, $($number:literal)*) => {
        $({
            let $k = $number;
            $body
        })*
    };
}
pub(super) use each_of_eight;

/// The bytes `first` and `second` of each double word as the low and high 16 bits, without sign.
#[inline(always)]
unsafe fn spread<V: VecI32>(v: V, first: i32, second: i32) -> V {
    let lane = |i: i32| (4 * i + first) | 0x8000 | (4 * i + second) << 16 | 0x8000_0000u32 as i32;
    v.shuffle([lane(0), lane(1), lane(2), lane(3)])
}

/// Byte `number` of each double word in both halves, with its sign.
#[inline(always)]
unsafe fn spread_signed<V: VecI32>(v: V, number: i32) -> V {
    let lane = |i: i32| 0x0080_0080 | ((4 * i + number) * 0x0100_0100);
    v.shuffle([lane(0), lane(1), lane(2), lane(3)]).right_signed::<8>()
}

/// The head of Q4_K and Q5_K: their scale and minimum, and twelve bytes of six-bit ones for the sub-blocks.
#[inline(always)]
unsafe fn scales_and_minima<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
    let scales = bytes_of_scales(rows, out);
    each_of_eight!(g, {
        out.subs[g] = spread(scales[g / 4], g as i32 % 4, g as i32 % 4);
    });
}

/// The same, but the scales of the sub-blocks are returned as bytes, four to a double word.
///
/// # Safety
/// As for [`KQuant`].
#[inline(always)]
pub(super) unsafe fn bytes_of_scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) -> [V; 2] {
    let (d, dmin, [a, b, c]) = rows.two_f16s_and_words(0);
    (out.d, out.dmin) = (d, dmin);
    let (six, four, two) = (bytes(63), bytes(15), bytes(48));
    let top = |v: V| v.right::<2>().and(two);
    let minima = [b.and(six), c.right::<4>().and(four).or(top(b))];
    each_of_eight!(g, {
        out.pairs[g] = spread(minima[g / 4], g as i32 % 4, g as i32 % 4);
    });
    [a.and(six), c.and(four).or(top(a))]
}

/// Sixteen scales with sign, four to a double word, as scales of sub-blocks and as factors of an offset.
#[inline(always)]
unsafe fn signed_scales<V: VecI32>(four: [V; 4], out: &mut Scales<V>) {
    each_of_eight!(g, {
        let (four, first) = (four[g / 2], 2 * (g as i32 % 2));
        (out.subs[2 * g], out.subs[2 * g + 1]) = (spread_signed(four, first), spread_signed(four, first + 1));
        out.pairs[g] = out.subs[2 * g].blend_high_16(out.subs[2 * g + 1]);
    });
}

pub(super) struct Q4_K;
impl KQuant for Q4_K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const MAX: i32 = 15;
    const OFFSET_SHIFT: Option<i32> = None;
    const ABREAST: usize = 2;

    #[inline(always)]
    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
        scales_and_minima(rows, out)
    }

    #[inline(always)]
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>) {
        let mask = bytes(15);
        for i in 0..4 {
            let both = rows.transpose32(16 + 32 * i);
            each_of_eight!(k, {
                let both = rows.pick(&both, 16 + 32 * i, k);
                to.take(2 * i, k, both.and(mask));
                to.take(2 * i + 1, k, both.right::<4>().and(mask));
            });
        }
    }
}

pub(super) struct Q5_K;
impl KQuant for Q5_K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const MAX: i32 = 31;
    const OFFSET_SHIFT: Option<i32> = None;
    const ABREAST: usize = 2;

    #[inline(always)]
    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
        scales_and_minima(rows, out)
    }

    #[inline(always)]
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>) {
        let (mask, bit) = (bytes(15), bytes(1));
        let mut fifth = rows.transpose32(16);
        for i in 0..4 {
            let both = rows.transpose32(48 + 32 * i);
            each_of_eight!(k, {
                let both = rows.pick(&both, 48 + 32 * i, k);
                to.take(2 * i, k, both.and(mask).or(fifth[k].and(bit).left::<4>()));
                let high = fifth[k].right::<1>().and(bit).left::<4>();
                to.take(2 * i + 1, k, both.right::<4>().and(mask).or(high));
                fifth[k] = fifth[k].right::<2>();
            });
        }
    }
}

pub(super) struct Q6_K;
impl KQuant for Q6_K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const MAX: i32 = 63;
    const OFFSET_SHIFT: Option<i32> = Some(5);

    #[inline(always)]
    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
        out.d = rows.f16s(208);
        signed_scales(rows.transpose16(192), out);
    }

    #[inline(always)]
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>) {
        let (four, two) = (bytes(15), bytes(48));
        for half in 0..2 {
            let first = rows.transpose32(64 * half);
            let second = rows.transpose32(64 * half + 32);
            let top = rows.transpose32(128 + 32 * half);
            each_of_eight!(k, {
                let first = rows.pick(&first, 64 * half, k);
                let second = rows.pick(&second, 64 * half + 32, k);
                let top = rows.pick(&top, 128 + 32 * half, k);
                let g = 4 * half;
                to.take(g, k, first.and(four).or(top.left::<4>().and(two)));
                to.take(g + 1, k, second.and(four).or(top.left::<2>().and(two)));
                to.take(g + 2, k, first.right::<4>().and(four).or(top.and(two)));
                to.take(g + 3, k, second.right::<4>().and(four).or(top.right::<2>().and(two)));
            });
        }
    }
}

pub(super) struct Q2_K;
impl KQuant for Q2_K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const MAX: i32 = 3;
    const OFFSET_SHIFT: Option<i32> = None;

    #[inline(always)]
    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
        (out.d, out.dmin) = rows.two_f16s(80);
        let mask = bytes(15);
        let both = rows.transpose16(0);
        each_of_eight!(g, {
            let (both, first) = (both[g / 2], 2 * (g as i32 % 2));
            let (scales, minima) = (both.and(mask), both.right::<4>().and(mask));
            (out.subs[2 * g], out.subs[2 * g + 1]) =
                (spread(scales, first, first), spread(scales, first + 1, first + 1));
            out.pairs[g] = spread(minima, first, first + 1);
        });
    }

    #[inline(always)]
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>) {
        let mask = bytes(3);
        for half in 0..2 {
            let four = rows.transpose32(16 + 32 * half);
            each_of_eight!(k, {
                let four = rows.pick(&four, 16 + 32 * half, k);
                to.take(4 * half, k, four.and(mask));
                to.take(4 * half + 1, k, four.right::<2>().and(mask));
                to.take(4 * half + 2, k, four.right::<4>().and(mask));
                to.take(4 * half + 3, k, four.right::<6>().and(mask));
            });
        }
    }
}

pub(super) struct Q3_K;
impl KQuant for Q3_K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const MAX: i32 = 7;
    const OFFSET_SHIFT: Option<i32> = Some(2);

    #[inline(always)]
    unsafe fn scales<V: VecI32>(rows: impl RowBlock<V>, out: &mut Scales<V>) {
        out.d = rows.f16s(108);
        let (four, two, bias) = (bytes(15), bytes(48), bytes(32));
        let (x, y, top) = (rows.words(96), rows.words(100), rows.words(104));
        let join = |low: V, high: V| low.and(four).or(high.and(two)).sub_bytes(bias);
        let scales = [
            join(x, top.left::<4>()),
            join(y, top.left::<2>()),
            join(x.right::<4>(), top),
            join(y.right::<4>(), top.right::<2>()),
        ];
        signed_scales(scales, out);
    }

    #[inline(always)]
    unsafe fn weights<V: VecI32>(rows: impl RowBlock<V>, to: &mut impl Take<V>) {
        let (mask, bit) = (bytes(3), bytes(4));
        let mut third = rows.transpose32(0);
        for half in 0..2 {
            let four = rows.transpose32(32 + 32 * half);
            each_of_eight!(k, {
                let four = rows.pick(&four, 32 + 32 * half, k);
                // Bit `4 half + i` of each byte as bit 2, for `i` 0 to 3.
                to.take(4 * half, k, four.and(mask).or(third[k].left::<2>().and(bit)));
                to.take(4 * half + 1, k, four.right::<2>().and(mask).or(third[k].left::<1>().and(bit)));
                to.take(4 * half + 2, k, four.right::<4>().and(mask).or(third[k].and(bit)));
                to.take(4 * half + 3, k, four.right::<6>().and(mask).or(third[k].right::<1>().and(bit)));
                third[k] = third[k].right::<4>();
            });
        }
    }
}
