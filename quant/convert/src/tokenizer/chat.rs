//! Chat templates, where transformers looks for them: files first, then `tokenizer_config.json`.

use super::TOKENIZER_CONFIG;
use crate::plan::Planner;
use crate::{Error, Meta};

const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// The folder of further chat templates beside the weights, `NAME.jinja` each.
pub const CHAT_TEMPLATES: &str = "additional_chat_templates/";
/// The form of processors, and of older files.
const IN_JSON: &str = "chat_template.json";

/// Writes the chat template, if there is one, and the others by their names.
pub(super) fn write(planner: &mut Planner) -> Result<(), Error> {
    let checkpoint = planner.checkpoint;
    let mut templates = Vec::new();
    if let Some(text) = checkpoint.text(CHAT_TEMPLATE)? {
        templates.push(("default".to_owned(), text.to_owned()));
    }
    for name in checkpoint.text_names().filter(|name| name.starts_with(CHAT_TEMPLATES)) {
        let own = name.strip_prefix(CHAT_TEMPLATES).and_then(|own| own.strip_suffix(".jinja"));
        if let (Some(own), Some(text)) = (own, checkpoint.text(name)?) {
            templates.push((own.to_owned(), text.to_owned()));
        }
    }
    // Files are the newer form: an author who has written one has left the other as it was.
    let config = checkpoint.json(TOKENIZER_CONFIG).and_then(|config| config.get("chat_template"));
    match config.filter(|_| templates.is_empty()) {
        Some(list) if list.is_list() => {
            for entry in list.list()? {
                templates.push((entry.require("name")?.str()?.into(), entry.require("template")?.str()?.into()));
            }
        }
        Some(text) => templates.push(("default".into(), text.str()?.into())),
        None if templates.is_empty() => {
            if let Some(text) = checkpoint.json(IN_JSON).and_then(|json| json.get("chat_template")) {
                templates.push(("default".into(), text.str()?.into()));
            }
        }
        None => {}
    }
    for (name, template) in templates {
        match name.as_str() {
            "default" => planner.metadata("tokenizer.chat_template", Meta::from(template)),
            name if name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) =>
            {
                planner.metadata(format!("tokenizer.chat_template.{name}"), Meta::from(template));
            }
            name => {
                let reason =
                    format!("the name of the chat template {name:.64?} has more than letters, digits, - and _");
                return Err(Error::Tokenizer { file: TOKENIZER_CONFIG.into(), reason });
            }
        }
    }
    Ok(())
}
