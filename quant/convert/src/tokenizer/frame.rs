//! What the post-processor puts before and after a text.

use super::vocabulary::Vocabulary;
use super::{TOKENIZER, kind_of, steps, unknown};
use crate::Error;
use crate::json::Json;

/// The tokens before and after a text, as far as a post-processor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: Option<u32>,
    pub(super) last: Option<u32>,
    /// Whether a pair of texts is first, a, last, b, last, and the types of the tokens are those of BERT.
    pub(super) is_bert: bool,
}

/// The frame, if the post-processor is one that makes one.
pub(super) fn frame(json: &Json, vocabulary: &Vocabulary) -> Result<Option<Frame>, Error> {
    let mut found = None;
    for part in steps(json.get("post_processor"), "processors")? {
        let made = match kind_of(&part) {
            "TemplateProcessing" => template(&part, vocabulary)?,
            kind @ ("BertProcessing" | "RobertaProcessing") => {
                // These two say where characters of the text are, not which tokens there are.
                for key in ["trim_offsets", "add_prefix_space"] {
                    part.get_bool(key)?;
                }
                let token = |key| token(&part.require(key)?, vocabulary);
                Frame { first: Some(token("cls")?), last: Some(token("sep")?), is_bert: kind == "BertProcessing" }
            }
            "ByteLevel" => {
                for key in ["trim_offsets", "add_prefix_space", "use_regex"] {
                    part.get_bool(key)?;
                }
                continue;
            }
            other => return Err(unknown(TOKENIZER, "post_processor", other)),
        };
        if found.replace(made).is_some() {
            return Err(unknown(TOKENIZER, "post_processor", "that frames texts twice"));
        }
    }
    Ok(found)
}

/// A token as a list of its text and its id.
fn token(pair: &Json, vocabulary: &Vocabulary) -> Result<u32, Error> {
    let parts: Vec<_> = pair.list()?.collect();
    let [text, id] = parts.as_slice() else { return Err(pair.wrong("a token and its id")) };
    let (text, id) = (text.str()?, id.u32()?);
    check(vocabulary, text, id)
}

fn check(vocabulary: &Vocabulary, text: &str, id: u32) -> Result<u32, Error> {
    match vocabulary.ids.get(text) {
        Some(known) if *known == id => Ok(id),
        _ => {
            let reason =
                format!("post_processor: the token {text:.64?} has the id {id}, which the vocabulary does not know");
            Err(Error::Tokenizer { file: TOKENIZER.into(), reason })
        }
    }
}

/// A part of a template.
#[derive(PartialEq, Eq)]
enum Piece {
    Token(u32, u32),
    /// Which text, and its type.
    Text(String, u32),
}

fn template(part: &Json, vocabulary: &Vocabulary) -> Result<Frame, Error> {
    let tokens = part.get("special_tokens");
    let pieces = |list: Json| {
        let piece = |piece: Json| {
            if let Some(text) = piece.get("Sequence") {
                return Ok(Piece::Text(text.require("id")?.str()?.to_owned(), text.get_u32("type_id")?.unwrap_or(0)));
            }
            let token = piece.require("SpecialToken")?;
            let (name, kind) = (token.require("id")?.str()?, token.get_u32("type_id")?.unwrap_or(0));
            let Some(entry) = tokens.as_ref().and_then(|tokens| tokens.get(name)) else {
                // Files by other hands name tokens without listing them.
                let id = vocabulary.ids.get(name).copied();
                return id
                    .map(|id| Piece::Token(id, kind))
                    .ok_or_else(|| unknown(TOKENIZER, "post_processor: token", name));
            };
            entry.get_str("id")?;
            let ids: Vec<_> = entry.require("ids")?.list()?.collect();
            let names: Vec<_> =
                entry.get("tokens").map_or(Ok(Vec::new()), |names| Ok::<_, Error>(names.list()?.collect()))?;
            let [id] = ids.as_slice() else {
                return Err(unknown(TOKENIZER, "post_processor: several tokens for", name));
            };
            let text = names.first().map_or(Ok(name), Json::str)?;
            check(vocabulary, text, id.u32()?).map(|id| Piece::Token(id, kind))
        };
        list.list()?.map(piece).collect::<Result<Vec<_>, Error>>()
    };
    let single = pieces(part.require("single")?)?;
    let pair = part.get("pair").map(pieces).transpose()?;
    // Tokens that the templates do not use.
    if let Some(tokens) = &tokens {
        tokens.value();
    }
    let (first, last) = match single.as_slice() {
        [Piece::Text(..)] => (None, None),
        [Piece::Token(first, _), Piece::Text(..)] => (Some(*first), None),
        [Piece::Text(..), Piece::Token(last, _)] => (None, Some(*last)),
        [Piece::Token(first, _), Piece::Text(..), Piece::Token(last, _)] => (Some(*first), Some(*last)),
        _ => return Err(unknown(TOKENIZER, "post_processor", "with more than one token before or after a text")),
    };
    let texts = |of: &Piece| matches!(of, Piece::Text(id, _) if id != "A");
    if single.iter().any(texts) {
        return Err(unknown(TOKENIZER, "post_processor", "whose single text is not A"));
    }
    let is_bert = match (first, last, pair.as_deref()) {
        (Some(first), Some(last), Some(pair)) => {
            let (a, b) = (Piece::Text("A".into(), 0), Piece::Text("B".into(), 1));
            *pair == [Piece::Token(first, 0), a, Piece::Token(last, 0), b, Piece::Token(last, 1)]
        }
        _ => false,
    };
    Ok(Frame { first, last, is_bert })
}
