//! GEMV and GEMM: rows in lanes, blocks in order, tokens inside a block.

use super::isa::{Isa, Quants};
use super::load_kquant::{Head, KQuant};
use super::load_legacy::{Four, Legacy, Panel, Plain, RowBlock, nothing, sixteen_f16s};
use crate::{Tile, WeightMatrix};
use core::arch::aarch64::*;
use smidgen_quant::packed::PANEL;
use smidgen_quant::{Input, Q8, Q8K};

/// Tokens whose sums are kept while the weights of one block are in registers.
const TOKENS: usize = 64;
/// Fours of rows that are worked on together where nothing else is said.
const FOURS: usize = 2;

/// Rows that are found to be plain or packed at each block, so that the loops over tokens are compiled once for both.
#[derive(Clone, Copy)]
enum Either {
    Plain(Plain),
    Panel(Panel),
}

/// Calls a function with rows of either kind, from row `$first` and byte `$bytes` on.
macro_rules! either {
    ($rows:expr, $first:expr, $bytes:expr, |$source:ident| $call:expr) => {
        match $rows {
            Either::Plain(rows) => {
                let $source = rows.at($first, $bytes);
                $call
            }
            Either::Panel(rows) => {
                let $source = rows.at($first, $bytes);
                $call
            }
        }
    };
}

/// The panel that begins with row `row`.
fn panel(w: &WeightMatrix, row: usize) -> Panel {
    Panel { block: w.bytes(row, PANEL).as_ptr(), first_row: 0 }
}

/// The rows from row `row` on, of which there are two fours.
fn plain_rows(w: &WeightMatrix, row: usize) -> Plain {
    Plain { block: w.bytes(row, 4 * FOURS).as_ptr(), row_bytes: w.row_bytes() }
}

/// The two fours of rows from row `first + c` on; the `packed` rows from `first` on lie in panels.
fn either(w: &WeightMatrix, first: usize, c: usize, packed: usize) -> Either {
    if c >= packed {
        return Either::Plain(plain_rows(w, first + c));
    }
    let half = c % PANEL;
    Either::Panel(panel(w, first + c - half).at(half, 0))
}

/// A format with blocks of 32.
///
/// # Safety
/// Needs the CPU features of `I`. The arguments fit each other, as [`crate::KernelSet::matmul`] checks.
#[inline(always)]
pub(super) unsafe fn legacy<I: Isa, L: Legacy>(w: &WeightMatrix, input: &Input, out: &mut Tile) {
    let Input::Q8(x) = input else { return };
    let (first_row, one) = (out.first_col(), !I::GEMM_ONLY && out.rows() == 1);
    let (packed, plain) = w.parts(out, 4 * FOURS);
    // The sources are the rows' whole blocks; the arrays of `x` hold as many blocks of each token.
    if !one {
        for c in (0..plain).step_by(4 * FOURS) {
            gemm_legacy::<I, L>(&either(w, first_row, c, packed), x, out, c);
        }
    } else {
        for c in (0..packed).step_by(PANEL) {
            if I::PANEL && L::LEVELS > 0 {
                gemv_panel::<I, L>(panel(w, first_row + c), x, out, c);
            } else {
                gemv_legacy::<I, L, Panel, { PANEL / 4 }>(panel(w, first_row + c), x, out, c);
            }
        }
        for c in (packed..plain).step_by(4 * FOURS) {
            gemv_legacy::<I, L, Plain, FOURS>(plain_rows(w, first_row + c), x, out, c);
        }
    }
    w.by_reference(input, out, plain);
}

