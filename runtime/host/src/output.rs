//! Files that appear under their name only when they are complete.

use crate::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// What fills a file; what went wrong is about the file `from`.
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
    // Large writes get large pages of the file cache, which the processor finds faster when the file is mapped.
    let mut out = BufWriter::with_capacity(1 << 20, File::create(to).map_err(unwritten)?);
    fill(&mut out).map_err(|error| match error {
        smidgen_convert::Error::Io(error) => unwritten(error),
        error => Error::Convert { path: from.to_owned(), error },
    })?;
    out.flush().and_then(|()| out.get_ref().sync_all()).map_err(unwritten)
}
