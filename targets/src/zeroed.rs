//! Zeros from the system.

use alloc::alloc::alloc_zeroed;
use alloc::vec::Vec;
use core::alloc::Layout;

/// A number that is zero when all its bytes are.
///
/// # Safety
/// Bytes of zeros are a value of the type.
pub unsafe trait Zeroable: Copy {}

macro_rules! zeroable {
    ($($number:ty)*) => {
        $(
            // SAFETY: bytes of zeros are this type's number 0.
            unsafe impl Zeroable for $number {}
        )*
    };
}

zeroable!(u8 i8 u16 i16 u32 i32 u64 i64 usize f32 f64);

/// `len` zeros, in pages that the system hands out when they are first written to. None if it refuses them.
pub fn zeroed<T: Zeroable>(len: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout's size is not 0.
    let place = unsafe { alloc_zeroed(layout) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: the global allocator has given this place for `len` elements, and all of them are zeros, which are values.
    Some(unsafe { Vec::from_raw_parts(place, len, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_or_a_refusal() {
        assert_eq!(zeroed::<u16>(5).unwrap(), [0; 5]);
        assert!(zeroed::<f32>(0).unwrap().is_empty());
        assert!(zeroed::<u64>(usize::MAX).is_none());
        assert!(zeroed::<u8>(usize::MAX).is_none());
        // As much as half of the addresses, which a machine of 32 bits may have.
        #[cfg(target_pointer_width = "64")]
        assert!(zeroed::<u8>(isize::MAX as usize).is_none());
        let mut grown = zeroed::<i32>(3).unwrap();
        grown.extend([1; 1000]);
        assert_eq!((grown.len(), grown[2], grown[3]), (1003, 0, 1));
    }
}
