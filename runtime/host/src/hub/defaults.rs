//! How a registry has a model used: the layers beside its weights.

use super::HubError;
use serde_json::{Map, Value, json};

/// Parameters that are honoured; those that are absent are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Divides the logits; from 0.
    pub temperature: Option<f32>,
    /// Sampling among so many tokens; 0 for all.
    pub top_k: Option<usize>,
    /// Sampling among tokens whose probabilities add up to this; above 0, at most 1.
    pub top_p: Option<f32>,
    /// The least part of the largest probability; 0 to 1.
    pub min_p: Option<f32>,
    /// Divides the logits of recent tokens; above 0.
    pub repeat_penalty: Option<f32>,
    /// Subtracted from the logits of recent tokens for each occurrence.
    pub frequency_penalty: Option<f32>,
    /// Subtracted from the logits of recent tokens once.
    pub presence_penalty: Option<f32>,
    /// How many of the last tokens are recent; `usize::MAX` for all.
    pub repeat_last_n: Option<usize>,
    /// Where the random numbers begin. A registry's -1, any number, is none.
    pub seed: Option<u64>,
    /// Most tokens to generate; without a bound, as with 0 and below, none.
    pub num_predict: Option<usize>,
    /// Context in tokens; from 1.
    pub num_ctx: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
}

/// A model's template, system message, first messages and parameters, as its registry has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// The chat template, in Go's form.
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Messages before those of the user, each a role and a content.
    pub messages: Vec<(String, String)>,
    /// The name of Ollama's own code that writes the prompts. The template says nothing then, and is none.
    pub renderer: Option<String>,
    /// What can be honoured of the parameters.
    pub parameters: Parameters,
    /// All parameters, as the registry has them.
    given: Map<String, Value>,
}

/// Parameters that change no answer here, with the reason.
const HARMLESS: &[(&str, &str)] = &[
    ("num_keep", "a context that is full ends the answer, so that none of it is kept"),
    ("num_batch", "prompts give the same bits in batches of any size"),
    ("num_thread", "threads change no bits; --threads sets them"),
    ("num_gpu", "there is no GPU"),
    ("main_gpu", "there is no GPU"),
    ("low_vram", "there is no GPU"),
    ("num_gqa", "the file says how many heads there are"),
    ("numa", "where threads run changes no bits"),
    ("use_mmap", "files are always mapped"),
    ("use_mlock", "what stays in memory changes no bits"),
    ("f16_kv", "--kv sets the type of the cache"),
    ("vocab_only", "it is of the loader"),
    ("logits_all", "it is of the loader"),
    ("embedding_only", "it is of the loader"),
    ("draft_num_predict", "there is no draft model"),
    ("mirostat_tau", "it is of mirostat"),
    ("mirostat_eta", "it is of mirostat"),
];

fn fault<T>(reason: impl Into<String>) -> Result<T, HubError> {
    Err(HubError::Defaults { reason: reason.into() })
}

impl Defaults {
    /// What the texts of a registry's layers say; none of those that are empty. `params` and `messages` are JSON.
    ///
    /// # Errors
    /// [`HubError::Defaults`], which names the layer, and the parameter whose value has a wrong type or makes no sense.
    pub fn of_layers(
        template: Option<&str>,
        system: Option<&str>,
        params: Option<&str>,
        messages: Option<&str>,
    ) -> Result<Defaults, HubError> {
        let read = |kind: &str, text: Option<&str>| match text.filter(|text| !text.trim().is_empty()) {
            None => Ok(Value::Null),
            Some(text) => {
                serde_json::from_str(text).or_else(|error| fault(format!("the layer {kind} is no JSON ({error})")))
            }
        };
        let value = json!({
            "template": template.filter(|text| !text.is_empty()),
            "system": system.filter(|text| !text.is_empty()),
            "parameters": read("params", params)?,
            "messages": read("messages", messages)?,
        });
        Defaults::of_value(&value)
    }

