//! Who asks: tokens, logins, proxies.

use super::{PASSWORD, TOKEN, World, padded, refused, succeeded, tiny};
use smidgen_tests::hub::{Fault, Request, To};
use std::fs;

/// A pull of `user/repo` with another token, or none.
fn fails_as(world: &World, token: Option<&str>, named: &[&str]) {
    let mut command = world.command(&["pull", "hf:user/repo"]);
    match token {
        Some(token) => command.env("HF_TOKEN", token),
        None => command.env_remove("HF_TOKEN"),
    };
    let error = refused(&command.output().unwrap(), named);
    assert!(token.is_none_or(|token| !error.contains(token)), "{error}");
    assert_eq!(world.shelf(), Vec::<String>::new());
}

/// The logins that were sent, with the hosts that they were sent to.
fn logins(requests: &[Request]) -> Vec<(String, String)> {
    let login = |request: &Request| Some((request.host.clone(), request.header("authorization")?.to_owned()));
    requests.iter().filter_map(login).collect()
}

#[test]
fn a_private_repository_needs_its_token() {
    let world = World::new();
    world.hub.repository("user/repo").private("hf_Another").file("m-Q4_0.gguf", tiny(1)).lfs();
    fails_as(&world, None, &["/api/models/user/repo", "401", "private", "HF_TOKEN"]);
    fails_as(&world, Some("hf_Unknown"), &["/api/models/user/repo", "401", "HF_TOKEN"]);
    fails_as(&world, Some(TOKEN), &["/api/models/user/repo", "nothing of this name"]);
    world.hub.repository("user/repo").reader(TOKEN);
    world.gives("hf:user/repo", &tiny(1));
}

#[test]
fn a_token_that_is_not_sent_in_the_clear_is_told_of() {
    let world = World::new();
    world.hub.repository("user/repo").private(TOKEN).file("m-Q4_0.gguf", tiny(1)).lfs();
    // The proxy has this hub for every host.
    let mut command = world.command(&["pull", "hf:user/repo"]);
    command.env("HF_ENDPOINT", "http://hub.example").env("http_proxy", world.hub.proxy());
    world.fails_by(&mut command, &["http://hub.example/api/models/user/repo", "HF_TOKEN was not sent", "https://"]);
    assert!(world.hub.requests().len() >= 2 && logins(&world.hub.requests()).is_empty());
}

#[test]
fn a_file_of_logins_that_is_not_there_is_told() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    for path in [world.dir.path("none"), world.dir.path("")] {
        world.fails_by(world.command(&["pull", "hf:user/repo"]).env("NETRC", path), &["NETRC", "cannot be read"]);
    }
}

#[test]
fn an_unknown_repository_is_told() {
    let world = World::new();
    fails_as(&world, Some(TOKEN), &["/api/models/user/repo", "nothing of this name", "check the name"]);
    fails_as(&world, None, &["/api/models/user/repo", "there is none of this name, or it is private", "HF_TOKEN"]);
}

#[test]
fn a_gated_repository_says_where_to_ask() {
    let world = World::new();
    world.hub.repository("user/repo").gated("manual").file("m-Q4_0.gguf", tiny(1)).lfs();
    fails_as(&world, None, &["user/repo", "gated", "accept its conditions", "HF_TOKEN"]);
    fails_as(&world, Some(TOKEN), &["user/repo", "gated", "accept its conditions", "HF_TOKEN"]);
    world.hub.repository("user/repo").reader(TOKEN);
    world.gives("hf:user/repo", &tiny(1));
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_cdn() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    world.gives("hf:user/repo", &tiny(1));
    let requests = world.hub.requests();
    let tells = |request: &Request| request.header("authorization") == Some(&format!("Bearer {TOKEN}"));
    assert!(requests.iter().all(|request| tells(request) != request.path.contains("/cdn/")), "{requests:?}");
    assert!(requests.iter().any(|request| request.path.contains("/cdn/")));
}

