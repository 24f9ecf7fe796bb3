//! Downloads by a package manager, as a subprocess.

use crate::Error;
use crate::models::{Package, PackageManager};
use crate::temporary::Running;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(50);
/// The most bytes of a program's error output that are kept; every sensible message fits.
const MOST_STDERR: u64 = 1 << 18;

/// The command lines that can fetch the package into the working directory, the usual one first.
pub(crate) fn commands(package: &Package) -> Vec<Vec<String>> {
    let (programs, arguments): (&[&[&str]], &[&str]) = match package.manager {
        PackageManager::Pip => (
            if cfg!(windows) {
                &[&["py", "-3", "-m", "pip"], &["python", "-m", "pip"], &["pip"]]
            } else {
                &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]]
            },
            &[
                "download",
                "--no-deps",
                "--no-input",
                "--no-cache-dir",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
                "--progress-bar",
                "off",
                "--quiet",
                "-d",
                ".",
            ],
        ),
        PackageManager::Npm => {
            (if cfg!(windows) { &[&["npm.cmd"]] } else { &[&["npm"]] }, &["pack", "--silent", "--ignore-scripts"])
        }
    };
    let wanted = package.to_string();
    let words = |program: &&[&str]| program.iter().chain(arguments).chain([&&*wanted]).map(|&s| s.to_owned()).collect();
    programs.iter().map(words).collect()
}

/// Runs the first of the commands that is installed, in the empty directory `dir`, and returns the archive it leaves there.
/// `seen` is called with the bytes downloaded so far.
///
/// # Errors
/// [`Error::NoPackageManager`], [`Error::Download`], [`Error::DiskFull`].
pub(crate) fn fetch(
    commands: &[Vec<String>],
    package: &Package,
    dir: &Path,
    file: &Path,
    needed: u64,
    seen: &mut dyn FnMut(u64),
) -> Result<PathBuf, Error> {
    let failed = |reason: &str| Error::Download { package: package.to_string(), reason: crate::one_line(reason) };
    for command in commands {
        let Some((program, arguments)) = command.split_first() else { continue };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(dir)
            // The half-written file stays inside the cache, where its growth can be watched and its rest be cleaned away.
            .envs(["TMPDIR", "TEMP", "TMP", "npm_config_cache"].map(|name| (name, dir)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let running = match Running::start(&mut command) {
            Ok(running) => running,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&format!("{program} does not start: {error}"))),
        };
        let (success, stderr) = watch(&running, dir, seen).map_err(|error| failed(&error.to_string()))?;
        if success {
            return downloaded(dir, package.manager).ok_or_else(|| failed("it left no package"));
        }
        if ["No module named pip", "Python was not found"].iter().any(|words| stderr.contains(words)) {
            continue;
        }
        if ["No space left on device", "ENOSPC", "There is not enough space"].iter().any(|w| stderr.contains(w)) {
            return Err(Error::DiskFull { path: dir.parent().unwrap_or(dir).to_owned(), needed });
        }
        return Err(failed(&last_error(&stderr)));
    }
    Err(Error::NoPackageManager { manager: package.manager, file: file.to_owned() })
}

/// Waits for the program's end; returns whether it succeeded and what it wrote to stderr.
fn watch(running: &Running, dir: &Path, seen: &mut dyn FnMut(u64)) -> io::Result<(bool, String)> {
    let stderr = running.child().stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut stderr) = stderr {
            // What cannot be read, or is beyond the limit, is no loss, as long as the pipe is drained.
            let _ = (&mut stderr).take(MOST_STDERR).read_to_end(&mut text);
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = loop {
        let ended = running.child().try_wait()?;
        if let Some(status) = ended {
            break status;
        }
        seen(largest_file(dir, 8));
        std::thread::sleep(POLL);
    };
    Ok((status.success(), reader.join().unwrap_or_default()))
}

/// The length of the largest file below `dir`. Package managers copy a finished download, so a sum would count twice.
fn largest_file(dir: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).max().unwrap_or(0)
}

fn downloaded(dir: &Path, manager: PackageManager) -> Option<PathBuf> {
    let extension = match manager {
        PackageManager::Pip => "whl",
        PackageManager::Npm => "tgz",
    };
    let paths = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    paths.into_iter().find(|path| path.extension().is_some_and(|found| found == extension))
}

/// The last line that a package manager marks as an error, without the mark; or else the last line at all.
fn last_error(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let marked = |line: &str| {
        ["ERROR: ", "npm ERR! ", "npm error "].iter().find_map(|m| line.strip_prefix(m)).map(str::to_owned)
    };
    // npm's last lines only say where its log is.
    let useful = |line: &String| !line.contains("complete log of this run") && !line.contains("-debug-");
    let mut reason = lines().filter_map(marked).find(useful).or_else(|| lines().next().map(str::to_owned));
    let lower = stderr.to_ascii_lowercase();
    if ["connection", "name resolution", "enotfound", "timed out", "econnrefused"].iter().any(|w| lower.contains(w)) {
        reason = reason.map(|reason| format!("{reason} (is the network up?)"));
    }
    reason.unwrap_or_else(|| "the package manager failed without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_line_is_found() {
        let pip = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n\
                   ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\n\
                   ERROR: No matching distribution found for x==1\n\n";
        assert_eq!(last_error(pip), "No matching distribution found for x==1 (is the network up?)");
        let npm =
            "npm error code E404\nnpm error 404 Not Found\nnpm error A complete log of this run can be found in: /x\n";
        assert_eq!(last_error(npm), "404 Not Found");
        assert_eq!(last_error("Traceback\n  File x\nOSError: odd\n"), "OSError: odd");
        assert_eq!(last_error(""), "the package manager failed without a word");
    }
}
