//! HTTP/2 connections to one upstream: each has a task, carries as many streams as the server allows, and is made once
//! for all who wait for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::Target;
use super::connect::{self, Dialer, NoConnection};
use super::failure::{self, Failure};
use crate::clock::{self, Stopwatch};
use crate::proxy::body::{Patience, RequestBody, Upload};
use crate::proxy::connection::Local;
use crate::tls::Alpn;

/// A dead connection is found by PING while streams are open, and never while it rests: gRPC servers count such PINGs
/// as abuse (P61).
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// What a stream may have sent that nobody has read. Memory: that much for each answer that its caller is slow to read.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// No more streams are opened on a connection than its window has room for: a window full of what slow callers have not
/// read would stall everybody else's answers (P40).
const MAX_STREAMS: usize = 128;

/// Half of it is also what h2 lets unread frames take before it gives the connection up (proxy.md finding 1, P67).
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;

/// One upstream's HTTP/2 connections in one worker.
pub(super) struct Pool {
    dialer: Rc<Dialer>,
    open: RefCell<Vec<Rc<Conn>>>,
    attempt: RefCell<Option<Rc<Attempt>>>,
}

struct Conn {
    sender: RefCell<SendRequest<RequestBody>>,
    streams: Cell<usize>,
    /// How many the server allows at the moment.
    most: Cell<usize>,
    born: Stopwatch,
    age: Duration,
    rests_since: Cell<Stopwatch>,
    /// Takes no more streams: the server said so, or it failed.
    retired: Cell<bool>,
}

type Driver = Connection<TokioIo<connect::Stream>, RequestBody, Local>;

/// One connection being made, and all who wait for it.
#[derive(Default)]
struct Attempt {
    outcome: RefCell<Option<Result<(), NoConnection>>>,
    done: Notify,
}

impl Pool {
    pub(super) fn new(dialer: Rc<Dialer>) -> Self {
        Self { dialer, open: RefCell::default(), attempt: RefCell::default() }
    }

    /// A place for one stream, on a connection younger than `than` if that is given.
    pub(super) async fn stream(self: &Rc<Self>, than: Option<Stopwatch>) -> Result<Stream, NoConnection> {
        let limits = &self.dialer.limits;
        let patience = limits.connect_timeout + limits.tls_timeout;
        let waited = Stopwatch::start();
        loop {
            if let Some(stream) = self.take(than) {
                return Ok(stream);
            }
            if waited.elapsed() > patience {
                return Err(self.dialer.failed("none of its connections takes another stream"));
            }
            self.attempt().outcome().await?;
        }
    }

    fn take(&self, than: Option<Stopwatch>) -> Option<Stream> {
        let mut open = self.open.borrow_mut();
        open.retain(|conn| conn.is_good());
        let younger = |conn: &Conn| than.is_none_or(|than| conn.born.elapsed() <= than.elapsed());
        let conn = open.iter().find(|conn| conn.streams.get() < conn.most.get() && younger(conn))?;
        Some(Stream::on(Rc::clone(conn)))
    }

    /// The connection that is being made, or a new one. It is made in a task of its own, whoever goes away.
    fn attempt(self: &Rc<Self>) -> Rc<Attempt> {
        if let Some(attempt) = &*self.attempt.borrow() {
            return Rc::clone(attempt);
        }
        let attempt = Rc::new(Attempt::default());
        *self.attempt.borrow_mut() = Some(Rc::clone(&attempt));
        let (pool, made) = (Rc::clone(self), Rc::clone(&attempt));
        tokio::task::spawn_local(async move {
            let opened = Conn::open(&pool.dialer).await.map(|conn| pool.open.borrow_mut().push(conn));
            *pool.attempt.borrow_mut() = None;
            *made.outcome.borrow_mut() = Some(opened);
            made.done.notify_waiters();
        });
        attempt
    }

    /// Lets go of what rested too long or is too old; streams in flight keep theirs to their end.
    pub(super) fn sweep(&self) {
        let limit = self.dialer.limits.upstream_idle;
        let rested = |conn: &Conn| conn.streams.get() == 0 && conn.rests_since.get().elapsed() >= limit;
        self.open.borrow_mut().retain(|conn| conn.is_good() && !rested(conn));
    }
}

impl Attempt {
    async fn outcome(&self) -> Result<(), NoConnection> {
        loop {
            let done = self.done.notified();
            if let Some(outcome) = &*self.outcome.borrow() {
                return outcome.clone();
            }
            done.await;
        }
    }
}

