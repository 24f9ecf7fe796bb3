//! The host's logger, the only process-wide setting.

use crate::guard;
use crate::types::*;
use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::sync::{PoisonError, RwLock};

/// The host's function, its pointer, and the least level that it receives.
#[derive(Clone, Copy)]
struct Logger {
    write: smidgen_log_fn,
    user: *mut c_void,
    least: u32,
}

// SAFETY: the pointer is the host's, handed back and never read; the header asks for a function that any thread may call.
unsafe impl Send for Logger {}
// SAFETY: as above.
unsafe impl Sync for Logger {}

static LOGGER: RwLock<Option<Logger>> = RwLock::new(None);

thread_local! {
    /// Whether the host's function is running on this thread; its own calls are not logged.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn set(write: smidgen_log_fn, user: *mut c_void, least: u32) {
    let logger = write.is_some().then_some(Logger { write, user, least });
    *LOGGER.write().unwrap_or_else(PoisonError::into_inner) = logger;
}

/// Hands a line to the host's logger, if there is one and it wants lines of this level.
pub(crate) fn write(level: u32, text: &str) {
    let logger = *LOGGER.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Logger { write: Some(write), user, .. }) = logger.filter(|logger| level >= logger.least) else { return };
    let Ok(line) = CString::new(text.replace('\0', " ")) else { return };
    if !WRITING.replace(true) {
        // SAFETY: the host's function, with what the host gave for it, and a text that ends with a zero.
        guard::outside(|| unsafe { write(user, level, line.as_ptr()) });
        WRITING.set(false);
    }
}
