//! Races Smidgen and its peers on the same files, in turn, one process after the other. See `docs/performance.md`.

#[path = "../common/mod.rs"]
mod common;
mod contest;
mod runners;
mod startup;

use common::{Outcome, Words};
use contest::{About, Contest};
use runners::Peer;
use smidgen_tests::report::records;
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: cargo bench -p smidgen-tests --bench race -- [options]
  --model FILE              a GGUF file, plain or packed; may be repeated (default: smollm2 from the cache)
  --llama-bench NAME=PATH   a build of llama.cpp's llama-bench (or one that takes the same options); may be repeated
                            (default: Python's llama_cpp, if python3 has it)
  --threads N,…             threads (default: 1,2)
  --target NAME             Smidgen's kernel set (default: the fastest)
  -p N                      tokens of the prompt (default: 512)
  -n N                      tokens that are decoded, from an empty context (default: 128)
  --repeat N                rounds (default: 5)
  --busy N                  measures each once more with N busy processes beside it
  --json FILE               writes every figure of every round
  --svg FILE                draws the medians
  --record NAME             writes docs/records/NAME.json: machine, date, versions, limits and medians
  --label TEXT              the machine's short name in the record (default: the processor's)
  --machine TEXT            the machine described in the record (default: the processor's name and cores)
  --class NAME              the machine's class in the record: avx2, avx512, amx or arm64 (default: by the CPU's features)
  --tables DOCS             instead: writes the tables and the chart of DOCS/performance.md anew from DOCS/records
  --check DOCS              instead: fails if they are not what the records say
  --startup                 instead: time to the first byte of an answer, and peak memory
  --smidgen PATH            the command for --startup (default: built by cargo)
  --llama-cli PATH          llama.cpp's llama-completion, for --startup";

/// Files of our own in the system's temporary folder, until the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Folder> {
        let path = std::env::temp_dir().join(format!("smidgen-race-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A model in both forms.
struct Twins {
    name: String,
    plain: PathBuf,
    packed: PathBuf,
}

impl Twins {
    fn new(path: &Path, folder: &Folder, number: usize) -> Outcome<Twins> {
        use smidgen_host::{Direction, ModelFile, pack};
        let is_packed =
            ModelFile::open(path)?.parts()?.iter().any(|part| part.tensors().any(|t| t.kind.unpacked().is_some()));
        let twin = folder.0.join(format!("{number}.gguf"));
        let direction = if is_packed { Direction::Unpack } else { Direction::Pack };
        pack(path, &twin, direction, &mut |_| ())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (plain, packed) = if is_packed { (twin, path.into()) } else { (path.into(), twin) };
        Ok(Twins { name, plain, packed })
    }
}

fn main() -> std::process::ExitCode {
    common::end(run())
}

fn run() -> Outcome {
    if let Some(done) = runners::child() {
        return done;
    }
    let Some(mut words) = Words::new(USAGE) else { return Ok(()) };
    if let Some(docs) = words.one::<String>("--tables")? {
        words.finish()?;
        return write_tables(&common::absolute(docs.into()));
    }
    if let Some(docs) = words.one::<String>("--check")? {
        words.finish()?;
        return check_tables(&common::absolute(docs.into()));
    }
    let models = words.all("--model")?;
    let builds = words.all("--llama-bench")?;
    let target: Option<String> = words.one("--target")?;
    let mut contest = Contest {
        kernels: common::kernels(target.as_deref())?,
        threads: words.list("--threads")?.unwrap_or(vec![1, 2]),
        prompt: words.one("-p")?.unwrap_or(512),
        decoded: words.one("-n")?.unwrap_or(128),
        rounds: words.one("--repeat")?.unwrap_or(5),
        busy: words.one("--busy")?.unwrap_or(0),
        peers: Vec::new(),
    };
    let json: Option<PathBuf> = words.one("--json")?;
    let svg: Option<PathBuf> = words.one("--svg")?;
    let about = About {
        record: words.one("--record")?,
        label: words.one("--label")?,
        machine: words.one("--machine")?,
        class: words.one("--class")?,
    };
    about.check()?;
    let is_startup = words.flag("--startup");
    let smidgen: Option<PathBuf> = words.one("--smidgen")?;
    let llama: Option<PathBuf> = words.one("--llama-cli")?;
    words.finish()?;
    if contest.prompt == 0 || contest.decoded == 0 || contest.rounds == 0 {
        return Err("-p, -n and --repeat: at least 1".into());
    }

    let models = common::models(models)?;
    let folder = Folder::new()?;
    let mut twins = Vec::new();
    for (number, model) in models.iter().enumerate() {
        twins.push(Twins::new(model, &folder, number).map_err(|error| format!("{}: {error}", model.display()))?);
    }
    println!("{}; {}\n", common::processor(), common::load());
    if is_startup {
        return startup::measure(&twins, smidgen, llama, contest.rounds.max(5));
    }
    contest.peers = Peer::all(&builds)?;
    contest.run(&twins, json.as_deref(), svg.as_deref(), &about)
}

/// Writes the documents that are made from records.
fn write_tables(docs: &Path) -> Outcome {
    for (name, text) in records::documents(docs)? {
        let path = docs.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Fails if a document is not what the records say.
fn check_tables(docs: &Path) -> Outcome {
    match records::stale(docs)?.as_slice() {
        [] => Ok(()),
        stale => Err(format!("{}: not what the records say; run --tables", stale.join(", ")).into()),
    }
}
