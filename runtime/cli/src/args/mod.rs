//! The arguments of the command line, and their help texts.

#[cfg(feature = "convert")]
mod convert;
#[cfg(feature = "encoders")]
mod encoders;
#[cfg(feature = "micro")]
mod micro;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "hub")]
mod shelf;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "convert")]
pub(crate) use convert::{ConvertArgs, PackArgs, QuantizeArgs};
#[cfg(feature = "encoders")]
pub(crate) use encoders::{ClassifyArgs, EmbedArgs};
#[cfg(feature = "micro")]
pub(crate) use micro::{InferArgs, ListenArgs};
#[cfg(feature = "serve")]
pub(crate) use serve::ServeArgs;
#[cfg(feature = "hub")]
pub(crate) use shelf::{ImportArgs, ListArgs, PruneArgs, RemoveArgs, ShowArgs, VerifyArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The most beams of a search.
const MAX_BEAMS: usize = 256;

/// Runs small models from GGUF files on a CPU, with the same bits on every machine.
#[derive(Debug, Parser)]
#[command(
    name = "smidgen",
    version,
    arg_required_else_help = true,
    args_override_self = true,
    after_help = "Examples:
  smidgen run smollm2 -p \"Why is the sky blue?\"
  smidgen run smollm2 --chat
  smidgen run model.gguf -p \"Once upon a time\" --raw -n 100
  smidgen inspect model.gguf
  smidgen bench smollm2 --threads 1,2

MODEL is the path of a GGUF file (any part of a split model) or a name ('smidgen pull --help' tells which there are), whose file is
downloaded at first use."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Ask nothing of the network; a model that is not here is an error
    #[cfg(feature = "hub")]
    #[arg(long, global = true)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generate text: an answer to a prompt, or its continuation
    Run(RunArgs),
    /// Measure tokens per second of prefill and decoding
    Bench(BenchArgs),
    /// Show the metadata and tensors of a file
    Inspect(InspectArgs),
    /// Convert text to token ids, or token ids to text
    Tokenize(TokenizeArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Compute the logits after given token ids, to compare a model with another engine
    Logits(LogitsArgs),
    #[cfg(feature = "encoders")]
    /// Compute embeddings of texts, or rank texts by similarity of meaning
    Embed(EmbedArgs),
    #[cfg(feature = "encoders")]
    /// Classify images or texts
    Classify(ClassifyArgs),
    #[cfg(feature = "micro")]
    /// Detect wake words in a recording or a stream of sound
    Listen(ListenArgs),
    #[cfg(feature = "micro")]
    /// Run a micro model (int8) on arrays from a file
    Infer(InferArgs),
    #[cfg(feature = "serve")]
    /// Serve models over HTTP, to clients of OpenAI's interface
    Serve(ServeArgs),
    /// Download models into the cache by their names, or list the short names
    Pull(PullArgs),
    #[cfg(feature = "hub")]
    /// List the models that are here
    List(ListArgs),
    #[cfg(feature = "hub")]
    /// Show a model that is here: its files, where it came from, what its header says
    Show(ShowArgs),
    #[cfg(feature = "hub")]
    /// Remove models that are here
    Remove(RemoveArgs),
    #[cfg(feature = "hub")]
    /// Remove the models that were used least recently
    Prune(PruneArgs),
    #[cfg(feature = "hub")]
    /// Use models of llama.cpp, Ollama, Hugging Face or other files where they are
    Import(ImportArgs),
    #[cfg(feature = "hub")]
    /// Compare the files of models with what was published
    Verify(VerifyArgs),
    #[cfg(feature = "convert")]
    /// Convert a checkpoint (safetensors with its config.json, or .tflite) to a GGUF file
    Convert(ConvertArgs),
    #[cfg(feature = "convert")]
    /// Write a model with its weights in another format
    Quantize(QuantizeArgs),
    #[cfg(feature = "convert")]
    /// Rearrange a file's tensors in panels, which run faster and give the same bits
    #[command(after_help = "Examples:
  smidgen pack model.gguf model.packed.gguf")]
    Pack(PackArgs),
    #[cfg(feature = "convert")]
    /// Restore the original of a packed file, byte for byte
    #[command(after_help = "Examples:
  smidgen unpack model.packed.gguf model.gguf")]
    Unpack(PackArgs),
    #[cfg(feature = "completions")]
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  smidgen completions bash > ~/.local/share/bash-completion/completions/smidgen
  smidgen completions fish > ~/.config/fish/completions/smidgen.fish")]
    Completions {
        /// The shell to write completions for
        shell: clap_complete::Shell,
    },
}

/// The option that chooses a kernel set.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Kernel set to use instead of the fastest: scalar, avx2, …; all of them give the same bits
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
}

