//! Checked access to memory behind the host's pointers.

use crate::failure::Failure;
use crate::types::*;
use std::ffi::{CStr, c_char};

/// The most bytes of a versioned struct that are accepted.
const MOST: usize = 1 << 12;

/// A struct of plain fields that begins with its size, and whose defaults are zeros.
///
/// # Safety
/// All bytes zero are a value, the first field is a `usize`, and there is no padding at the end.
pub(crate) unsafe trait Versioned: Copy {
    /// The size in the first version of the ABI.
    const LEAST: usize;
}

/// Reads a struct of the host's, of an older or a newer version; null is all defaults.
///
/// # Safety
/// `from` is null, or the size that it begins with can be read.
pub(crate) unsafe fn read<T: Versioned>(from: *const T, name: &str) -> Result<T, Failure> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    if !from.is_null() {
        // SAFETY: at least the size is there.
        let size = unsafe { from.cast::<usize>().read_unaligned() };
        check(size, T::LEAST, name)?;
        let known = size.min(size_of::<T>());
        // SAFETY: the host says that so many bytes are there, and they are no more than the struct has.
        unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known) };
        // SAFETY: the host says that these bytes are there.
        let newer = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
        if newer.iter().any(|byte| *byte != 0) {
            return Err(Failure::unsupported(format_args!(
                "{name}: a field that this version of the library does not know is set"
            )));
        }
    }
    // SAFETY: zeros are a value of such a struct, and so is what a host has written there.
    Ok(unsafe { value.assume_init() })
}

/// Fills a struct of the host's, as far as its version goes.
///
/// # Safety
/// `to` is null, or the size that it begins with can be read and so many bytes be written.
pub(crate) unsafe fn write<T: Versioned>(to: *mut T, value: &T, name: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: at least the size is there.
    let size = unsafe { to.cast::<usize>().read_unaligned() };
    check(size, T::LEAST, name)?;
    let (head, known) = (size_of::<usize>(), size.min(size_of::<T>()));
    // SAFETY: the host says that so many bytes are there; its size stays as it is.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>().add(head),
            to.cast::<u8>().add(head),
            known - head,
        );
    }
    Ok(())
}

fn check(size: usize, least: usize, name: &str) -> Result<(), Failure> {
    if (least..=MOST).contains(&size) {
        return Ok(());
    }
    Err(Failure::argument(format_args!("{name}: size is {size}, but must be sizeof, at least {least}")))
}

/// The host's array.
///
/// # Safety
/// `length` elements can be read from `from`, unless it is null or `length` is 0, as long as the result is in use.
pub(crate) unsafe fn slice<'h, T>(from: *const T, length: usize, name: &str) -> Result<&'h [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if from.is_null() {
        return Err(Failure::null(name));
    }
    if !from.is_aligned() || length.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Failure::argument(format_args!("{name} is not aligned, or longer than memory can be")));
    }
    // SAFETY: it is not null, aligned, and the host says that so many elements are there.
    Ok(unsafe { std::slice::from_raw_parts(from, length) })
}

/// The host's text of `length` bytes, or up to its zero.
///
/// # Safety
/// As for [`slice`]; with `SMIDGEN_TEXT_END` for a length, a zero ends the text.
pub(crate) unsafe fn text<'h>(from: *const c_char, length: usize, name: &str) -> Result<&'h str, Failure> {
    let bytes = if length == SMIDGEN_TEXT_END {
        if from.is_null() {
            return Err(Failure::null(name));
        }
        // SAFETY: the host says that a zero ends the text.
        unsafe { CStr::from_ptr(from) }.to_bytes()
    } else {
        // SAFETY: as the caller says.
        unsafe { slice(from.cast::<u8>(), length, name) }?
    };
    std::str::from_utf8(bytes).map_err(|error| {
        let text = format_args!("{name} is not UTF-8 text at byte {}", error.valid_up_to());
        Failure::new(SMIDGEN_ERROR_TEXT, text)
    })
}

/// Writes the number of elements to the host's count, and copies them if the buffer has room for all of them.
///
/// # Safety
/// `count` can be written unless it is null, and `capacity` elements from `to` on unless that is null.
pub(crate) unsafe fn give<T: Copy>(
    values: &[T],
    to: *mut T,
    capacity: usize,
    count: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: as the caller says.
    unsafe { give_with(values, None, to, capacity, count) }
}

/// As [`give`], with a zero after the text, which is not counted.
///
/// # Safety
/// As for [`give`].
pub(crate) unsafe fn give_text(
    text: &str,
    to: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: as the caller says.
    unsafe { give_with(text.as_bytes(), Some(0), to.cast::<u8>(), capacity, length) }
}

unsafe fn give_with<T: Copy>(
    values: &[T],
    end: Option<T>,
    to: *mut T,
    capacity: usize,
    count: *mut usize,
) -> Result<(), Failure> {
    let needed = values.len() + usize::from(end.is_some());
    // SAFETY: as the caller says.
    unsafe { fits(values.len(), needed, capacity, count) }?;
    if needed > 0 && to.is_null() {
        return Err(Failure::null("the buffer"));
    }
    for (i, value) in values.iter().copied().chain(end).enumerate() {
        // SAFETY: there is room for that many, says the host.
        unsafe { to.add(i).write_unaligned(value) };
    }
    Ok(())
}

/// Writes the number of elements to the host's count, and fails if the buffer is too short. It is called before long work where the number is
/// known.
///
/// # Safety
/// `count` can be written unless it is null.
pub(crate) unsafe fn fits(elements: usize, needed: usize, capacity: usize, count: *mut usize) -> Result<(), Failure> {
    if count.is_null() {
        return Err(Failure::null("the pointer for the count"));
    }
    // SAFETY: it is not null, and the host says that it can be written.
    unsafe { count.write_unaligned(elements) };
    if capacity < needed {
        let text = format_args!("the buffer has room for {capacity}, but {needed} are needed");
        return Err(Failure::new(SMIDGEN_ERROR_SHORT_BUFFER, text));
    }
    Ok(())
}

/// The place for a new handle, which is null until there is one.
///
/// # Safety
/// `out` is null or can be written.
pub(crate) unsafe fn place<'h, T>(out: *mut *mut T) -> Result<&'h mut *mut T, Failure> {
    // SAFETY: as the caller says; a null pointer is none.
    let place = unsafe { out.as_mut() }.ok_or_else(|| Failure::null("the pointer for the handle"))?;
    *place = std::ptr::null_mut();
    Ok(place)
}
