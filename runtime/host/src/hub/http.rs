//! Requests to hubs: redirects, credentials, proxies, retries.

use super::error::{Refusal, shown};
use super::{Access, HubError};
use crate::one_line;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use ureq::http::{HeaderMap, Uri};
use ureq::{Agent, Proxy};

/// The most redirects of a request.
const MOST_REDIRECTS: usize = 10;
/// How often a request is tried.
pub(crate) const ATTEMPTS: u32 = 6;
/// How often a server is tried that is not reached.
const UNREACHED: u32 = 2;
/// The longest pause that a server may ask for.
const MOST_PAUSE: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(20);
/// How many connections are kept for further requests.
const IDLE: usize = 8;
/// The longest wait for the next bytes.
const SILENCE: Duration = Duration::from_secs(60);

/// What is asked of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request<'r> {
    pub(crate) url: &'r str,
    /// The first byte and the last.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) if_range: Option<&'r str>,
    pub(crate) accept: Option<&'r str>,
}

/// A server's answer.
pub(crate) struct Response {
    /// The address that answered, after redirects.
    pub(crate) url: String,
    pub(crate) status: u16,
    headers: HeaderMap,
    body: ureq::Body,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body's bytes, as they come.
    pub(crate) fn reader(self) -> impl Read {
        self.body.into_reader()
    }

    /// A strong validator of the body, for `If-Range`.
    pub(crate) fn validator(&self) -> Option<String> {
        let strong = self.header("etag").filter(|tag| tag.starts_with('"') && tag.len() <= 256);
        strong.or_else(|| self.header("last-modified").filter(|_| self.header("etag").is_none())).map(str::to_owned)
    }

    /// The length of the body, if the server states it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Refuses what is not the bytes that were asked for.
    pub(crate) fn check_encoding(&self) -> Result<(), HubError> {
        match self.header("content-encoding") {
            None | Some("identity" | "") => Ok(()),
            Some(coding) => Err(HubError::Encoding { url: shown(&self.url), coding: one_line(coding) }),
        }
    }
}

/// A client of hubs. Connections are kept and shared by threads.
pub(crate) struct Client {
    pub(crate) access: Access,
    plain: Agent,
    secure: Agent,
    /// The token that a registry asked for, and its origin.
    registry_token: Mutex<Option<(String, String)>>,
}

impl Client {
    pub(crate) fn new(access: &Access) -> Result<Client, HubError> {
        access.check()?;
        let (plain, secure) = (agent("http")?, agent("https")?);
        Ok(Client { access: access.clone(), plain, secure, registry_token: Mutex::default() })
    }

