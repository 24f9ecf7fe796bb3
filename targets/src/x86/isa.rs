//! The instruction sets of x86-64, which differ in how many rows a vector has, and in how bytes are multiplied and added.

mod avx2;
mod vnni;

use super::load_kquant::{KQuant, Scales, Superblock, each_of_eight};
use super::load_legacy::{Block, Legacy, RowBlock};
use super::vec_f32::VecF32;
use super::vec_i32::VecI32;
pub(super) use avx2::Avx2;
use core::array;
use smidgen_quant::{Q8, Q8K};
pub(super) use vnni::{Avx512Vnni, AvxVnni};

/// Tokens that share each load of weights.
pub(super) const TOKENS_TOGETHER: usize = 4;

/// Rows of a block of 32, in the machine's vectors.
pub(super) struct Weights<I: Isa> {
    q: [I::Int; 8],
    /// The low and the high nibbles of bytes with a sign, moved up by 128, where the machine multiplies these one by one.
    nibbles: [[I::Int; 8]; 2],
    d: Float<I>,
    m: Float<I>,
}

impl<I: Isa> Weights<I> {
    #[inline(always)]
    fn new(Block { q, d, m }: Block<I::Int>) -> Weights<I> {
        Weights { q, nibbles: [q; 2], d, m }
    }
}

/// A machine's vectors of `f32`.
pub(super) type Float<I> = <<I as Isa>::Int as VecI32>::Float;

/// A set of x86 instructions. Lanes are rows.
///
/// # Safety
/// Every function needs the CPU features of the machine and readable memory behind its pointers.
pub(super) trait Isa: Copy {
    /// Lanes of 32 bits.
    type Int: VecI32;
    /// The same instructions with vectors of eight rows.
    type Eight: Isa;

    /// The weights of a block in as many rows as a vector has.
    unsafe fn load<L: Legacy>(rows: impl RowBlock<Self::Int>) -> Weights<Self>;

    /// The offset to be subtracted from each weight as [`dots`](Isa::dots) takes it.
    fn offset<L: Legacy, const T: usize>() -> i32;

