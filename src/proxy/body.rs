//! Bodies on their way through: nothing is buffered, truncated ones stay truncated, and silence ends them.

use std::cell::Cell;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::carrying::Carrying;
use super::headers;
use super::upstream::Lease;
use crate::clock::{self, Stopwatch};

/// What goes wrong with a body on its way.
#[derive(Debug)]
pub enum BodyError {
    /// The party that sends it broke off.
    Broken(hyper::Error),
    /// Nothing came for so long.
    Silent(Duration),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the body broke off: {error}"),
            Self::Silent(span) => write!(f, "no byte of the body came for {} s", span.as_secs()),
        }
    }
}

impl std::error::Error for BodyError {}

/// Ends a wait that lasts too long. One timer at most, made when something is first waited for and looked at when it
/// fires: a busy stream never touches it.
#[derive(Debug)]
struct Patience {
    limit: Option<Duration>,
    last: Stopwatch,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, last: Stopwatch::start(), timer: None }
    }

    fn moved(&mut self) {
        if self.timer.is_some() {
            self.last = Stopwatch::start();
        }
    }

    /// Called while nothing comes: ready with the limit once it has been so for that long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else { return Poll::Pending };
        if self.timer.is_none() {
            self.last = Stopwatch::start();
        }
        loop {
            let timer =
                self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::in_(limit))));
            std::task::ready!(timer.as_mut().poll(cx));
            if self.last.elapsed() >= limit {
                return Poll::Ready(limit);
            }
            timer.as_mut().reset(self.last.deadline(limit));
        }
    }
}

/// Whether a request's body has been sent to its end; shared with whoever holds the connection.
#[derive(Clone, Debug, Default)]
pub struct Upload(Rc<Cell<bool>>);

impl Upload {
    /// Whether nothing of the body is left to send.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.get()
    }
}

/// A caller's body on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    upload: Upload,
    patience: Patience,
}

impl RequestBody {
    /// `incoming`, which may be silent for as long as `limit`.
    #[must_use]
    pub fn new(incoming: Incoming, limit: Option<Duration>) -> Self {
        let upload = Upload::default();
        upload.0.set(incoming.is_end_stream());
        let incoming = (!upload.is_done()).then_some(incoming);
        Self { incoming, upload, patience: Patience::new(limit) }
    }

    /// No body.
    #[must_use]
    pub fn none() -> Self {
        let upload = Upload::default();
        upload.0.set(true);
        Self { incoming: None, upload, patience: Patience::new(None) }
    }

    /// Tells when the body has been sent.
    #[must_use]
    pub fn upload(&self) -> Upload {
        self.upload.clone()
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = this.incoming.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(cx) else {
            return this.patience.poll_over(cx).map(|limit| Some(Err(BodyError::Silent(limit))));
        };
        this.patience.moved();
        let ended = polled.is_none() || matches!(&polled, Some(Ok(_))) && incoming.is_end_stream();
        this.upload.0.set(ended);
        Poll::Ready(polled.map(|frame| frame.map(filtered).map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// What a caller gets.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Held until the end, so that limits and drains know of the request.
    #[expect(dead_code, reason = "held, not read")]
    carrying: Option<Carrying>,
}

#[derive(Debug)]
enum Kind {
    Bytes(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    /// An answer of the proxy's own.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { kind: Kind::Bytes(Some(bytes).filter(|bytes| !bytes.is_empty())), carrying: None }
    }

    /// An upstream's body with the connection that it comes over; silence is ended after `limit`.
    #[must_use]
    pub(super) fn from_upstream(incoming: Incoming, mut lease: Lease, limit: Option<Duration>) -> Self {
        if incoming.is_end_stream() {
            lease.give_back();
            return Self::empty();
        }
        let upstream = UpstreamBody { incoming, lease: Some(lease), patience: Patience::new(limit) };
        Self { kind: Kind::Upstream(upstream), carrying: None }
    }

    /// The same, holding the request's place until its end.
    #[must_use]
    pub fn holding(self, carrying: Carrying) -> Self {
        Self { carrying: Some(carrying), ..self }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Upstream(upstream) => upstream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.is_none(),
            Kind::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

/// An upstream's body: it drives the connection that it comes over, and gives it back at its end.
#[derive(Debug)]
struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    patience: Patience,
}

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(lease) = self.lease.as_mut() {
            lease.drive(cx);
        }
        let Poll::Ready(polled) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.patience.poll_over(cx).map(|limit| Some(Err(BodyError::Silent(limit))));
        };
        self.patience.moved();
        // hyper does not poll a body whose end it knows once more, so the end is looked for here.
        let ended = polled.is_none() || matches!(&polled, Some(Ok(_))) && self.incoming.is_end_stream();
        if ended && let Some(mut lease) = self.lease.take() {
            lease.drive(cx);
            lease.give_back();
        }
        Poll::Ready(polled.map(|frame| frame.map(filtered).map_err(BodyError::Broken)))
    }
}

/// Trailers lose what they may not hold.
fn filtered(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::prepare_trailers(trailers);
    }
    frame
}
