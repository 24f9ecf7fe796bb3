//! Blocks that models are made of, one file each. A pass runs them over one arena of scratch memory; what a block computes for a token depends on
//! the token's own sequence only.

mod activation_fn;
mod attention;
mod feed_forward;
mod layer;
mod norm;
mod outliers;
mod rope;
mod scratch;

pub use activation_fn::ActivationFn;
pub use attention::Attention;
pub use feed_forward::{FeedForward, Gated, Plain};
pub use layer::{Layer, Mixer, Norms};
pub(crate) use norm::NormLike;
pub use norm::{Norm, NormKind};
pub(crate) use outliers::Outliers;
pub(crate) use rope::RopeKeys;
pub use rope::{Pairs, Rope};
pub(crate) use scratch::{Item, Pass, Scratch, Stack};
