//! The floating-point environment: rounding to nearest, subnormal numbers kept, no traps. A host may have set another.

/// The control register of a thread's floating-point unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Environment(usize);

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Environment {
    /// The environment that the law of bits needs, which is also the one that a process begins with.
    pub(crate) const LAW: Environment = Environment(0x1f80);

    /// The calling thread's.
    pub(crate) fn get() -> Environment {
        let mut word = 0_u32;
        // SAFETY: the instruction writes four bytes to the place given; SSE is part of the targets.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        Environment(word as usize)
    }

    /// Makes it the calling thread's.
    pub(crate) fn set(self) {
        let word = self.0 as u32;
        // SAFETY: the word is one that the register held, or the default; code of ours runs with the default only.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
impl Environment {
    /// The environment that the law of bits needs, which is also the one that a process begins with.
    pub(crate) const LAW: Environment = Environment(0);

    /// The calling thread's.
    pub(crate) fn get() -> Environment {
        let word: usize;
        // SAFETY: reads a register that every program may read.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        Environment(word)
    }

    /// Makes it the calling thread's.
    pub(crate) fn set(self) {
        // SAFETY: the word is one that the register held, or the default; code of ours runs with the default only.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) self.0, options(nostack, preserves_flags)) };
    }
}

#[cfg(all(target_arch = "arm", target_feature = "vfp2"))]
impl Environment {
    /// The environment that the law of bits needs, which is also the one that a process begins with.
    pub(crate) const LAW: Environment = Environment(0);

    /// The calling thread's.
    pub(crate) fn get() -> Environment {
        let word: usize;
        // SAFETY: reads a register that every program may read.
        unsafe { std::arch::asm!("vmrs {}, fpscr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        Environment(word)
    }

    /// Makes it the calling thread's.
    pub(crate) fn set(self) {
        // SAFETY: the word is one that the register held, or the default; code of ours runs with the default only.
        unsafe { std::arch::asm!("vmsr fpscr, {}", in(reg) self.0, options(nostack)) };
    }
}

#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_feature = "vfp2")
)))]
impl Environment {
    /// The environment that the law of bits needs, which is also the one that a process begins with.
    pub(crate) const LAW: Environment = Environment(0);

    /// Unknown: this machine's is left alone.
    pub(crate) fn get() -> Environment {
        Environment::LAW
    }

    /// Does nothing.
    pub(crate) fn set(self) {}
}
