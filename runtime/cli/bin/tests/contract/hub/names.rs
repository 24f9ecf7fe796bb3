//! What names lead to.

use super::{TOKEN, World, model, refused, succeeded, tiny};
use crate::{Scratch, smidgen, stdout};
use serde_json::json;
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::checkpoint::{llama, safetensors};
use smidgen_tests::hub::sha256;
use smidgen_tests::seeded::Shape;
use std::fs;
use std::path::Path;

/// A repository with several formats.
fn formats() -> World {
    let world = World::new();
    let repository = world.hub.repository("user/repo").license("apache-2.0").file("README.md", "A model.");
    let repository = repository.file("m-Q4_0.gguf", tiny(1)).lfs().file("m-Q4_K_M.gguf", tiny(2)).lfs();
    repository.file("sub/m-Q8_0.gguf", tiny(3)).lfs().file("m-UD-Q4_K_XL.gguf", tiny(4)).lfs();
    world
}

#[test]
fn a_repository_has_many_names() {
    let world = formats();
    let endpoint = world.hub.endpoint().to_owned();
    let names = [
        ("hf:user/repo".to_owned(), 2),
        ("user/repo".to_owned(), 2),
        ("HF:user/repo:latest".to_owned(), 2),
        ("hf.co/user/repo".to_owned(), 2),
        ("huggingface.co/user/repo:q8_0".to_owned(), 3),
        ("https://huggingface.co/user/repo".to_owned(), 2),
        (format!("{endpoint}/user/repo"), 2),
        (format!("{endpoint}/user/repo/tree/main"), 2),
        (format!("{endpoint}/user/repo/blob/main/sub/m-Q8_0.gguf"), 3),
        (format!("{endpoint}/user/repo/resolve/main/m-Q4_0.gguf?download=true"), 1),
        ("hf:user/repo/m-Q4_0.gguf".to_owned(), 1),
        ("hf:user/repo:Q4_0".to_owned(), 1),
        ("user/repo:q4_0".to_owned(), 1),
        ("hf:user/repo:ud-q4_k_xl".to_owned(), 4),
        ("hf:user/repo:Q4_K_XL".to_owned(), 4),
        ("hf:user/repo:Q8".to_owned(), 3),
        ("hf:user/repo@main:Q8_0".to_owned(), 3),
    ];
    for (name, number) in &names {
        world.gives(name, &tiny(*number));
    }
    // Each file was sent once, whatever it was called.
    assert!(world.hub.overlap().values().all(|again| *again <= 1 + names.len() as u64), "{:?}", world.hub.overlap());
    assert_eq!(world.shelf().len(), 2 * 4, "{:?}", world.shelf());
}

#[test]
fn the_licence_is_told_before_the_download() {
    let world = formats();
    let (_, told) = world.pull("hf:user/repo");
    let is_licence =
        |line: &str| line.starts_with("smidgen: hf:user/repo:Q4_K_M: ") && line.ends_with(" B, licence: apache-2.0");
    let licence = told.lines().position(is_licence);
    assert!(licence < told.lines().position(|line| line == "smidgen: downloading") && licence.is_some(), "{told}");
}

#[test]
fn a_revision_is_a_branch_or_a_commit() {
    let world = formats();
    let first = world.hub.repository("user/repo").head();
    world.hub.repository("user/repo").commit().file("m-Q4_K_M.gguf", tiny(5)).lfs();
    world.hub.repository("user/repo").branch("refs/pr/1").commit().file("m-Q4_K_M.gguf", tiny(6)).lfs();
    world.gives("hf:user/repo", &tiny(5));
    world.gives(&format!("hf:user/repo@{first}"), &tiny(2));
    world.gives(&format!("{}/user/repo/tree/refs%2Fpr%2F1", world.hub.endpoint()), &tiny(6));
    world.forget();
    world.fails(&["pull", "hf:user/repo@none"], &["/user/repo", "no such branch, tag or commit"]);
}

#[test]
fn without_a_quant_it_is_what_fits_into_memory() {
    let world = World::new();
    let repository = world.hub.repository("user/repo").file("m-Q2_K.gguf", tiny(1)).lfs();
    let repository = repository.file("m-Q8_0.gguf", [tiny(2), vec![0; 64]].concat()).lfs();
    repository.file("m-F32.gguf", tiny(3)).lfs().listed_size(1 << 50);
    world.gives("user/repo", &[tiny(2), vec![0; 64]].concat());
}

