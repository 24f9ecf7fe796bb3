//! The line of those who wait for a place.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Who waits, in the order in which they came.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    turns: BTreeSet<u64>,
    next: u64,
}

impl Line {
    /// Nobody; `changed` learns whenever somebody leaves.
    pub(super) fn new(changed: watch::Sender<()>) -> Line {
        Line { state: Mutex::default(), changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.state().turns.len()
    }

    /// Whether nobody comes before this turn, or before somebody without one.
    pub(super) fn is_first(&self, turn: Option<&Turn>) -> bool {
        self.state().turns.first().is_none_or(|first| turn.is_some_and(|turn| turn.number == *first))
    }
}

/// A turn in a line, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    line: Arc<Line>,
    number: u64,
}

impl Turn {
    /// The last.
    pub(super) fn new(line: &Arc<Line>) -> Turn {
        let mut state = line.state();
        let number = state.next;
        state.next += 1;
        state.turns.insert(number);
        drop(state);
        Turn { line: Arc::clone(line), number }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.state().turns.remove(&self.number);
        self.line.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_is_first() {
        let (changed, mut learns) = watch::channel(());
        let line = Arc::new(Line::new(changed));
        assert!(line.is_first(None));
        let [first, second, third] = [(); 3].map(|()| Turn::new(&line));
        let are_first = || [Some(&second), Some(&third), None].map(|turn| line.is_first(turn));
        assert!(line.is_first(Some(&first)) && line.len() == 3);
        assert_eq!(are_first(), [false; 3]);
        assert!(!learns.has_changed().unwrap());
        drop(first);
        assert!(learns.has_changed().unwrap());
        learns.mark_unchanged();
        assert_eq!(are_first(), [true, false, false]);
        drop(second);
        assert!(line.is_first(Some(&third)) && !line.is_first(None));
        drop(third);
        assert!(line.is_first(None) && line.len() == 0);
    }
}
