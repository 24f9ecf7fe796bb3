//! Shared helpers of the tests.

pub mod blocks;
pub mod chat;
pub mod checkpoint;
mod random;
pub mod seeded;
pub mod seeded_bert;
pub mod seeded_vit;

pub use random::Random;
use smidgen_targets::{Kernels, Pool};
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

/// SmolLM2-135M-Instruct in Q4_1: `SMIDGEN_SMOLLM2`, or where `smidgen pull smollm2` puts it, packed or plain. Says so and gives none if
/// it is absent.
pub fn smollm2() -> Option<PathBuf> {
    let path = std::env::var_os("SMIDGEN_SMOLLM2").map(PathBuf::from).or_else(|| smidgen_host::find("smollm2"));
    if path.as_ref().is_none_or(|path| !path.is_file()) {
        println!("ABSENT: the model smollm2 (smidgen pull smollm2, or set SMIDGEN_SMOLLM2)");
        return None;
    }
    path
}

/// Every table of kernels that this machine can run, the scalar law first. Fails if one that `SMIDGEN_EXPECT_TABLES` names (separated by
/// commas) is missing.
pub fn tables() -> Vec<&'static Kernels> {
    let tables: Vec<_> = smidgen_targets::available().collect();
    println!("tables: {}", tables.iter().map(|kernels| kernels.name).collect::<Vec<_>>().join(", "));
    for name in std::env::var("SMIDGEN_EXPECT_TABLES").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        assert!(
            tables.iter().any(|kernels| kernels.name == name),
            "this machine does not run the table {name}, which was expected"
        );
    }
    tables
}

/// How many of the items of a long test to look at: all, or at most `few` where `SMIDGEN_SHORT=1` asks for it, as emulators are slow.
/// Says so.
pub fn at_most(few: usize, all: usize, items: &str) -> usize {
    if few < all && std::env::var("SMIDGEN_SHORT").is_ok_and(|value| value == "1") {
        println!("SHORTENED by SMIDGEN_SHORT: {few} of {all} {items}");
        return few;
    }
    all
}

/// Threads that are started for each job.
pub struct Threads(pub usize);

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..self.0 {
                scope.spawn(job);
            }
            job();
        });
    }
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
