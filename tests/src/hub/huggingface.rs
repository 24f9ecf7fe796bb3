//! The answers of Hugging Face's hub.

use super::content::Content;
use super::http::{Answer, Head, parameter, percent_decoded, percent_encoded};
use super::repository::Tree;
use super::state::{Shared, State};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An error as the hub gives it: JSON, and two headers.
fn error(status: u16, code: &str, message: &str) -> Answer {
    let answer = Answer::json(status, &json!({ "error": message })).with("X-Error-Message", message);
    if code.is_empty() { answer } else { answer.with("X-Error-Code", code) }
}

/// The repository, if the request's token may know of it.
fn repository<'a>(state: &'a State, request: &Head, id: &str) -> Result<&'a Tree, Answer> {
    let token = request.token();
    if token.is_some_and(|token| !state.tokens.contains(token)) {
        return Err(error(401, "", "Invalid credentials in Authorization header"));
    }
    let may_see = |tree: &&Tree| !tree.is_private || token.is_some_and(|token| tree.readers.contains(token));
    match (state.repositories.get(id).filter(may_see), token) {
        (Some(tree), _) => Ok(tree),
        (None, Some(_)) => Err(error(404, "RepoNotFound", "Repository not found")),
        (None, None) => Err(error(401, "RepoNotFound", "Invalid username or password.")),
    }
}

fn revision<'a>(tree: &'a Tree, name: &str) -> Result<(&'a str, &'a BTreeMap<String, Content>), Answer> {
    tree.revision(name).ok_or_else(|| error(404, "RevisionNotFound", &format!("Invalid rev id: {name}")))
}

/// Answers what follows `/api/models/`.
pub(crate) fn api(shared: &Shared, state: &State, request: &Head, path: &str, query: &str) -> Answer {
    let words: Vec<String> = path.split('/').map(percent_decoded).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        [user, name] => information(state, request, &format!("{user}/{name}"), "main"),
        [user, name, "revision", revision] => information(state, request, &format!("{user}/{name}"), revision),
        [user, name, "tree", revision] => listing(shared, state, request, &format!("{user}/{name}"), revision, query),
        _ => Err(error(404, "", "Sorry, we can't find the page you are looking for.")),
    };
    answer.unwrap_or_else(|error| error)
}

fn information(state: &State, request: &Head, id: &str, name: &str) -> Result<Answer, Answer> {
    let tree = repository(state, request, id)?;
    let (commit, files) = revision(tree, name)?;
    let mut tags = vec!["gguf".to_string()];
    tags.extend(tree.license.iter().map(|license| format!("license:{license}")));
    let siblings: Vec<Value> = files.keys().map(|path| json!({ "rfilename": path })).collect();
    let mut value = json!({
        "_id": commit.get(..24), "id": id, "modelId": id, "author": id.split('/').next(), "sha": commit,
        "private": tree.is_private, "disabled": false, "downloads": 0, "likes": 0, "tags": tags,
        "gated": tree.gated.as_ref().map_or(Value::Bool(false), |how| json!(how)),
        "siblings": siblings,
    });
    if let (Some(license), Some(fields)) = (&tree.license, value.as_object_mut()) {
        fields.insert("cardData".to_string(), json!({ "license": license }));
    }
    Ok(Answer::json(200, &value))
}

