//! The arguments of `convert`, `quantize`, `pack` and `unpack`.

use clap::Args;
use smidgen_host::Mixture;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen convert all-MiniLM-L6-v2 minilm.gguf
  smidgen convert SmolLM2-135M-Instruct smollm2.Q4_K_M.gguf --type Q4_K_M
  smidgen convert model.safetensors model.gguf --type F16
  smidgen convert okay_nabu.tflite okay_nabu.gguf
  smidgen convert Qwen3-0.6B --explain

Language models, by the model_type of config.json: llama, mistral, smollm, smollm3, qwen2, qwen3, gemma, gemma2, gemma3_text, phi, phi3,
cohere, cohere2, gpt2, gpt_bigcode, starcoder2, gpt_neox, bloom, falcon, stablelm, olmo2, olmo3, granite, minicpm, internlm2, ernie4_5,
exaone4, glm4, hunyuan_v1_dense, nemotron, seed_oss, apertus. Encoders: bert, vit, deit, dinov2, clip. Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0,
Q5_1, IQ4_NL, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K.")]
pub(crate) struct ConvertArgs {
    /// Folder with config.json, weights and tokenizer, or the .safetensors file in it, or a .tflite file
    pub(crate) input: PathBuf,
    /// GGUF file to write
    #[arg(required_unless_present = "explain")]
    pub(crate) output: Option<PathBuf>,
    /// Print what becomes of each field of the files beside the weights
    #[arg(long)]
    pub(crate) explain: bool,
    /// Format of the weights [default: their format in the input]
    #[arg(long = "type", value_name = "TYPE", value_parser = mixture)]
    pub(crate) kind: Option<Mixture>,
    /// Pack the tensors in panels: faster, but readable by Smidgen only
    #[arg(long)]
    pub(crate) pack: bool,
    /// Make weights that are too large for their format its largest value, instead of ending
    #[arg(long)]
    pub(crate) clamp: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smidgen quantize model.F16.gguf model.Q4_K_M.gguf Q4_K_M
  smidgen quantize smollm2 smollm2.Q8_0.gguf Q8_0 --pack

Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M,
Q6_K. A type chooses the format of each tensor, as llama.cpp does for files of that name. Quantizing a quantized file loses more quality
than quantizing the original.")]
pub(crate) struct QuantizeArgs {
    /// Path or name of the model
    pub(crate) input: PathBuf,
    /// GGUF file to write
    pub(crate) output: PathBuf,
    /// Format of the weights
    #[arg(value_name = "TYPE", value_parser = mixture)]
    pub(crate) kind: Mixture,
    /// Pack the tensors in panels: faster, but readable by Smidgen only
    #[arg(long)]
    pub(crate) pack: bool,
    /// Make weights that are too large for their format its largest value, instead of ending
    #[arg(long)]
    pub(crate) clamp: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// File to read
    pub(crate) input: PathBuf,
    /// File to write
    pub(crate) output: PathBuf,
}

/// Parses the name of a type of weights.
fn mixture(text: &str) -> Result<Mixture, String> {
    let names = || Mixture::ALL.iter().map(|mixture| mixture.name()).collect::<Vec<_>>();
    Mixture::named(text).ok_or_else(|| format!("must be one of {}", names().join(", ")))
}
