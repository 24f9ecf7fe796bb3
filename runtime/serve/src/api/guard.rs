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
                let message = "this server has another name than the request's Host; start it with --host-name for that name";
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
