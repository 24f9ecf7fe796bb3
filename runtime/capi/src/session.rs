//! Sessions: a model with its KV cache, working memory and threads.

use crate::failure::Failure;
use crate::log;
use crate::model::{Model, Network};
use crate::reserve;
use crate::types::*;
#[cfg(feature = "encoders")]
use smidgen::encoder::{image, text};
use smidgen_host::{MAX_THREADS, ThreadPool, physical_cores};
use smidgen_targets::Pool;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// The longest context that is the default.
const CONTEXT: usize = 8192;
/// Bytes of a thread's stack, as Rust's library gives it.
const STACK: usize = 2 << 20;
/// No generation is running.
const IDLE: u8 = 0;
/// A generation is running …
const RUNNING: u8 = 1;
/// … and has been asked to end.
const CANCELLED: u8 = 2;

/// A session: dropped in this order, as what runs borrows from the model.
pub(crate) struct Session {
    run: Mutex<Run>,
    /// The thread that uses `run`: see [`thread`].
    owner: AtomicUsize,
    state: AtomicU8,
    cpus: Vec<u32>,
    pub(crate) model: Arc<Model>,
}

/// The state that a call works on.
pub(crate) struct Run {
    #[cfg(feature = "language")]
    pub(crate) language: Option<smidgen::Session<'static, 'static>>,
    /// What the language model does not hold of the conversation: its end.
    #[cfg(feature = "language")]
    pub(crate) rest: Vec<u32>,
    #[cfg(feature = "encoders")]
    pub(crate) text: Option<text::Session<'static, 'static>>,
    #[cfg(feature = "encoders")]
    pub(crate) image: Option<image::Session<'static, 'static>>,
    #[cfg(feature = "audio")]
    pub(crate) audio: Option<crate::classify::Listener>,
    pub(crate) bytes: u64,
    pub(crate) pool: ThreadPool,
}

thread_local! {
    static HERE: u8 = const { 0 };
}

/// A number that no two living threads share, and that is not 0.
fn thread() -> usize {
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl Session {
    pub(crate) fn new(model: Arc<Model>, params: &smidgen_session_params, cpus: &[u32]) -> Result<Session, Failure> {
        affinity::check(cpus)?;
        let threads = NonZeroUsize::new(params.threads as usize).unwrap_or_else(physical_cores);
        let workers = threads.get() - 1;
        if threads.get() <= MAX_THREADS {
            reserve::probe(workers * (STACK + reserve::THREAD))?;
        }
        let (bound, started) = (cpus.to_vec(), Arc::new(AtomicUsize::new(0)));
        let start = Arc::clone(&started);
        let pool = ThreadPool::with_start(threads, move |_| {
            affinity::bind(&bound);
            // What the thread sets up later finds room in what this leaves to it.
            let _ = reserve::probe(1 << 16);
            start.fetch_add(1, Ordering::SeqCst);
        })?;
        // Before what follows takes the memory that they need to start.
        while started.load(Ordering::SeqCst) < workers {
            std::thread::yield_now();
        }
        let network: *const Network = &raw const model.network;
        // SAFETY: the model lies in the allocation that `Arc` keeps in its place; the session holds the `Arc` and drops it after what
        // borrows from it.
        let network: &'static Network = unsafe { &*network };
        let run = Run::new(network, &model, params, pool)?;
        log::write(SMIDGEN_LOG_INFO, &format!("session opened: {threads} threads, {} bytes", run.bytes));
        let (owner, state) = (AtomicUsize::new(0), AtomicU8::new(IDLE));
        Ok(Session { run: Mutex::new(run), owner, state, cpus: cpus.to_vec(), model })
    }

    /// Calls a function with the session's state, unless another call uses it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Run) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut run = match self.run.try_lock() {
            Ok(run) => run,
            Err(TryLockError::WouldBlock) if self.owner.load(Ordering::Relaxed) == thread() => {
                let text = "the session is in use by the call whose callback makes this call";
                return Err(Failure::new(SMIDGEN_ERROR_REENTRANT, text));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(SMIDGEN_ERROR_BUSY, "another thread is using the session"));
            }
            Err(TryLockError::Poisoned(_)) => {
                return Err(Failure::new(
                    SMIDGEN_ERROR_INTERNAL,
                    "the session is unusable after an internal error; close it",
                ));
            }
        };
        self.owner.store(thread(), Ordering::Relaxed);
        let own = affinity::enter(&self.cpus);
        let result = work(&mut run);
        affinity::leave(own);
        self.owner.store(0, Ordering::Relaxed);
        result
    }

    /// Whether the session can be closed now; one that is unusable after a panic can.
    pub(crate) fn is_free(&self) -> Result<(), Failure> {
        match self.with(|_| Ok(())) {
            Err(failure) if failure.status != SMIDGEN_ERROR_INTERNAL => Err(failure),
            _ => Ok(()),
        }
    }

    /// A generation begins.
    pub(crate) fn begin(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// A generation has ended. Says whether [`cancel`](Self::cancel) has told anyone that it will be cancelled, be it after its last token.
    pub(crate) fn end(&self) -> bool {
        self.state.swap(IDLE, Ordering::SeqCst) == CANCELLED
    }

    /// Whether the generation shall end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CANCELLED
    }

    /// Asks for the end of a generation. Says whether there is one.
    pub(crate) fn cancel(&self) -> bool {
        let cancelled = self.state.compare_exchange(RUNNING, CANCELLED, Ordering::SeqCst, Ordering::SeqCst);
        cancelled.is_ok() || cancelled == Err(CANCELLED)
    }
}

