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

pub(crate) use error::Error;
pub(crate) use guard::Guard;

use crate::defaults::Defaults;
use crate::engine::{Engine, Facts, Refused};
use crate::http::{self, Answer, Body};
use crate::log::log;
use crate::metrics::Metrics;
use chat::Chat;
use fields::Fields;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// What all requests share.
pub(crate) struct State {
    pub(crate) engine: OnceLock<Engine>,
    pub(crate) guard: Guard,
    /// The name of the model.
    pub(crate) id: String,
    pub(crate) defaults: Arc<Defaults>,
    pub(crate) created: u64,
    pub(crate) fingerprint: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) chat: Arc<OnceLock<Result<Chat, String>>>,
    /// Streams that run and wait, at most.
    pub(crate) streams: usize,
    /// Bytes of a body, at most.
    pub(crate) max_body: usize,
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
/// Bytes of a text whose tokens are counted in any case, as some tokenizers make few of many.
const BYTES: usize = 1 << 18;
/// The time within which a body must be there.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Seconds since the start of 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    /// The model's facts, once it is open.
    fn facts(&self) -> Result<Facts, Refused> {
        self.engine.get().and_then(Engine::facts).cloned().ok_or(Refused::Loading)
    }

    /// The facts of a model that writes text.
    fn writer(&self) -> Result<Facts, Refused> {
        let facts = self.facts()?;
        let cannot =
            || Refused::Purpose(format!("this model of the architecture {} cannot write text", facts.architecture));
        if facts.writes { Ok(facts) } else { Err(cannot()) }
    }

    fn engine(&self) -> Result<&Engine, Refused> {
        self.engine.get().ok_or(Refused::Loading)
    }

    /// Checks the name of the model, if one is given.
    fn model(&self, fields: &Fields) -> Result<(), Error> {
        match fields.get::<String>("model")? {
            Some(model) => self.known(&model),
            None => Ok(()),
        }
    }

    fn known(&self, model: &str) -> Result<(), Error> {
        if model == self.id {
            return Ok(());
        }
        let told: String = model.chars().take(100).collect();
        let message = format!("there is no model {told:?} here, only {:?}", self.id);
        Err(Error { param: Some("model".into()), ..Error::new(StatusCode::NOT_FOUND, message).code("model_not_found") })
    }

    /// Refuses a text that cannot fit the context, by its bytes: to find out how many tokens it has would take long.
    fn fits(&self, facts: &Facts, param: &str, bytes: usize) -> Result<(), Error> {
        let most = facts.context.saturating_mul(facts.longest_token).max(BYTES);
        if bytes <= most {
            return Ok(());
        }
        let context = facts.context;
        let why = format!("{bytes} bytes are more than fit the context, which holds {context} tokens; shorten it");
        Err(Error::param(param, why).code("context_length_exceeded"))
    }

    /// Whether so many choices can run or wait at all.
    fn room(&self, choices: usize) -> Result<(), Error> {
        let most = self.streams;
        if choices <= most {
            return Ok(());
        }
        Err(Error::param("n", format!("{choices} answers are asked for at once, but there is room for {most}")))
    }

    /// A number that is another each time.
    fn random(&self) -> u64 {
        self.random.hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Reads the chat template before the first conversation needs it. Tells what is wrong with it, and with stop texts of the model's registry.
    pub(crate) async fn prepare(&self) -> Vec<String> {
        let (Ok(facts), Ok(engine)) = (self.writer(), self.engine()) else { return Vec::new() };
        let (chat, defaults) = (Arc::clone(&self.chat), Arc::clone(&self.defaults));
        let job = engine.texts(0, move |texts| {
            let chat = match Chat::has_template(&facts, &defaults) {
                true => chat.get_or_init(|| Chat::of(&facts, &defaults, texts)).as_ref().err().cloned(),
                false => None,
            };
            let stops = defaults.stops.iter().filter_map(|stop| {
                let error = sampling::control_stops(texts.tokenizer, std::slice::from_ref(stop), 1).err()?;
                Some(format!("of the model's registry: {}", error.message))
            });
            chat.into_iter().chain(stops).collect()
        });
        job.await.unwrap_or_default()
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
                let text = self.metrics.text(self.engine.get());
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                Ok(http::answer(StatusCode::OK, kind, Body::Whole(Some(text.into()))))
            }
            "/props" => models::props(self),
            "/models" => Ok(models::list(self)),
            _ if model.is_some() => models::retrieve(self, model.unwrap_or_default()),
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
        let answer = match path {
            "/chat/completions" => chat::complete(self, &body, arrival).await,
            "/completions" => completions::complete(self, &body, arrival).await,
            "/infill" => infill::complete(self, &body, arrival).await,
            "/embeddings" => embeddings::embed(self, &body).await,
            "/rerank" => embeddings::rerank(self, &body).await,
            "/tokenize" => models::tokenize(self, &body).await,
            _ => models::detokenize(self, &body).await,
        };
        drop(room);
        answer
    }

    fn ready(&self) -> Answer {
        match (self.facts(), self.engine.get()) {
            (Ok(_), Some(engine)) if !engine.is_over() => http::json(StatusCode::OK, &json!({"status": "ok"})),
            (Ok(_), _) => Error::from(Refused::Stopping).answer(),
            (Err(_), _) => {
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
