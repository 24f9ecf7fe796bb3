//! Results are as near to those of other engines as rounding allows.

mod bert;
mod clip;
mod decode;
mod go_templates;
mod llama;
mod mfcc;
mod micro;
mod tokenizer;
mod vit;
mod wake_words;
