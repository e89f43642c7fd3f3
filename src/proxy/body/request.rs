//! A caller's body on its way to the upstream.
//!
//! It is read ahead a little while a request waits for its token or its connection, because a caller that goes away is
//! only seen by whoever reads from it (P49); and what was sent of it is remembered a little, because it may have to be
//! sent once more: after an HTTP/2 stream came back refused (P54), or with another token (P56).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use super::patience::Patience;
use crate::proxy::error::{Code, ProxyError};
use crate::proxy::{Limits, headers};

/// How much is read ahead.
const ENOUGH: usize = 64 * 1024;

/// What an upstream is sent. A request without a body costs nothing here.
pub struct RequestBody {
    shared: Option<Rc<RefCell<Shared>>>,
    /// Which sending this is; an earlier one gets nothing more.
    turn: u32,
}

/// The same body, for whoever watches over the request.
#[derive(Clone)]
pub struct Upload(Option<Rc<RefCell<Shared>>>);

/// Never borrowed over an await.
struct Shared {
    /// None once it has ended.
    incoming: Option<Incoming>,
    ahead: VecDeque<Piece>,
    ahead_len: usize,
    sent: Sent,
    /// Bytes in all, if the caller said so, and how many of them have been sent.
    length: Option<u64>,
    passed: u64,
    turn: u32,
    /// Frames that were sent: tells whether an upload moves.
    frames: u64,
    /// How many there were when somebody last asked.
    noticed: u64,
    /// The upstream would take more, and the caller sends nothing.
    starved: bool,
    fault: Option<Fault>,
    limit: Option<Duration>,
    /// How much of what was sent is remembered at most, in bytes.
    memory: usize,
    /// Where the token goes.
    credential: HeaderName,
    patience: Patience,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// What was sent already.
enum Sent {
    /// Not remembered.
    Gone,
    Remembered(Vec<Piece>, usize),
}

/// How the caller failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Broken,
    Malformed,
    Silent,
}

impl Fault {
    /// A chunk that is none is told from a caller that went away by the kind of what lies below hyper's error.
    fn of(error: &hyper::Error) -> Self {
        let below = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        match below.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::Broken,
        }
    }
}

impl RequestBody {
    /// `incoming`, which may be silent for as long as `limits` say, and of which they say how much is remembered; its
    /// trailers may not hold `credential`.
    #[must_use]
    pub fn new(incoming: Incoming, limits: &Limits, credential: &HeaderName) -> Self {
        if incoming.is_end_stream() {
            return Self::none();
        }
        let shared = Shared {
            length: incoming.size_hint().exact(),
            incoming: Some(incoming),
            ahead: VecDeque::new(),
            ahead_len: 0,
            sent: Sent::Gone,
            passed: 0,
            turn: 0,
            frames: 0,
            noticed: 0,
            starved: false,
            fault: None,
            limit: limits.body_timeout,
            memory: limits.replay_body,
            credential: credential.clone(),
            patience: Patience::default(),
        };
        Self { shared: Some(Rc::new(RefCell::new(shared))), turn: 0 }
    }

    /// No body.
    #[must_use]
    pub fn none() -> Self {
        Self { shared: None, turn: 0 }
    }

    /// For whoever watches over the request.
    #[must_use]
    pub fn upload(&self) -> Upload {
        Upload(self.shared.clone())
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(shared) = &self.shared else { return Poll::Ready(None) };
        let mut shared = shared.borrow_mut();
        if shared.turn == self.turn { shared.poll_frame(cx) } else { Poll::Ready(Some(Err(BodyError::Sent))) }
    }

    fn is_end_stream(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.borrow().is_done())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else { return SizeHint::with_exact(0) };
        let shared = shared.borrow();
        let left = shared.length.map(|length| length.saturating_sub(shared.passed));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Shared {
    fn is_done(&self) -> bool {
        self.incoming.is_none() && self.ahead.is_empty()
    }

    /// Whether something was sent since this was last asked.
    fn has_moved(&mut self) -> bool {
        self.frames != std::mem::replace(&mut self.noticed, self.frames)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = match self.ahead.pop_front() {
            Some(piece) => piece,
            None => match self.poll_caller(cx) {
                Poll::Ready(Some(Ok(piece))) => piece,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.starved = true;
                    let silent = self.patience.poll_over(self.limit, cx);
                    return silent.map(|limit| {
                        self.fault = Some(Fault::Silent);
                        Some(Err(BodyError::Silent(limit)))
                    });
                }
            },
        };
        self.starved = false;
        self.patience.moved();
        self.frames += 1;
        self.remember(&piece);
        Poll::Ready(Some(Ok(match piece {
            Piece::Data(bytes) => {
                self.ahead_len = self.ahead_len.saturating_sub(bytes.len());
                self.passed += bytes.len() as u64;
                Frame::data(bytes)
            }
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        })))
    }

