//! One file (or folder) for each family of architectures: its hyper-parameters, its weights, its forward pass.

pub mod bert;
pub mod encoder;
pub mod llama;
mod tower;
pub mod vit;
