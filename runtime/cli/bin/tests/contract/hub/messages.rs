//! Answers that are none of a hub's, and redirects.

use super::{TOKEN, World, tiny};
use smidgen_tests::hub::{Fault, Hub, Request, To};
use std::time::{Duration, Instant};

/// A hub with a small file.
fn serving() -> World {
    World::serving("m-Q4_0.gguf", &tiny(1))
}

/// A pull fails with these words if a fault befalls what contains the pattern.
fn fails(fault: Fault, pattern: &str, named: &[&str]) -> World {
    let world = serving();
    world.hub.fault(fault).on(pattern);
    world.fails(&["pull", "hf:user/repo"], named);
    world
}

fn json(text: &str) -> Fault {
    let headers = vec![("Content-Type".into(), "application/json".into())];
    Fault::Answer { status: 200, headers, body: text.into() }
}

#[test]
fn a_manifest_of_a_gigabyte_is_not_read() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", tiny(1));
    world.hub.fault(Fault::Endless(1 << 30)).on("/manifests/");
    world.fails(&["pull", "ollama:tiny"], &["/v2/library/tiny/manifests/latest", "longer than", "none of a hub"]);
    assert!(world.hub.sent("/manifests/") < 16 << 20, "{}", world.hub.sent("/manifests/"));
}

#[test]
fn an_endless_answer_of_the_hub_is_not_read() {
    for pattern in ["/api/models/user/repo", "/tree/"] {
        let world = fails(Fault::Endless(1 << 30), pattern, &["/api/models/user/repo", "longer than"]);
        assert!(world.hub.sent(pattern) < 64 << 20, "{}", world.hub.sent(pattern));
    }
    // Of a file it is as long as it says, which is not what the listing says.
    let world = fails(Fault::Endless(1 << 30), "/cdn/", &["m-Q4_0.gguf", "1073741824 bytes"]);
    assert!(world.hub.sent("/cdn/") < 16 << 20);
}

#[test]
fn layers_that_are_too_long_are_not_read() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", tiny(1)).layer("template", "x").listed_size(1 << 40);
    world.fails(&["pull", "ollama:tiny"], &["/blobs/sha256:", "longer than"]);
    world.hub.image("library/long:latest").layer("model", tiny(1)).layer("template", "long").listed_size(2);
    world.fails(&["pull", "ollama:long"], &["/blobs/sha256:", "longer than 2 bytes"]);
    world.hub.image("library/large:latest").layer("model", tiny(1)).listed_size(u64::MAX);
    world.fails(&["pull", "ollama:large"], &["ollama:large:latest"]);
}

#[test]
fn answers_that_are_no_json_are_refused() {
    for pattern in ["/api/models/user/repo", "/tree/"] {
        fails(Fault::BrokenJson, pattern, &["/api/models/user/repo", "no JSON"]);
        fails(Fault::NestedJson(100_000), pattern, &["/api/models/user/repo", "no JSON"]);
        fails(Fault::Html, pattern, &["/api/models/user/repo", "this is a page (HTML)"]);
        fails(json("\u{1b}[2J\r\n"), pattern, &["/api/models/user/repo", "no JSON"]);
    }
}

