//! From a name to a model on the shelf.

use super::download::{Download, Remote};
use super::error::{Refusal, shown};
use super::http::Client;
use super::part::Part;
use super::shelf::{Entry, EntryFile, Shelf};
use super::sources::{self, Found, Layers};
use super::{Access, Bytes, Defaults, HubError, Name, friendly};
use crate::machine::{self, Fit};
use crate::{Direction, Error, Form, Mixture, Progress, Stage, models, one_line, pack};
use smidgen::Model;
use smidgen_gguf::Gguf;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of a file in which its head is looked for, first and last.
const HEAD: (u64, u64) = (256 << 10, 256 << 20);
/// The end of the key of a model that is kept as it was published.
const PLAIN: &str = ".plain";
/// The context for which memory is counted when none is given.
const CONTEXT: usize = 8192;

/// How a model is pulled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where models are asked for, and as whom.
    pub access: Access,
    /// The form of the files on the shelf.
    pub form: Form,
    /// Tokens of context for which memory is counted; without, at most 8192.
    pub context: Option<usize>,
}

impl Options {
    /// The usual ones, with access as the environment says.
    pub fn from_environment() -> Options {
        Options { access: Access::from_environment(), form: Form::default(), context: None }
    }
}

/// A file that a name leads to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The file, or the first part of a split model.
    pub path: PathBuf,
    /// What the shelf knows of it; none for a file that is elsewhere.
    pub entry: Option<Entry>,
}

/// The file that a user means by `model`: an existing file of this path, a model on the shelf, or any other [`Name`], which is pulled first.
///
/// # Errors
/// [`Error::Read`] for what looks like a path and is not there, [`Error::UnknownModel`] for what is no name, and those of [`pull`].
pub fn resolve(model: &Path, options: &Options, progress: &mut dyn Progress) -> Result<Resolved, Error> {
    let known = model.to_str().filter(|name| models::known(name).is_some());
    let is_there = fs::metadata(model).is_ok_and(|found| known.is_none() || !found.is_dir());
    if is_there {
        return Ok(alone(model.to_owned()));
    }
    let of = |entry: Entry| {
        let path = entry.files.first().map(|file| file.path.clone()).unwrap_or_default();
        Resolved { path, entry: Some(entry) }
    };
    match (model.to_str(), known) {
        (_, Some(name)) if options.access.offline && crate::find(name).is_none() => {
            return Err(HubError::Offline { url: name.to_owned() }.into());
        }
        (Some(name), None) => {
            let shelf = Shelf::open()?;
            if let Some(entry) = shelf.find(name) {
                shelf.touch(&entry);
                return Ok(of(entry));
            }
            if Name::parse(name, &options.access.endpoint)?.is_some() {
                return pull(name, options, progress).map(of);
            }
        }
        _ => {}
    }
    crate::pull::resolve_known(model, progress).map(alone)
}

/// A file by its path, and what the shelf knows of it.
fn alone(path: PathBuf) -> Resolved {
    let entry = Shelf::open().ok().and_then(|shelf| {
        let entry = shelf.of_file(&path)?;
        shelf.touch(&entry);
        Some(entry)
    });
    Resolved { path, entry }
}

/// Puts the model of a name (see [`Name::parse`]) on the shelf, unless it is there.
///
/// # Errors
/// [`Error::Hub`], [`Error::NoCache`], [`Error::DiskFull`], [`Error::Write`], [`Error::NotGguf`], [`Error::Convert`], [`Error::UnknownModel`].
pub fn pull(name: &str, options: &Options, progress: &mut dyn Progress) -> Result<Entry, Error> {
    let parsed = Name::parse(name, &options.access.endpoint)?;
    let parsed = parsed.ok_or_else(|| Error::UnknownModel { name: name.to_owned() })?;
    let shelf = Shelf::open()?;
    let asked = parsed.to_string();
    // What cannot be packed is kept plain under the key of a packed one; what is imported stays as it is.
    let is_plain = |entry: &Entry| entry.key.as_ref().is_some_and(|key| key.ends_with(PLAIN));
    let suits = |entry: &Entry| {
        let suits = if options.form == Form::Plain { !entry.is_packed() } else { !is_plain(entry) };
        suits && entry.missing().is_none()
    };
    let there = |name: &str| shelf.find(name).filter(suits).or_else(|| shelf.named(name).into_iter().find(suits));
    if let Some(entry) = there(&asked) {
        shelf.touch(&entry);
        return Ok(entry);
    }
    let client = Client::new(&options.access)?;
    let found = match &parsed {
        Name::Repository(repository) => sources::repository(&client, repository, machine::total_memory()),
        Name::Registry(registry) => sources::registry(&client, registry),
        Name::Address(url) => address(url),
    };
    let found = found.map_err(|error| moved(name, error))?;
    let plain = if options.form == Form::Plain { PLAIN } else { "" };
    let key = format!("{}{plain}", key(&found.name));
    let _lock = shelf.lock(&key, progress)?;
    // Another process may have pulled it meanwhile, or it is here by another name.
    if let Some(mut entry) = there(&found.name) {
        if !entry.is_named(&asked) && entry.key.as_ref() == Some(&key) {
            entry.names.push(asked);
            shelf.add(&key, &entry)?;
        }
        return Ok(entry);
    }
    let mut work = Work { client: &client, shelf: &shelf, options, key, progress };
    let mut entry = work.fetch(found)?;
    if !entry.is_named(&asked) {
        entry.names.push(asked);
    }
    shelf.add(&work.key, &entry)?;
    Ok(entry)
}

