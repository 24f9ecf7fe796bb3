//! Names of models, as people write them.

use super::HubError;
use super::error::shown;
use super::friendly;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// The hub without `HF_ENDPOINT`.
pub(crate) const HUB: &str = "https://huggingface.co";
/// Names under which the hub is written without a scheme.
const HUB_HOSTS: [&str; 3] = ["hf.co", "huggingface.co", "www.huggingface.co"];
/// The most bytes of a name.
const MOST_NAME: usize = 1024;

/// What a name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// A repository of a hub, or a file in it.
    Repository(Repository),
    /// A model of a registry.
    Registry(Registry),
    /// A file at a web address.
    Address(String),
}

/// A repository of a hub that speaks Hugging Face's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `USER/REPO`.
    pub id: String,
    /// The branch, tag or commit; the hub's main branch without one.
    pub revision: Option<String>,
    /// What of it is asked for.
    pub wanted: Wanted,
}

/// What of a repository is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The usual format.
    Usual,
    /// A format, as it stands in the names of files (`Q4_K_M`), in any case.
    Quant(String),
    /// A file, by its path in the repository.
    File(String),
}

/// A model of a registry that speaks Ollama's form of the registry protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The registry's host and port, if it is not the usual one.
    pub host: Option<String>,
    /// The namespace; `library` is the usual one.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// The tag; `latest` is the usual one.
    pub tag: String,
}

impl Name {
    /// Reads a name: `hf:USER/REPO[:QUANT]`, `hf.co/…`, the web address of a repository of the hub at `endpoint` or of a file in it,
    /// `ollama:NAME[:TAG]`, `https://…/file.gguf`, a friendly name, or `USER/REPO[:QUANT]`. None for what can only be a path.
    ///
    /// # Errors
    /// [`HubError::Name`].
    pub fn parse(text: &str, endpoint: &str) -> Result<Option<Name>, HubError> {
        let wrong =
            |reason: &str| Err(HubError::Name { name: shown(text).escape_debug().to_string(), reason: reason.into() });
        if text.len() > MOST_NAME || text.chars().any(char::is_control) {
            return wrong("a name of a model has at most 1024 bytes and no control characters");
        }
        if let Some(rest) = strip_prefix(text, "hf:") {
            return repository(text, rest.trim_start_matches('/'), false).map(Some);
        }
        if let Some(rest) = strip_prefix(text, "ollama:") {
            let rest = rest.trim_start_matches('/');
            return match hub_path(rest, endpoint) {
                Some(path) => repository(text, path, true).map(Some),
                None => registry(text, rest).map(Some),
            };
        }
        if let Some(path) = hub_path(text, endpoint) {
            return repository(text, path, true).map(Some);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                return wrong("give an address that begins with https://");
            }
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            let (host, path) = path.split_once('/').unwrap_or((path, ""));
            if host.contains('@') {
                return wrong("a password in an address shows in logs; put it into ~/.netrc");
            }
            if host.is_empty() || !path.to_ascii_lowercase().ends_with(".gguf") {
                return wrong("give the address of a .gguf file, or of a repository of the hub");
            }
            return Ok(Some(Name::Address(text.split('#').next().unwrap_or_default().to_owned())));
        }
        if let Some(name) = friendly::find(text) {
            return Name::parse(name, endpoint);
        }
        // A path with an ending, or one that says that it is a path, is nothing else.
        let is_path = text.starts_with(['.', '/', '~', '\\']) || text.contains('\\') || text.ends_with(".gguf");
        if !is_path && text.split('/').count() == 2 {
            return repository(text, text, false).map(Some);
        }
        Ok(None)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Repository(Repository { id, revision, wanted }) => {
                write!(f, "hf:{id}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                match wanted {
                    Wanted::Usual => Ok(()),
                    Wanted::Quant(quant) => write!(f, ":{quant}"),
                    Wanted::File(file) => write!(f, "/{file}"),
                }
            }
            Name::Registry(Registry { host, namespace, model, tag }) => {
                f.write_str("ollama:")?;
                if let Some(host) = host {
                    write!(f, "{host}/")?;
                }
                if host.is_some() || namespace != "library" {
                    write!(f, "{namespace}/")?;
                }
                write!(f, "{model}:{tag}")
            }
            // What follows the question mark is no part of the name, and may be a secret.
            Name::Address(address) => f.write_str(&shown(address)),
        }
    }
}

fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The path of an address of the hub, with or without the scheme.
fn hub_path<'t>(text: &'t str, endpoint: &str) -> Option<&'t str> {
    let endpoint = endpoint.trim_end_matches('/');
    if let Some(path) = strip_prefix(text, endpoint).and_then(|rest| rest.strip_prefix('/')) {
        return Some(path);
    }
    let bare = strip_prefix(text, "https://").or_else(|| strip_prefix(text, "http://")).unwrap_or(text);
    HUB_HOSTS.iter().find_map(|host| strip_prefix(bare, host)?.strip_prefix('/'))
}

/// Reads `USER/REPO[@REVISION][:QUANT]`, `USER/REPO[@REVISION]/FILE`, and of an address `USER/REPO/(resolve|blob|raw|tree)/REVISION/…`.
fn repository(name: &str, path: &str, is_address: bool) -> Result<Name, HubError> {
    let wrong = |reason: &str| HubError::Name { name: shown(name), reason: reason.to_owned() };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let (user, rest) = path.split_once('/').ok_or_else(|| wrong("write a repository as hf:USER/REPO[:QUANT]"))?;
    let (first, rest) = match rest.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (rest, None),
    };
    let (first, quant) = match first.split_once(':') {
        Some((first, quant)) => (first, Some(quant)),
        None => (first, None),
    };
    let (repo, mut revision) = match first.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision.to_owned())),
        None => (first, None),
    };
    if !is_word(user) || !is_word(repo) {
        return Err(wrong("the user and the repository are letters, digits, '-', '_' and '.': hf:USER/REPO[:QUANT]"));
    }
    let mut file = None;
    match (rest, quant) {
        (Some(_), Some(_)) => return Err(wrong("give a QUANT or a file, not both")),
        (Some(rest), None) if is_address => {
            let mut parts = rest.splitn(3, '/');
            match (parts.next(), parts.next(), parts.next()) {
                (Some("resolve" | "blob" | "raw"), Some(at), Some(path)) => {
                    (revision, file) = (Some(percent_decoded(at)), Some(percent_decoded(path)));
                }
                (Some("tree"), Some(at), None) => revision = Some(percent_decoded(at)),
                _ => file = Some(percent_decoded(rest)),
            }
        }
        (Some(rest), None) => file = Some(rest.to_owned()),
        (None, _) => {}
    }
    if let Some(revision) = &mut revision {
        if revision == "main" {
            return repository_of(wrong, user, repo, None, quant, file);
        }
        if !is_safe_path(revision) {
            return Err(wrong("this is no branch, tag or commit; write hf:USER/REPO@REVISION"));
        }
    }
    repository_of(wrong, user, repo, revision, quant, file)
}

fn repository_of(
    wrong: impl Fn(&str) -> HubError,
    user: &str,
    repo: &str,
    revision: Option<String>,
    quant: Option<&str>,
    file: Option<String>,
) -> Result<Name, HubError> {
    let wanted = match (quant, file) {
        (_, Some(file)) if !is_safe_path(&file) || !file.to_ascii_lowercase().ends_with(".gguf") => {
            return Err(wrong("give the path of a .gguf file in the repository, without '..'"));
        }
        (_, Some(file)) => Wanted::File(file),
        (Some(quant), None) if quant.eq_ignore_ascii_case("latest") => Wanted::Usual,
        (Some(quant), None) if is_word(quant) => Wanted::Quant(quant.to_owned()),
        (Some(_), None) => return Err(wrong("a QUANT is written like Q4_K_M")),
        (None, None) => Wanted::Usual,
    };
    Ok(Name::Repository(Repository { id: format!("{user}/{repo}"), revision, wanted }))
}

/// Reads `[HOST/][NAMESPACE/]MODEL[:TAG]`.
fn registry(name: &str, text: &str) -> Result<Name, HubError> {
    let wrong = || HubError::Name {
        name: name.to_owned(),
        reason: "write a model of the registry as ollama:NAME[:TAG] or ollama:USER/NAME[:TAG]".into(),
    };
    let parts: Vec<&str> = text.split('/').collect();
    let (host, namespace, last) = match parts[..] {
        [last] => (None, "library", last),
        [namespace, last] => (None, namespace, last),
        [host, namespace, last] => (Some(host), namespace, last),
        _ => return Err(wrong()),
    };
    let (model, tag) = last.split_once(':').unwrap_or((last, "latest"));
    let is_host =
        |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if ![namespace, model, tag].iter().all(|part| is_word(part)) || !host.is_none_or(is_host) {
        return Err(wrong());
    }
    let host = host.filter(|host| *host != "registry.ollama.ai" && *host != "ollama.com").map(str::to_owned);
    Ok(Name::Registry(Registry { host, namespace: namespace.into(), model: model.into(), tag: tag.into() }))
}

