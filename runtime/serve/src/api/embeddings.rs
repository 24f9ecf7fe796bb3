//! `/v1/embeddings`.

use super::completions::Prompts;
use super::fields::Fields;
use super::{Error, State};
use crate::http::{Answer, json};
use hyper::StatusCode;
use serde_json::{Value, json};
use smidgen::encoder::text::Text;

/// Texts of a request, at most.
const TEXTS: usize = 2048;

/// Embeds texts.
pub(crate) async fn embed(state: &State, body: &[u8]) -> Result<Answer, Error> {
    let fields = Fields::parse(body)?;
    state.model(&fields)?;
    let format: Option<String> = fields.get("encoding_format")?;
    let base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(Error::param("encoding_format", format!("{other:?} is neither float nor base64"))),
    };
    let dimensions: Option<usize> = fields.get("dimensions")?;
    let input: Prompts = Prompts::of(&fields, "input")?;
    drop(fields);
    let facts = state.facts()?;
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
    let job = state.engine()?.texts(move |context| {
        let encoder = context.encoder.ok_or_else(|| Error::bad("this model cannot embed text"))?;
        let each = |(number, text): (usize, String)| {
            let text = encoder.text(context.tokenizer, &text, None);
            let text = text.map_err(|error| Error::param("input", format!("text {number}: {error}")))?;
            if text.is_cut() {
                let why = format!("text {number} has {} tokens, more than fit the context; shorten it", text.uncut);
                return Err(Error::param("input", why).code("context_length_exceeded"));
            }
            Ok(text)
        };
        texts.into_iter().enumerate().map(each).collect::<Result<Vec<Text>, Error>>()
    });
    let texts = job.await??;
    let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();
    let vectors = state.engine()?.embed(texts)?.await;
    let vectors = vectors.map_err(|_| Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended"))?;
    let mut data: Vec<Value> = Vec::with_capacity(vectors.len());
    for (index, vector) in vectors.into_iter().enumerate() {
        let vector = vector.map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        if vector.len() != width {
            return Err(Error::bad("this model gives a vector for each token, not one for a text"));
        }
        let values: Value = match base64 {
            true => encoded(&vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()).into(),
            false => vector.into(),
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": values}));
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json(StatusCode::OK, &json!({"object": "list", "data": data, "model": state.id, "usage": usage})))
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