/// How the registry has the model used.
fn defaults(found: &Found) -> Result<Option<serde_json::Value>, HubError> {
    let Layers { template, system, params, messages, config } = &found.layers;
    let [template, system, params, messages] = [template, system, params, messages].map(Option::as_deref);
    let defaults = Defaults::of_layers(template, system, params, messages);
    let config = config.as_deref().unwrap_or("{}");
    match defaults.and_then(|defaults| defaults.with_config(config)) {
        Ok(defaults) => Ok(defaults.to_value()),
        Err(HubError::Defaults { reason }) => Err(HubError::Defaults { reason: format!("{}: {reason}", found.name) }),
        Err(error) => Err(error),
    }
}

/// A hub's answer that a friendly name leads nowhere, or what may have been meant as a path, says so.
fn moved(name: &str, error: HubError) -> HubError {
    let is_bare = name.split('/').count() == 2 && !name.contains(':');
    if is_bare && matches!(error, HubError::Refused(Refusal { status: 401 | 404, .. })) {
        return HubError::Neither { name: name.to_owned(), error: Box::new(error) };
    }
    match (friendly::row_of(name), &error) {
        (
            Some(row),
            HubError::Refused(Refusal { status: 401 | 404 | 410, .. })
            | HubError::Quant { .. }
            | HubError::NoModel { .. },
        ) => HubError::Moved { name: row.name, means: row.means, dated: row.dated, error: Box::new(error) },
        _ => error,
    }
}

/// The file at a web address.
fn address(url: &str) -> Result<Found, HubError> {
    let name = shown(url);
    let remote = Remote { name: name.clone(), url: url.to_owned(), size: None, sha256: None };
    let quant = super::quant::quant_of(file_name(&name).trim_end_matches(".gguf"));
    Ok(Found { name: name.clone(), source: name, files: vec![remote], quant, ..Found::default() })
}

/// The last part of a path, as the name of a file.
fn file_name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = last.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    name.trim_start_matches('.').to_owned()
}

/// The folder of a name on the shelf.
fn key(name: &str) -> String {
    use sha2::{Digest, Sha256};
    const MOST: usize = 120;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = name.replace('/', "--").chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let hash = super::download::hex(&Sha256::digest(name.as_bytes()));
    let hash = hash.get(..8).unwrap_or_default();
    format!("{}-{hash}", plain.trim_start_matches('.').get(..MOST.min(plain.len())).unwrap_or_default())
}

/// A pull under way, under the lock of its key.
struct Work<'w> {
    client: &'w Client,
    shelf: &'w Shelf,
    options: &'w Options,
    key: String,
    progress: &'w mut dyn Progress,
}

