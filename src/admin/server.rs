//! Listens for people and machines, on the control thread; nobody can hold it by being slow.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::Overview;
use super::answer::answer;
use crate::clock;

/// How many connections a role carries at a time; for one more, the oldest gives way.
const CONNECTIONS: usize = 64;

/// From the connection's begin to its head's end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection carries one request and has so long for all of it: a slow reader gives its place back.
const LIFETIME: Duration = Duration::from_secs(10);

/// How long an action may take, once it was asked for; a reload reads what the configuration names.
const WORK: Duration = Duration::from_secs(60);

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
struct Places(Mutex<VecDeque<AbortHandle>>);

impl Places {
    fn take(&self, newcomer: AbortHandle) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|connection| !connection.is_finished());
        if taken.len() >= CONNECTIONS
            && let Some(oldest) = taken.pop_front()
        {
            oldest.abort();
        }
        taken.push_back(newcomer);
    }
}

/// Serves `listeners` until dropped, and every connection ends with it. To be spawned on the control thread.
pub async fn serve(listeners: Vec<Listener>, overview: Arc<ArcSwap<Overview>>, role: Role) {
    let places = Arc::new(Places::default());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&overview), role, Arc::clone(&places)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: Listener, overview: Arc<ArcSwap<Overview>>, role: Role, places: Arc<Places>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let overview = Arc::clone(&overview);
        let respond = move |request: Request<Incoming>, patience: Patience| {
            let overview = overview.load_full();
            async move { answer(&overview, role, request, &patience).await }
        };
        let accepted: io::Result<AbortHandle> = match &listener {
            Listener::Tcp(tcp) => {
                tcp.accept().await.map(|(stream, _)| carried.spawn(async { carry(stream, respond).await }))
            }
            #[cfg(unix)]
            Listener::Unix(unix) => {
                unix.accept().await.map(|(stream, _)| carried.spawn(async { carry(stream, respond).await }))
            }
        };
        match accepted {
            Ok(connection) => places.take(connection),
            Err(_refused) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        // Whoever came gets a turn before the next comes and may take its place.
        tokio::task::yield_now().await;
    }
}

/// How long a connection may last.
#[derive(Clone, Debug)]
pub(super) struct Patience(Arc<watch::Sender<tokio::time::Instant>>);

impl Patience {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(clock::in_(LIFETIME))))
    }

    /// The request has come whole, and what it asks for takes its time.
    pub(super) fn is_needed(&self) {
        self.0.send_replace(clock::in_(WORK));
    }

    /// There is an answer, to be taken within the usual time.
    fn answered(&self) {
        self.0.send_replace(clock::in_(LIFETIME));
    }

    /// Returns when it is over.
    async fn over(&self) {
        let mut told = self.0.subscribe();
        loop {
            let end = *told.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = told.changed() => {}
            }
        }
    }
}

/// One connection, one request.
async fn carry<S, F, A>(stream: S, respond: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>, Patience) -> A,
    A: Future<Output = Response<Bytes>>,
{
    let patience = Patience::new();
    let service = service_fn(|request| {
        let (patience, answer) = (patience.clone(), respond(request, patience.clone()));
        async move {
            let answer = answer.await.map(Full::new);
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
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::clock::Stopwatch;

    async fn long(_: Request<Incoming>, _: Patience) -> Response<Bytes> {
        Response::new(Bytes::from(vec![b'.'; 100_000]))
    }

    /// How long a connection is carried on which `sent` is sent and nothing is read.
    async fn carried(sent: &str) -> Duration {
        let (mut caller, stream) = tokio::io::duplex(1024);
        caller.write_all(sent.as_bytes()).await.unwrap();
        let watch = Stopwatch::start();
        carry(stream, long).await;
        watch.elapsed()
    }

    #[tokio::test]
    async fn for_one_connection_more_the_oldest_gives_way() {
        let (places, mut connections) = (Places::default(), JoinSet::new());
        let first = connections.spawn(std::future::pending::<()>());
        places.take(first.clone());
        (1..CONNECTIONS).for_each(|_| places.take(connections.spawn(std::future::pending())));
        tokio::task::yield_now().await;
        assert!(connections.try_join_next().is_none(), "there is room for so many");
        places.take(connections.spawn(std::future::pending()));
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
