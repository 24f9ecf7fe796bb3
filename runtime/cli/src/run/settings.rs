//! How a model is run: as the flags say, and where they do not as the model's registry says.

use crate::args::RunArgs;
use smidgen::sampler::Sampling;

/// How a model is run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) sampling: Sampling,
    /// Most tokens to generate.
    pub(super) most: Option<usize>,
    /// Context in tokens, and what says so.
    pub(super) context: Option<(usize, &'static str)>,
    /// Texts that end an answer.
    pub(super) stops: Vec<String>,
    pub(super) system: Option<String>,
    /// Messages before those of the user, each a role and a content.
    pub(super) messages: Vec<(String, String)>,
    /// A template in Go's form, instead of the file's.
    #[cfg(feature = "hub")]
    pub(super) template: Option<String>,
    /// Ollama's own code that writes the prompts, in whose place the file's template is.
    #[cfg(feature = "hub")]
    pub(super) renderer: Option<String>,
}

impl Settings {
    /// What the flags say.
    pub(super) fn of(args: &RunArgs) -> Settings {
        Settings {
            sampling: Sampling {
                temperature: args.temp.unwrap_or(0.2),
                top_k: args.top_k.unwrap_or(40),
                top_p: args.top_p.unwrap_or(0.95),
                min_p: args.min_p.unwrap_or(0.05),
                repetition_penalty: args.repeat_penalty.unwrap_or(1.0),
                frequency_penalty: args.frequency_penalty.unwrap_or(0.0),
                presence_penalty: args.presence_penalty.unwrap_or(0.0),
                window: args.penalty_window.unwrap_or(64),
                seed: args.seed.unwrap_or(0),
            },
            most: args.n.map(|most| most.get()),
            context: args.ctx.map(|context| (context.get(), "--ctx")),
            stops: args.stop.clone(),
            system: args.system.clone(),
            messages: Vec::new(),
            #[cfg(feature = "hub")]
            template: None,
            #[cfg(feature = "hub")]
            renderer: None,
        }
    }
}

#[cfg(feature = "hub")]
impl Settings {
    /// What the flags say, and else the registry. The stop texts of both count. A prompt that is taken as it is needs no template,
    /// system message or first messages.
    ///
    /// # Errors
    /// The parameter that changes the answer and is not supported.
    pub(super) fn with(args: &RunArgs, defaults: smidgen_host::hub::Defaults) -> Result<Settings, String> {
        if let Some(parameter) = defaults.refused() {
            return Err(format!(
                "the parameter {parameter} of its registry changes the answer and is not supported; --no-defaults goes without"
            ));
        }
        let mut settings = Settings::of(args);
        let given = defaults.parameters;
        let sampling = &mut settings.sampling;
        sampling.temperature = args.temp.or(given.temperature).unwrap_or(sampling.temperature);
        sampling.top_k = args.top_k.or(given.top_k).unwrap_or(sampling.top_k);
        sampling.top_p = args.top_p.or(given.top_p).unwrap_or(sampling.top_p);
        sampling.min_p = args.min_p.or(given.min_p).unwrap_or(sampling.min_p);
        sampling.repetition_penalty =
            args.repeat_penalty.or(given.repeat_penalty).unwrap_or(sampling.repetition_penalty);
        sampling.frequency_penalty =
            args.frequency_penalty.or(given.frequency_penalty).unwrap_or(sampling.frequency_penalty);
        sampling.presence_penalty =
            args.presence_penalty.or(given.presence_penalty).unwrap_or(sampling.presence_penalty);
        sampling.window = args.penalty_window.or(given.repeat_last_n).unwrap_or(sampling.window);
        sampling.seed = args.seed.or(given.seed).unwrap_or(sampling.seed);
        settings.most = settings.most.or(given.num_predict);
        settings.context = settings.context.or(given.num_ctx.map(|context| (context, "num_ctx of its registry:")));
        settings.stops.extend(given.stop);
        if !args.raw && args.tokens.is_none() {
            settings.template = defaults.template;
            settings.renderer = defaults.renderer;
            settings.system = settings.system.or(defaults.system);
            settings.messages = defaults.messages;
        }
        Ok(settings)
    }
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use serde_json::{Value, json};
    use smidgen_host::hub::Defaults;

