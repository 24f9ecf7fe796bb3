//! What this machine has for a model: memory, and how fast it is read.
//!
//! A decoder reads all its weights for each token, so on a CPU the bandwidth of memory bounds the tokens per second ([`Fit`]).

mod memory;

use crate::hub::Bytes;
use crate::temporary::Temporary;
use crate::{Error, ThreadPool, physical_cores};
pub use memory::{free_memory, total_memory};
use serde_json::{Value, json};
use smidgen::{Model, Options, RunError};
use smidgen_targets::Pool;
use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file of the cache in which the bandwidth is kept.
const NAME: &str = "machine.json";
/// The most bytes of it that are read.
const MOST_BYTES: u64 = 1 << 16;
/// Bytes that a thread reads at a time, in words of 8.
const PIECE: usize = 1 << 20;
/// The least and most bytes that are read in a round, and those where nothing is known of the caches.
const ROUND: (u64, u64) = (64 << 20, 512 << 20);
const USUAL: u64 = 256 << 20;
/// Rounds, of which the fastest counts, and when the last one begins at the latest.
const ROUNDS: usize = 8;
const LATEST: Duration = Duration::from_millis(250);

/// Measures the bytes per second that all threads of a pool read from memory together: the fastest of some rounds over a buffer of several
/// times the caches and at most an eighth of the free memory. Takes well under a second. None if there is no memory for that.
pub fn bandwidth(pool: &dyn Pool) -> Option<f64> {
    let buffer = Buffer::new(pool, round_bytes(caches(), free_memory()))?;
    let start = Instant::now();
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        let round = Instant::now();
        buffer.read(pool);
        best = best.max(buffer.bytes() as f64 / round.elapsed().as_secs_f64().max(1e-9));
        if start.elapsed() > LATEST {
            break;
        }
    }
    // A whole number is read from a file as it was written.
    Some(best.round())
}

/// Memory in pieces, each first touched by the thread that came for it.
struct Buffer(Vec<OnceLock<Vec<u64>>>);

impl Buffer {
    fn new(pool: &dyn Pool, bytes: u64) -> Option<Buffer> {
        let pieces = usize::try_from(bytes).ok()? / PIECE;
        let buffer = Buffer((0..pieces.max(1)).map(|_| OnceLock::new()).collect());
        let fill = |index: usize, piece: &OnceLock<Vec<u64>>| {
            let mut words = Vec::new();
            // A page of zeros that nobody wrote may be one page for all.
            if words.try_reserve_exact(PIECE / 8).is_ok() {
                words.resize(PIECE / 8, index as u64 + 1);
                let _ = piece.set(words);
            }
        };
        buffer.each(pool, &fill);
        buffer.0.iter().all(|piece| piece.get().is_some()).then_some(buffer)
    }

    fn bytes(&self) -> u64 {
        (self.0.len() * PIECE) as u64
    }

    /// Reads all of it.
    fn read(&self, pool: &dyn Pool) {
        self.each(pool, &|_, piece| {
            black_box(sum(piece.get().map_or(&[], Vec::as_slice)));
        });
    }

    /// Has each piece visited by one thread.
    fn each(&self, pool: &dyn Pool, visit: &(dyn Fn(usize, &OnceLock<Vec<u64>>) + Sync)) {
        let next = AtomicUsize::new(0);
        pool.run(&|| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = self.0.get(index) else { break };
                visit(index, piece);
            }
        });
    }
}

/// The sum of words (of the last whole eight), in parts that do not wait for each other. Spelled out, it is as fast as memory whether it is
/// compiled for speed or for size.
fn sum(words: &[u64]) -> u64 {
    let (mut a, mut b, mut c, mut d) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (lines, _) = words.as_chunks::<8>();
    for [p, q, r, s, t, u, v, w] in lines {
        a = a.wrapping_add(p.wrapping_add(*q));
        b = b.wrapping_add(r.wrapping_add(*s));
        c = c.wrapping_add(t.wrapping_add(*u));
        d = d.wrapping_add(v.wrapping_add(*w));
    }
    a.wrapping_add(b).wrapping_add(c).wrapping_add(d)
}

