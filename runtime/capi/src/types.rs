//! The constants, structs and function types of the ABI.

use crate::memory::Versioned;
use std::ffi::{c_char, c_void};

/// How a call ended.
pub type smidgen_status = i32;

/// It is done.
pub const SMIDGEN_OK: smidgen_status = 0;
/// A pointer is null that must not be.
pub const SMIDGEN_ERROR_NULL: smidgen_status = 1;
/// An argument makes no sense.
pub const SMIDGEN_ERROR_ARGUMENT: smidgen_status = 2;
/// A handle that was closed, never was one, or is one of something else.
pub const SMIDGEN_ERROR_HANDLE: smidgen_status = 3;
/// The buffer is too short. How much is needed has been written; the buffer is as it was.
pub const SMIDGEN_ERROR_SHORT_BUFFER: smidgen_status = 4;
/// Another thread is using the session.
pub const SMIDGEN_ERROR_BUSY: smidgen_status = 5;
/// The call comes from a callback of a call that is using the session.
pub const SMIDGEN_ERROR_REENTRANT: smidgen_status = 6;
/// A file cannot be opened, read, mapped or written.
pub const SMIDGEN_ERROR_FILE: smidgen_status = 7;
/// The bytes are no usable model.
pub const SMIDGEN_ERROR_FORMAT: smidgen_status = 8;
/// This model, this build of the library or this system cannot do it.
pub const SMIDGEN_ERROR_UNSUPPORTED: smidgen_status = 9;
/// Memory was refused.
pub const SMIDGEN_ERROR_MEMORY: smidgen_status = 10;
/// More tokens than the session's context holds.
pub const SMIDGEN_ERROR_CONTEXT_FULL: smidgen_status = 11;
/// A text is not UTF-8.
pub const SMIDGEN_ERROR_TEXT: smidgen_status = 12;
/// A saved state is damaged, or of another model or another type of cache.
pub const SMIDGEN_ERROR_STATE: smidgen_status = 13;
/// The model's chat template is faulty, or refuses the conversation.
pub const SMIDGEN_ERROR_TEMPLATE: smidgen_status = 14;
/// The threads cannot be started, or not be bound to those CPUs.
pub const SMIDGEN_ERROR_THREADS: smidgen_status = 15;
/// The callback of the progress asked to stop.
pub const SMIDGEN_ERROR_CANCELLED: smidgen_status = 16;
/// There is nothing under way that could be cancelled.
pub const SMIDGEN_ERROR_IDLE: smidgen_status = 17;
/// The model's outputs are not finite.
pub const SMIDGEN_ERROR_NOT_FINITE: smidgen_status = 18;
/// A mistake in the library. Close what was in use, and report it.
pub const SMIDGEN_ERROR_INTERNAL: smidgen_status = 19;

/// The version of this ABI, 65536 times its major number and its minor number; see `smidgen_abi_version`.
pub const SMIDGEN_ABI_VERSION: u32 = 1 << 16;
/// For the length of a text: it ends with a zero.
pub const SMIDGEN_TEXT_END: usize = usize::MAX;

/// Log level: for whom looks for something.
pub const SMIDGEN_LOG_INFO: u32 = 1;
/// Log level: what may be a mistake.
pub const SMIDGEN_LOG_WARNING: u32 = 2;
/// Log level: a call that ends with another status than `SMIDGEN_OK`.
pub const SMIDGEN_LOG_ERROR: u32 = 3;

/// Ability of a model: it writes text (`smidgen_generate`).
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

/// For `smidgen_model_open_memory`: the bytes are copied, so the host need not keep them.
pub const SMIDGEN_OPEN_COPY: u32 = 1;
/// For `smidgen_tokenize`: with what the model expects at the ends of a prompt (BOS, EOS).
pub const SMIDGEN_TOKENS_FRAMED: u32 = 1;
/// For `smidgen_tokenize`: the text may spell control tokens. For `smidgen_detokenize`: they are spelled.
pub const SMIDGEN_TOKENS_CONTROL: u32 = 2;
/// For the functions that classify: logits, not probabilities.
pub const SMIDGEN_SCORES_LOGITS: u32 = 1;
/// For `smidgen_classify_audio`: forget what was heard before.
pub const SMIDGEN_AUDIO_BEGIN: u32 = 1;

/// Cache of keys and values in binary16.
pub const SMIDGEN_KV_F16: u32 = 0;
/// Cache of keys and values in int8 with scales, about half the size.
pub const SMIDGEN_KV_Q8_0: u32 = 1;

/// A generation ended with an end token.
pub const SMIDGEN_FINISH_END: u32 = 1;
/// A generation ended with one of the stop texts.
pub const SMIDGEN_FINISH_STOP: u32 = 2;
/// A generation ended as all requested tokens were there.
pub const SMIDGEN_FINISH_LENGTH: u32 = 3;
/// A generation ended as the context is full.
pub const SMIDGEN_FINISH_CONTEXT_FULL: u32 = 4;
/// A generation ended by `smidgen_session_cancel`, or as the callback asked to stop.
pub const SMIDGEN_FINISH_CANCELLED: u32 = 5;

/// An open model. Any number of threads may use it at once.
#[repr(C)]
pub struct smidgen_model {
    _opaque: [u8; 0],
}

