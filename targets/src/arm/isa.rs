//! The instruction sets of 64-bit ARM, which differ in how bytes are multiplied and added.

use super::load_legacy::Legacy;
use core::arch::aarch64::*;
use core::arch::asm;

/// Eight vectors with 32 inputs of four rows, in one of two orders. Rows in lanes: vector `k` has inputs `4 k .. 4 k + 4` of each row in that
/// row's lane of 32 bits. Rows in vectors: vector `4 h + i` has inputs `16 h .. 16 h + 16` of row `i`.
pub(super) type Quants = [int8x16_t; 8];

/// A set of ARM instructions.
///
/// # Safety
/// Every function needs the CPU features of the machine and readable memory behind its pointers.
pub(super) trait Isa: Copy {
    /// Whether weights that meet several tokens are kept with rows in lanes.
    const LANES: bool;
    /// Whether the machine is made for several tokens only.
    const GEMM_ONLY: bool = false;
    /// Whether [`panel`](Isa::panel) is faster than four times [`dot`](Isa::dot).
    const PANEL: bool = false;

    /// `start` + Σ q x over 16 inputs for each four vectors of `q`, for every row. `q` has magnitudes of at most `max`.
    unsafe fn dot(lanes: bool, max: i32, q: &[int8x16_t], x: *const i8, start: i32) -> int32x4_t;

    /// `start` + Σ q x over a block of 32 inputs for the sixteen rows of a panel, whose quants are at `bytes`.
    #[inline(always)]
    unsafe fn panel<L: Legacy>(_: *const u8, _: *const i8, start: i32) -> [int32x4_t; 4] {
        [vdupq_n_s32(start); 4]
    }

    /// Brings quants with rows in lanes as `LANES` says into the order that [`dots`](Isa::dots) wants.
    #[inline(always)]
    unsafe fn arrange(q: Quants) -> Quants {
        q
    }

    /// Σ q x over half `FIRST` and the following, `HALVES` of them, of each quants, for two tokens.
    #[inline(always)]
    unsafe fn dots<const N: usize, const FIRST: usize, const HALVES: usize>(
        max: i32,
        q: &[Quants; N],
        x: [*const i8; 2],
    ) -> [[int32x4_t; N]; 2] {
        let mut sums = [[vdupq_n_s32(0); N]; 2];
        for t in 0..2 {
            for n in 0..N {
                let q = &q[n][4 * FIRST..4 * (FIRST + HALVES)];
                sums[t][n] = Self::dot(Self::LANES, max, q, x[t].add(16 * FIRST), 0);
            }
        }
        sums
    }
}

/// Lane `i` becomes the sum over the four lanes of vector `i`.
#[inline(always)]
unsafe fn sums_of_lanes(v: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}

/// ARMv8.0: bytes are multiplied into 16 bits, and several products are added before they are widened.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// Products of bytes, as `asm!`: where the compiler knows that levels have no sign, it would widen them first. `$low` and `$high` begin the
/// sums, or go on with them.
macro_rules! products_of_bytes {
    ($words:ident, $rows:ident, $low:literal, $high:literal, $direction:ident) => {
        /// Two vectors with two words of inputs, each in every lane: the sums of the lower and of the upper halves.
        #[inline(always)]
        #[allow(unused_assignments, reason = "sums that begin have no earlier value")]
        unsafe fn $words(q: &[int8x16_t], x: &[int8x16_t], sums: [int16x8_t; 2]) -> [int16x8_t; 2] {
            let [mut low, mut high] = sums;
            asm!(
                concat!($low, " {low:v}.8h, {a:v}.8b, {x:v}.8b"),
                concat!($high, " {high:v}.8h, {a:v}.16b, {x:v}.16b"),
                "smlal {low:v}.8h, {b:v}.8b, {y:v}.8b",
                "smlal2 {high:v}.8h, {b:v}.16b, {y:v}.16b",
                low = $direction(vreg) low,
                high = $direction(vreg) high,
                a = in(vreg) q[0],
                b = in(vreg) q[1],
                x = in(vreg) x[0],
                y = in(vreg) x[1],
                options(pure, nomem, nostack, preserves_flags)
            );
            [low, high]
        }

        /// Four rows with the same inputs: the sums of each row.
        #[inline(always)]
        #[allow(unused_assignments, reason = "sums that begin have no earlier value")]
        unsafe fn $rows(q: &[int8x16_t], x: int8x16_t, sums: [int16x8_t; 4]) -> [int16x8_t; 4] {
            let [mut a, mut b, mut c, mut d] = sums;
            asm!(
                concat!($low, " {a:v}.8h, {qa:v}.8b, {x:v}.8b"),
                concat!($low, " {b:v}.8h, {qb:v}.8b, {x:v}.8b"),
                concat!($low, " {c:v}.8h, {qc:v}.8b, {x:v}.8b"),
                concat!($low, " {d:v}.8h, {qd:v}.8b, {x:v}.8b"),
                "smlal2 {a:v}.8h, {qa:v}.16b, {x:v}.16b",
                "smlal2 {b:v}.8h, {qb:v}.16b, {x:v}.16b",
                "smlal2 {c:v}.8h, {qc:v}.16b, {x:v}.16b",
                "smlal2 {d:v}.8h, {qd:v}.16b, {x:v}.16b",
                a = $direction(vreg) a,
                b = $direction(vreg) b,
                c = $direction(vreg) c,
                d = $direction(vreg) d,
                qa = in(vreg) q[0],
                qb = in(vreg) q[1],
                qc = in(vreg) q[2],
                qd = in(vreg) q[3],
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags)
            );
            [a, b, c, d]
        }
    };
}

