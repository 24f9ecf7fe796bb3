//! The limits of this machine: bytes read, int8 and `f32` operations per second.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Bytes that are far more than any cache holds.
pub(crate) const MEMORY: usize = 512 << 20;

/// How long each measurement takes, about.
const SPAN: Duration = Duration::from_millis(150);
/// The best of this many counts: what others take from the machine is no property of it.
const TRIES: usize = 5;

/// Bytes per second that `threads` threads read together, each its own part of `bytes`, again and again. With the processor's own
/// prefetching and with prefetching by hand, into L1 or L2, whichever is fastest.
pub(crate) fn read_bandwidth(bytes: usize, threads: usize) -> f64 {
    let memory: Vec<u64> = (0..bytes as u64 / 8).collect();
    let part = memory.len() / threads.max(1) / 64 * 64;
    let kinds: [fn(&[u64]) -> u64; 3] = [sum, sum_ahead::<true>, sum_ahead::<false>];
    let mut best = 0f64;
    for kind in kinds {
        for _ in 0..TRIES {
            let barrier = Barrier::new(threads);
            let work = |part: &[u64]| {
                barrier.wait();
                let start = Instant::now();
                let mut rounds = 0;
                while rounds == 0 || start.elapsed() < SPAN {
                    std::hint::black_box(kind(std::hint::black_box(part)));
                    rounds += 1;
                }
                (rounds * size_of_val(part)) as f64 / start.elapsed().as_secs_f64()
            };
            let work = &work;
            let rate: f64 = std::thread::scope(|scope| {
                let parts = memory.chunks_exact(part.max(1)).take(threads);
                let handles: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
                handles.into_iter().map(|handle| handle.join().unwrap_or(0.0)).sum()
            });
            best = best.max(rate);
        }
    }
    best
}

fn sum(part: &[u64]) -> u64 {
    let mut lanes = [0u64; 32];
    for values in part.as_chunks::<32>().0 {
        lanes = std::array::from_fn(|i| lanes[i].wrapping_add(values[i]));
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(target_arch = "x86_64")]
fn sum_ahead<const NEAREST: bool>(part: &[u64]) -> u64 {
    use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
    let distance = if NEAREST { 4096 } else { 16384 };
    let mut lanes = [0u64; 32];
    for values in part.as_chunks::<32>().0 {
        for line in 0..4 {
            let at = values.as_ptr().cast::<i8>().wrapping_add(distance + 64 * line);
            // SAFETY: a prefetch never faults; the pointer is not dereferenced.
            unsafe { if NEAREST { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) } };
        }
        lanes = std::array::from_fn(|i| lanes[i].wrapping_add(values[i]));
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(not(target_arch = "x86_64"))]
fn sum_ahead<const NEAREST: bool>(part: &[u64]) -> u64 {
    sum(part)
}

/// The most operations per second of one core.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    /// Multiplications and additions of int8 values, each counted.
    pub(crate) int8: Option<f64>,
    /// Multiplications and additions of `f32` values, each counted, not fused.
    pub(crate) f32: Option<f64>,
}

/// The peaks of the instructions that the table of this name uses, from loops that touch registers only. None where there is no such
/// loop here.
pub(crate) fn peaks(target: &str) -> Peaks {
    #[cfg(target_arch = "x86_64")]
    {
        use std::is_x86_feature_detected as has;
        // SAFETY: below, a loop is only given here after the CPU has been asked for its features.
        let peak = |work: unsafe fn(u64) -> u64| Some(rate(|n| unsafe { work(n) }));
        match target {
            "avx2" if has!("avx2") => return Peaks { int8: peak(x86::maddubs), f32: peak(x86::f32_256) },
            "avxvnni" if has!("avxvnni") => return Peaks { int8: peak(x86::dpbusd_256), f32: peak(x86::f32_256) },
            "avx512vnni" if has!("avx512f") && has!("avx512vnni") => {
                return Peaks { int8: peak(x86::dpbusd_512), f32: peak(x86::f32_512) };
            }
            _ => {}
        }
    }
    let _ = target;
    Peaks::default()
}

