//! What goes from the shelf: by name, or to keep it small.

use super::{Entry, Shelf, check_key, refused, try_hold};
use crate::hub::Bytes;
use crate::models::distance;
use crate::{Error, KNOWN_MODELS};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a download that nobody goes on with is kept, so that it can be resumed.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The model's full name, or the path of what is none.
    pub name: String,
    /// Bytes of its files; 0 for an imported model, whose files stay.
    pub bytes: u64,
}

/// What [`Shelf::prune`] did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed, in that order.
    pub removed: Vec<Removed>,
    /// What was passed over although it was its turn, each with the reason.
    pub passed: Vec<String>,
    /// Bytes of what is left: pulled models and partial downloads.
    pub left: u64,
}

impl Shelf {
    /// Removes every model of this name, path or key, in both forms. Of an imported model only the record goes. A damaged record goes with its
    /// folder, by its key.
    ///
    /// # Errors
    /// [`Error::Hub`] if there is none (similar names are told), if a process uses it or pulls it; then nothing was removed. [`Error::Write`].
    pub fn remove(&self, name: &str) -> Result<Vec<Removed>, Error> {
        let entries: Vec<Entry> = self.named(name);
        if entries.is_empty() {
            if check_key(name).is_ok() && self.folders().iter().any(|key| key == name) {
                let _lock = self.hold_key(name)?;
                return Ok(vec![self.remove_folder(name)?]);
            }
            return Err(self.unknown(name));
        }
        let holds: Vec<_> = entries.iter().map(|entry| self.hold(entry)).collect::<Result<_, _>>()?;
        let removed = entries.iter().map(|entry| self.take(entry)).collect();
        drop(holds);
        removed
    }

    /// The models that somebody means by `name`: a name, the path of a file or the key.
    pub fn named(&self, name: &str) -> Vec<Entry> {
        let mut entries: Vec<_> = self.entries().into_iter().flatten().collect();
        let file = fs::canonicalize(name).ok();
        let is_file = |entry: &Entry| {
            let own = |path: &Path| fs::canonicalize(path).ok() == file;
            file.is_some() && entry.files.iter().any(|file| own(&file.path))
        };
        entries.retain(|entry| entry.is_named(name) || entry.key.as_deref() == Some(name) || is_file(entry));
        entries
    }

    /// That a name is none on the shelf, with the most similar one.
    pub fn unknown(&self, name: &str) -> Error {
        let names = self.entries().into_iter().flatten().flat_map(|entry| entry.names);
        let wanted = name.to_ascii_lowercase();
        let close = |own: String| {
            let lower = own.to_ascii_lowercase();
            // The distance takes time in proportion to the product of the lengths.
            let is_short = lower.len() <= 256 && wanted.len() <= 256;
            let edits = if is_short { distance(&wanted, &lower) } else { usize::MAX };
            let is_part = wanted.len() >= 3 && lower.contains(&wanted);
            (edits.saturating_mul(3) <= lower.len() || is_part).then_some((edits, own))
        };
        let similar = names.filter_map(close).min().map(|(_, own)| format!("did you mean {own}? "));
        refused(name, format!("there is no such model here; {}'smidgen list' shows all", similar.unwrap_or_default()))
    }

