//! Errors in OpenAI's form.

use crate::engine::Refused;
use crate::http::{Answer, json};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// Why a request is not done: an HTTP status, and what OpenAI's form of errors has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    /// One line that says what to do.
    pub(crate) message: String,
    /// The parameter that is wrong.
    pub(crate) param: Option<String>,
    /// A word for programs.
    pub(crate) code: Option<&'static str>,
}

impl Error {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Error {
        Error { status, message: message.into(), param: None, code: None }
    }

    /// A request that cannot be done as it is.
    pub(crate) fn bad(message: impl Into<String>) -> Error {
        Error::new(StatusCode::BAD_REQUEST, message)
    }

    /// A parameter that is wrong.
    pub(crate) fn param(name: &str, why: impl std::fmt::Display) -> Error {
        Error { param: Some(name.to_owned()), ..Error::bad(format!("'{name}': {why}")) }
    }

    pub(crate) fn code(self, code: &'static str) -> Error {
        Error { code: Some(code), ..self }
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 | 421 => "permission_error",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            status if status >= 500 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The error as a value of JSON.
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        }})
    }

    pub(crate) fn answer(&self) -> Answer {
        let mut answer = json(self.status, &self.value());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let message = refused.to_string();
        match refused {
            Refused::Full => Error::new(StatusCode::SERVICE_UNAVAILABLE, message).code("queue_full"),
            Refused::Loading => Error::new(StatusCode::SERVICE_UNAVAILABLE, message).code("loading"),
            Refused::Stopping => Error::new(StatusCode::SERVICE_UNAVAILABLE, message).code("stopping"),
            Refused::TooLong { .. } => Error::bad(message).code("context_length_exceeded"),
            Refused::Empty | Refused::Parameter(_) | Refused::Purpose(_) => Error::bad(message),
        }
    }
}
