//! Who asks: endpoints, tokens, and whether the network may be used at all.

use super::HubError;
use super::http::joined;
use super::name::HUB;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;

/// The registry of `ollama:` names.
const REGISTRY: &str = "https://registry.ollama.ai";
/// The longest file of passwords.
const MOST_NETRC: u64 = 1 << 20;

/// Where models are asked for, and as whom.
#[derive(Clone)]
pub struct Access {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The registry's address, without a slash at its end.
    pub registry: String,
    /// The hub's token. It is sent to the hub only, never to where a hub redirects to, and not over an unencrypted connection to another
    /// machine.
    pub token: Option<String>,
    /// Whether nothing may be asked of the network.
    pub offline: bool,
    /// How many connections a download opens at most.
    pub connections: usize,
    /// How long to wait after a first failure; each further one doubles it.
    pub pause: Duration,
    /// Hosts with login and password, as in a file `.netrc`.
    passwords: Arc<Vec<Login>>,
    /// Why the file that `NETRC` names cannot be read.
    unread: Option<String>,
}

struct Login {
    /// None for every other host.
    host: Option<String>,
    login: String,
    password: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Access { endpoint, registry, offline, connections, .. } = self;
        write!(
            f,
            "Access {{ endpoint: {endpoint:?}, registry: {registry:?}, offline: {offline}, connections: {connections}, .. }}"
        )
    }
}

impl Access {
    /// As the environment says: `HF_ENDPOINT`, `SMIDGEN_REGISTRY`, `HF_TOKEN`, `HF_HUB_OFFLINE` or `SMIDGEN_OFFLINE`, `NETRC` or `~/.netrc`.
    pub fn from_environment() -> Access {
        let set =
            |name| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let address =
            |name, usual: &str| set(name).unwrap_or_else(|| usual.to_owned()).trim_end_matches('/').to_owned();
        let is_on =
            |name| set(name).is_some_and(|value| !["0", "false", "no", "off"].contains(&&*value.to_lowercase()));
        let named = set("NETRC").map(PathBuf::from);
        let is_named = named.is_some();
        let netrc = named.or_else(|| Some(std::env::home_dir()?.join(".netrc")));
        let netrc = netrc.map_or_else(|| Ok(String::new()), |path| text_of(&path));
        Access {
            endpoint: address("HF_ENDPOINT", HUB),
            registry: address("SMIDGEN_REGISTRY", REGISTRY),
            token: set("HF_TOKEN"),
            offline: is_on("SMIDGEN_OFFLINE") || is_on("HF_HUB_OFFLINE"),
            connections: 4,
            pause: Duration::from_millis(500),
            passwords: Arc::new(netrc.as_deref().map(logins).unwrap_or_default()),
            unread: netrc.err().filter(|_| is_named).map(|error| crate::one_line(&error.to_string())),
        }
    }

    /// Refuses what cannot be used, by the name of its variable.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        let wrong = |variable: &str, reason: String| Err(HubError::Variable { variable: variable.into(), reason });
        if self.token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return wrong("HF_TOKEN", "this is no token, which is one word in ASCII; copy it anew".into());
        }
        for (variable, address) in [("HF_ENDPOINT", &self.endpoint), ("SMIDGEN_REGISTRY", &self.registry)] {
            if joined(address, "/").is_none() {
                return wrong(variable, "this is no web address; write https://HOST[:PORT]".into());
            }
        }
        match &self.unread {
            Some(reason) => wrong("NETRC", format!("the file cannot be read ({reason}); name one of logins, or none")),
            None => Ok(()),
        }
    }

    /// Whether an address is the hub's.
    fn is_hub(&self, uri: &Uri) -> bool {
        let origin = |uri: &Uri| Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()));
        self.endpoint.parse().ok().is_some_and(|hub: Uri| origin(&hub).is_some() && origin(&hub) == origin(uri))
    }

    /// Whether the hub's token is not sent to an address of the hub, since the connection is not encrypted.
    pub(crate) fn withholds(&self, url: &str) -> bool {
        self.token.is_some() && url.parse().is_ok_and(|uri| self.is_hub(&uri)) && self.credentials(url).is_none()
    }

    /// The header `Authorization` for an address.
    pub(crate) fn credentials(&self, url: &str) -> Option<String> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?;
        let is_here = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        if uri.scheme_str() != Some("https") && !is_here {
            return None;
        }
        let is_hub = self.is_hub(&uri);
        if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
            return Some(format!("Bearer {token}"));
        }
        let named = self.passwords.iter().find(|login| login.host.as_deref() == Some(host));
        let login = named.or_else(|| self.passwords.iter().find(|login| login.host.is_none()).filter(|_| is_hub))?;
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", login.login, login.password))))
    }
}

/// The text of a file of passwords.
fn text_of(path: &std::path::Path) -> std::io::Result<String> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() || found.len() > MOST_NETRC {
        return Err(std::io::Error::other("it is no file, or a very long one"));
    }
    std::fs::read_to_string(path)
}

/// The logins of a file `.netrc`: words in pairs, and macros up to an empty line.
fn logins(text: &str) -> Vec<Login> {
    let mut found: Vec<Login> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "machine" => found.push(Login {
                    host: words.next().map(str::to_owned),
                    login: String::new(),
                    password: String::new(),
                }),
                "default" => found.push(Login { host: None, login: String::new(), password: String::new() }),
                "macdef" => {
                    lines.by_ref().find(|line| line.trim().is_empty());
                    break;
                }
                "login" | "password" | "account" => {
                    let value = words.next().unwrap_or_default().to_owned();
                    match (word, found.last_mut()) {
                        ("login", Some(last)) => last.login = value,
                        ("password", Some(last)) => last.password = value,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
    found.retain(|login| !login.password.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            endpoint: "https://hub.example".into(),
            registry: REGISTRY.into(),
            token: Some("hf_secret".into()),
            offline: false,
            connections: 4,
            pause: Duration::from_millis(500),
            passwords: Arc::new(logins(
                "machine files.example login me password pw\n# machine x login y password z\nmacdef init\nmachine no login no password no\n\nmachine a.example\n login b\n password c\n",
            )),
            unread: None,
        }
    }

    #[test]
    fn a_token_goes_to_the_hub_alone() {
        let access = access();
        assert_eq!(access.credentials("https://hub.example/x").as_deref(), Some("Bearer hf_secret"));
        for other in
            ["https://hub.example:444/x", "http://hub.example/x", "https://hub.example.org/x", "https://cdn.example/x"]
        {
            assert_eq!(access.credentials(other), None, "{other}");
        }
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn netrc() {
        let access = access();
        assert_eq!(access.credentials("https://files.example/x").as_deref(), Some("Basic bWU6cHc="));
        assert_eq!(access.credentials("https://a.example/x").as_deref(), Some("Basic Yjpj"));
        assert_eq!(access.credentials("http://files.example/x"), None);
        assert_eq!(access.credentials("https://no/x"), None);
        assert_eq!(access.credentials("https://x/x"), None);
    }
}
