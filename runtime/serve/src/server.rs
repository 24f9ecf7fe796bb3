//! The server: connections, limits, and its end.

use crate::api::{BODIES, Error, Guard, State};
use crate::engine::Config;
use crate::http::Connection;
use crate::log::log;
use crate::metrics::Metrics;
use crate::models::{Models, Selection};
use crate::notify::notify;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hash::RandomState;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

/// Bytes of a request's head, at most.
const HEAD: usize = 32 << 10;
/// The time within which a head must be there, the first and those after it on one connection.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The time after which a client that reads nothing is given up.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// The time that running streams have when the server stops.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// How models are served over HTTP.
#[derive(Clone, Debug)]
pub struct Options {
    /// How each model is computed. Its path is that of the model's own [`Source`](crate::Source), whose context counts where this has none.
    pub engine: Config,
    /// Which models are served.
    pub models: Selection,
    /// What people are told at the start: a line each.
    pub warnings: Vec<String>,
    /// The address to bind.
    pub address: SocketAddr,
    /// Names of this host that requests may use, beside those of the loopback and addresses.
    pub host_names: Vec<String>,
    /// Origins of pages that may ask and read, such as `https://example.org`.
    pub origins: Vec<String>,
    /// Keys, of which a request must have one; anybody may ask if there are none.
    pub keys: Vec<String>,
    /// Whether others than this machine may ask without a key.
    pub open: bool,
    /// Bytes of a body, at most.
    pub max_body: usize,
    /// Whether the bodies of requests are written to the log.
    pub log_bodies: bool,
    /// Connections at once, at most.
    pub connections: usize,
}

impl Options {
    /// Models on 127.0.0.1, without keys; bodies of 16 MiB, 256 connections.
    pub fn new(engine: Config, models: Selection, port: u16) -> Options {
        Options {
            engine,
            models,
            warnings: Vec::new(),
            address: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port),
            host_names: Vec::new(),
            origins: Vec::new(),
            keys: Vec::new(),
            open: false,
            max_body: 16 << 20,
            log_bodies: false,
            connections: 256,
        }
    }
}

/// Serves until SIGTERM or SIGINT: then running streams have 30 s to end, and a second signal ends them at once. `caught` is called when these signals
/// are caught here. A socket that systemd has bound (`LISTEN_FDS`) is taken instead of the address.
///
/// # Errors
/// One line that names the flag or the file: an address that cannot be bound or is too wide, a model that cannot be opened.
pub fn serve(options: Options, caught: impl FnOnce()) -> Result<(), String> {
    if options.keys.iter().any(String::is_empty) {
        return Err("--api-key: a key is empty".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| format!("the system refuses what input and output need: {error}"))?;
    let outcome = runtime.block_on(run(options, caught));
    // Nothing that still runs there is waited for.
    runtime.shutdown_background();
    outcome
}

async fn run(options: Options, caught: impl FnOnce()) -> Result<(), String> {
    let (listener, bound) = listener(&options)?;
    options.warnings.iter().for_each(|warning| log("warning", json!({"text": warning})));
    let mut signals = signals()?;
    caught();
    let state = Arc::new(State::new(&options));
    let models = Arc::clone(&state.models);
    let most = options.connections.clamp(1, Semaphore::MAX_PERMITS);
    let connections = Arc::new(Semaphore::new(most));
    let (stop, stopping) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, Arc::clone(&state), Arc::clone(&connections), stopping));
    let mut listening = json!({"address": bound.to_string()});
    if let (Some(fixed), Some(listening)) = (models.fixed(), listening.as_object_mut()) {
        listening.insert("model".into(), fixed.into());
    }
    log("listening", listening);
    // A signal while the only model is being opened ends the server as well.
    if let First::Left(opened) = first(models.begin(), signals.recv()).await {
        let mut ready = json!({"seconds": state.started.elapsed().as_secs_f64()});
        if let (Some(facts), Some(ready)) = (opened?, ready.as_object_mut()) {
            ready.insert("context".into(), facts.context.into());
            ready.insert("kernels".into(), facts.kernels.into());
        }
        log("ready", ready);
        notify("READY=1");
        signals.recv().await;
    }
    log("stopping", json!({}));
    notify("STOPPING=1");
    accepting.abort();
    models.stop(GRACE);
    let _ = stop.send(true);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let ended = timeout(GRACE + Duration::from_secs(1), connections.acquire_many(all));
    match first(ended, signals.recv()).await {
        First::Left(Ok(_)) => log("stopped", json!({})),
        First::Left(Err(_)) => log("stopped", json!({"text": "connections were cut after the time to end them"})),
        First::Right(_) => log("stopped", json!({"text": "a second signal cut what was running"})),
    }
    Ok(())
}

