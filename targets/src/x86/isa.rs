//! What the x86 machines differ in: how many rows a vector has, and how bytes are multiplied and added.

use super::load::{Eight, Legacy, Source};
use super::load_k::{EightScales, Scales, Super, Superblock};
use core::arch::x86_64::*;
use smidgen_quant::{Q8, Q8K};

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
    eight: [[__m256i; 64]; 2],
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

/// Functions that the two machines with 256-bit vectors share.
macro_rules! eight_rows {
    () => {
        const ROWS: usize = 8;
        type Int = __m256i;
        type Float = __m256;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: the caller's promise, here and below.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn to_float(a: __m256i) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_cvtepi32_ps(a) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, a: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, a) }
        }
        #[inline(always)]
        unsafe fn splat_int(x: i32) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn add_int(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub_int(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_sub_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn shift_left<const BITS: u32>(a: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(BITS as i32)) }
        }
        #[inline(always)]
        unsafe fn multiply_pairs(a: __m256i, b: __m256i) -> __m256i {
            // SAFETY: see above.
            unsafe { _mm256_madd_epi16(a, b) }
        }
    };
}

/// AVX2: bytes are multiplied into 16 bits, several products of which are added before they are widened.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// How many sums of two products of `max` and 127 fit into 16 bits with sign, as a power of two.
pub(super) const fn fitting(max: i32) -> usize {
    1 << (32767 / (max * 254)).ilog2()
}

impl Isa for Avx2 {
    eight_rows!();

    fn offset<L: Legacy, const T: usize>() -> i32 {
        if L::SIGNED && T > 1 { 128 } else { L::OFFSET }
    }

    #[inline(always)]
    unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        unsafe {
            let Eight { q, d, m } = L::load(rows(0));
            let mut weights = Weights::new(q, d, m);
            if L::SIGNED {
                let (mask, sign) = (_mm256_set1_epi8(15), _mm256_set1_epi8(8));
                for k in 0..8 {
                    weights.nibbles[0][k] = _mm256_and_si256(q[k], mask);
                    let high = _mm256_and_si256(_mm256_srli_epi16(q[k], 4), mask);
                    weights.nibbles[1][k] = _mm256_xor_si256(high, sign);
                }
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            out.weights.scales = L::scales(rows(0));
            L::weights(rows(0), &mut out.weights.q);
        }
    }

    #[inline(always)]
    unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
        sums: &mut [[__m256i; N]; T],
        w: &[Weights<Self>; N],
        x: [*const i8; T],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if L::SIGNED && T == 1 {
                for k in 0..8 {
                    let x = _mm256_set1_epi32(four(x[0].add(4 * k)));
                    for n in 0..N {
                        let q = w[n].q[k];
                        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
                        sums[0][n] = _mm256_add_epi32(sums[0][n], _mm256_madd_epi16(products, ones));
                    }
                }
            } else if L::SIGNED {
                // Products of nibbles add up in 16 bits, and need no sign for each token.
                let factors = [ones, _mm256_set1_epi16(16)];
                for first in (0..T).step_by(2) {
                    let mut short = [[[_mm256_setzero_si256(); 2]; N]; 2];
                    for k in 0..8 {
                        for t in 0..2 {
                            let x = _mm256_set1_epi32(four(x[first + t].add(4 * k)));
                            for n in 0..N {
                                for h in 0..2 {
                                    let products = _mm256_maddubs_epi16(w[n].nibbles[h][k], x);
                                    short[t][n][h] = _mm256_add_epi16(short[t][n][h], products);
                                }
                            }
                        }
                    }
                    for t in 0..2 {
                        for n in 0..N {
                            for h in 0..2 {
                                let products = _mm256_madd_epi16(short[t][n][h], factors[h]);
                                sums[first + t][n] = _mm256_add_epi32(sums[first + t][n], products);
                            }
                        }
                    }
                }
            } else {
                let mut q = [w[0].q.as_ptr(); N];
                for n in 0..N {
                    q[n] = w[n].q.as_ptr();
                }
                match L::MAX {
                    15 => Self::dots_scaled::<8, 15, T, N>(sums, q, x, [ones; N]),
                    _ => Self::dots_scaled::<8, 31, T, N>(sums, q, x, [ones; N]),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
        sums: &mut [[__m256i; N]; T],
        q: [*const __m256i; N],
        x: [*const i8; T],
        scale: [__m256i; N],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            // Products are added in 16 bits as long as they fit.
            let step = const { if fitting(MAX) < Q { fitting(MAX) } else { Q } };
            for first in (0..Q).step_by(step) {
                let mut short = [[_mm256_setzero_si256(); N]; T];
                for k in first..first + step {
                    for t in 0..T {
                        let x = _mm256_set1_epi32(four(x[t].add(4 * k)));
                        for n in 0..N {
                            short[t][n] = _mm256_add_epi16(short[t][n], _mm256_maddubs_epi16(*q[n].add(k), x));
                        }
                    }
                }
                for t in 0..T {
                    for n in 0..N {
                        sums[t][n] = _mm256_add_epi32(sums[t][n], _mm256_madd_epi16(short[t][n], scale[n]));
                    }
                }
            }
        }
    }
}

