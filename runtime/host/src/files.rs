//! Model files in memory, mapped and not copied.

use crate::Error;
use memmap2::{Mmap, MmapOptions};
use smidgen_gguf::Gguf;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// One GGUF file, or all parts of a split one, mapped read-only; [`parts`](ModelFile::parts) reads them.
///
/// A part of a split model is named `NAME-00001-of-0000N.gguf`; opening any of the parts opens all of them, from the same
/// directory. The metadata `split.no`, `split.count` and `split.tensors.count` of each must agree with the names and with
/// each other.
///
/// The file must not be changed while it is open. Its length is compared once more after mapping, so a file that is still
/// being written or is cut short at that moment is refused. One that is truncated *later* takes pages away that are in use:
/// the operating system then ends the process (`SIGBUS` on Unix; Windows does not allow the truncation). Programs that
/// update a model should write a new file and rename it over the old one, which leaves the mapped one as it was.
///
/// Each file has a shared lock of the system's while it is open, where the file system has locks: a program that removes models can try an
/// exclusive one to see whether a model is in use.
pub struct ModelFile {
    parts: Vec<Part>,
}

struct Part {
    path: PathBuf,
    map: Mmap,
    /// The file with a shared lock, for as long as it is mapped, so that nobody removes a model that is in use.
    _file: Option<File>,
}

impl Part {
    fn open(path: &Path) -> Result<Part, Error> {
        let (map, file) = open(path)?;
        // Some file systems have no locks, and whoever removes the file may have one for a moment: the map is good without.
        let _ = file.try_lock_shared();
        Ok(Part { path: path.to_owned(), map, _file: Some(file) })
    }
}

impl ModelFile {
    /// Maps the file at `path` and, if its name says that it is a part, the other parts.
    ///
    /// # Errors
    /// Each names the path: [`Error::Read`], [`Error::NotAFile`], [`Error::EmptyFile`], [`Error::FileChanged`], and for a name of
    /// a part [`Error::SplitPart`], and [`Error::NotGguf`] and [`Error::SplitMetadata`] if the file is no such part.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile, Error> {
        let path = path.as_ref();
        let name = SplitName::of(path);
        if let Some(SplitName { part, count, .. }) = name
            && !(1..=count).contains(&part)
        {
            return Err(Error::SplitPart { path: path.to_owned(), part, count });
        }
        // The part that was asked for is opened first, so that a mistaken path is reported as it was written.
        let asked = Part::open(path)?;
        let Some(SplitName { stem, part: own, count }) = name.filter(|name| name.count > 1) else {
            return Ok(ModelFile { parts: vec![asked] });
        };
        check_number(path, &parse(path, &asked.map)?, "split.count", u64::from(count))?;
        let mut asked = Some(asked);
        let mut parts = Vec::new();
        for part in 1..=count {
            let path = path.with_file_name(format!("{stem}-{part:05}-of-{count:05}.gguf"));
            parts.push(match asked.take_if(|_| part == own) {
                Some(part) => part,
                None => Part::open(&path)?,
            });
        }
        Ok(ModelFile { parts })
    }

    /// Maps `length` bytes of an open file from `offset` on, all to its end without a length: a file inside of another that keeps it as it
    /// is, as an Android package does. Errors call it `name`.
    ///
    /// # Errors
    /// [`Error::Read`], also for a range that is not in the file, [`Error::NotAFile`], [`Error::EmptyFile`], [`Error::FileChanged`].
    pub fn of_range(file: &File, offset: u64, length: Option<u64>, name: &Path) -> Result<ModelFile, Error> {
        let map = map_range(file, offset, length, name)?;
        Ok(ModelFile { parts: vec![Part { path: name.to_owned(), map, _file: None }] })
    }

    /// Reads the parts, in order; one for a file that is not split.
    ///
    /// # Errors
    /// Each names the path: [`Error::NotGguf`] (with the parser's error and offset), and for split files
    /// [`Error::SplitMetadata`], [`Error::SplitUnnamed`] and [`Error::SplitDuplicate`].
    pub fn parts(&self) -> Result<Vec<Gguf<'_>>, Error> {
        let parts: Vec<_> = self.parts.iter().map(|part| parse(&part.path, &part.map)).collect::<Result<_, _>>()?;
        match (parts.as_slice(), self.parts.as_slice()) {
            ([gguf], [part]) => {
                let count = gguf.get("split.count").and_then(|value| value.as_u64()).unwrap_or(1);
                if count > 1 {
                    return Err(Error::SplitUnnamed { path: part.path.clone(), count });
                }
            }
            _ => check_parts(self.paths().zip(&parts))?,
        }
        Ok(parts)
    }

    /// The bytes of each part, in order; one for a file that is not split.
    pub fn bytes(&self) -> Vec<&[u8]> {
        self.parts.iter().map(|part| &*part.map).collect()
    }

    /// The path of each part, in order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> + Clone {
        self.parts.iter().map(|part| part.path.as_path())
    }

    /// The sum of the parts' lengths in bytes.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.map.len() as u64).sum()
    }
}

