//! Models of other programs, by reference: their files stay where they are.
//!
//! Known are the caches of llama.cpp (files `USER_REPO_FILE.gguf`, with `manifest=USER=REPO=TAG.json` and older `FILE.gguf.json` beside), of
//! Ollama (`manifests/HOST/NAMESPACE/NAME/TAG` and `blobs/sha256-…`) and of Hugging Face (`models--USER--REPO/snapshots/COMMIT`, links into
//! `blobs`), and any GGUF file.

mod folder;
mod hugging_face;
mod ollama;

use super::{Entry, EntryFile, Shelf, record, refused};
use crate::hub::friendly;
use crate::hub::quant::quant_of;
use crate::{Error, Form, KNOWN_MODELS, ModelFile, Silent};
use sha2::{Digest, Sha256};
use smidgen_gguf::Gguf;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most folders below one that are looked through.
const DEPTH: u32 = 8;

/// What became of a file of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is on the shelf now.
    Added {
        /// Its full name.
        name: String,
        /// Its file, the first of a split model.
        path: PathBuf,
        /// Bytes of its files.
        bytes: u64,
    },
    /// It was on the shelf, or a copy of it.
    Here {
        /// Its full name.
        name: String,
        /// The file that was found.
        path: PathBuf,
    },
    /// It was left.
    Left {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A model that was found.
#[derive(Debug, Default)]
struct Found {
    /// The file, the first of a split model.
    path: PathBuf,
    /// Its names; none if only that of the file is known.
    names: Vec<String>,
    /// The SHA-256 of its only file, where a manifest states it.
    sha256: Option<String>,
    licence: Option<String>,
    /// The cache it is in.
    source: String,
    defaults: Option<serde_json::Value>,
}

/// A model, or a file that is left with the reason.
type Finding = Result<Found, (PathBuf, String)>;

impl Shelf {
    /// Looks for models in the caches of llama.cpp, Ollama and Hugging Face, where these programs and the environment have them, and puts them
    /// on the shelf. Gives the folders that were looked through, too.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn import_caches(&self) -> Result<(Vec<PathBuf>, Vec<Imported>), Error> {
        let places = places(&|name| std::env::var_os(name), std::env::home_dir());
        let findings = places.iter().filter(|place| place.exists()).flat_map(|place| look(place)).collect();
        Ok((places, self.take_over(findings)?))
    }

    /// Puts a GGUF file, or all that are in a folder or a cache, on the shelf; with `name` under this name.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Write`], and [`Error::Hub`] for a folder without models, for a name that cannot be one, and for a name with
    /// several models.
    pub fn import(&self, path: &Path, name: Option<&str>) -> Result<Vec<Imported>, Error> {
        let path = std::path::absolute(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let is_folder = fs::metadata(&path).map_err(|error| Error::Read { path: path.clone(), error })?.is_dir();
        let mut findings = if is_folder { look(&path) } else { folder::file(&path) };
        if findings.is_empty() {
            return Err(refused(path.display(), "there is no GGUF file in this folder; give the path of one"));
        }
        if let Some(name) = name {
            check_name(name)?;
            findings.retain(|finding| finding.is_ok() || !is_folder);
            let [Ok(found)] = findings.as_mut_slice() else {
                let reason = format!("--name {name} is for one model, and this folder has {}", findings.len());
                return Err(refused(path.display(), reason));
            };
            found.names = vec![name.to_owned()];
        }
        self.take_over(findings)
    }

    fn take_over(&self, findings: Vec<Finding>) -> Result<Vec<Imported>, Error> {
        let one = |finding| match finding {
            Ok(found) => self.take_one(found),
            Err((path, reason)) => Ok(Imported::Left { path, reason }),
        };
        findings.into_iter().map(one).collect()
    }

    fn take_one(&self, found: Found) -> Result<Imported, Error> {
        let Found { path, mut names, sha256, licence, source, defaults } = found;
        let left = |reason: String| Ok(Imported::Left { path: path.clone(), reason });
        if let Some(own) = self.of_file(&path).filter(|own| !own.imported) {
            return Ok(Imported::Here { name: own.name().to_owned(), path });
        }
        let file = match ModelFile::open(&path) {
            Ok(file) => file,
            Err(error) => return left(without(&path, &error)),
        };
        let parts = match file.parts() {
            Ok(parts) => parts,
            Err(error) => return left(without(&path, &error)),
        };
        if names.is_empty() {
            names.push(name_of_file(&path));
        }
        let Some(name) = names.first().cloned() else { return left("it has no name".into()) };
        // Such a name means the same wherever it is found.
        let is_of_registry = name.contains(':');
        let form = form_of(&parts);
        let is_single = parts.len() == 1;
        let files = file.paths().zip(file.bytes()).map(|(path, bytes)| EntryFile {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            sha256: match (form, &sha256) {
                (Form::Packed, _) => None,
                (Form::Plain, Some(sha256)) if is_single => Some(sha256.clone()),
                (Form::Plain, _) => digest_of_blob(path),
            },
            form,
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let entry = Entry {
            key: None,
            names,
            files: files.collect(),
            quant: quant_of(super::stem(&path.to_string_lossy())).or_else(|| most(&parts)),
            licence,
            source,
            pulled: now,
            imported: true,
            defaults,
        };
        drop(parts);
        drop(file);
        for other in self.named(&name).iter().filter(|other| other.is_named(&name) && other.missing().is_none()) {
            let is_same = other.files.iter().map(|file| &file.path).eq(entry.files.iter().map(|file| &file.path));
            if is_same && other.defaults == entry.defaults || (is_of_registry && other.source != entry.source) {
                return Ok(Imported::Here { name, path });
            }
            if !is_same && !is_of_registry {
                let taken = other.files.first().map(|file| file.path.display().to_string()).unwrap_or_default();
                return left(format!("the name {name} is taken by {taken}; give another by --name"));
            }
        }
        let key = key_of(&name);
        let _lock = self.lock(&key, &mut Silent)?;
        match self.add(&key, &entry) {
            Ok(()) => Ok(Imported::Added { name, path, bytes: entry.bytes() }),
            Err(Error::Hub(error)) => left(error.to_string()),
            Err(error) => Err(error),
        }
    }
}

/// Where the caches are: llama.cpp's, Ollama's, Hugging Face's.
fn places(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = home.filter(|home| !home.as_os_str().is_empty());
    let below = |place: &str| home.as_ref().map(|home| home.join(place));
    let usual = match () {
        () if cfg!(target_os = "macos") => below("Library/Caches"),
        () if cfg!(windows) => path("LOCALAPPDATA"),
        () => path("XDG_CACHE_HOME").or_else(|| below(".cache")),
    };
    let hugging_face = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(path);
    let hugging_face = hugging_face.or_else(|| path("HF_HOME").map(|home| home.join("hub"))).or_else(|| {
        let cache = path("XDG_CACHE_HOME").or_else(|| below(".cache"))?;
        Some(cache.join("huggingface/hub"))
    });
    let ollama = path("OLLAMA_MODELS");
    let of_system = (ollama.is_none() && cfg!(target_os = "linux")).then(|| "/usr/share/ollama/.ollama/models".into());
    let all = [
        path("LLAMA_CACHE").or_else(|| usual.map(|usual| usual.join("llama.cpp"))),
        ollama.or_else(|| below(".ollama/models")),
        of_system,
        hugging_face,
    ];
    let mut places: Vec<PathBuf> = Vec::new();
    for place in all.into_iter().flatten().filter_map(|place| std::path::absolute(place).ok()) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The models in a folder, which may be a cache or hold one.
fn look(place: &Path) -> Vec<Finding> {
    if let Err(error) = fs::read_dir(place) {
        return vec![Err((place.to_owned(), format!("cannot be read: {error}")))];
    }
    for inside in [place.to_owned(), place.join("models")] {
        if inside.join("manifests").is_dir() && inside.join("blobs").is_dir() {
            return ollama::look(&inside);
        }
    }
    if hugging_face::is_repository(place) {
        return hugging_face::repository(place);
    }
    let mut findings = Vec::new();
    let hub = place.join("hub");
    for folder in [place, &hub] {
        for name in names_in(folder) {
            let folder = folder.join(name);
            if hugging_face::is_repository(&folder) {
                findings.extend(hugging_face::repository(&folder));
            }
        }
    }
    findings.extend(folder::look(place));
    findings
}

/// The names in a folder, sorted; hidden ones and those that are not UTF-8 are left out.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// The files below a folder whose names end in `ending`, with their places in it, as `a/b`. Links to folders are not followed, nor are folders
/// that `skips` names.
fn files_below(folder: &Path, ending: &str, skips: &dyn Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new(), DEPTH)];
    while let Some((folder, before, depth)) = folders.pop() {
        for name in names_in(&folder) {
            let path = folder.join(&name);
            let place = format!("{before}{name}");
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                if depth > 0 && !skips(&name) {
                    folders.push((path, format!("{place}/"), depth - 1));
                }
            } else if name.ends_with(ending) && fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                found.push((place, path));
            }
        }
    }
    found.sort();
    found
}