impl Conn {
    async fn open(dialer: &Dialer) -> Result<Rc<Self>, NoConnection> {
        let (stream, heard) = dialer.dial(Alpn::Http2).await?;
        let limits = &dialer.limits;
        let handshake = builder(limits.header_size).handshake(TokioIo::new(stream)).await;
        let (sender, mut driver) = handshake.map_err(|error| dialer.failed(&error.to_string()))?;
        // Its SETTINGS come first (RFC 9113 §3.4): without them nobody knows how many streams it takes.
        let first = poll_fn(|cx| heard.poll(cx));
        let silent = tokio::time::timeout_at(clock::in_(limits.tls_timeout), first).await.is_err();
        let over = poll_fn(|cx| Poll::Ready(Pin::new(&mut driver).poll(cx).is_ready())).await;
        match (&dialer.target, silent || over) {
            (_, false) => {}
            // It was agreed on: that the server then failed says nothing about what it speaks.
            (Target::Tls { .. }, true) if silent => {
                return Err(dialer.failed("it agreed on HTTP/2 and said nothing"));
            }
            (Target::Tls { .. }, true) => {
                return Err(dialer.failed("it agreed on HTTP/2 and closed the connection"));
            }
            (_, true) => return Err(NoConnection::Unspoken(Alpn::Http2)),
        }
        let conn = Rc::new(Self {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            most: Cell::new(1),
            born: Stopwatch::start(),
            age: dialer.age(),
            rests_since: Cell::new(Stopwatch::start()),
            retired: Cell::new(false),
        });
        conn.note_limit(&driver);
        tokio::task::spawn_local(drive(driver, Rc::downgrade(&conn)));
        Ok(conn)
    }

    fn is_good(&self) -> bool {
        !self.retired.get() && self.born.elapsed() < self.age && !self.sender.borrow().is_closed()
    }

    /// A server that allows none at all gets one at a time: it will say what it means.
    fn note_limit(&self, driver: &Driver) {
        self.most.set(driver.current_max_send_streams().clamp(1, MAX_STREAMS));
    }
}

fn builder(header_size: usize) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(false)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(u32::try_from(header_size).unwrap_or(u32::MAX));
    builder
}

/// Runs a connection to its end. The task does not hold it: with its last stream and its place in the pool it goes.
async fn drive(mut driver: Driver, conn: Weak<Conn>) {
    poll_fn(|cx| {
        let polled = Pin::new(&mut driver).poll(cx);
        if let Some(conn) = conn.upgrade() {
            conn.note_limit(&driver);
            conn.retired.set(conn.retired.get() || polled.is_ready());
        }
        polled.map(drop)
    })
    .await;
}

/// A place for one stream on a connection, held until its response has ended.
pub(crate) struct Stream {
    conn: Rc<Conn>,
    upload: Upload,
    patience: Patience,
}

impl Stream {
    fn on(conn: Rc<Conn>) -> Self {
        conn.streams.set(conn.streams.get() + 1);
        Self { conn, upload: RequestBody::none().upload(), patience: Patience::default() }
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(
        mut self,
        request: Request<RequestBody>,
        limit: Option<Duration>,
    ) -> Result<(Response<Incoming>, Self), Failure> {
        self.upload = request.body().upload();
        let mut sending = pin!(self.conn.sender.borrow_mut().try_send_request(request));
        let (upload, patience) = (&self.upload, &mut self.patience);
        let sent = poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => upload.poll_late(patience, limit, cx).map(|_| None),
        })
        .await;
        let failure = match sent {
            Some(Ok(response)) => {
                self.patience.moved();
                return Ok((response, self));
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => failure::over_http2(&error.into_error(), &self.upload),
            },
            None => Failure::Late,
        };
        // A connection that ends, or on which nothing comes, takes no more (P61).
        if !matches!(failure, Failure::Final(_) | Failure::Refused(_)) {
            self.conn.retired.set(true);
        }
        Err(failure)
    }

    /// The clock on silence, and the upload that also breaks it.
    pub(super) fn exchange(&mut self) -> (&mut Patience, &Upload) {
        (&mut self.patience, &self.upload)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.conn.streams.get().saturating_sub(1);
        self.conn.streams.set(left);
        if left == 0 {
            self.conn.rests_since.set(Stopwatch::start());
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("streams", &self.conn.streams.get()).finish_non_exhaustive()
    }
}
