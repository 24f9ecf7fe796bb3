//! Converting checkpoints and quantizing models on disk.

use crate::{Error, ModelFile, files, output};
use memmap2::Mmap;
use smidgen_convert::{
    CHAT_TEMPLATES, CONFIG, Checkpoint, Clamped, Field, File, INDEX, MODULES, Options, SIDECARS, WEIGHTS, modules,
    shards,
};
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint's files, mapped.
struct Folder {
    path: PathBuf,
    files: Vec<(String, Mmap)>,
}

impl Folder {
    /// Opens the checkpoint in a folder (or in its folder `model`, as packages have it), or the one with this weights file.
    fn open(from: &Path) -> Result<Folder, Error> {
        let metadata = fs::metadata(from).map_err(|error| Error::Read { path: from.to_owned(), error })?;
        let (mut path, mut weights) = (from.to_owned(), WEIGHTS);
        if !metadata.is_dir() {
            let name = from.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".safetensors"));
            weights = name.ok_or_else(|| not_weights(from))?;
            path = from.parent().unwrap_or(Path::new("")).to_owned();
        } else if !path.join(CONFIG).exists() && path.join("model").join(CONFIG).exists() {
            path.push("model");
        }
        let mut folder = Folder { path, files: Vec::new() };
        let failed = |error| Error::Convert { path: folder.path.clone(), error };
        let mut names = vec![weights.to_owned()];
        let mut found = Vec::new();
        if folder.has(INDEX) {
            let index = files::map(&folder.path.join(INDEX))?;
            let parts = shards(&index).map_err(failed)?;
            // A weights file that the index does not name is a model of its own.
            if metadata.is_dir() || parts.iter().any(|part| part == weights) {
                found.push((INDEX.into(), index));
                names = parts;
            }
        } else if metadata.is_dir() && !folder.has(weights) {
            names = folder.parts()?;
        }
        names.extend(SIDECARS.iter().map(|name| (*name).to_owned()));
        if folder.has(MODULES) {
            let folders = modules(&files::map(&folder.path.join(MODULES))?).map_err(failed)?;
            names.extend(folders.into_iter().map(|module| format!("{module}/{CONFIG}")));
        }
        names.extend(folder.names_in(CHAT_TEMPLATES, "jinja"));
        names.dedup();
        let weights = |name: &String| name.ends_with(".safetensors");
        names.retain(|name| weights(name) || folder.has(name));
        folder.files = found;
        for name in names {
            // Pooling has a place of its own in the list, and in that of modules.
            if folder.files.iter().all(|(known, _)| *known != name) {
                let map = files::map(&folder.path.join(&name))?;
                folder.files.push((name, map));
            }
        }
        Ok(folder)
    }

    /// The files of a folder in the folder that have an extension, sorted.
    fn names_in(&self, folder: &str, extension: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path.join(folder)).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.path().extension().is_some_and(|found| found == extension));
        let mut names: Vec<_> = names.map(|entry| format!("{folder}{}", entry.file_name().to_string_lossy())).collect();
        names.sort_unstable();
        names
    }

    /// The weights files of a model that is split, has no index, and whose files are named `NAME-00001-of-0000N.safetensors`.
    fn parts(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::Read { path: self.path.clone(), error };
        let mut names = Vec::new();
        let mut pickled = None;
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if is_pickled(&name) && !name.contains("training_args") {
                pickled = Some(name);
            } else if let Some((_, count)) = part_of(&name) {
                names.push((count, name));
            }
        }
        names.sort_unstable();
        let convert = |error| Error::Convert { path: self.path.clone(), error };
        let numbers = || names.iter().filter_map(|(_, name)| part_of(name));
        match (names.first(), pickled) {
            (Some((count, _)), _) if numbers().eq((1..=*count).map(|part| (part, *count))) => {
                Ok(names.into_iter().map(|(_, name)| name).collect())
            }
            (Some((count, name)), _) => {
                let (file, count) = (name.clone(), *count);
                Err(convert(smidgen_convert::Error::Shards { file, count, found: names.len() }))
            }
            (None, Some(file)) => Err(convert(smidgen_convert::Error::Pickled { file })),
            (None, None) => Err(convert(smidgen_convert::Error::MissingFile { file: WEIGHTS.into() })),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    fn files(&self) -> Vec<File<'_>> {
        self.files.iter().map(|(name, map)| File { name: name.clone(), bytes: map }).collect()
    }
}

