//! The command line.

use clap::{Args, Parser, Subcommand};
use smidgen_host::Mixture;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Most beams of a search.
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

A model is the path of a GGUF file (of any part, if it is split) or a short name, which is pulled first; 'smidgen pull' lists them."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a text, or answer it
    Run(RunArgs),
    /// Measure tokens per second
    Bench(BenchArgs),
    /// Show what is in a file
    Inspect(InspectArgs),
    /// Turn text into token ids, or back
    Tokenize(TokenizeArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Turn texts into embeddings, or rank them by what they mean
    Embed(EmbedArgs),
    /// Say what images show, or which class texts are of
    Classify(ClassifyArgs),
    /// Tell when words are spoken
    Listen(ListenArgs),
    /// Run a micro model on arrays from a file
    Infer(InferArgs),
    /// Download models by short name into the cache, or list the known ones
    Pull(PullArgs),
    /// Turn a checkpoint (safetensors with its config.json) into a GGUF file
    Convert(ConvertArgs),
    /// Write a model in another format
    Quantize(QuantizeArgs),
    /// Put a file's tensors into panels, which run faster and give the same bits
    #[command(after_help = "Examples:
  smidgen pack model.gguf model.packed.gguf")]
    Pack(PackArgs),
    /// Give back the file that was packed, byte for byte
    #[command(after_help = "Examples:
  smidgen unpack model.packed.gguf model.gguf")]
    Unpack(PackArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  smidgen completions bash > ~/.local/share/bash-completion/completions/smidgen
  smidgen completions fish > ~/.config/fish/completions/smidgen.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How to compute.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Kernels to use instead of the fastest: scalar, avx2, …; every choice gives the same bits
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
}

/// How many threads.
#[derive(Debug, Args)]
pub(crate) struct ThreadArgs {
    /// Threads to use [default: the number of physical cores]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// A text from one of three places.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// The text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Read the text from a file; '-' for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// '-' to read the text from stdin
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true, conflicts_with_all = ["prompt", "file"])]
    pub(crate) stdin: Option<String>,
}

/// How a cache holds keys and values.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum KvArg {
    /// 16 bits
    F16,
    /// 8 bits with a scale for every 32
    #[value(name = "q8_0")]
    Q8,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen run smollm2 -p \"Name three colours.\" --temp 0
  smidgen run smollm2 -f question.txt -n 200 --stop \"Question:\"
  echo \"Once upon a time\" | smidgen run stories.gguf - --raw

