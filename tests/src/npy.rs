//! Reads golden arrays in NumPy's format, version 1.

use std::path::Path;

/// A NumPy array in C order, little-endian.
#[derive(Debug)]
pub struct Npy {
    /// Extents.
    pub shape: Vec<usize>,
    /// The elements' bytes.
    pub data: Vec<u8>,
}

impl Npy {
    /// Reads a file whose elements are of the type `descr`, as NumPy writes it (`<f4`, `<u2`, `|i1`; several are separated by spaces). Says so
    /// and gives none if the file is absent.
    ///
    /// # Panics
    /// If the file is of another kind: the golden files are wrong then.
    pub fn read(path: &Path, descr: &str) -> Option<Npy> {
        let Ok(bytes) = std::fs::read(path) else {
            println!("ABSENT: {}", path.display());
            return None;
        };
        assert_eq!(bytes[..7], *b"\x93NUMPY\x01", "{}", path.display());
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
        let is_known = descr.split(' ').any(|descr| header.contains(&format!("'{descr}'")));
        assert!(is_known && header.contains("'fortran_order': False"), "{}: {header}", path.display());
        let (_, shape) = header.split_once('(').unwrap();
        let (shape, _) = shape.split_once(')').unwrap();
        let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        Some(Npy { shape: dims.map(|dim| dim.parse().unwrap()).collect(), data: bytes[start..].to_vec() })
    }

    /// The elements of an array of `<f4`.
    pub fn f32(&self) -> Vec<f32> {
        self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// The elements of an array of `<u2`.
    pub fn u16(&self) -> Vec<u16> {
        self.data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
    }
}
