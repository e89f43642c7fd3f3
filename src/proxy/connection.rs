//! One connection of a caller's: HTTP/1.1 or HTTP/2 by its first bytes, with a clock on every kind of silence.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::body::Body;
use super::carrying::{Caller, Carrying};
use super::error::{Code, ProxyError};
use super::upgrade::Tunnel;
use super::{Limits, Proxy};
use crate::clock::{self, Stopwatch};

/// What HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// hyper's own default, stated: more fields than this are 431 (P46).
const MAX_HEADERS: usize = 100;

/// Streams that one connection may have open.
const MAX_STREAMS: u32 = 200;

/// The proxy as it is configured now; a reload replaces it for the requests that follow.
pub(super) type Current = Rc<RefCell<Rc<Proxy>>>;

/// Serves one connection to its end; `drain` asks it to end soon.
pub(super) async fn serve<S>(
    stream: S,
    caller: Rc<Caller>,
    current: Current,
    mut drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = current.borrow().limits().clone();
    let mut stream = Timed::new(stream, Rc::clone(&caller), &limits);
    let sniffed = {
        let sniffing = tokio::time::timeout_at(clock::in_(limits.first_byte_timeout), sniff(&mut stream));
        unless_drained(std::pin::pin!(sniffing), &mut drain).await
    };
    // Who has said nothing yet, or not enough, loses nothing.
    let Some(Ok(Ok(speaks_http2))) = sniffed else { return };
    stream.multiplexed = speaks_http2;
    if speaks_http2 {
        let service =
            service_fn(move |request| answer(request, Rc::clone(&current), Rc::clone(&caller), None));
        let connection = http2_builder(&limits).serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // How a connection ends is its own business; what concerned a request has been answered and logged.
        if unless_drained(connection.as_mut(), &mut drain).await.is_none() {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    } else {
        serve_http1(stream, caller, current, drain, &limits).await;
    }
}

/// What comes of `going`; `None` when the drain begins first, and `going` has seen what had arrived by then. A request
/// that was there is answered.
async fn unless_drained<F: Future + Unpin>(
    mut going: F,
    drain: &mut watch::Receiver<bool>,
) -> Option<F::Output> {
    tokio::select! {
        biased;
        over = &mut going => return Some(over),
        _ = drain.wait_for(|drain| *drain) => {}
    }
    // The runtime looks at its sockets between two turns of a task.
    tokio::task::yield_now().await;
    tokio::select! {
        biased;
        over = going => Some(over),
        () = std::future::ready(()) => None,
    }
}

/// HTTP/1.1, and the tunnel that it may end in: the tunnel is the rest of this connection.
async fn serve_http1<S>(
    stream: Timed<S>,
    caller: Rc<Caller>,
    current: Current,
    mut drain: watch::Receiver<bool>,
    limits: &Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let switch = Switch::default();
    let switched = Rc::clone(&switch);
    let service = service_fn(move |request| {
        answer(request, Rc::clone(&current), Rc::clone(&caller), Some(Rc::clone(&switched)))
    });
    let mut connection = http1_builder(limits).serve_connection(TokioIo::new(stream), service);
    if unless_drained(&mut connection, &mut drain).await.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = (&mut connection).await;
    }
    if let Some((tunnel, _carrying)) = switch.take() {
        let parts = connection.into_parts();
        tunnel.run(parts.io.into_inner(), parts.read_buf).await;
    }
}

/// Where a request leaves the tunnel that its connection is to become, with the place that it takes.
type Switch = Rc<Cell<Option<(Tunnel, Carrying)>>>;

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // `Timed` keeps the times: hyper has one knob for a slow head and for a pause between requests.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_HEADERS);
    builder.max_buf_size(limits.header_size.max(8192));
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    builder.max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX));
    builder
}

async fn answer(
    request: Request<Incoming>,
    current: Current,
    caller: Rc<Caller>,
    switch: Option<Switch>,
) -> Result<Response<Body>, Infallible> {
    let proxy = Rc::clone(&current.borrow());
    let Some(carrying) = caller.carry(proxy.limits().requests) else {
        let error = ProxyError::new(Code::Overloaded, "Too many requests are being carried already.");
        return Ok(error.into_response().map(Body::from_bytes));
    };
    let mut response = proxy.handle(request).await;
    match (response.body_mut().take_tunnel(), switch) {
        (Some(tunnel), Some(switch)) => {
            switch.set(Some((tunnel, carrying)));
            Ok(response)
        }
        _ => Ok(response.map(|body| body.holding(carrying))),
    }
}

