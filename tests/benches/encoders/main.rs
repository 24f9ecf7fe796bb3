//! Races the encoders beside ONNX Runtime and llama.cpp, in turn, one process after the other: embeddings of texts in a batch and one at a
//! time, features of one image at a time. Tokens are made before the clock runs. See `docs/performance.md`.

#[path = "../common/mod.rs"]
mod common;

use common::{Outcome, Words, median, short, table};
use serde_json::{Value, json};
use smidgen::Model;
use smidgen::encoder::{image, text};
use smidgen::frontend::image::Planes;
use smidgen::tokenizer::Tokenizer;
use smidgen_host::{ModelFile, ThreadPool};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const USAGE: &str = "usage: cargo bench -p smidgen-tests --bench encoders -- [options]
  --text FILE               a BERT as GGUF, plain or packed (default: minilm from the cache, if there is neither --text nor --image)
  --image FILE              a ViT as GGUF, plain or packed
  --onnx-text FILE          the same model of texts in ONNX, as it is run
  --onnx-image FILE         the same model of images in ONNX, in f32: it is quantized to int8 dynamically
  --python PATH             a python3 with onnxruntime (and onnx, for --onnx-image) (default: python3)
  --llama-bench PATH        llama.cpp's llama-bench, on --llama-text: one text of at most 128 tokens at a time
  --llama-text FILE         the plain GGUF for it (default: --text)
  --sentences FILE          texts, one on each line (default: 64 of our own)
  --threads N,…             threads (default: 1,2)
  --target NAME             Smidgen's kernel set (default: the fastest)
  --passes N                passes in a process, of which the median counts (default: 20)
  --repeat N                rounds (default: 5)";

const MEASURE: &str = "measure-smidgen";

/// Tokens of the one text that llama-bench runs, at most; its rate in tokens is taken for that of many texts.
const LONGEST: usize = 128;

/// Sentences of many lengths.
fn sentences() -> Vec<String> {
    let parts = [
        "the river rises",
        "in spring after the snow",
        "has melted on the hills",
        "and the ferry stays ashore",
        "until the water is low",
    ];
    (0..64).map(|i| (0..=i % 5).map(|j| parts[(i + j) % 5]).collect::<Vec<_>>().join(" ")).collect()
}

/// A task, as JSON for the processes that run it: the texts of a pass, or the side of an image.
struct Task {
    name: &'static str,
    task: Value,
    ours: PathBuf,
    onnx: Option<PathBuf>,
    llama: Option<PathBuf>,
    /// Things of a pass, and what they are called.
    count: f64,
    unit: &'static str,
    /// Tokens of a pass.
    tokens: usize,
}

struct Race {
    python: String,
    llama_bench: Option<PathBuf>,
    target: String,
    rounds: usize,
}

fn main() -> std::process::ExitCode {
    common::end(run())
}

