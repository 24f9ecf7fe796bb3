//! defmt's frames, written to the host's console, and what the runtime wants of a program: the interrupts' table and a panic handler.

#[cfg(feature = "rtt")]
use smidgen_rtt as _;

#[cfg(not(feature = "rtt"))]
mod console {
    use crate::semihosting::File;
    use core::cell::UnsafeCell;

    /// The console and the frame's encoder.
    struct Log(UnsafeCell<Option<File>>, UnsafeCell<defmt::Encoder>);

    // SAFETY: these machines have one core and no interrupt handlers, so there is one user at a time.
    unsafe impl Sync for Log {}

    static LOG: Log = Log(UnsafeCell::new(None), UnsafeCell::new(defmt::Encoder::new()));

    fn console(bytes: &[u8]) {
        // SAFETY: as above, and nothing that is called from here comes back here.
        let file = unsafe { &mut *LOG.0.get() };
        if file.is_none() {
            *file = File::open(b":tt\0", true);
        }
        if let Some(file) = file {
            file.write(bytes);
        }
    }

    #[defmt::global_logger]
    struct Logger;

    // SAFETY: there is one user at a time.
    unsafe impl defmt::Logger for Logger {
        fn acquire() {
            // SAFETY: defmt calls this, `write` and `release` in turn.
            unsafe { &mut *LOG.1.get() }.start_frame(console);
        }

        unsafe fn flush() {}

        unsafe fn release() {
            // SAFETY: as above.
            unsafe { &mut *LOG.1.get() }.end_frame(console);
        }

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: as above.
            unsafe { &mut *LOG.1.get() }.write(bytes, console);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    crate::semihosting::exit(101)
}

unsafe extern "C" {
    fn DefaultHandler();
}

/// These boards have 32 interrupts, and none is used.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 32] = [DefaultHandler; 32];
