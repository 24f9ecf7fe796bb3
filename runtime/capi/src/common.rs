//! Versions, errors, the log.

use crate::types::*;
use crate::{failure, guard, log};
use std::ffi::{c_char, c_void};

/// Returns the ABI version of the loaded library. A program may use the library if the major number equals that of `SMIDGEN_ABI_VERSION` and the
/// minor number is not smaller.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_abi_version() -> u32 {
    SMIDGEN_ABI_VERSION
}

/// Returns the version of the library, as a string that is valid for the life of the process.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Returns the name of a status, for logs, as a string that is valid for the life of the process.
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

/// Returns the error message of the calling thread's last failed call: one line, empty if no call failed. It is valid until the thread's next
/// failed call.
#[unsafe(no_mangle)]
pub extern "C" fn smidgen_error_message() -> *const c_char {
    failure::kept().cast()
}

/// Sets the function that receives log lines of at least `level`, or null for none. This is the only process-wide setting. The function may
/// be called on any thread on which the host calls the library, and must remain valid until another one is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_set_logger(log: smidgen_log_fn, user: *mut c_void, level: u32) -> smidgen_status {
    guard::enter(|| {
        log::set(log, user, level);
        Ok(())
    })
}
