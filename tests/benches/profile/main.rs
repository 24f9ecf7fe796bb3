//! Where a token's time goes. See `docs/performance.md`.

#[path = "../common/mod.rs"]
mod common;
mod times;

use common::limits::{MEMORY, peaks, read_bandwidth};
use common::{Outcome, Words, median, short, table};
use smidgen::{Model, Options, Session};
use smidgen_host::{ModelFile, ThreadPool};
use smidgen_targets::{KernelSet, Pool};
use smidgen_tests::report::chart::{Bar, Group, Panel, chart};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};
use times::{Spent, Times};

const USAGE: &str = "usage: cargo bench -p smidgen-tests --bench profile -- [options]
  --model FILE      a GGUF file, plain or packed; may be repeated (default: smollm2 from the cache)
  --target NAME     kernel set (default: the fastest)
  --threads N,…     threads (default: 1)
  --context N       tokens before those that are decoded (default: 256)
  -p N              tokens of the prompt (default: 512)
  --repeat N        prompts and runs of decoded tokens (default: 5)
  --svg FILE        draws the shares of the last profile";

/// Tokens decoded in a run.
const DECODED: usize = 32;

/// The machine's limits with the threads in use, per second.
struct Limits {
    read: f64,
    int8: Option<f64>,
    f32: Option<f64>,
}

/// The median seconds and the work of each operation in one unit (a token, a prompt), and those of the whole as a session does it.
struct Profile {
    title: String,
    operations: Vec<(String, f64, Spent)>,
    whole: f64,
    tokens: usize,
}

fn main() -> std::process::ExitCode {
    common::end(run())
}

fn run() -> Outcome {
    let Some(mut words) = Words::new(USAGE) else { return Ok(()) };
    let models = words.all("--model")?;
    let target: Option<String> = words.one("--target")?;
    let threads = words.list("--threads")?.unwrap_or(vec![1]);
    let context = words.one("--context")?.unwrap_or(256usize);
    let prompt = words.one("-p")?.unwrap_or(512usize);
    let repeat = words.one("--repeat")?.unwrap_or(5usize);
    let svg: Option<String> = words.one("--svg")?;
    words.finish()?;
    if prompt == 0 || repeat == 0 {
        return Err("-p and --repeat: at least 1".into());
    }
    let kernels = common::kernels(target.as_deref())?;
    println!("{}; target {}; {}\n", common::processor(), kernels.name, common::load());
    for model in common::models(models)? {
        for threads in &threads {
            let panels = one(&model, kernels, *threads, context, prompt, repeat)?;
            if let Some(path) = &svg {
                let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let title = format!("Where the time goes: {name}, {}, threads: {threads}", kernels.name);
                std::fs::write(path, chart(&title, &common::processor(), &panels))?;
            }
        }
    }
    Ok(())
}

