use super::*;
use crate::Silent;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A cache of its own for each test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("smidgen-shelf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf::at(&self.0.join("cache"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a model of one file of these bytes on a shelf.
pub(super) fn put(shelf: &Shelf, key: &str, names: &[&str], bytes: &[u8], form: Form) -> Entry {
    let folder = shelf.folder(key);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.gguf");
    fs::write(&path, bytes).unwrap();
    let entry = Entry {
        key: Some(key.to_owned()),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        files: vec![EntryFile { path, bytes: bytes.len() as u64, sha256: None, form }],
        quant: Some("Q8_0".into()),
        licence: None,
        source: "https://example.com/model.gguf".into(),
        pulled: 1_700_000_000,
        imported: false,
        defaults: Some(json!({"system": "Be brief."})),
    };
    let _lock = shelf.lock(key, &mut Silent).unwrap();
    shelf.add(key, &entry).unwrap();
    entry
}

#[test]
fn what_is_added_is_found_by_each_name_and_file() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    assert!(shelf.entries().is_empty() && shelf.find("a").is_none() && !shelf.cache().exists());
    let plain = put(&shelf, "a--plain", &["hf:u/a:Q8_0", "hf:u/a"], b"plain", Form::Plain);
    let packed = put(&shelf, "z--packed", &["hf:u/a:Q8_0", "hf:u/a"], b"packed", Form::Packed);
    for name in ["hf:u/a:Q8_0", "hf:u/a", "HF:U/A"] {
        assert_eq!(shelf.find(name), Some(packed.clone()), "{name}");
    }
    assert_eq!(shelf.find("hf:u"), None);
    let found: Vec<_> = shelf.entries().into_iter().map(Result::unwrap).collect();
    assert_eq!(found, [plain.clone(), packed.clone()]);
    assert_eq!(shelf.of_file(&dir.0.join("cache/models/../models/a--plain/model.gguf")), Some(plain.clone()));
    assert_eq!(shelf.of_file(&dir.0), None);
    // One whose file is not whole is not found, but listed.
    fs::write(&packed.files[0].path, "pack").unwrap();
    assert_eq!(shelf.find("hf:u/a"), Some(plain));
    assert_eq!(shelf.entries().len(), 2);
    // The cache can be moved.
    fs::rename(dir.0.join("cache"), dir.0.join("moved")).unwrap();
    let moved = Shelf::at(&dir.0.join("moved")).find("hf:u/a").unwrap();
    assert!(moved.files[0].path.starts_with(dir.0.join("moved")));
}

#[test]
fn known_models_need_no_record() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    fs::create_dir_all(shelf.cache()).unwrap();
    let path = shelf.cache().join("all-MiniLM-L6-v2.Q8_0.packed.gguf");
    fs::write(&path, "model").unwrap();
    let entry = shelf.find("MiniLM").unwrap();
    assert_eq!((entry.name(), entry.key.as_deref(), entry.bytes()), ("minilm", None, 5));
    assert_eq!((entry.quant.as_deref(), entry.files[0].form), (Some("Q8_0"), Form::Packed));
    let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    assert_eq!(shelf.used(&entry), Some(old));
    shelf.touch(&entry);
    assert!(shelf.used(&entry) > Some(old));
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), old);
}

#[test]
fn use_is_noted() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let entry = put(&shelf, "a", &["a"], b"a", Form::Plain);
    let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::options().write(true).open(shelf.record("a")).unwrap().set_modified(old).unwrap();
    assert_eq!(shelf.used(&entry), Some(old));
    shelf.touch(&entry);
    assert!(shelf.used(&entry) > Some(old));
}

