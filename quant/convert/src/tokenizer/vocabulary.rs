//! The tokens of a model: those of `tokenizer.json`'s own model, and those that its files add.

use super::{ADDED_TOKENS, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG};
use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::json::Json;
use crate::plan::Planner;
use std::collections::HashMap;

/// Types of tokens, as `tokenizer.ggml.token_type` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// How an added token is found in texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) single_word: bool,
    /// In the normalized text, by the token's own text normalized.
    pub(super) normalized: bool,
}

/// The tokens of a model, one for each row of its embedding.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<String>,
    pub(super) kinds: Vec<Kind>,
    pub(super) ids: HashMap<String, u32>,
    /// Tokens that are found in texts before the model spells the rest.
    pub(super) added: HashMap<u32, Flags>,
    /// Log probabilities, where the model has them.
    pub(super) scores: Vec<f64>,
    /// Whether the model itself knows a token.
    in_model: Vec<bool>,
    /// Whether there is a normalizer; without one it is the same whether an added token is `normalized`.
    normalizes: bool,
}

/// Tokens with a role, in the order in which transformers adds them.
const ROLES: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Tokens that a generation begins or ends with.
const NEEDED: &[&str] = &["bos_token", "eos_token"];

impl Vocabulary {
    /// A vocabulary of `size` tokens that are not used yet.
    pub(super) fn new(file: &'static str, size: u32) -> Result<Vocabulary, Error> {
        // More than any model has; each is some bytes in memory.
        const MOST: u32 = 1 << 22;
        if size > MOST {
            let reason = format!("the vocabulary has {size} tokens, but at most {MOST} are accepted");
            return Err(Error::Tokenizer { file: file.into(), reason });
        }
        let tokens = (0..size).map(|id| format!("[PAD{id}]")).collect();
        Ok(Vocabulary {
            tokens,
            kinds: vec![Kind::Unused; size as usize],
            ids: HashMap::new(),
            added: HashMap::new(),
            scores: Vec::new(),
            in_model: vec![false; size as usize],
            normalizes: false,
        })
    }

    /// The vocabulary in `tokenizer.json`, and what the files beside it add.
    pub(super) fn read(checkpoint: &Checkpoint, json: &Json, size: u32) -> Result<Vocabulary, Error> {
        let mut vocabulary = Vocabulary::new(TOKENIZER, size)?;
        vocabulary.normalizes = json.get("normalizer").is_some();
        let vocab = json.require("model")?.require("vocab")?;
        if vocab.is_list() {
            vocabulary.fill_scored(&vocab)?
        } else {
            vocabulary.fill(TOKENIZER, &vocab)?
        }
        for added in list(json, "added_tokens")? {
            let id = added.require("id")?.u32()?;
            vocabulary.add(TOKENIZER, id, &added, None)?;
        }
        vocabulary.read_config(checkpoint)?;
        Ok(vocabulary)
    }

