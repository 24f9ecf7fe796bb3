//! Helpers that all benches share.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod limits;

use smidgen_targets::KernelSet;
pub(crate) use smidgen_tests::report::{median, short, table};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// The result of a bench; its error is printed as one line.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Prints an error, if there is one, and turns the outcome into the exit code.
pub(crate) fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\r\x1b[K{error}");
            ExitCode::FAILURE
        }
    }
}

/// The words of the command line, given out one by one.
pub(crate) struct Words {
    words: Vec<String>,
    usage: &'static str,
}

impl Words {
    /// The words after the program's name, without the `--bench` that cargo adds. None if nobody asked for a measurement: a test run
    /// starts benches too.
    pub(crate) fn new(usage: &'static str) -> Option<Words> {
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        let before = words.len();
        words.retain(|word| word != "--bench");
        if words.len() == before && words.is_empty() {
            println!("nothing measured: run by cargo bench");
            return None;
        }
        if words.iter().any(|word| word == "--help" || word == "-h") {
            println!("{usage}");
            return None;
        }
        Some(Words { words, usage })
    }

    /// Whether the flag was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// Every value of an option, in order.
    pub(crate) fn all(&mut self, name: &str) -> Outcome<Vec<String>> {
        let mut values = Vec::new();
        while let Some(at) = self.words.iter().position(|word| word == name) {
            if at + 1 == self.words.len() {
                return Err(format!("{name} needs a value\n{}", self.usage).into());
            }
            values.push(self.words.remove(at + 1));
            self.words.remove(at);
        }
        Ok(values)
    }

    /// The last value of an option.
    pub(crate) fn one<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Outcome<Option<T>> {
        let Some(value) = self.all(name)?.pop() else { return Ok(None) };
        value.parse().map(Some).map_err(|error| format!("{name} {value}: {error}").into())
    }

    /// Values separated by commas.
    pub(crate) fn list(&mut self, name: &str) -> Outcome<Option<Vec<usize>>> {
        let Some(text) = self.one::<String>(name)? else { return Ok(None) };
        let values: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
        match values {
            Ok(values) if values.iter().all(|value| *value > 0) => Ok(Some(values)),
            _ => Err(format!("{name} {text}: numbers from 1 on, separated by commas").into()),
        }
    }

    /// Refuses what nobody has asked for.
    pub(crate) fn finish(self) -> Outcome {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("{word} is unknown\n{}", self.usage).into()),
        }
    }
}

/// A path as the person means it. Cargo runs benches in the package's folder; names are meant from where the person is.
pub(crate) fn absolute(path: PathBuf) -> PathBuf {
    match std::env::var_os("PWD").map(PathBuf::from) {
        Some(cwd) if !path.is_absolute() && !path.exists() => cwd.join(path),
        _ => path,
    }
}

/// The model files that were named, or the known small model in the cache.
pub(crate) fn models(named: Vec<String>) -> Outcome<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.into_iter().map(|path| absolute(path.into())).collect());
    }
    let found = smidgen_host::find("smollm2")
        .ok_or("no --model FILE, and smollm2 is not in the cache: smidgen pull smollm2")?;
    Ok(vec![found])
}

/// The kernel set of that name, or the fastest.
pub(crate) fn kernels(name: Option<&str>) -> Outcome<&'static KernelSet> {
    let Some(name) = name else { return Ok(smidgen_targets::detect()) };
    smidgen_targets::named(name).ok_or_else(|| {
        let names: Vec<_> = smidgen_targets::available().map(|kernels| kernels.name).collect();
        format!("--target {name}: this machine does not have this kernel set; it has {}", names.join(", ")).into()
    })
}

/// How many processes wanted to run lately: figures taken beside others say little.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().map_or("load unknown".into(), |load| format!("load average before {load}"))
}

/// The class of this machine in the records, by the CPU's features.
pub(crate) fn class() -> &'static str {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |name: &str| text.split_whitespace().any(|word| word == name);
    match () {
        () if cfg!(target_arch = "aarch64") => "arm64",
        () if has("amx_int8") => "amx",
        () if has("avx512f") => "avx512",
        () => "avx2",
    }
}

/// Smidgen's version, with the commit where git tells it.
pub(crate) fn version() -> String {
    let mut git = std::process::Command::new("git");
    let commit = git.args(["describe", "--always", "--dirty", "--exclude=*"]).output().ok();
    let commit = commit.filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    match commit {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").into(),
    }
}

/// Today's date in the Gregorian calendar, UTC, as YYYY-MM-DD.
pub(crate) fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Years begin in March here, so that a leap day is a year's last, and in eras of 400 years, which all have as many days.
    let days = now.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The processor's own name and the number of cores.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{name}, {cores} {}", if cores == 1 { "core" } else { "cores" })
}
