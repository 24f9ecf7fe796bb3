//! What the system has to do with it: sockets that it binds, connections beyond the bound.

use super::*;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

#[test]
fn a_socket_that_systemd_has_bound_is_used() {
    let (dir, model) = Scratch::with(&instruct());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let of_command = smidgen(&["serve", &model, "--threads", "1", "--port", "1"]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]);
    command.arg(of_command.get_program()).args(of_command.get_args()).stdin(OwnedFd::from(listener));
    let server = Server::by(command, dir);
    assert_eq!(server.address, address);
    assert_eq!(server.get("/health").status, 200);
}

/// A client learns by the head that its connection ends, where the server has not read all that came on it.
#[test]
fn a_body_that_is_not_read_ends_its_connection() {
    let server = Server::start(&["--max-body", "1000"]);
    for (request, status) in [
        ("POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n{", 404),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n{", 200),
        (
            "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n\r\n{",
            413,
        ),
    ] {
        let answer = server.raw(request.as_bytes());
        assert_eq!(answer.status, status);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    let mut kept = TcpStream::connect(&server.address).unwrap();
    let body = "{\"content\":\"a\"}";
    let head = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for last in ["", "Connection: close\r\n"] {
        write!(kept, "{head}{last}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    }
    let both = std::io::read_to_string(kept).unwrap();
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    assert_eq!(both.to_lowercase().matches("connection: close").count(), 1, "{both}");
}

#[test]
fn bodies_take_room_as_they_come_and_not_as_they_are_announced() {
    const BODY: usize = 100_000;
    let server = Server::start(&["--max-body", &BODY.to_string()]);
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n"
    );
    let begin = |bytes: usize| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b' '; bytes]).unwrap();
        stream
    };
    let whole = || server.with("POST", "/v1/completions", "Content-Type: application/json\r\n", &" ".repeat(BODY));
    let announced: Vec<_> = (0..40).map(|_| begin(0)).collect();
    whole().error(400);
    drop(announced);
    // There is room for four of the largest. When the server has read what it was sent is not known, and it may be refused, so more are sent.
    let mut sent = Vec::new();
    let mut tries = (0..100).map(|_| {
        sent.push(begin(BODY - 1000));
        whole()
    });
    let refused = tries.find(|answer| answer.status != 400).expect("there is always room");
    assert_eq!(refused.error(503)["code"], "overloaded");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    drop(sent);
    assert!((0..1000).any(|_| whole().status == 400), "the room is not given back");
}

#[test]
fn connections_beyond_the_bound_are_told_to_come_again() {
    let server = Server::start(&["--connections", "1"]);
    let kept = TcpStream::connect(&server.address).unwrap();
    // The first is surely taken once it has an answer.
    (&kept).write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!((&kept).read(&mut [0; 1000]).unwrap() > 0);
    let refused = read(TcpStream::connect(&server.address).unwrap());
    assert_eq!(refused.error(503)["code"], "overloaded");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
}