    /// What the caller sends next.
    fn poll_caller(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        loop {
            let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
            let polled = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
            // hyper's own bodies know their end before they are asked for more.
            if polled.is_none() || matches!(&polled, Some(Ok(_))) && incoming.is_end_stream() {
                self.incoming = None;
            }
            let frame = match polled {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.fault = Some(Fault::of(&error));
                    return Poll::Ready(Some(Err(BodyError::Broken(error))));
                }
            };
            match frame.into_data().map_err(Frame::into_trailers) {
                Ok(bytes) => return Poll::Ready(Some(Ok(Piece::Data(bytes)))),
                Err(Ok(mut trailers)) => {
                    headers::prepare_request_trailers(&mut trailers, &self.credential);
                    return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
                }
                Err(Err(_unknown)) => {}
            }
        }
    }

    /// Reads ahead while nobody sends; ready when the caller has failed.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ahead_len < ENOUGH {
            match self.poll_caller(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    if let Piece::Data(bytes) = &piece {
                        self.ahead_len += bytes.len();
                    }
                    self.ahead.push_back(piece);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    fn remember(&mut self, piece: &Piece) {
        if let Sent::Remembered(pieces, size) = &mut self.sent {
            *size += if let Piece::Data(bytes) = piece { bytes.len() } else { 0 };
            pieces.push(piece.clone());
            if *size > self.memory {
                self.sent = Sent::Gone;
            }
        }
    }
}

impl Upload {
    /// Whether nothing of the body is left to send.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.borrow().is_done())
    }

    /// Whether there never was a body.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// How many frames have been sent.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.borrow().frames)
    }

    /// Called while the head of an answer is awaited: ready when that lasts longer than `limit`. The clock starts
    /// anew with each frame of the body that is sent, and stands while the upstream waits for the caller.
    pub(crate) fn poll_late(
        &self,
        patience: &mut Patience,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        if let Some(shared) = &self.0 {
            let mut shared = shared.borrow_mut();
            if shared.has_moved() || shared.starved && !shared.is_done() {
                patience.moved();
            }
        }
        patience.poll_over(limit, cx)
    }

    /// Called while an answer is silent: ready when nothing has moved in either direction for `limit`.
    pub(crate) fn poll_silent(
        &self,
        patience: &mut Patience,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        if self.0.as_ref().is_some_and(|shared| shared.borrow_mut().has_moved()) {
            patience.moved();
        }
        patience.poll_over(limit, cx)
    }

    /// What the caller did wrong, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<ProxyError> {
        let (code, sentence) = match self.0.as_ref()?.borrow().fault? {
            Fault::Silent => (Code::RequestTimeout, "The request's body stopped coming."),
            Fault::Broken => (Code::RequestTimeout, "The request's body broke off."),
            Fault::Malformed => (Code::Malformed, "The request's body is not framed as it should be."),
        };
        Some(ProxyError::new(code, sentence).closing())
    }

    /// From now on what is sent is remembered, up to a limit.
    pub(crate) fn remember(&self) {
        if let Some(shared) = &self.0 {
            let mut shared = shared.borrow_mut();
            let fits = shared.length.is_none_or(|length| length <= shared.memory as u64);
            shared.sent = if fits { Sent::Remembered(Vec::new(), 0) } else { Sent::Gone };
        }
    }

    /// Whether all that was sent is remembered.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| {
            let shared = shared.borrow();
            shared.fault.is_none() && (shared.frames == 0 || matches!(shared.sent, Sent::Remembered(..)))
        })
    }

    /// The body once more, from its beginning, if all that was sent of it is remembered. The one before gets no more.
    #[must_use]
    pub fn again(&self) -> Option<RequestBody> {
        let Some(rc) = &self.0 else { return Some(RequestBody::none()) };
        if !self.is_held() {
            return None;
        }
        let mut shared = rc.borrow_mut();
        let sent = match std::mem::replace(&mut shared.sent, Sent::Gone) {
            Sent::Remembered(pieces, _) => pieces,
            Sent::Gone => Vec::new(),
        };
        for piece in sent.into_iter().rev() {
            shared.ahead.push_front(piece);
        }
        shared.ahead_len += usize::try_from(shared.passed).unwrap_or(usize::MAX);
        shared.passed = 0;
        shared.frames = 0;
        shared.turn += 1;
        Some(RequestBody { shared: Some(Rc::clone(rc)), turn: shared.turn })
    }

    /// Waits for `what`, and reads the body ahead meanwhile.
    ///
    /// # Errors
    /// When the caller fails first.
    pub async fn meanwhile<T>(&self, what: impl Future<Output = T>) -> Result<T, ProxyError> {
        let mut what = pin!(what);
        poll_fn(|cx| {
            if let Poll::Ready(done) = what.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let failed = self.0.as_ref().is_some_and(|shared| shared.borrow_mut().poll_ahead(cx).is_ready());
            match self.fault() {
                Some(fault) if failed => Poll::Ready(Err(fault)),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("none", &self.shared.is_none()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("done", &self.is_done()).finish_non_exhaustive()
    }
}