    /// Removes the models that were used least recently until the others have at most `keep` bytes. Before that go the downloads that were
    /// interrupted more than a day ago, and folders without a record that nobody writes. Imported models are neither removed nor counted, what
    /// is in use is passed over. A `dry_run` removes nothing.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn prune(&self, keep: u64, dry_run: bool) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        self.prune_partial(dry_run, &mut pruned)?;
        let mut entries = Vec::new();
        for key in self.folders() {
            match super::record::read(&self.folder(&key), &key) {
                Ok(entry) if entry.imported => {}
                Ok(entry) => entries.push(entry),
                Err(error) => self.prune_folder(&key, error, dry_run, &mut pruned)?,
            }
        }
        entries.extend(self.known());
        entries.sort_by_key(|entry| self.used(entry));
        let sizes = entries.iter().map(|entry| on_disk(&self.place(entry)));
        let mut left = sizes.fold(pruned.left, u64::saturating_add);
        for entry in entries {
            if left <= keep {
                break;
            }
            match self.hold(&entry) {
                Err(error) => pruned.passed.push(error.to_string()),
                Ok(_held) => {
                    let bytes = on_disk(&self.place(&entry));
                    left = left.saturating_sub(bytes);
                    let removed = Removed { name: entry.name().to_owned(), bytes };
                    pruned.removed.push(if dry_run { removed } else { self.take(&entry)? });
                }
            }
        }
        pruned.left = left;
        Ok(pruned)
    }

    /// The interrupted downloads, each of which may have further files, named as it with more after its name.
    fn prune_partial(&self, dry_run: bool, pruned: &mut Pruned) -> Result<(), Error> {
        let folder = self.cache.join("partial");
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                files.push(entry.path());
            }
        }
        files.sort();
        let is_part_of = |path: &Path, of: &Path| {
            let (path, of) = (path.file_name().unwrap_or_default(), of.file_name().unwrap_or_default());
            let rest = path.as_encoded_bytes().strip_prefix(of.as_encoded_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
        };
        let mut rest = files.as_slice();
        while let Some(first) = rest.first() {
            let (group, others) = rest.split_at(rest.iter().take_while(|path| is_part_of(path, first)).count().max(1));
            rest = others;
            let bytes = group.iter().map(|path| on_disk(path)).fold(0, u64::saturating_add);
            let files: Vec<_> = group.iter().filter_map(|path| open(path)).collect();
            let is_old = files.iter().all(|file| {
                let changed = file.metadata().and_then(|found| found.modified());
                changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > PARTIAL_AGE))
            });
            if !is_old || !files.iter().all(try_hold) {
                pruned.left = pruned.left.saturating_add(bytes);
                continue;
            }
            if !dry_run {
                group.iter().try_for_each(|path| remove_file(path))?;
            }
            pruned.removed.push(Removed { name: first.display().to_string(), bytes });
        }
        Ok(())
    }

    /// A folder whose record is not there or cannot be read.
    fn prune_folder(&self, key: &str, error: Error, dry_run: bool, pruned: &mut Pruned) -> Result<(), Error> {
        let bytes = on_disk(&self.folder(key));
        let is_left = fs::symlink_metadata(self.record(key)).is_err();
        match self.hold_key(key) {
            Ok(_lock) if is_left => {
                let removed = Removed { name: self.folder(key).display().to_string(), bytes };
                pruned.removed.push(if dry_run { removed } else { self.remove_folder(key)? });
                return Ok(());
            }
            Ok(_lock) => pruned.passed.push(error.to_string()),
            Err(error) => pruned.passed.push(error.to_string()),
        }
        pruned.left = pruned.left.saturating_add(bytes);
        Ok(())
    }

    /// Where an entry's own files are.
    fn place(&self, entry: &Entry) -> PathBuf {
        match (&entry.key, entry.files.first()) {
            (Some(key), _) => self.folder(key),
            (None, file) => file.map(|file| file.path.clone()).unwrap_or_default(),
        }
    }

    /// The locks of the key and the files of an entry, so that nobody uses it while it is removed.
    fn hold(&self, entry: &Entry) -> Result<Vec<File>, Error> {
        let mut held = match &entry.key {
            Some(key) => self.hold_key(key)?,
            None => {
                let known = KNOWN_MODELS.iter().find(|model| entry.is_named(model.name));
                let lock = known.and_then(|model| open(&self.cache.join(format!(".{}.lock", model.name))));
                hold_pull(lock, entry.name())?
            }
        };
        if !entry.imported {
            for file in &entry.files {
                // One that is not there is in nobody's use.
                let Some(opened) = open(&file.path) else { continue };
                if !try_hold(&opened) {
                    let reason = format!("{} is in use by a running process; end it first", file.path.display());
                    return Err(refused(entry.name(), reason));
                }
                held.push(opened);
            }
        }
        Ok(held)
    }

    /// The lock of a key. Where the cache cannot be written and nobody has ever locked it, nobody pulls.
    fn hold_key(&self, key: &str) -> Result<Vec<File>, Error> {
        let lock = match self.lock_file(key) {
            Ok(file) => Some(file),
            Err(Error::Hub(error)) => return Err(Error::Hub(error)),
            Err(_) => open(&self.models().join(format!(".{key}.lock"))),
        };
        hold_pull(lock, key)
    }

    /// Removes an entry's files, or of an imported one its record.
    fn take(&self, entry: &Entry) -> Result<Removed, Error> {
        let name = entry.name().to_owned();
        match (&entry.key, entry.files.first()) {
            // Its folder has nothing but the record, as its files are elsewhere.
            (Some(key), _) => {
                let removed = self.remove_folder(key)?;
                Ok(Removed { name, bytes: if entry.imported { 0 } else { removed.bytes } })
            }
            (None, Some(file)) => {
                let bytes = on_disk(&file.path);
                remove_file(&file.path)?;
                Ok(Removed { name, bytes })
            }
            (None, None) => Ok(Removed { name, bytes: 0 }),
        }
    }

    /// Removes a folder, the record first: without it nothing in there is a model. Links in it are removed, not followed.
    fn remove_folder(&self, key: &str) -> Result<Removed, Error> {
        check_key(key)?;
        let folder = self.folder(key);
        let bytes = on_disk(&folder);
        let record = self.record(key);
        if fs::symlink_metadata(&record).is_ok_and(|found| !found.is_dir()) {
            remove_file(&record)?;
        }
        fs::remove_dir_all(&folder).map_err(|error| Error::Write { path: folder.clone(), error })?;
        Ok(Removed { name: folder.display().to_string(), bytes })
    }
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, Bytes(self.bytes))
    }
}

/// Refuses if the lock of a pull is held by another.
fn hold_pull(lock: Option<File>, name: &str) -> Result<Vec<File>, Error> {
    if lock.as_ref().is_some_and(|lock| !try_hold(lock)) {
        return Err(refused(name, "a process is pulling this model; wait for its end, or end it"));
    }
    Ok(lock.into_iter().collect())
}

/// Opens a file to lock it: for writing if it can be, which network file systems want.
fn open(path: &Path) -> Option<File> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return None;
    }
    File::options().read(true).write(true).open(path).or_else(|_| File::open(path)).ok()
}

fn remove_file(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// Bytes of a file, or of all files below a folder. Links are not followed.
fn on_disk(path: &Path) -> u64 {
    fn below(path: &Path, depth: u32) -> u64 {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() && depth > 0 => {
                let entries = fs::read_dir(path).into_iter().flatten().flatten();
                entries.map(|entry| below(&entry.path(), depth - 1)).fold(0, u64::saturating_add)
            }
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        }
    }
    below(path, 16)
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;
