//! Threads that meet at every operation of a forward pass.
//!
//! A decode step of a small model is some two hundred operations in a few milliseconds, so handing each of them to a
//! scheduler would cost more than the work. Here the workers, which rayon provides, stay in one loop for as long as the
//! pool lives and watch one word of memory, in which [`Pool::run`] opens and closes jobs.
//!
//! The rule that keeps a loaded machine fast: **nobody waits for a worker that has not begun.** A job claims its own work
//! by an atomic counter, so the caller alone can finish it; `run` waits only for workers which did enter, and one that
//! wakes too late finds the job closed and skips it.

use crate::Error;
use smidgen_targets::Pool;
use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most threads a [`ThreadPool`] takes.
pub const MAX_THREADS: usize = 1024;

/// A waiting thread first spins this many times (some microseconds), …
const SPINS: u32 = 256;
/// … then yields to the scheduler until it has been idle for this long, and then sleeps until it is called.
const AWAKE: Duration = Duration::from_millis(2);

/// The state word: bit 0 is set while the current job is open to workers, bits 1 to 15 count the workers inside it, and the
/// bits above number the jobs (the number may wrap: a worker which confuses two jobs merely skips one).
const OPEN: usize = 1;
const WORKER: usize = 2;
const JOB: usize = 1 << 16;
const WORKERS: usize = JOB - WORKER;

/// A number of threads, the calling one among them, that run jobs together.
///
/// The threads sleep when there is nothing to do. Dropping the pool ends them.
pub struct ThreadPool {
    threads: usize,
    shared: Arc<Shared>,
    /// Owns the worker threads; absent with one thread.
    _workers: Option<rayon::ThreadPool>,
}

impl ThreadPool {
    /// Starts `threads - 1` workers; the thread that calls [`Pool::run`] is the remaining one.
    ///
    /// # Errors
    /// [`Error::TooManyThreads`] above [`MAX_THREADS`], [`Error::Spawn`] when the system refuses a thread.
    pub fn new(threads: NonZeroUsize) -> Result<ThreadPool, Error> {
        ThreadPool::with_start(threads, |_| ())
    }

    /// As [`new`](Self::new); each worker calls `start` with its number, from 1, before anything else.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_start(
        threads: NonZeroUsize,
        start: impl Fn(usize) + Send + Sync + 'static,
    ) -> Result<ThreadPool, Error> {
        let threads = threads.get();
        if threads > MAX_THREADS {
            return Err(Error::TooManyThreads { threads, most: MAX_THREADS });
        }
        let shared = Arc::new(Shared::default());
        let workers = match threads {
            1 => None,
            _ => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads - 1)
                    .thread_name(|index| format!("smidgen-{}", index + 1))
                    .start_handler(move |index| start(index + 1))
                    .build()
                    .map_err(|error| Error::Spawn { threads, reason: error.to_string() })?;
                let shared = Arc::clone(&shared);
                pool.spawn_broadcast(move |_| shared.work());
                Some(pool)
            }
        };
        Ok(ThreadPool { threads, shared, _workers: workers })
    }

    /// Calls `f` with the pool after waking the workers, so that they are at hand when its first job comes.
    ///
    /// Enter once per forward pass (or once per generation); inside, [`Pool::run`] costs well under a microsecond.
    pub fn enter<R>(&self, f: impl FnOnce(&dyn Pool) -> R) -> R {
        self.shared.wake_sleepers();
        f(self)
    }
}