/// Bytes of a round, for caches and free memory of so many bytes.
fn round_bytes(caches: Option<u64>, free: Option<u64>) -> u64 {
    let several = caches.map_or(USUAL, |caches| caches.saturating_mul(4).clamp(ROUND.0, ROUND.1));
    free.map_or(several, |free| several.min(free / 8))
}

/// Bytes of the largest cache, where the system tells (Linux).
fn caches() -> Option<u64> {
    let folder = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let size = |entry: fs::DirEntry| cache_size(fs::read_to_string(entry.path().join("size")).ok()?.trim());
    folder.flatten().filter_map(size).max()
}

/// Reads a size as the kernel writes it: `32768K`.
fn cache_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits)? {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// A bandwidth that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// Bytes per second.
    pub bytes_per_second: f64,
    /// Threads that read.
    pub threads: usize,
    /// When, in seconds since 1970.
    pub measured: u64,
}

/// The bandwidth that was measured and kept in a cache; none if there is none, or one of a machine with other cores.
pub fn kept_bandwidth(cache: &Path) -> Option<Bandwidth> {
    let mut text = Vec::new();
    File::open(cache.join(NAME)).ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let number = |name: &str| value.get(name)?.as_u64();
    if number("version")? != 1 || number("cores")? != physical_cores().get() as u64 {
        return None;
    }
    let rate = value.get("bytes_per_second")?.as_f64()?;
    Some(Bandwidth {
        bytes_per_second: Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0)?,
        threads: usize::try_from(number("threads")?).ok()?,
        measured: number("measured")?,
    })
}

/// Keeps a bandwidth that was measured now in a cache, in place of the one that is there.
///
/// # Errors
/// [`Error::Write`].
pub fn keep_bandwidth(cache: &Path, bytes_per_second: f64, threads: usize) -> Result<(), Error> {
    let path = cache.join(NAME);
    let unwritten = |error| Error::Write { path: path.clone(), error };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let value = json!({
        "version": 1,
        "bytes_per_second": bytes_per_second,
        "threads": threads,
        "cores": physical_cores().get(),
        "measured": now,
    });
    fs::create_dir_all(cache).map_err(unwritten)?;
    let part = cache.join(format!(".{NAME}.{}.part", std::process::id()));
    let (part, mut file) = Temporary::make(part, |part| File::create(part).map_err(unwritten))?;
    file.write_all(format!("{value:#}\n").as_bytes()).map_err(unwritten)?;
    drop(file);
    part.rename(&path).map_err(unwritten)
}

/// The bandwidth that is kept in a cache, or else that of one thread for each core, which is measured and kept. None if there is no memory to
/// measure it with. A cache that cannot be written is no error.
pub fn known_bandwidth(cache: &Path) -> Option<f64> {
    if let Some(kept) = kept_bandwidth(cache) {
        return Some(kept.bytes_per_second);
    }
    let cores = physical_cores();
    let rate = ThreadPool::new(cores).ok()?.enter(bandwidth)?;
    let _ = keep_bandwidth(cache, rate, cores.get());
    Some(rate)
}

/// Whether a model fits into memory, and how fast it can be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Bytes of the model's files, which are mapped.
    pub file: u64,
    /// Bytes of the key-value caches.
    pub cache: u64,
    /// Other bytes that a session needs beside the files.
    pub scratch: u64,
    /// Bytes that are free, if that is known.
    pub free: Option<u64>,
}

/// Whether a model fits into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it fits.
    Fits,
    /// What is allocated fits, the mapped file does not fit beside it: the system reads parts of it from the disk again and again.
    Pages,
    /// What is allocated does not fit.
    TooLarge,
    /// How much memory is free is not known.
    Unknown,
}