    /// Adds Σ q x over 32 inputs to the sum of each of `T` tokens and `N` vectors of rows.
    unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
        sums: &mut [[Self::Int; N]; T],
        w: &[Weights<Self>; N],
        x: [*const i8; T],
    );

    /// How many vectors of products of weights up to `max` can be added by [`add_products`](Isa::add_products), as a power of two.
    fn fitting(max: i32) -> usize;
    /// Adds the products of four weights without sign and four activations in each lane.
    unsafe fn add_products(part: Self::Int, q: Self::Int, x: Self::Int) -> Self::Int;
    /// The same sum, which the compiler is kept from adding in another order: that would need more registers than there are, where a chain is long.
    #[inline(always)]
    unsafe fn in_order(sum: Self::Int) -> Self::Int {
        sum
    }
    /// Such a sum times the scale in both halves of each lane.
    unsafe fn scaled(part: Self::Int, scale: Self::Int) -> Self::Int;

    /// Adds scale Σ q x over `4 Q` inputs; `q` without sign and at most `MAX`.
    #[inline(always)]
    unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
        sums: &mut [[Self::Int; N]; T],
        q: [*const Self::Int; N],
        x: [*const i8; T],
        scale: [Self::Int; N],
    ) {
        let step = Self::fitting(MAX).min(Q);
        let mut part = [[Self::Int::splat(0); N]; T];
        each_of_eight!(k, {
            if k < Q {
                if k % step == 0 {
                    part = [[Self::Int::splat(0); N]; T];
                }
                for t in 0..T {
                    let x = Self::Int::splat(four(x[t].add(4 * k)));
                    for n in 0..N {
                        part[t][n] = Self::add_products(part[t][n], *q[n].add(k), x);
                        if Q == 8 {
                            part[t][n] = Self::in_order(part[t][n]);
                        }
                    }
                }
                if k % step == step - 1 {
                    for t in 0..T {
                        for n in 0..N {
                            sums[t][n] = sums[t][n].add(Self::scaled(part[t][n], scale[n]));
                        }
                    }
                }
            }
        });
    }

    /// A multiple of the sum of a block's activations, which has 16 bits, in every lane. As a product of pairs, since the compiler would
    /// otherwise multiply before it broadcasts, which is slower.
    #[inline(always)]
    unsafe fn multiple(factor: i32, sum: *const i32) -> Self::Int {
        Self::Int::splat(*sum).multiply_pairs(Self::Int::splat(factor & 0xffff))
    }

    /// [`add_block`] for block `b` of the tokens from `first` on.
    #[inline(always)]
    unsafe fn accumulate<L: Legacy, const T: usize, const N: usize>(
        acc: &mut [[Float<Self>; N]; T],
        w: &[Weights<Self>; N],
        x: &Q8,
        b: usize,
        first: usize,
    ) {
        let at = b * x.tokens + first;
        let mut sums = [[Self::Int::splat(0); N]; T];
        let mut qs = [x.qs.as_ptr(); T];
        for t in 0..T {
            qs[t] = x.qs.as_ptr().add(32 * (at + t));
            if Self::offset::<L, T>() != 0 {
                sums[t] = [Self::multiple(-Self::offset::<L, T>(), x.sums.as_ptr().add(at + t)); N];
            }
        }
        Self::dots::<L, T, N>(&mut sums, w, qs);
        for t in 0..T {
            for n in 0..N {
                acc[t][n] = add_block::<Self::Int, L>(acc[t][n], sums[t][n], w[n].d, w[n].m, x, at + t);
            }
        }
    }

    /// Adds the products of K-quants, for superblock `b` of the tokens from `first` on, as many as there are sums.
    /// Compiled once for formats that are alike: it is long.
    unsafe fn accumulate_k<S: KQuant, const N: usize>(
        acc: &mut [[Float<Self>; N]],
        w: &[Superblock<Self::Int>; N],
        x: &Q8K,
        b: usize,
        first: usize,
    );
}

/// The reference's expression for formats with blocks of 32, given Σ (q - offset) x of a token's block `at`: `acc + (d * dx) * isum`, and `+ m * offset` within where
/// there is a minimum.
///
/// # Safety
/// As for [`VecI32`]; `x` has the block.
#[inline(always)]
pub(super) unsafe fn add_block<V: VecI32, L: Legacy>(
    acc: V::Float,
    isum: V,
    d: V::Float,
    m: V::Float,
    x: &Q8,
    at: usize,
) -> V::Float {
    let dx = V::Float::splat(*x.scales.as_ptr().add(at));
    let product = d.mul(dx).mul(isum.to_float());
    acc.add(if L::MIN { product.add(m.mul(V::Float::splat(*x.offsets.as_ptr().add(at)))) } else { product })
}

/// The body of [`Isa::accumulate_k`].
#[inline(always)]
unsafe fn accumulate_k<I: Isa, const SUB: usize, const MAX: i32, const N: usize>(
    acc: &mut [[Float<I>; N]],
    w: &[Superblock<I::Int>; N],
    x: &Q8K,
    b: usize,
    first: usize,
    offset_shift: Option<i32>,
) {
    let (together, rest) = acc.as_chunks_mut::<TOKENS_TOGETHER>();
    let mut t = first;
    for acc in together {
        accumulate_few_k::<I, SUB, MAX, TOKENS_TOGETHER, N>(acc, w, x, b, t, offset_shift);
        t += TOKENS_TOGETHER;
    }
    for acc in rest.as_chunks_mut::<1>().0 {
        accumulate_few_k::<I, SUB, MAX, 1, N>(acc, w, x, b, t, offset_shift);
        t += 1;
    }
}

