//! Eight rows of the formats with blocks of 32, turned so that lanes are rows.

use core::arch::x86_64::*;

/// A block of eight rows: vector `k` of `q` holds inputs `4k .. 4k + 4` of each row; `d` and `m` hold the rows' scales and minima.
pub(super) struct Eight {
    pub(super) q: [__m256i; 8],
    pub(super) d: __m256,
    pub(super) m: __m256,
}

/// A format with blocks of 32.
///
/// # Safety
/// `load` needs AVX2 and F16C, and rows that have the block.
pub(super) trait Legacy {
    /// Bytes of a block.
    const BYTES: usize;
    /// Largest value in `q`, which has no sign unless `SIGNED`.
    const MAX: i32;
    /// What is to be subtracted from each value of `q`.
    const OFFSET: i32 = 0;
    /// Whether `q` is int8 with a sign.
    const SIGNED: bool = false;
    /// Whether the format has a minimum.
    const MIN: bool = false;

    unsafe fn load(rows: impl Source) -> Eight;
}

/// Where block `b` of eight rows lies. Offsets are counted inside one row's block.
///
/// # Safety
/// Everything needs AVX2 and F16C, and rows that have the block with bytes up to the end of what is read.
pub(super) trait Source: Copy {
    /// The halves at an offset of each row, as floats.
    unsafe fn halves(self, offset: usize) -> __m256;
    /// The halves at an offset and behind it.
    unsafe fn two_halves(self, offset: usize) -> (__m256, __m256);
    /// The double words at an offset.
    unsafe fn words(self, offset: usize) -> __m256i;
    /// Vector `k` holds double word `k` of the 16 bytes at an offset.
    unsafe fn turn16(self, offset: usize) -> [__m256i; 4];

    /// Vector `k` holds double word `k` of the 32 bytes at an offset.
    #[inline(always)]
    unsafe fn turn32(self, offset: usize) -> [__m256i; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d] = self.turn16(offset);
            let [e, f, g, h] = self.turn16(offset + 16);
            [a, b, c, d, e, f, g, h]
        }
    }

    /// Vector `k` of `all`, what [`turn32`](Source::turn32) makes at an offset; where it is only to be loaded, it is loaded when it is wanted.
    #[inline(always)]
    unsafe fn pick(self, all: &[__m256i; 8], _: usize, k: usize) -> __m256i {
        all[k]
    }
}

/// Eight rows one after another, as a GGUF file has them.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// The block in the first row.
    pub(super) block: *const u8,
    pub(super) row_bytes: usize,
}

impl Source for Plain {
    #[inline(always)]
    unsafe fn halves(self, offset: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let half = |i: usize| self.block.add(offset + i * self.row_bytes).cast::<u16>().read_unaligned() as i32;
            let four = |i: usize| {
                let v = _mm_cvtsi32_si128(half(i));
                let v = _mm_insert_epi16(v, half(i + 1), 1);
                let v = _mm_insert_epi16(v, half(i + 2), 2);
                _mm_insert_epi16(v, half(i + 3), 3)
            };
            _mm256_cvtph_ps(_mm_unpacklo_epi64(four(0), four(4)))
        }
    }

    #[inline(always)]
    unsafe fn two_halves(self, offset: usize) -> (__m256, __m256) {
        // SAFETY: the caller's promise.
        unsafe {
            let order = |a, b, c, d| _mm256_setr_epi32(a, b, c, d, a, b, c, d);
            let order = order(0x0504_0100, 0x0d0c_0908, 0x0706_0302, 0x0f0e_0b0a);
            let halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(self.words(offset), order), 0b11_01_10_00);
            (_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)))
        }
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let word = |i: usize| self.block.add(offset + i * self.row_bytes).cast::<i32>().read_unaligned();
            let four = |i: usize| {
                let v = _mm_cvtsi32_si128(word(i));
                let v = _mm_insert_epi32(v, word(i + 1), 1);
                let v = _mm_insert_epi32(v, word(i + 2), 2);
                _mm_insert_epi32(v, word(i + 3), 3)
            };
            _mm256_inserti128_si256(_mm256_castsi128_si256(four(0)), four(4), 1)
        }
    }

    #[inline(always)]
    unsafe fn turn16(self, offset: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let pair = |i: usize| {
                let low = _mm_loadu_si128(self.block.add(offset + i * self.row_bytes).cast());
                let high = _mm_loadu_si128(self.block.add(offset + (i + 4) * self.row_bytes).cast());
                _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1)
            };
            let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ef, gh),
                _mm256_unpackhi_epi64(ef, gh),
            ]
        }
    }
}