fn run() -> Outcome {
    let child: Vec<String> = std::env::args().skip(1).collect();
    if child.first().is_some_and(|word| word == MEASURE) {
        return measure(&child[1..]);
    }
    let Some(mut words) = Words::new(USAGE) else { return Ok(()) };
    let path = |words: &mut Words, name: &str| -> Outcome<Option<PathBuf>> {
        let named: Option<String> = words.one(name)?;
        Ok(named.map(|name| common::models(vec![name])).transpose()?.and_then(|mut paths| paths.pop()))
    };
    let (mut text, image) = (path(&mut words, "--text")?, path(&mut words, "--image")?);
    let (onnx_text, onnx_image) = (path(&mut words, "--onnx-text")?, path(&mut words, "--onnx-image")?);
    let (llama_bench, llama_text) = (path(&mut words, "--llama-bench")?, path(&mut words, "--llama-text")?);
    let lines = path(&mut words, "--sentences")?;
    let target: Option<String> = words.one("--target")?;
    let race = Race {
        python: words.one("--python")?.unwrap_or("python3".into()),
        llama_bench,
        target: common::kernels(target.as_deref())?.name.into(),
        rounds: words.one("--repeat")?.unwrap_or(5),
    };
    let threads = words.list("--threads")?.unwrap_or(vec![1, 2]);
    let passes: usize = words.one("--passes")?.unwrap_or(20);
    words.finish()?;
    if race.rounds == 0 || passes == 0 {
        return Err("--repeat and --passes: at least 1".into());
    }
    if text.is_none() && image.is_none() {
        text = smidgen_host::find("minilm");
    }
    let mut tasks = Vec::new();
    if let Some(model) = text {
        let texts = lines.map(std::fs::read_to_string).transpose()?;
        let texts: Vec<String> = texts.map_or_else(sentences, |texts| texts.lines().map(String::from).collect());
        let ids = tokens(&model, &texts)?;
        let middle = ids.get(ids.len() / 2).ok_or("no sentences")?.clone();
        for (name, ids) in [("all sentences at once", ids), ("one sentence", vec![middle])] {
            tasks.push(Task {
                name,
                ours: model.clone(),
                onnx: onnx_text.clone(),
                llama: race.llama_bench.as_ref().map(|_| llama_text.clone().unwrap_or(model.clone())),
                count: ids.len() as f64,
                unit: "sentences/s",
                tokens: ids.iter().map(Vec::len).sum(),
                task: json!({ "passes": passes, "texts": ids }),
            });
        }
    }
    if let Some(model) = image {
        let file = ModelFile::open(&model)?;
        let parts = file.parts()?;
        let opened = Model::parse(&parts)?;
        let config = &opened.image_encoder()?.config;
        let side = opened.image_encoder()?.preprocess.crop.map_or(config.image, |crop| crop.0);
        let (count, unit, tokens) = (1.0, "images/s", config.tokens(side, side));
        let task = json!({ "passes": passes, "side": side, "quantize": true });
        tasks.push(Task { name: "one image", ours: model, onnx: onnx_image, llama: None, count, unit, tokens, task });
    }
    if tasks.is_empty() {
        return Err(format!("no --text or --image, and minilm is not in the cache\n{USAGE}").into());
    }
    println!("{}; {}; target {}; rounds: {}\n", common::processor(), common::load(), race.target, race.rounds);
    let head = ["task", "threads", "engine", "ms", "rate", "", "Smidgen ÷ it"].map(String::from);
    let mut rows = Vec::new();
    for task in &tasks {
        for threads in &threads {
            race.run(task, *threads, &mut rows)?;
        }
    }
    println!("{}", table(&head, &rows));
    Ok(())
}

/// Tokens of every text.
fn tokens(path: &Path, texts: &[String]) -> Outcome<Vec<Vec<u32>>> {
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let (model, tokenizer) = (Model::parse(&parts)?, Tokenizer::parse(parts.first().ok_or("no file")?)?);
    let model = model.text_encoder()?;
    texts.iter().map(|text| Ok(model.text(&tokenizer, text, None)?.tokens)).collect()
}

impl Race {
    /// Every engine in turn, round after round: a row for each.
    fn run(&self, task: &Task, threads: usize, rows: &mut Vec<Vec<String>>) -> Outcome {
        let mut lanes = vec![("Smidgen", Vec::new())];
        lanes.extend(task.onnx.as_ref().map(|_| ("ONNX Runtime", Vec::new())));
        lanes.extend(task.llama.as_ref().map(|_| ("llama.cpp", Vec::new())));
        for round in 0..self.rounds {
            for (name, seconds) in &mut lanes {
                eprint!("\r{}, threads: {threads}: round {} of {}, {name}\x1b[K", task.name, round + 1, self.rounds);
                seconds.push(self.seconds(task, threads, name)?);
            }
        }
        eprint!("\r\x1b[K");
        let ours = lanes[0].1.clone();
        for (name, seconds) in lanes {
            let pairs = ours.iter().zip(&seconds).map(|(ours, theirs)| theirs / ours);
            let ratio = median(pairs).filter(|_| name != "Smidgen").map_or("–".into(), |ratio| format!("{ratio:.2}"));
            let middle = median(seconds.iter().copied()).unwrap_or(f64::NAN);
            let (ms, rate) = (format!("{:.2}", middle * 1e3), short(task.count / middle));
            rows.push(vec![task.name.into(), threads.to_string(), name.into(), ms, rate, task.unit.into(), ratio]);
        }
        Ok(())
    }