fn listing(
    shared: &Shared,
    state: &State,
    request: &Head,
    id: &str,
    name: &str,
    query: &str,
) -> Result<Answer, Answer> {
    let tree = repository(state, request, id)?;
    let (commit, files) = revision(tree, name)?;
    let is_recursive = parameter(query, "recursive").is_some_and(|value| value == "true" || value == "1");
    let mut folders = BTreeSet::new();
    let mut entries = Vec::new();
    for (path, content) in files {
        let ends: Vec<usize> = path.match_indices('/').map(|(end, _)| end).collect();
        for end in ends.iter().take(if is_recursive { ends.len() } else { 1 }) {
            let folder = path.get(..*end).unwrap_or_default();
            if !folder.is_empty() && folders.insert(folder) {
                entries.push(json!({ "type": "directory", "oid": commit, "size": 0, "path": folder }));
            }
        }
        if is_recursive || ends.is_empty() {
            entries.push(entry(path, &state.current(content)));
        }
    }
    let start = parameter(query, "cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let page: Vec<Value> = entries.iter().skip(start).take(state.page).cloned().collect();
    let answer = Answer::json(200, &Value::Array(page));
    let next = start.saturating_add(state.page);
    if next >= entries.len() {
        return Ok(answer);
    }
    let (path, name) = (format!("/api/models/{id}/tree/"), percent_encoded(name).replace('/', "%2F"));
    let link = format!("<{}{path}{name}?recursive={is_recursive}&cursor={next}>; rel=\"next\"", shared.endpoint);
    Ok(answer.with("Link", link))
}

fn entry(path: &str, content: &Content) -> Value {
    let mut value = json!({ "type": "file", "oid": content.oid(), "size": content.size(), "path": path });
    if let (true, Some(fields)) = (content.is_lfs, value.as_object_mut()) {
        let lfs = json!({ "oid": content.digest(), "size": content.size(), "pointerSize": content.pointer().len() });
        fields.insert("lfs".to_string(), lfs);
    }
    value
}

/// The path of the hub's cache.
const CACHE: &str = "/api/resolve-cache/models/";

/// Answers `/user/repo/resolve/revision/path`, if it is that, and the cache's `/api/resolve-cache/models/user/repo/commit/path`.
pub(crate) fn resolve(shared: &Shared, state: &mut State, request: &Head, path: &str) -> Option<Answer> {
    if let Some(rest) = path.strip_prefix(CACHE) {
        let mut words = rest.splitn(4, '/').map(percent_decoded);
        let (user, name, commit, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let answer = give(shared, state, request, &format!("{user}/{name}"), &commit, &path);
        return Some(answer.unwrap_or_else(|error| error));
    }
    let mut words = path.trim_start_matches('/').splitn(5, '/').map(percent_decoded);
    let (user, name, verb) = (words.next()?, words.next()?, words.next()?);
    let (revision, path) = (words.next()?, words.next()?);
    if verb != "resolve" {
        return None;
    }
    Some(give(shared, state, request, &format!("{user}/{name}"), &revision, &path).unwrap_or_else(|error| error))
}

fn give(
    shared: &Shared,
    state: &mut State,
    request: &Head,
    id: &str,
    name: &str,
    path: &str,
) -> Result<Answer, Answer> {
    let tree = repository(state, request, id)?;
    if tree.gated.is_some() && !request.token().is_some_and(|token| tree.readers.contains(token)) {
        let access = format!("Access to model {id} is restricted");
        return Err(match request.token() {
            Some(_) => {
                let place = format!("Visit {}/{id} to ask for access.", shared.endpoint);
                error(403, "GatedRepo", &format!("{access} and you are not in the authorized list. {place}"))
            }
            None => {
                let how = "You must have access to it and be authenticated to access it. Please log in.";
                error(401, "GatedRepo", &format!("{access}. {how}"))
            }
        });
    }
    let (commit, files) = revision(tree, name)?;
    let content = files.get(path).ok_or_else(|| error(404, "EntryNotFound", "Entry not found"))?;
    let (commit, content) = (commit.to_string(), content.clone());
    let (mut content, ranges) = super::fault::file(state, request, &content);
    if !content.is_lfs {
        if content.etag.as_ref().is_some_and(|etag| etag.contains(&content.sha256)) {
            content.etag = Some(format!("\"{}\"", content.oid()));
        }
        let mut answer = content.answer(request, ranges);
        if state.has_cache && !request.path().starts_with(CACHE) {
            let place = format!("{CACHE}{id}/{commit}/{}?etag={}", percent_encoded(path), content.oid());
            answer = Answer::redirect(307, &place).with("X-Linked-Size", content.size().to_string());
        }
        return Ok(answer.with("X-Repo-Commit", commit));
    }
    let location = format!("{}{}", shared.cdn, state.sign(&content));
    let answer = Answer::redirect(302, &location).with("X-Repo-Commit", commit).with("Accept-Ranges", "bytes");
    let answer = answer.with("X-Linked-Size", content.size().to_string());
    Ok(answer.with("X-Linked-Etag", format!("\"{}\"", content.digest())))
}
