//! Friendly names of models, and what they mean on the hub.

/// A friendly name.
#[derive(Clone, Copy, Debug)]
pub struct Friendly {
    /// The name.
    pub name: &'static str,
    /// The hub's name of the model.
    pub means: &'static str,
    /// The day on which the row was written, as YYYY-MM-DD. Repositories are renamed and go.
    pub dated: &'static str,
}

const fn row(name: &'static str, means: &'static str, dated: &'static str) -> Friendly {
    Friendly { name, means, dated }
}

/// Every friendly name, the smallest of a kind first.
pub const FRIENDLY: &[Friendly] = &[
    row("qwen3:0.6b", "hf:unsloth/Qwen3-0.6B-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen3:1.7b", "hf:unsloth/Qwen3-1.7B-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen3:4b", "hf:unsloth/Qwen3-4B-Instruct-2507-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen3:8b", "hf:unsloth/Qwen3-8B-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen2.5:0.5b", "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen2.5:1.5b", "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen2.5:3b", "hf:Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen2.5-coder:0.5b", "hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("qwen2.5-coder:1.5b", "hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("gemma3:270m", "hf:unsloth/gemma-3-270m-it-GGUF:Q8_0", "2026-11-30"),
    row("gemma3:1b", "hf:unsloth/gemma-3-1b-it-GGUF:Q4_K_M", "2026-11-30"),
    row("gemma3:4b", "hf:unsloth/gemma-3-4b-it-GGUF:Q4_K_M", "2026-11-30"),
    row("gemma2:2b", "hf:bartowski/gemma-2-2b-it-GGUF:Q4_K_M", "2026-11-30"),
    row("llama3.2:1b", "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("llama3.2:3b", "hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("llama3.1:8b", "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("smollm2:135m", "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q8_0", "2026-11-30"),
    row("smollm2:360m", "hf:bartowski/SmolLM2-360M-Instruct-GGUF:Q8_0", "2026-11-30"),
    row("smollm2:1.7b", "hf:bartowski/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("smollm3:3b", "hf:ggml-org/SmolLM3-3B-GGUF:Q4_K_M", "2026-11-30"),
    row("tinyllama:1.1b", "hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF:Q4_K_M", "2026-11-30"),
    row("phi3.5:3.8b", "hf:bartowski/Phi-3.5-mini-instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("phi4-mini:3.8b", "hf:unsloth/Phi-4-mini-instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("mistral:7b", "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M", "2026-11-30"),
    row("granite3.3:2b", "hf:ibm-granite/granite-3.3-2b-instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("granite3.3:8b", "hf:ibm-granite/granite-3.3-8b-instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("olmo2:1b", "hf:allenai/OLMo-2-0425-1B-Instruct-GGUF:Q4_K_M", "2026-11-30"),
    row("deepseek-r1:1.5b", "hf:bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:Q4_K_M", "2026-11-30"),
    row("deepseek-r1:7b", "hf:bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M", "2026-11-30"),
    row("all-minilm:l6", "hf:second-state/All-MiniLM-L6-v2-Embedding-GGUF:Q8_0", "2026-11-30"),
    row("bge-small:en", "hf:CompendiumLabs/bge-small-en-v1.5-gguf:Q8_0", "2026-11-30"),
];

/// The row of a friendly name, in any case; without what follows the colon, the first of its kind.
pub(super) fn row_of(name: &str) -> Option<&'static Friendly> {
    let kind = |row: &Friendly| row.name.split(':').next().is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    FRIENDLY.iter().find(|row| row.name.eq_ignore_ascii_case(name) || kind(row))
}

/// What a friendly name means.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    row_of(name).map(|row| row.means)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::name::{HUB, Name, Repository, Wanted};

    #[test]
    fn rows_are_well_formed() {
        for row in FRIENDLY {
            let named = Name::parse(row.means, HUB).unwrap();
            assert!(
                matches!(named, Some(Name::Repository(Repository { wanted: Wanted::Quant(_), .. }))),
                "{} means {}",
                row.name,
                row.means
            );
            assert!(row.name.contains(':') && row.name == row.name.to_ascii_lowercase());
            assert!(row.dated.len() == 10 && row.dated.split('-').count() == 3);
            assert_eq!(FRIENDLY.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert!(crate::models::known(row.name).is_none());
        }
    }
}