/// The bytes of a file that is read as a whole, at most so many.
fn read_small(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    if bytes.len() as u64 > most {
        return Err(format!("{}: it has more than {most} bytes", path.display()));
    }
    Ok(bytes)
}

/// The SHA-256 that the name of a blob states, to which a path may be a link: Hugging Face's and Ollama's.
fn digest_of_blob(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let name = path.file_name()?.to_str()?;
    let digest = name.strip_prefix("sha256-").or_else(|| name.strip_prefix("sha256:")).unwrap_or(name);
    record::is_sha256(digest).then(|| digest.to_owned())
}

/// A name of the name of a file, with `-` for what a name cannot have.
fn name_of_file(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = super::stem(&name);
    let (name, _) = crate::files::split_of(path).map_or((name, 0), |(stem, part, _)| (stem, part));
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(fine).collect();
    if check_name(&name).is_ok() { name } else { format!("file-{name}") }
}

/// Whether a name can be given to an imported model.
fn check_name(name: &str) -> Result<(), Error> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 200 || name.starts_with(['.', '-']) || !name.bytes().all(is_fine) {
        let reason = "a name has 1 to 200 ASCII letters, digits, '.', '_' and '-', and no '.' or '-' first";
        return Err(refused(format!("--name {name:?}"), reason));
    }
    if KNOWN_MODELS.iter().any(|model| model.name.eq_ignore_ascii_case(name)) || friendly::find(name).is_some() {
        return Err(refused(format!("--name {name}"), "this is the short name of another model; give another"));
    }
    Ok(())
}

/// The key of an imported model. What tells names apart that are alike but for characters that a key cannot have is a hash.
fn key_of(name: &str) -> String {
    const MOST: usize = 100;
    let hash: String =
        Sha256::digest(name.to_ascii_lowercase()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(fine).take(MOST).collect();
    format!("import--{name}--{hash}")
}

fn form_of(parts: &[Gguf]) -> Form {
    let is_packed = parts.iter().flat_map(Gguf::tensors).any(|tensor| tensor.kind.unpacked().is_some());
    if is_packed { Form::Packed } else { Form::Plain }
}

/// The format of most weights.
fn most(parts: &[Gguf]) -> Option<String> {
    let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in parts.iter().flat_map(Gguf::tensors) {
        let kind = tensor.kind.unpacked().unwrap_or(tensor.kind);
        let sum = weights.entry(kind.name()).or_default();
        *sum = sum.saturating_add(tensor.elements());
    }
    weights.into_iter().max_by_key(|(_, weights)| *weights).map(|(name, _)| name.to_owned())
}

/// An error without the file's name, which stands before it anyway.
fn without(path: &Path, error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