impl Fit {
    /// That of a session of a language model with these options, whose files have so many bytes, in the memory that is free now.
    ///
    /// # Errors
    /// Those of [`Options::bytes_needed`].
    pub fn of(file: u64, model: &Model, options: &Options) -> Result<Fit, RunError> {
        let (needed, cache) = (options.bytes_needed(model)? as u64, options.cache_bytes(model)? as u64);
        Ok(Fit { file, cache, scratch: needed.saturating_sub(cache), free: free_memory() })
    }

    /// Bytes that are allocated beside the files.
    pub fn needed(&self) -> u64 {
        self.cache.saturating_add(self.scratch)
    }

    /// Whether it fits.
    pub fn verdict(&self) -> Verdict {
        match self.free {
            None => Verdict::Unknown,
            Some(free) if self.needed() > free => Verdict::TooLarge,
            Some(free) if self.file.saturating_add(self.needed()) > free => Verdict::Pages,
            Some(_) => Verdict::Fits,
        }
    }

    /// How fast one sequence can be decoded at most at a bandwidth in bytes per second. None for a model of no bytes.
    pub fn limit(&self, bandwidth: f64) -> Option<Limit> {
        let rate = |bytes: u64| bandwidth / bytes as f64;
        (self.file > 0).then(|| Limit { first: rate(self.file), last: rate(self.file.saturating_add(self.cache)) })
    }
}

