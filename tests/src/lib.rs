//! Shared helpers of the tests.

pub mod blocks;
pub mod chat;
pub mod checkpoint;
#[cfg(feature = "hub")]
pub mod hub;
pub mod micro;
pub mod npy;
mod random;
pub mod report;
pub mod seeded;
pub mod seeded_bert;
pub mod seeded_clip;
pub mod seeded_vit;
pub mod switches;

pub use random::Random;
use smidgen_host::ThreadPool;
use smidgen_quant::Format;
use smidgen_targets::{KernelSet, Pool};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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

/// Every kernel set that this machine can run, the scalar one first. Fails unless they are those that `SMIDGEN_EXPECT_KERNEL_SETS` names
/// (separated by commas), if it is set: none missing, and none that this CPU should not have offered.
pub fn kernel_sets() -> Vec<&'static KernelSet> {
    let tables: Vec<_> = smidgen_targets::available().collect();
    let names = tables.iter().map(|kernels| kernels.name).collect::<Vec<_>>().join(",");
    println!("tables: {names}");
    if let Ok(expected) = std::env::var("SMIDGEN_EXPECT_KERNEL_SETS") {
        assert_eq!(names, expected, "the tables of this machine, and those that were expected");
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

/// The formats in which whole models are computed in every way: all, or one of each kind where `SMIDGEN_SHORT=1` asks for it. `seeded` among the
/// golden tests pins the logits of a model in each, and `kernels` among the exact ones compares their products.
pub fn formats() -> &'static [Format] {
    const FEW: &[Format] = &[Format::F16, Format::Q4_1, Format::Q8_0, Format::Q6_K];
    if at_most(FEW.len(), Format::ALL.len(), "formats") == FEW.len() { FEW } else { &Format::ALL }
}

/// The runtime's pool with some threads. Each thread that asks for pools has its own, and keeps them: starting threads is slow on emulators.
pub struct Threads(pub usize);

thread_local! {
    static POOLS: RefCell<BTreeMap<usize, Rc<ThreadPool>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        let start = || Rc::new(ThreadPool::new(self.0.try_into().expect("at least one thread")).expect("threads"));
        let pool = POOLS.with_borrow_mut(|pools| Rc::clone(pools.entry(self.0).or_insert_with(start)));
        pool.run(job);
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
