//! What the x86 machines differ in: how many rows a vector has, and how bytes are multiplied and added.

mod avx2;
mod vnni;

use super::load::{Legacy, Source};
use super::load_k::{EightScales, Scales, Super, Superblock};
pub(super) use avx2::{Avx2, fitting};
use core::arch::x86_64::*;
use smidgen_quant::{Q8, Q8K};
pub(super) use vnni::{Avx512Vnni, AvxVnni};

/// Rows of a block of 32, in the machine's vectors.
#[derive(Clone, Copy)]
pub(super) struct Weights<I: Isa> {
    q: [I::Int; 8],
    /// The low and the high nibbles of bytes with a sign, moved up by 128, where the machine multiplies these one by one.
    nibbles: [[I::Int; 8]; 2],
    d: I::Float,
    m: I::Float,
}

impl<I: Isa> Weights<I> {
    #[inline(always)]
    fn new(q: [I::Int; 8], d: I::Float, m: I::Float) -> Weights<I> {
        Weights { q, nibbles: [q; 2], d, m }
    }

    /// # Safety
    /// Needs the CPU features of `I`.
    #[inline(always)]
    pub(super) unsafe fn zero() -> Weights<I> {
        // SAFETY: the caller's promise.
        unsafe { Weights::new([I::splat_int(0); 8], I::zero(), I::zero()) }
    }
}

/// Rows of a superblock, in the machine's vectors.
pub(super) type WeightsK<I> = Superblock<<I as Isa>::Int, <I as Isa>::Float>;

/// Where superblocks are unpacked to.
pub(super) struct ScratchK<I: Isa> {
    pub(super) weights: WeightsK<I>,
    /// Where a machine with more than eight rows in a vector unpacks eight at a time.
    eight: [Superblock<__m256i, __m256>; 2],
}

/// [`Super::weights`], compiled once for all machines and loops: it is long, and its results are read from memory anyway.
///
/// # Safety
/// As for [`Super`].
#[inline(never)]
unsafe fn read_weights<L: Super, S: Source>(rows: S, to: &mut [__m256i; 64]) {
    // rustc 1.95 inlines, in spite of the word above, what has target features itself.
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn inner<L: Super, S: Source>(rows: S, to: &mut [__m256i; 64]) {
        // SAFETY: the caller's promise.
        unsafe { L::weights(rows, to) }
    }
    // SAFETY: the caller's promise.
    unsafe { inner::<L, S>(rows, to) }
}

/// [`Super::scales`], likewise.
///
/// # Safety
/// As for [`Super`].
#[inline(never)]
unsafe fn read_scales<L: Super, S: Source>(rows: S, to: &mut EightScales) {
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn inner<L: Super, S: Source>(rows: S, to: &mut EightScales) {
        // SAFETY: the caller's promise.
        *to = unsafe { L::scales(rows) };
    }
    // SAFETY: the caller's promise.
    unsafe { inner::<L, S>(rows, to) }
}

/// A set of x86 instructions. Lanes are rows.
///
/// # Safety
/// Every function needs the CPU features of the machine and readable memory behind its pointers.
pub(super) trait Isa: Copy {
    /// Rows in a vector.
    const ROWS: usize;
    /// `ROWS` lanes of 32 bits.
    type Int: Copy;
    /// `ROWS` lanes of `f32`.
    type Float: Copy;

    unsafe fn zero() -> Self::Float;
    unsafe fn splat(x: f32) -> Self::Float;
    unsafe fn add(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn sub(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn mul(a: Self::Float, b: Self::Float) -> Self::Float;
    unsafe fn to_float(a: Self::Int) -> Self::Float;
    unsafe fn store(to: *mut f32, a: Self::Float);
    unsafe fn splat_int(x: i32) -> Self::Int;
    unsafe fn add_int(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn sub_int(a: Self::Int, b: Self::Int) -> Self::Int;
    unsafe fn shift_left<const BITS: u32>(a: Self::Int) -> Self::Int;
    /// Products of 16-bit halves, added in pairs.
    unsafe fn multiply_pairs(a: Self::Int, b: Self::Int) -> Self::Int;

    /// The weights of a block in `ROWS` rows: `rows` gives eight of them, by their number.
    unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self>;
    /// The weights of a superblock in `ROWS` rows.
    unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>);

    /// What is to be subtracted from each weight as [`dots`](Isa::dots) takes it.
    fn offset<L: Legacy, const T: usize>() -> i32;

    /// Adds Σ q x over 32 inputs to the sum of each of `T` tokens and `N` vectors of rows.
    unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
        sums: &mut [[Self::Int; N]; T],
        w: &[Weights<Self>; N],
        x: [*const i8; T],
    );
    /// Adds scale Σ q x over `4 Q` inputs; `q` without sign and at most `MAX`.
    unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
        sums: &mut [[Self::Int; N]; T],
        q: [*const Self::Int; N],
        x: [*const i8; T],
        scale: [Self::Int; N],
    );

    /// A multiple of the sum of a block's activations, which has 16 bits, in every lane. As a product of pairs, since the compiler would
    /// otherwise multiply before it broadcasts, which is slower.
    #[inline(always)]
    unsafe fn multiple(factor: i32, sum: *const i32) -> Self::Int {
        // SAFETY: the caller's promise.
        unsafe { Self::multiply_pairs(Self::splat_int(*sum), Self::splat_int(factor & 0xffff)) }
    }

