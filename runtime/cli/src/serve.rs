//! `smidgen serve`: a model over HTTP.

use crate::args::ServeArgs;
#[cfg(feature = "hub")]
use crate::tell;
use crate::{Outcome, open, signals};
use smidgen_host::physical_cores;
use smidgen_serve::engine::Config;
use smidgen_serve::{Options, serve as run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) fn serve(args: &ServeArgs) -> Outcome {
    open::kernels(&args.machine)?;
    let keys = keys(args)?;
    let path = path(args)?;
    let engine = Config {
        parallel: args.parallel,
        queue: args.queue,
        context: args.context,
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
        keys,
        open: args.open,
        max_body: args.max_body.get(),
        connections: args.connections.get(),
        ..Options::new(engine, id, args.port)
    };
    Ok(run(options, signals::leave)?)
}

/// The model's file. What its registry has for it is not used, which is told.
#[cfg(feature = "hub")]
fn path(args: &ServeArgs) -> Result<PathBuf, smidgen_host::Error> {
    let (path, defaults) = open::resolve_with_defaults(&args.model, args.context)?;
    if defaults.is_some() {
        let model = args.model.display();
        tell(format_args!(
            "smidgen: warning: {model}: its registry's template, messages and parameters are not used by serve, the file's template is\n"
        ));
    }
    Ok(path)
}

#[cfg(not(feature = "hub"))]
fn path(args: &ServeArgs) -> Result<PathBuf, smidgen_host::Error> {
    open::resolve(&args.model)
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
