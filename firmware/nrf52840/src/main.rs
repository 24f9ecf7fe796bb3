//! An nRF52840 DK (Cortex-M4) with a PDM microphone: clock at P0.26, data at P0.27. LED 1 (P0.13) is lit when the word is heard.
//! `SMIDGEN_MODEL` names the GGUF file when this is built.
//!
//! Registers as in Nordic's nRF52840 Product Specification 1.7, sections PDM and CLOCK.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use embedded_hal::digital::{ErrorType, OutputPin};
use nrf52840_hal::gpio::{Level, p0};
use nrf52840_hal::{Clocks, Delay, pac};
use smidgen::frontend::audio::{Frontend, STEP};
use smidgen_demo::{ARENA, Aligned, Samples, listen};
use smidgen_rtt as _;

static MODEL: Aligned<[u8; include_bytes!(env!("SMIDGEN_MODEL")).len()]> =
    Aligned(*include_bytes!(env!("SMIDGEN_MODEL")));

/// Samples of a buffer: 20 ms, the longest time that a step of the model may take.
const BUFFER: usize = 2 * STEP;
/// Pins of port 0.
const CLOCK_PIN: u32 = 26;
const DATA_PIN: u32 = 27;

/// Two buffers, which the microphone's DMA fills in turn.
struct Buffers(UnsafeCell<[[i16; BUFFER]; 2]>);

// SAFETY: the DMA writes one buffer while the other is read, by volatile reads only.
unsafe impl Sync for Buffers {}

static SOUND: Buffers = Buffers(UnsafeCell::new([[0; BUFFER]; 2]));

/// A sample's place in one of the buffers.
fn place(second: bool, sample: usize) -> *mut i16 {
    SOUND.0.get().cast::<i16>().wrapping_add(if second { BUFFER } else { 0 } + sample)
}

/// The PDM interface. Whether a buffer is full is looked at rather than waited for; if that is too late, sound is lost, and buffers after it
/// are whole again.
struct Microphone {
    pdm: pac::PDM,
    /// Whether the DMA fills the second buffer; the other is read.
    filling: bool,
    /// Samples that were read of it.
    taken: usize,
}

impl Microphone {
    /// Starts it on the pins of clock and data, which the caller has set up.
    fn start(pdm: pac::PDM) -> Microphone {
        // SAFETY: pins that nothing else uses, and a buffer that lasts as long as the program.
        unsafe {
            pdm.psel.clk.write(|w| w.bits(CLOCK_PIN));
            pdm.psel.din.write(|w| w.bits(DATA_PIN));
            pdm.sample.ptr.write(|w| w.bits(place(false, 0).addr() as u32));
            pdm.sample.maxcnt.write(|w| w.bits(BUFFER as u32));
        }
        // 1.28 MHz over 80: 16 kHz. One channel, on the falling edge.
        pdm.pdmclkctrl.write(|w| w.freq()._1280k());
        pdm.ratio.write(|w| w.ratio().ratio80());
        pdm.mode.write(|w| w.operation().mono().edge().left_falling());
        pdm.enable.write(|w| w.enable().enabled());
        // SAFETY: a task begins when a one is written.
        pdm.tasks_start.write(|w| unsafe { w.bits(1) });
        Microphone { pdm, filling: true, taken: BUFFER }
    }
}

impl Samples for Microphone {
    fn read(&mut self, samples: &mut [i16]) -> Option<usize> {
        // The DMA has gone on to the buffer whose address it was given, and can be given the next.
        if self.pdm.events_started.read().bits() != 0 {
            self.pdm.events_started.reset();
            (self.filling, self.taken) = (!self.filling, 0);
            let next = place(!self.filling, 0).addr() as u32;
            // SAFETY: a buffer that lasts as long as the program.
            self.pdm.sample.ptr.write(|w| unsafe { w.bits(next) });
        }
        let mut count = 0;
        for (i, sample) in (self.taken..BUFFER).zip(samples) {
            // SAFETY: inside of a buffer.
            *sample = unsafe { place(!self.filling, i).read_volatile() };
            count += 1;
        }
        self.taken += count;
        Some(count)
    }
}

/// A LED that a low level lights.
struct Led<P>(P);

impl<P: ErrorType> ErrorType for Led<P> {
    type Error = P::Error;
}

impl<P: OutputPin> OutputPin for Led<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        self.0.set_high()
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        self.0.set_low()
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    run();
    loop {
        cortex_m::asm::wfe();
    }
}

/// Listens. Each of the things that are taken is there once, at the start.
fn run() -> Option<()> {
    let (board, core) = (pac::Peripherals::take()?, cortex_m::Peripherals::take()?);
    let arena = cortex_m::singleton!(: Aligned<[u8; ARENA]> = Aligned([0; ARENA]))?;
    let frontend = cortex_m::singleton!(: Frontend = Frontend::new())?;
    // Weights are read from flash again and again.
    board.NVMC.icachecnf.write(|w| w.cacheen().enabled());
    // The crystal's clock, for the microphone's must be exact.
    let _clocks = Clocks::new(board.CLOCK).enable_ext_hfosc();
    let pins = p0::Parts::new(board.P0);
    let mut led = Led(pins.p0_13.into_push_pull_output(Level::High));
    let _clock = pins.p0_26.into_push_pull_output(Level::Low);
    let _data = pins.p0_27.into_floating_input();
    let mut delay = Delay::new(core.SYST);
    let mut sound = Microphone::start(board.PDM);
    match listen(&MODEL.0, &mut arena.0, frontend, &mut sound, &mut led, &mut delay) {
        Ok(()) => defmt::info!("the stream has ended"),
        Err(error) => defmt::error!("{}", error),
    }
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        cortex_m::asm::bkpt();
    }
}
