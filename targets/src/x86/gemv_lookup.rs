//! GEMV of blocks of five bits by AVX2: nibbles are multiplied row-wise, and fifth bits look sums up in tables (`pshufb`).
//!
//! Four fifth bits of a row choose one of sixteen sums of four activations, which are computed once for all rows: what T-MAC (arXiv:2407.00088) does with
//! every bit. A vector of thirty-two such fours takes two look-ups, where their bits, spread to bytes, would be four vectors to be multiplied.

use super::gemv_rowwise::{EightRows, Fields, firsts_together};
use super::isa::{add_block, four};
use super::load_legacy::{Legacy, Panel, RowBlock};
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::{Tile, WeightMatrix};
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use smidgen_quant::Q8;
use smidgen_quant::packed::PANEL as ROWS;

/// The longest rows for which there is room, in blocks.
pub(super) const BLOCKS: usize = 256;

/// A bias added to each sum, so that it has no sign while it is divided: sums of four activations are within ±508.
const BIAS: i16 = 512;
/// Biases taken from the lower and the upper parts of all eight, which then add up to a byte with sign: `128 + 32 * 124` is eight times [`BIAS`].
const BIASES: [u8; 2] = [128, 124];

/// The sums of a block's activations, four by four, that four bits choose: those whose bits are set, less all if the format has an offset.
///
/// The eight fours are those of the low and of the high nibbles of bytes 0 and 2 (one in each half of a vector), then of bytes 1 and 3. Of each sum first the
/// lowest five bits, then the upper five.
#[repr(align(64))]
struct Tables([[[[u8; 16]; 2]; 2]; 4]);

/// The tile's first `columns`, a multiple of sixteen, times its only token.
///
/// # Safety
/// Needs AVX2 and F16C; these columns are all plain or all packed, as `S` is. Rows and token have `blocks` blocks, [`BLOCKS`] at most.
#[inline(always)]
pub(super) unsafe fn gemv_lookup<L: Legacy, S: EightRows>(
    w: &WeightMatrix,
    columns: usize,
    blocks: usize,
    x: &Q8,
    out: &mut Tile,
) {
    let mut tables = [const { MaybeUninit::<Tables>::uninit() }; BLOCKS];
    let (token, first) = (out.first_row(), out.first_col());
    // The tables of all blocks are made before they are used.
    make(x, token, L::OFFSET != 0, &mut tables[..blocks]);
    let all = RowGroup::new(w, first, columns, ROWS, S::PACKED);
    for c in (0..columns).step_by(ROWS) {
        let group = all.at(c);
        let mut acc = [_mm256_setzero_ps(); 2];
        for b in 0..blocks {
            group.prefetch_ahead(ROWS, b, L::BYTES, group.goes_to_l1(S::PACKED), false);
            let at = b * x.tokens + token;
            let rows = [S::new(group, 0, b, L::BYTES), S::new(group, ROWS / 2, b, L::BYTES)];
            let Fields { bits, d, m } = S::fields::<L>(rows);
            let fifths = chosen(bits, tables.as_ptr().add(b).cast());
            let nibbles = S::nibbles(rows, L::BYTES - 16, x.qs.as_ptr().add(32 * at));
            for i in 0..2 {
                let isum = nibbles[i].add(fifths[i]);
                acc[i] = add_block::<__m256i, L>(acc[i], isum, d[i], m[i], x, at);
            }
        }
        for (to, acc) in out.row(0)[c..][..ROWS].chunks_exact_mut(ROWS / 2).zip(acc) {
            acc.store(to.as_mut_ptr());
        }
    }
}

impl EightRows for Panel {
    const PACKED: bool = true;

    #[inline(always)]
    fn new(group: RowGroup, first: usize, b: usize, block_bytes: usize) -> Panel {
        group.panel(first, b, block_bytes)
    }

    #[inline(always)]
    unsafe fn fields<L: Legacy>(rows: [Panel; 2]) -> Fields {
        // Of each four double words the first bytes, the third, second and fourth ones.
        let order = [0x0c08_0400, 0x0e0a_0602, 0x0d09_0501, 0x0f0b_0703];
        let words = |rows| <Panel as RowBlock<__m256i>>::words(rows, L::BYTES - 20).shuffle(order);
        let f16s = |offset| rows.map(|rows| RowBlock::<__m256i>::f16s(rows, offset));
        let (first, second) = (words(rows[0]), words(rows[1]));
        let even = firsts_together(_mm256_unpacklo_epi32(first, second));
        let odd = firsts_together(_mm256_unpackhi_epi32(first, second));
        Fields { bits: [even, odd], d: f16s(0), m: f16s(if L::MIN { 2 } else { 0 }) }
    }