#[test]
fn the_token_goes_to_no_registry_and_no_plain_address() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", tiny(1));
    world.hub.file("/m.gguf", tiny(2));
    let registry = world.address("");
    let output =
        world.command(&["pull", "--plain", "ollama:tiny"]).env("SMIDGEN_REGISTRY", &registry).output().unwrap();
    assert!(fs::read(&succeeded(&output).0[0]).unwrap() == tiny(1));
    world.gives(&world.address("/m.gguf"), &tiny(2));
    assert_eq!(logins(&world.hub.requests()), []);
}

#[test]
fn a_token_that_is_none_is_told() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    for token in ["hf_a\nb", "hf_a\u{1b}b", "hf_ä"] {
        fails_as(&world, Some(token), &["HF_TOKEN"]);
    }
    // White space around it is nobody's token.
    let output = world.command(&["pull", "--plain", "hf:user/repo"]).env("HF_TOKEN", format!(" {TOKEN}\n")).output();
    succeeded(&output.unwrap());
    let output = world.command(&["pull", "--plain", "hf:user/repo:Q4_0"]).env("HF_TOKEN", "").output().unwrap();
    succeeded(&output);
}

#[test]
fn netrc_has_logins_by_host() {
    let world = World::new();
    world.hub.file("/m.gguf", tiny(1));
    world.hub.file("/n.gguf", tiny(2));
    let netrc = world.dir.write("netrc", format!("machine localhost login user password {PASSWORD}\n"));
    let pull = |path: &str| {
        let mut command = world.command(&["pull", "--plain", &world.address(path)]);
        command.env("NETRC", &netrc);
        command
    };
    // base64 of user:PASSWORD, by another program's hand.
    let basic = "Basic dXNlcjpUaGVQYXNzd29yZE9mVGhlVGVzdHM=";
    let host = world.address("").trim_start_matches("http://").to_owned();
    succeeded(&pull("/m.gguf").output().unwrap());
    let sent = logins(&world.hub.requests());
    assert!(!sent.is_empty() && sent.iter().all(|login| *login == (host.clone(), basic.into())), "{sent:?}");
    // It stays there when the host redirects to another.
    world.hub.forget();
    let to = To::Url(format!("{}/n.gguf", world.hub.proxy()));
    world.hub.fault(Fault::Redirect(to)).on("/m.gguf");
    world.forget();
    assert!(fs::read(&succeeded(&pull("/m.gguf").output().unwrap()).0[0]).unwrap() == tiny(2));
    let sent = logins(&world.hub.requests());
    assert!(!sent.is_empty() && sent.iter().all(|(to, _)| *to == host), "{sent:?}");
    // In its usual place, and for the hub where there is no token.
    world.hub.mend();
    world.hub.forget();
    world.forget();
    fs::create_dir_all(world.dir.path("home")).unwrap();
    world.dir.write("home/.netrc", format!("machine 127.0.0.1\n\tlogin user\n\tpassword {PASSWORD}\n"));
    let _ = world.command(&["pull", "hf:user/repo"]).env_remove("HF_TOKEN").output().unwrap();
    assert!(logins(&world.hub.requests()).iter().all(|(_, login)| login == basic));
    assert!(!logins(&world.hub.requests()).is_empty());
    world.hub.forget();
    world.run(&["pull", "hf:user/repo"]);
    assert!(logins(&world.hub.requests()).iter().all(|(_, login)| login.contains(TOKEN)));
}

