//! Sessions: opening, asking, closing.

use crate::failure::Failure;
use crate::model::Model;
use crate::reserve::Mark;
use crate::session::{Session, options};
use crate::types::*;
use crate::{guard, handle, memory};

/// Opens a session of a model. `params` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_open(
    model: *mut smidgen_model,
    params: *const smidgen_session_params,
    session: *mut *mut smidgen_session,
) -> smidgen_status {
    guard::enter(|| {
        guard::prepare()?;
        // SAFETY: the host gives a place that can be written.
        let place = unsafe { memory::place(session) }?;
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives a struct that begins with its size.
        let params = unsafe { memory::read(params, "params") }?;
        // SAFETY: the host gives so many numbers.
        let cpus = unsafe { memory::slice(params.cpus, params.cpu_count, "cpus") }?;
        let began = Mark::now();
        *place = handle::open(Session::new(model, &params, cpus)?, began)?;
        Ok(())
    })
}

/// Writes the bytes of memory that a session of a language model takes with these options, beside the model. `params` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_bytes(
    model: *mut smidgen_model,
    params: *const smidgen_session_params,
    bytes: *mut u64,
) -> smidgen_status {
    guard::enter(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives a struct that begins with its size.
        let params = unsafe { memory::read(params, "params") }?;
        // SAFETY: the host gives a place that can be written; a null pointer is none.
        let place = unsafe { bytes.as_mut() }.ok_or_else(|| Failure::null("bytes"))?;
        let network = model.network().ok_or_else(|| Failure::unsupported("this model does not generate text"))?;
        *place = options(network, &params)?.bytes_needed(network)? as u64;
        Ok(())
    })
}

/// Closes a session. A session that is in use stays open, and the call returns `SMIDGEN_ERROR_BUSY` or `SMIDGEN_ERROR_REENTRANT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_close(session: *mut smidgen_session) -> smidgen_status {
    guard::enter(|| {
        handle::get::<Session>(session)?.is_free()?;
        handle::close::<Session>(session)
    })
}

/// Cancels the session's generation after the token, or the batch of the prompt, that is being computed; its `finish` is then
/// `SMIDGEN_FINISH_CANCELLED`, unless it fails. This function may be called from any thread, and from callbacks. It returns `SMIDGEN_ERROR_IDLE` if
/// no generation is running.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_cancel(session: *mut smidgen_session) -> smidgen_status {
    guard::enter(|| {
        let told = handle::get::<Session>(session)?.cancel();
        told.then_some(()).ok_or_else(|| Failure::new(SMIDGEN_ERROR_IDLE, "no generation is running"))
    })
}

/// Writes information about the session to `info`; the host sets `info->size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_get_info(
    session: *mut smidgen_session,
    info: *mut smidgen_session_info,
) -> smidgen_status {
    guard::enter(|| {
        let found = handle::get::<Session>(session)?.with(|run| Ok(run.info()))?;
        // SAFETY: the host gives a struct that begins with its size.
        unsafe { memory::write(info, &found, "info") }
    })
}
