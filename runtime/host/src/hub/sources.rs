//! What a name leads to: the answers of hubs and registries.

use super::download::Remote;
use super::error::{HubError, shown};
use super::http::{Client, Request, Response, joined};
use super::name::{Name, Registry, Repository, Wanted, is_safe_path, percent_encoded};
use super::quant::{self, Item};
use serde_json::Value;
use smidgen_convert::{CHAT_TEMPLATES, CONFIG, SIDECARS};

/// The most bytes of an answer about a repository, of a page of its files, of a manifest, and of a small layer.
const MOST_ABOUT: u64 = 16 << 20;
const MOST_MANIFEST: u64 = 4 << 20;
const MOST_LAYER: u64 = 1 << 20;
/// The most pages of a repository's files.
const MOST_PAGES: usize = 100;

/// The files that a name leads to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The full name.
    pub(crate) name: String,
    /// The address of the whole, for people.
    pub(crate) source: String,
    /// The model's files: the parts of a GGUF file, in order, or a checkpoint's.
    pub(crate) files: Vec<Remote>,
    /// Whether it is a checkpoint, which is to be converted.
    pub(crate) checkpoint: bool,
    pub(crate) quant: Option<String>,
    pub(crate) licence: Option<String>,
    /// What is there besides.
    pub(crate) projectors: Vec<String>,
    /// The texts of the small layers of a registry's model.
    pub(crate) layers: Layers,
}

/// The texts of the small layers of a registry's model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) template: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) params: Option<String>,
    pub(crate) messages: Option<String>,
    /// The configuration of the whole.
    pub(crate) config: Option<String>,
}

impl Found {
    /// Bytes to download.
    pub(crate) fn size(&self) -> u64 {
        self.files.iter().filter_map(|file| file.size).fold(0, u64::saturating_add)
    }
}

fn json(url: &str, bytes: &[u8]) -> Result<Value, HubError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let is_page = bytes.trim_ascii_start().starts_with(b"<");
        let reason = if is_page {
            "this is a page (HTML), not a hub's answer; a login may be needed, or a network that answers for others"
                .into()
        } else {
            format!("the answer is no JSON ({error})")
        };
        HubError::Answer { url: shown(url), reason }
    })
}

fn about(client: &Client, url: &str) -> Result<(Value, Response), HubError> {
    let (bytes, response) = client.small(&Request { url, ..Request::default() }, MOST_ABOUT)?;
    Ok((json(url, &bytes)?, response))
}