impl Pool for ThreadPool {
    fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `job` on this thread and on every worker that comes before this thread is done with it; returns when all that
    /// came are done. A job started from inside a job, or while another thread has one running, runs on the calling thread
    /// alone. A panic in a job is passed on to the caller after all have stopped.
    fn run(&self, job: &(dyn Fn() + Sync)) {
        if self.threads == 1 {
            job();
        } else {
            self.shared.run(job);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

/// One cache line (two, where the hardware prefetches pairs), so that the spinning does not disturb the neighbours.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

#[derive(Default)]
struct Shared {
    state: Line<AtomicUsize>,
    /// Set while a caller owns `slot`: the others run their jobs serially.
    busy: Line<AtomicBool>,
    slot: UnsafeCell<Option<&'static (dyn Fn() + Sync)>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    quit: AtomicBool,
    /// Workers that wait for `bell` and have not been called yet; changed under `bed` only.
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

// `slot` is the only field that is not Sync by itself. It is written by the thread that holds `busy` while no job is
// open and no worker is counted in `state`; it is read only by workers that have counted themselves into an open job, which
// they do by an acquiring exchange on `state` after the caller's releasing store. What it refers to is `Sync`.
// SAFETY: so nobody reads `slot` while it is written, and what it refers to may be shared.
unsafe impl Sync for Shared {}
// SAFETY: as above; the reference in `slot` may be used from any thread because its target is `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    fn run(&self, job: &(dyn Fn() + Sync)) {
        if self.busy.0.swap(true, Ordering::Acquire) {
            job();
            return;
        }
        // The reference is used by workers between counting themselves in and out of this job, and this function does not
        // return, normally or by a panic (which is caught), before it has closed the job and seen the count at zero; after that
        // no worker can enter it, because entering exchanges the very state word that said "open" with this job's number.
        // SAFETY: only the lifetime changes, and the reference is not used after it has ended.
        let erased = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(job) };
        // SAFETY: `busy` is ours, and the previous owner gave it up with the job closed and no worker inside.
        unsafe { *self.slot.get() = Some(erased) };
        let number = (self.state.0.load(Ordering::Relaxed) & !(JOB - 1)).wrapping_add(JOB);
        self.state.0.store(number | OPEN, Ordering::SeqCst);
        self.wake_sleepers();

        let own = catch_unwind(AssertUnwindSafe(job));
        if self.state.0.fetch_and(!OPEN, Ordering::AcqRel) & WORKERS != 0 {
            let mut wait = Wait::new();
            while self.state.0.load(Ordering::Acquire) & WORKERS != 0 {
                wait.pause();
            }
        }
        let theirs = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.0.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    /// The loop of a worker.
    fn work(&self) {
        // One before the present job, so that a job opened while this thread was starting is new to it.
        let mut done = (self.state.0.load(Ordering::Relaxed) & !(JOB - 1)).wrapping_sub(JOB);
        let mut wait = Wait::new();
        while !self.quit.load(Ordering::Relaxed) {
            let state = self.state.0.load(Ordering::Relaxed);
            if !is_new(state, done) {
                if wait.pause() >= AWAKE {
                    self.sleep(done);
                    wait = Wait::new();
                }
                continue;
            }
            if self.state.0.compare_exchange_weak(state, state + WORKER, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                continue;
            }
            // SAFETY: this thread is counted into the open job, so the caller keeps the slot and its target as they are.
            if let Some(job) = unsafe { *self.slot.get() }
                && let Err(payload) = catch_unwind(AssertUnwindSafe(job))
            {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
            self.state.0.fetch_sub(WORKER, Ordering::Release);
            done = state & !(JOB - 1);
            wait = Wait::new();
        }
    }

    /// Sleeps until [`wake`](Self::wake), unless there is something to do already. A caller publishes its job and then reads
    /// `sleepers`; this counts itself and then reads the job: in the one order of both, one of the two sees the other.
    fn sleep(&self, done: usize) {
        let guard = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        if !is_new(self.state.0.load(Ordering::SeqCst), done) && !self.quit.load(Ordering::SeqCst) {
            drop(self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner));
        } else {
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            self.wake();
        }
    }

    fn wake(&self) {
        let guard = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.store(0, Ordering::SeqCst);
        drop(guard);
        self.bell.notify_all();
    }
}

/// Whether the state word shows an open job other than the one last done.
fn is_new(state: usize, done: usize) -> bool {
    state & OPEN != 0 && state & !(JOB - 1) != done
}

/// Spins for a while, then yields.
struct Wait {
    spins: u32,
    since: Option<Instant>,
}

impl Wait {
    fn new() -> Wait {
        Wait { spins: 0, since: None }
    }

    /// Waits a little, and says for how long it has been yielding.
    fn pause(&mut self) -> Duration {
        if self.spins < SPINS {
            self.spins += 1;
            spin_loop();
            return Duration::ZERO;
        }
        std::thread::yield_now();
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// The number of physical cores this process may use, at least 1: what [`std::thread::available_parallelism`] grants (it
/// knows affinity masks and container limits), with hardware threads that share a core counted once where the system tells
/// (Linux).
pub fn physical_cores() -> NonZeroUsize {
    let granted = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    match linux_cores().and_then(NonZeroUsize::new) {
        Some(cores) => cores.min(granted),
        None => granted,
    }
}

/// Distinct sets of sibling threads among the processors this process may run on.
fn linux_cores() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = std::collections::BTreeSet::new();
    for cpu in cpu_list(allowed)? {
        let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        cores.insert(std::fs::read_to_string(topology).ok()?.trim().to_owned());
    }
    Some(cores.len())
}

/// Reads a list as the kernel writes them: `0-3,8,10-11`.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> ThreadPool {
        ThreadPool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    const RUNS: u64 = if cfg!(miri) { 40 } else { 5_000 };

    /// Every index is claimed exactly once, by whoever came, in every one of thousands of jobs.
    #[test]
    fn work_is_done_once_at_every_thread_count() {
        for threads in 1..=8 {
            let pool = pool(threads);
            assert_eq!(pool.threads(), threads);
            pool.enter(|pool| {
                for run in 0..RUNS {
                    let items = usize::try_from(run % 67).unwrap();
                    let next = AtomicUsize::new(0);
                    let hits: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(&|| {
                        while let Some(hit) = hits.get(next.fetch_add(1, Ordering::Relaxed)) {
                            hit.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1), "threads {threads}, run {run}");
                }
            });
        }
    }

    /// Writes of a job without atomics are visible to the caller afterwards, and to the next job.
    #[test]
    fn a_run_orders_memory() {
        struct Cells(Vec<UnsafeCell<u64>>);
        // SAFETY: each cell is touched by the one thread that claimed its index.
        unsafe impl Sync for Cells {}
        impl Cells {
            fn add(&self, index: usize, value: u64) {
                // SAFETY: as for `Sync`.
                unsafe { *self.0[index].get() += value }
            }
        }
        let pool = pool(4);
        let cells = Cells((0..256).map(|_| UnsafeCell::new(0)).collect());
        for run in 0..RUNS / 5 {
            let next = AtomicUsize::new(0);
            pool.run(&|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= 256 {
                        break;
                    }
                    cells.add(index, run);
                }
            });
        }
        let runs = RUNS / 5;
        for cell in cells.0 {
            assert_eq!(cell.into_inner(), runs * (runs - 1) / 2);
        }
    }

    #[test]
    fn all_threads_can_take_part() {
        let pool = pool(3);
        let inside = AtomicUsize::new(0);
        pool.run(&|| {
            inside.fetch_add(1, Ordering::SeqCst);
            while inside.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
        });
        assert_eq!(inside.into_inner(), 3);
    }

    #[test]
    fn sleeping_workers_come_back() {
        let pool = pool(2);
        for _ in 0..5 {
            while pool.shared.sleepers.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let inside = AtomicUsize::new(0);
            pool.run(&|| {
                inside.fetch_add(1, Ordering::SeqCst);
                while inside.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
        }
    }

    /// The worker is asleep for good (its wake-up is withheld by holding the lock it needs), and `run` returns all the same.
    #[test]
    fn a_worker_that_never_wakes_is_not_waited_for() {
        let pool = pool(2);
        while pool.shared.sleepers.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let bed = pool.shared.bed.lock().unwrap();
        pool.shared.sleepers.store(0, Ordering::SeqCst);
        let count = AtomicUsize::new(0);
        for _ in 0..100 {
            pool.run(&|| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(count.into_inner(), 100);
        drop(bed);
    }

    #[test]
    fn nested_and_concurrent_runs_are_serial() {
        let pool = pool(4);
        let inner = AtomicUsize::new(0);
        let outer = AtomicUsize::new(0);
        pool.run(&|| {
            outer.fetch_add(1, Ordering::Relaxed);
            let thread = std::thread::current().id();
            pool.run(&|| {
                assert_eq!(std::thread::current().id(), thread);
                inner.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(inner.load(Ordering::Relaxed), outer.load(Ordering::Relaxed));

        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..RUNS / 5 {
                        let left = AtomicUsize::new(10);
                        pool.run(&|| {
                            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
                            {
                                total.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                        assert_eq!(left.into_inner(), 0);
                    }
                });
            }
        });
        assert_eq!(total.into_inner() as u64, 3 * 10 * (RUNS / 5));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = pool(3);
        let caller = std::thread::current().id();
        for on_caller in [true, false] {
            let inside = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|| {
                    inside.fetch_add(1, Ordering::SeqCst);
                    while inside.load(Ordering::SeqCst) < 3 {
                        std::thread::yield_now();
                    }
                    if (std::thread::current().id() == caller) == on_caller {
                        resume_unwind(Box::new("job"));
                    }
                });
            }));
            assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"job"));
            let after = AtomicUsize::new(0);
            pool.run(&|| {
                after.fetch_add(1, Ordering::Relaxed);
            });
            assert!((1..=3).contains(&after.into_inner()));
        }
    }

    #[test]
    fn dropping_a_pool_ends_its_workers() {
        for _ in 0..20 {
            let pool = pool(3);
            let shared = Arc::downgrade(&pool.shared);
            pool.run(&|| {});
            drop(pool);
            while shared.strong_count() != 0 {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn absurd_thread_counts_are_refused() {
        let error = ThreadPool::new(NonZeroUsize::MAX).err().unwrap();
        assert!(matches!(error, Error::TooManyThreads { most: MAX_THREADS, .. }));
    }

    #[test]
    fn cores_are_counted() {
        assert!(physical_cores() <= std::thread::available_parallelism().unwrap());
        assert_eq!(cpu_list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(cpu_list("5"), Some(vec![5]));
        assert_eq!(cpu_list("0-4294967295"), None);
        assert_eq!(cpu_list("x"), None);
    }
}
