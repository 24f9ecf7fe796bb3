//! What the threads of the server share.

use super::content::Content;
use super::fault::Rule;
use super::record::Request;
use super::registry::Manifest;
use super::repository::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A place that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The hub, the registry and plain files.
    Hub,
    /// Where the hub and the registry send for large files.
    Cdn,
    /// A proxy without TLS, and the hub without TLS.
    Proxy,
}

/// The origins' addresses, the state, and a bell that rings at each of its changes.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `http://127.0.0.1:1234`
    pub(crate) endpoint: String,
    pub(crate) cdn: String,
    pub(crate) proxy: String,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) is_stopped: bool,
    /// The open connections, which are shut at the end.
    pub(crate) streams: BTreeMap<u64, TcpStream>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    /// How many connections there have been.
    pub(crate) connections: usize,
    last_number: u64,
    /// By `user/repo`.
    pub(crate) repositories: BTreeMap<String, Tree>,
    /// By `namespace/name:tag`.
    pub(crate) manifests: BTreeMap<String, Manifest>,
    /// By `sha256:…`.
    pub(crate) blobs: BTreeMap<String, Content>,
    /// By their paths.
    pub(crate) files: BTreeMap<String, Content>,
    /// What took a content's place, by the content's name.
    pub(crate) successors: BTreeMap<String, Content>,
    /// What the CDN has, by signatures.
    pub(crate) signed: BTreeMap<u64, Signed>,
    pub(crate) tokens: BTreeSet<String>,
    pub(crate) rules: BTreeMap<u64, Rule>,
    pub(crate) requests: BTreeMap<u64, Request>,
    /// How many entries a page of a listing has.
    pub(crate) page: usize,
    /// How many requests a signed URL is good for.
    pub(crate) signature_uses: usize,
    /// Whether the hub sends to its cache for files that are not in large file storage.
    pub(crate) has_cache: bool,
    /// The largest blob that the registry gives itself, in bytes.
    pub(crate) direct: usize,
    /// Bytes, and milliseconds that follow them.
    pub(crate) pace: Option<(usize, u64)>,
    /// `user:password`.
    pub(crate) proxy_password: Option<String>,
}

/// What a signed URL leads to.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) content: Content,
    /// Requests until it expires.
    pub(crate) uses: usize,
}

impl Shared {
    pub(crate) fn new(endpoint: String, cdn: String, proxy: String) -> Shared {
        let state = State {
            is_stopped: false,
            streams: BTreeMap::new(),
            threads: Vec::new(),
            connections: 0,
            last_number: 0,
            repositories: BTreeMap::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            files: BTreeMap::new(),
            successors: BTreeMap::new(),
            signed: BTreeMap::new(),
            tokens: BTreeSet::new(),
            rules: BTreeMap::new(),
            requests: BTreeMap::new(),
            page: 1000,
            signature_uses: usize::MAX,
            has_cache: false,
            direct: 64 << 10,
            pace: None,
            proxy_password: None,
        };
        Shared { endpoint, cdn, proxy, state: Mutex::new(state), bell: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and rings the bell.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.bell.notify_all();
        result
    }

    /// Waits until something is so, or the time has passed. Gives whether it is so.
    pub(crate) fn wait_until(&self, limit: Duration, mut is_so: impl FnMut(&State) -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if is_so(&state) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Passes some time. Gives whether the server goes on.
    pub(crate) fn pause(&self, milliseconds: u64) -> bool {
        !self.wait_until(Duration::from_millis(milliseconds), |state| state.is_stopped)
    }
}

impl State {
    /// A number that there was not before.
    pub(crate) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// What a content is by now.
    pub(crate) fn current(&self, content: &Content) -> Content {
        self.successors.get(&content.name).unwrap_or(content).clone()
    }

    /// The path and query under which the CDN gives a content from now on.
    pub(crate) fn sign(&mut self, content: &Content) -> String {
        let (signature, uses) = (self.number(), self.signature_uses);
        self.signed.insert(signature, Signed { content: content.clone(), uses });
        let name = super::http::percent_encoded(content.name.trim_start_matches('/'));
        format!("/cdn/{name}?Expires=1764633600&Signature={signature}&Key-Pair-Id=TESTS")
    }
}
