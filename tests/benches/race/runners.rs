//! Who runs: Smidgen in a process of its own, and peers.

use crate::common::{self, Outcome};
use serde_json::{Value, json};
use smidgen::{Model, Options, Session};
use smidgen_host::{ModelFile, ThreadPool};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// First words of the processes that this program starts of itself.
const MEASURE: &str = "measure-smidgen";
const BUSY: &str = "be-busy";
pub(crate) const SPAWN: &str = "spawn-and-watch";

/// One measurement: its size, threads and kernels.
#[derive(Clone, Copy)]
pub(crate) struct Task<'t> {
    pub(crate) threads: usize,
    pub(crate) prompt: usize,
    pub(crate) decoded: usize,
    /// Smidgen's kernel set.
    pub(crate) target: &'t str,
}

/// Tokens per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
}

/// Another engine.
#[derive(Clone)]
pub(crate) enum Peer {
    /// A build of llama.cpp's benchmark.
    LlamaBench { name: String, program: PathBuf },
    /// Python's llama_cpp.
    Python,
}

/// Measures as llama-bench does, through the low-level interface: a warm-up, then each once from an empty context.
const PYTHON: &str = r#"
import ctypes, json, sys, time
import llama_cpp as l
path, p, n, threads = sys.argv[1], *map(int, sys.argv[2:])
silent = l.llama_log_callback(lambda level, text, data: None)
l.llama_log_set(silent, ctypes.c_void_p(0))
l.llama_backend_init()
model = l.llama_model_load_from_file(path.encode(), l.llama_model_default_params())
if not model: sys.exit("cannot load the model")
params = l.llama_context_default_params()
params.n_ctx, params.n_batch, params.n_ubatch = p + n, max(p, 32), 512
params.n_threads = params.n_threads_batch = threads
context = l.llama_init_from_model(model, params)
if not context: sys.exit("cannot make a context")
size = l.llama_vocab_n_tokens(l.llama_model_get_vocab(model))
def forward(ids):
    array = (l.llama_token * len(ids))(*ids)
    if l.llama_decode(context, l.llama_batch_get_one(array, len(ids))): sys.exit("decoding failed")
    l.llama_synchronize(context)
def clear(): l.llama_memory_clear(l.llama_get_memory(context), True)
token = lambda i: i * 7919 % size
prompt = [token(i) for i in range(p)]
forward(prompt); clear(); forward([token(0)]); clear()
start = time.perf_counter(); forward(prompt); prefill = p / (time.perf_counter() - start)
clear()
start = time.perf_counter()
for i in range(n): forward([token(i)])
print(json.dumps({"prefill": prefill, "decode": n / (time.perf_counter() - start)}))
"#;

impl Peer {
    /// The builds that were named, or Python's package, or nobody.
    pub(crate) fn all(builds: &[String]) -> Outcome<Vec<Peer>> {
        let mut peers = Vec::new();
        for (i, build) in builds.iter().enumerate() {
            let unnamed = if i == 0 { "llama.cpp".to_string() } else { format!("llama.cpp {}", i + 1) };
            let (name, program) = build.split_once('=').map_or((unnamed, build.as_str()), |(n, p)| (n.to_string(), p));
            if !Path::new(program).is_file() {
                return Err(format!("--llama-bench {build}: there is no file {program}").into());
            }
            peers.push(Peer::LlamaBench { name, program: program.into() });
        }
        if peers.is_empty() {
            let found = Command::new("python3").args(["-c", "import llama_cpp"]).stderr(Stdio::null()).status();
            if found.is_ok_and(|status| status.success()) {
                peers.push(Peer::Python);
            } else {
                println!("no peer: neither --llama-bench nor Python's llama_cpp (pip install llama-cpp-python)\n");
            }
        }
        Ok(peers)
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Peer::LlamaBench { name, .. } => name,
            Peer::Python => "llama-cpp-python",
        }
    }

    /// The commit of the build, or the version of the package.
    pub(crate) fn version(&self, model: &Path) -> Outcome<String> {
        match self {
            Peer::LlamaBench { program, .. } => {
                let mut command = Command::new(program);
                command.arg("-m").arg(model).args(["-p", "1", "-n", "0", "-r", "1", "-o", "json"]);
                Ok(output(&mut command)?[0]["build_commit"].as_str().unwrap_or("unknown").into())
            }
            Peer::Python => {
                let mut command = Command::new("python3");
                command.args(["-c", "import json, llama_cpp; print(json.dumps(llama_cpp.__version__))"]);
                Ok(output(&mut command)?.as_str().unwrap_or("unknown").into())
            }
        }
    }

    pub(crate) fn measure(&self, model: &Path, task: Task) -> Outcome<Rates> {
        let numbers = [task.prompt, task.decoded, task.threads].map(|n| n.to_string());
        match self {
            Peer::LlamaBench { program, .. } => {
                let mut command = Command::new(program);
                command.arg("-m").arg(model).args(["-p", &numbers[0], "-n", &numbers[1], "-t", &numbers[2]]);
                let rows = output(command.args(["-r", "1", "-o", "json"]))?;
                let rate = |key: &str| {
                    let row = rows.as_array()?.iter().find(|row| row[key].as_u64().is_some_and(|n| n > 0))?;
                    row["avg_ts"].as_f64()
                };
                match (rate("n_prompt"), rate("n_gen")) {
                    (Some(prefill), Some(decode)) => Ok(Rates { prefill, decode }),
                    _ => Err(format!("{}: no avg_ts for prompt and generation", program.display()).into()),
                }
            }
            Peer::Python => {
                let mut command = Command::new("python3");
                rates(&output(command.args(["-c", PYTHON]).arg(model).args(&numbers))?)
            }
        }
    }
}

