//! HTTP/1.1 connections to one upstream. A connection is driven by the request that uses it, then by the body of its
//! response; between requests it rests here, driven by nobody.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::Target;
use super::connect::{self, Wire};
use crate::clock::{self, Stopwatch};
use crate::proxy::Limits;
use crate::proxy::body::{RequestBody, Upload};
use crate::proxy::error::{Code, ProxyError};
use crate::secret;
use crate::tls::Tls;

/// A request that may not be sent again takes no connection that rested longer: servers close idle ones, and the
/// shorter the rest, the rarer the race (P55).
const FRESH: Duration = Duration::from_secs(3);

/// One upstream's connections in one worker.
pub(super) struct Pool {
    target: Target,
    tls: Tls,
    limits: Limits,
    /// The one used last is taken first: the others then grow old and are closed.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    conn: Conn,
    since: Stopwatch,
}

struct Conn {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    /// Whether a byte has come since the request went out.
    heard: Rc<Cell<bool>>,
    born: Stopwatch,
    /// How long it may live: the limit, and a tenth of it more or less, so that many do not end at once.
    age: Duration,
    /// How long it may rest, as the upstream last said.
    rest: Duration,
    reused: bool,
}

type Driver = Pin<Box<Connection<TokioIo<Wire>, RequestBody>>>;

impl Pool {
    pub(super) fn new(target: Target, tls: Tls, limits: &Limits) -> Self {
        Self { target, tls, limits: limits.clone(), idle: RefCell::default() }
    }

    /// A connection that rests and is still good.
    pub(super) fn take(self: &Rc<Self>, retriable: bool) -> Option<Lease> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            let rested = idle.since.elapsed();
            if !idle.is_good() {
                continue;
            }
            if !retriable && rested >= FRESH {
                self.idle.borrow_mut().push(idle);
                return None;
            }
            idle.conn.reused = true;
            // Driven once: the upstream may have closed it meanwhile.
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if idle.conn.driver.as_mut().poll(&mut cx).is_ready() || !idle.conn.sender.is_ready() {
                continue;
            }
            return Some(Lease::new(idle.conn, self));
        }
    }

    /// A new connection.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Lease, ProxyError> {
        let (wire, heard) = Wire::new(connect::connect(&self.target, &self.tls, &self.limits).await?);
        let broken = |error: hyper::Error| ProxyError::new(Code::UpstreamProtocol, error.to_string());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.limits.header_size.max(64 * 1024))
            .handshake(TokioIo::new(wire))
            .await
            .map_err(broken)?;
        let age = self.limits.upstream_age.mul_f64(0.9 + 0.2 * secret::dice());
        let (born, rest) = (Stopwatch::start(), self.limits.upstream_idle);
        Ok(Lease::new(
            Conn { sender, driver: Box::pin(connection), heard, born, age, rest, reused: false },
            self,
        ))
    }

    pub(super) fn sweep(&self) {
        self.idle.borrow_mut().retain(Idle::is_good);
    }
}

impl Idle {
    fn is_good(&self) -> bool {
        self.since.elapsed() < self.conn.rest && self.conn.born.elapsed() < self.conn.age
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}

/// How an attempt to send ended.
pub(super) enum Outcome {
    Answered(Box<(Response<Incoming>, Lease)>),
    /// It came back whole: nothing was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The connection closed before any byte of an answer.
    Closed(ProxyError),
    Failed(ProxyError),
}

/// A connection in use. Dropping it closes the connection; `give_back` keeps it, if it may be kept.
pub struct Lease {
    conn: Option<Conn>,
    pool: Weak<Pool>,
    upload: Upload,
    /// The response said that nothing more is to come over this connection, or framed itself twice.
    spent: bool,
}

impl Lease {
    fn new(conn: Conn, pool: &Rc<Pool>) -> Self {
        Self { conn: Some(conn), pool: Rc::downgrade(pool), upload: Upload::default(), spent: false }
    }

    pub(super) fn is_reused(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.reused)
    }

    /// Sends a request and drives the connection until the head of the response is there.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        upload: Upload,
        patience: Option<Duration>,
    ) -> Outcome {
        self.upload = upload;
        let Some(conn) = self.conn.as_mut() else { return Outcome::Unsent(Box::new(request)) };
        conn.heard.set(false);
        let heard = Rc::clone(&conn.heard);
        let mut sending = Box::pin(conn.sender.try_send_request(request));
        let mut waited: Option<Pin<Box<tokio::time::Sleep>>> = None;
        let (driver, upload) = (&mut conn.driver, &self.upload);
        let mut closed = false;
        let sent = poll_fn(|cx| {
            closed = closed || driver.as_mut().poll(cx).is_ready();
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            // The clock runs once the request is on its way: an upload may take as long as it moves.
            if let Some(patience) = patience.filter(|_| upload.is_done()) {
                let timer =
                    waited.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::in_(patience))));
                return timer.as_mut().poll(cx).map(|()| None);
            }
            Poll::Pending
        })
        .await;
        drop(sending);
        match sent {
            Some(Ok(response)) => self.answered(response, closed),
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Outcome::Unsent(Box::new(request)),
                None => failed(&error.into_error(), heard.get()),
            },
            None => Outcome::Failed(ProxyError::new(
                Code::UpstreamTimeout,
                "The upstream sent no answer in time.",
            )),
        }
    }

    fn answered(mut self, response: Response<Incoming>, closed: bool) -> Outcome {
        let headers = response.headers();
        self.spent = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        if let Some(conn) = self.conn.as_mut()
            && let Some(timeout) = keep_alive_timeout(headers)
        {
            conn.rest = conn.rest.min(timeout.saturating_sub(Duration::from_secs(1)));
        }
        if closed {
            self.conn = None;
        } else if !self.upload.is_done() {
            self.set_free();
        }
        Outcome::Answered(Box::new((response, self)))
    }

    /// The upload goes on while the response streams: a task of its own drives the connection, so that a caller that
    /// does not read cannot stall what it sends.
    fn set_free(&mut self) {
        if let Some(conn) = self.conn.take() {
            let Conn { sender, driver, .. } = conn;
            tokio::task::spawn_local(async move {
                // Its end is told by the bodies on it.
                let _ = driver.await;
                drop(sender);
            });
        }
    }

    /// Lets the connection make progress; called by the response body.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(conn) = self.conn.as_mut()
            && conn.driver.as_mut().poll(cx).is_ready()
        {
            self.conn = None;
        }
    }

    /// Back to the pool, if response and request have ended and the connection is ready for the next one.
    pub(crate) fn give_back(&mut self) {
        let (Some(mut conn), Some(pool)) = (self.conn.take(), self.pool.upgrade()) else { return };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let alive = conn.driver.as_mut().poll(&mut cx).is_pending();
        if alive && !self.spent && self.upload.is_done() && conn.sender.is_ready() {
            pool.idle.borrow_mut().push(Idle { conn, since: Stopwatch::start() });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("connected", &self.conn.is_some()).finish_non_exhaustive()
    }
}

fn failed(error: &hyper::Error, heard: bool) -> Outcome {
    if heard {
        let sentence = "The upstream's answer broke off, or is not HTTP/1.1.";
        return Outcome::Failed(ProxyError::new(Code::UpstreamProtocol, sentence));
    }
    if error.is_user() {
        let sentence = "The request's body broke off or stopped coming.";
        return Outcome::Failed(ProxyError::new(Code::RequestTimeout, sentence).closing());
    }
    let sentence = "The upstream closed the connection without an answer.";
    Outcome::Closed(ProxyError::new(Code::UpstreamProtocol, sentence))
}

/// `Keep-Alive: timeout=N`.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