/// The most tokens per second, as far as the bandwidth of memory allows: each token reads all weights, and the cache as far as it is full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// With an empty context.
    pub first: f64,
    /// With a full one.
    pub last: f64,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {:.1} tokens per second, and {:.1} with a full context", self.first, self.last)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, needed) = (Bytes(self.file), Bytes(self.needed()));
        let free = Bytes(self.free.unwrap_or(0));
        match self.verdict() {
            Verdict::Fits => write!(f, "fits: file {file} + cache and scratch {needed} of {free} free"),
            Verdict::Pages => write!(
                f,
                "will page: file {file} + cache and scratch {needed}, but {free} free: parts of the file will be read from the disk for each token; a smaller model or context fits"
            ),
            Verdict::TooLarge => {
                write!(
                    f,
                    "does not fit: cache and scratch {needed}, but {free} free; give a smaller context or KV cache"
                )
            }
            Verdict::Unknown => {
                write!(f, "takes: file {file} + cache and scratch {needed}; how much memory is free is not known")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn what_fits() {
        let fit = |file, cache, scratch, free| Fit { file, cache, scratch, free };
        let mega = 1_000_000;
        for (fit, verdict, words) in [
            (
                fit(398 * mega, 40 * mega, 21 * mega, Some(3100 * mega)),
                Verdict::Fits,
                "fits: file 398 MB + cache and scratch 61 MB of 3.1 GB free",
            ),
            (fit(10, 5, 5, Some(20)), Verdict::Fits, "fits: file 10 B + cache and scratch 10 B of 20 B free"),
            (fit(11, 5, 5, Some(20)), Verdict::Pages, "will page: file 11 B + cache and scratch 10 B, but 20 B free: "),
            (fit(11, 5, 5, Some(10)), Verdict::Pages, "will page: "),
            (fit(0, 5, 6, Some(10)), Verdict::TooLarge, "does not fit: cache and scratch 11 B, but 10 B free; give "),
            (fit(1, u64::MAX, 1, Some(10)), Verdict::TooLarge, "does not fit: "),
            (fit(u64::MAX, 1, 1, Some(u64::MAX - 1)), Verdict::Pages, "will page: "),
            (fit(11, 5, 5, None), Verdict::Unknown, "takes: file 11 B + cache and scratch 10 B; how much memory"),
        ] {
            assert_eq!(fit.verdict(), verdict, "{fit:?}");
            let shown = fit.to_string();
            assert!(shown.starts_with(words) && !shown.contains('\n'), "{shown}");
        }
        assert_eq!(fit(200, 200, 50, None).limit(4000.0), Some(Limit { first: 20.0, last: 10.0 }));
        assert_eq!(fit(0, 0, 50, None).limit(4000.0), None);
    }

    #[test]
    fn the_fit_of_a_model() {
        use smidgen_quant::Format;
        use smidgen_tests::{chat::chat_model, seeded::Shape};
        let bytes = chat_model(&Shape::default(), Format::Q8_0).bytes();
        let parts = [smidgen_gguf::Gguf::parse(&bytes).unwrap()];
        let model = Model::parse(&parts).unwrap();
        let fit = |context| Fit::of(bytes.len() as u64, &model, &Options::new(context)).unwrap();
        let (one, two) = (fit(512), fit(1024));
        assert_eq!(
            (one.file, one.needed()),
            (bytes.len() as u64, Options::new(512).bytes_needed(&model).unwrap() as u64)
        );
        assert_eq!(two.cache, 2 * one.cache);
        assert!(one.cache > 0 && one.scratch > 0);
        assert!(Fit::of(1, &model, &Options::new(0)).is_err());
    }

    #[test]
    fn every_byte_is_read_once() {
        for threads in [1, 3] {
            let pool = ThreadPool::new(NonZeroUsize::new(threads).unwrap()).unwrap();
            let buffer = Buffer::new(&pool, 3 * PIECE as u64 + 5).unwrap();
            assert_eq!(buffer.bytes(), 3 * PIECE as u64);
            let read = AtomicUsize::new(0);
            buffer.each(&pool, &|index, piece| {
                let words = piece.get().unwrap();
                assert_eq!(sum(words), (PIECE / 8 * (index + 1)) as u64);
                read.fetch_add(words.len() * 8, Ordering::Relaxed);
            });
            assert_eq!(read.into_inner() as u64, buffer.bytes());
        }
        assert_eq!(sum(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), 36);
    }

    #[test]
    fn rounds_are_larger_than_the_caches_and_small_beside_the_memory() {
        let giga = 1 << 30;
        for (caches, free, bytes) in [
            (None, None, USUAL),
            (Some(32 << 20), Some(64 * giga), 128 << 20),
            (Some(1 << 20), Some(64 * giga), 64 << 20),
            (Some(giga), Some(64 * giga), 512 << 20),
            (Some(1 << 20), Some(80 << 20), 10 << 20),
            (None, Some(0), 0),
        ] {
            assert_eq!(round_bytes(caches, free), bytes, "{caches:?} {free:?}");
        }
        for (text, size) in
            [("32768K", Some(32 << 20)), ("1M", Some(1 << 20)), ("64", Some(64)), ("", None), ("K", None), ("1X", None)]
        {
            assert_eq!(cache_size(text), size, "{text}");
        }
    }

    #[test]
    fn a_bandwidth_is_kept() {
        let dir = std::env::temp_dir().join(format!("smidgen-machine-{}", std::process::id()));
        let cache = dir.join("cache");
        assert_eq!(kept_bandwidth(&cache), None);
        keep_bandwidth(&cache, 12.5e9, 2).unwrap();
        let kept = kept_bandwidth(&cache).unwrap();
        assert_eq!((kept.bytes_per_second, kept.threads), (12.5e9, 2));
        assert!(kept.measured > 1_600_000_000);
        let path = cache.join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
        for (from, to) in [
            ("12500000000.0", "0"),
            ("12500000000.0", "-1.0"),
            ("12500000000.0", "1e999"),
            ("\"version\": 1", "\"version\": 2"),
            ("\"cores\": ", "\"cores\": 9"),
            ("{", "["),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            fs::write(&path, changed).unwrap();
            assert_eq!(kept_bandwidth(&cache), None, "{to}");
        }
        keep_bandwidth(&cache, 1.0, 1).unwrap();
        assert_eq!(known_bandwidth(&cache), Some(1.0));
        fs::remove_file(&path).unwrap();
        let measured = known_bandwidth(&cache);
        assert!(measured > Some(0.0));
        assert_eq!(known_bandwidth(&cache), measured);
        fs::remove_dir_all(dir).unwrap();
    }
}
