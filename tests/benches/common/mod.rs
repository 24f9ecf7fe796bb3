//! What the benches share.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod chart;
pub(crate) mod limits;

use smidgen_targets::KernelSet;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// What may go wrong, told in one line.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What the shell is told; what went wrong is told to the person.
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

/// The model files that were named, or the known small model in the cache.
pub(crate) fn models(named: Vec<String>) -> Outcome<Vec<PathBuf>> {
    if !named.is_empty() {
        let cwd = std::env::var_os("PWD").map(PathBuf::from);
        let absolute = |path: PathBuf| match &cwd {
            // cargo runs benches in the package's folder; names are meant from where the person is.
            Some(cwd) if !path.is_absolute() && !path.exists() => cwd.join(path),
            _ => path,
        };
        return Ok(named.into_iter().map(|path| absolute(path.into())).collect());
    }
    let found = smidgen_host::find("smollm2")
        .ok_or("no --model FILE, and smollm2 is not in the cache: smidgen pull smollm2")?;
    Ok(vec![found])
}

/// The table of that name, or the fastest.
pub(crate) fn kernels(name: Option<&str>) -> Outcome<&'static KernelSet> {
    let Some(name) = name else { return Ok(smidgen_targets::detect()) };
    smidgen_targets::named(name).ok_or_else(|| {
        let names: Vec<_> = smidgen_targets::available().map(|kernels| kernels.name).collect();
        format!("--target {name}: this machine has {}", names.join(", ")).into()
    })
}

/// The middle value, or the mean of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().wrapping_sub(1) / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// A table in Markdown, numbers to the right.
pub(crate) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        rows.iter()
            .chain([&head.to_vec()])
            .filter_map(|row| row.get(i))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_text =
        |i: usize| rows.iter().any(|row| row.get(i).is_some_and(|cell| cell.starts_with(char::is_alphabetic)));
    let mut out = String::new();
    let mut line = |row: &[String]| {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if is_text(i) { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
        }
        out.push_str("|\n");
    };
    line(head);
    let rules: Vec<String> =
        (0..head.len())
            .map(|i| {
                if is_text(i) { "-".repeat(widths[i]) } else { format!("{}:", "-".repeat(widths[i].saturating_sub(1))) }
            })
            .collect();
    line(&rules);
    rows.iter().for_each(|row| line(row));
    out
}

/// A number with as many digits as it is worth.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// How many processes wanted to run lately: figures taken beside others say little.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().map_or("load unknown".into(), |load| format!("load average before {load}"))
}

/// What the processor calls itself.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{name}, {cores} {}", if cores == 1 { "core" } else { "cores" })
}