#[test]
fn several_matches_are_listed() {
    let world = World::new();
    let repository = world.hub.repository("user/repo").file("a-Q4_0.gguf", tiny(1)).lfs();
    repository.file("b-Q4_0.gguf", tiny(2)).lfs().file("b-Q8_0.gguf", tiny(3)).lfs();
    world.fails(&["pull", "hf:user/repo:q4_0"], &["hf:user/repo", "a-Q4_0.gguf", "b-Q4_0.gguf", "name one of them"]);
    world.fails(&["pull", "hf:user/repo:Q5_K_M"], &["hf:user/repo", "nothing in Q5_K_M", "Q4_0", "Q8_0"]);
    world.fails(&["pull", "hf:user/repo/c.gguf"], &["hf:user/repo", "c.gguf", "a-Q4_0.gguf"]);
    world.gives("hf:user/repo/b-Q4_0.gguf", &tiny(2));
}

#[test]
fn a_split_model_comes_whole() {
    let world = World::new();
    let mut repository = world.hub.repository("user/repo");
    let names = [1, 2, 3].map(|part| format!("q/m-Q4_0-0000{part}-of-00003.gguf"));
    for (number, name) in names.iter().enumerate() {
        repository = repository.file(name, tiny(number as u64)).lfs();
    }
    for name in ["hf:user/repo:q4_0", "hf:user/repo/q/m-Q4_0-00002-of-00003.gguf"] {
        let (paths, _) = succeeded(&world.run(&["pull", "--plain", name]));
        assert_eq!(paths.len(), 3, "{name}: {paths:?}");
        for (number, path) in paths.iter().enumerate() {
            assert!(path.ends_with(names[number].trim_start_matches("q/")), "{path}");
            assert!(fs::read(path).unwrap() == tiny(number as u64), "{name}: {path}");
        }
    }
    world.hub.repository("user/repo").remove(&names[1]);
    world.forget();
    world.fails(&["pull", "hf:user/repo:q4_0"], &["hf:user/repo", "3 parts", "not all are there"]);
}

#[test]
fn a_projector_is_told_of_and_left() {
    let world = World::serving("m-Q4_K_M.gguf", &tiny(1));
    world.hub.repository("user/repo").file("mmproj-F16.gguf", tiny(2)).lfs();
    let (bytes, told) = world.pull("hf:user/repo");
    assert!(bytes == tiny(1) && told.contains("there is mmproj-F16.gguf too"), "{told}");
    assert_eq!(world.hub.sent("mmproj"), 0);
    world.gives("hf:user/repo/mmproj-F16.gguf", &tiny(2));
}

#[test]
fn a_checkpoint_is_converted() {
    let world = World::new();
    let file = chat_model(&Shape::default(), Format::F32);
    let (files, tensors) = llama(&file);
    let mut repository = world.hub.repository("user/model").license("mit");
    let folder = Scratch::new();
    for (name, value) in &files {
        repository = repository.file(name, value.to_string());
        folder.write(name, value.to_string());
    }
    let weights = safetensors(&tensors);
    folder.write("model.safetensors", &weights);
    repository.file("model.safetensors", weights).lfs();
    let (paths, told) = succeeded(&world.run(&["pull", "--plain", "hf:user/model:Q8_0"]));
    assert!(told.contains("converted to Q8_0") && told.contains("licence: mit"), "{told}");
    let own = folder.path("own.gguf");
    stdout(&["convert", &folder.0.display().to_string(), &own, "--type", "Q8_0"]);
    assert!(fs::read(&paths[0]).unwrap() == fs::read(own).unwrap());
    // What was pulled is found by this name without the network.
    let again = succeeded(&world.run(&["pull", "--plain", "--offline", "hf:user/model:Q8_0"]));
    assert_eq!(again, (paths, String::new()));
}

#[test]
fn a_checkpoint_of_an_unknown_family_is_refused_before_its_weights() {
    let world = World::new();
    let config = json!({"architectures": ["Gpt9ForCausalLM"], "model_type": "gpt9"}).to_string();
    world.hub.repository("user/model").file("config.json", config).file("model.safetensors", vec![0; 1 << 20]).lfs();
    world.fails(&["pull", "hf:user/model"], &["hf:user/model", "gpt9"]);
    assert_eq!(world.hub.sent("model.safetensors"), 0);
}

#[test]
fn a_repository_without_a_model_says_so() {
    let world = World::new();
    world.hub.repository("user/repo").file("README.md", "No model.");
    world.fails(&["pull", "hf:user/repo"], &["hf:user/repo", "there is no GGUF file in it"]);
    world.hub.repository("user/repo").file("model.safetensors", "").lfs();
    world.fails(&["pull", "hf:user/repo"], &["hf:user/repo", "config.json"]);
}

