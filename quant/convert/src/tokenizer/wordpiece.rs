//! BERT's WordPiece.

use super::{Kind, TOKENIZER, TOKENIZER_CONFIG, Vocabulary, kind_of, special, steps, unknown};
use crate::Error;
use crate::plan::Planner;

const VOCAB: &str = "vocab.txt";
/// The tokens of BERT by their roles and llama.cpp's keys, with the texts that they have where no file says otherwise.
const SPECIALS: &[(&str, &str, &str)] = &[
    ("cls", "cls", "[CLS]"),
    // Misspelled in the convention.
    ("sep", "seperator", "[SEP]"),
    ("unk", "unknown", "[UNK]"),
    ("pad", "padding", "[PAD]"),
    ("mask", "mask", "[MASK]"),
];

/// Writes the tokenizer of a model with `size` tokens: from `tokenizer.json`, or `vocab.txt` with `tokenizer_config.json`.
pub(crate) fn wordpiece(planner: &mut Planner, size: u32) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    let (vocabulary, lowercase, strip_accents) = match checkpoint.json(TOKENIZER) {
        Some(json) => {
            let model = json.require("model")?;
            let kind = kind_of(&model);
            // Older files name no type.
            if !matches!(kind, "WordPiece" | "") {
                return Err(unknown(TOKENIZER, "the model", kind));
            }
            let prefix = model.get_str("continuing_subword_prefix")?.unwrap_or("##");
            if prefix != "##" {
                return Err(unknown(TOKENIZER, "continuing_subword_prefix", prefix));
            }
            let (mut lowercase, mut strip_accents) = (false, None);
            for step in steps(json.get("normalizer"), "normalizers")? {
                match kind_of(&step) {
                    "BertNormalizer" => {
                        lowercase = step.get_bool("lowercase")?.unwrap_or(true);
                        strip_accents = step.get_bool("strip_accents")?;
                    }
                    "Lowercase" => lowercase = true,
                    "StripAccents" => strip_accents = Some(true),
                    "NFC" | "NFD" | "NFKC" | "NFKD" => {}
                    other => return Err(unknown(TOKENIZER, "normalizer", other)),
                }
            }
            (Vocabulary::read(&json, size)?, lowercase, strip_accents)
        }
        None => {
            let text = checkpoint.text(VOCAB)?.ok_or_else(|| Error::MissingFile { file: TOKENIZER.into() })?;
            let mut vocabulary = Vocabulary::new(VOCAB, size)?;
            for (id, token) in (0..).zip(text.lines()) {
                vocabulary.set(VOCAB, id, token.trim_end_matches('\r'), Kind::Normal)?;
            }
            for (role, _, default) in SPECIALS {
                let name = special(checkpoint, role)?.unwrap_or_else(|| (*default).to_owned());
                if let Some(&id) = vocabulary.ids.get(&name) {
                    vocabulary.set(VOCAB, id, &name, Kind::Control)?;
                }
            }
            let config = checkpoint.json(TOKENIZER_CONFIG);
            let flag = |key| config.as_ref().map_or(Ok(None), |config| config.get_bool(key));
            (vocabulary, flag("do_lower_case")?.unwrap_or(true), flag("strip_accents")?)
        }
    };
    vocabulary.write(planner, "bert", |token, kind| match token.strip_prefix("##") {
        _ if kind == Kind::Control => token.to_owned(),
        Some(rest) => rest.to_owned(),
        None => format!("\u{2581}{token}"),
    });
    for (role, key, default) in SPECIALS {
        let id = vocabulary.write_special(planner, role, key, Some(default))?;
        if id.is_none() && matches!(*role, "cls" | "sep" | "unk") {
            return Err(Error::Tokenizer {
                file: TOKENIZER.into(),
                reason: format!("there is no token for the role of {default}"),
            });
        }
    }
    planner.metadata("tokenizer.ggml.normalizer.lowercase", lowercase);
    if let Some(strip_accents) = strip_accents {
        planner.metadata("tokenizer.ggml.normalizer.strip_accents", strip_accents);
    }
    Ok(())
}
