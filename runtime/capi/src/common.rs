//! Versions, errors, the log.

use crate::types::*;
use crate::{failure, guard, log};
use std::ffi::{c_char, c_void};

/// The ABI that the library has. A program may go on if the major number is that of `SMIDGEN_ABI_VERSION` and the minor number is
/// not smaller.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_abi_version() -> u32 {
    SMIDGEN_ABI_VERSION
}

/// The version of the library: a text that stays.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The name of a status, for logs: a text that stays.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_status_name(status: smidgen_status) -> *const c_char {
    let name: &'static str = match status {
        SMIDGEN_OK => "ok\0",
        SMIDGEN_ERROR_NULL => "null\0",
        SMIDGEN_ERROR_ARGUMENT => "argument\0",
        SMIDGEN_ERROR_HANDLE => "handle\0",
        SMIDGEN_ERROR_SHORT_BUFFER => "short buffer\0",
        SMIDGEN_ERROR_BUSY => "busy\0",
        SMIDGEN_ERROR_REENTRANT => "reentrant\0",
        SMIDGEN_ERROR_FILE => "file\0",
        SMIDGEN_ERROR_FORMAT => "format\0",
        SMIDGEN_ERROR_UNSUPPORTED => "unsupported\0",
        SMIDGEN_ERROR_MEMORY => "memory\0",
        SMIDGEN_ERROR_CONTEXT_FULL => "context full\0",
        SMIDGEN_ERROR_TEXT => "text\0",
        SMIDGEN_ERROR_STATE => "state\0",
        SMIDGEN_ERROR_TEMPLATE => "template\0",
        SMIDGEN_ERROR_THREADS => "threads\0",
        SMIDGEN_ERROR_CANCELLED => "cancelled\0",
        SMIDGEN_ERROR_IDLE => "idle\0",
        SMIDGEN_ERROR_NOT_FINITE => "not finite\0",
        SMIDGEN_ERROR_INTERNAL => "internal\0",
        _ => "unknown\0",
    };
    name.as_ptr().cast()
}

/// What was wrong with the calling thread's last call that failed: one line, empty if none did. It stays until the thread's next call that
/// fails.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_error_message() -> *const c_char {
    failure::kept().cast()
}

/// Gives all lines of the log from `level` on to a function of the host, null for none. This is the one setting of the whole process. The
/// function may be called from any thread on which the host calls the library, and must stay until another is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_set_logger(log: smidgen_log_fn, user: *mut c_void, level: u32) -> smidgen_status {
    guard::enter(|| {
        log::set(log, user, level);
        Ok(())
    })
}
