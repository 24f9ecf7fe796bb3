//! Allocation that can fail.

use crate::error::OutOfMemory;
use alloc::vec::Vec;
use smidgen_targets::Zeroable;

/// `len` zeros, in pages that the system hands out when they are first written to.
pub(crate) fn zeroed<T: Zeroable>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    smidgen_targets::zeroed(len).ok_or(OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// `len` defaults, written at once.
pub(crate) fn defaults<T: Clone + Default>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = try_with_capacity(len)?;
    list.resize(len, T::default());
    Ok(list)
}

/// An empty vector with room for `len`.
pub(crate) fn try_with_capacity<T>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = Vec::new();
    try_reserve(&mut list, len)?;
    Ok(list)
}

/// Makes room for `more` elements beyond those that are there.
pub(crate) fn try_reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    let refused = OutOfMemory { bytes: more.saturating_mul(size_of::<T>()) };
    list.try_reserve_exact(more).map_err(|_| refused)
}
