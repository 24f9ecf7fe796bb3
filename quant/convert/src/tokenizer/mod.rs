//! Tokenizers: from Hugging Face's `tokenizer.json` and the files beside it, BERT's `vocab.txt` or CLIP's `vocab.json` and `merges.txt`.
//!
//! What llama.cpp's keys can say exactly is written with them ([`plain`]); everything else as a list of steps under `smidgen.tokenizer.`,
//! which docs/gguf.md describes, with a `tokenizer.ggml.model` that no other reader takes for its own.

mod chat;
mod clip;
mod config;
mod ends;
mod frame;
mod model;
mod plain;
mod steps;
mod vocabulary;

pub use chat::CHAT_TEMPLATES;
pub(crate) use clip::clip;

use crate::json::Json;
use crate::plan::Planner;
use crate::{Error, Meta};
use frame::{Frame, Types};
use model::Model;
use steps::Step;
use vocabulary::Vocabulary;

const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const GENERATION: &str = "generation_config.json";
const VOCAB: &str = "vocab.txt";

/// The tokens of models that read, by their roles and llama.cpp's keys, with the texts that they have where no file says otherwise.
const ENCODER_ROLES: &[(&str, &str, &str)] = &[
    ("cls", "cls", "[CLS]"),
    // Misspelled in the convention.
    ("sep", "seperator", "[SEP]"),
    ("unk", "unknown", "[UNK]"),
    ("pad", "padding", "[PAD]"),
    ("mask", "mask", "[MASK]"),
];

/// A tokenizer as its files describe it.
struct Parsed {
    vocabulary: Vocabulary,
    normalizers: Vec<Step>,
    /// The table of the normalizer that has one.
    charsmap: Option<Vec<u8>>,
    pre_tokenizers: Vec<Step>,
    decoder: Step,
    model: Model,
    frame: Option<Frame>,
}

impl Parsed {
    /// Reads `tokenizer.json` and the files beside it, for a model with `size` tokens.
    fn read(planner: &Planner, size: u32, types: Types) -> Result<Parsed, Error> {
        let checkpoint = planner.checkpoint;
        let json = checkpoint.json(TOKENIZER).ok_or_else(|| Error::MissingFile { file: TOKENIZER.into() })?;
        let vocabulary = Vocabulary::read(checkpoint, &json, size)?;
        let (normalizers, charsmap) = steps::normalizers(&json)?;
        let pre_tokenizers = steps::pre_tokenizers(&json)?;
        let model = Model::read(&json, &vocabulary, steps::are_letters(&normalizers, &pre_tokenizers))?;
        let decoder = steps::decoder(&json, &normalizers, &pre_tokenizers, model.name())?;
        let frame = frame::frame(&json, &vocabulary, types)?;
        let mut parsed = Parsed { vocabulary, normalizers, charsmap, pre_tokenizers, decoder, model, frame };
        parsed.mark_bytes();
        config::check(checkpoint, &parsed)?;
        Ok(parsed)
    }

    /// BERT's tokenizer from `vocab.txt`, as transformers makes it.
    fn from_vocab(planner: &Planner, size: u32) -> Result<Parsed, Error> {
        let checkpoint = planner.checkpoint;
        let text = checkpoint.text(VOCAB)?.ok_or_else(|| Error::MissingFile { file: TOKENIZER.into() })?;
        let mut vocabulary = Vocabulary::new(VOCAB, size)?;
        for (id, token) in (0..).zip(text.lines()) {
            vocabulary.set_model(VOCAB, id, token.trim_end_matches('\r'))?;
        }
        vocabulary.add_roles(checkpoint, ENCODER_ROLES)?;
        let unknown = vocabulary.role(checkpoint, "unk", Some("[UNK]"))?;
        let step = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Step>();
        Ok(Parsed {
            vocabulary,
            normalizers: vec![config::bert_normalizer(checkpoint)?],
            charsmap: None,
            pre_tokenizers: vec![step(&["BertPreTokenizer"])],
            decoder: step(&["WordPiece", "##"]),
            model: Model::WordPiece { unknown, prefix: "##".into(), longest: 100 },
            frame: None,
        })
    }