    /// Adds what the configuration of the model in the registry says, in JSON: whether Ollama has a renderer for it, in
    /// whose place the file's own template is used.
    ///
    /// # Errors
    /// [`HubError::Defaults`] for another form of weights than GGUF, and for what is no JSON.
    pub fn with_config(mut self, config: &str) -> Result<Defaults, HubError> {
        let config: Value = serde_json::from_str(config)
            .or_else(|error| fault(format!("the configuration of the model is no JSON ({error})")))?;
        let text = |name: &str| match config.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => fault(format!("the field {name} of the model's configuration has a wrong type")),
        };
        if let Some(form) = text("model_format")?.filter(|form| form != "gguf") {
            return fault(format!("its weights are in {}, not in GGUF; use another tag", crate::one_line(&form)));
        }
        self.renderer = text("renderer")?.map(|name| crate::one_line(&name));
        if self.renderer.is_some() {
            self.template = None;
        }
        Ok(self)
    }

    /// What a record on the shelf says: a map of `template`, `system`, `renderer`, `parameters` and `messages`, each of which may be absent.
    ///
    /// # Errors
    /// [`HubError::Defaults`], as for [`of_layers`](Self::of_layers).
    pub fn of_value(value: &Value) -> Result<Defaults, HubError> {
        let Value::Object(entries) = value else { return fault("the defaults of the model are no map") };
        let mut defaults = Defaults::default();
        for (key, value) in entries {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("template", Value::String(text)) => defaults.template = Some(text.clone()),
                ("system", Value::String(text)) => defaults.system = Some(text.clone()),
                ("renderer", Value::String(name)) => defaults.renderer = Some(crate::one_line(name)),
                ("parameters", Value::Object(parameters)) => {
                    defaults.parameters = Parameters::of(parameters)?;
                    defaults.given.clone_from(parameters);
                }
                ("messages", Value::Array(messages)) => {
                    let messages = messages.iter().enumerate().map(|(index, value)| message(value, index + 1));
                    defaults.messages = messages.collect::<Result<_, _>>()?;
                }
                ("template" | "system" | "renderer" | "parameters" | "messages", _) => {
                    return fault(format!("the layer {key} of the model has a wrong type"));
                }
                _ => return fault(format!("the defaults of the model have an unknown field {key:?}")),
            }
        }
        Ok(defaults)
    }

    /// The map that [`of_value`](Self::of_value) reads; none if there is nothing to say.
    #[must_use]
    pub fn to_value(&self) -> Option<Value> {
        let mut entries = Map::new();
        entries.extend(self.template.as_ref().map(|text| ("template".to_owned(), text.as_str().into())));
        entries.extend(self.system.as_ref().map(|text| ("system".to_owned(), text.as_str().into())));
        entries.extend(self.renderer.as_ref().map(|name| ("renderer".to_owned(), name.as_str().into())));
        if !self.given.is_empty() {
            entries.insert("parameters".to_owned(), Value::Object(self.given.clone()));
        }
        if !self.messages.is_empty() {
            let messages = self.messages.iter().map(|(role, content)| json!({ "role": role, "content": content }));
            entries.insert("messages".to_owned(), messages.collect());
        }
        (!entries.is_empty()).then_some(Value::Object(entries))
    }

    /// A parameter that changes the answer and cannot be honoured, with its value; none if there is no such.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let penalizes = self.parameters.repeat_penalty.is_some_and(|penalty| penalty != 1.0);
        let neutral = |name: &str, value: &Value| match name {
            "mirostat" | "rope_frequency_base" | "rope_frequency_scale" => value.as_f64() == Some(0.0),
            "tfs_z" | "typical_p" => value.as_f64() == Some(1.0),
            // Line ends are tokens like others here.
            "penalize_newline" => value.as_bool() == Some(true) || !penalizes,
            _ => true,
        };
        let found = self.given.iter().find(|(name, value)| !value.is_null() && !neutral(name, value));
        // The digits of a number that serde_json writes depend on its features.
        let shown = |value: &Value| value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string());
        found.map(|(name, value)| format!("{name} {}", crate::one_line(&shown(value))))
    }

    /// The names of parameters that nobody knows, which are passed over.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let is_known = |name: &str| {
            let refused =
                ["mirostat", "rope_frequency_base", "rope_frequency_scale", "tfs_z", "typical_p", "penalize_newline"];
            let harmless = HARMLESS.iter().any(|(known, _)| *known == name);
            harmless || refused.contains(&name) || HONOURED.contains(&name)
        };
        self.given.keys().map(String::as_str).filter(move |name| !is_known(name))
    }
}

