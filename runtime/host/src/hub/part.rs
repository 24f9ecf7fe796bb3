//! What is there of a file that is being downloaded: its bytes, and a journal of which they are.
//!
//! A journal is a line for the file, and one for each piece that was written after it. Lines are appended, so a process that is killed leaves
//! at most a torn last one. After a restart of the machine, which may have lost bytes that the journal has, only a digest can tell; a file
//! without one is begun anew then.

use super::ranges::Ranges;
use crate::Error;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The longest journal that is read: a line for each 256 KiB of a file of a terabyte.
const MOST_JOURNAL: u64 = 1 << 28;

/// What a file on a server is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
    /// A validator of RFC 9110.
    pub(crate) validator: Option<String>,
}

impl Identity {
    fn line(&self) -> String {
        let or = |text: Option<&str>| text.unwrap_or("-").replace(['\t', '\n'], " ");
        let size = self.size.map(|size| size.to_string());
        let [size, sha256, validator] = [size.as_deref(), self.sha256.as_deref(), self.validator.as_deref()].map(or);
        format!("smidgen 1\t{size}\t{sha256}\t{validator}\t{}\n", or(boot().as_deref()))
    }

    /// Whether the bytes of a journal with this first line are of the file.
    fn is_continued(&self, line: &str) -> bool {
        let own = self.line();
        let (mut own, mut line) = (own.trim_end().split('\t'), line.split('\t'));
        let same = [own.next() == line.next(), own.next() == line.next()].iter().all(|same| *same);
        let sha256 = own.next() == line.next();
        if self.sha256.is_some() {
            return same && sha256;
        }
        // Without a digest, the validator has to be there, and the machine not to have been switched off.
        same && sha256 && self.validator.is_some() && own.next() == line.next() && own.next() == line.next()
    }
}

/// The number of this run of the system, where there is one.
fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// A file that is being downloaded. Nobody else writes it.
pub(crate) struct Part {
    path: PathBuf,
    file: File,
    journal_path: PathBuf,
    journal: Mutex<File>,
}

