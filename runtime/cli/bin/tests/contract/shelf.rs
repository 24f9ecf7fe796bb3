//! `smidgen list`, `show`, `remove`, `prune`, `import` and `verify`.

use crate::files::{endless, instruct};
use crate::{Scratch, quiet, refused, smidgen};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smidgen_tests::seeded::Meta;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

impl Scratch {
    /// The command with a cache in this folder, and no other program's.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = smidgen(words);
        for name in ["LLAMA_CACHE", "OLLAMA_MODELS", "HF_HUB_CACHE"] {
            command.env(name, self.path(name));
        }
        command.env("SMIDGEN_CACHE", self.path("cache")).env("HOME", self.path("home"));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn stdout(&self, words: &[&str]) -> String {
        quiet(words, self.run(words))
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.stdout(words)).unwrap()
    }

    fn fails(&self, words: &[&str], named: &[&str]) -> String {
        refused(words, &self.run(words), named)
    }

    /// A model as `pull` leaves it, used some days ago; the path of its file.
    fn shelved(&self, key: &str, names: &[&str], bytes: &[u8], days: u64) -> String {
        let folder = format!("cache/models/{key}");
        fs::create_dir_all(self.path(&folder)).unwrap();
        let record = json!({
            "version": 1,
            "names": names,
            "files": [{"path": "model.gguf", "bytes": bytes.len(), "sha256": sha256(bytes), "packed": false}],
            "quant": "Q8_0",
            "licence": "MIT",
            "source": "https://example.com/model.gguf",
            "pulled": 1_700_000_000,
            "imported": false,
            "defaults": {"system": "Be\u{1b}[2J brief.", "parameters": {"temperature": 0.5}},
        });
        let record = self.write(&format!("{folder}/model.json"), record.to_string());
        let time = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        File::options().write(true).open(record).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        self.write(&format!("{folder}/model.gguf"), bytes)
    }
}

/// The SHA-256 of these bytes.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_list_shows_what_is_here() {
    let dir = Scratch::new();
    assert_eq!(dir.stdout(&["list"]), "NAME  SIZE  QUANT  FORM  USED  FROM\n");
    assert_eq!(dir.json(&["list", "--json"]), json!([]));
    // Looking makes nothing.
    assert!(!Path::new(&dir.path("cache")).exists());
    let bytes = instruct().bytes();
    let path = dir.shelved("hf--u--m--Q8_0", &["hf:u/m:Q8_0", "hf:u/m"], &bytes, 3);
    fs::copy(&path, dir.path("cache/all-MiniLM-L6-v2.Q8_0.gguf")).unwrap();
    let table = dir.stdout(&["list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines.len() == 3, "{table}");
    assert!(lines[1].starts_with("hf:u/m:Q8_0 ") && lines[1].ends_with("https://example.com/model.gguf"), "{table}");
    assert!(
        lines[1].contains(" MB ")
            && lines[1].contains(" Q8_0 ")
            && lines[1].contains(" plain ")
            && lines[1].contains(" 3 days ago "),
        "{table}"
    );
    assert!(lines[2].starts_with("minilm ") && lines[2].contains("just now"), "{table}");
    let list = dir.json(&["list", "--json"]);
    let entry = &list[0];
    assert_eq!((&entry["names"], &entry["bytes"]), (&json!(["hf:u/m:Q8_0", "hf:u/m"]), &json!(bytes.len())));
    assert_eq!((&entry["files"][0]["path"], &entry["complete"]), (&json!(path), &json!(true)));
    assert_eq!((&list[1]["name"], &list[1]["key"]), (&json!("minilm"), &Value::Null));
}

#[test]
fn what_is_damaged_is_told_and_stops_nothing() {
    let dir = Scratch::new();
    dir.shelved("good", &["good"], b"model", 1);
    dir.shelved("short", &["short"], b"model", 1);
    dir.write("cache/models/short/model.gguf", "mod");
    dir.shelved("bad", &["bad"], b"model", 1);
    dir.write("cache/models/bad/model.json", "{\"version\": 7}");
    let output = dir.run(&["list"]);
    let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out.lines().count() == 3, "{out}");
    assert_eq!(told.lines().count(), 2, "{told}");
    for words in
        ["bad/model.json: the field version is 7", "'smidgen remove bad'", "model.gguf is not there with its 5 bytes"]
    {
        assert!(told.contains(words), "{told}");
    }
    // Each goes by what was told.
    for name in ["bad", "short"] {
        assert!(dir.stdout(&["remove", name]).starts_with("removed "));
    }
    assert_eq!(dir.stdout(&["list"]).lines().count(), 2);
}

