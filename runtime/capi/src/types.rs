//! The constants, structs and function types of the ABI.

use crate::memory::Versioned;
use std::ffi::{c_char, c_void};

/// The result of a call.
pub type smidgen_status = i32;

/// Success.
pub const SMIDGEN_OK: smidgen_status = 0;
/// A required pointer is null.
pub const SMIDGEN_ERROR_NULL: smidgen_status = 1;
/// An argument is invalid.
pub const SMIDGEN_ERROR_ARGUMENT: smidgen_status = 2;
/// A handle is invalid: it was closed, never opened, or belongs to another kind of object.
pub const SMIDGEN_ERROR_HANDLE: smidgen_status = 3;
/// The buffer is too short. The required length has been written; the buffer is unchanged.
pub const SMIDGEN_ERROR_SHORT_BUFFER: smidgen_status = 4;
/// Another thread is using the session.
pub const SMIDGEN_ERROR_BUSY: smidgen_status = 5;
/// The session is in use by the call whose callback makes this call.
pub const SMIDGEN_ERROR_REENTRANT: smidgen_status = 6;
/// A file cannot be opened, read, mapped or written.
pub const SMIDGEN_ERROR_FILE: smidgen_status = 7;
/// The bytes are not a valid model file.
pub const SMIDGEN_ERROR_FORMAT: smidgen_status = 8;
/// The model, this build of the library, or the system does not support the request.
pub const SMIDGEN_ERROR_UNSUPPORTED: smidgen_status = 9;
/// Out of memory: the system refused an allocation.
pub const SMIDGEN_ERROR_MEMORY: smidgen_status = 10;
/// The tokens do not fit in the session's context.
pub const SMIDGEN_ERROR_CONTEXT_FULL: smidgen_status = 11;
/// A string is not valid UTF-8.
pub const SMIDGEN_ERROR_TEXT: smidgen_status = 12;
/// A saved state is damaged, or belongs to another model or another type of KV cache.
pub const SMIDGEN_ERROR_STATE: smidgen_status = 13;
/// The model's chat template has an error, or rejects the conversation.
pub const SMIDGEN_ERROR_TEMPLATE: smidgen_status = 14;
/// The threads cannot be started, or cannot be bound to the given CPUs.
pub const SMIDGEN_ERROR_THREADS: smidgen_status = 15;
/// The progress callback asked to stop.
pub const SMIDGEN_ERROR_CANCELLED: smidgen_status = 16;
/// No generation is running that could be cancelled.
pub const SMIDGEN_ERROR_IDLE: smidgen_status = 17;
/// The model computed a value that is infinite or NaN.
pub const SMIDGEN_ERROR_NOT_FINITE: smidgen_status = 18;
/// An internal error (a bug in the library). Close the handles that were in use, and report it.
pub const SMIDGEN_ERROR_INTERNAL: smidgen_status = 19;

/// The version of this ABI: 65536 times the major number, plus the minor number; see `smidgen_abi_version`.
pub const SMIDGEN_ABI_VERSION: u32 = 65537;
/// As the length of a string: the string is null-terminated.
pub const SMIDGEN_TEXT_END: usize = usize::MAX;

/// Log level: information for debugging.
pub const SMIDGEN_LOG_INFO: u32 = 1;
/// Log level: a warning about a likely mistake.
pub const SMIDGEN_LOG_WARNING: u32 = 2;
/// Log level: a call returned a status other than `SMIDGEN_OK`.
pub const SMIDGEN_LOG_ERROR: u32 = 3;

/// Ability of a model: it generates text (`smidgen_generate`).
pub const SMIDGEN_CAN_GENERATE: u32 = 1;
/// Ability of a model: it has a chat template (`smidgen_chat`).
pub const SMIDGEN_CAN_CHAT: u32 = 2;
/// Ability of a model: it takes texts (`smidgen_embed_text`, `smidgen_classify_text`).
pub const SMIDGEN_CAN_READ: u32 = 4;
/// Ability of a model: it takes images (`smidgen_embed_image`, `smidgen_classify_image`).
pub const SMIDGEN_CAN_SEE: u32 = 8;
/// Ability of a model: it takes sound (`smidgen_classify_audio`).
pub const SMIDGEN_CAN_HEAR: u32 = 16;
/// Ability of a model: it has classes (`smidgen_classify_text`, `smidgen_classify_image`, `smidgen_classify_audio`).
pub const SMIDGEN_CAN_CLASSIFY: u32 = 32;

