//! A Raspberry Pi Pico (RP2040, Cortex-M0+) with an analogue microphone (biased to half of 3.3 V) at GPIO 26. The LED (GPIO 25) is lit when
//! the word is heard. `SMIDGEN_MODEL` names the GGUF file when this is built.
//!
//! Registers as in Raspberry Pi's RP2040 Datasheet, sections 2.5 (DMA), 2.15 (clocks) and 4.9 (ADC).
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use rp2040_hal::adc::{Adc, AdcPin};
use rp2040_hal::fugit::HertzU32;
use rp2040_hal::pll::common_configs::{PLL_SYS_125MHZ, PLL_USB_48MHZ};
use rp2040_hal::pll::{PhaseLockedLoop, start_pll_blocking};
use rp2040_hal::{self as hal, pac};
use smidgen::frontend::audio::{Frontend, SAMPLE_RATE};
use smidgen_demo::{ARENA, Aligned, Samples, listen};
use smidgen_rtt as _;

#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_GENERIC_03H;

static MODEL: Aligned<[u8; include_bytes!(env!("SMIDGEN_MODEL")).len()]> =
    Aligned(*include_bytes!(env!("SMIDGEN_MODEL")));

/// Samples that the DMA's ring holds: 64 ms.
const RING: usize = 1024;
const RING_BITS: u8 = 11;
/// The board's crystal.
const CRYSTAL: HertzU32 = HertzU32::MHz(12);
/// The processor's clock.
const SYSTEM_HERTZ: u32 = 125_000_000;
/// The ADC's clock of 48 MHz over the sampling rate.
const ADC_CYCLES: u16 = (48_000_000 / SAMPLE_RATE) as u16;
/// The number of the ADC's request to the DMA.
const DREQ_ADC: u8 = 36;

/// A ring of samples, as aligned as its size, which the DMA wants.
#[repr(align(2048))]
struct Ring(UnsafeCell<[u16; RING]>);

// SAFETY: the DMA writes it, and it is read by volatile reads only.
unsafe impl Sync for Ring {}

static SOUND: Ring = Ring(UnsafeCell::new([0; RING]));

/// What the DMA has written.
struct Microphone {
    dma: pac::DMA,
    taken: usize,
}

impl Microphone {
    /// Starts the DMA, which takes what the ADC's FIFO has. The caller has taken it out of reset.
    fn start(dma: pac::DMA) -> Microphone {
        let channel = dma.ch(0);
        // SAFETY: addresses of the FIFO and of a ring that lasts as long as the program, in which the channel's ring setting keeps it.
        unsafe {
            channel.ch_read_addr().write(|w| w.bits((*pac::ADC::ptr()).fifo().as_ptr().addr() as u32));
            channel.ch_write_addr().write(|w| w.bits(SOUND.0.get().addr() as u32));
            channel.ch_trans_count().write(|w| w.bits(u32::MAX));
            channel.ch_ctrl_trig().write(|w| {
                w.treq_sel().bits(DREQ_ADC).ring_sel().set_bit().ring_size().bits(RING_BITS);
                // Chained to itself: to none.
                w.chain_to().bits(0).data_size().size_halfword().incr_write().set_bit().incr_read().clear_bit();
                w.en().set_bit()
            });
        }
        Microphone { dma, taken: 0 }
    }
}

impl Samples for Microphone {
    fn read(&mut self, samples: &mut [i16]) -> Option<usize> {
        let channel = self.dma.ch(0);
        // After three days it has done what it was asked for. It goes on where it is.
        if channel.ch_ctrl_trig().read().busy().bit_is_clear() {
            // SAFETY: a number of transfers; the addresses are what they were.
            channel.ch_al1_trans_count_trig().write(|w| unsafe { w.bits(u32::MAX) });
        }
        let address = channel.ch_write_addr().read().bits() as usize;
        let end = address.wrapping_sub(SOUND.0.get().addr()) / 2 % RING;
        let mut count = 0;
        for sample in samples {
            if self.taken == end {
                break;
            }
            // SAFETY: the place is inside of the ring.
            let value = unsafe { SOUND.0.get().cast::<u16>().add(self.taken).read_volatile() };
            // 12 bits around the middle.
            *sample = ((value & 0xfff) << 4).wrapping_sub(1 << 15) as i16;
            self.taken = (self.taken + 1) % RING;
            count += 1;
        }
        Some(count)
    }
}