/// A model at work: its memory and its threads. One thread at a time may use it.
#[repr(C)]
pub struct smidgen_session {
    _opaque: [u8; 0],
}

/// Takes a line of the log, without a newline. Any thread of the host's may be the one that calls.
pub type smidgen_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, line: *const c_char)>;
/// Is told how many of a model's bytes have been read; ends the opening with anything but 0.
pub type smidgen_progress_fn = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;
/// Takes the next piece of a text: whole characters of UTF-8, with a zero behind them; ends the generation with anything but 0.
pub type smidgen_token_fn = Option<unsafe extern "C" fn(user: *mut c_void, text: *const c_char, length: usize) -> i32>;

/// How to open a model. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_model_params {
    /// sizeof(smidgen_model_params).
    pub size: usize,
    /// Kernels by name ("scalar", "neon", ...), or null for the fastest that this machine has. All give the same bits.
    pub target: *const c_char,
    /// With a callback the whole model is read once while opening, so that the first answer need not wait for the disk.
    pub progress: smidgen_progress_fn,
    /// What `progress` is called with.
    pub progress_user: *mut c_void,
    /// `SMIDGEN_OPEN_...`
    pub flags: u64,
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_model_info {
    /// sizeof(smidgen_model_info), from the host.
    pub size: usize,
    /// Bytes of the model's files.
    pub bytes: u64,
    /// `SMIDGEN_CAN_...`
    pub abilities: u32,
    /// Number of tokens that the model knows.
    pub vocabulary: u32,
    /// Tokens that the model was trained to look back on.
    pub context: u32,
    /// Values of an embedding.
    pub width: u32,
    /// Number of classes.
    pub classes: u32,
    /// Zero.
    pub reserved: u32,
}

/// How a session works. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_session_params {
    /// sizeof(smidgen_session_params).
    pub size: usize,
    /// Tokens that the session can hold; by default what the model was trained for, at most 8192.
    pub context: u32,
    /// Tokens that pass through the model at once, at most; by default 256. A generation can be cancelled between such batches.
    pub batch: u32,
    /// `SMIDGEN_KV_...`
    pub kv: u32,
    /// Threads, the calling one among them; by default one for each physical core. The bits do not depend on it.
    /// On a phone, better as many as it has big cores, named by `cpus`: threads wait for the slowest.
    pub threads: u32,
    /// Numbers of the CPUs that the threads may run on; null for any. The calling thread is bound to them during calls only.
    /// Linux and Android; an error elsewhere.
    pub cpus: *const u32,
    /// Number of CPUs.
    pub cpu_count: usize,
}

/// What a session holds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_session_info {
    /// sizeof(smidgen_session_info), from the host.
    pub size: usize,
    /// Bytes of memory for a language model, beside the model itself; they are asked of the system at once and used as needed.
    pub bytes: u64,
    /// Tokens that it can hold.
    pub context: u32,
    /// Tokens that it holds.
    pub used: u32,
    /// Threads.
    pub threads: u32,
    /// Zero.
    pub reserved: u32,
}

/// A turn of a conversation. This struct never changes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_message {
    /// "system", "user" or "assistant", with a zero at its end.
    pub role: *const c_char,
    /// What is said, with a zero at its end. Control tokens that it spells are text.
    pub content: *const c_char,
}

/// What to generate. Zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_generate_params {
    /// sizeof(smidgen_generate_params).
    pub size: usize,
    /// Most tokens to generate; by default as many as the context has room for.
    pub max_tokens: u32,
    /// Divides the logits before the draw; 0 always takes the largest.
    pub temperature: f32,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest tokens whose probabilities add up to this; 0 and 1 keep all.
    pub top_p: f32,
    /// Keeps tokens with at least this part of the largest probability.
    pub min_p: f32,
    /// Divides positive logits of recent tokens and multiplies negative ones; 0 and 1 change nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a recent token's logit for each time that it occurs.
    pub frequency_penalty: f32,
    /// Subtracted from a recent token's logit once.
    pub presence_penalty: f32,
    /// How many of the last tokens are recent, by default 64.
    pub penalty_window: u32,
    /// Zero.
    pub flags: u32,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Texts that end the generation and are no part of it, each with a zero at its end.
    pub stops: *const *const c_char,
    /// Number of stop texts.
    pub stop_count: usize,
}

/// How a generation went.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_generate_result {
    /// sizeof(smidgen_generate_result), from the host.
    pub size: usize,
    /// Tokens of the prompt that the session held already.
    pub reused: u32,
    /// Tokens of the prompt that were computed.
    pub computed: u32,
    /// Tokens that were generated.
    pub generated: u32,
    /// `SMIDGEN_FINISH_...`
    pub finish: u32,
}

/// What was heard.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smidgen_audio_result {
    /// sizeof(smidgen_audio_result), from the host.
    pub size: usize,
    /// How often the model gave a probability; it may be 0, as that takes some samples.
    pub steps: u32,
    /// How often the word was heard: the mean of the last probabilities rose above the model's cut-off.
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
    /// The first row's first byte.
    pub pixels: *const u8,
    /// Bytes that can be read from there.
    pub length: usize,
    /// Bytes from a row to the next; 0 for 3 times the width.
    pub stride: usize,
    /// Columns.
    pub width: u32,
    /// Rows.
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
