//! Shared helpers of the tests.

pub mod blocks;
pub mod chat;
pub mod seeded;

use smidgen_targets::Kernels;
use std::path::{Path, PathBuf};

/// The folder of golden files: `SMIDGEN_SHARED`, or `shared` beside the workspace. Says so and gives none if it is absent.
pub fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("SMIDGEN_SHARED").map_or_else(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("ABSENT: the folder of golden files, {} (set SMIDGEN_SHARED)", path.display());
    None
}

/// SmolLM2-135M-Instruct in Q4_1: `SMIDGEN_SMOLLM2`, or where `smidgen pull smollm2` puts it. Says so and gives none if it is absent.
pub fn smollm2() -> Option<PathBuf> {
    const NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let cached = || {
        let base = std::env::var_os("SMIDGEN_CACHE").map(PathBuf::from);
        let base = base.or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|dir| PathBuf::from(dir).join("smidgen")));
        let base = base.or_else(|| std::env::var_os("HOME").map(|dir| PathBuf::from(dir).join(".cache/smidgen")));
        base.unwrap_or_default().join(NAME)
    };
    let path = std::env::var_os("SMIDGEN_SMOLLM2").map_or_else(cached, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    println!("ABSENT: the model smollm2, {} (set SMIDGEN_SMOLLM2)", path.display());
    None
}

/// Every table of kernels that this machine can run, the scalar law first. Fails if one that `SMIDGEN_EXPECT_TABLES` names (separated by
/// commas) is missing.
pub fn tables() -> Vec<&'static Kernels> {
    let tables: Vec<_> = smidgen_targets::available().collect();
    println!("tables: {}", tables.iter().map(|kernels| kernels.name).collect::<Vec<_>>().join(", "));
    for name in std::env::var("SMIDGEN_EXPECT_TABLES").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        assert!(tables.iter().any(|kernels| kernels.name == name), "this machine does not run the table {name}, which was expected");
    }
    tables
}

/// The number of the largest score, the first if there are several.
pub fn best(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best as u32
}
