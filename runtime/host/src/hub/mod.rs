//! Any model by name: from hubs, registries and web addresses, onto a shelf in the user's cache.

mod access;
mod challenge;
mod defaults;
mod download;
mod error;
mod friendly;
mod http;
mod name;
mod part;
mod pull;
mod quant;
mod ranges;
pub mod shelf;
mod size;
mod sources;
#[cfg(any(feature = "tls", feature = "tls-rustcrypto"))]
mod tls;

pub use access::Access;
pub use defaults::{Defaults, Parameters};
pub use error::{HubError, Refusal};
pub use friendly::{FRIENDLY, Friendly};
pub use name::{Name, Registry, Repository, Wanted};
pub use pull::{Options, Resolved, pull, resolve};
pub use size::Bytes;
