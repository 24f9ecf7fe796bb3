//! What becomes of each field of a checkpoint's sidecar files: it is used, it is known to change nothing, or the conversion ends with its name.

use crate::checkpoint::{CONFIG, Checkpoint};
use crate::{Error, architecture, json};
use serde_json::Value;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The conversion read it.
    Used,
    /// It does not change what the model computes, for this reason.
    Harmless(&'static str),
    /// It is known, but not with this value, so that the conversion is refused.
    Unsupported,
    /// It is not known, so that the conversion is refused.
    Unknown,
}

/// A field of a sidecar file.
#[derive(Clone, Debug)]
pub struct Field {
    /// The file's name.
    pub file: String,
    /// The path of the field in the file, such as `rope_scaling.factor`.
    pub path: String,
    /// Its value in JSON, cut if it is long.
    pub value: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// A field without an effect: its path, in which `*` is any one name or number; its values in JSON, separated by ` | `, or `*` for all; and why.
pub(crate) type Rule = (&'static str, &'static str, &'static str);

const ANY: &str = "*";

const TRAINING: &str = "for training only";
const ELSEWHERE: &str = "describes the file, not the model";
const OUTPUTS: &str = "chooses what a Python program is given back";
const TYPES: &str = "each tensor is stored with its type";
const TENSORS: &str = "the tensors that are there say it";
const MEMORY: &str = "how memory is used, not what is computed";
const INITIAL: &str = "the initial value of trained weights";
const NO_CLASSIFIER: &str = "there is no classifier";
const NO_POOLER: &str = "the pooler is not used";
const NO_SUMMARY: &str = "for classifiers on the last token, which are not converted";
const PRECISION: &str = "how exact sums are in a Python program";
const DRAWN: &str = "the command says how tokens are drawn";
const LENGTH: &str = "the command says how long a generation is";
const PROSE: &str = "prose, of which the tensors' shapes allow one form only";
const NO_UNKNOWN: &str = "every byte has a token, or what has none is left out";
const BY_STEPS: &str = "the steps before the model say it";
const SPELLED: &str = "tokens are decoded as they are spelled";
const NO_NORMALIZER: &str = "there is no normalizer";
const NO_TYPES: &str = "tokens of a text have no types";
const NO_PAIRS: &str = "the template of one text does not have it";
const BY_IDS: &str = "the tokens of the template are told by their ids";
const BY_FILE: &str = "tokenizer.json says what the tokenizer does";
const BY_LIST: &str = "the list of added tokens says how the token is found";
const BY_CALL: &str = "Python programs set it anew at each call";
const OFFSETS: &str = "where tokens lie in the text, not which they are";
const BY_TEMPLATE: &str = "the post_processor of tokenizer.json, or the model's kind, says it";
const SPECULATION: &str = "for a second model that drafts";
const BY_TOKENIZER: &str = "the tokenizer's files name the token";

/// The harmless fields of each file; a name that begins with `/` is of a file in a module's folder.
const TABLES: &[(&str, &[Rule])] = &[
    (CONFIG, CONFIG_FIELDS),
    ("model.safetensors.index.json", &[("metadata", ANY, ELSEWHERE)]),
    ("preprocessor_config.json", IMAGE_FIELDS),
    ("processor_config.json", PROCESSOR_FIELDS),
    ("tokenizer.json", TOKENIZER_FIELDS),
    ("tokenizer_config.json", TOKENIZER_CONFIG_FIELDS),
    (
        "special_tokens_map.json",
        &[
            ("*.__type", ANY, BY_LIST),
            ("*.lstrip", ANY, BY_LIST),
            ("*.rstrip", ANY, BY_LIST),
            ("*.single_word", ANY, BY_LIST),
            ("*.normalized", ANY, BY_LIST),
            ("*.special", ANY, BY_LIST),
        ],
    ),
    ("added_tokens.json", &[]),
    ("generation_config.json", GENERATION_FIELDS),
    ("chat_template.json", &[("chat_template", ANY, "another file has the template")]),
    ("modules.json", MODULE_FIELDS),
    ("sentence_bert_config.json", SENTENCE_FIELDS),
    ("config_sentence_transformers.json", SENTENCES_FIELDS),
    ("/config.json", POOLING_FIELDS),
];

const CONFIG_FIELDS: &[Rule] = &[
    ("_name_or_path", ANY, ELSEWHERE),
    ("_commit_hash", ANY, ELSEWHERE),
    ("architectures", ANY, TENSORS),
    ("auto_map", ANY, "names Python code, of which nothing is run"),
    ("transformers_version", ANY, ELSEWHERE),
    ("torch_dtype", ANY, TYPES),
    ("dtype", ANY, TYPES),
    ("torchscript", ANY, MEMORY),
    ("use_cache", ANY, MEMORY),
    ("use_bfloat16", ANY, MEMORY),
    ("_attn_implementation", ANY, MEMORY),
    ("_attn_implementation_autoset", ANY, MEMORY),
    ("attn_implementation", ANY, MEMORY),
    ("_flash_attn_2_enabled", ANY, MEMORY),
    ("use_flash_attn", ANY, MEMORY),
    ("chunk_size_feed_forward", ANY, MEMORY),
    ("gradient_checkpointing", ANY, TRAINING),
    ("initializer_range", ANY, TRAINING),
    ("initializer_factor", ANY, TRAINING),
    ("attention_probs_dropout_prob", ANY, TRAINING),
    ("attention_dropout", ANY, TRAINING),
    ("hidden_dropout_prob", ANY, TRAINING),
    ("hidden_dropout", ANY, TRAINING),
    ("residual_dropout", ANY, TRAINING),
    ("classifier_dropout_prob", ANY, TRAINING),
    ("embd_pdrop", ANY, TRAINING),
    ("attn_pdrop", ANY, TRAINING),
    ("resid_pdrop", ANY, TRAINING),
    ("dropout", ANY, TRAINING),
    ("embedding_dropout", ANY, TRAINING),
    ("mask_feature_prob", ANY, TRAINING),
    ("output_attentions", ANY, OUTPUTS),
    ("output_hidden_states", ANY, OUTPUTS),
    ("return_dict", ANY, OUTPUTS),
    ("return_loss", ANY, OUTPUTS),
    ("label2id", ANY, "id2label is its inverse"),
    ("id2label", ANY, NO_CLASSIFIER),
    ("num_labels", ANY, NO_CLASSIFIER),
    ("_num_labels", ANY, NO_CLASSIFIER),
    ("problem_type", ANY, NO_CLASSIFIER),
    ("classifier_dropout", ANY, TRAINING),
    ("is_llama_config", ANY, ELSEWHERE),
    ("transformers.js_config", ANY, "for another program"),
    ("output_past", ANY, OUTPUTS),
    ("output_scores", ANY, OUTPUTS),
    ("return_dict_in_generate", ANY, OUTPUTS),
    ("tf_legacy_loss", ANY, TRAINING),
    ("do_sample", ANY, DRAWN),
    ("temperature", ANY, DRAWN),
    ("top_k", ANY, DRAWN),
    ("top_p", ANY, DRAWN),
    ("typical_p", ANY, DRAWN),
    ("repetition_penalty", ANY, DRAWN),
    ("length_penalty", ANY, DRAWN),
    ("diversity_penalty", ANY, DRAWN),
    ("no_repeat_ngram_size", ANY, DRAWN),
    ("encoder_no_repeat_ngram_size", ANY, DRAWN),
    ("num_beams", ANY, DRAWN),
    ("num_beam_groups", ANY, DRAWN),
    ("num_return_sequences", ANY, DRAWN),
    ("early_stopping", ANY, DRAWN),
    ("exponential_decay_length_penalty", ANY, DRAWN),
    ("remove_invalid_values", ANY, DRAWN),
    ("bad_words_ids", ANY, DRAWN),
    ("suppress_tokens", ANY, DRAWN),
    ("begin_suppress_tokens", ANY, DRAWN),
    ("forced_bos_token_id", ANY, DRAWN),
    ("forced_eos_token_id", ANY, DRAWN),
    ("max_length", ANY, LENGTH),
    ("max_new_tokens", ANY, LENGTH),
    ("min_length", ANY, LENGTH),
    ("finetuning_task", ANY, ELSEWHERE),
    ("task_specific_params", ANY, "generation's defaults for tasks by name"),
    ("pretraining_tp", ANY, "how products are cut, not what they are"),
    ("tokenizer_class", ANY, "tokenizer.json says what the tokenizer does"),
    ("prefix", "null | \"\"", "no text is put before prompts"),
    ("is_encoder_decoder", "false", "there is one stack of layers"),
    ("add_cross_attention", "false", "there is no cross attention"),
    ("cross_attention_hidden_size", "null", "there is no cross attention"),
    ("tie_encoder_decoder", "false", "there is one stack of layers"),
    ("decoder_start_token_id", ANY, "there is no decoder that begins with a token of its own"),
    ("pruned_heads", "{}", "no head is left out"),
];

/// Of `config.json`, for encoders of texts.
pub(crate) const ENCODER: &[Rule] = &[
    ("is_decoder", "false", "attention goes both ways"),
    ("directionality", "\"bidi\"", "attention goes both ways"),
    ("tie_word_embeddings", ANY, "there is no language model's head"),
    ("pad_token_id", ANY, BY_TOKENIZER),
    ("bos_token_id", ANY, BY_TOKENIZER),
    ("eos_token_id", ANY, BY_TOKENIZER),
    ("sep_token_id", ANY, BY_TOKENIZER),
    ("cls_token_id", ANY, BY_TOKENIZER),
    ("mask_token_id", ANY, BY_TOKENIZER),
    ("pooler_fc_size", ANY, NO_POOLER),
    ("pooler_num_attention_heads", ANY, NO_POOLER),
    ("pooler_num_fc_layers", ANY, NO_POOLER),
    ("pooler_size_per_head", ANY, NO_POOLER),
    ("pooler_type", ANY, NO_POOLER),
];

/// Of `config.json`, for language models.
pub(crate) const DECODER: &[Rule] = &[
    ("is_decoder", ANY, "attention is causal"),
    ("attention_softmax_in_fp32", ANY, PRECISION),
    ("scale_attention_softmax_in_fp32", ANY, PRECISION),
    ("reorder_and_upcast_attn", ANY, PRECISION),
    ("slow_but_exact", ANY, PRECISION),
    ("cache_implementation", ANY, MEMORY),
    ("summary_activation", ANY, NO_SUMMARY),
    ("summary_first_dropout", ANY, NO_SUMMARY),
    ("summary_proj_to_labels", ANY, NO_SUMMARY),
    ("summary_type", ANY, NO_SUMMARY),
    ("summary_use_proj", ANY, NO_SUMMARY),
    ("masked_softmax_fusion", ANY, MEMORY),
    ("bias_dropout_fusion", ANY, MEMORY),
    ("skip_bias_add", ANY, MEMORY),
    ("skip_bias_add_qkv", ANY, MEMORY),
    ("eod_token_id", ANY, BY_TOKENIZER),
    ("bos_token_id", ANY, BY_TOKENIZER),
    ("eos_token_id", ANY, BY_TOKENIZER),
    ("pad_token_id", ANY, BY_TOKENIZER),
    ("sep_token_id", ANY, BY_TOKENIZER),
    ("unk_token_id", ANY, BY_TOKENIZER),
    ("attention_bias", "false", "there is no bias"),
    ("mlp_bias", "false", "there is no bias"),
];

/// Of `config.json`, for vision transformers.
pub(crate) const VIT: &[Rule] = &[
    ("layerscale_value", ANY, INITIAL),
    ("drop_path_rate", ANY, TRAINING),
    ("use_mask_token", ANY, TRAINING),
    ("encoder_stride", ANY, "for masked image modelling only"),
    ("pooler_output_size", ANY, NO_POOLER),
    ("pooler_act", ANY, NO_POOLER),
    ("out_features", ANY, OUTPUTS),
    ("_out_features", ANY, OUTPUTS),
    ("out_indices", ANY, OUTPUTS),
    ("_out_indices", ANY, OUTPUTS),
    ("stage_names", ANY, OUTPUTS),
    ("apply_layernorm", ANY, "for backbones, which are given other outputs"),
    ("reshape_hidden_states", ANY, "for backbones, which are given other outputs"),
    // Of models around PyTorch's own layers.
    ("architecture", ANY, "the form of models without a model_type"),
    ("source", ANY, ELSEWHERE),
    ("parameters", ANY, ELSEWHERE),
    ("final_norm", ANY, TENSORS),
    ("head", ANY, TENSORS),
    ("patch_order", ANY, PROSE),
    ("qkv", ANY, PROSE),
    ("attention_scale_note", ANY, PROSE),
];

/// Of `config.json`, for CLIP: those of its towers are the general ones.
pub(crate) const CLIP: &[Rule] = &[
    ("logit_scale_init_value", ANY, INITIAL),
    ("pad_token_id", ANY, BY_TOKENIZER),
    ("bos_token_id", ANY, BY_TOKENIZER),
    ("eos_token_id", ANY, BY_TOKENIZER),
    ("vision_config_dict", ANY, "the older form of vision_config"),
    ("text_config_dict", ANY, "the older form of text_config"),
    ("projection_dim", ANY, "the whole has one of its own"),
    ("model_type", ANY, "the name of a tower"),
    ("tie_word_embeddings", ANY, "there is no language model's head"),
];

const IMAGE_FIELDS: &[Rule] = &[
    ("processor_class", ANY, ELSEWHERE),
    ("do_convert_rgb", ANY, "images are read as red, green and blue"),
    ("do_pad", "false", "nothing is padded"),
    ("do_flip_channel_order", "false", "channels stay red, green, blue"),
    ("do_grayscale", "false", "channels stay red, green, blue"),
    ("do_reduce_labels", "false", "for segmentation only"),
    ("data_format", "\"channels_first\" | \"ChannelDimension.FIRST\"", "how arrays lie in a Python program"),
    ("input_data_format", ANY, "how arrays lie in a Python program"),
    ("return_tensors", ANY, OUTPUTS),
    ("device", ANY, MEMORY),
    ("disable_grouping", ANY, MEMORY),
    ("_valid_processor_keys", ANY, ELSEWHERE),
    ("auto_map", ANY, "names Python code, of which nothing is run"),
];

const PROCESSOR_FIELDS: &[Rule] =
    &[("processor_class", ANY, ELSEWHERE), ("auto_map", ANY, "names Python code, of which nothing is run")];

const MODULE_FIELDS: &[Rule] =
    &[("*.idx", ANY, "modules are in order"), ("*.name", ANY, "a module's name in a Python program")];

const POOLING_FIELDS: &[Rule] = &[("include_prompt", ANY, "no text is put before texts")];

const SENTENCE_FIELDS: &[Rule] = &[("do_lower_case", "false", "texts keep their case")];

const SENTENCES_FIELDS: &[Rule] = &[
    ("__version__", ANY, ELSEWHERE),
    ("model_type", "\"SentenceTransformer\"", ELSEWHERE),
    ("prompts", ANY, "the text before a text is the user's to give"),
    ("default_prompt_name", "null", "no text is put before texts"),
    ("similarity_fn_name", ANY, "who compares embeddings chooses how"),
];

const TOKENIZER_FIELDS: &[Rule] = &[
    ("version", "\"1.0\"", "the form of the file that is read"),
    ("truncation", ANY, BY_CALL),
    ("padding", ANY, BY_CALL),
    ("model.cache_capacity", ANY, MEMORY),
    ("model.unk_token", ANY, NO_UNKNOWN),
    ("model.fuse_unk", ANY, NO_UNKNOWN),
    ("added_tokens.*.normalized", ANY, NO_NORMALIZER),
    ("pre_tokenizer.trim_offsets", ANY, OFFSETS),
    ("pre_tokenizer.pretokenizers.*.trim_offsets", ANY, OFFSETS),
    ("decoder.trim_offsets", ANY, OFFSETS),
    ("decoder.add_prefix_space", ANY, BY_STEPS),
    ("decoder.use_regex", ANY, BY_STEPS),
    ("decoder.split", ANY, BY_STEPS),
    ("decoder.cleanup", ANY, SPELLED),
    ("decoder.decoders.*.trim_offsets", ANY, OFFSETS),
    ("decoder.decoders.*.add_prefix_space", ANY, BY_STEPS),
    ("decoder.decoders.*.use_regex", ANY, BY_STEPS),
    ("decoder.decoders.*.split", ANY, BY_STEPS),
    ("decoder.decoders.*.cleanup", ANY, SPELLED),
    ("post_processor.trim_offsets", ANY, OFFSETS),
    ("post_processor.add_prefix_space", ANY, OFFSETS),
    ("post_processor.use_regex", ANY, OFFSETS),
    ("post_processor.single.*.*.type_id", ANY, NO_TYPES),
    ("post_processor.pair", ANY, NO_PAIRS),
    ("post_processor.special_tokens.*.id", ANY, BY_IDS),
    ("post_processor.special_tokens.*.ids", ANY, NO_PAIRS),
    ("post_processor.special_tokens.*.tokens", ANY, NO_PAIRS),
    ("post_processor.special_tokens.*.tokens.*", ANY, NO_PAIRS),
    ("post_processor.special_tokens.*.ids.*", ANY, NO_PAIRS),
    ("post_processor.processors.*.trim_offsets", ANY, OFFSETS),
    ("post_processor.processors.*.add_prefix_space", ANY, OFFSETS),
    ("post_processor.processors.*.use_regex", ANY, OFFSETS),
    ("post_processor.processors.*.single.*.*.type_id", ANY, NO_TYPES),
    ("post_processor.processors.*.pair", ANY, NO_PAIRS),
    ("post_processor.processors.*.special_tokens.*.id", ANY, BY_IDS),
    ("post_processor.processors.*.special_tokens.*.ids", ANY, NO_PAIRS),
    ("post_processor.processors.*.special_tokens.*.tokens", ANY, NO_PAIRS),
    ("post_processor.processors.*.special_tokens.*.tokens.*", ANY, NO_PAIRS),
    ("post_processor.processors.*.special_tokens.*.ids.*", ANY, NO_PAIRS),
];

const TOKENIZER_CONFIG_FIELDS: &[Rule] = &[
    ("tokenizer_class", ANY, BY_FILE),
    ("processor_class", ANY, ELSEWHERE),
    ("tokenizer_file", ANY, ELSEWHERE),
    ("name_or_path", ANY, ELSEWHERE),
    ("backend", ANY, ELSEWHERE),
    ("is_local", ANY, ELSEWHERE),
    ("local_files_only", ANY, ELSEWHERE),
    ("from_slow", ANY, ELSEWHERE),
    ("use_fast", ANY, "both forms of a tokenizer give the same tokens"),
    ("special_tokens_map_file", ANY, ELSEWHERE),
    ("auto_map", ANY, "names Python code, of which nothing is run"),
    ("model_max_length", ANY, "the model's own length is the limit"),
    ("max_len", ANY, "the older name of model_max_length"),
    ("max_length", ANY, BY_CALL),
    ("stride", ANY, BY_CALL),
    ("truncation", ANY, BY_CALL),
    ("truncation_side", ANY, BY_CALL),
    ("truncation_strategy", ANY, BY_CALL),
    ("padding", ANY, BY_CALL),
    ("padding_side", ANY, BY_CALL),
    ("pad_to_multiple_of", ANY, BY_CALL),
    ("pad_token_type_id", ANY, BY_CALL),
    ("model_input_names", ANY, OUTPUTS),
    ("return_token_type_ids", ANY, OUTPUTS),
    ("clean_up_tokenization_spaces", ANY, SPELLED),
    ("spaces_between_special_tokens", ANY, SPELLED),
    ("do_lower_case", ANY, BY_FILE),
    ("strip_accents", ANY, BY_FILE),
    ("tokenize_chinese_chars", ANY, BY_FILE),
    ("add_prefix_space", ANY, BY_FILE),
    ("added_tokens_decoder.*.normalized", ANY, NO_NORMALIZER),
    ("*.__type", ANY, BY_LIST),
    ("*.lstrip", ANY, BY_LIST),
    ("*.rstrip", ANY, BY_LIST),
    ("*.single_word", ANY, BY_LIST),
    ("*.normalized", ANY, BY_LIST),
    ("*.special", ANY, BY_LIST),
    ("*.*.__type", ANY, BY_LIST),
    ("*.*.lstrip", ANY, BY_LIST),
    ("*.*.rstrip", ANY, BY_LIST),
    ("*.*.single_word", ANY, BY_LIST),
    ("*.*.normalized", ANY, BY_LIST),
    ("*.*.special", ANY, BY_LIST),
    ("chat_template", ANY, "a file has the template"),
    ("split_special_tokens", "false", "special tokens are found"),
    ("errors", ANY, "bytes that are not UTF-8 are always replaced"),
    ("legacy", ANY, "tokenizer.json has the steps"),
    ("sp_model_kwargs", ANY, "tokenizer.json has the steps"),
    ("use_default_system_prompt", ANY, "the chat template has the prompt"),
    ("never_split", "null | []", "no token is kept whole"),
    ("do_basic_tokenize", "true", "texts are cut into words"),
    ("normalizer_type", "null", "tokenizer.json has the steps"),
    ("vocab_file", ANY, ELSEWHERE),
    ("merges_file", ANY, ELSEWHERE),
    // Where tokenizer.json has a template these say it again.
    ("add_bos_token", ANY, BY_TEMPLATE),
    ("add_eos_token", ANY, BY_TEMPLATE),
    ("bos_token_id", ANY, "bos_token names the token"),
    ("eos_token_id", ANY, "eos_token names the token"),
    ("pad_token_id", ANY, "pad_token names the token"),
    ("unk_token_id", ANY, "unk_token names the token"),
];

const GENERATION_FIELDS: &[Rule] = &[
    ("_from_model_config", ANY, ELSEWHERE),
    ("transformers_version", ANY, ELSEWHERE),
    ("bos_token_id", ANY, BY_TOKENIZER),
    ("pad_token_id", ANY, BY_TOKENIZER),
    ("decoder_start_token_id", ANY, "there is no decoder that begins with a token of its own"),
    ("chat_format", ANY, "the chat template has the format"),
    ("trust_remote_code", ANY, "no code is run"),
    ("do_sample", ANY, DRAWN),
    ("temperature", ANY, DRAWN),
    ("top_k", ANY, DRAWN),
    ("top_p", ANY, DRAWN),
    ("min_p", ANY, DRAWN),
    ("top_h", ANY, DRAWN),
    ("typical_p", ANY, DRAWN),
    ("epsilon_cutoff", ANY, DRAWN),
    ("eta_cutoff", ANY, DRAWN),
    ("seed", ANY, DRAWN),
    ("repetition_penalty", ANY, DRAWN),
    ("presence_penalty", ANY, DRAWN),
    ("frequency_penalty", ANY, DRAWN),
    ("encoder_repetition_penalty", ANY, DRAWN),
    ("no_repeat_ngram_size", ANY, DRAWN),
    ("penalty_alpha", ANY, DRAWN),
    ("guidance_scale", ANY, DRAWN),
    ("renormalize_logits", ANY, DRAWN),
    ("remove_invalid_values", ANY, DRAWN),
    ("num_beams", ANY, DRAWN),
    ("num_beam_groups", ANY, DRAWN),
    ("diversity_penalty", ANY, DRAWN),
    ("early_stopping", ANY, DRAWN),
    ("length_penalty", ANY, DRAWN),
    ("num_return_sequences", ANY, DRAWN),
    ("max_length", ANY, LENGTH),
    ("max_new_tokens", ANY, LENGTH),
    ("max_window_size", ANY, LENGTH),
    ("min_length", ANY, LENGTH),
    ("min_new_tokens", ANY, LENGTH),
    ("max_time", ANY, LENGTH),
    ("use_cache", ANY, MEMORY),
    ("cache_implementation", ANY, MEMORY),
    ("cache_config", ANY, MEMORY),
    ("disable_compile", ANY, MEMORY),
    ("output_attentions", ANY, OUTPUTS),
    ("output_hidden_states", ANY, OUTPUTS),
    ("output_scores", ANY, OUTPUTS),
    ("output_logits", ANY, OUTPUTS),
    ("return_dict_in_generate", ANY, OUTPUTS),
    ("num_assistant_tokens", ANY, SPECULATION),
    ("num_assistant_tokens_schedule", ANY, SPECULATION),
    ("assistant_confidence_threshold", ANY, SPECULATION),
    ("prompt_lookup_num_tokens", ANY, SPECULATION),
    ("is_assistant", ANY, SPECULATION),
];

/// Gives what became of each field of the checkpoint's sidecar files, after the plan has been made, until there is an error.
fn each(checkpoint: &Checkpoint, give: &mut dyn FnMut(Field) -> Result<(), Error>) -> Result<(), Error> {
    let own = architecture::harmless(checkpoint)?;
    // Without a table is only vocab.json, which tokenizer.json takes the place of.
    for (file, value) in checkpoint.sidecars() {
        let Some((_, table)) = TABLES.iter().find(|(name, _)| of_file(name, file)) else { continue };
        let own = own.iter().flat_map(|rules| *rules).filter(|_| file == CONFIG);
        let rules: Vec<_> = table.iter().chain(own).collect();
        walk(checkpoint, file, &rules, String::new(), value, give)?;
    }
    Ok(())
}

/// What became of each field.
///
/// # Errors
/// [`Error::UnknownArchitecture`] and the like.
pub(crate) fn fates(checkpoint: &Checkpoint) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    each(checkpoint, &mut |field| {
        fields.push(field);
        Ok(())
    })?;
    Ok(fields)
}

/// Whether a table is about a file.
fn of_file(name: &str, file: &str) -> bool {
    if name.starts_with('/') { file.ends_with(name) } else { name == file }
}

/// Gives the field at `path` or, if nobody read it as a whole and no rule is about it, those in it.
fn walk(
    checkpoint: &Checkpoint,
    file: &str,
    rules: &[&Rule],
    path: String,
    value: &Value,
    give: &mut dyn FnMut(Field) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut fitting = rules.iter().filter(|(pattern, ..)| fits(pattern, &path)).peekable();
    let known = if fitting.peek().is_some() { Fate::Unsupported } else { Fate::Unknown };
    let rule = fitting.find(|(_, values, _)| allows(values, value));
    let by_rule = rule.map_or(known, |(.., reason)| Fate::Harmless(reason));
    let fate = checkpoint.reads().fate(file, &path).unwrap_or(by_rule);
    match value {
        // An absent field and null are the same.
        Value::Null => Ok(()),
        Value::Object(inner) if fate == Fate::Unknown && !inner.is_empty() => {
            inner.iter().try_for_each(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(checkpoint, file, rules, path, value, give)
            })
        }
        Value::Array(inner) if fate == Fate::Unknown && !inner.is_empty() => inner
            .iter()
            .enumerate()
            .try_for_each(|(i, value)| walk(checkpoint, file, rules, format!("{path}[{i}]"), value, give)),
        value => give(Field { file: file.into(), path, value: json::short(value), fate }),
    }
}

