//! Time from the start of a process to the first byte of its answer, and its peak resident set.

use crate::Twins;
use crate::common::{Outcome, median, short, table};
use crate::runners::{SPAWN, output};
use serde_json::Value;
use smidgen::Model;
use smidgen::tokenizer::Tokenizer;
use smidgen_host::ModelFile;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tokens of the prompt.
const TOKENS: usize = 10;
/// Bytes of memory that a process may use beside the file and the cache.
const ALLOWANCE: u64 = 24 << 20;

pub(crate) fn measure(files: &[Twins], smidgen: Option<PathBuf>, llama: Option<PathBuf>, rounds: usize) -> Outcome {
    let smidgen = smidgen.map_or_else(build, Ok)?;
    println!("Start to first byte of a prompt of {TOKENS} tokens, warm cache; medians of {rounds}.\n");
    if llama.is_none() {
        println!("no peer: no --llama-cli\n");
    }
    let head = ["file", "engine", "first byte, ms", "peak RSS, MiB", "file + KV + 24 MiB", "within"].map(String::from);
    let mut rows = Vec::new();
    for twins in files {
        let (prompt, cache) = prompt_and_cache(&twins.plain)?;
        let ours = |model: &Path| {
            let model = model.display().to_string();
            [
                smidgen.display().to_string(),
                "run".into(),
                model,
                "--raw".into(),
                "-p".into(),
                prompt.clone(),
                "-n".into(),
                "1".into(),
                "--temp".into(),
                "0".into(),
            ]
        };
        let mut engines =
            vec![("Smidgen", ours(&twins.plain).to_vec()), ("Smidgen, packed", ours(&twins.packed).to_vec())];
        if let Some(llama) = &llama {
            let (program, model) = (llama.display().to_string(), twins.plain.display().to_string());
            let words =
                [&program, "-m", &model, "-p", &prompt, "-n", "1", "--temp", "0", "-no-cnv", "--no-display-prompt"];
            engines.push(("llama.cpp", words.map(String::from).to_vec()));
        }
        let mut figures = vec![(Vec::new(), Vec::new()); engines.len()];
        for round in 0..=rounds {
            for ((_, words), (times, peaks)) in engines.iter().zip(&mut figures) {
                let seen = output(Command::new(std::env::current_exe()?).arg(SPAWN).args(words))?;
                let (Some(seconds), Some(peak)) = (seen["seconds"].as_f64(), seen["peak_bytes"].as_f64()) else {
                    return Err(format!("{}: wrote nothing", words[0]).into());
                };
                // The first round fills the page cache.
                if round > 0 {
                    times.push(seconds * 1e3);
                    peaks.push(peak);
                }
            }
        }
        let allowed = (std::fs::metadata(&twins.plain)?.len() + cache + ALLOWANCE) as f64;
        for ((name, _), (times, peaks)) in engines.iter().zip(figures) {
            let time = median(times).unwrap_or(0.0);
            let peak = peaks.into_iter().fold(0.0, f64::max);
            let mib = |bytes: f64| format!("{:.1}", bytes / (1 << 20) as f64);
            let within = if peak <= allowed { "yes" } else { "no" };
            rows.push(vec![twins.name.clone(), name.to_string(), short(time), mib(peak), mib(allowed), within.into()]);
        }
    }
    println!("{}", table(&head, &rows));
    Ok(())
}

/// The command, built as it is released.
fn build() -> Outcome<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "-p", "smidgen-bin", "--message-format", "json", "--manifest-path"])
        .arg(manifest);
    let done = command.output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    program.filter(|_| done.status.success()).ok_or_else(|| "cargo cannot build smidgen: give --smidgen PATH".into())
}

/// A prompt of exactly the wanted number of tokens, and the bytes of the cache that it and the answer touch.
fn prompt_and_cache(path: &Path) -> Outcome<(String, u64)> {
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let tokenizer = Tokenizer::parse(parts.first().ok_or("no file")?)?;
    let mut prompt = String::from("One");
    while tokenizer.encode_prompt(&prompt, smidgen::tokenizer::Special::Text).len() < TOKENS {
        prompt.push_str(" and one");
    }
    while tokenizer.encode_prompt(&prompt, smidgen::tokenizer::Special::Text).len() > TOKENS {
        let end = prompt.rfind(' ').ok_or("the vocabulary has no short words")?;
        prompt.truncate(end);
    }
    let model = Model::parse(&parts)?;
    let model = model.decoder()?;
    let keys = (TOKENS + 1).next_multiple_of(smidgen_quant::attention::CHUNK);
    Ok((prompt, (2 * model.values_per_token() * keys) as u64))
}

/// Runs a command and prints when its first byte came and what it took at most. In a small process of its own, since the system counts
/// the memory of the process that starts another as the other's until it has become itself.
#[cfg(unix)]
pub(crate) fn spawn_and_watch(words: &[String]) -> Outcome {
    use std::io::Read;
    use std::process::Stdio;
    use std::time::Instant;
    let (program, words) = words.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let mut out = child.stdout.take().ok_or("no pipe")?;
    let mut byte = [0];
    let count = out.read(&mut byte)?;
    let seconds = (count > 0).then(|| start.elapsed().as_secs_f64());
    std::io::copy(&mut out, &mut std::io::sink())?;
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let id = libc::pid_t::try_from(child.id())?;
    // SAFETY: waits for a child of this process, which nobody else waits for, and writes to two places that live long enough.
    if unsafe { libc::wait4(id, &mut status, 0, &mut usage) } != id || status != 0 {
        return Err(format!("{program} failed").into());
    }
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    println!("{}", serde_json::json!({ "seconds": seconds, "peak_bytes": usage.ru_maxrss * unit }));
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn spawn_and_watch(_: &[String]) -> Outcome {
    Err("--startup needs a Unix system".into())
}
