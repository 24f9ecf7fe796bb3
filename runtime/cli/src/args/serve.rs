//! The arguments of `serve`.

use super::{KvArg, MachineArgs, ThreadArgs, count, whole};
use clap::Args;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// How long a model that nobody uses stays open; none is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive(pub(crate) Option<Duration>);

fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    match text {
        "-1" => Ok(KeepAlive(None)),
        _ => match text.parse() {
            Ok(seconds) => Ok(KeepAlive(Some(Duration::from_secs(seconds)))),
            Err(_) => Err("must be a whole number of seconds, or -1".into()),
        },
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen serve smollm2
  smidgen serve model.gguf --port 8081 --alias assistant --parallel 8
  smidgen serve --models-dir /var/lib/models --models-loaded 1
  smidgen serve smollm2 --host 0.0.0.0 --host-name pi.local --api-key-file keys.txt

Clients of OpenAI's interface use http://127.0.0.1:8080/v1. /health, /metrics and /props tell of the server. SIGTERM and SIGINT let running
answers end, for up to 30 seconds; a second one does not. Log lines are JSON on stderr, without texts of prompts or answers.")]
pub(crate) struct ServeArgs {
    /// Path or name of the only model; without it models are served by their names
    #[cfg_attr(not(feature = "hub"), arg(required_unless_present = "models_dir"))]
    pub(crate) model: Option<PathBuf>,
    /// Folder whose GGUF files are served, by their names without .gguf; may be given several times
    #[cfg_attr(feature = "hub", doc = "[default: the shelf]")]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) models_dir: Vec<PathBuf>,
    /// Seconds after its last request after which one of several models is unloaded; 0 at once, -1 never
    #[arg(long, value_name = "SECONDS", default_value = "300", allow_negative_numbers = true, value_parser = keep_alive, conflicts_with = "model")]
    pub(crate) keep_alive: KeepAlive,
    /// Models of several that are open at once, at most; who needs another has the one unloaded that is unused for longest
    #[arg(long, value_name = "N", default_value = "2", allow_negative_numbers = true, value_parser = count, conflicts_with = "model")]
    pub(crate) models_loaded: NonZeroUsize,
    /// Address to bind; others than this machine's own need a key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to bind; 0 takes one that is free
    #[arg(long, value_name = "N", default_value = "8080")]
    pub(crate) port: u16,
    /// Name by which requests call the model [default: its name as it is given, or the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
    /// Key that requests must have; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Vec<String>,
    /// File of keys, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Let others than this machine in without a key
    #[arg(long)]
    pub(crate) open: bool,
    /// Name of this host that requests may use beside localhost and addresses; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Vec<String>,
    /// Origin of pages that may use the server, such as https://example.org; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Vec<String>,
    /// Go without the template, system message, messages and parameters that the model's registry has for it
    #[cfg(feature = "hub")]
    #[arg(long)]
    pub(crate) no_defaults: bool,
    /// Answers that are written at once
    #[arg(long, value_name = "N", default_value = "4", allow_negative_numbers = true, value_parser = count)]
    pub(crate) parallel: NonZeroUsize,
    /// Requests that wait beyond those; more are refused with 503
    #[arg(long, value_name = "N", default_value = "8", allow_negative_numbers = true, value_parser = whole)]
    pub(crate) queue: usize,
    /// Context of each answer in tokens [default: the model's, at most 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub(crate) context: Option<NonZeroUsize>,
    /// Bytes that KV caches may take; what running answers leave of it keeps the beginnings of texts
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = whole)]
    pub(crate) kv_memory: Option<usize>,
    /// Type of the KV cache
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: KvArg,
    /// Bytes of a request's body, at most
    #[arg(long, value_name = "BYTES", default_value = "16777216", allow_negative_numbers = true, value_parser = count)]
    pub(crate) max_body: NonZeroUsize,
    /// Write the bodies of requests to the log, with all that people have written
    #[arg(long)]
    pub(crate) log_bodies: bool,
    /// Connections at once, at most
    #[arg(long, value_name = "N", default_value = "256", allow_negative_numbers = true, value_parser = count)]
    pub(crate) connections: NonZeroUsize,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}
