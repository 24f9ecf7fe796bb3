//! Downloading a file: in pieces, over several connections where the server allows it, on from where it was left.

use super::HubError;
use super::error::{Refusal, shown};
use super::http::{ATTEMPTS, Client, Request, Response};
use super::part::{Identity, Part};
use super::ranges::Ranges;
use crate::{Error, one_line};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The least and the most bytes of a request.
const CHUNK: (u64, u64) = (1 << 20, 16 << 20);
/// Bytes after which what was written is noted. A process that is killed loses at most so many for each connection.
const NOTED: usize = 256 << 10;
/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// A file on a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    /// Its name, for messages.
    pub(crate) name: String,
    pub(crate) url: String,
    /// Its length in bytes, if it is known before.
    pub(crate) size: Option<u64>,
    /// Its SHA-256 in lower-case hexadecimal, if it is known before.
    pub(crate) sha256: Option<String>,
}

impl Remote {
    /// A name for what is there of the file.
    fn id(&self) -> String {
        match &self.sha256 {
            Some(sha256) => sha256.clone(),
            // A signature in the address changes from day to day.
            None => hex(&Sha256::digest(shown(&self.url))),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that is being downloaded.
pub(crate) struct Download<'c> {
    client: &'c Client,
    remote: &'c Remote,
    part: Part,
    identity: Identity,
    /// Whether the server sends ranges.
    ranges: bool,
    /// Whether an earlier process began it.
    resumed: bool,
    state: Mutex<State>,
    moved: Condvar,
    hash: Sha256,
    hashed: u64,
}

struct State {
    done: Ranges,
    /// Pieces that no connection has yet.
    todo: VecDeque<(u64, u64)>,
    /// The address to which the file's own leads; it may be valid for a while only.
    url: String,
    running: usize,
    error: Option<Error>,
}

impl<'c> Download<'c> {
    /// Asks the server for the file, and looks what is there of it in the folder `partial`.
    pub(crate) fn begin(
        client: &'c Client,
        remote: &'c Remote,
        partial: &Path,
        waiting: &mut dyn FnMut(),
    ) -> Result<Download<'c>, Error> {
        let part = Part::open(partial.join(format!("{}.part", remote.id())), waiting)?;
        let state =
            State { done: Ranges::default(), todo: VecDeque::new(), url: remote.url.clone(), running: 0, error: None };
        let identity = Identity { size: remote.size, sha256: remote.sha256.clone(), validator: None };
        let mut download = Download {
            client,
            remote,
            part,
            identity,
            ranges: false,
            resumed: false,
            state: Mutex::new(state),
            moved: Condvar::new(),
            hash: Sha256::new(),
            hashed: 0,
        };
        download.ask()?;
        let done = download.part.resume(&download.identity)?;
        download.resumed = done.len() > 0;
        download.state().done = done;
        Ok(download)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length of the file in bytes, if the server states it.
    pub(crate) fn size(&self) -> Option<u64> {
        self.identity.size
    }

    /// Bytes that are there.
    pub(crate) fn there(&self) -> u64 {
        self.state().done.len()
    }

    /// Whether a part of the file can be asked for.
    pub(crate) fn has_ranges(&self) -> bool {
        self.ranges
    }

    /// The file's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.remote.name
    }

    /// Where the file grows.
    pub(crate) fn path(&self) -> &Path {
        self.part.path()
    }

    /// Asks for the first byte, which tells the length, the validator, and whether there are ranges.
    fn ask(&mut self) -> Result<(), Error> {
        let request = Request { url: &self.remote.url, range: Some((0, 0)), ..Request::default() };
        let response = match self.client.get(&request) {
            // An empty file has no first byte.
            Err(HubError::Refused(Refusal { status: 416, .. })) => {
                if self.remote.size.is_some_and(|size| size > 0) {
                    return Err(self.length(0).into());
                }
                (self.ranges, self.identity.size, self.identity.validator) = (true, Some(0), None);
                return Ok(());
            }
            other => other?,
        };
        response.check_encoding()?;
        self.check_kind(&response)?;
        let total = content_range(&response).and_then(|(_, _, total)| total);
        self.ranges = response.status == 206 && total.is_some();
        let size = if response.status == 206 { total } else { response.length() };
        match (self.remote.size, size) {
            (Some(expected), Some(found)) if expected != found => return Err(self.length(found).into()),
            (None, Some(found)) => self.identity.size = Some(found),
            _ => {}
        }
        self.identity.validator = response.validator();
        self.state().url.clone_from(&response.url);
        if self.ranges {
            // A connection is used again when its answer was read to the end.
            let _ = response.reader().read(&mut [0; 2]);
        }
        Ok(())
    }

    fn length(&self, found: u64) -> HubError {
        HubError::Length { file: self.remote.name.clone(), found, expected: self.remote.size.unwrap_or_default() }
    }

    /// Refuses a page where a file was asked for.
    fn check_kind(&self, response: &Response) -> Result<(), HubError> {
        let kind = response.header("content-type").unwrap_or_default();
        if kind.starts_with("text/html") {
            let reason =
                "this is a page (HTML), not the file; a login may be needed, or a network that answers for others"
                    .into();
            return Err(HubError::Answer { url: shown(&response.url), reason });
        }
        Ok(())
    }

    /// Downloads what is missing of the file's first `end` bytes, or of all of it. `progress` gets the bytes that are there and the file's
    /// length (0 if it is unknown).
    pub(crate) fn run(&mut self, end: Option<u64>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        match self.attempt(end, progress) {
            // The file on the server is another now, so it is asked for once more, from its beginning.
            Err(Error::Hub(HubError::Changed { .. })) => {
                self.ask()?;
                self.reset()?;
                self.attempt(end, progress)
            }
            other => other,
        }
    }

    /// Whether an earlier process began it.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) -> Result<(), Error> {
        self.part.restart(&self.identity)?;
        self.state().done = Ranges::default();
        (self.resumed, self.hash, self.hashed) = (false, Sha256::new(), 0);
        Ok(())
    }