/// A panel with one token.
///
/// # Safety
/// As for [`legacy`]; the rows have as many blocks as `x`.
#[inline(always)]
unsafe fn gemv_panel<I: Isa, L: Legacy>(panel: Panel, x: &Q8, out: &mut Tile, c: usize) {
    let t = out.first_row();
    let mut acc = [nothing(); 4];
    for b in 0..x.cols / 32 {
        let at = b * x.tokens + t;
        // The scales of sixteen rows lie in front of their minima, and these in front of the quants.
        let start = if L::OFFSET == 0 { 0 } else { L::OFFSET * *x.sums.as_ptr().add(at) };
        let block = panel.at(0, b * L::BYTES).block;
        let (scale, offset) = (x.scales.as_ptr().add(at), x.offsets.as_ptr().add(at));
        let d = sixteen_f16s(block.cast());
        let m = if L::MIN { sixteen_f16s(block.add(2 * PANEL).cast()) } else { d };
        let bytes = block.add(if L::MIN { 4 * PANEL } else { 2 * PANEL });
        let isums = I::panel::<L>(bytes, x.qs.as_ptr().add(32 * at), start);
        acc[0] = accumulate::<L>(acc[0], d[0], m[0], isums[0], scale, offset);
        acc[1] = accumulate::<L>(acc[1], d[1], m[1], isums[1], scale, offset);
        acc[2] = accumulate::<L>(acc[2], d[2], m[2], isums[2], scale, offset);
        acc[3] = accumulate::<L>(acc[3], d[3], m[3], isums[3], scale, offset);
    }
    store(&acc, &mut out.row(0)[c..c + PANEL]);
}

/// The reference's expression for formats with blocks of 32: `acc + (d * dx) * isum`, and `+ m * offset` within where there is a minimum.
#[inline(always)]
unsafe fn accumulate<L: Legacy>(
    acc: float32x4_t,
    d: float32x4_t,
    m: float32x4_t,
    isum: int32x4_t,
    scale: *const f32,
    offset: *const f32,
) -> float32x4_t {
    accumulate_lane::<L, 0>(acc, d, m, isum, vdupq_n_f32(*scale), vdupq_n_f32(*offset))
}

/// As [`accumulate`], of the token whose scale and offset are in lane `T`.
#[inline(always)]
unsafe fn accumulate_lane<L: Legacy, const T: i32>(
    acc: float32x4_t,
    d: float32x4_t,
    m: float32x4_t,
    isum: int32x4_t,
    scale: float32x4_t,
    offset: float32x4_t,
) -> float32x4_t {
    let product = vmulq_f32(vmulq_laneq_f32::<T>(d, scale), vcvtq_f32_s32(isum));
    let product = if L::MIN { vaddq_f32(product, vmulq_laneq_f32::<T>(m, offset)) } else { product };
    vaddq_f32(acc, product)
}

/// `4 N` rows with one token.
///
/// # Safety
/// As for [`legacy`]; the rows have as many blocks as `x`.
#[inline(always)]
unsafe fn gemv_legacy<I: Isa, L: Legacy, S: RowBlock, const N: usize>(rows: S, x: &Q8, out: &mut Tile, c: usize) {
    let t = out.first_row();
    let mut acc = [nothing(); N];
    for b in 0..x.cols / 32 {
        let at = b * x.tokens + t;
        let qs = x.qs.as_ptr().add(32 * at);
        let start = if L::OFFSET == 0 { 0 } else { L::OFFSET * *x.sums.as_ptr().add(at) };
        for n in 0..N {
            let w = L::load(rows.at(4 * n, b * L::BYTES), S::LANES);
            let isum = I::dot(S::LANES, L::MAX, &w.q, qs, start);
            acc[n] = accumulate::<L>(acc[n], w.d, w.m, isum, x.scales.as_ptr().add(at), x.offsets.as_ptr().add(at));
        }
    }
    store(&acc, &mut out.row(0)[c..c + 4 * N]);
}

/// Writes four rows each.
#[inline(always)]
fn store(acc: &[float32x4_t], out: &mut [f32]) {
    for (acc, out) in acc.iter().zip(out.as_chunks_mut::<4>().0) {
        // SAFETY: every aarch64 has NEON; four floats have room.
        unsafe { vst1q_f32(out.as_mut_ptr(), *acc) };
    }
}

/// Quants with what is to be added to them.
#[inline(always)]
unsafe fn with_offset(mut q: Quants, offset: i32) -> Quants {
    if offset != 0 {
        for q in &mut q {
            *q = vaddq_s8(*q, vdupq_n_s8(offset as i8));
        }
    }
    q
}

