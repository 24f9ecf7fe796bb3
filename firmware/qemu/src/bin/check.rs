//! Runs models of the host's files and says what comes out, or how many instructions it takes. The emulator's command line is one of
//!
//! - `steps MODEL WAV`: every step's output, two hexadecimal digits each;
//! - `infer MODEL NPY`: the outputs of an array of int8;
//! - `bench MODEL`: instructions of an inference, bytes of stack;
//! - `frontend WAV`: instructions of a row of features.
//!
//! Instructions are counted by a timer of 25 MHz, with `-icount shift=0,sleep=off`: 40 to a tick.
#![no_std]
#![no_main]

#[path = "../log.rs"]
mod log;
#[path = "../semihosting.rs"]
mod semihosting;
#[path = "../wav.rs"]
mod wav;

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use semihosting::{File, command_line, exit};
use smidgen::frontend::audio::{Frontend, STEP};
use smidgen::models::micro::{Micro, WakeWord};
use smidgen_gguf::Gguf;

#[repr(align(32))]
struct Memory {
    model: [u8; 1 << 20],
    data: [u8; 1 << 20],
    arena: [u8; 256 << 10],
    frontend: Frontend,
}

struct Once(UnsafeCell<Memory>);

// SAFETY: only `main` uses it, once.
unsafe impl Sync for Once {}

static MEMORY: Once = Once(UnsafeCell::new(Memory {
    model: [0; 1 << 20],
    data: [0; 1 << 20],
    arena: [0; 256 << 10],
    frontend: Frontend::new(),
}));

/// The host's console.
struct Console(File);

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// The CMSDK timer 0, counting down.
fn start() {
    const TIMER: *mut u32 = 0x4000_0000 as *mut u32;
    // SAFETY: these are the timer's registers on these boards: control, value, reload.
    unsafe {
        TIMER.write_volatile(0);
        TIMER.add(1).write_volatile(u32::MAX);
        TIMER.add(2).write_volatile(u32::MAX);
        TIMER.write_volatile(1);
    }
}

/// Instructions since the start.
fn instructions() -> u64 {
    const VALUE: *const u32 = 0x4000_0004 as *const u32;
    // SAFETY: as above.
    u64::from(u32::MAX - unsafe { VALUE.read_volatile() }) * 40
}

/// Bytes of stack that are looked at.
const STACK: usize = 16 << 10;
const PAINT: u8 = 0xa5;

/// The lowest address that is painted.
fn bottom() -> *mut u8 {
    let here = 0_u8;
    ((&raw const here).addr() - 128 - STACK) as *mut u8
}

/// Paints the stack below.
#[inline(never)]
fn paint() -> *mut u8 {
    let bottom = bottom();
    for i in 0..STACK {
        // SAFETY: the stack has at least so many bytes more, and nobody uses them now.
        unsafe { bottom.add(i).write_volatile(PAINT) };
    }
    bottom
}

/// Bytes of stack that were used since it was painted.
fn used(bottom: *mut u8) -> usize {
    // SAFETY: as above.
    let clean = (0..STACK).take_while(|i| unsafe { bottom.add(*i).read_volatile() } == PAINT).count();
    STACK - clean
}

#[cortex_m_rt::entry]
fn main() -> ! {
    // SAFETY: `main` runs once.
    let memory = unsafe { &mut *MEMORY.0.get() };
    let Some(console) = File::open(b":tt\0", true) else { exit(2) };
    let mut console = Console(console);
    let mut line = [0; 1024];
    let length = command_line(&mut line);
    // Each word becomes a name that ends in a zero byte.
    line.iter_mut().for_each(|byte| *byte = if *byte == b' ' { 0 } else { *byte });
    let mut words = line[..length.min(1023) + 1].split_inclusive(|byte| *byte == 0).filter(|word| word.len() > 1);
    let what = words.find(|word| [&b"steps\0"[..], b"infer\0", b"bench\0", b"frontend\0"].contains(word));
    let what = what.unwrap_or_default();
    let done = run(memory, &mut console, what, [words.next(), words.next()]);
    if let Err(error) = done {
        let _ = writeln!(console, "{error}");
        exit(1)
    }
    exit(0)
}

