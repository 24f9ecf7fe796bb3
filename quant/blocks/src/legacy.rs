//! Functions that all formats with blocks of 32 share.

/// The 32 nibbles, each 0 to 15: weight `i` is the low nibble of byte `i`, weight `i + 16` its high nibble.
#[inline(always)]
pub(crate) fn nibbles(qs: &[u8; 16]) -> [i8; 32] {
    let mut levels = [0; 32];
    for (i, byte) in qs.iter().enumerate() {
        levels[i] = (byte & 15) as i8;
        levels[i + 16] = (byte >> 4) as i8;
    }
    levels
}

/// The nibbles with a fifth bit, each 0 to 31: bit `i` of the little-endian `qh` belongs to weight `i`.
#[inline(always)]
pub(crate) fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [i8; 32] {
    let bits = u32::from_le_bytes(qh);
    let mut levels = nibbles(qs);
    for (i, level) in levels.iter_mut().enumerate() {
        *level |= ((bits >> i & 1) << 4) as i8;
    }
    levels
}

/// The inverse of [`nibbles`]; a fifth bit is left out.
pub(crate) fn pack_nibbles(levels: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|i| levels[i] & 15 | levels[i + 16] << 4)
}

/// The fifth bits, as [`five_bits`] reads them.
pub(crate) fn pack_fifth_bits(levels: &[u8; 32]) -> [u8; 4] {
    let mut bits = 0;
    for (i, level) in levels.iter().enumerate() {
        bits |= ((level >> 4 & 1) as u32) << i;
    }
    bits.to_le_bytes()
}

/// Σ q x, exact.
#[inline(always)]
pub(crate) fn dot(levels: &[i8], xs: &[i8]) -> i32 {
    levels.iter().zip(xs).map(|(q, x)| *q as i32 * *x as i32).sum()
}

/// The first value of largest magnitude.
pub(crate) fn peak(values: &[f32]) -> f32 {
    let mut peak = values.first().copied().unwrap_or(0.0);
    for value in values {
        if value.abs() > peak.abs() {
            peak = *value;
        }
    }
    peak
}

/// The smallest and the largest value. Of zeros that differ in sign the first: `f32::min` would leave that to the machine.
pub(crate) fn range(values: &[f32]) -> (f32, f32) {
    let first = values.first().copied().unwrap_or(0.0);
    values
        .iter()
        .fold((first, first), |(min, max), v| (if *v < min { *v } else { min }, if *v > max { *v } else { max }))
}

/// One over `d`, zero if `d` is zero.
pub(crate) fn reciprocal(d: f32) -> f32 {
    if d != 0.0 { 1.0 / d } else { 0.0 }
}