impl Work<'_> {
    fn partial(&self) -> PathBuf {
        self.shelf.cache().join("partial")
    }

    /// Downloads what was found, and makes the model's files of it.
    fn fetch(&mut self, found: Found) -> Result<Entry, Error> {
        let defaults = defaults(&found)?;
        if found.checkpoint {
            return self.convert(found);
        }
        let partial = self.partial();
        let mut downloads = Vec::new();
        for remote in &found.files {
            let progress = &mut *self.progress;
            downloads
                .push(Download::begin(self.client, remote, &partial, &mut || progress.update(Stage::Waiting, 0, 0))?);
        }
        let total = downloads.iter().map(|download| download.size().unwrap_or(0)).fold(0, u64::saturating_add);
        let there: u64 = downloads.iter().map(Download::there).sum();
        let packing = self.options.form == Form::Packed;
        self.check_room(total.saturating_sub(there).saturating_add(if packing { total } else { 0 }), packing)?;
        self.about(&found, total, &mut downloads)?;
        let parts = self.finish(downloads, total).map_err(|error| self.full(error, total))?;
        for (remote, (_, part)) in found.files.iter().zip(&parts) {
            let map = crate::files::map(part.path())?;
            if let Err(error) = Gguf::parse(&map) {
                return Err(Error::NotGguf { path: PathBuf::from(&remote.name), error });
            }
        }
        let folder = self.folder()?;
        let mut files = Vec::new();
        for (remote, (sha256, part)) in found.files.iter().zip(&parts) {
            files.push(self.place(&found, remote, sha256, part, &folder)?);
        }
        // The parts stay until the record is there, so that a process that ends before need not download them again.
        let entry = self.entry(&found, files, defaults);
        self.shelf.add(&self.key, &entry)?;
        parts.into_iter().for_each(|(_, part)| part.remove());
        Ok(entry)
    }

    fn entry(&self, found: &Found, files: Vec<EntryFile>, defaults: Option<serde_json::Value>) -> Entry {
        Entry {
            key: Some(self.key.clone()),
            names: vec![found.name.clone()],
            files,
            quant: found.quant.clone(),
            licence: found.licence.clone(),
            source: found.source.clone(),
            pulled: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            imported: false,
            defaults,
        }
    }

    /// The folder of the model's files.
    fn folder(&self) -> Result<PathBuf, Error> {
        let folder = self.shelf.folder(&self.key);
        fs::create_dir_all(&folder).map_err(|error| Error::Write { path: folder.clone(), error })?;
        Ok(folder)
    }

    /// Refuses a download for which the disk has no room.
    fn check_room(&self, needed: u64, packing: bool) -> Result<(), Error> {
        let path = self.shelf.cache();
        fs::create_dir_all(path).map_err(|error| Error::Write { path: path.to_owned(), error })?;
        match free_room(path) {
            Some(free) if free < needed => {
                Err(HubError::NoRoom { path: path.to_owned(), needed, free, packing }.into())
            }
            _ => Ok(()),
        }
    }

    /// Says what a model is: its size and licence, whether it fits into this machine's memory, and how fast it can be. The heads of its files,
    /// which tell, are downloaded first.
    fn about(&mut self, found: &Found, total: u64, downloads: &mut [Download]) -> Result<(), Error> {
        let licence = found.licence.as_deref().unwrap_or("not stated");
        let size = if total == 0 { "size not stated".to_owned() } else { Bytes(total).to_string() };
        self.progress.note(&format!("{}: {size}, licence: {}", shown(&found.name), one_line(licence)));
        for projector in &found.projectors {
            self.progress.note(&format!(
                "there is {} too, for images or sound, which is not taken unasked",
                one_line(projector)
            ));
        }
        for download in downloads.iter_mut().filter(|download| download.has_ranges()) {
            head(download)?;
        }
        if let Some((fit, context)) = fit(downloads, total, self.options.context) {
            self.progress.note(&format!("with a context of {context} tokens it {fit}"));
            if let Some(limit) = machine::known_bandwidth(self.shelf.cache()).and_then(|rate| fit.limit(rate)) {
                self.progress.note(&format!("this machine's memory allows {limit}"));
            }
        }
        Ok(())
    }

    /// Ends the downloads.
    fn finish(&mut self, downloads: Vec<Download>, total: u64) -> Result<Vec<(String, Part)>, Error> {
        let mut parts = Vec::new();
        let mut before = 0;
        let there: Vec<u64> = downloads.iter().map(Download::there).collect();
        for (index, download) in downloads.into_iter().enumerate() {
            let after: u64 = there.iter().skip(index + 1).sum();
            let length = download.size();
            let progress = &mut *self.progress;
            let mut report = |done: u64, size: u64| {
                progress.update(Stage::Downloading, before + done + after, total.max(size));
            };
            parts.push(download.finish(&mut report)?);
            before += length.unwrap_or(0);
        }
        Ok(parts)
    }

    /// Puts a downloaded file into the model's folder.
    fn place(
        &mut self,
        found: &Found,
        remote: &Remote,
        sha256: &str,
        part: &Part,
        folder: &Path,
    ) -> Result<EntryFile, Error> {
        let name = match remote.url.rsplit_once("/blobs/") {
            Some(_) => format!("{}.gguf", file_name(&found.name.replace(['/', ':'], "-"))),
            None => file_name(&super::name::percent_decoded(&shown(&remote.url))),
        };
        let stem = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".GGUF")).unwrap_or(&name);
        let plain = || (folder.join(format!("{stem}.gguf")), Form::Plain);
        let (to, form) = match self.options.form {
            Form::Plain => plain(),
            Form::Packed => {
                let packed = match super::quant::part_of(stem) {
                    Some((whole, part, count)) => format!("{whole}.packed-{part:05}-of-{count:05}.gguf"),
                    None => format!("{stem}.packed.gguf"),
                };
                let to = folder.join(packed);
                let length = fs::metadata(part.path()).map_or(0, |found| found.len());
                let progress = &mut *self.progress;
                let mut report = |bytes| progress.update(Stage::Packing, bytes, length);
                match pack::pack(part.path(), &to, Direction::Pack, &mut report) {
                    Ok(()) => (to, Form::Packed),
                    // What cannot be packed may be read all the same.
                    Err(Error::Convert { error, .. }) => {
                        self.progress.note(&format!("{name} is kept plain, since it cannot be packed: {error}"));
                        plain()
                    }
                    Err(error) => return Err(self.full(error, length)),
                }
            }
        };
        if form == Form::Plain {
            part.link(&to)?;
        }
        let bytes = fs::metadata(&to).map_err(|error| Error::Read { path: to.clone(), error })?.len();
        Ok(EntryFile { path: to, bytes, sha256: Some(sha256.to_owned()), form })
    }

    /// An error that says that the disk is full, instead of one of a write that failed for that.
    fn full(&self, error: Error, needed: u64) -> Error {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error {
            Error::Write { error, .. } if matches!(error.kind(), StorageFull | QuotaExceeded) => {
                Error::DiskFull { path: self.shelf.cache().to_owned(), needed }
            }
            other => other,
        }
    }

    /// Downloads a checkpoint and converts it.
    fn convert(&mut self, found: Found) -> Result<Entry, Error> {
        let partial = self.partial();
        let total = found.size();
        let configs = found.files.iter().filter(|file| file.url.ends_with("/config.json"));
        let config = configs.min_by_key(|file| file.name.len());
        let config = config.ok_or_else(|| HubError::NoModel {
            repository: found.name.clone(),
            reason: "it has no config.json; use a repository with a GGUF file".into(),
        })?;
        let mut silent = |_: u64, _: u64| ();
        let (_, part) = Download::begin(self.client, config, &partial, &mut || ())?.finish(&mut silent)?;
        let text = fs::read(part.path()).map_err(|error| Error::Read { path: part.path().to_owned(), error })?;
        let failed = |error| Error::Convert { path: PathBuf::from(&found.name), error };
        let writes_text = smidgen_convert::is_decoder(&text).map_err(failed)?;
        drop(part);
        let mixture = match &found.quant {
            Some(quant) => Mixture::ALL.iter().copied().find(|mixture| mixture.name() == quant).ok_or_else(|| {
                let there = Mixture::ALL.iter().map(|mixture| mixture.name().to_owned()).collect();
                HubError::Quant { repository: found.name.clone(), quant: quant.clone(), matching: Vec::new(), there }
            })?,
            None if writes_text => Mixture::Q4_K_M,
            None => Mixture::Q8_0,
        };
        let licence = found.licence.as_deref().unwrap_or("not stated");
        self.progress.note(&format!("{}: {} of safetensors, licence: {}", found.name, Bytes(total), one_line(licence)));
        self.progress.note(&format!(
            "it has no GGUF file, so it is converted to {}: the disk needs up to {}, and the conversion some 200 MB of memory",
            mixture.name(),
            Bytes(total.saturating_mul(2)),
        ));
        self.check_room(total.saturating_mul(2), false)?;
        let mut downloads = Vec::new();
        for remote in &found.files {
            let progress = &mut *self.progress;
            downloads
                .push(Download::begin(self.client, remote, &partial, &mut || progress.update(Stage::Waiting, 0, 0))?);
        }
        let parts = self.finish(downloads, total).map_err(|error| self.full(error, total))?;
        let folder = self.folder()?;
        let checkpoint = folder.join(".checkpoint");
        let _ = fs::remove_dir_all(&checkpoint);
        let (checkpoint, ()) = crate::temporary::Temporary::make(checkpoint, |path| {
            fs::create_dir_all(path).map_err(|error| Error::Write { path: path.to_owned(), error })
        })?;
        let repository = config.name.trim_end_matches("config.json").to_owned();
        for (file, (_, part)) in found.files.iter().zip(&parts) {
            let to = checkpoint.path.join(file.name.strip_prefix(&repository).unwrap_or(&file.name));
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(|error| Error::Write { path: folder.to_owned(), error })?;
            }
            part.link(&to)?;
        }
        let packed = self.options.form == Form::Packed;
        let stem = file_name(repository.trim_end_matches('/'));
        let to = folder.join(format!("{stem}-{}{}.gguf", mixture.name(), if packed { ".packed" } else { "" }));
        let options = crate::Options { mixture: Some(mixture), packed, clamp: false };
        let progress = &mut *self.progress;
        let mut report = |done, total| progress.update(Stage::Converting, done, total);
        crate::convert(&checkpoint.path, &to, options, &mut report).map_err(|error| self.full(error, total))?;
        drop(checkpoint);
        let bytes = fs::metadata(&to).map_err(|error| Error::Read { path: to.clone(), error })?.len();
        let form = self.options.form;
        let files = vec![EntryFile { path: to, bytes, sha256: None, form }];
        let found = Found {
            name: format!("{}:{}", repository.trim_end_matches('/'), mixture.name()),
            quant: Some(mixture.name().to_owned()),
            ..found
        };
        let entry = self.entry(&found, files, None);
        self.shelf.add(&self.key, &entry)?;
        parts.into_iter().for_each(|(_, part)| part.remove());
        Ok(entry)
    }
}

