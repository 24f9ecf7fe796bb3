//! `tokenizer_config.json`, where it says again what `tokenizer.json` says: the two must not contradict each other.

use super::steps::Step;
use super::{Parsed, TOKENIZER_CONFIG};
use crate::checkpoint::Checkpoint;
use crate::json::Json;
use crate::plan::Planner;
use crate::{Error, Meta};

/// Classes that take everything from `tokenizer.json`, whatever else is said.
const BY_FILE: &[&str] = &["PreTrainedTokenizerFast", "TokenizersBackend"];

/// Whether a tokenizer's class takes everything from `tokenizer.json`.
pub(super) fn is_by_file(checkpoint: &Checkpoint) -> bool {
    let config = checkpoint.json(TOKENIZER_CONFIG);
    let class =
        config.and_then(|config| config.peek("tokenizer_class").and_then(|class| class.as_str().map(str::to_owned)));
    class.is_some_and(|class| BY_FILE.contains(&class.as_str()))
}

/// That the flags of a tokenizer's class are those that its steps have.
pub(super) fn check(checkpoint: &Checkpoint, parsed: &Parsed) -> Result<(), Error> {
    parsed.model.check(&parsed.vocabulary)?;
    let Some(config) = checkpoint.json(TOKENIZER_CONFIG) else { return Ok(()) };
    if is_by_file(checkpoint) {
        return Ok(());
    }
    let is = |steps: &[Step], name: &str| steps.iter().any(|step| step.first().is_some_and(|first| first == name));
    let bert = parsed.normalizers.iter().find(|step| step.first().is_some_and(|name| name == "BertNormalizer"));
    let of_bert = |at: usize| bert.and_then(|step| step.get(at)).map(|flag| flag == "true");
    let lowercase = of_bert(4).unwrap_or(false) || is(&parsed.normalizers, "Lowercase");
    let prefixes = is(&parsed.normalizers, "Prepend")
        || parsed.pre_tokenizers.iter().any(|step| match step.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["ByteLevel", prefix, ..] => prefix == "true",
            ["Metaspace", _, scheme, ..] => scheme != "never",
            _ => false,
        });
    for (key, found) in [
        ("do_lower_case", lowercase),
        ("strip_accents", of_bert(3).unwrap_or_else(|| is(&parsed.normalizers, "StripAccents"))),
        ("tokenize_chinese_chars", of_bert(2).unwrap_or(false)),
        ("add_prefix_space", prefixes),
    ] {
        if let Some(wanted) = config.get_bool(key)?.filter(|wanted| *wanted != found) {
            let reason =
                format!("{key} is {wanted}, but in tokenizer.json it is {found}; correct the one that is wrong");
            return Err(Error::Tokenizer { file: TOKENIZER_CONFIG.into(), reason });
        }
    }
    Ok(())
}

/// Whether a text gets a beginning, and an end, by the flags for tokenizers without a template.
pub(super) fn adds(checkpoint: &Checkpoint) -> Result<[bool; 2], Error> {
    let config = checkpoint.json(TOKENIZER_CONFIG);
    let flag = |key| Ok::<_, Error>(config.as_ref().map_or(Ok(None), |config| config.get_bool(key))?.unwrap_or(false));
    Ok([flag("add_bos_token")?, flag("add_eos_token")?])
}

/// BERT's cleaning by the flags of its class.
pub(super) fn bert_normalizer(checkpoint: &Checkpoint) -> Result<Step, Error> {
    let config = checkpoint.json(TOKENIZER_CONFIG);
    let flag = |key| config.as_ref().map_or(Ok(None), |config: &Json| config.get_bool(key));
    let lowercase = flag("do_lower_case")?.unwrap_or(true);
    let strip_accents = flag("strip_accents")?.unwrap_or(lowercase);
    let chinese = flag("tokenize_chinese_chars")?.unwrap_or(true);
    let flags = [true, chinese, strip_accents, lowercase].map(|flag| flag.to_string());
    Ok([vec!["BertNormalizer".to_owned()], flags.to_vec()].concat())
}

/// Writes how long a text may be, where the tokenizer alone says so.
pub(super) fn length(planner: &mut Planner) -> Result<(), Error> {
    let Some(config) = planner.checkpoint.json(TOKENIZER_CONFIG) else { return Ok(()) };
    let positions = planner.hyper_value("context_length").and_then(Meta::as_u32).unwrap_or(u32::MAX);
    let is_less = config
        .peek("model_max_length")
        .is_some_and(|length| length.as_f64().is_none_or(|length| length < f64::from(positions)));
    if planner.hyper_value("max_sequence_length").is_none() && is_less {
        planner.hyper("max_sequence_length", config.require("model_max_length")?.u32()?);
    }
    Ok(())
}
