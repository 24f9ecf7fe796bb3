//! `smidgen serve`: a model over HTTP.

use crate::args::ServeArgs;
use crate::{Outcome, open, signals};
use smidgen_host::physical_cores;
use smidgen_serve::engine::Config;
use smidgen_serve::{Defaults, Options, serve as run};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// A model's file, and how its registry has it used.
struct Opened {
    path: PathBuf,
    defaults: Defaults,
    /// Tokens of context.
    context: Option<NonZeroUsize>,
    /// What is passed over.
    warnings: Vec<String>,
}

impl Opened {
    /// A file of which no registry says anything.
    fn alone(path: PathBuf) -> Opened {
        Opened { path, defaults: Defaults::default(), context: None, warnings: Vec::new() }
    }
}

pub(crate) fn serve(args: &ServeArgs) -> Outcome {
    open::kernels(&args.machine)?;
    let keys = keys(args)?;
    let Opened { path, defaults, context, warnings } = opened(args)?;
    let engine = Config {
        parallel: args.parallel,
        queue: args.queue,
        context: args.context.or(context),
        kv_memory: args.kv_memory,
        threads: args.threads.threads.unwrap_or_else(physical_cores),
        kv: args.kv.into(),
        target: args.machine.target.clone(),
        ..Config::new(path)
    };
    let id = args.alias.clone().unwrap_or_else(|| name(&args.model));
    let options = Options {
        address: SocketAddr::new(args.host, args.port),
        host_names: args.host_name.clone(),
        origins: args.cors.clone(),
        defaults,
        warnings,
        keys,
        open: args.open,
        max_body: args.max_body.get(),
        connections: args.connections.get(),
        ..Options::new(engine, id, args.port)
    };
    Ok(run(options, signals::leave)?)
}

/// The model's file, and how its registry has it used.
#[cfg(feature = "hub")]
fn opened(args: &ServeArgs) -> Result<Opened, Box<dyn std::error::Error>> {
    let (path, registry) = open::resolve_with_defaults(&args.model, args.context)?;
    let Some(registry) = registry.filter(|_| !args.no_defaults) else { return Ok(Opened::alone(path)) };
    let named = |error: String| format!("{}: {error}; --no-defaults goes without", args.model.display());
    let registry = smidgen_host::hub::Defaults::of_value(&registry).map_err(|error| named(error.to_string()))?;
    let unknown = registry.unknown().map(|parameter| {
        let parameter = parameter.escape_debug();
        format!("the parameter {parameter:.100} of the model's registry is unknown and passed over")
    });
    let renderer = registry.renderer.iter().filter(|_| registry.template.is_none()).map(|renderer| {
        format!("the model's registry has its prompts written by Ollama's renderer {renderer}; the file's own chat template is used")
    });
    let warnings = unknown.chain(renderer).collect();
    let context = registry.parameters.num_ctx.and_then(NonZeroUsize::new);
    let defaults = Defaults::of_registry(registry).map_err(named)?;
    Ok(Opened { path, defaults, context, warnings })
}

#[cfg(not(feature = "hub"))]
fn opened(args: &ServeArgs) -> Result<Opened, Box<dyn std::error::Error>> {
    Ok(Opened::alone(open::resolve(&args.model)?))
}

/// The keys of the flags and of the file.
fn keys(args: &ServeArgs) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut keys = args.api_key.clone();
    if let Some(path) = &args.api_key_file {
        let text = open::file_text(path)?;
        let before = keys.len();
        keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        if keys.len() == before {
            return Err(format!("{}: there is no key in it; write one a line", path.display()).into());
        }
    }
    Ok(keys)
}

/// What requests call a model by without an alias: its short name as it was given, or the name of its file.
fn name(model: &Path) -> String {
    let given = model.to_string_lossy().into_owned();
    if !model.is_file() {
        return given;
    }
    let stem = model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or(given);
    stem.strip_suffix(".gguf").map(str::to_owned).unwrap_or(stem)
}
