//! Bodies on their way through: nothing is buffered, truncated ones stay truncated, and silence ends them.

mod patience;
mod request;

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

pub(crate) use self::patience::Patience;
pub use self::request::{RequestBody, Upload};
use super::carrying::Carrying;
use super::connection::Pulse;
use super::headers;
use super::upgrade::Tunnel;
use super::upstream::Hold;

/// What goes wrong with a body on its way.
#[derive(Debug)]
pub enum BodyError {
    /// The party that sends it broke off.
    Broken(hyper::Error),
    /// Nothing came for so long.
    Silent(Duration),
    /// It is being sent elsewhere, once more.
    Sent,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the body broke off: {error}"),
            Self::Silent(span) => write!(f, "no byte of the body came for {} s", span.as_secs()),
            Self::Sent => f.write_str("the body is being sent elsewhere"),
        }
    }
}

impl std::error::Error for BodyError {}

/// How many frames of an unwanted answer are read before its connection is given up instead.
const SPILLED_FRAMES: usize = 16;

/// What a caller gets.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Held until the end, so that limits and drains know of the request.
    #[expect(dead_code, reason = "held, not read")]
    carrying: Option<Carrying>,
    /// Told of each frame, where a stream is watched.
    pulse: Option<Rc<Pulse>>,
}

#[derive(Debug)]
enum Kind {
    Bytes(Option<Bytes>),
    Upstream(UpstreamBody),
    Tunnel(Box<Tunnel>),
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
        Self { kind: Kind::Bytes(Some(bytes).filter(|bytes| !bytes.is_empty())), carrying: None, pulse: None }
    }

    /// An upstream's body with what it comes over; silence in both directions is ended after `limit`.
    #[must_use]
    pub(super) fn from_upstream(incoming: Incoming, hold: Hold, limit: Option<Duration>) -> Self {
        if incoming.is_end_stream() {
            hold.let_go();
            return Self::empty();
        }
        let upstream = UpstreamBody { incoming, hold: Some(hold), limit, fault: None };
        Self { kind: Kind::Upstream(upstream), carrying: None, pulse: None }
    }

    /// Nobody wants it: what has come of it is thrown away, so that the connection can go on if that was all of it.
    pub(super) fn spill(mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..SPILLED_FRAMES {
            match Pin::new(&mut self).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }

    /// Not a body: what both sides say to each other after a 101. Whoever serves the caller's connection takes it.
    #[must_use]
    pub(super) fn from_tunnel(tunnel: Tunnel) -> Self {
        Self { kind: Kind::Tunnel(Box::new(tunnel)), carrying: None, pulse: None }
    }

    /// The tunnel, if there is to be one.
    #[must_use]
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        if !matches!(self.kind, Kind::Tunnel(_)) {
            return None;
        }
        match std::mem::replace(&mut self.kind, Kind::Bytes(None)) {
            Kind::Tunnel(tunnel) => Some(*tunnel),
            Kind::Bytes(_) | Kind::Upstream(_) => None,
        }
    }

    /// The same, moving the stream that it goes out on.
    #[must_use]
    pub(super) fn on(mut self, pulse: Rc<Pulse>) -> Self {
        let hold = match &mut self.kind {
            Kind::Upstream(upstream) => upstream.hold.as_mut(),
            Kind::Bytes(_) | Kind::Tunnel(_) => None,
        };
        pulse.begin(hold.map(Hold::upload));
        Self { pulse: Some(pulse), ..self }
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
            Kind::Upstream(upstream) => {
                let polled = upstream.poll_frame(cx);
                if let (Poll::Ready(Some(_)), Some(pulse)) = (&polled, &self.pulse) {
                    pulse.moved();
                }
                polled
            }
            Kind::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.is_none(),
            Kind::Upstream(upstream) => upstream.incoming.is_end_stream(),
            Kind::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream(upstream) => upstream.incoming.size_hint(),
            Kind::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// An upstream's body: it drives the connection that it comes over, and lets it go at its end.
#[derive(Debug)]
struct UpstreamBody {
    incoming: Incoming,
    hold: Option<Hold>,
    limit: Option<Duration>,
    /// Told one turn late: hyper throws away what it has not flushed when it hears of an error, and the frames before
    /// this one are good.
    fault: Option<BodyError>,
}

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        let polled = match self.hold.as_mut() {
            Some(hold) => poll_driven(&mut self.incoming, hold, cx),
            None => Pin::new(&mut self.incoming).poll_frame(cx),
        };
        let Poll::Ready(polled) = polled else { return self.poll_silent(cx) };
        // hyper does not poll a body whose end it knows once more, so the end is looked for here.
        let ended = polled.is_none() || matches!(&polled, Some(Ok(_))) && self.incoming.is_end_stream();
        match self.hold.as_mut() {
            Some(hold) if !ended => hold.moved(),
            _ => self.hold.take().into_iter().for_each(Hold::let_go),
        }
        match polled {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(filtered(frame)))),
            Some(Err(error)) => {
                self.fault = Some(BodyError::Broken(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(hold) = self.hold.as_mut() else { return Poll::Pending };
        hold.poll_silent(self.limit, cx).map(|limit| Some(Err(BodyError::Silent(limit))))
    }
}

/// Asked first, the body tells its connection that there is room; driven then, the connection fills it.
fn poll_driven(
    incoming: &mut Incoming,
    hold: &mut Hold,
    cx: &mut Context<'_>,
) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    let polled = Pin::new(&mut *incoming).poll_frame(cx);
    if polled.is_ready() {
        return polled;
    }
    hold.drive(cx);
    Pin::new(incoming).poll_frame(cx)
}

/// Trailers lose what they may not hold.
fn filtered(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::prepare_trailers(trailers);
    }
    frame
}
