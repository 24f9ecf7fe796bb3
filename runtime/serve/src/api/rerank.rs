//! `/v1/rerank`: how well documents answer a query, by a model that reads both together.

use super::fields::Fields;
use super::{Error, State};
use crate::http::{Answer, json};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use smidgen::encoder::text::Text;

/// Documents of a request, at most.
const DOCUMENTS: usize = 2048;

/// A document: its text, or an object with that.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Document::Text(text) | Document::Object { text } => text,
        }
    }
}

/// Ranks documents, the best first; `relevance_score` is the model's own, a logit.
pub(crate) async fn rank(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    state.model(&fields)?;
    let query: String = fields.required("query")?;
    let documents: Vec<Document> = fields.required("documents")?;
    let count = documents.len();
    if count == 0 || count > DOCUMENTS {
        return Err(Error::param("documents", format!("{count} texts are not possible; give 1 to {DOCUMENTS}")));
    }
    let most = fields.within("top_n", 1..=usize::MAX)?.unwrap_or(count);
    let returned = fields.get("return_documents")?.unwrap_or(false);
    drop(fields);
    let facts = state.facts()?;
    if facts.scores != Some(1) {
        let architecture = facts.architecture;
        return Err(Error::bad(format!("this model of the architecture {architecture} does not rank texts")));
    }
    let texts: Vec<String> = documents.into_iter().map(Document::into_text).collect();
    let job = state.engine()?.texts(move |context| {
        let encoder = context.encoder.ok_or_else(|| Error::bad("this model does not rank texts"))?;
        let each = |(number, text): (usize, &String)| {
            let pair = encoder.text(context.tokenizer, &query, Some(text));
            let pair = pair.map_err(|error| Error::param("documents", format!("text {number}: {error}")))?;
            if pair.is_cut() {
                let tokens = pair.uncut;
                let why = format!("text {number} and the query have {tokens} tokens, more than fit; shorten them");
                return Err(Error::param("documents", why).code("context_length_exceeded"));
            }
            Ok(pair)
        };
        let pairs = texts.iter().enumerate().map(each).collect::<Result<Vec<Text>, Error>>()?;
        Ok::<_, Error>((pairs, texts))
    });
    let (pairs, texts) = job.await??;
    let tokens: usize = pairs.iter().map(|pair| pair.tokens.len()).sum();
    let scores = state.engine()?.score(pairs)?.await;
    let scores = scores.map_err(|_| Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended"))?;
    let one = |score: Result<Vec<f32>, String>| {
        score.and_then(|score| score.first().copied().ok_or_else(|| "the model gave no score".to_owned()))
    };
    let scores = scores.into_iter().map(one).collect::<Result<Vec<f32>, String>>();
    let scores = scores.map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let mut ranked: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    // Documents that fit alike keep their order.
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let result = |(index, score): (usize, f32)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if let (Some(result), Some(text)) = (result.as_object_mut(), texts.get(index).filter(|_| returned)) {
            result.insert("document".into(), json!({"text": text}));
        }
        result
    };
    let results: Vec<Value> = ranked.into_iter().take(most).map(result).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json(StatusCode::OK, &json!({"object": "list", "model": state.id, "results": results, "usage": usage})))
}