products_of_bytes!(words, rows, "smull", "smull2", out);
products_of_bytes!(more_words, more_rows, "smlal", "smlal2", inout);

/// The four words of sixteen bytes, each in every lane.
#[inline(always)]
unsafe fn every_word(x: *const i8) -> Four {
    let x = vreinterpretq_s32_s8(vld1q_s8(x));
    let (a, b) = (vdupq_laneq_s32::<0>(x), vdupq_laneq_s32::<1>(x));
    let (c, d) = (vdupq_laneq_s32::<2>(x), vdupq_laneq_s32::<3>(x));
    [a, b, c, d].map(|x| vreinterpretq_s8_s32(x))
}

type Four = [int8x16_t; 4];

impl Neon {
    /// How many products fit into 16 bits with sign.
    #[inline(always)]
    const fn fitting(max: i32) -> usize {
        (32767 / (max * 127)) as usize
    }

    /// Rows in lanes.
    #[inline(always)]
    unsafe fn lanes(max: i32, q: &[int8x16_t], x: *const i8) -> int32x4_t {
        let (fitting, none) = (Self::fitting(max), [vdupq_n_s16(0); 2]);
        if fitting >= q.len() {
            let four = every_word(x);
            let mut sums = more_words(&q[2..], &four[2..], words(q, &four, none));
            if q.len() == 8 {
                let four = every_word(x.add(16));
                sums = more_words(&q[6..], &four[2..], more_words(&q[4..], &four, sums));
            }
            let [low, high] = sums;
            if fitting >= 2 * q.len() {
                return vpaddlq_s16(vpaddq_s16(low, high));
            }
            return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
        }
        let wide = |[low, high]: [int16x8_t; 2]| [vpaddlq_s16(low), vpaddlq_s16(high)];
        let add =
            |wide: [int32x4_t; 2], [low, high]: [int16x8_t; 2]| [vpadalq_s16(wide[0], low), vpadalq_s16(wide[1], high)];
        let four = every_word(x);
        let mut sums = add(wide(words(q, &four, none)), words(&q[2..], &four[2..], none));
        if q.len() == 8 {
            let four = every_word(x.add(16));
            sums = add(sums, words(&q[4..], &four, none));
            sums = add(sums, words(&q[6..], &four[2..], none));
        }
        vpaddq_s32(sums[0], sums[1])
    }

    /// Rows in vectors.
    #[inline(always)]
    unsafe fn vectors(max: i32, q: &[int8x16_t], x: *const i8) -> int32x4_t {
        let (fitting, none) = (Self::fitting(max), [vdupq_n_s16(0); 4]);
        let mut sums = rows(q, vld1q_s8(x), none);
        if q.len() == 8 {
            let x = vld1q_s8(x.add(16));
            if fitting < 4 {
                let ([a, b, c, d], [e, f, g, h]) = (sums, rows(&q[4..], x, none));
                return sums_of_lanes([
                    vpadalq_s16(vpaddlq_s16(a), e),
                    vpadalq_s16(vpaddlq_s16(b), f),
                    vpadalq_s16(vpaddlq_s16(c), g),
                    vpadalq_s16(vpaddlq_s16(d), h),
                ]);
            }
            sums = more_rows(&q[4..], x, sums);
        }
        let (a, b) = (vpaddq_s16(sums[0], sums[1]), vpaddq_s16(sums[2], sums[3]));
        if fitting >= 2 * q.len() { vpaddlq_s16(vpaddq_s16(a, b)) } else { vpaddq_s32(vpaddlq_s16(a), vpaddlq_s16(b)) }
    }
}

