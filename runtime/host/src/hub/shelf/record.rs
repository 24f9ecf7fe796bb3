//! The record of a model: `model.json`.

use super::{Entry, EntryFile, refused};
use crate::temporary::Temporary;
use crate::{Error, Form};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

/// The name of the file.
pub(super) const NAME: &str = "model.json";
/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
/// The most bytes of a record: names, paths and a template, many times over.
const MOST_BYTES: u64 = 4 << 20;
/// The most bytes of a name.
const MOST_NAME: usize = 1024;

/// The fields of a record, and of a file in it.
const FIELDS: [&str; 9] = ["version", "names", "files", "quant", "licence", "source", "pulled", "imported", "defaults"];
const FILE_FIELDS: [&str; 4] = ["path", "bytes", "sha256", "packed"];

/// Reads the record in a folder. Paths in it are made absolute.
///
/// # Errors
/// [`Error::Hub`], which names the record and the field, [`Error::Read`].
pub(super) fn read(folder: &Path, key: &str) -> Result<Entry, Error> {
    let path = folder.join(NAME);
    let unread = |error| Error::Read { path: path.clone(), error };
    let damaged = |reason: String| {
        let mended = format!("'smidgen remove {key}' removes the model, so that it can be pulled again");
        refused(path.display(), format!("{reason}; {mended}"))
    };
    // A pipe would be waited for.
    if !fs::symlink_metadata(&path).map_err(unread)?.is_file() {
        return Err(damaged("the record is not a regular file".into()));
    }
    let mut text = Vec::new();
    File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text)).map_err(unread)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(damaged(format!("the record has more than {MOST_BYTES} bytes")));
    }
    let value = serde_json::from_slice(&text).map_err(|error| damaged(format!("the record is not JSON: {error}")))?;
    parse(value, folder, key).map_err(damaged)
}

/// An entry of a record; an error is what is wrong with it.
fn parse(value: Value, folder: &Path, key: &str) -> Result<Entry, String> {
    let Value::Object(mut fields) = value else { return Err("the record is not an object".into()) };
    match fields.get("version").map(Value::as_u64) {
        Some(Some(VERSION)) => {}
        Some(Some(version)) => {
            return Err(format!(
                "the field version is {version}, which a later smidgen wrote; this one reads {VERSION}"
            ));
        }
        _ => return Err("the field version is missing or not a whole number".into()),
    }
    only(&fields, &FIELDS, "")?;
    let imported = fields.get("imported").and_then(Value::as_bool).ok_or("the field imported is not true or false")?;
    let names = array(&fields, "names")?;
    let names: Vec<_> = names.iter().map(|name| text(name, "names")).collect::<Result<_, _>>()?;
    let files = array(&fields, "files")?;
    let files: Vec<_> = files.iter().map(|file| parse_file(file, folder, imported)).collect::<Result<_, _>>()?;
    Ok(Entry {
        key: Some(key.to_owned()),
        names,
        files,
        quant: optional(&fields, "quant")?,
        licence: optional(&fields, "licence")?,
        source: text(fields.get("source").unwrap_or(&Value::Null), "source")?,
        pulled: fields.get("pulled").and_then(Value::as_u64).ok_or("the field pulled is not a whole number")?,
        imported,
        defaults: fields.remove("defaults").filter(|value| !value.is_null()),
    })
}

fn parse_file(value: &Value, folder: &Path, imported: bool) -> Result<EntryFile, String> {
    let Value::Object(fields) = value else { return Err("the field files holds what is not an object".into()) };
    only(fields, &FILE_FIELDS, "files.")?;
    let path = PathBuf::from(text(fields.get("path").unwrap_or(&Value::Null), "files.path")?);
    let sha256 = optional(fields, "sha256")?;
    if sha256.as_deref().is_some_and(|sha256| !is_sha256(sha256)) {
        return Err("the field files.sha256 is not 64 hexadecimal digits in lower case".into());
    }
    let packed = fields.get("packed").and_then(Value::as_bool).ok_or("the field files.packed is not true or false")?;
    Ok(EntryFile {
        path: if imported { checked_absolute(path)? } else { folder.join(checked_relative(&path)?) },
        bytes: fields.get("bytes").and_then(Value::as_u64).ok_or("the field files.bytes is not a whole number")?,
        sha256,
        form: if packed { Form::Packed } else { Form::Plain },
    })
}

