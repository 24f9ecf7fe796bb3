//! The cache of Ollama.

use super::{Finding, Found, files_below, read_small, record};
use serde_json::{Map, Value};
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
    let mut found = Map::new();
    let mut licence = None;
    for layer in layers {
        let kind = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.strip_prefix(LAYER).ok_or_else(|| format!("its layer {kind:?} is unknown"))?;
        let digest = layer.get("digest").and_then(Value::as_str).and_then(|digest| digest.strip_prefix("sha256:"));
        let digest = digest.filter(|digest| record::is_sha256(digest));
        let digest = digest.ok_or_else(|| format!("the digest of its layer {kind:?} is no SHA-256"))?;
        let text = || {
            let text = String::from_utf8(read_small(&blob(cache, digest), MOST_BYTES)?);
            text.map_err(|_| format!("its layer {kind:?} is not UTF-8"))
        };
        let json = |text: String| {
            serde_json::from_str(&text).map_err(|error| format!("its layer {kind:?} is not JSON: {error}"))
        };
        match kind {
            "model" if weights.is_some() => return Err("it has weights in several layers".into()),
            "model" => weights = Some(digest),
            "template" | "system" => {
                found.insert(kind.to_owned(), text()?.into());
            }
            // As the first versions had it.
            "prompt" => {
                found.insert("template".into(), text()?.into());
            }
            "params" => {
                found.insert("parameters".into(), json(text()?)?);
            }
            "messages" => {
                found.insert(kind.to_owned(), json(text()?)?);
            }
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
    if let Some(name) = renderer(cache, &manifest)? {
        found.insert("renderer".into(), name.into());
    }
    let digest = weights.ok_or("it has no layer of weights")?;
    Ok(Found {
        path: blob(cache, digest),
        names,
        sha256: Some(digest.to_owned()),
        licence,
        source: format!("Ollama's cache {}", cache.display()),
        defaults: (!found.is_empty()).then(|| found.into()),
    })
}

/// The name of Ollama's own code that writes the model's prompts, which its configuration may have.
fn renderer(cache: &Path, manifest: &Value) -> Result<Option<String>, String> {
    let digest = manifest.get("config").and_then(|config| config.get("digest")).and_then(Value::as_str);
    let Some(digest) = digest else { return Ok(None) };
    let digest = digest.strip_prefix("sha256:").filter(|digest| record::is_sha256(digest));
    let text = read_small(&blob(cache, digest.ok_or("the digest of its configuration is no SHA-256")?), MOST_BYTES)?;
    let config: Value =
        serde_json::from_slice(&text).map_err(|error| format!("its configuration is not JSON: {error}"))?;
    Ok(config.get("renderer").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned))
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