/// Asks the hub for a repository. `memory` is what this machine has.
pub(crate) fn repository(client: &Client, asked: &Repository, memory: Option<u64>) -> Result<Found, HubError> {
    let (endpoint, id) = (&client.access.endpoint, &asked.id);
    let at = asked.revision.as_deref().map_or(String::new(), |at| format!("/revision/{}", segment(at)));
    let url = format!("{endpoint}/api/models/{id}{at}");
    let (model, _) = about(client, &url)?;
    let wrong = |reason: &str| HubError::Answer { url: shown(&url), reason: reason.to_owned() };
    let commit = model.get("sha").and_then(Value::as_str).unwrap_or_default();
    if commit.is_empty() || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong("the answer names no commit (field sha)"));
    }
    let items = tree(client, &format!("{endpoint}/api/models/{id}/tree/{commit}?recursive=true"))?;
    let named = Name::Repository(Repository { wanted: Wanted::Usual, ..asked.clone() }).to_string();
    let (all, projectors) = quant::candidates(&named, &items)?;
    let mut found = Found { projectors, licence: licence(&model), ..Found::default() };
    let remote = |item: &Item| Remote {
        name: format!("{}/{}", named, item.path),
        url: format!("{endpoint}/{id}/resolve/{commit}/{}", percent_encoded(&item.path)),
        size: Some(item.size),
        sha256: item.sha256.clone(),
    };
    let chosen = match &asked.wanted {
        Wanted::File(path) => {
            let item = items.iter().find(|item| item.path == *path && is_safe_path(path));
            let item = item.ok_or_else(|| {
                let there = all.iter().map(|candidate| candidate.path().to_owned()).collect();
                HubError::Quant { repository: named.clone(), quant: path.clone(), matching: vec![], there }
            })?;
            // Any part of a split model means all of them.
            let whole = all.iter().find(|candidate| candidate.items.contains(item));
            Some(
                whole
                    .cloned()
                    .unwrap_or_else(|| quant::Candidate { items: vec![item.clone()], quant: quant::quant_of(path) }),
            )
        }
        _ if all.is_empty() => None,
        Wanted::Quant(quant) => Some(quant::of_quant(&named, &all, quant)?),
        Wanted::Usual => quant::usual(&named, &all, memory)?,
    };
    found.source = format!("{endpoint}/{id}");
    let Some(chosen) = chosen else {
        found.checkpoint = true;
        found.files = checkpoint(&named, &items)?.iter().map(remote).collect();
        found.name = named.clone();
        if let Wanted::Quant(quant) = &asked.wanted {
            let quant = quant.to_ascii_uppercase();
            found.name.push_str(&format!(":{quant}"));
            found.quant = Some(quant);
        }
        return Ok(found);
    };
    found.projectors.retain(|path| path != chosen.path());
    // The format names the file, if it is the only one of it.
    let alone = chosen.quant.as_ref().filter(|quant| {
        all.iter().filter(|other| other.quant.as_ref() == Some(*quant)).count() == 1 && all.contains(&chosen)
    });
    found.name = match alone {
        Some(quant) => format!("{}:{quant}", named),
        None => format!("{}/{}", named, chosen.path()),
    };
    found.files = chosen.items.iter().map(remote).collect();
    found.quant = chosen.quant;
    Ok(found)
}

/// A revision as one segment of an address.
fn segment(revision: &str) -> String {
    percent_encoded(revision).replace('/', "%2F")
}

/// The files of a repository, over all pages.
fn tree(client: &Client, first: &str) -> Result<Vec<Item>, HubError> {
    let mut items = Vec::new();
    let mut url = first.to_owned();
    for _ in 0..MOST_PAGES {
        let (page, response) = about(client, &url)?;
        let wrong = |reason: &str| HubError::Answer { url: shown(&url), reason: reason.to_owned() };
        let page = page.as_array().ok_or_else(|| wrong("the answer is no list of files"))?;
        for entry in page {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            if text("type") != Some("file") {
                continue;
            }
            let path = text("path").ok_or_else(|| wrong("a file has no path (field path)"))?;
            let lfs = entry.get("lfs").filter(|lfs| lfs.is_object());
            let size = lfs.unwrap_or(entry).get("size").and_then(Value::as_u64);
            let size = size.ok_or_else(|| wrong("a file has no length (field size)"))?;
            let sha256 = match lfs.map(|lfs| lfs.get("oid").and_then(Value::as_str).unwrap_or_default()) {
                None => None,
                Some(oid) => Some(digest(oid).ok_or_else(|| wrong("a file has no SHA-256 (field lfs.oid)"))?),
            };
            items.push(Item { path: path.to_owned(), size, sha256 });
        }
        let Some(next) = next_page(response.header("link").unwrap_or_default()) else { return Ok(items) };
        url = joined(&url, next).ok_or_else(|| wrong("the next page is no web address"))?;
    }
    Err(HubError::Answer { url: shown(first), reason: format!("its files are more than {MOST_PAGES} pages") })
}

/// The address of the next page in a header `Link` (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (address, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.replace('"', "").contains("rel=next").then_some(address)
    })
}

