//! defmt's log in a ring in RAM, which a debug probe reads while the program runs (SEGGER, "Real-Time Transfer": the control block
//! `_SEGGER_RTT`).
//!
//! A line that the ring has no room for is left out as a whole: nothing here waits or panics. It is for one core, and for programs whose
//! interrupt handlers log nothing.
#![no_std]

use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(target_os = "none")]
mod logger;

/// Puts bytes into the ring from `at` on, and says where the next go; none if they would reach `read`, where the reader is.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only a device logs"))]
fn put(ring: &[AtomicU8], read: usize, mut at: usize, bytes: &[u8]) -> Option<usize> {
    for byte in bytes {
        let next = if at + 1 == ring.len() { 0 } else { at + 1 };
        if next == read {
            return None;
        }
        ring.get(at)?.store(*byte, Ordering::Relaxed);
        at = next;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_what_was_not_read() {
        let ring = [const { AtomicU8::new(0) }; 8];
        let bytes = || ring.each_ref().map(|byte| byte.load(Ordering::Relaxed));
        assert_eq!(put(&ring, 0, 0, b"abcde"), Some(5));
        // Room for two: a full ring would look like an empty one.
        assert_eq!(put(&ring, 0, 5, b"fgh"), None);
        assert_eq!(put(&ring, 0, 5, b"fg"), Some(7));
        assert_eq!(&bytes()[..7], b"abcdefg");
        // The reader has taken four, and the next go around the end.
        assert_eq!(put(&ring, 4, 7, b"hij"), Some(2));
        assert_eq!(&bytes(), b"ijcdefgh");
        assert_eq!(put(&ring, 4, 2, b"kl"), None);
        assert_eq!(put(&ring, 4, 2, b"k"), Some(3));
        assert_eq!(put(&ring, 4, 3, b""), Some(3));
        // Places that are not there.
        assert_eq!(put(&ring, 4, 8, b"x"), None);
        assert_eq!(put(&ring, 99, 0, b"x"), Some(1));
    }
}