#[test]
fn a_model_is_shown() {
    let dir = Scratch::new();
    let path = dir.shelved("a", &["hf:u/m:Q8_0", "hf:u/m"], &instruct().bytes(), 1);
    let value = dir.json(&["show", "HF:u/m", "--json"]);
    assert_eq!((&value["architecture"], &value["chat_template"]), (&json!("llama"), &json!(true)));
    let inspected = dir.json(&["inspect", &path, "--json"]);
    let tensors = inspected["parts"][0]["tensors"].as_array().unwrap();
    let weights =
        |tensor: &Value| tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product::<u64>();
    assert_eq!(value["parameters"], tensors.iter().map(weights).sum::<u64>());
    assert_eq!(value["context"], inspected["parts"][0]["metadata"]["llama.context_length"]);
    assert_eq!(value["defaults"]["parameters"]["temperature"], 0.5);
    assert!(value["types"]["Q8_0"][0].as_u64().unwrap() > 0);
    let text = dir.stdout(&["show", &path]);
    for words in
        ["hf:u/m:Q8_0", "licence        MIT", "architecture   llama", "chat template  yes", "Q8_0: ", "system = Be"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("tokens per second"), "{text}");
    dir.stdout(&["bench", "--bandwidth"]);
    assert!(dir.stdout(&["show", &path]).contains("speed          at most "));
    dir.fails(&["show", "hf:u/n"], &["hf:u/n", "did you mean hf:u/m?", "smidgen list"]);
    dir.write("cache/models/a/model.gguf", "text");
    dir.fails(&["show", "hf:u/m"], &["hf:u/m:Q8_0: ", &path, "is not there with its"]);
    dir.shelved("a", &["a"], b"text", 1);
    dir.fails(&["show", "a"], &[&path, "not a usable GGUF file"]);
}

/// A model that a running process has open is not removed; when that has ended, it is.
#[test]
fn what_is_in_use_is_not_removed() {
    let dir = Scratch::new();
    let path = dir.shelved("a", &["a"], &instruct().bytes(), 2);
    dir.shelved("b", &["b"], b"model", 1);
    let mut user = dir.command(&["run", &path, "--chat"]);
    let mut user = user.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let prune = |words: &[&str]| {
        let output = dir.run(&[&["prune", "--keep", "0"], words].concat());
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let is_open = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        user.try_wait().unwrap().is_none() && prune(&["--dry-run"]).1.contains("in use")
    });
    assert!(is_open, "a model that is open is not seen to be in use");
    dir.fails(&["remove", "a"], &["a: ", &path, "is in use by a running process; end it first"]);
    let (out, told) = prune(&[]);
    assert!(out.starts_with("removed b (") && out.lines().count() == 2, "{out}");
    assert!(told.starts_with("smidgen: passed over: a: ") && told.lines().count() == 1, "{told}");
    assert!(Path::new(&path).exists());
    drop(user.stdin.take());
    assert!(user.wait().unwrap().success());
    assert!(dir.stdout(&["remove", "a"]).starts_with("removed a ("));
    assert!(!Path::new(&dir.path("cache/models/a")).exists());
}

#[test]
fn what_is_being_pulled_is_not_removed() {
    let dir = Scratch::new();
    dir.shelved("a", &["a"], b"model", 1);
    let lock = File::create(dir.path("cache/models/.a.lock")).unwrap();
    lock.lock().unwrap();
    dir.fails(&["remove", "a"], &["a: ", "a process is pulling this model"]);
    drop(lock);
    dir.stdout(&["remove", "a"]);
}

#[test]
fn pruning_keeps_what_was_used_last() {
    let dir = Scratch::new();
    for (name, days) in [("new", 1), ("old", 3), ("middle", 2)] {
        dir.shelved(name, &[name], &[0; 100_000], days);
    }
    let dry = dir.stdout(&["prune", "--keep", "250k", "--dry-run"]);
    assert!(dry.starts_with("would remove old (100 kB)\nwould remove 100 kB in all, 20"), "{dry}");
    assert_eq!(dir.json(&["list", "--json"]).as_array().unwrap().len(), 3);
    let done = dir.stdout(&["prune", "--keep", "250k"]);
    assert_eq!(done, dry.replace("would remove", "removed"));
    assert_eq!(dir.stdout(&["list"]).lines().count(), 3);
    for size in ["", "x", "-1", "1X", "99999999999T"] {
        dir.fails(&["prune", "--keep", size], &["--keep", "20Gi"]);
    }
    dir.fails(&["prune"], &["--keep"]);
    dir.fails(&["remove"], &["NAME"]);
}