/// Flag of `smidgen_model_open_memory`: the bytes are copied, so the host need not keep them.
pub const SMIDGEN_OPEN_COPY: u32 = 1;
/// Flag of `smidgen_tokenize`: adds the special tokens that the model expects at the ends of a prompt (BOS, EOS).
pub const SMIDGEN_TOKENS_FRAMED: u32 = 1;
/// Flag of `smidgen_tokenize`: special tokens in the text are recognized. Of `smidgen_detokenize`: special tokens are written out.
pub const SMIDGEN_TOKENS_CONTROL: u32 = 2;
/// Flag of the functions that classify: return logits instead of probabilities.
pub const SMIDGEN_SCORES_LOGITS: u32 = 1;
/// Flag of `smidgen_classify_audio`: begin a new recording, and forget the one before.
pub const SMIDGEN_AUDIO_BEGIN: u32 = 1;

/// The KV cache holds f16.
pub const SMIDGEN_KV_F16: u32 = 0;
/// The KV cache holds int8 with scales, which takes about half the memory.
pub const SMIDGEN_KV_Q8_0: u32 = 1;
/// The KV cache holds f32, which takes twice the memory. Since ABI 1.1.
pub const SMIDGEN_KV_F32: u32 = 2;

/// The generation ended with an end-of-text token.
pub const SMIDGEN_FINISH_END: u32 = 1;
/// The generation ended at one of the stop strings.
pub const SMIDGEN_FINISH_STOP: u32 = 2;
/// The generation reached `max_tokens`.
pub const SMIDGEN_FINISH_LENGTH: u32 = 3;
/// The generation filled the context.
pub const SMIDGEN_FINISH_CONTEXT_FULL: u32 = 4;
/// The generation was cancelled by `smidgen_session_cancel`, or by its callback.
pub const SMIDGEN_FINISH_CANCELLED: u32 = 5;

/// An open model. Any number of threads may use it at once.
#[repr(C)]
pub struct smidgen_model {
    _opaque: [u8; 0],
}

/// A session of a model: the KV cache, working memory and threads. One thread at a time may use it.
#[repr(C)]
pub struct smidgen_session {
    _opaque: [u8; 0],
}

/// Receives a line of the log, without a newline. It may be called on any thread on which the host calls the library.
pub type smidgen_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, line: *const c_char)>;
/// Receives the number of bytes of the model that have been read. Returning anything but 0 stops the opening.
pub type smidgen_progress_fn = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;
/// Receives the next piece of the generated text: whole UTF-8 characters, null-terminated. Returning anything but 0 cancels the generation.
pub type smidgen_token_fn = Option<unsafe extern "C" fn(user: *mut c_void, text: *const c_char, length: usize) -> i32>;

/// Options for opening a model. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_model_params {
    /// sizeof(smidgen_model_params).
    pub size: usize,
    /// The name of a kernel set ("scalar", "neon", ...), or null for the fastest on this machine. All give the same bits.
    pub target: *const c_char,
    /// A progress callback, or null. With one, the whole model is read while opening, so that the first answer need not wait for the disk.
    pub progress: smidgen_progress_fn,
    /// A pointer that is passed to `progress`.
    pub progress_user: *mut c_void,
    /// Flags: `SMIDGEN_OPEN_...`
    pub flags: u64,
}

/// Information about a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_model_info {
    /// sizeof(smidgen_model_info), set by the host.
    pub size: usize,
    /// The size of the model's files in bytes.
    pub bytes: u64,
    /// The abilities of the model: `SMIDGEN_CAN_...`
    pub abilities: u32,
    /// The number of tokens in the vocabulary.
    pub vocabulary: u32,
    /// The context length in tokens that the model was trained for.
    pub context: u32,
    /// The number of values in an embedding.
    pub width: u32,
    /// The number of classes.
    pub classes: u32,
    /// Reserved; the library sets it to 0.
    pub reserved: u32,
}

/// Options for opening a session. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_session_params {
    /// sizeof(smidgen_session_params).
    pub size: usize,
    /// The context length in tokens; by default the length that the model was trained for, at most 8192.
    pub context: u32,
    /// The most tokens that pass through the model at once; by default 256. A generation can be cancelled between such batches.
    pub batch: u32,
    /// The type of the KV cache: `SMIDGEN_KV_...`
    pub kv: u32,
    /// The number of threads, the calling one included; by default one for each physical core. The results do not depend on it.
    /// On a phone, use as many threads as there are big cores, and name these in `cpus`: all threads wait for the slowest.
    pub threads: u32,
    /// The numbers of the CPUs that the threads may run on, or null for any. The calling thread is bound to them during calls only.
    /// Supported on Linux and Android; an error elsewhere.
    pub cpus: *const u32,
    /// The number of elements in `cpus`.
    pub cpu_count: usize,
}