/// The option that sets the number of threads.
#[derive(Debug, Args)]
pub(crate) struct ThreadArgs {
    /// Number of threads [default: the number of physical cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// The options that give a text: itself, a file, or stdin.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// The text itself
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Read the text from a file; '-' reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Read the text from stdin
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true, conflicts_with_all = ["prompt", "file"])]
    pub(crate) stdin: Option<String>,
}

/// The type of the KV cache.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum KvArg {
    /// Unrounded floats of 32 bits
    F32,
    /// Floats of 16 bits
    F16,
    /// Integers of 8 bits, with a scale for every 32 of them
    #[value(name = "q8_0")]
    Q8,
}

/// Whether a model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ThinkArg {
    /// It is
    On,
    /// It is not
    Off,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen run smollm2 -p \"Name three colours.\" --temp 0
  smidgen run smollm2 -f question.txt -n 200 --stop \"Question:\"
  echo \"Once upon a time\" | smidgen run stories.gguf - --raw
  smidgen run qwen3.gguf -p \"What is 2+2?\" --think off
  smidgen run model.gguf --tokens 1,15043,3186 -n 8 --temp 0 --ids

If the model has a chat template, the prompt becomes the user's message in it, unless --raw is given. What a thinking model reasons goes to
stderr, its answer to stdout. The same seed gives the same text on any machine and with any number of threads. A model from an Ollama
registry has its template, system message and parameters from there; flags win.")]
pub(crate) struct RunArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Keep the newline at the end of a file or of stdin, which is not part of the prompt otherwise
    #[arg(long, conflicts_with = "chat")]
    pub(crate) keep_newline: bool,
    /// Continue these token ids, separated by commas, instead of a text
    #[arg(long, value_name = "ID,...", value_parser = ids, conflicts_with_all = ["prompt", "file", "stdin", "keep_newline", "chat", "system", "think"])]
    pub(crate) tokens: Option<Ids>,
    /// Most tokens to generate [default: until the model ends its text or the context is full]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) n: Option<NonZeroUsize>,
    /// Sampling temperature; 0 always chooses the most likely token [default: 0.2]
    #[arg(long, value_name = "T", allow_hyphen_values = true, value_parser = temperature)]
    pub(crate) temp: Option<f32>,
    /// Sample among the K most likely tokens; 0 for all [default: 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = whole)]
    pub(crate) top_k: Option<usize>,
    /// Sample among the most likely tokens whose probabilities add up to P [default: 0.95]
    #[arg(long, value_name = "P", allow_hyphen_values = true, value_parser = mass)]
    pub(crate) top_p: Option<f32>,
    /// Drop tokens that are less likely than P times the most likely one [default: 0.05]
    #[arg(long, value_name = "P", allow_hyphen_values = true, value_parser = share)]
    pub(crate) min_p: Option<f32>,
    /// Divide the positive logits of recent tokens by R, and multiply the negative ones; 1 for no penalty [default: 1]
    #[arg(long, value_name = "R", allow_hyphen_values = true, value_parser = divisor)]
    pub(crate) repeat_penalty: Option<f32>,
    /// Subtract F from a recent token's logit for each of its occurrences [default: 0]
    #[arg(long, value_name = "F", allow_hyphen_values = true, value_parser = finite)]
    pub(crate) frequency_penalty: Option<f32>,
    /// Subtract F once from the logit of each recent token [default: 0]
    #[arg(long, value_name = "F", allow_hyphen_values = true, value_parser = finite)]
    pub(crate) presence_penalty: Option<f32>,
    /// Number of last tokens that count as recent for the penalties [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole)]
    pub(crate) penalty_window: Option<usize>,
    /// Use beam search with B beams instead of sampling
    #[arg(long, value_name = "B", default_value = "1", allow_negative_numbers = true, value_parser = width)]
    pub(crate) beams: NonZeroUsize,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Seed of the random numbers [default: 0]
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// Context length in tokens [default: the model's, at most 8192]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) ctx: Option<NonZeroUsize>,
    /// Type of the KV cache
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Chat: each line of input is a message; /clear starts a new conversation, /exit or the end of input leaves
    #[arg(long, conflicts_with_all = ["raw", "ids", "file", "stdin"])]
    pub(crate) chat: bool,
    /// The system message of the conversation, instead of the template's default
    #[arg(long, value_name = "TEXT", conflicts_with = "raw", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Turn a thinking model's reasoning on or off, by the switch that its chat template has [default: as the template has it]
    #[arg(long, value_name = "on|off", conflicts_with = "raw", hide_possible_values = true)]
    pub(crate) think: Option<ThinkArg>,
    /// Print the reasoning between its markers to stdout, before the answer, instead of to stderr
    #[arg(long, conflicts_with_all = ["raw", "ids"])]
    pub(crate) show_thinking: bool,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    pub(crate) raw: bool,
    /// Go without the template, system message, messages and parameters that the model's registry has for it
    #[cfg(feature = "hub")]
    #[arg(long)]
    pub(crate) no_defaults: bool,
    /// Print the generated ids as a JSON array instead of text
    #[arg(long)]
    pub(crate) ids: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen bench smollm2
  smidgen bench model.gguf -p 128 -n 32 --threads 1,2,4 --json")]
