//! The lists of models that a server can have: files of folders, and the shelf.

#[cfg(feature = "hub")]
use super::source;
use smidgen_serve::{Catalogue, Source};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The GGUF files of folders, by their names without `.gguf`. Folders in them are not looked into.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) folders: Vec<PathBuf>,
    /// Whether what a registry says of a file is left aside.
    #[cfg(feature = "hub")]
    pub(super) no_defaults: bool,
}

impl Folders {
    /// Names and files, sorted; where folders have files of one name, that of the first folder. The folders are read anew.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>, String> {
        let mut files = BTreeMap::new();
        for folder in &self.folders {
            for (name, path) in files_of(folder)? {
                files.entry(name).or_insert(path);
            }
        }
        Ok(files)
    }

    /// A line for each file that is passed over since a folder before has one of its name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(super) fn hidden(&self) -> Result<Vec<String>, String> {
        let (mut files, mut hidden): (BTreeMap<String, PathBuf>, _) = (BTreeMap::new(), Vec::new());
        for folder in &self.folders {
            for (name, path) in files_of(folder)? {
                match files.get(&name) {
                    Some(first) => hidden.push(format!(
                        "{} is passed over, since {} has its name and comes first",
                        path.display(),
                        first.display()
                    )),
                    None => drop(files.insert(name, path)),
                }
            }
        }
        Ok(hidden)
    }
}

impl Catalogue for Folders {
    fn names(&self) -> Result<Vec<String>, String> {
        Ok(self.files()?.into_keys().collect())
    }

    fn find(&self, name: &str) -> Option<Result<Source, String>> {
        match self.files() {
            Ok(mut files) => files.remove(name).map(|path| self.source(path)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Folders {
    #[cfg(feature = "hub")]
    fn source(&self, path: PathBuf) -> Result<Source, String> {
        if self.no_defaults {
            return Ok(Source::new(path));
        }
        // A file may belong to a model of the shelf.
        let shelf = smidgen_host::hub::shelf::Shelf::open().ok();
        let entry = shelf.and_then(|shelf| shelf.of_file(&path).inspect(|entry| shelf.touch(entry)));
        let shown = path.display().to_string();
        source(path, entry.and_then(|entry| entry.defaults), &shown)
    }

    #[cfg(not(feature = "hub"))]
    fn source(&self, path: PathBuf) -> Result<Source, String> {
        Ok(Source::new(path))
    }
}

/// The models of a folder with their names: files and links to files, of split models the first part. Projectors of images are parts of other models, and
/// hidden files are none.
fn files_of(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let told = |error| format!("--models-dir {}: the folder cannot be read: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        // A name that is not Unicode is none that a request can have.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(stem) = stem(&name) else { continue };
        let path = entry.path();
        if fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.push((stem.to_owned(), path));
        }
    }
    Ok(files)
}

/// The name of the model in a file of this name, if there is one.
fn stem(name: &str) -> Option<&str> {
    let (stem, end) = name.split_at_checked(name.len().checked_sub(5)?)?;
    let is_model = end.eq_ignore_ascii_case(".gguf") && !stem.is_empty() && !name.starts_with('.');
    let is_first = part(stem).is_none_or(|part| part == 1);
    (is_model && is_first && !stem.to_ascii_lowercase().contains("mmproj")).then_some(stem)
}

/// The number of the part of a split model in a name of the form `NAME-MMMMM-of-NNNNN`.
fn part(stem: &str) -> Option<u32> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (_, part) = rest.rsplit_once('-')?;
    let is_number = |digits: &str| digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(part) && is_number(count) { part.parse().ok() } else { None }
}

/// The models that `smidgen list` shows, by the names that it shows.
#[cfg(feature = "hub")]
#[derive(Debug)]
pub(super) struct OnShelf {
    pub(super) no_defaults: bool,
}

#[cfg(feature = "hub")]
impl OnShelf {
    /// A line for each record that cannot be read.
    pub(super) fn damaged(&self) -> Result<Vec<String>, String> {
        Ok(shelf()?.entries().into_iter().filter_map(|entry| entry.err().map(|error| error.to_string())).collect())
    }
}

#[cfg(feature = "hub")]
fn shelf() -> Result<smidgen_host::hub::shelf::Shelf, String> {
    smidgen_host::hub::shelf::Shelf::open().map_err(|error| error.to_string())
}

#[cfg(feature = "hub")]
impl Catalogue for OnShelf {
    fn names(&self) -> Result<Vec<String>, String> {
        let entries = shelf()?.entries().into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.name().to_owned()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn find(&self, name: &str) -> Option<Result<Source, String>> {
        let shelf = match shelf() {
            Ok(shelf) => shelf,
            Err(error) => return Some(Err(error)),
        };
        let entries = shelf.entries().into_iter().flatten().filter(|entry| entry.name() == name);
        // The same model may be there packed and plain, and a file of one may be gone.
        let entry = entries.min_by_key(|entry| (entry.missing().is_some(), !entry.is_packed()))?;
        if let Some(missing) = crate::shelf::missing(&entry) {
            return Some(Err(missing));
        }
        shelf.touch(&entry);
        let path = entry.files.into_iter().next()?.path;
        let defaults = entry.defaults.filter(|_| !self.no_defaults);
        Some(source(path, defaults, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models() {
        for (name, model) in [
            ("a.gguf", Some("a")),
            ("a b.Q4_1.GGUF", Some("a b.Q4_1")),
            ("a-00001-of-00003.gguf", Some("a-00001-of-00003")),
            ("a-00002-of-00003.gguf", None),
            ("a-2-of-3.gguf", Some("a-2-of-3")),
            ("a.ggufx", None),
            (".gguf", None),
            (".a.gguf", None),
            ("gguf", None),
            ("é.gguf", Some("é")),
            ("aéguf", None),
            ("mmproj-a.gguf", None),
            ("a.gguf.part", None),
        ] {
            assert_eq!(stem(name), model, "{name}");
        }
    }
}