/// Maps a file of at least one byte.
#[cfg(feature = "convert")]
pub(crate) fn map(path: &Path) -> Result<Mmap, Error> {
    open(path).map(|(map, _)| map)
}

/// Opens and maps a file of at least one byte.
fn open(path: &Path) -> Result<(Mmap, File), Error> {
    let failed = |error: io::Error| Error::Read { path: path.to_owned(), error };
    // Asked before opening, because opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    Ok((map_range(&file, 0, None, path)?, file))
}

pub(crate) fn map_range(file: &File, offset: u64, length: Option<u64>, path: &Path) -> Result<Mmap, Error> {
    let failed = |error: io::Error| Error::Read { path: path.to_owned(), error };
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let left = found.len().checked_sub(offset).filter(|left| length.is_none_or(|length| length <= *left));
    let left = left.ok_or_else(|| failed(io::Error::other("the range is not in the file")))?;
    let length = length.unwrap_or(left);
    if length == 0 {
        return Err(Error::EmptyFile { path: path.to_owned() });
    }
    let too_large = |_| failed(io::Error::other("too large for this machine's address space"));
    let bytes = usize::try_from(length).map_err(too_large)?;
    // SAFETY: the mapping is private and read-only, and is kept alive by whoever uses it. That nobody truncates or rewrites the file
    // meanwhile cannot be ensured from here; it is the documented condition of `ModelFile`.
    let map = unsafe { MmapOptions::new().offset(offset).len(bytes).map(file) }.map_err(failed)?;
    let now = file.metadata().map_err(failed)?.len();
    if now != found.len() {
        return Err(Error::FileChanged { path: path.to_owned(), mapped: found.len(), now });
    }
    // Only hints: reading works without them. A file that is not in the cache yet gets large pages there, which the processor finds faster.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::WillNeed);
    Ok(map)
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Gguf<'a>, Error> {
    Gguf::parse(bytes).map_err(|error| Error::NotGguf { path: path.to_owned(), error })
}

/// Whether the parts of a split file agree with their names and with each other.
fn check_parts<'p, 'a: 'p>(
    parts: impl ExactSizeIterator<Item = (&'p Path, &'p Gguf<'a>)> + Clone,
) -> Result<(), Error> {
    let mut total = 0;
    let mut names = HashSet::new();
    for ((path, gguf), number) in parts.clone().zip(0_u64..) {
        check_number(path, gguf, "split.count", parts.len() as u64)?;
        check_number(path, gguf, "split.no", number)?;
        for tensor in gguf.tensors() {
            if !names.insert(tensor.name) {
                return Err(Error::SplitDuplicate { path: path.to_owned(), tensor: tensor.name.to_owned() });
            }
            total += 1;
        }
    }
    parts.clone().try_for_each(|(path, gguf)| check_number(path, gguf, "split.tensors.count", total))
}

fn check_number(path: &Path, gguf: &Gguf, key: &'static str, expected: u64) -> Result<(), Error> {
    let found = gguf.get(key).and_then(|value| value.as_u64());
    if found == Some(expected) {
        return Ok(());
    }
    Err(Error::SplitMetadata { path: path.to_owned(), key, found, expected })
}

/// The stem, the part and the count in the name of a part of a split model; none if there is no such part.
#[cfg(feature = "hub")]
pub(crate) fn split_of(path: &Path) -> Option<(&str, u32, u32)> {
    let name = SplitName::of(path)?;
    (1..=name.count).contains(&name.part).then_some((name.stem, name.part, name.count))
}

/// The parts of a name of the form `STEM-MMMMM-of-NNNNN.gguf`.
#[derive(Debug, PartialEq, Eq)]
struct SplitName<'a> {
    stem: &'a str,
    part: u32,
    count: u32,
}

impl SplitName<'_> {
    fn of(path: &Path) -> Option<SplitName<'_>> {
        let rest = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = rest.split_at_checked(rest.len().checked_sub(5)?)?;
        let rest = rest.strip_suffix("-of-")?;
        let (rest, part) = rest.split_at_checked(rest.len().checked_sub(5)?)?;
        let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        Some(SplitName { stem: rest.strip_suffix('-')?, part: number(part)?, count: number(count)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let of = |name| SplitName::of(Path::new(name));
        assert_eq!(of("d/a-b-00002-of-00003.gguf"), Some(SplitName { stem: "a-b", part: 2, count: 3 }));
        assert_eq!(of("-00001-of-00001.gguf"), Some(SplitName { stem: "", part: 1, count: 1 }));
        for name in [
            "a.gguf",
            ".gguf",
            "a-00001-of-0003.gguf",
            "a-00001-of-00003.bin",
            "a00001-of-00003.gguf",
            "a-+0001-of-00003.gguf",
            "a-00001-of-+0003.gguf",
            "\u{e9}00001.gguf",
            "..",
            "/",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
