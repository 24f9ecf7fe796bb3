//! What was asked, and what was sent.

use super::http::header;
use super::state::Origin;
use std::collections::BTreeMap;
use std::ops::Range;

/// A request, and what has been answered so far.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `CONNECT`, …
    pub method: String,
    /// Path and query; host and port of `CONNECT`.
    pub path: String,
    /// The host that was asked, with its port.
    pub host: String,
    /// The headers as they came.
    pub headers: Vec<(String, String)>,
    /// The header `Range`.
    pub range: Option<String>,
    /// Where it came in.
    pub origin: Origin,
    /// Whether it was sent to a proxy: its target was an absolute URL, or it was `CONNECT`.
    pub proxied: bool,
    /// The answer's status, 0 before it is known.
    pub status: u16,
    /// The file that the answer's body is of: `user/repo/path`, `sha256:…` or a path.
    pub file: Option<String>,
    /// Bytes of the body that were written to the socket.
    pub sent: u64,
    /// Which bytes of the file these were, if it was one.
    pub written: Range<u64>,
    /// Whether the whole answer was written.
    pub is_complete: bool,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// For each file, how many bytes of it were written to sockets more than once.
pub(crate) fn overlap<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<String, u64> {
    let mut ranges: BTreeMap<&str, Vec<&Range<u64>>> = BTreeMap::new();
    for request in requests {
        if let Some(file) = &request.file {
            ranges.entry(file).or_default().push(&request.written);
        }
    }
    let overlap = |mut ranges: Vec<&Range<u64>>| {
        ranges.sort_by_key(|range| range.start);
        let (mut end, mut again) = (0, 0);
        for range in ranges {
            again += range.end.min(end).saturating_sub(range.start);
            end = end.max(range.end);
        }
        again
    };
    ranges.into_iter().map(|(file, ranges)| (file.to_string(), overlap(ranges))).collect()
}
