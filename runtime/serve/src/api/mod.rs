//! The interfaces: which path is answered by what.

mod chat;
mod completions;
mod embeddings;
mod error;
mod fields;
mod form;
mod generation;
mod guard;
mod infill;
mod models;
mod sampling;

pub(crate) use chat::Chat;
pub(crate) use error::Error;
pub(crate) use guard::Guard;
pub(crate) use sampling::control_stops;

use crate::engine::Refused;
use crate::http::{self, Answer, Body};
use crate::log::log;
use crate::metrics::Metrics;
use crate::models::{Lease, Models};
use fields::Fields;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// What all requests share.
pub(crate) struct State {
    pub(crate) models: Arc<Models>,
    pub(crate) guard: Guard,
    /// When the server began, in seconds since 1970.
    pub(crate) created: u64,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of a body, at most.
    pub(crate) max_body: usize,
    /// Whether bodies are written to the log.
    pub(crate) log_bodies: bool,
    /// Room for bodies that are read, in KiB.
    pub(crate) bodies: Semaphore,
    pub(crate) started: Instant,
    pub(crate) random: RandomState,
    pub(crate) count: AtomicU64,
}

/// A request as it came.
pub(crate) struct Arrival {
    /// Its name in the log, and in `x-request-id`.
    pub(crate) id: String,
    pub(crate) at: Instant,
    /// Whether it has a body that is not read: then nothing else can come on its connection.
    unread: AtomicBool,
}

/// Bodies of the largest size that are read at once.
pub(crate) const BODIES: usize = 4;
/// The time within which a body must be there.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Seconds since the start of 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    /// The model that a request names, once it is open. Without a name it is the only one that there is.
    async fn model(&self, fields: &Fields<'_>) -> Result<Lease, Error> {
        let name = fields.get::<String>("model")?;
        self.models.lease(name.as_deref()).await
    }

    /// A number that is another each time.
    fn random(&self) -> u64 {
        self.random.hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let unread = AtomicBool::new(!request.body().is_end_stream());
        let arrival = Arrival { id: format!("{:016x}", self.random()), at: Instant::now(), unread };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let cors = self.guard.cors(request.headers());
        let mut answer = match self.route(request, &arrival).await {
            Ok(answer) => answer,
            Err(error) => error.answer(),
        };
        if let Some(origin) = cors {
            self.guard.allow(&mut answer, origin);
        }
        let headers = answer.headers_mut();
        if arrival.unread.into_inner() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(&arrival.id) {
            headers.insert("x-request-id", id);
        }
        let seconds = (arrival.at.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        let path: String = path.chars().take(100).collect();
        let status = answer.status().as_u16();
        self.metrics.answered(status);
        let fields =
            json!({"id": arrival.id, "method": method.as_str(), "path": path, "status": status, "seconds": seconds});
        log("request", fields);
        answer
    }

    async fn route(&self, request: Request<Incoming>, arrival: &Arrival) -> Result<Answer, Error> {
        self.guard.host(&request)?;
        self.guard.origin(request.headers())?;
        if request.method() == Method::OPTIONS {
            return Ok(http::empty(StatusCode::NO_CONTENT));
        }
        let path = request.uri().path().to_owned();
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(&path);
        let public = matches!(path, "/health" | "/livez" | "/readyz");
        if !public {
            self.guard.key(request.headers())?;
        }
        let model = path.strip_prefix("/models/");
        let posted = match path {
            // A model may have such a name.
            "/models/load" | "/models/unload" => request.method() == Method::POST,
            "/health" | "/livez" | "/readyz" | "/metrics" | "/props" | "/models" => false,
            _ if model.is_some() => false,
            "/chat/completions" | "/completions" | "/infill" | "/embeddings" | "/rerank" | "/tokenize"
            | "/detokenize" => true,
            _ => {
                let told: String = path.chars().take(100).collect();
                return Err(Error::new(StatusCode::NOT_FOUND, format!("there is nothing at {told}")).code("not_found"));
            }
        };
        let fits = match posted {
            true => request.method() == Method::POST,
            false => matches!(*request.method(), Method::GET | Method::HEAD),
        };
        if !fits {
            let allowed = if posted { "POST" } else { "GET, HEAD" };
            let message = format!("{} is not possible here; use {allowed}", request.method());
            let mut answer = Error::new(StatusCode::METHOD_NOT_ALLOWED, message).answer();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return Ok(answer);
        }
        match path {
            "/livez" => Ok(http::json(StatusCode::OK, &json!({"status": "ok"}))),
            "/health" | "/readyz" => Ok(self.ready()),
            "/metrics" => {
                let text = self.metrics.text(&self.models.totals());
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                Ok(http::answer(StatusCode::OK, kind, Body::Whole(Some(text.into()))))
            }
            "/props" => models::props(self, request.uri().query().unwrap_or_default()).await,
            "/models" => models::list(self).await,
            _ if model.is_some() && !posted => models::retrieve(self, model.unwrap_or_default()).await,
            _ => {
                let path = path.to_owned();
                self.posted(&path, request, arrival).await
            }
        }
    }

    async fn posted(&self, path: &str, request: Request<Incoming>, arrival: &Arrival) -> Result<Answer, Error> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" {
            let message = "the body must be JSON; send 'Content-Type: application/json'";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let (body, room) = http::read(request.into_body(), self.max_body, &self.bodies, BODY_TIME).await?;
        arrival.unread.store(false, Ordering::Relaxed);
        if self.log_bodies {
            log("body", json!({"id": arrival.id, "text": String::from_utf8_lossy(&body)}));
        }
        let answer = match path {
            "/chat/completions" => chat::complete(self, &body, arrival).await,
            "/completions" => completions::complete(self, &body, arrival).await,
            "/infill" => infill::complete(self, &body, arrival).await,
            "/embeddings" => embeddings::embed(self, &body).await,
            "/rerank" => embeddings::rerank(self, &body).await,
            "/models/load" => models::load(self, &body).await,
            "/models/unload" => models::unload(self, &body).await,
            "/tokenize" => models::tokenize(self, &body).await,
            _ => models::detokenize(self, &body).await,
        };
        drop(room);
        answer
    }

    fn ready(&self) -> Answer {
        match self.models.ready() {
            Ok(()) => http::json(StatusCode::OK, &json!({"status": "ok"})),
            Err(refused) if refused != Refused::Loading => Error::from(refused).answer(),
            Err(_) => {
                let seconds = self.started.elapsed().as_secs_f64();
                let progress = json!({"status": "loading", "seconds": (seconds * 1e3).round() / 1e3});
                let mut answer = Error::from(Refused::Loading).answer();
                let value = match Error::from(Refused::Loading).value() {
                    serde_json::Value::Object(mut value) => {
                        value.insert("progress".into(), progress);
                        value.into()
                    }
                    other => other,
                };
                *answer.body_mut() = Body::Whole(Some(value.to_string().into()));
                answer
            }
        }
    }
}
