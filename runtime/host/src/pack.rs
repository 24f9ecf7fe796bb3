//! Packing and unpacking files on disk.

use crate::{Error, files, output};
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
/// [`Error::Read`], [`Error::NotAFile`], [`Error::EmptyFile`], [`Error::Convert`], [`Error::Write`].
pub fn pack(from: &Path, to: &Path, direction: Direction, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let map = files::map(from)?;
    let rewrite = match direction {
        Direction::Pack => smidgen_convert::pack,
        Direction::Unpack => smidgen_convert::unpack,
    };
    output::replace(from, to, &mut |out| rewrite(&map, out, progress))
}

/// Writes the GGUF file `from` packed to `to`, where nobody looks yet.
pub(crate) fn pack_in_place(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let map = files::map(from)?;
    output::create(from, to, &mut |out| smidgen_convert::pack(&map, out, progress))
}
