//! The boundary between the host and the library: panics and the floating-point environment stay on their side.

use crate::failure::{self, Failure};
use crate::float::Environment;
use crate::log;
use crate::reserve::{self, Mark};
use crate::types::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// The floating-point environment of the host on this thread, while the library is at work on it.
    static HOST: Cell<Environment> = const { Cell::new(Environment::LAW) };
    /// Whether [`prepare`] has done its work.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the body of an entry. A panic becomes a status, and the host's floating-point environment is restored afterwards.
pub(crate) fn enter(work: impl FnOnce() -> Result<(), Failure>) -> smidgen_status {
    let outer = HOST.replace(Environment::get());
    Environment::LAW.set();
    let status = match catch_unwind(AssertUnwindSafe(|| report(work()))) {
        Ok(status) => status,
        Err(payload) => {
            // Whatever it is, it must not get further by its own drop.
            std::mem::forget(payload);
            failure::keep("internal error (a bug in libsmidgen); close the handles that were in use");
            SMIDGEN_ERROR_INTERNAL
        }
    };
    HOST.get().set();
    HOST.set(outer);
    status
}

/// As [`enter`], for work whose result is discarded if the reserve of memory was needed.
pub(crate) fn enter_with_memory(work: impl FnOnce() -> Result<(), Failure>) -> smidgen_status {
    enter(|| {
        prepare()?;
        let began = Mark::now();
        work()?;
        began.check()
    })
}

/// Registers the calling thread with Rust's library while there is memory: C's library ends the process if it has none for that.
pub(crate) fn prepare() -> Result<(), Failure> {
    if !PREPARED.get() {
        reserve::probe(reserve::THREAD)?;
        let _ = std::thread::current();
        PREPARED.set(true);
    }
    Ok(())
}

fn report(outcome: Result<(), Failure>) -> smidgen_status {
    let Err(failure) = outcome else { return SMIDGEN_OK };
    failure::keep(&failure.text);
    // To be told how much room is needed is not to fail.
    if failure.status != SMIDGEN_ERROR_SHORT_BUFFER {
        log::write(SMIDGEN_LOG_ERROR, &failure.text);
    }
    failure.status
}

/// Calls a function of the host, in the host's floating-point environment.
pub(crate) fn outside<T>(call: impl FnOnce() -> T) -> T {
    HOST.get().set();
    let result = call();
    HOST.set(Environment::get());
    Environment::LAW.set();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_status() {
        assert_eq!(enter(|| panic!("on purpose")), SMIDGEN_ERROR_INTERNAL);
        assert_eq!(enter(|| Ok(())), SMIDGEN_OK);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_floating_point_environment_is_the_hosts_outside_and_the_laws_inside() {
        // A subnormal number is halved: flushed to zero by a host that wants so.
        let tiny = std::hint::black_box(f32::MIN_POSITIVE / 4.0);
        let halve = || std::hint::black_box(tiny) * std::hint::black_box(0.5) != 0.0;
        let host = {
            let word = 0x1f80 | 0x8000 | 0x40;
            // SAFETY: as in `float`; these bits flush subnormal numbers.
            unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack)) };
            Environment::get()
        };
        let (mut inside, mut called, mut after) = (false, true, false);
        enter(|| {
            inside = halve();
            called = outside(halve);
            after = halve();
            Ok(())
        });
        let restored = Environment::get();
        Environment::LAW.set();
        // The lowest six bits say what has happened so far.
        assert_eq!(format!("{restored:?}"), format!("{host:?}"));
        assert!(inside && !called && after);
    }
}