    /// Gives the tokens of bytes their kind, if characters without a token become them.
    fn mark_bytes(&mut self) {
        if !self.model.falls_back_to_bytes() {
            return;
        }
        let Vocabulary { tokens, kinds, added, .. } = &mut self.vocabulary;
        for (id, (token, kind)) in (0..).zip(tokens.iter().zip(kinds)) {
            if *kind == vocabulary::Kind::Normal && !added.contains_key(&id) && is_byte(token) {
                *kind = vocabulary::Kind::Byte;
            }
        }
    }

    /// Writes the tokens and how texts become them.
    fn write(&mut self, planner: &mut Planner) {
        match plain::plain(self) {
            Some(plain) => plain.write(self, planner),
            None => self.write_steps(planner),
        }
    }

    /// Writes the steps one by one.
    fn write_steps(&self, planner: &mut Planner) {
        let own = |key: &str| format!("smidgen.tokenizer.{key}");
        let vocabulary = &self.vocabulary;
        vocabulary.write(planner, "smidgen", |token, _| token.to_owned());
        planner.metadata(own("model"), self.model.name());
        for (key, steps) in [("normalizers", &self.normalizers), ("pre_tokenizers", &self.pre_tokenizers)] {
            if !steps.is_empty() {
                planner.metadata(own(key), steps.concat());
            }
        }
        if let Some(charsmap) = &self.charsmap {
            planner.metadata("tokenizer.ggml.precompiled_charsmap", charsmap.clone());
        }
        planner.metadata(own("decoder"), self.decoder.clone());
        self.model.write(planner, vocabulary);
        for (key, ids) in [
            ("added_only_ids", vocabulary.added_only()),
            ("normalized_ids", vocabulary.added_where(|flags| flags.normalized)),
            ("lstrip_ids", vocabulary.added_where(|flags| flags.lstrip)),
            ("rstrip_ids", vocabulary.added_where(|flags| flags.rstrip)),
            ("single_word_ids", vocabulary.added_where(|flags| flags.single_word)),
        ] {
            if !ids.is_empty() {
                planner.metadata(own(key), Meta::from(ids));
            }
        }
    }

    /// The id of the token for what is unknown: that of the model or, where ids do not depend on it, of the files.
    fn unknown(&self, planner: &Planner) -> Result<Option<u32>, Error> {
        match self.model.unknown() {
            Some(id) => Ok(Some(id)),
            None if plain::plain(self).is_some() => self.vocabulary.role(planner.checkpoint, "unk", None),
            None => Ok(None),
        }
    }
}

/// Writes the tokenizer of a language model with `size` tokens, and its chat template.
pub(crate) fn decoder(planner: &mut Planner, size: u32) -> Result<(), Error> {
    let mut parsed = Parsed::read(planner, size, Types::None)?;
    let unknown = parsed.unknown(planner)?;
    parsed.write(planner);
    if let Some(id) = unknown {
        planner.metadata("tokenizer.ggml.unknown_token_id", id);
    }
    let vocabulary = &parsed.vocabulary;
    vocabulary.write_role(planner, "pad", "padding", None)?;
    let checkpoint = planner.checkpoint;
    let (bos, eos) = (vocabulary.role(checkpoint, "bos", None)?, vocabulary.role(checkpoint, "eos", None)?);
    let frame = match parsed.frame {
        Some(frame) => frame,
        // Without a template, the older flags say it.
        None => {
            let [adds_bos, adds_eos] = config::adds(checkpoint)?;
            Frame { first: bos.filter(|_| adds_bos), last: eos.filter(|_| adds_eos) }
        }
    };
    if let Some(bos) = frame.first.or(bos) {
        planner.metadata("tokenizer.ggml.bos_token_id", bos);
    }
    planner.metadata("tokenizer.ggml.add_bos_token", frame.first.is_some());
    ends::write(planner, size, eos, frame.last)?;
    planner.metadata("tokenizer.ggml.add_eos_token", frame.last.is_some());
    chat::write(planner)
}

