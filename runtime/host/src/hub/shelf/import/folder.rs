//! GGUF files in folders, with what llama.cpp writes beside those that it has downloaded.

use super::{Finding, Found, files_below, hugging_face, names_in, read_small, record};
use crate::files::split_of;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The most bytes of a file that says where another came from.
const MOST_BYTES: u64 = 1 << 20;

/// Where a file came from.
#[derive(Clone, Debug)]
struct Origin {
    repository: String,
    /// Its place in the repository.
    place: String,
    /// Whether it is what the repository's name alone leads to.
    is_default: bool,
    sha256: Option<String>,
}

/// The models below a folder. Repositories of Hugging Face's cache are looked through elsewhere.
pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut origins: BTreeMap<_, BTreeMap<String, Origin>> = BTreeMap::new();
    for (_, path) in files_below(folder, ".gguf", &|name| name.starts_with("models--")) {
        let Some(parent) = path.parent() else { continue };
        let origins = origins.entry(parent.to_owned()).or_insert_with(|| manifests(parent));
        findings.extend(of_file(&path, origins, folder));
    }
    findings
}

/// The model of one file, any part of it.
pub(super) fn file(path: &Path) -> Vec<Finding> {
    let parent = path.parent().unwrap_or(path);
    let first = split_of(path).map(|(stem, _, count)| path.with_file_name(format!("{stem}-00001-of-{count:05}.gguf")));
    let path = first.as_deref().unwrap_or(path);
    of_file(path, &manifests(parent), parent).into_iter().collect()
}

/// A model of a file; none for a later part of a split one.
fn of_file(path: &Path, origins: &BTreeMap<String, Origin>, folder: &Path) -> Option<Finding> {
    let name = path.file_name()?.to_str()?;
    if let Some((stem, part, count)) = split_of(path)
        && part != 1
    {
        let first = format!("{stem}-00001-of-{count:05}.gguf");
        let left = || Err((path.to_owned(), format!("the first part, {first}, is not beside it")));
        return (!path.with_file_name(&first).exists()).then(left);
    }
    if is_projector(name) {
        return Some(Err((path.to_owned(), PROJECTOR.into())));
    }
    let origin = origins.get(name).cloned().or_else(|| by_address(path));
    let names = origin.as_ref().map(|origin| {
        let mut names = vec![hugging_face::name_of(&origin.repository, &origin.place)];
        if origin.is_default {
            names.push(format!("hf:{}", origin.repository));
        }
        names
    });
    let source = match origin {
        Some(_) => format!("llama.cpp's cache {}", folder.display()),
        None => path.display().to_string(),
    };
    let sha256 = origin.and_then(|origin| origin.sha256);
    Some(Ok(Found { path: path.to_owned(), names: names.unwrap_or_default(), sha256, source, ..Found::default() }))
}

/// Why a file of this name is left.
pub(super) const PROJECTOR: &str = "this is the image tower of a model (mmproj), and no model by itself";

/// Whether a file's name says that it is the image tower of another.
pub(super) fn is_projector(name: &str) -> bool {
    name.to_ascii_lowercase().contains("mmproj")
}

/// What llama.cpp's manifests in a folder say, by the names of the files: `manifest=USER=REPO=TAG.json` is what the hub answered to a name.
fn manifests(folder: &Path) -> BTreeMap<String, Origin> {
    let mut origins = BTreeMap::new();
    for name in names_in(folder) {
        let parts = name.strip_prefix("manifest=").and_then(|name| name.strip_suffix(".json"));
        let parts: Vec<_> = parts.unwrap_or_default().split('=').collect();
        let [user, repository, tag] = parts.as_slice() else { continue };
        let manifest = read_small(&folder.join(&name), MOST_BYTES).ok();
        let Some(manifest) = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok()) else { continue };
        let Some(place) = manifest.pointer("/ggufFile/rfilename").and_then(Value::as_str) else { continue };
        let sha256 = manifest.pointer("/ggufFile/lfs/sha256").and_then(Value::as_str);
        let origin = Origin {
            repository: format!("{user}/{repository}"),
            place: place.to_owned(),
            is_default: *tag == "latest",
            sha256: sha256.filter(|sha256| record::is_sha256(sha256)).map(str::to_owned),
        };
        let file = format!("{user}_{repository}_{}", place.replace('/', "_"));
        let known = origins.entry(file).or_insert_with(|| origin.clone());
        known.is_default |= origin.is_default;
    }
    origins
}

/// What an older llama.cpp wrote beside a file, `FILE.gguf.json`: its web address.
fn by_address(path: &Path) -> Option<Origin> {
    let beside = path.with_file_name(format!("{}.json", path.file_name()?.to_str()?));
    if !fs::metadata(&beside).is_ok_and(|found| found.is_file()) {
        return None;
    }
    let value: Value = serde_json::from_slice(&read_small(&beside, MOST_BYTES).ok()?).ok()?;
    let address = value.get("url")?.as_str()?;
    let rest = ["https://huggingface.co/", "https://hf.co/"].iter().find_map(|host| address.strip_prefix(host))?;
    let (repository, place) = rest.split_once("/resolve/")?;
    let (_revision, place) = place.split_once('/')?;
    let place = place.split('?').next().unwrap_or(place);
    let is_name = |text: &str| !text.is_empty() && !text.contains(['?', '#', '%']);
    if !is_name(repository) || !is_name(place) {
        return None;
    }
    Some(Origin { repository: repository.to_owned(), place: place.to_owned(), is_default: false, sha256: None })
}
