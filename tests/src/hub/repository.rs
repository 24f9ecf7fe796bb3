//! Repositories as Hugging Face's hub has them.

use super::content::{Content, commit_name};
use super::state::{Shared, State};
use std::collections::{BTreeMap, BTreeSet};

/// A repository's branches and commits.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The newest commit of each branch.
    pub(crate) branches: BTreeMap<String, String>,
    /// Files by their paths.
    pub(crate) commits: BTreeMap<String, BTreeMap<String, Content>>,
    pub(crate) is_private: bool,
    /// `auto` or `manual`.
    pub(crate) gated: Option<String>,
    /// Tokens of those who may read it, if it is private or gated.
    pub(crate) readers: BTreeSet<String>,
    pub(crate) license: Option<String>,
}

impl Tree {
    /// The commit that a branch's name or a commit's name means, and its files.
    pub(crate) fn revision(&self, name: &str) -> Option<(&str, &BTreeMap<String, Content>)> {
        let commit = self.branches.get(name).map_or(name, String::as_str);
        self.commits.get_key_value(commit).map(|(commit, files)| (commit.as_str(), files))
    }
}

/// A repository of the hub, to be filled. Files are added to the newest commit of a branch, of `main` at first.
#[derive(Debug)]
pub struct Repository<'a> {
    shared: &'a Shared,
    id: String,
    branch: String,
    path: String,
}

impl<'a> Repository<'a> {
    /// The repository `id`, which is made if it is not there.
    pub(crate) fn new(shared: &'a Shared, id: &str) -> Repository<'a> {
        let repository = Repository { shared, id: id.to_string(), branch: "main".to_string(), path: String::new() };
        if !shared.lock().repositories.contains_key(id) { repository.commit() } else { repository }
    }

    /// Adds or replaces a file in the branch's newest commit.
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.path = path.to_string();
        let name = format!("{}/{path}", self.id);
        self.shared.update(|state| {
            let content = Content::new(&name, bytes.into(), state.number());
            state.successors.remove(&name);
            if let Some(files) = files(state, &self.id, &self.branch) {
                files.insert(path.to_string(), content);
            }
        });
        self
    }

    /// The last file is in large file storage: it has a SHA-256 in listings and is given by the CDN.
    pub fn lfs(self) -> Self {
        self.edit(|content| content.is_lfs = true)
    }

    /// The last file has this header `Content-Disposition`.
    pub fn disposition(self, value: &str) -> Self {
        self.edit(|content| content.disposition = Some(value.to_string()))
    }

    /// The last file's `ETag`, with its quotes, or none.
    pub fn etag(self, value: Option<&str>) -> Self {
        self.edit(|content| content.etag = value.map(str::to_string))
    }

    /// The last file's size in listings, in bytes, though it is another.
    pub fn listed_size(self, size: u64) -> Self {
        self.edit(|content| content.listed_size = Some(size))
    }

    /// The last file's SHA-256 in listings and headers, though it is another.
    pub fn listed_sha256(self, sha256: &str) -> Self {
        self.edit(|content| content.listed_sha256 = Some(sha256.to_string()))
    }

    fn edit(self, change: impl FnOnce(&mut Content)) -> Self {
        self.shared.update(|state| {
            let content = files(state, &self.id, &self.branch).and_then(|files| files.get_mut(&self.path));
            content.map(change)
        });
        self
    }

    /// Removes a file from the branch's newest commit.
    pub fn remove(self, path: &str) -> Self {
        self.shared.update(|state| files(state, &self.id, &self.branch).map(|files| files.remove(path)));
        self
    }

    /// Begins another commit, which has the files of the branch's newest one.
    pub fn commit(self) -> Self {
        self.shared.update(|state| {
            let commit = commit_name(&format!("{} {}", self.id, state.number()));
            let files = files(state, &self.id, &self.branch).cloned().unwrap_or_default();
            let tree = state.repositories.entry(self.id.clone()).or_default();
            tree.branches.insert(self.branch.clone(), commit.clone());
            tree.commits.insert(commit, files);
        });
        self
    }

    /// What follows is done to another branch, which is made of the present one if it is not there.
    pub fn branch(mut self, name: &str) -> Self {
        self.shared.update(|state| {
            if let Some(tree) = state.repositories.get_mut(&self.id)
                && let Some(commit) = tree.branches.get(&self.branch).cloned()
            {
                tree.branches.entry(name.to_string()).or_insert(commit);
            }
        });
        self.branch = name.to_string();
        self
    }

    /// Only requests with the token see it.
    pub fn private(self, token: &str) -> Self {
        self.set(|tree| tree.is_private = true).reader(token)
    }

    /// Its files are for those who were given access. `how` is `auto` or `manual`.
    pub fn gated(self, how: &str) -> Self {
        self.set(|tree| tree.gated = Some(how.to_string()))
    }

    /// A token that may read it, if it is private or gated.
    pub fn reader(self, token: &str) -> Self {
        self.shared.update(|state| state.tokens.insert(token.to_string()));
        self.set(|tree| _ = tree.readers.insert(token.to_string()))
    }

    /// Its licence, as `apache-2.0`.
    pub fn license(self, name: &str) -> Self {
        self.set(|tree| tree.license = Some(name.to_string()))
    }

    fn set(self, change: impl FnOnce(&mut Tree)) -> Self {
        self.shared.update(|state| state.repositories.get_mut(&self.id).map(change));
        self
    }

    /// The name of the branch's newest commit.
    pub fn head(&self) -> String {
        let state = self.shared.lock();
        let tree = state.repositories.get(&self.id);
        tree.and_then(|tree| tree.branches.get(&self.branch)).cloned().unwrap_or_default()
    }
}

fn files<'a>(state: &'a mut State, id: &str, branch: &str) -> Option<&'a mut BTreeMap<String, Content>> {
    let tree = state.repositories.get_mut(id)?;
    tree.commits.get_mut(tree.branches.get(branch)?)
}