#[test]
fn a_wrong_login_is_told_without_the_password() {
    let world = World::new();
    world.hub.fault(Fault::Status(401)).on("/m.gguf");
    let netrc = world.dir.write("netrc", format!("machine localhost login user password {PASSWORD}\n"));
    let words = ["pull", &world.address("/m.gguf")];
    world.fails_by(world.command(&words).env("NETRC", netrc), &["/m.gguf", "401", "~/.netrc"]);
    world.fails(&["pull", &world.address("/m.gguf")], &["/m.gguf", "401", "netrc"]);
    let address = format!("http://user:{PASSWORD}@127.0.0.1:1/m.gguf");
    let output = world.run(&["pull", &address]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("a password in an address shows in logs") && error.lines().count() == 1, "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
}

#[test]
fn a_registry_that_asks_for_a_token_gets_the_one_that_is_given_away() {
    let world = World::new();
    world
        .hub
        .image("library/tiny:latest")
        .layer("model", padded(1, 1))
        .layer("system", "Be brief.")
        .private("anonymous");
    let output = world.command(&["pull", "--plain", "ollama:tiny"]).env("SMIDGEN_REGISTRY", world.address("")).output();
    assert!(fs::read(&succeeded(&output.unwrap()).0[0]).unwrap() == padded(1, 1));
    // It stays at the registry.
    let requests = world.hub.requests();
    let tells = |request: &Request| request.header("authorization") == Some("Bearer anonymous");
    assert!(requests.iter().all(|request| !tells(request) || request.path.starts_with("/v2/")), "{requests:?}");
    assert!(
        requests.iter().any(tells)
            && requests.iter().filter(|request| request.path.starts_with("/token?")).count() == 1
    );
    // One that is not enough is asked for once, and told.
    world.hub.image("library/other:latest").layer("model", tiny(1)).private("hf_Another");
    world.hub.forget();
    world.forget();
    world.fails(&["pull", "ollama:other"], &["/v2/library/other/manifests/latest", "401"]);
    assert_eq!(world.hub.requests().len(), 3);
    // So are realms that are none.
    for realm in ["file:///etc/passwd", "http://127.0.0.1:1/token", "", "/none"] {
        let challenge = Fault::Header("WWW-Authenticate".into(), format!("Bearer realm=\"{realm}\""));
        let fault = world.hub.fault(challenge).on("/v2/");
        world.fails(&["pull", "ollama:other"], &["/v2/library/other/manifests/latest", "401"]);
        fault.end();
    }
}

#[test]
fn proxies_of_the_environment_are_taken() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy"] {
        world.forget();
        world.hub.forget();
        let output = world.command(&["pull", "--plain", "hf:user/repo"]).env(name, world.hub.proxy()).output().unwrap();
        assert!(fs::read(&succeeded(&output).0[0]).unwrap() == tiny(1), "{name}");
        // It opens connections, one to the hub and one to the CDN at least, and all come by these.
        let connects = world.hub.requests().iter().filter(|request| request.method == "CONNECT").count();
        assert!(connects >= 2, "{name}: {connects}");
    }
    world.forget();
    world.hub.forget();
    let mut command = world.command(&["pull", "--plain", "hf:user/repo"]);
    command.env("http_proxy", "http://127.0.0.1:1").env("no_proxy", "example.org, 127.0.0.1,localhost");
    succeeded(&command.output().unwrap());
    assert!(world.hub.requests().iter().all(|request| !request.proxied));
}

#[test]
fn a_proxy_that_fails_for_a_moment_is_asked_again() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    let fault = world.hub.fault(Fault::Status(503)).method("CONNECT").times(1);
    let mut command = world.command(&["pull", "--plain", "hf:user/repo"]);
    succeeded(&command.env("http_proxy", world.hub.proxy()).output().unwrap());
    assert_eq!(fault.left(), 0);
}

#[test]
fn a_proxy_that_refuses_or_is_none_is_told() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    let pull = |proxy: &str| {
        let mut command = world.command(&["pull", "hf:user/repo"]);
        command.env("http_proxy", proxy);
        command
    };
    world.hub.proxy_password(&format!("user:{PASSWORD}x"));
    let wrong = world.hub.proxy().replace("http://", &format!("http://user:{PASSWORD}@"));
    world.fails_by(&mut pull(&wrong), &["407", "proxy"]);
    world.fails_by(&mut pull("http://127.0.0.1:1"), &["check the network", "proxy"]);
    for proxy in ["http://", "ftp://host", "http://a b:1", &format!("http://user:{PASSWORD}@:x")] {
        world.fails_by(&mut pull(proxy), &["http_proxy"]);
    }
}
