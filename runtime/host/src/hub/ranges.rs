//! Sets of bytes of a file.

/// A set of bytes: ranges from a byte to one before another, sorted, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a range.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < start);
        let after = self.0.partition_point(|range| range.0 <= end);
        let (mut start, mut end) = (start, end);
        for range in self.0.get(first..after).unwrap_or_default() {
            (start, end) = (start.min(range.0), end.max(range.1));
        }
        self.0.splice(first..after, [(start, end)]);
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|range| range.1 - range.0).sum()
    }

    /// Up to where all bytes from 0 are in it.
    pub(crate) fn frontier(&self) -> u64 {
        self.0.first().filter(|range| range.0 == 0).map_or(0, |range| range.1)
    }

    /// Leaves out what is at `end` and after it.
    pub(crate) fn cut(&mut self, end: u64) {
        self.0.retain_mut(|range| {
            range.1 = range.1.min(end);
            range.0 < range.1
        });
    }

    /// The bytes below `end` that are not in it, in pieces of at most `piece` bytes.
    pub(crate) fn missing(&self, end: u64, piece: u64) -> Vec<(u64, u64)> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for &(start, stop) in self.0.iter().chain([&(end, end)]) {
            let to = start.min(end);
            while from < to {
                let next = to.min(from.saturating_add(piece.max(1)));
                pieces.push((from, next));
                from = next;
            }
            from = from.max(stop);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a set of single bytes.
    #[test]
    fn ranges_are_a_set() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let (mut ranges, mut bytes) = (Ranges::default(), [false; 64]);
            for _ in 0..random(12) {
                let start = random(64);
                let end = start + random(64 - start + 1);
                ranges.add(start, end);
                bytes[start as usize..end as usize].fill(true);
            }
            assert_eq!(ranges.len(), bytes.iter().filter(|is| **is).count() as u64);
            assert_eq!(ranges.frontier(), bytes.iter().take_while(|is| **is).count() as u64);
            assert!(ranges.0.windows(2).all(|two| two[0].1 < two[1].0), "{ranges:?}");
            let (end, piece) = (random(65), 1 + random(9));
            let missing = ranges.missing(end, piece);
            assert!(missing.iter().all(|(from, to)| from < to && to - from <= piece));
            let wanted: Vec<u64> = (0..end).filter(|i| !bytes[*i as usize]).collect();
            assert_eq!(missing.into_iter().flat_map(|(from, to)| from..to).collect::<Vec<_>>(), wanted);
            ranges.cut(end);
            assert_eq!(ranges.len(), bytes[..end as usize].iter().filter(|is| **is).count() as u64);
        }
    }
}
