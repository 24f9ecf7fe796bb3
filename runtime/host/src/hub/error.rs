//! What goes wrong between a name and a file.

use std::fmt;

/// The errors of names, downloads and the shelf. Each prints as one line that says what to do, and never holds a token.
#[derive(Debug)]
#[non_exhaustive]
pub enum HubError {
    /// The name cannot be read as one of a model.
    Name {
        /// The name.
        name: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// A model on the shelf, or the record of one.
    Shelf {
        /// The name or the file.
        subject: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubError::Name { name, reason } => write!(f, "{name}: {reason}"),
            HubError::Shelf { subject, reason } => write!(f, "{subject}: {reason}"),
        }
    }
}

impl std::error::Error for HubError {}
