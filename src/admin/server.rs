//! Listens for people and machines, on the control thread; nobody can hold it by being slow.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Overview;
use super::answer::answer;
use crate::clock;

/// How many connections a listener carries at a time; the others wait in the system's queue.
const CONNECTIONS: usize = 64;

/// From the connection's begin to its head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection carries one request and has so long for all of it: a slow reader gives its place back.
const LIFETIME: Duration = Duration::from_secs(10);

/// After an error of accept(2), mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// People and commands: every page, behind the guard.
    Admin,
    /// Machines: the four probe paths, for whoever reaches them.
    Probes,
}

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

/// Serves `listeners` until dropped, and every connection ends with it. To be spawned on the control thread.
pub async fn serve(listeners: Vec<Listener>, overview: Arc<ArcSwap<Overview>>, role: Role) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&overview), role, Arc::clone(&places)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: Listener, overview: Arc<ArcSwap<Overview>>, role: Role, places: Arc<Semaphore>) {
    let mut carried = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while carried.try_join_next().is_some() {}
        let overview = Arc::clone(&overview);
        let accepted: io::Result<()> = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                carried.spawn(async move {
                    carry(stream, overview, role).await;
                    drop(place);
                });
            }),
            #[cfg(unix)]
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| {
                carried.spawn(async move {
                    carry(stream, overview, role).await;
                    drop(place);
                });
            }),
        };
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// One connection, one request.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(stream: S, overview: Arc<ArcSwap<Overview>>, role: Role) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (head, _unread) = request.into_parts();
        let answer = answer(&overview.load(), role, &head).map(Full::new);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false).max_buf_size(16 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // Whoever was too slow, or spoke no HTTP, is told by the end of the connection.
    let _ended = tokio::time::timeout_at(clock::in_(LIFETIME), connection).await;
}
