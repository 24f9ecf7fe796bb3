//! The same bits whichever kernel set computes them, on however many threads, in whichever company.

mod bert;
mod clip;
mod kernels;
mod llama;
mod micro;
mod state;
mod switches;
mod vit;
