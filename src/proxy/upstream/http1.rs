//! HTTP/1.1 connections to one upstream. A connection is driven by the request that uses it, then by the body of its
//! response; between requests it rests here, driven by nobody.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::connect::{Dialer, NoConnection, Stream};
use super::failure::{self, Failure};
use super::heard::Heard;
use crate::clock::{self, Stopwatch};
use crate::proxy::body::{Patience, RequestBody, Upload};
use crate::tls::Alpn;

/// A request that may not be sent again takes no connection that rested longer: servers close idle ones, and the
/// shorter the rest, the rarer the race (P55).
const FRESH: Duration = Duration::from_secs(3);

/// How long what is left of an upload may take to be written once the answer has ended.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// hyper's buffer for a head, at least; its minimum is 8 KiB.
const LEAST_BUFFER: usize = 64 * 1024;

/// One upstream's HTTP/1.1 connections in one worker.
pub(super) struct Pool {
    dialer: Rc<Dialer>,
    /// The one used last is taken first: the others then grow old and are closed.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    conn: Box<Conn>,
    since: Stopwatch,
}

struct Conn {
    sender: SendRequest<RequestBody>,
    driver: Connection<TokioIo<Stream>, RequestBody>,
    heard: Rc<Heard>,
    born: Stopwatch,
    /// How long it may live.
    age: Duration,
    /// How long it may rest, as the upstream last said.
    rest: Duration,
    reused: bool,
    /// hyper has let go of it: after a 101, or because it is closed.
    ended: bool,
    patience: Patience,
}

impl Pool {
    pub(super) fn new(dialer: Rc<Dialer>) -> Self {
        Self { dialer, idle: RefCell::default() }
    }

    /// A connection that rests and is still good; a fresh one if the request cannot be sent twice.
    pub(super) fn take(self: &Rc<Self>, repeatable: bool) -> Option<Lease> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if !idle.is_good() {
                continue;
            }
            if !repeatable && idle.since.elapsed() >= FRESH {
                self.idle.borrow_mut().push(idle);
                return None;
            }
            // Driven once: the upstream may have closed it meanwhile, or said something that nobody asked for.
            if idle.conn.is_ready() {
                idle.conn.reused = true;
                return Some(Lease::new(idle.conn, self));
            }
        }
    }

    /// A new connection. It is made in a task of its own: if the caller goes away, it is there for the next.
    pub(super) async fn connect(self: &Rc<Self>) -> Result<Lease, NoConnection> {
        let (done, made) = oneshot::channel();
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let connected = Conn::open(&pool.dialer).await.map(|conn| Lease::new(conn, &pool));
            // A lease that nobody takes gives its connection back to the pool when it is dropped.
            let _ = done.send(connected);
        });
        made.await.unwrap_or_else(|_| Err(self.dialer.failed("the proxy is shutting down")))
    }

    pub(super) fn sweep(&self) {
        self.idle.borrow_mut().retain(Idle::is_good);
    }

    fn keep(&self, conn: Box<Conn>) {
        self.idle.borrow_mut().push(Idle { conn, since: Stopwatch::start() });
    }
}

impl Idle {
    fn is_good(&self) -> bool {
        self.since.elapsed() < self.conn.rest && self.conn.born.elapsed() < self.conn.age
    }
}

impl Conn {
    async fn open(dialer: &Dialer) -> Result<Box<Self>, NoConnection> {
        let (stream, heard) = dialer.dial(Alpn::Http1).await?;
        let limits = &dialer.limits;
        let handshake = http1::Builder::new()
            .max_buf_size(limits.header_size.max(LEAST_BUFFER))
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, driver) = handshake.map_err(|error| dialer.failed(&error.to_string()))?;
        let age = dialer.age();
        Ok(Box::new(Self {
            sender,
            driver,
            heard,
            born: Stopwatch::start(),
            age,
            rest: limits.upstream_idle,
            reused: false,
            ended: false,
            patience: Patience::default(),
        }))
    }

    /// Lets the connection make progress; ready when it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // How a connection ends is told by what was on it.
        self.ended = self.ended || Pin::new(&mut self.driver).poll(cx).is_ready();
        if self.ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the next request can be sent.
    fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll(&mut cx).is_pending() && self.sender.is_ready()
    }
}

/// A connection in use. Dropping it closes the connection, unless nothing was sent over it yet.
pub(crate) struct Lease {
    conn: Option<Box<Conn>>,
    pool: Weak<Pool>,
    upload: Upload,
    used: bool,
    /// The response framed itself twice, so nobody knows where it ends.
    spent: bool,
    /// For a response whose connection has a task of its own.
    patience: Patience,
    /// Told, the task ends when the upload is written; dropped, at once.
    free: Option<oneshot::Sender<()>>,
}

