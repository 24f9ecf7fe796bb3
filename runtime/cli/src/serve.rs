//! `smidgen serve`: models over HTTP.

mod catalogue;

use crate::args::ServeArgs;
use crate::{Outcome, open, signals};
use catalogue::Folders;
#[cfg(feature = "hub")]
use catalogue::OnShelf;
use smidgen_host::physical_cores;
#[cfg(feature = "hub")]
use smidgen_serve::Defaults;
use smidgen_serve::engine::Config;
use smidgen_serve::{Catalogue, Options, Selection, Source, serve as run};
use std::error::Error;
use std::net::SocketAddr;
#[cfg(feature = "hub")]
use std::num::NonZeroUsize;
use std::path::Path;
#[cfg(feature = "hub")]
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn serve(args: &ServeArgs) -> Outcome {
    open::kernels(&args.machine)?;
    let keys = keys(args)?;
    let mut warnings = Vec::new();
    let models = selection(args, &mut warnings)?;
    let engine = Config {
        parallel: args.parallel,
        queue: args.queue,
        context: args.context,
        kv_memory: args.kv_memory,
        threads: args.threads.threads.unwrap_or_else(physical_cores),
        kv: args.kv.into(),
        target: args.machine.target.clone(),
        // Each model has its own.
        ..Config::new("")
    };
    let options = Options {
        address: SocketAddr::new(args.host, args.port),
        host_names: args.host_name.clone(),
        origins: args.cors.clone(),
        warnings,
        keys,
        open: args.open,
        max_body: args.max_body.get(),
        log_bodies: args.log_bodies,
        connections: args.connections.get(),
        ..Options::new(engine, models, args.port)
    };
    Ok(run(options, signals::leave)?)
}

/// The one model, or those of folders or of the shelf. What is wrong with these and ends nothing is told.
fn selection(args: &ServeArgs, warnings: &mut Vec<String>) -> Result<Selection, Box<dyn Error>> {
    if let Some(model) = &args.model {
        let id = args.alias.clone().unwrap_or_else(|| name(model));
        return Ok(Selection::One { id, source: Box::new(opened(args, model)?) });
    }
    if args.alias.is_some() {
        return Err("--alias: this is the name of one model; give MODEL, or leave it out".into());
    }
    let catalogue: Arc<dyn Catalogue> = match args.models_dir.is_empty() {
        false => {
            let folders = Folders {
                folders: args.models_dir.clone(),
                #[cfg(feature = "hub")]
                no_defaults: args.no_defaults,
            };
            warnings.extend(folders.hidden()?);
            Arc::new(folders)
        }
        #[cfg(feature = "hub")]
        true => {
            let shelf = OnShelf { no_defaults: args.no_defaults };
            warnings.extend(shelf.damaged()?);
            Arc::new(shelf)
        }
        #[cfg(not(feature = "hub"))]
        true => return Err("MODEL: give one, or --models-dir".into()),
    };
    Ok(Selection::Several { catalogue, keep_alive: args.keep_alive.0, loaded: args.models_loaded })
}

/// The model's file, and how its registry has it used.
#[cfg(feature = "hub")]
fn opened(args: &ServeArgs, model: &Path) -> Result<Source, Box<dyn Error>> {
    let (path, registry) = open::resolve_with_defaults(model, args.context)?;
    Ok(source(path, registry.filter(|_| !args.no_defaults), &model.display().to_string())?)
}

#[cfg(not(feature = "hub"))]
fn opened(_: &ServeArgs, model: &Path) -> Result<Source, Box<dyn Error>> {
    Ok(Source::new(open::resolve(model)?))
}

/// A model's file, used as the shelf's record has it.
#[cfg(feature = "hub")]
fn source(path: PathBuf, registry: Option<serde_json::Value>, name: &str) -> Result<Source, String> {
    let Some(registry) = registry else { return Ok(Source::new(path)) };
    let named = |error: String| format!("{name}: {error}; --no-defaults goes without");
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
    Ok(Source { path, defaults, context, warnings })
}

/// The keys of the flags and of the file.
fn keys(args: &ServeArgs) -> Result<Vec<String>, Box<dyn Error>> {
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
