//! The server's faults, TLS and proxy, by sockets alone.

use super::tests::{Answer, ask, get};
use super::{Authority, Certificate, Fault, Hub, To};
use crate::Random;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// A hub with the file `/m.gguf`, and its bytes.
fn hub() -> (Hub, Vec<u8>) {
    let hub = Hub::start().unwrap();
    let bytes = Random(4).bytes(50_000);
    hub.file("/m.gguf", bytes.clone());
    (hub, bytes)
}

#[test]
fn bodies_end_too_early_at_any_byte() {
    let (hub, bytes) = hub();
    for cut in [0, 1, 16_383, 16_384, 16_385, 49_999, 50_000] {
        for fault in [Fault::Cut(cut), Fault::Reset(cut)] {
            let order = hub.fault(fault.clone()).on("m.gguf").times(1);
            let answer = get(&hub, "/m.gguf");
            assert_eq!(answer.header("Content-Length"), "50000");
            if let Fault::Cut(cut) = fault {
                assert!(answer.body == bytes[..cut as usize], "{cut}: {}", answer.body.len());
            }
            assert_eq!(order.left(), 0);
        }
    }
    assert!(hub.requests().iter().all(|request| !request.is_complete));
    hub.fault(Fault::CutHead(20)).times(1);
    assert_eq!(get(&hub, "/m.gguf").head, "HTTP/1.1 200 OK\r\nCon");
    assert!(get(&hub, "/m.gguf").body == bytes, "no fault is left");
}

#[test]
fn faults_befall_the_requests_that_were_named() {
    let (hub, bytes) = hub();
    hub.file("/other", "other");
    let fault =
        hub.fault(Fault::RetryAfter(429, "1".to_string())).on("m.gguf").on("?x").method("GET").after(1).times(2);
    hub.fault(Fault::Status(503)).on("m.gguf?x").after(3).times(1);
    let status = |method: &str, path: &str| ask(hub.endpoint(), method, path, "").status();
    assert_eq!([status("GET", "/other"), status("GET", "/m.gguf"), status("HEAD", "/m.gguf?x")], [200; 3]);
    assert_eq!(fault.left(), 2);
    let statuses = [(); 5].map(|()| status("GET", "/m.gguf?x"));
    assert_eq!(statuses, [200, 429, 429, 200, 503]);
    assert_eq!(hub.requests()[4].status, 429);
    hub.fault(Fault::Status(500)).end();
    hub.fault(Fault::Status(500));
    hub.mend();
    assert!(get(&hub, "/m.gguf").body == bytes);
}

#[test]
fn bodies_and_lengths_lie() {
    let (hub, bytes) = hub();
    let with = |fault: Fault, headers: &str| -> Answer {
        let fault = hub.fault(fault).times(1);
        let answer = ask(hub.endpoint(), "GET", "/m.gguf", headers);
        assert_eq!(fault.left(), 0);
        answer
    };
    for (difference, length) in [(-1, "49999"), (10, "50010")] {
        let answer = with(Fault::WrongLength(difference), "");
        assert!(answer.header("Content-Length") == length && answer.body == bytes);
    }
    let chunked = with(Fault::Chunked, "");
    assert_eq!((chunked.header("Transfer-Encoding"), chunked.header("Content-Length")), ("chunked", ""));
    assert!(chunked.body.starts_with(b"4000\r\n") && chunked.body.ends_with(b"\r\n0\r\n\r\n"));
    let unknown = with(Fault::NoLength, "");
    assert!(unknown.header("Content-Length").is_empty() && unknown.body == bytes);
    let flipped = with(Fault::Flip(20_000), "Range: bytes=10000-\r\n");
    let differing: Vec<usize> = (0..40_000).filter(|i| flipped.body[*i] != bytes[10_000 + i]).collect();
    assert_eq!(differing, [10_000]);
    let whole = with(Fault::NoRanges, "Range: bytes=10000-\r\n");
    assert!(whole.status() == 200 && whole.header("Accept-Ranges").is_empty() && whole.body == bytes);
    let other = with(Fault::WrongRange("bytes 0-9/50000".to_string()), "Range: bytes=10-19\r\n");
    assert_eq!((other.status(), other.header("Content-Range")), (206, "bytes 0-9/50000"));
    assert_eq!(other.body, bytes[10..20]);
    let compressed = with(Fault::Gzip, "");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(compressed.body.as_slice()).read_to_end(&mut text).unwrap();
    assert!(compressed.header("Content-Encoding") == "gzip" && text == bytes);
    let stalled = with(Fault::Stall { after: 5, milliseconds: 1 }, "");
    let slow = with(Fault::Slow { piece: 10_000, milliseconds: 1 }, "");
    assert!(stalled.body == bytes && slow.body == bytes);
    let etag = get(&hub, "/m.gguf").header("ETag").to_string();
    assert_eq!(with(Fault::Changed(b"new".to_vec()), &format!("Range: bytes=1-\r\nIf-Range: {etag}\r\n")).body, b"new");
    assert_ne!(get(&hub, "/m.gguf").header("ETag"), etag, "it stays changed");
}

