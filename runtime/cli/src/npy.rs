//! Arrays in NumPy's format, as its documentation (`numpy.lib.format`) describes it.

/// Bytes before the header's text in version 1, and in versions 2 and 3.
const PREFIXES: [usize; 2] = [10, 12];
const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is accepted.
const MAX_HEADER: usize = 1 << 16;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int8,
    UInt8,
    Float32,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Int8 => "int8",
            Kind::UInt8 => "uint8",
            Kind::Float32 => "float32",
        }
    }

    fn descr(self) -> &'static str {
        match self {
            Kind::Int8 => "|i1",
            Kind::UInt8 => "|u1",
            Kind::Float32 => "<f4",
        }
    }

    fn bytes(self) -> usize {
        if self == Kind::Float32 { 4 } else { 1 }
    }
}

/// An array in C order.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: &'a [u8],
}

/// Reads a file. The error does not name it.
pub(crate) fn read(file: &[u8]) -> Result<Array<'_>, String> {
    let cut = || format!("the file ends at byte {}, inside the header of the NumPy array", file.len());
    let Some([major, _]) = file.strip_prefix(MAGIC).map(|rest| rest.first_chunk::<2>().copied().unwrap_or_default())
    else {
        return Err("this is not a NumPy array (.npy)".into());
    };
    let (prefix, length) = match (major, file.get(8..)) {
        (1, Some(&[a, b, ..])) => (PREFIXES[0], usize::from(u16::from_le_bytes([a, b]))),
        (2 | 3, Some(&[a, b, c, d, ..])) => {
            (PREFIXES[1], usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX))
        }
        (1..=3, _) => return Err(cut()),
        _ => return Err(format!("the NumPy array has the version {major}; versions 1 to 3 are supported")),
    };
    if length > MAX_HEADER {
        return Err(format!("the header has {length} bytes, more than the {MAX_HEADER} that are accepted"));
    }
    let header = file.get(prefix..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
    let data = file.get(prefix + length..).unwrap_or_default();
    let header = std::str::from_utf8(header).map_err(|_| "the header is not UTF-8 text")?;
    let (kind, shape) = describe(header)?;
    let elements = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let expected = elements.and_then(|elements| elements.checked_mul(kind.bytes()));
    if expected != Some(data.len()) {
        let expected = expected.map_or("more than there can be".into(), |expected| expected.to_string());
        return Err(format!(
            "the data has {} bytes, but the shape {shape:?} of {} needs {expected}",
            data.len(),
            kind.name()
        ));
    }
    Ok(Array { kind, shape, data })
}

/// The type and the shape in a header: a Python dictionary.
fn describe(header: &str) -> Result<(Kind, Vec<usize>), String> {
    let field = |name: &str| {
        let found = header.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
        found.ok_or_else(|| format!("the header has no {name}"))
    };
    let descr = field("descr")?;
    let quoted = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
    let kind = match quoted {
        Some("|i1" | "<i1" | "i1") => Kind::Int8,
        Some("|u1" | "<u1" | "u1") => Kind::UInt8,
        Some("<f4") => Kind::Float32,
        Some(other) => {
            let other: String = other.chars().take(20).collect();
            return Err(format!("the array is of {other:?}; int8, uint8 and float32 are supported"));
        }
        None => return Err("the array is of records; int8, uint8 and float32 are supported".into()),
    };
    if !field("fortran_order")?.starts_with("False") {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray of it".into());
    }
    let shape = field("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(shape, _)| shape);
    let dims = shape.unwrap_or("?").split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = dims.map(|dim| dim.parse().ok()).collect::<Option<Vec<usize>>>();
    Ok((
        kind,
        shape.filter(|shape| shape.len() <= 32).ok_or("the shape is invalid: it must be at most 32 numbers from 0")?,
    ))
}

/// A file of version 1.
pub(crate) fn write(array: &Array<'_>) -> Vec<u8> {
    let shape: String = array.shape.iter().map(|dim| format!("{dim}, ")).collect();
    let (descr, shape) = (array.kind.descr(), shape.trim_end());
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Data begin at a multiple of 64, after a line's end.
    while !(PREFIXES[0] + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
    [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), array.data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for shape in [vec![], vec![6], vec![2, 3], vec![1, 0, 7]] {
            let data = vec![7; shape.iter().product()];
            let file = write(&Array { kind: Kind::Int8, shape: shape.clone(), data: &data });
            let array = read(&file).unwrap();
            assert_eq!((array.kind, array.shape, array.data), (Kind::Int8, shape, &data[..]));
            assert!((file.len() - data.len()).is_multiple_of(64));
        }
    }

    #[test]
    fn nothing_panics_on_a_damaged_file() {
        let good = write(&Array { kind: Kind::Float32, shape: vec![2, 3], data: &[0; 24] });
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read(&bad);
            }
        }
    }
}
