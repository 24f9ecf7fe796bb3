//! From the world to numbers: what models take that is not text.

pub mod audio;
pub mod image;
pub mod mfcc;
