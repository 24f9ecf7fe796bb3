//! Files and the console of the machine that emulates this one (ARM, "Semihosting for AArch32 and AArch64").

use core::arch::asm;

const OPEN: usize = 0x01;
const WRITE: usize = 0x05;
const READ: usize = 0x06;
const LENGTH: usize = 0x0c;
const COMMAND_LINE: usize = 0x15;
const EXIT: usize = 0x20;

/// Asks the host for something.
fn call(operation: usize, arguments: &mut [usize]) -> usize {
    let result;
    // SAFETY: the host reads and writes only what the arguments, whose lengths go with them, point to; callers' pointers are of slices that
    // outlive the call.
    unsafe {
        asm!("bkpt #0xab", inout("r0") operation => result, in("r1") arguments.as_mut_ptr(), options(nostack));
    }
    result
}

/// A file of the host.
#[derive(Clone, Copy)]
pub struct File(usize);

impl File {
    /// Opens a file whose name ends in a zero byte; `:tt` is the console. None if there is none.
    pub fn open(name: &[u8], write: bool) -> Option<File> {
        let length = name.len().saturating_sub(1);
        let handle = call(OPEN, &mut [name.as_ptr().addr(), if write { 5 } else { 1 }, length]);
        (handle != usize::MAX).then_some(File(handle))
    }

    /// Writes all bytes.
    pub fn write(self, bytes: &[u8]) {
        call(WRITE, &mut [self.0, bytes.as_ptr().addr(), bytes.len()]);
    }

    /// Reads the file's beginning into `bytes`; how many there were, or none if there are more or not all could be read.
    pub fn read(self, bytes: &mut [u8]) -> Option<usize> {
        let length = call(LENGTH, &mut [self.0]);
        let bytes = bytes.get_mut(..length)?;
        (call(READ, &mut [self.0, bytes.as_mut_ptr().addr(), length]) == 0).then_some(length)
    }
}

/// The words after the kernel's name, as the host gives them; how many bytes.
pub fn command_line(line: &mut [u8]) -> usize {
    let mut arguments = [line.as_mut_ptr().addr(), line.len()];
    if call(COMMAND_LINE, &mut arguments) == 0 { arguments[1].min(line.len()) } else { 0 }
}

/// Ends the emulation with an exit code.
pub fn exit(code: usize) -> ! {
    loop {
        call(EXIT, &mut [0x20026, code]);
    }
}
