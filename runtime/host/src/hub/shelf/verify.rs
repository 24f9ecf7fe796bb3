//! Whether the files of a model are what was published.

use super::{Entry, EntryFile, Shelf};
use crate::{Form, ModelFile, files};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes that are hashed between two reports.
const PIECE: usize = 1 << 20;

/// A file that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// What was found.
    pub verdict: Verdict,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the SHA-256 of what was published; a packed file does when it is unpacked.
    Same,
    /// Its structure is that of a GGUF file of its length. Its source states no SHA-256, so its weights were not checked.
    Sound,
    /// It is not what was published; why.
    Damaged(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same => f.write_str("ok"),
            Verdict::Sound => f.write_str("ok (structure only: the source states no SHA-256)"),
            Verdict::Damaged(reason) => write!(f, "DAMAGED: {reason}"),
        }
    }
}

impl Shelf {
    /// Reads all files of a model and compares them with what was published. `progress` is called with the bytes read of those in all.
    pub fn verify(&self, entry: &Entry, progress: &mut dyn FnMut(u64, u64)) -> Vec<Checked> {
        let total = entry.bytes();
        let mut before = 0;
        let mut checked = Vec::new();
        for file in &entry.files {
            let verdict = match file_verdict(entry, file, &mut |bytes| progress(before + bytes.min(file.bytes), total))
            {
                Ok(verdict) => verdict,
                Err(reason) => Verdict::Damaged(reason),
            };
            before += file.bytes;
            checked.push(Checked { path: file.path.clone(), verdict });
        }
        checked
    }
}

/// What is known of a file; an error is what is wrong with it.
fn file_verdict(entry: &Entry, file: &EntryFile, progress: &mut dyn FnMut(u64)) -> Result<Verdict, String> {
    let found = std::fs::metadata(&file.path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if found.len() != file.bytes {
        return Err(format!("it has {} bytes instead of {}", found.len(), file.bytes));
    }
    let Some(expected) = &file.sha256 else {
        // Of a split model each part is parsed with all others.
        let opened = ModelFile::open(&file.path).map_err(|error| reason(entry, error))?;
        opened.parts().map_err(|error| reason(entry, error))?;
        progress(file.bytes);
        return Ok(Verdict::Sound);
    };
    let bytes = files::map(&file.path).map_err(|error| reason(entry, error))?;
    let mut hash = Hash(Sha256::new());
    match file.form {
        Form::Plain => {
            let mut done = 0;
            for piece in bytes.chunks(PIECE) {
                hash.0.update(piece);
                done += piece.len() as u64;
                progress(done);
            }
        }
        Form::Packed => smidgen_convert::unpack(&bytes, &mut hash, progress).map_err(|error| error.to_string())?,
    }
    let found: String = hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != *expected {
        return Err(format!("its SHA-256 is {found} instead of {expected}"));
    }
    Ok(Verdict::Same)
}

/// An error without the file's name, which stands before it anyway.
fn reason(entry: &Entry, error: crate::Error) -> String {
    let text = error.to_string();
    let named = entry.files.iter().find_map(|file| text.strip_prefix(&format!("{}: ", file.path.display())));
    named.unwrap_or(&text).to_owned()
}

/// What is written is hashed.
struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, put};
    use super::*;
    use smidgen_quant::Format;
    use smidgen_tests::chat::chat_model;
    use smidgen_tests::seeded::Shape;

    fn hex(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_flipped_byte_is_found() {
        let dir = Scratch::new();
        let shelf = dir.shelf();
        let plain = chat_model(&Shape::default(), Format::Q8_0).bytes();
        let mut packed = Vec::new();
        smidgen_convert::pack(&plain, &mut packed, &mut |_| ()).unwrap();
        assert_ne!(plain, packed);
        for (bytes, form) in [(&plain, Form::Plain), (&packed, Form::Packed)] {
            let mut entry = put(&shelf, "a", &["a"], bytes, form);
            let path = entry.files[0].path.clone();
            let verdict = |entry: &Entry| {
                let mut last = 0;
                let checked = shelf.verify(entry, &mut |done, total| {
                    assert!(done >= last && done <= total);
                    last = done;
                });
                assert_eq!((checked.len(), &checked[0].path), (1, &path));
                checked[0].verdict.clone()
            };
            assert_eq!(verdict(&entry), Verdict::Sound, "{form:?}");
            entry.files[0].sha256 = Some(hex(&plain));
            assert_eq!(verdict(&entry), Verdict::Same, "{form:?}");
            for place in [0, 100, bytes.len() / 2, bytes.len() - 1] {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1;
                std::fs::write(&path, &flipped).unwrap();
                assert!(matches!(verdict(&entry), Verdict::Damaged(_)), "{form:?} {place}");
            }
            std::fs::write(&path, &bytes[1..]).unwrap();
            assert!(verdict(&entry).to_string().contains("bytes instead of"));
            entry.files[0].sha256 = None;
            std::fs::write(&path, vec![0; bytes.len()]).unwrap();
            assert!(verdict(&entry).to_string().contains("not a usable GGUF file"), "{}", verdict(&entry));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(verdict(&entry).to_string(), "DAMAGED: the file is gone");
        }
    }
}
