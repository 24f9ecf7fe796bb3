//! Which answer a path has.

use super::http::{Answer, Head, parameter, percent_decoded};
use super::state::{Shared, State};
use super::{fault, huggingface, registry};
use serde_json::json;

/// The answer to a request, before faults of its delivery.
pub(crate) fn answer(shared: &Shared, state: &mut State, request: &Head) -> Answer {
    if let Some(answer) = fault::answer(shared, state, request) {
        return answer;
    }
    if request.method != "GET" && request.method != "HEAD" {
        return Answer::new(405, "text/plain", "Method Not Allowed");
    }
    let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
    if let Some(content) = state.files.get(&percent_decoded(path)).cloned() {
        let (content, ranges) = fault::file(state, request, &content);
        return content.answer(request, ranges);
    }
    if path.starts_with("/cdn/") {
        return cdn(state, request, query);
    }
    if let Some(rest) = path.strip_prefix("/api/models/") {
        return huggingface::api(shared, state, request, rest, query);
    }
    if let Some(rest) = path.strip_prefix("/v2/") {
        return registry::answer(shared, state, request, rest);
    }
    if path == "/token" {
        return Answer::json(200, &json!({ "token": "anonymous" }));
    }
    let missing = || Answer::new(404, "text/html; charset=utf-8", "<!DOCTYPE html><html><body>404</body></html>");
    huggingface::resolve(shared, state, request, path).unwrap_or_else(missing)
}

/// Answers a signed URL as the object stores behind hubs do.
fn cdn(state: &mut State, request: &Head, query: &str) -> Answer {
    let refuse = |message: &str| {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        );
        Answer::new(403, "application/xml", text)
    };
    let signature = parameter(query, "Signature").and_then(|signature| signature.parse().ok()).unwrap_or(0);
    let Some(signed) = state.signed.get_mut(&signature) else { return refuse("Access Denied") };
    if signed.uses == 0 {
        return refuse("Request has expired");
    }
    signed.uses -= 1;
    let content = signed.content.clone();
    let (mut content, ranges) = fault::file(state, request, &content);
    let name = content.name.rsplit('/').next().unwrap_or_default();
    let disposition = format!("inline; filename*=UTF-8''{}; filename=\"{name}\";", super::http::percent_encoded(name));
    content.disposition.get_or_insert(disposition);
    content.answer(request, ranges)
}
