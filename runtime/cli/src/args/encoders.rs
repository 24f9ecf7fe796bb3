//! The arguments of `embed` and `classify`.

use super::{Ids, MachineArgs, ThreadArgs, count, ids};
use clap::Args;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen embed minilm \"a small dog\" \"a puppy\" --json
  smidgen embed minilm -f sentences.txt > embeddings.f32
  smidgen embed minilm -f sentences.txt --similarity \"What do dogs eat?\"

A file or stdin holds one text per line. Embeddings are printed in the order of the texts: as 32-bit floats, little-endian, or as with
--json if stdout is a terminal. For a text that cannot be embedded, an error is printed on stderr and NaN or null takes its place; the
exit code is then 1.")]
pub(crate) struct EmbedArgs {
    /// Path or name of the model
    pub(crate) model: PathBuf,
    /// The texts; '-' or nothing reads the lines of stdin
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    pub(crate) text: Vec<String>,
    /// Read the texts from a file; '-' reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Embed these token ids, separated by commas, as they are
    #[arg(long, value_name = "ID,...", value_parser = ids, conflicts_with_all = ["text", "file"])]
    pub(crate) tokens: Option<Ids>,
    /// Print one JSON array per text
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the texts instead, with their cosine similarity to QUERY, the most similar first
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

If the first argument is an image (by its extension, or by the first bytes of the file), there is no MODEL: all arguments are images,
and a small classifier inside this program tells airplane, automobile, bird, cat, deer, dog, frog, horse, ship and truck apart.
CLIP compares images with any texts: --labels has them, separated by commas or on the lines of a file.
Each line is INPUT, LABEL and probability. For an input that cannot be read, an error is printed; the others are classified.")]
pub(crate) struct ClassifyArgs {
    /// Model, unless it is the built-in one; then image files (JPEG, PNG, WebP), or texts for a text classifier
    #[arg(value_name = "[MODEL] INPUT", required = true)]
    pub(crate) words: Vec<OsString>,
    /// Number of labels to show for each input, the most likely first
    #[arg(long, value_name = "K", default_value = "5", allow_negative_numbers = true, value_parser = count)]
    pub(crate) top: NonZeroUsize,
    /// File of class names, one per line, instead of the model's own; for CLIP, a file of texts, or "one,two,…"
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// For CLIP: the text that is compared with an image; {} stands for the label
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    pub(crate) template: String,
    /// Also show all logits, in the order of the classes
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
