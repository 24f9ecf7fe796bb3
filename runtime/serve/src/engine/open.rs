//! The engine's threads: opening a model, and what goes on with it.

use super::handle::{Closed, Job, Shared};
use super::scheduler::Scheduler;
use super::{CONTEXT, Config, Facts, Infill, embed};
use smidgen::encoder::text::{self, TextEncoder};
use smidgen::tokenizer::Tokenizer;
use smidgen::{Model, Options, RunError, Session};
use smidgen_gguf::Gguf;
use smidgen_host::{ModelFile, ThreadPool};
use smidgen_targets::KernelSet;
use std::thread;
use tokio::sync::mpsc;

/// What turns texts into tokens and back.
#[derive(Clone, Copy)]
pub struct Texts<'t> {
    /// The model's tokenizer.
    pub tokenizer: &'t Tokenizer<'t>,
    /// What frames texts and pairs, if the model embeds or ranks them.
    pub encoder: Option<&'t TextEncoder<'t>>,
}

/// The most tokens of prompts in a pass by one thread, and in one beside running streams.
pub(super) const PIECE: usize = 64;
/// The most sequences for each stream.
const SEQUENCES: usize = 4;
/// Logits of prompts that are computed at once, about.
const LOGITS: usize = 1 << 20;

/// Opens the model and serves it until the end.
pub(super) fn run(
    config: &Config,
    shared: &Shared,
    texts: [mpsc::Receiver<Job>; 2],
    ready: impl FnOnce(Result<Facts, String>),
) {
    let mut ready = Some(ready);
    let mut tell = |result| {
        if let Some(ready) = ready.take() {
            ready(result);
        }
    };
    if let Err(error) = serve(config, shared, texts, &mut tell) {
        tell(Err(error));
    }
}

fn serve(
    config: &Config,
    shared: &Shared,
    texts: [mpsc::Receiver<Job>; 2],
    tell: &mut dyn FnMut(Result<Facts, String>),
) -> Result<(), String> {
    let kernels = kernels(config)?;
    let file = ModelFile::open(&config.path).map_err(|error| error.to_string())?;
    let parts = file.parts().map_err(|error| error.to_string())?;
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", config.path.display());
    let first = parts.first().ok_or_else(|| named(&"there are no parts"))?;
    // Each takes as long as the other where there are many tokens.
    let (model, tokenizer) = thread::scope(|scope| {
        let start = thread::Builder::new().spawn_scoped(scope, || Tokenizer::parse(first));
        let start = start.map_err(|error| format!("the system refuses a thread: {error}"))?;
        let model = Model::parse(&parts).map_err(|error| named(&error))?;
        let tokenizer = start.join().map_err(|_| named(&"the tokenizer cannot be read"))?;
        Ok::<_, String>((model, tokenizer.map_err(|error| named(&error))?))
    })?;
    let pool = ThreadPool::new(config.threads).map_err(|error| format!("--threads {}: {error}", config.threads))?;
    let encoder = model.text_encoder.as_deref();
    if model.decoder.is_none() && encoder.is_none() {
        return Err(named(&"this model neither writes nor embeds text, so it cannot be served"));
    }
    let mut facts = facts(config, &file, first, &model, &tokenizer, kernels);
    thread::scope(|scope| {
        // The threads of texts end when nobody can ask it any more.
        let _closed = Closed(shared);
        // Both ends are there before anybody is told, so that what fails is told instead.
        let texts_of = Texts { tokenizer: &tokenizer, encoder };
        let start = |texts: [mpsc::Receiver<Job>; 2]| {
            texts.into_iter().try_for_each(|mut texts| {
                let job = move || {
                    while let Some(job) = texts.blocking_recv() {
                        job(&texts_of);
                    }
                };
                let thread = thread::Builder::new().name("smidgen-texts".into()).spawn_scoped(scope, job);
                thread.map(drop).map_err(|error| format!("the system refuses a thread: {error}"))
            })
        };
        if model.decoder.is_some() {
            let options = options(config, &model)?;
            let session = Session::new(&model, &options, kernels).map_err(|error| flagged(config, &options, error))?;
            facts.context = options.context;
            facts.sequences = options.sequences;
            facts.session_bytes = options.bytes_needed(&model).map_err(|error| named(&error))?;
            facts.cache_bytes = options.cache_bytes(&model).map_err(|error| named(&error))?;
            if options.context > facts.trained {
                let (context, trained) = (options.context, facts.trained);
                facts.warnings.push(format!(
                    "--context {context} is more than the {trained} tokens that the model was trained for"
                ));
            }
            start(texts)?;
            shared.open(&facts);
            tell(Ok(facts));
            Scheduler::new(shared, session, &tokenizer, &pool, config.parallel.get()).run();
        } else if let Some(encoder) = encoder {
            let session =
                text::Session::new(encoder, &text::Options::default(), kernels).map_err(|error| named(&error))?;
            start(texts)?;
            shared.open(&facts);
            tell(Ok(facts));
            embed::run(shared, session, &pool);
        }
        Ok(())
    })
}

/// The kernel set that was named, or the fastest.
fn kernels(config: &Config) -> Result<&'static KernelSet, String> {
    let Some(name) = &config.target else { return Ok(smidgen_targets::detect()) };
    smidgen_targets::named(name).ok_or_else(|| {
        let names: Vec<_> = smidgen_targets::available().map(|kernels| kernels.name).collect();
        format!("--target {name}: this machine does not have this kernel set; it has {}", names.join(", "))
    })
}

