//! Converting checkpoints and quantizing models on disk.

use crate::{Error, ModelFile, files, output};
use memmap2::Mmap;
use smidgen_convert::{CONFIG, Clamped, File, INDEX, Options, SIDECARS, WEIGHTS, shards};
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
            weights = name.ok_or_else(|| Error::NotACheckpoint { path: from.to_owned() })?;
            path = from.parent().unwrap_or(Path::new("")).to_owned();
        } else if !path.join(CONFIG).exists() && path.join("model").join(CONFIG).exists() {
            path.push("model");
        }
        let mut folder = Folder { path, files: Vec::new() };
        let mut names = vec![weights.to_owned()];
        if folder.has(INDEX) {
            let index = files::map(&folder.path.join(INDEX))?;
            let parts = shards(&index).map_err(|error| Error::Convert { path: folder.path.clone(), error })?;
            // A weights file that the index does not name is a model of its own.
            if metadata.is_dir() || parts.iter().any(|part| part == weights) {
                folder.files.push((INDEX.into(), index));
                names = parts;
            }
        }
        names.extend(SIDECARS.iter().filter(|name| folder.has(name)).map(|name| (*name).to_owned()));
        for name in names {
            let map = files::map(&folder.path.join(&name))?;
            folder.files.push((name, map));
        }
        Ok(folder)
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    fn files(&self) -> Vec<File<'_>> {
        self.files.iter().map(|(name, map)| File { name: name.clone(), bytes: map }).collect()
    }
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
