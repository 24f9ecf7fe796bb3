//! CLIP's byte-level BPE over words.

use super::bpe::{bytes, merges};
use super::{Kind, TOKENIZER, Vocabulary, kind_of, steps, unknown};
use crate::Error;
use crate::plan::Planner;

/// The tokens of a model from before `tokenizer.json`, and the merges, a pair on each line after the first.
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// The tokens before and after a text.
const FRAME: [(&str, &str); 2] = [("bos", "<|startoftext|>"), ("eos", "<|endoftext|>")];

/// Writes the tokenizer of a model with `size` tokens: from `tokenizer.json`, or `vocab.json` and `merges.txt`. Gives
/// the id of the token that ends a text.
pub(crate) fn clip(planner: &mut Planner, size: u32) -> Result<u32, Error> {
    let checkpoint = planner.checkpoint;
    let (mut vocabulary, pairs) = match (checkpoint.json(TOKENIZER), checkpoint.json(VOCAB), checkpoint.text(MERGES)?) {
        (Some(json), ..) => {
            let model = json.require("model")?;
            if kind_of(&model) != "BPE" {
                return Err(unknown(TOKENIZER, "the model", kind_of(&model)));
            }
            let suffix = model.get_str("end_of_word_suffix")?.unwrap_or("");
            if suffix != "</w>" {
                return Err(unknown(TOKENIZER, "end_of_word_suffix", suffix));
            }
            for step in steps(json.get("normalizer"), "normalizers")? {
                if !matches!(kind_of(&step), "NFC" | "Replace" | "Lowercase") {
                    return Err(unknown(TOKENIZER, "normalizer", kind_of(&step)));
                }
            }
            (Vocabulary::read(&json, size)?, merges(&model)?)
        }
        (None, Some(vocab), Some(text)) => {
            let mut vocabulary = Vocabulary::new(VOCAB, size)?;
            vocabulary.fill(VOCAB, &vocab)?;
            let pair = |(line, text): (usize, &str)| {
                let pair = text.trim_end_matches('\r').split_once(' ').filter(|(_, right)| !right.contains(' '));
                let (left, right) = pair.ok_or_else(|| Error::Tokenizer {
                    file: MERGES.into(),
                    reason: format!("line {} is not a pair of words", line + 2),
                })?;
                Ok((left.to_owned(), right.to_owned()))
            };
            let lines = text.lines().skip(1).filter(|line| !line.is_empty()).enumerate();
            (vocabulary, lines.map(pair).collect::<Result<_, Error>>()?)
        }
        _ => return Err(Error::MissingFile { file: TOKENIZER.into() }),
    };
    for (_, token) in FRAME {
        let Some(&id) = vocabulary.ids.get(token) else {
            let reason = format!("there is no token {token}");
            return Err(Error::Tokenizer { file: TOKENIZER.into(), reason });
        };
        vocabulary.set(TOKENIZER, id, token, Kind::Control)?;
    }
    vocabulary.write(planner, "clip", |token, _| token.to_owned());
    let spelled = pairs.iter().map(|(left, right)| format!("{} {}", bytes(left), bytes(right)));
    planner.metadata("tokenizer.ggml.merges", spelled.collect::<Vec<_>>());
    let mut last = 0;
    for (role, token) in FRAME {
        if let Some(&id) = vocabulary.ids.get(token) {
            planner.metadata(format!("tokenizer.ggml.{role}_token_id"), id);
            last = id;
        }
    }
    Ok(last)
}