    /// Adds what the files beside `tokenizer.json` name, in the order in which transformers looks at them.
    fn read_config(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let config = checkpoint.json(TOKENIZER_CONFIG);
        let decoder = config.as_ref().and_then(|config| config.get("added_tokens_decoder"));
        match &decoder {
            Some(decoder) => {
                // transformers does not read it then.
                if let Some(added) = checkpoint.json(ADDED_TOKENS) {
                    added.value();
                }
                for key in decoder.keys()? {
                    let id = key.parse().map_err(|_| decoder.wrong("an object of ids"))?;
                    self.add(TOKENIZER_CONFIG, id, &decoder.require(key)?, None)?;
                }
            }
            None => {
                if let Some(added) = checkpoint.json(ADDED_TOKENS) {
                    for token in added.keys()? {
                        let id = added.require(token)?.u32()?;
                        if !self.ids.get(token).is_some_and(|known| *known == id && self.added.contains_key(&id)) {
                            let flags = Flags { normalized: true, ..Flags::default() };
                            self.insert(ADDED_TOKENS, id, token, Kind::UserDefined, flags)?;
                        }
                    }
                }
            }
        }
        for file in [SPECIAL_TOKENS, TOKENIZER_CONFIG] {
            let Some(json) = checkpoint.json(file) else { continue };
            if file == SPECIAL_TOKENS && decoder.is_some() {
                // transformers does not read it then.
                json.value();
                continue;
            }
            let others = json.keys()?.filter(|key| key.ends_with("_token") && !ROLES.contains(key));
            for key in ROLES.iter().copied().chain(others) {
                if let Some(token) = json.get(key).filter(|token| !token.is_bool()) {
                    self.name(file, &token, NEEDED.contains(&key))?;
                }
            }
            for key in ["additional_special_tokens", "extra_special_tokens"] {
                let Some(tokens) = json.get(key) else { continue };
                if tokens.is_list() {
                    for token in tokens.list()? {
                        self.name(file, &token, true)?;
                    }
                } else {
                    for name in tokens.keys()? {
                        self.name(file, &tokens.require(name)?, true)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the tokens that have a role, by the names that files or the table give.
    pub(super) fn add_roles(&mut self, checkpoint: &Checkpoint, roles: &[(&str, &str, &str)]) -> Result<(), Error> {
        self.read_config(checkpoint)?;
        for (role, _, default) in roles {
            let name = special(checkpoint, role)?.unwrap_or_else(|| (*default).to_owned());
            if let Some(&id) = self.ids.get(&name) {
                self.set(TOKENIZER_CONFIG, id, &name, Kind::Control)?;
                self.added.entry(id).or_default();
            }
        }
        Ok(())
    }

    /// Sees to it that a named token is found in texts. One that is in no vocabulary is refused if it is `needed`.
    fn name(&mut self, file: &'static str, token: &Json, needed: bool) -> Result<(), Error> {
        let text = text_of(token)?;
        match self.ids.get(text) {
            // transformers looks at how a token is found only where it adds it.
            Some(id) if self.added.contains_key(id) => Ok(()),
            Some(&id) => self.add(file, id, token, Some(true)),
            // A new token comes after all others, if the model has a row for it.
            None if (self.next_id() as usize) < self.tokens.len() => self.add(file, self.next_id(), token, Some(true)),
            None if needed => Err(Error::Tokenizer {
                file: file.into(),
                reason: format!("the token {text:.64?} is not in the vocabulary"),
            }),
            None => Ok(()),
        }
    }

    /// The id of the next token that is added.
    fn next_id(&self) -> u32 {
        let known = self.in_model.iter().filter(|known| **known).count() as u32;
        self.added.keys().max().map_or(known, |last| known.max(last + 1))
    }

    /// Adds a token, a text or an object with its flags.
    fn add(&mut self, file: &'static str, id: u32, token: &Json, special: Option<bool>) -> Result<(), Error> {
        let text = text_of(token)?.to_owned();
        let own = if token.is_object() { token.get_bool("special")? } else { None };
        let special = special.or(own).unwrap_or(false);
        let flags = if token.is_object() { self.flags_of(token, special)? } else { Flags::default() };
        let kind = if special { Kind::Control } else { Kind::UserDefined };
        self.insert(file, id, &text, kind, flags)
    }

    fn flags_of(&self, token: &Json, special: bool) -> Result<Flags, Error> {
        let flag = |key| Ok::<_, Error>(token.get_bool(key)?.unwrap_or(false));
        let normalized = match self.normalizes {
            true => token.get_bool("normalized")?,
            false => token.peek("normalized").and_then(|normalized| normalized.as_bool()),
        };
        Ok(Flags {
            lstrip: flag("lstrip")?,
            rstrip: flag("rstrip")?,
            single_word: flag("single_word")?,
            normalized: normalized.unwrap_or(!special),
        })
    }

    fn insert(&mut self, file: &'static str, id: u32, text: &str, kind: Kind, flags: Flags) -> Result<(), Error> {
        let shown: String = text.chars().take(64).collect();
        let conflict = |reason| Err(Error::Tokenizer { file: file.into(), reason });
        if let Some(known) = self.ids.get(text).filter(|known| **known != id) {
            return conflict(format!("the added token {shown:?} has the id {id}, but elsewhere it has {known}"));
        }
        let is_taken = self.kinds.get(id as usize).is_some_and(|kind| *kind != Kind::Unused);
        if let Some(other) = self.tokens.get(id as usize).filter(|other| is_taken && *other != text) {
            return conflict(format!("the added token {shown:?} has the id {id}, which {other:.64?} has too"));
        }
        if let Some(known) = self.added.get(&id) {
            let seen = |flags: &Flags| Flags { normalized: flags.normalized && self.normalizes, ..*flags };
            if seen(known) != seen(&flags) || self.kinds.get(id as usize) != Some(&kind) {
                return conflict(format!(
                    "the added token {shown:?} is found in another way than elsewhere; correct one of the two"
                ));
            }
        }
        self.set(file, id, text, kind)?;
        // An empty text is in no text.
        if !text.is_empty() {
            self.added.insert(id, flags);
        }
        Ok(())
    }

    /// Gives the tokens of an object of ids their texts.
    pub(super) fn fill(&mut self, file: &str, vocab: &Json) -> Result<(), Error> {
        for (token, id) in vocab.value().as_object().ok_or_else(|| vocab.wrong("an object"))? {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| vocab.wrong("an object of ids"))?;
            self.set_model(file, id, token)?;
        }
        Ok(())
    }

    /// Gives the tokens of a list of texts and scores their texts.
    fn fill_scored(&mut self, vocab: &Json) -> Result<(), Error> {
        let list = vocab.value().as_array().ok_or_else(|| vocab.wrong("a list"))?;
        self.scores = vec![0.0; self.tokens.len()];
        for (id, entry) in (0..).zip(list) {
            let wrong = || vocab.wrong("a list of tokens with their scores");
            let [token, score] = entry.as_array().map(Vec::as_slice).ok_or_else(wrong)? else { return Err(wrong()) };
            let token = token.as_str().ok_or_else(wrong)?;
            // Of equal tokens the last counts.
            if let Some(&before) = self.ids.get(token) {
                self.set(TOKENIZER, before, &format!("[PAD{before}]"), Kind::Unused)?;
            }
            self.set_model(TOKENIZER, id, token)?;
            if let Some(slot) = self.scores.get_mut(id as usize) {
                *slot = score.as_f64().filter(|score| score.is_finite()).ok_or_else(wrong)?;
            }
        }
        Ok(())
    }

    /// Gives the token `id` of the model a text.
    pub(super) fn set_model(&mut self, file: &str, id: u32, token: &str) -> Result<(), Error> {
        if let Some(other) = self.tokens.get(id as usize).filter(|_| self.kinds.get(id as usize) == Some(&Kind::Normal))
        {
            let reason = format!("the tokens {other:.64?} and {token:.64?} have the same id {id}");
            return Err(Error::Tokenizer { file: file.into(), reason });
        }
        self.set(file, id, token, Kind::Normal)?;
        if let Some(known) = self.in_model.get_mut(id as usize) {
            *known = true;
        }
        Ok(())
    }

    /// Gives the token `id` a text and a kind.
    pub(super) fn set(&mut self, file: &str, id: u32, token: &str, kind: Kind) -> Result<(), Error> {
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

    /// Ids, texts and kinds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, Kind)> {
        (0..).zip(&self.tokens).zip(&self.kinds).map(|((id, token), kind)| (id, token.as_str(), *kind))
    }

    /// Whether the model has a token of this text, added or not.
    pub(super) fn model_has(&self, text: &str) -> bool {
        self.ids.get(text).is_some_and(|id| self.in_model.get(*id as usize) == Some(&true))
    }

    /// Whether the model has a token for each byte, spelled as `spelled` does.
    pub(super) fn has_bytes(&self, spelled: impl Fn(u8) -> String) -> bool {
        (0..=u8::MAX).all(|byte| self.model_has(&spelled(byte)))
    }

    /// Ids of the added tokens that satisfy `is`, ascending.
    pub(super) fn added_where(&self, is: impl Fn(&Flags) -> bool) -> Vec<u32> {
        let mut ids: Vec<_> = self.added.iter().filter(|(_, flags)| is(flags)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Ids of the added tokens that the model does not know, ascending.
    pub(super) fn added_only(&self) -> Vec<u32> {
        let mut ids: Vec<_> =
            self.added.keys().copied().filter(|id| self.in_model.get(*id as usize) == Some(&false)).collect();
        ids.sort_unstable();
        ids
    }

    /// Writes the tokens, each with what `spelled` makes of it, and their types.
    pub(super) fn write(&self, planner: &mut Planner, model: &str, spelled: impl Fn(&str, Kind) -> String) {
        planner.metadata("tokenizer.ggml.model", model);
        let tokens: Vec<_> = self.tokens.iter().zip(&self.kinds).map(|(token, kind)| spelled(token, *kind)).collect();
        planner.metadata("tokenizer.ggml.tokens", tokens);
        planner.metadata("tokenizer.ggml.token_type", self.kinds.iter().map(|kind| *kind as i32).collect::<Vec<_>>());
    }

    /// The id of the token that plays a `role` (`cls`, `bos` …), if the sidecar files name one, or `default` is a token.
    pub(super) fn role(
        &self,
        checkpoint: &Checkpoint,
        role: &str,
        default: Option<&str>,
    ) -> Result<Option<u32>, Error> {
        let name = special(checkpoint, role)?.or_else(|| default.map(str::to_owned));
        Ok(name.and_then(|name| self.ids.get(&name).copied()))
    }

    /// Writes the id of the token that plays a role, if there is one.
    pub(super) fn write_role(
        &self,
        planner: &mut Planner,
        role: &str,
        key: &str,
        default: Option<&str>,
    ) -> Result<Option<u32>, Error> {
        let id = self.role(planner.checkpoint, role, default)?;
        if let Some(id) = id {
            planner.metadata(format!("tokenizer.ggml.{key}_token_id"), id);
        }
        Ok(id)
    }
}

/// The text of the token that plays a role, as the sidecar files say: `special_tokens_map.json` first, which transformers reads only where
/// `tokenizer_config.json` does not list its added tokens.
pub(super) fn special(checkpoint: &Checkpoint, role: &str) -> Result<Option<String>, Error> {
    let config = checkpoint.json(TOKENIZER_CONFIG);
    let lists = config.as_ref().is_some_and(|config| config.get("added_tokens_decoder").is_some());
    for file in [SPECIAL_TOKENS, TOKENIZER_CONFIG] {
        let json = checkpoint.json(file).filter(|_| file != SPECIAL_TOKENS || !lists);
        let Some(token) = json.and_then(|json| json.get(&format!("{role}_token"))) else { continue };
        return Ok(Some(text_of(&token)?.to_owned()));
    }
    Ok(None)
}

/// The text of a token: the token itself, or a field of an object with how it is found.
fn text_of<'c>(token: &Json<'c>) -> Result<&'c str, Error> {
    if token.is_object() { token.require("content")?.str() } else { token.str() }
}

/// The elements of a list that may be absent.
fn list<'c>(json: &Json<'c>, key: &str) -> Result<Vec<Json<'c>>, Error> {
    json.get(key).map_or(Ok(Vec::new()), |list| Ok(list.list()?.collect()))
}