/// Rows with several tokens.
///
/// # Safety
/// As for [`legacy`]; the rows have as many blocks as `x`.
#[inline(always)]
unsafe fn gemm_legacy<I: Isa, L: Legacy>(rows: &Either, x: &Q8, out: &mut Tile, c: usize) {
    for t0 in (0..out.rows()).step_by(TOKENS) {
        let tokens = TOKENS.min(out.rows() - t0);
        let mut acc = [[nothing(); FOURS]; TOKENS];
        for b in 0..x.cols / 32 {
            let at = b * x.tokens + out.first_row() + t0;
            let mut w = [Four { q: [vdupq_n_s8(0); 8], d: nothing(), m: nothing() }; FOURS];
            let mut q = [w[0].q; FOURS];
            for n in 0..FOURS {
                w[n] = either!(*rows, 4 * n, b * L::BYTES, |source| L::load(source, I::LANES));
                q[n] = I::arrange(with_offset(w[n].q, L::OFFSET));
            }
            let qs = x.qs.as_ptr().add(32 * at);
            let (scales, offsets) = (x.scales.as_ptr().add(at), x.offsets.as_ptr().add(at));
            let (fours, rest) = acc[..tokens].as_chunks_mut::<4>();
            for (i, four) in fours.iter_mut().enumerate() {
                let (at, scales, offsets) = (qs.add(128 * i), scales.add(4 * i), offsets.add(4 * i));
                let (scales, offsets) = (vld1q_f32(scales), if L::MIN { vld1q_f32(offsets) } else { nothing() });
                let isums = I::dots::<FOURS, 0, 2>(L::MAX, &q, [at, at.add(32)]);
                for n in 0..FOURS {
                    let (d, m) = (w[n].d, w[n].m);
                    four[0][n] = accumulate_lane::<L, 0>(four[0][n], d, m, isums[0][n], scales, offsets);
                    four[1][n] = accumulate_lane::<L, 1>(four[1][n], d, m, isums[1][n], scales, offsets);
                }
                let isums = I::dots::<FOURS, 0, 2>(L::MAX, &q, [at.add(64), at.add(96)]);
                for n in 0..FOURS {
                    let (d, m) = (w[n].d, w[n].m);
                    four[2][n] = accumulate_lane::<L, 2>(four[2][n], d, m, isums[0][n], scales, offsets);
                    four[3][n] = accumulate_lane::<L, 3>(four[3][n], d, m, isums[1][n], scales, offsets);
                }
            }
            let done = tokens - rest.len();
            for (i, pair) in rest.chunks_mut(2).enumerate() {
                let first = done + 2 * i;
                let at = qs.add(32 * first);
                let isums = I::dots::<FOURS, 0, 2>(L::MAX, &q, [at, at.add(32 * (pair.len() - 1))]);
                for (t, acc) in pair.iter_mut().enumerate() {
                    let (scale, offset) = (scales.add(first + t), offsets.add(first + t));
                    for n in 0..FOURS {
                        acc[n] = accumulate::<L>(acc[n], w[n].d, w[n].m, isums[t][n], scale, offset);
                    }
                }
            }
        }
        for (t, acc) in acc[..tokens].iter().enumerate() {
            store(acc, &mut out.row(t0 + t)[c..c + 4 * FOURS]);
        }
    }
}

/// A format with superblocks of 256.
///
/// # Safety
/// As for [`legacy`].
#[inline(always)]
pub(super) unsafe fn kquant<I: Isa, L: KQuant>(w: &WeightMatrix, input: &Input, out: &mut Tile) {
    let Input::Q8K(x) = input else { return };
    let (first_row, one) = (out.first_col(), !I::GEMM_ONLY && out.rows() == 1);
    let (packed, plain) = w.parts(out, 4 * FOURS);
    // The sources are the rows' whole superblocks; the arrays of `x` hold as many superblocks of each token.
    if !one {
        for c in (0..plain).step_by(4 * FOURS) {
            gemm_kquant::<I, L>(&either(w, first_row, c, packed), x, out, c);
        }
    } else {
        for c in (0..packed).step_by(PANEL) {
            gemv_kquant::<I, L, Panel, { PANEL / 4 / FOURS }>(panel(w, first_row + c), x, out, c);
        }
        for c in (packed..plain).step_by(4 * FOURS) {
            gemv_kquant::<I, L, Plain, 1>(plain_rows(w, first_row + c), x, out, c);
        }
    }
    w.by_reference(input, out, plain);
}

