//! One file (or folder) for each family of architectures: its hyper-parameters, its weights, its forward pass.

mod batch;
pub mod bert;
pub mod clip;
pub mod encoder;
pub mod llama;
pub mod micro;
mod tower;
pub mod vit;
