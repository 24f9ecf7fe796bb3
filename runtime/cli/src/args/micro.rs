//! The arguments of `listen` and `infer`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen listen okay_nabu.gguf recording.wav
  smidgen listen okay_nabu.gguf hey_mycroft.gguf recording.wav --json
  arecord -q -t raw -f S16_LE -r 16000 -c 1 | smidgen listen okay_nabu.gguf -

Sound of any rate and of several channels is brought to 16,000 Hz and one channel.
Each line is the time in seconds, the word and its probability. A word is reported once, at the first step at which the mean of the last
probabilities is above the model's cut-off. With --json each line is an object with word, time_s, probability and step.")]
pub(crate) struct ListenArgs {
    /// Models; then a WAV file, or '-' for stdin: a WAV file, or raw samples (s16le, one channel, 16,000 Hz)
    #[arg(value_name = "MODEL… FILE", required = true, num_args = 2..)]
    pub(crate) words: Vec<PathBuf>,
    /// Print one JSON object per detection
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the model's output at every step, as a JSON array for each model
    #[arg(long, conflicts_with = "json")]
    pub(crate) steps: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen infer resnet.gguf images.npy --json
  smidgen infer okay_nabu.gguf features.npy --output outputs.npy

The first dimension counts the inputs, the others are the model's. Arrays of the model's own type are used as they are; 32-bit floats are
quantized with the model's scale. A streaming model takes the inputs one after another. Each line has the raw integers of an output.")]
pub(crate) struct InferArgs {
    /// Path of the model
    pub(crate) model: PathBuf,
    /// Array in NumPy's format: int8 (or uint8, if the model's input is) or float32
    pub(crate) input: PathBuf,
    /// Print one JSON array of arrays
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the outputs to a file in NumPy's format instead of printing them
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) output: Option<PathBuf>,
}
