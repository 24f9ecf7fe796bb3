//! The models that are here.
//!
//! A model has a folder `CACHE/models/KEY` with its files and a record, `model.json`. The record is written last, so an entry is there when its
//! record is. Models of other programs' caches have a record only. The models that are known by a short name lie in the cache itself, without
//! a record, and are on the shelf all the same.
//!
//! Whoever writes into a folder holds the lock of its key; whoever runs a model holds a shared lock of its files
//! ([`ModelFile::open`](crate::ModelFile::open)). The system drops both when a process ends, however it ends.

mod import;
mod record;
mod remove;
mod verify;

pub use import::Imported;
pub use remove::{Pruned, Removed};
pub use verify::{Checked, Verdict};

use crate::hub::HubError;
use crate::hub::quant::quant_of;
use crate::models::KNOWN_MODELS;
use crate::{Error, Form, Progress, pull};
use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A model on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name of its folder; none for a known model in the cache itself, which has no record. [`Shelf::add`] does not look at it.
    pub key: Option<String>,
    /// Its names: the full one first (`hf:USER/REPO:Q4_K_M`), then those that led to it (`hf:USER/REPO`).
    pub names: Vec<String>,
    /// Its files; more than one for a split model, in the order of the parts.
    pub files: Vec<EntryFile>,
    /// The format of most weights (`Q4_K_M`).
    pub quant: Option<String>,
    /// The licence, as the hub states it.
    pub licence: Option<String>,
    /// Where it came from: the web address, the package or the cache of another program.
    pub source: String,
    /// When it came, in seconds since 1970.
    pub pulled: u64,
    /// Whether the files belong to another program's cache; these are never removed.
    pub imported: bool,
    /// How the registry has the model used: template, system prompt, parameters.
    pub defaults: Option<serde_json::Value>,
}

/// A file of a model on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file as it was published, in lower-case hexadecimal, if the source states it. That of a packed file is checked by
    /// unpacking it.
    pub sha256: Option<String>,
    /// Whether it is packed.
    pub form: Form,
}

impl Entry {
    /// The full name.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Whether this is one of its names. Capitals do not matter.
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The sum of its files' lengths in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Whether all its files are packed.
    pub fn is_packed(&self) -> bool {
        self.files.iter().all(|file| file.form == Form::Packed)
    }

    /// The first of its files that is not there with its length.
    pub fn missing(&self) -> Option<&EntryFile> {
        self.files.iter().find(|file| !fs::metadata(&file.path).is_ok_and(|f| f.is_file() && f.len() == file.bytes))
    }
}

/// The models of one cache.
#[derive(Clone, Debug)]
pub struct Shelf {
    cache: PathBuf,
}

/// The right to write into the folder of a key, until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

impl Shelf {
    /// The shelf in the user's cache ([`cache_dir`](crate::cache_dir)). Nothing is written before something is added.
    ///
    /// # Errors
    /// [`Error::NoCache`].
    pub fn open() -> Result<Shelf, Error> {
        Ok(Shelf::at(&crate::cache_dir()?))
    }

    /// The shelf in this cache, an absolute path.
    pub fn at(cache: &Path) -> Shelf {
        Shelf { cache: cache.to_owned() }
    }

    /// The cache.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// All models, in the order of their keys; for a record that cannot be read, an error that names it. Whether the files are there is not
    /// asked ([`Entry::missing`]).
    pub fn entries(&self) -> Vec<Result<Entry, Error>> {
        let mut entries: Vec<_> = self.keys().iter().map(|key| record::read(&self.folder(key), key)).collect();
        entries.extend(self.known().into_iter().map(Ok));
        entries
    }

