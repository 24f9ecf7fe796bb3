//! HTTP below the interfaces: connections with a limit of time for writing, bodies that are read within limits and written piece by piece.

use crate::api::Error;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Sleep, sleep, timeout};

/// What a request is answered with.
pub(crate) type Answer = Response<Body>;

/// The pieces of an answer that is made as it is read.
pub(crate) trait Pieces: Send {
    /// The next piece; none at the end.
    fn poll_piece(&mut self, context: &mut Context) -> Poll<Option<Bytes>>;
}

/// The body of an answer.
pub(crate) enum Body {
    Whole(Option<Bytes>),
    Pieces(Box<dyn Pieces>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Pieces(pieces) => pieces.poll_piece(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// An answer with a body of this type.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::Whole(None));
    *answer.status_mut() = status;
    answer
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Values whose keys are texts have a form in JSON.
    let text = serde_json::to_string(value).unwrap_or_default();
    answer(status, "application/json", Body::Whole(Some(text.into())))
}

/// The whole body of a request, of so many bytes and within so much time, and its room among all bodies, whose KiB `room` counts.
///
/// # Errors
/// 413, 408, 503 if there is no room, and 400 for what is no body.
pub(crate) async fn read(
    mut body: Incoming,
    most: usize,
    room: &Semaphore,
    within: Duration,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), Error> {
    let too_large = || {
        let message =
            format!("the body is larger than {most} bytes; send less, or start the server with a larger --max-body");
        Error::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let full = || {
        let message = "the bodies of other requests leave no room for this one; try again later";
        Error::new(StatusCode::SERVICE_UNAVAILABLE, message).code("overloaded")
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let collected = async {
        let (mut bytes, mut held): (Vec<u8>, Option<SemaphorePermit>) = (Vec::new(), None);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|error| Error::bad(format!("the body cannot be read: {error}")))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len().saturating_add(data.len()) > most {
                    return Err(too_large());
                }
                // Room is taken for what has come, so that who announces much and sends nothing has none.
                let has = held.as_ref().map_or(0, SemaphorePermit::num_permits);
                let needs = (bytes.len() + data.len()).div_ceil(1024).saturating_sub(has);
                let more = room.try_acquire_many(u32::try_from(needs).unwrap_or(u32::MAX)).map_err(|_| full())?;
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok((bytes, held))
    };
    let late = || Error::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {within:?}"));
    timeout(within, collected).await.unwrap_or_else(|_| Err(late()))
}

/// A connection that fails if nothing can be written to it for so long.
pub(crate) struct Connection {
    stream: TcpStream,
    patience: Duration,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, patience: Duration) -> Connection {
        Connection { stream, patience, waits: None }
    }

    fn within<T>(&mut self, context: &mut Context, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        waits.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        let polled = Pin::new(&mut connection.stream).poll_write(context, bytes);
        connection.within(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        let polled = Pin::new(&mut connection.stream).poll_write_vectored(context, bytes);
        connection.within(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