#[test]
fn files_are_imported_where_they_are() {
    let dir = Scratch::new();
    let path = dir.write("my model.gguf", endless().bytes());
    assert_eq!(
        dir.stdout(&["import", &path]),
        format!("added my-model (2.0 MB) {path}\n").replace("2.0 MB", &size(&path))
    );
    assert_eq!(dir.stdout(&["import", &path]), format!("here already my-model {path}\n"));
    assert_eq!(dir.stdout(&["import", &path, "--name", "mine"]), format!("added mine ({}) {path}\n", size(&path)));
    assert_eq!(dir.stdout(&["prune", "--keep", "0"]), "removed 0 B in all, 0 B left\n");
    let text = dir.write("text", "text");
    dir.fails(&["import", &text], &[&text, "not a usable GGUF file"]);
    dir.fails(&["import", &dir.path("missing")], &["missing", "no such file"]);
    dir.fails(&["import", &path, "--name", "a/b"], &["--name", "a/b"]);
    dir.fails(&["import", "--name", "x"], &["PATH"]);
    assert_eq!(dir.stdout(&["remove", "mine", "my-model"]), "removed mine (0 B)\nremoved my-model (0 B)\n");
    assert!(Path::new(&path).exists());
}

/// A file's length, as it is shown.
fn size(path: &str) -> String {
    let bytes = fs::metadata(path).unwrap().len();
    assert!((1_000_000..10_000_000).contains(&bytes), "{bytes}");
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[test]
fn caches_of_other_programs_are_found() {
    let dir = Scratch::new();
    let none = dir.stdout(&["import"]);
    assert!(none.starts_with("no models found in ") && none.contains("LLAMA_CACHE"), "{none}");
    let bytes = instruct().set("test.number", Meta::U32(1)).bytes();
    let digest = sha256(&bytes);
    for folder in ["OLLAMA_MODELS/blobs", "OLLAMA_MODELS/manifests/registry.ollama.ai/library/small", "LLAMA_CACHE"] {
        fs::create_dir_all(dir.path(folder)).unwrap();
    }
    dir.write(&format!("OLLAMA_MODELS/blobs/sha256-{digest}"), &bytes);
    let layer = json!({"mediaType": "application/vnd.ollama.image.model", "digest": format!("sha256:{digest}")});
    let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
    dir.write("OLLAMA_MODELS/manifests/registry.ollama.ai/library/small/latest", manifest);
    dir.write("LLAMA_CACHE/broken.gguf", "text");
    let output = dir.run(&["import"]);
    let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out.starts_with("added ollama:small:latest ("), "{out} {told}");
    assert!(told.starts_with("smidgen: left ") && told.contains("broken.gguf: not a usable GGUF file"), "{told}");
    assert_eq!((out.lines().count(), told.lines().count()), (1, 1));
    assert_eq!(dir.json(&["show", "ollama:small", "--json"])["files"][0]["sha256"], json!(digest));
    let verified = dir.stdout(&["verify", "ollama:small"]);
    assert!(verified.ends_with(&format!("sha256-{digest}: ok\n")), "{verified}");
}

#[test]
fn damage_is_found() {
    let dir = Scratch::new();
    let bytes = instruct().bytes();
    let path = dir.shelved("a", &["a"], &bytes, 1);
    let other = dir.write("other.gguf", &bytes);
    dir.stdout(&["import", &other]);
    let all = dir.stdout(&["verify"]);
    assert_eq!(all, format!("a {path}: ok\nother {other}: ok (structure only: the source states no SHA-256)\n"));
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    for words in [&["verify"][..], &["verify", "a"], &["verify", &path]] {
        let output = dir.run(words);
        let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1));
        assert!(out.contains(&format!("a {path}: DAMAGED: its SHA-256 is ")), "{out}");
        assert_eq!(told, "smidgen: a is damaged; remove it with 'smidgen remove a', then pull it again\n");
    }
    assert_eq!(dir.stdout(&["verify", "other"]).lines().count(), 1);
    dir.fails(&["verify", "b"], &["b: there is no such model here"]);
    dir.write("cache/models/a/model.json", "{");
    dir.fails(&["verify", "a"], &["no such model"]);
    assert_eq!(dir.run(&["verify"]).status.code(), Some(1));
}