/// A SHA-256 in lower-case hexadecimal.
fn digest(text: &str) -> Option<String> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// The licence that a repository states.
fn licence(model: &Value) -> Option<String> {
    let card = model.get("cardData");
    let of_card = card.and_then(|card| card.get("license")).and_then(|licence| match licence {
        Value::Array(all) => all.first()?.as_str(),
        one => one.as_str(),
    });
    let name = card.and_then(|card| card.get("license_name")).and_then(Value::as_str);
    let of_card = of_card.map(|licence| if licence == "other" { name.unwrap_or(licence) } else { licence });
    let tags = model.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let licence = of_card.or_else(|| tags.filter_map(|tag| tag.strip_prefix("license:")).next())?;
    Some(crate::one_line(licence))
}

/// The files of a checkpoint that a conversion reads.
fn checkpoint(repository: &str, items: &[Item]) -> Result<Vec<Item>, HubError> {
    let missing = |reason: &str| HubError::NoModel { repository: repository.into(), reason: reason.into() };
    let has = |path: &str| items.iter().any(|item| item.path == path);
    let weights = |path: &str| path.ends_with(".safetensors");
    if !items.iter().any(|item| weights(&item.path)) {
        return Err(missing(
            "there is no GGUF file in it, nor weights in safetensors; use a repository that has one (often called …-GGUF)",
        ));
    }
    if !has(CONFIG) {
        return Err(missing(
            "there is no GGUF file in it, and its weights have no config.json; use a repository with a GGUF file",
        ));
    }
    let is_side = |path: &str| {
        path == CONFIG
            || SIDECARS.contains(&path)
            || path == smidgen_convert::INDEX
            || path == smidgen_convert::MODULES
            || path.strip_prefix(CHAT_TEMPLATES).is_some_and(|name| name.ends_with(".jinja") && !name.contains('/'))
            // The modules of sentence encoders.
            || path.split_once('/').is_some_and(|(folder, file)| file == CONFIG && folder.starts_with(|c: char| c.is_ascii_digit()))
    };
    let wanted: Vec<Item> = items
        .iter()
        .filter(|item| is_side(&item.path) || weights(&item.path) && !item.path.contains('/'))
        .cloned()
        .collect();
    match wanted.iter().find(|item| !is_safe_path(&item.path)) {
        Some(item) => Err(missing(&format!("a file there is called {:?}, which leads out of its folder", item.path))),
        None => Ok(wanted),
    }
}

/// Asks a registry for a model.
pub(crate) fn registry(client: &Client, asked: &Registry) -> Result<Found, HubError> {
    let Registry { host, namespace, model, tag } = asked;
    let base = host.as_ref().map_or_else(
        || client.access.registry.clone(),
        |host| {
            let name = host.rsplit_once(':').map_or(&**host, |(name, _)| name);
            let is_here = name == "localhost" || name.starts_with("127.");
            format!("{}://{host}", if is_here { "http" } else { "https" })
        },
    );
    let base = format!("{base}/v2/{namespace}/{model}");
    let url = format!("{base}/manifests/{tag}");
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let request = Request { url: &url, accept: Some(MANIFEST), ..Request::default() };
    let (bytes, _) = client.small(&request, MOST_MANIFEST)?;
    let manifest = json(&url, &bytes)?;
    let wrong = |reason: &str| HubError::Answer { url: shown(&url), reason: reason.to_owned() };
    let layers = manifest.get("layers").and_then(Value::as_array).ok_or_else(|| wrong("the manifest has no layers"))?;
    let name = Name::Registry(asked.clone()).to_string();
    let mut found = Found { name: name.clone(), source: url.clone(), ..Found::default() };
    for layer in layers {
        let kind = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let (sha256, size) = blob_of(layer).map_err(&wrong)?;
        let blob = format!("{base}/blobs/sha256:{sha256}");
        let text = || small_layer(client, &blob, &sha256, size);
        match kind.strip_prefix("application/vnd.ollama.image.").unwrap_or(kind) {
            "model" => {
                let remote =
                    Remote { name: name.clone(), url: blob.clone(), size: Some(size), sha256: Some(sha256.clone()) };
                found.files.push(remote);
            }
            // The first versions had it as `prompt`.
            "template" | "prompt" => found.layers.template = Some(text()?),
            "system" => found.layers.system = Some(text()?),
            "params" => found.layers.params = Some(text()?),
            "messages" => found.layers.messages = Some(text()?),
            "license" => {
                let title = text()?.lines().map(str::trim).find(|line| !line.is_empty()).map(crate::one_line);
                found.licence = found.licence.or(title);
            }
            "projector" => found.projectors.push(blob),
            other => {
                let reason = format!(
                    "it has a layer of the kind {:?}, which is not supported; use another model",
                    crate::one_line(other)
                );
                return Err(HubError::NoModel { repository: name, reason });
            }
        }
    }
    if let Some(config) = manifest.get("config").filter(|config| config.is_object()) {
        let (sha256, size) = blob_of(config).map_err(&wrong)?;
        let url = format!("{base}/blobs/sha256:{sha256}");
        found.layers.config = Some(small_layer(client, &url, &sha256, size)?);
    }
    match found.files.len() {
        1 => Ok(found),
        0 => Err(HubError::NoModel {
            repository: name,
            reason: "the manifest has no layer with a model; use another tag".into(),
        }),
        count => {
            let reason =
                format!("the model has {count} layers of weights, of which only one is supported; use another tag");
            Err(HubError::NoModel { repository: name, reason })
        }
    }
}

