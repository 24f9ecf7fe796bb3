//! What goes wrong between a name and a file.

use super::Bytes;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The errors of names, downloads and the shelf. Each prints as one line that says what to do. None holds a token, nor what follows the
/// question mark of an address, which may be one.
#[derive(Debug)]
#[non_exhaustive]
pub enum HubError {
    /// The name cannot be read as one of a model.
    Name {
        /// The name.
        name: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// The network is needed and may not be used.
    Offline {
        /// The address.
        url: String,
    },
    /// This build has no encrypted connections.
    NoTls {
        /// The address.
        url: String,
    },
    /// A variable of the environment does not hold what it is to hold.
    Variable {
        /// The variable.
        variable: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// The proxy opens no connection.
    ProxyRefuses {
        /// The address.
        url: String,
        /// What the proxy says.
        words: String,
    },
    /// The server is not reached.
    NoNetwork {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke, or what came over it is no HTTP.
    Line {
        /// The address.
        url: String,
        /// The fault.
        reason: String,
    },
    /// The connection cannot be encrypted.
    Tls {
        /// The address.
        url: String,
        /// The fault, and what to do.
        reason: String,
    },
    /// A redirect that is not followed.
    Redirect {
        /// The address.
        url: String,
        /// Where it leads.
        to: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The server answers with an error.
    Refused(Refusal),
    /// The server compresses what was asked for as it is.
    Encoding {
        /// The address.
        url: String,
        /// The coding.
        coding: String,
    },
    /// An answer is longer than is accepted.
    TooLong {
        /// The address.
        url: String,
        /// The most bytes.
        most: u64,
    },
    /// An answer is not what the interface says.
    Answer {
        /// The address.
        url: String,
        /// The fault.
        reason: String,
    },
    /// A file on the server is not as long as was said.
    Length {
        /// The file.
        file: String,
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The file on the server changes while it is downloaded.
    Changed {
        /// The file.
        file: String,
    },
    /// The downloaded bytes are not those that were published.
    Digest {
        /// The file.
        file: String,
        /// The SHA-256 found, in hexadecimal.
        found: String,
        /// The SHA-256 expected.
        expected: String,
    },
    /// The repository has nothing that can be run.
    NoModel {
        /// The repository.
        repository: String,
        /// What it has, and what to do.
        reason: String,
    },
    /// No file, or more than one, is of the format.
    Quant {
        /// The repository.
        repository: String,
        /// The format that was asked for.
        quant: String,
        /// The files of it; none if there is none.
        matching: Vec<String>,
        /// The formats that there are.
        there: Vec<String>,
    },
    /// The disk has no room.
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Whether a plain copy would need half.
        packing: bool,
    },
    /// Neither a file nor a repository.
    Neither {
        /// What was written.
        name: String,
        /// What the hub said.
        error: Box<HubError>,
    },
    /// A friendly name leads nowhere any more.
    Moved {
        /// The friendly name.
        name: &'static str,
        /// What it means.
        means: &'static str,
        /// Since when.
        dated: &'static str,
        /// What the hub said.
        error: Box<HubError>,
    },
    /// A model on the shelf, or the record of one.
    Shelf {
        /// The name or the file.
        subject: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// What a registry has a model used with cannot be honoured.
    Defaults {
        /// The fault.
        reason: String,
    },
}

/// A server's answer of 400 and more.
#[derive(Debug)]
pub struct Refusal {
    /// The address.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The hub's word for it (`X-Error-Code`).
    pub code: Option<String>,
    /// What the server says.
    pub words: Option<String>,
    /// How long to wait.
    pub pause: Option<Duration>,
    /// Whether a token or a password was sent.
    pub with_token: bool,
    /// Whether a token was not sent because the connection is not encrypted.
    pub withheld: bool,
}

/// An address without what follows its question mark, and without a password.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or_default();
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => url.to_owned(),
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    const MOST: usize = 24;
    for (index, name) in names.iter().take(MOST).enumerate() {
        write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
    }
    if names.len() > MOST { write!(f, " and {} more", names.len() - MOST) } else { Ok(()) }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubError::Name { name, reason } => write!(f, "{name}: {reason}"),
            HubError::Offline { url } => {
                write!(
                    f,
                    "{url}: not asked, since the network is switched off (--offline, SMIDGEN_OFFLINE, HF_HUB_OFFLINE)"
                )
            }
            HubError::NoTls { url } => {
                write!(
                    f,
                    "{url}: this build has no TLS; use one with the feature tls, or download the file and give its path"
                )
            }
            HubError::Variable { variable, reason } => write!(f, "{variable}: {reason}"),
            HubError::ProxyRefuses { url, words } => {
                write!(
                    f,
                    "{url}: the proxy refuses the connection ({words}); check http_proxy, https_proxy or all_proxy, and the password in it"
                )
            }
            HubError::NoNetwork { url, reason } => {
                write!(f, "{url}: {reason}; check the network, the address and the proxy")
            }
            HubError::Line { url, reason } => {
                write!(f, "{url}: the connection broke ({reason}); try again, which goes on from here")
            }
            HubError::Tls { url, reason } => write!(f, "{url}: no encrypted connection: {reason}"),
            HubError::Redirect { url, to, reason } => {
                write!(f, "{url}: not followed to {to}, {reason}; check the address")
            }
            HubError::Refused(refusal) => refusal.fmt(f),
            HubError::Encoding { url, coding } => write!(
                f,
                "{url}: the server sends {coding} where the file as it is was asked for; something between changes it, so try another network or proxy"
            ),
            HubError::TooLong { url, most } => {
                write!(f, "{url}: the answer is longer than {most} bytes, so it is none of a hub; check the address")
            }
            HubError::Answer { url, reason } => write!(f, "{url}: {reason}; check the address"),
            HubError::Length { file, found, expected } => {
                write!(f, "{file}: the server has {found} bytes of it, but {expected} were announced; try again later")
            }
            HubError::Changed { file } => {
                write!(f, "{file}: the file changes on the server while it is downloaded; try again")
            }
            HubError::Digest { file, found, expected } => write!(
                f,
                "{file}: the download is damaged (SHA-256 {found}, but {expected} was published) and is thrown away; pull it again"
            ),
            HubError::NoModel { repository, reason } => write!(f, "{repository}: {reason}"),
            HubError::Quant { repository, quant, matching, there } if matching.is_empty() => {
                write!(f, "{repository}: nothing in {quant}; there is ")?;
                list(f, there)
            }
            HubError::Quant { repository, quant, matching, .. } => {
                write!(f, "{repository}: several files in {quant}; name one of them, as {repository}/FILE: ")?;
                list(f, matching)
            }
            HubError::NoRoom { path, needed, free, packing } => {
                write!(f, "{}: {} are free, but {} are needed; ", path.display(), Bytes(*free), Bytes(*needed))?;
                if *packing {
                    f.write_str("--plain needs half, ")?;
                }
                f.write_str("smidgen prune makes room, or set SMIDGEN_CACHE to a directory on another disk")
            }
            HubError::Neither { name, error } => {
                write!(f, "{name}: no such file here, nor a repository of the hub: {error}")
            }
            HubError::Moved { name, means, dated, error } => write!(
                f,
                "{name} meant {means} on {dated}, and that is not there ({error}); name another, as hf:USER/REPO:QUANT"
            ),
            HubError::Shelf { subject, reason } => write!(f, "{subject}: {reason}"),
            HubError::Defaults { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { url, status, code, words, pause, with_token, withheld } = self;
        write!(f, "{url}: ")?;
        match (status, code.as_deref()) {
            (401 | 403, _) if *withheld => f.write_str(
                "HF_TOKEN was not sent, since the connection is not encrypted; give the hub's address with https://",
            ),
            (403, Some("GatedRepo")) | (401, Some("GatedRepo")) => {
                let token = if *with_token {
                    "with the account of HF_TOKEN"
                } else {
                    "and set HF_TOKEN to a token of your account"
                };
                write!(f, "the model is gated; accept its conditions on its page {token}")
            }
            (401 | 403, _) => match with_token {
                true => write!(f, "the server refuses the token ({status}); check the name, and HF_TOKEN or ~/.netrc"),
                false => write!(
                    f,
                    "there is none of this name, or it is private ({status}); check the name, or set HF_TOKEN (or ~/.netrc)"
                ),
            },
            (404 | 410, code) => match code {
                Some("RevisionNotFound") => f.write_str("there is no such branch, tag or commit; check the revision"),
                Some("EntryNotFound") => f.write_str("there is no such file in the repository; check its name"),
                _ => f.write_str("there is nothing of this name; check the name"),
            },
            (429, _) => {
                f.write_str("too many requests")?;
                match pause {
                    Some(pause) => write!(f, "; try again in {} s", pause.as_secs()),
                    None => f.write_str("; try again later, or set HF_TOKEN"),
                }
            }
            (500.., _) => write!(f, "the server fails ({status}); try again later"),
            _ => write!(f, "the server refuses ({status}); check the address"),
        }?;
        words.as_ref().map_or(Ok(()), |words| write!(f, " (it says: {words})"))
    }
}

impl std::error::Error for HubError {}

impl From<HubError> for crate::Error {
    fn from(error: HubError) -> crate::Error {
        crate::Error::Hub(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (url, text) in [
            ("https://cdn/x?Signature=abc#d", "https://cdn/x"),
            ("https://user:secret@host:1/x", "https://host:1/x"),
            ("https://host", "https://host"),
            ("words", "words"),
        ] {
            assert_eq!(shown(url), text);
        }
    }
}
