use super::super::tests::{Scratch, put};
use super::*;
use crate::hub::shelf::EntryFile;
use crate::{Form, ModelFile, Silent};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Sets when a model was used last, in days ago.
fn used(shelf: &Shelf, key: &str, days: u64) {
    aged(&shelf.record(key), days);
}

fn aged(path: &Path, days: u64) {
    let time = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

fn names(removed: &[Removed]) -> Vec<&str> {
    removed.iter().map(|removed| removed.name.as_str()).collect()
}

/// Every file and folder below one.
fn all(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.insert(entry.path());
        found.extend(all(&entry.path()));
    }
    found.retain(|path| path.extension().is_none_or(|extension| extension != "lock"));
    found
}

fn gguf() -> Vec<u8> {
    smidgen_gguf::Writer::new().write(&[], Vec::new()).unwrap()
}

#[test]
fn a_name_goes_in_both_forms() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    put(&shelf, "a", &["hf:u/a:Q8_0", "hf:u/a"], b"12345", Form::Plain);
    put(&shelf, "a--packed", &["hf:u/a:Q8_0"], b"12345", Form::Packed);
    put(&shelf, "b", &["hf:u/b:Q8_0"], b"123", Form::Packed);
    let removed = shelf.remove("HF:u/A:q8_0").unwrap();
    assert_eq!(names(&removed), ["hf:u/a:Q8_0", "hf:u/a:Q8_0"]);
    // The record counts too.
    assert!(removed.iter().all(|removed| removed.bytes > 5 && removed.bytes < 1000));
    assert!(!shelf.folder("a").exists() && !shelf.folder("a--packed").exists() && shelf.folder("b").exists());
    // By path, and by key.
    let path = shelf.folder("b").join("../b/model.gguf");
    assert_eq!(names(&shelf.remove(path.to_str().unwrap()).unwrap()), ["hf:u/b:Q8_0"]);
    put(&shelf, "b", &["hf:u/b:Q8_0"], b"123", Form::Packed);
    assert_eq!(shelf.remove("b").unwrap().len(), 1);
    assert!(shelf.entries().is_empty());
}

#[test]
fn similar_names_are_told() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    put(&shelf, "a", &["hf:user/smollm2-gguf:Q8_0"], b"1", Form::Plain);
    for (name, told) in [
        ("hf:user/smolm2-gguf:Q8_0", "did you mean hf:user/smollm2-gguf:Q8_0?"),
        ("smollm2", "did you mean hf:user/smollm2-gguf:Q8_0?"),
        ("xyz", "there is no such model here; 'smidgen list'"),
        (&"x".repeat(1 << 20), "there is no such model here"),
        ("../cache", "there is no such model here"),
        ("", "there is no such model here"),
        ("..", "there is no such model here"),
    ] {
        let error = shelf.remove(name).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(shelf.entries().len(), 1);
}

#[test]
fn what_is_used_or_pulled_stays() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let entry = put(&shelf, "a", &["a"], &gguf(), Form::Plain);
    put(&shelf, "b", &["a"], &gguf(), Form::Packed);
    let open = ModelFile::open(&entry.files[0].path).unwrap();
    let again = ModelFile::open(&entry.files[0].path).unwrap();
    for _ in 0..2 {
        let error = shelf.remove("a").unwrap_err().to_string();
        assert!(error.contains("model.gguf is in use by a running process; end it first"), "{error}");
        assert_eq!(shelf.entries().len(), 2);
        let pruned = shelf.prune(0, true).unwrap();
        assert_eq!((pruned.removed.len(), pruned.passed.len()), (1, 1));
    }
    drop(open);
    assert!(shelf.remove("a").is_err());
    drop(again);
    let lock = shelf.lock("b", &mut Silent).unwrap();
    let error = shelf.remove("a").unwrap_err().to_string();
    assert!(error.contains("a process is pulling this model"), "{error}");
    assert_eq!(shelf.entries().len(), 2);
    drop(lock);
    assert_eq!(shelf.remove("a").unwrap().len(), 2);
    // A model can be opened while another has the lock to remove it, and is not kept from anything.
    let entry = put(&shelf, "a", &["a"], &gguf(), Form::Plain);
    let removing = File::open(&entry.files[0].path).unwrap();
    assert!(try_hold(&removing));
    assert!(ModelFile::open(&entry.files[0].path).is_ok());
}

