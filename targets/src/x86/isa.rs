//! What the x86 machines differ in: how many rows a vector has, and how bytes are multiplied and added.

use super::load::{Eight, Legacy, Source};
use super::load_k::{EightK, Super, Superblock};
use core::arch::x86_64::*;

/// Rows of a block of 32, in the machine's vectors.
pub(super) struct Weights<I: Isa> {
    q: [I::Int; 8],
    d: I::Float,
    m: I::Float,
}

/// Rows of a superblock, in the machine's vectors.
pub(super) type WeightsK<I> = Superblock<<I as Isa>::Int, <I as Isa>::Float>;

/// Where superblocks are unpacked to.
pub(super) struct ScratchK<I: Isa> {
    pub(super) weights: WeightsK<I>,
    /// Where a machine with more than eight rows in a vector unpacks eight at a time.
    eight: [EightK; 2],
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

    /// Σ (q - OFFSET) x over 32 inputs, whose sum is at `sum`.
    unsafe fn dot<L: Legacy>(q: &[Self::Int; 8], x: *const i8, sum: *const i32) -> Self::Int;
    /// `acc` + scale Σ q x over `4 Q` inputs; `q` without sign and at most `MAX`.
    unsafe fn dot_scaled<const Q: usize, const MAX: i32>(
        acc: Self::Int,
        q: *const Self::Int,
        x: *const i8,
        scale: Self::Int,
    ) -> Self::Int;

    /// A multiple of the sum of a block's activations, which has 16 bits, in every lane. As a product of pairs, since the compiler would
    /// otherwise multiply before it broadcasts, which is slower.
    #[inline(always)]
    unsafe fn multiple(factor: i32, sum: *const i32) -> Self::Int {
        // SAFETY: the caller's promise.
        unsafe { Self::multiply_pairs(Self::splat_int(*sum), Self::splat_int(factor & 0xffff)) }
    }

    /// The law of the formats with blocks of 32: `acc + (d * dx) * isum`, and `+ m * offset` within where there is a minimum.
    #[inline(always)]
    unsafe fn accumulate<L: Legacy>(
        acc: Self::Float,
        w: &Weights<Self>,
        x: *const i8,
        scale: *const f32,
        sum: *const i32,
        offset: *const f32,
    ) -> Self::Float {
        // SAFETY: the caller's promise.
        unsafe {
            let isum = Self::to_float(Self::dot::<L>(&w.q, x, sum));
            let product = Self::mul(Self::mul(w.d, Self::splat(*scale)), isum);
            let product = if L::MIN { Self::add(product, Self::mul(w.m, Self::splat(*offset))) } else { product };
            Self::add(acc, product)
        }
    }

    /// The law of the K-quants. `x` and `sums` are at their first group, `stride` values resp. groups apart.
    #[inline(always)]
    unsafe fn accumulate_k<S: Super>(
        acc: Self::Float,
        w: &WeightsK<Self>,
        x: *const i8,
        scale: *const f32,
        sums: *const i16,
        tokens: usize,
    ) -> Self::Float {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut isum, mut msum) = (Self::splat_int(0), Self::splat_int(0));
            for g in 0..8 {
                let q = w.q.as_ptr().add(8 * g);
                let x = x.add(g * tokens * 32);
                isum = if S::SUB == 16 {
                    let isum = match S::MAX {
                        63 => Self::dot_scaled::<4, 63>(isum, q, x, w.scales[2 * g]),
                        _ => Self::dot_scaled::<4, 7>(isum, q, x, w.scales[2 * g]),
                    };
                    match S::MAX {
                        63 => Self::dot_scaled::<4, 63>(isum, q.add(4), x.add(16), w.scales[2 * g + 1]),
                        _ => Self::dot_scaled::<4, 7>(isum, q.add(4), x.add(16), w.scales[2 * g + 1]),
                    }
                } else {
                    match S::MAX {
                        15 => Self::dot_scaled::<8, 15>(isum, q, x, w.scales[g]),
                        _ => Self::dot_scaled::<8, 31>(isum, q, x, w.scales[g]),
                    }
                };
                let pair = Self::splat_int(sums.add(2 * g * tokens).cast::<i32>().read_unaligned());
                msum = Self::add_int(msum, Self::multiply_pairs(w.pairs[g], pair));
            }
            let dx = Self::splat(*scale);
            match S::OFFSET_SHIFT {
                None => {
                    let product = Self::mul(Self::mul(w.d, dx), Self::to_float(isum));
                    let minimum = Self::mul(Self::mul(w.dmin, dx), Self::to_float(msum));
                    Self::add(acc, Self::sub(product, minimum))
                }
                Some(shift) => {
                    let offset = if shift == 5 { Self::shift_left::<5>(msum) } else { Self::shift_left::<2>(msum) };
                    let isum = Self::to_float(Self::sub_int(isum, offset));
                    Self::add(acc, Self::mul(Self::mul(w.d, dx), isum))
                }
            }
        }
    }
}