#[test]
fn answers_are_of_another_kind() {
    let (hub, _) = hub();
    let with = |fault: Fault| -> Answer {
        hub.fault(fault).times(1);
        get(&hub, "/m.gguf")
    };
    let locations = [To::Itself, To::Relative, To::OtherHost, To::Insecure, To::Url("file:///etc/passwd".to_string())]
        .map(|to| with(Fault::Redirect(to)).header("Location").to_string());
    let other = hub.endpoint().replace("127.0.0.1", "localhost") + "/m.gguf";
    let own = format!("{}/m.gguf", hub.endpoint());
    let insecure = format!("{}/m.gguf", hub.proxy());
    assert_eq!(locations, [&own, "/m.gguf", &other, &insecure, "file:///etc/passwd"]);
    assert!(with(Fault::Html).header("Content-Type").starts_with("text/html"));
    assert!(serde_json::from_slice::<serde_json::Value>(&with(Fault::BrokenJson).body).is_err());
    assert_eq!(with(Fault::NestedJson(3)).body, b"[[[]]]");
    assert_eq!(with(Fault::LongHeader(1 << 20)).header("X-Long").len(), 1 << 20);
    assert!(with(Fault::ManyHeaders(1000)).head.lines().count() > 1000);
    let answer = Fault::Answer { status: 418, headers: vec![("A".into(), "b\u{1}".into())], body: b"tea".to_vec() };
    let answer = with(answer);
    assert_eq!((answer.status(), answer.header("A"), answer.body.as_slice()), (418, "b\u{1}", b"tea".as_slice()));
    assert_eq!(with(Fault::Header("ETag".into(), "\"x\"".into())).header("ETag"), "\"x\"");
    let hung_up = hub.fault(Fault::HangUp).times(1);
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"HEAD /m.gguf HTTP/1.1\r\nHost: tests\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\n") && !text.contains("Connection: close") && hung_up.left() == 0, "{text}");
    assert_eq!(with(Fault::Endless(20_000)).body.trim_ascii(), b"0");
    // Whoever goes early is not sent the rest.
    hub.fault(Fault::Endless(1 << 40)).on("endless").times(1);
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: tests\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 50_000]).unwrap();
    drop(stream);
    assert!((30_000..1 << 30).contains(&hub.sent("endless")));
    // Nor does the server wait for a stall to end.
    let stall = hub.fault(Fault::StallHead(3_600_000)).on("stall").times(1);
    let mut stream = TcpStream::connect(hub.endpoint().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /stall HTTP/1.1\r\nHost: tests\r\n\r\n").unwrap();
    assert!(hub.wait_until(Duration::from_secs(10), |requests| requests.last().unwrap().status == 404));
    assert_eq!(stall.left(), 0);
    drop(hub);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Asks over TLS on a connection, for a host, with the authority's root.
fn ask_over(stream: TcpStream, host: &str, path: &str, authority: &Authority) -> std::io::Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_string()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn certificates_are_good_or_as_bad_as_they_are_said_to_be() {
    let authority = Authority::new().unwrap();
    let outcome = |certificate: Certificate| {
        let hub = Hub::start_tls(&certificate).unwrap();
        hub.file("/m.gguf", vec![1; 100_000]);
        let stream = TcpStream::connect(hub.endpoint().strip_prefix("https://").unwrap()).unwrap();
        match ask_over(stream, "127.0.0.1", "/m.gguf", &authority) {
            Ok(bytes) if bytes.ends_with(&[1; 100_000]) => "whole".to_string(),
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(outcome(authority.certificate().unwrap()), "whole");
    let expired = outcome(authority.expired().unwrap());
    assert!(expired.contains("expired"), "{expired}");
    let wrong = outcome(authority.for_names(&["hub.example"]).unwrap());
    assert!(wrong.contains("not valid for name"), "{wrong}");
    let unknown = outcome(Authority::new().unwrap().certificate().unwrap());
    assert!(unknown.contains("UnknownIssuer") || unknown.contains("BadSignature"), "{unknown}");
    let file = authority.file().to_owned();
    drop(authority);
    assert!(!file.exists());
}

#[test]
fn the_proxy_forwards_and_tunnels_to_this_server_only() {
    let authority = Authority::new().unwrap();
    let hub = Hub::start_tls(&authority.for_names(&["hub.example"]).unwrap()).unwrap();
    hub.file("/m.gguf", "abc");
    let answer = ask(hub.proxy(), "GET", "http://hub.example/m.gguf", "");
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"abc".as_slice()));
    let request = &hub.requests()[0];
    assert_eq!((request.host.as_str(), request.path.as_str(), request.proxied), ("hub.example", "/m.gguf", true));
    let connect = |headers: &str| {
        let mut stream = TcpStream::connect(hub.proxy().strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example:443\r\n{headers}\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (stream, String::from_utf8(head).unwrap())
    };
    let (stream, head) = connect("");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(ask_over(stream, "hub.example", "/m.gguf", &authority).unwrap().ends_with(b"abc"));
    assert!(hub.requests()[1].proxied && hub.requests()[1].host == "hub.example:443");
    hub.proxy_password("user:open sesame");
    assert_eq!(ask(hub.proxy(), "GET", "http://hub.example/m.gguf", "").status(), 407);
    let (_, head) = connect("Proxy-Authorization: Basic dXNlcjpvcGVu\r\n");
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    let (stream, head) = connect("Proxy-Authorization: Basic dXNlcjpvcGVuIHNlc2FtZQ==\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // The server ends though the tunnel is open.
    drop(hub);
    drop(stream);
}
