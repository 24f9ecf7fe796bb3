//! Joining neighbours, best first: the loop that both kinds of BPE share.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Error;
use super::vocab::{Index, NONE, mix, try_with_capacity};

/// A piece of the text under work: one token, or [`NONE`] where no token has this text.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    pub(super) id: u32,
    /// Offset of the first byte.
    pub(super) start: u32,
    /// Bytes; 0 once it has been joined to its left neighbour.
    pub(super) len: u32,
    prev: u32,
    next: u32,
}

/// Symbols of one piece of text and the pairs that may be joined. Reused from piece to piece.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// Smallest first: priority, left symbol, length of both, token of both, 32 bits each.
    queue: BinaryHeap<Reverse<u128>>,
}

impl Merger {
    /// Starts anew.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Adds a symbol at the end. All symbols of a piece together stay below 2³² bytes.
    pub(super) fn push(&mut self, id: u32, len: u32) {
        let at = self.symbols.len() as u32;
        let mut start = 0;
        if let Some(last) = self.symbols.last_mut() {
            start = last.start + last.len;
            last.next = at;
        }
        self.symbols.push(Symbol { id, start, len, prev: at.wrapping_sub(1), next: NONE });
    }

    /// Joins neighbours for which `pair` gives (priority, token), lowest priority first, the leftmost of equals, until
    /// none is left. n log n in the number of symbols.
    pub(super) fn run(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        for left in 0..self.symbols.len() as u32 {
            self.offer(left, &pair);
        }
        while let Some(Reverse(entry)) = self.queue.pop() {
            let [at, len, id] = [64, 32, 0].map(|shift| (entry >> shift) as u32);
            let Some(left) = self.symbols.get(at as usize).copied() else { continue };
            let Some(right) = self.symbols.get(left.next as usize).copied() else { continue };
            // Symbols only grow, so an equal total means that neither has changed since the pair was offered.
            if left.len == 0 || left.len + right.len != len {
                continue;
            }
            if let Some(joined) = self.symbols.get_mut(at as usize) {
                *joined = Symbol { id, len, next: right.next, ..left };
            }
            if let Some(gone) = self.symbols.get_mut(left.next as usize) {
                gone.len = 0;
            }
            if let Some(after) = self.symbols.get_mut(right.next as usize) {
                after.prev = at;
            }
            self.offer(left.prev, &pair);
            self.offer(at, &pair);
        }
    }

    fn offer(&mut self, at: u32, pair: &impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let Some(left) = self.symbols.get(at as usize) else { return };
        let Some(right) = self.symbols.get(left.next as usize) else { return };
        if let Some((priority, id)) = pair(left, right) {
            let parts = [priority, at, left.len + right.len, id];
            self.queue.push(Reverse(parts.into_iter().fold(0, |entry, part| entry << 32 | u128::from(part))));
        }
    }

    /// The symbols that are left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }
}

/// The merges of a byte-level BPE: which pair of tokens makes which token, and how early.
pub(super) struct Merges {
    /// By rank: left, right, and the token of both.
    merges: Vec<[u32; 3]>,
    index: Index,
}

impl Merges {
    /// Room for `count` (≤ [`MAX_ENTRIES`](super::vocab::MAX_ENTRIES)) merges.
    pub(super) fn new(count: usize) -> Result<Merges, Error> {
        Ok(Merges { merges: try_with_capacity(count)?, index: Index::new(count)? })
    }

    /// Adds the merge of the next rank. Of equal pairs the first counts.
    pub(super) fn push(&mut self, left: u32, right: u32, joined: u32) {
        let merges = &self.merges;
        self.index.insert(pair_hash(left, right), merges.len() as u32, |rank| same(merges, rank, left, right));
        self.merges.push([left, right, joined]);
    }

    /// Rank and token of a pair.
    pub(super) fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let rank = self.index.find(pair_hash(left, right), |rank| same(&self.merges, rank, left, right))?;
        self.merges.get(rank as usize).map(|merge| (rank, merge[2]))
    }
}

fn same(merges: &[[u32; 3]], rank: u32, left: u32, right: u32) -> bool {
    merges.get(rank as usize).is_some_and(|merge| merge[0] == left && merge[1] == right)
}

fn pair_hash(left: u32, right: u32) -> u64 {
    mix(u64::from(left) << 32 | u64::from(right))
}