fn load<'m>(name: Option<&[u8]>, memory: &'m mut [u8]) -> Result<&'m mut [u8], &'static str> {
    let file = name.and_then(|name| File::open(name, false)).ok_or("no such file")?;
    let length = file.read(memory).ok_or("the file is too long")?;
    memory.get_mut(..length).ok_or("the file is too long")
}

#[inline(never)]
fn run(memory: &mut Memory, console: &mut Console, what: &[u8], names: [Option<&[u8]>; 2]) -> Result<(), &'static str> {
    if what == b"frontend\0" {
        let wav = load(names[0], &mut memory.data)?;
        let samples = wav::samples(wav);
        let (mut rows, mut chunk, mut sum) = (0, [0; STEP], 0);
        let bottom = paint();
        for bytes in samples.as_chunks::<STEP>().0 {
            chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = i16::from_le_bytes(*from));
            start();
            let row = memory.frontend.push(&chunk).1;
            let count = instructions();
            if core::hint::black_box(row).is_some() {
                (rows, sum) = (rows + 1, sum + count);
            }
        }
        let per = sum.checked_div(rows).ok_or("no rows")?;
        let _ = writeln!(
            console,
            "frontend: {per} instructions per row, {} bytes, stack {}",
            size_of::<Frontend>(),
            used(bottom)
        );
        return Ok(());
    }
    let file = load(names[0], &mut memory.model)?;
    // Reading and checking the file takes stack too.
    let bottom = paint();
    let gguf = Gguf::parse(file).map_err(|_| "no GGUF file")?;
    if what == b"steps\0" {
        let mut word = WakeWord::parse(&gguf).map_err(|_| "no wake word")?;
        word.reset(&mut memory.arena).map_err(|_| "the arena is too small")?;
        let wav = load(names[1], &mut memory.data)?;
        for bytes in wav::samples(wav).chunks(STEP) {
            let mut chunk = [0; STEP];
            chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = i16::from_le_bytes(*from));
            let mut samples = chunk.get(..bytes.len()).unwrap_or_default();
            while !samples.is_empty() {
                let (taken, features) = memory.frontend.push(samples);
                samples = samples.get(taken..).unwrap_or_default();
                let step = features.map(|features| word.hear(&features, &mut memory.arena));
                if let Some(step) = step.transpose().map_err(|_| "the arena is too small")?.flatten() {
                    let _ = write!(console, "{:02x}", step.output);
                }
            }
        }
        let _ = writeln!(console);
        return Ok(());
    }
    let model = Micro::parse(&gguf).map_err(|_| "no micro model")?;
    let (inputs, outputs) = (model.input().elements(), model.output().elements());
    let mut output = [0; 1024];
    let output = output.get_mut(..outputs).ok_or("too many outputs")?;
    model.reset(&mut memory.arena).map_err(|_| "the arena is too small")?;
    if what == b"infer\0" {
        let array = load(names[1], &mut memory.data)?;
        let header = array.get(8..10).and_then(|length| length.first_chunk()).ok_or("no array")?;
        let data = array.get(10 + usize::from(u16::from_le_bytes(*header))..).ok_or("no array")?;
        for input in data.chunks_exact(inputs) {
            model.infer(&mut memory.arena, input, output).map_err(|_| "cannot run")?;
            for byte in &*output {
                let _ = write!(console, "{byte:02x}");
            }
        }
        let _ = writeln!(console);
        return Ok(());
    }
    let input = memory.data.get_mut(..inputs).ok_or("too many inputs")?;
    let mut random = 1_u32;
    for byte in &mut *input {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (random >> 24) as u8;
    }
    let rounds = if inputs > 1000 { 4 } else { 40 };
    start();
    for _ in 0..rounds {
        model.infer(&mut memory.arena, input, output).map_err(|_| "cannot run")?;
    }
    let count = instructions() / rounds;
    let _ = writeln!(console, "{count} instructions, arena {}, stack {}", model.arena_len(), used(bottom));
    Ok(())
}
