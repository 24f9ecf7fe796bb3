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
}

/// What a model makes of a frame beside its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Types {
    /// Nothing.
    None,
    /// The types of a text's tokens, which are all 0.
    Single,
    /// The same, and pairs of texts: first, a, last, b, last, of which the last two have type 1.
    Pairs,
}

/// The frame, if the post-processor is one that makes one.
pub(super) fn frame(json: &Json, vocabulary: &Vocabulary, types: Types) -> Result<Option<Frame>, Error> {
    let mut found = None;
    for part in steps(json.get("post_processor"), "processors")? {
        let made = match kind_of(&part)? {
            "TemplateProcessing" => template(&part, vocabulary, types)?,
            kind @ ("BertProcessing" | "RobertaProcessing") => {
                let token = |key| token(&part.require(key)?, vocabulary);
                if kind == "RobertaProcessing" && types == Types::Pairs {
                    return Err(refused_pair());
                }
                Frame { first: Some(token("cls")?), last: Some(token("sep")?) }
            }
            "ByteLevel" => continue,
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

fn refused_pair() -> Error {
    unknown(TOKENIZER, "post_processor", "that puts pairs of texts together otherwise than BERT's")
}

fn template(part: &Json, vocabulary: &Vocabulary, types: Types) -> Result<Frame, Error> {
    let tokens = part.get("special_tokens");
    let kind =
        |of: &Json| if types == Types::None { Ok(0) } else { Ok::<_, Error>(of.get_u32("type_id")?.unwrap_or(0)) };
    let pieces = |list: Json| {
        let piece = |piece: Json| {
            if let Some(text) = piece.get("Sequence") {
                return Ok(Piece::Text(text.require("id")?.str()?.to_owned(), kind(&text)?));
            }
            let token = piece.require("SpecialToken")?;
            let (name, kind) = (token.require("id")?.str()?, kind(&token)?);
            let Some(entry) = tokens.as_ref().and_then(|tokens| tokens.get(name)) else {
                // Files by other hands name tokens without listing them.
                let id = vocabulary.ids.get(name).copied();
                let missing = || unknown(TOKENIZER, "post_processor: the token", name);
                return id.map(|id| Piece::Token(id, kind)).ok_or_else(missing);
            };
            let ids: Vec<_> = entry.require("ids")?.list()?.collect();
            let [id] = ids.as_slice() else {
                return Err(unknown(TOKENIZER, "post_processor: several tokens for", name));
            };
            let texts: Vec<_> = entry.require("tokens")?.list()?.collect();
            let text = texts.first().map_or(Ok(name), Json::str)?;
            check(vocabulary, text, id.u32()?).map(|id| Piece::Token(id, kind))
        };
        list.list()?.map(piece).collect::<Result<Vec<_>, Error>>()
    };
    let single = pieces(part.require("single")?)?;
    let frame = match single.as_slice() {
        [Piece::Text(..)] => Frame { first: None, last: None },
        [Piece::Token(first, _), Piece::Text(..)] => Frame { first: Some(*first), last: None },
        [Piece::Text(..), Piece::Token(last, _)] => Frame { first: None, last: Some(*last) },
        [Piece::Token(first, _), Piece::Text(..), Piece::Token(last, _)] => {
            Frame { first: Some(*first), last: Some(*last) }
        }
        _ => return Err(unknown(TOKENIZER, "post_processor", "with more than one token before or after a text")),
    };
    let is_other = |piece: &Piece| match piece {
        Piece::Token(_, kind) => *kind != 0,
        Piece::Text(id, kind) => id != "A" || *kind != 0,
    };
    if single.iter().any(is_other) {
        return Err(unknown(TOKENIZER, "post_processor", "whose single text is not A, of type 0"));
    }
    if types == Types::Pairs {
        let pair = pieces(part.require("pair")?)?;
        let (Some(first), Some(last)) = (frame.first, frame.last) else { return Err(refused_pair()) };
        let (a, b) = (Piece::Text("A".into(), 0), Piece::Text("B".into(), 1));
        if pair != [Piece::Token(first, 0), a, Piece::Token(last, 0), b, Piece::Token(last, 1)] {
            return Err(refused_pair());
        }
    }
    Ok(frame)
}