/// Smidgen in a process of its own.
pub(crate) fn smidgen(model: &Path, task: Task) -> Outcome<Rates> {
    let numbers = [task.prompt, task.decoded, task.threads].map(|n| n.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    rates(&output(command.arg(MEASURE).arg(model).args(&numbers).arg(task.target))?)
}

fn rates(value: &Value) -> Outcome<Rates> {
    match (value["prefill"].as_f64(), value["decode"].as_f64()) {
        (Some(prefill), Some(decode)) => Ok(Rates { prefill, decode }),
        _ => Err(format!("no rates in {value}").into()),
    }
}

/// The JSON that a command prints.
pub(crate) fn output(command: &mut Command) -> Outcome<Value> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{program}: {}: {}", done.status, said.lines().last().unwrap_or("")).into());
    }
    Ok(serde_json::from_slice(&done.stdout).map_err(|error| format!("{program}: {error}"))?)
}

/// Processes that do nothing as fast as they can, until dropped.
pub(crate) struct Busy(Vec<Child>);

impl Busy {
    pub(crate) fn start(count: usize) -> Outcome<Busy> {
        let mut busy = Busy(Vec::new());
        for _ in 0..count {
            busy.0.push(Command::new(std::env::current_exe()?).arg(BUSY).stdin(Stdio::piped()).spawn()?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The work of a process that another process of this program has started; none in the first one.
pub(crate) fn child() -> Option<Outcome> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first()?.as_str() {
        MEASURE => Some(measure(&words[1..])),
        SPAWN => Some(crate::startup::spawn_and_watch(&words[1..])),
        BUSY => {
            // Ends with the one who started it: its end of the pipe closes.
            std::thread::spawn(|| {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                std::process::exit(0);
            });
            loop {
                std::hint::spin_loop();
            }
        }
        _ => None,
    }
}

/// As llama-bench: a warm-up, then the prompt from an empty context, then single tokens from an empty context.
fn measure(words: &[String]) -> Outcome {
    let [model, prompt, decoded, threads, target] = words else { return Err("five words".into()) };
    let (prompt, decoded, threads): (usize, usize, NonZeroUsize) =
        (prompt.parse()?, decoded.parse()?, threads.parse()?);
    let kernels = common::kernels(Some(target))?;
    let file = ModelFile::open(model)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let mut session = Session::new(&model, &Options::new(prompt.max(decoded).max(2)), kernels)?;
    let tokens: Vec<u32> = (0..prompt.max(decoded)).map(|i| (i * 7919 % model.vocabulary()) as u32).collect();
    let rates = ThreadPool::new(threads)?.enter(|pool| -> Outcome<Rates> {
        session.forward(0, &tokens[..prompt], pool)?;
        session.truncate(0, 0);
        session.forward(0, &tokens[..1], pool)?;
        session.truncate(0, 0);
        let start = Instant::now();
        session.forward(0, &tokens[..prompt], pool)?;
        let prefill = prompt as f64 / start.elapsed().as_secs_f64();
        session.truncate(0, 0);
        let start = Instant::now();
        for token in &tokens[..decoded] {
            session.forward(0, &[*token], pool)?;
        }
        Ok(Rates { prefill, decode: decoded as f64 / start.elapsed().as_secs_f64() })
    })?;
    println!("{}", json!({ "prefill": rates.prefill, "decode": rates.decode }));
    Ok(())
}
