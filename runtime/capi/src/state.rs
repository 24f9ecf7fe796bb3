//! Saving and restoring the state of a session.

use crate::failure::Failure;
use crate::generate::cannot_write;
use crate::session::{Run, Session};
use crate::types::*;
use crate::{guard, handle, memory};
use std::ffi::c_char;
use std::path::Path;

/// Writes the state of a language model's session to `buffer`: its KV cache and tokens. The last generated token is not among them, as it has not
/// passed through the model. `length` receives the number of bytes, also if the buffer is too short for them. This version of the library,
/// and later ones with the same major number, can restore a state.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_save(
    session: *mut smidgen_session,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> smidgen_status {
    guard::enter(|| {
        let session = handle::get::<Session>(session)?;
        let bytes = session.with(|run| state_bytes(run, &session))?;
        // SAFETY: the host gives a place for the length.
        unsafe { memory::fits(bytes, bytes, capacity, length) }?;
        let state = session.with(|run| save(run, &session))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the length.
        unsafe { memory::give(&state, buffer, capacity, length) }
    })
}

/// As `smidgen_session_save`, but writes a file, replacing one of the same name. The file is complete or absent: it is written under its name with
/// ".part" appended, and then renamed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_save_file(
    session: *mut smidgen_session,
    path: *const c_char,
) -> smidgen_status {
    guard::enter(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives a text that ends with a zero.
        let path = unsafe { memory::text(path, SMIDGEN_TEXT_END, "path") }?;
        let state = session.with(|run| save(run, &session))?;
        let part = format!("{path}.part");
        let written = std::fs::write(&part, state).and_then(|()| std::fs::rename(&part, path));
        written.map_err(|error| {
            // What is left of it is of no use, if anything is.
            let _ = std::fs::remove_file(&part);
            Failure::new(SMIDGEN_ERROR_FILE, format_args!("{path}: cannot be written: {error}"))
        })
    })
}

/// Restores a state that a session of the same model and type of KV cache has saved. The context length may differ, if it is long enough. A state that is not as
/// it was saved is `SMIDGEN_ERROR_STATE`; only a whole one can be `SMIDGEN_ERROR_CONTEXT_FULL`. After an error the session is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_restore(
    session: *mut smidgen_session,
    state: *const u8,
    length: usize,
) -> smidgen_status {
    guard::enter(|| {
        let session = handle::get::<Session>(session)?;
        if state.is_null() {
            return Err(Failure::null("state"));
        }
        // SAFETY: the host gives so many bytes.
        let state = unsafe { memory::slice(state, length, "state") }?;
        session.with(|run| restore(run, &session, state))
    })
}

/// As `smidgen_session_restore`, but reads a file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_restore_file(
    session: *mut smidgen_session,
    path: *const c_char,
) -> smidgen_status {
    guard::enter(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives a text that ends with a zero.
        let path = unsafe { memory::text(path, SMIDGEN_TEXT_END, "path") }?;
        let state = read(Path::new(path))?;
        session.with(|run| restore(run, &session, &state))
    })
}

/// A file's bytes. Opening anything else could wait for ever.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let failed = |text: String| Failure::new(SMIDGEN_ERROR_FILE, format_args!("{}: {text}", path.display()));
    let found = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !found.is_file() {
        return Err(failed("is not a regular file".to_owned()));
    }
    let bytes = usize::try_from(found.len()).map_err(|_| Failure::memory(usize::MAX))?;
    let mut state = Vec::new();
    state.try_reserve_exact(bytes).map_err(|_| Failure::memory(bytes))?;
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(found.len()).read_to_end(&mut state).map_err(|error| failed(error.to_string()))?;
    Ok(state)
}

#[cfg(feature = "language")]
fn state_bytes(run: &mut Run, session: &Session) -> Result<usize, Failure> {
    Ok(run.language.as_ref().ok_or_else(|| cannot_write(&session.model))?.state_bytes(0)?)
}

#[cfg(feature = "language")]
fn save(run: &mut Run, session: &Session) -> Result<Vec<u8>, Failure> {
    let bytes = state_bytes(run, session)?;
    let language = run.language.as_ref().ok_or_else(|| cannot_write(&session.model))?;
    let mut state = Vec::new();
    state.try_reserve_exact(bytes).map_err(|_| Failure::memory(bytes))?;
    state.resize(bytes, 0);
    language.save(0, &mut state)?;
    Ok(state)
}

#[cfg(feature = "language")]
fn restore(run: &mut Run, session: &Session, state: &[u8]) -> Result<(), Failure> {
    let language = run.language.as_mut().ok_or_else(|| cannot_write(&session.model))?;
    language.restore(0, state)?;
    run.rest.clear();
    Ok(())
}

#[cfg(not(feature = "language"))]
fn state_bytes(_: &mut Run, session: &Session) -> Result<usize, Failure> {
    Err(cannot_write(&session.model))
}

#[cfg(not(feature = "language"))]
fn save(_: &mut Run, session: &Session) -> Result<Vec<u8>, Failure> {
    Err(cannot_write(&session.model))
}

#[cfg(not(feature = "language"))]
fn restore(_: &mut Run, session: &Session, _: &[u8]) -> Result<(), Failure> {
    Err(cannot_write(&session.model))
}
