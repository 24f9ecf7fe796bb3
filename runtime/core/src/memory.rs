//! Allocation that can fail.

use crate::Error;
use alloc::vec;
use alloc::vec::Vec;

/// `len` zeros, in pages that the system hands out when they are first written to.
pub(crate) fn zeroed<T: Clone + Default>(len: usize) -> Result<Vec<T>, Error> {
    let mut probe = Vec::<T>::new();
    let refused = Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    probe.try_reserve_exact(len).map_err(|_| refused)?;
    // The probe must not be optimized away: `vec!` gets zeroed pages without touching them, but aborts if it gets none.
    drop(core::hint::black_box(probe));
    Ok(vec![T::default(); len])
}

/// An empty vector with room for `len`.
pub(crate) fn with_room<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    let refused = Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) };
    list.try_reserve_exact(len).map_err(|_| refused)?;
    Ok(list)
}