With a prompt and a model that has a chat template, the prompt becomes the user's turn, unless --raw is given. The same seed gives
the same text, on any machine and with any number of threads.")]
pub(crate) struct RunArgs {
    /// Path or short name
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Tokens to generate at most [default: until the model ends or the context is full]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) n: Option<NonZeroUsize>,
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.2, allow_hyphen_values = true, value_parser = temperature)]
    pub(crate) temp: f32,
    /// Choose among the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 40, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) top_k: usize,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_hyphen_values = true, value_parser = mass)]
    pub(crate) top_p: f32,
    /// Leave out tokens less likely than P times the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.05, allow_hyphen_values = true, value_parser = share)]
    pub(crate) min_p: f32,
    /// Divide the logits of recent tokens by R; 1 for no penalty
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_hyphen_values = true, value_parser = divisor)]
    pub(crate) repeat_penalty: f32,
    /// Subtract F from a recent token's logit for each time it occurred
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_hyphen_values = true, value_parser = finite)]
    pub(crate) frequency_penalty: f32,
    /// Subtract F from the logit of every token that occurred recently
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_hyphen_values = true, value_parser = finite)]
    pub(crate) presence_penalty: f32,
    /// How many tokens are recent for the penalties
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) penalty_window: usize,
    /// Search with B beams instead of sampling
    #[arg(long, value_name = "B", default_value = "1", allow_negative_numbers = true, value_parser = width)]
    pub(crate) beams: NonZeroUsize,
    /// End before this text; may be given several times
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Seed of the random choices
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true, value_parser = seed)]
    pub(crate) seed: u64,
    /// Tokens of context [default: the model's, at most 8192]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) ctx: Option<NonZeroUsize>,
    /// How the cache holds keys and values
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Talk: each line is a turn; /clear begins anew, /exit or the end of input leaves
    #[arg(long, conflicts_with_all = ["raw", "ids", "file", "stdin"])]
    pub(crate) chat: bool,
    /// The system's turn of a chat, instead of the template's own
    #[arg(long, value_name = "TEXT", conflicts_with = "raw", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    pub(crate) raw: bool,
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
    /// Path or short name
    pub(crate) model: PathBuf,
    /// Tokens of the prompt; 0 to leave the prefill out
    #[arg(short, long, value_name = "N", default_value_t = 512, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) prompt: usize,
    /// Tokens to generate; 0 to leave the decoding out
    #[arg(short, long, value_name = "N", default_value_t = 128, allow_negative_numbers = true, value_parser = whole)]
    pub(crate) n: usize,
    /// Numbers of threads, one row each [default: the number of physical cores]
    #[arg(long, value_name = "N,…", value_delimiter = ',', allow_negative_numbers = true, value_parser = count)]
    pub(crate) threads: Vec<NonZeroUsize>,
    /// Runs of each row, of which the median is shown
    #[arg(short, long, value_name = "N", default_value = "3", allow_negative_numbers = true, value_parser = count)]
    pub(crate) repeat: NonZeroUsize,
    /// How the cache holds keys and values
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Print JSON
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
    /// Path or short name
    pub(crate) model: PathBuf,
    /// Print JSON, with whole arrays
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
    /// Path or short name
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Let the text spell special tokens such as <|im_end|>
    #[arg(long)]
    pub(crate) special: bool,
    /// Read ids (a JSON array) and print their text
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
    /// Path or short name
    pub(crate) model: PathBuf,
    /// The text
    pub(crate) file: PathBuf,
    /// Score the first N tokens [default: as many as the context holds]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) tokens: Option<NonZeroUsize>,
    /// Compute with unrounded activations: slow, to see what rounding costs
    #[arg(long)]
    pub(crate) f32: bool,
    /// How the cache holds keys and values
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen embed minilm \"a small dog\" \"a puppy\" --json
  smidgen embed minilm -f sentences.txt > embeddings.f32
  smidgen embed minilm -f sentences.txt --similarity \"What do dogs eat?\"

