//! Models: opening, asking, closing.

use crate::failure::Failure;
use crate::model::{Model, Source};
use crate::reserve::Mark;
use crate::types::*;
use crate::{guard, handle, memory};
use smidgen_host::ModelFile;
use std::ffi::c_char;

fn open(
    params: *const smidgen_model_params,
    out: *mut *mut smidgen_model,
    source: impl FnOnce(u64) -> Result<Source, Failure>,
) -> smidgen_status {
    guard::enter(|| {
        guard::prepare()?;
        // SAFETY: the host gives a place that can be written.
        let place = unsafe { memory::place(out) }?;
        // SAFETY: the host gives a struct that begins with its size.
        let params = unsafe { memory::read(params, "params") }?;
        if params.flags & !u64::from(SMIDGEN_OPEN_COPY) != 0 {
            return Err(Failure::unsupported(format_args!("flags {:#x}: unknown bits are set", params.flags)));
        }
        let began = Mark::now();
        *place = handle::open(Model::new(source(params.flags)?, &params)?, began)?;
        Ok(())
    })
}

/// Opens the GGUF file at `path` (UTF-8, null-terminated); of a split model, any of its files. The file is mapped, not copied: it must not be
/// changed while it is open. `params` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_open_path(
    path: *const c_char,
    params: *const smidgen_model_params,
    model: *mut *mut smidgen_model,
) -> smidgen_status {
    open(params, model, |_| {
        // SAFETY: the host gives a text that ends with a zero.
        let path = unsafe { memory::text(path, SMIDGEN_TEXT_END, "path") }?;
        Ok(Source::File(ModelFile::open(path)?))
    })
}

/// Opens `length` bytes of an open file from `offset` on, such as an asset that is stored uncompressed in an Android package; a length of 0
/// means all bytes to the end of the file. The host keeps the descriptor, and may close it after the call. Supported on Unix only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_open_fd(
    fd: i32,
    offset: u64,
    length: u64,
    params: *const smidgen_model_params,
    model: *mut *mut smidgen_model,
) -> smidgen_status {
    open(params, model, |_| from_descriptor(fd, offset, length))
}

#[cfg(unix)]
fn from_descriptor(fd: i32, offset: u64, length: u64) -> Result<Source, Failure> {
    use std::os::fd::BorrowedFd;
    // SAFETY: asks the system whether there is such a descriptor.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(Failure::new(SMIDGEN_ERROR_FILE, format_args!("descriptor {fd} is not open")));
    }
    // SAFETY: it is open, and the host keeps it so during the call.
    let file = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    let failed = |error| Failure::new(SMIDGEN_ERROR_FILE, format_args!("descriptor {fd}: {error}"));
    let name = format!("descriptor {fd}");
    let length = (length > 0).then_some(length);
    Ok(Source::File(ModelFile::of_range(&file.map_err(failed)?.into(), offset, length, name.as_ref())?))
}

#[cfg(not(unix))]
fn from_descriptor(_: i32, _: u64, _: u64) -> Result<Source, Failure> {
    Err(Failure::unsupported("this system has no file descriptors; open by path or from memory"))
}

/// Opens a model in memory. The host must keep the bytes unchanged until the model and all its sessions are closed, unless `params` has the flag
/// `SMIDGEN_OPEN_COPY`. `params` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_open_memory(
    bytes: *const u8,
    length: usize,
    params: *const smidgen_model_params,
    model: *mut *mut smidgen_model,
) -> smidgen_status {
    open(params, model, |flags| {
        if bytes.is_null() {
            return Err(Failure::null("bytes"));
        }
        // SAFETY: the host gives so many bytes, and keeps them, or wants a copy.
        let bytes = unsafe { memory::slice(bytes, length, "bytes") }?;
        if flags & u64::from(SMIDGEN_OPEN_COPY) != 0 { Source::copy(bytes) } else { Ok(Source::Host(bytes)) }
    })
}

/// Closes a model. Its memory is freed when its last session is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_close(model: *mut smidgen_model) -> smidgen_status {
    guard::enter(|| handle::close::<Model>(model))
}

/// Writes information about the model to `info`; the host sets `info->size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_get_info(
    model: *mut smidgen_model,
    info: *mut smidgen_model_info,
) -> smidgen_status {
    guard::enter(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives a struct that begins with its size.
        unsafe { memory::write(info, &model.info(), "info") }
    })
}

/// Writes the value of a metadata key (a string, a number or a boolean) to `buffer` as a null-terminated string. `length` receives its length without
/// the terminator, for which the buffer must have room too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_metadata(
    model: *mut smidgen_model,
    key: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> smidgen_status {
    guard::enter(|| {
        let model = handle::get::<Model>(model)?;
        // SAFETY: the host gives a text that ends with a zero.
        let key = unsafe { memory::text(key, SMIDGEN_TEXT_END, "key") }?;
        let value = model.parts.iter().find_map(|part| part.get(key));
        let value = value.ok_or_else(|| Failure::argument(format_args!("the file has no metadata key {key:?}")))?;
        let text = match (value.as_str(), value.as_i64(), value.as_f32(), value.as_bool()) {
            (Some(text), ..) => text.to_owned(),
            (_, Some(integer), ..) => integer.to_string(),
            (_, _, Some(number), _) => number.to_string(),
            (.., Some(truth)) => truth.to_string(),
            _ if value.not_utf8().is_some() => {
                return Err(Failure::new(
                    SMIDGEN_ERROR_FORMAT,
                    format_args!("metadata key {key:?} is not UTF-8 (at byte {})", value.not_utf8().unwrap_or(0)),
                ));
            }
            _ => {
                return Err(Failure::unsupported(format_args!(
                    "metadata key {key:?} has the type {}, which has no text form",
                    value.kind()
                )));
            }
        };
        // SAFETY: the host gives a buffer of that capacity, and a place for the length.
        unsafe { memory::give_text(&text, buffer, capacity, length) }
    })
}

/// Writes the name of a class, or its number if it has none, to `buffer` as a null-terminated string. `length` is as for
/// `smidgen_model_metadata`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_model_label(
    model: *mut smidgen_model,
    class_number: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> smidgen_status {
    guard::enter(|| {
        let model = handle::get::<Model>(model)?;
        let (labels, count) = model.classes();
        let number = class_number as usize;
        if number >= count {
            return Err(Failure::argument(format_args!(
                "class {number} is out of range; the model has {count} classes"
            )));
        }
        let label = labels.get(number).cloned().unwrap_or_else(|| number.to_string());
        // SAFETY: the host gives a buffer of that capacity, and a place for the length.
        unsafe { memory::give_text(&label, buffer, capacity, length) }
    })
}
