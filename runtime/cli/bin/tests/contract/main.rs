//! The command line as a contract: what goes in, what comes out, and where.

mod chat;
mod classify;
mod convert;
mod embed;
mod errors;
mod faults;
mod files;
mod hub;
#[cfg(unix)]
mod interrupted;
mod metadata;
mod micro;
mod run;
mod serve;
mod shelf;
mod think;
mod tools;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The command, with words and an empty stdin, through `SMIDGEN_RUNNER` (a program and its arguments) where that is set.
fn smidgen(words: &[&str]) -> Command {
    let runner = std::env::var("SMIDGEN_RUNNER").unwrap_or_default();
    let mut line = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_smidgen")]);
    let mut command = Command::new(line.next().unwrap_or_default());
    command.args(line).args(words).stdin(Stdio::null());
    command
}

/// Runs the command with this stdin.
fn with_stdin(words: &[&str], input: &[u8]) -> Output {
    let mut child = smidgen(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The command may end before it has read everything.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Stdout of a command that succeeds and tells nothing on stderr.
fn stdout(words: &[&str]) -> String {
    quiet(words, smidgen(words).output().unwrap())
}

/// Stdout of a command that succeeded and told nothing on stderr.
fn quiet(words: &[&str], output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{words:?}: {} {told}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that fails as all do: nothing on stdout, and one line on stderr that holds all the `words`.
fn refused(command: &[&str], output: &Output, named: &[&str]) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{command:?}: {} {told}", output.status);
    assert!(output.stdout.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    assert!(told.starts_with("smidgen: ") && told.ends_with('\n') && told.lines().count() == 1, "{command:?}: {told}");
    assert!(!told.contains("panicked"), "{command:?}: {told}");
    for name in named {
        assert!(told.contains(name), "{command:?} does not name {name:?}: {told}");
    }
    told
}

/// [`refused`] for a command with an empty stdin.
fn fails(command: &[&str], named: &[&str]) -> String {
    refused(command, &smidgen(command).output().unwrap(), named)
}

/// The names of the kernel sets that this machine has.
fn targets() -> Vec<String> {
    smidgen_tests::kernel_sets().iter().map(|kernels| kernels.name.to_owned()).collect()
}

/// A directory that lasts as long as the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("smidgen-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    /// The path of a file in it.
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(Path::new(&path), bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
