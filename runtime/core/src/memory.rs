//! Allocation that can fail.

use crate::Error;
use alloc::vec::Vec;
use smidgen_targets::Zeroable;

/// `len` zeros, in pages that the system hands out when they are first written to.
pub(crate) fn zeroed<T: Zeroable>(len: usize) -> Result<Vec<T>, Error> {
    smidgen_targets::zeroed(len).ok_or(Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// `len` defaults, written at once.
pub(crate) fn defaults<T: Clone + Default>(len: usize) -> Result<Vec<T>, Error> {
    let mut list = with_room(len)?;
    list.resize(len, T::default());
    Ok(list)
}

/// An empty vector with room for `len`.
pub(crate) fn with_room<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    make_room(&mut list, len)?;
    Ok(list)
}

/// Makes room for `more` elements beyond those that are there.
pub(crate) fn make_room<T>(list: &mut Vec<T>, more: usize) -> Result<(), Error> {
    let refused = Error::OutOfMemory { bytes: more.saturating_mul(size_of::<T>()) };
    list.try_reserve_exact(more).map_err(|_| refused)
}
