//! Row-wise GEMV of K-quants: eight rows, each multiplied as it lies, so that eight sums of a superblock are transposed and not its weights.

use super::gemv_rowwise::{EightPlain, EightRows};
use super::isa::add_superblock;
use super::load_kquant::{KQuant, Q6_K, Scales, bytes_of_scales};
use super::prefetch::RowGroup;
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
use crate::Tile;
use core::arch::x86_64::*;
use smidgen_quant::Q8K;

const ROWS: usize = <__m256i as VecI32>::ROWS;

/// Eight rows of Q6_K from column `c` of the tile on, times its only token.
///
/// # Safety
/// Needs AVX2 and F16C; the group's rows have `blocks` superblocks, and so has the token.
#[inline(always)]
pub(super) unsafe fn gemv_rowwise_q6_k(group: RowGroup, blocks: usize, x: &Q8K, out: &mut Tile, c: usize) {
    let (token, stride) = (out.first_row(), x.tokens * 32);
    let mut acc = _mm256_setzero_ps();
    for b in 0..blocks {
        let rows = group.plain(0, b, Q6_K::BYTES);
        let mut lines = group.ahead(ROWS, b, Q6_K::BYTES);
        let first = 8 * b * x.tokens + token;
        let qs = x.qs.as_ptr().add(32 * first);
        let sums = __m256i::words(x.sums.as_ptr().add(2 * first).cast(), 4 * x.tokens);
        let mut isums = [sums; ROWS];
        for (r, isum) in isums.iter_mut().enumerate() {
            // A row has this many lines, or a few less.
            group.prefetch_lines(lines, 4, 64, true);
            lines = lines.wrapping_add(4 * 64);
            *isum = row(rows.block.wrapping_add(r * rows.row_bytes), qs, stride, sums);
        }
        let dx = __m256::splat(*x.scales.as_ptr().add(b * x.tokens + token));
        acc = acc.add(EightPlain::new(group, 0, b, Q6_K::BYTES).f16s(208).mul(dx).mul(sum_of_each(isums).to_float()));
    }
    acc.store(out.row(0)[c..][..ROWS].as_mut_ptr());
}

/// Eight rows of Q4_K or Q5_K from column `c` of the tile on, times its only token.
///
/// # Safety
/// As for [`gemv_rowwise_q6_k`].
#[inline(always)]
pub(super) unsafe fn gemv_rowwise_nibbles<L: KQuant>(
    group: RowGroup,
    blocks: usize,
    x: &Q8K,
    out: &mut Tile,
    c: usize,
) {
    let (token, stride) = (out.first_row(), x.tokens * 32);
    let mut acc = _mm256_setzero_ps();
    let mut scales = Scales::zero();
    for b in 0..blocks {
        let rows = group.plain(0, b, L::BYTES);
        let mut lines = group.ahead(ROWS, b, L::BYTES);
        let [low, high] = bytes_of_scales::<__m256i>(rows, &mut scales);
        let (first, second) = (_mm256_unpacklo_epi32(low, high), _mm256_unpackhi_epi32(low, high));
        // Each row's eight.
        let of_rows = [_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31)];
        let mut of_row = of_rows.as_ptr().cast::<i64>();
        let mut block = rows.block;
        let qs = x.qs.as_ptr().add(32 * (8 * b * x.tokens + token));
        let mut isums = [low; ROWS];
        for isum in &mut isums {
            // A row has this many lines, or a few less.
            group.prefetch_lines(lines, 3, 64, false);
            lines = lines.wrapping_add(3 * 64);
            *isum = nibbles_row::<L>(block, qs, stride, *of_row);
            of_row = of_row.wrapping_add(1);
            block = block.wrapping_add(rows.row_bytes);
        }
        acc = add_superblock(acc, sum_of_each(isums), &scales, x, b, token, None);
    }
    acc.store(out.row(0)[c..][..ROWS].as_mut_ptr());
}

