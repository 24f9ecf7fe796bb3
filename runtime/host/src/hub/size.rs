//! Numbers of bytes, read and shown.

use std::fmt;

/// A number of bytes, shown with two or three digits and a decimal unit: `398 MB`, `3.1 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1;
        for name in ["B", "kB", "MB", "GB", "TB", "PB", "EB"] {
            let tenths = (u128::from(self.0) * 10 + unit / 2) / unit;
            let whole = (u128::from(self.0) + unit / 2) / unit;
            if unit > 1 && tenths < 100 {
                return write!(f, "{}.{} {name}", tenths / 10, tenths % 10);
            }
            if whole < 1000 || name == "EB" {
                return write!(f, "{whole} {name}");
            }
            unit *= 1000;
        }
        Ok(())
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    /// Reads a number with a unit or none: `20G` and `20GB` are 20 · 10⁹, `20Gi` and `20GiB` 20 · 2³⁰, `1.5T` 1.5 · 10¹².
    fn from_str(text: &str) -> Result<Bytes, String> {
        let wrong = || "must be a number of bytes, such as 500M, 20G, 1.5T (decimal) or 20Gi (binary)".to_owned();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start().to_ascii_uppercase();
        let unit = unit.strip_suffix('B').unwrap_or(&unit);
        let factor: u64 = match unit {
            "" => 1,
            "K" => 1000,
            "M" => 1000_u64.pow(2),
            "G" => 1000_u64.pow(3),
            "T" => 1000_u64.pow(4),
            "KI" => 1 << 10,
            "MI" => 1 << 20,
            "GI" => 1 << 30,
            "TI" => 1 << 40,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part: u64 = format!("0{fraction}").parse().map_err(|_| wrong())?;
        let scale = fraction.bytes().fold(1, |scale: u128, _| scale * 10);
        let part = (u128::from(part) * u128::from(factor) / scale) as u64;
        whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(part)).map(Bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown() {
        for (bytes, shown) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (9950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (398_000_000, "398 MB"),
            (3_149_000_000, "3.1 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("123", 123),
            ("20G", 20_000_000_000),
            ("20 gb", 20_000_000_000),
            ("20Gi", 20 << 30),
            ("20GiB", 20 << 30),
            ("1.5k", 1500),
            ("1.5Ki", 1536),
            ("0.000000001G", 1),
            ("2T", 2_000_000_000_000),
            ("3Ti", 3 << 40),
            ("7Mi", 7 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in
            ["", "G", "-1G", "+1", "1X", "1.2.3G", ".5G", "1e9", "99999999999T", "18446744073709551616", "1 G B"]
        {
            assert!(text.parse::<Bytes>().unwrap_err().contains("20Gi"), "{text}");
        }
    }
}
