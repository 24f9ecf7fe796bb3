//! A server to download models from, on this machine alone: Hugging Face's hub with its CDN, a registry as Ollama reads it, plain files and
//! a proxy, over HTTP/1.1 and TLS. It records what was asked and sent, and has faults on command.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use smidgen_tests::hub::{Fault, Hub};
//! let hub = Hub::start()?;
//! hub.repository("user/repo").file("m-Q4_0.gguf", vec![0; 1 << 20]).lfs().file("README.md", "A model.");
//! let fault = hub.fault(Fault::Cut(1000)).on("m-Q4_0").times(2);
//! println!("HF_ENDPOINT={}", hub.endpoint());
//! // … a client downloads …
//! assert_eq!(fault.left(), 0);
//! println!("{} bytes of {} requests", hub.sent(""), hub.requests().len());
//! # Ok(())
//! # }
//! ```

mod content;
mod fault;
#[cfg(test)]
mod fault_tests;
mod http;
mod huggingface;
mod record;
mod registry;
mod repository;
mod routes;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod tls;

pub use content::sha256;
pub use fault::{Fault, Ordered, To};
pub use http::http_date;
pub use record::Request;
pub use registry::Image;
pub use repository::Repository;
pub use state::Origin;
pub use tls::{Authority, Certificate};

use content::Content;
use state::Shared;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The server. It ends, with its threads and connections, when this is dropped.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
}

