//! Requests on a connection are answered by a server, the whole of it: its first byte says whether of a model that writes or of one that embeds. What
//! is whole has a status, nothing is an error of the server's own, and afterwards a plain request is answered as ever.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use smidgen_fuzz::serve::{MAX_BODY, Server, answer, mutate, requests};

/// A server, a plain request, and the text that its answer must have in it.
struct Asked {
    server: Server,
    plain: &'static [u8],
    expected: Vec<u8>,
}

const WRITE: &[u8] = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"prompt\":\"hello user\",\"temperature\":0,\"max_tokens\":1,\"n\":1}";
const EMBED: &[u8] = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"input\":\"a b\"}";

impl Asked {
    fn new(server: Server, plain: &'static [u8]) -> Asked {
        let expected = said(&server, plain);
        Asked { server, plain, expected }
    }
}

/// What answers the plain request, from its first choice or its first vector on.
fn said(server: &Server, plain: &[u8]) -> Vec<u8> {
    let received = server.asked(plain).expect("a connection");
    let answer = answer(&received, false).expect("an answer");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&received));
    let body = answer.body.expect("a whole answer");
    let from = [&b"\"choices\":"[..], b"\"data\":"];
    let from = body.windows(10).position(|window| from.iter().any(|from| window.starts_with(from)));
    let text = body.get(from.expect("a field")..).expect("what follows").to_vec();
    // How much of the prompt was in the cache depends on what was asked before.
    let end = text.windows(8).position(|window| window == b"\"usage\":").unwrap_or(text.len());
    text.get(..end).expect("what precedes").to_vec()
}

thread_local! {
    static SERVERS: [Asked; 2] = [Asked::new(Server::writer(), WRITE), Asked::new(Server::encoder(), EMBED)];
}

/// Whether the server must answer the first of these requests: its head is one of HTTP, and its body is there, or none is announced.
fn is_whole(request: &[u8]) -> Option<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = parsed.parse(request) else { return None };
    let mut length = 0;
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok()?.trim().parse().ok()?;
        }
    }
    (length <= request.len() - end).then_some(parsed.method == Some("HEAD"))
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate(data, size, max_size, seed) });

fuzz_target!(|bytes: &[u8]| {
    let Some((which, input)) = bytes.split_first() else { return };
    let requests = requests(input);
    let sent = requests.concat();
    SERVERS.with(|servers| {
        let Asked { server, plain, expected } = &servers[usize::from(*which % 2)];
        let received = server.asked(&sent).expect("a connection");
        let mut rest = received.as_slice();
        let mut count = 0;
        // Which of several were for heads only is known of the first; HEAD beyond it ends the look at bodies.
        let first = is_whole(&sent);
        let heads = sent.windows(5).filter(|window| window == b"HEAD ").count();
        while !rest.is_empty() {
            let head = count == 0 && first == Some(true);
            let answer = answer(rest, head).expect("a whole head");
            assert!((100..600).contains(&answer.status) && answer.status != 500, "{}", String::from_utf8_lossy(rest));
            count += 1;
            if heads > usize::from(head) {
                break;
            }
            assert!(answer.body.is_some(), "an answer without its end: {}", String::from_utf8_lossy(rest));
            rest = answer.rest;
        }
        assert!(count > 0 || first.is_none() || sent.len() > MAX_BODY, "no answer to a whole request");
        server.rests();
        assert!(said(server, plain) == *expected, "a plain request is answered as before");
    });
});
