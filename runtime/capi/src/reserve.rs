//! The library's allocator: the system's, with a reserve for small pieces, since Rust ends the process when one of those is refused.
//!
//! Large allocations, and those that grow with a model, are made in ways that can fail, and never come from the reserve. A call during which the
//! reserve was needed ends with `SMIDGEN_ERROR_MEMORY`, and gives back what it took: see [`Mark`].

use crate::failure::Failure;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of a block, the unit of the reserve.
const BLOCK: usize = 256;
/// The number of blocks. They take room in the address space only, until they are needed.
const BLOCKS: usize = 4096;
/// The most bytes of a piece.
const MOST: usize = 1 << 16;

/// Bytes that a thread may need when it starts, beside its stack: C's library takes them in steps of this size.
pub(crate) const THREAD: usize = 1 << 20;

#[repr(align(256))]
struct Room(UnsafeCell<[u8; BLOCK * BLOCKS]>);

// SAFETY: each byte belongs to whoever has been given its block.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; BLOCK * BLOCKS]));
/// Whether a block has been given out.
static TAKEN: [AtomicBool; BLOCKS] = [const { AtomicBool::new(false) }; BLOCKS];
/// The number of pieces that were ever given out.
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// A moment, to tell whether the reserve has been needed since.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    pub(crate) fn now() -> Mark {
        Mark(PIECES.load(Ordering::SeqCst))
    }

    /// An error if the reserve has been needed, by this thread or another.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.0 == Mark::now().0 { Ok(()) } else { Err(Failure::short()) }
    }
}

/// Fails if the system refuses so many bytes. It is called before work whose allocations cannot fail.
pub(crate) fn probe(bytes: usize) -> Result<(), Failure> {
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(bytes).map_err(|_| Failure::memory(bytes))?;
    // It must not be optimized away.
    drop(std::hint::black_box(probe));
    Ok(())
}

/// The allocator of libsmidgen: the system's, and small pieces of a reserve where the system refuses. Only the library itself makes it the
/// process's (`#[global_allocator]`); a program that links this crate keeps its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reserve;

fn room() -> *mut u8 {
    ROOM.0.get().cast()
}

/// The first block of a piece of the reserve.
fn block(place: *mut u8) -> Option<usize> {
    place.addr().checked_sub(room().addr()).filter(|offset| *offset < BLOCK * BLOCKS).map(|offset| offset / BLOCK)
}

/// A piece of the reserve, or null.
fn take(layout: Layout) -> *mut u8 {
    let count = layout.size().div_ceil(BLOCK);
    if layout.size() > MOST || layout.align() > BLOCK {
        return std::ptr::null_mut();
    }
    let mut first = 0;
    while first + count <= BLOCKS {
        let run = &TAKEN[first..first + count];
        let Some(other) = run.iter().position(|block| block.swap(true, Ordering::Acquire)) else {
            PIECES.fetch_add(1, Ordering::SeqCst);
            return room().wrapping_add(first * BLOCK);
        };
        run[..other].iter().for_each(|block| block.store(false, Ordering::Release));
        first += other + 1;
    }
    std::ptr::null_mut()
}

fn give_back(first: usize, layout: Layout) {
    TAKEN[first..first + layout.size().div_ceil(BLOCK)].iter().for_each(|block| block.store(false, Ordering::Release));
}

// SAFETY: pieces of the reserve are aligned, as long as asked for, do not overlap, and stay until they are given back; the rest is the
// system's allocator. Nothing here unwinds: all ranges of blocks lie within the reserve.
unsafe impl GlobalAlloc for Reserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        let place = unsafe { System.alloc(layout) };
        if place.is_null() { take(layout) } else { place }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        let place = unsafe { System.alloc_zeroed(layout) };
        if !place.is_null() {
            return place;
        }
        let place = take(layout);
        if !place.is_null() {
            // SAFETY: the piece is that long.
            unsafe { place.write_bytes(0, layout.size()) };
        }
        place
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if block(place).is_none() {
            // SAFETY: as the caller says, and the place is the system's.
            let longer = unsafe { System.realloc(place, layout, size) };
            if !longer.is_null() {
                return longer;
            }
        }
        // SAFETY: the caller gives a size that makes a layout with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller gives a size that is not zero.
        let other = if block(place).is_none() { take(wanted) } else { unsafe { self.alloc(wanted) } };
        if !other.is_null() {
            // SAFETY: both places are that long, and do not overlap.
            unsafe { other.copy_from_nonoverlapping(place, size.min(layout.size())) };
            // SAFETY: the place was given out with this layout.
            unsafe { self.dealloc(place, layout) };
        }
        other
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        match block(place) {
            Some(first) => give_back(first, layout),
            // SAFETY: the place is the system's, and as the caller says.
            None => unsafe { System.dealloc(place, layout) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_come_again() {
        let (small, large) = (Layout::new::<u64>(), Layout::array::<u8>(MOST).unwrap());
        let mark = Mark::now();
        assert!(mark.check().is_ok());
        let mut pieces = Vec::new();
        for layout in [small, large, small].into_iter().chain(std::iter::repeat_n(large, 30)) {
            let piece = take(layout);
            let (first, end) = (piece.addr(), piece.addr() + layout.size());
            let free =
                |(other, length): &(*mut u8, Layout)| end <= other.addr() || other.addr() + length.size() <= first;
            if !piece.is_null() {
                assert!(first.is_multiple_of(BLOCK) && block(piece).is_some() && pieces.iter().all(free));
                pieces.push((piece, layout));
            }
        }
        assert!(mark.check().is_err() && pieces.len() == 17, "{}", pieces.len());
        assert!(take(Layout::array::<u8>(MOST + 1).unwrap()).is_null() && take(large).is_null());
        for (piece, layout) in pieces {
            // SAFETY: it was given out with this layout.
            unsafe { Reserve.dealloc(piece, layout) };
        }
        assert_eq!(block(take(small)), Some(0));
        give_back(0, small);
    }

    #[test]
    fn pieces_grow() {
        let layout = Layout::array::<u8>(300).unwrap();
        let piece = take(layout);
        // SAFETY: the piece is that long, and grown and given back with its layout.
        unsafe {
            piece.write_bytes(7, 300);
            let longer = Reserve.realloc(piece, layout, 900);
            assert!(!longer.is_null() && (0..300).all(|i| *longer.add(i) == 7));
            Reserve.dealloc(longer, Layout::array::<u8>(900).unwrap());
        }
        assert!(!std::ptr::eq(piece, std::ptr::null()));
    }
}
