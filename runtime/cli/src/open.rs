//! Models, texts, kernel sets and threads from the arguments of the command line.

use crate::args::{KvArg, MachineArgs, TextArgs, ThreadArgs};
use crate::progress::PullBar;
use crate::tell;
use smidgen::{KvType, Model, tokenizer::Tokenizer};
use smidgen_gguf::Gguf;
use smidgen_host::{ModelFile, ThreadPool, physical_cores};
use smidgen_targets::KernelSet;
use std::error::Error;
use std::io::{ErrorKind, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Opens the file that `model` names, which is downloaded first if it is a short name.
pub(crate) fn file(model: &Path) -> Result<ModelFile, Box<dyn Error>> {
    Ok(ModelFile::open(resolve(model)?)?)
}

/// The path of the file that `model` names, which is downloaded first if it is a name.
pub(crate) fn resolve(model: &Path) -> Result<PathBuf, smidgen_host::Error> {
    #[cfg(feature = "hub")]
    return smidgen_host::hub::resolve(model, &hub_options(), &mut PullBar::new()).map(|found| found.path);
    #[cfg(not(feature = "hub"))]
    smidgen_host::resolve(model, &mut PullBar::new())
}

/// [`resolve`], and how the registry of the model has it used, as the shelf's record has it. Before a download it is told whether the model
/// fits with so many tokens of context.
#[cfg(feature = "hub")]
pub(crate) fn resolve_with_defaults(
    model: &Path,
    context: Option<NonZeroUsize>,
) -> Result<(PathBuf, Option<serde_json::Value>), smidgen_host::Error> {
    let options = smidgen_host::hub::Options { context: context.map(usize::from), ..hub_options() };
    let found = smidgen_host::hub::resolve(model, &options, &mut PullBar::new())?;
    Ok((found.path, found.entry.and_then(|entry| entry.defaults)))
}

/// Whether `--offline` was given.
#[cfg(feature = "hub")]
static OFFLINE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(feature = "hub")]
pub(crate) fn set_offline(offline: bool) {
    OFFLINE.store(offline, std::sync::atomic::Ordering::Relaxed);
}

/// How models are pulled: as the environment and `--offline` say.
#[cfg(feature = "hub")]
pub(crate) fn hub_options() -> smidgen_host::hub::Options {
    let mut options = smidgen_host::hub::Options::from_environment();
    options.access.offline |= OFFLINE.load(std::sync::atomic::Ordering::Relaxed);
    options
}

/// The parts of an open file, read.
pub(crate) fn parts(file: &ModelFile) -> Result<Vec<Gguf<'_>>, Box<dyn Error>> {
    Ok(file.parts()?)
}

/// The model in the parts.
pub(crate) fn model<'a>(file: &ModelFile, parts: &[Gguf<'a>]) -> Result<Model<'a>, Box<dyn Error>> {
    Model::parse(parts).map_err(|error| named(file, error))
}

/// The tokenizer in the first part. What it passes over is told.
pub(crate) fn tokenizer<'a>(file: &ModelFile, parts: &[Gguf<'a>]) -> Result<Tokenizer<'a>, Box<dyn Error>> {
    let first = parts.first().ok_or("no file")?;
    let tokenizer = Tokenizer::parse(first).map_err(|error| named(file, error))?;
    for warning in tokenizer.warnings() {
        tell(format_args!("smidgen: warning: {}: {warning}\n", path(file)));
    }
    Ok(tokenizer)
}

/// An error with the file's name before it.
pub(crate) fn named(file: &ModelFile, error: impl std::fmt::Display) -> Box<dyn Error> {
    format!("{}: {error}", path(file)).into()
}

fn path(file: &ModelFile) -> String {
    file.paths().next().map(|path| path.display().to_string()).unwrap_or_default()
}

/// The kernel set that was named, or the fastest.
pub(crate) fn kernels(args: &MachineArgs) -> Result<&'static KernelSet, Box<dyn Error>> {
    let Some(name) = &args.target else { return Ok(smidgen_targets::detect()) };
    smidgen_targets::named(name).ok_or_else(|| {
        let names: Vec<_> = smidgen_targets::available().map(|kernels| kernels.name).collect();
        format!("--target {name}: this machine does not have this kernel set; it has {}", names.join(", ")).into()
    })
}

/// A pool of the given number of threads, or of one for each core.
pub(crate) fn pool(args: &ThreadArgs) -> Result<ThreadPool, Box<dyn Error>> {
    pool_of(args.threads.unwrap_or_else(physical_cores))
}

/// A pool of this many threads.
pub(crate) fn pool_of(threads: NonZeroUsize) -> Result<ThreadPool, Box<dyn Error>> {
    ThreadPool::new(threads).map_err(|error| format!("--threads {threads}: {error}").into())
}

/// The text that was given, if one was.
pub(crate) fn text(args: &TextArgs) -> Result<Option<String>, Box<dyn Error>> {
    if let Some(text) = &args.prompt {
        return Ok(Some(text.clone()));
    }
    match &args.file {
        Some(path) if path != Path::new("-") => Ok(Some(file_text(path)?)),
        None if args.stdin.is_none() => Ok(None),
        _ => Ok(Some(stdin()?)),
    }
}

/// A file's text.
pub(crate) fn file_text(path: &Path) -> Result<String, Box<dyn Error>> {
    utf8(file_bytes(path)?, &path.display().to_string())
}

/// A text file's bytes.
pub(crate) fn file_bytes(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{}: no such file; check the path", path.display()).into(),
        ErrorKind::IsADirectory => format!("{}: this is a directory; give a text file", path.display()).into(),
        _ => format!("{}: cannot be read: {error}", path.display()).into(),
    })
}

/// All of stdin.
pub(crate) fn stdin() -> Result<String, Box<dyn Error>> {
    utf8(stdin_bytes()?, "stdin")
}

/// All bytes of stdin.
pub(crate) fn stdin_bytes() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| format!("stdin: {error}"))?;
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Box<dyn Error>> {
    String::from_utf8(bytes)
        .map_err(|error| format!("{name}: the text is not UTF-8 at byte {}", error.utf8_error().valid_up_to()).into())
}

/// The type of the KV cache: what was asked for, or for unrounded activations an unrounded one.
pub(crate) fn kv(kv: Option<KvArg>, f32: bool) -> KvType {
    kv.map_or(if f32 { KvType::F32 } else { KvType::F16 }, KvType::from)
}

impl From<KvArg> for KvType {
    fn from(kv: KvArg) -> KvType {
        match kv {
            KvArg::F32 => KvType::F32,
            KvArg::F16 => KvType::F16,
            KvArg::Q8 => KvType::Q8_0,
        }
    }
}
