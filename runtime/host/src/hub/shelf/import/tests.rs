use super::super::tests::{Scratch, put};
use super::*;
use serde_json::{Value, json};
use smidgen_gguf::{NewTensor, TensorType, Writer};

/// A small model, which differs by its number.
fn gguf(number: u32) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.metadata("test.number", number).unwrap();
    let tensor = NewTensor { name: "t", dims: &[32, 16], kind: TensorType::Q8_0, data: &[0; 34 * 16] };
    writer.write(&[tensor], Vec::new()).unwrap()
}

/// One part of a split model.
fn part(number: u16, count: u16) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("split.no", number).unwrap();
    writer.metadata("split.count", count).unwrap();
    writer.metadata("split.tensors.count", 0_i32).unwrap();
    writer.write(&[], Vec::new()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Scratch {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A blob of Ollama's, and its layer.
    fn layer(&self, kind: &str, bytes: impl AsRef<[u8]>) -> Value {
        let bytes = bytes.as_ref();
        self.write(&format!("ollama/blobs/sha256-{}", hex(bytes)), bytes);
        let kind = format!("application/vnd.ollama.image.{kind}");
        json!({"mediaType": kind, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len()})
    }

    fn manifest(&self, place: &str, layers: &[Value]) -> PathBuf {
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let text = json!({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": layers}).to_string();
        self.write(&format!("ollama/manifests/{place}"), text)
    }

    fn import(&self, place: &str) -> Vec<Imported> {
        self.shelf().import(&self.0.join(place), None).unwrap()
    }
}

fn added(found: &[Imported]) -> Vec<&str> {
    let mut names = Vec::new();
    for imported in found {
        if let Imported::Added { name, .. } = imported {
            names.push(name.as_str());
        }
    }
    names
}

fn left(found: &[Imported]) -> Vec<String> {
    let reason = |imported: &Imported| match imported {
        Imported::Left { path, reason } => Some(format!("{}: {reason}", path.file_name().unwrap().to_string_lossy())),
        _ => None,
    };
    found.iter().filter_map(reason).collect()
}

#[test]
fn ollama() {
    let dir = Scratch::new();
    let model = dir.layer("model", gguf(1));
    let template = "{{ .System }} {{ .Prompt }}";
    let layers = [
        model.clone(),
        dir.layer("template", template),
        dir.layer("system", "Be brief."),
        dir.layer("params", r#"{"stop": ["<|end|>"], "temperature": 0.5}"#),
        dir.layer("messages", r#"[{"role": "user", "content": "hi"}]"#),
        dir.layer("license", "\n  Apache License\nVersion 2.0\n"),
        dir.layer("license", "Other"),
        dir.layer("projector", "x"),
    ];
    dir.manifest("registry.ollama.ai/library/small/1b", &layers);
    dir.manifest("registry.ollama.ai/library/small/latest", std::slice::from_ref(&model));
    dir.manifest("registry.ollama.ai/me/mine/v1", std::slice::from_ref(&model));
    dir.manifest("hf.co/User/Repo-GGUF/Q4_K_M", std::slice::from_ref(&model));
    dir.manifest("example.com/a/b/c", std::slice::from_ref(&model));
    dir.write("ollama/manifests/registry.ollama.ai/library/.DS_Store", "x");
    let found = dir.import("ollama");
    assert_eq!(
        added(&found),
        [
            "ollama:example.com/a/b:c",
            "hf:User/Repo-GGUF:Q4_K_M",
            "ollama:small:1b",
            "ollama:small:latest",
            "ollama:me/mine:v1"
        ]
    );
    assert_eq!(found.len(), 5);
    let shelf = dir.shelf();
    let entry = shelf.find("ollama:small:1b").unwrap();
    let bytes = gguf(1);
    let path = dir.0.join(format!("ollama/blobs/sha256-{}", hex(&bytes)));
    assert_eq!(
        entry.files,
        [EntryFile { path: path.clone(), bytes: bytes.len() as u64, sha256: Some(hex(&bytes)), form: Form::Plain }]
    );
    assert_eq!((entry.quant.as_deref(), entry.licence.as_deref()), (Some("Q8_0"), Some("Apache License")));
    assert!(entry.imported && entry.source.starts_with("Ollama's cache /"), "{}", entry.source);
    let expected = json!({
        "template": template,
        "system": "Be brief.",
        "parameters": {"stop": ["<|end|>"], "temperature": 0.5},
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(entry.defaults, Some(expected));
    assert_eq!(shelf.find("ollama:small").unwrap().defaults, None);
    assert_eq!(shelf.verify(&entry, &mut |_, _| ())[0].verdict, crate::hub::shelf::Verdict::Same);
    // A file without an ending is opened.
    assert!(ModelFile::open(&path).unwrap().parts().is_ok());
    // Once more, nothing is new; when a tag has moved, its model is the new one.
    assert!(dir.import("ollama").iter().all(|imported| matches!(imported, Imported::Here { .. })));
    dir.manifest("registry.ollama.ai/library/small/latest", &[dir.layer("model", gguf(2))]);
    assert_eq!(added(&dir.import("ollama")), ["ollama:small:latest"]);
    assert_eq!(shelf.find("ollama:small").unwrap().files[0].sha256, Some(hex(&gguf(2))));
    assert_eq!(shelf.entries().len(), 5);
}

/// Where Ollama renders conversations by a program of its own, the template of the manifest is not used.
#[test]
fn ollama_renderers() {
    let dir = Scratch::new();
    let layers =
        [dir.layer("model", gguf(1)), dir.layer("template", "{{ .Prompt }}"), dir.layer("system", "Be brief.")];
    for (tag, config, has_template) in [
        ("own", json!({"model_format": "gguf", "renderer": "qwen3-coder", "parser": "qwen3-coder"}), false),
        ("plain", json!({"model_format": "gguf"}), true),
        ("empty", json!({"renderer": ""}), true),
    ] {
        let config = dir.layer("config", config.to_string());
        let text = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        dir.write(&format!("ollama/manifests/registry.ollama.ai/library/m/{tag}"), text);
        dir.import("ollama");
        let defaults = dir.shelf().find(&format!("ollama:m:{tag}")).unwrap().defaults.unwrap();
        assert_eq!(
            (defaults.get("template").is_some(), &defaults["system"]),
            (has_template, &json!("Be brief.")),
            "{tag}"
        );
        assert_eq!(defaults.get("renderer"), (!has_template).then(|| json!("qwen3-coder")).as_ref(), "{tag}");
    }
}

#[test]
fn manifests_that_are_left() {
    let dir = Scratch::new();
    let model = dir.layer("model", gguf(1));
    let text = dir.layer("model", "this is no model");
    let gone =
        json!({"mediaType": "application/vnd.ollama.image.model", "digest": format!("sha256:{}", "0".repeat(64))});
    let escape = json!({"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"});
    let odd =
        json!({"mediaType": "application/vnd.ollama.image.oddity", "digest": format!("sha256:{}", "0".repeat(64))});
    let cases: [(&str, Vec<Value>, &str); 11] = [
        ("adapter", vec![model.clone(), dir.layer("adapter", "x")], "adapter"),
        ("empty", vec![], "no layer of weights"),
        ("escape", vec![escape], "no SHA-256"),
        ("gone", vec![gone], "no such file"),
        ("many", vec![model.clone(), model.clone()], "several layers"),
        ("number", vec![json!(1)], "unknown"),
        ("odd", vec![model.clone(), odd], "oddity"),
        ("params", vec![model.clone(), dir.layer("params", "{")], "params is no JSON"),
        ("system", vec![model.clone(), dir.layer("system", b"\xff")], "not UTF-8"),
        ("tensors", vec![dir.layer("tensor", "x")], "safetensors"),
        ("text", vec![text], "not a usable GGUF file"),
    ];
    for (name, layers, _) in &cases {
        dir.manifest(&format!("registry.ollama.ai/library/x/{name}"), layers);
    }
    dir.write("ollama/manifests/short", "{}");
    dir.write("ollama/manifests/registry.ollama.ai/library/x/zjson", "{");
    let found = dir.import("ollama");
    let mut reasons: Vec<_> = cases.iter().map(|case| case.2).collect();
    reasons.extend(["not JSON", "path is not HOST"]);
    assert_eq!(found.len(), reasons.len());
    for (found, reason) in left(&found).iter().zip(reasons) {
        assert!(found.contains(reason) && !found.contains('\n'), "{found} {reason}");
    }
    assert!(dir.shelf().entries().is_empty());
}

#[cfg(unix)]
#[test]
fn hugging_face() {
    let dir = Scratch::new();
    let link = |repository: &str, commit: &str, name: &str, bytes: &[u8]| {
        let repository = format!("hub/models--{repository}");
        dir.write(&format!("{repository}/blobs/{}", hex(bytes)), bytes);
        let path = dir.0.join(format!("{repository}/snapshots/{commit}/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let up = "../".repeat(2 + name.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{}", hex(bytes)), &path).unwrap();
        path
    };
    link("User--Repo-GGUF", "aa", "model-Q4_K_M.gguf", &gguf(1));
    dir.write("hub/models--User--Repo-GGUF/refs/main", "bb\n");
    let path = link("User--Repo-GGUF", "bb", "model-Q4_K_M.gguf", &gguf(2));
    link("User--Repo-GGUF", "bb", "other-Q4_K_M.gguf", &gguf(3));
    link("User--Repo-GGUF", "bb", "deep/model-00001-of-00002.gguf", &part(0, 2));
    link("User--Repo-GGUF", "bb", "deep/model-00002-of-00002.gguf", &part(1, 2));
    link("User--Repo-GGUF", "bb", "lone-00002-of-00002.gguf", &part(1, 2));
    link("User--Repo-GGUF", "bb", "half-00001-of-00002.gguf", &part(0, 2));
    link("User--Repo-GGUF", "bb", "mmproj-F16.gguf", &gguf(4));
    link("User--Repo-GGUF", "bb", "README.md", b"x");
    link("gpt2", "cc", "gpt2.f16.gguf", &gguf(5));
    link("User--Text", "cc", "text-Q4_0.gguf", b"text");
    dir.write("hub/models--User--None/refs/main", "../../..");
    dir.write("hub/datasets--User--Data/snapshots/aa/data.txt", "x");
    for place in ["", "hub"] {
        let shelf = Shelf::at(&dir.0.join(format!("cache{place}")));
        let found = shelf.import(&dir.0.join(place), None).unwrap();
        assert_eq!(
            added(&found),
            [
                "hf:User/Repo-GGUF/deep/model-00001-of-00002.gguf",
                "hf:User/Repo-GGUF:Q4_K_M",
                "hf:User/Repo-GGUF/other-Q4_K_M.gguf",
                "hf:gpt2:F16"
            ]
        );
        let left = left(&found);
        for (found, reason) in left.iter().zip([
            "half-00002-of-00002.gguf: no such",
            "lone-00001-of-00002.gguf, is not",
            "mmproj",
            "text-Q4_0",
        ]) {
            assert!(found.contains(reason), "{found} {reason}");
        }
        assert_eq!(left.len(), 4);
        let entry = shelf.find("hf:user/repo-gguf:q4_k_m").unwrap();
        assert_eq!(entry.files[0].path, path);
        assert_eq!((&entry.files[0].sha256, entry.quant.as_deref()), (&Some(hex(&gguf(2))), Some("Q4_K_M")));
        let split = shelf.find("hf:User/Repo-GGUF/deep/model-00001-of-00002.gguf").unwrap();
        assert_eq!((split.files.len(), &split.files[1].sha256), (2, &Some(hex(&part(1, 2)))));
        assert_eq!(shelf.of_file(&fs::canonicalize(&path).unwrap()), Some(entry));
    }
    let found = dir.shelf().import(&dir.0.join("hub/models--gpt2"), Some("mine")).unwrap();
    assert_eq!(added(&found), ["mine"]);
}

#[test]
fn llama_cpp_and_other_files() {
    let dir = Scratch::new();
    dir.write("ll/user_repo-GGUF_model-Q4_K_M.gguf", gguf(1));
    let lfs = json!({"sha256": hex(&gguf(1))});
    let file = json!({"ggufFile": {"rfilename": "model-Q4_K_M.gguf", "size": 1, "lfs": lfs}});
    dir.write("ll/manifest=user=repo-GGUF=latest.json", file.to_string());
    dir.write("ll/manifest=user=repo-GGUF=Q4_K_M.json", file.to_string());
    dir.write("ll/manifest=user=bad=latest.json", "{");
    dir.write("ll/old.gguf", gguf(2));
    let url = "https://huggingface.co/user/old_repo/resolve/main/deep/old-Q8_0.gguf?download=true";
    dir.write("ll/old.gguf.json", json!({"url": url, "etag": "x"}).to_string());
    dir.write("ll/odd.gguf", gguf(3));
    dir.write("ll/odd.gguf.json", json!({"url": "https://example.com/odd.gguf"}).to_string());
    dir.write("ll/sub/My model é.gguf", gguf(4));
    dir.write("ll/smollm2.gguf", gguf(5));
    dir.write("ll/text.gguf", "text");
    dir.write("ll/notes.txt", "text");
    let found = dir.import("ll");
    assert_eq!(
        added(&found),
        ["odd", "hf:user/old_repo:Q8_0", "file-smollm2", "My-model--", "hf:user/repo-GGUF:Q4_K_M"]
    );
    assert_eq!(left(&found).len(), 1, "{found:?}");
    assert!(left(&found)[0].starts_with("text.gguf: not a usable GGUF file"), "{found:?}");
    let shelf = dir.shelf();
    let entry = shelf.find("hf:user/repo-gguf").unwrap();
    assert_eq!((entry.files[0].sha256.clone(), entry.name()), (Some(hex(&gguf(1))), "hf:user/repo-GGUF:Q4_K_M"));
    // The copy of another cache is not taken too; a file of the same stem neither, but its own name helps.
    fs::create_dir_all(dir.0.join("copy")).unwrap();
    for name in ["user_repo-GGUF_model-Q4_K_M.gguf", "manifest=user=repo-GGUF=latest.json", "odd.gguf"] {
        fs::copy(dir.0.join("ll").join(name), dir.0.join("copy").join(name)).unwrap();
    }
    let found = dir.import("copy");
    assert!(matches!(&found[1], Imported::Here { name, .. } if name == "hf:user/repo-GGUF:Q4_K_M"), "{found:?}");
    assert!(left(&found)[0].contains("the name odd is taken by"), "{found:?}");
    let odd = dir.0.join("copy/odd.gguf");
    assert_eq!(added(&shelf.import(&odd, Some("odd-2")).unwrap()), ["odd-2"]);
    // A file is imported by any part.
    dir.write("parts/m-00001-of-00002.gguf", part(0, 2));
    let second = dir.write("parts/m-00002-of-00002.gguf", part(1, 2));
    assert_eq!(added(&shelf.import(&second, None).unwrap()), ["m"]);
    assert_eq!(shelf.find("m").unwrap().files.len(), 2);
}

#[test]
fn imports_that_are_refused() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let model = dir.write("m/model.gguf", gguf(1));
    dir.write("m/other.gguf", gguf(2));
    fs::create_dir_all(dir.0.join("empty")).unwrap();
    let refused = |path: &str, name| shelf.import(&dir.0.join(path), name).unwrap_err().to_string();
    assert!(refused("empty", None).contains("no GGUF file in this folder"));
    assert!(refused("nothing", None).contains("no such file"));
    assert!(refused("m", Some("x")).contains("--name x is for one model, and this folder has 2"));
    for name in ["", ".x", "-x", "a b", "a/b", "hf:a", "ä", "smollm2", "MiniLM", "qwen3"] {
        assert!(refused("m/model.gguf", Some(name)).contains("--name"), "{name}");
    }
    let text = dir.write("text", "text");
    assert_eq!(left(&shelf.import(&text, None).unwrap()).len(), 1);
    assert!(shelf.entries().is_empty() && !shelf.cache().exists());
    // What was pulled is not replaced.
    put(&shelf, "hf--u--r--Q8_0", &["hf:u/r:Q8_0"], &gguf(1), Form::Plain);
    dir.write("hub/models--u--r/snapshots/aa/r-Q8_0.gguf", gguf(1));
    assert!(matches!(&dir.import("hub")[..], [Imported::Here { .. }]));
    let pulled = shelf.folder("hf--u--r--Q8_0").join("model.gguf");
    assert!(
        matches!(&shelf.import(&pulled, Some("x")).unwrap()[..], [Imported::Here { name, .. }] if name == "hf:u/r:Q8_0")
    );
    assert_eq!(added(&shelf.import(&model, None).unwrap()), ["model"]);
    // Removing leaves the file.
    shelf.remove("model").unwrap();
    assert!(model.exists());
}

#[test]
fn where_the_caches_are() {
    let home = || Some(PathBuf::from("/home/x"));
    let with = |set: &'static [(&str, &str)]| {
        move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    };
    if cfg!(target_os = "linux") {
        let of = |set| places(&with(set), home()).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let system = "/usr/share/ollama/.ollama/models";
        let usual = ["/home/x/.cache/llama.cpp", "/home/x/.ollama/models", system, "/home/x/.cache/huggingface/hub"];
        assert_eq!(of(&[]), usual);
        assert_eq!(of(&[("LLAMA_CACHE", "/l"), ("OLLAMA_MODELS", "/o"), ("HF_HUB_CACHE", "/h")]), ["/l", "/o", "/h"]);
        assert_eq!(of(&[("HF_HOME", "/h"), ("LLAMA_CACHE", "")])[3], "/h/hub");
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c")])[0], "/c/llama.cpp");
        assert_eq!(places(&with(&[]), None), [PathBuf::from(system)]);
    }
}
