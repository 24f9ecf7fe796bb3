//! Packing and unpacking files on disk.

use crate::Error;
use memmap2::Mmap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Tensors into panels.
    Pack,
    /// The original back, byte for byte.
    Unpack,
}

/// Writes the GGUF file `from` (one part of a split file at a time) packed or unpacked to `to`. `to` appears only when it is complete.
/// `progress` is told the number of bytes written.
///
/// # Errors
/// [`Error::Read`], [`Error::NotAFile`], [`Error::Pack`], [`Error::Write`].
pub fn pack(from: &Path, to: &Path, direction: Direction, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = to.with_file_name(name);
    let renamed = write(from, &part, direction, progress)
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

/// Writes `to` and flushes it to the disk.
pub(crate) fn write(from: &Path, to: &Path, direction: Direction, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let unread = |error: io::Error| Error::Read { path: from.to_owned(), error };
    let unwritten = |error: io::Error| Error::Write { path: to.to_owned(), error };
    if !fs::metadata(from).map_err(unread)?.is_file() {
        return Err(Error::NotAFile { path: from.to_owned() });
    }
    let file = File::open(from).map_err(unread)?;
    // SAFETY: the file is only read; that it must not be truncated meanwhile is what `ModelFile` documents for every file in use.
    let map = unsafe { Mmap::map(&file) }.map_err(unread)?;
    // Large writes get large pages of the file cache, which the processor finds faster when the file is mapped.
    let mut out = BufWriter::with_capacity(1 << 20, File::create(to).map_err(unwritten)?);
    let done = match direction {
        Direction::Pack => smidgen_convert::pack(&map, &mut out, progress),
        Direction::Unpack => smidgen_convert::unpack(&map, &mut out, progress),
    };
    done.map_err(|error| match error {
        smidgen_convert::Error::Io(error) => unwritten(error),
        error => Error::Pack { path: from.to_owned(), error },
    })?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(unwritten)
}
