//! A server of a small model, asked over a pair of sockets.

use libfuzzer_sys::fuzzer_mutate;
use smidgen_quant::Format;
use smidgen_serve::engine::Config;
use smidgen_serve::{Options, Selection, Source, fuzz};
use smidgen_tests::Random;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::File;
use smidgen_tests::seeded_bert;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Bytes of a body that the servers take, at most.
pub const MAX_BODY: usize = 1 << 14;

/// A server, and a clock that runs only while nothing else is to be done: what waits for a time waits no longer.
pub struct Server {
    runtime: Runtime,
    server: Rc<fuzz::Server>,
}

impl Server {
    /// A server of a model that writes.
    pub fn writer() -> Server {
        Server::of(&chat_model(&super::SMALL, Format::Q8_0), |_| ())
    }

    /// A server of a model that embeds and ranks, for which a key is needed.
    pub fn encoder() -> Server {
        let shape = seeded_bert::Shape {
            layers: 1,
            width: 32,
            heads: 2,
            feed_forward: 32,
            vocabulary: 12,
            context: 32,
            outputs: 1,
            ..Default::default()
        };
        Server::of(&seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0)), |options| {
            options.keys = vec!["key".into()];
            options.origins = vec!["https://example.org".into()];
        })
    }

    fn of(file: &File, change: impl FnOnce(&mut Options)) -> Server {
        let path = std::env::temp_dir().join(format!("smidgen-fuzz-{}.gguf", std::process::id()));
        std::fs::write(&path, file.bytes()).expect("a folder for a model");
        let config = Config {
            parallel: NonZeroUsize::new(2).expect("streams"),
            queue: 2,
            context: NonZeroUsize::new(96),
            threads: NonZeroUsize::MIN,
            ..Config::new(&path)
        };
        let models = Selection::One { id: "tiny".into(), source: Box::new(Source::new(&path)) };
        let mut options = Options { max_body: MAX_BODY, ..Options::new(config, models, 0) };
        change(&mut options);
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        let server = runtime.block_on(fuzz::Server::start(options)).expect("a server");
        std::fs::remove_file(path).expect("the model's file");
        Server { runtime, server: Rc::new(server) }
    }

    /// What comes back on a connection until it ends, on which this is sent at once. Requests that are not whole are given up by the server in time.
    pub fn asked(&self, sent: &[u8]) -> io::Result<Vec<u8>> {
        let (client, connection) = UnixStream::pair()?;
        client.set_nonblocking(true)?;
        connection.set_nonblocking(true)?;
        LocalSet::new().block_on(&self.runtime, async {
            let client = tokio::net::UnixStream::from_std(client)?;
            // A socket is a socket: only its delay cannot be set.
            let connection = TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(connection)))?;
            let server = Rc::clone(&self.server);
            let serving = tokio::task::spawn_local(async move { server.connection(connection).await });
            let (mut sent, mut received) = (sent, Vec::new());
            let mut room = [0; 4096];
            while !sent.is_empty() {
                client.writable().await?;
                match client.try_write(sent) {
                    Ok(count) => sent = sent.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The server has closed it before it read everything.
                    Err(_) => break,
                }
            }
            loop {
                client.readable().await?;
                match client.try_read(&mut room) {
                    Ok(0) => break,
                    Ok(count) => received.extend_from_slice(room.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // What was not read when the server closed resets the connection.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                    Err(error) => return Err(error),
                }
            }
            serving.await.expect("the server's task");
            Ok(received)
        })
    }

    /// Waits until the engine computes nothing for anybody: nobody is there who could want it.
    pub fn rests(&self) {
        for _ in 0..100_000 {
            let stats = self.server.stats();
            if stats.running + stats.waiting == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        panic!("the engine works for nobody: {:?}", self.server.stats());
    }
}

