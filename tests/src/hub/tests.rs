//! The server itself, by sockets alone.

use super::{Hub, Origin, http_date, sha256};
use crate::Random;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer's head and body, as they came.
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Asks for a path at an origin, and reads until the server ends the connection.
pub(super) fn ask(origin: &str, method: &str, target: &str, headers: &str) -> Answer {
    let address = origin.split_once("://").unwrap().1.replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: tests\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    // A reset is an end too.
    _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let body = bytes.split_off(end);
    Answer { head: String::from_utf8(bytes).unwrap(), body }
}

pub(super) fn get(hub: &Hub, path: &str) -> Answer {
    ask(hub.endpoint(), "GET", path, "")
}

/// Follows a location to the CDN.
pub(super) fn follow(location: &str, headers: &str) -> Answer {
    let slash = location.match_indices('/').nth(2).unwrap().0;
    ask(&location[..slash], "GET", &location[slash..], headers)
}

#[test]
fn a_repository_is_described_and_listed_in_pages() {
    let hub = Hub::start().unwrap();
    let repository = hub.repository("user/repo").license("mit").file("a/b/m-Q4_0.gguf", [1; 100]).lfs();
    let repository = repository.file("README.md", "hello\n");
    let commit = repository.head();
    let model = get(&hub, "/api/models/user/repo").json();
    assert_eq!((&model["sha"], &model["gated"]), (&commit.clone().into(), &false.into()));
    assert_eq!(model["cardData"]["license"], "mit");
    assert_eq!(model["siblings"][1]["rfilename"], "a/b/m-Q4_0.gguf");
    hub.page(3);
    let answer = get(&hub, &format!("/api/models/user/repo/tree/{commit}?recursive=true"));
    // `git hash-object` of that file.
    let readme = serde_json::json!({
        "type": "file", "oid": "ce013625030ba8dba906f756967f9e9ca394464a", "size": 6, "path": "README.md"
    });
    assert_eq!(answer.json()[0], readme);
    assert_eq!(answer.json().as_array().unwrap().len(), 3, "a file and two folders");
    let next = answer.header("Link").strip_prefix('<').unwrap().split('>').next().unwrap();
    let last = follow(next, "");
    assert_eq!((last.json()[0]["path"].as_str(), last.header("Link")), (Some("a/b/m-Q4_0.gguf"), ""));
    assert_eq!(last.json()[0]["lfs"]["oid"], sha256(&[1; 100]));
    let first = hub.repository("user/repo").commit().file("README.md", "bye").head();
    assert_ne!(first, commit);
    assert_eq!(get(&hub, &format!("/user/repo/resolve/{commit}/README.md")).body, b"hello\n");
    assert_eq!(get(&hub, "/user/repo/resolve/main/README.md").body, b"bye");
    hub.cache();
    let cached = get(&hub, &format!("/user/repo/resolve/{commit}/README.md"));
    let path = cached.header("Location");
    assert!(cached.status() == 307 && path.starts_with("/api/resolve-cache/models/user/repo/"), "{path}");
    assert_eq!(get(&hub, path).body, b"hello\n");
    hub.repository("user/repo").branch("refs/pr/1").commit().file("README.md", "draft");
    let draft = get(&hub, "/user/repo/resolve/refs%2Fpr%2F1/README.md");
    assert_eq!(get(&hub, draft.header("Location")).body, b"draft");
    assert_eq!(get(&hub, "/api/models/user/repo/revision/main").json()["sha"], first);
}

#[test]
fn large_files_are_on_the_cdn_and_ranges_of_them_can_be_had() {
    let hub = Hub::start().unwrap();
    let bytes = Random(1).bytes(100_000);
    hub.repository("user/repo").file("m.gguf", bytes.clone()).lfs();
    let answer = ask(hub.endpoint(), "HEAD", "/user/repo/resolve/main/m.gguf", "");
    assert_eq!((answer.status(), answer.header("X-Linked-Size")), (302, "100000"));
    assert_eq!(answer.header("X-Linked-Etag"), format!("\"{}\"", sha256(&bytes)));
    let location = answer.header("Location");
    assert!(location.starts_with(hub.cdn()), "{location}");
    let whole = follow(location, "");
    assert!(whole.status() == 200 && whole.body == bytes && whole.header("Content-Length") == "100000");
    let etag = whole.header("ETag");
    let part = follow(location, &format!("Range: bytes=10-19\r\nIf-Range: {etag}\r\n"));
    assert_eq!((part.status(), part.header("Content-Range")), (206, "bytes 10-19/100000"));
    assert_eq!(part.body, bytes[10..20]);
    assert_eq!(follow(location, "Range: bytes=-5\r\n").body, bytes[99_995..]);
    assert_eq!(follow(location, "Range: bytes=5-\r\nIf-Range: \"other\"\r\n").status(), 200);
    let date = whole.header("Last-Modified");
    assert_eq!(follow(location, &format!("Range: bytes=99999-\r\nIf-Range: {date}\r\n")).body, bytes[99_999..]);
    let outside = follow(location, "Range: bytes=100000-\r\n");
    assert_eq!((outside.status(), outside.header("Content-Range")), (416, "bytes */100000"));
    assert_eq!(hub.overlap()["user/repo/m.gguf"], 10 + 5 + 1 + 100_000);
    hub.signature_uses(1);
    let answer = get(&hub, "/user/repo/resolve/main/m.gguf");
    let statuses = [1, 2].map(|_| follow(answer.header("Location"), "").status());
    assert_eq!(statuses, [200, 403]);
}

