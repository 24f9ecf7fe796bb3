//! Who may ask: names of this host, origins of pages, and keys.

use super::Error;
use crate::http::Answer;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HOST,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Request, StatusCode, Version};
use std::net::IpAddr;
use subtle::{Choice, ConstantTimeEq};

/// What a request must have before anything else of it counts.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Names of this host beside those of the loopback and addresses.
    pub(crate) names: Vec<String>,
    /// Origins of pages that may ask and read.
    pub(crate) origins: Vec<String>,
    /// Keys, of which a request must have one, if there are some.
    pub(crate) keys: Vec<String>,
}

impl Guard {
    /// Refuses requests for other hosts: a page can have its own name lead to this address, and then read what comes.
    pub(crate) fn host<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let mut hosts = request.headers().get_all(HOST).into_iter();
        let host = hosts.next().map(|host| host.to_str().unwrap_or_default());
        if hosts.next().is_some() || (host.is_none() && request.version() != Version::HTTP_10) {
            return Err(Error::bad("the request must have one Host"));
        }
        let authority = request.uri().authority().map(|authority| authority.as_str());
        match [host, authority].into_iter().flatten().find(|host| !self.is_host(host)) {
            None => Ok(()),
            Some(_) => {
                let message =
                    "this server has another name than the request's Host; start it with --host-name for that name";
                Err(Error::new(StatusCode::MISDIRECTED_REQUEST, message))
            }
        }
    }

    fn is_host(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // A name that is an address leads nowhere else.
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }

    /// The origin of a page that may read the answer though it is from elsewhere.
    pub(crate) fn cors(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.is_known(origin)).cloned()
    }

    fn is_known(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
    }

    /// Refuses what a page from elsewhere sends: it could not read the answer, but set off the work.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let own = |origin: &str| {
            let (_, authority) = origin.split_once("://")?;
            Some(headers.get(HOST)?.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
        };
        if self.is_known(origin) || origin.to_str().ok().and_then(own) == Some(true) {
            return Ok(());
        }
        let message = "pages of this Origin may not use the server; start it with --cors for that origin";
        Err(Error::new(StatusCode::FORBIDDEN, message))
    }

    /// Lets the page of an origin read an answer.
    pub(crate) fn allow(&self, answer: &mut Answer, origin: HeaderValue) {
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }

    /// Refuses requests without a key, in a time that does not tell how much of a key is right.
    pub(crate) fn key(&self, headers: &HeaderMap) -> Result<(), Error> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let given = match given.split_at_checked(7) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"Bearer ") => key,
            _ => &[],
        };
        let right = self.keys.iter().fold(Choice::from(0), |right, key| right | key.as_bytes().ct_eq(given));
        if right.into() {
            return Ok(());
        }
        let message = "the key is missing or wrong; send 'Authorization: Bearer KEY'";
        Err(Error::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            names: vec!["pi.local".into()],
            origins: vec!["https://page.example".into()],
            keys: vec!["one".into(), "another".into()],
        }
    }

    #[test]
    fn only_own_hosts() {
        for (host, status) in [
            (Some("127.0.0.1"), None),
            (Some("127.0.0.1:8080"), None),
            (Some("[::1]:8080"), None),
            (Some("LocalHost."), None),
            (Some("a.localhost:1"), None),
            (Some("192.168.1.2"), None),
            (Some("PI.local:80"), None),
            (Some("evil.example"), Some(421)),
            (Some("localhost.evil.example"), Some(421)),
            (Some("127.0.0.1.evil.example"), Some(421)),
            (Some("notlocalhost"), Some(421)),
            (Some(""), Some(421)),
            (None, Some(400)),
        ] {
            let mut request = Request::builder().uri("/v1/models");
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let found = guard().host(&request.body(()).unwrap()).err().map(|error| error.status.as_u16());
            assert_eq!(found, status, "{host:?}");
        }
        let request =
            Request::builder().uri("http://evil.example/v1/models").header(HOST, "localhost").body(()).unwrap();
        assert_eq!(guard().host(&request).unwrap_err().status, 421);
        let request = Request::builder().header(HOST, "localhost").header(HOST, "localhost").body(()).unwrap();
        assert_eq!(guard().host(&request).unwrap_err().status, 400);
        let request = Request::builder().version(Version::HTTP_10).body(()).unwrap();
        assert!(guard().host(&request).is_ok());
    }

    #[test]
    fn only_own_origins_and_known_ones() {
        for (origin, fits, reads) in [
            (None, true, false),
            (Some("http://localhost:8080"), true, false),
            (Some("https://page.example"), true, true),
            (Some("http://page.example"), false, false),
            (Some("https://page.example.evil.example"), false, false),
            (Some("http://localhost"), false, false),
            (Some("http://localhost:8081"), false, false),
            (Some("null"), false, false),
            (Some(""), false, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:8080"));
            origin.map(|origin| headers.insert(ORIGIN, HeaderValue::from_static(origin)));
            let found = guard().origin(&headers).err().map(|error| error.status.as_u16());
            assert_eq!(found, (!fits).then_some(403), "{origin:?}");
            assert_eq!(guard().cors(&headers).is_some(), reads, "{origin:?}");
        }
    }

    #[test]
    fn only_with_a_key() {
        let with = |guard: &Guard, value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            value.map(|value| headers.insert(AUTHORIZATION, HeaderValue::from_static(value)));
            guard.key(&headers).map_err(|error| error.status.as_u16())
        };
        for right in ["Bearer one", "bearer another"] {
            assert_eq!(with(&guard(), Some(right)), Ok(()), "{right}");
        }
        for wrong in ["Bearer on", "Bearer onee", "Bearer ", "Bearer", "Basic one", "one", "Bearer  one", ""] {
            assert_eq!(with(&guard(), Some(wrong)), Err(401), "{wrong:?}");
        }
        assert_eq!(with(&guard(), None), Err(401));
        assert_eq!(with(&Guard::default(), None), Ok(()));
    }
}