fn facts(
    config: &Config,
    file: &ModelFile,
    first: &Gguf,
    model: &Model,
    tokenizer: &Tokenizer,
    kernels: &KernelSet,
) -> Facts {
    let encoder = model.text_encoder.as_deref();
    let mut warnings: Vec<String> = tokenizer.warnings().iter().map(|warning| warning.to_string()).collect();
    let mut text = |key: &str| {
        let value = first.get(key)?;
        if let Some(offset) = value.not_utf8() {
            warnings.push(format!("{key} is not UTF-8 (at byte {offset}), so it is not used"));
        }
        value.as_str().map(str::to_owned)
    };
    let (name, template) = (text("general.name"), text("tokenizer.chat_template"));
    let stem = || config.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Facts {
        architecture: model.architecture.to_owned(),
        name: name.filter(|name| !name.is_empty()).unwrap_or_else(stem),
        context: encoder.map_or(0, |encoder| encoder.config.max_tokens),
        trained: model.context(),
        vocabulary: model.vocabulary(),
        embedding: encoder.map(|encoder| encoder.width()),
        scores: encoder.and_then(|encoder| encoder.head.as_ref()).map(|head| head.output.weight.rows()),
        writes: model.decoder.is_some(),
        template,
        bos: tokenizer.bos(),
        eos: tokenizer.eos(),
        eot: tokenizer.eot(),
        ends: tokenizer.ends().to_vec(),
        infill: infill(first, tokenizer),
        longest_token: tokenizer.longest_token(),
        file_bytes: file.size(),
        kernels: kernels.name.to_owned(),
        warnings,
        ..Facts::default()
    }
}

/// The tokens that frame a text to be filled in: by the keys that llama.cpp has and had for them, or by their names in the families that know this.
fn infill(first: &Gguf, tokenizer: &Tokenizer) -> Option<Infill> {
    const KEYS: [[&str; 3]; 2] = [
        ["tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.fim_mid_token_id"],
        ["tokenizer.ggml.prefix_token_id", "tokenizer.ggml.suffix_token_id", "tokenizer.ggml.middle_token_id"],
    ];
    const NAMES: [[&str; 3]; 7] = [
        ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
        ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
        ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
        ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
        ["<PRE>", "<SUF>", "<MID>"],
        ["▁<PRE>", "▁<SUF>", "▁<MID>"],
        ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
    ];
    let id = |key: &str| {
        let id = u32::try_from(first.get(key)?.as_u64()?).ok()?;
        ((id as usize) < tokenizer.vocab_len()).then_some(id)
    };
    let all = |names: &[&str; 3], of: &dyn Fn(&str) -> Option<u32>| {
        let [before, after, amid] = names.map(of);
        Some([before?, after?, amid?])
    };
    let keyed = KEYS.iter().find_map(|keys| all(keys, &id));
    let [prefix, suffix, middle] =
        keyed.or_else(|| NAMES.iter().find_map(|names| all(names, &|name| tokenizer.id_of(name))))?;
    let other = |key: &str, names: &[&str]| id(key).or_else(|| names.iter().find_map(|name| tokenizer.id_of(name)));
    let repository = ["<|repo_name|>", "<reponame>", "<|reponame|>", "<repo_name>"];
    Some(Infill {
        prefix,
        suffix,
        middle,
        repository: other("tokenizer.ggml.fim_rep_token_id", &repository),
        file: other("tokenizer.ggml.fim_sep_token_id", &["<|file_sep|>", "<file_sep>", "<file_separator>"]),
        padding: other("tokenizer.ggml.fim_pad_token_id", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>"]),
    })
}

/// The session's extents: as many sequences as streams, and more for the beginnings of texts as memory allows.
fn options(config: &Config, model: &Model) -> Result<Options, String> {
    let decoder = model.decoder().map_err(|error| error.to_string())?;
    let parallel = config.parallel.get();
    let context = config.context.map_or(model.context().clamp(1, CONTEXT), |context| context.get());
    if let Some(rows) = decoder.positions.as_ref().map(|positions| positions.rows()).filter(|rows| *rows < context) {
        return Err(format!("--context {context}: the model has embeddings of {rows} positions; use at most {rows}"));
    }
    let batch = PIECE.saturating_mul(config.threads.get()).min(4 * PIECE);
    let one = Options { kv: config.kv, batch, ..Options::new(context) };
    let bytes = one.cache_bytes(model).map_err(|error| flagged(config, &one, error))?;
    let sequences = match config.kv_memory {
        None => parallel.saturating_add(1),
        Some(most) => (most / bytes.max(1)).min(parallel.saturating_mul(SEQUENCES)),
    };
    if sequences < parallel {
        let most = config.kv_memory.unwrap_or(0);
        return Err(format!(
            "--kv-memory {most}: caches of {parallel} streams of {context} tokens take {} bytes; use fewer --parallel or a smaller --context",
            bytes.saturating_mul(parallel)
        ));
    }
    let prompt_rows = (LOGITS / decoder.vocabulary().max(1)).clamp(1, 32);
    Ok(Options { sequences, rows: sequences + prompt_rows, ..one })
}

fn flagged(config: &Config, options: &Options, error: RunError) -> String {
    match error {
        RunError::CacheHeadSize { .. } => format!("--kv: {error}"),
        _ => format!("--context {} --parallel {}: {error}", options.context, config.parallel),
    }
}
