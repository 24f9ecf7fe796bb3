//! Sorted order without memory: what detects duplicates and overlaps.

use crate::Error;

/// Positions held on the stack at a time: 4 KiB, 2 KiB on 32-bit machines.
const BATCH: usize = 512;

/// Calls `pair` with the positions of each record and its successor in the order of their keys, ties by position.
///
/// `records` starts a walk over the keys and positions of all records; `key` gives the key at a position. There is one walk
/// per batch of at least half of `BATCH` records, so n records cost n * n / 256 steps at worst, and a single walk where
/// n <= `BATCH`.
pub(crate) fn adjacent_pairs<K: Ord + Copy, I: Iterator<Item = (K, usize)>>(
    records: impl Fn() -> I,
    key: impl Fn(usize) -> K,
    mut pair: impl FnMut(usize, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let order = |a: &usize, b: &usize| (key(*a), *a).cmp(&(key(*b), *b));
    let mut last: Option<(K, usize)> = None;
    let mut batch = [0usize; BATCH];
    loop {
        // Invariant: batch[..len] holds every position seen that lies in (last, cut].
        let mut len = 0;
        let mut cut: Option<(K, usize)> = None;
        for record in records() {
            if last.is_some_and(|last| record <= last) || cut.is_some_and(|cut| record > cut) {
                continue;
            }
            if len == BATCH {
                let (_, &mut middle, _) = batch.select_nth_unstable_by(BATCH / 2, order);
                cut = Some((key(middle), middle));
                len = BATCH / 2 + 1;
                if record > (key(middle), middle) {
                    continue;
                }
            }
            batch[len] = record.1;
            len += 1;
        }
        let sorted = &mut batch[..len];
        sorted.sort_unstable_by(order);
        for &mut position in sorted {
            if let Some((_, last)) = last {
                pair(last, position)?;
            }
            last = Some((key(position), position));
        }
        if cut.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n: usize, key: impl Fn(usize) -> usize) {
        let mut visited = 0;
        let mut previous = None;
        let result = adjacent_pairs(
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
        for n in [0, 1, 2, 255, 256, 257, 511, 512, 513, 514, 1000, 1024, 5000] {
            check(n, |i| i);
            check(n, |i| n - i);
            check(n, |i| i.wrapping_mul(0x9E37_79B9) % 65_537);
            check(n, |i| i % 3);
            check(n, |_| 0);
        }
    }
}
