//! What goes wrong on command.

use super::content::Content;
use super::http::{Answer, Body, Head};
use super::state::{Origin, Shared, State};
use std::io::Write;
use std::sync::Arc;

/// A fault. Those of bodies befall `GET`s that are answered with 2xx and a body, the others every request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(u64),
    /// The connection is reset (RST) after so many bytes of the body.
    Reset(u64),
    /// The connection ends after so many bytes of the status line and headers.
    CutHead(usize),
    /// The connection ends after the answer, though the answer did not say so.
    HangUp,
    /// Nothing is sent before so many milliseconds have passed.
    StallHead(u64),
    /// Nothing is sent for some milliseconds after so many bytes of the body.
    Stall {
        /// Bytes.
        after: u64,
        /// Time.
        milliseconds: u64,
    },
    /// Some milliseconds pass after each piece of so many bytes, at most 16,384, of the body.
    Slow {
        /// Bytes.
        piece: usize,
        /// Time.
        milliseconds: u64,
    },
    /// `Content-Length` is the body's length plus so many bytes; the connection ends after the body.
    WrongLength(i64),
    /// The body is chunked, without a length.
    Chunked,
    /// The body has no length, and ends with the connection.
    NoLength,
    /// The byte at this place of the file differs in its lowest bit.
    Flip(usize),
    /// The body is compressed, though nobody asked for it.
    Gzip,
    /// A range is answered with 200 and the whole, and headers know nothing of ranges. Befalls files only.
    NoRanges,
    /// A range is answered with this `Content-Range`. Befalls 206 only.
    WrongRange(String),
    /// From this request on the file is another, with another ETag and time. Befalls files only.
    Changed(Vec<u8>),
    /// The answer is an error with this status.
    Status(u16),
    /// The answer is an error with this status and `Retry-After`: seconds, or a date as by [`http_date`](super::http_date).
    RetryAfter(u16, String),
    /// The answer is a redirection.
    Redirect(To),
    /// The answer is a page of HTML with 200.
    Html,
    /// The answer is JSON that ends too early.
    BrokenJson,
    /// The answer is so many lists in each other.
    NestedJson(usize),
    /// The answer is JSON of so many bytes, of which all but the last are spaces. These are made while they are sent.
    Endless(u64),
    /// The answer is this.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers, which are not checked.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// The answer has this header in place of its own.
    Header(String, String),
    /// The answer has a header of so many bytes.
    LongHeader(usize),
    /// The answer has so many headers more.
    ManyHeaders(usize),
}

/// Where a redirection leads.
#[derive(Clone, Debug)]
pub enum To {
    /// To the same URL, which is endless if the fault is.
    Itself,
    /// To the same file, by a path without a host.
    Relative,
    /// To the same file, at `localhost`, which is another host than that of the endpoint.
    OtherHost,
    /// To the same file without TLS.
    Insecure,
    /// To this URL.
    Url(String),
}

/// What faults befall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Takes the place of the answer.
    Answer,
    /// Befalls any answer's head.
    Head,
    /// Befalls files.
    File,
    /// Befalls parts of files.
    Part,
    /// Befalls bodies.
    Body,
}

impl Fault {
    fn kind(&self) -> Kind {
        match self {
            Fault::Status(_) | Fault::RetryAfter(..) | Fault::Redirect(_) | Fault::Html => Kind::Answer,
            Fault::BrokenJson | Fault::NestedJson(_) | Fault::Endless(_) | Fault::Answer { .. } => Kind::Answer,
            Fault::CutHead(_) | Fault::StallHead(_) | Fault::HangUp => Kind::Head,
            Fault::Header(..) | Fault::LongHeader(_) | Fault::ManyHeaders(_) => Kind::Head,
            Fault::NoRanges | Fault::Changed(_) => Kind::File,
            Fault::WrongRange(_) => Kind::Part,
            Fault::Cut(_) | Fault::Reset(_) | Fault::Stall { .. } | Fault::Slow { .. } => Kind::Body,
            Fault::WrongLength(_) | Fault::Chunked | Fault::NoLength | Fault::Flip(_) | Fault::Gzip => Kind::Body,
        }
    }
}

/// A fault, and which requests it befalls.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    fault: Fault,
    patterns: Vec<String>,
    method: Option<String>,
    origin: Option<Origin>,
    /// How many requests it leaves alone first.
    after: usize,
    /// How many requests it befalls then.
    times: usize,
}

