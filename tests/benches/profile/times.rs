//! The time and work of each kind of operation, from what a pass tells of itself.

use smidgen::{Operation, Probe};
use smidgen_quant::Format;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The time and work of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) time: Duration,
    /// Bytes of weights, or of keys and values, that were read.
    pub(crate) bytes: u64,
    /// Multiplications and additions of int8 values.
    pub(crate) int8: u64,
    /// Multiplications and additions of `f32` values.
    pub(crate) f32: u64,
}

/// The time and work of every kind of operation, by the operation's name and the weights' format, in the order in which they were first done.
pub(crate) struct Times(Mutex<(Instant, Vec<Kind>)>);

/// The operation's name, the weights' format, and what all of its kind took.
type Kind = (&'static str, Option<Format>, Spent);

impl Times {
    /// Begins to count: the first operation begins now.
    pub(crate) fn start() -> Times {
        Times(Mutex::new((Instant::now(), Vec::new())))
    }

    /// Every kind of operation that was done, with a name.
    pub(crate) fn operations(&self) -> Vec<(String, Spent)> {
        let Ok(times) = self.0.lock() else { return Vec::new() };
        let named = |(name, format, spent): &Kind| {
            let name = name.strip_suffix(".weight").unwrap_or(name);
            (format.map_or(name.to_string(), |format| format!("{name} ({})", format.name())), *spent)
        };
        times.1.iter().map(named).collect()
    }
}

impl Probe for Times {
    fn operation(&self, operation: &Operation) {
        let now = Instant::now();
        let Ok(mut times) = self.0.lock() else { return };
        let (last, list) = &mut *times;
        let at = list.iter().position(|(name, format, _)| (*name, *format) == (operation.name, operation.format));
        let at = at.unwrap_or_else(|| {
            list.push((operation.name, operation.format, Spent::default()));
            list.len() - 1
        });
        let spent = &mut list[at].2;
        spent.time += now - *last;
        spent.bytes += operation.bytes;
        spent.int8 += operation.int8;
        spent.f32 += operation.f32;
        // What is done here is not the pass's.
        *last = Instant::now();
    }
}
