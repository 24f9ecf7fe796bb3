//! The control block and defmt's logger.

use crate::put;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Bytes of the ring.
const SIZE: usize = 1024;

/// What the probe reads.
#[repr(C)]
struct Control {
    id: [u8; 16],
    channels_to_host: u32,
    channels_from_host: u32,
    name: &'static [u8; 6],
    ring: &'static [AtomicU8; SIZE],
    size: u32,
    /// Where the next byte goes.
    write: AtomicU32,
    /// Where the probe reads next; it writes this.
    read: AtomicU32,
    /// What a full ring means; the probe may write it.
    flags: AtomicU32,
}

static RING: [AtomicU8; SIZE] = [const { AtomicU8::new(0) }; SIZE];

#[unsafe(no_mangle)]
static _SEGGER_RTT: Control = Control {
    id: *b"SEGGER RTT\0\0\0\0\0\0",
    channels_to_host: 1,
    channels_from_host: 0,
    name: b"defmt\0",
    ring: &RING,
    size: SIZE as u32,
    write: AtomicU32::new(0),
    read: AtomicU32::new(0),
    flags: AtomicU32::new(0),
};

/// The line that is being written, which the probe does not see before its end.
struct Line {
    encoder: UnsafeCell<defmt::Encoder>,
    /// Where the next byte goes; none if the line has found no room.
    at: Cell<Option<usize>>,
}

// SAFETY: there is one core, and no interrupt handler logs, so there is one user at a time.
unsafe impl Sync for Line {}

static LINE: Line = Line { encoder: UnsafeCell::new(defmt::Encoder::new()), at: Cell::new(None) };

fn append(bytes: &[u8]) {
    let read = _SEGGER_RTT.read.load(Ordering::Acquire) as usize;
    LINE.at.set(LINE.at.get().and_then(|at| put(&RING, read, at, bytes)));
}

#[defmt::global_logger]
struct Logger;

// SAFETY: there is one user at a time.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        LINE.at.set(Some(_SEGGER_RTT.write.load(Ordering::Relaxed) as usize));
        // SAFETY: defmt calls this, `write` and `release` in turn.
        unsafe { &mut *LINE.encoder.get() }.start_frame(append);
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: as above.
        unsafe { &mut *LINE.encoder.get() }.end_frame(append);
        if let Some(at) = LINE.at.get() {
            _SEGGER_RTT.write.store(at as u32, Ordering::Release);
        }
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { &mut *LINE.encoder.get() }.write(bytes, append);
    }
}