/// The reference's expression for K-quants, from the sums of a superblock and of its minima.
#[inline(always)]
unsafe fn accumulate_k<L: KQuant>(
    acc: float32x4_t,
    head: &Head,
    isum: int32x4_t,
    msum: int32x4_t,
    scale: *const f32,
) -> float32x4_t {
    let product = vmulq_f32(vmulq_n_f32(head.d, *scale), vcvtq_f32_s32(isum));
    if L::MIN {
        let minimum = vmulq_f32(vmulq_n_f32(head.dmin, *scale), vcvtq_f32_s32(msum));
        vaddq_f32(acc, vsubq_f32(product, minimum))
    } else {
        vaddq_f32(acc, product)
    }
}

/// The sums of a token's activations over each 16 inputs of a superblock, or in the first eight over each 32.
#[inline(always)]
unsafe fn sums<L: KQuant>(from: *const i16, tokens: usize) -> [int32x4_t; 4] {
    let eight = |first: usize| {
        if tokens == 1 {
            return vld1q_s16(from.add(2 * first));
        }
        let pair = |g: usize| from.add(2 * (first + g) * tokens).cast::<i32>();
        let v = vsetq_lane_s32::<0>(pair(0).read_unaligned(), vdupq_n_s32(0));
        let v = vld1q_lane_s32::<1>(pair(1), v);
        let v = vld1q_lane_s32::<2>(pair(2), v);
        vreinterpretq_s16_s32(vld1q_lane_s32::<3>(pair(3), v))
    };
    let (low, high) = (eight(0), eight(4));
    if L::SUB == 32 {
        let (low, high) = (vpaddlq_s16(low), vpaddlq_s16(high));
        return [low, high, low, high];
    }
    [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)]
}

/// Σ minimum × sum of its inputs.
#[inline(always)]
unsafe fn minima<L: KQuant>(head: &Head, sums: &[int32x4_t; 4]) -> int32x4_t {
    let mut msum = vdupq_n_s32(0);
    for i in 0..64 / L::SUB {
        msum = vmlaq_laneq_s32::<0>(msum, head.minima[4 * i], sums[i]);
        msum = vmlaq_laneq_s32::<1>(msum, head.minima[4 * i + 1], sums[i]);
        msum = vmlaq_laneq_s32::<2>(msum, head.minima[4 * i + 2], sums[i]);
        msum = vmlaq_laneq_s32::<3>(msum, head.minima[4 * i + 3], sums[i]);
    }
    msum
}

/// Calls a function for each group of a part, with its number in the part as a constant.
macro_rules! each_group {
    ($part:ident, $format:ident, $group:ident::<$($generic:ident),*>($($argument:expr),*)) => {
        $group::<$($generic,)* 0>($($argument),*);
        $group::<$($generic,)* 1>($($argument),*);
        if $format::GROUPS == 4 {
            $group::<$($generic,)* 2>($($argument),*);
            $group::<$($generic,)* 3>($($argument),*);
        }
    };
}

/// [`KQuant::head`], compiled once for all loops and machines: it is long, and its results are read from memory anyway.
///
/// # Safety
/// As for [`KQuant`].
#[inline(never)]
unsafe fn read_head<L: KQuant, S: RowBlock>(rows: S, head: &mut Head) {
    L::head(rows, head)
}