fn one(
    path: &Path,
    kernels: &'static KernelSet,
    threads: usize,
    context: usize,
    prompt: usize,
    repeat: usize,
) -> Outcome<Vec<Panel>> {
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let count = NonZeroUsize::new(threads).ok_or("--threads: at least 1")?;
    let pool = ThreadPool::new(count)?;
    let peaks = peaks(kernels.name);
    let limits = Limits {
        read: read_bandwidth(MEMORY, threads),
        int8: peaks.int8.map(|peak| peak * threads as f64),
        f32: peaks.f32.map(|peak| peak * threads as f64),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    println!("## {name}, {} kernels, threads: {threads}\n", kernels.name);
    let giga = |limit: Option<f64>| limit.map_or("unknown".into(), |limit| short(limit / 1e9));
    println!(
        "Limits: {} GB/s read from memory ({} GB/s at the size of this file), {} GOPS int8, {} GFLOPS f32.\n",
        short(limits.read / 1e9),
        short(read_bandwidth(file.size() as usize, threads) / 1e9),
        giga(limits.int8),
        giga(limits.f32)
    );
    let profiles = pool.enter(|pool| measure(&model, kernels, pool, context, prompt, repeat))?;
    Ok(profiles.iter().map(|profile| show(profile, &limits)).collect())
}

fn measure(
    model: &Model,
    kernels: &'static KernelSet,
    pool: &dyn Pool,
    context: usize,
    prompt: usize,
    repeat: usize,
) -> Outcome<[Profile; 2]> {
    let room = prompt.max(context + DECODED);
    let mut session = Session::new(model, &Options::new(room), kernels)?;
    let tokens: Vec<u32> = (0..room).map(|i| (i * 7919 % model.vocabulary()) as u32).collect();

    // With and without a look into the pass, in turns.
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    for round in 0..=repeat {
        session.truncate(0, 0);
        let start = Instant::now();
        session.forward(0, &tokens[..prompt], pool)?;
        let spent = start.elapsed();
        session.truncate(0, 0);
        let times = Times::start();
        session.forward_with_probe(0, &tokens[..prompt], pool, &times)?;
        if round > 0 {
            whole.push(spent);
            parts.push(times);
        }
    }
    let prefill = Profile::new(format!("Prefill of {prompt} tokens"), &whole, &parts, prompt);

    whole.clear();
    parts.clear();
    session.truncate(0, 0);
    if context > 0 {
        session.forward(0, &tokens[..context], pool)?;
    }
    for round in 0..=repeat {
        session.truncate(0, context);
        for token in &tokens[context..context + DECODED] {
            let start = Instant::now();
            session.forward(0, &[*token], pool)?;
            whole.push(start.elapsed());
            session.truncate(0, session.len(0) - 1);
            let times = Times::start();
            session.forward_with_probe(0, &[*token], pool, &times)?;
            parts.push(times);
        }
        if round == 0 {
            whole.clear();
            parts.clear();
        }
    }
    let decode =
        Profile::new(format!("Decoding a token at a context of {context} to {}", context + DECODED), &whole, &parts, 1);
    Ok([decode, prefill])
}

impl Profile {
    fn new(title: String, whole: &[Duration], parts: &[Times], tokens: usize) -> Profile {
        let runs: Vec<Vec<(String, Spent)>> = parts.iter().map(Times::operations).collect();
        let names = runs.first().cloned().unwrap_or_default();
        let operations = names.into_iter().map(|(name, spent)| {
            let of_run = |run: &Vec<(String, Spent)>| {
                run.iter().find(|(other, _)| *other == name).map(|(_, s)| s.time.as_secs_f64())
            };
            let seconds = median(runs.iter().filter_map(of_run)).unwrap_or(0.0);
            (name, seconds, spent)
        });
        let operations: Vec<_> = operations.collect();
        let whole = median(whole.iter().map(Duration::as_secs_f64)).unwrap_or(0.0);
        Profile { title, operations, whole, tokens }
    }
}

/// Prints a profile and makes its bars.
fn show(profile: &Profile, limits: &Limits) -> Panel {
    let unit = if profile.tokens == 1 { "token" } else { "prompt" };
    let head = [
        "operation",
        "share",
        &format!("µs per {unit}"),
        "MB read",
        "GB/s",
        "of the limit",
        "Gop",
        "GOPS",
        "of the limit",
    ];
    let head: Vec<String> = head.iter().map(|cell| cell.to_string()).collect();
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    let mut sum = (0.0, Spent::default());
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    let mut row = |name: &str, seconds: f64, spent: &Spent| {
        let per = |amount: u64| amount as f64 / seconds;
        let dash = || "–".to_string();
        let operations = spent.int8 + spent.f32;
        // Time at the limits, where both kinds of operations were done.
        let ideal = match (limits.int8, limits.f32) {
            (Some(int8), Some(f32)) if operations > 0 => Some(spent.int8 as f64 / int8 + spent.f32 as f64 / f32),
            _ => None,
        };
        let read = (spent.bytes > 0).then(|| per(spent.bytes));
        rows.push(vec![
            name.into(),
            percent(seconds / profile.whole),
            format!("{:.0}", seconds * 1e6),
            read.map_or_else(dash, |_| short(spent.bytes as f64 / 1e6)),
            read.map_or_else(dash, |read| short(read / 1e9)),
            read.map_or_else(dash, |read| percent(read / limits.read)),
            if operations > 0 { short(operations as f64 / 1e9) } else { dash() },
            if operations > 0 { short(per(operations) / 1e9) } else { dash() },
            ideal.map_or_else(dash, |ideal| percent(ideal / seconds)),
        ]);
        let used = [
            read.map(|read| format!(" %, {:.0} % of read", 100.0 * read / limits.read)),
            ideal.map(|ideal| format!(" %, {:.0} % of peak", 100.0 * ideal / seconds)),
        ];
        let used = used[if profile.tokens == 1 { 0 } else { 1 }].clone().unwrap_or(" %".into());
        bars.push(Bar { label: name.into(), value: 100.0 * seconds / profile.whole, note: used, kind: 1 });
    };
    for (name, seconds, spent) in &profile.operations {
        row(name, *seconds, spent);
        sum.0 += seconds;
        sum.1.bytes += spent.bytes;
        sum.1.int8 += spent.int8;
        sum.1.f32 += spent.f32;
    }
    row("rest", profile.whole - sum.0, &Spent::default());
    row("whole", profile.whole, &sum.1);
    bars.retain(|bar| bar.value >= 0.05 && bar.label != "whole");
    let rate = short(profile.tokens as f64 / profile.whole);
    println!("{}: {rate} tokens/s\n\n{}", profile.title, table(&head, &rows));
    Panel { title: format!("{}: shares of the time", profile.title), groups: vec![Group { bars, ..Group::default() }] }
}