    /// The server's answer to a request, after redirects; tried again when the server or the line is at fault. Answers of 400 and more are
    /// errors.
    pub(crate) fn get(&self, request: &Request) -> Result<Response, HubError> {
        let mut failures = 0;
        loop {
            let error = match self.once(request) {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            failures += 1;
            // Where nothing was reached yet, a user waits for the word.
            let most = if matches!(error, HubError::NoNetwork { .. }) { UNREACHED } else { ATTEMPTS };
            let Some(pause) = error.pause(failures, self.access.pause).filter(|_| failures < most) else {
                return Err(error);
            };
            std::thread::sleep(pause);
        }
    }

    /// The body of a small answer, at most `most` bytes.
    pub(crate) fn small(&self, request: &Request, most: u64) -> Result<(Vec<u8>, Response), HubError> {
        let mut failures = 0;
        loop {
            let mut response = self.get(request)?;
            response.check_encoding()?;
            let mut bytes = Vec::new();
            let read = response.body.as_reader().take(most + 1).read_to_end(&mut bytes);
            let url = || shown(request.url);
            match read {
                Ok(_) if bytes.len() as u64 > most => return Err(HubError::TooLong { url: url(), most }),
                Ok(_) => return Ok((bytes, response)),
                Err(error) => {
                    failures += 1;
                    let error = HubError::Line { url: url(), reason: one_line(&error.to_string()) };
                    let Some(pause) = error.pause(failures, self.access.pause).filter(|_| failures < ATTEMPTS) else {
                        return Err(error);
                    };
                    std::thread::sleep(pause);
                }
            }
        }
    }

    /// One attempt.
    pub(crate) fn once(&self, request: &Request) -> Result<Response, HubError> {
        let mut url = request.url.to_owned();
        let mut is_challenged = false;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(&url, request)?;
            if response.status == 401 && !is_challenged && is_registry(&url) {
                is_challenged = true;
                let challenge = response.header("www-authenticate").unwrap_or_default();
                if let Some(token) = self.token_for(&url, challenge) {
                    *self.registry_token() = joined(&url, "/").map(|origin| (origin, token));
                    continue;
                }
            }
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return if response.status < 400 { Ok(response) } else { Err(self.refused(response)) };
            }
            let to = response.header("location").unwrap_or_default();
            let next = joined(&url, to).filter(|_| !to.is_empty()).ok_or_else(|| HubError::Redirect {
                url: shown(&url),
                to: if to.is_empty() { "an empty address".into() } else { shown(&one_line(to)) },
                reason: "which is no web address",
            })?;
            if is_secure(&url) && !is_secure(&next) {
                let reason = "which is not encrypted";
                return Err(HubError::Redirect { url: shown(&url), to: shown(&next), reason });
            }
            url = next;
        }
        Err(HubError::Redirect { url: shown(request.url), to: shown(&url), reason: "after ten others" })
    }

    fn registry_token(&self) -> MutexGuard<'_, Option<(String, String)>> {
        self.registry_token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header `Authorization` for an address.
    fn authorization(&self, url: &str) -> Option<String> {
        let origin = joined(url, "/").filter(|_| is_registry(url));
        match &*self.registry_token() {
            Some((own, token)) if Some(own) == origin.as_ref() => Some(format!("Bearer {token}")),
            _ => self.access.credentials(url),
        }
    }

    /// One request, without redirects.
    pub(super) fn send(&self, url: &str, request: &Request) -> Result<Response, HubError> {
        if self.access.offline {
            return Err(HubError::Offline { url: shown(url) });
        }
        if !url.parse().is_ok_and(|uri| is_web(&uri)) {
            return Err(HubError::Name {
                name: shown(url),
                reason: "this is no web address; write https://HOST/PATH".into(),
            });
        }
        let is_secure = is_secure(url);
        if is_secure && cfg!(not(any(feature = "tls", feature = "tls-rustcrypto"))) {
            return Err(HubError::NoTls { url: shown(url) });
        }
        let agent = if is_secure { &self.secure } else { &self.plain };
        let mut get = agent.get(url).header("accept-encoding", "identity");
        if let Some(accept) = request.accept {
            get = get.header("accept", accept);
        }
        if let Some((first, last)) = request.range {
            get = get.header("range", format!("bytes={first}-{last}"));
            if let Some(validator) = request.if_range {
                get = get.header("if-range", validator);
            }
        }
        if let Some(credentials) = self.authorization(url) {
            get = get.header("authorization", credentials);
        }
        let response = get.call().map_err(|error| failed(url, &error))?;
        let (parts, body) = response.into_parts();
        Ok(Response { url: url.to_owned(), status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// The error of an answer of 400 and more.
    fn refused(&self, mut response: Response) -> HubError {
        let url = shown(&response.url);
        let pause = response.header("retry-after").and_then(retry_after);
        let code = response.header("x-error-code").map(str::to_owned);
        let mut text = Vec::new();
        // Only for the message, so what cannot be read is no loss.
        let _ = response.body.as_reader().take(1 << 12).read_to_end(&mut text);
        let words = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|body| {
            let first = body.get("errors").and_then(|errors| errors.get(0)).and_then(|error| error.get("message"));
            Some(one_line(body.get("error").or(first)?.as_str()?))
        });
        let with_token = self.authorization(&response.url).is_some();
        let withheld = self.access.withholds(&response.url);
        HubError::Refused(Refusal { url, status: response.status, code, words, pause, with_token, withheld })
    }
}

impl HubError {
    /// How long to wait after so many failures before it is tried again, with the pause after the first; none if that is no use.
    pub(crate) fn pause(&self, failures: u32, first: Duration) -> Option<Duration> {
        let usual = first * 2u32.pow(failures.clamp(1, 8) - 1);
        match self {
            HubError::Line { .. } | HubError::NoNetwork { .. } => Some(usual),
            HubError::Refused(Refusal { status: 408 | 425 | 429 | 500 | 502 | 503 | 504, pause, .. }) => match pause {
                Some(pause) if *pause > MOST_PAUSE => None,
                Some(pause) => Some((*pause).max(usual)),
                None => Some(usual),
            },
            _ => None,
        }
    }
}

/// The client of addresses of a scheme.
fn agent(scheme: &str) -> Result<Agent, HubError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy(scheme)?)
        .user_agent(concat!("smidgen/", env!("CARGO_PKG_VERSION")))
        .max_idle_connections(IDLE)
        .max_idle_connections_per_host(IDLE)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    #[cfg(any(feature = "tls", feature = "tls-rustcrypto"))]
    let config = config.tls_config(super::tls::config()?);
    Ok(config.build().new_agent())
}

/// The proxy that the environment names for addresses of a scheme.
fn proxy(scheme: &str) -> Result<Option<Proxy>, HubError> {
    let named = |name: &str| {
        let found = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value))
        };
        found(&name.to_lowercase()).or_else(|| found(&name.to_uppercase()))
    };
    let Some((name, value)) = named(&format!("{scheme}_proxy")).or_else(|| named("all_proxy")) else { return Ok(None) };
    let wrong = || {
        let reason = "this is no address of a proxy; write http://HOST:PORT or socks5://HOST:PORT".into();
        HubError::Variable { variable: name.clone(), reason }
    };
    let proxy = Proxy::new(&value).map_err(|_| wrong())?;
    if proxy.host().is_empty() {
        return Err(wrong());
    }
    let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    for host in named("no_proxy").map(|(_, value)| value).unwrap_or_default().split(',') {
        builder = builder.no_proxy(host.trim());
    }
    builder.build().map(Some).map_err(|_| wrong())
}