#[test]
fn answers_with_other_fields_are_refused() {
    for (text, field) in [
        ("[]", "sha"),
        ("null", "sha"),
        (r#"{"sha": 5}"#, "sha"),
        (r#"{"sha": ""}"#, "sha"),
        (r#"{"sha": "../../etc"}"#, "sha"),
    ] {
        fails(json(text), "/api/models/user/repo", &["/api/models/user/repo", field]);
    }
    for (text, words) in [
        ("{}", "no list of files"),
        (r#"[{"type": "file", "size": 5}]"#, "field path"),
        (r#"[{"type": "file", "path": "m.gguf"}]"#, "field size"),
        (r#"[{"type": "file", "path": "m.gguf", "size": -1}]"#, "field size"),
        (r#"[{"type": "file", "path": "m.gguf", "size": 1e30}]"#, "field size"),
        (r#"[{"type": "file", "path": "m.gguf", "size": 5, "lfs": {"size": 5}}]"#, "lfs.oid"),
        (r#"[{"type": "file", "path": "m.gguf", "size": 5, "lfs": {"size": 5, "oid": "abc"}}]"#, "lfs.oid"),
        (r#"[{"type": "file", "path": "m\n.gguf", "size": 5}]"#, "m\\n.gguf"),
        ("[]", "no GGUF file"),
    ] {
        fails(json(text), "/tree/", &["user/repo", words]);
    }
    for (text, words) in [
        ("[]", "no layers"),
        (r#"{"layers": [{}]}"#, "field digest"),
        (r#"{"layers": [{"digest": "sha256:../../x", "size": 1}]}"#, "field digest"),
        (r#"{"layers": []}"#, "no layer with a model"),
    ] {
        let world = World::new();
        world.hub.image("library/tiny:latest").manifest(text);
        world.fails(&["pull", "ollama:tiny"], &["tiny", words]);
    }
}

#[test]
fn pages_without_an_end_are_not_followed() {
    let world = serving();
    let url = format!("{}/api/models/user/repo/tree/main?recursive=true", world.hub.endpoint());
    world.hub.fault(Fault::Header("Link".into(), format!("<{url}>; rel=\"next\""))).on("/tree/");
    world.fails(&["pull", "hf:user/repo"], &["/tree/", "more than 100 pages"]);
    fails(Fault::Header("Link".into(), "<file:///etc>; rel=\"next\"".into()), "/tree/", &["/tree/", "no web address"]);
}

#[test]
fn a_redirect_to_another_host_is_followed_without_the_token() {
    for (pattern, to, is_own) in
        [("/resolve/", To::OtherHost, false), ("/api/", To::OtherHost, false), ("/resolve/", To::Relative, true)]
    {
        let world = serving();
        let fault = world.hub.fault(Fault::Redirect(to)).on(pattern).times(1);
        world.gives("hf:user/repo", &tiny(1));
        assert_eq!(fault.left(), 0);
        let bearer = Some(format!("Bearer {TOKEN}"));
        let of = |path: &str| {
            world.hub.requests().into_iter().filter(|request| request.path.contains(path)).collect::<Vec<_>>()
        };
        let has_token = |request: &Request| request.header("authorization") == bearer.as_deref();
        // The second request of these is that to which the first led.
        let (first, second) = (&of(pattern)[0], &of(pattern)[1]);
        assert!(has_token(first) && first.status == 302 && second.path == first.path, "{first:?} {second:?}");
        assert_eq!(has_token(second), second.host == first.host, "{second:?}");
        assert_eq!(second.host == first.host, is_own, "{second:?}");
    }
}

#[test]
fn redirects_without_an_end_are_not_followed() {
    for pattern in ["/api/", "/resolve/", "/cdn/"] {
        let world = fails(Fault::Redirect(To::Itself), pattern, &[pattern, "not followed", "after ten others"]);
        assert!(world.hub.requests().len() < 16, "{}", world.hub.requests().len());
    }
}

#[test]
fn redirects_to_what_is_no_web_address_are_not_followed() {
    for to in ["file:///etc/passwd", "http://", "", "javascript:x", "http://[::bad/x", "ftp://host/x"] {
        fails(Fault::Redirect(To::Url(to.into())), "/resolve/", &["/resolve/", "not followed", "no web address"]);
    }
    fails(Fault::Redirect(To::Url("http://a\u{1b}b/".into())), "/resolve/", &["/resolve/"]);
    // The signature of an address is in no message.
    let to = format!("http://127.0.0.1:1/m.gguf?Signature={TOKEN}");
    fails(Fault::Redirect(To::Url(to)), "/resolve/", &["http://127.0.0.1:1/m.gguf", "connection is refused"]);
}

#[test]
fn a_failing_cdn_is_told_without_the_signature() {
    fails(Fault::Status(403), "/cdn/", &["/cdn/user/repo/m-Q4_0.gguf", "403"]);
    fails(Fault::Status(404), "/cdn/", &["/cdn/user/repo/m-Q4_0.gguf", "nothing of this name"]);
}

#[test]
fn what_a_server_says_is_one_line_without_control_characters() {
    let words = format!("{{\"error\": \"a\\nb\\u001b[2J {}\"}}", "long ".repeat(10_000));
    let fault = Fault::Answer { status: 451, headers: vec![], body: words.into() };
    let error = fails(fault, "/api/", &[]).fails(&["pull", "hf:user/repo"], &["451"]);
    assert!(error.len() < 5000 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn no_network_is_told_soon() {
    let world = serving();
    // Nobody listens there any more.
    let gone = Hub::start().unwrap().endpoint().to_owned();
    let begun = Instant::now();
    let named = [&gone, "connection is refused", "check the network"];
    world.fails_by(world.command(&["pull", "hf:user/repo"]).env("HF_ENDPOINT", &gone), &named);
    let named = ["none.invalid", "check the network"];
    world.fails_by(world.command(&["pull", "hf:user/repo"]).env("HF_ENDPOINT", "http://none.invalid"), &named);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for name in ["HF_ENDPOINT", "SMIDGEN_REGISTRY"] {
        for address in ["hub", "file:///etc", "http://", "http://a b", "https://127.0.0.1:99999"] {
            world.fails_by(world.command(&["pull", "hf:user/repo"]).env(name, address), &[name, "no web address"]);
        }
    }
}

#[test]
fn what_speaks_no_http_is_told() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mute = std::thread::spawn(move || {
        // The attempts of a request.
        for stream in listener.incoming().take(6) {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 1024]);
            _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n");
        }
    });
    let world = serving();
    world.fails_by(world.command(&["pull", "hf:user/repo"]).env("HF_ENDPOINT", &address), &[&address]);
    drop(mute);
}