/// Whether a file of this name holds weights as Python's programs pickle them.
fn is_pickled(name: &str) -> bool {
    [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end))
}

/// That a file is none that can be converted.
fn not_weights(path: &Path) -> Error {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_pickled(name));
    let path = path.to_owned();
    match name {
        Some(file) => Error::Convert { error: smidgen_convert::Error::Pickled { file: file.into() }, path },
        None => Error::NotACheckpoint { path },
    }
}

/// The number of a weights file and how many there are, by its name.
fn part_of(name: &str) -> Option<(u32, u32)> {
    let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (_, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| if digits.len() == 5 { digits.parse().ok() } else { None };
    Some((number(part)?, number(count)?))
}

/// What becomes of each field of the files beside the weights of the checkpoint at `from`, when it is converted.
///
/// # Errors
/// [`Error::Read`], [`Error::NotACheckpoint`], [`Error::Convert`]; not for unknown fields, which are among the others.
pub fn explain(from: &Path) -> Result<Vec<Field>, Error> {
    let folder = Folder::open(from)?;
    let failed = |error| Error::Convert { path: from.to_owned(), error };
    smidgen_convert::explain(&Checkpoint::read(&folder.files()).map_err(failed)?).map_err(failed)
}

/// Converts the checkpoint at `from`, a folder with `config.json`, weights in safetensors and the model's other files, or the weights
/// file itself, to the GGUF file `to`, which appears only when it is complete. `progress` is called with the bytes of weights written
/// and their total. A file whose name ends in `.tflite` is converted without options, with the manifest beside it (`.json`) if there
/// is one.
///
/// # Errors
/// [`Error::Read`], [`Error::NotACheckpoint`], [`Error::NotAFile`], [`Error::EmptyFile`], [`Error::Convert`], [`Error::Write`],
/// [`Error::Busy`].
pub fn convert(from: &Path, to: &Path, options: Options, progress: &mut dyn FnMut(u64, u64)) -> Result<Clamped, Error> {
    let mut clamped = Clamped::default();
    if is_tflite(from) {
        convert_tflite(from, to)?;
        return Ok(clamped);
    }
    let folder = Folder::open(from)?;
    output::replace(from, to, &mut |out| {
        clamped = smidgen_convert::convert(&folder.files(), options, out, progress)?;
        Ok(())
    })?;
    Ok(clamped)
}

/// Whether a path names a TensorFlow Lite file.
pub fn is_tflite(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tflite") && path.is_file()
}

fn convert_tflite(from: &Path, to: &Path) -> Result<(), Error> {
    let model = files::map(from)?;
    let path = from.with_extension("json");
    let manifest = if path.is_file() { Some(files::map(&path)?) } else { None };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let manifest = manifest.as_ref().map(|text| (&*name, &text[..]));
    output::replace(from, to, &mut |out| smidgen_convert::tflite::convert(&model, manifest, out))
}

/// Converts a checkpoint to `to`, a file that no other process uses yet.
#[cfg(feature = "checkpoints")]
pub(crate) fn convert_in_place(
    from: &Path,
    to: &Path,
    options: Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let folder = Folder::open(from)?;
    output::create(from, to, &mut |out| smidgen_convert::convert(&folder.files(), options, out, progress).map(drop))
}

/// Writes the model in the GGUF file `from` (all parts, if it is split) in other formats to the one file `to`, which appears only when it
/// is complete. `progress` is called with the bytes of weights written and their total.
///
/// # Errors
/// Those of [`ModelFile`], [`Error::Convert`], [`Error::Write`], [`Error::Busy`].
pub fn quantize(
    from: &Path,
    to: &Path,
    options: Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Clamped, Error> {
    let file = ModelFile::open(from)?;
    file.parts()?;
    let mut clamped = Clamped::default();
    output::replace(from, to, &mut |out| {
        clamped = smidgen_convert::quantize(&file.bytes(), options, out, progress)?;
        Ok(())
    })?;
    Ok(clamped)
}