/// Writes the tokenizer of a model that reads, with `size` tokens. `compares` says whether it is given pairs of texts.
pub(crate) fn encoder(planner: &mut Planner, size: u32, compares: bool) -> Result<(), Error> {
    let has_json = planner.checkpoint.json(TOKENIZER).is_some();
    let types = if compares { Types::Pairs } else { Types::Single };
    let mut parsed = if has_json { Parsed::read(planner, size, types)? } else { Parsed::from_vocab(planner, size)? };
    parsed.write(planner);
    let refused = |what: &str| Err(unknown(TOKENIZER, "post_processor", what));
    let frame = match parsed.frame {
        None if has_json && config::is_by_file(planner.checkpoint) => {
            return refused("null, of a class that adds no tokens of its own,");
        }
        Some(Frame { first: None, .. } | Frame { last: None, .. }) => {
            return refused("that does not put a token before and after a text");
        }
        frame => frame.unwrap_or_default(),
    };
    let is_words = matches!(parsed.model, Model::WordPiece { .. });
    for (role, key, default) in ENCODER_ROLES {
        let own = match *role {
            "cls" => frame.first,
            "sep" => frame.last,
            "unk" => parsed.model.unknown(),
            _ => None,
        };
        let id = match own {
            Some(id) => Some(id),
            // Other models' tokens have other names.
            None => parsed.vocabulary.role(planner.checkpoint, role, Some(*default).filter(|_| is_words))?,
        };
        if let Some(id) = id {
            planner.metadata(format!("tokenizer.ggml.{key}_token_id"), id);
        } else if matches!(*role, "cls" | "sep" | "unk") {
            let reason = format!("there is no token for the role of {default}");
            return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
        }
    }
    plain::write_flags(&parsed, planner);
    config::length(planner)
}

/// Whether a token is a byte, spelled like `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A part of a tokenizer, such as its normalizer, and if it is a sequence its parts, in order; nothing if it is null.
fn steps<'c>(part: Option<Json<'c>>, list: &str) -> Result<Vec<Json<'c>>, Error> {
    /// Deepest nesting of sequences.
    const DEEPEST: usize = 8;
    let mut found: Vec<_> = part.into_iter().collect();
    for _ in 0..DEEPEST {
        let mut is_flat = true;
        for part in &found {
            is_flat &= kind_of(part)? != "Sequence" && part.get(list).is_none();
        }
        if is_flat {
            return Ok(found);
        }
        let mut flat = Vec::new();
        for part in found {
            match part.get(list) {
                Some(parts) => {
                    if !matches!(kind_of(&part)?, "Sequence" | "") {
                        return Err(unknown(TOKENIZER, list, kind_of(&part)?));
                    }
                    let before = flat.len();
                    flat.extend(parts.list()?);
                    if flat.len() == before {
                        // None at all.
                        parts.value();
                    }
                }
                None if kind_of(&part)? == "Sequence" => return Err(part.missing(list)),
                None => flat.push(part),
            }
        }
        found = flat;
    }
    Err(unknown(TOKENIZER, list, "nested so deep"))
}

/// The `type` of a step, empty if it has none.
fn kind_of<'c>(step: &Json<'c>) -> Result<&'c str, Error> {
    Ok(step.get_str("type")?.unwrap_or_default())
}

/// That a part of the tokenizer is not known.
fn unknown(file: &str, part: &str, name: &str) -> Error {
    Error::Tokenizer { file: file.into(), reason: format!("{part} {name:.100} is not supported") }
}
