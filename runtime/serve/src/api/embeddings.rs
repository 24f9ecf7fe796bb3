//! `/v1/embeddings` and `/v1/rerank`: texts that are read as a whole.

use super::completions::Prompts;
use super::fields::Fields;
use super::{Error, State};
use crate::http::{Answer, json};
use crate::models::Served;
use hyper::StatusCode;
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};
use smidgen::encoder::text::Text;
use std::fmt::{self, Formatter};

/// Texts of a request, at most.
const TEXTS: usize = 2048;

/// Embeds texts.
pub(crate) async fn embed(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let format: Option<String> = fields.get("encoding_format")?;
    let base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(Error::param("encoding_format", format!("{other:?} is neither float nor base64"))),
    };
    let dimensions: Option<usize> = fields.get("dimensions")?;
    let input: Prompts = Prompts::of(&fields, "input")?;
    drop(fields);
    let facts = &served.facts;
    let Some(width) = facts.embedding else {
        return Err(Error::bad(format!("this model of the architecture {} cannot embed text", facts.architecture)));
    };
    if let Some(dimensions) = dimensions.filter(|dimensions| *dimensions != width) {
        return Err(Error::param("dimensions", format!("{dimensions} is not possible; this model gives {width}")));
    }
    let count = input.len();
    if count == 0 || count > TEXTS {
        return Err(Error::param("input", format!("{count} texts are not possible; give 1 to {TEXTS}")));
    }
    let texts = match input {
        Prompts::Text(text) => vec![text],
        Prompts::Texts(texts) => texts,
        Prompts::Ids(_) | Prompts::AllIds(_) => {
            return Err(Error::param("input", "ids of tokens are not supported; give the text itself"));
        }
    };
    let texts = framed(&served, "input", texts.into_iter().map(|text| (text, None)).collect()).await?;
    let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();
    let vectors = served.engine.embed(texts)?.await;
    let vectors = vectors.map_err(|_| Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended"))?;
    let mut data = Vec::with_capacity(vectors.len());
    for (index, vector) in vectors.into_iter().enumerate() {
        let vector = vector.map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        if vector.len() != width {
            return Err(Error::bad("this model gives a vector for each token, not one for a text"));
        }
        let embedding = match base64 {
            true => Values::Text(encoded(&vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())),
            false => Values::Numbers(vector),
        };
        data.push(Embedding { object: "embedding", index, embedding });
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json(StatusCode::OK, &Embeddings { object: "list", data, model: &served.id, usage }))
}

/// The answer's form. Numbers are written as what they are, with fewer digits than those of 64 bits have.
#[derive(Serialize)]
struct Embeddings<'s> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'s str,
    usage: Value,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Values,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Numbers(Vec<f32>),
    Text(String),
}

/// Texts, or pairs, with their frame; what is too long is refused.
async fn framed(
    served: &Served,
    param: &'static str,
    texts: Vec<(String, Option<String>)>,
) -> Result<Vec<Text>, Error> {
    let size = |(first, second): &(String, Option<String>)| first.len() + second.as_ref().map_or(0, String::len);
    texts.iter().try_for_each(|text| served.fits(param, size(text)))?;
    let bytes = texts.iter().map(size).sum();
    let job = served.engine.texts(bytes, move |context| {
        let encoder = context.encoder.ok_or_else(|| Error::bad("this model does not read texts as a whole"))?;
        let each = |(number, (first, second)): (usize, (String, Option<String>))| {
            let text = encoder.text(context.tokenizer, &first, second.as_deref());
            let text = text.map_err(|error| Error::param(param, format!("text {number}: {error}")))?;
            if text.is_cut() {
                let why = format!("text {number} has {} tokens, more than fit the context; shorten it", text.uncut);
                return Err(Error::param(param, why).code("context_length_exceeded"));
            }
            Ok(text)
        };
        texts.into_iter().enumerate().map(each).collect::<Result<Vec<Text>, Error>>()
    });
    job.await?
}

/// A document: a text, or an object that has one.
struct Document(String);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        struct OfText;
        impl<'de> Visitor<'de> for OfText {
            type Value = Document;
            fn expecting(&self, f: &mut Formatter) -> fmt::Result {
                f.write_str("a text, or an object with one as 'text'")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Document, E> {
                Ok(Document(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "text" => found = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                found.map(Document).ok_or_else(|| de::Error::missing_field("text"))
            }
        }
        deserializer.deserialize_any(OfText)
    }
}

/// Ranks documents by how they answer a query: `relevance_score` is the logit of the model's head.
pub(crate) async fn rerank(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    let served = state.model(&fields).await?;
    let query: String = fields.required("query")?;
    let documents: Vec<Document> = fields.required("documents")?;
    let top: Option<usize> = fields.within("top_n", 1..=usize::MAX)?;
    let told = fields.get("return_documents")?.unwrap_or(false);
    drop(fields);
    let facts = &served.facts;
    if facts.scores != Some(1) {
        return Err(Error::bad(format!(
            "this model of the architecture {} has no head that ranks",
            facts.architecture
        )));
    }
    let count = documents.len();
    if count == 0 || count > TEXTS {
        return Err(Error::param("documents", format!("{count} texts are not possible; give 1 to {TEXTS}")));
    }
    // Each pair has its query; together they take no more than the largest body.
    if query.len().saturating_mul(count) > state.max_body {
        return Err(Error::param("query", "this is too long for so many documents; shorten it, or give fewer"));
    }
    let pairs = documents.iter().map(|document| (query.clone(), Some(document.0.clone()))).collect();
    let texts = framed(&served, "documents", pairs).await?;
    let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();
    let failed = |error: String| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let scores = served.engine.score(texts)?.await.map_err(|_| failed("the engine has ended".into()))?;
    let mut ranked = Vec::with_capacity(count);
    for (index, score) in scores.into_iter().enumerate() {
        let score = score.map_err(failed)?.first().copied().unwrap_or(f32::NAN);
        ranked.push((index, score));
    }
    // Of equals the earlier comes first.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let result = |(index, score): (usize, f32)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if let (Some(result), Some(document), true) = (result.as_object_mut(), documents.get(index), told) {
            result.insert("document".into(), json!({"text": document.0}));
        }
        result
    };
    let results: Vec<Value> = ranked.into_iter().take(top.unwrap_or(count)).map(result).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json(StatusCode::OK, &json!({"object": "list", "model": served.id, "usage": usage, "results": results})))
}

/// Bytes in base64 (RFC 4648, section 4).
fn encoded(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |number: usize| u32::from(three.get(number).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * place) & 63) as usize).copied().unwrap_or(b'=');
            text.push(char::from(if place > three.len() { b'=' } else { letter }));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn base64_as_in_the_rfc() {
        for (text, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(encoded(text.as_bytes()), expected);
        }
        assert_eq!(encoded(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }
}