impl Part {
    /// Opens the file at `path`, with the journal beside it. Waits, with calls of `waiting`, until no other process has it.
    pub(crate) fn open(path: PathBuf, waiting: &mut dyn FnMut()) -> Result<Part, Error> {
        let failed = |path: &Path, error| Error::Write { path: path.to_owned(), error };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".journal");
        let journal_path = path.with_file_name(name);
        let open = |path: &Path| {
            let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
            open.map_err(|error| failed(path, error))
        };
        loop {
            let journal = File::options().read(true).append(true).create(true).open(&journal_path);
            let journal = journal.map_err(|error| failed(&journal_path, error))?;
            match journal.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                // Where there are no locks, the lock of the shelf is missing as well, and the digest is what is left.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Another process may have finished and removed it before it was locked here.
            if crate::output::is_at(&journal, &journal_path) {
                let file = open(&path)?;
                return Ok(Part { path, file, journal_path, journal: Mutex::new(journal) });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Write { path: self.path.clone(), error }
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, File> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes that are there of the file of this identity. What is there of another is removed.
    pub(crate) fn resume(&self, identity: &Identity) -> Result<Ranges, Error> {
        let mut text = String::new();
        let length = self.file.metadata().map_err(|error| self.failed(error))?.len();
        // What is no text is no journal.
        let _ = (&*self.journal()).take(MOST_JOURNAL).read_to_string(&mut text);
        let mut ranges = Ranges::default();
        let (first, lines) = text.split_once('\n').unwrap_or_default();
        if !identity.is_continued(first) {
            self.restart(identity)?;
            return Ok(ranges);
        }
        // The last line may be torn; then its last number is too small, if it is there at all.
        for line in lines.lines() {
            let numbers = line.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let Some((start, end)) = numbers else { continue };
            ranges.add(start, end);
        }
        if !text.ends_with('\n') {
            self.journal().write_all(b"\n").map_err(|error| self.failed(error))?;
        }
        ranges.cut(length.min(identity.size.unwrap_or(u64::MAX)));
        Ok(ranges)
    }

    /// Begins anew, with the file of this identity.
    pub(crate) fn restart(&self, identity: &Identity) -> Result<(), Error> {
        let mut journal = self.journal();
        let written = journal.set_len(0).and_then(|()| journal.write_all(identity.line().as_bytes()));
        written.and_then(|()| self.file.set_len(0)).map_err(|error| self.failed(error))
    }

    /// Gives the file its length, without the bytes.
    pub(crate) fn set_len(&self, length: u64) -> Result<(), Error> {
        self.file.set_len(length).map_err(|error| self.failed(error))
    }

    /// Writes bytes at a place.
    pub(crate) fn write(&self, mut bytes: &[u8], mut at: u64) -> Result<(), Error> {
        while !bytes.is_empty() {
            match write_at(&self.file, bytes, at) {
                Ok(0) => return Err(self.failed(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Notes that bytes were written.
    pub(crate) fn note(&self, start: u64, end: u64) -> Result<(), Error> {
        self.journal().write_all(format!("{start} {end}\n").as_bytes()).map_err(|error| self.failed(error))
    }

    /// Reads bytes from a place; as many as there are.
    pub(crate) fn read(&self, bytes: &mut [u8], at: u64) -> Result<usize, Error> {
        loop {
            match read_at(&self.file, bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| Error::Read { path: self.path.clone(), error }),
            }
        }
    }

    /// Flushes the file to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    /// Gives the file a name elsewhere on the same file system. It keeps its own too, where files can have two.
    pub(crate) fn link(&self, to: &Path) -> Result<(), Error> {
        let _ = fs::remove_file(to);
        let linked = fs::hard_link(&self.path, to).or_else(|_| fs::rename(&self.path, to));
        linked.map_err(|error| Error::Write { path: to.to_owned(), error })
    }

    /// Removes the file, if it is still there, and the journal. What cannot be removed only wastes space.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.journal_path);
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, at)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_journal_is_continued_by() {
        let with = |size, sha256: Option<&str>, validator: Option<&str>| Identity {
            size: Some(size),
            sha256: sha256.map(str::to_owned),
            validator: validator.map(str::to_owned),
        };
        let line = |identity: &Identity| identity.line().trim_end().to_owned();
        let digest = with(5, Some("ab"), Some("\"x\""));
        assert!(digest.is_continued(&line(&digest)));
        assert!(digest.is_continued(&line(&with(5, Some("ab"), None))));
        assert!(!digest.is_continued(&line(&with(6, Some("ab"), None))));
        assert!(!digest.is_continued(&line(&with(5, Some("cd"), None))));
        let tag = with(5, None, Some("\"x\""));
        assert!(tag.is_continued(&line(&tag)));
        assert!(!tag.is_continued(&line(&with(5, None, Some("\"y\"")))));
        assert!(!tag.is_continued(&line(&digest)));
        assert!(!tag.is_continued(""));
        // Another run of the system.
        let (head, _) = tag.line().rsplit_once('\t').map(|(head, boot)| (head.to_owned(), boot.to_owned())).unwrap();
        assert!(!tag.is_continued(&format!("{head}\tanother")));
        let nothing = with(5, None, None);
        assert!(!nothing.is_continued(&line(&nothing)));
    }

    #[test]
    fn a_torn_journal_is_continued() {
        let folder = std::env::temp_dir().join(format!("smidgen-part-{}", std::process::id()));
        let identity = Identity { size: Some(100), sha256: Some("ab".into()), validator: None };
        let path = folder.join("x.part");
        let part = Part::open(path.clone(), &mut || ()).unwrap();
        assert_eq!(part.resume(&identity).unwrap(), Ranges::default());
        part.write(&[7; 60], 0).unwrap();
        part.note(0, 20).unwrap();
        part.note(30, 40).unwrap();
        part.journal().write_all(b"40 46").unwrap();
        drop(part);
        let mut wanted = Ranges::default();
        wanted.add(0, 20);
        wanted.add(30, 46);
        let part = Part::open(path.clone(), &mut || ()).unwrap();
        assert_eq!(part.resume(&identity).unwrap(), wanted);
        // What the journal says beyond the file's end is not there.
        part.note(50, 90).unwrap();
        drop(part);
        wanted.add(50, 60);
        let part = Part::open(path.clone(), &mut || ()).unwrap();
        assert_eq!(part.resume(&identity).unwrap(), wanted);
        assert_eq!(part.resume(&Identity { sha256: Some("cd".into()), ..identity }).unwrap(), Ranges::default());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        part.remove();
        fs::remove_dir(folder).unwrap();
    }
}