/// Group `g` of the `n`th four of rows that meet several tokens, compiled once for all machines that want this order.
///
/// # Safety
/// As for [`KQuant`]; the rows have the superblock.
#[inline(never)]
unsafe fn read_group<L: KQuant, const LANES: bool>(rows: &Either, n: usize, block: usize, g: usize) -> Quants {
    either!(*rows, 4 * n, block * L::BYTES, |source| {
        let part = g / L::GROUPS;
        match g % L::GROUPS {
            0 => L::group::<_, 0>(source, LANES, part),
            1 => L::group::<_, 1>(source, LANES, part),
            2 => L::group::<_, 2>(source, LANES, part),
            _ => L::group::<_, 3>(source, LANES, part),
        }
    })
}

/// `8 PAIRS` rows with one token.
///
/// # Safety
/// As for [`legacy`]; the rows have as many superblocks as `x`.
#[inline(always)]
unsafe fn gemv_kquant<I: Isa, L: KQuant, S: RowBlock, const PAIRS: usize>(rows: S, x: &Q8K, out: &mut Tile, c: usize) {
    let t = out.first_row();
    let mut acc = [[nothing(); FOURS]; PAIRS];
    let mut heads = [Head::new(), Head::new()];
    for b in 0..x.cols / 256 {
        let group = 8 * b * x.tokens + t;
        let from = x.sums.as_ptr().add(2 * group);
        for (pair, acc) in acc.iter_mut().enumerate() {
            let rows = rows.at(4 * FOURS * pair, b * L::BYTES);
            for n in 0..FOURS {
                read_head::<L, S>(rows.at(4 * n, 0), &mut heads[n]);
            }
            let mut isum = [vdupq_n_s32(0); FOURS];
            for part in 0..8 / L::GROUPS {
                each_group!(part, L, group_one::<I, L, S>(rows, part, &heads, x, group, &mut isum));
            }
            let sums = if L::MIN { sums::<L>(from, x.tokens) } else { [vdupq_n_s32(0); 4] };
            for n in 0..FOURS {
                let msum = if L::MIN { minima::<L>(&heads[n], &sums) } else { sums[0] };
                let scale = x.scales.as_ptr().add(b * x.tokens + t);
                acc[n] = accumulate_k::<L>(acc[n], &heads[n], isum[n], msum, scale);
            }
        }
    }
    store(acc.as_flattened(), &mut out.row(0)[c..c + 4 * FOURS * PAIRS]);
}

/// Group `J` of a part with one token, whose first group of the superblock is number `first` of `x`.
#[inline(always)]
unsafe fn group_one<I: Isa, L: KQuant, S: RowBlock, const J: usize>(
    rows: S,
    part: usize,
    heads: &[Head; FOURS],
    x: &Q8K,
    first: usize,
    isum: &mut [int32x4_t; FOURS],
) {
    let g = part * L::GROUPS + J;
    let at = first + g * x.tokens;
    let (qs, sums) = (x.qs.as_ptr().add(32 * at), x.sums.as_ptr().add(2 * at));
    for n in 0..FOURS {
        let q = L::group::<S, J>(rows.at(4 * n, 0), S::LANES, part);
        if L::SUB == 32 {
            let sum = I::dot(S::LANES, L::MAX, &q, qs, 0);
            isum[n] = vmlaq_s32(isum[n], sum, heads[n].scales[g]);
        } else {
            for half in 0..2 {
                let start = if L::OFFSET == 0 { 0 } else { L::OFFSET * *sums.add(half) as i32 };
                let sum = I::dot(S::LANES, L::MAX, &q[4 * half..4 * half + 4], qs.add(16 * half), start);
                isum[n] = vmlaq_s32(isum[n], sum, heads[n].scales[2 * g + half]);
            }
        }
    }
}