/// The requests of an input as they are sent: parts between bytes 0xff, which no text has. `Content-Length: ?` has the number of bytes of its part's
/// body in the end, so that what is changed in a body can be read.
pub fn requests(input: &[u8]) -> Vec<Vec<u8>> {
    const UNKNOWN: &[u8] = b"Content-Length: ?\r\n";
    let parts = input.split(|byte| *byte == 0xff);
    let whole = parts.map(|part| {
        let end = find(part, b"\r\n\r\n").map(|end| end + 4);
        match (find(part, UNKNOWN), end) {
            (Some(at), Some(end)) if at < end => {
                let (head, rest) = part.split_at(at);
                let length = format!("Content-Length: {}\r\n", part.len() - end);
                [head, length.as_bytes(), rest.get(UNKNOWN.len()..).unwrap_or_default()].concat()
            }
            _ => part.to_vec(),
        }
    });
    whole.filter(|request| !request.is_empty()).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Names of parameters.
const NAMES: &[&str] = &[
    "add_special",
    "best_of",
    "chat_template_kwargs",
    "content",
    "dimensions",
    "documents",
    "echo",
    "encoding_format",
    "frequency_penalty",
    "ignore_eos",
    "input",
    "input_extra",
    "input_prefix",
    "input_suffix",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "min_p",
    "min_tokens",
    "model",
    "n",
    "n_indent",
    "n_predict",
    "parse_special",
    "presence_penalty",
    "prompt",
    "query",
    "reasoning_effort",
    "repeat_last_n",
    "repetition_penalty",
    "response_fields",
    "response_format",
    "return_documents",
    "role",
    "samplers",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "t_max_predict_ms",
    "temperature",
    "text",
    "tokens",
    "tools",
    "top_k",
    "top_logprobs",
    "top_n",
    "top_p",
    "type",
    "with_pieces",
];
/// Values that somebody did not think of.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "-0.0",
    "1e-45",
    "1e308",
    "1e999",
    "4294967296",
    "18446744073709551616",
    "-9223372036854775809",
    "\"\"",
    "\"a\"",
    "\"\u{e9}\u{20ac}\u{1f600}\"",
    "\"\u{1f600}\u{301}\u{fffd}\"",
    "\"\\u0000\\ud800\"",
    "\"<|im_start|>\"",
    "[]",
    "[[]]",
    "[1,270,271]",
    "[\"a\",\"l\"]",
    "[null]",
    "{}",
    "{\"a\":{}}",
    "{\"5\":-100,\"x\":1}",
    "{\"include_usage\":true}",
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
];

/// Mutates an input: half of the time a value in its JSON becomes another one, or a parameter is added.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed));
    let input = data.get(..size).unwrap_or_default();
    let marks: Vec<usize> = (0..size).filter(|at| matches!(input.get(*at), Some(b':' | b'{'))).collect();
    if marks.is_empty() || random.below(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let at = marks[random.below(marks.len())];
    let (before, after) = input.split_at(at + 1);
    let value = VALUES[random.below(VALUES.len())];
    let mutated = if input[at] == b'{' {
        let comma = if after.starts_with(b"}") { "" } else { "," };
        let name = NAMES[random.below(NAMES.len())];
        [before, format!("\"{name}\":{value}{comma}").as_bytes(), after].concat()
    } else {
        // As far as the next value's beginning: of an object or an array that is a part, so the rest is no JSON at times.
        let len = after.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | 0xff)).unwrap_or(after.len());
        [before, value.as_bytes(), after.get(len..).unwrap_or_default()].concat()
    };
    match data.get_mut(..mutated.len()).filter(|_| mutated.len() <= max_size) {
        Some(room) => room.copy_from_slice(&mutated),
        None => return fuzzer_mutate(data, size, max_size),
    }
    mutated.len()
}

/// An answer: its status, its head's lines, its body. What else there is behind it.
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its body, put together from its chunks; nothing if its end is missing.
    pub body: Option<Vec<u8>>,
    /// What follows.
    pub rest: &'a [u8],
}

/// The first answer of these bytes. `head` is whether its request was one for a head only.
pub fn answer(bytes: &[u8], head: bool) -> Option<Answer<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes).expect("an answer of HTTP") else { return None };
    let status = response.code.expect("a status");
    let field = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| std::str::from_utf8(header.value).expect("a header of ASCII"))
    };
    let rest = bytes.get(end..).unwrap_or_default();
    if head || matches!(status, 100..200 | 204 | 304) {
        return Some(Answer { status, body: Some(Vec::new()), rest });
    }
    if field("transfer-encoding").is_some() {
        let mut rest = rest;
        let mut body = Vec::new();
        loop {
            let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else { break };
            let size = usize::try_from(size).expect("a chunk that fits");
            let Some(chunk) = rest.get(start..start + size) else { break };
            body.extend_from_slice(chunk);
            let Some(next) = rest.get(start + size..).and_then(|rest| rest.strip_prefix(b"\r\n")) else { break };
            rest = next;
            if size == 0 {
                return Some(Answer { status, body: Some(body), rest });
            }
        }
        return Some(Answer { status, body: None, rest: &[] });
    }
    let Some(length) = field("content-length") else {
        // Of HTTP 1.0, say: the connection's end is the body's.
        return Some(Answer { status, body: Some(rest.to_vec()), rest: &[] });
    };
    let length: usize = length.parse().expect("a length");
    match rest.split_at_checked(length) {
        Some((body, rest)) => Some(Answer { status, body: Some(body.to_vec()), rest }),
        None => Some(Answer { status, body: None, rest: &[] }),
    }
}
