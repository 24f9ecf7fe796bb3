//! The arguments of `list`, `show`, `remove`, `prune`, `import` and `verify`.

use clap::Args;
use smidgen_host::hub::Bytes;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen list
  smidgen list --json

Models are in the directory $SMIDGEN_CACHE, or else smidgen in $XDG_CACHE_HOME or in the platform's cache directory.")]
pub(crate) struct ListArgs {
    /// Print a JSON array, with paths and everything else
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen show smollm2
  smidgen show smollm2 --json")]
pub(crate) struct ShowArgs {
    /// Name of the model, or path of its file
    pub(crate) name: String,
    /// Print JSON, with texts in full
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen remove smollm2

Of an imported model only the record is removed, its file stays.")]
pub(crate) struct RemoveArgs {
    /// Names of the models, or paths of their files
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen prune --keep 20G
  smidgen prune --keep 0 --dry-run

Downloads that were interrupted more than a day ago go first, whatever the size. Models in use are passed over. Imported models are neither
removed nor counted.")]
pub(crate) struct PruneArgs {
    /// Remove the models that were used least recently until the others have at most so many bytes: 500M, 20G (decimal), 20Gi (binary)
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) keep: Bytes,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen import
  smidgen import ~/models/model.gguf --name mine
  smidgen import /mnt/disk/huggingface/hub

Files are used where they are, not copied. Without a path the caches of llama.cpp, Ollama and Hugging Face are looked through, where
$LLAMA_CACHE, $OLLAMA_MODELS, $HF_HUB_CACHE and $HF_HOME have them.")]
pub(crate) struct ImportArgs {
    /// GGUF files (any part of a split model), or folders with such, or with a cache
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Name of the model [default: that of the registry, or of the file]
    #[arg(long, requires = "paths")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen verify
  smidgen verify smollm2

The exit code is 1 if a file is damaged.")]
pub(crate) struct VerifyArgs {
    /// Names of the models, or paths of their files [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}