/// A fault that has been ordered: of every request, until it is narrowed.
#[derive(Debug)]
pub struct Ordered<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Ordered<'a> {
    pub(crate) fn new(shared: &'a Shared, fault: Fault) -> Ordered<'a> {
        let rule = Rule { fault, patterns: Vec::new(), method: None, origin: None, after: 0, times: usize::MAX };
        let number = shared.update(|state| {
            let number = state.number();
            state.rules.insert(number, rule);
            number
        });
        Ordered { shared, number }
    }

    /// Only of requests whose path and query contain this. Said several times, they contain all.
    pub fn on(self, pattern: &str) -> Self {
        self.edit(|rule| rule.patterns.push(pattern.to_string()))
    }

    /// Only of requests with this method.
    pub fn method(self, name: &str) -> Self {
        self.edit(|rule| rule.method = Some(name.to_string()))
    }

    /// Only of requests to this origin.
    pub fn at(self, origin: Origin) -> Self {
        self.edit(|rule| rule.origin = Some(origin))
    }

    /// Not of the first `count` requests.
    pub fn after(self, count: usize) -> Self {
        self.edit(|rule| rule.after = count)
    }

    /// Of `count` requests, and then no more.
    pub fn times(self, count: usize) -> Self {
        self.edit(|rule| rule.times = count)
    }

    /// How often it has still to occur. A test asks it at its end, lest its fault never came.
    pub fn left(&self) -> usize {
        self.shared.lock().rules.get(&self.number).map_or(0, |rule| rule.times)
    }

    /// Takes it back.
    pub fn end(self) {
        self.shared.update(|state| state.rules.remove(&self.number));
    }

    fn edit(self, change: impl FnOnce(&mut Rule)) -> Self {
        self.shared.update(|state| state.rules.get_mut(&self.number).map(change));
        self
    }
}

/// Takes the faults of a kind that befall a request, of answers only the first that was ordered.
fn take(state: &mut State, request: &Head, kind: Kind) -> Vec<Fault> {
    let mut taken = Vec::new();
    for rule in state.rules.values_mut().filter(|rule| rule.fault.kind() == kind) {
        let is_target = rule.patterns.iter().all(|pattern| request.path().contains(pattern))
            && rule.method.as_ref().is_none_or(|method| *method == request.method)
            && rule.origin.is_none_or(|origin| origin == request.origin);
        if !is_target || rule.times == 0 {
            continue;
        }
        if rule.after > 0 {
            rule.after -= 1;
            continue;
        }
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        taken.push(rule.fault.clone());
        if kind == Kind::Answer {
            break;
        }
    }
    taken
}

/// The answer in whose place a fault puts its own, if there is one.
pub(crate) fn answer(shared: &Shared, state: &mut State, request: &Head) -> Option<Answer> {
    let html = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>";
    let json = "application/json; charset=utf-8";
    Some(match take(state, request, Kind::Answer).into_iter().next()? {
        Fault::Status(status) => Answer::new(status, "text/plain", super::http::reason(status)),
        Fault::RetryAfter(status, when) => {
            Answer::new(status, "text/plain", super::http::reason(status)).with("Retry-After", when)
        }
        Fault::Redirect(to) => Answer::redirect(302, &location(shared, request, &to)),
        Fault::Html => Answer::new(200, "text/html; charset=utf-8", html),
        Fault::BrokenJson => Answer::new(200, json, r#"{"id": "user/repo", "siblings": [{"rfilename": "m"#),
        Fault::NestedJson(depth) => Answer::new(200, json, "[".repeat(depth) + &"]".repeat(depth)),
        Fault::Endless(length) => {
            let mut answer = Answer::new(200, json, "");
            answer.body = Body::Spaces(length);
            answer
        }
        Fault::Answer { status, headers, body } => {
            let mut answer = Answer::new(status, "application/octet-stream", body);
            headers.into_iter().for_each(|(name, value)| answer.set(&name, value));
            answer
        }
        _ => return None,
    })
}

fn location(shared: &Shared, request: &Head, to: &To) -> String {
    let own = match request.origin {
        Origin::Hub => &shared.endpoint,
        Origin::Cdn => &shared.cdn,
        Origin::Proxy => &shared.proxy,
    };
    match to {
        To::Itself => format!("{own}{}", request.path()),
        To::Relative => request.path().to_string(),
        To::OtherHost => format!("{}{}", shared.endpoint.replace("127.0.0.1", "localhost"), request.path()),
        To::Insecure => format!("{}{}", shared.proxy, request.path()),
        To::Url(url) => url.clone(),
    }
}

/// What a file is by now, after what faults did to it, and whether ranges of it can be had.
pub(crate) fn file(state: &mut State, request: &Head, content: &Content) -> (Content, bool) {
    let mut ranges = true;
    for fault in take(state, request, Kind::File) {
        match fault {
            Fault::Changed(bytes) => {
                let is_lfs = content.is_lfs;
                let content = Content { is_lfs, ..Content::new(&content.name, bytes, state.number()) };
                state.successors.insert(content.name.clone(), content);
            }
            _ => ranges = false,
        }
    }
    (state.current(content), ranges)
}

/// How an answer is delivered.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) cut_head: Option<usize>,
    pub(crate) stall_head: u64,
    pub(crate) cut: Option<u64>,
    pub(crate) resets: bool,
    /// After how many bytes, and for how many milliseconds.
    pub(crate) stall: Option<(u64, u64)>,
    /// Bytes, and milliseconds that follow them.
    pub(crate) pace: Option<(usize, u64)>,
    pub(crate) is_chunked: bool,
    /// What `Content-Length` says, if it is there.
    pub(crate) length: Option<u64>,
    /// Whether the connection ends after the answer, which says so.
    pub(crate) closes: bool,
    /// Whether it ends though the answer does not say so.
    pub(crate) hangs_up: bool,
}