impl Hub {
    /// Starts without TLS, at ports that are free.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start() -> io::Result<Hub> {
        Hub::start_at(0, None)
    }

    /// Starts with TLS.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_tls(certificate: &Certificate) -> io::Result<Hub> {
        Hub::start_at(0, Some(certificate))
    }

    /// Starts at a port, or at one that is free if it is 0, with TLS or without. The CDN and the proxy take free ones.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if the port is taken.
    pub fn start_at(port: u16, certificate: Option<&Certificate>) -> io::Result<Hub> {
        let listeners = [
            (Origin::Hub, TcpListener::bind(("127.0.0.1", port))?),
            (Origin::Cdn, TcpListener::bind(("127.0.0.1", 0))?),
            (Origin::Proxy, TcpListener::bind(("127.0.0.1", 0))?),
        ];
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(|(_, listener)| listener.local_addr()).collect::<io::Result<_>>()?;
        let port = |i: usize| addresses.get(i).map_or(0, SocketAddr::port);
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::new(
            format!("{scheme}://127.0.0.1:{}", port(0)),
            format!("{scheme}://localhost:{}", port(1)),
            format!("http://127.0.0.1:{}", port(2)),
        ));
        let mut hub = Hub { shared, accepting: Vec::new(), addresses };
        for (origin, listener) in listeners {
            let shared = Arc::clone(&hub.shared);
            let tls = certificate.filter(|_| origin != Origin::Proxy).map(|certificate| Arc::clone(&certificate.0));
            let accept = move || server::accept(&shared, &listener, origin, tls.as_ref());
            hub.accepting.push(thread::Builder::new().spawn(accept)?);
        }
        Ok(hub)
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// The CDN's origin, `http://localhost:PORT`, or `https`.
    pub fn cdn(&self) -> &str {
        &self.shared.cdn
    }

    /// The proxy, `http://127.0.0.1:PORT`. It forwards to this server only, whatever the host. It has the hub's files too, without TLS.
    pub fn proxy(&self) -> &str {
        &self.shared.proxy
    }

    /// The repository `user/name`, which is made if it is not there.
    pub fn repository(&self, id: &str) -> Repository<'_> {
        Repository::new(&self.shared, id)
    }

    /// The registry's model `namespace/name:tag`, which is made if it is not there.
    pub fn image(&self, name: &str) -> Image<'_> {
        Image::new(&self.shared, name)
    }

    /// Adds or replaces a plain file. Its path begins with a slash.
    pub fn file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.shared.update(|state| {
            let content = Content::new(path, bytes.into(), state.number());
            state.successors.remove(path);
            state.files.insert(path.to_string(), content);
        });
    }

    /// Adds or replaces a plain file with these headers `ETag`, with its quotes, and `Content-Disposition`.
    pub fn file_with(&self, path: &str, bytes: impl Into<Vec<u8>>, etag: Option<&str>, disposition: Option<&str>) {
        self.file(path, bytes);
        self.shared.update(|state| {
            if let Some(content) = state.files.get_mut(path) {
                content.etag = etag.map(str::to_string);
                content.disposition = disposition.map(str::to_string);
            }
        });
    }

    /// A token of the hub that may read no repository that is private or gated.
    pub fn token(&self, token: &str) {
        self.shared.update(|state| state.tokens.insert(token.to_string()));
    }

    /// Orders a fault: of every request, until it is narrowed.
    pub fn fault(&self, fault: Fault) -> Ordered<'_> {
        Ordered::new(&self.shared, fault)
    }

    /// Takes all faults back.
    pub fn mend(&self) {
        self.shared.update(|state| state.rules.clear());
    }

    /// Listings have at most so many entries a page; 1,000 at first.
    pub fn page(&self, entries: usize) {
        self.shared.update(|state| state.page = entries.max(1));
    }

    /// URLs of the CDN that are signed from now on are good for so many requests each.
    pub fn signature_uses(&self, requests: usize) {
        self.shared.update(|state| state.signature_uses = requests);
    }

    /// For files that are not in large file storage the hub redirects to a path of its own, without a host, as Hugging Face's does. At first
    /// it gives them itself.
    pub fn cache(&self) {
        self.shared.update(|state| state.has_cache = true);
    }

    /// The registry gives blobs of at most so many bytes itself; 64 KiB at first.
    pub fn direct(&self, bytes: usize) {
        self.shared.update(|state| state.direct = bytes);
    }

    /// Some milliseconds pass after each piece of so many bytes, at most 16,384, of all bodies: 8 MiB take half a second with 16,384 and 1.
    pub fn throttle(&self, piece: usize, milliseconds: u64) {
        self.shared.update(|state| state.pace = Some((piece, milliseconds)));
    }

    /// The proxy asks for this, `user:password`.
    pub fn proxy_password(&self, password: &str) {
        self.shared.update(|state| state.proxy_password = Some(password.to_string()));
    }

    /// The requests so far, in their order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.values().cloned().collect()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.update(|state| state.requests.clear());
    }

    /// Bytes of bodies written in answer to requests whose path and query contain this.
    pub fn sent(&self, pattern: &str) -> u64 {
        let state = self.shared.lock();
        state.requests.values().filter(|request| request.path.contains(pattern)).map(|request| request.sent).sum()
    }

    /// For each file of which something was sent, how many of its bytes were written to sockets more than once.
    pub fn overlap(&self) -> BTreeMap<String, u64> {
        record::overlap(self.shared.lock().requests.values())
    }

    /// How many connections there have been, of whatever came of them.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until the requests so far are as it is asked, or the time has passed. Gives whether they are. The
    /// closure may not ask the hub.
    pub fn wait_until(&self, limit: Duration, mut is_so: impl FnMut(&[Request]) -> bool) -> bool {
        self.shared.wait_until(limit, |state| is_so(&state.requests.values().cloned().collect::<Vec<_>>()))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.update(|state| {
            state.is_stopped = true;
            for stream in state.streams.values() {
                // Its client may have ended it.
                _ = stream.shutdown(Shutdown::Both);
            }
        });
        for address in &self.addresses {
            // Wakes the thread that accepts.
            _ = TcpStream::connect(address);
        }
        for thread in self.accepting.drain(..) {
            _ = thread.join();
        }
        let threads = std::mem::take(&mut self.shared.lock().threads);
        for thread in threads {
            _ = thread.join();
        }
    }
}
