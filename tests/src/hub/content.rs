//! Files that the server has, and the answers that give them.

use super::http::{Answer, Body, Head, http_date};
use ring::digest;
use std::ops::Range;
use std::sync::Arc;

/// The time at which the first content was made, in seconds since 1970.
const BEGINNING: u64 = 1_764_547_200;

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Its name in the records.
    pub(crate) name: String,
    pub(crate) bytes: Arc<Vec<u8>>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(crate) sha256: String,
    /// The header `ETag`, with its quotes.
    pub(crate) etag: Option<String>,
    /// In seconds since 1970.
    pub(crate) modified: u64,
    /// The header `Content-Disposition`.
    pub(crate) disposition: Option<String>,
    /// Whether the file is kept in large file storage, on the CDN.
    pub(crate) is_lfs: bool,
    /// What listings say in place of its size.
    pub(crate) listed_size: Option<u64>,
    /// What listings say in place of its SHA-256.
    pub(crate) listed_sha256: Option<String>,
}

impl Content {
    /// A file whose ETag is its SHA-256. `version` counts the contents that there have been, and gives its time.
    pub(crate) fn new(name: &str, bytes: Vec<u8>, version: u64) -> Content {
        let sha256 = sha256(&bytes);
        Content {
            name: name.to_string(),
            etag: Some(format!("\"{sha256}\"")),
            sha256,
            bytes: Arc::new(bytes),
            modified: BEGINNING + version,
            disposition: None,
            is_lfs: false,
            listed_size: None,
            listed_sha256: None,
        }
    }

    /// The size that listings give, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.listed_size.unwrap_or(self.bytes.len() as u64)
    }

    /// The SHA-256 that listings give.
    pub(crate) fn digest(&self) -> &str {
        self.listed_sha256.as_deref().unwrap_or(&self.sha256)
    }

    /// What git has in place of the file in large file storage.
    pub(crate) fn pointer(&self) -> String {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", self.digest(), self.size())
    }

    /// SHA-1 of the file as a blob of git, or of its pointer if it is in large file storage.
    pub(crate) fn oid(&self) -> String {
        let pointer = self.pointer();
        let bytes = if self.is_lfs { pointer.as_bytes() } else { &self.bytes };
        let mut git = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        git.update(format!("blob {}\0", bytes.len()).as_bytes());
        git.update(bytes);
        hexadecimal(git.finish().as_ref())
    }

    /// The answer to `GET` or `HEAD`, with conditions and single ranges.
    pub(crate) fn answer(&self, request: &Head, ranges: bool) -> Answer {
        let length = self.bytes.len();
        let etag = self.etag.as_deref();
        let modified = http_date(self.modified);
        let failed = request.header("if-match").is_some_and(|expected| expected != "*" && Some(expected) != etag);
        if failed {
            return Answer::new(412, "text/plain", "");
        }
        let is_same = request.header("if-none-match").is_some_and(|known| Some(known) == etag);
        // A weak ETag never agrees here (RFC 9110, 13.1.5).
        let is_current = request
            .header("if-range")
            .is_none_or(|known| known == modified || (Some(known) == etag && !known.starts_with("W/")));
        let asked = request.header("range").filter(|_| is_current && ranges && request.method == "GET");
        let asked = asked.map_or(Asked::Whole, |range| parse_range(range, length));
        let (status, range) = match &asked {
            _ if is_same => (304, 0..0),
            Asked::Whole => (200, 0..length),
            Asked::Part(range) => (206, range.clone()),
            Asked::Nothing => (416, 0..0),
        };
        let mut answer = Answer {
            status,
            headers: Vec::new(),
            file: Some(self.name.clone()),
            body: Body::Bytes { bytes: Arc::clone(&self.bytes), range: range.clone() },
        };
        match asked {
            Asked::Part(range) if status == 206 => {
                answer.set("Content-Range", format!("bytes {}-{}/{length}", range.start, range.end - 1));
            }
            Asked::Nothing if status == 416 => answer.set("Content-Range", format!("bytes */{length}")),
            _ => {}
        }
        answer.set("Content-Type", "application/octet-stream");
        answer.set("Last-Modified", modified);
        if ranges {
            answer.set("Accept-Ranges", "bytes");
        }
        if let Some(etag) = etag {
            answer.set("ETag", etag);
        }
        if let Some(disposition) = &self.disposition {
            answer.set("Content-Disposition", disposition);
        }
        answer
    }
}

/// What a request's `Range` asks for.
enum Asked {
    Whole,
    Part(Range<usize>),
    Nothing,
}

/// Several ranges, and what is none, are answered with the whole.
fn parse_range(text: &str, length: usize) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let range = match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(count)) if first.trim().is_empty() => length.saturating_sub(count)..length,
        _ => return Asked::Whole,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Part(range) }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-1 in hexadecimal, as the name of a commit.
pub(crate) fn commit_name(text: &str) -> String {
    hexadecimal(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
