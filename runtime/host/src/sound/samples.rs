//! Samples as WAV files store them.

/// How a sample is stored; numbers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
    ALaw,
    MuLaw,
}

/// How sound is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) coding: Coding,
    /// At least 1.
    pub(super) channels: usize,
}

impl Format {
    /// Bytes of a sample of one channel.
    fn bytes(self) -> usize {
        match self.coding {
            Coding::U8 | Coding::ALaw | Coding::MuLaw => 1,
            Coding::S16 => 2,
            Coding::S24 => 3,
            Coding::S32 | Coding::F32 => 4,
            Coding::F64 => 8,
        }
    }

    /// Bytes of a sample of all channels.
    pub(super) fn frame(self) -> usize {
        self.bytes() * self.channels
    }

    /// The mean of a frame's channels, where 32,768 is full scale.
    pub(super) fn mono(self, frame: &[u8]) -> f64 {
        let sum: f64 = frame.chunks_exact(self.bytes()).map(|sample| self.coding.value(sample)).sum();
        sum / self.channels as f64
    }
}

impl Coding {
    fn value(self, sample: &[u8]) -> f64 {
        match (self, sample) {
            (Coding::U8, [a]) => f64::from((i32::from(*a) - 128) * 256),
            (Coding::ALaw, [a]) => f64::from(a_law(*a)),
            (Coding::MuLaw, [a]) => f64::from(mu_law(*a)),
            (Coding::S16, [a, b]) => f64::from(i16::from_le_bytes([*a, *b])),
            (Coding::S24, [a, b, c]) => f64::from(i32::from_le_bytes([0, *a, *b, *c])) / 65_536.0,
            (Coding::S32, [a, b, c, d]) => f64::from(i32::from_le_bytes([*a, *b, *c, *d])) / 65_536.0,
            (Coding::F32, [a, b, c, d]) => f64::from(f32::from_le_bytes([*a, *b, *c, *d])) * 32_768.0,
            (Coding::F64, [a, b, c, d, e, f, g, h]) => f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) * 32_768.0,
            _ => 0.0,
        }
    }
}

/// ITU-T G.711, at 16 bits.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (step, segment) = (i16::from(byte & 15) << 4, (byte >> 4) & 7);
    let value = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if byte & 0x80 == 0 { -value } else { value }
}

/// ITU-T G.711, at 16 bits.
fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let value = (((i16::from(byte & 15) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84;
    if byte & 0x80 == 0 { value } else { -value }
}

/// The nearest sample of 16 bits; what is louder than there can be is held there.
pub(super) fn rounded(value: f64) -> i16 {
    let value = value.clamp(-32_768.0, 32_767.0);
    // Cut off towards zero, so after it was made positive.
    ((value + 32_768.5) as i32 - 32_768).min(32_767) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(coding: Coding, sample: &[u8]) -> f64 {
        Format { coding, channels: 1 }.mono(sample)
    }

    #[test]
    fn each_coding_has_the_same_scale() {
        assert_eq!([0, 128, 255].map(|byte| value(Coding::U8, &[byte])), [-32_768.0, 0.0, 32_512.0]);
        assert_eq!(value(Coding::S16, &(-12_345_i16).to_le_bytes()), -12_345.0);
        assert_eq!(value(Coding::S24, &[0x80, 0xc7, 0xcf]), -12_344.5);
        assert_eq!(value(Coding::S32, &(-12_345_i32 * 65_536).to_le_bytes()), -12_345.0);
        assert_eq!(value(Coding::F32, &(-0.5_f32).to_le_bytes()), -16_384.0);
        assert_eq!(value(Coding::F64, &0.25_f64.to_le_bytes()), 8_192.0);
        let two = Format { coding: Coding::S16, channels: 2 };
        assert_eq!((two.frame(), two.mono(&[100, 0, 51, 0])), (4, 75.5));
    }

    /// ITU-T G.711's tables of decoder outputs, 13 and 14 bits wide, at 16 bits.
    #[test]
    fn companded_samples() {
        assert_eq!([0x80, 0x00, 0xaa, 0x2a, 0xd5, 0x55].map(a_law), [5_504, -5_504, 32_256, -32_256, 8, -8]);
        assert_eq!([0x80, 0x00, 0xff, 0x7f, 0xfe, 0xf0].map(mu_law), [32_124, -32_124, 0, 0, 8, 120]);
        for law in [a_law, mu_law] {
            // Halves of the table mirror each other, and no value comes twice but for the zeros of the mu-law.
            assert!((0..128).all(|byte| law(byte) == -law(byte | 0x80)));
            let mut values: Vec<_> = (128..=255).map(law).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), 128);
        }
    }

    #[test]
    fn values_are_rounded_and_held() {
        assert_eq!(
            [0.0, 0.49, 0.5, -0.4, -0.6, 1e9, -1e9, 32_767.6, 75.5].map(rounded),
            [0, 0, 1, 0, -1, 32_767, -32_768, 32_767, 76]
        );
    }
}