impl Run {
    fn new(
        network: &'static Network,
        owner: &Model,
        params: &smidgen_session_params,
        pool: ThreadPool,
    ) -> Result<Run, Failure> {
        let mut run = Run {
            #[cfg(feature = "language")]
            language: None,
            #[cfg(feature = "language")]
            rest: Vec::new(),
            #[cfg(feature = "encoders")]
            text: None,
            #[cfg(feature = "encoders")]
            image: None,
            #[cfg(feature = "audio")]
            audio: None,
            bytes: 0,
            pool,
        };
        let model = match network {
            Network::Model(model) => model,
            #[cfg(feature = "audio")]
            Network::Micro(word) => {
                run.audio = Some(crate::classify::Listener::new(word)?);
                return Ok(run);
            }
        };
        let options = options(model, params)?;
        #[cfg(feature = "language")]
        if model.decoder.is_some() {
            run.bytes = options.bytes_needed(model)? as u64;
            run.language = Some(smidgen::Session::new(model, &options, owner.kernels)?);
        }
        #[cfg(feature = "encoders")]
        {
            let text = model.text_encoder().ok();
            run.text = text.map(|text| text::Session::new(text, &Default::default(), owner.kernels)).transpose()?;
            let image = model.image_encoder().ok();
            run.image =
                image.map(|image| image::Session::new(image, &Default::default(), owner.kernels)).transpose()?;
        }
        Ok(run)
    }

    /// Threads.
    pub(crate) fn threads(&self) -> usize {
        self.pool.threads()
    }
}

/// The options of a language model's session, from the host's parameters.
pub(crate) fn options(model: &smidgen::Model, params: &smidgen_session_params) -> Result<smidgen::Options, Failure> {
    let given = |value: u32, default: usize| if value == 0 { default } else { value as usize };
    let mut options = smidgen::Options::new(given(params.context, model.context().min(CONTEXT)));
    options.batch = given(params.batch, options.batch);
    options.kv = match params.kv {
        SMIDGEN_KV_F16 => smidgen::KvType::F16,
        SMIDGEN_KV_Q8_0 => smidgen::KvType::Q8_0,
        SMIDGEN_KV_F32 => smidgen::KvType::F32,
        other => return Err(Failure::argument(format_args!("kv is {other}, but must be one of SMIDGEN_KV_..."))),
    };
    Ok(options)
}

/// The CPUs that a thread runs on.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod affinity {
    use super::*;

    /// Whether the system can bind a thread to these CPUs. Tries it.
    pub(super) fn check(cpus: &[u32]) -> Result<(), Failure> {
        if cpus.is_empty() {
            return Ok(());
        }
        let own = current();
        let bound = bind(cpus);
        leave(own);
        bound.then_some(()).ok_or_else(|| {
            Failure::new(SMIDGEN_ERROR_THREADS, format_args!("the threads cannot be bound to the CPUs {cpus:?}"))
        })
    }

    /// Binds the calling thread, and says whether it went well.
    pub(super) fn bind(cpus: &[u32]) -> bool {
        if cpus.is_empty() {
            return true;
        }
        // SAFETY: a set of CPUs is bits, for which zeros are a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for cpu in cpus {
            let cpu = *cpu as usize;
            if cpu >= 8 * size_of::<libc::cpu_set_t>() {
                return false;
            }
            // SAFETY: the bit is in the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        // SAFETY: the set is as long as is said.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0 }
    }

    fn current() -> Option<libc::cpu_set_t> {
        // SAFETY: as in `bind`.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is as long as is said.
        (unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } == 0).then_some(set)
    }

    /// Binds the calling thread for a while: what it was bound to before.
    pub(super) fn enter(cpus: &[u32]) -> Option<libc::cpu_set_t> {
        let own = if cpus.is_empty() { None } else { current() };
        if own.is_some() {
            bind(cpus);
        }
        own
    }

    /// Ends what [`enter`] began.
    pub(super) fn leave(own: Option<libc::cpu_set_t>) {
        if let Some(set) = own {
            // SAFETY: the set is one that the system gave, as long as is said.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
        }
    }
}

/// Systems on which a thread cannot be bound.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod affinity {
    use super::*;

    pub(super) fn check(cpus: &[u32]) -> Result<(), Failure> {
        if cpus.is_empty() { Ok(()) } else { Err(Failure::unsupported("this system cannot bind threads to CPUs")) }
    }

    pub(super) fn bind(_: &[u32]) {}

    pub(super) fn enter(_: &[u32]) {}

    pub(super) fn leave((): ()) {}
}