    fn attempt(&mut self, end: Option<u64>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        let Some(size) = self.identity.size.filter(|_| self.ranges) else { return self.whole(progress) };
        let end = end.unwrap_or(size).min(size);
        self.part.set_len(size)?;
        let most = self.client.access.connections.max(1);
        {
            let mut state = self.state();
            let missing = end.saturating_sub(state.done.len());
            let piece = (missing / (4 * most as u64)).clamp(CHUNK.0, CHUNK.1);
            state.todo = state.done.missing(end, piece).into();
            state.running = state.todo.len().min(most);
        }
        let connections = self.state().running;
        // The hash takes the bytes in order, while others are still on their way.
        let (mut hash, mut hashed) = (std::mem::take(&mut self.hash), self.hashed);
        let shared = &*self;
        let outcome = thread::scope(|scope| {
            for _ in 0..connections {
                thread::Builder::new()
                    .name("download".into())
                    .spawn_scoped(scope, || shared.connection())
                    .map_err(|error| Error::Spawn { threads: connections, reason: error.to_string() })
                    .inspect_err(|_| shared.ended(None))?;
            }
            shared.follow(size, &mut hash, &mut hashed, progress)
        });
        (self.hash, self.hashed) = (hash, hashed);
        outcome
    }

    /// Hashes what is there in order, until all connections have ended.
    fn follow(
        &self,
        size: u64,
        hash: &mut Sha256,
        hashed: &mut u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut bytes = vec![0; 1 << 20];
        loop {
            let (frontier, there, running) = {
                let mut state = self.state();
                if state.running > 0 && state.done.frontier() == *hashed {
                    let wait = self.moved.wait_timeout(state, Duration::from_millis(100));
                    state = wait.unwrap_or_else(PoisonError::into_inner).0;
                }
                (state.done.frontier(), state.done.len(), state.running)
            };
            progress(there, size);
            while *hashed < frontier {
                let most = bytes.len().min(usize::try_from(frontier - *hashed).unwrap_or(usize::MAX));
                let count = self.part.read(bytes.get_mut(..most).unwrap_or_default(), *hashed)?;
                if count == 0 {
                    return Err(self.length(*hashed).into());
                }
                hash.update(bytes.get(..count).unwrap_or_default());
                *hashed += count as u64;
                if running > 0 && hashed.is_multiple_of(8 << 20) {
                    progress(self.state().done.len(), size);
                }
            }
            if running == 0 {
                let mut state = self.state();
                return state.error.take().map_or(Ok(()), Err);
            }
        }
    }

