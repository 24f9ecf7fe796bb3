//! Packing and unpacking files on disk.

use crate::{Error, files, output};
use std::path::Path;

/// The direction of a conversion between plain and packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From plain to packed: tensors are put into panels.
    Pack,
    /// From packed to plain: the original, byte for byte.
    Unpack,
}

/// Writes the GGUF file `from` (one part of a split file at a time) packed or unpacked to `to`. `to` appears only when it is complete.
/// `progress` is called with the number of bytes written.
///
/// # Errors
/// [`Error::Read`], [`Error::NotAFile`], [`Error::EmptyFile`], [`Error::Convert`], [`Error::Write`], [`Error::Busy`].
pub fn pack(from: &Path, to: &Path, direction: Direction, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let map = files::map(from)?;
    let rewrite = match direction {
        Direction::Pack => smidgen_convert::pack,
        Direction::Unpack => smidgen_convert::unpack,
    };
    output::replace(from, to, &mut |out| rewrite(&map, out, progress))
}

/// Writes the GGUF file `from` packed to `to`, a file that no other process uses yet.
pub(crate) fn pack_in_place(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let map = files::map(from)?;
    output::create(from, to, &mut |out| smidgen_convert::pack(&map, out, progress))
}