/// Whether a path is one of a pattern's.
fn fits(pattern: &str, path: &str) -> bool {
    // The towers of a model have the fields of models.
    let path = path.strip_prefix("vision_config.").or_else(|| path.strip_prefix("text_config.")).unwrap_or(path);
    let parts = |text: &str| text.replace('[', ".").replace(']', "");
    let (pattern, path) = (parts(pattern), parts(path));
    let (mut wanted, mut found) = (pattern.split('.'), path.split('.').filter(|part| !part.is_empty()));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == ANY || wanted == found => {}
            _ => return false,
        }
    }
}

/// Whether a value is one of those in a rule.
fn allows(values: &str, value: &Value) -> bool {
    values == ANY
        || values
            .split(" | ")
            .any(|allowed| serde_json::from_str(allowed).is_ok_and(|allowed: Value| allowed == *value))
}

/// That no field is unknown.
///
/// # Errors
/// [`Error::UnknownField`] or [`Error::Unsupported`] for the first.
pub(crate) fn check(checkpoint: &Checkpoint) -> Result<(), Error> {
    each(checkpoint, &mut |Field { file, path: field, value, fate }| match fate {
        Fate::Unknown => Err(Error::UnknownField { file, field, value }),
        Fate::Unsupported => Err(Error::Unsupported { file, field, value }),
        Fate::Used | Fate::Harmless(_) => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SIDECARS;

    #[test]
    fn every_file_has_a_table() {
        let json = SIDECARS.iter().filter(|file| file.ends_with(".json") && **file != "vocab.json");
        json.for_each(|file| assert!(TABLES.iter().any(|(name, _)| of_file(name, file)), "{file}"));
    }
}