    /// A connection: takes pieces until there are none.
    fn connection(&self) {
        let mut failures = 0;
        loop {
            let piece = {
                let mut state = self.state();
                if state.error.is_some() { None } else { state.todo.pop_front() }
            };
            let Some((mut start, end)) = piece else { return self.ended(None) };
            let mut validator = self.identity.validator.clone();
            while start < end {
                let before = start;
                let url = self.state().url.clone();
                let Err(error) = self.piece(&url, &mut start, end, validator.as_deref()) else { break };
                if start > before {
                    failures = 0;
                }
                failures += 1;
                let error = match error {
                    // A digest tells more than a validator, which may be one of many servers'.
                    Error::Hub(HubError::Changed { .. }) if self.identity.sha256.is_some() && validator.is_some() => {
                        validator = None;
                        continue;
                    }
                    // The address to which the file's own led is not valid any more.
                    Error::Hub(HubError::Refused(Refusal { status: 400..=410, .. }))
                        if failures < ATTEMPTS && self.forget(&url) =>
                    {
                        continue;
                    }
                    Error::Hub(error) => {
                        match error.pause(failures, self.client.access.pause).filter(|_| failures < ATTEMPTS) {
                            Some(pause) if self.state().error.is_none() => {
                                thread::sleep(pause);
                                continue;
                            }
                            _ => error.into(),
                        }
                    }
                    other => other,
                };
                return self.ended(Some(error));
            }
            failures = 0;
        }
    }

    /// Goes back from an address to the file's own. False if it is that.
    fn forget(&self, url: &str) -> bool {
        let mut state = self.state();
        // Another connection may have gone back before.
        if state.url == url {
            state.url.clone_from(&self.remote.url);
        }
        url != self.remote.url
    }

