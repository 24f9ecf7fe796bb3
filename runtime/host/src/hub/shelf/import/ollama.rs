//! The cache of Ollama.

use super::{Finding, Found, files_below, read_small, record};
use crate::hub::Defaults;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The most bytes of a manifest, and of a layer that is not weights.
const MOST_BYTES: u64 = 1 << 20;

const LAYER: &str = "application/vnd.ollama.image.";

/// The models that the manifests name.
pub(super) fn look(cache: &Path) -> Vec<Finding> {
    let manifests = files_below(&cache.join("manifests"), "", &|_| false);
    manifests.iter().map(|(place, path)| model(cache, place, path).map_err(|reason| (path.clone(), reason))).collect()
}

/// The model of a manifest; an error is why it is left.
fn model(cache: &Path, place: &str, path: &Path) -> Result<Found, String> {
    let names = names_of(place).ok_or("this is not a manifest: its path is not HOST/NAMESPACE/NAME/TAG")?;
    let text = read_small(path, MOST_BYTES)?;
    let manifest: Value =
        serde_json::from_slice(&text).map_err(|error| format!("the manifest is not JSON: {error}"))?;
    let layers = manifest.get("layers").and_then(Value::as_array).ok_or("the manifest has no layers")?;
    let mut weights = None;
    let mut licence = None;
    let (mut template, mut system, mut params, mut messages) = (None, None, None, None);
    for layer in layers {
        let kind = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.strip_prefix(LAYER).ok_or_else(|| format!("its layer {kind:?} is unknown"))?;
        let digest = digest_of(layer).ok_or_else(|| format!("the digest of its layer {kind:?} is no SHA-256"))?;
        let text = || layer_text(cache, kind, digest);
        match kind {
            "model" if weights.is_some() => return Err("it has weights in several layers".into()),
            "model" => weights = Some(digest),
            // The first versions had it as `prompt`.
            "template" | "prompt" => template = Some(text()?),
            "system" => system = Some(text()?),
            "params" => params = Some(text()?),
            "messages" => messages = Some(text()?),
            "license" => {
                let first = || text().ok()?.lines().map(crate::one_line).find(|line| !line.is_empty());
                licence = licence.or_else(first);
            }
            // An image tower is another model; the text model is whole without it.
            "projector" => {}
            "adapter" => return Err("it has an adapter (LoRA), which is not applied here".into()),
            "tensor" | "json" => return Err("its weights are in safetensors, not in GGUF".into()),
            _ => return Err(format!("its layer {kind:?} is unknown")),
        }
    }
    let digest = weights.ok_or("it has no layer of weights")?;
    let config = manifest.get("config").and_then(digest_of).map(|digest| layer_text(cache, "config", digest));
    let config = config.transpose()?.unwrap_or_else(|| "{}".to_owned());
    let (system, params, messages) = (system.as_deref(), params.as_deref(), messages.as_deref());
    let defaults = Defaults::of_layers(template.as_deref(), system, params, messages);
    let defaults = defaults.and_then(|defaults| defaults.with_config(&config));
    Ok(Found {
        path: blob(cache, digest),
        names,
        sha256: Some(digest.to_owned()),
        licence,
        source: format!("Ollama's cache {}", cache.display()),
        defaults: defaults.map_err(|error| error.to_string())?.to_value(),
    })
}

fn digest_of(layer: &Value) -> Option<&str> {
    layer.get("digest")?.as_str()?.strip_prefix("sha256:").filter(|digest| record::is_sha256(digest))
}

fn layer_text(cache: &Path, kind: &str, digest: &str) -> Result<String, String> {
    let text = String::from_utf8(read_small(&blob(cache, digest), MOST_BYTES)?);
    text.map_err(|_| format!("its layer {kind:?} is not UTF-8"))
}

/// The file of a layer. Older versions have a colon in the name.
fn blob(cache: &Path, digest: &str) -> PathBuf {
    let blobs = cache.join("blobs");
    let old = blobs.join(format!("sha256:{digest}"));
    if old.is_file() { old } else { blobs.join(format!("sha256-{digest}")) }
}

/// The names of the model of a manifest `HOST/NAMESPACE/NAME/TAG`.
fn names_of(place: &str) -> Option<Vec<String>> {
    let parts: Vec<_> = place.split('/').collect();
    let [host, space, name, tag] = parts.as_slice() else { return None };
    let own = match (*host, *space) {
        ("registry.ollama.ai", "library") => (*name).to_owned(),
        ("registry.ollama.ai", _) => format!("{space}/{name}"),
        _ => format!("{host}/{space}/{name}"),
    };
    let mut names = vec![format!("ollama:{own}:{tag}")];
    if *tag == "latest" {
        names.push(format!("ollama:{own}"));
    }
    if matches!(*host, "hf.co" | "huggingface.co") && *tag != "latest" {
        names.insert(0, format!("hf:{space}/{name}:{tag}"));
    }
    Some(names)
}
