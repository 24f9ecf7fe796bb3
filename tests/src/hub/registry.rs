//! Models of a registry, as Ollama reads them: the OCI distribution protocol with media types of its own.

use super::content::Content;
use super::http::{Answer, Head};
use super::state::{Shared, State};
use serde_json::{Value, json};

/// The media type of a manifest.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a tag means.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    config: Value,
    layers: Vec<Value>,
    /// What is given in place of the manifest.
    text: Option<String>,
    /// Who may read it, if not everybody.
    token: Option<String>,
}

/// A model of the registry, to be filled.
#[derive(Debug)]
pub struct Image<'a> {
    shared: &'a Shared,
    name: String,
}

impl<'a> Image<'a> {
    /// The model `namespace/name:tag`, which is made if it is not there.
    pub(crate) fn new(shared: &'a Shared, name: &str) -> Image<'a> {
        let image = Image { shared, name: name.to_string() };
        if shared.lock().manifests.contains_key(name) {
            return image;
        }
        image.set(|_| ()).config(r#"{"model_format":"gguf","architecture":"amd64","os":"linux"}"#)
    }

    /// Its configuration.
    pub fn config(self, text: &str) -> Self {
        let config = self.blob("application/vnd.docker.container.image.v1+json", text.as_bytes().to_vec());
        self.set(|manifest| manifest.config = config)
    }

    /// Adds a layer. `kind` is `model`, `template`, `params`, `system`, `license`, `messages`, `projector` or `adapter`.
    pub fn layer(self, kind: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let layer = self.blob(&format!("application/vnd.ollama.image.{kind}"), bytes.into());
        self.set(|manifest| manifest.layers.push(layer))
    }

    /// The last layer's size in the manifest, in bytes, though it is another.
    pub fn listed_size(self, size: u64) -> Self {
        self.edit("size", json!(size))
    }

    /// The last layer's digest in the manifest, which no blob need have.
    pub fn listed_digest(self, digest: &str) -> Self {
        self.edit("digest", json!(digest))
    }

    /// The last layer's media type.
    pub fn media_type(self, name: &str) -> Self {
        self.edit("mediaType", json!(name))
    }

    /// The text that is given in place of the manifest.
    pub fn manifest(self, text: &str) -> Self {
        self.set(|manifest| manifest.text = Some(text.to_string()))
    }

    /// Only requests with the token see it. `/token` gives away the token `anonymous`.
    pub fn private(self, token: &str) -> Self {
        self.set(|manifest| manifest.token = Some(token.to_string()))
    }

    fn edit(self, field: &str, value: Value) -> Self {
        self.set(|manifest| {
            if let Some(fields) = manifest.layers.last_mut().and_then(Value::as_object_mut) {
                fields.insert(field.to_string(), value);
            }
        })
    }

    fn set(self, change: impl FnOnce(&mut Manifest)) -> Self {
        self.shared.update(|state| change(state.manifests.entry(self.name.clone()).or_default()));
        self
    }

    /// Keeps a blob, and describes it.
    fn blob(&self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", super::content::sha256(&bytes));
        let size = bytes.len();
        self.shared.update(|state| {
            let content = Content::new(&digest, bytes, state.number());
            state.blobs.insert(digest.clone(), content);
        });
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [{ "code": code, "message": message, "detail": {} }] }))
}

/// Answers what follows `/v2/`.
pub(crate) fn answer(shared: &Shared, state: &mut State, request: &Head, path: &str) -> Answer {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [""] => Answer::json(200, &json!({})),
        [namespace, name, "manifests", tag] => {
            let name = format!("{namespace}/{name}");
            let Some(manifest) = state.manifests.get(&format!("{name}:{tag}")) else {
                return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
            };
            if let Some(refusal) = refuse(shared, request, manifest, &name) {
                return refusal;
            }
            let value = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": manifest.config, "layers": manifest.layers,
            });
            Answer::new(200, MANIFEST, manifest.text.clone().unwrap_or_else(|| value.to_string()))
        }
        [namespace, name, "blobs", digest] => {
            let name = format!("{namespace}/{name}");
            let prefix = format!("{name}:");
            let mut tags = state.manifests.iter().filter(|(tag, _)| tag.starts_with(&prefix));
            if let Some(refusal) = tags.find_map(|(_, manifest)| refuse(shared, request, manifest, &name)) {
                return refusal;
            }
            let Some(content) = state.blobs.get(*digest).cloned() else {
                return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
            };
            let (content, ranges) = super::fault::file(state, request, &content);
            if content.bytes.len() > state.direct {
                return Answer::redirect(307, &format!("{}{}", shared.cdn, state.sign(&content)));
            }
            content.answer(request, ranges)
        }
        _ => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
    }
}

fn refuse(shared: &Shared, request: &Head, manifest: &Manifest, name: &str) -> Option<Answer> {
    manifest.token.as_deref().filter(|token| request.token() != Some(token))?;
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"registry.example\",scope=\"repository:{name}:pull\"",
        shared.endpoint
    );
    Some(error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", challenge))
}