impl State {
    /// What all requests share; no model is open.
    pub(crate) fn new(options: &Options) -> State {
        let Options { engine, models, host_names: names, origins, keys, .. } = options.clone();
        let max_body = options.max_body.min(usize::MAX / BODIES / 2);
        State {
            models: Arc::new(Models::new(models, engine)),
            guard: Guard { names, origins, keys },
            created: crate::api::now(),
            metrics: Arc::new(Metrics::new()),
            max_body,
            log_bodies: options.log_bodies,
            bodies: Semaphore::new((max_body.div_ceil(1024) * BODIES).min(Semaphore::MAX_PERMITS)),
            started: Instant::now(),
            random: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }
}

/// The socket that systemd has bound for the server (`LISTEN_FDS`), or else one of its own.
fn listener(options: &Options) -> Result<(TcpListener, SocketAddr), String> {
    let narrow = |address: SocketAddr| match address.ip().is_loopback() || !options.keys.is_empty() || options.open {
        true => Ok(()),
        false => Err(format!(
            "--host {}: others than this machine could use the server; give --api-key, or --open if that is meant",
            address.ip()
        )),
    };
    let given = listenfd::ListenFd::from_env().take_tcp_listener(0);
    let given =
        given.map_err(|error| format!("LISTEN_FDS: the first socket is none that TCP connections come to: {error}"))?;
    let asked = options.address;
    let taken = |error: std::io::Error| match given.is_some() {
        true => format!("LISTEN_FDS: the socket cannot be used: {error}"),
        false => format!("--host {} --port {}: the address cannot be bound: {error}", asked.ip(), asked.port()),
    };
    let listener = match &given {
        Some(given) => given.try_clone(),
        None => {
            narrow(asked)?;
            std::net::TcpListener::bind(asked)
        }
    };
    let listener = listener.map_err(taken)?;
    let bound = listener.local_addr().map_err(taken)?;
    narrow(bound)?;
    listener.set_nonblocking(true).map_err(taken)?;
    Ok((TcpListener::from_std(listener).map_err(taken)?, bound))
}

pub(crate) enum First<A, B> {
    Left(A),
    Right(B),
}

/// What comes first of two.
pub(crate) async fn first<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> First<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| {
        if let Poll::Ready(left) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(left));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

/// One message for each signal that asks for an end.
fn signals() -> Result<mpsc::Receiver<()>, String> {
    let (sender, signals) = mpsc::channel(2);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signal = signal(kind).map_err(|error| format!("signals cannot be caught: {error}"))?;
            let sender = sender.clone();
            tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(()).await.is_ok() {} });
        }
    }
    #[cfg(not(unix))]
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    Ok(signals)
}

/// Takes connections.
async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    connections: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
) {
    let error = Error::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections; try again later");
    let body = error.code("overloaded").value().to_string();
    let refusal = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // There are no descriptors left, say: those that end soon give some back.
                log("warning", json!({"text": format!("a connection cannot be taken: {error}")}));
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&connections).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(connection(stream, Arc::clone(&state), permit, stopping.clone()));
            }
            Err(_) => {
                state.metrics.refused.fetch_add(1, Ordering::Relaxed);
                // A new connection has room for so little. Whoever does not get it sees the connection closed.
                let _ = stream.into_std().and_then(|mut stream| stream.write_all(refusal.as_bytes()));
            }
        }
    }
}

/// Answers what comes on a connection.
pub(crate) async fn connection(
    stream: TcpStream,
    state: Arc<State>,
    permit: OwnedSemaphorePermit,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let answer = |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Connection::new(stream, WRITE_TIME)), service_fn(answer));
    let mut connection = pin!(connection);
    let mut stop: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    });
    let mut stopped = false;
    poll_fn(|context| {
        if !stopped && stop.as_mut().poll(context).is_ready() {
            stopped = true;
            connection.as_mut().graceful_shutdown();
        }
        // A connection that fails is the client's to notice.
        connection.as_mut().poll(context).map(drop)
    })
    .await;
    drop(permit);
}
