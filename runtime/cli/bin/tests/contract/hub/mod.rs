//! Models pulled by name, by real processes from the tests' own hub. After each test no message has had a secret, and the token has gone to
//! the hub alone.

mod credentials;
mod defaults;
mod faults;
mod messages;
mod names;
mod resume;
mod tls;

use crate::files::instruct;
use crate::{Scratch, smidgen};
use smidgen_gguf::{TensorType, Writer};
use smidgen_tests::Random;
use smidgen_tests::hub::{Certificate, Hub, Origin};
use smidgen_tests::seeded::Tensor;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The token of every command, unless it is taken away.
const TOKEN: &str = "hf_TheTokenOfTheTests";
/// A password, wherever one is needed.
const PASSWORD: &str = "ThePasswordOfTheTests";

/// Variables that would lead a command elsewhere.
const CLEARED: [&str; 16] = [
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "SMIDGEN_OFFLINE",
    "SMIDGEN_REGISTRY",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// A hub, and a folder with the cache and the home of its clients.
pub(crate) struct World {
    pub(crate) hub: Hub,
    dir: Scratch,
}

impl World {
    pub(crate) fn new() -> World {
        World::of(Hub::start().unwrap())
    }

    fn with_tls(certificate: &Certificate) -> World {
        World::of(Hub::start_tls(certificate).unwrap())
    }

    fn of(hub: Hub) -> World {
        hub.token(TOKEN);
        World { hub, dir: Scratch::new() }
    }

    /// A hub whose repository `user/repo` has this file, in large file storage.
    fn serving(name: &str, bytes: &[u8]) -> World {
        let world = World::new();
        world.hub.repository("user/repo").file(name, bytes).lfs();
        world
    }

    /// The address of a plain file: at another host than the hub's, so that it is no repository's.
    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.hub.endpoint().replace("127.0.0.1", "localhost"))
    }

    /// A command that knows the hub, and how fast this machine's memory is, if another found that out.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        static MACHINE: OnceLock<Vec<u8>> = OnceLock::new();
        let kept = self.dir.path("cache/machine.json");
        match (MACHINE.get(), fs::read(&kept)) {
            (None, Ok(found)) => _ = MACHINE.set(found),
            (Some(found), Err(_)) => {
                fs::create_dir_all(self.dir.path("cache")).unwrap();
                fs::write(&kept, found).unwrap();
            }
            _ => {}
        }
        let mut command = smidgen(words);
        for name in CLEARED {
            command.env_remove(name);
        }
        command.env("SMIDGEN_CACHE", self.dir.path("cache")).env("HOME", self.dir.path("home"));
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("SMIDGEN_REGISTRY", self.hub.endpoint());
        command.env("HF_TOKEN", TOKEN);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The file that is pulled by this name, plain, and what is told of it.
    fn pull(&self, name: &str) -> (Vec<u8>, String) {
        let (paths, told) = succeeded(&self.run(&["pull", "--plain", name]));
        assert_eq!(paths.len(), 1, "{paths:?}");
        (fs::read(&paths[0]).unwrap(), told)
    }

    /// Whether the file that is pulled by this name is this one.
    fn gives(&self, name: &str, bytes: &[u8]) {
        let (found, told) = self.pull(name);
        assert!(found == bytes, "{name}: other bytes, {} for {}: {told}", found.len(), bytes.len());
        assert_eq!(self.left(), Vec::<String>::new(), "{name}");
    }

    /// The error of a command that fails, which holds all the words. No half model is left on the shelf.
    fn fails(&self, words: &[&str], named: &[&str]) -> String {
        self.fails_by(&mut self.command(words), named)
    }

    fn fails_by(&self, command: &mut Command, named: &[&str]) -> String {
        let error = refused(&command.output().unwrap(), named);
        assert_eq!(self.shelf(), Vec::<String>::new(), "{error}");
        error
    }

    /// The files on the shelf, without locks.
    fn shelf(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(Path::new(&self.dir.path("cache/models")), &mut files);
        files.retain(|name| !name.ends_with(".lock"));
        files
    }

    /// What is there of files that are being downloaded.
    fn left(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(Path::new(&self.dir.path("cache/partial")), &mut files);
        files
    }

    /// Removes what was pulled.
    fn forget(&self) {
        let _ = fs::remove_dir_all(self.dir.path("cache"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let own = self.hub.endpoint().rsplit('/').next().unwrap_or_default();
        for request in self.hub.requests() {
            let tells = request.headers.iter().any(|(_, value)| value.contains(TOKEN)) || request.path.contains(TOKEN);
            let is_own = request.host == own && request.origin != Origin::Cdn && request.method != "CONNECT";
            assert!(!tells || is_own, "the token was sent to {}: {request:?}", request.host);
        }
    }
}

/// The files in a folder and in those in it.
fn walk(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), files);
        } else {
            files.push(entry.path().display().to_string());
        }
    }
    files.sort();
}

/// The text on stderr, of which each line is one of ours, and which tells no secret.
fn told(output: &Output) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    let both = format!("{told}{}", String::from_utf8_lossy(&output.stdout));
    for secret in [TOKEN, PASSWORD, "Signature=", "Expires=", "Bearer", "panicked"] {
        assert!(!both.contains(secret), "{secret}: {both}");
    }
    assert!(told.lines().all(|line| line.starts_with("smidgen: ")) && !told.contains('\r'), "{told}");
    told
}

/// Whether a line is told of a pull that goes well.
fn is_note(line: &str) -> bool {
    let stages = ["waiting for another pull", "downloading", "packing", "converting"];
    let line = line.strip_prefix("smidgen: ").unwrap_or_default();
    stages.contains(&line)
        || [
            ", licence: ",
            "there is ",
            "it has no GGUF file, so",
            "memory",
            "tokens a second",
            "it fits: ",
            "is kept plain",
        ]
        .iter()
        .any(|words| line.contains(words))
}

/// The lines on stdout of a command that succeeded, and what it told.
fn succeeded(output: &Output) -> (Vec<String>, String) {
    let told = told(output);
    assert!(output.status.success(), "{} {told}", output.status);
    assert!(told.lines().all(is_note), "{told}");
    (String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect(), told)
}

/// The error of a command that failed: one line, after notes, that holds all the words.
fn refused(output: &Output, named: &[&str]) -> String {
    let told = told(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut lines: Vec<&str> = told.lines().collect();
    let error = lines.pop().unwrap_or_default();
    assert!(lines.iter().all(|line| is_note(line)), "{told}");
    for word in named {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    error.to_owned()
}

/// A small GGUF file, another for each number.
fn tiny(number: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama").unwrap();
    writer.tensor("tiny.weight", &[64], TensorType::F32).unwrap();
    let mut bytes = Vec::new();
    writer.start(&mut bytes).unwrap();
    bytes.extend(Random(number).bytes(256));
    bytes
}

/// A model that can be run, of 2 MB.
fn model() -> &'static [u8] {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    MODEL.get_or_init(|| instruct().bytes())
}

/// The same with a tensor that nobody uses, of so many MiB.
fn padded(mebibytes: usize, seed: u64) -> Vec<u8> {
    let length = mebibytes << 20;
    let mut file = instruct();
    let data = Random(seed).bytes(length);
    let dims = vec![(length / 4) as u64];
    file.tensors.push(Tensor { name: "unused.weight".into(), dims, kind: TensorType::F32, data });
    file.bytes()
}