    /// A flag, the setting that it is for, the registry's value, and the flag's.
    type Row = (&'static [&'static str], fn(&Settings) -> f64, f64, f64);

    fn args(flags: &[&str]) -> RunArgs {
        let words = ["smidgen", "run", "m.gguf"].into_iter().chain(flags.iter().copied());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn with(flags: &[&str], defaults: &Value) -> Result<Settings, String> {
        Settings::with(&args(flags), Defaults::of_value(defaults).unwrap())
    }

    #[test]
    fn flags_win_over_the_registry() {
        let defaults = json!({
            "template": "{{ .Prompt }}",
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "parameters": {
                "temperature": 0.7, "top_k": 10, "top_p": 0.8, "min_p": 0.1, "repeat_penalty": 1.1, "frequency_penalty": 0.5,
                "presence_penalty": 0.25, "repeat_last_n": 32, "seed": 7, "num_predict": 100, "num_ctx": 2048, "stop": ["<|end|>"],
            },
        });
        let plain = Settings::of(&args(&[]));
        let expected = Sampling {
            temperature: 0.7,
            top_k: 10,
            top_p: 0.8,
            min_p: 0.1,
            repetition_penalty: 1.1,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            window: 32,
            seed: 7,
        };
        let settings = with(&[], &defaults).unwrap();
        assert_eq!(settings.sampling, expected);
        assert_eq!((settings.most, settings.context.map(|(tokens, _)| tokens)), (Some(100), Some(2048)));
        assert_eq!((settings.stops, settings.system.as_deref()), (vec!["<|end|>".to_owned()], Some("Be brief.")));
        assert_eq!((settings.messages.len(), settings.template.as_deref()), (2, Some("{{ .Prompt }}")));
        // Each flag alone takes the place of its parameter, also with the value that it has by default.
        let flags: &[Row] = &[
            (&["--temp", "0.2"], |s| s.sampling.temperature.into(), 0.7, 0.2),
            (&["--top-k", "40"], |s| s.sampling.top_k as f64, 10.0, 40.0),
            (&["--top-p", "0.95"], |s| s.sampling.top_p.into(), 0.8, 0.95),
            (&["--min-p", "0.05"], |s| s.sampling.min_p.into(), 0.1, 0.05),
            (&["--repeat-penalty", "1"], |s| s.sampling.repetition_penalty.into(), 1.1, 1.0),
            (&["--frequency-penalty", "0"], |s| s.sampling.frequency_penalty.into(), 0.5, 0.0),
            (&["--presence-penalty", "0"], |s| s.sampling.presence_penalty.into(), 0.25, 0.0),
            (&["--penalty-window", "64"], |s| s.sampling.window as f64, 32.0, 64.0),
            (&["--seed", "0"], |s| s.sampling.seed as f64, 7.0, 0.0),
            (&["-n", "5"], |s| s.most.unwrap_or(0) as f64, 100.0, 5.0),
            (&["--ctx", "64"], |s| s.context.map_or(0, |(tokens, _)| tokens) as f64, 2048.0, 64.0),
        ];
        for (at, (flag, value, registry, own)) in flags.iter().enumerate() {
            let settings = with(flag, &defaults).unwrap();
            assert!((value(&settings) - own).abs() < 1e-6, "{flag:?}");
            for (other, value, registry, _) in flags.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, flag)| flag)
            {
                assert!((value(&settings) - registry).abs() < 1e-6, "{other:?} with {flag:?}");
            }
            assert!((own - registry).abs() > 1e-6, "{flag:?}");
        }
        let settings = with(&["--system", "Sing.", "--stop", "x"], &defaults).unwrap();
        assert_eq!((settings.system.as_deref(), settings.stops), (Some("Sing."), vec!["x".into(), "<|end|>".into()]));
        // Without the registry, and with one that says nothing.
        assert_eq!(with(&[], &json!({})).unwrap(), plain);
        assert_eq!(
            with(&["--temp", "0", "-n", "3"], &json!({})).unwrap(),
            Settings::of(&args(&["--temp", "0", "-n", "3"]))
        );
        for raw in [&["--raw"][..], &["--tokens", "1"]] {
            let settings = with(raw, &defaults).unwrap();
            assert_eq!((settings.template, settings.system, settings.messages.len()), (None, None, 0), "{raw:?}");
            assert_eq!(settings.sampling, expected);
        }
    }

    #[test]
    fn what_changes_the_answer_is_refused() {
        let error = with(&[], &json!({"parameters": {"mirostat": 1}})).unwrap_err();
        assert!(
            error.contains("the parameter mirostat 1 of its registry") && error.contains("--no-defaults"),
            "{error}"
        );
        assert!(with(&[], &json!({"parameters": {"num_gpu": 1, "mirostat": 0}})).is_ok());
    }
}