/// Information about a session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_session_info {
    /// sizeof(smidgen_session_info), set by the host.
    pub size: usize,
    /// For a language model, the bytes of memory that the session takes beside the model. They are reserved at once and used as needed.
    pub bytes: u64,
    /// The context length in tokens.
    pub context: u32,
    /// The number of tokens in the context now.
    pub used: u32,
    /// The number of threads.
    pub threads: u32,
    /// Reserved; the library sets it to 0.
    pub reserved: u32,
}

/// A message of a conversation. This struct never changes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_message {
    /// "system", "user" or "assistant", null-terminated.
    pub role: *const c_char,
    /// The text of the message, null-terminated. Special tokens in it are treated as ordinary text.
    pub content: *const c_char,
}

/// Options for generating text. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_generate_params {
    /// sizeof(smidgen_generate_params).
    pub size: usize,
    /// The most tokens to generate; by default as many as fit in the context.
    pub max_tokens: u32,
    /// The sampling temperature; 0 always chooses the most likely token.
    pub temperature: f32,
    /// Samples among this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Samples among the fewest tokens whose probabilities add up to this; 0 and 1 keep all.
    pub top_p: f32,
    /// Drops tokens whose probability is less than this fraction of the largest one.
    pub min_p: f32,
    /// Divides positive logits of recent tokens, and multiplies negative ones, by this number; 0 and 1 change nothing.
    pub repetition_penalty: f32,
    /// This number is subtracted from a recent token's logit for each of its occurrences.
    pub frequency_penalty: f32,
    /// This number is subtracted once from a recent token's logit.
    pub presence_penalty: f32,
    /// The number of last tokens that count as recent for the penalties; by default 64.
    pub penalty_window: u32,
    /// Reserved; must be 0.
    pub flags: u32,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Strings that end the generation and are not part of its text, each null-terminated.
    pub stops: *const *const c_char,
    /// The number of elements in `stops`.
    pub stop_count: usize,
}

/// The result of a generation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_generate_result {
    /// sizeof(smidgen_generate_result), set by the host.
    pub size: usize,
    /// The number of tokens of the prompt that were in the context already.
    pub reused: u32,
    /// The number of tokens of the prompt that were computed.
    pub computed: u32,
    /// The number of tokens that were generated.
    pub generated: u32,
    /// The reason why the generation ended: `SMIDGEN_FINISH_...`
    pub finish: u32,
}

/// The result of listening.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_audio_result {
    /// sizeof(smidgen_audio_result), set by the host.
    pub size: usize,
    /// The number of steps at which the model gave a probability. It may be 0, as a step takes some samples.
    pub steps: u32,
    /// The number of detections of the word: times at which the mean of the last probabilities rose above the model's cut-off.
    pub heard: u32,
    /// The last probability.
    pub last: f32,
    /// The largest probability.
    pub largest: f32,
}

/// An image of 8-bit red, green and blue: rows from the top, pixels from the left.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_image {
    /// sizeof(smidgen_image).
    pub size: usize,
    /// A pointer to the first byte of the first row.
    pub pixels: *const u8,
    /// The number of bytes that can be read from `pixels`.
    pub length: usize,
    /// The distance in bytes from a row to the next; 0 means 3 times the width.
    pub stride: usize,
    /// The number of columns.
    pub width: u32,
    /// The number of rows.
    pub height: u32,
}

macro_rules! versioned {
    ($($name:ident),*) => {$(
        // SAFETY: a `usize` first, then numbers and pointers, for which zeros are a value; `abi.txt` shows that there is no padding at
        // the end.
        unsafe impl Versioned for $name {
            const LEAST: usize = size_of::<$name>();
        }
    )*};
}

// When a field is added, the struct's `LEAST` stays what it is here.
versioned!(
    smidgen_model_params,
    smidgen_model_info,
    smidgen_session_params,
    smidgen_session_info,
    smidgen_generate_params,
    smidgen_generate_result,
    smidgen_audio_result,
    smidgen_image
);
