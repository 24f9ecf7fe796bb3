//! Any model by name: from hubs, registries and web addresses, onto a shelf in the user's cache.

pub(crate) mod error;
pub mod shelf;
mod size;

pub use error::HubError;
pub use size::Bytes;
