//! The models, what is known of them, and their tokens.

use super::fields::Fields;
use super::{Error, State};
use crate::http::{Answer, json};
use crate::models::Status;
use hyper::StatusCode;
use serde_json::{Value, json};
use smidgen::tokenizer::Special;

/// Bytes of a text to be turned into tokens, at most.
const BYTES: usize = 4 << 20;

/// A model of the list, and what is known of it where it is open.
fn model(state: &State, id: &str, status: &Status) -> Value {
    let mut model =
        json!({"id": id, "object": "model", "created": state.created, "owned_by": "smidgen", "status": status.value()});
    if let (Some(model), Status::Loaded(served)) = (model.as_object_mut(), status) {
        let facts = &served.facts;
        let meta = json!({
            "n_ctx": facts.context,
            "n_ctx_train": facts.trained,
            "n_vocab": facts.vocabulary,
            "n_embd": facts.embedding,
            "size": facts.file_bytes,
        });
        model.insert("meta".into(), meta);
    }
    model
}

/// `/v1/models`.
pub(crate) async fn list(state: &State) -> Result<Answer, Error> {
    let listed = state.models.list().await?;
    let data: Vec<Value> = listed.iter().map(|(id, status)| model(state, id, status)).collect();
    Ok(json(StatusCode::OK, &json!({"object": "list", "data": data})))
}

/// `/v1/models/{id}`.
pub(crate) async fn retrieve(state: &State, id: &str) -> Result<Answer, Error> {
    let id = unescaped(id);
    let listed = state.models.list().await?;
    let (id, status) = listed.into_iter().find(|(own, _)| *own == id).ok_or_else(|| state.models.unknown(&id))?;
    Ok(json(StatusCode::OK, &model(state, &id, &status)))
}

/// `/models/load`: opens `model`.
pub(crate) async fn load(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let name: String = Fields::parse(body)?.required("model")?;
    state.models.load(&name).await?;
    Ok(json(StatusCode::OK, &json!({"success": true})))
}

/// `/models/unload`: gives back the memory of `model`.
pub(crate) async fn unload(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let name: String = Fields::parse(body)?.required("model")?;
    state.models.unload(&name).await?;
    Ok(json(StatusCode::OK, &json!({"success": true})))
}

/// `/props`, of the model that the query names.
pub(crate) async fn props(state: &State, query: &str) -> Result<Answer, Error> {
    let name = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let name = name.map(|name| unescaped(&name.replace('+', " ")));
    let served = state.models.lease(name.as_deref()).await?;
    let facts = &served.facts;
    let props = json!({
        "model": served.id,
        "architecture": facts.architecture,
        "name": facts.name,
        "n_ctx": facts.context,
        "n_ctx_train": facts.trained,
        "total_slots": served.parallel,
        "chat_template": facts.template,
        "bos_token": facts.bos,
        "eos_token": facts.eos,
        "kernels": facts.kernels,
        "system_fingerprint": served.fingerprint(),
        "build_info": concat!("smidgen ", env!("CARGO_PKG_VERSION")),
    });
    Ok(json(StatusCode::OK, &props))
}

/// `/tokenize`: `content` as `tokens`; control tokens are parsed unless `parse_special` is false.
pub(crate) async fn tokenize(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let content: String = fields.required("content")?;
    let begin = fields.get("add_special")?.unwrap_or(false);
    let pieces = fields.get("with_pieces")?.unwrap_or(false);
    let special = if fields.get("parse_special")?.unwrap_or(true) { Special::Parse } else { Special::Text };
    drop(fields);
    let bytes = content.len();
    if bytes > BYTES {
        return Err(Error::param("content", format!("{bytes} bytes are too many; give at most {BYTES}")));
    }
    let job = served.engine.texts(bytes, move |texts| {
        let tokenizer = texts.tokenizer;
        let tokens = match begin {
            true => tokenizer.encode_prompt(&content, special),
            false => tokenizer.encode(&content, special),
        };
        let piece = |id: u32| {
            let bytes = tokenizer.token_bytes(id);
            let piece: Value = match std::str::from_utf8(&bytes) {
                Ok(text) => text.into(),
                Err(_) => bytes.into(),
            };
            json!({"id": id, "piece": piece})
        };
        if pieces { tokens.into_iter().map(piece).collect::<Vec<Value>>().into() } else { Value::from(tokens) }
    });
    Ok(json(StatusCode::OK, &json!({"tokens": job.await?})))
}

/// `/detokenize`: `tokens` as `content`.
pub(crate) async fn detokenize(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let tokens: Vec<u32> = fields.required("tokens")?;
    drop(fields);
    let vocabulary = served.facts.vocabulary;
    if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
        return Err(Error::param("tokens", format!("{token} is not in the vocabulary of {vocabulary} tokens")));
    }
    let text = served.engine.texts(tokens.len(), move |texts| texts.tokenizer.decode(&tokens, true)).await?;
    Ok(json(StatusCode::OK, &json!({"content": text})))
}

/// A part of a path with its escapes undone.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
