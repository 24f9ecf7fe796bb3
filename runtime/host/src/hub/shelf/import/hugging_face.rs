//! The cache of Hugging Face's clients, and of llama.cpp since it uses that.

use super::super::stem;
use super::folder::{PROJECTOR, is_projector};
use super::{Finding, Found, files_below, names_in, quant_of, read_small};
use crate::files::split_of;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the model in a file of a repository: by its format, or without one by the file.
pub(super) fn name_of(repository: &str, place: &str) -> String {
    match quant_of(stem(place)) {
        Some(quant) => format!("hf:{repository}:{quant}"),
        None => format!("hf:{repository}/{place}"),
    }
}

/// Whether a folder is a repository of models.
pub(super) fn is_repository(folder: &Path) -> bool {
    repository_of(folder).is_some() && folder.join("snapshots").is_dir()
}

/// `USER/REPO` of a folder `models--USER--REPO`.
fn repository_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(name.replacen("--", "/", 1)).filter(|name| !name.is_empty())
}

/// The models of one repository, of its present revision.
pub(super) fn repository(folder: &Path) -> Vec<Finding> {
    let (Some(repository), Some(snapshot)) = (repository_of(folder), snapshot(folder)) else { return Vec::new() };
    let source = format!("Hugging Face's cache {}", folder.parent().unwrap_or(folder).display());
    let mut findings = Vec::new();
    let mut taken = BTreeSet::new();
    for (place, path) in files_below(&snapshot, ".gguf", &|_| false) {
        if let Some((stem, part, count)) = split_of(&path)
            && part != 1
        {
            let first = format!("{stem}-00001-of-{count:05}.gguf");
            if !path.with_file_name(&first).exists() {
                findings.push(Err((path.clone(), format!("the first part, {first}, is not beside it"))));
            }
            continue;
        }
        if is_projector(&place) {
            findings.push(Err((path, PROJECTOR.into())));
            continue;
        }
        let mut name = name_of(&repository, &place);
        // Two files of one format are told apart by their names.
        if !taken.insert(name.to_ascii_lowercase()) {
            name = format!("hf:{repository}/{place}");
        }
        findings.push(Ok(Found { path, names: vec![name], source: source.clone(), ..Found::default() }));
    }
    findings
}

/// The folder of the revision that `refs/main` names, or else the newest.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let commit = read_small(&folder.join("refs/main"), 100).ok().and_then(|text| String::from_utf8(text).ok());
    let commit = commit.as_deref().map(str::trim).filter(|commit| commit.bytes().all(|b| b.is_ascii_hexdigit()));
    let main = commit.filter(|commit| !commit.is_empty()).map(|commit| snapshots.join(commit));
    main.filter(|main| main.is_dir()).or_else(|| {
        let folders = names_in(&snapshots).into_iter().map(|name| snapshots.join(name)).filter(|path| path.is_dir());
        folders.max_by_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok())
    })
}
