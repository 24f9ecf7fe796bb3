//! Listens to a recording in flash. `SMIDGEN_MODEL` and `SMIDGEN_WAV` name the files when this is built.
#![no_std]
#![no_main]

#[path = "../log.rs"]
mod log;
#[path = "../semihosting.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod semihosting;
#[path = "../wav.rs"]
mod wav;

use core::cell::UnsafeCell;
use core::convert::Infallible;
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, OutputPin};
use smidgen::frontend::audio::Frontend;
use smidgen_demo::{ARENA, Aligned, Samples, listen};

#[unsafe(link_section = ".rodata.model")]
static MODEL: Aligned<[u8; include_bytes!(env!("SMIDGEN_MODEL")).len()]> =
    Aligned(*include_bytes!(env!("SMIDGEN_MODEL")));
#[unsafe(link_section = ".rodata.recording")]
static WAV: [u8; include_bytes!(env!("SMIDGEN_WAV")).len()] = *include_bytes!(env!("SMIDGEN_WAV"));

/// What is in RAM, but for the stack.
struct Memory {
    arena: Aligned<[u8; ARENA]>,
    frontend: Frontend,
}

struct Once(UnsafeCell<Memory>);

// SAFETY: only `main` uses it, once.
unsafe impl Sync for Once {}

static MEMORY: Once = Once(UnsafeCell::new(Memory { arena: Aligned([0; ARENA]), frontend: Frontend::new() }));

/// The samples of a WAV file.
struct Recording(&'static [[u8; 2]]);

impl Samples for Recording {
    fn read(&mut self, samples: &mut [i16]) -> Option<usize> {
        let mut count = 0;
        for (sample, bytes) in samples.iter_mut().zip(self.0) {
            *sample = i16::from_le_bytes(*bytes);
            count += 1;
        }
        self.0 = self.0.get(count..).unwrap_or_default();
        (count > 0).then_some(count)
    }
}

/// A pin that is seen in the log.
struct Pin(bool);

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        if self.0 {
            defmt::info!("pin low");
        }
        self.0 = false;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0 = true;
        defmt::info!("pin high");
        Ok(())
    }
}

/// A recording never waits.
struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

/// Writes what a debug probe would have read to the console.
#[cfg(feature = "rtt")]
fn probe() {
    /// The control block (SEGGER, "Real-Time Transfer"), of which a ring to the host, its size and what was written matter.
    #[repr(C)]
    struct Control([u32; 7], *const u8, u32, u32);
    unsafe extern "C" {
        static _SEGGER_RTT: Control;
    }
    // SAFETY: the logger's control block, whose ring lasts as long as the program, and nobody writes it now.
    let (size, log) = unsafe {
        let Control(_, ring, size, written) = (&raw const _SEGGER_RTT).read_volatile();
        (size, core::slice::from_raw_parts(ring, written.min(size) as usize))
    };
    if let Some(console) = semihosting::File::open(b":tt\0", true).filter(|_| size == 1024) {
        console.write(log);
    }
}

/// Ends the emulation.
fn exit(code: usize) -> ! {
    #[cfg(feature = "rtt")]
    probe();
    semihosting::exit(code)
}

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: `main` runs once.
    let memory = unsafe { &mut *MEMORY.0.get() };
    let mut sound = Recording(wav::samples(&WAV));
    let arena = &mut memory.arena.0;
    let ended = listen(&MODEL.0, arena, &mut memory.frontend, &mut sound, &mut Pin(false), &mut NoDelay);
    match ended {
        Ok(()) => {
            defmt::info!("end of the recording");
            exit(0)
        }
        Err(error) => {
            defmt::error!("{}", error);
            exit(1)
        }
    }
}
