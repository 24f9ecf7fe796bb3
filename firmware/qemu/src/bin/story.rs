//! A language model on a microcontroller: `story MODEL` continues "Once upon a time" with the likeliest tokens, as
//! `smidgen run MODEL -p "Once upon a time" --raw --temp 0 -n 64` does elsewhere, bit for bit. The model is a file of the host.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../log.rs"]
mod log;
#[path = "../semihosting.rs"]
mod semihosting;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ops::ControlFlow;
use semihosting::{File, command_line, exit};
use smidgen::generate::{Request, generate};
use smidgen::tokenizer::{Special, Tokenizer};
use smidgen::{Model, Options, Sampler, Sampling, Session};
use smidgen_gguf::Gguf;
use smidgen_targets::Serial;

/// What the text is to begin with, and how many tokens follow.
const PROMPT: &str = "Once upon a time";
const TOKENS: usize = 64;

/// Bytes of heap: the vocabulary, a context of 128 tokens in f16, logits. What is freed last is taken again, the rest is not.
const HEAP: usize = 2 << 20;

#[repr(align(64))]
struct Heap {
    bytes: UnsafeCell<[u8; HEAP]>,
    used: Cell<usize>,
}

// SAFETY: the machine has one core, and no interrupt handler allocates.
unsafe impl Sync for Heap {}

// SAFETY: every block lies in `bytes`, is aligned, and overlaps no other that is in use, as `used` is behind them all.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let start = (base.addr() + self.used.get()).next_multiple_of(layout.align()) - base.addr();
        match start.checked_add(layout.size()) {
            Some(end) if end <= HEAP => {
                self.used.set(end);
                base.wrapping_add(start)
            }
            _ => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let start = block.addr() - self.bytes.get().addr();
        if start + layout.size() == self.used.get() {
            self.used.set(start);
        }
    }
}

#[global_allocator]
static MEMORY: Heap = Heap { bytes: UnsafeCell::new([0; HEAP]), used: Cell::new(0) };

#[repr(align(64))]
struct Flash(UnsafeCell<[u8; 512 << 10]>);

// SAFETY: only `main` uses it, once.
unsafe impl Sync for Flash {}

static MODEL: Flash = Flash(UnsafeCell::new([0; 512 << 10]));

#[cortex_m_rt::entry]
fn main() -> ! {
    let code = match story() {
        Ok(()) => 0,
        Err(error) => {
            defmt::error!("{=str}", error);
            1
        }
    };
    exit(code)
}

fn story() -> Result<(), &'static str> {
    let mut line = [0; 512];
    let length = command_line(&mut line);
    let path = line.get(..length).unwrap_or_default().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let mut name = [0; 512];
    let path: &[u8] = path.strip_suffix(&[0]).unwrap_or(path);
    name.iter_mut().zip(path).for_each(|(to, from)| *to = *from);
    let file = File::open(name.get(..=path.len()).ok_or("the name is too long")?, false).ok_or("no such file")?;
    // SAFETY: this runs once.
    let bytes = unsafe { &mut *MODEL.0.get() };
    let length = file.read(bytes).ok_or("the file is too long")?;
    let gguf = Gguf::parse(bytes.get(..length).ok_or("the file is too long")?).map_err(|_| "no GGUF file")?;
    let tokenizer = Tokenizer::parse(&gguf).map_err(|_| "no tokenizer")?;
    let parts = [gguf];
    let model = Model::parse(&parts).map_err(|_| "no model that can run")?;
    let options = Options { batch: 8, ..Options::new(128) };
    let mut session = Session::new(&model, &options, smidgen_targets::detect()).map_err(|_| "no memory")?;
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut sampler = Sampler::new(sampling).map_err(|_| "sampling")?;
    let prompt = tokenizer.encode_prompt(PROMPT, Special::Text);
    let console = File::open(b":tt\0", true).ok_or("no console")?;
    let mut decoder = tokenizer.decoder_after(&prompt, false);
    let is_end = |token| tokenizer.is_end(token);
    let request = Request { prompt: &prompt, max_tokens: TOKENS, stops: &[], is_end: &is_end };
    let mut each = |text: &str| {
        console.write(text.as_bytes());
        ControlFlow::Continue(())
    };
    generate(&mut session, &mut sampler, &mut decoder, &request, &Serial, &mut each).map_err(|_| "cannot run")?;
    Ok(())
}