/// Four inputs, for every row.
#[inline(always)]
unsafe fn four(x: *const i8) -> i32 {
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
const fn fitting(max: i32) -> usize {
    1 << (32767 / (max * 254)).ilog2()
}

impl Isa for Avx2 {
    eight_rows!();

    #[inline(always)]
    unsafe fn load<L: Legacy, S: Source>(rows: impl Fn(usize) -> S) -> Weights<Self> {
        // SAFETY: the caller's promise.
        let Eight { q, d, m } = unsafe { L::load(rows(0)) };
        Weights { q, d, m }
    }

    #[inline(always)]
    unsafe fn load_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe { L::load(rows(0), &mut out.weights) };
    }

    #[inline(always)]
    unsafe fn dot<L: Legacy>(q: &[__m256i; 8], x: *const i8, sum: *const i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if L::SIGNED {
                let mut acc = _mm256_setzero_si256();
                for (k, q) in q.iter().enumerate() {
                    let x = _mm256_sign_epi8(_mm256_set1_epi32(four(x.add(4 * k))), *q);
                    let products = _mm256_maddubs_epi16(_mm256_abs_epi8(*q), x);
                    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(products, ones));
                }
                acc
            } else {
                let start = if L::OFFSET == 0 { Self::splat_int(0) } else { Self::multiple(-L::OFFSET, sum) };
                match L::MAX {
                    15 => Self::dot_scaled::<8, 15>(start, q.as_ptr(), x, ones),
                    _ => Self::dot_scaled::<8, 31>(start, q.as_ptr(), x, ones),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_scaled<const Q: usize, const MAX: i32>(
        mut acc: __m256i,
        q: *const __m256i,
        x: *const i8,
        scale: __m256i,
    ) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            // Products are added in 16 bits as long as they fit.
            let step = const { if fitting(MAX) < Q { fitting(MAX) } else { Q } };
            for first in (0..Q).step_by(step) {
                let mut sums = _mm256_maddubs_epi16(*q.add(first), _mm256_set1_epi32(four(x.add(4 * first))));
                for k in first + 1..first + step {
                    let products = _mm256_maddubs_epi16(*q.add(k), _mm256_set1_epi32(four(x.add(4 * k))));
                    sums = _mm256_add_epi16(sums, products);
                }
                acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sums, scale));
            }
            acc
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
                for scale in &mut out.weights.scales {
                    *scale = $srai::<16>(Self::shift_left::<16>(*scale));
                }
            }
        }

        #[inline(always)]
        unsafe fn dot<L: Legacy>(q: &[Self::Int; 8], x: *const i8, sum: *const i32) -> Self::Int {
            // SAFETY: the caller's promise.
            unsafe {
                let offset = if L::SIGNED { 128 } else { L::OFFSET };
                let mut acc = if offset == 0 { Self::splat_int(0) } else { Self::multiple(-offset, sum) };
                for (k, q) in q.iter().enumerate() {
                    acc = $dpbusd(acc, *q, Self::splat_int(four(x.add(4 * k))));
                }
                acc
            }
        }

        #[inline(always)]
        unsafe fn dot_scaled<const Q: usize, const MAX: i32>(
            acc: Self::Int,
            q: *const Self::Int,
            x: *const i8,
            scale: Self::Int,
        ) -> Self::Int {
            // SAFETY: the caller's promise.
            unsafe {
                let mut sum = Self::splat_int(0);
                for k in 0..Q {
                    sum = $dpbusd(sum, *q.add(k), Self::splat_int(four(x.add(4 * k))));
                }
                Self::add_int(acc, $mullo(sum, scale))
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
        Weights { q, d, m }
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe { L::load(rows(0), &mut out.weights) };
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
            Weights { q, d: join_float(low.d, high.d), m: join_float(low.m, high.m) }
        }
    }

    #[inline(always)]
    unsafe fn rows_k<L: Super, S: Source>(rows: impl Fn(usize) -> S, out: &mut ScratchK<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            let ScratchK { weights: out, eight: [low, high] } = out;
            L::load(rows(0), low);
            L::load(rows(8), high);
            for k in 0..64 {
                out.q[k] = join(low.q[k], high.q[k]);
            }
            for s in 0..16 {
                out.scales[s] = join(low.scales[s], high.scales[s]);
            }
            for g in 0..8 {
                out.pairs[g] = join(low.pairs[g], high.pairs[g]);
            }
            out.d = join_float(low.d, high.d);
            out.dmin = join_float(low.dmin, high.dmin);
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
