//! Sorted order without memory: what detects duplicates and overlaps.

use crate::Error;

/// Positions that a reader holds on the stack at a time: 4 KiB or, where addresses have 32 bits, 2; without a system an eighth of that.
pub(crate) const BATCH: usize = if cfg!(target_os = "none") { 64 } else { 512 };

/// Calls `pair` with the positions of each record and its successor in the order of their keys, ties by position.
///
/// `records` starts a walk over the keys and positions of all records; `key` gives the key at a position. There is one walk
/// per batch of `BATCH` records, so n records cost n * n / `BATCH` steps, and a single walk where n <= `BATCH`. Nothing here can panic.
pub(crate) fn adjacent_pairs<const BATCH: usize, K: Ord + Copy, I: Iterator<Item = (K, usize)>>(
    records: impl Fn() -> I,
    key: impl Fn(usize) -> K,
    mut pair: impl FnMut(usize, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let less = |a: usize, b: usize| (key(a), a) < (key(b), b);
    let mut last: Option<(K, usize)> = None;
    let mut batch = [0; BATCH];
    loop {
        // The least of those after `last`: once they are full, a heap with the greatest at its top.
        let (mut len, mut more) = (0, false);
        for record in records() {
            if last.is_some_and(|last| record <= last) {
                continue;
            }
            if let Some(free) = batch.get_mut(len) {
                *free = record.1;
                len += 1;
                if len == BATCH {
                    heapify(&mut batch, less);
                }
                continue;
            }
            more = true;
            if let Some(top) = batch.first_mut()
                && record < (key(*top), *top)
            {
                *top = record.1;
                sift(&mut batch, 0, less);
            }
        }
        let Some(batch) = batch.get_mut(..len) else { return Ok(()) };
        sort(batch, less);
        for &mut position in batch {
            if let Some((_, last)) = last {
                pair(last, position)?;
            }
            last = Some((key(position), position));
        }
        if !more {
            return Ok(());
        }
    }
}

/// Lets what is at `at` sink to its place in a heap.
fn sift(heap: &mut [usize], mut at: usize, less: impl Fn(usize, usize) -> bool) {
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let (Some(&here), Some(&greater)) = (heap.get(at), heap.get(left)) else { return };
        let (child, greater) = match heap.get(right) {
            Some(&other) if less(greater, other) => (right, other),
            _ => (left, greater),
        };
        if !less(here, greater) {
            return;
        }
        for (place, value) in [(at, greater), (child, here)] {
            if let Some(place) = heap.get_mut(place) {
                *place = value;
            }
        }
        at = child;
    }
}

fn heapify(heap: &mut [usize], less: impl Fn(usize, usize) -> bool + Copy) {
    for at in (0..heap.len() / 2).rev() {
        sift(heap, at, less);
    }
}

fn sort(batch: &mut [usize], less: impl Fn(usize, usize) -> bool + Copy) {
    heapify(batch, less);
    let mut heap = batch;
    while let [top, .., end] = heap {
        core::mem::swap(top, end);
        let Some((_, rest)) = heap.split_last_mut() else { return };
        heap = rest;
        sift(heap, 0, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n: usize, key: impl Fn(usize) -> usize) {
        check_in::<64>(n, &key);
        check_in::<512>(n, &key);
    }

    fn check_in<const BATCH: usize>(n: usize, key: impl Fn(usize) -> usize) {
        let mut visited = 0;
        let mut previous = None;
        let result = adjacent_pairs::<BATCH, _, _>(
            || (0..n).map(|i| (key(i), i)),
            &key,
            |a, b| {
                assert!((key(a), a) < (key(b), b));
                assert!(previous.is_none_or(|p| p == a));
                previous = Some(b);
                visited += 1;
                Ok(())
            },
        );
        assert_eq!(result, Ok(()));
        assert_eq!(visited, n.saturating_sub(1));
    }

    #[test]
    fn every_record_meets_its_successor() {
        for n in [0, 1, 2, 63, 64, 65, 66, 128, 255, 256, 257, 511, 512, 513, 514, 1000, 1024, 5000] {
            check(n, |i| i);
            check(n, |i| n - i);
            check(n, |i| i.wrapping_mul(0x9E37_79B9) % 65_537);
            check(n, |i| i % 3);
            check(n, |_| 0);
        }
    }
}
