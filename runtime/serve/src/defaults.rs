//! How a model is used where a request says nothing.

use smidgen::Sampling;

/// What counts where a request says nothing: what a model's registry has for it, or OpenAI's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// How tokens are chosen, but for the seed.
    pub sampling: Sampling,
    /// Where the random numbers begin; another number for each request without one.
    pub seed: Option<u64>,
    /// Tokens of an answer in a conversation, at most; without it as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer, beside those of the request.
    pub stops: Vec<String>,
    /// The system message of conversations that begin with none.
    pub system: Option<String>,
    /// Messages before those of the request, each a role and a content.
    pub messages: Vec<(String, String)>,
    /// A chat template in Go's form, in the place of the file's.
    #[cfg(feature = "hub")]
    pub template: Option<String>,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            sampling: Sampling { temperature: 1.0, ..Sampling::default() },
            seed: None,
            max_tokens: None,
            stops: Vec::new(),
            system: None,
            messages: Vec::new(),
            #[cfg(feature = "hub")]
            template: None,
        }
    }
}

#[cfg(feature = "hub")]
impl Defaults {
    /// What a registry has for a model.
    ///
    /// # Errors
    /// The parameter that changes the answer and is not supported.
    pub fn of_registry(registry: smidgen_host::hub::Defaults) -> Result<Defaults, String> {
        if let Some(parameter) = registry.refused() {
            return Err(format!("the parameter {parameter} of its registry changes the answer and is not supported"));
        }
        let (own, given) = (Defaults::default(), registry.parameters);
        let sampling = Sampling {
            temperature: given.temperature.unwrap_or(own.sampling.temperature),
            top_k: given.top_k.unwrap_or(own.sampling.top_k),
            top_p: given.top_p.unwrap_or(own.sampling.top_p),
            min_p: given.min_p.unwrap_or(own.sampling.min_p),
            repetition_penalty: given.repeat_penalty.unwrap_or(own.sampling.repetition_penalty),
            frequency_penalty: given.frequency_penalty.unwrap_or(own.sampling.frequency_penalty),
            presence_penalty: given.presence_penalty.unwrap_or(own.sampling.presence_penalty),
            window: given.repeat_last_n.unwrap_or(own.sampling.window),
            ..own.sampling
        };
        Ok(Defaults {
            sampling,
            seed: given.seed,
            max_tokens: given.num_predict,
            stops: given.stop,
            system: registry.system,
            messages: registry.messages,
            template: registry.template,
        })
    }
}