pub(crate) struct BenchArgs {
    /// Path or name of the model
    #[cfg_attr(feature = "hub", arg(required_unless_present = "bandwidth"))]
    #[cfg_attr(not(feature = "hub"), arg(required = true))]
    pub(crate) model: Option<PathBuf>,
    /// Measure how many bytes per second are read from memory, which bounds the tokens per second, and keep it in the cache
    #[cfg(feature = "hub")]
    #[arg(long)]
    pub(crate) bandwidth: bool,
    /// Tokens of the prompt; 0 to skip the prefill
    #[arg(short, long, value_name = "N", default_value_t = 512, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) prompt: usize,
    /// Tokens to generate; 0 to skip the decoding
    #[arg(short, long, value_name = "N", default_value_t = 128, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) n: usize,
    /// Numbers of threads, one row for each [default: the number of physical cores]
    #[arg(long, value_name = "N,…", value_delimiter = ',', allow_negative_numbers = true, value_parser = count)]
    pub(crate) threads: Vec<NonZeroUsize>,
    /// Number of runs for each row, of which the median is shown
    #[arg(short, long, value_name = "N", default_value = "3", allow_negative_numbers = true, value_parser = count)]
    pub(crate) repeat: NonZeroUsize,
    /// Type of the KV cache
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen inspect model.gguf
  smidgen inspect model.gguf --json > model.json")]
pub(crate) struct InspectArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    /// Print JSON, with arrays in full
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen tokenize smollm2 -p \"Hello world\"
  echo '[19556, 905]' | smidgen tokenize smollm2 --decode")]
pub(crate) struct TokenizeArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Recognize special tokens in the text, such as <|im_end|>
    #[arg(long)]
    pub(crate) special: bool,
    /// Read token ids (a JSON array) and print their text
    #[arg(long)]
    pub(crate) decode: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen perplexity smollm2 book.txt --tokens 2000
  smidgen perplexity model.gguf book.txt --json")]
pub(crate) struct PerplexityArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    /// File with the text
    pub(crate) file: PathBuf,
    /// Score the first N tokens [default: as many as the context holds]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) tokens: Option<NonZeroUsize>,
    /// Compute with f32 activations instead of int8: slow, for measuring the cost of rounding
    #[arg(long)]
    pub(crate) f32: bool,
    /// Type of the KV cache [default: f16; f32 with --f32]
    #[arg(long, value_name = "TYPE")]
    pub(crate) kv: Option<KvArg>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen logits model.gguf --tokens 1,15043,3186
  smidgen logits model.gguf --tokens 1,15043,3186 --positions 0,2 --f32 --npy logits.npy

The array is [positions x vocabulary] of float32. Without --npy and --json the five largest logits at each position are printed.")]
pub(crate) struct LogitsArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    /// Token ids, separated by commas
    #[arg(long, value_name = "ID,...", value_parser = ids)]
    pub(crate) tokens: Ids,
    /// Numbers of the tokens, from 0, after which logits are wanted, or all
    #[arg(long, value_name = "all|N,...", default_value = "all", value_parser = positions)]
    pub(crate) positions: Positions,
    /// Compute with f32 activations instead of int8: slow, for measuring the cost of rounding
    #[arg(long)]
    pub(crate) f32: bool,
    /// Type of the KV cache [default: f16; f32 with --f32]
    #[arg(long, value_name = "TYPE")]
    pub(crate) kv: Option<KvArg>,
    /// Context of the session in tokens [default: as many as are given]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) ctx: Option<NonZeroUsize>,
    /// Write the logits to a file in NumPy's format
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) npy: Option<PathBuf>,
    /// Print the logits as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// Token ids.
