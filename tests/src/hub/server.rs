//! The threads that accept connections and answer requests.

use super::fault::{self, Delivery};
use super::http::{Answer, Body, Head, read_request, reason};
use super::record::Request;
use super::routes;
use super::state::{Origin, Shared};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The most bytes of a body that are written at once.
const PIECE: usize = 16 << 10;

/// The size of sockets' send buffers, which the kernel doubles: what was written and has not arrived is at most this and a piece.
const SEND_BUFFER: usize = 16 << 10;

/// A connection, encrypted or not.
trait Stream: Read + Write {
    /// Says that nothing follows.
    fn say_goodbye(&mut self) {}
}

impl Stream for TcpStream {}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn say_goodbye(&mut self) {
        self.conn.send_close_notify();
        // Whoever has gone need not hear it.
        _ = self.flush();
    }
}

/// How a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close,
    /// The answer was cut off.
    Cut,
    Reset,
}

/// Accepts connections until the server ends, and has each answered by a thread of its own.
pub(crate) fn accept(shared: &Arc<Shared>, listener: &TcpListener, origin: Origin, tls: Option<&Arc<ServerConfig>>) {
    loop {
        let stream = listener.accept().map(|(stream, _)| stream);
        if shared.lock().is_stopped {
            return;
        }
        // A client may have gone before it was accepted.
        let Ok(stream) = stream else { continue };
        let (connection, tls) = (Arc::clone(shared), tls.cloned());
        let serve = move || {
            let number = register(&connection, &stream);
            // Clients that end connections in the midst of them are what this server is for.
            _ = number.as_ref().map(|_| serve(&connection, stream, origin, tls));
            if let Ok(number) = number {
                connection.update(|state| state.streams.remove(&number));
            }
        };
        if let Ok(thread) = thread::Builder::new().spawn(serve) {
            shared.update(|state| {
                state.connections += 1;
                state.threads.push(thread);
            });
        }
    }
}

/// Keeps a connection where the end of the server finds it.
fn register(shared: &Shared, stream: &TcpStream) -> io::Result<u64> {
    let copy = stream.try_clone()?;
    shared.update(|state| {
        if state.is_stopped {
            return Err(io::Error::other("the server ends"));
        }
        let number = state.number();
        state.streams.insert(number, copy);
        Ok(number)
    })
}

fn serve(shared: &Shared, socket: TcpStream, origin: Origin, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
    SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nodelay(true)?;
    let copy = socket.try_clone()?;
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => {
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, socket))
        }
        None => Box::new(socket),
    };
    let next = converse(shared, &mut *stream, &copy, origin);
    match next {
        Ok(Next::Reset) => return SockRef::from(&copy).set_linger(Some(Duration::ZERO)),
        Ok(Next::Cut) | Err(_) => {}
        Ok(_) => stream.say_goodbye(),
    }
    copy.shutdown(Shutdown::Both)
}

/// Answers a connection's requests.
fn converse(shared: &Shared, stream: &mut dyn Stream, socket: &TcpStream, origin: Origin) -> io::Result<Next> {
    let mut rest = Vec::new();
    loop {
        let request = match read_request(stream, &mut rest, origin) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Next::Close),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                }
                return Err(error);
            }
        };
        let number = record(shared, &request);
        let next = if request.method == "CONNECT" && origin == Origin::Proxy {
            tunnel(shared, socket, &request, number, &rest)?
        } else {
            respond(shared, stream, &request, number)?
        };
        if next != Next::Request {
            return Ok(next);
        }
    }
}

/// Begins the record of a request, and gives its number.
fn record(shared: &Shared, request: &Head) -> u64 {
    let is_connect = request.method == "CONNECT";
    let record = Request {
        method: request.method.clone(),
        path: request.path().to_string(),
        host: if is_connect { request.target.clone() } else { request.host().to_string() },
        headers: request.headers.clone(),
        range: request.header("range").map(str::to_string),
        origin: request.origin,
        proxied: is_connect || request.target.contains("://"),
        status: 0,
        file: None,
        sent: 0,
        written: 0..0,
        is_complete: false,
    };
    shared.update(|state| {
        let number = state.number();
        state.requests.insert(number, record);
        number
    })
}