/// Whether a text is what hubs allow in names of users, repositories, models and tags.
fn is_word(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(is_letter) && !text.starts_with('.') && !text.contains("..")
}

/// Whether a path of a repository stays inside of the folder into which it is put.
pub(crate) fn is_safe_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= MOST_NAME
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
        && path.split('/').all(is_plain)
}

/// `text` with `%41` as `A`. What is no UTF-8 then stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), |text| text.into_owned())
}

/// A path of a repository as it stands in an address.
pub(crate) fn percent_encoded(path: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    utf8_percent_encode(path, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Name::parse(text, "http://127.0.0.1:8080") {
            Ok(Some(name)) => name.to_string(),
            Ok(None) => "a path".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_as_people_write_them() {
        for (text, name) in [
            ("hf:user/repo", "hf:user/repo"),
            ("hf:user/repo:Q4_K_M", "hf:user/repo:Q4_K_M"),
            ("HF:user/repo:ud-q4_k_xl", "hf:user/repo:ud-q4_k_xl"),
            ("hf:user/repo:latest", "hf:user/repo"),
            ("hf:user/repo/sub/m.gguf", "hf:user/repo/sub/m.gguf"),
            ("hf:user/repo@v1.0:Q8_0", "hf:user/repo@v1.0:Q8_0"),
            ("hf.co/user/repo:q4_0", "hf:user/repo:q4_0"),
            ("huggingface.co/user/repo", "hf:user/repo"),
            ("https://huggingface.co/user/repo", "hf:user/repo"),
            ("https://hf.co/user/repo/blob/main/a%20b.gguf", "hf:user/repo/a b.gguf"),
            ("https://huggingface.co/user/repo/resolve/main/m.gguf?download=true", "hf:user/repo/m.gguf"),
            ("https://huggingface.co/user/repo/resolve/0123abc/x/m.gguf", "hf:user/repo@0123abc/x/m.gguf"),
            ("https://huggingface.co/user/repo/tree/main", "hf:user/repo"),
            ("http://127.0.0.1:8080/user/repo", "hf:user/repo"),
            ("http://127.0.0.1:8081/user/m.gguf", "http://127.0.0.1:8081/user/m.gguf"),
            ("user/repo", "hf:user/repo"),
            ("user/repo:Q5_K_S", "hf:user/repo:Q5_K_S"),
            ("ollama:llama3.2", "ollama:llama3.2:latest"),
            ("ollama:llama3.2:1b", "ollama:llama3.2:1b"),
            ("ollama:user/model:tag", "ollama:user/model:tag"),
            ("ollama:127.0.0.1:5000/library/model:tag", "ollama:127.0.0.1:5000/library/model:tag"),
            ("ollama:registry.ollama.ai/library/model", "ollama:model:latest"),
            ("ollama:hf.co/user/repo:Q4_0", "hf:user/repo:Q4_0"),
            ("https://example.org/models/m.gguf?x=1", "https://example.org/models/m.gguf"),
            ("./user/repo", "a path"),
            ("user/repo.gguf", "a path"),
            ("a/b/c", "a path"),
            ("model", "a path"),
            ("qwen3:0.6b", "hf:unsloth/Qwen3-0.6B-GGUF:Q4_K_M"),
        ] {
            assert_eq!(parsed(text), name, "{text}");
        }
    }

    #[test]
    fn wrong_names_say_what_to_write() {
        for text in [
            "hf:user",
            "hf:",
            "hf:../repo",
            "hf:user/..",
            "hf:user/repo:",
            "hf:user/repo/../../x.gguf",
            "hf:user/repo/C:/x.gguf",
            "hf:user/repo/a\\b.gguf",
            "hf:user/repo@../x:Q4_0",
            "https://hf.co/user/repo/resolve/main/%2e%2e/x.gguf",
            "ollama:",
            "ollama:a/b/c/d",
            "ollama:a:b:c",
            "ollama:../x",
            "https://user:secret@example.org/m.gguf",
            "https://example.org/",
            "ftp://example.org/m.gguf",
            "file:///etc/passwd",
            "hf:a/b\n:c",
        ] {
            let Err(error) = Name::parse(text, HUB) else { panic!("{text} is accepted") };
            let error = error.to_string();
            assert!(!error.contains('\n') && error.len() > text.len() + 10, "{text}: {error}");
        }
    }
}