#[test]
fn tokens_open_what_is_private_and_gated() {
    let hub = Hub::start().unwrap();
    hub.repository("user/private").private("hf_reader").file("a", "1");
    hub.repository("user/gated").gated("manual").reader("hf_reader").file("a", "2");
    hub.token("hf_stranger");
    let ask = |path: &str, token: &str| {
        let header = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let answer = ask(hub.endpoint(), "GET", path, &header);
        (answer.status(), answer.header("X-Error-Code").to_string())
    };
    let cases = [
        ("/api/models/user/none", "", 401, "RepoNotFound"),
        ("/api/models/user/none", "hf_reader", 404, "RepoNotFound"),
        ("/api/models/user/none", "hf_unknown", 401, ""),
        ("/api/models/user/private", "", 401, "RepoNotFound"),
        ("/api/models/user/private", "hf_stranger", 404, "RepoNotFound"),
        ("/api/models/user/private", "hf_reader", 200, ""),
        ("/api/models/user/private/revision/none", "hf_reader", 404, "RevisionNotFound"),
        ("/user/private/resolve/main/none", "hf_reader", 404, "EntryNotFound"),
        ("/api/models/user/gated", "", 200, ""),
        ("/user/gated/resolve/main/a", "", 401, "GatedRepo"),
        ("/user/gated/resolve/main/a", "hf_stranger", 403, "GatedRepo"),
        ("/user/gated/resolve/main/a", "hf_reader", 200, ""),
    ];
    for (path, token, status, code) in cases {
        assert_eq!(ask(path, token), (status, code.to_string()), "{path} {token}");
    }
}

#[test]
fn a_registry_has_manifests_and_blobs() {
    let hub = Hub::start().unwrap();
    let model = Random(2).bytes(100_000);
    hub.image("library/tiny:latest").layer("model", model.clone()).layer("template", "{{ .Prompt }}");
    let answer = get(&hub, "/v2/library/tiny/manifests/latest");
    assert_eq!(answer.header("Content-Type"), "application/vnd.docker.distribution.manifest.v2+json");
    let manifest = answer.json();
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.ollama.image.template");
    let blob = |layer: usize| {
        get(&hub, &format!("/v2/library/tiny/blobs/{}", manifest["layers"][layer]["digest"].as_str().unwrap()))
    };
    assert_eq!(blob(1).body, b"{{ .Prompt }}");
    assert_eq!(blob(0).status(), 307);
    assert_eq!(follow(blob(0).header("Location"), "").body, model);
    let missing = get(&hub, "/v2/library/tiny/manifests/none");
    assert_eq!((missing.status(), &missing.json()["errors"][0]["code"]), (404, &"MANIFEST_UNKNOWN".into()));
    hub.image("library/tiny:latest").private("anonymous");
    let refused = get(&hub, "/v2/library/tiny/manifests/latest");
    assert_eq!(refused.status(), 401);
    let realm = format!("Bearer realm=\"{}/token\"", hub.endpoint());
    assert!(refused.header("WWW-Authenticate").starts_with(&realm), "{}", refused.head);
}

#[test]
fn connections_are_kept_and_recorded() {
    let hub = Hub::start().unwrap();
    hub.file("/models/m.gguf", "abcdef");
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /models/m.gguf HTTP/1.1\r\nHost: here:1\r\nRange: bytes=2-\r\n\r\n").unwrap();
        let mut bytes = [0; 1024];
        let mut length = 0;
        while !bytes[..length].ends_with(b"cdef") {
            let read = stream.read(&mut bytes[length..]).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&bytes[..length]));
            length += read;
        }
    }
    assert!(hub.wait_until(Duration::from_secs(10), |requests| requests.iter().all(|request| request.is_complete)));
    let requests = hub.requests();
    assert_eq!(requests.len(), 2);
    let request = &requests[1];
    assert_eq!((request.method.as_str(), request.host.as_str(), request.status), ("GET", "here:1", 206));
    assert_eq!((request.range.as_deref(), request.sent, request.written.clone()), (Some("bytes=2-"), 4, 2..6));
    assert_eq!((request.origin, request.proxied), (Origin::Hub, false));
    assert_eq!(hub.overlap()["/models/m.gguf"], 4);
    // The server ends though its client keeps the connection.
    drop(hub);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_a_client_did_not_take_was_not_written() {
    let hub = Hub::start().unwrap();
    hub.file("/m.gguf", Random(3).bytes(64 << 20));
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /m.gguf HTTP/1.1\r\nHost: tests\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 100_000]).unwrap();
    assert!(hub.wait_until(Duration::from_secs(10), |requests| requests[0].sent >= 90_000));
    drop(stream);
    let requests = hub.requests();
    assert!(requests[0].sent < 32 << 20 && !requests[0].is_complete, "{}", requests[0].sent);
    hub.forget();
    assert_eq!(hub.connections(), 1);
    hub.file("/m.gguf", vec![7; 1 << 20]);
    hub.throttle(4096, 1);
    assert!(get(&hub, "/m.gguf").body == vec![7; 1 << 20]);
    assert_eq!(hub.sent("/m.gguf"), 1 << 20);
}

#[test]
fn what_is_no_request_is_told() {
    let hub = Hub::start().unwrap();
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    // A handshake of TLS.
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(hub.requests().len(), 0);
}

#[test]
fn dates() {
    assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
}