/// Does to an answer what faults say, and gives how it is to be delivered.
pub(crate) fn deliver(state: &mut State, request: &Head, answer: &mut Answer) -> Delivery {
    let mut faults = take(state, request, Kind::Head);
    if answer.status == 206 {
        faults.extend(take(state, request, Kind::Part));
    }
    if (200..300).contains(&answer.status) && request.method == "GET" && answer.length() > 0 {
        faults.extend(take(state, request, Kind::Body));
    }
    let mut delivery = Delivery { pace: state.pace, ..Delivery::default() };
    let (mut wrong, mut has_length) = (0, true);
    for fault in faults {
        match fault {
            Fault::Cut(bytes) => delivery.cut = Some(bytes),
            Fault::Reset(bytes) => {
                delivery.cut = Some(bytes);
                delivery.resets = true;
            }
            Fault::CutHead(bytes) => delivery.cut_head = Some(bytes),
            Fault::HangUp => delivery.hangs_up = true,
            Fault::StallHead(milliseconds) => delivery.stall_head = milliseconds,
            Fault::Stall { after, milliseconds } => delivery.stall = Some((after, milliseconds)),
            Fault::Slow { piece, milliseconds } => delivery.pace = Some((piece, milliseconds)),
            Fault::WrongLength(difference) => wrong = difference,
            Fault::Chunked => delivery.is_chunked = true,
            Fault::NoLength => has_length = false,
            Fault::Flip(place) => flip(answer, place),
            Fault::Gzip => compress(answer),
            Fault::WrongRange(value) => answer.set("Content-Range", value),
            Fault::Header(name, value) => answer.set(&name, value),
            Fault::LongHeader(length) => answer.set("X-Long", "x".repeat(length)),
            Fault::ManyHeaders(count) => {
                answer.headers.extend((0..count).map(|i| (format!("X-Many-{i}"), "x".to_string())));
            }
            _ => {}
        }
    }
    delivery.closes = wrong != 0 || !has_length;
    let length = answer.length().saturating_add_signed(wrong);
    delivery.length = (has_length && !delivery.is_chunked).then_some(length);
    delivery
}

fn flip(answer: &mut Answer, place: usize) {
    if let Body::Bytes { bytes, .. } = &mut answer.body
        && let Some(byte) = Arc::make_mut(bytes).get_mut(place)
    {
        *byte ^= 1;
    }
}

fn compress(answer: &mut Answer) {
    let Body::Bytes { bytes, range } = &answer.body else { return };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(bytes.get(range.clone()).unwrap_or_default());
    if let Ok(bytes) = written.and_then(|()| encoder.finish()) {
        let range = 0..bytes.len();
        answer.body = Body::Bytes { bytes: Arc::new(bytes), range };
        answer.file = None;
        answer.set("Content-Encoding", "gzip");
    }
}
