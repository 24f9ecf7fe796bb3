//! Digests of models' files, made once.

use crate::pull::cache_dir;
use crate::temporary::Temporary;
use crate::{Error, ModelFile};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// SHA-256 of a model's file; of one in several parts, that of the parts' digests. A digest is made once and kept in the cache with the file's size, inode
/// and time of change, so that it is there at once the next time. `go_on` is called before each MiB that is read: if it says no, nothing is returned.
///
/// # Errors
/// Those of [`ModelFile::open`], and [`Error::Read`]. That a digest cannot be kept is none: it is made again then.
pub fn digest_of(path: impl AsRef<Path>, go_on: &mut dyn FnMut() -> bool) -> Result<Option<[u8; 32]>, Error> {
    let cache = cache_dir().ok().map(|cache| cache.join("digests"));
    digest_in(path.as_ref(), cache.as_deref(), go_on)
}

fn digest_in(path: &Path, cache: Option<&Path>, go_on: &mut dyn FnMut() -> bool) -> Result<Option<[u8; 32]>, Error> {
    let file = ModelFile::open(path)?;
    let mut digests = Vec::with_capacity(file.paths().len());
    for part in file.paths() {
        let Some(digest) = part_digest(part, cache, go_on)? else { return Ok(None) };
        digests.push(digest);
    }
    Ok(Some(match digests[..] {
        [digest] => digest,
        _ => Sha256::digest(digests.as_flattened()).into(),
    }))
}

fn part_digest(path: &Path, cache: Option<&Path>, go_on: &mut dyn FnMut() -> bool) -> Result<Option<[u8; 32]>, Error> {
    let unread = |error| Error::Read { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(unread)?;
    let place = Place::of(&file.metadata().map_err(unread)?, cache);
    if let Some(digest) = place.as_ref().and_then(Place::kept) {
        return Ok(Some(digest));
    }
    let mut piece = vec![0; PIECE];
    let mut digest = Sha256::new();
    loop {
        if !go_on() {
            return Ok(None);
        }
        let bytes = file.read(&mut piece).map_err(unread)?;
        let Some(read) = piece.get(..bytes).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
    }
    let digest: [u8; 32] = digest.finalize().into();
    // Of a file that has changed meanwhile nothing is kept.
    let after = Place::of(&file.metadata().map_err(unread)?, cache);
    if let Some(place) = place.filter(|place| after.as_ref() == Some(place)) {
        place.keep(&digest);
    }
    Ok(Some(digest))
}

/// Where the digest of a file is kept, and which state of the file it is of.
#[derive(PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// The file's size, and its time of change in nanoseconds since 1970.
    state: String,
}

impl Place {
    #[cfg(unix)]
    fn of(metadata: &Metadata, cache: Option<&Path>) -> Option<Place> {
        use std::os::unix::fs::MetadataExt;
        let name = format!("{}-{}", metadata.dev(), metadata.ino());
        let changed = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let state = format!("{} {changed}", metadata.size());
        Some(Place { path: cache?.join(name), state })
    }

    /// Elsewhere a file has no number by which it is known again.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata, _cache: Option<&Path>) -> Option<Place> {
        None
    }

    fn kept(&self) -> Option<[u8; 32]> {
        let mut text = String::new();
        File::open(&self.path).ok()?.take(1 << 10).read_to_string(&mut text).ok()?;
        let (digest, state) = text.trim_end().split_once(' ')?;
        if state != self.state || digest.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (number, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digest.get(2 * number..2 * number + 2)?, 16).ok()?;
        }
        Some(bytes)
    }

    fn keep(&self, digest: &[u8]) {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let written = || {
            fs::create_dir_all(self.path.parent()?).ok()?;
            let part = self.path.with_extension(format!("{}.part", std::process::id()));
            let (temporary, ()) =
                Temporary::make(part, |part| fs::write(part, format!("{digest} {}\n", self.state))).ok()?;
            temporary.rename(&self.path).ok()
        };
        let _: Option<()> = written();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_digest_is_made_once_for_each_state_of_a_file() {
        let dir = std::env::temp_dir().join(format!("smidgen-digest-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (model, cache) = (dir.join("model.gguf"), dir.join("cache"));
        let counts = [0_u64, 0].map(u64::to_le_bytes);
        let bytes = [b"GGUF\x03\0\0\0", counts.as_flattened()].concat();
        fs::write(&model, &bytes).unwrap();
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        let made = |go_on: bool| digest_in(&model, Some(&cache), &mut || go_on).unwrap();
        assert_eq!(made(false), None);
        assert_eq!(made(true), Some(expected));
        assert_eq!(made(false), Some(expected));
        // A file that was touched is read again; what is damaged in the cache too.
        let touched = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options().write(true).open(&model).unwrap().set_times(FileTimes::new().set_modified(touched)).unwrap();
        assert_eq!(made(false), None);
        assert_eq!(made(true), Some(expected));
        assert_eq!(made(false), Some(expected));
        let kept = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&kept).unwrap();
        for damaged in ["".to_owned(), "é".repeat(64), text.replacen(' ', "  ", 1), format!("z{}", &text[1..])] {
            fs::write(&kept, damaged).unwrap();
            assert_eq!(made(false), None);
        }
        assert_eq!(made(true), Some(expected));
        fs::remove_dir_all(dir).unwrap();
    }
}