    /// The law of the formats with blocks of 32: `acc + (d * dx) * isum`, and `+ m * offset` within where there is a minimum.
    /// For block `b` of the tokens from `first` on.
    #[inline(always)]
    unsafe fn accumulate<L: Legacy, const T: usize, const N: usize>(
        acc: &mut [[Self::Float; N]; T],
        w: &[Weights<Self>; N],
        x: &Q8,
        b: usize,
        first: usize,
    ) {
        let at = b * x.tokens + first;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[Self::splat_int(0); N]; T];
            let mut qs = [x.qs.as_ptr(); T];
            for t in 0..T {
                qs[t] = x.qs.as_ptr().add(32 * (at + t));
                if Self::offset::<L, T>() != 0 {
                    sums[t] = [Self::multiple(-Self::offset::<L, T>(), x.sums.as_ptr().add(at + t)); N];
                }
            }
            Self::dots::<L, T, N>(&mut sums, w, qs);
            for t in 0..T {
                let dx = Self::splat(*x.scales.as_ptr().add(at + t));
                let offset = if L::MIN { Self::splat(*x.offsets.as_ptr().add(at + t)) } else { dx };
                for n in 0..N {
                    let product = Self::mul(Self::mul(w[n].d, dx), Self::to_float(sums[t][n]));
                    let product = if L::MIN { Self::add(product, Self::mul(w[n].m, offset)) } else { product };
                    acc[t][n] = Self::add(acc[t][n], product);
                }
            }
        }
    }

    /// The law of the K-quants, for superblock `b` of the tokens from `first` on.
    #[inline(always)]
    unsafe fn accumulate_k<S: Super, const T: usize, const N: usize>(
        acc: &mut [[Self::Float; N]; T],
        w: &[ScratchK<Self>; N],
        x: &Q8K,
        b: usize,
        first: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut isum = [[Self::splat_int(0); N]; T];
            for g in 0..8 {
                let group = (8 * b + g) * x.tokens + first;
                let mut qs = [x.qs.as_ptr(); T];
                for t in 0..T {
                    qs[t] = x.qs.as_ptr().add(32 * (group + t));
                }
                let mut q = [w[0].weights.q.as_ptr(); N];
                let mut scale = [[Self::splat_int(0); N]; 2];
                for n in 0..N {
                    q[n] = w[n].weights.q.as_ptr().add(8 * g);
                    scale[0][n] = w[n].weights.scales.subs[if S::SUB == 16 { 2 * g } else { g }];
                    scale[1][n] = w[n].weights.scales.subs[if S::SUB == 16 { 2 * g + 1 } else { g }];
                }
                match (S::SUB, S::MAX) {
                    (16, max) => {
                        for half in 0..2 {
                            match max {
                                63 => Self::dots_scaled::<4, 63, T, N>(&mut isum, q, qs, scale[half]),
                                _ => Self::dots_scaled::<4, 7, T, N>(&mut isum, q, qs, scale[half]),
                            }
                            for n in 0..N {
                                q[n] = q[n].add(4);
                            }
                            for t in 0..T {
                                qs[t] = qs[t].add(16);
                            }
                        }
                    }
                    (_, 15) => Self::dots_scaled::<8, 15, T, N>(&mut isum, q, qs, scale[0]),
                    _ => Self::dots_scaled::<8, 31, T, N>(&mut isum, q, qs, scale[0]),
                }
            }
            for t in 0..T {
                for n in 0..N {
                    acc[t][n] = Self::add_superblock::<S>(acc[t][n], isum[t][n], &w[n].weights.scales, x, b, first + t);
                }
            }
        }
    }

    /// The law of the K-quants, given Σ scale q x of superblock `b` with token `t`.
    #[inline(always)]
    unsafe fn add_superblock<S: Super>(
        acc: Self::Float,
        isum: Self::Int,
        w: &Scales<Self::Int, Self::Float>,
        x: &Q8K,
        b: usize,
        t: usize,
    ) -> Self::Float {
        // SAFETY: the caller's promise.
        unsafe {
            let mut msum = Self::splat_int(0);
            for g in 0..8 {
                let pair = x.sums.as_ptr().add(2 * ((8 * b + g) * x.tokens + t)).cast::<i32>().read_unaligned();
                msum = Self::add_int(msum, Self::multiply_pairs(w.pairs[g], Self::splat_int(pair)));
            }
            let dx = Self::splat(*x.scales.as_ptr().add(b * x.tokens + t));
            let product = match S::OFFSET_SHIFT {
                None => {
                    let product = Self::mul(Self::mul(w.d, dx), Self::to_float(isum));
                    Self::sub(product, Self::mul(Self::mul(w.dmin, dx), Self::to_float(msum)))
                }
                Some(shift) => {
                    let offset = if shift == 5 { Self::shift_left::<5>(msum) } else { Self::shift_left::<2>(msum) };
                    Self::mul(Self::mul(w.d, dx), Self::to_float(Self::sub_int(isum, offset)))
                }
            };
            Self::add(acc, product)
        }
    }
}

/// Four inputs, for every row.
#[inline(always)]
pub(super) unsafe fn four(x: *const i8) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { x.cast::<i32>().read_unaligned() }
}