/// The SHA-256 and the length of a layer of a manifest; an error is what is missing.
fn blob_of(layer: &Value) -> Result<(String, u64), &'static str> {
    let sha256 = layer.get("digest").and_then(Value::as_str).and_then(digest);
    let sha256 = sha256.ok_or("a layer of the manifest has no SHA-256 (field digest)")?;
    let size = layer.get("size").and_then(Value::as_u64);
    Ok((sha256, size.ok_or("a layer of the manifest has no length (field size)")?))
}

/// The text of a small layer.
fn small_layer(client: &Client, url: &str, sha256: &str, size: u64) -> Result<String, HubError> {
    use sha2::{Digest, Sha256};
    if size > MOST_LAYER {
        return Err(HubError::TooLong { url: shown(url), most: MOST_LAYER });
    }
    let (bytes, _) = client.small(&Request { url, ..Request::default() }, size)?;
    let found = super::download::hex(&Sha256::digest(&bytes));
    if found != sha256 {
        return Err(HubError::Digest { file: shown(url), found, expected: sha256.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| HubError::Answer { url: shown(url), reason: "the layer is no text".into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_and_licences() {
        assert_eq!(next_page("<https://x/y?cursor=a>; rel=\"next\""), Some("https://x/y?cursor=a"));
        assert_eq!(next_page("<a>; rel=\"prev\", <b>; rel=next"), Some("b"));
        assert_eq!(next_page(""), None);
        assert_eq!(licence(&json!({"cardData": {"license": "apache-2.0"}})).as_deref(), Some("apache-2.0"));
        assert_eq!(
            licence(&json!({"cardData": {"license": "other", "license_name": "gemma"}})).as_deref(),
            Some("gemma")
        );
        assert_eq!(licence(&json!({"cardData": null, "tags": ["x", "license:mit"]})).as_deref(), Some("mit"));
        assert_eq!(licence(&json!({})), None);
    }

    #[test]
    fn the_files_of_a_checkpoint() {
        let item = |path: &str| Item { path: path.into(), ..Item::default() };
        let all = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "README.md",
            "pytorch_model.bin",
            "1_Pooling/config.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "x/model.safetensors",
        ];
        let all: Vec<Item> = all.iter().map(|path| item(path)).collect();
        let wanted: Vec<String> = checkpoint("u/r", &all).unwrap().into_iter().map(|item| item.path).collect();
        assert_eq!(wanted, ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"]);
        assert!(checkpoint("u/r", &[item("README.md")]).unwrap_err().to_string().contains("no GGUF file"));
        assert!(checkpoint("u/r", &[item("model.safetensors")]).unwrap_err().to_string().contains("config.json"));
    }
}
