//! Files that appear under their name only when they are complete.

use crate::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The number of bytes written at once, at multiples of that number. Where the file system allows (ext4 since Linux 6.16, XFS) such a piece is one
/// large page of the file cache, and once mapped it takes one address translation instead of 512.
const PIECE: usize = 2 << 20;

/// A function that fills a file; its errors are about the file `from`.
pub(crate) type Fill<'f> = &'f mut dyn FnMut(&mut dyn Write) -> Result<(), smidgen_convert::Error>;

/// Writes the file `to` from `from`. It appears only when it is complete and on the disk.
pub(crate) fn replace(from: &Path, to: &Path, fill: Fill) -> Result<(), Error> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = to.with_file_name(name);
    let renamed = create(from, &part, fill)
        .and_then(|()| fs::rename(&part, to).map_err(|error| Error::Write { path: part.clone(), error }))
        .map_err(|error| match error {
            Error::Write { error, .. } => Error::Write { path: to.to_owned(), error },
            other => other,
        });
    if renamed.is_err() {
        let _ = fs::remove_file(&part);
    }
    renamed
}

/// Writes the file `to` from `from` and flushes it to the disk.
pub(crate) fn create(from: &Path, to: &Path, fill: Fill) -> Result<(), Error> {
    let unwritten = |error| Error::Write { path: to.to_owned(), error };
    let mut out = Pieces::new(File::create(to).map_err(unwritten)?);
    fill(&mut out).map_err(|error| match error {
        smidgen_convert::Error::Io(error) => unwritten(error),
        error => Error::Convert { path: from.to_owned(), error },
    })?;
    out.finish().map_err(unwritten)
}

/// A file that is written in large pieces.
pub(crate) struct Pieces<W> {
    to: W,
    piece: Vec<u8>,
}

impl<W: Write> Pieces<W> {
    pub(crate) fn new(to: W) -> Pieces<W> {
        Pieces { to, piece: Vec::with_capacity(PIECE) }
    }
}

impl Pieces<File> {
    /// Writes the last piece and flushes the file to the disk.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.to.sync_all()
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_and_in_order() {
        struct Lengths(Vec<usize>, Vec<u8>);
        impl Write for Lengths {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                self.1.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes: Vec<u8> = (0..2 * PIECE + 12345).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut pieces = Pieces::new(Lengths(Vec::new(), Vec::new()));
        let (first, rest) = bytes.split_at(77);
        pieces.write_all(first).unwrap();
        for some in rest.chunks(PIECE / 3) {
            pieces.write_all(some).unwrap();
        }
        pieces.flush().unwrap();
        assert_eq!(pieces.to.0, [PIECE, PIECE, 12345]);
        assert!(pieces.to.1 == bytes);
    }
}