impl Lease {
    fn new(conn: Box<Conn>, pool: &Rc<Pool>) -> Self {
        let upload = RequestBody::none().upload();
        Self {
            conn: Some(conn),
            pool: Rc::downgrade(pool),
            upload,
            used: false,
            spent: false,
            patience: Patience::default(),
            free: None,
        }
    }

    /// Sends a request and drives the connection until the head of the response is there.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        limit: Option<Duration>,
    ) -> Result<(Response<Incoming>, Self), Failure> {
        self.upload = request.body().upload();
        self.used = true;
        let Some(conn) = self.conn.as_deref_mut() else { return Err(Failure::Unsent(Box::new(request))) };
        conn.heard.forget();
        conn.patience.moved();
        let mut sending = pin!(conn.sender.try_send_request(request));
        let upload = &self.upload;
        let sent = poll_fn(|cx| {
            let _told_by_what_is_sent = conn.poll(cx);
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(sent));
            }
            upload.poll_late(&mut conn.patience, limit, cx).map(|_| None)
        })
        .await;
        match sent {
            Some(Ok(response)) => Ok(self.answered(response)),
            Some(Err(error)) => Err(self.failed(error)),
            None => Err(Failure::Late),
        }
    }

    #[cold]
    fn failed(&self, mut error: TrySendError<Request<RequestBody>>) -> Failure {
        if let Some(request) = error.take_message() {
            return Failure::Unsent(Box::new(request));
        }
        let heard = self.conn.as_ref().is_some_and(|conn| conn.heard.is_set());
        let reused = self.conn.as_ref().is_some_and(|conn| conn.reused);
        match failure::over_http1(&error.into_error(), &self.upload, heard) {
            Failure::Untouched(error) if !reused => Failure::Final(error),
            failure => failure,
        }
    }

    fn answered(mut self, response: Response<Incoming>) -> (Response<Incoming>, Self) {
        let headers = response.headers();
        self.spent = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        if let Some(conn) = self.conn.as_mut() {
            conn.patience.moved();
            if let Some(timeout) = keep_alive_timeout(headers) {
                conn.rest = conn.rest.min(timeout.saturating_sub(Duration::from_secs(1)));
            }
        }
        if !self.upload.is_done() {
            self.set_free();
        }
        (response, self)
    }

    /// The upload goes on while the response streams: a task of its own drives the connection, so that a caller that
    /// does not read cannot stall what it sends. Without its sender the connection ends after this exchange.
    fn set_free(&mut self) {
        if let Some(conn) = self.conn.take() {
            let Conn { sender, driver, .. } = *conn;
            drop(sender);
            let (free, ended) = oneshot::channel();
            self.free = Some(free);
            tokio::task::spawn_local(see_off(driver, ended));
        }
    }

    /// Lets the connection make progress; called by the response body.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(conn) = self.conn.as_mut() {
            let _told_by_the_body = conn.poll(cx);
        }
    }

    /// Back to the pool, if response and request have ended and the connection is ready for the next one. An upload
    /// that nobody waited for is given up: its answer is there (P51).
    pub(super) fn give_back(&mut self) {
        if let Some(free) = self.free.take().filter(|_| self.upload.is_done()) {
            let _ended_already = free.send(());
        }
        let (Some(mut conn), Some(pool)) = (self.conn.take(), self.pool.upgrade()) else { return };
        if !self.spent && self.upload.is_done() && conn.is_ready() {
            pool.keep(conn);
        }
    }

    /// After a 101: the bare connection, and what was read of it beyond the head.
    pub(super) async fn into_stream(mut self) -> Option<(Stream, Bytes)> {
        let mut conn = self.conn.take()?;
        poll_fn(|cx| conn.poll(cx)).await;
        let parts = conn.driver.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// The clock on silence, and the upload that also breaks it.
    pub(super) fn exchange(&mut self) -> (&mut Patience, &Upload) {
        let patience = match self.conn.as_mut() {
            Some(conn) => &mut conn.patience,
            None => &mut self.patience,
        };
        (patience, &self.upload)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.used
            && let (Some(conn), Some(pool)) = (self.conn.take(), self.pool.upgrade())
        {
            pool.keep(conn);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("connected", &self.conn.is_some()).finish_non_exhaustive()
    }
}

/// Drives a connection until its exchange has ended. `ended` says that the response has, and the upload only waits to be
/// written; dropped, that nobody wants either.
async fn see_off(driver: Connection<TokioIo<Stream>, RequestBody>, ended: oneshot::Receiver<()>) {
    let mut driver = pin!(driver);
    let written = tokio::select! {
        // How it ends is told by the bodies on it.
        _ = driver.as_mut() => return,
        written = ended => written,
    };
    if written.is_ok() {
        let _late_or_not = tokio::time::timeout_at(clock::in_(LAST_WRITES), driver).await;
    }
}

/// `Keep-Alive: timeout=N`.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
