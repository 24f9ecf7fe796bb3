//! A family is a file in one folder: what is outside does not know it by name.

use std::path::{Path, PathBuf};

/// Words by which families are known, in small letters; those that are common words too are left out.
const FAMILIES: &[&str] = &[
    "apertus",
    "bloom",
    "cohere",
    "command-r",
    "ernie",
    "exaone",
    "falcon",
    "gemma",
    "glm4",
    "gpt2",
    "gptneox",
    "granite",
    "hunyuan",
    "internlm",
    "minicpm",
    "mistral",
    "nemotron",
    "olmo",
    "phi2",
    "phi3",
    "qwen",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["families", "tokenizer", "tests", "target", "hub"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.contains("test") {
            found.push(path);
        }
    }
}

/// Families are named by their loaders, by tokenizers, which have names of their own, by the conversion of checkpoints, and in names of models.
#[test]
fn nothing_outside_the_folder_names_a_family() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in [
        "runtime/core/src",
        "runtime/host/src",
        "runtime/capi/src",
        "targets/src",
        "quant/blocks/src",
        "quant/gguf/src",
    ] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 80, "{}", files.len());
    let mut naming = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap().to_lowercase();
        naming.extend(
            FAMILIES.iter().filter(|name| text.contains(*name)).map(|name| format!("{}: {name}", file.display())),
        );
    }
    assert!(naming.is_empty(), "{naming:#?}");
    // And each is short.
    let mut loaders = Vec::new();
    for entry in std::fs::read_dir(root.join("runtime/core/src/families")).unwrap() {
        let path = entry.unwrap().path();
        loaders.push((std::fs::read_to_string(&path).unwrap().lines().count(), path));
    }
    let shared = |path: &Path| {
        ["mod.rs", "hyper.rs", "tower.rs", "vit.rs", "bert.rs", "clip.rs"].iter().any(|name| path.ends_with(name))
    };
    let long: Vec<_> = loaders.iter().filter(|(lines, path)| *lines > 100 && !shared(path)).collect();
    assert!(loaders.len() > 20 && long.is_empty(), "{long:?}");
}