/// Runs hyper's tasks on this worker's thread.
#[derive(Clone, Copy)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Reads until it is plain which protocol is spoken, and puts the bytes back.
async fn sniff<S: AsyncRead + Unpin>(stream: &mut Timed<S>) -> io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let mut buf = [0; PREFACE.len()];
        let room = PREFACE.len() - seen.len();
        let read = stream.stream.read(buf.get_mut(..room).unwrap_or_default()).await?;
        if read == 0 {
            break;
        }
        seen.extend_from_slice(buf.get(..read).unwrap_or_default());
    }
    let speaks_http2 = seen == PREFACE;
    stream.begun = (!seen.is_empty()).then(|| (0, Stopwatch::start()));
    stream.seen = seen;
    Ok(speaks_http2)
}

/// A stream that ends silences: a head that does not end, a pause between requests that lasts too long, an answer that
/// nobody reads. Each has a timer, made when something is first waited for and looked at when it fires.
struct Timed<S> {
    stream: S,
    /// What the sniff read.
    seen: Vec<u8>,
    caller: Rc<Caller>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// The head being read: after how many requests, and since when.
    begun: Option<(u64, Stopwatch)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// HTTP/2: bytes between requests are no head.
    multiplexed: bool,
    /// How long the caller may read nothing while it sends nothing.
    stream_idle_timeout: Option<Duration>,
    /// Set while a write waits for the caller to read.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    fn new(stream: S, caller: Rc<Caller>, limits: &Limits) -> Self {
        let (header_timeout, idle_timeout) = (limits.header_timeout, limits.idle_timeout);
        Self {
            stream,
            seen: Vec::new(),
            caller,
            header_timeout,
            idle_timeout,
            begun: None,
            timer: None,
            multiplexed: false,
            stream_idle_timeout: limits.stream_idle_timeout,
            unread: None,
        }
    }

    /// Called while no byte comes: ready when that has lasted too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (since, span) = match self.begun.filter(|(served, _)| *served == self.caller.served()) {
                Some((_, since)) if !self.multiplexed => (since, self.header_timeout),
                _ => (self.caller.quiet_since(), self.idle_timeout),
            };
            // A request in flight has clocks of its own. We look again after the span: whoever ends the request may not
            // poll this connection, and it must not rest for ever.
            let next = if self.caller.is_busy() { clock::in_(span) } else { since.deadline(span) };
            if !self.caller.is_busy() && since.elapsed() >= span {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            // Unless the end has become earlier than the timer's, because a head has begun meanwhile.
            if timer.as_mut().poll(cx).is_pending() && timer.deadline() <= next {
                return Poll::Pending;
            }
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// What came of a write; an error once the caller has read nothing for too long.
    fn watched<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let Some(limit) = self.stream_idle_timeout else { return Poll::Pending };
        let timer = self.unread.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::in_(limit))));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.seen.is_empty() {
            let count = this.seen.len().min(buf.remaining());
            buf.put_slice(this.seen.drain(..count).as_slice());
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_pending() {
            return this.poll_over(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        if let (Some(timer), Some(limit)) = (&mut this.unread, this.stream_idle_timeout) {
            timer.as_mut().reset(clock::in_(limit));
        }
        let served = this.caller.served();
        let known = this.begun.is_some_and(|(count, _)| count == served);
        if buf.filled().len() > before && !this.caller.is_busy() && !known {
            this.begun = Some((served, Stopwatch::start()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Shard;
    use crate::proxy::carrying::{Alive, Totals};

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_not_looked_in_on_ten_times_a_second() {
        let (totals, alive) = (Arc::new(Totals::default()), Rc::new(Alive::default()));
        let caller = Caller::enter(&totals, &alive, &Arc::new(Shard::default()), 1).unwrap();
        let _carrying = caller.carry(1).unwrap();
        let limits = Limits { idle_timeout: Duration::from_secs(10), ..Limits::default() };
        let (near, _far) = tokio::io::duplex(64);
        let (mut timed, mut looks) = (Timed::new(near, caller, &limits), 0);
        let reading = poll_fn(|cx| {
            looks += 1;
            let mut room = [0; 8];
            Pin::new(&mut timed).poll_read(cx, &mut ReadBuf::new(&mut room))
        });
        let hour = tokio::time::timeout(Duration::from_secs(3600), reading).await;
        assert!(hour.is_err(), "a request in flight is no silence");
        assert!(looks <= 400, "{looks} looks in an hour");
    }
}