    /// Seconds of a pass.
    fn seconds(&self, task: &Task, threads: usize, engine: &str) -> Outcome<f64> {
        let threads = threads.to_string();
        let mut command = match (engine, &task.onnx, &task.llama, &self.llama_bench) {
            ("ONNX Runtime", Some(model), ..) => {
                let mut command = Command::new(&self.python);
                command.args(["-c", include_str!("peer.py")]).arg(model).arg(&threads);
                command
            }
            ("llama.cpp", _, Some(model), Some(program)) => {
                let mut command = Command::new(program);
                let tokens = task.tokens.min(LONGEST).to_string();
                command.arg("-m").arg(model).args(["-p", &tokens, "-n", "0", "-t", &threads]);
                command.args(["-embd", "1", "-r", "5", "-o", "json"]);
                command
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(MEASURE).arg(&task.ours).args([&threads, &self.target]);
                command
            }
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // One that does not read its task needs none.
        let _ = child.stdin.take().ok_or("no pipe")?.write_all(task.task.to_string().as_bytes());
        let done = child.wait_with_output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("{program}: {}: {}", done.status, said.lines().last().unwrap_or("")).into());
        }
        let answer: Value = serde_json::from_slice(&done.stdout)?;
        let list = answer.as_array().ok_or("no list")?;
        let rate = list.iter().find_map(|row| row["avg_ts"].as_f64()).map(|rate| task.tokens as f64 / rate);
        rate.or_else(|| median(list.iter().filter_map(Value::as_f64))).ok_or_else(|| "no figures".into())
    }
}

/// Runs a task from stdin, as `peer.py` does.
fn measure(words: &[String]) -> Outcome {
    let [path, threads, target] = words else { return Err("three words".into()) };
    let (threads, kernels): (NonZeroUsize, _) = (threads.parse()?, common::kernels(Some(target))?);
    let task: Value = serde_json::from_reader(std::io::stdin())?;
    let passes = task["passes"].as_u64().ok_or("no passes")?;
    let file = ModelFile::open(path)?;
    let parts = file.parts()?;
    let model = Model::parse(&parts)?;
    let pool = ThreadPool::new(threads)?;
    let mut seconds = Vec::new();
    let mut clock = |pass: &mut dyn FnMut()| {
        pass();
        for _ in 0..passes {
            let start = Instant::now();
            pass();
            seconds.push(start.elapsed().as_secs_f64());
        }
    };
    if let Some(side) = task["side"].as_u64() {
        let side = usize::try_from(side)?;
        let model = model.image_encoder()?;
        let values = (0..model.config.channels * side * side).map(|i| (i * 7919 % 255) as f32 / 128.0 - 1.0).collect();
        let image = [Planes { width: side, height: side, values }];
        let mut session = image::Session::new(model, &image::Options::default(), kernels)?;
        pool.enter(|pool| clock(&mut || session.features(&image, pool, |_, features| assert!(features.is_ok()))));
    } else {
        let ids: Vec<Vec<u32>> = serde_json::from_value(task["texts"].clone())?;
        let text = |tokens: Vec<u32>| text::Text { second: tokens.len(), uncut: tokens.len(), tokens };
        let texts: Vec<_> = ids.into_iter().map(text).collect();
        let mut session = text::Session::new(model.text_encoder()?, &text::Options::default(), kernels)?;
        pool.enter(|pool| clock(&mut || session.embed(&texts, pool, |_, embedding| assert!(embedding.is_ok()))));
    }
    println!("{}", json!(seconds));
    Ok(())
}
