//! Failures of calls: a status and an error message.

use crate::types::*;
use std::cell::Cell;
use std::fmt::{self, Display};

/// A status that is not `SMIDGEN_OK`, and the message that explains it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: smidgen_status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: smidgen_status, text: impl Display) -> Failure {
        Failure { status, text: text.to_string() }
    }

    pub(crate) fn null(name: &str) -> Failure {
        Failure::new(SMIDGEN_ERROR_NULL, format_args!("{name} is null"))
    }

    pub(crate) fn argument(text: impl Display) -> Failure {
        Failure::new(SMIDGEN_ERROR_ARGUMENT, text)
    }

    pub(crate) fn unsupported(text: impl Display) -> Failure {
        Failure::new(SMIDGEN_ERROR_UNSUPPORTED, text)
    }

    /// The failure of a call that needed the reserve of memory.
    pub(crate) fn short() -> Failure {
        Failure::new(SMIDGEN_ERROR_MEMORY, "out of memory: the system refused small allocations")
    }

    pub(crate) fn memory(bytes: usize) -> Failure {
        Failure::new(SMIDGEN_ERROR_MEMORY, format_args!("out of memory: the system refused {bytes} bytes"))
    }
}

impl From<smidgen::LoadError> for Failure {
    fn from(error: smidgen::LoadError) -> Failure {
        use smidgen::LoadError as E;
        let status = match &error {
            E::OutOfMemory { .. } => SMIDGEN_ERROR_MEMORY,
            E::UnknownArchitecture { .. } | E::Unsupported { .. } => SMIDGEN_ERROR_UNSUPPORTED,
            _ => SMIDGEN_ERROR_FORMAT,
        };
        Failure::new(status, error)
    }
}

impl From<smidgen::RunError> for Failure {
    fn from(error: smidgen::RunError) -> Failure {
        use smidgen::RunError as E;
        let status = match &error {
            E::OutOfMemory { .. } | E::ContextTooLarge { .. } => SMIDGEN_ERROR_MEMORY,
            E::ContextFull { .. } => SMIDGEN_ERROR_CONTEXT_FULL,
            E::Purpose { .. } | E::CacheHeadSize { .. } => SMIDGEN_ERROR_UNSUPPORTED,
            E::NoTokens
            | E::TokenRange { .. }
            | E::OptionRange { .. }
            | E::SequenceRange { .. }
            | E::ImageSize { .. } => SMIDGEN_ERROR_ARGUMENT,
            E::NotFinite { .. } | E::Scores { .. } => SMIDGEN_ERROR_NOT_FINITE,
            _ => SMIDGEN_ERROR_FORMAT,
        };
        Failure::new(status, error)
    }
}

impl From<smidgen::StateError> for Failure {
    fn from(error: smidgen::StateError) -> Failure {
        use smidgen::StateError as E;
        match error {
            E::Run(error) => error.into(),
            _ => Failure::new(SMIDGEN_ERROR_STATE, error),
        }
    }
}

impl From<smidgen::tokenizer::Error> for Failure {
    fn from(error: smidgen::tokenizer::Error) -> Failure {
        let refused = matches!(error, smidgen::tokenizer::Error::OutOfMemory { .. });
        Failure::new(if refused { SMIDGEN_ERROR_MEMORY } else { SMIDGEN_ERROR_FORMAT }, error)
    }
}

impl From<smidgen_gguf::Error> for Failure {
    fn from(error: smidgen_gguf::Error) -> Failure {
        Failure::new(SMIDGEN_ERROR_FORMAT, error)
    }
}

impl From<smidgen_host::Error> for Failure {
    fn from(error: smidgen_host::Error) -> Failure {
        use smidgen_host::Error as E;
        let status = match &error {
            E::Read { .. } | E::NotAFile { .. } | E::EmptyFile { .. } | E::FileChanged { .. } | E::Write { .. } => {
                SMIDGEN_ERROR_FILE
            }
            E::TooManyThreads { .. } | E::Spawn { .. } => SMIDGEN_ERROR_THREADS,
            #[cfg(feature = "chat")]
            E::TemplateSize { .. }
            | E::TemplateSyntax { .. }
            | E::TemplateRender { .. }
            | E::TemplateRefused { .. }
            | E::TemplateSteps
            | E::TemplateOutput { .. }
            | E::TemplateDepth => SMIDGEN_ERROR_TEMPLATE,
            _ => SMIDGEN_ERROR_FORMAT,
        };
        Failure::new(status, error)
    }
}

/// Bytes of a thread's last error message, the terminator included.
const LENGTH: usize = 512;

thread_local! {
    static MESSAGE: Cell<[u8; LENGTH]> = const { Cell::new([0; LENGTH]) };
}

/// Keeps the message of the calling thread's last error, truncated to the room for it.
pub(crate) fn keep(text: &str) {
    let mut bytes = [0; LENGTH];
    let end = text.floor_char_boundary(LENGTH - 1);
    for (to, from) in bytes.iter_mut().zip(&text.as_bytes()[..end]) {
        // A zero would end the text.
        *to = if *from == 0 { b' ' } else { *from };
    }
    MESSAGE.with(|message| message.set(bytes));
}

/// A pointer to the message. It is valid as long as the thread runs.
pub(crate) fn kept() -> *const u8 {
    MESSAGE.with(|message| message.as_ptr().cast_const().cast())
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
