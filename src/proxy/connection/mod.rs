//! One connection of a caller's: HTTP/1.1 or HTTP/2 by its first bytes.

mod streams;
mod timed;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub(super) use self::streams::Pulse;
use self::streams::Streams;
use self::timed::Timed;
use super::body::Body;
use super::carrying::{Caller, Carrying};
use super::upgrade::Tunnel;
use super::{Limits, Proxy};
use crate::clock;

/// hyper's own default, stated: more fields than this are 431 (P46).
const MAX_HEADERS: usize = 100;

/// Streams that one connection may have open: what RFC 9113 §6.5.2 recommends at least, and a little.
const MAX_STREAMS: u32 = 128;

/// What a caller may have sent on a stream that no upstream has taken; the connection has room for that of every
/// stream, so that an upload that waits stalls no other.
const STREAM_WINDOW: u32 = 256 * 1024;

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
        let sniffing = tokio::time::timeout_at(clock::in_(limits.first_byte_timeout), stream.sniff());
        unless(pin!(sniffing), drained(&mut drain)).await
    };
    match sniffed {
        Some(Ok(Ok(true))) => serve_http2(stream, caller, current, drain, &limits).await,
        Some(Ok(Ok(false))) => serve_http1(stream, caller, current, drain, &limits).await,
        // Who has said nothing yet, or not enough, loses nothing.
        _ => {}
    }
}

async fn drained(drain: &mut watch::Receiver<bool>) {
    let _sender_gone = drain.wait_for(|drain| *drain).await;
}

/// HTTP/2: a caller that rests too long is told to go, so that what it sends at that moment is not lost.
async fn serve_http2<S>(
    stream: Timed<S>,
    caller: Rc<Caller>,
    current: Current,
    mut drain: watch::Receiver<bool>,
    limits: &Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let whose = Rc::clone(&caller);
    let service =
        service_fn(move |request| answer(request, Rc::clone(&current), Rc::clone(&whose), Answering::Stream));
    let mut connection = pin!(http2_builder(limits).serve_connection(TokioIo::new(stream), service));
    let over = async {
        tokio::select! {
            () = drained(&mut drain) => {}
            () = rested(&caller, limits.idle_timeout) => {}
        }
    };
    // How a connection ends is its own business; what concerned a request has been answered and logged.
    if unless(connection.as_mut(), over).await.is_some() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        // A caller that does not go when it is told to.
        () = rested(&caller, limits.idle_timeout + limits.header_timeout) => {}
    }
}

/// Returns once nothing has been asked for, and nothing has been answered, for so long.
async fn rested(caller: &Caller, limit: Duration) {
    loop {
        let since = caller.quiet_since();
        if !caller.is_busy() && since.elapsed() >= limit {
            return;
        }
        let next = if caller.is_busy() { clock::in_(limit) } else { since.deadline(limit) };
        tokio::time::sleep_until(next).await;
    }
}

/// What comes of `going`; `None` when `over` comes first, and `going` has seen what had arrived by then: a request that
/// was there is answered.
async fn unless<F: Future + Unpin>(mut going: F, over: impl Future<Output = ()>) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = &mut going => return Some(done),
        () = over => {}
    }
    // The runtime looks at its sockets between two turns of a task.
    tokio::task::yield_now().await;
    tokio::select! {
        biased;
        done = going => Some(done),
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
        answer(request, Rc::clone(&current), Rc::clone(&caller), Answering::Alone(Rc::clone(&switched)))
    });
    let mut connection = http1_builder(limits).serve_connection(TokioIo::new(stream), service);
    if unless(&mut connection, drained(&mut drain)).await.is_none() {
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

fn http2_builder(limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams { limit: limits.stream_idle_timeout });
    builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    builder.initial_stream_window_size(STREAM_WINDOW);
    builder.initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS);
    builder.max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX));
    builder
}

/// How a request came.
enum Answering {
    /// On a connection that answers one at a time, and may become a tunnel.
    Alone(Switch),
    /// On a stream beside others, which has a task.
    Stream,
}

async fn answer(
    request: Request<Incoming>,
    current: Current,
    caller: Rc<Caller>,
    answering: Answering,
) -> Result<Response<Body>, Infallible> {
    let proxy = Rc::clone(&current.borrow());
    let Some(carrying) = caller.carry(proxy.limits().requests) else { return Ok(proxy.overloaded(&request)) };
    let mut response = proxy.handle(request).await;
    match (response.body_mut().take_tunnel(), answering) {
        (Some(tunnel), Answering::Alone(switch)) => {
            switch.set(Some((tunnel, carrying)));
            Ok(response)
        }
        (_, Answering::Alone(_)) => Ok(response.map(|body| body.holding(carrying))),
        (_, Answering::Stream) => Ok(response.map(|body| body.on(streams::current()).holding(carrying))),
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