fn failed(url: &str, error: &ureq::Error) -> HubError {
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
    let url = shown(url);
    match error {
        ureq::Error::HostNotFound => HubError::NoNetwork { url, reason: "the host's address is not found".into() },
        ureq::Error::ConnectionFailed => HubError::NoNetwork { url, reason: "no connection".into() },
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            HubError::NoNetwork { url, reason: "no answer".into() }
        }
        ureq::Error::Io(error) if error.kind() == ConnectionRefused => {
            HubError::NoNetwork { url, reason: "the connection is refused".into() }
        }
        // The standard library has no kind of its own for a name that is not found.
        ureq::Error::Io(error)
            if matches!(error.kind(), HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable)
                || error.to_string().starts_with("failed to lookup") =>
        {
            HubError::NoNetwork { url, reason: one_line(&error.to_string()) }
        }
        // Not what is sent by a server of the web.
        ureq::Error::LargeResponseHeader(..) | ureq::Error::Protocol(_) => {
            HubError::Answer { url, reason: one_line(&format!("this is no answer of the web ({error})")) }
        }
        ureq::Error::ConnectProxyFailed(words)
            if [" 502", " 503", " 504", "did not respond"].iter().any(|word| words.contains(word)) =>
        {
            HubError::Line { url, reason: one_line(&format!("the proxy: {words}")) }
        }
        ureq::Error::ConnectProxyFailed(words) => {
            let words = words.split('/').next().unwrap_or_default();
            HubError::ProxyRefuses { url, words: one_line(words) }
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            HubError::Name { name: url, reason: "this is no web address; write https://HOST/PATH".into() }
        }
        #[cfg(any(feature = "tls", feature = "tls-rustcrypto"))]
        ureq::Error::Rustls(error) => HubError::Tls { url, reason: super::tls::reason(error) },
        #[cfg(any(feature = "tls", feature = "tls-rustcrypto"))]
        ureq::Error::Io(error) if super::tls::of_io(error).is_some() => {
            HubError::Tls { url, reason: super::tls::of_io(error).unwrap_or_default() }
        }
        error => HubError::Line { url, reason: one_line(&error.to_string()) },
    }
}

/// The pause that a server asks for: seconds, or a date of RFC 9110.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text.trim()).ok()?;
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The address that `to` means on the page `base` (RFC 3986, but `.` and `..` are left as they are). None unless it is of the web.
pub(crate) fn joined(base: &str, to: &str) -> Option<String> {
    let to = to.split('#').next().unwrap_or_default();
    let base: Uri = base.parse().ok()?;
    let (scheme, host) = (base.scheme_str()?, base.authority()?.as_str());
    let joined = if to.contains("://") || to.split('/').next().is_some_and(|first| first.contains(':')) {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{host}{to}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{to}")
    };
    let uri: Uri = joined.parse().ok()?;
    is_web(&uri).then_some(joined)
}

/// Whether connections to this address are encrypted.
pub(crate) fn is_secure(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Whether an address is of the registry protocol.
fn is_registry(url: &str) -> bool {
    url.parse().is_ok_and(|uri: Uri| uri.path().starts_with("/v2/"))
}

/// Whether this is an address of the web, with a host, and with a port that there can be if there is one.
fn is_web(uri: &Uri) -> bool {
    let is_host = |host: &str| {
        let port = uri.authority().and_then(|all| all.as_str().rsplit_once(host)).map_or("", |(_, port)| port);
        !host.is_empty() && (port.is_empty() || uri.port_u16().is_some_and(|port| port > 0))
    };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined() {
        let base = "https://host:1/a/b?x=1";
        for (to, joined_to) in [
            ("https://cdn/x?y#z", Some("https://cdn/x?y")),
            ("//cdn/x", Some("https://cdn/x")),
            ("/x", Some("https://host:1/x")),
            ("c", Some("https://host:1/a/c")),
            ("http://cdn/x", Some("http://cdn/x")),
            ("file:///etc/passwd", None),
            ("javascript:x", None),
            ("http:///x", None),
            ("http://a b/", None),
            ("http://a:65536/", None),
            ("http://a:0/", None),
            ("http://[::1]:1/", Some("http://[::1]:1/")),
            ("http://[::1]/", Some("http://[::1]/")),
        ] {
            assert_eq!(joined(base, to).as_deref(), joined_to, "{to}");
        }
    }

    #[test]
    fn pauses_that_servers_ask_for() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(retry_after(&later).is_some_and(|pause| (58..=60).contains(&pause.as_secs())));
        assert_eq!(retry_after("soon"), None);
    }
}
