//! Loads of the formats with blocks of 32: unpacked, and transposed so that lanes are rows.

#![allow(non_camel_case_types, reason = "the formats' names")]

use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use core::array;

/// A block of some rows: vector `k` of `q` holds inputs `4k .. 4k + 4` of each row; `d` and `m` hold the rows' scales and minima.
pub(super) struct Block<V: VecI32> {
    pub(super) q: [V; 8],
    pub(super) d: V::Float,
    pub(super) m: V::Float,
}

/// A format with blocks of 32.
///
/// # Safety
/// `load` needs what `V` needs, and rows that have the block.
pub(super) trait Legacy {
    /// Bytes of a block.
    const BYTES: usize;
    /// Largest value in `q`, which has no sign unless `SIGNED`.
    const MAX: i32;
    /// The offset to be subtracted from each value of `q`.
    const OFFSET: i32 = 0;
    /// Whether `q` is int8 with a sign.
    const SIGNED: bool = false;
    /// Whether the format has a minimum.
    const MIN: bool = false;

    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V>;
}

/// Where a block of some rows lies. Offsets are counted inside one row's block.
///
/// # Safety
/// Everything needs what `V` needs, and rows that have the block with bytes up to the end of what is read.
pub(super) trait RowBlock<V: VecI32>: Copy {
    /// The f16 numbers at an offset of each row, as floats.
    unsafe fn f16s(self, offset: usize) -> V::Float;
    /// The f16 numbers at an offset and behind it.
    unsafe fn two_f16s(self, offset: usize) -> (V::Float, V::Float);
    /// The same, and the three double words behind these.
    unsafe fn two_f16s_and_words(self, offset: usize) -> (V::Float, V::Float, [V; 3]);
    /// The double words at an offset.
    unsafe fn words(self, offset: usize) -> V;
    /// VecF32 `k` holds double word `k` of the 16 bytes at an offset.
    unsafe fn transpose16(self, offset: usize) -> [V; 4];

    /// VecF32 `k` holds double word `k` of the 32 bytes at an offset.
    unsafe fn transpose32(self, offset: usize) -> [V; 8];

    /// VecF32 `k` of `all`, what [`transpose32`](RowBlock::transpose32) makes at an offset; where it is only to be loaded, it is loaded when it is wanted.
    #[inline(always)]
    unsafe fn pick(self, all: &[V; 8], _: usize, k: usize) -> V {
        all[k]
    }
}

/// Rows one after another, as a GGUF file has them.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// The block in the first row.
    pub(super) block: *const u8,
    pub(super) row_bytes: usize,
}