/// The names of what [`Parameters`] has.
const HONOURED: &[&str] = &[
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "repeat_last_n",
    "seed",
    "num_predict",
    "num_ctx",
    "stop",
];

fn message(value: &Value, number: usize) -> Result<(String, String), HubError> {
    let Value::Object(entries) = value else {
        return fault(format!("message {number} of the layer messages is no map"));
    };
    let (mut role, mut content) = (String::new(), String::new());
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("role", Value::String(text)) => role.clone_from(text),
            ("content", Value::String(text)) => content.clone_from(text),
            (_, Value::Null) => {}
            _ => return fault(format!("{key} of message {number} of the layer messages is not supported")),
        }
    }
    if role.is_empty() {
        return fault(format!("message {number} of the layer messages has no role"));
    }
    Ok((role, content))
}

impl Parameters {
    fn of(given: &Map<String, Value>) -> Result<Parameters, HubError> {
        let mut parameters = Parameters::default();
        for (name, value) in given {
            if value.is_null() {
                continue;
            }
            let wrong = |words: &str| HubError::Defaults {
                reason: format!(
                    "the parameter {name} of the model must be {words}, not {}",
                    crate::one_line(&value.to_string())
                ),
            };
            let number = |fits: fn(f32) -> bool, words: &str| {
                #[allow(clippy::cast_possible_truncation, reason = "the sampler computes with f32")]
                let number = value.as_f64().map(|number| number as f32);
                number.filter(|number| number.is_finite() && fits(*number)).map(Some).ok_or_else(|| wrong(words))
            };
            let whole = || whole(value).ok_or_else(|| wrong("a whole number"));
            let size = |number: i64| usize::try_from(number).ok();
            match name.as_str() {
                "temperature" => parameters.temperature = number(|number| number >= 0.0, "a number from 0")?,
                "top_p" => {
                    parameters.top_p = number(|number| number > 0.0 && number <= 1.0, "a number above 0, at most 1")?;
                }
                "min_p" => {
                    parameters.min_p = number(|number| (0.0..=1.0).contains(&number), "a number from 0 to 1")?;
                }
                "repeat_penalty" => parameters.repeat_penalty = number(|number| number > 0.0, "a number above 0")?,
                "frequency_penalty" => parameters.frequency_penalty = number(|_| true, "a number")?,
                "presence_penalty" => parameters.presence_penalty = number(|_| true, "a number")?,
                // Below 0 is all of them, as 0 is.
                "top_k" => parameters.top_k = Some(size(whole()?).unwrap_or(0)),
                "repeat_last_n" => {
                    parameters.repeat_last_n = match whole()? {
                        -1 => Some(usize::MAX),
                        number => Some(size(number).ok_or_else(|| wrong("a whole number from -1"))?),
                    };
                }
                "seed" => {
                    parameters.seed = match whole()? {
                        -1 => None,
                        number => Some(u64::try_from(number).map_err(|_| wrong("a whole number from -1"))?),
                    };
                }
                "num_predict" => parameters.num_predict = size(whole()?).filter(|number| *number > 0),
                "num_ctx" => {
                    let tokens = size(whole()?).filter(|tokens| *tokens > 0);
                    parameters.num_ctx = Some(tokens.ok_or_else(|| wrong("a whole number from 1"))?);
                }
                "stop" => parameters.stop = stops(value).ok_or_else(|| wrong("a list of texts"))?,
                "mirostat"
                | "mirostat_tau"
                | "mirostat_eta"
                | "tfs_z"
                | "typical_p"
                | "rope_frequency_base"
                | "rope_frequency_scale" => {
                    number(|_| true, "a number")?;
                }
                "penalize_newline" if !value.is_boolean() => return Err(wrong("true or false")),
                _ => {}
            }
        }
        Ok(parameters)
    }
}