#[test]
fn a_registry_has_manifests_and_blobs() {
    let world = World::new();
    let image = world.hub.image("library/tiny:latest").layer("model", tiny(1)).layer("system", "Be brief.");
    image.layer("license", "MIT License\n\nPermission").layer("params", r#"{"temperature": 0.5}"#);
    world.hub.image("library/tiny:1b").layer("model", tiny(2));
    world.hub.image("user/tiny:latest").layer("model", tiny(3));
    let (bytes, told) = world.pull("ollama:tiny");
    assert!(bytes == tiny(1) && told.contains("licence: MIT License"), "{told}");
    world.gives("ollama:tiny:1b", &tiny(2));
    world.gives("ollama:user/tiny", &tiny(3));
    let host = world.hub.endpoint().trim_start_matches("http://");
    world.gives(&format!("ollama:{host}/library/tiny:1b"), &tiny(2));
    world.forget();
    world.fails(&["pull", "ollama:tiny:none"], &["/v2/library/tiny/manifests/none", "nothing of this name"]);
    world.hub.image("library/none:latest").layer("license", "MIT");
    world.fails(&["pull", "ollama:none"], &["ollama:none:latest", "no layer with a model"]);
    world.hub.image("library/two:latest").layer("model", tiny(1)).layer("model", tiny(2));
    world.fails(&["pull", "ollama:two"], &["ollama:two:latest", "2 layers"]);
    world.hub.image("library/adapter:latest").layer("model", tiny(1)).layer("adapter", tiny(2));
    world.fails(&["pull", "ollama:adapter"], &["ollama:adapter:latest", "adapter", "not supported"]);
}

#[test]
fn a_plain_address_is_a_file() {
    let world = World::new();
    world.hub.file("/files/my model.gguf", tiny(1));
    let address = world.address("/files/my%20model.gguf?download=1&Signature=abc");
    let (paths, _) = succeeded(&world.run(&["pull", "--plain", &address]));
    assert!(paths[0].ends_with("/my_model.gguf") && fs::read(&paths[0]).unwrap() == tiny(1), "{paths:?}");
    world.forget();
    for name in ["ftp://host/m.gguf", "file:///etc/passwd", "http://host/m.bin"] {
        world.fails(&["pull", name], &[name, "give"]);
    }
    for name in ["https://host:65536/m.gguf", "http://a b/m.gguf", "http://[::1/m.gguf"] {
        world.fails(&["pull", name], &[name, "no web address"]);
    }
    world.fails(&["pull", &world.address("/files/none.gguf")], &["/files/none.gguf", "nothing of this name"]);
}

#[test]
fn a_friendly_name_that_has_moved_says_what_it_meant() {
    let world = World::new();
    let error = world.fails(&["pull", "qwen3:0.6b"], &["qwen3:0.6b", "hf:unsloth/Qwen3-0.6B-GGUF:Q4_K_M"]);
    assert!(error.contains("hf:USER/REPO:QUANT") && error.contains(" on 20"), "{error}");
    world.hub.repository("unsloth/Qwen3-0.6B-GGUF").file("Qwen3-0.6B-Q4_K_M.gguf", tiny(1)).lfs();
    world.gives("qwen3:0.6b", &tiny(1));
}

#[test]
fn names_that_lead_out_of_a_folder_are_refused_without_asking() {
    let world = World::new();
    let endpoint = world.hub.endpoint().to_owned();
    for name in [
        "hf:../repo",
        "hf:user/..",
        "hf:user/../repo",
        "hf:user/repo/../../x.gguf",
        "hf:user/repo/a\\..\\x.gguf",
        "hf:user/repo@../../x:Q4_0",
        "ollama:../x",
        "ollama:x:../y",
        "ollama:../../a/b",
        &format!("{endpoint}/user/repo/resolve/main/%2e%2e/x.gguf"),
        &format!("{endpoint}/user/repo/resolve/%2e%2e/x.gguf"),
    ] {
        world.fails(&["pull", name], &[name]);
    }
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn files_that_lead_out_of_a_folder_are_refused() {
    for path in ["../evil-Q4_K_M.gguf", "a/../../evil-Q4_K_M.gguf", "/etc/evil-Q4_K_M.gguf", "a\\..\\evil-Q4_K_M.gguf"]
    {
        let world = World::serving(path, &tiny(1));
        world.fails(&["pull", "hf:user/repo"], &["hf:user/repo", "evil", "leads out of its folder"]);
    }
    // A checkpoint's files.
    let world = World::serving("..\\x.safetensors", b"");
    world.hub.repository("user/repo").file("config.json", r#"{"model_type": "llama"}"#);
    world.fails(&["pull", "hf:user/repo"], &["user/repo", "x.safetensors", "leads out of its folder"]);
    // What a server says of a name is not heard.
    let world = World::new();
    world.hub.file_with("/m.gguf", tiny(1), Some("\"1\""), Some("attachment; filename=\"../../evil.gguf\""));
    world.gives(&world.address("/m.gguf"), &tiny(1));
    assert!(world.shelf().iter().all(|path| !path.contains("evil")), "{:?}", world.shelf());
}

#[test]
fn a_listing_of_many_pages_is_read() {
    let world = formats();
    let mut repository = world.hub.repository("user/repo");
    for number in 0..20 {
        repository = repository.file(&format!("a{number}.txt"), "x");
    }
    world.hub.page(3);
    world.hub.cache();
    world.gives("hf:user/repo:Q8_0", &tiny(3));
    assert!(world.hub.requests().iter().filter(|request| request.path.contains("/tree/")).count() >= 8);
}

#[test]
fn a_file_that_is_not_in_large_file_storage_is_taken() {
    for has_cache in [false, true] {
        let world = World::new();
        world.hub.repository("user/repo").file("m-Q4_0.gguf", tiny(1));
        if has_cache {
            world.hub.cache();
        }
        world.gives("hf:user/repo", &tiny(1));
    }
}

#[test]
fn a_model_runs_by_its_name() {
    let world = World::serving("m-Q4_0.gguf", model());
    let path = world.dir.write("own.gguf", model());
    let more = ["-p", "hello", "--temp", "0", "-n", "8"];
    let own = world.run(&[&["run", &path][..], &more].concat());
    let (text, told) = succeeded(&world.run(&[&["run", "hf:user/repo:Q4_0"][..], &more].concat()));
    assert!(!text.is_empty() && text == succeeded(&own).0, "{text:?}");
    assert!(told.contains("downloading"), "{told}");
    // Neither the network nor a word is needed for it any more.
    let requests = world.hub.requests().len();
    for name in ["hf:user/repo:q4_0", "user/repo:Q4_0"] {
        let again = world.run(&[&["run", "--offline", name][..], &more].concat());
        assert_eq!(succeeded(&again), (text.clone(), String::new()), "{name}");
    }
    assert_eq!(world.hub.requests().len(), requests);
    // It is packed, and unpacks to what was published.
    let shelf = world.shelf();
    let packed = shelf.iter().find(|path| path.ends_with(".packed.gguf")).unwrap();
    let unpacked = world.dir.path("unpacked.gguf");
    assert_eq!(smidgen(&["unpack", packed, &unpacked]).status().unwrap().code(), Some(0));
    assert_eq!(sha256(&fs::read(&unpacked).unwrap()), sha256(model()));
}

#[test]
fn offline_asks_nobody() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    let named = ["network is switched off", "--offline"];
    world.fails(&["pull", "--offline", "hf:user/repo"], &named);
    world.fails(&["run", "--offline", "user/repo", "-p", "x"], &named);
    world.fails(&["pull", "--offline", "ollama:tiny"], &named);
    world.fails(&["pull", "--offline", &world.address("/m.gguf")], &named);
    for (name, value) in [("SMIDGEN_OFFLINE", "1"), ("HF_HUB_OFFLINE", "true")] {
        world.fails_by(world.command(&["pull", "hf:user/repo"]).env(name, value), &named);
    }
    assert_eq!(world.hub.requests().len(), 0);
    let off = world.command(&["pull", "--plain", "hf:user/repo"]).env("SMIDGEN_OFFLINE", "0").output().unwrap();
    assert_eq!(succeeded(&off).0.len(), 1);
}

#[test]
fn what_is_neither_a_file_nor_a_repository_says_both() {
    let world = World::new();
    world.fails(&["run", "models/none", "-p", "x"], &["models/none", "no such file", "repository"]);
    world.fails(&["run", "./models/none", "-p", "x"], &["./models/none", "no such file"]);
    assert!(!Path::new(&world.dir.path("models")).exists());
}

#[test]
fn several_models_are_pulled_in_order() {
    let world = formats();
    let output = world.run(&["pull", "--plain", "hf:user/repo:Q8_0", "hf:user/repo:Q4_0"]);
    let (paths, _) = succeeded(&output);
    assert!(paths.len() == 2 && paths[0].ends_with("m-Q8_0.gguf") && paths[1].ends_with("m-Q4_0.gguf"), "{paths:?}");
    let output = world.command(&["pull", "hf:user/repo:Q9_9"]).env("HF_TOKEN", TOKEN).output().unwrap();
    refused(&output, &["nothing in Q9_9"]);
}