/// Rows with several tokens.
///
/// # Safety
/// As for [`legacy`]; the rows have as many superblocks as `x`.
#[inline(always)]
unsafe fn gemm_kquant<I: Isa, L: KQuant>(rows: &Either, x: &Q8K, out: &mut Tile, c: usize) {
    let mut heads = [Head::new(), Head::new()];
    for t0 in (0..out.rows()).step_by(TOKENS) {
        let tokens = TOKENS.min(out.rows() - t0);
        let first = out.first_row() + t0;
        let mut acc = [[nothing(); FOURS]; TOKENS];
        for b in 0..x.cols / 256 {
            for n in 0..FOURS {
                either!(*rows, 4 * n, b * L::BYTES, |source| read_head::<L, _>(source, &mut heads[n]));
            }
            let mut isums = [[vdupq_n_s32(0); FOURS]; TOKENS];
            let (group, isums) = (8 * b * x.tokens + first, &mut isums[..tokens]);
            for g in 0..8 {
                group_many::<I, L>(rows, b, g, &heads, x, group, isums);
            }
            for (t, (acc, isum)) in acc.iter_mut().zip(isums).enumerate() {
                let zero = [vdupq_n_s32(0); 4];
                let from = x.sums.as_ptr().add(2 * (group + t));
                let sums = if L::MIN { sums::<L>(from, x.tokens) } else { zero };
                for n in 0..FOURS {
                    let msum = if L::MIN { minima::<L>(&heads[n], &sums) } else { zero[0] };
                    let scale = x.scales.as_ptr().add(b * x.tokens + first + t);
                    acc[n] = accumulate_k::<L>(acc[n], &heads[n], isum[n], msum, scale);
                }
            }
        }
        for (t, acc) in acc[..tokens].iter().enumerate() {
            store(acc, &mut out.row(t0 + t)[c..c + 4 * FOURS]);
        }
    }
}

/// Group `g` of a superblock with several tokens, the first of which has group number `first` of `x`.
#[inline(always)]
unsafe fn group_many<I: Isa, L: KQuant>(
    rows: &Either,
    block: usize,
    g: usize,
    heads: &[Head; FOURS],
    x: &Q8K,
    first: usize,
    isums: &mut [[int32x4_t; FOURS]],
) {
    let qs = x.qs.as_ptr().add(32 * (first + g * x.tokens));
    let mut q = [[vdupq_n_s8(0); 8]; FOURS];
    let mut scales = [[vdupq_n_s32(0); FOURS]; 2];
    for n in 0..FOURS {
        let group =
            if I::LANES { read_group::<L, true>(rows, n, block, g) } else { read_group::<L, false>(rows, n, block, g) };
        q[n] = I::arrange(with_offset(group, L::OFFSET));
        for half in 0..2 {
            scales[half][n] = heads[n].scales[if L::SUB == 32 { g } else { 2 * g + half }];
        }
    }
    let (pairs, last) = isums.as_chunks_mut::<2>();
    let end = qs.add(64 * pairs.len());
    for (i, pair) in pairs.iter_mut().enumerate() {
        let x = qs.add(64 * i);
        two_tokens::<I, L>(pair, &q, &scales, [x, x.add(32)]);
    }
    if let [last] = last {
        let mut pair = [*last; 2];
        two_tokens::<I, L>(&mut pair, &q, &scales, [end, end]);
        *last = pair[0];
    }
}

/// A group with two tokens.
#[inline(always)]
unsafe fn two_tokens<I: Isa, L: KQuant>(
    isums: &mut [[int32x4_t; FOURS]; 2],
    q: &[Quants; FOURS],
    scales: &[[int32x4_t; FOURS]; 2],
    x: [*const i8; 2],
) {
    if L::SUB == 32 {
        add_scaled(isums, I::dots::<FOURS, 0, 2>(L::MAX, q, x), &scales[0]);
    } else {
        add_scaled(isums, I::dots::<FOURS, 0, 1>(L::MAX, q, x), &scales[0]);
        add_scaled(isums, I::dots::<FOURS, 1, 1>(L::MAX, q, x), &scales[1]);
    }
}

/// Adds sums times their scales.
#[inline(always)]
unsafe fn add_scaled(isums: &mut [[int32x4_t; FOURS]; 2], sums: [[int32x4_t; FOURS]; 2], scales: &[int32x4_t; FOURS]) {
    for t in 0..2 {
        for n in 0..FOURS {
            isums[t][n] = vmlaq_s32(isums[t][n], sums[t][n], scales[n]);
        }
    }
}
