//! HTTP/1.1 (RFC 9110 and 9112), as much as a server of tests needs.

use super::state::Origin;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// How many bytes the head of a request may have.
const HEAD_LIMIT: usize = 256 << 10;

/// The head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Where it came in.
    pub(crate) origin: Origin,
    pub(crate) method: String,
    /// As it was sent: a path with its query, a URL, or a host with its port.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value, the first if there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The target's path and query, without what an absolute URL has before them.
    pub(crate) fn path(&self) -> &str {
        let Some((_, rest)) = self.target.split_once("://") else { return &self.target };
        rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
    }

    /// The host that is asked, with its port: that of an absolute URL or of the header.
    pub(crate) fn host(&self) -> &str {
        match self.target.split_once("://") {
            Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
            None => self.header("host").unwrap_or_default(),
        }
    }

    /// The token of `Authorization: Bearer`.
    pub(crate) fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

/// A header's value, the first if there are several.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads a request's head, and its body, which is dropped. `rest` is what has been read before and belongs to it, and then what has been
/// read and follows. None at the end of the connection.
pub(crate) fn read_request(stream: &mut dyn Read, rest: &mut Vec<u8>, origin: Origin) -> io::Result<Option<Head>> {
    let end = loop {
        if let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        // A handshake of TLS, as an example.
        if rest.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        if rest.len() > HEAD_LIMIT {
            return Err(io::Error::other("a request's head without an end"));
        }
        if !read_more(stream, rest)? {
            return Ok(None);
        }
    };
    let bytes: Vec<u8> = rest.drain(..end).collect();
    let head = parse(&String::from_utf8_lossy(&bytes), origin).ok_or_else(|| io::Error::other("not a request"))?;
    let body = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while rest.len() < body {
        if !read_more(stream, rest)? {
            return Ok(None);
        }
    }
    rest.drain(..body);
    Ok(Some(head))
}

fn read_more(stream: &mut dyn Read, rest: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    let n = stream.read(&mut piece)?;
    rest.extend(piece.iter().take(n));
    Ok(n > 0)
}

fn parse(text: &str, origin: Origin) -> Option<Head> {
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_string(), value.trim().to_string()))
    });
    Some(Head { origin, method, target, headers: headers.collect::<Option<_>>()? })
}

/// What follows an answer's head.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Bytes `range` of a content.
    Bytes { bytes: Arc<Vec<u8>>, range: Range<usize> },
    /// So many spaces.
    Spaces(u64),
}

/// An answer, before faults are done to its delivery.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    /// The file that the body is of, for the records.
    pub(crate) file: Option<String>,
}

impl Answer {
    /// An answer that is whole in itself.
    pub(crate) fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let bytes = Arc::new(body.into());
        let range = 0..bytes.len();
        let answer = Answer { status, headers: Vec::new(), body: Body::Bytes { bytes, range }, file: None };
        answer.with("Content-Type", media_type)
    }

    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Answer {
        Answer::new(status, "application/json; charset=utf-8", value.to_string())
    }

    pub(crate) fn redirect(status: u16, location: &str) -> Answer {
        let text = format!("{}. Redirecting to {location}", reason(status));
        Answer::new(status, "text/plain; charset=utf-8", text).with("Location", location)
    }

    /// The answer with another header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// The answer with another value of a header.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_string(), value.into()));
    }

    /// The body's length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes { range, .. } => range.len() as u64,
            Body::Spaces(count) => *count,
        }
    }
}

/// A status in words.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// A text in which `%41` stands for A.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path with what may not stand in a URL encoded.
pub(crate) fn percent_encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A value of a query's parameter.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value))
}

/// A time in seconds since 1970, as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    // Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let weekday = WEEKDAYS.get((days % 7) as usize).unwrap_or(&"");
    let month = MONTHS.get(month as usize).unwrap_or(&"");
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
