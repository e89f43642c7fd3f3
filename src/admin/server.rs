//! Listens for people and machines, on the control thread; nobody can hold it by being slow.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Overview;
use super::answer::{Body, Place, answer};
use crate::clock;

/// How many connections a role carries at a time; for one more, the oldest gives way.
const CONNECTIONS: usize = 64;

/// From the connection's begin to its head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection carries one request and has so long for all of it: a slow reader gives its place back.
const LIFETIME: Duration = Duration::from_secs(10);

/// How long an action may take, once it was asked for; a reload reads what the configuration names.
pub const WORK: Duration = Duration::from_secs(60);

/// How many pages are told at a time what changes; they stay for as long as somebody looks at them.
const EVENTS: usize = 16;

/// How long such a page may take nothing: somewhat longer than between two heartbeats.
const QUIET: Duration = Duration::from_secs(30);

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

/// A role's connections, the oldest first. An answer takes a moment, so the oldest of many is one that says nothing:
/// were it waited for, 64 of them would fail every probe of a kubelet, which waits a second.
#[derive(Debug, Default)]
struct Places(Mutex<VecDeque<(AbortHandle, Patience)>>);

impl Places {
    fn take(&self, newcomer: AbortHandle, patience: Patience) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is told what changes has a place elsewhere.
        taken.retain(|(connection, patience)| !connection.is_finished() && !patience.is_elsewhere());
        if taken.len() >= CONNECTIONS
            && let Some((oldest, _)) = taken.pop_front()
        {
            oldest.abort();
        }
        taken.push_back((newcomer, patience));
    }
}

/// Serves `listeners` until dropped, and every connection ends with it. To be spawned on the control thread.
pub async fn serve(listeners: Vec<Listener>, overview: Arc<ArcSwap<Overview>>, role: Role) {
    let places = Arc::new(Places::default());
    let place = Place { overview, role, events: Arc::new(Semaphore::new(EVENTS)) };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, place.clone(), Arc::clone(&places)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: Listener, place: Place, places: Arc<Places>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) => {
                let (place, patience) = (place.clone(), Patience::new());
                let respond = move |request: Request<Incoming>, patience: Patience| {
                    let place = place.clone();
                    async move { answer(&place, request, &patience).await }
                };
                places.take(carried.spawn(carry(stream, patience.clone(), respond)), patience);
            }
            Err(_refused) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        // Whoever came gets a turn before the next comes and may take its place.
        tokio::task::yield_now().await;
    }
}

/// A connection, whatever its kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(tcp) => Box::new(tcp.accept().await?.0),
            #[cfg(unix)]
            Self::Unix(unix) => Box::new(unix.accept().await?.0),
        })
    }
}

/// How long a connection may last.
#[derive(Clone, Debug)]
pub(super) struct Patience(Arc<watch::Sender<Term>>);

/// Until when, and whether it is one of those that stay.
#[derive(Clone, Copy, Debug)]
struct Term {
    end: tokio::time::Instant,
    stays: bool,
}

impl Patience {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Term { end: clock::in_(LIFETIME), stays: false })))
    }

    fn set(&self, span: Duration, stays: bool) {
        self.0.send_replace(Term { end: clock::in_(span), stays });
    }

    fn is_elsewhere(&self) -> bool {
        self.0.borrow().stays
    }

    /// Something of an answer without an end was taken.
    pub(super) fn goes_on(&self) {
        self.set(QUIET, true);
    }

    /// The request has come whole, and what it asks for takes its time.
    pub(super) fn is_needed(&self) {
        self.set(WORK, false);
    }

    /// There is an answer, to be taken within the usual time.
    fn answered(&self) {
        if !self.is_elsewhere() {
            self.set(LIFETIME, false);
        }
    }

    /// Returns when it is over.
    async fn over(&self) {
        let mut told = self.0.subscribe();
        loop {
            let Term { end, .. } = *told.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = told.changed() => {}
            }
        }
    }
}

/// One connection, one request.
async fn carry<S, F, A>(stream: S, patience: Patience, respond: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>, Patience) -> A,
    A: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let (patience, answer) = (patience.clone(), respond(request, patience.clone()));
        async move {
            let answer = answer.await;
            patience.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false).max_buf_size(16 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ended = connection => {}
        // Whoever was too slow, or spoke no HTTP, is told by the end of the connection.
        () = patience.over() => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::clock::Stopwatch;

    async fn long(_: Request<Incoming>, _: Patience) -> Response<Body> {
        Response::new(Body::Left(Full::new(Bytes::from(vec![b'.'; 100_000]))))
    }

    /// How long a connection is carried on which `sent` is sent and nothing is read.
    async fn carried(sent: &str) -> Duration {
        let (mut caller, stream) = tokio::io::duplex(1024);
        caller.write_all(sent.as_bytes()).await.unwrap();
        let watch = Stopwatch::start();
        carry(stream, Patience::new(), long).await;
        watch.elapsed()
    }

    #[tokio::test]
    async fn for_one_connection_more_the_oldest_gives_way() {
        let (places, mut connections) = (Places::default(), JoinSet::new());
        let first = connections.spawn(std::future::pending::<()>());
        let take = |connection| places.take(connection, Patience::new());
        take(first.clone());
        (1..CONNECTIONS).for_each(|_| take(connections.spawn(std::future::pending())));
        tokio::task::yield_now().await;
        assert!(connections.try_join_next().is_none(), "there is room for so many");
        take(connections.spawn(std::future::pending()));
        tokio::task::yield_now().await;
        let gone = connections.try_join_next().expect("one gives way");
        assert!(gone.unwrap_err().is_cancelled());
        assert!(first.is_finished() && connections.try_join_next().is_none(), "the oldest, and it alone");
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_slow_writer_nor_a_slow_reader_keeps_a_connection() {
        assert_eq!(carried("").await.as_secs(), HEAD_TIMEOUT.as_secs());
        assert_eq!(carried("GET / HTTP/1.1\r\nHost:").await.as_secs(), HEAD_TIMEOUT.as_secs());
        assert_eq!(carried("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.as_secs(), LIFETIME.as_secs());
    }
}
