//! Files that appear under their name only when they are complete.

use crate::Error;
use crate::temporary::{Temporary, is_running};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// The number of bytes written at once, at multiples of that number. Where the file system allows (ext4 since Linux 6.16, XFS) such a piece is one
/// large page of the file cache, and once mapped it takes one address translation instead of 512.
const PIECE: usize = 2 << 20;

/// A function that fills a file; its errors are about the file `from`.
pub(crate) type Fill<'f> = &'f mut dyn FnMut(&mut dyn Write) -> Result<(), smidgen_convert::Error>;

/// Writes the file `to` from `from`. It appears only when it is complete and on the disk. Until then it is beside it, as `to` with `.part` after
/// its name, and locked: what an interrupted process left there is not, and is replaced.
///
/// # Errors
/// [`Error::Busy`] when another process writes it; [`Error::Write`], and those of `fill`.
pub(crate) fn replace(from: &Path, to: &Path, fill: Fill) -> Result<(), Error> {
    let unwritten = |error| Error::Write { path: to.to_owned(), error };
    let name = to.file_name().unwrap_or_default();
    let mut part = name.to_owned();
    part.push(".part");
    let part = to.with_file_name(part);
    if fs::canonicalize(&part).is_ok_and(|part| fs::canonicalize(from).is_ok_and(|from| from == part)) {
        let error = io::Error::other("this is the input, and would be replaced while it is read; name another output");
        return Err(Error::Write { path: part, error });
    }
    let (part, file) = Temporary::make(part, |part| open(part, to))?;
    sweep(to, name);
    // It stays locked until it has its name.
    let _locked = write(from, to, file, fill)?;
    part.rename(to).map_err(unwritten)
}

/// Opens the file `part` of the output `to`, empty and locked.
fn open(part: &Path, to: &Path) -> Result<File, Error> {
    let unwritten = |error| Error::Write { path: to.to_owned(), error };
    if fs::symlink_metadata(part).is_ok_and(|found| !found.is_file()) {
        let error = io::Error::other("this is not a regular file; remove it");
        return Err(Error::Write { path: part.to_owned(), error });
    }
    loop {
        let file = File::options().write(true).create(true).truncate(false).open(part).map_err(|error| {
            // One of somebody else is to be named.
            let path = if part.exists() { part } else { to };
            Error::Write { path: path.to_owned(), error }
        })?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: to.to_owned() }),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Some file systems have no locks; what was interrupted is replaced there too.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Before it was locked, another process may have finished it and given it its name.
        if is_at(&file, part) {
            file.set_len(0).map_err(unwritten)?;
            return Ok(file);
        }
    }
}

/// Whether an open file is still the one of this path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: fs::Metadata| (found.dev(), found.ino());
        file.metadata().map(id).ok() == fs::symlink_metadata(path).map(id).ok()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes what processes that are gone have left of the output `to` under a name with their id (`x.gguf.12345.part`). What cannot be removed
/// only wastes space.
fn sweep(to: &Path, name: &OsStr) {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = name.to_str() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process =
            found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".part"));
        let is_left = process.is_some_and(|process| {
            let is_own = process == std::process::id().to_string();
            is_number(process) && (is_own || !is_running(process))
        });
        if is_left && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a text is digits, and not empty.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes the file `to` from `from` and flushes it to the disk.
pub(crate) fn create(from: &Path, to: &Path, fill: Fill) -> Result<(), Error> {
    let file = File::create(to).map_err(|error| Error::Write { path: to.to_owned(), error })?;
    write(from, to, file, fill).map(drop)
}

/// Fills an empty file and flushes it to the disk; errors of writing are about `to`. Gives the file back, for as long as it is to be locked.
fn write(from: &Path, to: &Path, file: File, fill: Fill) -> Result<File, Error> {
    let unwritten = |error| Error::Write { path: to.to_owned(), error };
    let mut out = Pieces::new(file);
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
    /// Writes the last piece and flushes the file to the disk. Gives the file back.
    pub(crate) fn finish(mut self) -> io::Result<File> {
        self.flush()?;
        self.to.sync_all()?;
        Ok(self.to)
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