/// Operations per second of `work`, which is told how often to repeat itself and returns how many operations that was.
fn rate(work: impl Fn(u64) -> u64) -> f64 {
    const REPEATS: u64 = 2_000_000;
    work(REPEATS);
    let once = || {
        let start = Instant::now();
        work(REPEATS) as f64 / start.elapsed().as_secs_f64()
    };
    (0..TRIES * 2).map(|_| once()).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Written in assembly, so that the compiler neither shortens the loops nor sends registers to memory. Chains are long enough to keep
    //! the units busy: no instruction waits for the one before it.

    use std::arch::asm;

    macro_rules! repeated {
        ($count:expr, $head:literal $(, $body:literal)* ; $($clobber:tt)*) => {
            // SAFETY: touches the registers that are named, and no memory.
            unsafe {
                asm!($head, "2:", $($body,)* "dec {n}", "jnz 2b", n = inout(reg) $count.max(1) => _, $($clobber)*, options(nomem, nostack))
            }
        };
    }

    /// Eight `vpmaddubsw`, added in 16 bits, widened once: the kernels' own pattern.
    #[target_feature(enable = "avx2")]
    pub(super) fn maddubs(n: u64) -> u64 {
        repeated!(n, "vpxor ymm0, ymm0, ymm0",
            "vpmaddubsw ymm2, ymm0, ymm0",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddubsw ymm3, ymm0, ymm0", "vpaddw ymm2, ymm2, ymm3",
            "vpmaddwd ymm2, ymm2, ymm0", "vpaddd ymm4, ymm4, ymm2";
            out("ymm0") _, out("ymm2") _, out("ymm3") _, out("ymm4") _);
        n.max(1) * 8 * 64
    }

    /// Twelve chains of `vpdpbusd` on 256 bits.
    #[target_feature(enable = "avx2")]
    pub(super) fn dpbusd_256(n: u64) -> u64 {
        repeated!(n, "vpxor ymm0, ymm0, ymm0",
            "{{vex}} vpdpbusd ymm4, ymm0, ymm0", "{{vex}} vpdpbusd ymm5, ymm0, ymm0", "{{vex}} vpdpbusd ymm6, ymm0, ymm0",
            "{{vex}} vpdpbusd ymm7, ymm0, ymm0", "{{vex}} vpdpbusd ymm8, ymm0, ymm0", "{{vex}} vpdpbusd ymm9, ymm0, ymm0",
            "{{vex}} vpdpbusd ymm10, ymm0, ymm0", "{{vex}} vpdpbusd ymm11, ymm0, ymm0", "{{vex}} vpdpbusd ymm12, ymm0, ymm0",
            "{{vex}} vpdpbusd ymm13, ymm0, ymm0", "{{vex}} vpdpbusd ymm14, ymm0, ymm0", "{{vex}} vpdpbusd ymm15, ymm0, ymm0";
            out("ymm0") _, out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
            out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _);
        n.max(1) * 12 * 64
    }

    /// Twelve chains of `vpdpbusd` on 512 bits.
    #[target_feature(enable = "avx512f")]
    pub(super) fn dpbusd_512(n: u64) -> u64 {
        repeated!(n, "vpxor xmm0, xmm0, xmm0",
            "vpdpbusd zmm4, zmm0, zmm0", "vpdpbusd zmm5, zmm0, zmm0", "vpdpbusd zmm6, zmm0, zmm0",
            "vpdpbusd zmm7, zmm0, zmm0", "vpdpbusd zmm8, zmm0, zmm0", "vpdpbusd zmm9, zmm0, zmm0",
            "vpdpbusd zmm10, zmm0, zmm0", "vpdpbusd zmm11, zmm0, zmm0", "vpdpbusd zmm12, zmm0, zmm0",
            "vpdpbusd zmm13, zmm0, zmm0", "vpdpbusd zmm14, zmm0, zmm0", "vpdpbusd zmm15, zmm0, zmm0";
            out("zmm0") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _,
            out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _);
        n.max(1) * 12 * 128
    }

    /// Twelve products and twelve sums of 256 bits.
    #[target_feature(enable = "avx2")]
    pub(super) fn f32_256(n: u64) -> u64 {
        repeated!(n, "vxorps ymm0, ymm0, ymm0",
            "vmulps ymm1, ymm0, ymm0", "vaddps ymm4, ymm4, ymm1",
            "vmulps ymm2, ymm0, ymm0", "vaddps ymm5, ymm5, ymm2",
            "vmulps ymm3, ymm0, ymm0", "vaddps ymm6, ymm6, ymm3",
            "vmulps ymm1, ymm0, ymm0", "vaddps ymm7, ymm7, ymm1",
            "vmulps ymm2, ymm0, ymm0", "vaddps ymm8, ymm8, ymm2",
            "vmulps ymm3, ymm0, ymm0", "vaddps ymm9, ymm9, ymm3",
            "vmulps ymm1, ymm0, ymm0", "vaddps ymm10, ymm10, ymm1",
            "vmulps ymm2, ymm0, ymm0", "vaddps ymm11, ymm11, ymm2",
            "vmulps ymm3, ymm0, ymm0", "vaddps ymm12, ymm12, ymm3",
            "vmulps ymm1, ymm0, ymm0", "vaddps ymm13, ymm13, ymm1",
            "vmulps ymm2, ymm0, ymm0", "vaddps ymm14, ymm14, ymm2",
            "vmulps ymm3, ymm0, ymm0", "vaddps ymm15, ymm15, ymm3";
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _);
        n.max(1) * 24 * 8
    }

    /// Twelve products and twelve sums of 512 bits.
    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_512(n: u64) -> u64 {
        repeated!(n, "vxorps xmm0, xmm0, xmm0",
            "vmulps zmm1, zmm0, zmm0", "vaddps zmm4, zmm4, zmm1",
            "vmulps zmm2, zmm0, zmm0", "vaddps zmm5, zmm5, zmm2",
            "vmulps zmm3, zmm0, zmm0", "vaddps zmm6, zmm6, zmm3",
            "vmulps zmm1, zmm0, zmm0", "vaddps zmm7, zmm7, zmm1",
            "vmulps zmm2, zmm0, zmm0", "vaddps zmm8, zmm8, zmm2",
            "vmulps zmm3, zmm0, zmm0", "vaddps zmm9, zmm9, zmm3",
            "vmulps zmm1, zmm0, zmm0", "vaddps zmm10, zmm10, zmm1",
            "vmulps zmm2, zmm0, zmm0", "vaddps zmm11, zmm11, zmm2",
            "vmulps zmm3, zmm0, zmm0", "vaddps zmm12, zmm12, zmm3",
            "vmulps zmm1, zmm0, zmm0", "vaddps zmm13, zmm13, zmm1",
            "vmulps zmm2, zmm0, zmm0", "vaddps zmm14, zmm14, zmm2",
            "vmulps zmm3, zmm0, zmm0", "vaddps zmm15, zmm15, zmm3";
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _);
        n.max(1) * 24 * 16
    }
}