A file, and stdin, holds one text per line. Embeddings are printed in the order of the texts: as 32-bit floats, little-endian, or where
stdout is a terminal as with --json. A text that cannot be read is told on stderr and leaves NaN or null in its place; the exit code
is then 1.")]
pub(crate) struct EmbedArgs {
    /// Path or short name
    pub(crate) model: PathBuf,
    /// The texts; '-', or none, for the lines of stdin
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    pub(crate) text: Vec<String>,
    /// Read the texts from a file; '-' for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print one JSON array per text
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the texts instead, the most similar to this one first, with the cosine
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    pub(crate) similarity: Option<String>,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen classify photo.jpg
  smidgen classify model.gguf *.png --top 1 --json
  smidgen classify sentiment.gguf \"What a film!\"
  smidgen classify clip.gguf photo.jpg --labels \"a cat,a dog\" --template \"a photo of {}\"

If the first word is an image (by its ending, or by the first bytes of the file), no model is named: all words are images, and a small
classifier inside of this program tells airplane, automobile, bird, cat, deer, dog, frog, horse, ship and truck apart.
CLIP holds images against any texts: --labels has them, separated by commas or on the lines of a file.
Each line is INPUT, LABEL and probability. An input that cannot be read is told, and the others are answered.")]
pub(crate) struct ClassifyArgs {
    /// Path or short name of the model, if it is not the one inside; then image files (JPEG, PNG, WebP), or for a text classifier texts
    #[arg(value_name = "[MODEL] INPUT", required = true)]
    pub(crate) words: Vec<OsString>,
    /// Labels to show of each input, the likeliest first
    #[arg(long, value_name = "K", default_value = "5", allow_negative_numbers = true, value_parser = count)]
    pub(crate) top: NonZeroUsize,
    /// Names of the classes in order, one on each line, instead of the model's own; for CLIP the texts, such a file or "one,two,…"
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// For CLIP: what is read for a label, in place of {}
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    pub(crate) template: String,
    /// Show all raw scores too, in the order of the classes
    #[arg(long)]
    pub(crate) logits: bool,
    /// Print one JSON object per input
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen listen okay_nabu.gguf recording.wav
  smidgen listen okay_nabu.gguf hey_mycroft.gguf recording.wav --json
  arecord -q -t raw -f S16_LE -r 16000 -c 1 | smidgen listen okay_nabu.gguf -

Each line is the time in seconds, the word and its probability. A word is told once, at the first step at which the mean of the last
probabilities is above the model's cut-off. With --json a line is an object of word, time_s, probability and step.")]
pub(crate) struct ListenArgs {
    /// Paths of models; then a WAV file of one channel, 16 bits, 16,000 samples per second, or '-' for such samples on stdin (s16, little-endian)
    #[arg(value_name = "MODEL… FILE", required = true, num_args = 2..)]
    pub(crate) words: Vec<PathBuf>,
    /// Print one JSON object per detection
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what the model gives at every step, as a JSON array for each model
    #[arg(long, conflicts_with = "json")]
    pub(crate) steps: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen infer resnet.gguf images.npy --json
  smidgen infer okay_nabu.gguf features.npy --output outputs.npy

The first extent counts inputs, the others are the model's. Arrays of the model's own type are taken as they are, of 32-bit floats are
rounded to the model's scale. A streaming model takes the inputs one after another, as a stream. Each line is an output's raw integers.")]
pub(crate) struct InferArgs {
    /// Path
    pub(crate) model: PathBuf,
    /// Arrays in NumPy's format: int8 (or uint8, as the model has) or float32
    pub(crate) input: PathBuf,
    /// Print one JSON array of arrays
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the outputs to a file in NumPy's format instead
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen pull
  smidgen pull smollm2

The cache is $SMIDGEN_CACHE, or smidgen in $XDG_CACHE_HOME or the platform's usual place.")]
pub(crate) struct PullArgs {
    /// Short names; without any, the known ones are listed
    pub(crate) model: Vec<String>,
    /// Keep the file as it was published instead of packing it
    #[arg(long)]
    pub(crate) plain: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen convert all-MiniLM-L6-v2 minilm.gguf
  smidgen convert SmolLM2-135M-Instruct smollm2.Q4_K_M.gguf --type Q4_K_M
  smidgen convert model.safetensors model.gguf --type F16
  smidgen convert okay_nabu.tflite okay_nabu.gguf

Architectures: bert, llama (also mistral and smollm), vit (also deit and dinov2), clip. Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0,
Q5_1, IQ4_NL, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K.")]
pub(crate) struct ConvertArgs {
    /// A folder with config.json, weights and tokenizer, the .safetensors file in it, or a .tflite file
    pub(crate) input: PathBuf,
    /// The GGUF file to write
    pub(crate) output: PathBuf,
    /// Format of the weights [default: as they are]
    #[arg(long = "type", value_name = "TYPE", value_parser = mixture)]
    pub(crate) kind: Option<Mixture>,
    /// Put tensors into panels, which run faster but only here
    #[arg(long)]
    pub(crate) pack: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen quantize model.F16.gguf model.Q4_K_M.gguf Q4_K_M
  smidgen quantize smollm2 smollm2.Q8_0.gguf Q8_0 --pack

Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M,
Q6_K. They choose formats tensor by tensor, as llama.cpp does for files of these names. Quantizing what was quantized before loses more
than quantizing the original.")]
pub(crate) struct QuantizeArgs {
    /// Path or short name
    pub(crate) input: PathBuf,
    /// The GGUF file to write
    pub(crate) output: PathBuf,
    /// Format of the weights
    #[arg(value_name = "TYPE", value_parser = mixture)]
    pub(crate) kind: Mixture,
    /// Put tensors into panels, which run faster but only here
    #[arg(long)]
    pub(crate) pack: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The file to read
    pub(crate) input: PathBuf,
    /// The file to write
    pub(crate) output: PathBuf,
}

/// A number of things, of which there is one at least.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "must be a whole number from 1".into())
}

/// A number of beams. Each has a cache and a row of logits.
fn width(text: &str) -> Result<NonZeroUsize, String> {
    let fits = |width: &NonZeroUsize| width.get() <= MAX_BEAMS;
    text.parse().ok().filter(fits).ok_or_else(|| format!("must be a whole number from 1 to {MAX_BEAMS}"))
}

/// A type of weights by name.
fn mixture(text: &str) -> Result<Mixture, String> {
    let names = || Mixture::ALL.iter().map(|mixture| mixture.name()).collect::<Vec<_>>();
    Mixture::named(text).ok_or_else(|| format!("must be one of {}", names().join(", ")))
}

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be a whole number from 0".into())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// A number that `fits` the words.
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
