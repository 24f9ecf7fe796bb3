//! `smidgen bench`.

use crate::args::BenchArgs;
use crate::{Outcome, open};
use serde_json::json;
use smidgen::{Model, Options, Session};
use smidgen_host::physical_cores;
use smidgen_targets::{KernelSet, Pool};
use std::error::Error;
use std::io::Write;
use std::time::Instant;

pub(crate) fn bench(args: &BenchArgs) -> Outcome {
    let kernels = open::kernels(&args.machine)?;
    #[cfg(feature = "hub")]
    if args.bandwidth {
        bandwidth(args)?;
    }
    let Some(path) = &args.model else { return Ok(()) };
    if args.prompt == 0 && args.n == 0 {
        return Err("-p 0 and -n 0 leave nothing to measure; give one of them a number from 1".into());
    }
    let file = open::file(path)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    let tokens = args.prompt.checked_add(args.n).filter(|tokens| *tokens <= smidgen::MAX_CONTEXT);
    let tokens = tokens.ok_or_else(|| format!("-p and -n: give at most {} tokens together", smidgen::MAX_CONTEXT))?;
    let mut options = Options::new(tokens.max(2));
    options.kv = args.kv.into();
    let threads = if args.threads.is_empty() { vec![physical_cores()] } else { args.threads.clone() };
    let mut rows = Vec::new();
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(out, "{:<12} {:>7} {:>16} {:>16}", "target", "threads", "prefill tokens/s", "decode tokens/s")?;
    }
    for threads in threads {
        let mut rates = Vec::new();
        open::pool_of(threads)?.enter(|pool| -> Result<(), Box<dyn Error>> {
            for _ in 0..args.repeat.get() {
                rates.push(measure(args, &model, &options, kernels, pool)?);
            }
            Ok(())
        })?;
        let prefill = median(rates.iter().map(|rate| rate.0).collect()).filter(|_| args.prompt > 0);
        let decode = median(rates.iter().map(|rate| rate.1).collect()).filter(|_| args.n > 0);
        if args.json {
            rows.push(json!({
                "model": path.display().to_string(),
                "model_bytes": file.size(),
                "target": kernels.name,
                "threads": threads,
                "prompt_tokens": args.prompt,
                "generated_tokens": args.n,
                "runs": args.repeat,
                "prefill_tokens_per_second": prefill,
                "decode_tokens_per_second": decode,
            }));
        } else {
            let shown = |rate: Option<f64>| rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}"));
            writeln!(out, "{:<12} {threads:>7} {:>16} {:>16}", kernels.name, shown(prefill), shown(decode))?;
        }
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

/// Measures the bandwidth of memory with each number of threads, and keeps the largest.
#[cfg(feature = "hub")]
fn bandwidth(args: &BenchArgs) -> Outcome {
    use smidgen_host::{cache_dir, machine};
    let threads = if args.threads.is_empty() { vec![physical_cores()] } else { args.threads.clone() };
    let mut rows = Vec::new();
    let mut best = (0.0, 0);
    let mut out = std::io::stdout().lock();
    for threads in threads {
        let rate = open::pool_of(threads)?.enter(|pool| machine::bandwidth(pool));
        let rate = rate.ok_or("there is not enough free memory to measure how fast it is read")?;
        if rate > best.0 {
            best = (rate, threads.get());
        }
        if args.json {
            rows.push(json!({ "threads": threads, "bandwidth_bytes_per_second": rate }));
        } else {
            writeln!(
                out,
                "memory is read with {:.1} GB/s by {threads} thread{}",
                rate / 1e9,
                if threads.get() == 1 { "" } else { "s" }
            )?;
        }
    }
    machine::keep_bandwidth(&cache_dir()?, best.0, best.1)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

/// Tokens per second of one prefill and one decoding. The tokens are spread over the vocabulary; which they are does not matter for
/// the time.
fn measure(
    args: &BenchArgs,
    model: &Model,
    options: &Options,
    kernels: &'static KernelSet,
    pool: &dyn Pool,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut session = Session::new(model, options, kernels)?;
    let token = |i: usize| (i * 7919 % model.vocabulary()) as u32;
    let prompt: Vec<u32> = (0..args.prompt).map(token).collect();
    let start = Instant::now();
    if !prompt.is_empty() {
        session.forward(0, &prompt, pool)?;
    }
    let prefill = args.prompt as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for i in 0..args.n {
        session.forward(0, &[token(args.prompt + i)], pool)?;
    }
    Ok((prefill, args.n as f64 / start.elapsed().as_secs_f64()))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