/// Writes the record of an entry into its folder, by way of a temporary file.
pub(super) fn write(folder: &Path, entry: &Entry) -> Result<(), Error> {
    let path = folder.join(NAME);
    let mut files = Vec::new();
    for file in &entry.files {
        let named = |reason: String| refused(file.path.display(), reason);
        let own = if entry.imported { Ok(&*file.path) } else { file.path.strip_prefix(folder) };
        let own = own.map_err(|_| named(format!("the file is not in {}", folder.display())))?;
        let written = own.to_str().ok_or_else(|| named("the path is not UTF-8".into()))?;
        let written = if entry.imported { written.to_owned() } else { written.replace('\\', "/") };
        files.push(json!({
            "path": written,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "packed": file.form == Form::Packed,
        }));
    }
    let value = json!({
        "version": VERSION,
        "names": entry.names,
        "files": files,
        "quant": entry.quant,
        "licence": entry.licence,
        "source": entry.source,
        "pulled": entry.pulled,
        "imported": entry.imported,
        "defaults": entry.defaults,
    });
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    // What could not be read again is not written.
    let is_short = text.len() as u64 <= MOST_BYTES;
    let checked = parse(value, folder, "").and_then(|_| {
        if is_short { Ok(()) } else { Err(format!("the record would have more than {MOST_BYTES} bytes")) }
    });
    checked.map_err(|reason| refused(path.display(), reason))?;
    if let Some(file) = entry.missing() {
        return Err(refused(file.path.display(), format!("the file is not there with its {} bytes", file.bytes)));
    }
    let unwritten = |error| Error::Write { path: path.clone(), error };
    fs::create_dir_all(folder).map_err(unwritten)?;
    let part = folder.join(format!("{NAME}.{}.part", std::process::id()));
    let (part, mut file) = Temporary::make(part, |part| File::create(part).map_err(unwritten))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(unwritten)?;
    drop(file);
    part.rename(&path).map_err(unwritten)?;
    // Makes the new name survive a power failure; where directories cannot be flushed, nothing is lost but that.
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Refuses a field that is not among these.
fn only(fields: &Map<String, Value>, known: &[&str], before: &str) -> Result<(), String> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("the field {before}{} is unknown", crate::one_line(name))),
        None => Ok(()),
    }
}

/// An array that is not empty.
fn array<'v>(fields: &'v Map<String, Value>, name: &str) -> Result<&'v [Value], String> {
    let array = fields.get(name).and_then(Value::as_array).filter(|array| !array.is_empty());
    array.map(Vec::as_slice).ok_or_else(|| format!("the field {name} is not an array of at least one"))
}

/// A text that is shown and compared.
fn text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| format!("the field {name} holds what is not a string"))?;
    if text.is_empty() || text.len() > MOST_NAME || text.chars().any(char::is_control) {
        return Err(format!(
            "the field {name} has a string that is empty, over {MOST_NAME} bytes or with control characters"
        ));
    }
    Ok(text.to_owned())
}

fn optional(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(value, name).map(Some),
    }
}

/// A path that stays in the folder it begins from.
fn checked_relative(path: &Path) -> Result<&Path, String> {
    let stays = path.components().all(|component| matches!(component, Component::Normal(_)));
    // What is one name on Unix may be several on Windows.
    let is_name = |text: &str| !text.contains(['\\', ':']);
    if stays && path.to_str().is_some_and(is_name) {
        return Ok(path);
    }
    Err(format!("the field files.path is {path:?}, which leaves the model's folder"))
}

fn checked_absolute(path: PathBuf) -> Result<PathBuf, String> {
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!("the field files.path is {path:?}, which is not absolute, as that of an imported model is"))
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