    #[inline(always)]
    unsafe fn nibbles(rows: [Panel; 2], offset: usize, x: *const i8) -> [__m256i; 2] {
        let mask = _mm256_set1_epi8(15);
        // Sixteen products of 15 and 127 fit into 16 bits with sign.
        let mut sums = [_mm256_setzero_si256(); 2];
        for k in 0..4 {
            let (low, high) = (__m256i::splat(four(x.add(4 * k))), __m256i::splat(four(x.add(16 + 4 * k))));
            for (sum, rows) in sums.iter_mut().zip(rows) {
                let q: __m256i = RowBlock::words(rows, offset + 4 * k);
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(q.and(mask), low));
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(q.right::<4>().and(mask), high));
            }
        }
        let ones = _mm256_set1_epi16(1);
        [sums[0].multiply_pairs(ones), sums[1].multiply_pairs(ones)]
    }
}

/// Makes the tables of a token's first blocks, for a format with an offset or without one. Compiled once for all loops.
///
/// # Safety
/// Needs AVX2; the token has as many blocks as there are tables.
#[inline(never)]
unsafe fn make(x: &Q8, token: usize, offset: bool, tables: &mut [MaybeUninit<Tables>]) {
    // rustc 1.95 inlines a function with target features although it is marked `inline(never)`, so the mark is on a function without them.
    #[target_feature(enable = "avx2")]
    unsafe fn inner(x: &Q8, token: usize, offset: bool, tables: &mut [MaybeUninit<Tables>]) {
        /// The lower two and the upper two bits of each lane's number, each in a byte.
        const BITS: [[u8; 32]; 2] = {
            let mut bits = [[0; 32]; 2];
            let mut i = 0;
            while i < 64 {
                bits[i / 32][i % 32] = ((i % 32 / 2) >> (i / 32 * 2 + i % 2)) as u8 & 1;
                i += 1;
            }
            bits
        };
        // With an offset, what is chosen is to be subtracted, and by bits that are not set.
        let (flip, sign) = (_mm256_set1_epi8(offset as i8), _mm256_set1_epi16(if offset { -1 } else { 1 }));
        let [low, high] = BIASES.map(|bias| _mm_set1_epi8(bias as i8));
        let biases = _mm256_set_m128i(high, low);
        for (b, tables) in tables.iter_mut().enumerate() {
            for four in 0..8 {
                // Each table is written as a whole.
                let x = x.qs.as_ptr().add(32 * (b * x.tokens + token) + 4 * four).cast::<i16>();
                let mut sums = _mm256_set1_epi16(BIAS);
                for (two, bits) in BITS.iter().enumerate() {
                    let x = _mm256_set1_epi16(x.add(two).read_unaligned());
                    let chosen = _mm256_maddubs_epi16(__m256i::load(bits.as_ptr()).xor(flip), x);
                    sums = _mm256_add_epi16(sums, _mm256_sign_epi16(chosen, sign));
                }
                let parts = _mm256_packus_epi16(sums.and(_mm256_set1_epi16(31)), sums.right::<5>());
                let parts = firsts_together(parts);
                let parts = if four == 0 { _mm256_sub_epi8(parts, biases) } else { parts };
                let to = &raw mut (*tables.as_mut_ptr()).0[four / 2 % 2 * 2 + four % 2];
                _mm_storeu_si128((&raw mut (*to)[0][four / 4]).cast(), _mm256_castsi256_si128(parts));
                _mm_storeu_si128((&raw mut (*to)[1][four / 4]).cast(), _mm256_extracti128_si256(parts, 1));
            }
        }
    }
    inner(x, token, offset, tables)
}

/// Sixteen times the sums that the bits of each row choose, as [`Fields`] has them.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn chosen([even, odd]: [__m256i; 2], tables: *const Tables) -> [__m256i; 2] {
    let mask = _mm256_set1_epi8(15);
    let bits = [even.and(mask), even.right::<4>().and(mask), odd.and(mask), odd.right::<4>().and(mask)];
    let mut parts = [_mm256_setzero_si256(); 2];
    for (tables, bits) in (*tables).0.iter().zip(bits) {
        for (part, table) in parts.iter_mut().zip(tables) {
            *part = _mm256_add_epi8(*part, _mm256_shuffle_epi8(__m256i::load(table.as_ptr().cast()), bits));
        }
    }
    // The upper part counts 32; the halves of a vector belong to the same rows.
    let weights = _mm256_set1_epi16(0x2001);
    let first = _mm256_maddubs_epi16(weights, _mm256_unpacklo_epi8(parts[0], parts[1]));
    let second = _mm256_maddubs_epi16(weights, _mm256_unpackhi_epi8(parts[0], parts[1]));
    let (low, high) = (_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31));
    let sixteen = _mm256_set1_epi16(16);
    [_mm256_unpacklo_epi16(low, high).multiply_pairs(sixteen), _mm256_unpackhi_epi16(low, high).multiply_pairs(sixteen)]
}