#[hal::entry]
fn main() -> ! {
    if run().is_none() {
        defmt::error!("the board did not start");
    }
    loop {
        core::hint::spin_loop();
    }
}

/// The processor at 125 MHz, and the ADC at 48, when the crystal runs. The HAL's own way of doing this has a panic in it.
fn start_clocks(clocks: &pac::CLOCKS, sys: pac::PLL_SYS, usb: pac::PLL_USB, resets: &mut pac::RESETS) -> Option<()> {
    // Both must be off the PLLs while those start, for this may be no cold start.
    clocks.clk_sys_resus_ctrl().reset();
    clocks.clk_sys_ctrl().modify(|_, w| w.src().clk_ref());
    while clocks.clk_sys_selected().read().bits() != 1 << 0 {}
    clocks.clk_ref_ctrl().modify(|_, w| w.src().xosc_clksrc());
    while clocks.clk_ref_selected().read().bits() != 1 << 2 {}
    start_pll_blocking(PhaseLockedLoop::new(sys, CRYSTAL, PLL_SYS_125MHZ).ok()?, resets).ok()?;
    start_pll_blocking(PhaseLockedLoop::new(usb, CRYSTAL, PLL_USB_48MHZ).ok()?, resets).ok()?;
    clocks.clk_sys_div().reset();
    clocks.clk_sys_ctrl().modify(|_, w| w.auxsrc().clksrc_pll_sys());
    clocks.clk_sys_ctrl().modify(|_, w| w.src().clksrc_clk_sys_aux());
    while clocks.clk_sys_selected().read().bits() != 1 << 1 {}
    // The source is chosen while the clock stands.
    clocks.clk_adc_div().reset();
    clocks.clk_adc_ctrl().write(|w| w.auxsrc().clksrc_pll_usb());
    clocks.clk_adc_ctrl().modify(|_, w| w.enable().set_bit());
    Some(())
}

/// Listens. None if the clocks do not start; what is taken is there once.
fn run() -> Option<()> {
    let mut board = pac::Peripherals::take()?;
    let arena = cortex_m::singleton!(: Aligned<[u8; ARENA]> = Aligned([0; ARENA]))?;
    let frontend = cortex_m::singleton!(: Frontend = Frontend::new())?;
    hal::xosc::setup_xosc_blocking(board.XOSC, CRYSTAL).ok()?;
    start_clocks(&board.CLOCKS, board.PLL_SYS, board.PLL_USB, &mut board.RESETS)?;
    let mut delay = cortex_m::delay::Delay::new(cortex_m::Peripherals::take()?.SYST, SYSTEM_HERTZ);
    let sio = hal::Sio::new(board.SIO);
    let pins = hal::gpio::Pins::new(board.IO_BANK0, board.PADS_BANK0, sio.gpio_bank0, &mut board.RESETS);
    let mut led = pins.gpio25.into_push_pull_output();
    let mut pin = AdcPin::new(pins.gpio26.into_floating_input()).ok()?;
    let mut adc = Adc::new(board.ADC, &mut board.RESETS);
    // A sample takes one cycle more than the divider says.
    let mut fifo = adc.build_fifo().clock_divider(ADC_CYCLES - 1, 0).set_channel(&mut pin).enable_dma().start_paused();
    board.RESETS.reset().modify(|_, w| w.dma().clear_bit());
    while board.RESETS.reset_done().read().dma().bit_is_clear() {}
    let mut sound = Microphone::start(board.DMA);
    fifo.resume();
    match listen(&MODEL.0, &mut arena.0, frontend, &mut sound, &mut led, &mut delay) {
        Ok(()) => defmt::info!("the stream has ended"),
        Err(error) => defmt::error!("{}", error),
    }
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
