//! Which sequence a prompt is given, and how much of the prompt that holds already.

use smidgen::{RunError, Session};

/// The session's sequences as a cache of the beginnings of texts. What a stream has computed stays when it ends, until another needs the sequence.
pub(super) struct Cache {
    slots: Vec<Slot>,
    /// Counts takings and releases.
    clock: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    busy: bool,
    /// When it was last taken or released; 0 for one that never was.
    used: u64,
}

impl Cache {
    pub(super) fn new(sequences: usize) -> Cache {
        Cache { slots: vec![Slot::default(); sequences], clock: 0 }
    }

    /// Takes a free sequence for a prompt, which then holds the longest beginning of the prompt that any sequence holds, at most `most` tokens of it, and
    /// nothing more. Returns the sequence and how many tokens it holds; none if no sequence is free.
    ///
    /// A free sequence is taken with what it holds if that is for the most part the prompt's beginning. Otherwise the one that was used least recently
    /// is, and what another holds of the prompt, be that free or running, is copied: a long text is not given up for a short beginning.
    ///
    /// # Errors
    /// Those of [`Session::copy_prefix`].
    pub(super) fn take(
        &mut self,
        session: &mut Session,
        prompt: &[u32],
        most: usize,
    ) -> Result<Option<(usize, usize)>, RunError> {
        let most = most.min(prompt.len().saturating_sub(1));
        let prompt = prompt.get(..most).unwrap_or_default();
        let same = |sequence: usize| {
            session.tokens(sequence).zip(prompt).take_while(|(held, token)| *held == Some(**token)).count()
        };
        let known: Vec<usize> = (0..self.slots.len()).map(same).collect();
        let free = || (0..).zip(&self.slots).filter(|(_, slot)| !slot.busy);
        let of = |sequence: usize| known.get(sequence).copied().unwrap_or(0);
        let Some((oldest, _)) = free().min_by_key(|(_, slot)| slot.used) else { return Ok(None) };
        // Of equals one that is free, and the least recently used.
        let longest = known.iter().copied().max().unwrap_or(0);
        let at_hand = free().filter(|(sequence, _)| of(*sequence) == longest).min_by_key(|(_, slot)| slot.used);
        let source = at_hand.map(|(sequence, _)| sequence);
        let source = source.or_else(|| known.iter().position(|same| *same == longest)).unwrap_or(oldest);
        let extends = at_hand.is_some() && longest > 0 && longest.saturating_mul(2) >= session.len(source);
        let sequence = if extends { source } else { oldest };
        let held = if sequence == source { longest } else { session.copy_prefix(source, sequence, longest)? };
        let cached = session.truncate(sequence, held);
        self.mark(sequence, true);
        Ok(Some((sequence, cached)))
    }

    /// Gives a sequence back with what it holds.
    pub(super) fn release(&mut self, sequence: usize) {
        self.mark(sequence, false);
    }

    fn mark(&mut self, sequence: usize, busy: bool) {
        self.clock += 1;
        if let Some(slot) = self.slots.get_mut(sequence) {
            *slot = Slot { busy, used: self.clock };
        }
    }
}