impl Isa for Neon {
    const LANES: bool = false;

    #[inline(always)]
    unsafe fn dot(lanes: bool, max: i32, q: &[int8x16_t], x: *const i8, start: i32) -> int32x4_t {
        let sum = if lanes { Self::lanes(max, q, x) } else { Self::vectors(max, q, x) };
        vaddq_s32(sum, vdupq_n_s32(start))
    }
}

/// ARMv8.2 with dot products: `sdot` adds four products of bytes to each lane.
#[derive(Clone, Copy)]
pub(super) struct Dotprod;

impl Dotprod {
    /// Adds the products of four vectors with the four words of `x`.
    #[inline(always)]
    unsafe fn words(mut sum: int32x4_t, q: &[int8x16_t], x: int8x16_t) -> int32x4_t {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {a:v}.16b, {x:v}.4b[0]",
            "sdot {sum:v}.4s, {b:v}.16b, {x:v}.4b[1]",
            "sdot {sum:v}.4s, {c:v}.16b, {x:v}.4b[2]",
            "sdot {sum:v}.4s, {d:v}.16b, {x:v}.4b[3]",
            sum = inout(vreg) sum,
            a = in(vreg) q[0],
            b = in(vreg) q[1],
            c = in(vreg) q[2],
            d = in(vreg) q[3],
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
        sum
    }