#[test]
fn the_oldest_go_until_it_is_enough() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    for (key, days) in [("new", 1), ("old", 3), ("middle", 2)] {
        put(&shelf, key, &[key], &[0; 100_000], Form::Packed);
        used(&shelf, key, days);
    }
    // Imported models neither go nor count.
    let outside = dir.0.join("outside.gguf");
    fs::write(&outside, [0; 100_000]).unwrap();
    let mut imported = put(&shelf, "theirs", &["theirs"], b"", Form::Plain);
    imported.imported = true;
    imported.files = vec![EntryFile { path: outside.clone(), bytes: 100_000, sha256: None, form: Form::Plain }];
    shelf.add("theirs", &imported).unwrap();
    used(&shelf, "theirs", 9);
    let before = all(shelf.cache());
    let dry = shelf.prune(250_000, true).unwrap();
    assert_eq!(all(shelf.cache()), before);
    assert_eq!(names(&dry.removed), ["old"]);
    assert!((200_000..201_000).contains(&dry.left), "{}", dry.left);
    assert_eq!(shelf.prune(250_000, false).unwrap(), dry);
    assert_eq!(shelf.prune(250_000, false).unwrap().removed, []);
    assert_eq!(names(&shelf.prune(0, false).unwrap().removed), ["middle", "new"]);
    assert_eq!(shelf.prune(0, false).unwrap(), Pruned::default());
    // Of an imported model the record goes by name, the file stays.
    assert_eq!(shelf.remove("theirs").unwrap(), [Removed { name: "theirs".into(), bytes: 0 }]);
    assert!(outside.exists() && shelf.entries().is_empty());
}

#[test]
fn interrupted_downloads_and_folders_without_a_record_go_first() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let partial = shelf.cache().join("partial");
    fs::create_dir_all(&partial).unwrap();
    for (name, days) in
        [("old", 2), ("old.json", 2), ("new", 0), ("resumed", 0), ("resumed.json", 2), ("held", 2), ("older", 2)]
    {
        fs::write(partial.join(name), [0; 10]).unwrap();
        aged(&partial.join(name), days);
    }
    let held = File::open(partial.join("held")).unwrap();
    held.lock().unwrap();
    for key in ["left", "pulled"] {
        fs::create_dir_all(shelf.folder(key)).unwrap();
        fs::write(shelf.folder(key).join("half.gguf"), [0; 10]).unwrap();
    }
    let _lock = shelf.lock("pulled", &mut Silent).unwrap();
    let pruned = shelf.prune(u64::MAX, false).unwrap();
    let path = |name: &str| partial.join(name).display().to_string();
    let left = shelf.folder("left").display().to_string();
    assert_eq!(names(&pruned.removed), [path("old"), path("older"), left]);
    assert_eq!(pruned.removed.iter().map(|removed| removed.bytes).collect::<Vec<_>>(), [20, 10, 10]);
    assert_eq!((pruned.passed.len(), pruned.left), (1, 50));
    let kept: Vec<_> = all(&partial).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(kept, ["held", "new", "resumed", "resumed.json"]);
}

/// Nothing outside of the entry's folder goes, whatever its record says and whatever links there are.
#[cfg(unix)]
#[test]
fn nothing_else_is_removed() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    let outside = dir.0.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("mine"), "mine").unwrap();
    fs::write(outside.join("model.json"), "{}").unwrap();
    put(&shelf, "good", &["good"], b"1", Form::Plain);
    let record = shelf.record("good");
    let value: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let mine = outside.join("mine").display().to_string();
    for path in ["../../../outside/mine", "..", "/", &mine] {
        let mut changed = value.clone();
        changed["files"][0]["path"] = json!(path);
        for imported in [false, true] {
            put(&shelf, "good", &["good"], b"1", Form::Plain);
            changed["imported"] = json!(imported);
            fs::write(&record, changed.to_string()).unwrap();
            assert!(shelf.prune(0, false).unwrap().removed.is_empty() && record.exists(), "{path} {imported}");
            // It goes by its key.
            shelf.remove("good").unwrap();
            assert!(!shelf.folder("good").exists() && outside.join("mine").exists(), "{path} {imported}");
        }
    }
    // A folder that is a link is no model; a link in one is removed and not followed.
    std::os::unix::fs::symlink(&outside, shelf.folder("link")).unwrap();
    assert!(shelf.remove("link").is_err());
    put(&shelf, "good", &["good"], b"1", Form::Plain);
    std::os::unix::fs::symlink(&outside, shelf.folder("good").join("inside")).unwrap();
    shelf.remove("good").unwrap();
    shelf.prune(0, false).unwrap();
    assert_eq!(all(&outside).len(), 2);
}

#[test]
fn known_models_go_like_others() {
    let dir = Scratch::new();
    let shelf = dir.shelf();
    fs::create_dir_all(shelf.cache()).unwrap();
    let path = shelf.cache().join("all-MiniLM-L6-v2.Q8_0.gguf");
    fs::write(&path, gguf()).unwrap();
    fs::write(shelf.cache().join("mine.gguf"), gguf()).unwrap();
    let open = ModelFile::open(&path).unwrap();
    assert!(shelf.remove("minilm").unwrap_err().to_string().contains("in use"));
    drop(open);
    let lock = File::create(shelf.cache().join(".minilm.lock")).unwrap();
    lock.lock().unwrap();
    assert!(shelf.remove("minilm").unwrap_err().to_string().contains("pulling"));
    drop(lock);
    let bytes = gguf().len() as u64;
    assert_eq!(shelf.prune(bytes, false).unwrap().left, bytes);
    assert_eq!(shelf.prune(bytes - 1, false).unwrap().removed, [Removed { name: "minilm".into(), bytes }]);
    assert!(!path.exists() && shelf.cache().join("mine.gguf").exists());
}
