//! Tokenizers: from Hugging Face's `tokenizer.json`, BERT's `vocab.txt` or CLIP's `vocab.json` and `merges.txt`, to the keys of llama.cpp.

mod bpe;
mod clip;
mod wordpiece;

pub(crate) use bpe::bpe;
pub(crate) use clip::clip;
pub(crate) use wordpiece::wordpiece;

use crate::checkpoint::Checkpoint;
use crate::json::Json;
use crate::plan::Planner;
use crate::{Error, Meta};
use std::collections::HashMap;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Types of tokens, as `tokenizer.ggml.token_type` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// The tokens of a model, one for each row of its embedding.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// A vocabulary of `size` tokens that are not used yet.
    fn new(file: &'static str, size: u32) -> Result<Vocabulary, Error> {
        // More than any model has; each is some bytes in memory.
        const MOST: u32 = 1 << 22;
        if size > MOST {
            let reason = format!("the vocabulary has {size} tokens, but at most {MOST} are accepted");
            return Err(Error::Tokenizer { file: file.into(), reason });
        }
        let tokens = (0..size).map(|id| format!("[PAD{id}]")).collect();
        Ok(Vocabulary { tokens, kinds: vec![Kind::Unused; size as usize], ids: HashMap::new() })
    }

    /// The vocabulary in `tokenizer.json`: that of its model, and the tokens added to it.
    fn read(json: &Json, size: u32) -> Result<Vocabulary, Error> {
        let mut vocabulary = Vocabulary::new(TOKENIZER, size)?;
        vocabulary.fill(TOKENIZER, &json.require("model")?.require("vocab")?)?;
        for added in json.get("added_tokens").map(|added| added.list()).transpose()?.into_iter().flatten() {
            let special = added.get_bool("special")?.unwrap_or(false);
            let kind = if special { Kind::Control } else { Kind::UserDefined };
            vocabulary.set(TOKENIZER, added.require("id")?.u32()?, added.require("content")?.str()?, kind)?;
        }
        Ok(vocabulary)
    }

    /// Gives the tokens of an object of ids their texts.
    fn fill(&mut self, file: &str, vocab: &Json) -> Result<(), Error> {
        for (token, id) in vocab.value().as_object().ok_or_else(|| vocab.wrong("an object"))? {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            self.set(file, id.ok_or_else(|| vocab.wrong("an object of ids"))?, token, Kind::Normal)?;
        }
        Ok(())
    }

    /// Gives the token `id` a text and a kind.
    fn set(&mut self, file: &str, id: u32, token: &str, kind: Kind) -> Result<(), Error> {
        let size = self.tokens.len();
        let (Some(text), Some(of)) = (self.tokens.get_mut(id as usize), self.kinds.get_mut(id as usize)) else {
            let token: String = token.chars().take(64).collect();
            let reason = format!("token {token:?} has the id {id}, but the model has {size} tokens");
            return Err(Error::Tokenizer { file: file.into(), reason });
        };
        (*text, *of) = (token.to_owned(), kind);
        self.ids.insert(token.to_owned(), id);
        Ok(())
    }

    /// Writes the tokens, each with what `spelled` makes of it, and their types.
    fn write(&self, planner: &mut Planner, model: &str, spelled: impl Fn(&str, Kind) -> String) {
        planner.metadata("tokenizer.ggml.model", model);
        let tokens: Vec<_> = self.tokens.iter().zip(&self.kinds).map(|(token, kind)| spelled(token, *kind)).collect();
        planner.metadata("tokenizer.ggml.tokens", tokens);
        planner.metadata("tokenizer.ggml.token_type", self.kinds.iter().map(|kind| *kind as i32).collect::<Vec<_>>());
    }

    /// Writes the id of the token that plays a `role` (`cls`, `bos` …), if the sidecar files name one, or `default` is a token.
    fn write_special(
        &self,
        planner: &mut Planner,
        role: &str,
        key: &str,
        default: Option<&str>,
    ) -> Result<Option<u32>, Error> {
        let name = special(planner.checkpoint, role)?.or_else(|| default.map(str::to_owned));
        let id = name.and_then(|name| self.ids.get(&name).copied());
        if let Some(id) = id {
            planner.metadata(format!("tokenizer.ggml.{key}_token_id"), id);
        }
        Ok(id)
    }
}

/// The text of the token that plays a role, as the sidecar files say.
fn special(checkpoint: &Checkpoint, role: &str) -> Result<Option<String>, Error> {
    for file in [TOKENIZER_CONFIG, SPECIAL_TOKENS] {
        let Some(token) = checkpoint.json(file).and_then(|json| json.get(&format!("{role}_token"))) else { continue };
        // Either the text, or an object with it and how it is found.
        let text = if token.is_object() { token.require("content")?.str()? } else { token.str()? };
        return Ok(Some(text.to_owned()));
    }
    Ok(None)
}

/// Writes the chat template, if there is one.
pub(crate) fn chat_template(planner: &mut Planner) -> Result<(), Error> {
    const KEY: &str = "tokenizer.chat_template";
    let checkpoint = planner.checkpoint;
    let template = checkpoint.json(TOKENIZER_CONFIG).and_then(|config| config.get("chat_template"));
    let template = match template {
        // Several templates, of which one is for chats.
        Some(list) if list.is_list() => {
            let mut found = None;
            for entry in list.list()? {
                if entry.get_str("name")? == Some("default") {
                    found = entry.get_str("template")?;
                }
            }
            found
        }
        Some(text) => Some(text.str()?),
        None => checkpoint.text(CHAT_TEMPLATE)?,
    };
    if let Some(template) = template {
        planner.metadata(KEY, Meta::from(template));
    }
    Ok(())
}

/// `tokenizer.json`, which must be there.
fn required<'c>(checkpoint: &'c Checkpoint) -> Result<Json<'c>, Error> {
    checkpoint.json(TOKENIZER).ok_or_else(|| Error::MissingFile { file: TOKENIZER.into() })
}

/// A part of a tokenizer, such as its normalizer, and if it is a sequence its parts, in order; nothing if it is null.
fn steps<'c>(part: Option<Json<'c>>, list: &str) -> Result<Vec<Json<'c>>, Error> {
    let Some(part) = part else { return Ok(Vec::new()) };
    match part.get(list) {
        Some(parts) => Ok(parts.list()?.collect()),
        None => Ok(vec![part]),
    }
}

/// The `type` of a step.
fn kind_of<'c>(step: &Json<'c>) -> &'c str {
    step.get("type").and_then(|kind| kind.value().as_str()).unwrap_or("")
}

/// That a part of the tokenizer is not known.
fn unknown(file: &str, part: &str, name: &str) -> Error {
    Error::Tokenizer { file: file.into(), reason: format!("{part} {name:.64} is not supported") }
}