    /// The model of this name, if all its files are there with their lengths; rather packed than plain.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let entries = self.entries().into_iter().flatten();
        let found = entries.filter(|entry| entry.is_named(name) && entry.missing().is_none());
        found.min_by_key(|entry| !entry.is_packed())
    }

    /// The model to which a file belongs.
    pub fn of_file(&self, path: &Path) -> Option<Entry> {
        let path = fs::canonicalize(path).ok()?;
        let is_it = |file: &EntryFile| fs::canonicalize(&file.path).is_ok_and(|own| own == path);
        self.entries().into_iter().flatten().find(|entry| entry.files.iter().any(is_it))
    }

    /// The folder for the files of a key (ASCII letters, digits, `.`, `_` and `-`, no `.` first). It need not exist.
    pub fn folder(&self, key: &str) -> PathBuf {
        self.models().join(key)
    }

    /// Takes the lock of a key; waits while another process has it. Where the file system has no locks, nobody waits.
    ///
    /// # Errors
    /// [`Error::Hub`] for what is no key, [`Error::Write`].
    pub fn lock(&self, key: &str, progress: &mut dyn Progress) -> Result<KeyLock, Error> {
        let file = self.lock_file(key)?;
        pull::wait_for(&file, progress);
        Ok(KeyLock { _file: file })
    }

    /// Puts a model on the shelf, whose files are there: in the folder of the key, or anywhere if the model is imported. A model that has the
    /// key already is replaced. To be called under the lock of the key.
    ///
    /// # Errors
    /// [`Error::Hub`] for a key, a name or a path that a record cannot hold and for a file that is not there with its length, [`Error::Write`].
    pub fn add(&self, key: &str, entry: &Entry) -> Result<(), Error> {
        check_key(key)?;
        record::write(&self.folder(key), entry)
    }

    /// Notes that a model is used now. A cache that cannot be written is no error.
    pub fn touch(&self, entry: &Entry) {
        let now = SystemTime::now();
        let file = |path: &Path| File::options().write(true).open(path);
        let _ = match (&entry.key, entry.files.first()) {
            (Some(key), _) => file(&self.record(key)).and_then(|file| file.set_modified(now)),
            (None, Some(model)) => {
                file(&model.path).and_then(|file| file.set_times(fs::FileTimes::new().set_accessed(now)))
            }
            (None, None) => Ok(()),
        };
    }

    /// When a model was used last, or else came.
    pub fn used(&self, entry: &Entry) -> Option<SystemTime> {
        match &entry.key {
            Some(key) => fs::metadata(self.record(key)).ok()?.modified().ok(),
            None => {
                let found = fs::metadata(&entry.files.first()?.path).ok()?;
                found.accessed().ok().max(found.modified().ok())
            }
        }
    }

    fn models(&self) -> PathBuf {
        self.cache.join("models")
    }

    fn record(&self, key: &str) -> PathBuf {
        self.folder(key).join(record::NAME)
    }

    /// The keys of the folders, sorted. Links are none.
    fn folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.models()).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut keys: Vec<_> = names.filter(|name| check_key(name).is_ok()).collect();
        keys.sort();
        keys
    }

    /// The keys that have a record, sorted.
    fn keys(&self) -> Vec<String> {
        let mut keys = self.folders();
        keys.retain(|key| fs::symlink_metadata(self.record(key)).is_ok());
        keys
    }

    fn lock_file(&self, key: &str) -> Result<File, Error> {
        check_key(key)?;
        let models = self.models();
        fs::create_dir_all(&models).map_err(|error| Error::Write { path: models.clone(), error })?;
        let path = models.join(format!(".{key}.lock"));
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::Write { path, error })
    }

    /// The known models that lie in the cache itself.
    fn known(&self) -> Vec<Entry> {
        let forms = [Form::Packed, Form::Plain];
        let places = KNOWN_MODELS.iter().flat_map(|model| forms.map(|form| (model, form)));
        let entry = |(model, form): (&crate::KnownModel, Form)| {
            let path = pull::cached(&self.cache, model, form)?;
            let found = fs::metadata(&path).ok()?;
            let pulled = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            // What is converted here was not published.
            let sha256 = model.checkpoint.is_none().then(|| model.sha256.to_owned());
            Some(Entry {
                key: None,
                names: vec![model.name.to_owned()],
                files: vec![EntryFile { path, bytes: found.len(), sha256, form }],
                quant: quant_of(stem(model.file)),
                licence: Some(model.licence.to_owned()),
                source: model.package.to_string(),
                pulled: pulled.map_or(0, |since| since.as_secs()),
                imported: false,
                defaults: None,
            })
        };
        places.filter_map(entry).collect()
    }
}

/// Takes the exclusive lock of a file without waiting; false if another process has one. Where the file system has no locks, none has.
fn try_hold(file: &File) -> bool {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(()) | Err(TryLockError::Error(_)) => return true,
        }
    }
}

/// Whether this is a key.
fn check_key(key: &str) -> Result<(), Error> {
    const MOST: usize = 200;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if key.is_empty() || key.len() > MOST || key.starts_with('.') || !key.bytes().all(is_fine) {
        let reason = format!("a key has 1 to {MOST} ASCII letters, digits, '.', '_' and '-', and no '.' first");
        return Err(refused(format!("{key:?}"), reason));
    }
    Ok(())
}

/// A file's name without its ending.
fn stem(name: &str) -> &str {
    name.strip_suffix(".gguf").unwrap_or(name)
}

fn refused(subject: impl Display, reason: impl Display) -> Error {
    Error::Hub(HubError::Shelf { subject: subject.to_string(), reason: reason.to_string() })
}

#[cfg(test)]
#[path = "shelf/tests.rs"]
mod tests;