/// Functions that the two machines with VNNI share; `dpbusd` adds four products of bytes to each lane.
macro_rules! vnni {
    ($dpbusd:ident, $xor:ident, $mullo:ident, $srai:ident) => {
        #[inline(always)]
        unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
            // SAFETY: the caller's promise.
            unsafe {
                let mut weights = Self::rows::<L, S>(rows);
                if L::SIGNED {
                    // `dpbusd` takes bytes without sign: those with one are moved up by 128.
                    for q in &mut weights.q {
                        *q = $xor(*q, Self::splat_int(0x8080_8080u32 as i32));
                    }
                }
                weights
            }
        }

        #[inline(always)]
        unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
            // SAFETY: the caller's promise.
            unsafe {
                Self::rows_k::<L, S>(rows, out);
                // The scale alone in each lane, with its sign.
                for scale in &mut out.weights.scales.subs {
                    *scale = $srai::<16>(Self::shift_left::<16>(*scale));
                }
            }
        }

        fn offset<L: Legacy, const T: usize>() -> i32 {
            if L::SIGNED { 128 } else { L::OFFSET }
        }

        #[inline(always)]
        unsafe fn dots<L: Legacy, const T: usize, const N: usize>(
            sums: &mut [[Self::Int; N]; T],
            w: &[Weights<Self>; N],
            x: [*const i8; T],
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                for k in 0..8 {
                    for t in 0..T {
                        let x = Self::splat_int(four(x[t].add(4 * k)));
                        for n in 0..N {
                            sums[t][n] = $dpbusd(sums[t][n], w[n].q[k], x);
                        }
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn dots_scaled<const Q: usize, const MAX: i32, const T: usize, const N: usize>(
            sums: &mut [[Self::Int; N]; T],
            q: [*const Self::Int; N],
            x: [*const i8; T],
            scale: [Self::Int; N],
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut part = [[Self::splat_int(0); N]; T];
                for k in 0..Q {
                    for t in 0..T {
                        let x = Self::splat_int(four(x[t].add(4 * k)));
                        for n in 0..N {
                            part[t][n] = $dpbusd(part[t][n], *q[n].add(k), x);
                        }
                    }
                }
                for t in 0..T {
                    for n in 0..N {
                        sums[t][n] = Self::add_int(sums[t][n], $mullo(part[t][n], scale[n]));
                    }
                }
            }
        }
    };
}

/// AVX-VNNI: 256-bit vectors.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

impl AvxVnni {
    #[inline(always)]
    unsafe fn rows<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        let Eight { q, d, m } = unsafe { L::load(rows(0)) };
        Weights::new(q, d, m)
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            out.weights.scales = L::scales(rows(0));
            L::weights(rows(0), &mut out.weights.q);
        }
    }
}

impl Isa for AvxVnni {
    eight_rows!();
    vnni!(_mm256_dpbusd_avx_epi32, _mm256_xor_si256, _mm256_mullo_epi32, _mm256_srai_epi32);
}

/// AVX-512 with VNNI: 512-bit vectors.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni;

/// Two vectors of eight rows as one.
#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m512i {
    // SAFETY: the caller's promise (AVX-512F).
    unsafe { _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1) }
}

/// Two vectors of eight rows as one.
#[inline(always)]
unsafe fn join_float(low: __m256, high: __m256) -> __m512 {
    // SAFETY: the caller's promise (AVX-512DQ).
    unsafe { _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1) }
}

impl Avx512Vnni {
    #[inline(always)]
    unsafe fn rows<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        unsafe {
            let (low, high) = (L::load(rows(0)), L::load(rows(8)));
            let mut q = [Self::splat_int(0); 8];
            for k in 0..8 {
                q[k] = join(low.q[k], high.q[k]);
            }
            Weights::new(q, join_float(low.d, high.d), join_float(low.m, high.m))
        }
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            let ScratchK { weights: Superblock { q, scales }, eight: [low, high] } = out;
            L::weights(rows(0), low);
            L::weights(rows(8), high);
            for k in 0..64 {
                q[k] = join(low[k], high[k]);
            }
            let (low, high): (EightScales, EightScales) = (L::scales(rows(0)), L::scales(rows(8)));
            for s in 0..16 {
                scales.subs[s] = join(low.subs[s], high.subs[s]);
            }
            for g in 0..8 {
                scales.pairs[g] = join(low.pairs[g], high.pairs[g]);
            }
            scales.d = join_float(low.d, high.d);
            scales.dmin = join_float(low.dmin, high.dmin);
        }
    }
}

impl Isa for Avx512Vnni {
    const ROWS: usize = 16;
    type Int = __m512i;
    type Float = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise, here and below.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, a: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, a) }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn add_int(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub_int(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(a: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_slli_epi32::<BITS>(a) }
    }
    #[inline(always)]
    unsafe fn multiply_pairs(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_madd_epi16(a, b) }
    }

    vnni!(_mm512_dpbusd_epi32, _mm512_xor_si512, _mm512_mullo_epi32, _mm512_srai_epi32);
}