/// Changes the record of a request, unless it was forgotten.
fn note(shared: &Shared, number: u64, change: impl FnOnce(&mut Request)) {
    shared.update(|state| state.requests.get_mut(&number).map(change));
}

/// The proxy's refusal of requests without its password.
fn refuse(shared: &Shared, request: &Head) -> Option<Answer> {
    let is_proxied = request.method == "CONNECT" || request.target.contains("://");
    let password = shared.lock().proxy_password.clone().filter(|_| is_proxied)?;
    if request.header("proxy-authorization") == Some(&format!("Basic {}", base64(password.as_bytes()))) {
        return None;
    }
    let answer = Answer::new(407, "text/plain", "Proxy Authentication Required");
    Some(answer.with("Proxy-Authenticate", "Basic realm=\"proxy\""))
}

fn respond(shared: &Shared, stream: &mut dyn Stream, request: &Head, number: u64) -> io::Result<Next> {
    let refusal = refuse(shared, request);
    let (answer, delivery) = shared.update(|state| {
        let mut answer = refusal.unwrap_or_else(|| routes::answer(shared, state, request));
        let mut delivery = fault::deliver(state, request, &mut answer);
        let is_last = |value: &str| value.eq_ignore_ascii_case("close");
        delivery.closes |= request.header("connection").is_some_and(is_last);
        (answer, delivery)
    });
    note(shared, number, |record| {
        record.status = answer.status;
        record.file.clone_from(&answer.file);
        let start = if let Body::Bytes { range, .. } = &answer.body { range.start as u64 } else { 0 };
        record.written = start..start;
    });
    if delivery.stall_head > 0 && !shared.pause(delivery.stall_head) {
        return Ok(Next::Close);
    }
    let head = head(&answer, &delivery);
    let bytes = delivery.cut_head.map_or(head.len(), |end| end.min(head.len()));
    stream.write_all(head.as_bytes().get(..bytes).unwrap_or_default())?;
    stream.flush()?;
    if delivery.cut_head.is_some() {
        return Ok(Next::Cut);
    }
    let has_body = request.method != "HEAD" && answer.status != 304;
    if has_body && !write_body(shared, stream, number, &answer, &delivery)? {
        return Ok(if delivery.resets { Next::Reset } else { Next::Cut });
    }
    note(shared, number, |record| record.is_complete = true);
    Ok(if delivery.closes || delivery.hangs_up { Next::Close } else { Next::Request })
}

fn head(answer: &Answer, delivery: &Delivery) -> String {
    let mut text = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    match delivery.length {
        _ if answer.status == 304 => {}
        Some(length) => text.push_str(&format!("Content-Length: {length}\r\n")),
        None if delivery.is_chunked => text.push_str("Transfer-Encoding: chunked\r\n"),
        None => {}
    }
    text.push_str(if delivery.closes { "Connection: close\r\n\r\n" } else { "\r\n" });
    text
}