impl Plain {
    /// The bytes at an offset of the first row, as an address that the compiler does not know how to step from block to block: it would keep one
    /// for each row in memory, and add to each.
    #[inline(always)]
    #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written")]
    pub(super) fn at(self, offset: usize) -> *const u8 {
        let mut at = self.block.wrapping_add(offset);
        // SAFETY: nothing is done.
        unsafe { core::arch::asm!("/* {} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
        at
    }
}

impl<V: VecI32> RowBlock<V> for Plain {
    #[inline(always)]
    unsafe fn f16s(self, offset: usize) -> V::Float {
        V::f16s(self.at(offset), self.row_bytes)
    }

    #[inline(always)]
    unsafe fn two_f16s(self, offset: usize) -> (V::Float, V::Float) {
        V::words(self.at(offset), self.row_bytes).as_f16s()
    }

    #[inline(always)]
    unsafe fn two_f16s_and_words(self, offset: usize) -> (V::Float, V::Float, [V; 3]) {
        let [f16s, a, b, c]: [V; 4] = self.transpose16(offset);
        let (first, second) = f16s.as_f16s();
        (first, second, [a, b, c])
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> V {
        V::words(self.at(offset), self.row_bytes)
    }

    #[inline(always)]
    unsafe fn transpose16(self, offset: usize) -> [V; 4] {
        V::transpose16(self.at(offset), self.row_bytes)
    }

    #[inline(always)]
    unsafe fn transpose32(self, offset: usize) -> [V; 8] {
        V::transpose32(self.at(offset), self.row_bytes)
    }
}

/// Some of the sixteen rows of a packed panel, in which each field of a block lies together for all rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// The block of all sixteen rows.
    pub(super) block: *const u8,
    /// 0 or 8.
    pub(super) first_row: usize,
}

impl<V: VecI32> RowBlock<V> for Panel {
    #[inline(always)]
    unsafe fn f16s(self, offset: usize) -> V::Float {
        V::Float::f16s(self.block.add(16 * offset + 2 * self.first_row).cast())
    }

    #[inline(always)]
    unsafe fn two_f16s(self, offset: usize) -> (V::Float, V::Float) {
        (RowBlock::<V>::f16s(self, offset), RowBlock::<V>::f16s(self, offset + 2))
    }

    #[inline(always)]
    unsafe fn two_f16s_and_words(self, offset: usize) -> (V::Float, V::Float, [V; 3]) {
        let (first, second) = RowBlock::<V>::two_f16s(self, offset);
        (first, second, [self.words(offset + 4), self.words(offset + 8), self.words(offset + 12)])
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> V {
        V::load(self.block.add(16 * offset + 4 * self.first_row))
    }

    #[inline(always)]
    unsafe fn pick(self, _: &[V; 8], offset: usize, k: usize) -> V {
        self.words(offset + 4 * k)
    }

    #[inline(always)]
    unsafe fn transpose16(self, offset: usize) -> [V; 4] {
        array::from_fn(|k| self.words(offset + 4 * k))
    }

    #[inline(always)]
    unsafe fn transpose32(self, offset: usize) -> [V; 8] {
        array::from_fn(|k| self.words(offset + 4 * k))
    }
}

/// Four of the same byte.
#[inline(always)]
pub(super) unsafe fn bytes<V: VecI32>(x: u8) -> V {
    V::splat(i32::from_ne_bytes([x; 4]))
}

/// Sixteen nibble bytes a row: low nibbles are inputs 0..16, high nibbles 16..32.
#[inline(always)]
unsafe fn nibbles<V: VecI32>(rows: impl RowBlock<V>, offset: usize) -> [V; 8] {
    let [a, b, c, d] = rows.transpose16(offset);
    let mask = bytes::<V>(15);
    let low = |v: V| v.and(mask);
    let high = |v: V| v.right::<4>().and(mask);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

/// Adds 16 to the values whose bit in `bits` is set: bit `i` of a lane belongs to input `i`.
#[inline(always)]
unsafe fn fifth_bits<V: VecI32>(q: [V; 8], bits: V) -> [V; 8] {
    let sixteen = bytes::<V>(16);
    let (even, odd) = (V::splat(0x0804_0201), V::splat(0x8040_2010u32 as i32));
    let mut out = q;
    for (k, out) in out.iter_mut().enumerate() {
        // Byte `k / 2` of each lane in all its bytes, then one bit tested in each.
        let byte = (k / 2) as i32 * 0x0101_0101;
        let lane = |i: i32| byte + i * 0x0404_0404;
        let spread = bits.shuffle([lane(0), lane(1), lane(2), lane(3)]);
        *out = spread.or_where(if k % 2 == 0 { even } else { odd }, *out, sixteen);
    }
    out
}

pub(super) struct Q4_0;
impl Legacy for Q4_0 {
    const BYTES: usize = 18;
    const MAX: i32 = 15;
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        Block { q: nibbles(rows, 2), d: rows.f16s(0), m: V::Float::splat(0.0) }
    }
}

pub(super) struct Q4_1;
impl Legacy for Q4_1 {
    const BYTES: usize = 20;
    const MAX: i32 = 15;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        let (d, m) = rows.two_f16s(0);
        Block { q: nibbles(rows, 4), d, m }
    }
}

pub(super) struct Q5_0;
impl Legacy for Q5_0 {
    const BYTES: usize = 22;
    const MAX: i32 = 31;
    const OFFSET: i32 = 16;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        let q = fifth_bits(nibbles(rows, 6), rows.words(2));
        Block { q, d: rows.f16s(0), m: V::Float::splat(0.0) }
    }
}

pub(super) struct Q5_1;
impl Legacy for Q5_1 {
    const BYTES: usize = 24;
    const MAX: i32 = 31;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        let (d, m) = rows.two_f16s(0);
        Block { q: fifth_bits(nibbles(rows, 8), rows.words(4)), d, m }
    }
}

pub(super) struct Q8_0;
impl Legacy for Q8_0 {
    const BYTES: usize = 34;
    const MAX: i32 = 128;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        Block { q: rows.transpose32(2), d: rows.f16s(0), m: V::Float::splat(0.0) }
    }
}

pub(super) struct IQ4_NL;
impl Legacy for IQ4_NL {
    const BYTES: usize = 18;
    const MAX: i32 = 127;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load<V: VecI32>(rows: impl RowBlock<V>) -> Block<V> {
        // The table has sixteen bytes.
        let mut q = nibbles::<V>(rows, 2);
        for q in &mut q {
            *q = q.look_up(smidgen_quant::iq4_nl::VALUES.as_ptr());
        }
        Block { q, d: rows.f16s(0), m: V::Float::splat(0.0) }
    }
}