/// Downloads a file's head: its metadata and the list of its tensors.
fn head(download: &mut Download) -> Result<(), Error> {
    let Some(size) = download.size() else { return Ok(()) };
    let mut end = HEAD.0.min(size);
    loop {
        download.run(Some(end), &mut |_, _| ())?;
        let file =
            fs::File::open(download.path()).map_err(|error| Error::Read { path: download.path().to_owned(), error })?;
        let map = crate::files::map_range(&file, 0, Some(end), Path::new(download.name()))?;
        match Gguf::parse(&map) {
            Ok(_) | Err(smidgen_gguf::Error::DataPastEnd { .. }) => return Ok(()),
            Err(smidgen_gguf::Error::Truncated { .. } | smidgen_gguf::Error::CountTooLarge { .. })
                if end < size && end < HEAD.1 =>
            {
                end = (end * 4).min(size);
            }
            // What an earlier process left may have been lost since.
            Err(_) if download.is_resumed() => {
                drop(map);
                download.reset()?;
            }
            Err(error) => return Err(Error::NotGguf { path: PathBuf::from(download.name()), error }),
        }
    }
}

/// Whether a model fits, of whose files the heads are there, with at most `context` tokens, or as many as it was trained for; and these
/// tokens. None for what does not write text, and for what cannot be read: that is told when it is run.
fn fit(downloads: &[Download], total: u64, context: Option<usize>) -> Option<(Fit, usize)> {
    let map = |download: &Download| {
        let file = fs::File::open(download.path()).ok()?;
        crate::files::map_range(&file, 0, download.size(), download.path()).ok()
    };
    let maps: Vec<_> = downloads.iter().map(map).collect::<Option<_>>()?;
    let parts: Vec<Gguf> = maps.iter().map(|map| Gguf::parse(map).ok()).collect::<Option<_>>()?;
    // The weights are zeros as yet, which nobody looks at.
    let model = Model::parse(&parts).ok()?;
    let context = context.unwrap_or_else(|| model.context().min(CONTEXT));
    Some((Fit::of(total, &model, &smidgen::Options::new(context)).ok()?, context))
}

/// The bytes that this process may still write into a folder; none if that cannot be told.
fn free_room(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: a record of zeros is one, into which the file system's is written.
        let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends with a zero, and both live until the call ends.
        let asked = unsafe { libc::statvfs(path.as_ptr(), &mut found) };
        #[expect(clippy::useless_conversion, reason = "elsewhere these have 32 bits")]
        (asked == 0).then(|| u64::from(found.f_bavail).saturating_mul(u64::from(found.f_frsize)))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