/// Writes a body, as much of it as is to be written. Gives whether that is all of it.
fn write_body(
    shared: &Shared,
    stream: &mut dyn Stream,
    number: u64,
    answer: &Answer,
    delivery: &Delivery,
) -> io::Result<bool> {
    let length = answer.length();
    let end = delivery.cut.map_or(length, |cut| cut.min(length));
    let most = delivery.pace.map_or(PIECE, |(bytes, _)| bytes.clamp(1, PIECE)) as u64;
    let (mut at, mut stall) = (0, delivery.stall);
    loop {
        if let Some((_, milliseconds)) = stall.take_if(|(after, _)| *after <= at)
            && !shared.pause(milliseconds)
        {
            return Ok(false);
        }
        if at == end {
            break;
        }
        let next = (at + most).min(end).min(stall.map_or(u64::MAX, |(after, _)| after));
        let bytes = piece(&answer.body, at..next);
        if delivery.is_chunked {
            stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        }
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let written = stream.write(rest)?;
            if written == 0 {
                return Ok(false);
            }
            rest = rest.get(written..).unwrap_or_default();
            note(shared, number, |record| {
                record.sent += written as u64;
                record.written.end += written as u64;
            });
        }
        if delivery.is_chunked {
            stream.write_all(b"\r\n")?;
        }
        stream.flush()?;
        at = next;
        if let Some((_, milliseconds)) = delivery.pace
            && !shared.pause(milliseconds)
        {
            return Ok(false);
        }
    }
    if delivery.cut.is_some_and(|cut| cut <= length) {
        return Ok(false);
    }
    if delivery.is_chunked {
        stream.write_all(b"0\r\n\r\n")?;
        stream.flush()?;
    }
    Ok(true)
}

/// Some bytes of a body.
fn piece(body: &Body, part: Range<u64>) -> Cow<'_, [u8]> {
    match body {
        Body::Bytes { bytes, range } => {
            let (start, end) = (range.start + part.start as usize, range.start + part.end as usize);
            Cow::Borrowed(bytes.get(start..end).unwrap_or_default())
        }
        Body::Spaces(count) => {
            let mut spaces = vec![b' '; (part.end - part.start) as usize];
            if let (true, Some(last)) = (part.end == *count, spaces.last_mut()) {
                *last = b'0';
            }
            Cow::Owned(spaces)
        }
    }
}

/// Connects a client to an origin of this server: to the one that it names, if it names this machine, and else to the hub. Nothing leaves
/// the machine.
fn tunnel(shared: &Shared, client: &TcpStream, request: &Head, number: u64, rest: &[u8]) -> io::Result<Next> {
    let refusal = refuse(shared, request).or_else(|| shared.update(|state| fault::answer(shared, state, request)));
    if let Some(answer) = refusal {
        note(shared, number, |record| record.status = answer.status);
        let delivery = Delivery { length: Some(answer.length()), ..Delivery::default() };
        let mut client = client;
        client.write_all(head(&answer, &delivery).as_bytes())?;
        client.write_all(&piece(&answer.body, 0..answer.length()))?;
        return Ok(Next::Request);
    }
    let (host, port) = request.target.rsplit_once(':').unwrap_or((&request.target, "443"));
    let is_here = host == "127.0.0.1" || host == "localhost";
    let port = if is_here { port } else { shared.endpoint.rsplit(':').next().unwrap_or_default() };
    let origin = TcpStream::connect(("127.0.0.1", port.parse().map_err(io::Error::other)?))?;
    let registered = register(shared, &origin)?;
    note(shared, number, |record| record.status = 200);
    let (mut to_client, mut to_origin) = (client, &origin);
    to_client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    to_origin.write_all(rest)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &origin, |_| ()));
        copy(&origin, client, |bytes| note(shared, number, |record| record.sent += bytes));
    });
    note(shared, number, |record| record.is_complete = true);
    shared.update(|state| state.streams.remove(&registered));
    Ok(Next::Close)
}

/// Copies what comes until nothing comes or can be given.
fn copy(mut from: &TcpStream, mut to: &TcpStream, mut count: impl FnMut(u64)) {
    let mut piece = [0; PIECE];
    while let Ok(bytes) = from.read(&mut piece) {
        let is_given = to.write_all(piece.get(..bytes).unwrap_or_default()).is_ok();
        if bytes == 0 || !is_given {
            break;
        }
        count(bytes as u64);
    }
    // Either side may have closed its connection.
    _ = to.shutdown(Shutdown::Write);
    _ = from.shutdown(Shutdown::Read);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize).copied();
            text.push(digit.filter(|_| i <= chunk.len()).map_or('=', char::from));
        }
    }
    text
}