#[test]
fn what_a_record_cannot_hold_is_refused() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let entry = put(&shelf, "a", &["a"], b"a", Form::Plain);
    for key in ["", ".a", "a/b", "..", "a b", "ä", &"a".repeat(201)] {
        assert!(shelf.add(key, &entry).unwrap_err().to_string().contains("a key has"), "{key}");
        assert!(shelf.lock(key, &mut Silent).is_err(), "{key}");
    }
    let with = |change: fn(&mut Entry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        shelf.add("a", &entry).unwrap_err().to_string()
    };
    assert!(with(|entry| entry.names = vec!["a\nb".into()]).contains("names"));
    assert!(with(|entry| entry.names.clear()).contains("names"));
    assert!(with(|entry| entry.files.clear()).contains("files"));
    assert!(with(|entry| entry.files[0].sha256 = Some("A".repeat(64))).contains("sha256"));
    assert!(with(|entry| entry.files[0].bytes = 2).contains("not there with its 2 bytes"));
    assert!(with(|entry| entry.files[0].path = "/etc/passwd".into()).contains("is not in"));
    assert!(with(|entry| (entry.imported, entry.files[0].path) = (true, "a".into())).contains("not absolute"));
    assert!(with(|entry| entry.files[0].path.push("../../b")).contains("leaves"));
    assert!(with(|entry| entry.defaults = Some("x".repeat(5 << 20).into())).contains("more than"));
    // Nothing has changed, and nothing is left.
    assert_eq!(shelf.find("a"), Some(entry));
    assert_eq!(fs::read_dir(shelf.folder("a")).unwrap().count(), 2);
}

#[test]
fn damaged_records_are_named_and_stop_nothing() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    put(&shelf, "good", &["good"], b"a", Form::Plain);
    put(&shelf, "bad", &["bad"], b"a", Form::Plain);
    let path = shelf.record("bad");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |field: &str, value: Value| {
        let mut record = good.clone();
        *record.pointer_mut(field).unwrap() = value;
        record.to_string()
    };
    let deep = "[".repeat(100_000);
    let cases = [
        (String::new(), "not JSON"),
        ("{".into(), "not JSON"),
        (deep, "not JSON"),
        ("[]".into(), "not an object"),
        ("{}".into(), "version"),
        (with("/version", json!(2)), "version is 2"),
        (with("/version", json!("1")), "version"),
        (with("/names", json!([])), "names"),
        (with("/names", json!("bad")), "names"),
        (with("/names", json!(["a\u{1b}[2J"])), "names"),
        (with("/names", json!(["a", 1])), "names"),
        (with("/files", json!({})), "files"),
        (with("/files/0", json!("model.gguf")), "files"),
        (with("/files/0/path", json!("../good/model.gguf")), "leaves the model's folder"),
        (with("/files/0/path", json!("/etc/passwd")), "leaves the model's folder"),
        (with("/files/0/path", json!("a\\..\\..\\b")), "leaves the model's folder"),
        (with("/files/0/path", json!("")), "files.path"),
        (with("/files/0/bytes", json!(-1)), "files.bytes"),
        (with("/files/0/sha256", json!("abc")), "files.sha256"),
        (with("/files/0/packed", json!(1)), "files.packed"),
        (with("/imported", json!(true)), "not absolute"),
        (with("/pulled", json!(1.5)), "pulled"),
        (with("/source", json!(null)), "source"),
        (with("/quant", json!(4)), "quant"),
        (good.to_string().replacen("\"source\"", "\"sauce\"", 1), "sauce is unknown"),
        ("x".repeat(5 << 20), "more than"),
    ];
    for (text, word) in cases {
        fs::write(&path, &text).unwrap();
        let entries = shelf.entries();
        let error = entries[0].as_ref().unwrap_err().to_string();
        let shown = &text[..text.len().min(200)];
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(word), "{shown}: {error}");
        assert!(error.contains("'smidgen remove bad'") && !error.contains('\n'), "{error}");
        assert!(
            entries.len() == 2 && entries[1].is_ok() && shelf.find("good").is_some() && shelf.find("bad").is_none()
        );
    }
    fs::write(&path, good.to_string()).unwrap();
    assert!(shelf.find("bad").is_some());
}

#[test]
fn one_process_writes_a_key() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let lock = shelf.lock("a", &mut Silent).unwrap();
    assert!(!try_hold(&shelf.lock_file("a").unwrap()) && try_hold(&shelf.lock_file("b").unwrap()));
    drop(lock);
    assert!(try_hold(&shelf.lock_file("a").unwrap()));
}
