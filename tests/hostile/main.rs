//! Any input is accepted, or refused with an error that says where and why.

mod bert;
mod clip;
mod gguf;
mod host;
mod micro;
mod model;
mod safetensors;
mod tokenizer;
mod tokenizer_steps;
mod vit;