/// A whole number, which may be written as a float.
fn whole(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and small")]
    let float =
        || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64);
    value.as_i64().or_else(float)
}

fn stops(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(texts) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parameters: &str) -> Result<Defaults, HubError> {
        Defaults::of_layers(None, None, Some(parameters), None)
    }

    #[test]
    fn layers_and_records_say_the_same() {
        let params = r#"{"temperature": 0.5, "top_k": 20, "stop": ["<|end|>", "User:"], "num_thread": 4, "new": [1]}"#;
        let messages = r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]"#;
        let defaults =
            Defaults::of_layers(Some("{{ .Prompt }}"), Some("Be brief."), Some(params), Some(messages)).unwrap();
        assert_eq!(defaults.template.as_deref(), Some("{{ .Prompt }}"));
        assert_eq!(defaults.system.as_deref(), Some("Be brief."));
        assert_eq!(defaults.messages, [("user".into(), "Hi".into()), ("assistant".into(), "Ho".into())]);
        assert_eq!(defaults.parameters.temperature, Some(0.5));
        assert_eq!(defaults.parameters.top_k, Some(20));
        assert_eq!(defaults.parameters.stop, ["<|end|>", "User:"]);
        let value = defaults.to_value().unwrap();
        assert_eq!(value["parameters"]["num_thread"], 4, "nothing is lost");
        assert_eq!(Defaults::of_value(&value).unwrap(), defaults);
        assert_eq!(defaults.unknown().collect::<Vec<_>>(), ["new"]);
        assert_eq!(defaults.refused(), None);
        for empty in
            [Defaults::of_layers(None, None, None, None), Defaults::of_layers(Some(""), Some(""), Some(" "), Some(""))]
        {
            assert_eq!(empty.unwrap().to_value(), None);
        }
    }

    #[test]
    fn parameters_are_honoured() {
        let all = r#"{"temperature": 0, "top_k": -1, "top_p": 1, "min_p": 0.1, "repeat_penalty": 1.1, "frequency_penalty": -0.5,
            "presence_penalty": 2, "repeat_last_n": -1, "seed": 42, "num_predict": 128, "num_ctx": 4096.0, "stop": "x"}"#;
        let expected = Parameters {
            temperature: Some(0.0),
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.1),
            repeat_penalty: Some(1.1),
            frequency_penalty: Some(-0.5),
            presence_penalty: Some(2.0),
            repeat_last_n: Some(usize::MAX),
            seed: Some(42),
            num_predict: Some(128),
            num_ctx: Some(4096),
            stop: vec!["x".into()],
        };
        let defaults = of(all).unwrap();
        assert_eq!(defaults.parameters, expected);
        assert_eq!(defaults.given.len(), HONOURED.len());
        assert_eq!((defaults.unknown().count(), defaults.refused()), (0, None));
        let open = of(r#"{"num_predict": -1, "seed": -1, "repeat_last_n": 0, "temperature": null}"#).unwrap();
        assert_eq!(open.parameters, Parameters { repeat_last_n: Some(0), ..Parameters::default() });
    }

    #[test]
    fn what_changes_the_answer_is_refused() {
        for (parameters, refused) in [
            (r#"{"mirostat": 2}"#, Some("mirostat 2")),
            (r#"{"mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1}"#, None),
            (r#"{"typical_p": 0.7}"#, Some("typical_p 0.7")),
            (r#"{"typical_p": 1.0, "tfs_z": 1}"#, None),
            (r#"{"tfs_z": 0.5}"#, Some("tfs_z 0.5")),
            (r#"{"penalize_newline": false, "repeat_penalty": 1.1}"#, Some("penalize_newline false")),
            (r#"{"penalize_newline": false}"#, None),
            (r#"{"penalize_newline": true, "repeat_penalty": 1.1}"#, None),
            (r#"{"rope_frequency_base": 1e6}"#, Some("rope_frequency_base 1000000")),
            (r#"{"rope_frequency_scale": 0}"#, None),
        ] {
            let defaults = of(parameters).unwrap();
            assert_eq!(defaults.refused().as_deref(), refused, "{parameters}");
            assert_eq!(defaults.unknown().count(), 0, "{parameters}");
        }
        for (name, reason) in HARMLESS {
            let defaults = of(&format!(r#"{{"{name}": 1}}"#)).unwrap();
            assert_eq!((defaults.refused(), defaults.unknown().count()), (None, 0), "{name}: {reason}");
        }
    }

    #[test]
    fn the_configuration_names_a_renderer() {
        let config = |text: &str| of("{}").unwrap().with_config(text);
        assert_eq!(config(r#"{"model_format": "gguf", "renderer": ""}"#).unwrap(), Defaults::default());
        assert_eq!(config("{}").unwrap().to_value(), None);
        let defaults = config(r#"{"renderer": "qwen3-coder", "parser": "qwen3-coder", "model_format": ""}"#).unwrap();
        assert_eq!(defaults.renderer.as_deref(), Some("qwen3-coder"));
        assert_eq!(Defaults::of_value(&defaults.to_value().unwrap()).unwrap(), defaults);
        for (text, words) in [
            (r#"{"model_format": "safetensors"}"#, "its weights are in safetensors"),
            (r#"{"renderer": 1}"#, "renderer of the model's configuration"),
            ("<html>", "is no JSON"),
        ] {
            let error = config(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (parameters, words) in [
            (
                r#"{"temperature": "hot"}"#,
                "the parameter temperature of the model must be a number from 0, not \"hot\"",
            ),
            (r#"{"temperature": -1}"#, "temperature"),
            (r#"{"temperature": 1e300}"#, "temperature"),
            (r#"{"top_k": 1.5}"#, "the parameter top_k of the model must be a whole number, not 1.5"),
            (r#"{"top_k": true}"#, "top_k"),
            (r#"{"top_p": 0}"#, "top_p of the model must be a number above 0, at most 1"),
            (r#"{"top_p": 1.01}"#, "top_p"),
            (r#"{"min_p": -0.1}"#, "min_p"),
            (r#"{"repeat_penalty": 0}"#, "repeat_penalty"),
            (r#"{"repeat_last_n": -2}"#, "repeat_last_n of the model must be a whole number from -1"),
            (r#"{"seed": -2}"#, "seed"),
            (r#"{"seed": 1e30}"#, "seed"),
            (r#"{"num_ctx": 0}"#, "num_ctx of the model must be a whole number from 1"),
            (r#"{"stop": [1]}"#, "the parameter stop of the model must be a list of texts, not [1]"),
            (r#"{"stop": {}}"#, "stop"),
            (r#"{"mirostat": "v2"}"#, "mirostat"),
            (r#"{"penalize_newline": 1}"#, "penalize_newline"),
            ("{", "the layer params is no JSON"),
            ("[]", "the layer parameters of the model has a wrong type"),
        ] {
            let error = of(parameters).unwrap_err().to_string();
            assert!(error.contains(words), "{parameters}: {error}");
        }
        for (messages, words) in [
            (r#"{"role": "user"}"#, "the layer messages of the model has a wrong type"),
            (r#"["a"]"#, "message 1 of the layer messages is no map"),
            (r#"[{"role": "user", "content": "a"}, {"role": "user", "images": []}]"#, "images of message 2"),
            (r#"[{"role": 1}]"#, "role of message 1"),
            (r#"[{"content": "a"}]"#, "message 1 of the layer messages has no role"),
        ] {
            let error = Defaults::of_layers(None, None, None, Some(messages)).unwrap_err().to_string();
            assert!(error.contains(words), "{messages}: {error}");
        }
        for (value, words) in
            [(json!([]), "no map"), (json!({"temper": 1}), "\"temper\""), (json!({"system": 1}), "system")]
        {
            let error = Defaults::of_value(&value).unwrap_err().to_string();
            assert!(error.contains(words), "{value}: {error}");
        }
    }
}
