//! What sentence-transformers keeps beside a model: `modules.json`, which says what is done to the tokens' embeddings, and the modules' own
//! configurations.

use crate::Error;
use crate::checkpoint::{CONFIG, module_folders};
use crate::json::Json;
use crate::plan::Planner;
use crate::tokenizer::TOKENIZER_CONFIG;

/// The modules in order.
pub const MODULES: &str = "modules.json";
/// How long a text may be.
const SENTENCES: &str = "sentence_bert_config.json";
/// The folder of pooling where there is no list of modules.
pub(crate) const POOLING: &str = "1_Pooling";

/// `pooling_type`: the embedding of a text is the mean of its tokens', or that of the first, or of the last; or a classifier makes scores of
/// the first.
const MEAN: u32 = 1;
const CLS: u32 = 2;
const LAST: u32 = 3;
const RANK: u32 = 4;

/// The fields of a pooling's configuration that choose a mode, the name of the mode where one field has it, and its number if there is one.
const MODES: &[(&str, &str, Option<u32>)] = &[
    ("pooling_mode_cls_token", "cls", Some(CLS)),
    ("pooling_mode_mean_tokens", "mean", Some(MEAN)),
    ("pooling_mode_lasttoken", "lasttoken", Some(LAST)),
    ("pooling_mode_max_tokens", "max", None),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", None),
    ("pooling_mode_weightedmean_tokens", "weightedmean", None),
];

/// Writes how the embedding of a text is made of those of its tokens, and how long a text may be.
pub(crate) fn plan(planner: &mut Planner, classifies: bool, positions: u32) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    let modules = checkpoint.json(MODULES);
    let folders = modules.as_ref().map(module_folders).transpose()?;
    let (mut folder, mut normalize) = (Some(POOLING.to_owned()), false);
    if let Some(folders) = folders {
        folder = None;
        for (module, path) in folders {
            let kind = module.require("type")?;
            match kind.str()?.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {
                    if let Some(elsewhere) = module.get("path").filter(|_| !path.is_empty()) {
                        return Err(elsewhere.unsupported());
                    }
                }
                "Pooling" if folder.is_none() && !normalize => folder = Some(path),
                "Normalize" if folder.is_some() => {
                    normalize = true;
                    module.get("path").inspect(|path| path.leave_out("there is nothing to configure"));
                }
                _ => return Err(kind.unsupported()),
            }
        }
    }
    let pooling = folder.as_ref().and_then(|folder| checkpoint.json(&format!("{folder}/{CONFIG}")));
    if classifies {
        planner.hyper("pooling_type", RANK);
    } else if let Some(pooling) = pooling {
        planner.hyper("pooling_type", mode(&pooling, planner)?);
    } else if let Some(folder) = folder.filter(|_| modules.is_some()) {
        return Err(Error::MissingFile { file: format!("{folder}/{CONFIG}") });
    }
    if !classifies && modules.is_some() {
        planner.hyper("pooling_normalize", normalize);
    }
    let said = checkpoint.json(SENTENCES).map(|sentences| sentences.get_u32("max_seq_length")).transpose()?.flatten();
    // Without it the tokenizer's length counts, which may be any number that is large.
    let tokenizer = checkpoint.json(TOKENIZER_CONFIG).filter(|_| modules.is_some() && said.is_none());
    let own = tokenizer.map(|config| config.get_f32("model_max_length")).transpose()?.flatten();
    if let Some(length) = said.or(own.map(|length| length as u32)) {
        planner.hyper("max_sequence_length", length.min(positions));
    }
    Ok(())
}

/// The mode of pooling that a configuration asks for.
fn mode(pooling: &Json, planner: &Planner) -> Result<u32, Error> {
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        let width = planner.checkpoint.config().get_u32("hidden_size")?;
        if let Some(field) = pooling.get(key)
            && Some(field.u32()?) != width
        {
            return Err(field.wrong("the hidden_size of config.json"));
        }
    }
    let mut chosen = Vec::new();
    for (field, name, number) in MODES {
        let named = pooling.get("pooling_mode").map(|mode| mode.str()).transpose()? == Some(name);
        if pooling.get_bool(field)?.unwrap_or(false) || named {
            chosen.push((*name, *number));
        }
    }
    match chosen[..] {
        [(_, Some(number))] => Ok(number),
        _ => {
            let names: Vec<_> = chosen.iter().map(|(name, _)| *name).collect();
            let value = match names[..] {
                [] => "none of the known modes".to_owned(),
                _ => names.join(" and "),
            };
            Err(pooling.field_unsupported("pooling_mode", value))
        }
    }
}