/// Eight parts of Σ scale q x of a superblock with these eight scales, a byte each. The token's groups are `stride` apart.
///
/// # Safety
/// As for [`gemv_rowwise_q6_k`].
#[inline(always)]
unsafe fn nibbles_row<L: KQuant>(block: *const u8, x: *const i8, stride: usize, scales: i64) -> __m256i {
    let at = |offset: usize| __m256i::load(block.wrapping_add(offset));
    let (scales, four, one) = (_mm256_set1_epi64x(scales), _mm256_set1_epi8(15), _mm256_set1_epi8(16));
    // The two lowest bits of each byte are fifth bits of what comes next.
    let mut fifth = at(16);
    let mut sum = _mm256_setzero_si256();
    for i in 0..4 {
        let both = at(L::BYTES - 128 + 32 * i);
        let mut q = [both.and(four), both.right::<4>().and(four)];
        if L::MAX > 15 {
            q = [q[0].or(fifth.left::<4>().and(one)), q[1].or(fifth.left::<3>().and(one))];
            fifth = fifth.right::<2>();
        }
        for (g, q) in (2 * i..).zip(q) {
            let x = _mm256_loadu_si256(x.add(g * stride).cast());
            let scale = _mm256_shuffle_epi8(scales, _mm256_set1_epi16(0x8000_u16 as i16 | g as i16));
            sum = sum.add(_mm256_maddubs_epi16(q, x).multiply_pairs(scale));
        }
    }
    sum
}

/// Eight parts of Σ scale (q - 32) x of a superblock. The token's groups are `stride` apart, `sums` holds their sums by sixteen.
///
/// # Safety
/// As for [`gemv_rowwise_q6_k`].
#[inline(always)]
unsafe fn row(block: *const u8, x: *const i8, stride: usize, sums: __m256i) -> __m256i {
    let at = |offset: usize| __m256i::load(block.wrapping_add(offset));
    let (four, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
    // Eight scales, in each half of a vector.
    let eight = |offset: usize| {
        let eight = _mm_loadl_epi64(block.wrapping_add(offset).cast());
        _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(eight, eight))
    };
    let scales = [eight(192), eight(200)];
    let offset = _mm256_blend_epi32(scales[0], scales[1], 0b1111_0000).multiply_pairs(sums).left_32::<5>();
    let mut sum = _mm256_setzero_si256();
    for half in 0..2 {
        let (a, b, top) = (at(64 * half), at(64 * half + 32), at(128 + 32 * half));
        let q = [
            a.and(four).or(top.left::<4>().and(two)),
            b.and(four).or(top.left::<2>().and(two)),
            a.right::<4>().and(four).or(top.and(two)),
            b.right::<4>().and(four).or(top.right::<2>().and(two)),
        ];
        for k in 0..4 {
            let x = _mm256_loadu_si256(x.add((4 * half + k) * stride).cast());
            // Scales 2k and 2k + 1, each for half of the vector.
            let (low, high) = (0x0100_0100 + 0x0404_0404 * k as i32, 0x0302_0302 + 0x0404_0404 * k as i32);
            let order = _mm256_setr_epi32(low, low, low, low, high, high, high, high);
            let scale = _mm256_shuffle_epi8(scales[half], order);
            sum = sum.add(_mm256_maddubs_epi16(q[k], x).multiply_pairs(scale));
        }
    }
    sum.sub(offset)
}

/// The sum of each vector's lanes, in the lane of its number.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn sum_of_each(sums: [__m256i; ROWS]) -> __m256i {
    let two = |a, b| _mm256_unpacklo_epi32(a, b).add(_mm256_unpackhi_epi32(a, b));
    let four = |ab, cd| _mm256_unpacklo_epi64(ab, cd).add(_mm256_unpackhi_epi64(ab, cd));
    let [a, b, c, d, e, f, g, h] = sums;
    let (low, high) = (four(two(a, b), two(c, d)), four(two(e, f), two(g, h)));
    _mm256_permute2x128_si256(low, high, 0x20).add(_mm256_permute2x128_si256(low, high, 0x31))
}
