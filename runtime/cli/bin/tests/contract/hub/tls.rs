//! Encrypted connections.

use super::{PASSWORD, World, padded, succeeded, tiny};
use smidgen_tests::hub::{Authority, Fault, To};
use std::fs;
use std::process::Command;

/// A pull that trusts this authority.
fn pull(world: &World, authority: &Authority) -> Command {
    let mut command = world.command(&["pull", "--plain", "hf:user/repo"]);
    command.env("SSL_CERT_FILE", authority.file());
    command
}

fn serving(world: &World) {
    world.hub.repository("user/repo").file("m-Q4_0.gguf", tiny(1)).lfs();
}

#[test]
fn a_model_comes_over_tls() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.certificate().unwrap());
    let bytes = padded(4, 2);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    let cut = world.hub.fault(Fault::Cut(100_000)).on("/cdn/").after(1).times(1);
    let (paths, _) = succeeded(&pull(&world, &authority).output().unwrap());
    assert!(fs::read(&paths[0]).unwrap() == bytes && cut.left() == 0);
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.expired().unwrap());
    serving(&world);
    let named = [world.hub.endpoint(), "its certificate has expired", "clock"];
    world.fails_by(&mut pull(&world, &authority), &named);
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn a_certificate_of_another_host_is_refused() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.for_names(&["hub.example"]).unwrap());
    serving(&world);
    let named = [world.hub.endpoint(), "certificate is another host's", "check the address"];
    world.fails_by(&mut pull(&world, &authority), &named);
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn a_certificate_of_another_host_on_the_cdn_is_refused() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.for_names(&["127.0.0.1"]).unwrap());
    serving(&world);
    world.fails_by(&mut pull(&world, &authority), &[world.hub.cdn(), "certificate is another host's"]);
    assert_eq!(world.hub.sent("/cdn/"), 0);
}

#[test]
fn an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let world = World::with_tls(&authority.certificate().unwrap());
    serving(&world);
    let named = [world.hub.endpoint(), "nobody whom this machine trusts", "SSL_CERT_FILE"];
    world.fails_by(&mut pull(&world, &other), &named);
    world.fails(&["pull", "hf:user/repo"], &named);
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn a_file_of_authorities_that_has_none_is_not_passed_over() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.certificate().unwrap());
    serving(&world);
    let (missing, text) = (world.dir.path("missing.pem"), world.dir.write("text.pem", "text"));
    for file in [missing, text] {
        world.fails_by(world.command(&["pull", "hf:user/repo"]).env("SSL_CERT_FILE", &file), &["SSL_CERT_FILE", "PEM"]);
    }
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    let authority = Authority::new().unwrap();
    for pattern in ["/api/", "/resolve/", "/cdn/"] {
        let world = World::with_tls(&authority.certificate().unwrap());
        serving(&world);
        world.hub.fault(Fault::Redirect(To::Insecure)).on(pattern);
        let named = ["https://", pattern, "not followed to http://", "not encrypted"];
        world.fails_by(&mut pull(&world, &authority), &named);
        assert_eq!(world.hub.requests().iter().filter(|request| request.host.contains("http:")).count(), 0);
        let proxy = world.hub.proxy().trim_start_matches("http://").to_owned();
        assert!(world.hub.requests().iter().all(|request| request.host != proxy));
    }
}

#[test]
fn http_where_tls_is_and_tls_where_http_is() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.certificate().unwrap());
    serving(&world);
    let insecure = world.hub.endpoint().replace("https:", "http:");
    world.fails_by(pull(&world, &authority).env("HF_ENDPOINT", &insecure), &[&insecure]);
    let plain = World::new();
    let secure = plain.hub.endpoint().replace("http:", "https:");
    plain.fails_by(pull(&plain, &authority).env("HF_ENDPOINT", &secure), &[&secure, "without encryption"]);
}

#[test]
fn a_proxy_tunnels_tls() {
    let authority = Authority::new().unwrap();
    let world = World::with_tls(&authority.certificate().unwrap());
    serving(&world);
    world.hub.proxy_password(&format!("user:{PASSWORD}"));
    let proxy = world.hub.proxy().replace("http://", &format!("http://user:{PASSWORD}@"));
    let (paths, _) = succeeded(&pull(&world, &authority).env("https_proxy", &proxy).output().unwrap());
    assert!(fs::read(&paths[0]).unwrap() == tiny(1));
    let connects: Vec<_> = world.hub.requests().into_iter().filter(|request| request.method == "CONNECT").collect();
    // One to the hub, one to the CDN.
    assert!(connects.len() >= 2 && connects.iter().all(|request| request.status == 200), "{connects:?}");
    world.forget();
    world.fails_by(pull(&world, &authority).env("https_proxy", world.hub.proxy()), &[world.hub.endpoint()]);
}