/// The same for `T` tokens.
#[inline(always)]
unsafe fn accumulate_few_k<I: Isa, const SUB: usize, const MAX: i32, const T: usize, const N: usize>(
    acc: &mut [[Float<I>; N]; T],
    w: &[Superblock<I::Int>; N],
    x: &Q8K,
    b: usize,
    first: usize,
    offset_shift: Option<i32>,
) {
    let mut isum = [[I::Int::splat(0); N]; T];
    for g in 0..8 {
        let group = (8 * b + g) * x.tokens + first;
        let mut qs = [x.qs.as_ptr(); T];
        for t in 0..T {
            qs[t] = x.qs.as_ptr().add(32 * (group + t));
        }
        let mut q = [w[0].q.as_ptr(); N];
        for n in 0..N {
            q[n] = w[n].q.as_ptr().add(8 * g);
        }
        if SUB == 16 {
            for half in 0..2 {
                let scale = array::from_fn(|n| w[n].scales.subs[2 * g + half]);
                I::dots_scaled::<4, MAX, T, N>(&mut isum, q, qs, scale);
                for n in 0..N {
                    q[n] = q[n].add(4);
                }
                for t in 0..T {
                    qs[t] = qs[t].add(16);
                }
            }
        } else {
            I::dots_scaled::<8, MAX, T, N>(&mut isum, q, qs, array::from_fn(|n| w[n].scales.subs[g]));
        }
    }
    for t in 0..T {
        for n in 0..N {
            acc[t][n] = add_superblock(acc[t][n], isum[t][n], &w[n].scales, x, b, first + t, offset_shift);
        }
    }
}

/// The reference's expression for K-quants, given Σ scale q x of superblock `b` with token `t`, and [`KQuant::OFFSET_SHIFT`].
///
/// # Safety
/// As for [`VecI32`]; the token has the superblock.
#[inline(always)]
pub(super) unsafe fn add_superblock<V: VecI32>(
    acc: V::Float,
    isum: V,
    w: &Scales<V>,
    x: &Q8K,
    b: usize,
    t: usize,
    offset_shift: Option<i32>,
) -> V::Float {
    let mut msum = V::splat(0);
    let mut pair = x.sums.as_ptr().add(2 * (8 * b * x.tokens + t)).cast::<i32>();
    for g in 0..8 {
        msum = msum.add(w.pairs[g].multiply_pairs(V::splat(pair.read_unaligned())));
        pair = pair.wrapping_add(x.tokens);
    }
    let dx = V::Float::splat(*x.scales.as_ptr().add(b * x.tokens + t));
    let product = match offset_shift {
        None => w.d.mul(dx).mul(isum.to_float()).sub(w.dmin.mul(dx).mul(msum.to_float())),
        Some(shift) => {
            let offset = if shift == 5 { msum.left_32::<5>() } else { msum.left_32::<2>() };
            w.d.mul(dx).mul(isum.sub(offset).to_float())
        }
    };
    acc.add(product)
}

/// [`accumulate_k`] for some sub-blocks, compiled for a machine's features and never inlined.
macro_rules! compiled_once {
    ($features:literal) => {
        #[inline(never)]
        unsafe fn once<const SUB: usize, const MAX: i32, const N: usize>(
            acc: &mut [[Float<Self>; N]],
            w: &[Superblock<<Self as Isa>::Int>; N],
            x: &Q8K,
            b: usize,
            first: usize,
            offset_shift: Option<i32>,
        ) {
            // rustc 1.95 inlines a function with target features although it is marked `inline(never)`, so the mark is on a function without them.
            #[target_feature(enable = $features)]
            unsafe fn inner<I: Isa, const SUB: usize, const MAX: i32, const N: usize>(
                acc: &mut [[Float<I>; N]],
                w: &[Superblock<I::Int>; N],
                x: &Q8K,
                b: usize,
                first: usize,
                offset_shift: Option<i32>,
            ) {
                accumulate_k::<I, SUB, MAX, N>(acc, w, x, b, first, offset_shift)
            }
            inner::<Self, SUB, MAX, N>(acc, w, x, b, first, offset_shift)
        }
    };
}
use compiled_once;

/// Four inputs, for every row.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(super) unsafe fn four(x: *const i8) -> i32 {
    x.cast::<i32>().read_unaligned()
}
