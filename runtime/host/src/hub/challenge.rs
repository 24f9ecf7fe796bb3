//! The token that a registry asks for, and that whoever it says gives away (the token authentication of the distribution protocol).

use super::http::{Client, Request, is_secure, joined};
use super::name::percent_encoded;
use std::io::Read;

/// The most bytes of an answer that has a token.
const MOST: u64 = 1 << 16;

/// A challenge `Bearer realm="…",service="…",scope="…"`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    /// Reads a header `WWW-Authenticate` (RFC 9110, 11.6.1). None for another scheme.
    fn parse(header: &str) -> Option<Challenge> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge = Challenge::default();
        while let Some((name, value)) = rest.split_once('=') {
            let (value, after) = match value.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_once(',').unwrap_or((value, "")),
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value.to_owned(),
                "service" => challenge.service = Some(value.to_owned()),
                "scope" => challenge.scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start().trim_start_matches(',');
        }
        Some(challenge).filter(|challenge| !challenge.realm.is_empty())
    }
}

impl Client {
    /// The token for an address of a registry, by the challenge with which it refuses. It is asked for with the login for the place that gives
    /// it, if there is one. None if there is no such challenge, or no token.
    pub(super) fn token_for(&self, url: &str, challenge: &str) -> Option<String> {
        let Challenge { realm, service, scope } = Challenge::parse(challenge)?;
        let mut place = joined(url, &realm)?;
        if is_secure(url) && !is_secure(&place) {
            return None;
        }
        for (name, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                let mark = if place.contains('?') { '&' } else { '?' };
                place.push_str(&format!("{mark}{name}={}", percent_encoded(&value)));
            }
        }
        let response = self.send(&place, &Request { url: &place, ..Request::default() }).ok()?;
        let mut text = Vec::new();
        if response.status != 200 || response.reader().take(MOST).read_to_end(&mut text).is_err() {
            return None;
        }
        let answer: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let token = answer.get("token").or_else(|| answer.get("access_token"))?.as_str()?;
        let is_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| token.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let text = |value: &str| Some(value.to_owned());
        let full = r#"Bearer realm="https://auth/token",service="registry",scope="repository:a/b:pull,push",error="x""#;
        let challenge = Challenge {
            realm: "https://auth/token".into(),
            service: text("registry"),
            scope: text("repository:a/b:pull,push"),
        };
        assert_eq!(Challenge::parse(full), Some(challenge));
        let bare = Challenge { realm: "/token".into(), service: text("x"), scope: None };
        assert_eq!(Challenge::parse("bearer Realm=/token, service=x"), Some(bare));
        for other in ["Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x", ""] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }
}