#[derive(Clone, Debug)]
pub(crate) struct Ids(pub(crate) Vec<u32>);

/// Numbers of tokens.
#[derive(Clone, Debug)]
pub(crate) enum Positions {
    All,
    Some(Vec<usize>),
}

impl Positions {
    /// The numbers among this many tokens.
    pub(crate) fn of(&self, tokens: usize) -> Result<Vec<usize>, String> {
        match self {
            Positions::All => Ok((0..tokens).collect()),
            Positions::Some(positions) => match positions.iter().find(|position| **position >= tokens) {
                Some(position) => Err(format!("--positions: {position} must be below the number of tokens, {tokens}")),
                None => Ok(positions.clone()),
            },
        }
    }
}

#[derive(Debug, Args)]
#[cfg_attr(
    feature = "hub",
    command(after_help = "Examples:
  smidgen pull
  smidgen pull smollm2
  smidgen pull hf:USER/REPO:Q4_K_M
  smidgen pull ollama:NAME:TAG

A name is hf:USER/REPO[:QUANT], hf:USER/REPO/FILE.gguf, the web address of a repository or of a .gguf file, ollama:NAME[:TAG], or a short
name. HF_TOKEN, HF_ENDPOINT, SMIDGEN_REGISTRY, NETRC and the usual variables of proxies and certificates are honoured.
The cache is the directory $SMIDGEN_CACHE, or else smidgen in $XDG_CACHE_HOME or in the platform's cache directory.")
)]
#[cfg_attr(
    not(feature = "hub"),
    command(after_help = "Examples:
  smidgen pull
  smidgen pull smollm2

The cache is the directory $SMIDGEN_CACHE, or else smidgen in $XDG_CACHE_HOME or in the platform's cache directory.")
)]
pub(crate) struct PullArgs {
    /// Names; without any, the short names are listed
    pub(crate) model: Vec<String>,
    /// Keep the file as it was published, without packing it
    #[arg(long)]
    pub(crate) plain: bool,
    /// Tokens of context for which it is told whether the model fits into memory
    #[cfg(feature = "hub")]
    #[arg(long)]
    pub(crate) ctx: Option<NonZeroUsize>,
}

/// Parses whole numbers separated by commas.
fn numbers<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    let wrong = |part: &str| format!("{part:?} must be a whole number from 0");
    text.split(',').map(str::trim).map(|part| part.parse().map_err(|_| wrong(part))).collect()
}

pub(crate) fn ids(text: &str) -> Result<Ids, String> {
    numbers(text).map(Ids)
}

fn positions(text: &str) -> Result<Positions, String> {
    if text == "all" { Ok(Positions::All) } else { numbers(text).map(Positions::Some) }
}

/// Parses a number of things, at least one.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "must be a whole number from 1".into())
}

/// Parses a number of beams. Each beam has a KV cache and a row of logits.
fn width(text: &str) -> Result<NonZeroUsize, String> {
    let fits = |width: &NonZeroUsize| width.get() <= MAX_BEAMS;
    text.parse().ok().filter(fits).ok_or_else(|| format!("must be a whole number from 1 to {MAX_BEAMS}"))
}

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be a whole number from 0".into())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// Parses a finite number that `fits`; `words` describe such a number.
fn number(text: &str, fits: impl Fn(f32) -> bool, words: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value: &f32| value.is_finite() && fits(*value)).ok_or_else(|| format!("must be {words}"))
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, |value| value >= 0.0, "a number from 0")
}

fn mass(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0 && value <= 1.0, "a number above 0, at most 1")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

fn divisor(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0, "a number above 0")
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, |_| true, "a number")
}
