//! Signals that end the program: what it has not finished writing goes first.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether SIGINT and SIGTERM are left to others.
#[cfg(unix)]
static LEFT: AtomicBool = AtomicBool::new(false);

/// Leaves SIGINT and SIGTERM to a command that ends by itself then.
#[cfg(feature = "serve")]
pub(crate) fn leave() {
    #[cfg(unix)]
    LEFT.store(true, Ordering::Relaxed);
}

#[cfg(unix)]
pub(crate) fn catch() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::{flag, iterator::Signals, low_level::emulate_default_handler};

    // A file that would become larger than its limit ends the program by the error of the write.
    flag::register(SIGXFSZ, Default::default())?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // `nohup` has it ignored, which is to stay.
    if !smidgen_host::ignores(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if LEFT.load(Ordering::Relaxed) && signal != SIGHUP {
                continue;
            }
            smidgen_host::remove_temporaries();
            // Whoever waits for the program learns which signal it was.
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Elsewhere the next that writes the same file removes what is left.
#[cfg(not(unix))]
pub(crate) fn catch() -> std::io::Result<()> {
    Ok(())
}
