//! Results that are written down: by other programs, or by us once and for all machines.

mod arch;
mod audio;
mod convert;
mod families;
mod fields;
mod gguf_peers;
mod image;
mod micro;
mod seeded;
mod seeded_bert;
mod switches;
mod tokenizer;
mod tokenizer_steps;