    /// Adds the products of word `WORD` of `x` and level `i` of the bytes of sixteen rows.
    #[inline(always)]
    unsafe fn word<L: Legacy, const WORD: usize>(
        sums: &mut [int32x4_t; 4],
        bytes: uint8x16x4_t,
        i: usize,
        x: int8x16_t,
    ) {
        let [a, b, c, d] = sums;
        asm!(
            ".arch_extension dotprod",
            "sdot {a:v}.4s, {qa:v}.16b, {x:v}.4b[{word}]",
            "sdot {b:v}.4s, {qb:v}.16b, {x:v}.4b[{word}]",
            "sdot {c:v}.4s, {qc:v}.16b, {x:v}.4b[{word}]",
            "sdot {d:v}.4s, {qd:v}.16b, {x:v}.4b[{word}]",
            a = inout(vreg) *a,
            b = inout(vreg) *b,
            c = inout(vreg) *c,
            d = inout(vreg) *d,
            qa = in(vreg) L::level(bytes.0, i),
            qb = in(vreg) L::level(bytes.1, i),
            qc = in(vreg) L::level(bytes.2, i),
            qd = in(vreg) L::level(bytes.3, i),
            x = in(vreg) x,
            word = const WORD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }

    /// Adds the products of word `WORD` of the first sixteen inputs, and of the second.
    #[inline(always)]
    unsafe fn words_of_panel<L: Legacy, const WORD: usize>(
        sums: &mut [int32x4_t; 4],
        bytes: *const u8,
        x: [int8x16_t; 2],
    ) {
        let first = vld1q_u8_x4(bytes.add(64 * WORD));
        let second = if L::LEVELS == 2 { first } else { vld1q_u8_x4(bytes.add(256 + 64 * WORD)) };
        Self::word::<L, WORD>(sums, first, 0, x[0]);
        Self::word::<L, WORD>(sums, second, 1, x[1]);
    }

    /// Adds the products of each vector with `x` to its own sums.
    #[inline(always)]
    unsafe fn rows(mut sums: [int32x4_t; 4], q: &[int8x16_t], x: int8x16_t) -> [int32x4_t; 4] {
        let [a, b, c, d] = &mut sums;
        asm!(
            ".arch_extension dotprod",
            "sdot {a:v}.4s, {qa:v}.16b, {x:v}.16b",
            "sdot {b:v}.4s, {qb:v}.16b, {x:v}.16b",
            "sdot {c:v}.4s, {qc:v}.16b, {x:v}.16b",
            "sdot {d:v}.4s, {qd:v}.16b, {x:v}.16b",
            a = inout(vreg) *a,
            b = inout(vreg) *b,
            c = inout(vreg) *c,
            d = inout(vreg) *d,
            qa = in(vreg) q[0],
            qb = in(vreg) q[1],
            qc = in(vreg) q[2],
            qd = in(vreg) q[3],
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
        sums
    }
}

impl Isa for Dotprod {
    const LANES: bool = true;
    const PANEL: bool = true;

    #[inline(always)]
    unsafe fn dot(lanes: bool, _: i32, q: &[int8x16_t], x: *const i8, start: i32) -> int32x4_t {
        if lanes {
            let mut sum = vdupq_n_s32(start);
            for h in 0..q.len() / 4 {
                sum = Self::words(sum, &q[4 * h..4 * h + 4], vld1q_s8(x.add(16 * h)));
            }
            sum
        } else {
            let mut sums = [vsetq_lane_s32::<0>(start, vdupq_n_s32(0)); 4];
            for h in 0..q.len() / 4 {
                sums = Self::rows(sums, &q[4 * h..4 * h + 4], vld1q_s8(x.add(16 * h)));
            }
            sums_of_lanes(sums)
        }
    }

    #[inline(always)]
    unsafe fn panel<L: Legacy>(bytes: *const u8, x: *const i8, start: i32) -> [int32x4_t; 4] {
        let (mut sums, x) = ([vdupq_n_s32(start); 4], [vld1q_s8(x), vld1q_s8(x.add(16))]);
        Self::words_of_panel::<L, 0>(&mut sums, bytes, x);
        Self::words_of_panel::<L, 1>(&mut sums, bytes, x);
        Self::words_of_panel::<L, 2>(&mut sums, bytes, x);
        Self::words_of_panel::<L, 3>(&mut sums, bytes, x);
        sums
    }
}

/// ARMv8.6: `smmla` multiplies two rows by two tokens, eight inputs at a time.
#[derive(Clone, Copy)]
pub(super) struct I8mm;

impl I8mm {
    /// Adds the products of two rows with two tokens: lanes 0 and 1 are the first row's, 0 and 2 the first token's.
    #[inline(always)]
    unsafe fn two_by_two(mut sum: int32x4_t, q: int8x16_t, x: int8x16_t) -> int32x4_t {
        asm!(
            ".arch_extension i8mm",
            "smmla {sum:v}.4s, {q:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            q = in(vreg) q,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
        sum
    }
}

/// The low and the high halves of two vectors.
#[inline(always)]
unsafe fn zip_64(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
    [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
}

impl Isa for I8mm {
    const LANES: bool = false;
    const GEMM_ONLY: bool = true;

    #[inline(always)]
    unsafe fn dot(lanes: bool, max: i32, q: &[int8x16_t], x: *const i8, start: i32) -> int32x4_t {
        Dotprod::dot(lanes, max, q, x, start)
    }

    /// Vector `4 h + 2 p + j` has inputs `16 h + 8 j .. 16 h + 8 j + 8` of rows `2 p` and `2 p + 1`.
    #[inline(always)]
    unsafe fn arrange(q: Quants) -> Quants {
        let [[a, b], [c, d]] = [zip_64(q[0], q[1]), zip_64(q[2], q[3])];
        let [[e, f], [g, h]] = [zip_64(q[4], q[5]), zip_64(q[6], q[7])];
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    unsafe fn dots<const N: usize, const FIRST: usize, const HALVES: usize>(
        _: i32,
        q: &[Quants; N],
        x: [*const i8; 2],
    ) -> [[int32x4_t; N]; 2] {
        let zero = vdupq_n_s32(0);
        let mut sums = [[zero; 2]; N];
        for h in FIRST..FIRST + HALVES {
            let x = zip_64(vld1q_s8(x[0].add(16 * h)), vld1q_s8(x[1].add(16 * h)));
            for n in 0..N {
                for pair in 0..2 {
                    for j in 0..2 {
                        sums[n][pair] = Self::two_by_two(sums[n][pair], q[n][4 * h + 2 * pair + j], x[j]);
                    }
                }
            }
        }
        let (mut first, mut second) = ([zero; N], [zero; N]);
        for n in 0..N {
            first[n] = vuzp1q_s32(sums[n][0], sums[n][1]);
            second[n] = vuzp2q_s32(sums[n][0], sums[n][1]);
        }
        [first, second]
    }
}