/// Eight of the sixteen rows of a packed panel, in which each field of a block lies together for all rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// The block of all sixteen rows.
    pub(super) block: *const u8,
    /// 0 or 8.
    pub(super) first_row: usize,
}

impl Source for Panel {
    #[inline(always)]
    unsafe fn halves(self, offset: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(self.block.add(16 * offset + 2 * self.first_row).cast())) }
    }

    #[inline(always)]
    unsafe fn two_halves(self, offset: usize) -> (__m256, __m256) {
        // SAFETY: the caller's promise.
        unsafe { (self.halves(offset), self.halves(offset + 2)) }
    }

    #[inline(always)]
    unsafe fn words(self, offset: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(self.block.add(16 * offset + 4 * self.first_row).cast()) }
    }

    #[inline(always)]
    unsafe fn pick(self, _: &[__m256i; 8], offset: usize, k: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { self.words(offset + 4 * k) }
    }

    #[inline(always)]
    unsafe fn turn16(self, offset: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise.
        unsafe { [self.words(offset), self.words(offset + 4), self.words(offset + 8), self.words(offset + 12)] }
    }
}

/// Sixteen nibble bytes a row: low nibbles are inputs 0..16, high nibbles 16..32.
#[inline(always)]
unsafe fn nibbles(rows: impl Source, offset: usize) -> [__m256i; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d] = rows.turn16(offset);
        let mask = _mm256_set1_epi8(15);
        let low = |v| _mm256_and_si256(v, mask);
        let high = |v| _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
    }
}

/// Adds 16 to the values whose bit in `bits` is set: bit `i` of a lane belongs to input `i`.
#[inline(always)]
unsafe fn fifth_bits(q: [__m256i; 8], bits: __m256i) -> [__m256i; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let sixteen = _mm256_set1_epi8(16);
        let (even, odd) = (_mm256_set1_epi32(0x0804_0201), _mm256_set1_epi32(0x8040_2010u32 as i32));
        let mut out = q;
        for (k, out) in out.iter_mut().enumerate() {
            // Byte `k / 2` of each lane in all its bytes, then one bit tested in each.
            let byte = (k / 2) as i32 * 0x0101_0101;
            let lane = |i: i32| byte + i * 0x0404_0404;
            let spread = _mm256_setr_epi32(lane(0), lane(1), lane(2), lane(3), lane(0), lane(1), lane(2), lane(3));
            let mask = if k % 2 == 0 { even } else { odd };
            let tested = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), mask);
            let set = _mm256_and_si256(_mm256_cmpeq_epi8(tested, mask), sixteen);
            *out = _mm256_or_si256(*out, set);
        }
        out
    }
}

pub(super) struct Q40;
impl Legacy for Q40 {
    const BYTES: usize = 18;
    const MAX: i32 = 15;
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise.
        unsafe { Eight { q: nibbles(rows, 2), d: rows.halves(0), m: _mm256_setzero_ps() } }
    }
}

pub(super) struct Q41;
impl Legacy for Q41 {
    const BYTES: usize = 20;
    const MAX: i32 = 15;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, m) = rows.two_halves(0);
            Eight { q: nibbles(rows, 4), d, m }
        }
    }
}

pub(super) struct Q50;
impl Legacy for Q50 {
    const BYTES: usize = 22;
    const MAX: i32 = 31;
    const OFFSET: i32 = 16;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise.
        unsafe {
            let q = fifth_bits(nibbles(rows, 6), rows.words(2));
            Eight { q, d: rows.halves(0), m: _mm256_setzero_ps() }
        }
    }
}

pub(super) struct Q51;
impl Legacy for Q51 {
    const BYTES: usize = 24;
    const MAX: i32 = 31;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, m) = rows.two_halves(0);
            Eight { q: fifth_bits(nibbles(rows, 8), rows.words(4)), d, m }
        }
    }
}

pub(super) struct Q80;
impl Legacy for Q80 {
    const BYTES: usize = 34;
    const MAX: i32 = 128;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise.
        unsafe { Eight { q: rows.turn32(2), d: rows.halves(0), m: _mm256_setzero_ps() } }
    }
}

pub(super) struct Iq4Nl;
impl Legacy for Iq4Nl {
    const BYTES: usize = 18;
    const MAX: i32 = 127;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load(rows: impl Source) -> Eight {
        // SAFETY: the caller's promise; the table has sixteen bytes.
        unsafe {
            let values = _mm256_broadcastsi128_si256(_mm_loadu_si128(smidgen_quant::iq4_nl::VALUES.as_ptr().cast()));
            let mut q = nibbles(rows, 2);
            for q in &mut q {
                *q = _mm256_shuffle_epi8(values, *q);
            }
            Eight { q, d: rows.halves(0), m: _mm256_setzero_ps() }
        }
    }
}