    fn ended(&self, error: Option<Error>) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        if state.error.is_none() {
            state.error = error;
        }
        self.moved.notify_all();
    }

    /// Downloads a piece from an address, from `start` on, which moves.
    fn piece(&self, url: &str, start: &mut u64, end: u64, validator: Option<&str>) -> Result<(), Error> {
        let request = Request { url, range: Some((*start, end - 1)), if_range: validator, accept: None };
        let response = match self.client.once(&request) {
            // It has become shorter.
            Err(HubError::Refused(Refusal { status: 416, .. })) => return Err(self.changed().into()),
            other => other?,
        };
        response.check_encoding()?;
        self.check_kind(&response)?;
        match (response.status, content_range(&response)) {
            (206, Some((first, _, total))) if first == *start => {
                if total.is_some_and(|total| Some(total) != self.identity.size) {
                    return Err(self.changed().into());
                }
            }
            (206, _) => {
                let reason = "the server sends other bytes than it was asked for".into();
                return Err(HubError::Answer { url: shown(url), reason }.into());
            }
            _ => return Err(self.changed().into()),
        }
        {
            let mut state = self.state();
            if state.url == self.remote.url {
                state.url.clone_from(&response.url);
            }
        }
        self.take(response.reader(), start, Some(end), &mut |_| ())
    }

    fn changed(&self) -> HubError {
        HubError::Changed { file: self.remote.name.clone() }
    }

    /// Writes what comes, until `end`, or without one the end of the body.
    fn take(
        &self,
        mut body: impl Read,
        start: &mut u64,
        end: Option<u64>,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut bytes = vec![0; PIECE];
        let mut noted = *start;
        let outcome = loop {
            let left = end.map_or(u64::MAX, |end| end - *start);
            let most = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if most == 0 {
                // A connection is used again when its answer was read to the end.
                let _ = body.read(&mut [0]);
                break Ok(());
            }
            let read = body.read(bytes.get_mut(..most).unwrap_or_default());
            let line = |reason: &str| HubError::Line { url: shown(&self.remote.url), reason: one_line(reason) };
            let count = match read {
                Ok(0) if end.is_none() => break Ok(()),
                Ok(0) => break Err(line("it ended early").into()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(line(&error.to_string()).into()),
            };
            let got = bytes.get(..count).unwrap_or_default();
            if let Err(error) = self.part.write(got, *start) {
                break Err(error);
            }
            seen(got);
            *start += count as u64;
            if *start - noted >= NOTED as u64 {
                self.part.note(noted, *start)?;
                self.note(noted, *start);
                noted = *start;
                if self.state().error.is_some() {
                    break Ok(());
                }
            }
        };
        if *start > noted {
            self.part.note(noted, *start)?;
            self.note(noted, *start);
        }
        outcome
    }

    fn note(&self, start: u64, end: u64) {
        self.state().done.add(start, end);
        self.moved.notify_all();
    }

    /// Downloads the file over one connection, in one answer, from its beginning: the server has no ranges, or does not say how long it is.
    fn whole(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        if self.identity.size.is_some_and(|size| self.there() == size) {
            return self.rehash();
        }
        let mut failures = 0;
        loop {
            self.reset()?;
            let mut start = 0;
            let request = Request { url: &self.remote.url, ..Request::default() };
            let response = self.client.get(&request)?;
            response.check_encoding()?;
            self.check_kind(&response)?;
            let stated = response.length().or(self.remote.size);
            if let (Some(found), Some(expected)) = (stated, self.remote.size)
                && found != expected
            {
                return Err(HubError::Length { file: self.remote.name.clone(), found, expected }.into());
            }
            let mut hash = Sha256::new();
            let mut sum = 0;
            let outcome = self.take(response.reader(), &mut start, stated, &mut |bytes| {
                hash.update(bytes);
                sum += bytes.len() as u64;
                progress(sum, stated.unwrap_or_default());
            });
            (self.hash, self.hashed) = (hash, sum);
            match outcome {
                Ok(()) => {
                    self.identity.size = Some(sum);
                    return Ok(());
                }
                Err(Error::Hub(error)) => {
                    failures += 1;
                    let pause = error.pause(failures, self.client.access.pause).filter(|_| failures < ATTEMPTS);
                    thread::sleep(pause.ok_or(error)?);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Hashes a file that is there as a whole.
    fn rehash(&mut self) -> Result<(), Error> {
        let (mut hash, mut hashed) = (std::mem::take(&mut self.hash), self.hashed);
        let outcome = self.follow(self.identity.size.unwrap_or_default(), &mut hash, &mut hashed, &mut |_, _| ());
        (self.hash, self.hashed) = (hash, hashed);
        outcome
    }

    /// Ends a download of all bytes: checks the digest and flushes the file to the disk. Gives the digest, in hexadecimal, and the file, which
    /// is locked until it is dropped.
    ///
    /// # Errors
    /// [`HubError::Digest`]: the file is gone then.
    pub(crate) fn finish(mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(String, Part), Error> {
        loop {
            self.run(None, progress)?;
            let found = hex(&std::mem::take(&mut self.hash).finalize());
            match &self.remote.sha256 {
                Some(expected) if *expected != found => {
                    // What an earlier process left may have been lost since.
                    if self.resumed {
                        self.reset()?;
                        continue;
                    }
                    let (file, expected) = (self.remote.name.clone(), expected.clone());
                    self.part.remove();
                    return Err(HubError::Digest { file, found, expected }.into());
                }
                _ => {}
            }
            self.part.sync()?;
            return Ok((found, self.part));
        }
    }
}

/// The first and last byte of an answer, and the length of the file, by its header `Content-Range`.
fn content_range(response: &Response) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = response.header("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, if total == "*" { None } else { Some(total.parse().ok()?) }))
}
